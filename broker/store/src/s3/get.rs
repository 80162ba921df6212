//! GetObject and HeadObject: the replica first, hedged, and given out only if whole.
//!
//! Invariants: the bytes given out are those of the range that was asked for, clamped to the length
//! that the store told, and as many as that; an answer of more than [`GET_BYTES_MAX`] is not read.
//! Where a body ends early, what came is kept and the rest is asked for; what is put together has the store's checksum
//! of the whole, if it gave one.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use aws_smithy_checksums::body::validate;
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::failure::{Failure, causes, find, send};
use super::hedge::race;
use super::verdict::{Asked, get_error, head_error};
use super::{Bucket, Shared};
use crate::error::{GetError, HeadError};
use crate::key::ObjectKey;
use crate::object::{ETag, GetOutcome, GetRange, ObjectMeta};

/// Most bytes that one GET reads: bounds memory, whatever a store says.
pub const GET_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes allocated at first for a body that comes in pieces: a length that a store states alone
/// reserves no memory.
const ALLOCATE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often the rest of a body that ended early is asked for, within one read.
const RESUMES_MAX: u32 = 8;
const PERMISSION: &str = "s3:GetObject";

/// Reads an object or a range of it.
pub(super) async fn get(
    shared: &Arc<Shared>,
    key: ObjectKey,
    range: GetRange,
) -> Result<GetOutcome, GetError> {
    let Some(header) = range_header(&range) else {
        return no_byte_asked(shared, key).await;
    };
    if let Some(replica) = usable_replica(shared) {
        match get_from(shared, replica, &key, &range, header.as_deref()).await {
            Ok(outcome) => {
                shared.replica_health().answered();
                return Ok(outcome);
            }
            Err(error) => {
                let lags = matches!(
                    error,
                    GetError::NotFound { .. } | GetError::RangeNotSatisfiable { .. }
                );
                fall_back(shared, lags, &error.to_string());
            }
        }
    }
    get_from(shared, &shared.main, &key, &range, header.as_deref()).await
}

/// Reads an object's length and ETag.
pub(super) async fn head(shared: &Shared, key: ObjectKey) -> Result<ObjectMeta, HeadError> {
    if let Some(replica) = usable_replica(shared) {
        match head_from(shared, replica, &key).await {
            Ok(meta) => {
                shared.replica_health().answered();
                return Ok(meta);
            }
            Err(error) => {
                let lags = matches!(error, HeadError::NotFound { .. });
                fall_back(shared, lags, &error.to_string());
            }
        }
    }
    head_from(shared, &shared.main, &key).await
}

fn usable_replica(shared: &Shared) -> Option<&Bucket> {
    let replica = shared.replica.as_ref()?;
    let usable = shared.replica_health().usable(Instant::now());
    if !usable {
        shared.counters.replica_fallbacks.increment();
    }
    usable.then_some(replica)
}

fn fall_back(shared: &Shared, lags: bool, reason: &str) {
    shared.counters.replica_fallbacks.increment();
    let mut health = shared.replica_health();
    match lags {
        true => health.answered(),
        false => health.failed(Instant::now()),
    }
    drop(health);
    tracing::debug!(reason, "the read replica could not serve a read");
}

/// A range that selects no byte of any object: HTTP cannot ask for it, only the length is missing.
async fn no_byte_asked(shared: &Shared, key: ObjectKey) -> Result<GetOutcome, GetError> {
    match head(shared, key).await {
        Ok(ObjectMeta { key, len, .. }) => Err(GetError::RangeNotSatisfiable {
            key,
            object_len: len,
        }),
        Err(HeadError::NotFound { key }) => Err(GetError::NotFound { key }),
        Err(HeadError::Throttled { key, retry_after }) => {
            Err(GetError::Throttled { key, retry_after })
        }
        Err(HeadError::Unavailable { key, reason }) => Err(GetError::Unavailable { key, reason }),
        Err(HeadError::Denied { key, reason }) => Err(GetError::Denied { key, reason }),
    }
}

