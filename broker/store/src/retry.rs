//! When to try again: what a failure says about it, pauses with full jitter, one budget for all
//! retries of a process, and the pace that its requests keep together.
//!
//! Pure: no clock, no randomness, no sleeping; callers pass in what is random and do the waiting.
//!
//! Invariants: a pause is at most its bound; while nothing succeeds, retries stop after
//! `tokens / cost` of them, so that a store that is down is not asked many times over; a rest that
//! the store asks for is kept by every request.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::error::{DeleteError, GetError, HeadError, ListError, PutError};

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

    /// The next pause. `uniform` is random, from 0 to 1.
    pub fn next(&mut self, uniform: f64) -> Duration {
        let pause = self.bound.mul_f64(part(uniform));
        self.bound = self.bound.saturating_mul(2).min(self.max);
        pause
    }

    /// The pause of a request whose retries nothing pays for (see [`Budget`]) and that is sent again
    /// all the same: from half of the longest to the longest.
    pub fn longest(&self, uniform: f64) -> Duration {
        self.max.mul_f64(0.5 + part(uniform) / 2.0)
    }
}

/// A number from 0 to 1, whatever comes in.
fn part(uniform: f64) -> f64 {
    if uniform.is_finite() {
        uniform.clamp(0.0, 1.0)
    } else {
        1.0
    }
}

/// First and longest rest where the store asks to slow down and does not say for how long.
pub const REST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// A store that has not asked to slow down for so long after a rest is at ease: the next rest is
/// the first again.
pub const EASE: Duration = Duration::from_secs(5);
/// Failures for so long without a success between them are an outage.
pub const OUTAGE_MIN: Duration = Duration::from_secs(1);

/// The pace of all requests of a process: what one of them is told holds for the others too. Times
/// are those of one monotonic clock.
#[derive(Debug, Default)]
pub struct Pace {
    rests_until: Duration,
    rest: Duration,
    failing_since: Option<Duration>,
}

impl Pace {
    /// A request was told to slow down: everything rests, for as long as the store says
    /// (`Retry-After`), and at least for a time that doubles from [`REST`]'s first to its second.
    pub fn slow_down(&mut self, now: Duration, retry_after: Option<Duration>) {
        // What is told to requests that were under way together is one and the same demand.
        if now >= self.rests_until {
            let is_eased = self.rest.is_zero() || now - self.rests_until >= EASE;
            self.rest = match is_eased {
                true => REST.0,
                false => (self.rest * 2).min(REST.1),
            };
        }
        let rest = self.rest.max(retry_after.unwrap_or_default());
        self.rests_until = self.rests_until.max(now + rest);
    }

    /// How long a request that is about to be sent waits first: to the end of the rest, and then,
    /// by what is random (0 to 1), for a part of half a rest, so that not all come at once.
    pub fn wait(&self, now: Duration, uniform: f64) -> Duration {
        match self.rests_until.saturating_sub(now) {
            Duration::ZERO => Duration::ZERO,
            left => left + (self.rest / 2).mul_f64(part(uniform)),
        }
    }

    /// A write has failed.
    pub fn failed(&mut self, now: Duration) {
        self.failing_since.get_or_insert(now);
    }

    /// A write has succeeded; true when that ends an outage: nothing had succeeded for
    /// [`OUTAGE_MIN`]. Where only some of the writes fail there is none.
    #[must_use]
    pub fn succeeded(&mut self, now: Duration) -> bool {
        let since = self.failing_since.take();
        since.is_some_and(|since| now.saturating_sub(since) >= OUTAGE_MIN)
    }

    /// Whether the store has asked for a rest that is not over, or the last write has failed.
    pub fn is_troubled(&self, now: Duration) -> bool {
        now < self.rests_until || self.failing_since.is_some()
    }
}

/// What a failure says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The same request fails again.
    Never,
    /// It may succeed later.
    Later,
    /// It may succeed after a rest.
    SlowDown {
        /// The least rest that the store asks for, if it said so.
        retry_after: Option<Duration>,
    },
}

/// A failure of a request to the store.
pub trait Failure: Error + 'static {
    /// Whether and when to try again.
    fn again(&self) -> Again;
}

