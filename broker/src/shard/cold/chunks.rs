//! The memory of what is read back from the store: chunks cached, chunks read ahead, chunks under way.
//!
//! No I/O, no clock. Invariants:
//! - what is held (cached, read ahead, being read, and chunks that left but are still part of a reply)
//!   is at most the budget, but for one chunk that is always read, whatever its size, and for what
//!   replies keep;
//! - replies that nobody takes push out no more than most of the cache: what they keep has a bound of its own
//!   (`net::Unsent`), and without a cache each read of what others want most would be a GET;
//! - chunks read ahead that nobody has reached are no part of the cache, so that neither pushes out the
//!   other's; they and the reads under way take at most half of the budget.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use cache::s3_fifo::{Cache, Evicted};
use cache::single_flight::{Flights, Full, Join};
use segment::Offset;

use crate::partition::live::{Live, Room};
use crate::partition::run::{Run, Told};

/// Chunks asked for at most, those that wait for their turn included.
const FLIGHTS_MAX: usize = 1_024;
/// Reads that wait for chunks at most.
const WAITERS_MAX: usize = 4_096;
/// Memory of a chunk beside what its run says, about: its places in the maps.
const ENTRY_OVERHEAD_BYTES: u64 = 256;
/// The share of the budget that the cache has whatever replies keep, as a divisor.
const CACHE_SHARE_MIN: u64 = 4;
/// A chunk read ahead that nobody reached for so long makes room for another: its reader has left.
const UNREACHED_MAX_MS: u64 = 10_000;

/// Bytes of an object, and the offsets that they hold. A segment that is merged or cleaned keeps its key, and other
/// batches may lie at the same bytes then: one that lost all its records is always as long.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ChunkKey {
    /// The object.
    pub(super) object: Arc<str>,
    /// Where the bytes lie in it.
    pub(super) range: Range<u64>,
    /// Between which offsets their batches lie.
    pub(super) offsets: Range<Offset>,
}

/// How a reader comes to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// It enters: a sign that the chunk is popular, if it was there before.
    Enters,
    /// It takes the next slice.
    Stays,
}

/// What was counted since the last look.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) struct Counts {
    /// Chunks that the cache evicted.
    pub(in crate::shard) evicted: u64,
    /// Chunks that were read ahead and dropped before anyone reached them.
    pub(in crate::shard) unreached: u64,
}

/// A chunk that was read ahead and not reached.
#[derive(Debug)]
struct Ahead {
    run: Arc<Run>,
    number: u64,
    since_ms: u64,
}

/// Chunks of one shard. `W` waits for a chunk. Shard-owned.
#[derive(Debug)]
pub(super) struct Chunks<W> {
    cache: Cache<ChunkKey, Arc<Run>>,
    ahead: HashMap<ChunkKey, Ahead>,
    /// Keys of `ahead`, the oldest first.
    ahead_order: BTreeMap<u64, ChunkKey>,
    ahead_bytes: u64,
    next_number: u64,
    flights: Flights<ChunkKey, W>,
    /// Chunks that somebody waits for, whose reads have not begun.
    queue: VecDeque<(ChunkKey, Told)>,
    loading: u64,
    loading_bytes: u64,
    /// Bytes of the buffers of chunks held here.
    resident_bytes: u64,
    /// Bytes of all buffers of chunks that are alive, those being filled included.
    live: Arc<Live>,
    budget_bytes: u64,
    counts: Counts,
}

fn len(key: &ChunkKey) -> u64 {
    key.range.end.saturating_sub(key.range.start)
}

fn weight(run: &Run) -> u64 {
    run.memory_bytes() + ENTRY_OVERHEAD_BYTES
}

impl<W> Chunks<W> {
    /// Nothing held; at most `budget_bytes`.
    pub(super) fn new(budget_bytes: u64) -> Self {
        let entries = usize::try_from(budget_bytes / ENTRY_OVERHEAD_BYTES).unwrap_or(usize::MAX);
        Self {
            cache: Cache::new(budget_bytes, entries.clamp(16, (1 << 31) - 1)),
            ahead: HashMap::new(),
            ahead_order: BTreeMap::new(),
            ahead_bytes: 0,
            next_number: 0,
            flights: Flights::new(FLIGHTS_MAX, WAITERS_MAX),
            queue: VecDeque::new(),
            loading: 0,
            loading_bytes: 0,
            resident_bytes: 0,
            live: Arc::default(),
            budget_bytes,
            counts: Counts::default(),
        }
    }

    /// The chunk, if it is in memory.
    pub(super) fn find(&mut self, key: &ChunkKey, visit: Visit) -> Option<Arc<Run>> {
        if let Some(ahead) = self.take_ahead(key) {
            self.keep(key.clone(), ahead.run.clone());
            return Some(ahead.run);
        }
        let found = match visit {
            Visit::Enters => self.cache.get(key),
            Visit::Stays => self.cache.peek(key),
        };
        found.cloned()
    }

    /// Whether the chunk is in memory.
    pub(super) fn is_ready(&self, key: &ChunkKey) -> bool {
        self.ahead.contains_key(key) || self.cache.contains(key)
    }

    /// Whether the chunk is in memory or on its way.
    pub(super) fn holds(&self, key: &ChunkKey) -> bool {
        self.is_ready(key) || self.flights.contains(key)
    }

