//! The runtime of a shard in a simulation: tasks and timers are those of the simulator, and sockets are
//! pipes in memory.
//!
//! Compiled only with the feature `simulation`, and in force only on a thread that has installed a
//! [`Backend`]. Every other thread of the same program runs on the kernel.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Buf, Bytes};

/// A task of the simulator.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What runs tasks and timers in place of the kernel.
pub trait Backend {
    /// Starts a task beside the one that runs now, which ends with the same process.
    fn spawn(&self, task: Task);

    /// Ready at `deadline` of the simulated monotonic clock.
    fn sleep_until(&self, deadline: Instant) -> Task;

    /// Wraps the main task of shard `number`, so that the simulator can hold up this shard and everything
    /// that it spawns.
    fn shard(&self, number: usize, main: Task) -> Task;
}

thread_local! {
    static BACKEND: RefCell<Option<Rc<dyn Backend>>> = const { RefCell::new(None) };
}

/// From now on this thread is simulated, for as long as it lives.
pub fn install(backend: Rc<dyn Backend>) {
    BACKEND.set(Some(backend));
}

/// The backend of this thread, if it is simulated.
pub fn backend() -> Option<Rc<dyn Backend>> {
    BACKEND.with_borrow(Clone::clone)
}

/// Whether this thread is simulated.
pub fn is_on() -> bool {
    BACKEND.with_borrow(Option::is_some)
}

/// One direction of a connection: a bounded queue of bytes, as between the buffers of two sockets.
/// Clones are the same pipe.
#[derive(Debug, Clone)]
pub struct Pipe(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// A writer waits above this.
    bytes_max: usize,
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    /// An empty pipe that takes bytes up to `bytes_max`, and one chunk beyond.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue {
            chunks: VecDeque::new(),
            bytes: 0,
            bytes_max,
            is_closed: false,
            reader: None,
            writer: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the pipe: what is in it can still be read, nothing more can be written.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.is_closed = true;
        queue.wake();
    }

    /// Ends the pipe and throws away what is in it, as a reset does.
    pub fn reset(&self) {
        let mut queue = self.lock();
        queue.chunks.clear();
        queue.bytes = 0;
        queue.is_closed = true;
        queue.wake();
    }

    /// Whether nothing more can be written.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// The next bytes, `most` at most; `None` at the end. One reader at a time.
    pub async fn read(&self, most: usize) -> Option<Bytes> {
        std::future::poll_fn(|cx| self.poll_read(cx, most)).await
    }

    fn poll_read(&self, cx: &mut Context<'_>, most: usize) -> Poll<Option<Bytes>> {
        let mut queue = self.lock();
        let Some(mut first) = queue.chunks.pop_front() else {
            if queue.is_closed {
                return Poll::Ready(None);
            }
            queue.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let found = first.split_to(first.len().min(most));
        if first.has_remaining() {
            queue.chunks.push_front(first);
        }
        queue.bytes -= found.len();
        if let Some(writer) = queue.writer.take() {
            writer.wake();
        }
        Poll::Ready(Some(found))
    }

    /// Writes a chunk when there is room for it. One writer at a time.
    ///
    /// # Errors
    /// The pipe has ended.
    pub async fn write(&self, chunk: Bytes) -> std::io::Result<()> {
        let mut chunk = Some(chunk).filter(|chunk| !chunk.is_empty());
        std::future::poll_fn(|cx| {
            let mut queue = self.lock();
            if queue.is_closed {
                return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
            }
            if queue.bytes >= queue.bytes_max {
                queue.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if let Some(chunk) = chunk.take() {
                queue.bytes += chunk.len();
                queue.chunks.push_back(chunk);
            }
            if let Some(reader) = queue.reader.take() {
                reader.wake();
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

impl Queue {
    fn wake(&mut self) {
        let waiting = self.reader.take().into_iter().chain(self.writer.take());
        waiting.for_each(Waker::wake);
    }
}

/// A connection as a broker accepts it.
#[derive(Debug, Clone)]
pub struct Wire {
    /// What the client sends.
    pub incoming: Pipe,
    /// What the broker sends.
    pub outgoing: Pipe,
    /// The client.
    pub peer: SocketAddr,
}
