//! One partition: its record, as the bucket says that it should be.

use std::collections::BTreeMap;
use std::ops::Range;

use coord::keys::partition::{PartitionRecord, ProducerSnapshotRef, Source};
use segment::batch::Batches;
use segment::keys::TopicDir;
use segment::manifest::{Manifest, ManifestSegment};
use segment::producer_snapshot::ProducerSnapshot;
use segment::{LeaderEpoch, Offset, ProducerId, TimestampMs, TopicPartition};

use super::RecoverError;
use super::chain::{Chain, Known, chain};
use super::fill::Fill;
use super::wal::{Section, Wal};
use crate::control::image::{producers as restored_producers, stored_producer};
use crate::control::segments::{Looked, read_manifest, read_segment};
use crate::partition::producers::{ProducerBatch, Producers, SequenceError};
use crate::tools::Ground;
use crate::tools::epochs::EpochHistory;

/// Leader epochs that are passed over: takeovers after the backup that left no record cannot be seen,
/// and a client that knows a later epoch than the leader's does not talk to it.
const EPOCHS_PASSED: i32 = 1_000;

/// What is known of a partition.
pub(super) struct Input {
    pub(super) id: TopicPartition,
    pub(super) dir: TopicDir,
    /// Its record in the backup.
    pub(super) before: Option<PartitionRecord>,
    /// Bases and bytes of its segments, by base.
    pub(super) segments: Vec<(Offset, u64)>,
    /// Its sections.
    pub(super) sections: Vec<Section>,
}

/// A partition as it comes back.
#[derive(Debug)]
pub struct RecoveredPartition {
    /// The partition.
    pub id: TopicPartition,
    /// The first offset that is served.
    pub start: Offset,
    /// Where its segments end.
    pub compacted_end: Offset,
    /// The end of its log.
    pub end: Offset,
    /// The end that the backup knew of: what its segments held then.
    pub backed_up_end: Offset,
    /// Segments that are there.
    pub segments: usize,
    /// Sections of WAL objects that follow them.
    pub sections: usize,
    /// Acknowledged records of these offsets are in no object.
    pub missing: Vec<Range<Offset>>,
    /// Offsets below those that are missing, whose records are in objects: without [`Self::fill`] they
    /// could not be served.
    pub hidden: Option<Range<Offset>>,
    /// What is written in the place of those that are missing, so that they are; none where a damaged
    /// segment lies in the way.
    pub(super) fill: Option<Fill>,
    /// What else is to be known of it.
    pub notes: Vec<String>,
    /// Its record.
    pub(super) record: PartitionRecord,
    /// A producer snapshot that is to be written.
    pub(super) snapshot: Option<ProducerSnapshot>,
    /// The largest producer id in it.
    pub(super) largest_producer: Option<ProducerId>,
    /// Sections that are not of the log.
    pub(super) left_out: Vec<Section>,
}

/// Segments, as they cover the log.
#[derive(Debug, Default)]
struct Covered {
    /// Runs without a gap.
    runs: Vec<Range<Offset>>,
    /// Bases of those that are damaged so that nobody knows what they held.
    unusable: Vec<Offset>,
    /// Epochs of the batches that were read.
    epochs: EpochHistory,
    /// Whether a batch that was read is of an idempotent producer.
    has_producers: bool,
    largest_producer: Option<ProducerId>,
    notes: Vec<String>,
}

