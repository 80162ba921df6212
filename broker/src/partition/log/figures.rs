//! What a log is, in numbers: for people who look at it.

use segment::{LeaderEpoch, Offset};

use super::PartitionLog;

/// A log in numbers. Each costs no pass over records or sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFigures {
    /// Epoch of this ownership.
    pub leader_epoch: LeaderEpoch,
    /// First readable offset.
    pub log_start: Offset,
    /// Offset below which everything is in segments.
    pub compacted_end: Offset,
    /// Offset below which everything is durable and visible.
    pub high_watermark: Offset,
    /// Offset that the next record will get.
    pub log_end: Offset,
    /// Bytes acknowledged since the log was opened here.
    pub bytes_in: u64,
    /// Records acknowledged since then.
    pub records_in: u64,
    /// Bytes in WAL sections that no segment holds.
    pub wal_bytes: u64,
    /// Such sections.
    pub wal_sections: usize,
    /// Segments.
    pub segments: usize,
    /// Bytes appended and not acknowledged, but for what is being uploaded.
    pub open_bytes: u64,
    /// Idempotent producers known.
    pub producers: usize,
}

impl PartitionLog {
    /// The log in numbers.
    pub fn figures(&self) -> LogFigures {
        let contents = self.contents();
        LogFigures {
            leader_epoch: self.leader_epoch,
            log_start: self.log_start,
            compacted_end: self.compacted_end,
            high_watermark: self.high_watermark,
            log_end: self.log_end,
            bytes_in: contents.appended.bytes,
            records_in: contents.appended.records,
            wal_bytes: contents.slot_bytes,
            wal_sections: contents.slots.len(),
            segments: contents.segments.len(),
            open_bytes: contents.open_bytes,
            producers: contents.producers.len(),
        }
    }
}
