//! [`Metadata`]: what the client knows of the cluster, owned.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use segment::PartitionIndex;
use wire::messages::MetadataResponse;
use wire::messages::metadata::{MetadataResponsePartition, MetadataResponseTopic};
use wire::{ErrorCode, Uuid};

/// A partition, by the name of its topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// The partition inside the topic.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: PartitionIndex) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: i32,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') && !self.host.starts_with('[') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The partition inside the topic.
    pub partition: PartitionIndex,
    /// The broker that leads it, if any does.
    pub leader: Option<i32>,
    /// Epoch of that broker's leadership; -1 if unknown.
    pub leader_epoch: i32,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// What is wrong with it, if anything is.
    pub error: ErrorCode,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The name.
    pub name: Arc<str>,
    /// The id; zero if the broker is too old to tell it.
    pub id: Uuid,
    /// Whether the cluster keeps its own data in it.
    pub is_internal: bool,
    /// What is wrong with it, if anything is.
    pub error: ErrorCode,
    /// Its partitions, by rising number.
    pub partitions: Vec<PartitionInfo>,
}

impl TopicInfo {
    /// The partition of that number.
    pub fn partition(&self, partition: PartitionIndex) -> Option<&PartitionInfo> {
        let place = self
            .partitions
            .binary_search_by_key(&partition, |known| known.partition);
        self.partitions.get(place.ok()?)
    }

    fn new(topic: &MetadataResponseTopic<'_>) -> Option<Self> {
        let mut partitions: Vec<_> = topic.partitions.iter().map(PartitionInfo::new).collect();
        partitions.sort_by_key(|partition| partition.partition);
        Some(Self {
            name: topic.name?.into(),
            id: topic.topic_id,
            is_internal: topic.is_internal,
            error: topic.error_code,
            partitions,
        })
    }
}

impl PartitionInfo {
    fn new(partition: &MetadataResponsePartition) -> Self {
        Self {
            partition: PartitionIndex::new(partition.partition_index),
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            error: partition.error_code,
        }
    }
}

/// What the client knows of the cluster. Topics that were not asked for are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Id of the cluster, if it tells one.
    pub cluster_id: Option<String>,
    /// The broker for changes of topics, if the cluster names one.
    pub controller: Option<i32>,
    /// The brokers, by id.
    pub brokers: BTreeMap<i32, BrokerAddress>,
    /// The topics, by name.
    pub topics: BTreeMap<Arc<str>, TopicInfo>,
}

impl Metadata {
    /// The name of the topic with that id.
    pub fn topic_of_id(&self, id: Uuid) -> Option<&TopicInfo> {
        self.topics.values().find(|topic| topic.id == id)
    }

    /// The leader of a partition, where it is known.
    pub fn leader(&self, of: &TopicPartition) -> Option<i32> {
        self.topics.get(&of.topic)?.partition(of.partition)?.leader
    }

    /// Takes over what a broker said: all brokers, and the topics that it was asked for.
    pub(crate) fn merge(&mut self, response: &MetadataResponse<'_>) {
        self.cluster_id = response.cluster_id.map(str::to_owned);
        self.controller = (response.controller_id >= 0).then_some(response.controller_id);
        self.brokers = response
            .brokers
            .iter()
            .map(|broker| {
                (
                    broker.node_id,
                    BrokerAddress {
                        host: broker.host.to_owned(),
                        port: broker.port,
                    },
                )
            })
            .collect();
        for topic in response.topics.iter().filter_map(TopicInfo::new) {
            if topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                self.topics.remove(&topic.name);
            } else {
                self.topics.insert(topic.name.clone(), topic);
            }
        }
    }
}
