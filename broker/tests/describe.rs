//! What admin tools ask besides topics and groups: producers, transactions, settings of everything else, features,
//! and what needs authentication.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use broker::config::{LogFormat, LogLevel};
use bytes::Bytes;
use common::{Connection, LocalBroker, eventually};
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::{ProducerEpoch, ProducerId, Sequence, TimestampMs};
use wire::messages::describe_configs::DescribeConfigsResource;
use wire::messages::describe_producers::{ProducerState, TopicRequest};
use wire::messages::describe_user_scram_credentials::UserName;
use wire::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::update_features::FeatureUpdateKey;
use wire::messages::{
    ApiVersionsRequest, CreateDelegationTokenRequest, DeleteGroupsRequest, DescribeConfigsRequest,
    DescribeDelegationTokenRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    DescribeUserScramCredentialsRequest, ExpireDelegationTokenRequest, FindCoordinatorRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, ListConfigResourcesRequest,
    ListOffsetsRequest, ListTransactionsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, RenewDelegationTokenRequest, UnregisterBrokerRequest,
    UpdateFeaturesRequest,
};
use wire::{ApiKey, ErrorCode, Request, supported_versions};

const NONE: ErrorCode = ErrorCode::NONE;

/// The versions in which an API is served.
fn versions<'a, R: Request<'a>>() -> impl Iterator<Item = i16> {
    supported_versions(R::KEY).iter()
}

fn idempotent(producer: i64, epoch: i16, base: i32, values: usize) -> Bytes {
    let mut builder = RecordBatchBuilder::new().producer(
        ProducerId::new(producer),
        ProducerEpoch::new(epoch),
        Sequence::new(base),
    );
    for value in 0..values {
        let record = NewRecord {
            timestamp: TimestampMs::new(1_700_000_000_000 + value as i64),
            key: None,
            value: Some(b"v"),
            headers: &[],
        };
        builder.push(record).unwrap();
    }
    builder.build().unwrap()
}

fn producers(client: &mut Connection, topic: &str, index: i32) -> (ErrorCode, Vec<ProducerState>) {
    let request = DescribeProducersRequest {
        topics: vec![TopicRequest {
            name: topic,
            partition_indexes: vec![index],
        }],
    };
    let body = client.call(0, &request);
    let (_, response) = wire::decode_response::<DescribeProducersRequest<'_>>(&body, 0).unwrap();
    let [found] = &response.topics[..] else {
        panic!("one topic: {response:?}")
    };
    let partition = &found.partitions[0];
    assert_eq!((found.name, partition.partition_index), (topic, index));
    (partition.error_code, partition.active_producers.clone())
}

#[test]
fn producers_are_described_and_forgotten_when_they_have_been_silent_for_long() {
    let broker = LocalBroker::start(&[
        ("log.producer_id_expiration_ms", "2000"),
        ("log.producer_id_expiration_check_interval_ms", "100"),
    ]);
    let mut client = broker.connect();
    let topic = client.create("a", 2);
    client
        .produce(&topic, 0, &idempotent(900, 3, 0, 2))
        .offset();
    client
        .produce(&topic, 0, &idempotent(900, 3, 2, 3))
        .offset();
    client.produce(&topic, 0, &idempotent(5, 0, 7, 1)).offset();
    let state = |producer_id, producer_epoch, last_sequence, last_timestamp| ProducerState {
        producer_id,
        producer_epoch,
        last_sequence,
        last_timestamp,
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    };
    let expected = vec![
        state(5, 0, 7, 1_700_000_000_000),
        state(900, 3, 4, 1_700_000_000_002),
    ];
    assert_eq!(producers(&mut client, "a", 0), (NONE, expected));
    assert_eq!(producers(&mut client, "a", 1), (NONE, Vec::new()));
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(producers(&mut client, "a", 2).0, unknown);
    assert_eq!(producers(&mut client, "b", 0).0, unknown);
    assert_eq!(
        producers(&mut client, "b c", 0).0,
        ErrorCode::INVALID_TOPIC_EXCEPTION
    );
    // One goes on, the other is forgotten.
    let mut next = 5;
    let limit = Duration::from_secs(20);
    eventually("the silent producer is forgotten", limit, || {
        client
            .produce(&topic, 0, &idempotent(900, 3, next, 1))
            .offset();
        next += 1;
        producers(&mut client, "a", 0).1.len() == 1
    });
    assert_eq!(producers(&mut client, "a", 0).1[0].producer_id, 900);
    eventually("both are", limit, || {
        producers(&mut client, "a", 0).1.is_empty()
    });
    eventually("the gauge says so", limit, || {
        broker.metric("kafscale_producers") == 0.0
    });
    // It may go on as a producer that is not known: no sequence is out of order.
    client
        .produce(&topic, 0, &idempotent(900, 3, next + 10, 1))
        .offset();
    assert_eq!(producers(&mut client, "a", 0).1.len(), 1);
    broker.stop();
}

