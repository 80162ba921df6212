//! When to try again: pauses with full jitter, and one budget for all retries of a process.
//!
//! Pure: no clock, no randomness, no sleeping; callers pass in what is random and do the waiting.
//!
//! Invariants: a pause is at most its bound; while nothing succeeds, retries stop after
//! `tokens / cost` of them, so that a store that is down is not asked many times over.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Tokens of a full budget.
pub const BUDGET_TOKENS: u32 = 500;
/// Tokens that a retry costs.
pub const RETRY_COST: u32 = 5;
/// Tokens that a success brings back.
pub const SUCCESS_REFUND: u32 = 1;

/// A budget of retries, shared by all who retry.
///
/// A token bucket as in the standard mode of the AWS SDKs: in the long run at most one retry for
/// every five successes, after a quiet time a burst of a hundred.
#[derive(Debug)]
pub struct Budget {
    tokens: AtomicU32,
    tokens_max: u32,
    cost: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(BUDGET_TOKENS, RETRY_COST)
    }
}

impl Budget {
    /// A full budget of `tokens` where each retry costs `cost` (at least 1).
    pub fn new(tokens: u32, cost: u32) -> Self {
        Self {
            tokens: AtomicU32::new(tokens),
            tokens_max: tokens,
            cost: cost.max(1),
        }
    }

    /// Takes one retry out of the budget. False: it is used up, give up or wait for a success.
    #[must_use]
    pub fn try_retry(&self) -> bool {
        let take = |tokens: u32| tokens.checked_sub(self.cost);
        self.tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Tells of a request that succeeded, at whichever try.
    pub fn succeeded(&self) {
        let refund = |tokens: u32| {
            let more = tokens.saturating_add(SUCCESS_REFUND).min(self.tokens_max);
            (more != tokens).then_some(more)
        };
        // An error means that the budget is full.
        let _full = self
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, refund);
    }

    /// Tokens left.
    pub fn tokens(&self) -> u32 {
        self.tokens.load(Ordering::Relaxed)
    }
}

/// Pauses of one request: their bound doubles from `base` to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    bound: Duration,
    max: Duration,
}

impl Backoff {
    /// Pauses of 0 to `base` at first and of 0 to `max` in the end.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            bound: base.min(max),
            max,
        }
    }

    /// The next pause. `uniform` is random, from 0 to 1. What the store asked for (`Retry-After`)
    /// is the least, with the jitter on top.
    pub fn next(&mut self, uniform: f64, retry_after: Option<Duration>) -> Duration {
        let uniform = if uniform.is_finite() {
            uniform.clamp(0.0, 1.0)
        } else {
            1.0
        };
        let pause = self.bound.mul_f64(uniform);
        self.bound = self.bound.saturating_mul(2).min(self.max);
        pause.saturating_add(retry_after.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_success_retries_end() {
        let budget = Budget::default();
        let retries = (0..10_000).filter(|_| budget.try_retry()).count();
        assert_eq!(retries, 100);
        assert!(!budget.try_retry());
    }

    #[test]
    fn successes_pay_for_retries() {
        let budget = Budget::default();
        while budget.try_retry() {}
        for _ in 0..RETRY_COST {
            assert!(!budget.try_retry());
            budget.succeeded();
        }
        assert!(budget.try_retry() && !budget.try_retry());
        for _ in 0..10_000 {
            budget.succeeded();
        }
        assert_eq!(
            budget.tokens(),
            BUDGET_TOKENS,
            "it does not grow beyond full"
        );
    }

    #[test]
    fn a_budget_is_shared_by_threads() {
        let budget = Budget::default();
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1_000).filter(|_| budget.try_retry()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 100);
    }

    #[test]
    fn pauses_double_within_their_bounds() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(20), ms(100));
        let pauses: Vec<_> = (0..5).map(|_| backoff.next(1.0, None)).collect();
        assert_eq!(pauses, [ms(20), ms(40), ms(80), ms(100), ms(100)]);
        assert_eq!(backoff.next(0.0, None), ms(0), "full jitter begins at zero");
        assert_eq!(backoff.next(0.5, None), ms(50));
        assert_eq!(backoff.next(0.5, Some(ms(1_000))), ms(1_050));
        assert!(backoff.next(f64::NAN, None) <= ms(100));
        assert!(backoff.next(1e300, None) <= ms(100));
    }
}
