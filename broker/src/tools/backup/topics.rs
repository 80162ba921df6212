//! Which topics there are: those of the backup, and those that objects tell of.
//!
//! A topic that was made after the backup is known by its directory (name and generation) and a
//! manifest in it, which names its id; its settings are nowhere. A name that was deleted and made again
//! has a later generation: that one holds. Nothing tells that a topic was deleted for good.
//!
//! A topic that was made after the backup and never compacted is known by the directories of WAL objects
//! only, which name its id. By wish it comes back under an invented name ([`recovered_name`]). Not
//! unasked: a topic that was made and deleted after the backup leaves the same traces, for as long as
//! others need the WAL objects that it shares with them.

use std::collections::{BTreeMap, BTreeSet};

use coord::keys::topic::TopicRecord;
use segment::keys::{ObjectKey as Named, TopicDir};
use segment::{Offset, PartitionIndex, TimestampMs, TopicId, TopicName, TopicPartition};
use store::ObjectMeta;

use super::RecoverError;
use super::before::Before;
use super::wal::{Section, Wal};
use crate::tools::Ground;

/// Where a topic comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The backup has it.
    Backup,
    /// It was made after the backup: name, id and partitions are those that objects tell, and its
    /// settings are the default ones.
    Objects,
    /// It was made after the backup and never compacted: its name is invented.
    Wal,
}

/// A topic that comes back.
#[derive(Debug, Clone)]
pub struct RecoveredTopic {
    /// Its directory: name and generation.
    pub dir: TopicDir,
    /// Where it comes from.
    pub origin: Origin,
    /// Its record.
    pub record: TopicRecord,
    /// What else is to be known of it.
    pub notes: Vec<String>,
}

/// The segments of a partition: bases and bytes.
pub(super) type Segments = BTreeMap<PartitionIndex, Vec<(Offset, u64)>>;

/// What lies under the prefix of segments.
#[derive(Debug, Default)]
pub(super) struct Dirs {
    segments: BTreeMap<TopicDir, Segments>,
    manifests: BTreeMap<TopicDir, BTreeSet<PartitionIndex>>,
}

impl Dirs {
    /// Lists it.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn list(ground: &Ground) -> Result<Self, RecoverError> {
        let mut dirs = Self::default();
        let root = ground.keys.segments_root();
        let take = |meta: ObjectMeta| match ground.keys.parse(meta.key.as_str()) {
            Some(Named::Segment {
                topic,
                partition,
                base,
            }) => {
                let of_topic = dirs.segments.entry(topic).or_default();
                let segments = of_topic.entry(partition).or_default();
                segments.push((base, meta.len));
            }
            Some(Named::Manifest { topic, partition }) => {
                dirs.manifests.entry(topic).or_default().insert(partition);
            }
            _ => {}
        };
        ground.objects.list_each(root, take).await?;
        for segments in dirs.segments.values_mut().flat_map(BTreeMap::values_mut) {
            segments.sort_unstable();
        }
        Ok(dirs)
    }

    /// The segments of a partition, by base.
    pub(super) fn segments(&self, dir: &TopicDir, partition: PartitionIndex) -> Vec<(Offset, u64)> {
        let found = self
            .segments
            .get(dir)
            .and_then(|topic| topic.get(&partition));
        found.cloned().unwrap_or_default()
    }

    fn all(&self) -> BTreeSet<&TopicDir> {
        self.segments.keys().chain(self.manifests.keys()).collect()
    }

    /// Partitions that a topic has at least.
    fn partitions(&self, dir: &TopicDir) -> i32 {
        let segments = self.segments.get(dir).into_iter().flat_map(BTreeMap::keys);
        let manifests = self.manifests.get(dir).into_iter().flatten();
        let indexes = segments.chain(manifests).map(|index| index.get());
        indexes.max().map_or(0, |last| last.saturating_add(1))
    }

    /// The id of the topic whose directory it is; none where no manifest can be read.
    async fn id(&self, ground: &Ground, dir: &TopicDir) -> Option<TopicId> {
        for partition in self.manifests.get(dir).into_iter().flatten() {
            let key = ground.keys.manifest(dir, *partition);
            let found = ground.objects.get(&key, store::GetRange::Full).await.ok()?;
            if let Ok(manifest) = segment::manifest::Manifest::parse(&found.bytes) {
                return Some(manifest.partition.topic);
            }
        }
        None
    }
}

/// Topics, and what belongs to none.
#[derive(Debug, Default)]
pub(super) struct Topics {
    pub(super) all: Vec<RecoveredTopic>,
    /// The next generation of each name.
    pub(super) generations: BTreeMap<TopicName, u32>,
    /// Prefixes of objects that belong to no topic that is known, and why.
    pub(super) orphans: Vec<(String, String)>,
    /// Topics of the backup in whose place there is a later one of the name.
    pub(super) replaced: BTreeSet<TopicId>,
    /// Topics without a name that only WAL objects tell of, and how many partitions of them.
    pub(super) unnamed: BTreeMap<TopicId, usize>,
}

/// The name that is invented for a topic without one.
pub(super) fn recovered_name(topic: TopicId) -> TopicName {
    let name = TopicName::new(&format!("recovered-{topic}"));
    name.expect("an id is written with characters that names may have")
}

