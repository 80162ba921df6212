//! `kafscale adopt`: serves a bucket and etcd that the original KafScale (format version 1) wrote.
//!
//! Its segments stay where they lie: with no prefix (`KAFSCALE_S3_PREFIX=/`) and the original's namespace,
//! the directory of a topic's generation 0 is the original's. What is written is new: indexes that
//! are missing, manifests, and our own metadata. Nothing is deleted, no key of the original in etcd is
//! changed.
//!
//! A topic's key comes last, in one transaction, when its partitions and committed offsets are there;
//! an adoption that was interrupted is done again, and topics that it has finished are passed over.
//! Neither the original nor brokers of the cluster may run meanwhile: the original would write what
//! nobody sees, and a running coordinator would not see the offsets. Both are looked for, before and
//! after.
//!
//! Log starts are left at 0: the broker that takes a partition raises it to where the log is whole.

mod config;
mod log;
mod original;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use coord::keys::group_offset::{self, GroupOffsetRecord};
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::plan::{self, PARTITIONS_MAX};
use coord::keys::topic::{self, TopicRecord};
use coord::keys::{CodecError, Seen, seen, session, tombstone, topic_generation};
use coord::kv::{KvError, Range, range_all};
use md5::{Digest, Md5};
use segment::keys::TopicDir;
use segment::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use store::ListError;

use super::Ground;
use super::place::{self, PlaceError};
use crate::control::commit::{Change, CommitError, commit, commit_all};
use crate::control::context::wall_clock;
pub use log::{LeftOut, LogError, OriginalLog, Reason};
pub use original::{Original, OriginalError, OriginalOffset, OriginalTopic, PREFIX_DEFAULT};

/// Names of the original's folders: a cluster of ours of such a name would lie among its keys.
const FOLDERS: [&str; 8] = [
    "assignments",
    "brokers",
    "consumers",
    "group-leases",
    "metadata",
    "partition-leases",
    "processors",
    "topics",
];

/// Why nothing, or no more, was adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The bucket is not that of the metadata.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The original.
    #[error(transparent)]
    Original(#[from] OriginalError),
    /// Brokers of the cluster run.
    #[error(
        "brokers of cluster {0} run: stop them first. A coordinator that runs does not see committed \
         offsets that it has not written"
    )]
    BrokersRun(String),
    /// Our keys would lie among the original's.
    #[error(
        "a cluster named {0} would keep its keys among those of the original: set another \
         KAFSCALE_CLUSTER"
    )]
    ClusterName(String),
    /// A topic was named that the original does not have.
    #[error("the original has no topic {0}")]
    NoTopic(String),
    /// The objects lie elsewhere.
    #[error(
        "there is no object under {0:?}, and the original has given out offsets: set \
         KAFSCALE_S3_PREFIX=/ (none), and KAFSCALE_S3_NAMESPACE and KAFSCALE_S3_BUCKET as for the \
         original"
    )]
    NoObjects(String),
    /// The bucket cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// The metadata store failed.
    #[error("metadata: {0}; run it again: it goes on")]
    Kv(#[from] KvError),
    /// The metadata was not changed.
    #[error("metadata: {0}; run it again: it goes on")]
    Commit(#[from] CommitError),
    /// A record cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A partition cannot be looked at.
    #[error("topic {topic}, partition {partition}: {source}; run it again: it goes on")]
    Log {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// Why not.
        source: Box<LogError>,
    },
}

/// What is to be adopted.
#[derive(Debug, Clone)]
pub struct Adopt {
    /// Where the original keeps its keys.
    pub prefix: String,
    /// The topics, none: all.
    pub topics: Option<BTreeSet<String>>,
    /// Whether retention and cleanup policy are taken over, which make brokers delete records.
    pub with_retention: bool,
    /// Whether all is read and nothing written.
    pub dry_run: bool,
}

/// What came of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is served, or would be after a dry run.
    Adopted,
    /// An earlier adoption has finished it.
    Already,
    /// It is left alone; why.
    Refused(String),
}

