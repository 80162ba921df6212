//! The metadata of a cluster at one revision, and what is wrong with it by itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use coord::keys::committed::{self, CommittedRecord};
use coord::keys::floor::{self, FloorRecord};
use coord::keys::group_offset::{self, GroupOffsetRecord};
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::restore::{self, RestoreRecord};
use coord::keys::session_record::{self, SessionHistoryRecord};
use coord::keys::slot::{self, SlotRecord};
use coord::keys::tombstone::{self, TombstoneRecord};
use coord::keys::topic::{self, TopicRecord};
use coord::keys::topic_generation::{self, TopicGenerationRecord};
use coord::keys::{
    CodecError, KeyError, Keyspace, Record, Seen, acl, broker, broker_config, cluster, decoy,
    drain, group, pin, producer_block, quota, scram, seen, session,
};
use coord::kv::{Key, KeyValue, Kv, KvError, Revision, range_all};
use segment::keys::TopicDir;
use segment::{Offset, SessionId, TopicId, TopicName, TopicPartition, WalSequence};

use super::finding::{Code, Finding};
use super::repair::Repair;
use crate::control::garbage::{Records, Sessions};

/// All records, at one revision.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// Topics by name.
    pub(super) topics: BTreeMap<TopicName, Seen<TopicRecord>>,
    /// Names by id.
    pub(super) names: HashMap<TopicId, TopicName>,
    /// Deleted topics whose sweep is not done.
    pub(super) tombstones: HashMap<TopicId, Seen<TombstoneRecord>>,
    /// Topics that `kafscale restore` writes, by the id that they will have.
    restores: HashMap<TopicId, (TopicName, Seen<RestoreRecord>)>,
    generations: HashMap<TopicName, Seen<TopicGenerationRecord>>,
    /// Partitions.
    pub(super) partitions: Records,
    /// Sessions.
    pub(super) sessions: Sessions,
    /// Floors.
    pub(super) floors: HashMap<SessionId, WalSequence>,
    /// Committed sequences, in the guarded mode.
    pub(super) committed: HashMap<SessionId, WalSequence>,
    /// Sessions that a taker of a partition or slot has yet to fence.
    pub(super) unfenced: HashSet<SessionId>,
    /// Committed offsets of groups: key, partition, offset, revision.
    pub(super) offsets: Vec<GroupOffset>,
    has_cluster: bool,
    unreadable: Vec<Finding>,
}

/// A committed offset.
#[derive(Debug, Clone)]
pub(super) struct GroupOffset {
    /// Its key.
    pub(super) key: Key,
    /// Its partition.
    pub(super) partition: TopicPartition,
    /// The next offset to read.
    pub(super) offset: Offset,
    /// When it was written.
    pub(super) revision: Revision,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Value(#[from] CodecError),
}

fn record<T: Record>(entry: &KeyValue) -> Result<Seen<T>, CodecError> {
    Ok(seen::<T>(Some(entry))?.expect("the entry is there"))
}

impl Metadata {
    /// Reads all of it.
    ///
    /// # Errors
    /// The metadata store failed.
    pub(super) async fn read(kv: &Arc<dyn Kv>, space: &Keyspace) -> Result<Self, KvError> {
        let mut all = Self::default();
        for entry in range_all(kv, space.span()).await?.entries {
            if let Err(error) = all.take(space, &entry) {
                let detail = error.to_string();
                let finding = Finding::new(Code::RecordUnreadable, entry.key.to_string(), detail);
                all.unreadable.push(finding);
            }
        }
        let sources = all
            .partitions
            .values()
            .flat_map(|seen| &seen.record.sources);
        let open = sources.filter(|source| source.is_open());
        all.unfenced.extend(open.map(|source| source.session));
        Ok(all)
    }

