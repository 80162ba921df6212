//! What admin tools ask besides topics and groups, over the wire: log directories, elections,
//! reassignments, access control lists.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Connection, LocalBroker, Topic, numbered};
use wire::messages::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use wire::messages::create_acls::AclCreation;
use wire::messages::delete_acls::DeleteAclsFilter;
use wire::messages::describe_log_dirs::DescribableLogDirTopic;
use wire::messages::elect_leaders::TopicPartitions;
use wire::messages::{
    AlterPartitionReassignmentsRequest, CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest,
    DescribeLogDirsRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest,
};
use wire::{ApiKey, ErrorCode, supported_versions};

const UNKNOWN: ErrorCode = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
const NOT_NEEDED: ErrorCode = ErrorCode::ELECTION_NOT_NEEDED;

/// The log directory of a broker, as a client is told.
#[derive(Debug, PartialEq)]
struct LogDir {
    path: String,
    total_bytes: i64,
    usable_bytes: i64,
    /// Topic, index and bytes, in order.
    partitions: Vec<(String, i32, i64)>,
}

fn log_dir(client: &mut Connection, version: i16, asked: Option<&[(&str, &[i32])]>) -> LogDir {
    let topics = asked.map(|asked| {
        let topics = asked
            .iter()
            .map(|(topic, partitions)| DescribableLogDirTopic {
                topic,
                partitions: partitions.to_vec(),
            });
        topics.collect()
    });
    let body = client.call(version, &DescribeLogDirsRequest { topics });
    let (_, response) =
        wire::decode_response::<DescribeLogDirsRequest<'_>>(&body, version).unwrap();
    assert_eq!(
        (response.throttle_time_ms, response.error_code),
        (0, ErrorCode::NONE)
    );
    let [found] = &response.results[..] else {
        panic!("one directory: {response:?}")
    };
    assert!(!found.is_cordoned && found.error_code == ErrorCode::NONE);
    let rows = found.topics.iter().flat_map(|topic| {
        assert!(!topic.partitions.is_empty(), "such topics are left out");
        let rows = topic.partitions.iter();
        rows.map(|row| {
            assert!(row.offset_lag == 0 && !row.is_future_key);
            (
                topic.name.to_owned(),
                row.partition_index,
                row.partition_size,
            )
        })
    });
    let mut partitions: Vec<_> = rows.collect();
    partitions.sort();
    LogDir {
        path: found.log_dir.to_owned(),
        total_bytes: found.total_bytes,
        usable_bytes: found.usable_bytes,
        partitions,
    }
}

fn append(client: &mut Connection, topic: &Topic, index: i32, bytes: &[usize]) -> i64 {
    let batches = bytes.iter().map(|bytes| numbered(1, *bytes));
    let lengths = batches.map(|batch| {
        client.produce(topic, index, &batch).offset();
        batch.len() as i64
    });
    lengths.sum()
}

#[test]
fn log_directories_tell_the_bytes_of_each_partition_that_is_served() {
    let volume = tempfile::tempdir().unwrap();
    let path = volume.path().to_str().unwrap();
    let broker = LocalBroker::start(&[("log.data_dir", path)]);
    let mut client = broker.connect();
    let (a, b) = (client.create("a", 3), client.create("b", 1));
    let a0 = append(&mut client, &a, 0, &[100, 2_000]);
    let a2 = append(&mut client, &a, 2, &[70_000]);
    let b0 = append(&mut client, &b, 0, &[9]);
    let row = |name: &str, index, bytes| (name.to_owned(), index, bytes);
    let all = vec![
        row("a", 0, a0),
        row("a", 1, 0),
        row("a", 2, a2),
        row("b", 0, b0),
    ];
    for version in supported_versions(ApiKey::DescribeLogDirs).iter() {
        let found = log_dir(&mut client, version, None);
        assert_eq!(
            (&found.path[..], &found.partitions),
            (path, &all),
            "v{version}"
        );
        let knows_volume = version >= 4;
        assert_eq!(found.total_bytes > 0, knows_volume, "v{version}: {found:?}");
        assert!(found.usable_bytes <= found.total_bytes);
    }
    let asked: &[(&str, &[i32])] = &[("a", &[2, 7, 2, -1]), ("none", &[0])];
    let found = log_dir(&mut client, 4, Some(asked));
    assert_eq!(found.partitions, [row("a", 2, a2)]);
    assert_eq!(log_dir(&mut client, 4, Some(&[])).partitions, []);
    broker.stop();
}