    /// Waits for a chunk, of which so much is known; it is asked for if nobody has yet. See [`Self::start`].
    ///
    /// # Errors
    /// The waiter, where as many wait as may.
    pub(super) fn join(&mut self, key: ChunkKey, told: Told, waiter: W) -> Result<(), Full<W>> {
        if self.flights.join(key.clone(), waiter)? == Join::First {
            self.queue.push_back((key, told));
        }
        Ok(())
    }

    /// The next read that shall begin: one that somebody waits for, as long as there is room. With the room
    /// of its buffer.
    pub(super) fn start(&mut self) -> Option<(ChunkKey, Told, Room)> {
        let (next, _) = self.queue.front()?;
        let bytes = len(next);
        let room = self.budget_bytes / 2;
        // One is always under way: else a chunk larger than the room would never come.
        if self.loading > 0 && self.outstanding() + bytes > room {
            return None;
        }
        let (key, told) = self.queue.pop_front()?;
        Some((key, told, self.begin(bytes)))
    }

    /// The room of the chunk's buffer, if the chunk, which is not held, shall be read ahead now; it then
    /// counts as being read.
    pub(super) fn start_ahead(&mut self, key: &ChunkKey, now_ms: u64) -> Option<Room> {
        let (bytes, room) = (len(key), self.budget_bytes / 2);
        let is_stale = |ahead: &Ahead| now_ms.saturating_sub(ahead.since_ms) > UNREACHED_MAX_MS;
        while self.outstanding() + bytes > room && self.drop_oldest_ahead(is_stale) {}
        if self.outstanding() + bytes > room || !self.flights.start(key.clone()) {
            return None;
        }
        Some(self.begin(bytes))
    }

    /// A read that was begun is over: takes in what it brought, and gives who waited for it.
    pub(super) fn finish(&mut self, key: &ChunkKey, run: Option<&Arc<Run>>, now_ms: u64) -> Vec<W> {
        self.loading -= 1;
        self.loading_bytes -= len(key);
        let waiters = self.flights.complete(key);
        match run {
            Some(run) if waiters.is_empty() => self.keep_ahead(key.clone(), run.clone(), now_ms),
            Some(run) => self.keep(key.clone(), run.clone()),
            None => {}
        }
        self.fit();
        waiters
    }

    /// Bytes held: cached, read ahead, being read, and what replies keep of chunks that have left.
    pub(super) fn held_bytes(&self) -> u64 {
        self.cache.used_bytes() + self.beside_cache()
    }

    /// Takes what was counted.
    pub(super) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn outstanding(&self) -> u64 {
        self.loading_bytes + self.ahead_bytes
    }

    fn beside_cache(&self) -> u64 {
        self.ahead_bytes + self.live.bytes().saturating_sub(self.resident_bytes)
    }

    fn begin(&mut self, bytes: u64) -> Room {
        self.loading += 1;
        self.loading_bytes += bytes;
        let room = Live::room(&self.live, bytes);
        self.fit();
        room
    }

    /// Leaves to the cache what the rest does not need, and at least its share.
    fn fit(&mut self) {
        let left = self.budget_bytes.saturating_sub(self.beside_cache());
        let room = left.max(self.budget_bytes / CACHE_SHARE_MIN);
        if room != self.cache.budget_bytes() {
            let evicted = self.cache.resize(room);
            self.left(evicted);
        }
    }

    fn keep(&mut self, key: ChunkKey, run: Arc<Run>) {
        self.resident_bytes += run.bytes();
        self.fit();
        let weight = weight(&run);
        let evicted = self.cache.insert(key, run, weight);
        self.left(evicted);
    }

    fn left(&mut self, evicted: Vec<Evicted<ChunkKey, Arc<Run>>>) {
        self.counts.evicted += evicted.len() as u64;
        self.resident_bytes -= evicted.iter().map(|left| left.value.bytes()).sum::<u64>();
    }

    fn keep_ahead(&mut self, key: ChunkKey, run: Arc<Run>, since_ms: u64) {
        let number = self.next_number;
        self.next_number += 1;
        self.resident_bytes += run.bytes();
        self.ahead_bytes += weight(&run);
        self.ahead_order.insert(number, key.clone());
        let ahead = Ahead {
            run,
            number,
            since_ms,
        };
        let before = self.ahead.insert(key, ahead);
        assert!(before.is_none(), "a chunk is read once at a time");
    }

    fn take_ahead(&mut self, key: &ChunkKey) -> Option<Ahead> {
        let ahead = self.ahead.remove(key)?;
        self.ahead_order.remove(&ahead.number);
        self.ahead_bytes -= weight(&ahead.run);
        self.resident_bytes -= ahead.run.bytes();
        Some(ahead)
    }

    /// Drops the oldest chunk read ahead if it `may` go; gives whether it did.
    fn drop_oldest_ahead(&mut self, may: impl Fn(&Ahead) -> bool) -> bool {
        let oldest = self
            .ahead_order
            .first_key_value()
            .map(|(_, key)| key.clone());
        let Some(key) = oldest.filter(|key| self.ahead.get(key).is_some_and(&may)) else {
            return false;
        };
        self.take_ahead(&key);
        self.counts.unreached += 1;
        true
    }
}

#[cfg(test)]
mod tests;
