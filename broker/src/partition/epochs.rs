//! Leader-epoch history of a partition: at which offset each owner began (KIP-101, KIP-320).
//!
//! Shard-owned. Invariant: epochs and start offsets rise; an epoch that wrote nothing is dropped.

use std::sync::Arc;

use segment::{LeaderEpoch, Offset};

/// The history, oldest first. Immutable, shared with the reads that are checked against it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochHistory {
    entries: Arc<[(LeaderEpoch, Offset)]>,
}

impl EpochHistory {
    /// A history as the partition's record has it.
    pub fn new(entries: Vec<(LeaderEpoch, Offset)>) -> Self {
        assert!(
            entries.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
            "epochs rise, and so do the offsets where they began"
        );
        assert!(
            entries
                .first()
                .is_none_or(|(epoch, start)| *epoch >= LeaderEpoch::ZERO && start.is_valid()),
            "an epoch and an offset are not negative"
        );
        Self {
            entries: entries.into(),
        }
    }

    /// End offset of the largest epoch at or below `requested`, for a log that ends at `end` in epoch
    /// `current`; `None` where the epoch is unknown (Kafka: `LeaderEpochFileCache.endOffsetFor`).
    pub fn end_of(
        &self,
        requested: LeaderEpoch,
        current: LeaderEpoch,
        end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        assert!(
            self.entries
                .last()
                .is_none_or(|(epoch, _)| *epoch <= current),
            "no epoch is later than that of the owner"
        );
        if requested == current {
            return Some((current, end));
        }
        if requested > current || requested < LeaderEpoch::ZERO {
            return None;
        }
        let after = self
            .entries
            .partition_point(|(epoch, _)| *epoch <= requested);
        match (
            after.checked_sub(1).map(|i| self.entries[i]),
            self.entries.get(after),
        ) {
            (Some((epoch, _)), Some((_, start))) => Some((epoch, *start)),
            (Some((epoch, _)), None) => Some((epoch, end)),
            // Older than anything kept: the log starts with the first kept epoch.
            (None, Some((_, start))) => Some((requested, *start)),
            (None, None) => None,
        }
    }

    /// Epoch of the record at `offset`, if it is known.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|index| self.entries[index].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_end_where_the_next_one_began() {
        let e = LeaderEpoch::new;
        let o = Offset::new;
        let history = EpochHistory::new(vec![(e(0), o(0)), (e(2), o(10)), (e(5), o(30))]);
        assert_eq!(history.end_of(e(0), e(6), o(40)), Some((e(0), o(10))));
        assert_eq!(history.end_of(e(1), e(6), o(40)), Some((e(0), o(10))));
        assert_eq!(history.end_of(e(4), e(6), o(40)), Some((e(2), o(30))));
        assert_eq!(history.end_of(e(5), e(6), o(40)), Some((e(5), o(40))));
        assert_eq!(history.end_of(e(6), e(6), o(40)), Some((e(6), o(40))));
        assert_eq!(history.end_of(e(7), e(6), o(40)), None);
        assert_eq!(history.epoch_at(o(29)), Some(e(2)));
    }
}
