//! `kafscale backup restore`: the metadata of a cluster, from a backup and from what the bucket holds.
//!
//! The bucket went on after the backup, and it is the truth for records: what a backup says of WAL
//! objects and segments is a lower bound of what there is. So the records are written as the bucket
//! says that they should be:
//!
//! | fell back with the metadata | comes from |
//! |---|---|
//! | sessions that began since | every prefix of a session in the bucket; all of them are dead |
//! | floors: objects below the true one are gone | the lowest object that is there |
//! | where sessions ended, sources, leader epochs | fences, the acknowledged sequences that WAL objects tell, sections by leader epoch and offset (`chain`) |
//! | compacted ends, intents | segments, each one that is newer than the backup read whole |
//! | producer state | the snapshot of the compacted end; else one is made of an earlier one and the segments after it, or of all segments |
//! | log starts | manifests |
//! | topics, partitions and generations made since | directories and manifests |
//! | producer ids given out since | the largest one in the bucket, and a margin |
//! | owners of partitions and slots | nobody: their sessions are over |
//!
//! Committed offsets and settings are those of the backup; topics that were deleted since come back,
//! empty.
//!
//! A broker that was taken for dead must not write on, and the produce path needs no etcd. So the WAL
//! is listed twice, as long apart as a broker that lives writes at least one object, and every session
//! is then fenced. **Nothing is deleted.** A session with a section that belongs to no topic that is known,
//! or that is not of its log, gets no record: so brokers report its objects and leave them alone.
//!
//! Where acknowledged records are in no object, the restore asks; by wish it writes batches without
//! records in their place (`fill`), so that what lies below them is served.
//!
//! Everything is worked out before anything is written. The keyspace is marked (`recovery`) before the
//! first key and as long as it is not whole, and brokers do not start on it; the cluster's key comes
//! last. A recovery that was interrupted is run again, and starts over.

mod before;
mod chain;
mod fill;
mod log;
mod topics;
mod wal;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use coord::keys::cluster::CommitMode;
use coord::keys::floor::{self, FloorRecord};
use coord::keys::partition::{self, Owner};
use coord::keys::producer_block::{self, ProducerBlockRecord};
use coord::keys::session_record::{self, SessionHistoryRecord};
use coord::keys::slot::SlotRecord;
use coord::keys::topic;
use coord::keys::topic_generation::{self, TopicGenerationRecord};
use coord::keys::{CodecError, encode};
use coord::kv::{Key, KvError, Value};
use futures_util::{StreamExt, TryStreamExt};
use segment::producer_snapshot::ProducerSnapshot;
use segment::{
    LeaderEpoch, Offset, PartitionIndex, ProducerId, SessionId, TimestampMs, TopicId,
    TopicPartition, WalSequence,
};
use store::{Body, GetError, GetRange, ListError, PutCondition, PutError};

use super::Ground;
use super::left::LeftError;
use crate::control::backups::{Backups, ReadBackupError, StoredBackup};
use crate::control::commit::CommitError;
use crate::control::segments::ReadSegmentError;
use before::Before;
pub use log::RecoveredPartition;
use log::{Input, recover};
use topics::{Dirs, Topics};
pub use topics::{Origin, RecoveredTopic};
use wal::Wal;

/// Partitions that are worked out at a time: each reads segments whole, one after the other.
const PARTITIONS_AT_ONCE: usize = 8;
/// Producer ids that are passed over: a broker takes 1,000 at a time, and one that was given out after
/// the backup may have written nothing yet.
const PRODUCER_IDS_PASSED: i64 = 1_000_000;

