//! The one task of a shard that runs the timers of its coordinator slots. It sleeps until the next
//! one is due, or without end while there is none: an idle shard is not woken.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Weak;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::runtime;
use crate::shard::Shard;

/// Timers are about a millisecond coarse; a shorter sleep would only spin.
const SLEEP_MS_MIN: u64 = 1;

/// When the timer task wakes up, and how it is made to wake up earlier. Shard-owned.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// Set for this time; `None` while there is nothing to wait for.
    at: Cell<Option<u64>>,
    is_early: Cell<bool>,
    sleeper: RefCell<Option<Waker>>,
}

impl Alarm {
    /// Sees to it that the task runs at this time at the latest.
    pub(super) fn at_latest(&self, at: u64) {
        if self.at.get().is_some_and(|set| set <= at) {
            return;
        }
        self.at.set(Some(at));
        self.is_early.set(true);
        let sleeper = self.sleeper.borrow_mut().take();
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Waits until the alarm is set for an earlier time.
    async fn earlier(&self) {
        poll_fn(|cx| {
            if self.is_early.replace(false) {
                return Poll::Ready(());
            }
            *self.sleeper.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Runs until the shard ends.
pub(super) async fn run(shard: Weak<Shard>) {
    while let Some(shard) = shard.upgrade() {
        let alarm = &shard.groups.alarm;
        // What the timers set on the way is part of the next time.
        let next = shard.groups.run_due(&shard);
        alarm.at.set(next);
        alarm.is_early.set(false);
        match next {
            None => alarm.earlier().await,
            Some(at) => {
                let pause = at.saturating_sub(shard.now_ms()).max(SLEEP_MS_MIN);
                runtime::timeout(Duration::from_millis(pause), alarm.earlier()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_an_earlier_time_wakes_the_sleeper() {
        let alarm = Alarm::default();
        alarm.at.set(Some(100));
        let mut sleep = pin!(alarm.earlier());
        assert!(sleep.as_mut().now_or_never().is_none());
        alarm.at_latest(100);
        alarm.at_latest(200);
        assert!(sleep.as_mut().now_or_never().is_none());
        alarm.at_latest(50);
        assert!(sleep.as_mut().now_or_never().is_some());
        assert_eq!(alarm.at.get(), Some(50));
    }
}
