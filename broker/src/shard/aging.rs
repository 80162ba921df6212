//! Which partitions are looked at for producers whose state has expired, and when.
//!
//! Shard-owned. Only partitions that know a producer are here, each once, in the order of their next look: an
//! idle partition costs nothing.

use std::collections::{HashSet, VecDeque};

use segment::TopicPartition;

/// Partitions that one look takes at most; the others wait for the next one.
pub(super) const LOOKS_MAX: usize = 1_000;

/// Partitions with producers, and when each is looked at next, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Aging {
    queue: VecDeque<(u64, TopicPartition)>,
}

impl Aging {
    /// Looks at a partition at `due_ms`, which is not before that of any other.
    pub(super) fn watch(&mut self, id: TopicPartition, due_ms: u64) {
        self.queue.push_back((due_ms, id));
    }

    /// Looks at a partition before all others.
    pub(super) fn watch_now(&mut self, id: TopicPartition, now_ms: u64) {
        self.queue.push_front((now_ms, id));
    }

    /// The next partition to look at, if its time has come.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<TopicPartition> {
        let (due_ms, _) = self.queue.front()?;
        if *due_ms > now_ms {
            return None;
        }
        self.queue.pop_front().map(|(_, id)| id)
    }

    /// Looks no more at partitions that have been closed.
    pub(super) fn forget(&mut self, ids: &[TopicPartition]) {
        if self.queue.is_empty() {
            return;
        }
        let ids: HashSet<&TopicPartition> = ids.iter().collect();
        self.queue.retain(|(_, id)| !ids.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use segment::{PartitionIndex, TopicId};

    use super::*;

    fn id(index: i32) -> TopicPartition {
        TopicPartition::new(TopicId::ZERO, PartitionIndex::new(index))
    }

    #[test]
    fn each_partition_is_looked_at_when_its_time_has_come() {
        let mut aging = Aging::default();
        assert_eq!(aging.due(u64::MAX), None);
        aging.watch(id(1), 600);
        aging.watch(id(2), 700);
        aging.watch_now(id(3), 10);
        assert_eq!(
            aging.due(10),
            Some(id(3)),
            "what was loaded is looked at first"
        );
        assert_eq!(aging.due(599), None);
        assert_eq!(aging.due(650), Some(id(1)));
        assert_eq!(aging.due(650), None);
        aging.watch(id(1), 1_250);
        aging.forget(&[id(2), id(9)]);
        assert_eq!(aging.due(2_000), Some(id(1)));
        assert_eq!(aging.due(u64::MAX), None);
    }
}
