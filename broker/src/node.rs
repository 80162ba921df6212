//! The nodes that Kafka clients see, which are brokers, or where direct routing is on the shards of
//! brokers. Immutable, shared.
//!
//! - A broker without direct routing is one node, whose id is the broker's.
//! - With it, each of its shards is a node, with a port of its own and the id
//!   `(broker id + 1) x 256 + shard`: what a client connects to is then the core that owns what it asks
//!   for. Brokers of both kinds may live in one cluster while it is switched over: ids of shards are 256
//!   and above, so that broker ids below never meet them, and a broker whose nodes would meet those of a
//!   live one is refused at its start.
//! - A broker has one or more listeners. A client is told the addresses of the listener that it came by, on every
//!   broker that has one of that name; to it the others are not there. Direct routing is on or off by listener.
//! - Which shard leads a partition follows from the number of the leader's shards, which its session record
//!   tells: every broker names the same node.

use std::fmt;

use coord::keys::session::{ListenerRecord, SessionRecord};
use segment::{BrokerId, TopicPartition};

use crate::config::{Advertised, UNNAMED};
use crate::shard::{ShardId, shard_of_partition, shard_of_slot};

/// Node ids of one broker's shards.
const NODES_A_BROKER: i32 = 256;

/// The id of a node, as clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(i32);

impl NodeId {
    /// As it is on the wire.
    pub fn get(self) -> i32 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One broker, as clients reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerNode {
    /// Its id.
    pub id: BrokerId,
    /// Its listeners, at least one, each with a name of its own.
    pub listeners: Vec<Advertised>,
    /// Rack, if one is set.
    pub rack: Option<String>,
}

/// One node, as clients are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// Its id.
    pub id: NodeId,
    /// Host that clients connect to.
    pub host: &'a str,
    /// Port that clients connect to.
    pub port: u16,
    /// Rack, if one is set.
    pub rack: Option<&'a str>,
}

impl From<&SessionRecord> for BrokerNode {
    fn from(record: &SessionRecord) -> Self {
        let named = |it: &ListenerRecord| Advertised {
            listener: it.name.clone(),
            host: it.host.clone(),
            port: it.port,
            shard_ports: it.shard_ports.clone(),
        };
        let listeners = match record.listeners.as_slice() {
            [] => vec![Advertised {
                listener: UNNAMED.to_owned(),
                host: record.host.clone(),
                port: record.port,
                shard_ports: record.shard_ports.clone(),
            }],
            several => several.iter().map(named).collect(),
        };
        Self {
            id: record.broker,
            listeners,
            rack: record.rack.clone(),
        }
    }
}

impl BrokerNode {
    /// Its nodes as clients of a listener see them; none if the broker does not have that listener.
    pub fn at(&self, listener: &str) -> Option<NodesAt<'_>> {
        let mut listeners = self.listeners.iter();
        let at = listeners.find(|it| it.listener == listener)?;
        Some(NodesAt { broker: self, at })
    }

    /// Its nodes by each listener, one listener after the other.
    pub fn everywhere(&self) -> impl Iterator<Item = NodesAt<'_>> {
        let listeners = self.listeners.iter();
        listeners.map(|at| NodesAt { broker: self, at })
    }

    /// Whether some client knows it, or one of its shards, by that id.
    pub fn has_node(&self, id: i32) -> bool {
        let mut nodes = self.everywhere().flat_map(NodesAt::endpoints);
        nodes.any(|node| node.id.get() == id)
    }

    /// Any of the nodes that both brokers would have, for clients of whatever listener.
    pub fn common(&self, other: &Self) -> Option<NodeId> {
        let mut ids = self.everywhere().flat_map(NodesAt::endpoints);
        ids.find(|node| other.has_node(node.id.get()))
            .map(|node| node.id)
    }

    /// Whether shards are nodes, for clients of some listener.
    pub fn is_direct(&self) -> bool {
        self.listeners.iter().any(|it| !it.shard_ports.is_empty())
    }
}

/// The nodes of a broker as clients of one of its listeners see them.
#[derive(Debug, Clone, Copy)]
pub struct NodesAt<'a> {
    broker: &'a BrokerNode,
    at: &'a Advertised,
}

