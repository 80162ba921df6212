//! Where a segment's records of a time lie: blocks of about 1 MiB, told by the partition's manifest.
//!
//! Control thread. The time points of segments are not kept in memory: the manifest object has them,
//! and the few manifests that were asked for last are cached. It is a hint: what it does not tell
//! of the very bytes of a segment is found by reading.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use segment::kfs;
use segment::manifest::{Manifest, ManifestSegment};
use segment::{Offset, TimestampMs, TopicPartition};

use super::context::Context;
use super::segments::read_manifest;

/// Manifests that are cached: one of 1,000 segments of 64 MiB has about 1.6 MB.
const MANIFESTS_MAX: usize = 8;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeTarget {
    /// The first record that is not older.
    From(TimestampMs),
    /// The first record with the largest timestamp of its segment.
    Largest,
}

/// Where in a segment the record that is looked for lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeBlock {
    /// Among these whole batches.
    At {
        /// Key of the segment.
        key: Arc<str>,
        /// Bytes inside it.
        range: Range<u64>,
        /// Their offsets.
        offsets: Range<Offset>,
    },
    /// Nowhere: go on at this offset, where the segment ends.
    NotBefore(Offset),
    /// It is not known: the segment has to be read.
    Unknown,
}

/// Manifests that were asked for last, the latest at the end.
#[derive(Debug, Default)]
pub struct TimeIndex {
    manifests: RefCell<VecDeque<(TopicPartition, Rc<Manifest>)>>,
}

impl TimeIndex {
    fn cached(&self, id: TopicPartition) -> Option<Rc<Manifest>> {
        let manifests = self.manifests.borrow();
        let found = manifests.iter().find(|(of, _)| *of == id);
        found.map(|(_, manifest)| manifest.clone())
    }

    fn keep(&self, id: TopicPartition, manifest: Rc<Manifest>) {
        let mut manifests = self.manifests.borrow_mut();
        manifests.retain(|(of, _)| *of != id);
        if manifests.len() >= MANIFESTS_MAX {
            manifests.pop_front();
        }
        manifests.push_back((id, manifest));
    }
}

/// The block of the segment at `base` that holds what is looked for at or after offset `from`.
pub async fn time_block(
    context: &Context,
    id: TopicPartition,
    base: Offset,
    target: TimeTarget,
    from: Offset,
) -> TimeBlock {
    let found = find(context, id, base, target, from).await;
    found.unwrap_or(TimeBlock::Unknown)
}

async fn find(
    context: &Context,
    id: TopicPartition,
    base: Offset,
    target: TimeTarget,
    from: Offset,
) -> Option<TimeBlock> {
    let owned = context.owned(id)?;
    let segment = {
        let state = owned.state.lock().await;
        let at = state
            .segments
            .binary_search_by_key(&base, |s| s.base)
            .ok()?;
        state.segments.get(at)?.clone()
    };
    let mut segment = segment;
    if segment.time_points.is_empty() {
        let manifest = {
            match context.times.cached(id) {
                Some(manifest) if told(&manifest, &segment).is_some() => manifest,
                _ => {
                    let Context { objects, keys, .. } = context;
                    let read = Rc::new(read_manifest(objects, keys, &owned.dir, id).await?);
                    context.times.keep(id, read.clone());
                    read
                }
            }
        };
        segment = told(&manifest, &segment)?.clone();
    }
    if segment.time_points.is_empty() {
        return None;
    }
    let key = context.keys.segment(&owned.dir, id.partition, base).into();
    Some(match block_of(&segment, target, from) {
        Some((range, offsets)) => TimeBlock::At {
            key,
            range,
            offsets,
        },
        None => TimeBlock::NotBefore(segment.end),
    })
}

/// What a manifest tells of the very bytes of a segment.
pub fn told<'a>(manifest: &'a Manifest, segment: &ManifestSegment) -> Option<&'a ManifestSegment> {
    let segments = &manifest.segments;
    let at = segments.binary_search_by_key(&segment.base, |s| s.base);
    let found = segments.get(at.ok()?)?;
    let same = found.bytes == segment.bytes && found.crc32 == segment.crc32;
    same.then_some(found)
}

/// Where the block lies, and between which offsets.
fn block_of(
    segment: &ManifestSegment,
    target: TimeTarget,
    from: Offset,
) -> Option<(Range<u64>, Range<Offset>)> {
    let timestamp = match target {
        TimeTarget::From(timestamp) => timestamp,
        TimeTarget::Largest => segment.max_timestamp,
    };
    let points = &segment.time_points;
    let end_of = |number: usize| {
        points
            .get(number + 1)
            .map_or(segment.end, |next| next.offset)
    };
    let number = (0..points.len())
        .find(|number| points[*number].max_timestamp >= timestamp && end_of(*number) > from)?;
    let end = points.get(number + 1).map(|next| u64::from(next.position));
    let body_end = kfs::body_range(segment.bytes)?.end;
    let bytes = u64::from(points[number].position)..end.unwrap_or(body_end);
    Some((bytes, points[number].offset..end_of(number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use segment::manifest::TimePoint;

    fn segment() -> ManifestSegment {
        let point = |(max, offset, position): (i64, i64, u32)| TimePoint {
            max_timestamp: TimestampMs::new(max),
            offset: Offset::new(offset),
            position,
        };
        ManifestSegment {
            base: Offset::new(100),
            end: Offset::new(200),
            bytes: 5_000,
            crc32: 7,
            created: TimestampMs::ZERO,
            max_timestamp: TimestampMs::new(90),
            max_timestamp_offset: None,
            time_points: [
                (50, 100, 32),
                (90, 130, 1_000),
                (20, 160, 2_000),
                (60, 180, 3_000),
            ]
            .map(point)
            .to_vec(),
        }
    }

    #[test]
    fn the_first_block_that_may_hold_it_is_read_and_no_other() {
        let segment = segment();
        let at = |target, from| {
            let found = block_of(&segment, target, Offset::new(from));
            found.map(|(bytes, _)| bytes)
        };
        let from = |time| TimeTarget::From(TimestampMs::new(time));
        assert_eq!(at(from(0), 0), Some(32..1_000));
        assert_eq!(at(from(51), 0), Some(1_000..2_000));
        assert_eq!(
            at(from(60), 160),
            Some(3_000..4_984),
            "the last ends with the body"
        );
        assert_eq!(
            at(from(10), 130),
            Some(1_000..2_000),
            "what lies below is passed over"
        );
        assert_eq!(at(from(91), 0), None);
        assert_eq!(at(TimeTarget::Largest, 0), Some(1_000..2_000));
        assert_eq!(at(TimeTarget::Largest, 160), None);
    }
}