#[test]
fn producers_of_before_a_restart_are_forgotten_too() {
    let broker = LocalBroker::start(&[
        ("log.producer_id_expiration_ms", "1000"),
        ("log.producer_id_expiration_check_interval_ms", "100"),
    ]);
    let mut client = broker.connect();
    let topic = client.create("a", 1);
    client
        .produce(&topic, 0, &idempotent(900, 3, 0, 2))
        .offset();
    let broker = broker.restart();
    let mut client = broker.connect();
    eventually(
        "the silent producer is forgotten",
        Duration::from_secs(20),
        || producers(&mut client, "a", 0) == (NONE, Vec::new()),
    );
    broker.stop();
}

#[test]
fn there_are_no_transactions() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let request = DescribeTransactionsRequest {
        transactional_ids: vec!["t", ""],
    };
    let body = client.call(0, &request);
    let (_, response) = wire::decode_response::<DescribeTransactionsRequest<'_>>(&body, 0).unwrap();
    let states = response.transaction_states.iter();
    let found: Vec<_> = states
        .map(|it| (it.transactional_id, it.error_code))
        .collect();
    let not_found = ErrorCode::TRANSACTIONAL_ID_NOT_FOUND;
    assert_eq!(found, [("t", not_found), ("", ErrorCode::INVALID_REQUEST)]);
    for version in versions::<ListTransactionsRequest<'_>>() {
        let request = ListTransactionsRequest {
            state_filters: vec!["Ongoing", "Odd"],
            ..ListTransactionsRequest::default()
        };
        let body = client.call(version, &request);
        let (_, response) =
            wire::decode_response::<ListTransactionsRequest<'_>>(&body, version).unwrap();
        assert_eq!(response.error_code, NONE);
        assert_eq!(response.unknown_state_filters, ["Odd"]);
        assert!(response.transaction_states.is_empty());
    }
    // Tools find a coordinator to ask; a producer is refused by it, for good.
    let request = FindCoordinatorRequest {
        key: "t",
        key_type: 1,
        ..FindCoordinatorRequest::default()
    };
    let body = client.call(3, &request);
    let (_, response) = wire::decode_response::<FindCoordinatorRequest<'_>>(&body, 3).unwrap();
    assert_eq!((response.error_code, response.node_id), (NONE, 0));
    let request = InitProducerIdRequest {
        transactional_id: Some("t"),
        ..InitProducerIdRequest::default()
    };
    let body = client.call(5, &request);
    let (_, response) = wire::decode_response::<InitProducerIdRequest<'_>>(&body, 5).unwrap();
    let refused = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    assert_eq!(response.error_code, refused);
    assert!(!refused.retriable());
    broker.stop();
}

fn listed(
    client: &mut Connection,
    version: i16,
    kinds: &[i8],
) -> Result<Vec<(String, i8)>, ErrorCode> {
    let request = ListConfigResourcesRequest {
        resource_types: kinds.to_vec(),
    };
    let body = client.call(version, &request);
    let (_, response) =
        wire::decode_response::<ListConfigResourcesRequest>(&body, version).unwrap();
    if !response.error_code.is_none() {
        return Err(response.error_code);
    }
    let found = response.config_resources.iter();
    Ok(found
        .map(|it| (it.resource_name.to_owned(), it.resource_type))
        .collect())
}

