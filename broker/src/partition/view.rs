//! The read snapshot of a partition: what any shard may read without a lock, a message or a wake.
//!
//! The owner shard publishes it through one atomic pointer, before the acknowledgement is queued, so
//! that no client on any core sees the high watermark fall. It is withdrawn when the partition is
//! fenced, released or deleted. Publishing costs O(1): runs are kept in chunks of [`CHUNK_RUNS`], and only
//! the last chunk is copied.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use segment::{BrokerId, LeaderEpoch, Offset, TopicPartition};

use super::run::Run;
use super::waiters::{FetchWaiter, Reach, Waiters};
use crate::shard::ShardId;

/// Runs of one chunk of a tail.
pub const CHUNK_RUNS: usize = 64;

/// A run and its offsets: looking for one touches the list only, and no run but the one that is found.
#[derive(Debug, Clone)]
struct TailRun {
    first: Offset,
    last: Offset,
    run: Arc<Run>,
}

impl From<Arc<Run>> for TailRun {
    fn from(run: Arc<Run>) -> Self {
        Self {
            first: run.first(),
            last: run.last(),
            run,
        }
    }
}

/// Runs that follow each other, at least one, and the first offset of them.
#[derive(Debug, Clone)]
struct Chunk {
    first: Offset,
    runs: Arc<[TailRun]>,
}

/// Chunks that are full, in order; none at all costs no memory.
#[derive(Debug, Clone, Default)]
struct FullChunks(Option<Arc<Vec<Chunk>>>);

impl FullChunks {
    /// The chunks, to be changed: copied if a snapshot has them.
    fn make_mut(&mut self) -> &mut Vec<Chunk> {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl Deref for FullChunks {
    type Target = [Chunk];

    fn deref(&self) -> &[Chunk] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl Chunk {
    /// Of `runs`, if there are any.
    fn of(runs: impl Into<Arc<[TailRun]>>) -> Option<Self> {
        let runs = runs.into();
        let first = runs.first()?.first;
        assert!(
            runs.len() <= CHUNK_RUNS,
            "a chunk is copied when it is published: it is small"
        );
        assert!(
            runs.last().is_some_and(|last| last.last >= first),
            "the offsets of a chunk rise"
        );
        Some(Self { first, runs })
    }
}

/// The newest acknowledged runs of a partition that are in memory, contiguous up to the high
/// watermark. Immutable, shared.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    full: FullChunks,
    last: Option<Chunk>,
}

impl Tail {
    fn chunks(&self) -> impl DoubleEndedIterator<Item = &Chunk> {
        self.full.iter().chain(self.last.iter())
    }

    /// First offset in memory, if any run is.
    pub fn first(&self) -> Option<Offset> {
        self.chunks().next().map(|chunk| chunk.first)
    }

    /// The run that holds `offset`, as chunk and index.
    fn locate(&self, offset: Offset) -> Option<(usize, usize)> {
        if self.first()? > offset {
            return None;
        }
        let full = self.full.len();
        let chunk = match &self.last {
            Some(last) if last.first <= offset => full,
            _ => self.full.partition_point(|chunk| chunk.first <= offset) - 1,
        };
        let found = self.chunk(chunk)?;
        assert!(
            found.first <= offset,
            "a chunk is looked into from its first offset on"
        );
        let run = found.runs.partition_point(|run| run.last < offset);
        Some((chunk, run))
    }

    /// The run that starts at `offset`, if it is in memory.
    pub fn run_at(&self, offset: Offset) -> Option<Arc<Run>> {
        let (chunk, run) = self.locate(offset)?;
        let found = self.chunk(chunk)?.runs.get(run)?;
        (found.first == offset).then(|| found.run.clone())
    }

    /// The run that holds `offset`, if it is in memory.
    pub fn run_with(&self, offset: Offset) -> Option<Arc<Run>> {
        let (chunk, run) = self.locate(offset)?;
        let found = self.chunk(chunk)?.runs.get(run)?;
        assert!(
            found.first <= offset && offset <= found.last,
            "runs follow each other without a gap"
        );
        Some(found.run.clone())
    }

    fn chunk(&self, index: usize) -> Option<&Chunk> {
        self.full
            .get(index)
            .or_else(|| self.last.as_ref().filter(|_| index == self.full.len()))
    }

    fn runs_from(&self, offset: Offset) -> impl Iterator<Item = &Arc<Run>> {
        let (chunk, run) = self.locate(offset).unwrap_or((usize::MAX, 0));
        let first = self
            .chunk(chunk)
            .into_iter()
            .flat_map(move |chunk| chunk.runs.iter().skip(run));
        let rest = self
            .full
            .iter()
            .chain(self.last.iter())
            .skip(chunk.saturating_add(1));
        let all = first.chain(rest.flat_map(|chunk| chunk.runs.iter()));
        all.map(|found| &found.run)
    }
}

/// What a fetch of one partition may see. Immutable, shared.
#[derive(Debug, Clone)]
pub struct ReadSnapshot {
    /// Epoch of the ownership that published it.
    pub leader_epoch: LeaderEpoch,
    /// First offset that is still readable.
    pub log_start: Offset,
    /// Offset below which everything is durable and visible.
    pub high_watermark: Offset,
    /// Offset below which no transaction is open.
    pub last_stable_offset: Offset,
    /// Bytes ever appended up to the high watermark, counted from an arbitrary origin of this ownership.
    pub position: u64,
    /// The newest runs in memory.
    pub tail: Tail,
}

/// What a read of the tail came to.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum TailRead {
    /// So many bytes were appended; 0 at the high watermark or when the budget holds no whole batch.
    Bytes(u64),
    /// The offset is below what is in memory: ask the owner.
    Cold,
}

impl ReadSnapshot {
    fn reach(&self) -> Reach {
        Reach {
            epoch: self.leader_epoch,
            position: self.position,
        }
    }

