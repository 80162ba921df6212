//! Reads for the shards: ranges of objects, and indexes cut into spans.
//!
//! Control thread. An index is derived: where it is missing or does not fit its segment, it is
//! built again from the segment and written back.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use coord::mark;
use coord::planted::{self, Bug};
use coord::rules::{self, Rule};
use segment::index::{Index, IndexEntry};
use segment::kfs;
use store::{Body, GetError, GetRange, PutCondition};

use super::handle::LoadError;
use super::objects::Objects;
use crate::partition::ChunkSpan;
use crate::partition::epochs::EpochHistory;
use crate::partition::run::{self, ParseRunError, Run, Told};

/// Bytes of a span, about: what one cold read brings.
pub const SPAN_BYTES: u64 = 4 << 20;
/// Fewer bytes are checked sooner than another thread is woken.
const PARSE_HERE_BELOW_BYTES: usize = 64 * 1024;

fn load_error(key: &Arc<str>, error: GetError) -> LoadError {
    let key = key.clone();
    match error {
        GetError::NotFound { .. } => LoadError::NotFound(key),
        error @ (GetError::Throttled { .. }
        | GetError::Unavailable { .. }
        | GetError::Denied { .. }) => LoadError::Unavailable(key, error.to_string()),
        error @ (GetError::RangeNotSatisfiable { .. } | GetError::Corrupt { .. }) => {
            LoadError::Corrupt(key, error.to_string())
        }
    }
}

/// Reads an object, or a range of it: all of the range, or an error.
///
/// # Errors
/// [`LoadError`].
pub async fn load(
    objects: &Objects,
    key: &Arc<str>,
    range: Option<Range<u64>>,
) -> Result<Bytes, LoadError> {
    let asked = range.as_ref().map(|range| range.end - range.start);
    let range = range.map_or(GetRange::Full, GetRange::Range);
    let found = objects
        .get(key, range)
        .await
        .map_err(|error| load_error(key, error))?;
    let read = found.bytes.len() as u64;
    let is_partial = asked.is_some_and(|asked| asked != read);
    if is_partial && !planted::is_planted(Bug::PartialBodyAccepted) {
        let reason = format!("{read} bytes where {asked:?} were expected");
        return Err(LoadError::Corrupt(key.clone(), reason));
    }
    Ok(found.bytes)
}

/// Why a range is not the batches that it should be.
struct Unfit {
    error: LoadError,
    /// The bytes, if their leader epochs alone are not those that were told.
    of_other_epochs: Option<Bytes>,
}

impl From<LoadError> for Unfit {
    fn from(error: LoadError) -> Self {
        let of_other_epochs = None;
        Self {
            error,
            of_other_epochs,
        }
    }
}

/// Reads a range of an object that is whole batches, and checks each of them: large ranges off the
/// control thread, which has acknowledgements to make.
///
/// What does not fit is read once more: a bit that flipped on the way is no damage of the object. Leader epochs that
/// are not told and arrive twice alike are stored so (an adopted log has those of its clients), and believed.
///
/// # Errors
/// [`LoadError`].
pub async fn load_run(
    objects: &Objects,
    key: &Arc<str>,
    range: Range<u64>,
    told: &Told,
) -> Result<Run, LoadError> {
    let first = match read_run(objects, key, &range, told).await {
        Ok(run) => return Ok(run),
        Err(first) if matches!(first.error, LoadError::Corrupt(..)) => first,
        Err(other) => return Err(other.error),
    };
    mark!(RangeReadAgain);
    tracing::warn!(error = %first.error, "batches are read again");
    let again = match read_run(objects, key, &range, told).await {
        Ok(run) => return Ok(run),
        Err(again) => again,
    };
    if let Some(bytes) = again.of_other_epochs
        && first.of_other_epochs == Some(bytes.clone())
    {
        let offsets = told.offsets.clone();
        let epochs = EpochHistory::default();
        let parsed = parse(key, bytes, &Told { offsets, epochs }).await;
        return parsed.map_err(|unfit| unfit.error);
    }
    tracing::error!(error = %again.error, "stored batches cannot be read");
    Err(again.error)
}

async fn read_run(
    objects: &Objects,
    key: &Arc<str>,
    range: &Range<u64>,
    told: &Told,
) -> Result<Run, Unfit> {
    let bytes = load(objects, key, Some(range.clone())).await?;
    parse(key, bytes, told).await
}

async fn parse(key: &Arc<str>, bytes: Bytes, told: &Told) -> Result<Run, Unfit> {
    let corrupt = |error: String| LoadError::Corrupt(key.clone(), error);
    let parsed = if bytes.len() < PARSE_HERE_BELOW_BYTES {
        run::parse(&bytes, told)
    } else {
        let (bytes, told) = (bytes.clone(), told.clone());
        let parse = super::pool::run(move || run::parse(&bytes, &told));
        parse.await.map_err(|error| corrupt(error.to_string()))?
    };
    parsed.map_err(|error| Unfit {
        error: corrupt(error.to_string()),
        of_other_epochs: matches!(error, ParseRunError::Epoch { .. }).then_some(bytes),
    })
}

