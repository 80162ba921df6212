//! Takes partitions: fences earlier owners, then loads what they left (DESIGN §4).
//!
//! Control thread. (1) One transaction a partition makes us its owner and appends our source. (2)
//! Every session with an open source is fenced, and what it holds is read. (3) A second transaction
//! closes the sources and appends the epoch history. Only then is a partition loaded and opened.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use coord::keys::cluster::CommitMode;
use coord::keys::partition::{Owner, PartitionRecord, Source};
use coord::keys::plan::{self, Extent, PARTITIONS_MAX, PlanError, Planned, Take};
use coord::keys::{Keyspace, Seen, committed, floor, partition, seen};
use coord::kv::{KeyValue, Kv, KvError, Revision, range_all, range_map};
use coord::rules::{self, Rule};
use segment::keys::{KeySpace, PartitionDir, TopicDir};
use segment::manifest::ManifestSegment;
use segment::{Offset, ProducerId, SessionId, TimestampMs, TopicPartition, WalSequence};
use tokio::sync::Mutex;

use super::commit::{Change, CommitError, commit, commit_all};
use super::context::Context;
use super::directories::Bundle;
use super::harvest::{Found, Harvest, HarvestError};
use super::image::{self, ImageError, Sections, first_needed, order_sections};
use super::objects::Objects;
use super::quarantine::DamagedSegments;
use super::segments::{Segments, find_segments, read_snapshot};
use crate::partition::epochs::EpochHistory;
use crate::partition::{PartitionHandle, PartitionImage, SegmentRef};

/// The first sequence of a session that can hold batches: 0 is its `open` object.
const FIRST_SEQUENCE: WalSequence = WalSequence::new(1);

/// Partitions that are planned, written and loaded together: what that takes beside the partitions themselves is
/// given back before the next ones.
const TOGETHER: usize = 512;

/// A partition to take.
#[derive(Debug, Clone)]
pub struct Target {
    /// The partition.
    pub handle: Arc<PartitionHandle>,
    /// Where its objects lie.
    pub dir: Arc<TopicDir>,
    /// When the key of its topic was created.
    pub topic_created: Revision,
}

/// Who takes, and with what.
pub struct Taker<'a> {
    /// The object store.
    pub objects: &'a Objects,
    /// Its keys.
    pub keys: &'a KeySpace,
    /// The metadata store.
    pub kv: &'a Arc<dyn Kv>,
    /// Its keys.
    pub space: &'a Keyspace,
    /// Our session.
    pub me: Owner,
    /// The first sequence of our session that can hold batches of what is taken.
    pub first_sequence: WalSequence,
    /// Wall clock.
    pub now: TimestampMs,
    /// How WAL objects are committed.
    pub mode: CommitMode,
}

/// A partition of ours, as the control thread keeps it.
#[derive(Debug)]
pub struct Owned {
    /// The partition.
    pub handle: Arc<PartitionHandle>,
    /// Where its topic's objects lie.
    pub dir: Arc<TopicDir>,
    /// Its record and segments. Whoever changes them holds the lock across the change.
    pub state: Mutex<OwnedState>,
}

impl Owned {
    /// Where its segments lie.
    pub fn place(&self, keys: &KeySpace) -> PartitionDir {
        keys.partition_dir(&self.dir, self.handle.id.partition)
    }
}

/// What changes of a partition of ours.
#[derive(Debug)]
pub struct OwnedState {
    /// Its record.
    pub seen: Seen<PartitionRecord>,
    /// Its segments, oldest first.
    pub segments: Vec<ManifestSegment>,
    /// Those of them that are damaged.
    pub damaged: DamagedSegments,
    /// It is deleted or released: nothing of it is changed any more.
    pub gone: bool,
}