/// Settings of a resource, with their sources, and whether each is read-only.
fn described(
    client: &mut Connection,
    kind: i8,
    name: &str,
) -> Result<Vec<(String, String, i8, bool)>, ErrorCode> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name,
            configuration_keys: None,
        }],
        ..DescribeConfigsRequest::default()
    };
    let body = client.call(4, &request);
    let (_, response) = wire::decode_response::<DescribeConfigsRequest<'_>>(&body, 4).unwrap();
    let result = &response.results[0];
    if !result.error_code.is_none() {
        return Err(result.error_code);
    }
    let rows = result.configs.iter().map(|it| {
        (
            it.name.to_owned(),
            it.value.unwrap_or_default().to_owned(),
            it.config_source,
            it.read_only,
        )
    });
    Ok(rows.collect())
}

fn alter(client: &mut Connection, kind: i8, name: &str, operation: i8) -> ErrorCode {
    alter_one(client, kind, name, ("interval.ms", operation, Some("1")))
}

fn alter_one(
    client: &mut Connection,
    kind: i8,
    resource: &str,
    (name, config_operation, value): (&str, i8, Option<&str>),
) -> ErrorCode {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: resource,
            configs: vec![AlterableConfig {
                name,
                config_operation,
                value,
            }],
        }],
        validate_only: false,
    };
    let body = client.call(1, &request);
    let (_, response) =
        wire::decode_response::<IncrementalAlterConfigsRequest<'_>>(&body, 1).unwrap();
    response.responses[0].error_code
}

#[test]
fn every_kind_of_resource_has_an_answer() {
    const TOPIC: i8 = 2;
    const BROKER: i8 = 4;
    const LOGGER: i8 = 8;
    const METRICS: i8 = 16;
    const GROUP: i8 = 32;
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    client.create("b", 1);
    client.create("a", 1);
    let row = |name: &str, kind| (name.to_owned(), kind);
    assert_eq!(listed(&mut client, 0, &[]), Ok(Vec::new()));
    let all = vec![
        row("a", TOPIC),
        row("b", TOPIC),
        row("0", BROKER),
        row("0", LOGGER),
    ];
    assert_eq!(listed(&mut client, 1, &[]), Ok(all));
    assert_eq!(
        listed(&mut client, 1, &[BROKER, BROKER]),
        Ok(vec![row("0", BROKER)])
    );
    assert_eq!(listed(&mut client, 1, &[METRICS, GROUP]), Ok(Vec::new()));
    assert_eq!(
        listed(&mut client, 1, &[1]),
        Err(ErrorCode::UNSUPPORTED_VERSION)
    );
    let invalid = ErrorCode::INVALID_REQUEST;
    for (kind, name) in [
        (LOGGER, "1"),
        (LOGGER, ""),
        (METRICS, ""),
        (GROUP, ""),
        (1, "x"),
    ] {
        assert_eq!(
            described(&mut client, kind, name),
            Err(invalid),
            "{kind} {name}"
        );
    }
    for kind in [METRICS, GROUP] {
        assert_eq!(described(&mut client, kind, "x"), Ok(Vec::new()));
        assert_eq!(alter(&mut client, kind, "x", 0), invalid);
        assert_eq!(alter(&mut client, kind, "x", 1), NONE);
    }
    broker.stop();
}

/// The only test of this process that sets its log up.
#[test]
fn levels_of_loggers_are_told_and_changed() {
    const LOGGER: i8 = 8;
    broker::logging::init(LogLevel::Error, LogFormat::Text).unwrap();
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let level = |client: &mut Connection, name: &str| {
        let rows = described(client, LOGGER, "0").unwrap();
        let row = rows.into_iter().find(|(known, ..)| known == name);
        let (_, level, source, read_only) = row.unwrap();
        assert_eq!((source, read_only), (6, false));
        level
    };
    let (config, invalid) = (ErrorCode::INVALID_CONFIG, ErrorCode::INVALID_REQUEST);
    let mut change = |node: &str, name: &str, operation: i8, value: Option<&str>| {
        alter_one(&mut client, LOGGER, node, (name, operation, value))
    };
    assert_eq!(change("0", "store", 0, Some("DEBUG")), NONE);
    assert_eq!(change("0", "root", 0, Some("FATAL")), NONE);
    assert_eq!(change("0", "broker.control", 0, Some("TRACE")), NONE);
    assert_eq!(change("0", "broker.control", 1, None), NONE);
    assert_eq!(change("0", "kafka.server", 0, Some("DEBUG")), config);
    assert_eq!(change("0", "store", 0, Some("debug")), config);
    assert_eq!(change("0", "store", 0, None), invalid);
    assert_eq!(change("0", "store", 2, Some("DEBUG")), invalid);
    assert_eq!(change("0", "root", 1, None), invalid);
    assert_eq!(change("1", "store", 0, Some("DEBUG")), invalid);
    assert_eq!(level(&mut client, "store.s3"), "DEBUG");
    assert_eq!(level(&mut client, "root"), "ERROR");
    assert_eq!(level(&mut client, "broker.control"), "ERROR");
    broker.stop();
}