/// A topic of the original, and what came of it.
#[derive(Debug, Clone)]
pub struct AdoptedTopic {
    /// Its name.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Its partitions; none where it was not looked at.
    pub logs: Vec<OriginalLog>,
    /// Committed offsets.
    pub offsets: usize,
    /// Of these, those above the end of their log, which were set to it.
    pub offsets_clamped: usize,
    /// Offsets in partitions that it does not have.
    pub offsets_left_out: usize,
    /// Stored settings that are not taken over, and why.
    pub settings_left_out: Vec<String>,
}

/// How far it is, in bytes of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read(pub u64);

/// Adopts topics, one after the other.
///
/// # Errors
/// [`AdoptError`]; topics before it have been adopted.
pub async fn adopt(
    ground: &Ground,
    wanted: &Adopt,
    progress: &dyn Fn(Read),
) -> Result<Vec<AdoptedTopic>, AdoptError> {
    if wanted.prefix == PREFIX_DEFAULT && FOLDERS.contains(&ground.name.as_str()) {
        return Err(AdoptError::ClusterName(ground.name.clone()));
    }
    place::check(ground).await?;
    let original = original::read(&ground.kv, &wanted.prefix).await?;
    let names: BTreeSet<&str> = original.topics.iter().map(|t| t.name.as_str()).collect();
    let asked = wanted.topics.iter().flatten();
    if let Some(missing) = asked.clone().find(|name| !names.contains(name.as_str())) {
        return Err(AdoptError::NoTopic(missing.clone()));
    }
    let work = Work {
        ground,
        wanted,
        original: &original,
        progress,
    };
    work.refuse_brokers().await?;
    let mut next = original.topics.iter().flat_map(|t| t.next_offsets.values());
    let has_written = next.any(|next| *next > Offset::ZERO);
    let root = ground.keys.segments_root();
    if has_written && !ground.objects.any(root).await? {
        return Err(AdoptError::NoObjects(root.to_owned()));
    }
    let mut adopted = Vec::new();
    for topic in &original.topics {
        let is_wanted = wanted.topics.as_ref();
        if is_wanted.is_none_or(|names| names.contains(&topic.name)) {
            adopted.push(work.topic(topic).await?);
        }
    }
    Ok(adopted)
}

/// Group, partition and what was committed.
type Committed = (String, TopicPartition, GroupOffsetRecord);

struct Work<'a> {
    ground: &'a Ground,
    wanted: &'a Adopt,
    original: &'a Original,
    progress: &'a dyn Fn(Read),
}

