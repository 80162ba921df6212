//! The cluster as every shard sees it: an immutable snapshot with one writer, the control thread.
//!
//! A reader takes the current reference once per request; it never asks the control thread for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use segment::{BrokerId, PartitionIndex, TopicId, TopicName};

use crate::hash::RandomState;
use crate::namespace::Held;
use crate::node::{BrokerNode, Endpoint, NodeId, NodesAt};
use crate::partition::{Leader, PartitionHandle};
use crate::topic_config::TopicConfig;

/// One topic. Immutable, shared.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its random id: a re-created topic has another.
    pub id: TopicId,
    /// Incarnation of the name, part of the object keys.
    pub generation: u32,
    /// Its settings.
    pub config: TopicConfig,
    /// Its partitions, by index.
    pub partitions: Vec<Arc<PartitionHandle>>,
}

impl Topic {
    /// The handle of one partition.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Arc<PartitionHandle>> {
        self.partitions.get(usize::try_from(index.get()).ok()?)
    }
}

/// Settings of brokers that were changed while they run, by name; under none those of every broker that has none of
/// its own.
pub type BrokerConfigs = BTreeMap<Option<BrokerId>, BTreeMap<String, String>>;

/// The whole snapshot. Immutable, shared.
#[derive(Debug)]
pub struct Metadata {
    /// Id of the cluster.
    pub cluster_id: String,
    /// This broker.
    pub broker: BrokerId,
    /// The live brokers, this one included.
    pub brokers: Vec<BrokerNode>,
    coordinators: Arc<[Option<BrokerId>]>,
    broker_configs: BrokerConfigs,
    by_name: HashMap<TopicName, Arc<Topic>, RandomState>,
    by_id: HashMap<TopicId, Arc<Topic>, RandomState>,
}

impl Metadata {
    /// A snapshot of these topics.
    pub fn new(
        cluster_id: String,
        broker: BrokerId,
        brokers: Vec<BrokerNode>,
        topics: impl IntoIterator<Item = Arc<Topic>>,
    ) -> Self {
        let mut by_name = HashMap::default();
        let mut by_id = HashMap::default();
        for topic in topics {
            by_id.insert(topic.id, topic.clone());
            by_name.insert(topic.name.clone(), topic);
        }
        Self {
            cluster_id,
            broker,
            brokers,
            coordinators: Arc::new([]),
            broker_configs: BrokerConfigs::new(),
            by_name,
            by_id,
        }
    }

    /// With the owner of each coordinator slot.
    #[must_use]
    pub fn with_coordinators(mut self, owners: impl IntoIterator<Item = Option<BrokerId>>) -> Self {
        self.coordinators = owners.into_iter().collect();
        self
    }

    /// With settings of brokers that were changed while they run.
    #[must_use]
    pub fn with_broker_configs(mut self, configs: BrokerConfigs) -> Self {
        self.broker_configs = configs;
        self
    }

    /// How many topics there are, and partitions of all of them. Looks at each topic.
    pub fn held(&self) -> Held {
        let partitions = self.by_name.values().map(|topic| topic.partitions.len());
        Held {
            topics: self.by_name.len(),
            partitions: partitions.sum(),
        }
    }

    /// A setting of a broker that was changed while it ran; with none as broker that of all.
    pub fn broker_config(&self, broker: Option<BrokerId>, name: &str) -> Option<&str> {
        let values = self.broker_configs.get(&broker)?;
        values.get(name).map(String::as_str)
    }

    /// The live broker that owns a coordinator slot; `None` between two owners.
    pub fn coordinator(&self, slot: u16) -> Option<BrokerId> {
        self.coordinators.get(usize::from(slot)).copied().flatten()
    }

    /// The live broker of that id.
    pub fn node(&self, id: BrokerId) -> Option<&BrokerNode> {
        self.brokers.iter().find(|node| node.id == id)
    }

    /// The nodes of all live brokers, as clients of a listener are told of them.
    pub fn endpoints<'a>(&'a self, listener: &'a str) -> impl Iterator<Item = Endpoint<'a>> {
        let at = self.brokers.iter().filter_map(move |it| it.at(listener));
        at.flat_map(NodesAt::endpoints)
    }

    /// Whether a live broker, or a shard of one, is known by that id to clients of some listener.
    pub fn has_node(&self, id: i32) -> bool {
        self.brokers.iter().any(|broker| broker.has_node(id))
    }

    /// The node that answers for the cluster to clients of a listener: the live one with the smallest id, so that all
    /// brokers name the same.
    pub fn controller(&self, listener: &str) -> Option<NodeId> {
        self.endpoints(listener).map(|endpoint| endpoint.id).min()
    }

    /// Who leads a partition, as clients should be told, and is known to live.
    pub fn live_leader(&self, handle: &PartitionHandle) -> Option<(&BrokerNode, Leader)> {
        let leader = self.leader(handle)?;
        Some((self.node(leader.broker)?, leader))
    }

    /// Who leads a partition as clients should be told: this broker only once it serves it.
    pub fn leader(&self, handle: &PartitionHandle) -> Option<Leader> {
        if let Some(snapshot) = handle.snapshot() {
            return Some(Leader {
                broker: self.broker,
                epoch: snapshot.leader_epoch,
            });
        }
        handle
            .leader()
            .filter(|leader| leader.broker != self.broker)
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic with that id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics, in no order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.by_name.len()
    }
}

/// The place where the current snapshot is found. Only the control thread stores to it.
pub type SharedMetadata = Arc<ArcSwap<Metadata>>;
