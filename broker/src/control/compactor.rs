//! Compaction: moves batches from the WAL into segments (DESIGN §6).
//!
//! Control thread; CPU work runs on the blocking pool. The range and header of a segment are
//! decided by a transaction (the intent) before anything is written under its key, so that whoever
//! writes it writes the same bytes (log-protocol H4). A step that fails leaves the intent, and the
//! next try finishes it, also after a restart.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coord::keys::partition::{self, Intent, IntentKind, PartitionRecord, ProducerSnapshotRef};
use coord::keys::plan::{self, Finish, SourceTrim};
use coord::kv::KvError;
use coord::rules::{self, Rule};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use segment::kfs::{KfsError, KfsObject};
use segment::manifest::{Manifest, ManifestSegment, TimePoint, time_points};
use segment::producer_snapshot::ProducerSnapshot;
use segment::{Offset, SessionId, TimestampMs, TopicPartition, WalSequence};
use store::{Body, GetError, GetRange, PutCondition, PutError};
use tracing::Instrument;

use super::cleaner;
use super::commit::CommitError;
use super::context::{Context, wall_clock};
use super::handle::LoadError;
use super::image::stored_producer;
use super::loads::load_run;
use super::merge;
use super::policy::{Backlog, Policy};
use super::put_budget::PutBudget;
use super::quarantine;
use super::segments::{ReadSegmentError, object_keys, read_manifest, write_manifest};
use super::takeover::{Owned, OwnedState, epoch_history};
use super::time_index::told;
use crate::logging::span;
use crate::partition::epochs::EpochHistory;
use crate::partition::run::{Run, Told};
use crate::partition::{RunSlot, SegmentPlan, SegmentRef};
use crate::shard::{CompactionCandidate, Shard, ShardGone};

/// How often the shards are asked, while anything is uncompacted.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Partitions that are compacted at a time.
const AT_ONCE: usize = 2;
/// Segments of one partition that are written before the others get their turn.
const SEGMENTS_A_TURN: usize = 16;

