//! H23: partitions that trickle are not compacted as often as others, or their segments would cost
//! more requests than the WAL.

use segment::{PartitionIndex, SessionId, TopicId, WalSequence};

use super::super::policy::{Backlog, Policy};
use super::super::put_budget::PutBudget;
use super::*;
use crate::shard::CompactionCandidate;

const PARTITIONS: usize = 100;
const MINUTE_MS: u64 = 60_000;

fn candidate(index: usize, age_ms: u64) -> CompactionCandidate {
    let partition = PartitionIndex::new(index as i32);
    CompactionCandidate {
        id: TopicPartition::new(TopicId::new([9; 16]), partition),
        bytes: 1_000,
        segment_bytes: 64 << 20,
        oldest: (SessionId::new([1; 16]), WalSequence::new(1)),
        age_ms,
    }
}

fn backlog(objects: u64) -> Backlog {
    Backlog {
        session: SessionId::new([1; 16]),
        first: WalSequence::new(1),
        end: WalSequence::new(1 + objects),
        inherited: 0,
    }
}

/// Every partition gets a record a minute, for three hours, with the default interval.
#[test]
fn h23_small_partitions_are_compacted_once_an_hour() {
    let policy = Policy {
        interval: Duration::from_secs(600),
        backlog_max: 16_384,
    };
    closes(
        Rule::SmallPartitionsWait,
        async || {
            let mut oldest = vec![0; PARTITIONS];
            let mut compactions = 0;
            for minute in 1..=180 {
                let now = minute * MINUTE_MS;
                let aged = oldest.iter().enumerate();
                let all: Vec<_> = aged.map(|(index, at)| candidate(index, now - at)).collect();
                for chosen in policy.choose(&all, &backlog(100)) {
                    oldest[chosen.id.partition.get() as usize] = now;
                    compactions += 1;
                }
            }
            match compactions / 3 {
                PARTITIONS => Ok(()),
                per_hour => Err(Violation::TooManyRequests { per_hour }),
            }
        },
        Violation::TooManyRequests {
            per_hour: 6 * PARTITIONS,
        },
    );
    // What holds the floor is bounded by the WAL backlog (H13), whatever its age.
    let young = [candidate(0, MINUTE_MS)];
    assert!(policy.choose(&young, &backlog(8_000)).is_empty());
    assert_eq!(policy.choose(&young, &backlog(8_200)).len(), 1);
}

/// Ten thousand partitions are due at once, as after an hour of a quiet start.
#[test]
fn h23_small_partitions_share_a_budget_of_requests() {
    closes(
        Rule::SmallCompactionsHaveABudget,
        async || {
            let (mut budget, partitions) = (PutBudget::default(), 10_000);
            let (mut due, mut first_minute) = (partitions, 0);
            for second in 1..=3_700 {
                while due > 0 && budget.take_segment(Duration::from_secs(second), partitions) {
                    due -= 1;
                    first_minute += usize::from(second <= 60);
                }
            }
            assert_eq!(due, 0, "within about an hour every one has had its turn");
            match first_minute <= partitions / 50 {
                true => Ok(()),
                false => Err(Violation::TooManyRequests {
                    per_hour: first_minute * 60,
                }),
            }
        },
        Violation::TooManyRequests { per_hour: 600_000 },
    );
}