/// Why metadata was not written back.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// There is no backup, or none of that name.
    #[error("there is no backup {0}under {1}: `kafscale backup list`")]
    NoBackup(String, String),
    /// The backup cannot be used.
    #[error("{0}; `kafscale backup verify` tells which ones are sound: name one of these")]
    Backup(#[from] ReadBackupError),
    /// It is another cluster's.
    #[error(
        "backup {name} is of a cluster named {found}, and KAFSCALE_CLUSTER is {ours}: set it to {found}"
    )]
    OtherName {
        /// Name of the backup.
        name: String,
        /// The cluster's name in it.
        found: String,
        /// The name that is set.
        ours: String,
    },
    /// The objects are another cluster's.
    #[error("{key} names {found:?}, and the backup is of {expected:?}: they do not go together")]
    OtherCluster {
        /// The object that names the cluster.
        key: String,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
    /// A record in the backup cannot be read.
    #[error("the backup has a key {key} that cannot be read: {reason}")]
    Entry {
        /// The key.
        key: String,
        /// Why not.
        reason: String,
    },
    /// The backup has no cluster in it.
    #[error("the backup has no cluster key: it was made while metadata was being written back")]
    NotWhole,
    /// The metadata store is in use.
    #[error(
        "the metadata store has {keys} keys under {prefix}: a backup is written into an empty one \
         only. If they are to go, stop every broker and delete them (`etcdctl del --prefix {prefix}`)"
    )]
    NotEmpty {
        /// Keys.
        keys: usize,
        /// What they begin with.
        prefix: String,
    },
    /// Brokers run.
    #[error("brokers of cluster {0} run: stop every one of them first")]
    BrokersRun(String),
    /// A broker writes on without etcd.
    #[error(
        "broker {} writes on (object {sequence} of session {} came or went): it needs no etcd for \
         that, so stop every broker of this bucket, and run it again", .owner.broker, .owner.session
    )]
    Changing {
        /// The session.
        owner: Owner,
        /// The object.
        sequence: WalSequence,
    },
    /// Records are lost that were in the middle of a log.
    #[error(
        "acknowledged records of {0} partitions are in no object, and others lie below them; nothing \
         was written. See the report; restore objects from bucket versions if there are any; \
         --accept-loss goes on, with batches without records in the place of those that are lost"
    )]
    Loss(usize),
    /// WAL objects cannot be read.
    #[error(
        "{count} WAL objects cannot be read, the first is {first}; nothing was written. Restore them \
         from bucket versions if there are any; --accept-loss goes on without their records"
    )]
    Unreadable {
        /// How many.
        count: usize,
        /// One of them, and why.
        first: String,
    },
    /// Another recovery has begun since.
    #[error("another recovery has begun, or a broker writes: stop both and run it again")]
    Overtaken,
    /// The bucket cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// An object cannot be read.
    #[error(transparent)]
    Get(#[from] GetError),
    /// A segment cannot be read.
    #[error(transparent)]
    Segment(#[from] ReadSegmentError),
    /// An object cannot be written.
    #[error("write {key}: {source}; run it again")]
    Put {
        /// Its key.
        key: String,
        /// Why not.
        source: PutError,
    },
    /// What is left of a partition that has lost records could not be written.
    #[error("{id}: {source}; run it again: it starts over")]
    Fill {
        /// The partition.
        id: TopicPartition,
        /// Why not.
        source: LeftError,
    },
    /// The metadata store failed.
    #[error("metadata: {0}; run it again: it starts over")]
    Kv(#[from] KvError),
    /// The metadata was not changed.
    #[error("metadata: {0}; run it again: it starts over")]
    Commit(#[from] CommitError),
    /// A record cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// What is to be written back.
#[derive(Debug, Clone)]
pub struct Recover {
    /// Name of the backup; none: the newest.
    pub name: Option<String>,
    /// Whether everything is read and nothing written.
    pub dry_run: bool,
    /// Whether to go on where acknowledged records are lost.
    pub accept_loss: bool,
    /// Whether topics whose name nothing tells come back under an invented one.
    pub recover_unnamed: bool,
    /// How long nothing may be written to the WAL before it is believed that no broker lives.
    pub quiet: Duration,
    /// Wall clock.
    pub now: TimestampMs,
}

/// What came of it.
#[derive(Debug)]
pub struct Recovered {
    /// The backup.
    pub backup: StoredBackup,
    /// Topics.
    pub topics: Vec<RecoveredTopic>,
    /// Their partitions, but those of which nothing tells: they are empty.
    pub partitions: Vec<RecoveredPartition>,
    /// Sessions in the bucket; those that the backup did not know.
    pub sessions: (usize, usize),
    /// Sessions that get no record, so that their objects stay: they hold what could not be placed.
    pub kept_apart: Vec<Owner>,
    /// Prefixes and topic ids that belong to no topic that is known, and why.
    pub orphans: Vec<(String, String)>,
    /// Committed offsets above the end of their log: group, partition, offset, end.
    pub beyond: Vec<(String, TopicPartition, Offset, Offset)>,
    /// WAL objects that cannot be read.
    pub unreadable: Vec<String>,
    /// Keys of metadata.
    pub keys: usize,
    /// Why nothing may be written.
    pub refused: Option<RecoverError>,
    /// Whether it was written.
    pub is_written: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Partitions that will be worked out.
    Total(u64),
    /// One was.
    Partition,
}

/// Writes the metadata of a cluster back.
///
/// # Errors
/// [`RecoverError`]; where the metadata store failed, brokers do not start until it was run again.
pub async fn recover_metadata(
    ground: &Ground,
    wanted: &Recover,
    progress: &dyn Fn(Step),
) -> Result<Recovered, RecoverError> {
    // A dry run reads only, whatever is there.
    let found = match wanted.dry_run {
        true => None,
        false => Some(write::look(ground).await?),
    };
    let (stored, before) = read_backup(ground, wanted).await?;
    let cluster = before.cluster.clone().ok_or(RecoverError::NotWhole)?;
    check_place(ground, &cluster.cluster_id).await?;
    let mut wal = Wal::default();
    let keys = quiet(ground, wanted, &mut wal).await?;
    wal::read(ground, &before, keys, &mut wal).await?;
    let dirs = Dirs::list(ground).await?;
    let topics = topics::find(
        ground,
        &before,
        &dirs,
        &wal,
        wanted.now,
        wanted.recover_unnamed,
    )
    .await?;
    let mut partitions = partitions(ground, &before, &dirs, &topics, &wal, progress).await?;
    let plan = Plan {
        ground,
        before: &before,
        topics: &topics,
        partitions: &partitions,
        wal: &wal,
        now: wanted.now,
    };
    let (apart, mut orphans) = plan.unplaced();
    orphans.extend(topics.orphans.iter().cloned());
    let entries = plan.entries(&apart);
    let known = |session: &&SessionId| !before.sessions.contains_key(*session);
    let mut recovered = Recovered {
        backup: stored,
        sessions: (
            wal.sessions.len(),
            wal.sessions.keys().filter(known).count(),
        ),
        kept_apart: apart
            .iter()
            .map(|session| wal.sessions[session].owner)
            .collect(),
        orphans,
        beyond: plan.beyond(),
        unreadable: wal
            .unreadable
            .iter()
            .map(|object| unreadable(ground, object))
            .collect(),
        keys: entries.len() + 1,
        refused: None,
        is_written: false,
        topics: topics.all.clone(),
        partitions: Vec::new(),
    };
    recovered.refused = refusal(&partitions, &recovered.unreadable);
    let goes_on = recovered.refused.is_none() || wanted.accept_loss;
    if let Some(found) = found.filter(|_| goes_on) {
        let ours = write::begin(ground, &found, &recovered.backup.key, wanted.now).await?;
        if cluster.commit_mode == CommitMode::Conditional {
            wal::fence(ground, &wal).await?;
        }
        for partition in &mut partitions {
            partition.write_fill(ground).await?;
        }
        put_snapshots(ground, &partitions).await?;
        write::write(ground, &found, &ours, &entries, cluster).await?;
        recovered.is_written = true;
    }
    recovered.partitions = partitions;
    Ok(recovered)
}

fn refusal(partitions: &[RecoveredPartition], unreadable: &[String]) -> Option<RecoverError> {
    if let Some(first) = unreadable.first() {
        let (count, first) = (unreadable.len(), first.clone());
        return Some(RecoverError::Unreadable { count, first });
    }
    let hidden = partitions
        .iter()
        .filter(|partition| partition.hidden.is_some());
    match hidden.count() {
        0 => None,
        count => Some(RecoverError::Loss(count)),
    }
}

fn unreadable(ground: &Ground, (owner, sequence, reason): &(Owner, WalSequence, String)) -> String {
    let key = ground.keys.wal(owner.broker, owner.session, *sequence);
    format!("{key}: {reason}")
}

async fn read_backup(
    ground: &Ground,
    wanted: &Recover,
) -> Result<(StoredBackup, Before), RecoverError> {
    let backups = Backups {
        objects: &ground.backups,
        keys: &ground.keys,
    };
    let all = backups.list().await?;
    let is_wanted = |stored: &StoredBackup| wanted.name.as_ref().is_none_or(|n| *n == stored.name);
    let Some(stored) = all.into_iter().find(is_wanted) else {
        let name = wanted
            .name
            .as_ref()
            .map_or(String::new(), |name| format!("{name} "));
        return Err(RecoverError::NoBackup(name, ground.keys.backups_prefix()));
    };
    let backup = backups.read(&stored, None).await?;
    if backup.cluster != ground.name {
        return Err(RecoverError::OtherName {
            name: stored.name,
            found: backup.cluster,
            ours: ground.name.clone(),
        });
    }
    let before = Before::read(&ground.space, &backup)?;
    Ok((stored, before))
}

/// Whether the objects are those of the cluster.
async fn check_place(ground: &Ground, cluster_id: &str) -> Result<(), RecoverError> {
    let key = ground.keys.cluster();
    let found = ground.objects.get(&key, GetRange::Full).await?.bytes;
    let found = String::from_utf8_lossy(&found).into_owned();
    let root = ground.keys.segments_root();
    let mut lines = found.lines();
    let is_ours = lines.next() == Some(cluster_id) && lines.next().is_none_or(|line| line == root);
    match is_ours {
        true => Ok(()),
        false => Err(RecoverError::OtherCluster {
            key,
            found,
            expected: format!("{cluster_id}\n{root}\n"),
        }),
    }
}

/// Lists the WAL when nobody has written to it for a while.
async fn quiet(
    ground: &Ground,
    wanted: &Recover,
    wal: &mut Wal,
) -> Result<wal::Keys, RecoverError> {
    let first = wal::list(ground, wal).await?;
    if wanted.dry_run || wanted.quiet.is_zero() {
        return Ok(first);
    }
    tokio::time::sleep(wanted.quiet).await;
    let second = wal::list(ground, wal).await?;
    for (session, (owner, objects)) in &second {
        let before = first.get(session).map(|(_, objects)| objects);
        let none = BTreeSet::new();
        let changed = objects.symmetric_difference(before.unwrap_or(&none)).next();
        if let Some(sequence) = changed {
            let (owner, sequence) = (*owner, *sequence);
            return Err(RecoverError::Changing { owner, sequence });
        }
    }
    Ok(second)
}

/// Works all partitions out.
async fn partitions(
    ground: &Ground,
    before: &Before,
    dirs: &Dirs,
    topics: &Topics,
    wal: &Wal,
    progress: &dyn Fn(Step),
) -> Result<Vec<RecoveredPartition>, RecoverError> {
    let mut inputs = Vec::new();
    for topic in &topics.all {
        for index in (0..topic.record.partition_count).map(PartitionIndex::new) {
            let id = TopicPartition::new(topic.record.topic_id, index);
            let input = Input {
                id,
                dir: topic.dir.clone(),
                before: before.partitions.get(&id).cloned(),
                segments: dirs.segments(&topic.dir, index),
                sections: wal.sections.get(&id).cloned().unwrap_or_default(),
            };
            let has_snapshot = wal.snapshots.contains_key(&id);
            let told = input.before.is_some() || has_snapshot;
            if told || !input.segments.is_empty() || !input.sections.is_empty() {
                inputs.push(input);
            }
        }
    }
    progress(Step::Total(inputs.len() as u64));
    let work = inputs.into_iter().map(|input| async move {
        let recovered = recover(ground, wal, input).await;
        progress(Step::Partition);
        recovered
    });
    let all = futures_util::stream::iter(work).buffered(PARTITIONS_AT_ONCE);
    all.try_collect().await
}

/// Reads a producer snapshot. The inner error says why it cannot be used.
async fn read_snapshot(
    ground: &Ground,
    id: TopicPartition,
    end: Offset,
    epoch: LeaderEpoch,
) -> Result<Result<ProducerSnapshot, String>, RecoverError> {
    let key = ground.keys.producer_snapshot(id, end, epoch);
    let bytes = match ground.objects.get(&key, GetRange::Full).await {
        Ok(found) => found.bytes,
        Err(error @ (GetError::NotFound { .. } | GetError::Corrupt { .. })) => {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(match ProducerSnapshot::parse(&bytes) {
        Ok(snapshot) if snapshot.partition == id && snapshot.end_offset == end => Ok(snapshot),
        Ok(_) => Err(format!("{key} is of another partition or offset")),
        Err(error) => Err(format!("{key}: {error}")),
    })
}

/// Writes the producer snapshots that were made.
async fn put_snapshots(
    ground: &Ground,
    partitions: &[RecoveredPartition],
) -> Result<(), RecoverError> {
    for partition in partitions {
        let named = partition.record.producer_snapshot;
        let Some((snapshot, named)) = partition.snapshot.as_ref().zip(named) else {
            continue;
        };
        let key = ground
            .keys
            .producer_snapshot(partition.id, named.end, named.epoch);
        let body = Body::from(snapshot.encode());
        let put = ground.objects.put(&key, body, PutCondition::None).await;
        put.map_err(|source| RecoverError::Put { key, source })?;
    }
    Ok(())
}

/// The records that are written.
struct Plan<'a> {
    ground: &'a Ground,
    before: &'a Before,
    topics: &'a Topics,
    partitions: &'a [RecoveredPartition],
    wal: &'a Wal,
    now: TimestampMs,
}

impl Plan<'_> {
    /// Sessions that hold what belongs nowhere, and the topics of which nobody knows the name.
    fn unplaced(&self) -> (BTreeSet<SessionId>, Vec<(String, String)>) {
        let known: HashSet<TopicId> = self.topics.all.iter().map(|t| t.record.topic_id).collect();
        let (mut apart, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        for (id, sections) in &self.wal.sections {
            if known.contains(&id.topic) || self.before.tombstones.contains_key(&id.topic) {
                continue;
            }
            apart.extend(sections.iter().map(|section| section.owner.session));
            unknown.insert(id.topic);
        }
        let left_out = self
            .partitions
            .iter()
            .flat_map(|partition| &partition.left_out);
        apart.extend(left_out.map(|section| section.owner.session));
        apart.extend(self.wal.unreadable.iter().map(|(owner, ..)| owner.session));
        let orphan = |topic: TopicId| (format!("topic id {topic}"), self.why_unplaced(topic));
        (apart, unknown.into_iter().map(orphan).collect())
    }

    fn why_unplaced(&self, topic: TopicId) -> String {
        if self.topics.replaced.contains(&topic) {
            return "of a topic in whose place there is a later one of its name".to_owned();
        }
        match self.topics.unnamed.get(&topic) {
            Some(count) => format!(
                "WAL objects hold records of {count} partitions, and nothing tells its name; \
                 --recover-unnamed brings it back as {}",
                topics::recovered_name(topic)
            ),
            None => "of a topic that had been deleted before the backup, or was being restored"
                .to_owned(),
        }
    }

    /// Committed offsets that lie above the ends of their logs.
    fn beyond(&self) -> Vec<(String, TopicPartition, Offset, Offset)> {
        let ends: BTreeMap<TopicPartition, Offset> = self
            .partitions
            .iter()
            .map(|partition| (partition.id, partition.end))
            .collect();
        let offsets = self.before.offsets.iter();
        let beyond = offsets.filter_map(|(group, id, offset)| {
            let end = *ends.get(id)?;
            (*offset > end).then(|| (group.clone(), *id, *offset, end))
        });
        beyond.collect()
    }

    /// Everything but the cluster's key.
    fn entries(&self, apart: &BTreeSet<SessionId>) -> BTreeMap<Key, Value> {
        let (before, space) = (self.before, &self.ground.space);
        let mut entries = before.verbatim.clone();
        for topic in &self.topics.all {
            let key = topic::key(space, &topic.dir.name);
            entries.insert(key, encode(&topic.record));
        }
        for (name, next) in &self.topics.generations {
            let record = TopicGenerationRecord { next: *next };
            entries.insert(topic_generation::key(space, name), encode(&record));
        }
        for (id, record) in &before.partitions {
            // Those of topics that are being deleted or made; whoever owned them is dead.
            if before.is_in_passing(id.topic) {
                let mut record = record.clone();
                (record.owner, record.intent) = (None, None);
                record.sources.clear();
                entries.insert(partition::key(space, *id), encode(&record));
            }
        }
        for partition in self.partitions {
            let key = partition::key(space, partition.id);
            entries.insert(key, encode(&partition.record));
        }
        for (key, slot) in &before.slots {
            let slot = SlotRecord {
                owner: None,
                unfenced: Vec::new(),
                ..slot.clone()
            };
            entries.insert(key.clone(), encode(&slot));
        }
        self.put_sessions(apart, &mut entries);
        let record = ProducerBlockRecord {
            next: self.next_producer(),
        };
        entries.insert(producer_block::key(space), encode(&record));
        entries
    }

    fn put_sessions(&self, apart: &BTreeSet<SessionId>, entries: &mut BTreeMap<Key, Value>) {
        let (before, space) = (self.before, &self.ground.space);
        for (session, value) in &before.sessions {
            if !apart.contains(session) {
                let key = session_record::key(space, *session);
                entries.insert(key, Value::new(value.clone()));
            }
        }
        for (id, session) in &self.wal.sessions {
            let key = session_record::key(space, *id);
            if !apart.contains(id) && !before.sessions.contains_key(id) {
                let record = SessionHistoryRecord {
                    broker: session.owner.broker,
                    started_ms: self.now,
                };
                entries.insert(key, encode(&record));
            }
        }
        let known = before.floors.keys().chain(self.wal.sessions.keys());
        for id in known.copied().collect::<BTreeSet<SessionId>>() {
            let objects = self.wal.sessions.get(&id).map(|session| &session.objects);
            // The first object of a session holds nothing, and stays.
            let lowest = objects
                .and_then(|all| all.iter().find(|at| at.get() > 0))
                .copied();
            let floor = before.floors.get(&id).copied().max(lowest);
            if let Some(floor) = floor {
                entries.insert(floor::key(space, id), encode(&FloorRecord { floor }));
            }
        }
    }

    /// Above every id that anything tells of.
    fn next_producer(&self) -> ProducerId {
        let seen = self
            .partitions
            .iter()
            .filter_map(|partition| partition.largest_producer);
        let seen = seen.chain(self.wal.largest_producer).max();
        let above = seen.map_or(0, |id| id.get().saturating_add(1));
        let before = self
            .before
            .producers
            .as_ref()
            .map_or(0, |block| block.next.get());
        ProducerId::new(above.max(before).saturating_add(PRODUCER_IDS_PASSED))
    }
}

#[cfg(test)]
mod tests;
