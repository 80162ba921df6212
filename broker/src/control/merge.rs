//! Merges small segments of a partition into one, so that their number is bounded (DESIGN §6).
//!
//! Control thread; CPU work runs on the blocking pool. The rules of log-protocol H4:
//! - the range and header of the merged segment are decided by a transaction first (an intent that
//!   extends the segment at its base), so that whoever writes it, however late, writes the same
//!   bytes, and the next owner finishes it before it begins another;
//! - it is PUT only over the object with the ETag that was read; its body begins with that object's
//!   body, so ranges of it that readers know stay right;
//! - in the guarded mode nothing is merged.

use std::ops::Range;

use bytes::Bytes;
use coord::keys::partition::{Intent, IntentKind};
use coord::rules::{self, Rule};
use segment::kfs::KfsObject;
use segment::manifest::{ManifestSegment, time_points};
use segment::{Offset, TopicPartition};
use store::ETag;

use super::compactor::{CompactionError, manifest_segment};
use super::context::{Context, wall_clock};
use super::replace::{Stored, adopt, begin, etag_of, finish, put_over, read_stored};
use super::segments::{ReadSegmentError, object_keys};
use super::takeover::{Owned, OwnedState};

/// So many segments are merged at least: every byte is written a few times in its life, at most.
const SEGMENTS_MIN: usize = 8;
/// A segment of less than this part of a full one is small.
const SMALL_PART: u64 = 4;

/// Merges the oldest small segments of a partition; gives how many segments became one.
///
/// # Errors
/// [`CompactionError`]; [`resolve`] goes on where this one stopped.
pub async fn merge(
    context: &Context,
    id: TopicPartition,
    segment_bytes: u64,
) -> Result<Option<usize>, CompactionError> {
    if !context.replaces && rules::holds(Rule::NoMergeWithoutConditions) {
        return Ok(None);
    }
    resolve(context, id).await?;
    let Some(owned) = context.owned(id) else {
        return Ok(None);
    };
    let mut state = owned.state.lock().await;
    // An intent of another kind is finished first, by whoever finishes those.
    if state.gone || state.seen.record.intent.is_some() {
        return Ok(None);
    }
    let is_damaged = |segment: &ManifestSegment| state.damaged.contains_key(&segment.base);
    match choose(&state.segments, segment_bytes, is_damaged) {
        Some(chosen) => carry_out(context, &owned, &mut state, chosen).await,
        None => Ok(None),
    }
}

/// Finishes a merge that was begun, by us or by an earlier owner.
///
/// # Errors
/// [`CompactionError`]; it stays pending.
pub async fn resolve(context: &Context, id: TopicPartition) -> Result<(), CompactionError> {
    let Some(owned) = context.owned(id) else {
        return Ok(());
    };
    let mut state = owned.state.lock().await;
    let pending = match &state.seen.record.intent {
        Some(intent) if matches!(intent.kind, IntentKind::Extend { .. }) => {
            within(&state.segments, intent.base, intent.end)
        }
        _ => return Ok(()),
    };
    if !state.gone {
        carry_out(context, &owned, &mut state, pending).await?;
    }
    Ok(())
}

/// The first run of small segments that is worth merging: neighbors that fit one segment together. One
/// that is damaged stays as it is.
fn choose(
    segments: &[ManifestSegment],
    segment_bytes: u64,
    is_damaged: impl Fn(&ManifestSegment) -> bool,
) -> Option<Range<usize>> {
    let is_small = |segment: &ManifestSegment| {
        segment.bytes < segment_bytes / SMALL_PART && !is_damaged(segment)
    };
    let (mut start, mut bytes) = (0, 0);
    for (index, segment) in segments.iter().enumerate() {
        if !is_small(segment) {
            if index - start >= SEGMENTS_MIN {
                return Some(start..index);
            }
            (start, bytes) = (index + 1, 0);
            continue;
        }
        if bytes + segment.bytes > segment_bytes {
            if index - start >= SEGMENTS_MIN {
                return Some(start..index);
            }
            (start, bytes) = (index, 0);
        }
        bytes += segment.bytes;
    }
    let end = segments.len();
    // The latest are merged once more of them have come, unless they are many.
    (end - start >= SEGMENTS_MIN).then_some(start..end)
}

/// The segments in a range of offsets.
fn within(segments: &[ManifestSegment], base: Offset, end: Offset) -> Range<usize> {
    let from = segments.partition_point(|segment| segment.base < base);
    let to = segments.partition_point(|segment| segment.end <= end);
    from..to.max(from)
}

