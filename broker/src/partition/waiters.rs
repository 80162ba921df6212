//! Long polls that wait for data, with exact accounting of their minimum bytes.
//!
//! A [`FetchWaiter`] may be registered at partitions of several shards at once, by the shard that serves its
//! connection: no other shard is sent a message, or woken, for a poll that begins. The owner of each partition takes
//! off what becomes visible; whoever brings it to zero wakes the fetch, once. Nobody polls.
//!
//! Invariants:
//! - a waiter is credited with each byte once: it is on the list with the position up to which it was credited, and
//!   whoever credits it takes it off the list first, alone;
//! - no waiter misses what is published while it registers, or while another shard has taken it off the list: whoever
//!   puts one on the list looks at what is published afterwards, and the owner publishes first and looks at the
//!   list afterwards, each with a fence between, so that one of them sees the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering, fence};
use std::task::{Context, Poll};

use arc_swap::ArcSwapOption;
use futures_util::task::AtomicWaker;
use segment::LeaderEpoch;

/// Waiters that one partition holds before it drops those that are done.
const SWEEP_FROM: usize = 16;
/// How often what is published may change under one look at the list; then everyone is woken.
const LOOKS_MAX: usize = 16;

/// One parked fetch. Immutable, shared, but for its atomics.
#[derive(Debug)]
pub struct FetchWaiter {
    missing: AtomicI64,
    done: AtomicBool,
    waker: AtomicWaker,
}

