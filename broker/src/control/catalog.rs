//! Topics: the only writer of topic records and of the metadata snapshot.
//!
//! Control thread. Changes of one name are serial; what other brokers change is followed. A change
//! is durable, its partitions have leaders, and the snapshot has it, before it is answered.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use coord::keys::plan::{self, CreateTopic};
use coord::keys::topic::{self, TopicRecord};
use coord::keys::topic_generation::{self, TopicGenerationRecord};
use coord::keys::{Seen, partition, seen, tombstone};
use coord::kv::Revision;
use coord::rules::{self, Rule};
use segment::keys::TopicDir;
use segment::{PartitionIndex, SessionId, TopicId, TopicName, TopicPartition, WalSequence};
use tokio::task::JoinHandle;

use super::commit::{CommitError, commit};
use super::context::{Context, wall_clock};
use super::directories::Bundle;
use super::follow::{Followed, Update, follow, read};
use super::handle::{NewConfig, NewTopic, TopicError};
use super::room::{Kept, Room};
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
/// How long the creator of a topic waits for leaders of its partitions.
const LEADER_WAIT: Duration = Duration::from_secs(10);
/// Changes that come together are published together.
const PUBLISH_PAUSE: Duration = Duration::from_millis(5);

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
    /// Names that we have deleted, until the watch tells of it: what it tells before is old.
    removed: RefCell<HashMap<TopicName, Revision>>,
    /// For topics and partitions that are being made.
    room: Room,
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
    /// Reads all topics and follows their changes from there.
    ///
    /// # Errors
    /// The metadata store failed.
    pub async fn load(context: Rc<Context>) -> Result<(Rc<Self>, JoinHandle<()>), CatalogError> {
        let catalog = Rc::new(Self {
            topics: RefCell::default(),
            locks: RefCell::default(),
            removed: RefCell::default(),
            room: Room::default(),
            context,
        });
        let Context { kv, space, .. } = &*catalog.context;
        let followed = Followed {
            what: "topics",
            span: topic::span(space),
            parse: |space, key| topic::parse(space, key).ok(),
        };
        let (all, at) = read(kv, space, &followed)
            .await
            .map_err(CommitError::from)?;
        catalog.on_update(Update::Whole(all, at));
        let (kv, space, this) = (kv.clone(), space.clone(), catalog.clone());
        let following = tokio::task::spawn_local(async move {
            follow(kv, space, followed, at, move |update| {
                this.on_update(update)
            })
            .await;
        });
        Ok((catalog, following))
    }

    /// What others, or we, have changed.
    fn on_update(self: &Rc<Self>, update: Update<TopicName, TopicRecord>) {
        match update {
            Update::Whole(all, at) => {
                let named: BTreeSet<&TopicName> = all.iter().map(|(name, _)| name).collect();
                let gone: Vec<TopicName> = {
                    let topics = self.topics.borrow();
                    let known = topics.keys().filter(|name| !named.contains(name));
                    known.cloned().collect()
                };
                gone.iter().for_each(|name| self.on_gone(name, at));
                all.into_iter()
                    .for_each(|(name, seen)| self.on_put(name, seen));
                self.removed.borrow_mut().retain(|_, known| *known > at);
            }
            Update::Put(name, seen) => self.on_put(name, seen),
            Update::Gone(name, at) => self.on_gone(&name, at),
        }
        self.context.view.touch();
    }

    fn on_put(self: &Rc<Self>, name: TopicName, seen: Seen<TopicRecord>) {
        if self
            .removed
            .borrow()
            .get(&name)
            .is_some_and(|at| *at > seen.mod_revision)
        {
            return;
        }
        let before = self.topics.borrow().get(&name).cloned();
        if before
            .as_ref()
            .is_some_and(|entry| entry.seen.mod_revision >= seen.mod_revision)
        {
            return;
        }
        let same = before
            .as_ref()
            .filter(|entry| entry.topic.id == seen.record.topic_id);
        let handles = same.map_or(&[][..], |entry| &entry.topic.partitions);
        let topic = Arc::new(self.topic(&name, &seen.record, handles));
        self.topics.borrow_mut().insert(name, Entry { seen, topic });
        if let Some(other) = before.filter(|entry| entry.topic.id != self.id_of(entry)) {
            self.close_later(other.topic);
        }
    }

    /// Takes in the outcome of a transaction of ours. The watch may have told of it, or of what came after it:
    /// what is known then stays, and with it the handles of partitions that may be open already.
    fn learn(
        self: &Rc<Self>,
        name: &TopicName,
        seen: Seen<TopicRecord>,
    ) -> Result<Entry, TopicError> {
        let id = seen.record.topic_id;
        self.on_put(name.clone(), seen);
        // Others may have deleted it already.
        self.entry(id).map(|(_, entry)| entry)
    }

    fn on_gone(self: &Rc<Self>, name: &TopicName, at: Revision) {
        let is_known = self
            .topics
            .borrow()
            .get(name)
            .is_some_and(|entry| entry.seen.mod_revision < at);
        if !is_known {
            self.removed
                .borrow_mut()
                .retain(|other, known| other != name || *known > at);
            return;
        }
        let gone = self.topics.borrow_mut().remove(name);
        if let Some(entry) = gone {
            self.close_later(entry.topic);
        }
    }

    /// The id that the name of an entry has now.
    fn id_of(&self, entry: &Entry) -> TopicId {
        let topics = self.topics.borrow();
        topics
            .get(&entry.topic.name)
            .map_or(entry.topic.id, |now| now.topic.id)
    }

    fn close_later(self: &Rc<Self>, topic: Arc<Topic>) {
        let this = self.clone();
        let close = async move { this.close(&topic).await };
        self.context.spawn("catalog", close);
    }

    /// Reads a topic that others have changed.
    async fn refresh(self: &Rc<Self>, name: &TopicName) -> Result<(), TopicError> {
        let Context { kv, space, .. } = &*self.context;
        let found = kv.get(topic::key(space, name)).await.map_err(unavailable)?;
        if let Some(found) = seen::<TopicRecord>(found.as_ref()).map_err(unavailable)? {
            self.on_put(name.clone(), found);
            self.publish();
        }
        Ok(())
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

    /// All partitions of all topics.
    pub fn targets(&self) -> Vec<Target> {
        let topics = self.topics.borrow();
        let of_topic = |entry: &Entry| {
            let generation = match rules::holds(Rule::GenerationsHavePrefixes) {
                true => entry.topic.generation,
                false => 0,
            };
            let dir = Arc::new(TopicDir::new(entry.topic.name.clone(), generation));
            let topic_created = entry.seen.create_revision;
            let target = move |handle: &Arc<PartitionHandle>| Target {
                handle: handle.clone(),
                dir: dir.clone(),
                topic_created,
            };
            let targets: Vec<Target> = entry.topic.partitions.iter().map(target).collect();
            targets
        };
        topics.values().flat_map(of_topic).collect()
    }

    /// Takes partitions and opens them; gives those that cannot be served now, and whether that may
    /// pass by itself ([`ImageError::may_pass`](super::image::ImageError::may_pass)).
    ///
    /// # Errors
    /// [`CatalogError`]: nothing was opened, to be tried again.
    pub async fn take(
        &self,
        targets: Vec<Target>,
    ) -> Result<Vec<(TopicPartition, bool)>, CatalogError> {
        let Context { kv, space, .. } = &*self.context;
        let topics: BTreeSet<TopicId> = targets.iter().map(|t| t.handle.id.topic).collect();
        let span = match topics.first() {
            Some(only) if topics.len() == 1 => partition::topic_span(space, *only),
            _ => partition::span(space),
        };
        let records = read_records(kv, space, span).await?;
        let missing = targets.into_iter();
        let missing = missing.filter(|target| self.context.owned(target.handle.id).is_none());
        let taker = self.context.taker();
        let mut takeover = taker.take(missing.collect(), records).await?;
        self.inherit(std::mem::take(&mut takeover.objects));
        self.write_bundles(std::mem::take(&mut takeover.bundles));
        let refused = takeover.refused.iter();
        let refused = refused.map(|(id, error)| (*id, error.may_pass())).collect();
        self.open(takeover).await?;
        self.publish();
        self.context.view.touch();
        Ok(refused)
    }

    /// Remembers the objects of earlier sessions that hold batches.
    fn inherit(&self, objects: HashMap<SessionId, Vec<WalSequence>>) {
        let mut inherited = self.context.inherited.borrow_mut();
        for (session, sequences) in objects {
            let known = inherited.entry(session).or_default();
            known.extend(sequences);
            known.sort_unstable();
            known.dedup();
        }
    }

    /// Writes bundles one after the other, beside everything else.
    fn write_bundles(&self, bundles: Vec<Bundle>) {
        let objects = self.context.objects.clone();
        if !bundles.is_empty() {
            self.context.spawn("bundles", async move {
                for bundle in bundles {
                    bundle.write(&objects).await;
                }
            });
        }
    }

    /// Opens what has been taken on its shards, and remembers it. What was deleted meanwhile is
    /// left out.
    async fn open(&self, mut takeover: Takeover) -> Result<(), ShardGone> {
        let context = &self.context;
        takeover
            .taken
            .retain(|taken| self.entry(taken.owned.handle.id.topic).is_ok());
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
            if let Ok(state) = taken.owned.state.try_lock() {
                context.view.partition_is(handle.id, &state.seen);
                let damaged = state.damaged.values();
                damaged.for_each(|damaged| damaged.note(&context.events));
            }
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

    /// Publishes a snapshot of topics, brokers and owners as they are known.
    pub fn publish(&self) {
        let context = &self.context;
        let view = &context.view;
        let topics = self.topics.borrow();
        for handle in topics.values().flat_map(|entry| &entry.topic.partitions) {
            handle.set_leader(view.leader(handle.id));
        }
        let all = topics.values().map(|entry| entry.topic.clone());
        let mut nodes = view.nodes();
        if !nodes.iter().any(|node| node.id == context.node.id) {
            nodes.push(context.node.clone());
        }
        context.metrics.topics.set_count(topics.len());
        context.metrics.cluster_brokers.set_count(nodes.len());
        let partitions = topics.values().map(|entry| entry.topic.partitions.len());
        context
            .metrics
            .cluster_partitions
            .set_count(partitions.sum());
        context.quotas.set_brokers(nodes.len());
        let (id, own) = (context.cluster_id.clone(), context.node.id);
        let snapshot = Metadata::new(id, own, nodes, all).with_coordinators(view.coordinators());
        let snapshot = snapshot.with_broker_configs(view.broker_configs());
        context.metadata.store(Arc::new(snapshot));
    }

    /// Publishes after every change, until our session is gone.
    pub async fn publish_changes(self: Rc<Self>) {
        let mut changed = self.context.view.subscribe();
        while changed.changed().await.is_ok() {
            if self.session_is_gone() {
                return;
            }
            self.publish();
            tokio::time::sleep(PUBLISH_PAUSE).await;
        }
    }

    /// Where our session is gone, others may own what is open here from now on. Its keep-alive would
    /// tell as well, but up to a third of its time to live later.
    fn session_is_gone(&self) -> bool {
        let context = &self.context;
        let lives = context.view.lives(context.session.id);
        if lives || !rules::holds(Rule::GoneSessionsAreUnproven) {
            return false;
        }
        context.proof.end();
        let reason = "the metadata store says that our session is gone";
        context.failure.end_session(reason.to_owned());
        true
    }

    /// Waits until somebody serves every partition of a topic, or the time is up.
    async fn wait_for_leaders(&self, topic: &Topic) {
        let mut changed = self.context.view.subscribe();
        let led = async {
            loop {
                self.publish();
                let metadata = self.context.metadata.load_full();
                let is_led = |handle| metadata.leader(handle).is_some();
                if topic.partitions.iter().all(|handle| is_led(handle)) {
                    return;
                }
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(LEADER_WAIT, led).await.is_err() {
            tracing::warn!(topic = %topic.name, "not all partitions have a leader yet");
        }
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

    /// Name of a topic, and the revision at which its key was created.
    pub fn created(&self, id: TopicId) -> Option<(TopicName, Revision)> {
        let (name, entry) = self.entry(id).ok()?;
        Some((name, entry.seen.create_revision))
    }

    /// Creates a topic, with the first generation whose objects' prefix is empty.
    ///
    /// # Errors
    /// [`TopicError`].
    pub async fn create(self: &Rc<Self>, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        let _lock = self.lock(&new.name).await;
        let partition_count = i32::try_from(new.partitions)
            .ok()
            .filter(|count| *count > 0);
        let partition_count = partition_count
            .ok_or_else(|| TopicError::Partitions(format!("{} partitions", new.partitions)))?;
        for _ in 0..TRIES_MAX {
            self.check_name(&new.name)?;
            let _kept = self.keep_room(&new.name, new.partitions as usize)?;
            let Some(seen) = self.create_record(&new, partition_count).await? else {
                self.refresh(&new.name).await?;
                continue;
            };
            let Entry { topic, .. } = self.learn(&new.name, seen)?;
            self.context.view.touch();
            self.wait_for_leaders(&topic).await;
            tracing::info!(topic = %new.name, id = %topic.id, partition_count, "created");
            return Ok(topic);
        }
        Err(unavailable("the name is being changed by others"))
    }

    /// Keeps room in the namespace for a topic to have so many partitions.
    fn keep_room(&self, name: &TopicName, partitions: usize) -> Result<Kept<'_>, TopicError> {
        let bounds = &self.context.config.namespace;
        let count = |entry: &Entry| entry.topic.partitions.len();
        let topics = self.topics.borrow();
        let kept = self.room.keep(bounds, &topics, count, (name, partitions));
        kept.map_err(|full| {
            tracing::warn!(topic = %name, %full, "a topic or partitions are not created");
            full.into()
        })
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
            let used = objects.any(&prefix).await.map_err(unavailable)?;
            if !used || !rules::holds(Rule::CreateSkipsUsedPrefixes) {
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
        // The watch may have told of it, and of another topic under that name.
        if self.entry(id).is_ok() {
            self.topics.borrow_mut().remove(&name);
            let at = buried.mod_revision;
            self.removed.borrow_mut().insert(name.clone(), at);
        }
        self.publish();
        self.close(&entry.topic).await;
        tracing::info!(topic = %name, %id, "deleted");
        super::sweep::start(&self.context, id, buried);
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
            let owned = context.owned.borrow_mut().remove(handle.id);
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
        let _kept = self.keep_room(&name, count as usize)?;
        let configs = entry.seen.record.configs.clone();
        let entry = self.alter(&name, &entry, count, configs).await?;
        self.context.view.touch();
        self.wait_for_leaders(&entry.topic).await;
        Ok(entry.topic)
    }

    /// Replaces the settings.
    ///
    /// # Errors
    /// [`TopicError`].
    pub async fn alter_config(
        self: &Rc<Self>,
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
        self: &Rc<Self>,
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
        let seen = match committed {
            Ok(seen) => seen,
            Err(CommitError::Superseded) => {
                self.refresh(name).await?;
                return Err(TopicError::Changed);
            }
            Err(error) => return Err(unavailable(error)),
        };
        self.learn(name, seen)
    }
}
