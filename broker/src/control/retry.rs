//! Waiting before a request is sent, and before it is sent again.
//!
//! Control thread. The rules are those of [`store::retry`]; here are clock, randomness and sleep.
//! [`Pauses`] are those of one caller, whatever it asks; a [`Pacer`] is what all requests to the
//! object store share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use store::retry::{Again, Backoff, Budget, Pace};
use tokio::sync::Notify;

/// Bounds of the first pause and of the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// Rests of the store that a request waits out before it is sent in spite of the next.
const RESTS_MAX: usize = 4;

/// Pauses between the tries of one caller, with full jitter: at most 20 ms at first, then doubling
/// up to 2 s.
#[derive(Debug)]
pub struct Pauses {
    backoff: Backoff,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(PAUSE.0, PAUSE.1),
        }
    }
}

impl Pauses {
    /// Sleeps, and makes the bound of the next pause longer.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.backoff.next(rand::random())).await;
    }

    /// Sleeps for about the longest pause.
    async fn pause_longest(&mut self) {
        tokio::time::sleep(self.backoff.longest(rand::random())).await;
    }
}

/// Whether a request changes the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// It reads or lists.
    Read,
    /// It writes.
    Write,
}

/// The one budget of all retries of requests to the object store, and their common pace.
#[derive(Debug)]
pub struct Pacer {
    origin: Instant,
    budget: Budget,
    pace: Mutex<Pace>,
    /// Told when a write ends an outage.
    outage_is_over: Notify,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            budget: Budget::default(),
            pace: Mutex::default(),
            outage_is_over: Notify::new(),
        }
    }
}

impl Pacer {
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the store has asked for a rest.
    pub async fn turn(&self) {
        for _ in 0..RESTS_MAX {
            let wait = self.pace().wait(self.origin.elapsed(), rand::random());
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// A request was answered with what it asked for, or with a refusal that lasts.
    pub fn answered(&self, kind: RequestKind) {
        self.budget.succeeded();
        let ends_outage = match kind {
            RequestKind::Read => false,
            RequestKind::Write => self.pace().succeeded(self.origin.elapsed()),
        };
        if ends_outage {
            self.outage_is_over.notify_waiters();
        }
    }

    /// A request has failed and may be tried again.
    pub fn failed(&self, kind: RequestKind, again: Again) {
        let (mut pace, now) = (self.pace(), self.origin.elapsed());
        if let Again::SlowDown { retry_after } = again {
            pace.slow_down(now, retry_after);
        }
        if kind == RequestKind::Write {
            pace.failed(now);
        }
    }

    /// Whether the budget pays for another try.
    pub fn may_retry(&self) -> bool {
        self.budget.try_retry()
    }

    /// The pause of a write that is tried until it succeeds. Where the budget is used up it is the
    /// longest, but the end of an outage ends it.
    pub async fn pause_of_persistent(&self, pauses: &mut Pauses) {
        let is_over = self.outage_is_over.notified();
        let pause = async {
            match self.may_retry() {
                true => pauses.pause().await,
                false => pauses.pause_longest().await,
            }
        };
        tokio::select! {
            () = is_over => {}
            () = pause => {}
        }
    }

    /// Whether the store rests or the last write has failed.
    pub fn is_troubled(&self) -> bool {
        self.pace().is_troubled(self.origin.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW_DOWN: Again = Again::SlowDown { retry_after: None };

    #[tokio::test]
    async fn a_rest_holds_for_every_request_and_ends() {
        let pacer = Pacer::default();
        let began = Instant::now();
        pacer.turn().await;
        assert!(
            began.elapsed() < Duration::from_millis(90),
            "nothing to wait for"
        );
        pacer.failed(RequestKind::Read, SLOW_DOWN);
        let began = Instant::now();
        tokio::join!(pacer.turn(), pacer.turn());
        assert!(
            began.elapsed() >= Duration::from_millis(95),
            "{:?}",
            began.elapsed()
        );
        assert!(!pacer.is_troubled(), "a read that failed is over");
    }

    #[tokio::test]
    async fn without_budget_a_persistent_write_is_slowed_down_and_never_ended() {
        let pacer = Pacer::default();
        while pacer.may_retry() {}
        let began = Instant::now();
        pacer.pause_of_persistent(&mut Pauses::default()).await;
        assert!(began.elapsed() >= PAUSE.1 / 2, "{:?}", began.elapsed());
        // The first write that succeeds after an outage calls the others.
        pacer.failed(RequestKind::Write, Again::Later);
        tokio::time::sleep(store::retry::OUTAGE_MIN).await;
        let began = Instant::now();
        let mut pauses = Pauses::default();
        tokio::join!(pacer.pause_of_persistent(&mut pauses), async {
            pacer.answered(RequestKind::Read);
            tokio::task::yield_now().await;
            assert!(pacer.is_troubled(), "reads say nothing of writes");
            pacer.answered(RequestKind::Write);
        });
        assert!(began.elapsed() < PAUSE.1 / 2, "{:?}", began.elapsed());
    }
}
