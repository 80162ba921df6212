//! Reads of what is not in memory: one ranged GET per chunk, shared by everyone who waits for it, kept in a
//! cache of its own so that a catch-up reader never pushes out the tail of other partitions. Whoever reads in
//! order finds the chunks before it read already: several GETs are under way at once, so that a reader gets
//! the throughput of the store and not one chunk a round trip.

mod chunks;

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use cache::read_ahead::{Chunk, ReadAhead, Step};
use coord::mark;
use coord::rules::{self, Rule};
use futures_channel::oneshot;
use segment::{Offset, TopicPartition};

use self::chunks::{ChunkKey, Chunks, Counts, Visit};
use super::Shard;
use crate::control::{ControlMsg, LoadError, Missing, TimeBlock, TimeTarget};
use crate::partition::ColdPlace;
use crate::partition::live::Room;
use crate::partition::run::{Run, Told};

/// Readers whose read-ahead is kept apart at most.
const STREAMS_MAX: usize = 256;
/// Bytes read ahead of one reader at most: with a store that answers in 50 ms, some 600 MB/s.
const WINDOW_BYTES_MAX: u64 = 32 << 20;
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
    /// What lies where the offset should be ends before it: an index does not tell the truth.
    #[error("read: what is stored there ends before the offset")]
    EndsBefore,
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

type Loaded = Result<Arc<Run>, ReadError>;

/// Chunks in memory and on their way, and who reads in order. Shard-owned.
#[derive(Debug)]
pub(super) struct ColdReads {
    chunks: RefCell<Chunks<oneshot::Sender<Loaded>>>,
    ahead: RefCell<ReadAhead<TopicPartition>>,
    /// Segments whose index is read for a reader that is not there yet.
    opening: RefCell<HashSet<(TopicPartition, Offset)>>,
}

impl ColdReads {
    /// Chunks of at most `budget_bytes`.
    pub(super) fn new(budget_bytes: u64) -> Self {
        let window = WINDOW_BYTES_MAX.min(budget_bytes / 2);
        Self {
            chunks: RefCell::new(Chunks::new(budget_bytes)),
            ahead: RefCell::new(ReadAhead::new(STREAMS_MAX, window)),
            opening: RefCell::default(),
        }
    }

    /// Bytes held: see [`Chunks::held_bytes`].
    pub(super) fn held_bytes(&self) -> u64 {
        self.chunks.borrow().held_bytes()
    }

    /// Takes what was counted.
    pub(super) fn take_counts(&self) -> Counts {
        self.chunks.borrow_mut().take_counts()
    }
}

/// Why a run is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To be read, and what follows probably too.
    Reading,
    /// To look something up in it.
    Lookup,
}

fn chunk(first: Offset, next: Offset, range: &Range<u64>) -> Chunk {
    Chunk {
        first: position(first),
        next: position(next),
        bytes: range.end.saturating_sub(range.start),
    }
}

/// An offset as the read-ahead counts; offsets in the log are not negative.
fn position(offset: Offset) -> u64 {
    offset.get().unsigned_abs()
}

