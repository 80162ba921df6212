//! Memory of a shard's requests, reserved in order of arrival and as bytes come in.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A budget of bytes. Shard-owned.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    used: Cell<u64>,
    queue: RefCell<VecDeque<(u64, Waker)>>,
    next: Cell<u64>,
    /// Whether one reservation has been let grow beyond the budget.
    overdrawn: Cell<bool>,
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

    /// An empty reservation, to be grown.
    pub(crate) fn start(self: &Rc<Self>) -> Reserved {
        Reserved {
            budget: self.clone(),
            bytes: 0,
            overdrawn: false,
        }
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.queue.borrow().front() {
            waker.wake_by_ref();
        }
    }
}

impl Reserved {
    /// Adds `bytes`, waiting behind everyone who asked before. One reservation at a time may grow beyond the
    /// budget: requests that each hold a part of it could otherwise wait for each other for ever.
    pub(crate) async fn grow(&mut self, bytes: u64) {
        let budget = self.budget.clone();
        let ticket = budget.next.get();
        budget.next.set(ticket + 1);
        let (own, overdrawn) = (self.bytes, self.overdrawn);
        let mut overdraws = false;
        let mut guard = QueueGuard {
            budget: &budget,
            ticket,
            queued: false,
        };
        std::future::poll_fn(|cx| {
            let first = budget
                .queue
                .borrow()
                .front()
                .is_none_or(|(front, _)| *front == ticket);
            let used = budget.used.get();
            let fits = used + bytes <= budget.limit;
            let grows = own > 0 && (overdrawn || !budget.overdrawn.get());
            if first && (fits || grows || used == 0) {
                budget.used.set(used + bytes);
                overdraws = !fits;
                return Poll::Ready(());
            }
            let mut queue = budget.queue.borrow_mut();
            match queue.iter_mut().find(|(queued, _)| *queued == ticket) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => queue.push_back((ticket, cx.waker().clone())),
            }
            guard.queued = true;
            Poll::Pending
        })
        .await;
        drop(guard);
        self.bytes += bytes;
        if overdraws {
            self.overdrawn = true;
            budget.overdrawn.set(true);
        }
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
                .retain(|(ticket, _)| *ticket != self.ticket);
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
