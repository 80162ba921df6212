//! Memory of a shard's requests, reserved in order of arrival and as bytes come in.
//!
//! Invariant: somebody can always go on. Those who hold memory and need more come before those who hold
//! none, and one of them at a time may exceed the budget: whoever holds memory finishes, or is closed for
//! making no progress, and gives it back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A budget of bytes. Shard-owned.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    used: Cell<u64>,
    queue: RefCell<VecDeque<Waiter>>,
    next: Cell<u64>,
    /// Whether one reservation has been let grow beyond the budget.
    overdrawn: Cell<bool>,
    /// Reservations that had to wait so far.
    waits: Cell<u64>,
}

/// One who waits.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    /// Whether it holds memory already.
    holds: bool,
    waker: Waker,
}

/// Bytes that are reserved until this is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    budget: Rc<MemoryBudget>,
    bytes: u64,
    overdrawn: bool,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: u64) -> Rc<Self> {
        Rc::new(Self {
            limit,
            used: Cell::new(0),
            queue: RefCell::default(),
            next: Cell::new(0),
            overdrawn: Cell::new(false),
            waits: Cell::new(0),
        })
    }

    /// Most bytes that one reservation may have.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes reserved now.
    pub(crate) fn used(&self) -> u64 {
        self.used.get()
    }

    /// Reservations that had to wait so far.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.get()
    }

    /// An empty reservation, to be grown.
    pub(crate) fn start(self: &Rc<Self>) -> Reserved {
        Reserved {
            budget: self.clone(),
            bytes: 0,
            overdrawn: false,
        }
    }

    fn wake_first(&self) {
        let queue = self.queue.borrow();
        if let Some(first) = queue.iter().find(|it| it.holds).or_else(|| queue.front()) {
            first.waker.wake_by_ref();
        }
    }

    /// Whether nobody else comes before this one.
    fn is_first(&self, ticket: u64, holds: bool) -> bool {
        let queue = self.queue.borrow();
        let mut before = queue.iter().take_while(|it| it.ticket != ticket);
        if holds {
            !before.any(|it| it.holds)
        } else {
            before.next().is_none() && !queue.iter().any(|it| it.holds)
        }
    }
}

impl Reserved {
    /// Adds `bytes` without a wait, before everyone who waits: for what is small and is in memory anyway.
    pub(crate) fn take(&mut self, bytes: u64) {
        self.budget.used.set(self.budget.used.get() + bytes);
        self.bytes += bytes;
    }

    /// Adds `bytes`, waiting behind everyone who asked before; who holds memory comes before who does not. One
    /// reservation at a time may grow beyond the budget: requests that each hold a part of it could
    /// otherwise wait for each other for ever.
    pub(crate) async fn grow(&mut self, bytes: u64) {
        let budget = self.budget.clone();
        let ticket = budget.next.get();
        budget.next.set(ticket + 1);
        let (holds, overdrawn) = (self.bytes > 0, self.overdrawn);
        let mut overdraws = false;
        let mut guard = QueueGuard {
            budget: &budget,
            ticket,
            queued: false,
        };
        std::future::poll_fn(|cx| {
            let used = budget.used.get();
            let fits = used + bytes <= budget.limit;
            let grows = holds && !budget.overdrawn.get();
            let first = budget.is_first(ticket, holds);
            if overdrawn || (first && (fits || grows || used == 0)) {
                budget.used.set(used + bytes);
                overdraws = !fits;
                return Poll::Ready(());
            }
            let mut queue = budget.queue.borrow_mut();
            match queue.iter_mut().find(|it| it.ticket == ticket) {
                Some(waiter) => waiter.waker.clone_from(cx.waker()),
                None => {
                    budget.waits.set(budget.waits.get() + 1);
                    let waker = cx.waker().clone();
                    queue.push_back(Waiter {
                        ticket,
                        holds,
                        waker,
                    });
                }
            }
            guard.queued = true;
            Poll::Pending
        })
        .await;
        if overdraws {
            self.overdrawn = true;
            budget.overdrawn.set(true);
        }
        self.bytes += bytes;
        // Whoever it wakes has to find all of that.
        drop(guard);
    }
}

/// Takes a waiter out of the queue when it is served or gives up.
struct QueueGuard<'a> {
    budget: &'a MemoryBudget,
    ticket: u64,
    queued: bool,
}

