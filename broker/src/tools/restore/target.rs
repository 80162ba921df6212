//! The topic that is made: announced, written, made; or removed.

use std::collections::BTreeMap;

use coord::keys::partition::{self, PartitionRecord};
use coord::keys::plan::{self, PARTITIONS_MAX, PlanError};
use coord::keys::restore::{self, RestoreRecord};
use coord::keys::topic::{self, TopicRecord};
use coord::keys::topic_generation::{self, TopicGenerationRecord};
use coord::keys::{Seen, seen};
use coord::kv::range_all;
use segment::keys::{KeySpace, TopicDir};
use segment::manifest::Manifest;
use segment::{Offset, PartitionIndex, TimestampMs, TopicId, TopicName, TopicPartition};
use store::{Body, PutCondition};

use super::copy::{Copied, Sealed};
use super::{Restore, RestoreError, Restored};
use crate::control::commit::{Change, CommitError, commit, commit_all};
use crate::control::context::wall_clock;
use crate::control::objects::Objects;
use crate::control::segments::{object_keys, write_manifest};
use crate::control::session::random_topic_id;
use crate::tools::Ground;

/// Generations of a name that are tried for one whose prefix is empty.
const GENERATIONS_MAX: u32 = 1_000;

/// The topic to be.
pub(super) struct Target<'a> {
    ground: &'a Ground,
    name: TopicName,
    announced: Seen<RestoreRecord>,
}

impl<'a> Target<'a> {
    /// Removes what an interrupted restore to the name left, and announces this one; gives when the
    /// other was begun.
    pub(super) async fn announce(
        ground: &'a Ground,
        wanted: &Restore,
    ) -> Result<(Self, Option<TimestampMs>), RestoreError> {
        let name = &wanted.target;
        let key = restore::key(&ground.space, name);
        let found = ground.kv.get(key.clone()).await?;
        let earlier = seen::<RestoreRecord>(found.as_ref())?;
        let mut discarded = None;
        if let Some(announced) = earlier {
            discarded = Some(announced.record.begun_ms);
            let name = name.clone();
            let left = Target {
                ground,
                name,
                announced,
            };
            left.discard().await?;
        }
        let counter_key = topic_generation::key(&ground.space, name);
        let found = ground.kv.get(counter_key).await?;
        let counter = seen::<TopicGenerationRecord>(found.as_ref())?;
        let lowest = counter.as_ref().map_or(0, |seen| seen.record.next);
        let record = RestoreRecord {
            topic_id: random_topic_id(),
            generation: free_generation(ground, name, lowest).await?,
            source: wanted.source.as_str().to_owned(),
            until_ms: wanted.until,
            begun_ms: wall_clock(),
        };
        let planned = plan::begin_restore(&ground.space, name, record, counter.as_ref());
        let planned = planned.map_err(CommitError::Plan)?;
        let announced = commit(&ground.kv, &key, &planned, None).await;
        let announced = announced.map_err(|error| overtaken(name, error))?;
        let name = name.clone();
        let target = Self {
            ground,
            name,
            announced,
        };
        Ok((target, discarded))
    }

    fn dir(&self) -> TopicDir {
        TopicDir::new(self.name.clone(), self.announced.record.generation)
    }

    fn id(&self) -> TopicId {
        self.announced.record.topic_id
    }

    pub(super) fn writer(&self) -> Writer {
        Writer {
            objects: self.ground.objects.clone(),
            keys: self.ground.keys.clone(),
            dir: self.dir(),
            id: self.id(),
        }
    }