/// Works a partition out. Reads whole whatever was compacted after the backup; writes nothing.
///
/// # Errors
/// The store failed.
pub(super) async fn recover(
    ground: &Ground,
    wal: &Wal,
    input: Input,
) -> Result<RecoveredPartition, RecoverError> {
    let Input { id, dir, .. } = &input;
    let (id, before) = (*id, input.before.clone());
    let before = before.unwrap_or_else(PartitionRecord::absent);
    // Without either there is none.
    let manifest = match input.segments.is_empty() && input.before.is_none() {
        true => None,
        false => read_manifest(&ground.objects, &ground.keys, dir, id).await,
    };
    let hint = manifest.as_ref();
    let mut covered = cover(ground, &input, &before, hint).await?;
    let snapshots = wal.snapshots_of(id);
    let last_run = covered.runs.last().cloned();
    let epochs_seen = largest_epoch(&before, hint, snapshots, &input, &covered);
    let mut epochs = EpochHistory::from_starts(before.epochs.clone());
    epochs.append(&covered.epochs);
    let known = Known {
        segments_end: last_run
            .as_ref()
            .map_or(before.compacted_end, |run| run.end),
        reached: reached(&before, hint, snapshots),
        epochs: epochs.starts(),
    };
    let found = chain(&known, input.sections.clone());
    for section in found.below.iter().chain(&found.used) {
        epochs.section(&section.entry);
    }
    let log_start = hint.map_or(Offset::ZERO, |hint| hint.log_start);
    let log_start = log_start.max(before.log_start);
    let (missing, hidden) = losses(&covered.runs, &found, log_start);
    let wants_fill = hidden.is_some() && covered.unusable.is_empty();
    let fill = wants_fill.then(|| {
        let dir = dir.clone();
        let mut manifest = manifest.clone();
        if let Some(manifest) = &mut manifest {
            // Of others what is written may have the base.
            let is_there =
                |told: &ManifestSegment| input.segments.contains(&(told.base, told.bytes));
            manifest.segments.retain(is_there);
        }
        Fill::new(
            dir,
            manifest,
            &covered.runs,
            &found,
            log_start,
            epochs.starts(),
        )
    });
    let covered_from = match &fill {
        Some(fill) => fill.from(),
        None => {
            let last = last_run.filter(|run| run.end == found.start);
            last.map_or(found.start, |run| run.start)
        }
    };
    // As whoever opens it would do.
    let log_start = log_start.max(covered_from);
    let (named, snapshot) = match fill {
        // Of whom batches are lost, the next one would be refused for ever.
        Some(_) => (None, None),
        None => producers(ground, &input, snapshots, found.start, &mut covered).await?,
    };
    let mut starts = epochs.starts().to_vec();
    starts.retain(|start| start.start <= found.end);
    let record = PartitionRecord {
        owner: None,
        leader_epoch: LeaderEpoch::new(epochs_seen.get().saturating_add(EPOCHS_PASSED)),
        sources: sources(&found, wal),
        compacted_end: found.start,
        log_start,
        epochs: starts,
        intent: None,
        producer_snapshot: named,
    };
    Ok(RecoveredPartition {
        id,
        start: log_start,
        compacted_end: found.start,
        end: found.end.max(log_start),
        backed_up_end: before.compacted_end,
        segments: input.segments.len(),
        sections: found.used.len(),
        missing,
        hidden,
        fill,
        notes: covered.notes,
        record,
        snapshot,
        largest_producer: covered.largest_producer,
        left_out: found.left_out,
    })
}

/// How far the log has come, whatever is left of it.
fn reached(
    before: &PartitionRecord,
    manifest: Option<&Manifest>,
    snapshots: &[(Offset, LeaderEpoch)],
) -> Offset {
    let compacted = manifest.map_or(Offset::ZERO, |hint| hint.compacted_end);
    let snapshot_end = snapshots.iter().map(|(end, _)| *end).max();
    let reached = before.compacted_end.max(compacted);
    reached.max(snapshot_end.unwrap_or_default())
}

/// The largest leader epoch that anything tells of.
fn largest_epoch(
    before: &PartitionRecord,
    manifest: Option<&Manifest>,
    snapshots: &[(Offset, LeaderEpoch)],
    input: &Input,
    covered: &Covered,
) -> LeaderEpoch {
    let sections = input
        .sections
        .iter()
        .map(|section| section.entry.leader_epoch);
    let others = [
        before.leader_epoch,
        manifest.map_or(LeaderEpoch::ZERO, |hint| hint.leader_epoch),
        covered.epochs.leader_epoch(),
    ];
    let snapshots = snapshots.iter().map(|(_, epoch)| *epoch);
    let all = sections.chain(snapshots).chain(others);
    all.max().unwrap_or(LeaderEpoch::ZERO)
}

/// Offsets that cannot be found and were never below the log start; and what lies below them.
fn losses(
    runs: &[Range<Offset>],
    found: &Chain,
    log_start: Offset,
) -> (Vec<Range<Offset>>, Option<Range<Offset>>) {
    let between = runs.windows(2).map(|pair| pair[0].end..pair[1].start);
    let mut missing: Vec<Range<Offset>> = between.chain(found.missing.iter().cloned()).collect();
    missing.retain(|range| range.end > log_start);
    for range in &mut missing {
        range.start = range.start.max(log_start);
    }
    let below = found.below.first();
    let first = runs.first().map(|run| run.start);
    let first = first.or(below.map(|section| section.entry.first_offset));
    let first = first.unwrap_or(found.start).max(log_start);
    let hidden = missing.last().map(|last| first..last.start);
    (missing, hidden.filter(|hidden| !hidden.is_empty()))
}