impl FetchWaiter {
    /// A fetch that waits for `missing` more bytes.
    pub fn new(missing: u64) -> Arc<Self> {
        let missing = i64::try_from(missing).unwrap_or(i64::MAX);
        assert!(missing > 0, "a fetch that has what it needs does not wait");
        Arc::new(Self {
            missing: AtomicI64::new(missing),
            done: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    /// Takes off bytes that became visible; wakes the fetch when nothing is missing any more.
    pub fn credit(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.missing.fetch_sub(bytes, Ordering::AcqRel);
        if before > 0 && before <= bytes {
            self.finish();
        }
    }

    /// Wakes the fetch at once: its time is up, or a partition of it changed.
    pub fn finish(&self) {
        self.done.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it needs no more credit.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Ready once the fetch is to be answered.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_done() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.is_done() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// How far a partition is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// Epoch of the ownership; positions of two ownerships are not compared.
    pub(super) epoch: LeaderEpoch,
    /// [`super::ReadSnapshot::position`].
    pub(super) position: u64,
}

/// A fetch that waits at one partition, on top of those that came before it.
#[derive(Debug)]
struct Waiting {
    waiter: Arc<FetchWaiter>,
    /// Up to where it has been credited.
    reach: Reach,
    /// How many are on the list with it, and how many may be until those that are done are dropped.
    depth: usize,
    sweep_at: usize,
    below: Option<Arc<Waiting>>,
}

impl Drop for Waiting {
    /// One after the other: a list that is dropped as it is built would take stack for each of them.
    fn drop(&mut self) {
        let mut next = self.below.take();
        while let Some(mut only) = next.and_then(Arc::into_inner) {
            next = only.below.take();
        }
    }
}

/// Waiters of one partition. Shared, without a lock: a list that grows at its head, and is taken whole.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    head: ArcSwapOption<Waiting>,
}

impl Waiters {
    /// Adds a waiter that has seen the partition up to `seen`. `now` tells how far it is published.
    pub(super) fn add(
        &self,
        waiter: &Arc<FetchWaiter>,
        seen: Reach,
        now: impl Fn() -> Option<Reach>,
    ) {
        let is_long = self.push(waiter, seen, SWEEP_FROM);
        fence(Ordering::SeqCst);
        if is_long || now() != Some(seen) {
            self.credit(now);
        }
    }

    /// Credits everyone with what has become visible, and wakes those who have waited for an ownership that is over.
    pub(super) fn credit(&self, now: impl Fn() -> Option<Reach>) {
        fence(Ordering::SeqCst);
        if self.head.load().is_none() {
            return;
        }
        for _ in 0..LOOKS_MAX {
            let reach = now();
            let left = self.take(|waiting| waiting.judge(reach));
            let sweep_at = SWEEP_FROM.max(left.len() * 2);
            for (waiter, reach) in left.iter().rev() {
                self.push(waiter, *reach, sweep_at);
            }
            fence(Ordering::SeqCst);
            if left.is_empty() || now() == reach {
                return;
            }
        }
        self.finish_all();
    }

    /// Wakes everyone: the partition is closed or has changed.
    pub(super) fn finish_all(&self) {
        fence(Ordering::SeqCst);
        self.take(|waiting| {
            waiting.waiter.finish();
            None
        });
    }

    /// Puts a waiter on the list; whether the list is so long that it is to be swept.
    fn push(&self, waiter: &Arc<FetchWaiter>, reach: Reach, sweep_at: usize) -> bool {
        let mut is_long = false;
        self.head.rcu(|below| {
            let (depth, old) = below
                .as_ref()
                .map_or((0, 0), |below| (below.depth, below.sweep_at));
            let (depth, sweep_at) = (depth + 1, sweep_at.max(old));
            assert!(sweep_at >= SWEEP_FROM, "no list is swept at every push");
            is_long = depth > sweep_at;
            Some(Arc::new(Waiting {
                waiter: waiter.clone(),
                reach,
                depth,
                sweep_at,
                below: below.clone(),
            }))
        });
        is_long
    }

    /// Takes everyone off the list; gives those whom `keep` keeps, the newest first.
    fn take(&self, keep: impl Fn(&Waiting) -> Option<Reach>) -> Vec<(Arc<FetchWaiter>, Reach)> {
        let taken = self.head.swap(None);
        let mut kept = Vec::new();
        let mut next = taken.as_deref();
        while let Some(waiting) = next {
            if let Some(reach) = keep(waiting) {
                kept.push((waiting.waiter.clone(), reach));
            }
            next = waiting.below.as_deref();
        }
        kept
    }
}

impl Waiting {
    /// Credits the waiter, which nobody else does now; gives up to where, if it is to go on waiting.
    fn judge(&self, now: Option<Reach>) -> Option<Reach> {
        let waiter = &self.waiter;
        match now {
            Some(now) if now.epoch == self.reach.epoch => {
                waiter.credit(now.position.saturating_sub(self.reach.position));
                (!waiter.is_done()).then_some(now)
            }
            _ => {
                waiter.finish();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn at(position: u64) -> Reach {
        Reach {
            epoch: LeaderEpoch::ZERO,
            position,
        }
    }

    fn length(waiters: &Waiters) -> usize {
        waiters.head.load().as_ref().map_or(0, |head| head.depth)
    }

    #[test]
    fn a_waiter_is_woken_exactly_when_its_bytes_are_there() {
        let waiter = FetchWaiter::new(100);
        let (a, b) = (Waiters::default(), Waiters::default());
        a.add(&waiter, at(1000), || Some(at(1000)));
        b.add(&waiter, at(0), || Some(at(0)));
        a.credit(|| Some(at(1060)));
        a.credit(|| Some(at(1060)));
        assert!(!waiter.is_done());
        b.credit(|| Some(at(39)));
        assert!(!waiter.is_done());
        a.credit(|| Some(at(1061)));
        assert!(waiter.is_done());
        assert_eq!(length(&a), 0);
    }

    #[test]
    fn a_waiter_of_an_ownership_that_is_over_is_woken() {
        let later = Reach {
            epoch: LeaderEpoch::new(1),
            position: 0,
        };
        for now in [None, Some(later)] {
            let (before, meanwhile) = (FetchWaiter::new(1), FetchWaiter::new(1));
            let waiters = Waiters::default();
            waiters.add(&before, at(5), || Some(at(5)));
            waiters.add(&meanwhile, at(5), || now);
            assert!(before.is_done() && meanwhile.is_done());
        }
    }

    #[test]
    fn done_waiters_do_not_pile_up() {
        let waiters = Waiters::default();
        for _ in 0..10_000 {
            let waiter = FetchWaiter::new(1);
            waiters.add(&waiter, at(0), || Some(at(0)));
            waiter.finish();
        }
        assert!(length(&waiters) <= 2 * SWEEP_FROM);
    }

    #[test]
    fn a_long_list_is_dropped_without_a_deep_stack_and_seldom_swept() {
        let waiters = Waiters::default();
        let all: Vec<_> = (0..200_000).map(|_| FetchWaiter::new(1)).collect();
        for waiter in &all {
            waiters.add(waiter, at(0), || Some(at(0)));
        }
        assert_eq!(length(&waiters), all.len());
        waiters.finish_all();
        assert!(all.iter().all(|waiter| waiter.is_done()));
    }

    /// Registering, sweeping and publishing at the same time, each on a thread of its own.
    #[test]
    fn no_byte_is_missed_and_none_counted_twice_whoever_takes_the_list() {
        const STEPS: u64 = 300;
        let waiters = Waiters::default();
        let published = AtomicU64::new(0);
        let now = || Some(at(published.load(Ordering::Acquire)));
        let register = || {
            let all = (0..STEPS).map(|_| {
                let seen = published.load(Ordering::Acquire);
                // Woken by the last byte, and only if one is counted twice.
                let last = FetchWaiter::new((STEPS - seen).max(1));
                let never = FetchWaiter::new(STEPS - seen + 1);
                for waiter in [&last, &never] {
                    waiters.add(waiter, at(seen), now);
                }
                (seen, last, never)
            });
            all.collect::<Vec<_>>()
        };
        let all = std::thread::scope(|scope| {
            let threads = [scope.spawn(register), scope.spawn(register)];
            for position in 1..=STEPS {
                published.store(position, Ordering::Release);
                waiters.credit(now);
                std::thread::yield_now();
            }
            threads
                .map(|thread| thread.join().expect("registered"))
                .concat()
        });
        for (seen, last, never) in all {
            assert_eq!(
                last.is_done(),
                seen < STEPS,
                "a byte after {seen} was missed"
            );
            assert!(!never.is_done(), "a byte after {seen} was counted twice");
        }
    }
}
