//! A shard: one pinned thread that owns partitions, coordinator slots, connections and caches. Nothing else
//! changes them; other threads send messages ([`handle`]).
//!
//! Invariants:
//! - a partition is served by the shard that [`shard_of_partition`] names, and by no other;
//! - no borrow of shard state is held across an await;
//! - the mailbox loop never waits for another thread, so that two shards cannot wait for each other.

mod aging;
mod cold;
mod figures;
mod groups;
mod handle;
#[cfg(feature = "simulation")]
pub mod holdings;
mod long_poll;
mod produce;
mod producer_ids;
mod sample;
mod serve;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cache::tail::TailBudget;
use coord::groups::{CommittedOffset, GroupRoom, OffsetKey, StoredGroup};
use segment::{
    Offset, PartitionIndex, SessionId, TimestampMs, TopicId, TopicPartition, WalSequence,
};

use crate::api::FetchSessions;
use crate::config::Config;
use crate::control::{ControlHandle, ControlMsg, FlushSignal};
use crate::metadata::{Metadata, SharedMetadata};
use crate::metrics::ShardMetrics;
use crate::net::Connections;
use crate::partition::{
    PartitionHandle, PartitionImage, PartitionLog, PartitionMap, ReadSnapshot, SealedSection,
    SegmentPlan, SegmentRef, WalLocation,
};
use crate::proof::Proof;
use crate::quota::Signal;
use crate::security::Security;
use crate::security::audit::Audit;

pub use cold::{ReadError, RunOfTime};
pub use figures::{FIGURES_MAX, PartitionFigures, ReadCounts, Rebalance};
pub use groups::{GroupSlots, GroupUnavailable, SLOTS, shard_of_slot, slot_of_group};
pub use handle::{
    Job, ProduceCall, ProduceError, ProduceOutcome, ProducePart, Produced, ShardGone, ShardHandle,
    ShardId, ShardMsg,
};
pub use serve::{ShardStart, run, serve};

/// How long a request waits for a proof of life that it needs.
const PROOF_WAIT: Duration = Duration::from_secs(2);

/// The shard that owns a partition: a stable hash, so that a restart with as many shards deals alike.
pub fn shard_of_partition(id: TopicPartition, shards: usize) -> ShardId {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.topic.get());
    hasher.update(&id.partition.get().to_be_bytes());
    ShardId((hasher.finalize() as usize % shards) as u16)
}

/// What all shards of a process share, all of it immutable or with one writer.
#[derive(Clone)]
pub struct Shared {
    /// The settings.
    pub config: Arc<Config>,
    /// The cluster.
    pub metadata: SharedMetadata,
    /// All shards.
    pub peers: Arc<[ShardHandle]>,
    /// The control thread.
    pub control: ControlHandle,
    /// Whether produce is refused now, set by the control thread: the store takes no writes, or too much of
    /// the WAL waits for compaction.
    pub produce_refused: Arc<std::sync::atomic::AtomicBool>,
    /// Until when our session is proven.
    pub proof: Arc<Proof>,
    /// Room for groups in the slots of this broker.
    pub group_room: Arc<GroupRoom>,
    /// Tells when the quotas of clients change.
    pub quotas: Arc<Signal>,
    /// Who may connect.
    pub security: Arc<Security>,
}

/// A partition that may be worth compacting.
#[derive(Debug, Clone, Copy)]
pub struct CompactionCandidate {
    /// The partition.
    pub id: TopicPartition,
    /// Bytes in WAL sections that no segment holds.
    pub bytes: u64,
    /// Bytes that make a segment of its topic.
    pub segment_bytes: u64,
    /// WAL object of the oldest of them.
    pub oldest: (SessionId, WalSequence),
    /// How long ago that one was acknowledged.
    pub age_ms: u64,
}

/// The state of one shard. Shard-owned.
pub struct Shard {
    /// Which one.
    pub id: ShardId,
    /// What it shares with the others.
    pub shared: Shared,
    /// Its counters and histograms.
    pub metrics: Arc<ShardMetrics>,
    /// Its coordinator slots.
    pub groups: GroupSlots,
    /// Producer ids that it may hand out.
    pub(crate) producer_ids: producer_ids::ProducerIds,
    /// Incremental fetch sessions of its connections.
    pub(crate) fetch_sessions: FetchSessions,
    /// What it tells of denials.
    pub(crate) audit: Audit,
    /// Its connections.
    pub(crate) connections: Connections,
    partitions: RefCell<PartitionMap<Box<PartitionLog>>>,
    produce: produce::Produce,
    cold: cold::ColdReads,
    aging: RefCell<aging::Aging>,
    noted: figures::Noted,
    tail: RefCell<TailBudget<TopicPartition>>,
    /// What tails and the places of their sections may take.
    tail_budget: u64,
    dirty: Cell<bool>,
    urgent: Cell<bool>,
    open_bytes: Cell<u64>,
    started: Instant,
    /// The last reading of [`Shard::now_ms`].
    read_ms: Cell<u64>,
}