    /// Whether `offset` may be asked for at all.
    pub fn in_range(&self, offset: Offset) -> bool {
        self.log_start <= offset && offset <= self.high_watermark
    }

    /// Whether a read at `offset` is served from memory.
    pub fn is_hot(&self, offset: Offset) -> bool {
        offset >= self.high_watermark || self.tail.first().is_some_and(|first| first <= offset)
    }

    /// Bytes available from `offset` to the high watermark, counted exactly, at most about `enough`.
    /// `None` when the offset is not in memory.
    pub fn available(&self, offset: Offset, enough: u64) -> Option<u64> {
        if offset >= self.high_watermark {
            return Some(0);
        }
        if !self.is_hot(offset) {
            return None;
        }
        let mut sum = 0;
        for run in self.tail.runs_from(offset) {
            sum += run.bytes_from(offset);
            if sum >= enough {
                break;
            }
        }
        assert!(sum > 0, "what lies below the high watermark has bytes");
        Some(sum)
    }

    /// Appends whole batches from `offset` on to `out`, as slices of the bytes that were received.
    pub fn read(
        &self,
        offset: Offset,
        mut budget: u64,
        mut at_least_one: bool,
        out: &mut Vec<Bytes>,
    ) -> TailRead {
        if offset >= self.high_watermark {
            return TailRead::Bytes(0);
        }
        if !self.is_hot(offset) {
            return TailRead::Cold;
        }
        let mut total = 0;
        for run in self.tail.runs_from(offset) {
            let (bytes, to_end) = run.read(offset, budget, at_least_one, out);
            assert!(
                bytes <= budget || at_least_one,
                "only a first batch is larger than the budget"
            );
            total += bytes;
            budget = budget.saturating_sub(bytes);
            at_least_one = at_least_one && bytes == 0;
            if !to_end {
                break;
            }
        }
        TailRead::Bytes(total)
    }
}

/// The broker that owns a partition, by its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker.
    pub broker: BrokerId,
    /// The epoch of its ownership.
    pub epoch: LeaderEpoch,
}

impl Leader {
    /// "Nobody" in [`PartitionHandle`].
    const NOBODY: u64 = u64::MAX;

    fn pack(self) -> u64 {
        let (broker, epoch) = (self.broker.get(), self.epoch.get());
        assert!(
            broker >= 0 && epoch >= 0,
            "an owner has an id and an epoch: nothing else reads as nobody"
        );
        u64::from(broker as u32) << 32 | u64::from(epoch as u32)
    }

    fn unpack(packed: u64) -> Option<Self> {
        (packed != Self::NOBODY).then(|| Self {
            broker: BrokerId::new((packed >> 32) as i32),
            epoch: LeaderEpoch::new(packed as u32 as i32),
        })
    }
}

