//! The leader epochs of a log, told by its batches.
//!
//! Batches keep the epochs in which they were written. A consumer asks where an epoch ended
//! (OffsetForLeaderEpoch) to find out whether its position is still on the log; it asks for the epoch
//! of a batch that it has read. So the history of a log that was made from batches is that of its
//! batches, as Kafka rebuilds it when it recovers a log.

use coord::keys::partition::EpochStart;
use segment::batch::BatchHeader;
use segment::wal::WalEntry;
use segment::{LeaderEpoch, Offset};

/// Where epochs begin. They rise; a batch of an earlier epoch, or of none, begins nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochHistory(Vec<EpochStart>);

impl EpochHistory {
    /// The next batch.
    pub fn batch(&mut self, header: &BatchHeader) {
        self.start(EpochStart {
            epoch: header.leader_epoch,
            start: header.base_offset,
        });
    }

    /// A history that was recorded.
    pub fn from_starts(starts: Vec<EpochStart>) -> Self {
        Self(starts)
    }

    /// The next section of a WAL object, all of one epoch.
    pub fn section(&mut self, entry: &WalEntry) {
        self.start(EpochStart {
            epoch: entry.leader_epoch,
            start: entry.first_offset,
        });
    }

    /// What is told of the batches that follow.
    pub fn append(&mut self, next: &Self) {
        next.0.iter().for_each(|start| self.start(*start));
    }

    fn start(&mut self, start: EpochStart) {
        let last = self.0.last();
        let rises = last.is_none_or(|last| last.epoch < start.epoch && last.start <= start.start);
        if start.epoch >= LeaderEpoch::ZERO && rises {
            self.0.push(start);
        }
    }

    /// The starts, in order.
    pub fn starts(&self) -> &[EpochStart] {
        &self.0
    }

    /// The last epoch, at least 0: who takes the partition takes the next one, which is above that of
    /// every batch.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.0.last().map_or(LeaderEpoch::ZERO, |last| last.epoch)
    }

    /// Where the epochs begin of a log that ends at `end`.
    pub fn into_starts(self, end: Offset) -> Vec<EpochStart> {
        let mut starts = self.0;
        starts.retain(|start| start.start < end);
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segment::record::{NewRecord, RecordBatchBuilder};

    fn header(base: i64, epoch: i32) -> BatchHeader {
        let mut builder = RecordBatchBuilder::new()
            .base_offset(Offset::new(base))
            .leader_epoch(LeaderEpoch::new(epoch));
        builder.push(NewRecord::default()).unwrap();
        BatchHeader::parse(&builder.build().unwrap()).unwrap()
    }

    #[test]
    fn epochs_only_rise() {
        let mut history = EpochHistory::default();
        assert_eq!(history.leader_epoch(), LeaderEpoch::ZERO);
        for (base, epoch) in [(0, -1), (5, 2), (9, 2), (12, 1), (20, 7)] {
            history.batch(&header(base, epoch));
        }
        let mut whole = EpochHistory::default();
        whole.batch(&header(1, 0));
        whole.append(&history);
        let starts: Vec<(i32, i64)> = whole
            .starts()
            .iter()
            .map(|start| (start.epoch.get(), start.start.get()))
            .collect();
        assert_eq!(starts, [(0, 1), (2, 5), (7, 20)]);
        assert_eq!(whole.leader_epoch(), LeaderEpoch::new(7));
        assert_eq!(whole.into_starts(Offset::new(20)).len(), 2);
    }
}