async fn get_from(
    shared: &Shared,
    bucket: &Bucket,
    key: &ObjectKey,
    range: &GetRange,
    header: Option<&str>,
) -> Result<GetOutcome, GetError> {
    let asked = asked("GetObject", bucket);
    shared.hedges().earn();
    let open = || open(shared, bucket, key, header, None);
    let second = || {
        let allowed = shared.hedges().spend();
        allowed.then(|| {
            shared.counters.hedges.increment();
            open()
        })
    };
    let answered = |failure: &Failure| !get_error(key.clone(), failure.clone(), asked).retriable();
    let answer = race(open(), shared.options.hedge_after, second, answered)
        .await
        .map_err(|failure| get_error(key.clone(), failure, asked))?;
    read(shared, bucket, key, range, answer).await
}

async fn open(
    shared: &Shared,
    bucket: &Bucket,
    key: &ObjectKey,
    header: Option<&str>,
    etag: Option<&str>,
) -> Result<GetObjectOutput, Failure> {
    let request = bucket
        .client
        .get_object()
        .bucket(&bucket.name)
        .key(key.as_str())
        .checksum_mode(ChecksumMode::Enabled)
        .set_range(header.map(str::to_owned))
        .set_if_match(etag.map(str::to_owned));
    shared.counters.gets.increment();
    send(shared.limit(0), request.send()).await
}

/// Reads the body of an answer and checks that it is what was asked for.
async fn read(
    shared: &Shared,
    bucket: &Bucket,
    key: &ObjectKey,
    range: &GetRange,
    answer: GetObjectOutput,
) -> Result<GetOutcome, GetError> {
    let unavailable = |reason: String| GetError::Unavailable {
        key: key.clone(),
        reason,
    };
    let extent = extent(answer.content_range.as_deref(), answer.content_length)
        .map_err(|reason| unavailable(reason.to_owned()))?;
    let Some(etag) = answer.e_tag.clone() else {
        return Err(unavailable("the answer has no ETag".to_owned()));
    };
    let object_len = extent.object_len;
    let Some(wanted) = range.resolve(object_len) else {
        return Err(GetError::RangeNotSatisfiable {
            key: key.clone(),
            object_len,
        });
    };
    // A store that ignores ranges sends the whole object: the range is cut out of it.
    let sent = extent.sent;
    if wanted.start < sent.start || wanted.end > sent.end {
        let reason = format!("asked for bytes {wanted:?} and got {sent:?}");
        return Err(unavailable(reason));
    }
    let expected = sent.end - sent.start;
    if expected > GET_BYTES_MAX {
        let reason = format!("{expected} bytes are more than the {GET_BYTES_MAX} of one read");
        let key = key.clone();
        return Err(GetError::Denied { key, reason });
    }
    let stated = stated_crc32(&answer);
    let resumes = match (range, &stated) {
        // Nothing could check what is put together.
        (GetRange::Full, None) => 0,
        _ => RESUMES_MAX,
    };
    let rest = |from: u64| rest(shared, bucket, key, &etag, from..sent.end);
    let limit = shared.options.attempt_timeout;
    let mut whole = Collected::new(sent.start, expected);
    let taken = whole.take_all(answer.body, resumes, limit, rest).await;
    let bytes = match taken.and_then(|resumed| whole.checked(stated.filter(|_| resumed))) {
        Ok(bytes) => bytes,
        Err(Broken::Truncated(reason) | Broken::Stalled(reason)) => {
            return Err(unavailable(reason));
        }
        Err(Broken::Corrupt(reason)) => {
            let key = key.clone();
            return Err(GetError::Corrupt { key, reason });
        }
        Err(Broken::Rest(error)) => return Err(error),
    };
    shared.counters.bytes_in.add(bytes.len() as u64);
    let cut = |at: u64| usize::try_from(at - sent.start).unwrap_or(usize::MAX);
    let mut bytes = bytes.slice(cut(wanted.start)..cut(wanted.end));
    if (bytes.len() as u64) < expected {
        // The part that was not asked for shall not stay in memory with it.
        bytes = Bytes::copy_from_slice(&bytes);
    }
    Ok(GetOutcome {
        bytes,
        object_len,
        etag: ETag::new(etag),
    })
}

