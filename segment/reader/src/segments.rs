//! The segments of a partition: LIST, and the manifest as a hint.
//!
//! A manifest entry is believed where LIST shows a segment of its base and its length (as the broker
//! does); of any other segment the footer is read.

use std::collections::HashMap;

use futures_util::StreamExt;
use segment::index::Index;
use segment::keys::{KeySpace, ObjectKey as Named, TopicDir};
use segment::kfs::{KFS_FOOTER_BYTES, KFS_HEADER_BYTES, KfsFooter, body_range};
use segment::manifest::{Manifest, ManifestSegment};
use segment::{Offset, TimestampMs, TopicPartition};
use store::{GetError, GetRange};

use crate::error::ReadError;
use crate::objects::Objects;
use crate::stretch::{Order, Stretch};

/// Footers that are read at a time.
const READS_AT_ONCE: usize = 16;

/// A segment.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// What the manifest tells of it.
    told: Option<ManifestSegment>,
}

impl Segment {
    /// Whether no record of it has this timestamp or a later one, as far as is known.
    pub(crate) fn is_before(&self, since: TimestampMs) -> bool {
        self.told
            .as_ref()
            .is_some_and(|told| told.max_timestamp < since)
    }

    /// An offset before which no record of it has this timestamp or a later one.
    pub(crate) fn offset_since(&self, since: TimestampMs) -> Option<Offset> {
        let (offset, _) = self.told.as_ref()?.find_block(since, u32::MAX)?;
        Some(offset)
    }
}

/// The segments that cover the log up to a compacted end, in order, without a gap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chain {
    segments: Vec<Segment>,
    /// The first offset that is covered.
    pub(crate) from: Offset,
    /// The compacted end.
    pub(crate) end: Offset,
}

impl Chain {
    /// The segment that holds an offset.
    pub(crate) fn at(&self, offset: Offset) -> Option<&Segment> {
        let at = self
            .segments
            .partition_point(|segment| segment.end <= offset);
        self.segments
            .get(at)
            .filter(|segment| segment.base <= offset)
    }
}

/// Finds the segments of a partition.
pub(crate) async fn find(
    objects: &Objects,
    keys: &KeySpace,
    dir: &TopicDir,
    id: TopicPartition,
    compacted_end: Offset,
) -> Result<Chain, ReadError> {
    if compacted_end == Offset::ZERO {
        return Ok(Chain::default());
    }
    let listed = objects
        .list(&keys.partition_prefix(dir, id.partition))
        .await?;
    let told = read_manifest(objects, keys, dir, id).await;
    let (mut all, mut unknown) = (Vec::new(), Vec::new());
    for meta in &listed {
        let Some(Named::Segment { base, .. }) = keys.parse(meta.key.as_str()) else {
            continue;
        };
        if base >= compacted_end {
            continue;
        }
        let told = told.get(&base).filter(|told| told.bytes == meta.len);
        match told {
            Some(told) => all.push(Segment {
                base,
                end: told.end,
                bytes: told.bytes,
                told: Some(told.clone()),
            }),
            None => unknown.push(base),
        }
    }
    let read = |base| read_footer(objects, keys, dir, id, base);
    let mut read = futures_util::stream::iter(unknown)
        .map(read)
        .buffered(READS_AT_ONCE);
    while let Some(found) = read.next().await {
        // One that has gone meanwhile does not count as coverage.
        all.extend(found?);
    }
    Ok(contiguous(all, compacted_end))
}

/// Of those that end together the widest is taken: the others were merged into it. What no chain
/// leads to (a late segment of a dead session) is left out.
fn contiguous(segments: Vec<Segment>, compacted_end: Offset) -> Chain {
    let mut by_end: HashMap<Offset, Segment> = HashMap::new();
    for segment in segments
        .into_iter()
        .filter(|segment| segment.base < segment.end)
    {
        match by_end.get(&segment.end) {
            Some(other) if other.base <= segment.base => {}
            _ => {
                by_end.insert(segment.end, segment);
            }
        }
    }
    let mut from = compacted_end;
    let mut chain = Vec::new();
    while let Some(segment) = by_end.remove(&from) {
        from = segment.base;
        chain.push(segment);
    }
    chain.reverse();
    Chain {
        segments: chain,
        from,
        end: compacted_end,
    }
}

