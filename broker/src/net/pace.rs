//! How long a peer may take for a frame that it sends or a reply that it takes.
//!
//! A peer that does nothing is closed after the time-out, and so is one that does next to nothing: whoever
//! sends or takes a byte a second would otherwise hold its memory for as long as it likes. What is done buys
//! time, a second for each [`BYTES_PER_SECOND_MIN`], and never more than the time-out lies ahead. Large
//! messages on slow lines are not harmed: only the rate counts.

use std::cell::Cell;

/// The rate below which a peer is closed, once its time-out is used up.
const BYTES_PER_SECOND_MIN: u64 = 1024;
/// The shard's coarse clock may be so late: nobody is closed early because of it.
const CLOCK_LATE_MS: u64 = 1_000;
/// Nothing is under way.
const NEVER: u64 = u64::MAX;

/// The time that one direction of a connection has left. Shard-owned.
#[derive(Debug)]
pub(super) struct Pace {
    timeout_ms: u64,
    due_ms: Cell<u64>,
}

impl Pace {
    /// With nothing under way.
    pub(super) fn new(timeout_ms: u64) -> Self {
        Self {
            timeout_ms: timeout_ms.saturating_add(CLOCK_LATE_MS),
            due_ms: Cell::new(NEVER),
        }
    }

    /// Something begins, or goes on after a wait that was ours; what is under way already stays as it is.
    pub(super) fn begin(&self, now_ms: u64) {
        if self.due_ms.get() == NEVER {
            self.due_ms.set(now_ms.saturating_add(self.timeout_ms));
        }
    }

    /// Bytes went over the line.
    pub(super) fn moved(&self, bytes: usize, now_ms: u64) {
        let due = self.due_ms.get();
        if due != NEVER {
            let bought = bytes as u64 * 1_000 / BYTES_PER_SECOND_MIN;
            let most = now_ms.saturating_add(self.timeout_ms);
            self.due_ms.set(due.saturating_add(bought).min(most));
        }
    }

    /// It is done, or waits for us.
    pub(super) fn stop(&self) {
        self.due_ms.set(NEVER);
    }

    /// Whether the peer has taken too long.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        now_ms > self.due_ms.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a peer that moves so many bytes a second is closed; none within an hour.
    fn closed_after(bytes: usize) -> Option<u64> {
        let pace = Pace::new(30_000);
        pace.begin(0);
        (1..3_600).find(|second| {
            pace.moved(bytes, second * 1_000);
            pace.is_over(second * 1_000)
        })
    }

    #[test]
    fn who_does_next_to_nothing_is_closed_and_who_is_slow_is_not() {
        assert_eq!(closed_after(0), Some(32));
        assert_eq!(closed_after(1), Some(32), "a byte a second buys nothing");
        assert!(closed_after(512).is_some_and(|seconds| (60..70).contains(&seconds)));
        assert_eq!(closed_after(1_024), None);
        assert_eq!(closed_after(1 << 20), None);
    }

    #[test]
    fn bytes_that_came_fast_buy_no_more_than_one_timeout() {
        let pace = Pace::new(30_000);
        pace.begin(0);
        pace.moved(1 << 30, 5_000);
        assert!(!pace.is_over(36_000));
        assert!(pace.is_over(36_001));
    }

    #[test]
    fn nothing_is_due_while_nothing_is_under_way() {
        let pace = Pace::new(1_000);
        assert!(!pace.is_over(u64::MAX - 1));
        pace.moved(10, 5);
        assert!(!pace.is_over(u64::MAX - 1));
        pace.begin(10);
        pace.begin(1_500);
        assert!(!pace.is_over(2_010));
        assert!(pace.is_over(2_011), "begun at 10");
        pace.stop();
        assert!(!pace.is_over(1 << 40));
    }
}
