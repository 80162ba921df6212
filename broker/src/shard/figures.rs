//! A shard in numbers, for the console and `/debug`: asked for by the control thread, a bounded number of
//! partitions a message.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use coord::groups::{StoredGroup, WriteOp};
use segment::TopicPartition;

use super::Shard;
use crate::partition::{LogFigures, PartitionMap};

/// Partitions of one message: some 50 us of a shard's time.
pub const FIGURES_MAX: usize = 512;
/// Rebalances that a shard remembers.
const REBALANCES_MAX: usize = 64;

/// What this shard has read of one partition for clients. Shard-owned.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ReadCounts {
    /// Bytes of batches in replies.
    pub bytes: u64,
    /// Reads that found something in memory.
    pub hits: u64,
    /// Reads for which the owner was asked, who may have had to ask the store.
    pub misses: u64,
}

/// One partition, as one shard knows it.
#[derive(Debug, Clone, Copy)]
pub struct PartitionFigures {
    /// Its log, where this shard owns it.
    pub log: Option<LogFigures>,
    /// Bytes of its tail in memory, with what they take beside.
    pub tail_bytes: u64,
    /// What this shard has read of it for its clients, since the broker's session began.
    pub reads: ReadCounts,
}

/// A generation of a group that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebalance {
    /// Wall clock, in milliseconds.
    pub at_ms: i64,
    /// The group.
    pub group: String,
    /// Its new generation.
    pub generation: i32,
    /// Its members.
    pub members: usize,
}

/// What a shard counts for people who look at it. Shard-owned.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Takes memory for partitions that were read, as long as their topic exists.
    reads: RefCell<PartitionMap<ReadCounts>>,
    rebalances: RefCell<VecDeque<Rebalance>>,
}

impl Noted {
    /// Forgets a deleted topic.
    pub(super) fn forget(&self, topics: &[segment::TopicId]) {
        let mut reads = self.reads.borrow_mut();
        reads.retain(|id, _| !topics.contains(&id.topic));
    }

    /// Notes the generations among what a slot is about to write.
    pub(super) fn groups_written(&self, ops: &[WriteOp]) {
        for op in ops {
            if let WriteOp::PutGroup(group) = op {
                self.rebalanced(group);
            }
        }
    }

    fn rebalanced(&self, group: &StoredGroup) {
        let mut all = self.rebalances.borrow_mut();
        let (name, generation) = (group.group.as_str(), group.generation.get());
        let is_known = |it: &Rebalance| it.group == name && it.generation == generation;
        // A group is written anew in one generation when a static member comes back.
        if generation == 0 || all.iter().any(is_known) {
            return;
        }
        if all.len() == REBALANCES_MAX {
            all.pop_front();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let at_ms = since.unwrap_or_default().as_millis();
        all.push_back(Rebalance {
            at_ms: i64::try_from(at_ms).unwrap_or(i64::MAX),
            group: name.to_owned(),
            generation,
            members: group.members.len(),
        });
    }
}

impl Shard {
    /// Counts a read that gave something. Takes memory for the first of a partition alone.
    #[inline]
    pub(crate) fn count_read(&self, id: TopicPartition, bytes: u64, is_hit: bool) {
        let mut reads = self.noted.reads.borrow_mut();
        let counts = match reads.get_mut(id) {
            Some(counts) => counts,
            None => {
                reads.insert(id, ReadCounts::default());
                reads.get_mut(id).expect("it has just been put there")
            }
        };
        counts.bytes += bytes;
        match is_hit {
            true => counts.hits += 1,
            false => counts.misses += 1,
        }
    }

    /// Partitions in numbers; see [`FIGURES_MAX`].
    pub fn figures(&self, ids: &[TopicPartition]) -> Vec<PartitionFigures> {
        assert!(ids.len() <= FIGURES_MAX, "a shard is not kept for long");
        let (reads, tail) = (self.noted.reads.borrow(), self.tail.borrow());
        let one = |id: &TopicPartition| PartitionFigures {
            log: self.with_log(*id, |log| log.figures()),
            tail_bytes: tail.owner_bytes(id),
            reads: reads.get(*id).copied().unwrap_or_default(),
        };
        ids.iter().map(one).collect()
    }

    /// The rebalances that are remembered, oldest first.
    pub fn rebalances(&self) -> Vec<Rebalance> {
        self.noted.rebalances.borrow().iter().cloned().collect()
    }
}