/// Why a body is not given out.
enum Broken {
    Truncated(String),
    /// Nothing came for too long: who waited for it does not wait again.
    Stalled(String),
    Corrupt(String),
    /// The rest of it could not be had.
    Rest(GetError),
}

/// The CRC-32 of the whole object, if the answer holds all of it and its store keeps one.
fn stated_crc32(answer: &GetObjectOutput) -> Option<String> {
    let is_of_parts =
        |sum: &&String| answer.checksum_type == Some(ChecksumType::Composite) || sum.contains('-');
    let sum = answer.checksum_crc32.as_ref();
    sum.filter(|sum| answer.content_range.is_none() && !is_of_parts(sum))
        .cloned()
}

/// Asks for the rest of a body that ended early, of the same object.
async fn rest(
    shared: &Shared,
    bucket: &Bucket,
    key: &ObjectKey,
    etag: &str,
    range: Range<u64>,
) -> Result<ByteStream, GetError> {
    let unavailable = |reason: String| GetError::Unavailable {
        key: key.clone(),
        reason: format!("the rest of a body that ended early: {reason}"),
    };
    shared.counters.resumes.increment();
    let header = format!("bytes={}-{}", range.start, range.end - 1);
    let answer = open(shared, bucket, key, Some(&header), Some(etag)).await;
    let answer = answer.map_err(|failure| {
        let error = get_error(key.clone(), failure, asked("GetObject", bucket));
        match error.retriable() {
            true => error,
            // It is gone, or may not be read any more: a read of all of it says so.
            false => unavailable(error.to_string()),
        }
    })?;
    let extent = extent(answer.content_range.as_deref(), answer.content_length)
        .map_err(|reason| unavailable(reason.to_owned()))?;
    match extent.sent == range && answer.e_tag.as_deref() == Some(etag) {
        true => Ok(answer.body),
        false => Err(unavailable(format!(
            "asked for bytes {range:?} and got {:?}",
            extent.sent
        ))),
    }
}

/// What has come of a body.
struct Collected {
    bytes: BytesMut,
    /// Where it begins in the object.
    start: u64,
    expected: usize,
}

impl Collected {
    fn new(start: u64, expected: u64) -> Self {
        Self {
            bytes: BytesMut::new(),
            start,
            expected: usize::try_from(expected).unwrap_or(usize::MAX),
        }
    }

    /// Reads exactly what is expected. Where the body ends early and some of it came, `rest` is asked
    /// for what is missing, `resumes` times at most. Gives whether it was.
    async fn take_all<F>(
        &mut self,
        mut body: ByteStream,
        mut resumes: u32,
        limit: Duration,
        rest: impl Fn(u64) -> F,
    ) -> Result<bool, Broken>
    where
        F: Future<Output = Result<ByteStream, GetError>>,
    {
        let mut resumed = false;
        loop {
            let before = self.bytes.len();
            let reason = match self.take(body, limit).await {
                Ok(()) => return Ok(resumed),
                Err(Broken::Truncated(reason)) => reason,
                Err(other) => return Err(other),
            };
            let has_more = before < self.bytes.len() && self.bytes.len() < self.expected;
            if !has_more || resumes == 0 {
                return Err(Broken::Truncated(reason));
            }
            resumes -= 1;
            resumed = true;
            tracing::debug!(reason, "the rest of a body is asked for");
            let rest = rest(self.start + self.bytes.len() as u64).await;
            body = rest.map_err(Broken::Rest)?;
        }
    }

