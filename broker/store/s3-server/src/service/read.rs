//! Read: GET, HEAD and the LIST operations.

use std::fmt::Write;
use std::time::SystemTime;

use s3s::dto::{
    CommonPrefix, ETag, ETagCondition, EncodingType, GetObjectInput, GetObjectOutput,
    HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object as Listed,
    StreamingBlob, Timestamp,
};
use s3s::{Body, S3Result, s3_error};

use super::{Service, StaleBy, int};
use crate::store::{After, Object, Query};

/// Keys on a page of a LIST at most; the S3 API's own bound.
const MAX_KEYS: usize = 1000;

/// The conditions of a read.
struct Conditions<'a> {
    if_match: Option<&'a ETagCondition>,
    if_none_match: Option<&'a ETagCondition>,
    if_modified_since: Option<&'a Timestamp>,
    if_unmodified_since: Option<&'a Timestamp>,
}

impl Conditions<'_> {
    fn check(&self, object: &Object) -> S3Result<()> {
        let etag = ETag::Strong(object.etag.clone());
        let is = |wanted: &ETagCondition| match wanted {
            ETagCondition::Any => true,
            ETagCondition::ETag(wanted) => etag.weak_cmp(wanted),
        };
        // An HTTP date has whole seconds.
        let modified = Timestamp::from(whole_seconds(object.modified));
        let changed_since = |then: &Timestamp| modified > *then;
        if self.if_match.is_some_and(|wanted| !is(wanted)) {
            return Err(s3_error!(PreconditionFailed));
        }
        if self.if_match.is_none() && self.if_unmodified_since.is_some_and(changed_since) {
            return Err(s3_error!(PreconditionFailed));
        }
        if self.if_none_match.is_some_and(is) {
            return Err(s3_error!(NotModified));
        }
        let unchanged = self
            .if_modified_since
            .is_some_and(|then| !changed_since(then));
        if self.if_none_match.is_none() && unchanged {
            return Err(s3_error!(NotModified));
        }
        Ok(())
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(since.as_secs())
}

impl Service {
    pub(super) fn read(&self, input: &GetObjectInput) -> S3Result<GetObjectOutput> {
        if input.part_number.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "parts of an object cannot be read"
            ));
        }
        let object = self.store.get(&input.bucket, &input.key)?;
        let conditions = Conditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        };
        conditions.check(&object)?;
        let size = object.size();
        let (bytes, content_range) = match input.range {
            None => (object.bytes.clone(), None),
            Some(_) if size == 0 => return Err(s3_error!(InvalidRange)),
            Some(range) => {
                let range = range.check(size)?;
                let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let (start, end) = (index(range.start)?, index(range.end)?);
                (object.bytes.slice(start..end), Some(text))
            }
        };
        let whole = content_range.is_none() && input.checksum_mode.is_some();
        let checksum = if whole {
            object.checksum.clone()
        } else {
            Default::default()
        };
        Ok(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(int(bytes.len() as u64)),
            body: Some(StreamingBlob::from(Body::from(bytes))),
            content_range,
            content_type: object.attributes.content_type.clone(),
            metadata: object.attributes.metadata.clone(),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(Timestamp::from(object.modified)),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            ..Default::default()
        })
    }

    pub(super) fn head(&self, input: &HeadObjectInput) -> S3Result<HeadObjectOutput> {
        let object = self.store.get(&input.bucket, &input.key)?;
        let conditions = Conditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        };
        conditions.check(&object)?;
        let shown = input.checksum_mode.is_some();
        let checksum = if shown {
            object.checksum.clone()
        } else {
            Default::default()
        };
        Ok(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(int(object.size())),
            content_type: object.attributes.content_type.clone(),
            metadata: object.attributes.metadata.clone(),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(Timestamp::from(object.modified)),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            ..Default::default()
        })
    }

    pub(super) fn list(
        &self,
        input: ListObjectsV2Input,
        stale: Option<StaleBy>,
    ) -> S3Result<ListObjectsV2Output> {
        let limit = page_limit(input.max_keys, MAX_KEYS)?;
        let after = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => decode_token(token)?,
            (None, Some(key)) => After::Key(key.clone()),
            (None, None) => After::Start,
        };
        let prefix = input.prefix.as_deref().unwrap_or("");
        let delimiter = input
            .delimiter
            .as_deref()
            .filter(|delimiter| !delimiter.is_empty());
        let query = Query {
            prefix,
            delimiter,
            after,
            limit,
        };
        let listing = self
            .store
            .list(&input.bucket, &query, stale.map(|stale| stale.0))?;
        let url = input
            .encoding_type
            .as_ref()
            .is_some_and(|kind| kind.as_str() == EncodingType::URL);
        let shown = |text: &str| {
            if url {
                url_encode(text)
            } else {
                text.to_owned()
            }
        };
        let count = listing.entries.len() + listing.prefixes.len();
        let contents = listing.entries.iter().map(|(key, summary)| Listed {
            key: Some(shown(key)),
            size: Some(int(summary.size)),
            e_tag: Some(ETag::Strong(summary.etag.clone())),
            last_modified: Some(Timestamp::from(summary.modified)),
            ..Default::default()
        });
        let prefixes = listing.prefixes.iter();
        let prefixes = prefixes.map(|prefix| CommonPrefix {
            prefix: Some(shown(prefix)),
        });
        Ok(ListObjectsV2Output {
            contents: Some(contents.collect()),
            common_prefixes: Some(prefixes.collect()),
            is_truncated: Some(listing.next.is_some()),
            next_continuation_token: listing.next.as_ref().map(encode_token),
            key_count: i32::try_from(count).ok(),
            max_keys: i32::try_from(limit).ok(),
            prefix: Some(shown(prefix)),
            delimiter: input.delimiter.as_deref().map(shown),
            start_after: input.start_after.as_deref().map(shown),
            continuation_token: input.continuation_token,
            encoding_type: input.encoding_type,
            name: Some(input.bucket),
            ..Default::default()
        })
    }
}

/// A page size that the client asked for, within bounds.
pub(super) fn page_limit(asked: Option<i32>, most: usize) -> S3Result<usize> {
    let Some(asked) = asked else { return Ok(most) };
    match usize::try_from(asked) {
        Ok(asked) => Ok(asked.min(most)),
        Err(_) => Err(s3_error!(InvalidArgument, "a page size cannot be negative")),
    }
}

fn index(offset: u64) -> S3Result<usize> {
    usize::try_from(offset).map_err(|_| s3_error!(InvalidRange))
}

fn encode_token(next: &After) -> String {
    match next {
        After::Start => "s".to_owned(),
        After::Key(key) => format!("k{}", crate::store::hex(key.as_bytes())),
        After::Prefix(prefix) => format!("p{}", crate::store::hex(prefix.as_bytes())),
    }
}

fn decode_token(token: &str) -> S3Result<After> {
    let decode = |hex: &str| {
        let pairs = hex.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        String::from_utf8(pairs.collect::<Option<Vec<u8>>>()?).ok()
    };
    let after = match token.split_at_checked(1) {
        Some(("s", "")) => Some(After::Start),
        Some(("k", key)) => decode(key).map(After::Key),
        Some(("p", prefix)) => decode(prefix).map(After::Prefix),
        _ => None,
    };
    after.ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of ours"))
}

fn url_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            // Writing to a string does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}
