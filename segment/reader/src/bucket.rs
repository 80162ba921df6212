//! A cluster as a reader sees it: its bucket, its metadata, its topics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use coord::keys::cluster::{self, ClusterRecord};
use coord::keys::topic::{self, TopicRecord};
use coord::keys::{Keyspace, seen};
use coord::kv::etcd::{ConnectError as EtcdError, Etcd, EtcdOptions};
use coord::kv::{Key, KeyValue, Kv, KvError, range_all};
use segment::keys::{KeySpace, TopicDir};
use segment::{PartitionIndex, TopicId, TopicName, TopicPartition};
use store::ObjectStore;
use store::s3::{ConnectError as S3Error, S3Options, S3Store};

use crate::error::ReadError;
use crate::held::HeldDirectories;
use crate::look::kv_retried;
use crate::objects::Objects;
use crate::partition::{PartitionReader, ReaderOptions};

/// Why bucket or metadata cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bucket.
    #[error("open the bucket: {0}")]
    Bucket(#[from] S3Error),
    /// The metadata store.
    #[error("open the metadata store: {0}")]
    Metadata(#[from] EtcdError),
}

/// Where a cluster keeps everything. Cheap to clone; clones share their connections and
/// the directories of WAL objects that were read, so all readers should come from one.
#[derive(Clone)]
pub struct Bucket {
    pub(crate) objects: Objects,
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) keys: Arc<KeySpace>,
    pub(crate) space: Keyspace,
    pub(crate) held: Arc<HeldDirectories>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("objects", &self.objects)
            .field("keys", &self.keys)
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its random id: a re-created topic of the name has another.
    pub id: TopicId,
    /// How many topics of its name there were before it; part of its object keys.
    pub generation: u32,
    /// Its partitions: 0 to before this number.
    pub partitions: i32,
    /// Configurations that were set, as Kafka names them.
    pub configs: BTreeMap<String, String>,
}

impl Topic {
    fn new(name: TopicName, record: TopicRecord) -> Self {
        Self {
            name,
            id: record.topic_id,
            generation: record.generation,
            partitions: record.partition_count,
            configs: record.configs,
        }
    }

    /// One of its partitions.
    pub fn partition(&self, partition: PartitionIndex) -> TopicPartition {
        TopicPartition::new(self.id, partition)
    }

    pub(crate) fn dir(&self) -> TopicDir {
        TopicDir::new(self.name.clone(), self.generation)
    }
}

impl Bucket {
    /// A cluster whose objects have the keys of `keys` and whose metadata has those of `space`.
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        kv: Arc<dyn Kv>,
        keys: KeySpace,
        space: Keyspace,
    ) -> Self {
        Self {
            objects: Objects::new(objects),
            kv,
            keys: Arc::new(keys),
            space,
            held: Arc::default(),
        }
    }

    /// Opens a bucket in S3 and the metadata in etcd. Nothing is written. To be polled in a tokio
    /// runtime, which must live as long as the result.
    ///
    /// # Errors
    /// [`OpenError`] names the setting to mend.
    pub async fn open(
        bucket: S3Options,
        metadata: EtcdOptions,
        keys: KeySpace,
        space: Keyspace,
    ) -> Result<Self, OpenError> {
        let etcd = Etcd::connect(metadata).await?;
        let objects = S3Store::connect(bucket).await?;
        Ok(Self::new(Arc::new(objects), Arc::new(etcd), keys, space))
    }

    /// What the cluster is: its id and how it commits WAL objects.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::NoCluster`] if no broker has ever started it.
    pub async fn cluster(&self) -> Result<ClusterRecord, ReadError> {
        let found = self.get(cluster::key(&self.space)).await?;
        cluster_of(&self.space, found.as_ref())
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn topics(&self) -> Result<Vec<Topic>, ReadError> {
        let read = || range_all(&self.kv, topic::span(&self.space));
        let mut topics = Vec::new();
        for entry in kv_retried(read).await?.entries {
            let Ok(name) = topic::parse(&self.space, &entry.key) else {
                continue;
            };
            let record = seen::<TopicRecord>(Some(&entry))?;
            topics.extend(record.map(|seen| Topic::new(name, seen.record)));
        }
        Ok(topics)
    }

    /// The topic of this name, if there is one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn topic(&self, name: &TopicName) -> Result<Option<Topic>, ReadError> {
        let found = self.get(topic::key(&self.space, name)).await?;
        let record = seen::<TopicRecord>(found.as_ref())?;
        Ok(record.map(|seen| Topic::new(name.clone(), seen.record)))
    }

    /// A reader of a partition with the usual options, at the start of the log. Nothing is read
    /// yet.
    ///
    /// # Errors
    /// [`ReadError::NoPartition`].
    pub fn reader(
        &self,
        topic: &Topic,
        partition: PartitionIndex,
    ) -> Result<PartitionReader, ReadError> {
        self.reader_with(topic, partition, ReaderOptions::default())
    }

    /// The same with other options.
    ///
    /// # Errors
    /// [`ReadError::NoPartition`].
    pub fn reader_with(
        &self,
        topic: &Topic,
        partition: PartitionIndex,
        options: ReaderOptions,
    ) -> Result<PartitionReader, ReadError> {
        if !(0..topic.partitions).contains(&partition.get()) {
            return Err(ReadError::NoPartition {
                name: topic.name.to_string(),
                partition,
            });
        }
        Ok(PartitionReader::new(
            self.clone(),
            topic.clone(),
            partition,
            options,
        ))
    }

    async fn get(&self, key: Key) -> Result<Option<KeyValue>, KvError> {
        kv_retried(|| self.kv.get(key.clone())).await
    }
}

/// The cluster's record in what was found under its key.
pub(crate) fn cluster_of(
    space: &Keyspace,
    found: Option<&KeyValue>,
) -> Result<ClusterRecord, ReadError> {
    match seen::<ClusterRecord>(found)? {
        Some(seen) => Ok(seen.record),
        None => Err(ReadError::NoCluster {
            prefix: space.prefix().to_owned(),
        }),
    }
}
