//! How many requests the compaction of small partitions may cost, as a token bucket without a clock.
//!
//! Control thread. Thousands of partitions that trickle would otherwise cost more PUTs for their
//! segments than for the WAL (log-protocol H23). Their WAL objects are held meanwhile, bounded by
//! the backlog, whose oldest are compacted whatever the budget.

use std::time::Duration;

use coord::rules::{self, Rule};

/// PUTs of one segment: itself, its index, the manifest, the producer snapshot.
pub const PUTS_A_SEGMENT: u32 = 4;
/// Least rate.
const PUTS_A_SECOND_MIN: f64 = 1.0;
/// PUTs of a partition in an hour: its share of the rate.
const PUTS_A_PARTITION_HOUR: f64 = 4.0;
/// What was not used is kept for so long.
const BURST: Duration = Duration::from_secs(60);

/// A bucket of PUTs. Times are those of one monotonic clock.
#[derive(Debug, Default)]
pub struct PutBudget {
    puts: f64,
    at: Duration,
}

impl PutBudget {
    /// Takes the PUTs of one segment out of the budget of a broker with so many partitions. False:
    /// it has to wait.
    #[must_use]
    pub fn take_segment(&mut self, now: Duration, partitions: usize) -> bool {
        let rate = (partitions as f64 * PUTS_A_PARTITION_HOUR / 3_600.0).max(PUTS_A_SECOND_MIN);
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        self.puts = (self.puts + passed * rate).min(rate * BURST.as_secs_f64());
        let cost = f64::from(PUTS_A_SEGMENT);
        let allows = self.puts >= cost;
        if allows {
            self.puts -= cost;
        }
        allows || !rules::holds(Rule::SmallCompactionsHaveABudget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments_in(partitions: usize, seconds: u64) -> usize {
        let mut budget = PutBudget::default();
        let mut taken = 0;
        for second in 1..=seconds {
            while budget.take_segment(Duration::from_secs(second), partitions) {
                taken += 1;
            }
        }
        taken
    }

    #[test]
    fn few_partitions_get_one_put_a_second_and_many_four_an_hour_each() {
        assert_eq!(segments_in(1, 3_600), 900);
        assert_eq!(segments_in(900, 3_600), 900);
        assert!((9_999..=10_000).contains(&segments_in(10_000, 3_600)));
    }

    #[test]
    fn a_quiet_time_does_not_add_up_to_a_storm() {
        let mut budget = PutBudget::default();
        let later = Duration::from_secs(86_400);
        let burst = (0..1_000).filter(|_| budget.take_segment(later, 1)).count();
        assert_eq!(burst, 15);
    }
}
