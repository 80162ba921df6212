//! Reads of what is not in memory: one ranged GET per chunk, shared by everyone who waits for it, kept in a
//! cache of its own so that a catch-up reader never pushes out the tail of other partitions.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use cache::s3_fifo::Cache;
use cache::single_flight::{Flights, Join};
use coord::rules::{self, Rule};
use futures_channel::oneshot;
use segment::{Offset, TopicPartition};

use super::Shard;
use crate::control::{ControlMsg, LoadError, Missing, TimeBlock, TimeTarget};
use crate::partition::ColdPlace;
use crate::partition::run::{self, Run};

/// Chunks in flight at most.
const FLIGHTS_MAX: usize = 1_024;
/// Reads that wait for one chunk at most.
const WAITERS_MAX: usize = 4_096;
/// Memory of a cached chunk beside its bytes, about.
const ENTRY_OVERHEAD_BYTES: u64 = 256;
/// How often a place is looked up again when compaction moved the bytes while they were read.
const MOVES_MAX: usize = 8;

/// Why acknowledged batches could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The partition is not served here (any more).
    #[error("read: the partition is not served here")]
    NotServed,
    /// The offset is below the log start or above the high watermark.
    #[error("read: the offset is out of range")]
    OutOfRange,
    /// The store cannot give the bytes now.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Too many reads wait for the store.
    #[error("read: too many reads wait for the store")]
    Busy,
}

/// Where a lookup by time goes on.
#[derive(Debug)]
pub enum RunOfTime {
    /// The batches among which the record is.
    Block(Arc<Run>),
    /// Batches that may hold it; else it comes after them.
    Part(Arc<Run>),
    /// It is not in this segment, which ends at this offset.
    NotBefore(Offset),
}

/// An object and the bytes in it. A segment that is merged keeps its key: its old end tells the ranges
/// of before from those of after.
type ChunkKey = (Arc<str>, Range<u64>);
type Loaded = Result<Arc<Run>, ReadError>;

/// Chunk cache and reads in flight. Shard-owned.
#[derive(Debug)]
pub(super) struct ColdReads {
    cache: RefCell<Cache<ChunkKey, Arc<Run>>>,
    flights: RefCell<Flights<ChunkKey, oneshot::Sender<Loaded>>>,
}

impl ColdReads {
    /// A cache of at most `budget_bytes`.
    pub(super) fn new(budget_bytes: u64) -> Self {
        let entries_max =
            usize::try_from(budget_bytes / ENTRY_OVERHEAD_BYTES).unwrap_or(usize::MAX);
        Self {
            cache: RefCell::new(Cache::new(budget_bytes, entries_max.max(16))),
            flights: RefCell::new(Flights::new(FLIGHTS_MAX, WAITERS_MAX)),
        }
    }
}

impl ColdReads {
    /// Bytes in the cache.
    pub(super) fn used_bytes(&self) -> u64 {
        self.cache.borrow().used_bytes()
    }
}

impl Shard {
    /// Reads whole batches from `offset` on, from wherever they are, until `budget` bytes are used up; with
    /// `at_least_one` the first goes out whatever its size.
    ///
    /// # Errors
    /// [`ReadError`] when not even the first chunk could be read.
    pub async fn read(
        self: Rc<Self>,
        id: TopicPartition,
        mut offset: Offset,
        mut budget: u64,
        mut at_least_one: bool,
    ) -> Result<Vec<Bytes>, ReadError> {
        let mut out = Vec::new();
        loop {
            let run = match self.run_at(id, offset).await {
                Ok(run) => run,
                Err(_) if !out.is_empty() => return Ok(out),
                Err(error) => return Err(error),
            };
            let (bytes, to_end) = run.read(offset, budget, at_least_one, &mut out);
            budget = budget.saturating_sub(bytes);
            at_least_one = at_least_one && bytes == 0;
            let next = run.last().next().ok_or(ReadError::OutOfRange)?;
            let more = self
                .with_log(id, |log| next < log.high_watermark())
                .unwrap_or(false);
            if !to_end || !more || budget == 0 {
                return Ok(out);
            }
            offset = next;
        }
    }