impl Drop for QueueGuard<'_> {
    fn drop(&mut self) {
        if self.queued {
            self.budget
                .queue
                .borrow_mut()
                .retain(|it| it.ticket != self.ticket);
            self.budget.wake_first();
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get() - self.bytes);
        if self.overdrawn {
            self.budget.overdrawn.set(false);
        }
        if self.bytes > 0 {
            self.budget.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::task::noop_waker_ref;
    use std::task::Context;

    #[test]
    fn reservations_are_granted_in_order_and_given_back() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.start();
        assert!(first.grow(80).now_or_never().is_some());
        let mut cx = Context::from_waker(noop_waker_ref());
        let (mut large, mut small) = (budget.start(), budget.start());
        let mut waits = Box::pin(large.grow(50));
        assert!(waits.poll_unpin(&mut cx).is_pending());
        let mut behind = Box::pin(small.grow(10));
        assert!(
            behind.poll_unpin(&mut cx).is_pending(),
            "the small one does not overtake"
        );
        drop(first);
        assert!(waits.poll_unpin(&mut cx).is_ready());
        drop(waits);
        assert!(behind.poll_unpin(&mut cx).is_ready());
        drop(behind);
        assert_eq!(budget.used(), 60);
        drop((large, small));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_taken_counts_and_does_not_wait() {
        let budget = MemoryBudget::new(100);
        let mut large = budget.start();
        assert!(large.grow(100).now_or_never().is_some());
        let mut small = budget.start();
        small.take(7);
        assert_eq!((budget.used(), budget.waits()), (107, 0));
        let mut other = budget.start();
        assert!(other.grow(1).now_or_never().is_none());
        assert_eq!(budget.waits(), 1);
        drop((large, small));
        assert_eq!(budget.used(), 0);
        assert!(other.grow(1).now_or_never().is_some());
    }

    #[test]
    fn two_that_each_hold_a_part_do_not_wait_for_each_other() {
        let budget = MemoryBudget::new(100);
        let (mut a, mut b) = (budget.start(), budget.start());
        assert!(a.grow(60).now_or_never().is_some());
        assert!(b.grow(40).now_or_never().is_some());
        assert!(
            a.grow(60).now_or_never().is_some(),
            "one grows beyond the budget"
        );
        assert!(b.grow(60).now_or_never().is_none(), "but only one");
        drop(a);
        assert!(b.grow(60).now_or_never().is_some());
    }

    #[test]
    fn one_who_holds_a_part_comes_before_those_who_hold_none() {
        let budget = MemoryBudget::new(100);
        let (mut a, mut b) = (budget.start(), budget.start());
        assert!(a.grow(50).now_or_never().is_some());
        assert!(b.grow(50).now_or_never().is_some());
        let mut cx = Context::from_waker(noop_waker_ref());
        let (mut first, mut second) = (budget.start(), budget.start());
        let mut newcomer = Box::pin(first.grow(10));
        assert!(newcomer.poll_unpin(&mut cx).is_pending());
        assert!(
            a.grow(50).now_or_never().is_some(),
            "it would wait for ever behind the newcomer"
        );
        let mut holder = Box::pin(b.grow(50));
        assert!(holder.poll_unpin(&mut cx).is_pending(), "one at a time");
        assert!(a.grow(5).now_or_never().is_some());
        drop(a);
        assert!(newcomer.poll_unpin(&mut cx).is_pending());
        assert!(holder.poll_unpin(&mut cx).is_ready());
        drop(holder);
        let mut behind = Box::pin(second.grow(10));
        assert!(behind.poll_unpin(&mut cx).is_pending());
        drop(b);
        assert!(newcomer.poll_unpin(&mut cx).is_ready());
        drop(newcomer);
        assert!(behind.poll_unpin(&mut cx).is_ready());
    }

    #[test]
    fn one_that_exceeds_the_budget_alone_is_granted_when_it_is_alone() {
        let budget = MemoryBudget::new(100);
        let mut huge = budget.start();
        assert!(huge.grow(60).now_or_never().is_some());
        assert!(huge.grow(60).now_or_never().is_some());
        let mut other = budget.start();
        assert!(other.grow(1).now_or_never().is_none());
        drop(huge);
        assert!(other.grow(1).now_or_never().is_some());
    }
}