    /// Reads what one body has of it, waiting at most `limit` for each piece.
    async fn take(&mut self, mut body: ByteStream, limit: Duration) -> Result<(), Broken> {
        let expected = self.expected;
        loop {
            let received = self.bytes.len();
            let piece = match tokio::time::timeout(limit, body.next()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(error))) => {
                    let reason =
                        format!("after {received} of {expected} bytes: {}", causes(&error));
                    return Err(match find::<validate::Error>(&error) {
                        Some(_) => Broken::Corrupt(reason),
                        None => Broken::Truncated(reason),
                    });
                }
                Ok(None) if received == expected => return Ok(()),
                Ok(None) => {
                    let reason = format!("the body ended after {received} of {expected} bytes");
                    return Err(Broken::Truncated(reason));
                }
                Err(_) => {
                    let reason = format!("no byte for {limit:?} after {received} of {expected}");
                    return Err(Broken::Stalled(reason));
                }
            };
            if piece.len() > expected - received {
                let reason = format!("more than the {expected} bytes that were announced");
                return Err(Broken::Truncated(reason));
            }
            self.add(&piece);
        }
    }

    /// What has come, with this CRC-32 as S3 writes it, if one is given.
    fn checked(self, crc32: Option<String>) -> Result<Bytes, Broken> {
        let bytes = self.bytes.freeze();
        let Some(stated) = crc32 else {
            return Ok(bytes);
        };
        let found = super::body::crc32_base64(crc32fast::hash(&bytes));
        match stated == found {
            true => Ok(bytes),
            false => Err(Broken::Corrupt(format!(
                "put together its CRC-32 is {found}, and the store states {stated}"
            ))),
        }
    }

    /// Copied even where one piece is all: it would keep the whole buffer of its connection.
    fn add(&mut self, piece: &[u8]) {
        let left = self.expected - self.bytes.len();
        let whole = &mut self.bytes;
        if whole.is_empty() {
            whole.reserve(left.min(ALLOCATE_BYTES_MAX));
        }
        if whole.capacity() - whole.len() < piece.len() {
            // So much has come that the rest is believed: in one step, since each would be a copy,
            // and both copies would be in memory.
            whole.reserve(left);
        }
        whole.extend_from_slice(piece);
    }
}

async fn head_from(
    shared: &Shared,
    bucket: &Bucket,
    key: &ObjectKey,
) -> Result<ObjectMeta, HeadError> {
    let request = bucket
        .client
        .head_object()
        .bucket(&bucket.name)
        .key(key.as_str());
    shared.counters.heads.increment();
    let answer = send(shared.limit(0), request.send())
        .await
        .map_err(|failure| head_error(key.clone(), failure, asked("HeadObject", bucket)))?;
    let len = answer
        .content_length
        .and_then(|len| u64::try_from(len).ok());
    let (Some(len), Some(etag)) = (len, answer.e_tag) else {
        return Err(HeadError::Unavailable {
            key: key.clone(),
            reason: "the answer has no length or no ETag".to_owned(),
        });
    };
    Ok(ObjectMeta {
        key: key.clone(),
        len,
        etag: ETag::new(etag),
        modified_ms: answer
            .last_modified
            .map_or(0, |time| modified_ms(time.secs())),
    })
}

/// A time of modification, in whole seconds: HEAD tells no more, and LIST shall agree with it.
pub(super) fn modified_ms(seconds: i64) -> i64 {
    seconds.saturating_mul(1000)
}

fn asked<'a>(operation: &'static str, bucket: &'a Bucket) -> Asked<'a> {
    Asked {
        operation,
        permission: PERMISSION,
        bucket: &bucket.name,
    }
}

/// The header `Range`; `None` where no header can say it, because no byte is asked for.
fn range_header(range: &GetRange) -> Option<Option<String>> {
    match range {
        GetRange::Full => Some(None),
        GetRange::Range(range) if range.start >= range.end => None,
        // Not all stores read numbers beyond 63 bits.
        GetRange::Range(range) if i64::try_from(range.end).is_err() => {
            Some(Some(format!("bytes={}-", range.start)))
        }
        GetRange::Range(range) => Some(Some(format!("bytes={}-{}", range.start, range.end - 1))),
        GetRange::Suffix(0) => None,
        GetRange::Suffix(count) => {
            let count = (*count).min(i64::MAX.unsigned_abs());
            Some(Some(format!("bytes=-{count}")))
        }
    }
}

/// Which bytes an answer holds, and of how many.
#[derive(Debug, PartialEq, Eq)]
struct Extent {
    sent: Range<u64>,
    object_len: u64,
}

fn extent(
    content_range: Option<&str>,
    content_length: Option<i64>,
) -> Result<Extent, &'static str> {
    let length = content_length
        .map(|length| u64::try_from(length).map_err(|_| "the answer has a negative length"))
        .transpose()?;
    let Some(content_range) = content_range else {
        let object_len = length.ok_or("the answer has no length")?;
        return Ok(Extent {
            sent: 0..object_len,
            object_len,
        });
    };
    let extent = parse_content_range(content_range).ok_or("the Content-Range cannot be read")?;
    let sent = extent.sent.end - extent.sent.start;
    match length {
        Some(length) if length != sent => Err("Content-Length and Content-Range disagree"),
        Some(_) | None => Ok(extent),
    }
}