    /// The run of batches that holds `offset`, or the next one after a gap.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn run_at(self: &Rc<Self>, id: TopicPartition, offset: Offset) -> Loaded {
        let mut gone: Option<Arc<str>> = None;
        let mut examined = false;
        for _ in 0..MOVES_MAX {
            let found = self.with_log(id, |log| match log.run_in_memory(offset) {
                Some(run) => Ok(run),
                None => Err(log.place(offset)),
            });
            let place = match found.ok_or(ReadError::NotServed)? {
                Ok(run) => return Ok(run),
                Err(place) => place.ok_or(ReadError::OutOfRange)?,
            };
            match self.load_place(id, place).await {
                Ok(Some(run)) => {
                    self.read_ahead(id, &run);
                    return Ok(run);
                }
                Ok(None) => {}
                // Compaction moved it while we read: look again where it is now.
                Err(ReadError::Load(LoadError::NotFound(key)))
                    if rules::holds(Rule::MovedBytesAreLookedUp) =>
                {
                    if gone.replace(key.clone()).as_ref() == Some(&key) {
                        self.look_into(id, key).await?;
                    }
                }
                // Damaged, or told of wrongly: what can be read of it is found out once.
                Err(ReadError::Load(LoadError::Corrupt(key, reason))) if !examined => {
                    examined = true;
                    self.examine(id, key, reason).await?;
                }
                Err(error) => return Err(error),
            }
        }
        let gone = gone.map(LoadError::NotFound);
        Err(gone.map_or(ReadError::NotServed, ReadError::Load))
    }

    /// The batches around the record that is looked for in the segment at `base`, from offset `from`
    /// on: the block that the manifest tells of, else what [`Self::run_at`] gives.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn run_of_time(
        self: &Rc<Self>,
        id: TopicPartition,
        base: Offset,
        target: TimeTarget,
        from: Offset,
    ) -> Result<RunOfTime, ReadError> {
        let ask = |reply| ControlMsg::TimeBlock {
            id,
            base,
            target,
            from,
            reply,
        };
        let told = self.shared.control.ask(ask).await;
        match told.map_err(|_| ReadError::NotServed)? {
            TimeBlock::At { key, range } => {
                if let Ok(run) = self.load_chunk(key, range).await {
                    return Ok(RunOfTime::Block(run));
                }
            }
            TimeBlock::NotBefore(end) => return Ok(RunOfTime::NotBefore(end)),
            TimeBlock::Unknown => {}
        }
        // It may be gone by now: the log knows.
        self.run_at(id, from).await.map(RunOfTime::Part)
    }

    /// An object is not there, and it is still where the log says that it is. `Ok`: look again.
    async fn look_into(&self, id: TopicPartition, key: Arc<str>) -> Result<(), ReadError> {
        let ask = |reply| ControlMsg::LookInto(id, key.clone(), reply);
        let found = self.shared.control.ask(ask).await;
        match found.map_err(|_| ReadError::NotServed)? {
            Missing::LookAgain => Ok(()),
            Missing::NotOurs => Err(ReadError::NotServed),
            Missing::Lost => Err(LoadError::NotFound(key).into()),
            Missing::Unknown => {
                Err(LoadError::Unavailable(key, "it is not there now".to_owned()).into())
            }
        }
    }

    /// An object is there and is not what it should be. `Ok`: look again.
    async fn examine(
        &self,
        id: TopicPartition,
        key: Arc<str>,
        reason: String,
    ) -> Result<(), ReadError> {
        let ask = |reply| ControlMsg::Examine(id, key.clone(), reply);
        let found = self.shared.control.ask(ask).await;
        match found.map_err(|_| ReadError::NotServed)? {
            Missing::LookAgain => Ok(()),
            Missing::NotOurs => Err(ReadError::NotServed),
            Missing::Lost => Err(LoadError::Corrupt(key, reason).into()),
            Missing::Unknown => Err(LoadError::Unavailable(key, reason).into()),
        }
    }

    /// Loads what a place names; `None` after an index, which tells the place of the chunk.
    async fn load_place(
        self: &Rc<Self>,
        id: TopicPartition,
        place: ColdPlace,
    ) -> Result<Option<Arc<Run>>, ReadError> {
        match place {
            ColdPlace::Index {
                base,
                index_key,
                key,
                bytes,
            } => {
                let spans = self.shared.control.ask(|reply| ControlMsg::LoadSpans {
                    index_key,
                    key,
                    bytes,
                    reply,
                });
                let spans = spans.await.map_err(|_| ReadError::NotServed)??;
                self.with_log(id, |log| log.set_spans(base, spans));
                Ok(None)
            }
            ColdPlace::Chunk { key, range, .. } => self.load_chunk(key, range).await.map(Some),
            ColdPlace::Lost { key } => {
                let reason = "the segment is damaged at this offset".to_owned();
                Err(LoadError::Corrupt(key, reason).into())
            }
        }
    }

    async fn load_chunk(self: &Rc<Self>, key: Arc<str>, range: Range<u64>) -> Loaded {
        let chunk = (key, range);
        if let Some(run) = self.cold.cache.borrow_mut().get(&chunk) {
            self.metrics.chunk_hits.increment();
            return Ok(run.clone());
        }
        self.metrics.chunk_misses.increment();
        let (sender, receiver) = oneshot::channel();
        let joined = self.cold.flights.borrow_mut().join(chunk.clone(), sender);
        match joined {
            Ok(Join::First) => self.start_load(chunk),
            Ok(Join::Joined) => {}
            Err(_) => return Err(ReadError::Busy),
        }
        receiver.await.unwrap_or(Err(ReadError::NotServed))
    }

    fn start_load(self: &Rc<Self>, chunk: ChunkKey) {
        let shard = self.clone();
        crate::runtime::spawn(async move {
            let (key, range) = chunk.clone();
            let loaded = shard
                .shared
                .control
                .ask(|reply| ControlMsg::Load(key.clone(), Some(range), reply))
                .await;
            let loaded = match loaded {
                Ok(Ok(bytes)) => run::parse(&bytes).map(Arc::new).map_err(|error| {
                    tracing::error!(object = %key, %error, "stored batches are damaged");
                    ReadError::Load(LoadError::Corrupt(key, error.to_string()))
                }),
                Ok(Err(error)) => Err(ReadError::Load(error)),
                Err(_) => Err(ReadError::NotServed),
            };
            if let Ok(run) = &loaded {
                let weight = run.bytes() + ENTRY_OVERHEAD_BYTES;
                let mut cache = shard.cold.cache.borrow_mut();
                let evicted = cache.insert(chunk.clone(), run.clone(), weight);
                shard.metrics.chunk_evictions.add(evicted.len() as u64);
            }
            let waiters = shard.cold.flights.borrow_mut().complete(&chunk);
            for waiter in waiters {
                let _ = waiter.send(loaded.clone());
            }
        });
    }

    /// Loads the chunk after `run` in the background: whoever misses once usually reads on.
    fn read_ahead(self: &Rc<Self>, id: TopicPartition, run: &Run) {
        let Some(next) = run.last().next() else {
            return;
        };
        let place = self.with_log(id, |log| match log.run_in_memory(next) {
            Some(_) => None,
            None => log.place(next),
        });
        let Some(Some(ColdPlace::Chunk { key, range, .. })) = place else {
            return;
        };
        let chunk = (key, range);
        let cached = self.cold.cache.borrow().contains(&chunk);
        if !cached && self.cold.flights.borrow_mut().start(chunk.clone()) {
            self.start_load(chunk);
        }
    }
}
