//! Long polls that wait for data, with exact accounting of their minimum bytes.
//!
//! A [`FetchWaiter`] may be registered at partitions of several shards at once, by the shard that serves its
//! connection: no other shard is sent a message, or woken, for a poll that begins. The owner of each partition takes
//! off what becomes visible; whoever brings it to zero wakes the fetch, once. Nobody polls.
//!
//! Invariant: no waiter misses what is published while it registers. It registers first and looks at the snapshot
//! afterwards; the owner publishes first and credits afterwards; both under the same lock, so one of them sees the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// Waiters that one partition holds before it drops those that are done.
const SWEEP_FROM: usize = 16;

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

/// A fetch that waits at one partition.
#[derive(Debug)]
struct Waiting {
    waiter: Arc<FetchWaiter>,
    /// How far into the partition it has been credited ([`super::ReadSnapshot::position`]).
    position: u64,
}

/// Waiters of one partition. Shared, behind the lock of its [`super::PartitionHandle`].
#[derive(Debug, Default)]
pub(super) struct Waiters {
    list: Vec<Waiting>,
    sweep_at: usize,
}

impl Waiters {
    /// Adds a waiter that has seen the partition up to `position`. Those that are done are dropped now and then, so
    /// that the list stays in proportion to the fetches that really wait.
    pub(super) fn add(&mut self, waiter: Arc<FetchWaiter>, position: u64) {
        if self.list.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.list.retain(|waiting| !waiting.waiter.is_done());
            self.sweep_at = self.list.len() * 2;
        }
        self.list.push(Waiting { waiter, position });
    }

    /// Credits everyone with what became visible up to `position`: each byte once, however often it is told.
    pub(super) fn credit(&mut self, position: u64) {
        self.list.retain_mut(|waiting| {
            let bytes = position.saturating_sub(waiting.position);
            waiting.position += bytes;
            waiting.waiter.credit(bytes);
            !waiting.waiter.is_done()
        });
    }

    /// Wakes everyone: the partition is closed or has changed.
    pub(super) fn finish_all(&mut self) {
        for waiting in self.list.drain(..) {
            waiting.waiter.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_is_woken_exactly_when_its_bytes_are_there() {
        let waiter = FetchWaiter::new(100);
        let (mut a, mut b) = (Waiters::default(), Waiters::default());
        a.add(waiter.clone(), 1000);
        b.add(waiter.clone(), 0);
        a.credit(1060);
        a.credit(1060);
        assert!(!waiter.is_done());
        b.credit(39);
        assert!(!waiter.is_done());
        a.credit(1061);
        assert!(waiter.is_done());
        assert!(a.list.is_empty());
    }

    #[test]
    fn done_waiters_do_not_pile_up() {
        let mut waiters = Waiters::default();
        for _ in 0..10_000 {
            let waiter = FetchWaiter::new(1);
            waiters.add(waiter.clone(), 0);
            waiter.finish();
        }
        assert!(waiters.list.len() <= 2 * SWEEP_FROM);
    }
}
