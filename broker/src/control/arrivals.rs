//! When the records of a partition arrived, as far as its high watermark tells: for lag in time.
//!
//! Sans-IO. An [`Arrivals`] remembers high watermarks with the time at which each was seen, at most [`SEEN_MAX`] of
//! them; of old ones every second is forgotten, so that they reach back as far as any group is behind. Nothing is read
//! for it. Between two high watermarks records are taken to have arrived evenly. What arrived before the first look is
//! as old as that look at least, which is what is told.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segment::Offset;

/// High watermarks that are remembered.
const SEEN_MAX: usize = 32;

/// A high watermark, and when it was one.
#[derive(Debug, Clone, Copy)]
struct Seen {
    high_watermark: Offset,
    first: Instant,
    last: Instant,
}

/// *Control thread.* The high watermarks of one partition, in the order of time.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    seen: VecDeque<Seen>,
}

impl Arrivals {
    /// The partition ends at `high_watermark` now, and no group that is looked at has read less than up to `least`. A
    /// high watermark below the last one belongs to another log (the topic was made anew), and is where it begins.
    pub(super) fn look(&mut self, high_watermark: Offset, least: Offset, now: Instant) {
        match self.seen.back_mut() {
            Some(last) if last.high_watermark == high_watermark => last.last = now,
            last => {
                if last.is_some_and(|last| last.high_watermark > high_watermark) {
                    self.seen.clear();
                }
                let (first, last) = (now, now);
                self.seen.push_back(Seen {
                    high_watermark,
                    first,
                    last,
                });
            }
        }
        while self
            .seen
            .get(1)
            .is_some_and(|second| second.high_watermark <= least)
        {
            self.seen.pop_front();
        }
        if self.seen.len() > SEEN_MAX {
            let mut number = 0;
            let last = self.seen.len() - 1;
            self.seen.retain(|_| {
                number += 1;
                number % 2 == 1 || number > last
            });
        }
        assert!(self.seen.len() <= SEEN_MAX, "high watermarks are bounded");
    }

    /// How long the record at `offset` has been there: zero if there is none, and at least this long if it was there
    /// before the first look.
    pub(super) fn age_of(&self, offset: Offset, now: Instant) -> Duration {
        let after = self
            .seen
            .partition_point(|seen| seen.high_watermark <= offset);
        let Some(after_it) = self.seen.get(after) else {
            return Duration::ZERO;
        };
        let arrived = match after
            .checked_sub(1)
            .and_then(|before| self.seen.get(before))
        {
            None => after_it.first,
            Some(before) => {
                let records = after_it.high_watermark.get() - before.high_watermark.get();
                let into = offset.get() - before.high_watermark.get();
                let time = after_it.first.saturating_duration_since(before.last);
                before.last + time.mul_f64(into as f64 / records as f64)
            }
        };
        now.saturating_duration_since(arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_record_is_as_old_as_the_time_between_the_looks_around_it_says() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        for (second, end) in [(0, 100), (10, 100), (20, 200), (30, 200), (40, 200)] {
            arrivals.look(offset(end), offset(0), start + seconds(second));
        }
        let now = start + seconds(40);
        // Records 100 to 199 arrived between second 10, when the log still ended at 100, and second 20.
        for (at, age) in [(200, 0), (500, 0), (100, 30), (150, 25), (0, 40), (99, 40)] {
            assert_eq!(arrivals.age_of(offset(at), now), seconds(age), "{at}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_reaches_as_far_back_as_the_slowest_group() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        for second in 0..100_000 {
            let now = start + seconds(second);
            arrivals.look(offset(second as i64 * 10), offset(50), now);
            assert!(arrivals.seen.len() <= SEEN_MAX);
        }
        let now = start + seconds(99_999);
        let age = |at: i64| arrivals.age_of(offset(at), now).as_secs_f64();
        assert!((age(50) - 99_994.0).abs() < 2.0, "{}", age(50));
        assert!(
            (age(500_000) / 49_999.0 - 1.0).abs() < 0.1,
            "{}",
            age(500_000)
        );
        arrivals.look(offset(1_000_000), offset(999_990), now + seconds(1));
        assert!(
            arrivals.seen.len() <= 3,
            "what every group has read is forgotten"
        );
    }

    #[test]
    fn a_log_that_begins_anew_is_another_log() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        arrivals.look(offset(1000), offset(0), start);
        arrivals.look(offset(5), offset(0), start + seconds(10));
        assert_eq!(arrivals.age_of(offset(0), start + seconds(12)), seconds(2));
    }
}