    fn take(&mut self, space: &Keyspace, entry: &KeyValue) -> Result<(), Unreadable> {
        let key = &entry.key;
        let path = key
            .as_str()
            .and_then(|key| key.strip_prefix(space.prefix()));
        let folder = path
            .and_then(|path| path.split('/').next())
            .unwrap_or_default();
        match folder {
            "cluster" => {
                record::<cluster::ClusterRecord>(entry)?;
                self.has_cluster = true;
            }
            "topics" => {
                let (name, seen) = (topic::parse(space, key)?, record::<TopicRecord>(entry)?);
                self.names.insert(seen.record.topic_id, name.clone());
                self.topics.insert(name, seen);
            }
            "topic-generations" => {
                let name = topic_generation::parse(space, key)?;
                self.generations.insert(name, record(entry)?);
            }
            "tombstones" => {
                let id = tombstone::parse(space, key)?;
                self.tombstones.insert(id, record(entry)?);
            }
            "restores" => {
                let (name, seen) = (restore::parse(space, key)?, record::<RestoreRecord>(entry)?);
                self.restores.insert(seen.record.topic_id, (name, seen));
            }
            "partitions" => {
                let id = partition::parse(space, key)?;
                self.partitions
                    .insert(id, record::<PartitionRecord>(entry)?);
            }
            "sessions" => {
                record::<session::SessionRecord>(entry)?;
                self.sessions.live.insert(session::parse(space, key)?);
            }
            "session-records" => {
                let id = session_record::parse(space, key)?;
                let broker = record::<SessionHistoryRecord>(entry)?.record.broker;
                self.sessions.known.insert(id, broker);
            }
            "floors" => {
                let floor = record::<FloorRecord>(entry)?.record.floor;
                self.floors.insert(floor::parse(space, key)?, floor);
            }
            "committed" => {
                let end = record::<CommittedRecord>(entry)?.record.end;
                self.committed.insert(committed::parse(space, key)?, end);
            }
            "slots" => {
                slot::parse(space, key)?;
                let SlotRecord {
                    owner, unfenced, ..
                } = record(entry)?.record;
                let owners = owner.into_iter().chain(unfenced);
                self.unfenced.extend(owners.map(|owner| owner.session));
            }
            "group-offsets" => {
                let (_, partition) = group_offset::parse(space, key)?;
                self.offsets.push(GroupOffset {
                    key: key.clone(),
                    partition,
                    offset: record::<GroupOffsetRecord>(entry)?.record.offset,
                    revision: entry.mod_revision,
                });
            }
            _ => check_other(space, entry, folder)?,
        }
        Ok(())
    }

    /// Whether every record could be read: else nobody knows what is needed.
    pub(super) fn is_complete(&self) -> bool {
        self.unreadable.is_empty()
    }

    /// The topic's name, generation and record.
    pub(super) fn topic(&self, id: TopicId) -> Option<(TopicDir, &TopicRecord)> {
        let name = self.names.get(&id)?;
        let record = &self.topics.get(name)?.record;
        Some((TopicDir::new(name.clone(), record.generation), record))
    }

    /// Whether a topic is being deleted, or made by a restore: its records and objects are of use.
    fn is_in_passing(&self, id: TopicId) -> bool {
        self.tombstones.contains_key(&id) || self.restores.contains_key(&id)
    }

    /// Whether a partition is one of its topic, or of a topic that is being deleted or made.
    pub(super) fn is_known(&self, id: TopicPartition) -> bool {
        let within = |count: i32| id.partition.get() < count;
        match self.topic(id.topic) {
            Some((_, record)) => within(record.partition_count),
            None => self.is_in_passing(id.topic),
        }
    }

    /// Whether objects may lie in a topic's directory.
    pub(super) fn knows_dir(&self, dir: &TopicDir) -> bool {
        let topic = self.topics.get(&dir.name);
        let is_topic = topic.is_some_and(|seen| seen.record.generation == dir.generation);
        let mut buried = self.tombstones.values().map(|seen| &seen.record);
        let mut restored = self.restores.values();
        is_topic
            || restored
                .any(|(name, seen)| *name == dir.name && seen.record.generation == dir.generation)
            || buried.any(|buried| {
                buried.name == dir.name.as_str() && buried.generation == dir.generation
            })
    }

    /// What is wrong with the records themselves.
    pub(super) fn check(&self, space: &Keyspace, only: Option<&TopicName>) -> Vec<Finding> {
        let mut found = self.unreadable.clone();
        if only.is_none() && !self.has_cluster {
            let key = cluster::key(space).to_string();
            found.push(Finding::new(
                Code::ClusterMissing,
                key,
                "there is no such key",
            ));
        }
        self.check_generations(space, only, &mut found);
        if only.is_some() {
            return found;
        }
        self.check_partitions(space, &mut found);
        self.check_offsets(&mut found);
        self.check_sessions(space, &mut found);
        for (id, buried) in &self.tombstones {
            let detail = format!("topic {} is deleted and not swept yet", buried.record.name);
            let key = tombstone::key(space, *id).to_string();
            found.push(Finding::new(Code::DeletionPending, key, detail));
        }
        for (name, _) in self.restores.values() {
            let detail = format!("topic {name} is being restored, or that was interrupted");
            let key = restore::key(space, name).to_string();
            found.push(Finding::new(Code::RestorePending, key, detail));
        }
        found
    }