async fn carry_out(
    context: &Context,
    owned: &Owned,
    state: &mut OwnedState,
    chosen: Range<usize>,
) -> Result<Option<usize>, CompactionError> {
    let inputs = state.segments[chosen.clone()].to_vec();
    let pending = state.seen.record.intent.as_deref().cloned();
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
        return abandon(context, owned, state).await;
    };
    let (base, end) = (first.base, last.end);
    if let Some(intent) = &pending
        && (base, end) != (intent.base, intent.end)
    {
        return abandon(context, owned, state).await;
    }
    let read = read_inputs(context, owned, &inputs).await?;
    let created = pending.as_ref().map_or_else(wall_clock, |p| p.created_ms);
    let chunks = read.bodies;
    let build = move || {
        let points = time_points(&chunks).unwrap_or_default();
        KfsObject::build(base, created, chunks).map(|kfs| (kfs, points))
    };
    let (kfs, points) = super::pool::run(build).await??;
    let etag = match pending.as_ref().and_then(etag_of) {
        Some(etag) => etag,
        None => {
            let intent = Intent {
                base,
                end,
                created_ms: created,
                kind: IntentKind::Extend {
                    etag: read.etag.as_str().to_owned(),
                },
                object_bytes: Some(kfs.len),
                object_crc32c: None,
            };
            begin(context, owned, state, intent).await?;
            read.etag
        }
    };
    let id = owned.handle.id;
    let [_, key] = object_keys(&context.keys, &owned.dir, id.partition, base);
    put_over(context, &key, &kfs, etag).await?;
    let merged = Stored {
        segment: manifest_segment(&kfs, base, end, points),
        index: kfs.index,
    };
    adopt(context, owned, state, chosen, merged).await?;
    let gone = inputs.iter().skip(1);
    let gone: Vec<String> = gone
        .flat_map(|input| object_keys(&context.keys, &owned.dir, id.partition, input.base))
        .collect();
    context.metrics.segments_deleted.add(gone.len() as u64 / 2);
    if context.objects.delete(&gone).await > 0 {
        tracing::warn!(partition = %id, "merged segments could not be deleted; a takeover tries again");
    }
    Ok(Some(inputs.len()))
}

/// The bodies of segments, and the ETag of the first.
struct Inputs {
    bodies: Vec<Bytes>,
    etag: ETag,
}

async fn read_inputs(
    context: &Context,
    owned: &Owned,
    inputs: &[ManifestSegment],
) -> Result<Inputs, CompactionError> {
    let partition = owned.handle.id.partition;
    let mut bodies = Vec::with_capacity(inputs.len());
    let mut etag = None;
    for input in inputs {
        let damaged = |reason: &str| ReadSegmentError::Damaged {
            key: context.keys.segment(&owned.dir, partition, input.base),
            reason: reason.to_owned(),
        };
        let found = read_stored(context, owned, input.base).await?;
        let whole = found.ok_or_else(|| damaged("it is gone"))?;
        etag.get_or_insert(whole.etag);
        bodies.push(whole.body);
        if whole.segment.end == input.end {
            continue;
        }
        // The first may be the merged one already, from an earlier try.
        if bodies.len() == 1 && Some(whole.segment.end) == inputs.last().map(|last| last.end) {
            break;
        }
        return Err(damaged("it does not end where it should").into());
    }
    let etag = etag.expect("there is a first segment");
    Ok(Inputs { bodies, etag })
}

/// Segments of a merge that was begun are gone: the log start has passed its base, whose object was
/// deleted, so that nobody's late PUT over it can succeed any more.
async fn abandon(
    context: &Context,
    owned: &Owned,
    state: &mut OwnedState,
) -> Result<Option<usize>, CompactionError> {
    tracing::info!(partition = %owned.handle.id, "a merge is given up: its segments are gone");
    finish(context, owned, state).await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use segment::TimestampMs;

    fn segments(sizes: &[u64]) -> Vec<ManifestSegment> {
        let segment = |(index, bytes): (usize, &u64)| ManifestSegment {
            base: Offset::new(index as i64 * 10),
            end: Offset::new(index as i64 * 10 + 10),
            bytes: *bytes,
            crc32: 0,
            created: TimestampMs::ZERO,
            max_timestamp: TimestampMs::ZERO,
            max_timestamp_offset: None,
            time_points: Vec::new(),
        };
        sizes.iter().enumerate().map(segment).collect()
    }

    #[test]
    fn neighbors_that_are_small_and_many_are_merged_and_fit_one_segment() {
        let choose = |sizes: &[u64]| choose(&segments(sizes), 100, |_| false);
        assert_eq!(choose(&[10; 7]), None, "too few");
        assert_eq!(choose(&[10; 8]), Some(0..8));
        assert_eq!(
            choose(&[10; 30]),
            Some(0..10),
            "no more than one segment holds"
        );
        assert_eq!(choose(&[24; 30]), None, "four do not become fewer by much");
        let mut mixed = vec![90, 10, 10, 60];
        mixed.extend([5; 9]);
        assert_eq!(choose(&mixed), Some(4..13));
        assert_eq!(choose(&[25; 20]), None);
        assert_eq!(choose(&[]), None);
        let damaged = |segment: &ManifestSegment| segment.base == Offset::new(50);
        let small = segments(&[10; 14]);
        assert_eq!(super::choose(&small, 1_000, damaged), Some(6..14));
        let mut before = vec![5; 9];
        before.push(90);
        assert_eq!(choose(&before), Some(0..9));
    }
}
