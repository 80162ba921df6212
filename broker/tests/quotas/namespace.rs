//! Bounds of the whole namespace: what is beyond them is refused with Kafka's codes, what uses more bytes is slowed down.

use std::io::Write;
use std::thread;
use std::time::Duration;

use wire::messages::create_partitions::CreatePartitionsTopic;
use wire::messages::create_topics::CreatableTopic;
use wire::messages::join_group::JoinGroupRequestProtocol;
use wire::messages::metadata::MetadataRequestTopic;
use wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::{
    ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteTopicsRequest, JoinGroupRequest, MetadataRequest, OffsetCommitRequest,
};
use wire::{ErrorCode, Request};

use super::common::{Connection, Fetch, LocalBroker, Wanted, eventually};
use super::{SHORT, assert_near, fetch, produce, rate};

const NONE: ErrorCode = ErrorCode::NONE;
const FULL: ErrorCode = ErrorCode::POLICY_VIOLATION;

fn create(
    client: &mut Connection,
    name: &str,
    num_partitions: i32,
    validate_only: bool,
) -> (ErrorCode, String) {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name,
            num_partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 15_000,
        validate_only,
    };
    let body = client.call(7, &request);
    let (_, response) = wire::decode_response::<CreateTopicsRequest<'_>>(&body, 7).unwrap();
    let topic = &response.topics[0];
    (
        topic.error_code,
        topic.error_message.unwrap_or_default().to_owned(),
    )
}

fn grow(client: &mut Connection, name: &str, count: i32, validate_only: bool) -> ErrorCode {
    let request = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name,
            count,
            assignments: None,
        }],
        timeout_ms: 15_000,
        validate_only,
    };
    let body = client.call(3, &request);
    let (_, response) = wire::decode_response::<CreatePartitionsRequest<'_>>(&body, 3).unwrap();
    response.results[0].error_code
}

fn ask_for(client: &mut Connection, name: &str) -> ErrorCode {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name),
            ..MetadataRequestTopic::default()
        }]),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let body = client.call(9, &request);
    let (_, response) = wire::decode_response::<MetadataRequest<'_>>(&body, 9).unwrap();
    response.topics[0].error_code
}

fn delete(client: &mut Connection, name: &str) {
    let request = DeleteTopicsRequest {
        topic_names: vec![name],
        timeout_ms: 15_000,
        ..DeleteTopicsRequest::default()
    };
    let body = client.call(4, &request);
    let (_, response) = wire::decode_response::<DeleteTopicsRequest<'_>>(&body, 4).unwrap();
    assert_eq!(response.responses[0].error_code, NONE);
}

#[test]
fn topics_and_partitions_beyond_the_bounds_are_refused_however_they_are_made() {
    let broker = LocalBroker::start(&[
        ("namespace.topics_max", "2"),
        ("namespace.partitions_max", "5"),
        ("topic.auto_create", "true"),
    ]);
    let mut client = broker.connect();
    assert_eq!(create(&mut client, "a", 2, false).0, NONE);
    for validate_only in [true, false] {
        let (code, text) = create(&mut client, "b", 4, validate_only);
        assert_eq!(code, FULL);
        let expected = "5 partitions (namespace.partitions_max): it has 2, and 4 more";
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(create(&mut client, "b", 2, false).0, NONE);
    for validate_only in [true, false] {
        let (code, text) = create(&mut client, "c", 1, validate_only);
        assert_eq!(code, FULL);
        assert!(text.contains("namespace.topics_max"), "{text}");
        assert_eq!(grow(&mut client, "a", 4, validate_only), FULL);
    }
    let exists = ErrorCode::TOPIC_ALREADY_EXISTS;
    assert_eq!(create(&mut client, "a", 9, false).0, exists, "comes first");
    assert_eq!(ask_for(&mut client, "c"), FULL);
    assert_eq!(grow(&mut client, "a", 3, false), NONE);
    delete(&mut client, "b");
    assert_eq!(ask_for(&mut client, "c"), NONE);
    assert_eq!(broker.metric("kafscale_cluster_partitions"), 4.0);
    assert_eq!(
        broker.metric("kafscale_namespace_limit{of=\"partitions\"}"),
        5.0
    );
    let broker = broker.restart();
    let mut client = broker.connect();
    assert_eq!(create(&mut client, "d", 1, false).0, FULL);
    broker.stop();
}

#[test]
fn no_more_topics_than_the_bound_are_created_at_the_same_time() {
    let broker = LocalBroker::start(&[("namespace.topics_max", "3")]);
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let mut client = broker.connect();
            thread::spawn(move || create(&mut client, &format!("topic-{number}"), 1, false).0)
        })
        .collect();
    let codes: Vec<ErrorCode> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    let created = codes.iter().filter(|code| code.is_none()).count();
    let refused = codes.iter().filter(|code| **code == FULL).count();
    assert_eq!((created, refused), (3, 5), "{codes:?}");
    broker.stop();
}

