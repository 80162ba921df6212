//! A manual assignment chooses the owners of new partitions.

use std::collections::BTreeMap;

use client::{ClientSettings, Connection};
use s3_server::Conditional;
use wire::ErrorCode;
use wire::messages::create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic};
use wire::messages::create_topics::{CreatableReplicaAssignment, CreatableTopic};
use wire::messages::metadata::MetadataRequestTopic;
use wire::messages::{CreatePartitionsRequest, CreateTopicsRequest, MetadataRequest};

use crate::world::{Node, World, eventually};

const TOPIC: &str = "placed";

fn create(connection: &mut Connection, lists: &[&[i32]]) -> ErrorCode {
    let assignments = (0..).zip(lists).map(|(partition_index, brokers)| {
        let broker_ids = brokers.to_vec();
        CreatableReplicaAssignment {
            partition_index,
            broker_ids,
        }
    });
    let topic = CreatableTopic {
        name: TOPIC,
        num_partitions: -1,
        replication_factor: -1,
        assignments: assignments.collect(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 30_000,
        ..CreateTopicsRequest::default()
    };
    let reply = connection.call(&request).unwrap();
    reply.decode().unwrap().topics[0].error_code
}

fn add(connection: &mut Connection, count: i32, lists: &[&[i32]]) -> ErrorCode {
    let assignments = lists.iter().map(|brokers| CreatePartitionsAssignment {
        broker_ids: brokers.to_vec(),
    });
    let topic = CreatePartitionsTopic {
        name: TOPIC,
        count,
        assignments: Some(assignments.collect()),
    };
    let request = CreatePartitionsRequest {
        topics: vec![topic],
        timeout_ms: 30_000,
        ..CreatePartitionsRequest::default()
    };
    let reply = connection.call(&request).unwrap();
    reply.decode().unwrap().results[0].error_code
}

fn leaders(connection: &mut Connection) -> Vec<i32> {
    let topic = MetadataRequestTopic {
        name: Some(TOPIC),
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        ..MetadataRequest::default()
    };
    let reply = connection.call(&request).unwrap();
    let response = reply.decode().unwrap();
    let partitions = response.topics[0].partitions.iter();
    let leaders: BTreeMap<i32, i32> = partitions
        .map(|it| (it.partition_index, it.leader_id))
        .collect();
    leaders.into_values().collect()
}

#[test]
fn new_partitions_go_to_the_brokers_that_an_assignment_names() {
    let world = World::start(Conditional::Atomic);
    let nodes: Vec<Node> = ["1", "2"].map(|id| world.node(id)).into();
    let settings = ClientSettings::default();
    let mut connection = Connection::open(&nodes[0].kafka.to_string(), &settings).unwrap();
    eventually("both brokers are known", || {
        let reply = connection.call(&MetadataRequest::default()).unwrap();
        reply.decode().unwrap().brokers.len() == 2
    });
    const INVALID: ErrorCode = ErrorCode::INVALID_REPLICA_ASSIGNMENT;
    assert_eq!(create(&mut connection, &[&[2], &[3]]), INVALID);
    // The first of a list is the preferred leader. All on one broker is what balance would never do.
    let lists: [&[i32]; 4] = [&[2, 1], &[2, 1], &[2, 1], &[2, 1]];
    assert_eq!(create(&mut connection, &lists), ErrorCode::NONE);
    eventually("broker 2 leads all four", || {
        leaders(&mut connection) == [2; 4]
    });
    assert_eq!(add(&mut connection, 6, &[&[1], &[9]]), INVALID);
    assert_eq!(add(&mut connection, 6, &[&[1], &[2]]), ErrorCode::NONE);
    eventually("the new ones are where they belong", || {
        leaders(&mut connection) == [2, 2, 2, 2, 1, 2]
    });
    world.operate(&["balance"]);
    assert_eq!(leaders(&mut connection), [2, 2, 2, 2, 1, 2]);
}