impl Shard {
    /// Reads whole batches from `offset` on, from wherever they are, until `budget` bytes are used up; with
    /// `at_least_one` the first goes out whatever its size. Once there is half of it, nothing is waited for.
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
        let enough = budget / 2;
        let mut run = self.find_run(id, offset, Purpose::Reading).await?;
        loop {
            let (bytes, to_end) = run.read(offset, budget, at_least_one, &mut out);
            budget = budget.saturating_sub(bytes);
            at_least_one = at_least_one && bytes == 0;
            let next = run.last().next().ok_or(ReadError::OutOfRange)?;
            if next <= offset {
                // Never twice the same: a shard would do nothing else any more.
                return match out.is_empty() {
                    true => Err(ReadError::EndsBefore),
                    false => Ok(out),
                };
            }
            if !to_end || budget == 0 {
                return Ok(out);
            }
            offset = next;
            run = match self.run_at_hand(id, offset) {
                Some(run) => run,
                None if budget > enough && self.is_below_end(id, offset) => {
                    match self.find_run(id, offset, Purpose::Reading).await {
                        Ok(run) => run,
                        Err(_) => return Ok(out),
                    }
                }
                None => return Ok(out),
            };
        }
    }

    fn is_below_end(&self, id: TopicPartition, offset: Offset) -> bool {
        let below = self.with_log(id, |log| offset < log.high_watermark());
        below.unwrap_or(false)
    }

    /// The run of batches that holds `offset`, or the next one after a gap.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn run_at(self: &Rc<Self>, id: TopicPartition, offset: Offset) -> Loaded {
        self.find_run(id, offset, Purpose::Lookup).await
    }

    async fn find_run(
        self: &Rc<Self>,
        id: TopicPartition,
        offset: Offset,
        purpose: Purpose,
    ) -> Loaded {
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
            match self.load_place(id, place, purpose).await {
                Ok(Some(run)) => return Ok(run),
                Ok(None) => {}
                // Compaction moved it while we read: look again where it is now.
                Err(ReadError::Load(LoadError::NotFound(key)))
                    if rules::holds(Rule::MovedBytesAreLookedUp) =>
                {
                    mark!(ChunkMoved);
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

    /// The run of batches that holds `offset`, if it is in memory.
    fn run_at_hand(self: &Rc<Self>, id: TopicPartition, offset: Offset) -> Option<Arc<Run>> {
        let place = self.with_log(id, |log| match log.run_in_memory(offset) {
            Some(run) => Ok(run),
            None => Err(log.place(offset)),
        });
        match place? {
            Ok(run) => Some(run),
            Err(Some(ColdPlace::Chunk {
                first,
                next,
                key,
                range,
            })) => {
                let at = chunk(first, next, &range);
                let key = ChunkKey {
                    object: key,
                    range,
                    offsets: first..next,
                };
                // A step of its reader, only if it is taken now.
                self.cold.chunks.borrow().is_ready(&key).then_some(())?;
                let visit = self.step(id, at);
                let found = self.cold.chunks.borrow_mut().find(&key, visit);
                self.metrics.chunk_hits.add(u64::from(found.is_some()));
                self.read_ahead(id, at.first);
                found
            }
            Err(_) => None,
        }
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
            TimeBlock::At {
                key,
                range,
                offsets,
            } => {
                let told = self.told(id, offsets).ok_or(ReadError::NotServed)?;
                let loaded = self.load_chunk(key, range, told, Visit::Enters, None);
                if let Ok(run) = loaded.await {
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
        mark!(MissingLookedInto);
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
        mark!(DamageExamined);
        let ask = |reply| ControlMsg::Examine(id, key.clone(), reply);
        let found = self.shared.control.ask(ask).await;
        match found.map_err(|_| ReadError::NotServed)? {
            Missing::LookAgain => Ok(()),
            Missing::NotOurs => Err(ReadError::NotServed),
            Missing::Lost => Err(LoadError::Corrupt(key, reason).into()),
            Missing::Unknown => Err(LoadError::Unavailable(key, reason).into()),
        }
    }

    /// What is known of the batches at these offsets.
    fn told(&self, id: TopicPartition, offsets: Range<Offset>) -> Option<Told> {
        let epochs = self.with_log(id, |log| log.epochs().clone())?;
        Some(Told { offsets, epochs })
    }

    /// Loads what a place names; `None` after an index, which tells the place of the chunk.
    async fn load_place(
        self: &Rc<Self>,
        id: TopicPartition,
        place: ColdPlace,
        purpose: Purpose,
    ) -> Result<Option<Arc<Run>>, ReadError> {
        match place {
            ColdPlace::Index {
                base,
                index_key,
                key,
                bytes,
            } => {
                self.open_segment(id, base, index_key, key, bytes).await?;
                Ok(None)
            }
            ColdPlace::Chunk {
                first,
                next,
                key,
                range,
            } => {
                let at = chunk(first, next, &range);
                let (visit, reader) = match purpose {
                    Purpose::Reading => (self.step(id, at), Some((id, at.first))),
                    Purpose::Lookup => (Visit::Enters, None),
                };
                let told = self.told(id, first..next).ok_or(ReadError::NotServed)?;
                let loaded = self.load_chunk(key, range, told, visit, reader);
                loaded.await.map(Some)
            }
            ColdPlace::Lost { key } => {
                let reason = "the segment is damaged at this offset".to_owned();
                Err(LoadError::Corrupt(key, reason).into())
            }
        }
    }

    async fn open_segment(
        &self,
        id: TopicPartition,
        base: Offset,
        index_key: Arc<str>,
        key: Arc<str>,
        bytes: u64,
    ) -> Result<(), ReadError> {
        let ask = |reply| ControlMsg::LoadSpans {
            index_key,
            key,
            bytes,
            reply,
        };
        let spans = self.shared.control.ask(ask).await;
        let spans = spans.map_err(|_| ReadError::NotServed)??;
        self.with_log(id, |log| log.set_spans(base, Some(bytes), spans));
        Ok(())
    }

    /// The chunk. What its reader, at this place, will want next is read meanwhile: after it.
    async fn load_chunk(
        self: &Rc<Self>,
        object: Arc<str>,
        range: Range<u64>,
        told: Told,
        visit: Visit,
        reader: Option<(TopicPartition, u64)>,
    ) -> Loaded {
        let key = ChunkKey {
            object,
            range,
            offsets: told.offsets.clone(),
        };
        let found = self.cold.chunks.borrow_mut().find(&key, visit);
        let waits = match found {
            Some(run) => Err(run),
            None => {
                let (sender, receiver) = oneshot::channel();
                let joined = self.cold.chunks.borrow_mut().join(key, told, sender);
                if joined.is_err() {
                    return Err(ReadError::Busy);
                }
                self.start_loads();
                Ok(receiver)
            }
        };
        if let Some((id, at)) = reader {
            self.read_ahead(id, at);
        }
        match waits {
            Err(run) => {
                self.metrics.chunk_hits.increment();
                Ok(run)
            }
            Ok(receiver) => {
                self.metrics.chunk_misses.increment();
                receiver.await.unwrap_or(Err(ReadError::NotServed))
            }
        }
    }

    /// Begins the reads that somebody waits for, as long as there is room.
    fn start_loads(self: &Rc<Self>) {
        loop {
            let next = self.cold.chunks.borrow_mut().start();
            let Some((key, told, room)) = next else {
                return;
            };
            self.start_load(key, told, room);
        }
    }

    fn start_load(self: &Rc<Self>, chunk: ChunkKey, told: Told, room: Room) {
        let shard = self.clone();
        crate::runtime::spawn(async move {
            let ChunkKey { object, range, .. } = chunk.clone();
            let ask = |reply| ControlMsg::LoadRun {
                key: object,
                range,
                told,
                room,
                reply,
            };
            let loaded = match shard.shared.control.ask(ask).await {
                Ok(loaded) => loaded.map_err(ReadError::Load),
                Err(_) => Err(ReadError::NotServed),
            };
            let run = loaded.as_ref().ok();
            let now = shard.now_ms();
            let waiters = shard.cold.chunks.borrow_mut().finish(&chunk, run, now);
            for waiter in waiters {
                let _ = waiter.send(loaded.clone());
            }
            shard.start_loads();
        });
    }

    /// A reader reads this chunk now.
    fn step(&self, id: TopicPartition, at: Chunk) -> Visit {
        let step = self.cold.ahead.borrow_mut().on_read(&id, at);
        match step {
            Step::Start | Step::Next => Visit::Enters,
            Step::Again => Visit::Stays,
        }
    }

    /// Reads ahead of the reader at `at`, as far as its window and the memory reach.
    fn read_ahead(self: &Rc<Self>, id: TopicPartition, at: u64) {
        let now = self.now_ms();
        loop {
            let from = self.cold.ahead.borrow().wanted(&id, at);
            let from = from.and_then(|from| i64::try_from(from).ok());
            let Some(from) = from.map(Offset::new) else {
                return;
            };
            let place = self.with_log(id, |log| match log.run_in_memory(from) {
                Some(_) => None,
                None => log.place(from),
            });
            match place.flatten() {
                Some(ColdPlace::Chunk {
                    first,
                    next,
                    key,
                    range,
                }) if next > from => {
                    let named = chunk(from, next, &range);
                    let key = ChunkKey {
                        object: key,
                        range,
                        offsets: first..next,
                    };
                    let held = self.cold.chunks.borrow().holds(&key);
                    if !held {
                        let Some(told) = self.told(id, first..next) else {
                            return;
                        };
                        let room = self.cold.chunks.borrow_mut().start_ahead(&key, now);
                        let Some(room) = room else { return };
                        self.metrics.read_aheads.increment();
                        self.start_load(key, told, room);
                    }
                    self.cold.ahead.borrow_mut().name(&id, at, named);
                }
                Some(ColdPlace::Index {
                    base,
                    index_key,
                    key,
                    bytes,
                }) => {
                    self.open_ahead(id, at, (base, index_key, key, bytes));
                    return;
                }
                _ => return,
            }
        }
    }

    /// Reads the index of a segment ahead of a reader, and goes on reading ahead then.
    fn open_ahead(
        self: &Rc<Self>,
        id: TopicPartition,
        at: u64,
        (base, index_key, key, bytes): (Offset, Arc<str>, Arc<str>, u64),
    ) {
        if !self.cold.opening.borrow_mut().insert((id, base)) {
            return;
        }
        let shard = self.clone();
        crate::runtime::spawn(async move {
            let opened = shard.open_segment(id, base, index_key, key, bytes).await;
            shard.cold.opening.borrow_mut().remove(&(id, base));
            match opened {
                Ok(()) => shard.read_ahead(id, at),
                // Its reader will meet it and say so.
                Err(error) => tracing::debug!(%error, "an index could not be read ahead"),
            }
        });
    }
}