impl Shard {
    /// The current metadata.
    pub fn metadata(&self) -> Arc<Metadata> {
        self.shared.metadata.load_full()
    }

    /// The shard that owns a partition.
    pub fn owner(&self, id: TopicPartition) -> &ShardHandle {
        &self.shared.peers[shard_of_partition(id, self.shared.peers.len()).index()]
    }

    /// Milliseconds on the monotonic clock since the process started its shards.
    pub fn now_ms(&self) -> u64 {
        let now = self.started.elapsed().as_millis() as u64;
        self.read_ms.set(now);
        now
    }

    /// As [`Shard::now_ms`], without reading the clock: up to a second late, since the sweeper reads it so
    /// often.
    pub(crate) fn coarse_ms(&self) -> u64 {
        self.read_ms.get()
    }

    /// The wall clock.
    pub fn wall_clock(&self) -> TimestampMs {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        TimestampMs::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Waits for `future`, at most for `time`; it is dropped when the time is up.
    pub(crate) async fn at_most<F: Future>(&self, time: Duration, future: F) -> Option<F::Output> {
        crate::runtime::timeout(time, future).await
    }

    /// As [`Shard::at_most`] for a long poll, up to a sixteenth of `time` late, so that many polls end in one turn.
    pub(crate) async fn poll_at_most<F: Future>(
        &self,
        time: Duration,
        poll: F,
    ) -> Option<F::Output> {
        let end = long_poll::end(self.started.elapsed(), time);
        crate::runtime::timeout_at(self.started + end, poll).await
    }

    /// Whether our session is proven now: if not, others may own what is open here.
    pub(crate) fn is_proven(&self) -> bool {
        let holds = self.shared.proof.holds();
        if !holds {
            coord::mark!(Unproven);
        }
        holds
    }

    /// Whether our session was proven by something that was sent at `at` or later; asks for a
    /// proof if it was not.
    pub(crate) async fn proven_since(&self, at: Instant) -> bool {
        let proof = &self.shared.proof;
        if proof.holds_since(at) {
            return true;
        }
        let asked = self.shared.control.ask(ControlMsg::Prove);
        let answered = self.at_most(PROOF_WAIT, asked).await;
        matches!(answered, Some(Ok(()))) && proof.holds_since(at)
    }

    /// The snapshot of a partition, of any shard, as long as our session is proven.
    pub(crate) fn snapshot(&self, handle: &PartitionHandle) -> Option<Arc<ReadSnapshot>> {
        handle.snapshot().filter(|_| self.is_proven())
    }

    /// Runs `work` on the log of a partition of this shard, if it is open.
    pub fn with_log<R>(
        &self,
        id: TopicPartition,
        work: impl FnOnce(&mut PartitionLog) -> R,
    ) -> Option<R> {
        let mut partitions = self.partitions.borrow_mut();
        partitions.get_mut(id).map(|log| work(log))
    }

    /// Opens a partition: its snapshot is published when this returns.
    pub fn open(&self, image: PartitionImage) {
        let id = image.handle.id;
        assert!(
            image.handle.shard == self.id,
            "a partition is opened on the shard that owns it"
        );
        let mut log = PartitionLog::open(image);
        if log.watch_producers() {
            // They may have been silent for long.
            self.aging.borrow_mut().watch_now(id, self.now_ms());
        }
        let previous = self.partitions.borrow_mut().insert(id, Box::new(log));
        assert!(previous.is_none(), "a partition is open once");
    }

    /// Closes partitions: withdraws their snapshots and answers everyone who waits for them.
    pub fn close(&self, ids: &[TopicPartition]) {
        self.aging.borrow_mut().forget(ids);
        for id in ids {
            let log = self.partitions.borrow_mut().remove(*id);
            if let Some(log) = log {
                self.open_bytes
                    .set(self.open_bytes.get().saturating_sub(log.open_bytes()));
                self.produce.settled(log.unacknowledged_bytes());
                self.tail.borrow_mut().forget(id);
                let tickets = log.close();
                self.produce.fail(&tickets, ProduceError::NotOwner);
            }
        }
    }

    /// Forgets producers that have been silent for longer than their state is kept, in the partitions whose
    /// time for a look has come (Kafka's `producer.id.expiration.ms`).
    pub(crate) fn expire_producers(&self) {
        let log = &self.shared.config.log;
        let kept_ms = i64::try_from(log.producer_id_expiration.as_millis()).unwrap_or(i64::MAX);
        let every_ms = log.producer_id_expiration_check_interval.as_millis() as u64;
        let horizon = TimestampMs::new(self.wall_clock().get().saturating_sub(kept_ms));
        let now = self.now_ms();
        for _ in 0..aging::LOOKS_MAX {
            let due = self.aging.borrow_mut().due(now);
            let Some(id) = due else { return };
            let is_watched = self.with_log(id, |log| log.expire_producers(horizon));
            if is_watched == Some(true) {
                self.aging.borrow_mut().watch(id, now + every_ms);
            }
        }
    }

    /// Looks at a partition of which a first producer is known now.
    fn watch_producers(&self, id: TopicPartition) {
        let every = self.shared.config.log.producer_id_expiration_check_interval;
        let due = self.now_ms() + every.as_millis() as u64;
        self.aging.borrow_mut().watch(id, due);
    }

    /// Opens a coordinator slot with what is stored of it.
    pub fn open_slot(
        self: &Rc<Self>,
        slot: u16,
        groups: Vec<StoredGroup>,
        offsets: Vec<(OffsetKey, CommittedOffset)>,
    ) {
        self.groups.open(self, slot, groups, offsets);
    }

    /// Closes a coordinator slot: whoever waits is answered NOT_COORDINATOR.
    pub fn close_slot(self: &Rc<Self>, slot: u16) {
        self.groups.close(self, slot);
    }

    /// Seals what was appended since the last seal. What is too much for one section is left for the
    /// next seal, which is asked for at once.
    pub fn seal(&self) -> Vec<SealedSection> {
        self.dirty.set(false);
        self.urgent.set(false);
        self.open_bytes.set(0);
        let mut partitions = self.partitions.borrow_mut();
        let mut sections = Vec::new();
        for id in self.produce.take_touched() {
            let Some(log) = partitions.get_mut(id) else {
                continue;
            };
            sections.extend(log.seal());
            if log.open_bytes() > 0 {
                self.produce.touch(id);
                self.appended(log.open_bytes(), log.open_bytes());
            }
        }
        sections
    }

    /// Makes the sections of a durable WAL object visible and answers those who waited for them.
    pub fn acknowledge(&self, sections: Vec<(TopicPartition, Offset, WalLocation)>) {
        let now = self.now_ms();
        for (id, first, location) in sections {
            let mut partitions = self.partitions.borrow_mut();
            // A partition that was deleted meanwhile has answered its waiters.
            let Some(log) = partitions.get_mut(id) else {
                continue;
            };
            let log_start = log.log_start();
            let done = log.acknowledge(first, location, now);
            drop(partitions);
            self.produce.settled(done.bytes);
            self.produce.complete(&done.completions, log_start);
            self.keep_in_memory(id, done.memory);
            self.metrics.produce_bytes.add(done.bytes);
            self.metrics.produce_batches.add(done.batches);
            self.metrics.produce_records.add(done.records);
        }
    }

    /// Counts a run that came into memory; the oldest ones of all partitions leave when the budget is
    /// used up.
    fn keep_in_memory(&self, id: TopicPartition, memory: u64) {
        self.tail.borrow_mut().push(id, memory);
        self.evict_tails();
    }

    /// Leaves to the tails what the places of sections that are not compacted do not take of their
    /// budget: half of it at least.
    fn fit_tails(&self, places_bytes: u64) {
        let budget = self.tail_budget.saturating_sub(places_bytes);
        let budget = budget.max(self.tail_budget / 2);
        self.tail.borrow_mut().set_budget_bytes(budget);
        self.evict_tails();
    }

    fn evict_tails(&self) {
        loop {
            let evicted = self.tail.borrow_mut().evict();
            let Some(evicted) = evicted else { break };
            let freed = self.with_log(evicted.owner, PartitionLog::evict);
            self.metrics.tail_evictions.increment();
            assert!(
                freed.is_none_or(|bytes| bytes == evicted.bytes),
                "tails leave in append order"
            );
        }
    }

    /// Says that something was appended. At most one signal of each kind is under way between two seals.
    fn appended(&self, partition_bytes: u64, batch_bytes: u64) {
        let open = self.open_bytes.get() + batch_bytes;
        self.open_bytes.set(open);
        if !self.dirty.replace(true) {
            self.shared.control.signal(FlushSignal::Dirty(self.id));
        }
        let config = &self.shared.config;
        let share = config.log.flush_bytes / self.shared.peers.len() as u64;
        let full = partition_bytes >= config.log.flush_partition_bytes || open >= share;
        if full && !self.urgent.replace(true) {
            self.shared.control.signal(FlushSignal::Urgent(self.id));
        }
    }

    /// Bytes of partitions in segments and in WAL sections, from their log start on: what `retention.bytes`
    /// counts. `None` for what is not open here.
    pub(crate) fn retained_bytes(&self, ids: &[TopicPartition]) -> Vec<Option<u64>> {
        let sum = |log: &mut PartitionLog| log.pieces().map(|piece| piece.bytes).sum::<u64>();
        ids.iter().map(|id| self.with_log(*id, sum)).collect()
    }

    /// Partitions with WAL sections that no segment holds.
    pub fn compaction_candidates(&self) -> Vec<CompactionCandidate> {
        let now = self.now_ms();
        let metadata = self.metadata();
        let of_broker = self.shared.config.log.segment_bytes;
        let partitions = self.partitions.borrow();
        let candidates = partitions.iter().filter_map(|(id, log)| {
            let slot = log.oldest_slot()?;
            let of_topic = metadata.topic_by_id(id.topic)?.config.segment_bytes();
            Some(CompactionCandidate {
                id,
                bytes: log.uncompacted_bytes(),
                segment_bytes: of_topic.unwrap_or(of_broker),
                oldest: (slot.location.session, slot.location.sequence),
                age_ms: now.saturating_sub(slot.acknowledged_ms),
            })
        });
        candidates.collect()
    }

    /// Plans the next segment of a partition; see [`PartitionLog::plan_segment`].
    pub fn plan_segment(&self, id: TopicPartition, bytes_max: u64) -> Option<SegmentPlan> {
        self.with_log(id, |log| log.plan_segment(bytes_max))
            .flatten()
    }

    /// Drops a plan that could not be carried out.
    pub fn plan_failed(&self, id: TopicPartition) {
        self.with_log(id, PartitionLog::plan_failed);
    }

    /// Adopts a segment that the partition's record names now.
    pub fn compacted(&self, id: TopicPartition, segment: SegmentRef) {
        self.with_log(id, |log| log.compacted(segment));
    }

    /// Adopts a segment into which neighbors were merged.
    pub fn merged(&self, id: TopicPartition, segment: SegmentRef) {
        self.with_log(id, |log| log.merged(segment));
    }

    /// Raises the log start of a partition; gives the segments that lie wholly below it now.
    pub fn raise_log_start(&self, id: TopicPartition, to: Offset) -> Vec<SegmentRef> {
        self.with_log(id, |log| log.raise_log_start(to))
            .unwrap_or_default()
    }

    /// Stops appends to a partition, for a graceful release.
    pub fn release(&self, id: TopicPartition) {
        self.with_log(id, PartitionLog::release);
    }

    /// Takes appends to a partition again, when its release was given up.
    pub fn resume(&self, id: TopicPartition) {
        self.with_log(id, PartitionLog::resume);
    }

    /// Whether nothing of these partitions waits for a flush or its acknowledgement.
    pub fn are_quiet(&self, ids: &[TopicPartition]) -> bool {
        let quiet = |id: &TopicPartition| self.with_log(*id, |log| log.is_quiet());
        ids.iter().all(|id| quiet(id).unwrap_or(true))
    }

    /// Forgets what is known of deleted topics.
    pub fn topics_deleted(self: &Rc<Self>, topics: &[TopicId]) {
        self.noted.forget(topics);
        self.groups.topics_deleted(self, topics);
    }

    /// Partitions open here, and a sample of them for tests and metrics.
    pub fn partition_ids(&self) -> Vec<(TopicId, PartitionIndex)> {
        self.partitions
            .borrow()
            .ids()
            .map(|id| (id.topic, id.partition))
            .collect()
    }
}