impl<'a> NodesAt<'a> {
    /// In order of id.
    pub fn endpoints(self) -> impl Iterator<Item = Endpoint<'a>> {
        let nodes = self.at.shard_ports.len().max(1);
        (0..nodes).map(move |node| self.endpoint(node))
    }

    /// Where the broker itself is, whichever shard a client is given to.
    pub fn advertised(self) -> &'a Advertised {
        self.at
    }

    /// The node with which clients find the leader of a partition that this broker leads.
    pub fn of_partition(self, id: TopicPartition) -> Endpoint<'a> {
        self.endpoint_of(|shards| shard_of_partition(id, shards))
    }

    /// The node with which clients find the coordinator of a slot that this broker owns.
    pub fn of_slot(self, slot: u16) -> Endpoint<'a> {
        self.endpoint_of(|shards| shard_of_slot(slot, shards))
    }

    fn endpoint_of(self, shard: impl FnOnce(usize) -> ShardId) -> Endpoint<'a> {
        match self.at.shard_ports.len() {
            0 => self.endpoint(0),
            shards => self.endpoint(shard(shards).index()),
        }
    }

    fn endpoint(self, shard: usize) -> Endpoint<'a> {
        let (id, port) = match self.at.shard_ports.get(shard) {
            None => (self.broker.id.get(), self.at.port),
            Some(port) => (self.shard_node(shard), *port),
        };
        Endpoint {
            id: NodeId(id),
            host: &self.at.host,
            port,
            rack: self.broker.rack.as_deref(),
        }
    }

    /// What another broker says of itself is taken as it is: ids that no setting allows come out wrong,
    /// and do no harm.
    fn shard_node(self, shard: usize) -> i32 {
        let first = self
            .broker
            .id
            .get()
            .wrapping_add(1)
            .wrapping_mul(NODES_A_BROKER);
        first.wrapping_add(shard as i32)
    }
}

#[cfg(test)]
mod tests {
    use coord::keys::session::SessionState;
    use segment::{PartitionIndex, TopicId};

    use super::*;

    fn broker(id: i32, shard_ports: &[u16]) -> BrokerNode {
        BrokerNode {
            id: BrokerId::new(id),
            listeners: vec![Advertised::unnamed("host", 9092, shard_ports)],
            rack: None,
        }
    }

    fn ids(nodes: NodesAt<'_>) -> Vec<(i32, u16)> {
        let endpoints = nodes.endpoints();
        endpoints.map(|it| (it.id.get(), it.port)).collect()
    }

    #[test]
    fn a_broker_is_one_node_or_one_a_shard() {
        let ids = |broker: &BrokerNode| ids(broker.at(UNNAMED).unwrap());
        assert_eq!(ids(&broker(7, &[])), [(7, 9092)]);
        assert_eq!(ids(&broker(7, &[1, 2])), [(2048, 1), (2049, 2)]);
        assert_eq!(ids(&broker(0, &[1])), [(256, 1)]);
    }

    #[test]
    fn a_partition_and_a_slot_are_at_the_shard_that_owns_them() {
        let (direct, plain) = (broker(1, &[10, 11, 12]), broker(1, &[]));
        let (direct, plain) = (direct.at(UNNAMED).unwrap(), plain.at(UNNAMED).unwrap());
        for index in 0..20 {
            let topic = TopicId::new([3; 16]);
            let id = TopicPartition::new(topic, PartitionIndex::new(index));
            let shard = shard_of_partition(id, 3).index();
            assert_eq!(direct.of_partition(id).port, 10 + shard as u16);
            assert_eq!(direct.of_partition(id).id.get(), 512 + shard as i32);
            assert_eq!(plain.of_partition(id).id.get(), 1);
            let slot = index as u16;
            assert_eq!(direct.of_slot(slot).port, 10 + slot % 3);
            assert_eq!(plain.of_slot(slot).port, 9092);
        }
    }

    #[test]
    fn brokers_of_both_kinds_meet_only_where_ids_are_large() {
        let common = |one: BrokerNode, other: BrokerNode| one.common(&other).map(NodeId::get);
        assert_eq!(common(broker(0, &[1, 2]), broker(1, &[])), None);
        assert_eq!(common(broker(0, &[1, 2]), broker(1, &[1, 2])), None);
        assert_eq!(common(broker(0, &[1, 2]), broker(257, &[])), Some(257));
        assert_eq!(common(broker(257, &[]), broker(0, &[1, 2])), Some(257));
    }

    fn record(listeners: &[(&str, u16, &[u16])]) -> SessionRecord {
        let listener = |(name, port, shard_ports): &(&str, u16, &[u16])| ListenerRecord {
            name: (*name).to_owned(),
            host: "host".to_owned(),
            port: *port,
            shard_ports: shard_ports.to_vec(),
        };
        SessionRecord {
            broker: BrokerId::new(1),
            host: "host".to_owned(),
            port: 9092,
            rack: None,
            shard_ports: Vec::new(),
            listeners: listeners.iter().map(listener).collect(),
            state: SessionState::Healthy,
        }
    }

    #[test]
    fn a_broker_is_at_the_listeners_that_it_has_and_at_no_other() {
        let before = BrokerNode::from(&record(&[]));
        assert_eq!(ids(before.at(UNNAMED).unwrap()), [(1, 9092)]);
        assert!(before.at("EXTERNAL").is_none());
        let both = record(&[("INTERNAL", 1, &[5, 6]), ("EXTERNAL", 2, &[])]);
        let both = BrokerNode::from(&both);
        assert!(both.at(UNNAMED).is_none());
        assert_eq!(ids(both.at("INTERNAL").unwrap()), [(512, 5), (513, 6)]);
        assert_eq!(ids(both.at("EXTERNAL").unwrap()), [(1, 2)]);
        assert!(both.has_node(513) && both.has_node(1) && !both.has_node(2));
        assert!(both.is_direct() && !before.is_direct());
        assert_eq!(both.common(&broker(513, &[])).map(NodeId::get), Some(513));
    }
}