impl OwnedState {
    /// Carries out a change of the record that was planned on what is known of it.
    ///
    /// # Errors
    /// [`CommitError`]: it was not planned, or not made.
    pub async fn write(
        &mut self,
        context: &Context,
        id: TopicPartition,
        planned: Result<Planned<PartitionRecord>, PlanError>,
    ) -> Result<(), CommitError> {
        let key = partition::key(&context.space, id);
        self.seen = commit(&context.kv, &key, &planned?, Some(&self.seen)).await?;
        Ok(())
    }
}

/// A partition that has been taken.
#[derive(Debug)]
pub struct Taken {
    /// What the control thread keeps of it.
    pub owned: Rc<Owned>,
    /// What its shard opens.
    pub image: PartitionImage,
    /// Objects below its log start, to be deleted.
    pub dead: Vec<String>,
}

/// What a takeover came to.
#[derive(Debug, Default)]
pub struct Takeover {
    /// Partitions to open.
    pub taken: Vec<Taken>,
    /// Partitions that are ours and cannot be served, and why.
    pub refused: Vec<(TopicPartition, ImageError)>,
    /// The largest producer id that was seen.
    pub largest_producer: Option<ProducerId>,
    /// WAL objects of earlier sessions that hold batches.
    pub objects: HashMap<SessionId, Vec<WalSequence>>,
    /// What had to be read one by one, for whoever takes after us.
    pub bundles: Vec<Bundle>,
}