#[test]
fn throttles_of_reassignments_are_kept_and_told_and_other_settings_of_a_broker_are_fixed() {
    const BROKER: i8 = 4;
    const RATE: &str = "leader.replication.throttled.rate";
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let told = |client: &mut Connection, name: &str| {
        let rows = described(client, BROKER, name).unwrap();
        let row = rows.into_iter().find(|(known, ..)| known == RATE)?;
        assert!(!row.3, "it is not read-only");
        Some((row.1, row.2))
    };
    let told_as = |value: &str, source| Some((value.to_owned(), source));
    let unbounded = i64::MAX.to_string();
    assert_eq!(told(&mut client, "0"), told_as(&unbounded, 5));
    assert_eq!(told(&mut client, ""), None);
    let set = |client: &mut Connection, name, value| {
        alter_one(client, BROKER, name, (RATE, 0, Some(value)))
    };
    assert_eq!(set(&mut client, "", "5"), NONE);
    assert_eq!(told(&mut client, "0"), told_as("5", 3));
    assert_eq!(set(&mut client, "0", "700"), NONE);
    assert_eq!(set(&mut client, "1", "700"), ErrorCode::INVALID_REQUEST);
    assert_eq!(set(&mut client, "0", "-1"), ErrorCode::INVALID_CONFIG);
    let fixed = ("log.segment.bytes", 0, Some("1048576"));
    assert_eq!(
        alter_one(&mut client, BROKER, "0", fixed),
        ErrorCode::INVALID_REQUEST
    );
    // They outlive the broker.
    let broker = broker.restart();
    let mut client = broker.connect();
    assert_eq!(told(&mut client, "0"), told_as("700", 2));
    assert_eq!(told(&mut client, ""), told_as("5", 3));
    for name in ["0", ""] {
        let gone = alter_one(&mut client, BROKER, name, (RATE, 1, None));
        assert_eq!(gone, NONE);
    }
    assert_eq!(told(&mut client, "0"), told_as(&unbounded, 5));
    assert_eq!(told(&mut client, ""), None);
    broker.stop();
}