/// One partition as every shard knows it: who owns it, and the read snapshot. Immutable, shared, but for
/// two atomics with one writer each (the snapshot is the owner shard's, the leader the control thread's) and the
/// list of fetches that wait.
#[derive(Debug)]
pub struct PartitionHandle {
    /// The partition.
    pub id: TopicPartition,
    /// The shard that serves it where this broker owns it.
    pub shard: ShardId,
    view: ArcSwapOption<ReadSnapshot>,
    leader: AtomicU64,
    waiters: Waiters,
}

impl PartitionHandle {
    /// A partition that is not open yet.
    pub fn new(id: TopicPartition, shard: ShardId) -> Self {
        Self {
            id,
            shard,
            view: ArcSwapOption::const_empty(),
            leader: AtomicU64::new(Leader::NOBODY),
            waiters: Waiters::default(),
        }
    }

    /// The live broker that owns it; `None` between two owners. The owner itself may not serve it
    /// yet: see [`PartitionHandle::snapshot`].
    pub fn leader(&self) -> Option<Leader> {
        Leader::unpack(self.leader.load(Ordering::Relaxed))
    }

    /// Tells who owns it. Control thread only.
    pub(crate) fn set_leader(&self, leader: Option<Leader>) {
        let packed = leader.map_or(Leader::NOBODY, Leader::pack);
        self.leader.store(packed, Ordering::Relaxed);
    }

    /// The current snapshot; `None` while the partition is not served.
    pub fn snapshot(&self) -> Option<Arc<ReadSnapshot>> {
        self.view.load_full()
    }

    /// Looks at the current snapshot, without taking a reference.
    pub fn with_snapshot<R>(&self, look: impl FnOnce(Option<&ReadSnapshot>) -> R) -> R {
        look(self.view.load().as_deref())
    }

    /// Publishes a snapshot. Owner shard only.
    pub(super) fn publish(&self, snapshot: ReadSnapshot) {
        assert!(
            snapshot.last_stable_offset <= snapshot.high_watermark,
            "nothing is stable that is not durable"
        );
        assert!(
            snapshot.log_start <= snapshot.high_watermark,
            "the log does not start after its end"
        );
        if let Some(before) = &*self.view.load()
            && before.leader_epoch == snapshot.leader_epoch
        {
            assert!(
                before.high_watermark <= snapshot.high_watermark,
                "the high watermark never falls"
            );
            assert!(
                before.log_start <= snapshot.log_start,
                "the log start never falls"
            );
            assert!(
                before.position <= snapshot.position,
                "what is visible stays visible"
            );
        }
        self.view.store(Some(Arc::new(snapshot)));
    }

    /// Withdraws the snapshot. Owner shard only.
    pub(super) fn withdraw(&self) {
        self.view.store(None);
    }

    /// Registers a fetch that waits, and that has seen `seen`, from any shard. What has become visible since is
    /// credited at once; if the ownership is another since, or none, the fetch is woken.
    pub fn wait(&self, waiter: &Arc<FetchWaiter>, seen: &ReadSnapshot) {
        self.waiters.add(waiter, seen.reach(), || self.reach());
    }

    /// Tells the fetches that wait how far the published snapshot reaches. Owner shard only, after publishing.
    pub(super) fn credit_waits(&self) {
        self.waiters.credit(|| self.reach());
    }

    /// Wakes all fetches that wait. Owner shard only, after withdrawing.
    pub(super) fn finish_waits(&self) {
        self.waiters.finish_all();
    }

    fn reach(&self) -> Option<Reach> {
        self.with_snapshot(|snapshot| snapshot.map(ReadSnapshot::reach))
    }
}

/// Builds tails. Shard-owned.
#[derive(Debug, Default)]
pub struct TailBuilder {
    full: FullChunks,
    last: Vec<TailRun>,
}

impl TailBuilder {
    /// Adds the run that follows.
    pub fn push(&mut self, run: Arc<Run>) {
        if let Some(before) = self.last.last() {
            assert!(
                before.last < run.first(),
                "runs come in the order of their offsets"
            );
        }
        assert!(
            self.last.len() < CHUNK_RUNS,
            "a full chunk is closed at once"
        );
        self.last.push(run.into());
        if self.last.len() == CHUNK_RUNS {
            let full = Chunk::of(std::mem::take(&mut self.last));
            self.full.make_mut().extend(full);
        }
    }