/// Which offsets the segments cover. Those that the manifest tells of and that the backup knew are
/// believed, the others are read whole.
async fn cover(
    ground: &Ground,
    input: &Input,
    before: &PartitionRecord,
    manifest: Option<&Manifest>,
) -> Result<Covered, RecoverError> {
    let mut covered = Covered::default();
    let (id, dir) = (input.id, &input.dir);
    let told: BTreeMap<Offset, (u64, Offset)> = manifest
        .iter()
        .flat_map(|hint| &hint.segments)
        .map(|segment| (segment.base, (segment.bytes, segment.end)))
        .collect();
    for (at, (base, bytes)) in input.segments.iter().enumerate() {
        let next = input.segments.get(at + 1).map(|(base, _)| *base);
        let hint = told.get(base).filter(|(len, _)| len == bytes);
        let hint = hint.filter(|(_, end)| *end <= before.compacted_end);
        let end = match hint {
            Some((_, end)) => Some(*end),
            None => {
                let (objects, keys) = (&ground.objects, &ground.keys);
                let looked = read_segment(objects, keys, dir, id.partition, *base, None).await;
                match looked? {
                    Some(Looked::Whole(whole)) => {
                        covered.take(&whole.body);
                        Some(whole.segment.end)
                    }
                    Some(Looked::Damaged(damaged)) => {
                        let (key, reason) = (&damaged.key, &damaged.reason);
                        let note = format!("{key} is damaged: {reason}; see `kafscale fsck`");
                        covered.notes.push(note);
                        let survey = &damaged.survey;
                        let stated = survey.stated_end.map(|end| end.min(next.unwrap_or(end)));
                        stated.or(next).or(Some(survey.sound_end()))
                    }
                    None => None,
                }
            }
        };
        let Some(end) = end.filter(|end| end > base) else {
            covered.unusable.extend(end.map(|_| *base));
            continue;
        };
        match covered.runs.last_mut() {
            Some(run) if *base <= run.end => run.end = run.end.max(end),
            _ => covered.runs.push(*base..end),
        }
    }
    Ok(covered)
}

impl Covered {
    /// Batches of a segment that was read.
    fn take(&mut self, body: &bytes::Bytes) {
        for batch in Batches::strict(body).flatten() {
            let header = &batch.header;
            self.epochs.batch(header);
            if header.is_idempotent() {
                self.has_producers = true;
                self.largest_producer = self.largest_producer.max(Some(header.producer_id));
            }
        }
    }
}

/// The sections that are used as closed sources, none of which holds a section that is not used, nor an
/// object that cannot be read: nobody could open the partition.
fn sources(found: &Chain, wal: &Wal) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for section in &found.used {
        let (owner, at) = (section.owner, section.sequence);
        let end = at.next().expect("a session has fewer than 2^64 objects");
        let objects = wal
            .sessions
            .get(&owner.session)
            .map(|session| &session.objects);
        let reaches = |source: &Source| {
            let from = source.end_sequence.expect("it is closed");
            let between = (from.get()..at.get()).map(segment::WalSequence::new);
            let is_free = |at: &segment::WalSequence| {
                objects.is_some_and(|objects| objects.contains(at))
                    && !wal.is_unreadable(owner, *at)
                    && !found
                        .left_out
                        .iter()
                        .any(|other| other.owner == owner && other.sequence == *at)
            };
            source.session == owner.session && between.into_iter().all(|at| is_free(&at))
        };
        match sources.last_mut().filter(|last| reaches(last)) {
            Some(last) => last.end_sequence = last.end_sequence.max(Some(end)),
            None => sources.push(Source {
                session: owner.session,
                broker: owner.broker,
                first_sequence: at,
                end_sequence: Some(end),
            }),
        }
    }
    sources
}

