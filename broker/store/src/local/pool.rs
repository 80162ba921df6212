//! A bounded pool of worker threads behind a bounded queue: blocking work for any runtime.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use flume::{Receiver, Sender};

/// Threads that run blocking jobs in order of arrival. Dropping it finishes the jobs queued and
/// joins the threads.
#[derive(Debug)]
pub(super) struct Pool {
    sender: Sender<Message>,
    threads: Vec<JoinHandle<()>>,
}

enum Message {
    Run(Box<dyn FnOnce() + Send>),
    Stop,
}

/// The job was not run to its end: the pool has stopped, or the job panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// It was never started.
    NotStarted,
    /// It panicked: what it did is unknown.
    Panicked,
}

impl Pool {
    /// Starts `threads` threads with a queue of at most `queue_max` jobs.
    pub(super) fn start(name: &str, threads: usize, queue_max: usize) -> io::Result<Self> {
        let (sender, receiver) = flume::bounded(queue_max.max(1));
        let mut pool = Self {
            sender,
            threads: Vec::new(),
        };
        for number in 0..threads.max(1) {
            let receiver = receiver.clone();
            let builder = thread::Builder::new().name(format!("{name}-{number}"));
            pool.threads.push(builder.spawn(move || work(&receiver))?);
        }
        Ok(pool)
    }

    /// A future that queues the job at its first poll (waiting while the queue is full) and
    /// answers with its result.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Lost>> + Send + 'static {
        let sender = self.sender.clone();
        async move {
            let (reply, answer) = flume::bounded(1);
            let boxed = Box::new(move || {
                // A caller that left does not want the answer.
                let _ = reply.send(job());
            });
            let queued = sender.into_send_async(Message::Run(boxed)).await;
            queued.map_err(|_| Lost::NotStarted)?;
            answer.into_recv_async().await.map_err(|_| Lost::Panicked)
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for _ in &self.threads {
            // Fails only when no thread is left.
            let _ = self.sender.send(Message::Stop);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a store worker ended by a panic");
            }
        }
    }
}

fn work(receiver: &Receiver<Message>) {
    while let Ok(Message::Run(job)) = receiver.recv() {
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a store job panicked");
        }
    }
}