fn decode<'a, R: Request<'a>>(body: &'a [u8], version: i16) -> R::Response<'a> {
    wire::decode_response::<R>(body, version).unwrap().1
}

fn join(client: &mut Connection, group_id: &str, member_id: &str) -> (ErrorCode, String) {
    let protocol = JoinGroupRequestProtocol {
        name: "range",
        metadata: b"m",
    };
    let request = JoinGroupRequest {
        group_id,
        member_id,
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer",
        protocols: vec![protocol],
        ..JoinGroupRequest::default()
    };
    let body = client.call(6, &request);
    let response = decode::<JoinGroupRequest<'_>>(&body, 6);
    (response.error_code, response.member_id.to_owned())
}

fn commit(client: &mut Connection, group_id: &str, topic: &str) -> ErrorCode {
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: 1,
        ..OffsetCommitRequestPartition::default()
    };
    let request = OffsetCommitRequest {
        group_id,
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic,
            partitions: vec![partition],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let body = client.call(7, &request);
    let response = decode::<OffsetCommitRequest<'_>>(&body, 7);
    response.topics[0].partitions[0].error_code
}

#[test]
fn groups_beyond_the_bound_are_refused_and_those_that_are_there_go_on() {
    let broker = LocalBroker::start(&[("namespace.groups_max", "2")]);
    let mut client = broker.connect();
    client.create("a", 1);
    assert_eq!(commit(&mut client, "one", "a"), NONE);
    let required = ErrorCode::MEMBER_ID_REQUIRED;
    let (code, member) = join(&mut client, "two", "");
    assert_eq!(code, required);
    for _ in 0..2 {
        assert_eq!(join(&mut client, "three", "").0, FULL);
        assert_eq!(commit(&mut client, "three", "a"), FULL);
    }
    assert_eq!(join(&mut client, "two", &member).0, NONE);
    assert_eq!(commit(&mut client, "one", "a"), NONE);
    let broker = broker.restart();
    let mut client = broker.connect();
    assert_eq!(
        join(&mut client, "three", "").0,
        required,
        "the second had stored nothing yet"
    );
    assert_eq!(join(&mut client, "four", "").0, FULL, "the first is there");
    let request = DeleteGroupsRequest {
        groups_names: vec!["one"],
    };
    let body = client.call(2, &request);
    let response = decode::<DeleteGroupsRequest<'_>>(&body, 2);
    assert_eq!(response.results[0].error_code, NONE);
    assert_eq!(join(&mut client, "four", "").0, required);
    broker.stop();
}

#[test]
fn connections_beyond_the_bound_are_closed_until_others_go() {
    let broker = LocalBroker::start(&[("namespace.connections_max", "2")]);
    let is_served = |client: &mut Connection| {
        let (_, bytes) = client.encode(0, &ApiVersionsRequest::default());
        client.stream.write_all(&bytes).is_ok() && client.try_receive().is_ok()
    };
    let mut held = [broker.connect(), broker.connect()];
    assert!(held.iter_mut().all(is_served));
    assert!(!is_served(&mut broker.connect()));
    let refused = "kafscale_connections_refused_total{reason=\"namespace\"}";
    assert_eq!(broker.metric(refused), 1.0);
    let [first, mut second] = held;
    drop(first);
    eventually("one is gone", Duration::from_secs(10), || {
        is_served(&mut broker.connect())
    });
    assert!(is_served(&mut second));
    broker.stop();
}

#[test]
fn all_clients_together_get_the_bytes_of_the_namespace() {
    let broker = LocalBroker::start(&[
        SHORT,
        ("namespace.produce_bytes_per_second", "300KiB"),
        ("namespace.fetch_bytes_per_second", "200KiB"),
    ]);
    let topic = broker.connect().create("a", 1);
    let work = |name: &'static str| {
        let (mut client, topic) = (broker.connect(), topic.clone());
        client.client_id = name;
        thread::spawn(move || {
            rate(Duration::from_secs(4), || {
                (15_000, produce(&mut client, &topic, 15_000))
            })
        })
    };
    let threads = ["one", "two", "three"].map(work);
    let rates = threads.map(|it| it.join().unwrap());
    assert_near(rates.iter().sum(), 300.0 * 1024.0);
    let mut client = broker.connect();
    let found = rate(Duration::from_secs(4), || {
        let ask = Fetch::of(vec![Wanted::new(&topic, 0, 0).max_bytes(50_000)]);
        let (fetched, pause) = fetch(&mut client, &ask);
        let bytes = fetched.partitions.iter().map(|it| it.records.len());
        (bytes.sum(), pause)
    });
    assert_near(found, 200.0 * 1024.0);
    for quota in ["namespace_produce", "namespace_fetch"] {
        let name = format!("kafscale_throttled_requests_total{{quota=\"{quota}\"}}");
        assert!(broker.metric(&name) > 0.0, "{quota}");
    }
    broker.stop();
}