#[test]
fn committed_offsets_go_by_topic_id_in_the_newest_versions() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("a", 2);
    let other = wire::Uuid([7; 16]);
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 40 + i64::from(partition_index),
        committed_metadata: Some("m"),
        ..OffsetCommitRequestPartition::default()
    };
    let of = |topic_id, indexes: &[i32]| OffsetCommitRequestTopic {
        topic_id,
        partitions: indexes.iter().copied().map(partition).collect(),
        ..OffsetCommitRequestTopic::default()
    };
    let request = OffsetCommitRequest {
        group_id: "g",
        topics: vec![of(other, &[0]), of(topic.id, &[1, 5])],
        ..OffsetCommitRequest::default()
    };
    let mut codes = Vec::new();
    eventually("the coordinator commits", Duration::from_secs(20), || {
        let body = client.call(10, &request);
        let (_, response) = wire::decode_response::<OffsetCommitRequest<'_>>(&body, 10).unwrap();
        let topics = response.topics.iter();
        codes = topics
            .flat_map(|it| it.partitions.iter().map(|p| (it.topic_id, p.error_code)))
            .collect();
        codes[1].1.is_none()
    });
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(
        codes,
        [
            (other, ErrorCode::UNKNOWN_TOPIC_ID),
            (topic.id, NONE),
            (topic.id, unknown)
        ]
    );
    let mut fetch = |topics: Option<Vec<OffsetFetchRequestTopics<'static>>>| {
        let request = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: "g",
                topics,
                ..OffsetFetchRequestGroup::default()
            }],
            ..OffsetFetchRequest::default()
        };
        let body = client.call(10, &request);
        let (_, response) = wire::decode_response::<OffsetFetchRequest<'_>>(&body, 10).unwrap();
        assert_eq!(response.groups[0].error_code, NONE);
        let topics = response.groups[0].topics.iter();
        let rows = topics.flat_map(|it| {
            let rows = it.partitions.iter();
            rows.map(|p| {
                (
                    it.topic_id,
                    p.partition_index,
                    p.committed_offset,
                    p.error_code,
                )
            })
        });
        rows.collect::<Vec<_>>()
    };
    assert_eq!(fetch(None), [(topic.id, 1, 41, NONE)]);
    let asked = |topic_id, partition_indexes| OffsetFetchRequestTopics {
        topic_id,
        partition_indexes,
        ..OffsetFetchRequestTopics::default()
    };
    let found = fetch(Some(vec![
        asked(other, vec![0]),
        asked(topic.id, vec![1, 0]),
    ]));
    let expected = [
        (other, 0, -1, ErrorCode::UNKNOWN_TOPIC_ID),
        (topic.id, 1, 41, NONE),
        (topic.id, 0, -1, NONE),
    ];
    assert_eq!(found, expected);
    let request = DeleteGroupsRequest {
        groups_names: vec!["g", "none"],
    };
    let body = client.call(3, &request);
    let (_, response) = wire::decode_response::<DeleteGroupsRequest<'_>>(&body, 3).unwrap();
    let results = response.results.iter();
    let results: Vec<_> = results
        .map(|it| (it.error_code, it.error_message.is_some()))
        .collect();
    assert_eq!(
        results,
        [(NONE, false), (ErrorCode::GROUP_ID_NOT_FOUND, true)]
    );
    broker.stop();
}

#[test]
fn special_times_are_those_of_the_version() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("a", 1);
    let unsupported = Err(ErrorCode::UNSUPPORTED_VERSION);
    // Each special time, the first version that has it, and what it finds in a log of three records.
    let times = [
        (-1, 1, 3),
        (-2, 1, 0),
        (-3, 7, 2),
        (-4, 8, 0),
        (-5, 9, -1),
        (-6, 11, -1),
        (-7, i16::MAX, -1),
    ];
    client.produce(&topic, 0, &idempotent(1, 0, 0, 3)).offset();
    for version in versions::<ListOffsetsRequest<'_>>() {
        for (timestamp, since, offset) in times {
            let partition = ListOffsetsPartition {
                timestamp,
                ..ListOffsetsPartition::default()
            };
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: vec![ListOffsetsTopic {
                    name: "a",
                    partitions: vec![partition],
                }],
                ..ListOffsetsRequest::default()
            };
            let body = client.call(version, &request);
            let (_, response) =
                wire::decode_response::<ListOffsetsRequest<'_>>(&body, version).unwrap();
            let found = &response.topics[0].partitions[0];
            let found = match found.error_code {
                NONE => Ok(found.offset),
                code => Err(code),
            };
            let expected = if version >= since {
                Ok(offset)
            } else {
                unsupported
            };
            assert_eq!(found, expected, "{timestamp} in v{version}");
        }
    }
    broker.stop();
}

