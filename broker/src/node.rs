//! The nodes that Kafka clients see, which are brokers, or where direct routing is on the shards of
//! brokers. Immutable, shared.
//!
//! - A broker without direct routing is one node, whose id is the broker's.
//! - With it, each of its shards is a node, with a port of its own and the id
//!   `(broker id + 1) x 256 + shard`: what a client connects to is then the core that owns what it asks
//!   for. Brokers of both kinds may live in one cluster while it is switched over: ids of shards are 256
//!   and above, so that broker ids below never meet them, and a broker whose nodes would meet those of a
//!   live one is refused at its start.
//! - Which shard leads a partition follows from the number of the leader's shards, which its session record
//!   tells: every broker names the same node.

use std::fmt;

use coord::keys::session::SessionRecord;
use segment::{BrokerId, TopicPartition};

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
    /// Host that clients connect to.
    pub host: String,
    /// Port that clients connect to, at first or always.
    pub port: u16,
    /// Ports of its shards, in order; none without direct routing.
    pub shard_ports: Vec<u16>,
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
        Self {
            id: record.broker,
            host: record.host.clone(),
            port: record.port,
            shard_ports: record.shard_ports.clone(),
            rack: record.rack.clone(),
        }
    }
}

impl BrokerNode {
    /// Its nodes, in order of id.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint<'_>> {
        let nodes = self.shard_ports.len().max(1);
        (0..nodes).map(|node| self.endpoint(node))
    }

    /// The node with which clients find the leader of a partition that this broker leads.
    pub fn of_partition(&self, id: TopicPartition) -> Endpoint<'_> {
        self.endpoint_of(|shards| shard_of_partition(id, shards))
    }

    /// The node with which clients find the coordinator of a slot that this broker owns.
    pub fn of_slot(&self, slot: u16) -> Endpoint<'_> {
        self.endpoint_of(|shards| shard_of_slot(slot, shards))
    }

    /// Any of the nodes that both brokers would have.
    pub fn common(&self, other: &Self) -> Option<NodeId> {
        let theirs = |id: &NodeId| other.endpoints().any(|endpoint| endpoint.id == *id);
        self.endpoints().map(|endpoint| endpoint.id).find(theirs)
    }

    fn endpoint_of(&self, shard: impl FnOnce(usize) -> ShardId) -> Endpoint<'_> {
        match self.shard_ports.len() {
            0 => self.endpoint(0),
            shards => self.endpoint(shard(shards).index()),
        }
    }

    fn endpoint(&self, shard: usize) -> Endpoint<'_> {
        let (id, port) = match self.shard_ports.get(shard) {
            None => (self.id.get(), self.port),
            Some(port) => (self.shard_node(shard), *port),
        };
        Endpoint {
            id: NodeId(id),
            host: &self.host,
            port,
            rack: self.rack.as_deref(),
        }
    }

    /// What another broker says of itself is taken as it is: ids that no setting allows come out wrong,
    /// and do no harm.
    fn shard_node(&self, shard: usize) -> i32 {
        let first = self.id.get().wrapping_add(1).wrapping_mul(NODES_A_BROKER);
        first.wrapping_add(shard as i32)
    }
}

#[cfg(test)]
mod tests {
    use segment::{PartitionIndex, TopicId};

    use super::*;

    fn broker(id: i32, shard_ports: &[u16]) -> BrokerNode {
        BrokerNode {
            id: BrokerId::new(id),
            host: "host".to_owned(),
            port: 9092,
            shard_ports: shard_ports.to_vec(),
            rack: None,
        }
    }

    fn ids(broker: &BrokerNode) -> Vec<(i32, u16)> {
        let endpoints = broker.endpoints();
        endpoints.map(|it| (it.id.get(), it.port)).collect()
    }

    #[test]
    fn a_broker_is_one_node_or_one_a_shard() {
        assert_eq!(ids(&broker(7, &[])), [(7, 9092)]);
        assert_eq!(ids(&broker(7, &[1, 2])), [(2048, 1), (2049, 2)]);
        assert_eq!(ids(&broker(0, &[1])), [(256, 1)]);
    }

    #[test]
    fn a_partition_and_a_slot_are_at_the_shard_that_owns_them() {
        let (direct, plain) = (broker(1, &[10, 11, 12]), broker(1, &[]));
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
}