    /// Removes all that was written, and the announcement last.
    pub(super) async fn discard(&self) -> Result<(), RestoreError> {
        self.remove_objects().await?;
        let txn = plan::discard_restore(&self.ground.space, &self.name, &self.announced);
        // Whatever an unknown outcome was: what follows compares that the announcement is gone.
        match self.ground.kv.txn(txn).await {
            Err(error) if !error.is_ambiguous() => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Removes the objects.
    async fn remove_objects(&self) -> Result<(), RestoreError> {
        let objects = &self.ground.objects;
        let prefix = self.ground.keys.topic_prefix(&self.dir());
        let found = objects.list(&prefix, None).await?;
        let keys: Vec<String> = found
            .iter()
            .map(|meta| meta.key.as_str().to_owned())
            .collect();
        match objects.delete(&keys).await {
            0 => Ok(()),
            failed => {
                let reason = format!("{failed} objects could not be deleted");
                Err(RestoreError::Discard { prefix, reason })
            }
        }
    }

    /// Writes the partition records, and makes the topic.
    pub(super) async fn make(
        &self,
        partitions: &[Restored],
        configs: BTreeMap<String, String>,
    ) -> Result<TopicRecord, RestoreError> {
        let Ground { kv, space, .. } = self.ground;
        let write = |restored: &Restored| {
            let id = TopicPartition::new(self.id(), restored.partition);
            let record = record_of(restored.copied.as_ref());
            Change {
                key: partition::key(space, id),
                planned: plan::restore_partition(space, &self.name, &self.announced, id, record),
                before: None,
            }
        };
        let changes: Vec<Change<PartitionRecord>> = partitions.iter().map(write).collect();
        for outcome in commit_all(kv, &changes, PARTITIONS_MAX).await {
            outcome.map_err(|error| overtaken(&self.name, error))?;
        }
        // Without its records the topic would be an empty one: they are there, whatever else may have
        // swept the records of unknown topics.
        let there = range_all(kv, partition::topic_span(space, self.id())).await?;
        if there.entries.len() != partitions.len() {
            return Err(RestoreError::Overtaken(self.name.clone()));
        }
        let record = TopicRecord {
            topic_id: self.id(),
            generation: self.announced.record.generation,
            partition_count: i32::try_from(partitions.len()).expect("as many as the source has"),
            configs,
            created_ms: wall_clock(),
        };
        let planned = plan::finish_restore(space, &self.name, &self.announced, record);
        let key = topic::key(space, &self.name);
        let made = commit(kv, &key, &planned, None).await;
        Ok(made.map_err(|error| overtaken(&self.name, error))?.record)
    }
}

fn overtaken(name: &TopicName, error: CommitError) -> RestoreError {
    match error {
        CommitError::Superseded | CommitError::Plan(PlanError::Backward { .. }) => {
            RestoreError::Overtaken(name.clone())
        }
        error => error.into(),
    }
}

/// The first generation, from the counter up, whose prefix is empty.
async fn free_generation(
    ground: &Ground,
    name: &TopicName,
    lowest: u32,
) -> Result<u32, RestoreError> {
    for candidate in lowest..lowest.saturating_add(GENERATIONS_MAX) {
        let dir = TopicDir::new(name.clone(), candidate);
        let prefix = ground.keys.topic_prefix(&dir);
        if !ground.objects.any(&prefix).await? {
            return Ok(candidate);
        }
    }
    Err(RestoreError::NoGeneration(GENERATIONS_MAX, name.clone()))
}

/// The record of a partition that nobody has owned yet.
fn record_of(copied: Option<&Copied>) -> PartitionRecord {
    let (start, end) = copied.map_or((Offset::ZERO, Offset::ZERO), |copied| {
        (copied.start, copied.end)
    });
    let epochs = copied.map(|copied| copied.epochs.clone());
    let epochs = epochs.unwrap_or_default();
    PartitionRecord {
        leader_epoch: epochs.leader_epoch(),
        compacted_end: end,
        log_start: start,
        epochs: epochs.into_starts(end),
        ..PartitionRecord::absent()
    }
}

/// Writes the objects of the target.
pub(super) struct Writer {
    objects: Objects,
    keys: KeySpace,
    dir: TopicDir,
    id: TopicId,
}

impl Writer {
    /// Writes a segment and its index. Nothing else uses the prefix, so what is there is ours, from
    /// an earlier try of the same request.
    pub(super) async fn segment(
        &self,
        partition: PartitionIndex,
        sealed: Sealed,
    ) -> Result<(), RestoreError> {
        let Sealed { kfs, entry } = sealed;
        let [index_key, key] = object_keys(&self.keys, &self.dir, partition, entry.base);
        let index = Body::from(kfs.index.encode());
        let body = Body::new(kfs.chunks).with_crc32(kfs.crc32);
        for (key, body) in [(key, body), (index_key, index)] {
            let put = self.objects.put(&key, body, PutCondition::None).await;
            put.map_err(|source| RestoreError::Put {
                key,
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    /// Writes the manifest: a hint.
    pub(super) async fn manifest(&self, partition: PartitionIndex, copied: &Copied) {
        let manifest = Manifest {
            partition: TopicPartition::new(self.id, partition),
            leader_epoch: copied.epochs.leader_epoch(),
            compacted_end: copied.end,
            log_start: copied.start,
            segments: copied.segments.clone(),
        };
        let key = self.keys.manifest(&self.dir, partition);
        write_manifest(&self.objects, &key, &manifest).await;
    }
}
