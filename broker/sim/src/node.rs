//! A simulated process: everything that it runs is polled through one gate, which can be closed for a while
//! (a pause), or for good (a crash).

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use runtime::simulated::{Backend, Task};
use tokio::task::LocalSet;

use crate::clock;
use crate::entropy;
use crate::random::Random;

/// The gate of a process or of one shard.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_paused: AtomicBool,
    is_doomed: AtomicBool,
    /// Dies after so many polls; not if it is zero or less.
    polls_left: AtomicI64,
    wall_offset_ms: AtomicI64,
    waker: AtomicWaker,
}

impl Gate {
    /// From now on nothing behind the gate runs, or everything again.
    pub(crate) fn pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
        self.waker.wake();
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// What is behind the gate ends before its next turn.
    pub(crate) fn doom(&self) {
        self.is_doomed.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// What is behind the gate ends after so many turns.
    pub(crate) fn doom_after(&self, polls: u32) {
        self.polls_left.store(i64::from(polls), Ordering::Relaxed);
    }

    /// Sets the wall clock of the process ahead (or back).
    pub(crate) fn shift_wall_clock(&self, ms: i64) {
        self.wall_offset_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn wall_offset_ms(&self) -> i64 {
        self.wall_offset_ms.load(Ordering::Relaxed)
    }
}

/// How the future behind a gate ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End<T> {
    /// By itself.
    Done(T),
    /// It was killed, at whatever await it stood.
    Killed,
}

/// A future behind a gate.
pub(crate) struct Held<T> {
    gate: Arc<Gate>,
    inner: Option<Pin<Box<dyn Future<Output = T>>>>,
    /// Now and then a turn is put off, so that others go first.
    random: Random,
    put_off_one_in: u64,
    is_put_off: bool,
}

impl<T> Held<T> {
    pub(crate) fn new(
        gate: Arc<Gate>,
        random: Random,
        put_off_one_in: u64,
        inner: impl Future<Output = T> + 'static,
    ) -> Self {
        Self {
            gate,
            inner: Some(Box::pin(inner)),
            random,
            put_off_one_in,
            is_put_off: false,
        }
    }
}

impl<T> Future for Held<T> {
    type Output = End<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End<T>> {
        let this = &mut *self;
        this.gate.waker.register(cx.waker());
        clock::read();
        if this.gate.is_doomed.load(Ordering::Relaxed) {
            this.inner = None;
            return Poll::Ready(End::Killed);
        }
        if this.gate.is_paused() {
            return Poll::Pending;
        }
        if !this.is_put_off && this.put_off_one_in > 0 && this.random.one_in(this.put_off_one_in) {
            this.is_put_off = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.is_put_off = false;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(End::Killed);
        };
        let before = entropy::set_wall_offset(this.gate.wall_offset_ms());
        let polled = inner.as_mut().poll(cx);
        entropy::set_wall_offset(before);
        let left = this.gate.polls_left.load(Ordering::Relaxed);
        if left > 0 {
            this.gate.polls_left.store(left - 1, Ordering::Relaxed);
        }
        if left == 1 || this.gate.is_doomed.load(Ordering::Relaxed) {
            this.inner = None;
            return Poll::Ready(End::Killed);
        }
        polled.map(End::Done)
    }
}

/// The gates of the shards of one process, by number.
pub(crate) type ShardGates = Rc<RefCell<Vec<Arc<Gate>>>>;

thread_local! {
    /// Where the shards that are started now put their gates.
    static STARTING: RefCell<Option<(ShardGates, Arc<Gate>, u64)>> = const { RefCell::new(None) };
}

/// Runs a process with a task set of its own behind a gate, and tells the gates of its shards.
pub(crate) fn process<T: 'static>(
    gate: Arc<Gate>,
    shards: ShardGates,
    seed: u64,
    put_off_one_in: u64,
    main: impl Future<Output = T> + 'static,
) -> Held<T> {
    let process = gate.clone();
    let run = async move {
        let local = LocalSet::new();
        local.run_until(main).await
    };
    let mut run = Box::pin(run);
    let marked = std::future::poll_fn(move |cx| {
        STARTING.set(Some((shards.clone(), process.clone(), put_off_one_in)));
        let polled = run.as_mut().poll(cx);
        STARTING.set(None);
        polled
    });
    Held::new(gate, Random::of(seed, "process"), put_off_one_in, marked)
}

/// Tasks and timers of the simulated shards: those of tokio, whose clock is paused.
pub(crate) struct Tokio;

impl Backend for Tokio {
    fn spawn(&self, task: Task) {
        drop(tokio::task::spawn_local(task));
    }

    fn sleep_until(&self, deadline: Instant) -> Task {
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }

    fn shard(&self, number: usize, main: Task) -> Task {
        let found = STARTING.with_borrow(Clone::clone);
        let (gates, process, put_off_one_in) = found.expect("shards are started by a process");
        let gate = Arc::new(Gate::default());
        gate.shift_wall_clock(process.wall_offset_ms());
        let mut all = gates.borrow_mut();
        all.truncate(number);
        all.push(gate.clone());
        drop(all);
        let seed = entropy::next_bits();
        let run = async move {
            let local = LocalSet::new();
            local.run_until(main).await;
        };
        let held = Held::new(gate, Random::of(seed, "shard"), put_off_one_in, run);
        Box::pin(async move {
            held.await;
        })
    }
}