#[test]
fn the_volume_of_a_directory_that_cannot_be_looked_at_is_unknown() {
    let broker = LocalBroker::start(&[("log.data_dir", "/nowhere/at/all")]);
    let found = log_dir(&mut broker.connect(), 4, None);
    assert_eq!((found.total_bytes, found.usable_bytes), (-1, -1));
}

/// With direct routing the shards are nodes: what each tells of is what it owns, so that a tool that asks
/// all of them counts nothing twice.
#[test]
fn shards_that_are_nodes_tell_of_their_own_partitions() {
    let broker = LocalBroker::start(&[("broker.direct_port", "0")]);
    let mut client = broker.connect();
    client.create("t", 16);
    let request = wire::messages::MetadataRequest::default();
    let body = client.call(12, &request);
    let (_, response) =
        wire::decode_response::<wire::messages::MetadataRequest<'_>>(&body, 12).unwrap();
    let mut told = Vec::new();
    for node in &response.brokers {
        let address = format!("{}:{}", node.host, node.port).parse().unwrap();
        let found = log_dir(&mut Connection::open(address), 4, None);
        assert!(!found.partitions.is_empty() && found.partitions.len() < 16);
        told.extend(found.partitions.into_iter().map(|(_, index, _)| index));
    }
    told.sort_unstable();
    assert_eq!(told, (0..16).collect::<Vec<i32>>());
}

/// What an election came to: the outcome of all of it, and index and outcome of each partition.
type Elected = (ErrorCode, Vec<(String, Vec<(i32, ErrorCode)>)>);

fn elect(
    client: &mut Connection,
    version: i16,
    kind: i8,
    asked: Option<&[(&str, &[i32])]>,
) -> Elected {
    let topic_partitions = asked.map(|asked| {
        let topics = asked.iter().map(|(topic, partitions)| TopicPartitions {
            topic,
            partitions: partitions.to_vec(),
        });
        topics.collect()
    });
    let request = ElectLeadersRequest {
        election_type: kind,
        topic_partitions,
        ..ElectLeadersRequest::default()
    };
    let body = client.call(version, &request);
    let (_, response) = wire::decode_response::<ElectLeadersRequest<'_>>(&body, version).unwrap();
    assert_eq!(response.throttle_time_ms, 0);
    let topics = response.replica_election_results.iter().map(|topic| {
        let rows = topic.partition_result.iter().map(|row| {
            assert!(row.error_message.is_some_and(|text| !text.is_empty()));
            (row.partition_id, row.error_code)
        });
        (topic.topic.to_owned(), rows.collect())
    });
    (response.error_code, topics.collect())
}

#[test]
fn elections_are_not_needed_where_there_is_a_leader() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    client.create("t", 2);
    let asked: &[(&str, &[i32])] = &[("t", &[0, 1, 2]), ("none", &[0])];
    let expected = vec![
        (
            "t".to_owned(),
            vec![(0, NOT_NEEDED), (1, NOT_NEEDED), (2, UNKNOWN)],
        ),
        ("none".to_owned(), vec![(0, UNKNOWN)]),
    ];
    for (version, kind) in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)] {
        let found = elect(&mut client, version, kind, Some(asked));
        assert_eq!(found, (ErrorCode::NONE, expected.clone()), "v{version}");
        let (code, topics) = elect(&mut client, version, kind, None);
        assert_eq!(
            (code, topics),
            (ErrorCode::NONE, vec![("t".to_owned(), vec![])])
        );
    }
    let (code, topics) = elect(&mut client, 2, 7, Some(&[("t", &[0])]));
    assert_eq!(code, ErrorCode::INVALID_REQUEST);
    assert_eq!(
        topics,
        [("t".to_owned(), vec![(0, ErrorCode::INVALID_REQUEST)])]
    );
    broker.stop();
}