macro_rules! failures {
    ($($error:ident)*) => {
        $(impl Failure for $error {
            fn again(&self) -> Again {
                match self {
                    Self::Throttled { retry_after, .. } => Again::SlowDown {
                        retry_after: *retry_after,
                    },
                    _ if self.retriable() => Again::Later,
                    _ => Again::Never,
                }
            }
        })*

        /// What the store's failure among an error and its causes says; [`Again::Never`] without
        /// one.
        pub fn again(error: &(dyn Error + 'static)) -> Again {
            let mut next = Some(error);
            while let Some(error) = next {
                $(if let Some(error) = error.downcast_ref::<$error>() {
                    return error.again();
                })*
                next = error.source();
            }
            Again::Never
        }
    };
}

failures! { PutError GetError HeadError ListError DeleteError }

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

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pauses_double_within_their_bounds() {
        let mut backoff = Backoff::new(ms(20), ms(100));
        let pauses: Vec<_> = (0..5).map(|_| backoff.next(1.0)).collect();
        assert_eq!(pauses, [ms(20), ms(40), ms(80), ms(100), ms(100)]);
        assert_eq!(backoff.next(0.0), ms(0), "full jitter begins at zero");
        assert_eq!(backoff.next(0.5), ms(50));
        assert_eq!(
            (backoff.longest(0.0), backoff.longest(1.0)),
            (ms(50), ms(100))
        );
        assert!(backoff.next(f64::NAN) <= ms(100));
        assert!(backoff.next(1e300) <= ms(100));
    }

    #[test]
    fn one_request_that_is_told_to_slow_down_makes_all_rest() {
        let mut pace = Pace::default();
        assert_eq!(
            pace.wait(ms(0), 1.0),
            ms(0),
            "nobody waits without a reason"
        );
        pace.slow_down(ms(0), None);
        assert_eq!(
            (pace.wait(ms(0), 0.0), pace.wait(ms(40), 0.0)),
            (ms(100), ms(60))
        );
        assert_eq!(pace.wait(ms(0), 1.0), ms(150), "not all come at once");
        for at in [10, 50, 99] {
            pace.slow_down(ms(at), None);
        }
        assert_eq!(
            pace.wait(ms(99), 0.0),
            ms(100),
            "answers to what was under way together double nothing"
        );
        let (mut at, mut rests) = (ms(199), Vec::new());
        for _ in 0..5 {
            pace.slow_down(at, None);
            rests.push(pace.wait(at, 0.0));
            at += pace.wait(at, 0.0);
        }
        assert_eq!(rests, [ms(200), ms(400), ms(800), ms(1_000), ms(1_000)]);
        at += EASE;
        pace.slow_down(at, None);
        assert_eq!(pace.wait(at, 0.0), REST.0, "a store at ease begins anew");
    }

    #[test]
    fn the_rest_that_the_store_asks_for_is_the_least() {
        let mut pace = Pace::default();
        pace.slow_down(ms(0), Some(ms(3_000)));
        pace.slow_down(ms(1), Some(ms(10)));
        assert_eq!(pace.wait(ms(1_000), 0.0), ms(2_000), "and is not cut short");
        assert!(pace.is_troubled(ms(2_999)) && !pace.is_troubled(ms(3_000)));
    }

    #[test]
    fn an_outage_ends_with_the_first_write_after_it_and_a_few_failures_are_none() {
        let mut pace = Pace::default();
        assert!(!pace.succeeded(ms(0)));
        for at in (0..5_000).step_by(100) {
            pace.failed(ms(at));
            assert!(pace.is_troubled(ms(at)));
            assert!(!pace.succeeded(ms(at + 50)), "every second write fails");
        }
        for at in (5_000..7_000).step_by(100) {
            pace.failed(ms(at));
        }
        assert!(pace.succeeded(ms(7_000)) && !pace.succeeded(ms(7_000)));
        assert!(!pace.is_troubled(ms(7_000)));
    }

    #[test]
    fn every_operation_tells_whether_and_when_to_try_again() {
        let key = crate::ObjectKey::new("a/b").unwrap();
        let retry_after = Some(ms(7));
        let slow_down = GetError::Throttled { key, retry_after };
        assert_eq!(slow_down.again(), Again::SlowDown { retry_after });
        let (prefix, reason) = (String::new(), String::new());
        let later = ListError::Unavailable { prefix, reason };
        assert_eq!(later.again(), Again::Later);
        let key = crate::ObjectKey::new("a/b").unwrap();
        assert_eq!(PutError::AlreadyExists { key }.again(), Again::Never);
        let wrapped = crate::probe::ProbeError::Get { source: slow_down };
        assert_eq!(again(&wrapped), Again::SlowDown { retry_after });
        assert_eq!(
            (again(&later), again(&std::fmt::Error)),
            (Again::Later, Again::Never)
        );
    }
}
