//! The metadata as a backup has it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use coord::keys::cluster::{self, ClusterRecord};
use coord::keys::committed::{self, CommittedRecord};
use coord::keys::floor::{self, FloorRecord};
use coord::keys::group_offset::{self, GroupOffsetRecord};
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::producer_block::{self, ProducerBlockRecord};
use coord::keys::restore::{self, RestoreRecord};
use coord::keys::session_record;
use coord::keys::slot::{self, SlotRecord};
use coord::keys::tombstone;
use coord::keys::topic::{self, TopicRecord};
use coord::keys::topic_generation::{self, TopicGenerationRecord};
use coord::keys::{CodecError, KeyError, Keyspace, decode, recovery};
use coord::kv::{Key, Value};
use segment::backup::Backup;
use segment::{Offset, SessionId, TopicId, TopicName, TopicPartition, WalSequence};

use super::RecoverError;

/// Its records, those that a recovery changes apart.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) cluster: Option<ClusterRecord>,
    pub(super) topics: BTreeMap<TopicName, TopicRecord>,
    pub(super) generations: BTreeMap<TopicName, u32>,
    /// Deleted topics.
    pub(super) tombstones: HashMap<TopicId, Bytes>,
    /// Topics that `kafscale restore` was writing.
    pub(super) restores: HashMap<TopicId, TopicName>,
    pub(super) partitions: HashMap<TopicPartition, PartitionRecord>,
    pub(super) sessions: HashMap<SessionId, Bytes>,
    pub(super) floors: HashMap<SessionId, WalSequence>,
    committed: HashMap<SessionId, WalSequence>,
    pub(super) slots: Vec<(Key, SlotRecord)>,
    pub(super) producers: Option<ProducerBlockRecord>,
    /// Committed offsets: group, partition, offset.
    pub(super) offsets: Vec<(String, TopicPartition, Offset)>,
    /// What goes back as it was.
    pub(super) verbatim: BTreeMap<Key, Value>,
}

/// Why an entry of a backup cannot be read.
#[derive(Debug, thiserror::Error)]
enum EntryError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Value(#[from] CodecError),
}

impl Before {
    /// Sorts the entries of a backup.
    ///
    /// # Errors
    /// [`RecoverError::Entry`] where a record cannot be read, for example since a newer version of
    /// KafScale wrote it.
    pub(super) fn read(space: &Keyspace, backup: &Backup) -> Result<Self, RecoverError> {
        let mut before = Self::default();
        for entry in &backup.entries {
            let key = Key::new(entry.key.clone());
            let value = Value::new(entry.value.clone());
            let taken = before.take(space, &key, value);
            taken.map_err(|error| RecoverError::Entry {
                key: key.to_string(),
                reason: error.to_string(),
            })?;
        }
        Ok(before)
    }

    fn take(&mut self, space: &Keyspace, key: &Key, value: Value) -> Result<(), EntryError> {
        let path = key
            .as_str()
            .and_then(|key| key.strip_prefix(space.prefix()));
        let folder = path.and_then(|path| path.split('/').next());
        match folder.unwrap_or_default() {
            "cluster" if *key == cluster::key(space) => self.cluster = Some(decode(&value)?),
            // That of an interrupted recovery is over.
            "recovery" if *key == recovery::key(space) => {}
            "topics" => {
                let name = topic::parse(space, key)?;
                self.topics.insert(name, decode::<TopicRecord>(&value)?);
            }
            "topic-generations" => {
                let next = decode::<TopicGenerationRecord>(&value)?.next;
                self.generations
                    .insert(topic_generation::parse(space, key)?, next);
            }
            "tombstones" => {
                self.tombstones
                    .insert(tombstone::parse(space, key)?, value.to_bytes());
                self.verbatim.insert(key.clone(), value);
            }
            "restores" => {
                let id = decode::<RestoreRecord>(&value)?.topic_id;
                self.restores.insert(id, restore::parse(space, key)?);
                self.verbatim.insert(key.clone(), value);
            }
            "partitions" => {
                let id = partition::parse(space, key)?;
                self.partitions
                    .insert(id, decode::<PartitionRecord>(&value)?);
            }
            "session-records" => {
                let session = session_record::parse(space, key)?;
                self.sessions.insert(session, value.to_bytes());
            }
            "floors" => {
                let floor = decode::<FloorRecord>(&value)?.floor;
                self.floors.insert(floor::parse(space, key)?, floor);
            }
            "committed" => {
                let end = decode::<CommittedRecord>(&value)?.end;
                self.committed.insert(committed::parse(space, key)?, end);
                self.verbatim.insert(key.clone(), value);
            }
            "slots" => {
                slot::parse(space, key)?;
                self.slots
                    .push((key.clone(), decode::<SlotRecord>(&value)?));
            }
            "producer-ids" if *key == producer_block::key(space) => {
                self.producers = Some(decode(&value)?);
            }
            "group-offsets" => {
                let (group, id) = group_offset::parse(space, key)?;
                let offset = decode::<GroupOffsetRecord>(&value)?.offset;
                self.offsets.push((group, id, offset));
                self.verbatim.insert(key.clone(), value);
            }
            // Those of a lease are in no backup; anything else goes back as it was.
            "sessions" | "brokers" => {}
            _ => drop(self.verbatim.insert(key.clone(), value)),
        }
        Ok(())
    }

    /// The sequence of a session below which everything was acknowledged when the backup was made: its
    /// floor, what it had committed, and where sources of it were closed, by a fence or by a release
    /// after everything before it was acknowledged.
    pub(super) fn acknowledged(&self, session: SessionId) -> WalSequence {
        let floor = self.floors.get(&session).copied();
        let committed = self.committed.get(&session).copied();
        let sources = self.partitions.values().flat_map(|record| &record.sources);
        let of_session = sources.filter(|source| source.session == session);
        let closed = of_session.filter_map(|source| source.end_sequence).max();
        floor.max(committed).max(closed).unwrap_or_default()
    }

    /// Whether a topic is being deleted, or made by `kafscale restore`.
    pub(super) fn is_in_passing(&self, topic: TopicId) -> bool {
        self.tombstones.contains_key(&topic) || self.restores.contains_key(&topic)
    }
}
