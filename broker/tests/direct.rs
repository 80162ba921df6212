//! Direct routing: every shard is a node to clients, and who connects to the right one makes no hop.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Connection, Fetch, LocalBroker, Topic, Wanted, numbered};
use wire::messages::HeartbeatRequest;
use wire::messages::find_coordinator::FindCoordinatorRequest;
use wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};

const METADATA_VERSION: i16 = 12;
const COORDINATOR_VERSION: i16 = 3;
const HEARTBEAT_VERSION: i16 = 4;
const PARTITIONS: i32 = 12;
const SHARDS: usize = 3;

/// Nodes, and the leader of each partition of a topic, as a client is told.
struct Told {
    nodes: Vec<(i32, SocketAddr)>,
    controller: i32,
    leaders: Vec<i32>,
}

impl Told {
    fn by(connection: &mut Connection, topic: &Topic) -> Self {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(&topic.name),
                ..MetadataRequestTopic::default()
            }]),
            ..MetadataRequest::default()
        };
        let body = connection.call(METADATA_VERSION, &request);
        let (_, response) =
            wire::decode_response::<MetadataRequest<'_>>(&body, METADATA_VERSION).unwrap();
        let nodes = response.brokers.iter().map(|node| {
            let address = format!("{}:{}", node.host, node.port);
            (node.node_id, address.parse().unwrap())
        });
        let partitions = &response.topics[0].partitions;
        Self {
            nodes: nodes.collect(),
            controller: response.controller_id,
            leaders: partitions.iter().map(|row| row.leader_id).collect(),
        }
    }

    fn connect(&self, node: i32) -> Connection {
        let found = self.nodes.iter().find(|(id, _)| *id == node);
        Connection::open(found.unwrap().1)
    }
}

fn start(direct: bool) -> LocalBroker {
    let port = if direct { "0" } else { "" };
    LocalBroker::start(&[("shard.count", "3"), ("broker.direct_port", port)])
}

/// Produces to each partition and waits at it, by the node that is told for it.
fn use_each_partition(broker: &LocalBroker, topic: &Topic) -> Told {
    let told = Told::by(&mut broker.connect(), topic);
    for (index, leader) in (0..).zip(&told.leaders) {
        let mut client = told.connect(*leader);
        let at_the_end = Wanted::new(topic, index, 0);
        let empty = Fetch::of(vec![at_the_end]).wait(1, Duration::from_millis(20));
        assert!(client.fetch(&empty).only().records.is_empty());
        client.produce(topic, index, &numbered(7, 100)).offset();
        let found = client.fetch(&Fetch::of(vec![Wanted::new(topic, index, 0)]));
        assert_eq!(found.only().bases(), [0]);
    }
    told
}

#[test]
fn who_connects_to_the_node_of_a_partition_makes_no_hop() {
    let broker = start(true);
    let topic = broker.connect().create("t", PARTITIONS);
    let told = use_each_partition(&broker, &topic);
    let ids: Vec<i32> = told.nodes.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [256, 257, 258]);
    assert_eq!(told.controller, 256);
    assert!(ids.iter().all(|id| told.leaders.contains(id)));
    assert_eq!(broker.metric("kafscale_hops_total"), 0.0);
}

#[test]
fn without_it_a_broker_is_one_node_and_shards_hop() {
    let broker = start(false);
    let topic = broker.connect().create("t", PARTITIONS);
    let told = use_each_partition(&broker, &topic);
    assert_eq!(told.nodes, [(0, broker.kafka)]);
    assert_eq!(told.leaders, [0; PARTITIONS as usize]);
    // One connection after the other, on shards in turn: most were at another than the partition.
    assert!(broker.metric("kafscale_hops_total") >= 1.0);
}

#[test]
fn the_first_address_goes_on_serving_every_partition() {
    let broker = start(true);
    let mut client = broker.connect();
    let topic = client.create("t", PARTITIONS);
    for index in 0..PARTITIONS {
        client.produce(&topic, index, &numbered(7, 100)).offset();
        let found = client.fetch(&Fetch::of(vec![Wanted::new(&topic, index, 0)]));
        assert_eq!(found.only().bases(), [0]);
    }
}

#[test]
fn a_group_is_told_the_node_of_its_shard() {
    let broker = start(true);
    let mut client = broker.connect();
    let topic = client.create("t", 1);
    let told = Told::by(&mut client, &topic);
    let mut found = Vec::new();
    for number in 0..20 {
        let group = format!("group-{number}");
        let request = FindCoordinatorRequest {
            key: &group,
            ..FindCoordinatorRequest::default()
        };
        let body = client.call(COORDINATOR_VERSION, &request);
        let (_, response) =
            wire::decode_response::<FindCoordinatorRequest<'_>>(&body, COORDINATOR_VERSION)
                .unwrap();
        let node = (
            response.node_id,
            format!("{}:{}", response.host, response.port),
        );
        let known = told
            .nodes
            .iter()
            .map(|(id, address)| (*id, address.to_string()));
        assert!(known.clone().any(|known| known == node), "{node:?}");
        found.push(response.node_id);
        let heartbeat = HeartbeatRequest {
            group_id: &group,
            member_id: "nobody",
            ..HeartbeatRequest::default()
        };
        let body = told
            .connect(response.node_id)
            .call(HEARTBEAT_VERSION, &heartbeat);
        let (_, answer) =
            wire::decode_response::<HeartbeatRequest<'_>>(&body, HEARTBEAT_VERSION).unwrap();
        assert_eq!(answer.error_code, wire::ErrorCode::UNKNOWN_MEMBER_ID);
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), SHARDS, "groups are spread over the shards");
    assert_eq!(broker.metric("kafscale_hops_total"), 0.0);
}