/// The latest producer snapshot at or below `end` that can be read.
async fn latest_snapshot(
    ground: &Ground,
    id: TopicPartition,
    snapshots: &[(Offset, LeaderEpoch)],
    end: Offset,
    notes: &mut Vec<String>,
) -> Result<Option<(ProducerSnapshot, LeaderEpoch)>, RecoverError> {
    let mut sorted = snapshots.to_vec();
    sorted.retain(|(at, _)| *at <= end);
    sorted.sort();
    while let Some((at, epoch)) = sorted.pop() {
        match super::read_snapshot(ground, id, at, epoch).await? {
            Ok(snapshot) => return Ok(Some((snapshot, epoch))),
            Err(reason) => notes.push(reason),
        }
    }
    Ok(None)
}

/// The producer snapshot of exactly `end`: the one that is there, or one that is made of an earlier
/// one and the segments after it.
async fn producers(
    ground: &Ground,
    input: &Input,
    snapshots: &[(Offset, LeaderEpoch)],
    end: Offset,
    covered: &mut Covered,
) -> Result<(Option<ProducerSnapshotRef>, Option<ProducerSnapshot>), RecoverError> {
    let notes = &mut covered.notes;
    let base = latest_snapshot(ground, input.id, snapshots, end, notes).await?;
    let largest = base.as_ref().and_then(|(base, _)| base.producers.last());
    let largest = largest.map(|state| state.producer_id);
    covered.largest_producer = covered.largest_producer.max(largest);
    if let Some((_, epoch)) = base.as_ref().filter(|(base, _)| base.end_offset == end) {
        return Ok((Some(ProducerSnapshotRef { end, epoch: *epoch }), None));
    }
    let before = input.before.as_ref();
    let had_one = before.is_some_and(|before| before.producer_snapshot.is_some());
    if base.is_none() && !had_one && !covered.has_producers {
        return Ok((None, None));
    }
    // Where the backup names none there was no such producer then. One that is gone is made again of
    // all segments.
    let known = before.filter(|_| !had_one);
    let known = known.map_or(Offset::ZERO, |before| before.compacted_end);
    let from = base.as_ref().map_or(known, |(base, _)| base.end_offset);
    // A snapshot alone replays nothing, and cannot contradict itself.
    let base = base.as_ref().map(|(base, _)| base);
    let mut state = restored_producers(base, &[], TimestampMs::ZERO).unwrap_or_default();
    for (at, (base, _)) in input.segments.iter().enumerate() {
        let next = input.segments.get(at + 1).map(|(next, _)| *next);
        // One that begins below may reach beyond.
        if *base < end && next.is_none_or(|next| next > from) {
            replay(ground, input, *base, from..end, &mut state).await?;
        }
    }
    if state.is_empty() {
        return Ok((None, None));
    }
    let epoch = before.map_or(LeaderEpoch::ZERO, |before| before.leader_epoch);
    let epoch = epoch.max(covered.epochs.leader_epoch());
    let states = state.at(end).into_iter();
    let snapshot = ProducerSnapshot {
        partition: input.id,
        end_offset: end,
        producers: states
            .map(|(id, entry)| stored_producer(id, &entry))
            .collect(),
        aborted: Vec::new(),
    };
    Ok((Some(ProducerSnapshotRef { end, epoch }), Some(snapshot)))
}

/// Replays the batches of a segment that lie in a range.
async fn replay(
    ground: &Ground,
    input: &Input,
    base: Offset,
    range: Range<Offset>,
    state: &mut Producers,
) -> Result<(), RecoverError> {
    let (objects, keys) = (&ground.objects, &ground.keys);
    let read = read_segment(objects, keys, &input.dir, input.id.partition, base, None);
    let Some(Looked::Whole(whole)) = read.await? else {
        return Ok(());
    };
    for batch in Batches::strict(&whole.body).flatten() {
        let header = &batch.header;
        if !header.is_idempotent() || !range.contains(&header.base_offset) {
            continue;
        }
        let count = header.last_offset().distance_from(header.base_offset);
        let count = count.and_then(|count| u32::try_from(count + 1).ok());
        let batch = ProducerBatch {
            producer_id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            count: count.unwrap_or(1),
            base_offset: header.base_offset,
            max_timestamp: header.max_timestamp,
        };
        if !matches!(state.check(&batch), Err(SequenceError::Fenced { .. })) {
            state.record(batch, header.max_timestamp);
        }
    }
    Ok(())
}