#[test]
fn access_control_lists_are_refused_as_by_kafka_without_an_authorizer() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    for version in supported_versions(ApiKey::DescribeAcls).iter() {
        let body = client.call(version, &DescribeAclsRequest::default());
        let (_, told) = wire::decode_response::<DescribeAclsRequest<'_>>(&body, version).unwrap();
        assert_eq!(told.error_code, ErrorCode::SECURITY_DISABLED);
        let expected = "No Authorizer is configured on the broker";
        assert_eq!(
            (told.error_message, told.resources.len()),
            (Some(expected), 0)
        );

        let expected = (
            ErrorCode::SECURITY_DISABLED,
            Some("No Authorizer is configured."),
        );
        let request = CreateAclsRequest {
            creations: vec![AclCreation::default(), AclCreation::default()],
        };
        let body = client.call(version, &request);
        let (_, told) = wire::decode_response::<CreateAclsRequest<'_>>(&body, version).unwrap();
        let rows: Vec<_> = told
            .results
            .iter()
            .map(|it| (it.error_code, it.error_message))
            .collect();
        assert_eq!(rows, [expected; 2]);

        let request = DeleteAclsRequest {
            filters: vec![DeleteAclsFilter::default()],
        };
        let body = client.call(version, &request);
        let (_, told) = wire::decode_response::<DeleteAclsRequest<'_>>(&body, version).unwrap();
        let rows = told
            .filter_results
            .iter()
            .map(|it| (it.error_code, it.error_message));
        assert_eq!(rows.collect::<Vec<_>>(), [expected]);
    }
    broker.stop();
}

/// What a reassignment came to, for each partition.
fn reassign(
    client: &mut Connection,
    version: i16,
    asked: &[(&str, i32, Option<&[i32]>)],
) -> Vec<(ErrorCode, Option<String>)> {
    let topics = asked
        .iter()
        .map(|(name, index, replicas)| ReassignableTopic {
            name,
            partitions: vec![ReassignablePartition {
                partition_index: *index,
                replicas: replicas.map(<[i32]>::to_vec),
            }],
        });
    let request = AlterPartitionReassignmentsRequest {
        topics: topics.collect(),
        ..AlterPartitionReassignmentsRequest::default()
    };
    let body = client.call(version, &request);
    let (_, told) =
        wire::decode_response::<AlterPartitionReassignmentsRequest<'_>>(&body, version).unwrap();
    assert_eq!(
        (told.throttle_time_ms, told.error_code),
        (0, ErrorCode::NONE)
    );
    assert_eq!(
        (told.error_message, told.allow_replication_factor_change),
        (None, true)
    );
    let rows = told.responses.iter().map(|topic| {
        let row = &topic.partitions[0];
        (row.error_code, row.error_message.map(str::to_owned))
    });
    rows.collect()
}

#[test]
fn one_broker_is_all_that_can_be_chosen_on_one_broker() {
    const INVALID: ErrorCode = ErrorCode::INVALID_REPLICA_ASSIGNMENT;
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    client.create("t", 2);
    for version in supported_versions(ApiKey::AlterPartitionReassignments).iter() {
        let asked: &[(&str, i32, Option<&[i32]>)] = &[
            ("t", 0, Some(&[0])),
            ("t", 1, Some(&[0, 1])),
            ("t", 1, Some(&[])),
            ("t", 1, Some(&[1])),
            ("t", 1, None),
            ("t", 2, Some(&[0])),
            ("none", 0, None),
        ];
        let found = reassign(&mut client, version, asked);
        let codes: Vec<ErrorCode> = found.iter().map(|(code, _)| *code).collect();
        let none = ErrorCode::NO_REASSIGNMENT_IN_PROGRESS;
        let expected = [
            ErrorCode::NONE,
            INVALID,
            INVALID,
            INVALID,
            none,
            UNKNOWN,
            UNKNOWN,
        ];
        assert_eq!(codes, expected, "v{version}: {found:?}");
        for (code, text) in &found {
            assert_eq!(text.is_none(), *code == ErrorCode::NONE, "{found:?}");
        }
    }
    // The choice was carried out at once, and can be taken back once.
    let taken_back = |client: &mut Connection| reassign(client, 1, &[("t", 0, None)])[0].0;
    assert_eq!(taken_back(&mut client), ErrorCode::NONE);
    assert_eq!(
        taken_back(&mut client),
        ErrorCode::NO_REASSIGNMENT_IN_PROGRESS
    );
    for topics in [None, Some(vec![])] {
        let request = ListPartitionReassignmentsRequest {
            topics,
            ..ListPartitionReassignmentsRequest::default()
        };
        let body = client.call(0, &request);
        let (_, told) =
            wire::decode_response::<ListPartitionReassignmentsRequest<'_>>(&body, 0).unwrap();
        assert_eq!((told.error_code, told.topics.len()), (ErrorCode::NONE, 0));
    }
    broker.stop();
}