impl Work<'_> {
    /// A dry run reads only, so it may go on under running brokers.
    async fn refuse_brokers(&self) -> Result<(), AdoptError> {
        let first = Range {
            span: session::span(&self.ground.space),
            limit: 1,
            at: None,
        };
        let found = self.ground.kv.range(first).await?;
        match found.entries.is_empty() || self.wanted.dry_run {
            true => Ok(()),
            false => Err(AdoptError::BrokersRun(self.ground.name.clone())),
        }
    }

    async fn topic(&self, topic: &OriginalTopic) -> Result<AdoptedTopic, AdoptError> {
        let config = topic.config.adopted(self.wanted.with_retention);
        let mut adopted = AdoptedTopic {
            name: topic.name.clone(),
            outcome: Outcome::Adopted,
            logs: Vec::new(),
            offsets: 0,
            offsets_clamped: 0,
            offsets_left_out: 0,
            settings_left_out: config.left_out,
        };
        let (name, id) = match self.admit(topic).await? {
            Ok(admitted) => admitted,
            Err(outcome) => {
                adopted.outcome = outcome;
                return Ok(adopted);
            }
        };
        let dir = TopicDir::new(name.clone(), 0);
        for partition in 0..topic.partition_count {
            let partition = PartitionIndex::new(partition);
            let next = topic.next_offsets.get(&partition).copied();
            let progress = |bytes| (self.progress)(Read(bytes));
            let looked = log::look(self.ground, &dir, partition, next, &progress).await;
            let log = looked.map_err(|source| at(topic, partition, source))?;
            adopted.logs.push(log);
        }
        let offsets = self.offsets(id, &mut adopted);
        if let Some(reason) = Self::refusal(&adopted.logs) {
            adopted.outcome = Outcome::Refused(reason);
        } else if !self.wanted.dry_run {
            let record = TopicRecord {
                topic_id: id,
                generation: 0,
                partition_count: topic.partition_count,
                configs: config.settings,
                created_ms: wall_clock(),
            };
            self.write(topic, &name, record, &adopted.logs, offsets)
                .await?;
        }
        Ok(adopted)
    }

    /// Whether a topic can be ours, under which name and id.
    async fn admit(
        &self,
        topic: &OriginalTopic,
    ) -> Result<Result<(TopicName, TopicId), Outcome>, AdoptError> {
        let Ground { kv, space, .. } = self.ground;
        let refused = |why: String| Ok(Err(Outcome::Refused(why)));
        let name = match TopicName::new(&topic.name) {
            Ok(name) => name,
            Err(error) => return refused(format!("its name is not legal in Kafka: {error}")),
        };
        if topic.partition_count < 1 {
            return refused("it has no partition".to_owned());
        }
        let id = topic.id.unwrap_or_else(|| id_of(&topic.name));
        let metric = |name: &str| name.replace('.', "_");
        for entry in range_all(kv, topic::span(space)).await?.entries {
            let Ok(other) = topic::parse(space, &entry.key) else {
                continue;
            };
            let record = seen::<TopicRecord>(Some(&entry))?;
            let is_same = record
                .is_some_and(|seen| seen.record.topic_id == id && seen.record.generation == 0);
            if other == name && is_same {
                return Ok(Err(Outcome::Already));
            }
            if other == name {
                return refused("this cluster has a topic of that name".to_owned());
            }
            if metric(other.as_str()) == metric(name.as_str()) {
                return refused(format!("its name collides with topic {other}"));
            }
        }
        let counter = kv.get(topic_generation::key(space, &name)).await?;
        let buried = kv.get(tombstone::key(space, id)).await?;
        if counter.is_some() || buried.is_some() {
            let why =
                "this cluster had a topic of that name: its objects would be taken for that one's";
            return refused(why.to_owned());
        }
        Ok(Ok((name, id)))
    }

    /// Why what was found cannot be served.
    fn refusal(logs: &[OriginalLog]) -> Option<String> {
        for log in logs {
            if let Some(left) = log.blocked_by() {
                let reason = match &left.reason {
                    Reason::Damaged(reason) => reason.as_str(),
                    Reason::Apart | Reason::Inside => "it lies above the end",
                };
                return Some(format!(
                    "partition {}: its newest segment cannot be served ({}: {reason}); move the object \
                     elsewhere and adopt the topic again: the log then ends before it",
                    log.partition, left.key
                ));
            }
        }
        None
    }

    /// The committed offsets of a topic, none above the end of its log: a record that comes there is
    /// not to be passed over.
    fn offsets(&self, id: TopicId, adopted: &mut AdoptedTopic) -> Vec<Committed> {
        let ends: HashMap<PartitionIndex, Offset> = adopted
            .logs
            .iter()
            .map(|log| (log.partition, log.end))
            .collect();
        // Offsets of a group without members expire from here on, as if its members had left now.
        let now = wall_clock();
        let mut offsets = Vec::new();
        for stored in &self.original.offsets {
            if stored.topic != adopted.name {
                continue;
            }
            let Some(end) = ends.get(&stored.partition) else {
                adopted.offsets_left_out += 1;
                continue;
            };
            adopted.offsets += 1;
            adopted.offsets_clamped += usize::from(stored.offset > *end);
            let record = GroupOffsetRecord {
                offset: stored.offset.min(*end),
                leader_epoch: LeaderEpoch::NONE,
                metadata: stored.metadata.clone(),
                commit_ms: now,
                expire_ms: None,
            };
            let partition = TopicPartition::new(id, stored.partition);
            offsets.push((stored.group.clone(), partition, record));
        }
        offsets
    }

    async fn write(
        &self,
        topic: &OriginalTopic,
        name: &TopicName,
        record: TopicRecord,
        logs: &[OriginalLog],
        offsets: Vec<Committed>,
    ) -> Result<(), AdoptError> {
        let Ground { kv, space, .. } = self.ground;
        let id = record.topic_id;
        let dir = TopicDir::new(name.clone(), 0);
        for log in logs {
            let partition = TopicPartition::new(id, log.partition);
            let written = log::write_hints(self.ground, &dir, partition, log).await;
            written.map_err(|source| at(topic, log.partition, source))?;
        }
        self.write_partitions(name, id, logs).await?;
        self.write_offsets(name, offsets).await?;
        // The last moment at which what was read may still be found to be old.
        self.original.is_unchanged(kv, &self.wanted.prefix).await?;
        self.refuse_brokers().await?;
        let planned = plan::adopt_topic(space, name, record);
        commit(kv, &topic::key(space, name), &planned, None).await?;
        Ok(())
    }

    async fn write_partitions(
        &self,
        name: &TopicName,
        id: TopicId,
        logs: &[OriginalLog],
    ) -> Result<(), AdoptError> {
        let Ground { kv, space, .. } = self.ground;
        let mut before = BTreeMap::new();
        for entry in range_all(kv, partition::topic_span(space, id))
            .await?
            .entries
        {
            let found: Option<Seen<PartitionRecord>> = seen(Some(&entry))?;
            before.extend(found.map(|seen| (entry.key, seen)));
        }
        let change = |log: &OriginalLog| {
            let partition = TopicPartition::new(id, log.partition);
            let key = partition::key(space, partition);
            let before = before.remove(&key);
            let record = record_of(log);
            let planned = plan::adopt_partition(space, name, partition, before.as_ref(), record);
            Change {
                key,
                planned,
                before,
            }
        };
        let changes: Vec<Change<PartitionRecord>> = logs.iter().map(change).collect();
        for outcome in commit_all(kv, &changes, PARTITIONS_MAX).await {
            outcome?;
        }
        Ok(())
    }

    async fn write_offsets(
        &self,
        name: &TopicName,
        offsets: Vec<Committed>,
    ) -> Result<(), AdoptError> {
        let Ground { kv, space, .. } = self.ground;
        let mut changes: Vec<Change<GroupOffsetRecord>> = Vec::with_capacity(offsets.len());
        for (group, partition, record) in offsets {
            let key = group_offset::key(space, &group, partition);
            let before = kv.get(key.clone()).await?;
            let before = seen::<GroupOffsetRecord>(before.as_ref())?;
            let planned =
                plan::adopt_offset(space, name, &group, partition, before.as_ref(), record);
            changes.push(Change {
                key,
                planned,
                before,
            });
        }
        for outcome in commit_all(kv, &changes, PARTITIONS_MAX).await {
            outcome?;
        }
        Ok(())
    }
}

fn at(topic: &OriginalTopic, partition: PartitionIndex, source: LogError) -> AdoptError {
    AdoptError::Log {
        topic: topic.name.clone(),
        partition,
        source: Box::new(source),
    }
}

/// The record of a partition that nobody here has owned yet.
fn record_of(log: &OriginalLog) -> PartitionRecord {
    PartitionRecord {
        leader_epoch: log.epochs.leader_epoch(),
        compacted_end: log.end,
        epochs: log.epochs.clone().into_starts(log.end),
        ..PartitionRecord::absent()
    }
}

/// An id for a topic that has none: the same in every try.
fn id_of(name: &str) -> TopicId {
    let mut sum = Md5::new();
    sum.update(b"adopted topic ");
    sum.update(name);
    TopicId::new(sum.finalize().into())
}

#[cfg(test)]
mod tests;