/// Why nothing could be taken: to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The metadata store failed.
    #[error("take partitions: {0}")]
    Kv(#[from] KvError),
    /// A record cannot be read.
    #[error("take partitions: {0}")]
    Commit(#[from] CommitError),
    /// An earlier session cannot be fenced or read now.
    #[error("take partitions: {0}")]
    Harvest(#[from] HarvestError),
}

type Floors = HashMap<SessionId, WalSequence>;
type Ranges = Vec<(SessionId, WalSequence, WalSequence)>;

impl Taker<'_> {
    /// Takes partitions, whose records are as in `records` (none: the key is absent).
    ///
    /// # Errors
    /// [`TakeoverError`]; partitions may be ours all the same, so that the next try finds our own
    /// session as their owner.
    pub async fn take(
        &self,
        targets: Vec<Target>,
        mut records: HashMap<TopicPartition, Seen<PartitionRecord>>,
    ) -> Result<Takeover, TakeoverError> {
        let mut takeover = Takeover::default();
        let mut ours = Vec::with_capacity(targets.len());
        for targets in parts(targets) {
            ours.extend(self.own(targets, &mut records, &mut takeover).await?);
        }
        drop(records);
        let floors = self.floors().await?;
        let wanted: HashSet<TopicPartition> =
            ours.iter().map(|(target, _)| target.handle.id).collect();
        let mut harvest = Harvest::new(self.objects, self.keys, self.me.session, wanted);
        let records = ours.iter().map(|(_, seen)| &seen.record);
        let sources: Vec<Source> = records.flat_map(|record| record.sources.clone()).collect();
        let ends = self.fence_open(&mut harvest, &sources, &floors).await?;
        self.read_closed(&mut harvest, &sources, &floors).await?;
        takeover.objects = harvest.objects();
        takeover.bundles = harvest.bundles();
        for ours in parts(ours) {
            let closed = self
                .close(ours, &mut harvest, &floors, &ends, &mut takeover)
                .await;
            self.load_all(closed, &mut takeover).await;
        }
        Ok(takeover)
    }

    async fn load_all(
        &self,
        closed: Vec<(Target, Seen<PartitionRecord>, Sections)>,
        takeover: &mut Takeover,
    ) {
        let loads = closed
            .into_iter()
            .map(|(target, seen, sections)| async move {
                let id = target.handle.id;
                (id, self.load(target, seen, sections).await)
            });
        let load = |load| load;
        for (id, outcome) in self.objects.read_many(loads, load).await {
            match outcome {
                Ok(taken) => {
                    let largest = taken.image.producers.largest_id();
                    takeover.largest_producer = takeover.largest_producer.max(largest);
                    takeover.taken.push(taken);
                }
                Err(error) => takeover.refused.push((id, error)),
            }
        }
    }

    /// Transaction (1) of some partitions.
    async fn own(
        &self,
        targets: Vec<Target>,
        records: &mut HashMap<TopicPartition, Seen<PartitionRecord>>,
        takeover: &mut Takeover,
    ) -> Result<Vec<(Target, Seen<PartitionRecord>)>, TakeoverError> {
        let (mut planned, mut changes) = (Vec::new(), Vec::new());
        for target in targets {
            let id = target.handle.id;
            let before = records.remove(&id);
            let take = Take {
                topic: &target.dir.name,
                topic_created: target.topic_created,
                partition: id,
                seen: before.as_ref(),
                me: self.me,
                first_sequence: self.first_sequence,
                own_end: Some(self.first_sequence),
            };
            match plan::take_partition(self.space, take) {
                Ok(plan) => {
                    let key = partition::key(self.space, id);
                    changes.push(Change {
                        key,
                        planned: plan.planned,
                        before,
                    });
                    planned.push(target);
                }
                Err(error) => takeover
                    .refused
                    .push((id, ImageError::Metadata(error.to_string()))),
            }
        }
        let outcomes = commit_all(self.kv, &changes, PARTITIONS_MAX).await;
        let mut ours = Vec::with_capacity(planned.len());
        for (target, outcome) in planned.into_iter().zip(outcomes) {
            match outcome {
                Ok(seen) => ours.push((target, seen)),
                Err(CommitError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    let error = ImageError::Metadata(error.to_string());
                    takeover.refused.push((target.handle.id, error));
                }
            }
        }
        Ok(ours)
    }

    /// The floors of all sessions.
    async fn floors(&self) -> Result<Floors, TakeoverError> {
        let entries = range_all(self.kv, floor::span(self.space)).await?.entries;
        let mut floors = Floors::new();
        for entry in &entries {
            let Ok(session) = floor::parse(self.space, &entry.key) else {
                continue;
            };
            let record = seen::<floor::FloorRecord>(Some(entry)).map_err(CommitError::from)?;
            floors.extend(record.map(|seen| (session, seen.record.floor)));
        }
        Ok(floors)
    }

    /// Fences the session of every open source but ours, in the order in which they appear.
    async fn fence_open(
        &self,
        harvest: &mut Harvest<'_>,
        sources: &[Source],
        floors: &Floors,
    ) -> Result<HashMap<SessionId, WalSequence>, TakeoverError> {
        let mut ends = HashMap::new();
        for source in sources.iter().filter(|source| source.is_open()) {
            let session = source.session;
            if session != self.me.session && !ends.contains_key(&session) {
                let floor = floors.get(&session).copied().unwrap_or_default();
                let owner = Owner {
                    session,
                    broker: source.broker,
                };
                let is_newest = || {
                    let others = |other: &&Source| other.session != self.me.session;
                    sources.iter().rfind(others).map(|other| other.session) == Some(session)
                };
                let fences = rules::holds(Rule::FenceEverySource) || is_newest();
                let end = match self.mode {
                    CommitMode::Conditional if fences => harvest.fence(owner, floor).await?,
                    CommitMode::Guarded | CommitMode::Conditional => {
                        self.committed_end(harvest, owner, floor).await?
                    }
                };
                ends.insert(session, end);
            }
        }
        Ok(ends)
    }

    /// Where a session has ended in the guarded mode: its committed sequence. Its key is gone, so
    /// it can commit nothing more; what it has stored beyond that was never acknowledged.
    async fn committed_end(
        &self,
        harvest: &mut Harvest<'_>,
        owner: Owner,
        floor: WalSequence,
    ) -> Result<WalSequence, TakeoverError> {
        let found = self
            .kv
            .get(committed::key(self.space, owner.session))
            .await?;
        let found = seen::<committed::CommittedRecord>(found.as_ref());
        let found = found.map_err(CommitError::from)?;
        let end = found
            .map_or(FIRST_SEQUENCE, |seen| seen.record.end)
            .max(floor);
        harvest.read_range(owner, floor..end).await?;
        Ok(end)
    }

    async fn read_closed(
        &self,
        harvest: &mut Harvest<'_>,
        sources: &[Source],
        floors: &Floors,
    ) -> Result<(), TakeoverError> {
        let closed = sources.iter().filter_map(|source| {
            let end = source.end_sequence?;
            let first = first_needed(source, floor_of(floors, source.session));
            let owner = Owner {
                session: source.session,
                broker: source.broker,
            };
            Some((owner, first..end.max(first)))
        });
        Ok(harvest.read_ranges(closed).await?)
    }

    /// Transaction (3) of some partitions. Gives those that can be loaded.
    async fn close(
        &self,
        ours: Vec<(Target, Seen<PartitionRecord>)>,
        harvest: &mut Harvest<'_>,
        floors: &Floors,
        ends: &HashMap<SessionId, WalSequence>,
        takeover: &mut Takeover,
    ) -> Vec<(Target, Seen<PartitionRecord>, Sections)> {
        let (mut changes, mut ready) = (Vec::new(), Vec::new());
        for (target, seen) in ours {
            let id = target.handle.id;
            let sections = self.sections(&seen.record, id, harvest, floors, ends);
            let planned = sections.and_then(|sections| {
                let ends: Vec<_> = ends.iter().map(|(session, end)| (*session, *end)).collect();
                let (me, start) = (self.me.session, Some(sections.end));
                let extent = extent(&sections.found);
                plan::close_sources(self.space, me, id, &seen, &ends, extent, start)
                    .map(|planned| (planned, sections))
                    .map_err(|error| ImageError::Metadata(error.to_string()))
            });
            match planned {
                Ok((planned, sections)) => {
                    let key = partition::key(self.space, id);
                    changes.push(Change {
                        key,
                        planned,
                        before: Some(seen),
                    });
                    ready.push((target, sections));
                }
                Err(error) => takeover.refused.push((id, error)),
            }
        }
        let outcomes = commit_all(self.kv, &changes, PARTITIONS_MAX).await;
        let mut closed = Vec::with_capacity(ready.len());
        for ((target, sections), outcome) in ready.into_iter().zip(outcomes) {
            match outcome {
                Ok(seen) => closed.push((target, seen, sections)),
                Err(error) => {
                    let error = ImageError::Metadata(error.to_string());
                    takeover.refused.push((target.handle.id, error));
                }
            }
        }
        closed
    }

    fn sections(
        &self,
        record: &PartitionRecord,
        id: TopicPartition,
        harvest: &mut Harvest<'_>,
        floors: &Floors,
        ends: &HashMap<SessionId, WalSequence>,
    ) -> Result<Sections, ImageError> {
        let found: Vec<Found> = harvest.take_sections(id);
        let mut ranges = Ranges::new();
        for source in &record.sources {
            if source.is_open() && source.session == self.me.session {
                continue;
            }
            let first = first_needed(source, floor_of(floors, source.session));
            let end = source
                .end_sequence
                .or_else(|| ends.get(&source.session).copied());
            let end = end
                .expect("every session with an open source has been fenced")
                .max(first);
            if let Some(fault) = harvest.fault(source.session, first..end) {
                return Err(ImageError::Unreadable(fault));
            }
            ranges.push((source.session, first, end));
        }
        order_sections(record, &ranges, found)
    }

    async fn load(
        &self,
        target: Target,
        mut seen: Seen<PartitionRecord>,
        sections: Sections,
    ) -> Result<Taken, ImageError> {
        let Target { handle, dir, .. } = target;
        let id = handle.id;
        let snapshot = read_snapshot(self.objects, self.keys, id, &seen.record).await?;
        let producers = image::producers(snapshot.as_ref(), &sections.found, self.now)?;
        let found = find_segments(self.objects, self.keys, &dir, id, &seen.record).await?;
        let Segments {
            live,
            covered_from,
            damaged,
            dead,
        } = found;
        if covered_from > seen.record.log_start {
            seen = self.raise_log_start(id, seen, covered_from).await?;
        }
        let record = &seen.record;
        let place = OnceCell::new();
        let find_place = || self.keys.partition_dir(&dir, id.partition);
        let segments = live.iter().map(|live| {
            let mut segment = SegmentRef::new(place.get_or_init(find_place).clone(), live);
            if let Some(damaged) = damaged.get(&live.base) {
                damaged.report(id, live.end);
                segment.set_spans(damaged.spans(live.end));
            }
            segment
        });
        let image = PartitionImage {
            handle: handle.clone(),
            leader_epoch: record.leader_epoch,
            log_start: match rules::holds(Rule::LogStartFromRecord) {
                true => record.log_start,
                false => covered_from,
            },
            compacted_end: record.compacted_end,
            epochs: epoch_history(record),
            segments: segments.collect(),
            slots: image::slots(&sections.found),
            producers,
        };
        let state = Mutex::new(OwnedState {
            seen,
            segments: live,
            damaged,
            gone: false,
        });
        Ok(Taken {
            owned: Rc::new(Owned { handle, dir, state }),
            image,
            dead,
        })
    }

    async fn raise_log_start(
        &self,
        id: TopicPartition,
        seen: Seen<PartitionRecord>,
        to: Offset,
    ) -> Result<Seen<PartitionRecord>, ImageError> {
        let metadata = |error: CommitError| ImageError::Metadata(error.to_string());
        let from = seen.record.log_start;
        tracing::warn!(partition = %id, %from, %to, "old segments are gone; the log starts later");
        let planned = plan::raise_log_start(self.space, self.me.session, id, &seen, to);
        let planned = planned.map_err(|error| metadata(error.into()))?;
        let key = partition::key(self.space, id);
        commit(self.kv, &key, &planned, Some(&seen))
            .await
            .map_err(metadata)
    }
}

/// What there is, [`TOGETHER`] at a time.
fn parts<T>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut all = all.into_iter();
    std::iter::from_fn(move || {
        let part: Vec<T> = all.by_ref().take(TOGETHER).collect();
        (!part.is_empty()).then_some(part)
    })
}

