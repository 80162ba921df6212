//! Which records of a partition are exported.
//!
//! By offset, a range. By time, a record counts by its own timestamp, wherever it lies: those at or
//! after the first bound and before the second. Timestamps need not rise with the offset, so
//! - reading begins at the first offset whose timestamp is at or after the first bound: no record
//!   before it is in the range, and those behind it that are not are left out one by one;
//! - reading ends at the end of the partition, not at the first record that is too late: one that
//!   is not may follow.

use segment::{Offset, PartitionIndex, TimestampMs};

use super::ExportError;

/// Where an export begins or ends in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// At the first record that is there.
    Earliest,
    /// After the last record that is there now.
    Latest,
    /// At an offset (as an end: before it).
    Offset(Offset),
    /// At a time (as an end: before it).
    Time(TimestampMs),
}

/// The records of a partition that are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first offset that is read.
    pub from: Offset,
    /// The offset before which reading ends.
    pub to: Offset,
    /// Records of an earlier time are left out.
    pub not_before: Option<TimestampMs>,
    /// Records of this time and later are left out.
    pub before: Option<TimestampMs>,
}

impl Span {
    /// The records between two bounds in a partition that holds the offsets from `held.0` to before
    /// `held.1`. `first` is the first offset at or after the time of `from`, if that is one.
    ///
    /// # Errors
    /// [`ExportError::OutOfRange`]: an offset that is named is not there, so that records would be
    /// missing without a word.
    pub fn resolve(
        partition: PartitionIndex,
        held: (Offset, Offset),
        from: Bound,
        to: Bound,
        first: Option<Offset>,
    ) -> Result<Self, ExportError> {
        let (start, end) = held;
        let within = |asked: Offset| match (start..=end).contains(&asked) {
            true => Ok(asked),
            false => Err(ExportError::OutOfRange {
                partition,
                asked,
                start,
                end,
            }),
        };
        let place = |bound: Bound, of_time: Offset| match bound {
            Bound::Earliest => Ok(start),
            Bound::Latest => Ok(end),
            Bound::Offset(offset) => within(offset),
            Bound::Time(_) => Ok(of_time),
        };
        let time = |bound: Bound| match bound {
            Bound::Time(time) => Some(time),
            _ => None,
        };
        let from_offset = place(from, first.unwrap_or(start).clamp(start, end))?;
        Ok(Self {
            from: from_offset,
            to: place(to, end)?.max(from_offset),
            not_before: time(from),
            before: time(to),
        })
    }

    /// Offsets in it, of which a compacted topic has fewer records.
    pub fn offsets(&self) -> u64 {
        self.to.distance_from(self.from).unwrap_or(0)
    }

    /// Whether a record is in it. One without a timestamp belongs to no time.
    pub fn holds(&self, offset: Offset, timestamp: TimestampMs) -> bool {
        let is_dated = timestamp != TimestampMs::NONE;
        let is_late_enough = |bound: TimestampMs| is_dated && timestamp >= bound;
        let is_early_enough = |bound: TimestampMs| is_dated && timestamp < bound;
        (self.from..self.to).contains(&offset)
            && self.not_before.is_none_or(is_late_enough)
            && self.before.is_none_or(is_early_enough)
    }
}
