//! The clients of one scenario: producers, consumers and the committer, each a thread.
//!
//! They stop when told; a write that is under way may go on until the load is over, which is
//! bounded by [`GIVE_UP`]. Dropping the load stops and joins them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use check::{Kind, Partition};
use client::ClientError;
use wire::ErrorCode;

use super::directory::Directory;
use super::producers::Lane;
use super::readers::{Consumer, RECENT, commit};
use super::recorder::Recorder;

/// Producers of each partition; every other one is idempotent.
pub(super) const PRODUCERS: u32 = 4;
pub(super) const CONSUMERS: u32 = 2;
/// Observers from this number on are those of the reader of recent records.
const RECENT_READERS: u32 = 1_000_000;
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
    refused: AtomicU64,
    acknowledged: Vec<AtomicU64>,
    committed: AtomicU64,
}

/// How far the clients have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counts {
    /// Batches acknowledged, by partition.
    pub(super) acknowledged: Vec<u64>,
    /// Commits acknowledged.
    pub(super) committed: u64,
    /// Batches that a broker refused since it could not store them.
    pub(super) refused: u64,
}

impl Counts {
    /// Whether each partition has acknowledged `batches` more than before, and a commit was.
    pub(super) fn is_beyond(&self, before: &Self, batches: u64) -> bool {
        let mut pairs = self.acknowledged.iter().zip(&before.acknowledged);
        pairs.all(|(now, then)| *now >= then + batches) && self.committed > before.committed
    }
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

    /// A batch was acknowledged.
    pub(super) fn acknowledged(&self, partition: Partition) {
        let index = usize::try_from(partition.0).ok();
        if let Some(count) = index.and_then(|index| self.acknowledged.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A commit was acknowledged.
    pub(super) fn committed(&self) {
        self.committed.fetch_add(1, Ordering::Relaxed);
    }

    /// How far the clients have come.
    pub(super) fn counts(&self) -> Counts {
        let acknowledged = self.acknowledged.iter();
        Counts {
            acknowledged: acknowledged
                .map(|count| count.load(Ordering::Relaxed))
                .collect(),
            committed: self.committed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
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
            Ok((code, _)) => {
                if *code == ErrorCode::KAFKA_STORAGE_ERROR {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                code.name().to_owned()
            }
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
    /// How many of them, the first ones, ask for leaders.
    directories: usize,
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
            refused: AtomicU64::new(0),
            acknowledged: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            committed: AtomicU64::new(0),
        });
        let mut load = Self {
            shared,
            threads: Vec::new(),
            directories: 0,
        };
        let brokers: Vec<i32> = load
            .shared
            .directory
            .brokers
            .iter()
            .map(|(id, _)| *id)
            .collect();
        load.directories = brokers.len();
        for broker in brokers {
            load.spawn("directory", move |shared| {
                shared.directory.run(broker, &shared.recorder);
            })?;
        }
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
                Consumer::new(shared, observer, 0).run();
            })?;
        }
        load.spawn("reader of recent records", |shared| {
            Consumer::new(shared, RECENT_READERS, RECENT).run();
        })?;
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
        let (mut threads, last) = (std::mem::take(&mut self.threads), self.directories);
        let busy = |threads: &[JoinHandle<()>]| {
            let mut clients = threads.iter().skip(last);
            clients.any(|thread| !thread.is_finished())
        };
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