/// The spans of a segment of so many bytes.
///
/// # Errors
/// [`LoadError`] of the segment; a missing or broken index is mended.
pub async fn load_spans(
    objects: &Objects,
    index_key: &Arc<str>,
    key: &Arc<str>,
    bytes: u64,
) -> Result<Arc<[ChunkSpan]>, LoadError> {
    let reason = match load(objects, index_key, None).await {
        Ok(found) => match Index::parse(&found) {
            Ok(index) => match spans(&index, bytes) {
                Ok(spans) => return Ok(spans),
                Err(reason) => reason,
            },
            Err(error) => error.to_string(),
        },
        Err(LoadError::NotFound(_)) => "it is missing".to_owned(),
        Err(LoadError::Corrupt(_, reason)) => reason,
        Err(error @ LoadError::Unavailable(..)) => return Err(error),
    };
    if !rules::holds(Rule::IndexIsDerived) {
        return Err(LoadError::Corrupt(index_key.clone(), reason));
    }
    mark!(IndexRebuilt);
    tracing::info!(key = %index_key, reason, "an index is built again from its segment");
    let segment = load(objects, key, None).await?;
    let verified = super::pool::run(move || (kfs::verify(&segment), segment.len())).await;
    let corrupt = |reason: String| LoadError::Corrupt(key.clone(), reason);
    let (report, bytes) = verified.map_err(|error| corrupt(error.to_string()))?;
    if let Some(fault) = report.faults.first() {
        return Err(corrupt(fault.to_string()));
    }
    let body = Body::from(report.index.encode());
    if let Err(error) = objects.put(index_key, body, PutCondition::None).await {
        tracing::warn!(key = %index_key, %error, "an index was not written; it is only a help");
    }
    spans(&report.index, bytes as u64).map_err(corrupt)
}

/// Cuts a segment of `bytes` into spans.
fn spans(index: &Index, bytes: u64) -> Result<Arc<[ChunkSpan]>, String> {
    let body = kfs::body_range(bytes).ok_or_else(|| format!("{bytes} bytes are no segment"))?;
    let chunks = index
        .chunks(SPAN_BYTES, body.end)
        .map_err(|error| error.to_string())?;
    let entries = index.entries();
    let span = |range: Range<u64>| {
        let starts = |entry: &IndexEntry| u64::from(entry.position).cmp(&range.start);
        let at = entries
            .binary_search_by(starts)
            .map_err(|_| "it has no entries".to_owned())?;
        let entry = entries.get(at).ok_or("it has no entries")?;
        Ok(ChunkSpan {
            first: entry.offset,
            range,
        })
    };
    chunks.into_iter().map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{batch, objects_in_memory};
    use segment::kfs::KfsObject;
    use segment::{LeaderEpoch, Offset, TimestampMs};

    #[tokio::test]
    async fn a_missing_index_is_built_again_and_written() {
        let (objects, store) = objects_in_memory();
        let chunks = (0..50).map(|i| batch(i * 10, 10)).collect();
        let kfs = KfsObject::build(Offset::ZERO, TimestampMs::ZERO, chunks).unwrap();
        let bytes = kfs.len;
        let (key, index_key): (Arc<str>, Arc<str>) = ("s/a.kfs".into(), "s/a.index".into());
        let body = Body::new(kfs.chunks.clone());
        objects.put(&key, body, PutCondition::None).await.unwrap();
        let spans = load_spans(&objects, &index_key, &key, bytes).await.unwrap();
        assert_eq!(spans.len(), 1);
        assert_eq!(
            spans[0],
            ChunkSpan {
                first: Offset::ZERO,
                range: 32..bytes - 16
            }
        );
        assert!(
            store.objects().iter().any(|(key, bytes)| {
                key.as_str() == "s/a.index" && *bytes == kfs.index.encode()
            })
        );
        assert_eq!(
            load_spans(&objects, &index_key, &key, bytes).await.unwrap(),
            spans
        );
        let gone = load_spans(&objects, &index_key, &"s/b.kfs".into(), bytes + (9 << 20)).await;
        assert!(gone.is_ok(), "an index that fits is believed");
        let short = load(&objects, &key, Some(0..bytes + 1)).await;
        assert!(matches!(short, Err(LoadError::Corrupt(..))));
        let none = load(&objects, &"s/none".into(), None).await;
        assert!(matches!(none, Err(LoadError::NotFound(_))));
    }

    #[tokio::test]
    async fn epochs_that_are_stored_so_are_believed_and_other_offsets_are_not() {
        let (objects, _) = objects_in_memory();
        let body: Vec<Bytes> = (0..3).map(|i| batch(i * 10, 10)).collect();
        let (key, len): (Arc<str>, u64) =
            ("s/o.wal".into(), body.iter().map(|b| b.len() as u64).sum());
        let put = objects.put(&key, Body::new(body), PutCondition::None);
        put.await.unwrap();
        let told = |from, to, epoch| Told {
            offsets: Offset::new(from)..Offset::new(to),
            epochs: EpochHistory::new(vec![(LeaderEpoch::new(epoch), Offset::ZERO)]),
        };
        // As those of an adopted log are, which are its clients'.
        let run = load_run(&objects, &key, 0..len, &told(0, 30, 5))
            .await
            .unwrap();
        assert_eq!((run.first().get(), run.last().get()), (0, 29));
        for (from, to) in [(1, 30), (0, 29)] {
            let other = load_run(&objects, &key, 0..len, &told(from, to, 0)).await;
            assert!(matches!(other, Err(LoadError::Corrupt(..))), "{from}..{to}");
        }
    }
}