/// Works out which topics there are; those without a name by wish.
///
/// # Errors
/// The store failed.
pub(super) async fn find(
    ground: &Ground,
    before: &Before,
    dirs: &Dirs,
    wal: &Wal,
    now: TimestampMs,
    by_wish: bool,
) -> Result<Topics, RecoverError> {
    let mut topics = Topics {
        generations: before.generations.clone(),
        ..Topics::default()
    };
    let mut by_name: BTreeMap<TopicName, RecoveredTopic> = BTreeMap::new();
    for (name, record) in &before.topics {
        let topic = RecoveredTopic {
            dir: TopicDir::new(name.clone(), record.generation),
            origin: Origin::Backup,
            record: record.clone(),
            notes: Vec::new(),
        };
        by_name.insert(name.clone(), topic);
    }
    for dir in dirs.all() {
        let next = topics.generations.get(&dir.name).copied().unwrap_or(0);
        let is_new = dir.generation >= next;
        let known = by_name.get(&dir.name).map(|topic| &topic.dir);
        if known == Some(dir) {
            continue;
        }
        let prefix = ground.keys.topic_prefix(dir);
        if !is_new {
            let why =
                "a topic that was deleted, or a restore that was interrupted, before the backup";
            topics.orphans.push((prefix, why.to_owned()));
            continue;
        }
        let Some(id) = dirs.id(ground, dir).await else {
            let why = "made after the backup, and no manifest tells the id of the topic";
            topics.orphans.push((prefix, why.to_owned()));
            continue;
        };
        let next = next.max(dir.generation.saturating_add(1));
        topics.generations.insert(dir.name.clone(), next);
        let made = RecoveredTopic {
            dir: dir.clone(),
            origin: Origin::Objects,
            record: TopicRecord {
                topic_id: id,
                generation: dir.generation,
                partition_count: dirs.partitions(dir).max(1),
                configs: BTreeMap::new(),
                created_ms: now,
            },
            notes: vec!["made after the backup: its settings are the default ones".to_owned()],
        };
        let why = "a later topic of the name was made after the backup";
        if let Some(older) = by_name.insert(dir.name.clone(), made) {
            topics.replaced.insert(older.record.topic_id);
            topics
                .orphans
                .push((ground.keys.topic_prefix(&older.dir), why.to_owned()));
        }
    }
    topics.find_unnamed(before, wal, &by_name);
    if by_wish {
        topics.name_unnamed(&mut by_name, now);
    }
    topics.all = by_name.into_values().collect();
    for topic in &mut topics.all {
        grow(topic, dirs, wal);
    }
    Ok(topics)
}

impl Topics {
    /// Looks for the topics that only the WAL tells of. One that had records in it when the backup was
    /// made, and was not in the backup, had been deleted before.
    fn find_unnamed(
        &mut self,
        before: &Before,
        wal: &Wal,
        by_name: &BTreeMap<TopicName, RecoveredTopic>,
    ) {
        let named = by_name.values().map(|topic| topic.record.topic_id);
        let named: BTreeSet<TopicId> = named.collect();
        let mut deleted = BTreeSet::new();
        for (id, sections) in &wal.sections {
            let topic = id.topic;
            if named.contains(&topic)
                || self.replaced.contains(&topic)
                || before.is_in_passing(topic)
            {
                continue;
            }
            let was_before =
                |section: &Section| section.sequence < before.acknowledged(section.owner.session);
            if sections.iter().any(was_before) {
                deleted.insert(topic);
            }
            *self.unnamed.entry(topic).or_default() += 1;
        }
        self.unnamed.retain(|topic, _| !deleted.contains(topic));
    }

    /// Invents names for them.
    fn name_unnamed(
        &mut self,
        by_name: &mut BTreeMap<TopicName, RecoveredTopic>,
        now: TimestampMs,
    ) {
        for (topic_id, count) in std::mem::take(&mut self.unnamed) {
            let name = recovered_name(topic_id);
            if by_name.contains_key(&name) {
                self.unnamed.insert(topic_id, count);
                continue;
            }
            // Nothing lies under the prefix of a generation that no directory has had.
            let next = self.generations.entry(name.clone()).or_default();
            let generation = *next;
            *next += 1;
            let note = "made after the backup and never compacted: its name is invented and its \
                settings are the default ones; delete it if it had been deleted";
            let made = RecoveredTopic {
                dir: TopicDir::new(name.clone(), generation),
                origin: Origin::Wal,
                record: TopicRecord {
                    topic_id,
                    generation,
                    partition_count: 1,
                    configs: BTreeMap::new(),
                    created_ms: now,
                },
                notes: vec![note.to_owned()],
            };
            by_name.insert(name, made);
        }
    }
}

/// Partitions that were added after the backup.
fn grow(topic: &mut RecoveredTopic, dirs: &Dirs, wal: &Wal) {
    let id = topic.record.topic_id;
    let told = |of: &TopicPartition| (of.topic == id).then(|| of.partition.get().saturating_add(1));
    let sections = wal.sections.keys().filter_map(told).max();
    let snapshots = wal.snapshots.keys().filter_map(told).max();
    let seen = sections
        .max(snapshots)
        .unwrap_or(0)
        .max(dirs.partitions(&topic.dir));
    let had = topic.record.partition_count;
    if seen > had {
        topic.record.partition_count = seen;
        if topic.origin == Origin::Backup {
            topic
                .notes
                .push(format!("it had {had} partitions when the backup was made"));
        }
    }
}