    fn check_generations(
        &self,
        space: &Keyspace,
        only: Option<&TopicName>,
        found: &mut Vec<Finding>,
    ) {
        for (name, seen) in &self.topics {
            let used = seen.record.generation;
            let counter = self.generations.get(name);
            let is_right = counter.is_some_and(|counter| counter.record.next > used);
            if is_right || only.is_some_and(|only| only != name) {
                continue;
            }
            let detail = match counter {
                Some(counter) => {
                    format!("it is {}, generation {used} is in use", counter.record.next)
                }
                None => format!("there is none, generation {used} is in use"),
            };
            let key = topic_generation::key(space, name).to_string();
            let repair = Repair::RaiseGeneration {
                name: name.clone(),
                next: used.saturating_add(1),
            };
            found.push(Finding::new(Code::GenerationCounter, key, detail).repair(repair));
        }
    }

    fn check_partitions(&self, space: &Keyspace, found: &mut Vec<Finding>) {
        for (id, seen) in &self.partitions {
            let key = partition::key(space, *id);
            match self.topic(id.topic) {
                Some((_, topic)) if id.partition.get() < topic.partition_count => {}
                Some((dir, topic)) => {
                    let count = topic.partition_count;
                    let detail = format!("topic {dir} has {count} partitions");
                    found.push(Finding::new(Code::PartitionBeyond, key.to_string(), detail));
                }
                None if self.is_in_passing(id.topic) => {}
                None => {
                    let repair = Repair::DeleteKey {
                        key: key.clone(),
                        revision: seen.mod_revision,
                        topic: id.topic,
                    };
                    let detail = "there is no topic of this id".to_owned();
                    let finding = Finding::new(Code::PartitionUnknown, key.to_string(), detail);
                    found.push(finding.repair(repair));
                }
            }
        }
    }

    fn check_offsets(&self, found: &mut Vec<Finding>) {
        for offset in &self.offsets {
            let id = offset.partition;
            if self.is_known(id) {
                continue;
            }
            let key = offset.key.to_string();
            found.push(match self.topic(id.topic) {
                Some((dir, topic)) => {
                    let detail = format!("topic {dir} has {} partitions", topic.partition_count);
                    Finding::new(Code::GroupOffsetUnknown, key, detail)
                }
                None => {
                    let repair = Repair::DeleteKey {
                        key: offset.key.clone(),
                        revision: offset.revision,
                        topic: id.topic,
                    };
                    let detail = "there is no topic of this id";
                    Finding::new(Code::GroupOffsetUnknown, key, detail).repair(repair)
                }
            });
        }
    }

    fn check_sessions(&self, space: &Keyspace, found: &mut Vec<Finding>) {
        let floors = self.floors.keys().map(|id| (*id, floor::key(space, *id)));
        let committed = self
            .committed
            .keys()
            .map(|id| (*id, committed::key(space, *id)));
        for (id, key) in floors.chain(committed) {
            if !self.sessions.known.contains_key(&id) {
                let detail = "there is no record of this session";
                found.push(Finding::new(Code::SessionUnknown, key.to_string(), detail));
            }
        }
    }
}

/// Records of which only the form is looked at.
fn check_other(space: &Keyspace, entry: &KeyValue, folder: &str) -> Result<(), Unreadable> {
    let key = &entry.key;
    match folder {
        "brokers" => {
            broker::parse(space, key)?;
            record::<broker::BrokerRecord>(entry)?;
        }
        "broker-configs" => {
            broker_config::parse(space, key)?;
            record::<broker_config::BrokerConfigRecord>(entry)?;
        }
        "pins" => {
            pin::parse(space, key)?;
            record::<pin::PinRecord>(entry)?;
        }
        "users" => {
            scram::parse(space, key)?;
            record::<scram::ScramRecord>(entry)?;
        }
        "acls" => {
            acl::parse(space, key)?;
            record::<acl::AclRecord>(entry)?;
        }
        "decoy" => drop(record::<decoy::DecoyRecord>(entry)?),
        "quotas" => {
            quota::parse(space, key)?;
            record::<quota::QuotaRecord>(entry)?;
        }
        "drains" => {
            drain::parse(space, key)?;
            record::<drain::DrainRecord>(entry)?;
        }
        "groups" => {
            group::parse(space, key)?;
            group::GroupRecord::decode(&entry.value)?;
        }
        "producer-ids" => {
            record::<producer_block::ProducerBlockRecord>(entry)?;
        }
        // A newer broker, or another tool, may keep more than this one knows.
        _ => {}
    }
    Ok(())
}