#[test]
fn features_are_at_level_0_and_stay_there() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    for version in versions::<ApiVersionsRequest<'_>>() {
        let request = ApiVersionsRequest {
            client_software_name: "tests",
            client_software_version: "1",
            ..ApiVersionsRequest::default()
        };
        let body = client.call(version, &request);
        let (_, response) =
            wire::decode_response::<ApiVersionsRequest<'_>>(&body, version).unwrap();
        let features = response.supported_features.iter();
        let features: Vec<_> = features
            .map(|it| (it.name, it.min_version, it.max_version))
            .collect();
        let expected = [
            "group.version",
            "share.version",
            "streams.version",
            "transaction.version",
        ];
        let expected: Vec<_> = expected.map(|name| (name, 0, 0)).into();
        assert_eq!(
            features,
            if version >= 4 { expected } else { Vec::new() },
            "v{version}"
        );
        assert!(response.finalized_features.is_empty());
    }
    // The node that the client means.
    let cluster = {
        let body = client.call(12, &MetadataRequest::default());
        let (_, response) = wire::decode_response::<MetadataRequest<'_>>(&body, 12).unwrap();
        response.cluster_id.unwrap().to_owned()
    };
    let mut meant = |cluster_id: Option<&str>, node_id| {
        let request = ApiVersionsRequest {
            client_software_name: "tests",
            client_software_version: "1",
            cluster_id,
            node_id,
        };
        let body = client.call(5, &request);
        let (_, response) = wire::decode_response::<ApiVersionsRequest<'_>>(&body, 5).unwrap();
        (response.error_code, response.api_keys.is_empty())
    };
    assert_eq!(meant(Some(&cluster), 0), (NONE, false));
    assert_eq!(
        meant(Some(&cluster), 1),
        (ErrorCode::REBOOTSTRAP_REQUIRED, true)
    );
    assert_eq!(
        meant(Some("other"), 0),
        (ErrorCode::REBOOTSTRAP_REQUIRED, true)
    );
    assert_eq!(
        meant(Some(&cluster), -1),
        (ErrorCode::INVALID_REQUEST, true)
    );
    assert_eq!(meant(None, 0), (ErrorCode::INVALID_REQUEST, true));
    for version in versions::<UpdateFeaturesRequest<'_>>() {
        let mut update = |max_version_level| {
            let request = UpdateFeaturesRequest {
                feature_updates: vec![FeatureUpdateKey {
                    feature: "group.version",
                    max_version_level,
                    ..FeatureUpdateKey::default()
                }],
                ..UpdateFeaturesRequest::default()
            };
            let body = client.call(version, &request);
            let (_, response) =
                wire::decode_response::<UpdateFeaturesRequest<'_>>(&body, version).unwrap();
            (response.error_code, response.results.len())
        };
        assert_eq!(update(1), (ErrorCode::INVALID_UPDATE_VERSION, 0));
        assert_eq!(update(0), (NONE, usize::from(version <= 1)));
    }
    broker.stop();
}

#[test]
fn what_needs_authentication_says_so_in_every_version() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let refused = ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED;
    macro_rules! token {
        ($request:ident) => {
            for version in versions::<$request<'_>>() {
                let body = client.call(version, &$request::default());
                let (_, response) = wire::decode_response::<$request<'_>>(&body, version).unwrap();
                assert_eq!(response.error_code, refused, "v{version}");
            }
        };
    }
    token!(CreateDelegationTokenRequest);
    token!(RenewDelegationTokenRequest);
    token!(ExpireDelegationTokenRequest);
    token!(DescribeDelegationTokenRequest);
    let mut scram = |users: &[&'static str]| {
        let users = users.iter().map(|name| UserName { name });
        let request = DescribeUserScramCredentialsRequest {
            users: Some(users.collect()),
        };
        let body = client.call(0, &request);
        let (_, response) =
            wire::decode_response::<DescribeUserScramCredentialsRequest<'_>>(&body, 0).unwrap();
        assert_eq!(response.error_code, NONE);
        let results = response.results.iter();
        results
            .map(|it| (it.user.to_owned(), it.error_code))
            .collect::<Vec<_>>()
    };
    assert_eq!(scram(&[]), []);
    let expected = [
        ("u".to_owned(), ErrorCode::RESOURCE_NOT_FOUND),
        ("v".to_owned(), ErrorCode::DUPLICATE_RESOURCE),
    ];
    assert_eq!(scram(&["v", "u", "v"]), expected);
    broker.stop();
}

#[test]
fn a_broker_is_forgotten_by_itself_and_not_while_it_runs() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let mut unregister = |broker_id| {
        let body = client.call(0, &UnregisterBrokerRequest { broker_id });
        let (_, response) = wire::decode_response::<UnregisterBrokerRequest>(&body, 0).unwrap();
        response.error_code
    };
    assert_eq!(unregister(0), ErrorCode::INVALID_REQUEST);
    assert_eq!(unregister(7), ErrorCode::BROKER_ID_NOT_REGISTERED);
    assert_eq!(ApiKey::UnregisterBroker.as_i16(), 64);
    broker.stop();
}
