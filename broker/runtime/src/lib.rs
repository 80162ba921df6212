//! The runtime of a shard, behind the few words that the rest of the broker needs: run, spawn, sleep,
//! socket. Nothing outside this crate names the runtime beneath. It is a crate of its own so that the floor
//! server of `kafscale-perf` runs on the very same one.
//!
//! Rules that the runtime's traps force on us (each has cost somebody data):
//! - a read future is never dropped while it may complete: [`ReadHalf::fill`] is awaited to its end, and
//!   [`Closer::close`] ends it by shutting the socket down;
//! - every spawned task catches its panics, else one panic ends the shard;
//! - timers are about a millisecond coarse;
//! - no task wakes itself in a loop: it would starve its neighbors.

#![deny(unsafe_code)]

mod frame;
#[cfg(feature = "simulation")]
pub mod simulated;
mod socket;
mod timer;
pub mod tls;
mod turnstile;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};

pub use frame::WriteFrame;
pub use socket::{Closer, ReadHalf, Socket, WriteHalf};
pub use turnstile::Turnstile;

/// Entries of a shard's submission ring: 108 KiB of locked memory on Linux 6.18.
const RING_ENTRIES: u32 = 1024;

/// Which kernel interface a shard's sockets use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring: completions.
    IoUring,
    /// epoll: readiness. Works everywhere, about a tenth slower on small messages.
    Epoll,
}

impl Driver {
    /// Short name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }

    /// Tries whether a ring of the real size can be built, since a small probe succeeds where the ring then
    /// fails for want of locked memory.
    ///
    /// # Errors
    /// The reason, for the start-up message.
    pub fn probe_io_uring() -> Result<(), String> {
        let build = std::thread::spawn(|| {
            ring_runtime()
                .map(|_| ())
                .map_err(|error| error.to_string())
        });
        build
            .join()
            .unwrap_or_else(|_| Err("the io_uring probe panicked".to_owned()))
    }
}

/// A runtime on a ring that leaves completions until the thread enters the kernel, which it does after each turn
/// anyway. Without that (before Linux 5.19) the kernel interrupts the thread for each of them.
fn ring_runtime() -> std::io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    let mut cooperative = io_uring::IoUring::builder();
    cooperative.setup_coop_taskrun();
    build_ring(cooperative).or_else(|_| build_ring(io_uring::IoUring::builder()))
}

fn build_ring(ring: io_uring::Builder) -> std::io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(ring)
        .with_entries(RING_ENTRIES)
        .enable_timer()
        .build()
}

/// Runs a shard's main future to its end on this thread, pinned to `cpu` if one is given.
///
/// # Errors
/// The ring or the poller cannot be built, or the CPU is not allowed.
pub fn run<F: Future>(driver: Driver, cpu: Option<usize>, main: F) -> std::io::Result<F::Output> {
    if let Some(cpu) = cpu {
        monoio::utils::bind_to_cpu_set([cpu])
            .map_err(|error| std::io::Error::other(format!("pin to CPU {cpu}: {error}")))?;
    }
    match driver {
        Driver::IoUring => Ok(ring_runtime()?.block_on(main)),
        Driver::Epoll => Ok(RuntimeBuilder::<LegacyDriver>::new()
            .enable_timer()
            .build()?
            .block_on(main)),
    }
}

/// Starts a task on this shard. A panic inside ends that task only, and is logged.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    let task = async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            tracing::error!("a task of this shard panicked; the shard goes on");
        }
    };
    #[cfg(feature = "simulation")]
    if let Some(backend) = simulated::backend() {
        return backend.spawn(Box::pin(task));
    }
    drop(monoio::spawn(task));
}

/// Sleeps for at least `duration`, to about a millisecond.
pub async fn sleep(duration: Duration) {
    timer::after(duration).await;
}

/// Sleeps until `deadline`, to about a millisecond.
pub async fn sleep_until(deadline: Instant) {
    timer::at(deadline).await;
}

/// Lets the other tasks of this shard have their turn, once. Never in a loop without other work: a task that
/// wakes itself keeps the runtime from looking at sockets.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx: &mut Context<'_>| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits for `future`, at most for `duration`. The future is dropped when its time is up: not for
/// sockets.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    within(timer::after(duration), future).await
}

/// As [`timeout`], until `deadline`. Those that wait for the same instant cost one wake-up of the thread.
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    within(timer::at(deadline), future).await
}

async fn within<F: Future>(timer: impl Future<Output = ()>, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut timer = std::pin::pin!(timer);
    std::future::poll_fn(|cx: &mut Context<'_>| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        Pin::as_mut(&mut timer).poll(cx).map(|()| None)
    })
    .await
}