/// Reads `bytes 0-3/10`.
fn parse_content_range(text: &str) -> Option<Extent> {
    let (span, object_len) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let object_len: u64 = object_len.trim().parse().ok()?;
    (first <= last && last < object_len).then(|| Extent {
        sent: first..last + 1,
        object_len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_http_counts() {
        let header = |range| range_header(&range);
        assert_eq!(header(GetRange::Full), Some(None));
        assert_eq!(
            header(GetRange::Range(0..4)),
            Some(Some("bytes=0-3".into()))
        );
        assert_eq!(
            header(GetRange::Range(9..u64::MAX)),
            Some(Some("bytes=9-".into()))
        );
        assert_eq!(header(GetRange::Suffix(3)), Some(Some("bytes=-3".into())));
        for none in [
            GetRange::Range(3..3),
            GetRange::Range(Range { start: 5, end: 2 }),
            GetRange::Suffix(0),
        ] {
            assert_eq!(header(none), None);
        }
    }

    #[test]
    fn an_answer_tells_which_bytes_it_holds() {
        let whole = Extent {
            sent: 0..10,
            object_len: 10,
        };
        assert_eq!(extent(None, Some(10)), Ok(whole));
        let part = Extent {
            sent: 2..5,
            object_len: 10,
        };
        assert_eq!(extent(Some("bytes 2-4/10"), Some(3)), Ok(part));
        for (range, length) in [
            (None, None),
            (None, Some(-1)),
            (Some("bytes 2-4/10"), Some(9)),
            (Some("bytes 4-2/10"), None),
            (Some("bytes 2-10/10"), None),
            (Some("bytes 2-4/*"), None),
            (Some("bytes 0-18446744073709551615/9"), None),
            (Some("bytes 0-18446744073709551616/9"), None),
            (Some("2-4/10"), None),
            (Some(""), None),
        ] {
            assert!(extent(range, length).is_err(), "{range:?} {length:?}");
        }
    }

    #[test]
    fn a_body_is_collected_only_if_it_is_as_long_as_announced() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let body = || {
            let chunks = vec![Bytes::from_static(b"12"), Bytes::from_static(b"34")];
            super::super::body::stream(&crate::object::Body::new(chunks))
        };
        let limit = Duration::from_secs(1);
        let gone = |_: u64| {
            let (key, reason) = (ObjectKey::new("a/b").unwrap(), "gone".to_owned());
            Err(GetError::Unavailable { key, reason })
        };
        let collect = |expected, resumes, rest: fn(u64) -> Result<&'static str, GetError>| {
            let mut whole = Collected::new(100, expected);
            let rest = async |from| rest(from).map(|more| ByteStream::from_static(more.as_bytes()));
            let read = runtime.block_on(whole.take_all(body(), resumes, limit, rest));
            read.map(|_| whole.bytes.freeze())
        };
        let none = |_: u64| -> Result<&'static str, GetError> { panic!("no rest is asked for") };
        assert!(collect(4, 8, none).is_ok_and(|bytes| bytes == "1234"));
        for (wrong, resumes) in [(0, 8), (3, 0), (5, 0), (u64::MAX, 0)] {
            assert!(
                matches!(collect(wrong, resumes, none), Err(Broken::Truncated(_))),
                "{wrong}"
            );
        }
        let rest = |from| Ok(["5", "6", "78"][usize::try_from(from - 104).unwrap()]);
        assert!(collect(8, 3, rest).is_ok_and(|bytes| bytes == "12345678"));
        assert!(collect(8, 2, rest).is_err(), "asked for too often");
        assert!(collect(7, 3, rest).is_err(), "more than was asked for");
        assert!(collect(8, 9, |_| Ok("")).is_err(), "nothing comes");
        assert!(matches!(collect(8, 9, gone), Err(Broken::Rest(_))));
    }
}
