//! Topics: the only writer of topic records and of the metadata snapshot.
//!
//! Control thread. Changes of one name are serial. A change is durable, its partitions are taken
//! and open, and the snapshot has it, before it is answered.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use coord::keys::plan::{self, CreateTopic};
use coord::keys::topic::{self, TopicRecord};
use coord::keys::topic_generation::{self, TopicGenerationRecord};
use coord::keys::{Seen, partition, seen, tombstone};
use coord::kv::range_all;
use segment::keys::TopicDir;
use segment::{PartitionIndex, TopicId, TopicName, TopicPartition};

use super::commit::{CommitError, commit};
use super::context::{Context, wall_clock};
use super::handle::{NewConfig, NewTopic, TopicError};
use super::session::random_topic_id;
use super::takeover::{Takeover, TakeoverError, Target, read_records};
use crate::metadata::{Metadata, Topic};
use crate::partition::{PartitionHandle, PartitionImage};
use crate::shard::{ShardGone, shard_of_partition};
use crate::topic_config::TopicConfig;

/// Generations of a name that are tried for one whose prefix is empty.
const GENERATIONS_MAX: u32 = 1_000;
/// Tries of a change that meets another one.
const TRIES_MAX: usize = 8;
/// Pause before partitions that could not be taken are tried again.
const RETAKE_PAUSE: Duration = Duration::from_secs(1);

/// A topic as the catalog keeps it.
#[derive(Debug, Clone)]
struct Entry {
    seen: Seen<TopicRecord>,
    topic: Arc<Topic>,
}

