//! What moves a log from the WAL into segments: sections that wait, plans, segments that take their place.
//!
//! Shard-owned, without I/O. A plan names whole sections from the oldest on, one plan at a time; what it became is a
//! segment at the end of those that are there, or one in the place of neighbors that were merged.

use segment::{Offset, TimestampMs};

use super::{PartitionLog, RunSlot, SegmentPlan, SegmentRef};

impl PartitionLog {
    /// The WAL section that holds `offset`, if no segment does.
    pub fn slot_at(&self, offset: Offset) -> Option<&RunSlot> {
        let slots = &self.contents().slots;
        let index = slots.partition_point(|slot| slot.last < offset);
        slots.get(index).filter(|slot| slot.first <= offset)
    }

    /// Bytes in WAL sections that no segment holds yet.
    pub fn uncompacted_bytes(&self) -> u64 {
        self.contents().slot_bytes
    }

    /// The oldest WAL section that no segment holds yet, and when it was acknowledged.
    pub fn oldest_slot(&self) -> Option<&RunSlot> {
        self.contents().slots.front()
    }

    /// The newest such section.
    pub fn newest_slot(&self) -> Option<&RunSlot> {
        self.contents().slots.back()
    }

    /// Plans the next segment: whole sections of at most `bytes_max`, but at least one. `None` when there
    /// is nothing to compact or a plan is being carried out.
    pub fn plan_segment(&mut self, bytes_max: u64) -> Option<SegmentPlan> {
        let contents = self.contents.as_deref_mut()?;
        if contents.planned_end.is_some() {
            return None;
        }
        let mut bytes = 0;
        let mut max_timestamp = TimestampMs::NONE;
        let mut slots = Vec::new();
        for slot in &contents.slots {
            if !slots.is_empty() && bytes + slot.bytes() > bytes_max {
                break;
            }
            bytes += slot.bytes();
            max_timestamp = max_timestamp.max(slot.max_timestamp);
            slots.push(slot.clone());
        }
        let end = slots.last()?.last.next()?;
        assert!(
            slots
                .first()
                .is_some_and(|slot| slot.first >= self.compacted_end),
            "the next segment begins where the last one ended, or later"
        );
        assert!(
            end <= self.high_watermark,
            "only what is acknowledged goes into a segment"
        );
        let tail = contents.tail.tail();
        let parts = slots
            .into_iter()
            .map(|slot| {
                let run = tail
                    .run_at(slot.first)
                    .filter(|run| run.last() == slot.last);
                (slot, run)
            })
            .collect();
        contents.planned_end = Some(end);
        Some(SegmentPlan {
            base: self.compacted_end,
            end,
            max_timestamp,
            bytes,
            parts,
            producers: contents.producers.at(end),
            leader_epoch: self.leader_epoch,
        })
    }

    /// The planned segment was not written: another plan may be made.
    pub fn plan_failed(&mut self) {
        if let Some(contents) = &mut self.contents {
            contents.planned_end = None;
        }
    }

    /// The planned segment is durable and the partition's record names it.
    ///
    /// # Panics
    /// If the segment is not the planned one.
    pub fn compacted(&mut self, mut segment: SegmentRef) {
        let contents = self.contents.get_or_insert_default();
        assert!(
            contents.planned_end == Some(segment.end),
            "only a planned segment is adopted"
        );
        assert!(
            segment.base == self.compacted_end,
            "segments are contiguous"
        );
        assert!(segment.base < segment.end, "a segment has records");
        contents.planned_end = None;
        self.compacted_end = segment.end;
        let slots = &mut contents.slots;
        while let Some(slot) = slots.pop_front_if(|slot| slot.last < segment.end) {
            contents.slot_bytes -= slot.bytes();
        }
        assert!(
            slots
                .front()
                .is_none_or(|slot| slot.first >= self.compacted_end),
            "what no segment holds begins where the segments end, or later"
        );
        assert!(
            !slots.is_empty() || contents.slot_bytes == 0,
            "the bytes of sections are counted"
        );
        if let Some(last) = contents.segments.last() {
            segment.share_dir(last);
        }
        contents.segments.push(segment);
    }

    /// A segment takes the place of neighbors that were merged into it.
    ///
    /// # Panics
    /// If it does not begin and end where they do.
    pub fn merged(&mut self, mut segment: SegmentRef) {
        let segments = &mut self.contents.get_or_insert_default().segments;
        let from = segments.partition_point(|s| s.base < segment.base);
        let to = segments.partition_point(|s| s.end <= segment.end);
        let replaced = segments.get(from..to).unwrap_or_default();
        let base = replaced.first().map(|first| first.base);
        let end = replaced.last().map(|last| last.end);
        assert!(
            (base, end) == (Some(segment.base), Some(segment.end)),
            "a merged segment covers what it replaces"
        );
        segment.share_dir(&segments[from]);
        segments.splice(from..to, [segment]);
    }
}