fn floor_of(floors: &Floors, session: SessionId) -> WalSequence {
    floors.get(&session).copied().unwrap_or_default()
}

/// Where the sections lie: what lies before and after them is of no use to the next taker.
fn extent(found: &[Found]) -> Extent {
    match (found.first(), found.last()) {
        (Some(first), Some(last)) => Extent::Objects {
            first: (first.session, first.sequence),
            last: (last.session, last.sequence),
        },
        _ => Extent::Empty,
    }
}

/// The epoch history as a shard knows it.
pub fn epoch_history(record: &PartitionRecord) -> EpochHistory {
    let entries = record.epochs.iter().map(|past| (past.epoch, past.start));
    EpochHistory::new(entries.collect())
}

/// Reads the records of all partitions.
///
/// # Errors
/// The metadata store failed.
pub async fn read_records(
    kv: &Arc<dyn Kv>,
    space: &Keyspace,
    span: coord::kv::Span,
) -> Result<HashMap<TopicPartition, Seen<PartitionRecord>>, CommitError> {
    let mut unreadable = None;
    let decode = |entry: KeyValue| {
        let id = partition::parse(space, &entry.key).ok()?;
        match seen::<PartitionRecord>(Some(&entry)) {
            Ok(seen) => Some((id, seen?)),
            Err(error) => {
                unreadable = Some(error);
                None
            }
        }
    };
    let (records, _) = range_map(kv, span, decode).await?;
    match unreadable {
        Some(error) => Err(error.into()),
        None => Ok(records),
    }
}

#[cfg(test)]
pub(crate) mod tests;