    /// Takes the oldest run out of memory.
    pub fn pop_front(&mut self) -> Option<Arc<Run>> {
        if self.full.is_empty() {
            return if self.last.is_empty() {
                None
            } else {
                Some(self.last.remove(0).run)
            };
        }
        let full = self.full.make_mut();
        let run = full[0].runs[0].run.clone();
        assert!(
            full[0].first == run.first(),
            "a chunk is found by its first run"
        );
        match Chunk::of(&full[0].runs[1..]) {
            Some(rest) => full[0] = rest,
            None => drop(full.remove(0)),
        }
        Some(run)
    }

    /// First offset in memory.
    pub fn first(&self) -> Option<Offset> {
        let full = self.full.first().map(|chunk| chunk.first);
        full.or_else(|| self.last.first().map(|run| run.first))
    }

    /// The tail as it is now.
    pub fn tail(&self) -> Tail {
        Tail {
            full: self.full.clone(),
            last: Chunk::of(self.last.as_slice()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::{RunPart, build};
    use super::*;
    use segment::TimestampMs;

    fn run(base: i64, batches: i64) -> Arc<Run> {
        let parts = (base..base + batches)
            .map(|offset| RunPart {
                base: Offset::new(offset),
                last: Offset::new(offset),
                max_timestamp: TimestampMs::new(offset),
                bytes: Bytes::from(vec![offset as u8; 10]),
                memory: 10,
            })
            .collect();
        Arc::new(build(parts))
    }

    fn snapshot(builder: &TailBuilder, high_watermark: i64) -> ReadSnapshot {
        ReadSnapshot {
            leader_epoch: LeaderEpoch::ZERO,
            log_start: Offset::ZERO,
            high_watermark: Offset::new(high_watermark),
            last_stable_offset: Offset::new(high_watermark),
            position: 0,
            tail: builder.tail(),
        }
    }

    #[test]
    fn a_leader_is_told_whole() {
        let id = TopicPartition::new(
            segment::TopicId::new([1; 16]),
            segment::PartitionIndex::ZERO,
        );
        let handle = PartitionHandle::new(id, ShardId(0));
        assert_eq!(handle.leader(), None);
        for (broker, epoch) in [(0, 0), (i32::MAX, i32::MAX), (7, 3)] {
            let leader = Leader {
                broker: BrokerId::new(broker),
                epoch: LeaderEpoch::new(epoch),
            };
            handle.set_leader(Some(leader));
            assert_eq!(handle.leader(), Some(leader));
        }
        handle.set_leader(None);
        assert_eq!(handle.leader(), None);
    }

    #[test]
    fn every_offset_is_found_across_chunks_and_after_eviction() {
        let mut builder = TailBuilder::default();
        for i in 0..200 {
            builder.push(run(i * 3, 3));
        }
        for _ in 0..70 {
            builder.pop_front();
        }
        let view = snapshot(&builder, 600);
        assert_eq!(view.tail.first(), Some(Offset::new(210)));
        for offset in 210..600 {
            let mut out = Vec::new();
            let read = view.read(Offset::new(offset), u64::MAX, false, &mut out);
            assert_eq!(read, TailRead::Bytes(10 * (600 - offset) as u64));
            assert_eq!(out[0][0], offset as u8);
            let available = view.available(Offset::new(offset), u64::MAX);
            assert_eq!(available, Some(10 * (600 - offset) as u64));
        }
        assert_eq!(
            view.read(Offset::new(209), 1, true, &mut Vec::new()),
            TailRead::Cold
        );
        assert_eq!(
            view.read(Offset::new(600), 1, true, &mut Vec::new()),
            TailRead::Bytes(0)
        );
    }

    #[test]
    fn a_reader_keeps_its_snapshot_while_the_owner_goes_on() {
        let mut builder = TailBuilder::default();
        builder.push(run(0, 2));
        let before = snapshot(&builder, 2);
        builder.push(run(2, 2));
        builder.pop_front();
        let mut out = Vec::new();
        assert_eq!(
            before.read(Offset::ZERO, 100, true, &mut out),
            TailRead::Bytes(20)
        );
        assert_eq!(snapshot(&builder, 4).tail.first(), Some(Offset::new(2)));
    }

    #[test]
    fn at_least_one_batch_is_given_whatever_the_budget() {
        let mut builder = TailBuilder::default();
        builder.push(run(0, 2));
        let view = snapshot(&builder, 2);
        assert_eq!(
            view.read(Offset::ZERO, 1, true, &mut Vec::new()),
            TailRead::Bytes(10)
        );
        assert_eq!(
            view.read(Offset::ZERO, 1, false, &mut Vec::new()),
            TailRead::Bytes(0)
        );
    }
}