/// Why a segment was not written.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// The metadata store failed, or we own the partition no longer.
    #[error("{0}")]
    Commit(#[from] CommitError),
    /// The metadata store failed.
    #[error("{0}")]
    Kv(#[from] KvError),
    /// The store failed.
    #[error("{0}")]
    Put(#[from] PutError),
    /// The store failed.
    #[error("{0}")]
    Get(#[from] GetError),
    /// What was read back is not what was written.
    #[error("{key} at {position}: {reason}")]
    Damaged {
        /// The object.
        key: Arc<str>,
        /// Start of the section.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// A section cannot be read back, or is not what was written.
    #[error("{0}")]
    Section(#[from] LoadError),
    /// A segment cannot be read.
    #[error("{0}")]
    Segment(#[from] ReadSegmentError),
    /// The batches make no segment.
    #[error("{0}")]
    Kfs(#[from] KfsError),
    /// There is another object under the segment's key.
    #[error("{key} exists and has other bytes: it was not written by the intent of this partition")]
    Alien {
        /// Its key.
        key: String,
    },
    /// A pending intent ends where no section ends.
    #[error("the pending intent [{base}, {end}) does not fit the log from {from} on")]
    IntentUnfit {
        /// Its base.
        base: Offset,
        /// Its end.
        end: Offset,
        /// Where the log goes on after the last segment.
        from: Offset,
    },
    /// A shard has ended.
    #[error("{0}")]
    Shard(#[from] ShardGone),
    /// The blocking pool failed.
    #[error("the work was not finished: {0}")]
    Pool(#[from] tokio::task::JoinError),
}

/// The compactor.
pub struct Compactor {
    context: Rc<Context>,
    policy: Policy,
    busy: RefCell<HashSet<TopicPartition>>,
    budget: RefCell<PutBudget>,
    origin: Instant,
}

impl Compactor {
    /// A compactor by the settings.
    pub fn new(context: Rc<Context>) -> Self {
        let log = &context.config.log;
        let policy = Policy {
            interval: log.compaction_interval,
            backlog_max: log.wal_backlog_objects,
        };
        context
            .metrics
            .wal_backlog_limit
            .set_count(log.wal_backlog_objects);
        Self {
            context,
            policy,
            busy: RefCell::default(),
            budget: RefCell::default(),
            origin: Instant::now(),
        }
    }

    /// Runs for ever; sleeps while everything is compacted.
    pub async fn run(self) {
        let mut jobs = FuturesUnordered::new();
        loop {
            let candidates = self.candidates().await;
            let backlog = self.backlog(&candidates);
            for candidate in self.policy.choose(&candidates, &backlog) {
                if jobs.len() >= AT_ONCE {
                    break;
                }
                let is_busy = self.busy.borrow().contains(&candidate.id);
                if !is_busy && self.is_affordable(&candidate, &backlog) {
                    self.busy.borrow_mut().insert(candidate.id);
                    jobs.push(self.compact_partition(candidate));
                }
            }
            let idle = candidates.is_empty() && jobs.is_empty();
            tokio::select! {
                Some(id) = jobs.next(), if !jobs.is_empty() => {
                    self.busy.borrow_mut().remove(&id);
                }
                () = self.context.flushed.acknowledged.notified(), if idle => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                () = tokio::time::sleep(LOOK_EVERY), if !idle => {}
            }
        }
    }

    /// Whether the budget of PUTs allows this compaction now. A local store has none: its requests
    /// cost nothing.
    pub(crate) fn is_affordable(&self, candidate: &CompactionCandidate, backlog: &Backlog) -> bool {
        let is_local = self.context.proof.is_forever();
        if is_local || !self.policy.is_budgeted(candidate, backlog) {
            return true;
        }
        let partitions = self.context.owned.borrow().len();
        let now = self.origin.elapsed();
        self.budget.borrow_mut().take_segment(now, partitions)
    }

    async fn candidates(&self) -> Vec<CompactionCandidate> {
        let asked = self
            .context
            .shards
            .iter()
            .map(|shard| shard.call(|shard: &Rc<Shard>| shard.compaction_candidates()));
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().flatten().flatten().collect()
    }

    /// Counts the objects that wait, and refuses produce at the bound.
    fn backlog(&self, candidates: &[CompactionCandidate]) -> Backlog {
        let context = &self.context;
        let (ours, end) = (context.session.id, context.flushed.acknowledged_end());
        let oldest_of = |session: SessionId| {
            let of_session = candidates.iter().filter(move |c| c.oldest.0 == session);
            of_session.map(|candidate| candidate.oldest.1).min()
        };
        let mut first = oldest_of(ours).unwrap_or(end).min(end);
        if candidates
            .iter()
            .any(|candidate| candidate.oldest.0 != ours)
        {
            // Where its batches in our session begin is not told, so they count from the floor on.
            first = first.min(context.floor.get());
        }
        let inherited = context.inherited.borrow();
        let inherited = inherited.iter().map(|(session, objects)| {
            let Some(first) = oldest_of(*session) else {
                return 0;
            };
            objects
                .iter()
                .filter(|sequence| **sequence >= first)
                .count()
        });
        let backlog = Backlog {
            session: ours,
            first,
            end,
            inherited: inherited.sum(),
        };
        let metrics = &context.metrics;
        metrics.wal_backlog_objects.set_count(backlog.objects());
        let bytes: u64 = candidates.iter().map(|candidate| candidate.bytes).sum();
        metrics
            .wal_backlog_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        context
            .refusal
            .backlog_is_full(self.policy.is_full(&backlog));
        context.backlog_is_high.set(self.policy.is_high(&backlog));
        backlog
    }

    async fn compact_partition(&self, candidate: CompactionCandidate) -> TopicPartition {
        let id = candidate.id;
        let mut left = candidate.bytes;
        for _ in 0..SEGMENTS_A_TURN {
            let compacted = compact(&self.context, id, candidate.segment_bytes);
            match compacted
                .instrument(span!("compact", partition = %id))
                .await
            {
                Ok(Some(bytes)) => {
                    self.context.metrics.compactions.increment();
                    self.context.compacted.notify_one();
                    left = left.saturating_sub(bytes);
                }
                Ok(None) => {
                    // Its shard has batches to compact and the partition is being released, say: it must not be
                    // asked again at once.
                    tokio::time::sleep(LOOK_EVERY).await;
                    break;
                }
                Err(error) => {
                    self.context.metrics.compaction_errors.increment();
                    tracing::error!(partition = %id, %error, "a compaction failed; tried again");
                    // Whoever fails must not be asked again at once.
                    tokio::time::sleep(LOOK_EVERY).await;
                    break;
                }
            }
            if left < candidate.segment_bytes {
                break;
            }
        }
        self.merge_small(&candidate).await;
        id
    }

    /// Small segments become many only by compaction, so this is when they are looked for.
    async fn merge_small(&self, candidate: &CompactionCandidate) {
        let id = candidate.id;
        let merged = merge::merge(&self.context, id, candidate.segment_bytes);
        match merged.instrument(span!("merge", partition = %id)).await {
            Ok(Some(segments)) => {
                self.context.metrics.merges.increment();
                tracing::debug!(partition = %id, segments, "small segments were merged");
            }
            Ok(None) => {}
            Err(error) => {
                self.context.metrics.compaction_errors.increment();
                tracing::error!(partition = %id, %error, "a merge failed; tried again");
                examine_damaged(&self.context, id, &error).await;
            }
        }
    }
}

/// A segment that turned out to be damaged is left out from now on.
pub async fn examine_damaged(context: &Context, id: TopicPartition, error: &CompactionError) {
    if let CompactionError::Segment(ReadSegmentError::Damaged { key, .. }) = error {
        quarantine::examine(context, id, key).await;
    }
}

/// Writes one segment of a partition; gives the bytes that it took from the WAL, or `None` if there
/// was nothing to do.
///
/// # Errors
/// [`CompactionError`]; the next call goes on where this one stopped.
pub async fn compact(
    context: &Context,
    id: TopicPartition,
    segment_bytes: u64,
) -> Result<Option<u64>, CompactionError> {
    let Some(owned) = context.owned(id) else {
        return Ok(None);
    };
    // Whatever was begun is finished before another intent is made.
    cleaner::resolve(context, id).await?;
    merge::resolve(context, id).await?;
    let mut state = owned.state.lock().await;
    if state.gone {
        return Ok(None);
    }
    let acknowledged_end = context.flushed.acknowledged_end();
    if !rules::holds(Rule::PendingIntentFirst) {
        state.seen.record.intent = None;
    }
    let pending = state.seen.record.intent.as_deref().cloned();
    let Some(planned) = plan_on_shard(context, id, segment_bytes, pending).await? else {
        return Ok(None);
    };
    let bytes = planned.plan.bytes;
    match write_segment(context, &owned, &mut state, planned, acknowledged_end).await {
        Ok(()) => Ok(Some(bytes)),
        Err(error) => {
            context
                .shard_of(id)
                .call(move |shard| shard.plan_failed(id))
                .await?;
            Err(error)
        }
    }
}

/// A plan, and where the log goes on after it.
struct Planned {
    plan: SegmentPlan,
    /// The first section that stays.
    next: Next,
}

/// The first section that a plan leaves in the WAL.
#[derive(Debug, Clone)]
enum Next {
    /// There is none.
    Nothing,
    /// It lies in this WAL object, or is named by it.
    Object(SessionId, WalSequence),
    /// It is not known: the last section of the plan counts as needed.
    Unknown,
}

async fn plan_on_shard(
    context: &Context,
    id: TopicPartition,
    segment_bytes: u64,
    pending: Option<Intent>,
) -> Result<Option<Planned>, CompactionError> {
    let planned = context.shard_of(id).call(move |shard| {
        let plan = match &pending {
            None => shard.plan_segment(id, segment_bytes),
            Some(intent) => plan_exactly(shard, id, intent.end),
        };
        plan.map(|plan| {
            let next = next_section(shard, id, plan.end);
            Planned { plan, next }
        })
    });
    let Some(planned) = planned.await? else {
        return Ok(None);
    };
    assert!(planned.plan.bytes > 0, "a plan holds batches");
    Ok(Some(planned))
}

/// A plan that ends exactly where a pending intent ends; else whatever plan there is, which is
/// refused.
fn plan_exactly(shard: &Rc<Shard>, id: TopicPartition, end: Offset) -> Option<SegmentPlan> {
    let all = shard.plan_segment(id, u64::MAX)?;
    let within = all.parts.iter().take_while(|(slot, _)| slot.last < end);
    let bytes: u64 = within.map(|(slot, _)| slot.bytes()).sum();
    if bytes == all.bytes {
        return Some(all);
    }
    shard.plan_failed(id);
    shard.plan_segment(id, bytes)
}

fn next_section(shard: &Rc<Shard>, id: TopicPartition, end: Offset) -> Next {
    let found = shard.with_log(id, |log| {
        if end >= log.high_watermark() {
            return Next::Nothing;
        }
        match log.slot_at(end) {
            Some(slot) => Next::Object(slot.location.session, slot.location.sequence),
            None => Next::Unknown,
        }
    });
    found.unwrap_or(Next::Unknown)
}

async fn write_segment(
    context: &Context,
    owned: &Owned,
    state: &mut OwnedState,
    planned: Planned,
    acknowledged_end: WalSequence,
) -> Result<(), CompactionError> {
    let Planned { plan, next } = planned;
    let id = owned.handle.id;
    let intent = begin(context, id, state, &plan).await?;
    let epochs = epoch_history(&state.seen.record);
    let chunks = gather(context, &plan, &epochs).await?;
    let (base, created) = (intent.base, intent.created_ms);
    let build = move || {
        let points = time_points(&chunks).unwrap_or_default();
        KfsObject::build(base, created, chunks).map(|kfs| (kfs, points))
    };
    let (kfs, points) = super::pool::run(build).await??;
    if kfs.last_offset.next() != Some(plan.end) {
        return Err(unfit(&intent, &state.seen.record));
    }
    let [index_key, key] = object_keys(&context.keys, &owned.dir, id.partition, base);
    put_segment(context, &key, &kfs).await?;
    let index = Body::from(kfs.index.encode());
    if let Err(error) = context
        .objects
        .put(&index_key, index, PutCondition::None)
        .await
    {
        tracing::warn!(key = index_key, %error, "an index was not written; it is built when read");
    }
    let snapshot = put_snapshot(context, id, state, &plan).await?;
    let trims = trims(&state.seen.record, &plan, &next, acknowledged_end);
    let finish = Finish {
        trims,
        producer_snapshot: snapshot,
    };
    let finished =
        plan::finish_compaction(&context.space, context.session.id, id, &state.seen, &finish);
    let before = state.seen.record.producer_snapshot;
    state.write(context, id, finished).await?;
    let segment = manifest_segment(&kfs, base, plan.end, points);
    let adopted = SegmentRef::new(owned.place(&context.keys), &segment);
    let readable = segment.end > state.seen.record.log_start;
    if readable {
        coord::mark!(SegmentMade);
        state.segments.push(segment);
    }
    context
        .shard_of(id)
        .call(move |shard| shard.compacted(id, adopted))
        .await?;
    if !readable {
        context.objects.delete(&[index_key, key]).await;
    }
    tidy(context, owned, state, before).await;
    Ok(())
}

fn unfit(intent: &Intent, record: &PartitionRecord) -> CompactionError {
    let (base, end) = (intent.base, intent.end);
    CompactionError::IntentUnfit {
        base,
        end,
        from: record.compacted_end,
    }
}

/// Decides the segment, or finds what was decided before.
async fn begin(
    context: &Context,
    id: TopicPartition,
    state: &mut OwnedState,
    plan: &SegmentPlan,
) -> Result<Intent, CompactionError> {
    if let Some(intent) = state.seen.record.intent.as_deref() {
        let fits = intent.base == plan.base && intent.end == plan.end;
        let known = intent.kind == IntentKind::Append;
        return if fits && known {
            Ok(intent.clone())
        } else {
            Err(unfit(intent, &state.seen.record))
        };
    }
    let intent = Intent {
        base: plan.base,
        end: plan.end,
        created_ms: wall_clock(),
        kind: IntentKind::Append,
        object_bytes: None,
        object_crc32c: None,
    };
    let (space, session) = (&context.space, context.session.id);
    let planned = plan::begin_intent(space, session, id, &state.seen, intent.clone());
    state.write(context, id, planned).await?;
    Ok(intent)
}

/// The bytes of the plan's sections, in order: from memory, else from the WAL objects.
async fn gather(
    context: &Context,
    plan: &SegmentPlan,
    epochs: &EpochHistory,
) -> Result<Vec<Bytes>, CompactionError> {
    let mut chunks = Vec::new();
    for (slot, run) in &plan.parts {
        match run {
            Some(run) => chunks.extend(run.chunks().cloned()),
            None => {
                let run = read_section(context, slot, epochs).await?;
                chunks.extend(run.chunks().cloned());
            }
        }
    }
    Ok(chunks)
}

/// Reads a section back, every byte of it checked: the segment that is made of it is all that is left of it.
async fn read_section(
    context: &Context,
    slot: &RunSlot,
    epochs: &EpochHistory,
) -> Result<Run, LoadError> {
    let (first, last, location) = (slot.first, slot.last, &slot.location);
    let told = Told {
        offsets: first..last.next().expect("offsets in range"),
        epochs: epochs.clone(),
    };
    let range = location.range.clone();
    let run = load_run(&context.objects, &location.key, range, &told).await?;
    if run.first() != first || run.last() != last {
        let (from, to) = (run.first(), run.last());
        let reason = format!("it holds offsets {from} to {to}, expected {first} to {last}");
        return Err(LoadError::Corrupt(location.key.clone(), reason));
    }
    Ok(run)
}

/// Creates the segment; adopts one that is there if it has exactly our bytes.
async fn put_segment(context: &Context, key: &str, kfs: &KfsObject) -> Result<(), CompactionError> {
    let body = Body::new(kfs.chunks.clone()).with_crc32(kfs.crc32);
    match context.objects.put(key, body, PutCondition::IfAbsent).await {
        Ok(_) => return Ok(()),
        Err(PutError::AlreadyExists { .. }) => coord::mark!(SegmentAdopted),
        Err(error) => return Err(error.into()),
    }
    let found = context.objects.get(key, GetRange::Full).await?.bytes;
    let ours = kfs.chunks.clone();
    let same = super::pool::run(move || {
        let mut rest: &[u8] = &found;
        ours.iter()
            .all(|chunk| match rest.strip_prefix(chunk.as_ref()) {
                Some(after) => {
                    rest = after;
                    true
                }
                None => false,
            })
            && rest.is_empty()
    });
    if same.await? || !rules::holds(Rule::AdoptOnlyOurBytes) {
        Ok(())
    } else {
        Err(CompactionError::Alien {
            key: key.to_owned(),
        })
    }
}

async fn put_snapshot(
    context: &Context,
    id: TopicPartition,
    state: &OwnedState,
    plan: &SegmentPlan,
) -> Result<Option<ProducerSnapshotRef>, CompactionError> {
    if plan.producers.is_empty() {
        return Ok(None);
    }
    let epoch = state.seen.record.leader_epoch;
    let producers = plan
        .producers
        .iter()
        .map(|(id, entry)| stored_producer(*id, entry));
    let snapshot = ProducerSnapshot {
        partition: id,
        end_offset: plan.end,
        producers: producers.collect(),
        aborted: Vec::new(),
    };
    let key = context.keys.producer_snapshot(id, plan.end, epoch);
    match context
        .objects
        .put(&key, Body::from(snapshot.encode()), PutCondition::IfAbsent)
        .await
    {
        // What is there is ours, from an earlier try in this epoch, and knows no less.
        Ok(_) | Err(PutError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Some(ProducerSnapshotRef {
        end: plan.end,
        epoch,
    }))
}

/// What the sources still need after the plan: everything from the object of the first section that
/// stays. Sections follow the order of the sources, so the sources before that one go.
fn trims(
    record: &PartitionRecord,
    plan: &SegmentPlan,
    next: &Next,
    acknowledged_end: WalSequence,
) -> Vec<SourceTrim> {
    let needed = match next {
        // What is flushed from now on has a sequence that was not acknowledged when the plan was
        // made.
        Next::Nothing => None,
        Next::Object(session, sequence) => Some((*session, *sequence)),
        Next::Unknown => last_section(plan),
    };
    let at = match needed {
        None => record.sources.iter().position(|source| source.is_open()),
        Some((session, sequence)) => record
            .sources
            .iter()
            .position(|source| source.contains(session, sequence)),
    };
    // A source that is not found: nothing is trimmed.
    let Some(at) = at else { return Vec::new() };
    let trim = |(index, source): (usize, &partition::Source)| {
        let keep_from = if index < at {
            source.end_sequence?
        } else {
            let sequence = needed.map_or(acknowledged_end, |(_, sequence)| sequence);
            sequence.max(source.first_sequence)
        };
        let (session, first_sequence) = (source.session, source.first_sequence);
        (keep_from > first_sequence).then_some(SourceTrim {
            session,
            first_sequence,
            keep_from,
        })
    };
    record
        .sources
        .iter()
        .enumerate()
        .take(at + 1)
        .filter_map(trim)
        .collect()
}

fn last_section(plan: &SegmentPlan) -> Option<(SessionId, WalSequence)> {
    let (slot, _) = plan.parts.last()?;
    Some((slot.location.session, slot.location.sequence))
}

/// What the manifest tells of a segment.
pub fn manifest_segment(
    kfs: &KfsObject,
    base: Offset,
    end: Offset,
    time_points: Vec<TimePoint>,
) -> ManifestSegment {
    ManifestSegment {
        base,
        end,
        bytes: kfs.len,
        crc32: kfs.crc32,
        created: kfs.header.created,
        max_timestamp: kfs.max_timestamp.max(TimestampMs::NONE),
        max_timestamp_offset: None,
        time_points,
    }
}

/// After the transaction: the manifest, and the producer snapshot that was replaced. Nothing here can
/// fail the compaction.
pub async fn tidy(
    context: &Context,
    owned: &Owned,
    state: &mut OwnedState,
    replaced: Option<ProducerSnapshotRef>,
) {
    let Context { objects, keys, .. } = context;
    let id = owned.handle.id;
    let mut segments = state.segments.clone();
    // Whoever opens the partition next looks at them again.
    segments.retain(|segment| !state.damaged.contains_key(&segment.base));
    // Time points are in the manifest alone: those of earlier segments are carried over.
    if segments
        .iter()
        .any(|segment| segment.time_points.is_empty())
        && let Some(earlier) = read_manifest(objects, keys, &owned.dir, id).await
    {
        for segment in segments
            .iter_mut()
            .filter(|segment| segment.time_points.is_empty())
        {
            let told = told(&earlier, segment).map(|told| told.time_points.clone());
            segment.time_points = told.unwrap_or_default();
        }
    }
    let record = &state.seen.record;
    let manifest = Manifest {
        partition: id,
        leader_epoch: record.leader_epoch,
        compacted_end: record.compacted_end,
        log_start: record.log_start,
        segments,
    };
    let key = keys.manifest(&owned.dir, id.partition);
    if write_manifest(objects, &key, &manifest).await {
        for segment in &mut state.segments {
            segment.time_points = Vec::new();
        }
    }
    if let Some(old) = replaced.filter(|old| Some(*old) != record.producer_snapshot) {
        let key = context.keys.producer_snapshot(id, old.end, old.epoch);
        context.objects.delete(&[key]).await;
    }
}