/// The topics.
pub struct Catalog {
    context: Rc<Context>,
    topics: RefCell<BTreeMap<TopicName, Entry>>,
    locks: RefCell<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Why the topics cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The metadata store failed, or holds what cannot be read.
    #[error("load the topics: {0}")]
    Commit(#[from] CommitError),
    /// The partitions cannot be taken.
    #[error("load the topics: {0}")]
    Takeover(#[from] TakeoverError),
    /// A shard has ended.
    #[error("open the partitions: {0}")]
    Shard(#[from] ShardGone),
}

/// Names that differ only in '.' and '_' are one name in metrics, so they share a lock and collide.
fn metric_name(name: &str) -> String {
    name.replace('.', "_")
}

fn unavailable(error: impl std::fmt::Display) -> TopicError {
    TopicError::Unavailable(error.to_string())
}

impl Catalog {
    /// Loads all topics, takes all of their partitions, opens them, and publishes the snapshot.
    ///
    /// # Errors
    /// [`CatalogError`]. A partition that cannot be served is logged and is no error.
    pub async fn load(context: Rc<Context>) -> Result<Rc<Self>, CatalogError> {
        let catalog = Rc::new(Self {
            topics: RefCell::default(),
            locks: RefCell::default(),
            context,
        });
        let context = &catalog.context;
        let entries = range_all(&context.kv, topic::span(&context.space)).await;
        let mut targets = Vec::new();
        for entry in entries.map_err(CommitError::from)?.entries {
            let Ok(name) = topic::parse(&context.space, &entry.key) else {
                continue;
            };
            let seen = seen::<TopicRecord>(Some(&entry)).map_err(CommitError::from)?;
            let Some(seen) = seen else { continue };
            let topic = Arc::new(catalog.topic(&name, &seen.record, &[]));
            targets.extend(catalog.targets(&topic, &seen, 0));
            catalog
                .topics
                .borrow_mut()
                .insert(name, Entry { seen, topic });
        }
        let span = partition::span(&context.space);
        let records = read_records(&context.kv, &context.space, span).await?;
        let mut takeover = context.taker().take(targets, &records).await?;
        *context.inherited.borrow_mut() = std::mem::take(&mut takeover.objects);
        catalog.open(takeover).await?;
        catalog.publish();
        Ok(catalog)
    }

    /// A topic of this record; the first partitions are those of `before`.
    fn topic(
        &self,
        name: &TopicName,
        record: &TopicRecord,
        before: &[Arc<PartitionHandle>],
    ) -> Topic {
        let config = TopicConfig::from_overrides(record.configs.clone()).unwrap_or_else(|error| {
            tracing::error!(topic = %name, %error, "stored settings cannot be used; defaults hold");
            TopicConfig::from_overrides(BTreeMap::new()).expect("no setting is no error")
        });
        let mut partitions = before.to_vec();
        for index in before.len() as i32..record.partition_count {
            let id = TopicPartition::new(record.topic_id, PartitionIndex::new(index));
            let shard = shard_of_partition(id, self.context.shards.len());
            partitions.push(Arc::new(PartitionHandle::new(id, shard)));
        }
        let (id, generation) = (record.topic_id, record.generation);
        Topic {
            name: name.clone(),
            id,
            generation,
            config,
            partitions,
        }
    }

    fn targets(&self, topic: &Topic, seen: &Seen<TopicRecord>, from: usize) -> Vec<Target> {
        let dir = TopicDir::new(topic.name.clone(), topic.generation);
        let target = |handle: &Arc<PartitionHandle>| Target {
            handle: handle.clone(),
            dir: dir.clone(),
            topic_created: seen.create_revision,
        };
        topic.partitions.iter().skip(from).map(target).collect()
    }

    /// Opens what has been taken on its shards, and remembers it.
    async fn open(&self, takeover: Takeover) -> Result<(), ShardGone> {
        let context = &self.context;
        for (partition, error) in &takeover.refused {
            tracing::error!(%partition, %error,
                "a partition cannot be served and is unchanged: see `kafscale segment verify`");
        }
        if let Some(next) = takeover.largest_producer.and_then(|largest| largest.next()) {
            context
                .producer_floor
                .set(context.producer_floor.get().max(next));
        }
        let mut images: Vec<Vec<PartitionImage>> = Vec::new();
        images.resize_with(context.shards.len(), Vec::new);
        let mut dead = Vec::new();
        for taken in takeover.taken {
            let handle = &taken.owned.handle;
            context
                .owned
                .borrow_mut()
                .insert(handle.id, taken.owned.clone());
            let images = images
                .get_mut(handle.shard.index())
                .expect("shards are numbered from 0");
            images.push(taken.image);
            dead.extend(taken.dead);
            context.metrics.takeovers.increment();
        }
        let opened = context.shards.iter().zip(images).map(|(shard, images)| {
            shard.call(move |shard| images.into_iter().for_each(|image| shard.open(image)))
        });
        for outcome in futures_util::future::join_all(opened).await {
            outcome?;
        }
        if !dead.is_empty() {
            context.metrics.segments_deleted.add(dead.len() as u64 / 2);
            let objects = context.objects.clone();
            context.spawn("sweep", async move {
                objects.delete(&dead).await;
            });
        }
        Ok(())
    }

    /// Publishes a snapshot of the topics as they are.
    fn publish(&self) {
        let topics = self.topics.borrow();
        let all = topics.values().map(|entry| entry.topic.clone());
        let context = &self.context;
        let snapshot = Metadata::new(
            context.cluster_id.clone(),
            context.node.id,
            vec![context.node.clone()],
            all,
        );
        context.metrics.topics.set_count(topics.len());
        context.metadata.store(Arc::new(snapshot));
    }

    async fn lock(&self, name: &TopicName) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.borrow_mut();
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(metric_name(name.as_str())).or_default().clone()
        };
        lock.lock_owned().await
    }

    fn entry(&self, id: TopicId) -> Result<(TopicName, Entry), TopicError> {
        let topics = self.topics.borrow();
        let found = topics.iter().find(|(_, entry)| entry.topic.id == id);
        found
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .ok_or(TopicError::Unknown)
    }

    /// Creates a topic, with the first generation whose objects' prefix is empty.
    ///
    /// # Errors
    /// [`TopicError`].
    pub async fn create(self: &Rc<Self>, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        let _lock = self.lock(&new.name).await;
        self.check_name(&new.name)?;
        let partition_count = i32::try_from(new.partitions)
            .ok()
            .filter(|count| *count > 0);
        let partition_count = partition_count
            .ok_or_else(|| TopicError::Partitions(format!("{} partitions", new.partitions)))?;
        for _ in 0..TRIES_MAX {
            let Some(seen) = self.create_record(&new, partition_count).await? else {
                continue;
            };
            let topic = Arc::new(self.topic(&new.name, &seen.record, &[]));
            let targets = self.targets(&topic, &seen, 0);
            let entry = Entry {
                seen,
                topic: topic.clone(),
            };
            self.topics.borrow_mut().insert(new.name.clone(), entry);
            let taken = self.take_new(targets).await;
            self.publish();
            taken?;
            tracing::info!(topic = %new.name, id = %topic.id, partition_count, "created");
            return Ok(topic);
        }
        Err(unavailable("the name is being changed by others"))
    }

    fn check_name(&self, name: &TopicName) -> Result<(), TopicError> {
        let topics = self.topics.borrow();
        if topics.contains_key(name) {
            return Err(TopicError::Exists(name.as_str().to_owned()));
        }
        let metric = metric_name(name.as_str());
        match topics
            .keys()
            .find(|other| metric_name(other.as_str()) == metric)
        {
            Some(other) => {
                let (name, other) = (name.as_str().to_owned(), other.as_str().to_owned());
                Err(TopicError::Collision(name, other))
            }
            None => Ok(()),
        }
    }

    /// Writes the record of a new topic; `None` if the generation counter moved meanwhile.
    async fn create_record(
        &self,
        new: &NewTopic,
        partition_count: i32,
    ) -> Result<Option<Seen<TopicRecord>>, TopicError> {
        let Context {
            kv,
            space,
            objects,
            keys,
            session,
            ..
        } = &*self.context;
        let counter_key = topic_generation::key(space, &new.name);
        let counter = kv.get(counter_key).await.map_err(unavailable)?;
        let counter = seen::<TopicGenerationRecord>(counter.as_ref()).map_err(unavailable)?;
        let lowest = counter.as_ref().map_or(0, |seen| seen.record.next);
        let mut generation = None;
        for candidate in lowest..lowest.saturating_add(GENERATIONS_MAX) {
            let prefix = keys.topic_prefix(&TopicDir::new(new.name.clone(), candidate));
            if !objects.any(&prefix).await.map_err(unavailable)? {
                generation = Some(candidate);
                break;
            }
            tracing::warn!(topic = %new.name, prefix, "objects of an earlier topic are left alone");
        }
        let generation = generation.ok_or_else(|| unavailable("no generation is free"))?;
        let record = TopicRecord {
            topic_id: random_topic_id(),
            generation,
            partition_count,
            configs: new.config.overrides().clone(),
            created_ms: wall_clock(),
        };
        let create = CreateTopic {
            name: &new.name,
            record,
            counter: counter.as_ref(),
        };
        let planned = plan::create_topic(space, session.id, create).map_err(unavailable)?;
        match commit(kv, &topic::key(space, &new.name), &planned, None).await {
            Ok(seen) => Ok(Some(seen)),
            Err(CommitError::Superseded) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Takes and opens partitions of a topic that is in the catalog. Where that fails it is tried
    /// again in the background for as long as the topic exists.
    async fn take_new(self: &Rc<Self>, targets: Vec<Target>) -> Result<(), TopicError> {
        let Err(error) = self.try_take(&targets).await else {
            return Ok(());
        };
        tracing::warn!(%error, "new partitions could not be taken; trying again");
        let catalog = self.clone();
        self.context.spawn("catalog", async move {
            loop {
                tokio::time::sleep(RETAKE_PAUSE).await;
                let Some(first) = targets.first() else { return };
                let _lock = catalog.lock(&first.dir.name).await;
                let gone = catalog.entry(first.handle.id.topic).is_err();
                if gone || catalog.try_take(&targets).await.is_ok() {
                    return;
                }
            }
        });
        Err(unavailable(error))
    }

    async fn try_take(&self, targets: &[Target]) -> Result<(), CatalogError> {
        let Some(first) = targets.first() else {
            return Ok(());
        };
        let Context { kv, space, .. } = &*self.context;
        let span = partition::topic_span(space, first.handle.id.topic);
        let records = read_records(kv, space, span).await?;
        let missing = targets
            .iter()
            .filter(|target| self.context.owned(target.handle.id).is_none());
        let takeover = self
            .context
            .taker()
            .take(missing.cloned().collect(), &records)
            .await?;
        self.open(takeover).await?;
        Ok(())
    }

    /// Deletes a topic. It is gone when this returns; its objects are swept afterwards.
    ///
    /// # Errors
    /// [`TopicError`].
    pub async fn delete(self: &Rc<Self>, id: TopicId) -> Result<(), TopicError> {
        let (name, _) = self.entry(id)?;
        let _lock = self.lock(&name).await;
        let (name, entry) = self.entry(id)?;
        let Context {
            kv, space, session, ..
        } = &*self.context;
        let planned = plan::delete_topic(space, session.id, &name, &entry.seen, wall_clock());
        let key = tombstone::key(space, id);
        let buried = commit(kv, &key, &planned, None)
            .await
            .map_err(unavailable)?;
        self.topics.borrow_mut().remove(&name);
        self.publish();
        self.close(&entry.topic).await;
        tracing::info!(topic = %name, %id, "deleted");
        let swept = super::sweep::sweep(self.context.clone(), id, buried);
        self.context.spawn("sweep", swept);
        Ok(())
    }

    /// Closes the partitions of a topic that is gone, and waits for what is being done with them.
    async fn close(&self, topic: &Topic) {
        let context = &self.context;
        for shard in context.shards.iter() {
            let mine = topic
                .partitions
                .iter()
                .filter(|handle| handle.shard == shard.id);
            let ids: Vec<TopicPartition> = mine.map(|handle| handle.id).collect();
            let gone = topic.id;
            // An error means that the shard has ended: nothing is open there.
            let _ = shard
                .call(move |shard| {
                    shard.close(&ids);
                    shard.topics_deleted(&[gone]);
                })
                .await;
        }
        for handle in &topic.partitions {
            let owned = context.owned.borrow_mut().remove(&handle.id);
            if let Some(owned) = owned {
                owned.state.lock().await.gone = true;
            }
        }
    }

    /// Raises the number of partitions.
    ///
    /// # Errors
    /// [`TopicError`].
    pub async fn create_partitions(
        self: &Rc<Self>,
        id: TopicId,
        count: u32,
    ) -> Result<Arc<Topic>, TopicError> {
        let (name, _) = self.entry(id)?;
        let _lock = self.lock(&name).await;
        let (name, entry) = self.entry(id)?;
        let from = entry.topic.partitions.len();
        let count = i32::try_from(count)
            .ok()
            .filter(|count| *count > from as i32);
        let count = count.ok_or_else(|| {
            TopicError::Partitions(format!("the topic has {from} partitions already"))
        })?;
        let configs = entry.seen.record.configs.clone();
        let entry = self.alter(&name, &entry, count, configs).await?;
        let taken = self
            .take_new(self.targets(&entry.topic, &entry.seen, from))
            .await;
        self.publish();
        taken.map(|()| entry.topic)
    }

    /// Replaces the settings.
    ///
    /// # Errors
    /// [`TopicError`].
    pub async fn alter_config(
        &self,
        id: TopicId,
        new: NewConfig,
    ) -> Result<Arc<Topic>, TopicError> {
        let (name, _) = self.entry(id)?;
        let _lock = self.lock(&name).await;
        let (name, entry) = self.entry(id)?;
        if new.based_on.is_some_and(|base| base != entry.topic.config) {
            return Err(TopicError::Changed);
        }
        let count = entry.seen.record.partition_count;
        let entry = self
            .alter(&name, &entry, count, new.config.overrides().clone())
            .await?;
        self.publish();
        Ok(entry.topic)
    }

    async fn alter(
        &self,
        name: &TopicName,
        entry: &Entry,
        partition_count: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<Entry, TopicError> {
        let Context {
            kv, space, session, ..
        } = &*self.context;
        let before = &entry.seen;
        let planned = plan::alter_topic(space, session.id, name, before, partition_count, configs);
        let planned = planned.map_err(|error| TopicError::Partitions(error.to_string()))?;
        let committed = commit(kv, &topic::key(space, name), &planned, Some(before)).await;
        let seen = committed.map_err(unavailable)?;
        let topic = Arc::new(self.topic(name, &seen.record, &entry.topic.partitions));
        let entry = Entry { seen, topic };
        self.topics.borrow_mut().insert(name.clone(), entry.clone());
        Ok(entry)
    }
}
