//! The clients of one scenario: producers, consumers and the committer, each a thread.
//!
//! They stop when told; a write that is under way may go on until the load is over, which is
//! bounded by [`GIVE_UP`]. Dropping the load stops and joins them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::ClientError;
use wire::ErrorCode;

use super::directory::Directory;
use super::producers::Lane;
use super::readers::{Consumer, commit};
use super::recorder::Recorder;
use crate::checker::Kind;

/// Producers of each partition; every other one is idempotent.
pub(super) const PRODUCERS: u32 = 4;
const CONSUMERS: u32 = 2;
/// How long writes that are under way are waited for when the load stops.
pub(super) const GIVE_UP: Duration = Duration::from_secs(20);

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) recorder: Arc<Recorder>,
    pub(super) directory: Arc<Directory>,
    pub(super) partitions: i32,
    pub(super) seed: u64,
    is_stopping: AtomicBool,
    is_over: AtomicBool,
    refusals: Mutex<BTreeMap<String, u64>>,
}

impl Shared {
    /// No new writes and reads.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Nothing is repeated any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Counts what brokers answered instead of an acknowledgment.
    pub(super) fn note(
        &self,
        broker: i32,
        took: Duration,
        answer: &Result<(ErrorCode, i64), ClientError>,
    ) {
        let what = match answer {
            Ok((ErrorCode::NONE, _)) => return,
            Ok((code, _)) => code.name().to_owned(),
            Err(ClientError::TimedOut { .. }) => format!("no answer in {} s", took.as_secs()),
            Err(ClientError::Broken { .. }) => "connection broke".to_owned(),
            Err(error) => error.to_string(),
        };
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(format!("{broker}: {what}")).or_default() += 1;
    }
}

/// Running clients.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts them.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        recorder: Arc<Recorder>,
        directory: Arc<Directory>,
        partitions: i32,
        seed: u64,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            recorder,
            directory,
            partitions,
            seed,
            is_stopping: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            refusals: Mutex::default(),
        });
        let mut load = Self {
            shared,
            threads: Vec::new(),
        };
        load.spawn("directory", |shared| shared.directory.run())?;
        let mut producer = 0;
        for partition in 0..partitions {
            for number in 0..PRODUCERS {
                let kind = match number % 2 {
                    0 => Kind::Idempotent,
                    _ => Kind::Plain,
                };
                load.spawn("producer", move |shared| {
                    Lane::new(shared, producer, partition, kind).run();
                })?;
                producer += 1;
            }
        }
        for observer in 0..CONSUMERS {
            load.spawn("consumer", move |shared| {
                Consumer::new(shared, observer).run()
            })?;
        }
        load.spawn("committer", commit)?;
        Ok(load)
    }

    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce(&Shared) + Send + 'static,
    ) -> std::io::Result<()> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        self.threads.push(thread.spawn(move || run(&shared))?);
        Ok(())
    }

    /// Stops them and waits; says what brokers answered instead of acknowledgments, with counts,
    /// and how many clients panicked.
    pub(super) fn stop(mut self) -> (Vec<(String, u64)>, usize) {
        let panicked = self.end();
        let refusals = self.shared.refusals.lock();
        let refusals = refusals.unwrap_or_else(PoisonError::into_inner);
        let refusals = refusals.iter().map(|(what, count)| (what.clone(), *count));
        (refusals.collect(), panicked)
    }

    fn end(&mut self) -> usize {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + GIVE_UP;
        // The directory is needed by writes under way, and ends last.
        let mut threads = std::mem::take(&mut self.threads);
        let busy = |threads: &[JoinHandle<()>]| threads.iter().skip(1).any(|t| !t.is_finished());
        while busy(&threads) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.shared.directory.end();
        let outcomes = threads.drain(..).map(JoinHandle::join);
        outcomes.filter(Result::is_err).count()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.end();
    }
}
