//! What to compact now, as a pure function.

use std::time::Duration;

use coord::rules::{self, Rule};
use segment::{SessionId, WalSequence};

use crate::shard::CompactionCandidate;

/// Below so many bytes a partition waits longer, so that segments do not get tiny.
const SMALL_BYTES: u64 = 1 << 20;
/// How much longer: with the default of 10 minutes it is the hour of DESIGN §6.
const SMALL_STRETCH: u32 = 6;

/// What decides.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// A partition whose oldest batches are so old is compacted.
    pub interval: Duration,
    /// WAL objects that may wait for compaction.
    pub backlog_max: usize,
}

/// The WAL objects that wait for compaction.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    /// Our session.
    pub session: SessionId,
    /// First object of ours that is needed.
    pub first: WalSequence,
    /// The sequence after the last.
    pub end: WalSequence,
    /// Objects of earlier sessions.
    pub inherited: usize,
}

impl Backlog {
    /// How many there are.
    pub fn objects(&self) -> usize {
        let own = self.end.get().saturating_sub(self.first.get());
        usize::try_from(own)
            .unwrap_or(usize::MAX)
            .saturating_add(self.inherited)
    }
}

impl Policy {
    /// Whether produce must be refused.
    pub fn is_full(&self, backlog: &Backlog) -> bool {
        backlog.objects() >= self.backlog_max && rules::holds(Rule::BacklogIsBounded)
    }

    /// From half of the bound on the partitions of the oldest objects are compacted, whatever their
    /// size or age.
    fn is_pressing(&self, candidate: &CompactionCandidate, backlog: &Backlog) -> bool {
        let excess = backlog.objects().saturating_sub(self.backlog_max / 2) as u64;
        let (session, sequence) = candidate.oldest;
        let inherited = session != backlog.session;
        excess > 0 && (inherited || sequence.get() < backlog.first.get() + excess)
    }

    /// Whether a partition's compaction has to keep to the budget of PUTs: it is small, and the
    /// backlog can wait.
    pub fn is_budgeted(&self, candidate: &CompactionCandidate, backlog: &Backlog) -> bool {
        is_small(candidate) && !self.is_pressing(candidate, backlog)
    }

    /// Whether there are half as many as may be: from then on they are to be few.
    pub fn is_high(&self, backlog: &Backlog) -> bool {
        backlog.objects() >= self.backlog_max / 2
    }

    /// The partitions to compact now, the most pressing first.
    pub fn choose(
        &self,
        candidates: &[CompactionCandidate],
        backlog: &Backlog,
    ) -> Vec<CompactionCandidate> {
        let pressing = |candidate: &CompactionCandidate| self.is_pressing(candidate, backlog);
        let due = |candidate: &CompactionCandidate| {
            let interval = if is_small(candidate) && rules::holds(Rule::SmallPartitionsWait) {
                self.interval * SMALL_STRETCH
            } else {
                self.interval
            };
            let old = u128::from(candidate.age_ms) >= interval.as_millis();
            candidate.bytes >= candidate.segment_bytes || old
        };
        let chosen = candidates
            .iter()
            .filter(|candidate| pressing(candidate) || due(candidate));
        let mut chosen: Vec<CompactionCandidate> = chosen.copied().collect();
        let age = |candidate: &CompactionCandidate| {
            let (session, sequence) = candidate.oldest;
            (!pressing(candidate), session == backlog.session, sequence)
        };
        chosen.sort_by_key(age);
        chosen
    }
}

fn is_small(candidate: &CompactionCandidate) -> bool {
    candidate.bytes < SMALL_BYTES.min(candidate.segment_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use segment::{PartitionIndex, TopicId, TopicPartition};

    const OURS: SessionId = SessionId::new([1; 16]);
    const DEAD: SessionId = SessionId::new([2; 16]);

    fn candidate(
        index: i32,
        bytes: u64,
        age_ms: u64,
        oldest: (SessionId, u64),
    ) -> CompactionCandidate {
        CompactionCandidate {
            id: TopicPartition::new(TopicId::new([9; 16]), PartitionIndex::new(index)),
            bytes,
            segment_bytes: 64 << 20,
            oldest: (oldest.0, WalSequence::new(oldest.1)),
            age_ms,
        }
    }

    #[test]
    fn the_size_of_a_segment_is_that_of_its_topic() {
        let mut small = candidate(1, 3 << 20, 0, (OURS, 5));
        assert!(policy().choose(&[small], &backlog(5, 6, 0)).is_empty());
        small.segment_bytes = 2 << 20;
        assert_eq!(policy().choose(&[small], &backlog(5, 6, 0)).len(), 1);
    }

    fn policy() -> Policy {
        Policy {
            interval: Duration::from_secs(600),
            backlog_max: 100,
        }
    }

    fn backlog(first: u64, end: u64, inherited: usize) -> Backlog {
        Backlog {
            session: OURS,
            first: WalSequence::new(first),
            end: WalSequence::new(end),
            inherited,
        }
    }

    fn chosen(candidates: &[CompactionCandidate], backlog: Backlog) -> Vec<i32> {
        let chosen = policy().choose(candidates, &backlog);
        chosen
            .iter()
            .map(|candidate| candidate.id.partition.get())
            .collect()
    }

    #[test]
    fn size_and_age_decide_and_small_partitions_wait_longer() {
        let hour = 3_600_000;
        let all = [
            candidate(0, 64 << 20, 0, (OURS, 9)),
            candidate(1, 2 << 20, 600_000, (OURS, 5)),
            candidate(2, 1000, 600_000, (OURS, 1)),
            candidate(3, 1000, hour, (OURS, 2)),
            candidate(4, 63 << 20, 599_999, (OURS, 3)),
        ];
        assert_eq!(chosen(&all, backlog(1, 20, 0)), [3, 1, 0]);
    }

    #[test]
    fn from_half_of_the_bound_on_the_oldest_objects_go_first() {
        let all = [
            candidate(0, 10, 0, (OURS, 30)),
            candidate(1, 10, 0, (OURS, 1)),
            candidate(2, 10, 0, (DEAD, 900)),
        ];
        assert_eq!(chosen(&all, backlog(1, 51, 0)), [0; 0]);
        assert_eq!(chosen(&all, backlog(1, 61, 5)), [2, 1]);
        let budgeted = |at: usize| policy().is_budgeted(&all[at], &backlog(1, 61, 5));
        assert_eq!(
            [budgeted(0), budgeted(1), budgeted(2)],
            [true, false, false]
        );
        assert!(!policy().is_high(&backlog(1, 50, 0)) && policy().is_high(&backlog(1, 51, 0)));
        assert!(!policy().is_full(&backlog(1, 100, 0)));
        assert!(policy().is_full(&backlog(1, 100, 1)));
    }
}