/// What the manifest tells of segments, by base. It is a hint: without it footers are read.
async fn read_manifest(
    objects: &Objects,
    keys: &KeySpace,
    dir: &TopicDir,
    id: TopicPartition,
) -> HashMap<Offset, ManifestSegment> {
    let key = keys.manifest(dir, id.partition);
    let Ok(found) = objects.get(&key, GetRange::Full).await else {
        return HashMap::new();
    };
    match Manifest::parse(&found.bytes) {
        Ok(manifest) if manifest.partition == id => {
            let segments = manifest.segments.into_iter();
            segments.map(|segment| (segment.base, segment)).collect()
        }
        Ok(_) => HashMap::new(),
        Err(error) => {
            tracing::warn!(%key, %error, "the manifest cannot be read; footers are read");
            HashMap::new()
        }
    }
}

async fn read_footer(
    objects: &Objects,
    keys: &KeySpace,
    dir: &TopicDir,
    id: TopicPartition,
    base: Offset,
) -> Result<Option<Segment>, ReadError> {
    let key = keys.segment(dir, id.partition, base);
    let range = GetRange::Suffix(KFS_FOOTER_BYTES as u64);
    let found = match objects.get(&key, range).await {
        Ok(found) => found,
        Err(GetError::NotFound { .. }) => return Ok(None),
        Err(GetError::RangeNotSatisfiable { .. }) => {
            return Err(ReadError::damaged(&key, "it is empty"));
        }
        Err(error) => return Err(error.into()),
    };
    let damaged = |reason: &dyn ToString| ReadError::damaged(&key, reason.to_string());
    let footer = KfsFooter::parse(&found.bytes).map_err(|error| damaged(&error))?;
    let end = footer.last_offset.next().filter(|end| *end > base);
    let end = end.ok_or_else(|| damaged(&"its last offset lies before its first"))?;
    Ok(Some(Segment {
        base,
        end,
        bytes: found.object_len,
        told: None,
    }))
}

/// Opens a segment to be read from `from` on: the index tells where the batch with that offset
/// begins. Gives the stretch, and the stretch from the segment's start, to be used if the index
/// turns out not to be of this segment.
pub(crate) async fn open(
    objects: &Objects,
    keys: &KeySpace,
    dir: &TopicDir,
    id: TopicPartition,
    segment: &Segment,
    from: Offset,
) -> Result<(Option<Stretch>, Stretch), ReadError> {
    let key = keys.segment(dir, id.partition, segment.base);
    let body =
        body_range(segment.bytes).ok_or_else(|| ReadError::damaged(&key, "it is too short"))?;
    let whole = Stretch {
        key: key.into(),
        object_len: Some(segment.bytes),
        next: body.start,
        end: body.end,
        offset: segment.base,
        end_offset: segment.end,
        order: Order::Rising,
        is_indexed: false,
        etag: None,
    };
    if from == segment.base {
        return Ok((None, whole));
    }
    let key = keys.index(dir, id.partition, segment.base);
    let index = match objects.get(&key, GetRange::Full).await {
        Ok(found) => Index::parse(&found.bytes),
        // It is derived: without it the segment is read from its start.
        Err(GetError::NotFound { .. } | GetError::Corrupt { .. }) => return Ok((None, whole)),
        Err(error) => return Err(error.into()),
    };
    let entry = match index {
        Ok(index) => index.lookup(from),
        Err(error) => {
            tracing::warn!(%key, %error, "an index cannot be read; the segment is read from its start");
            None
        }
    };
    let indexed = entry
        .filter(|entry| entry.position > KFS_HEADER_BYTES as u32)
        .filter(|entry| u64::from(entry.position) < body.end && entry.offset < segment.end)
        .map(|entry| Stretch {
            next: entry.position.into(),
            offset: entry.offset,
            is_indexed: true,
            ..whole.clone()
        });
    Ok((indexed, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base: i64, end: i64) -> Segment {
        Segment {
            base: Offset::new(base),
            end: Offset::new(end),
            bytes: 100,
            told: None,
        }
    }

    fn bases(segments: Vec<Segment>, end: i64) -> Vec<i64> {
        let chain = contiguous(segments, Offset::new(end));
        chain
            .segments
            .iter()
            .map(|segment| segment.base.get())
            .collect()
    }

    #[test]
    fn coverage_ends_at_the_first_gap_below_the_compacted_end() {
        let all = vec![segment(0, 10), segment(20, 30), segment(30, 50)];
        assert_eq!(bases(all, 50), [20, 30]);
        assert!(bases(vec![segment(0, 10)], 50).is_empty());
    }

    #[test]
    fn a_merged_segment_goes_before_those_that_it_holds_and_a_late_one_is_left_out() {
        let all = vec![
            segment(0, 10),
            segment(10, 40),
            segment(20, 30),
            segment(30, 40),
            segment(35, 60),
        ];
        assert_eq!(bases(all, 40), [0, 10]);
    }
}
