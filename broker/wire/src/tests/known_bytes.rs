//! Versions that the oracle no longer knows, against bytes written by hand from the schemas.

use super::body;
use crate::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult,
};
use crate::messages::delete_groups::DeletableGroupResult;
use crate::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
};
use crate::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use crate::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopic, OffsetForLeaderTopicResult,
};
use crate::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, TopicProduceData, TopicProduceResponse,
};
use crate::messages::write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic};
use crate::messages::*;
use crate::{Decoder, ErrorCode, Message, Records, Uuid};

/// Joins pieces given as byte strings.
fn bytes(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

/// Encodes to exactly `wire`, and back.
fn same<'a, M>(message: &M, version: i16, wire: &'a [u8])
where
    M: Message<'a> + PartialEq + std::fmt::Debug,
{
    assert_eq!(&body(message, version)[..], wire, "{} v{version}", M::NAME);
    let mut decoder = Decoder::new(wire);
    assert_eq!(&M::decode(&mut decoder, version).unwrap(), message);
    assert_eq!(decoder.remaining(), 0);
}

/// Bytes of a compact array of one entry, and the end of a flexible struct without tagged fields.
const COMPACT_ONE: &[u8] = &[2];
const NO_TAGS: &[u8] = &[0];
const ID: Uuid = Uuid([9; 16]);

#[test]
fn api_versions_5() {
    let request = ApiVersionsRequest {
        client_software_name: "n",
        client_software_version: "1",
        cluster_id: Some("c"),
        node_id: 3,
    };
    let wire = bytes(&[&[2, b'n'], &[2, b'1'], &[2, b'c'], &[0, 0, 0, 3], NO_TAGS]);
    same(&request, 5, &wire);
    let request = ApiVersionsRequest {
        cluster_id: None,
        node_id: -1,
        ..request
    };
    let wire = bytes(&[&[2, b'n'], &[2, b'1'], &[0], &[255; 4], NO_TAGS]);
    same(&request, 5, &wire);
}

#[test]
fn offset_commit_10() {
    let request = OffsetCommitRequest {
        group_id: "g",
        generation_id_or_member_epoch: 4,
        member_id: "m",
        topics: vec![OffsetCommitRequestTopic {
            topic_id: ID,
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 6,
                committed_offset: 7,
                committed_leader_epoch: 8,
                committed_metadata: Some("x"),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let wire = bytes(&[
        &[2, b'g'],
        &[0, 0, 0, 4],
        &[2, b'm'],
        &[0],
        COMPACT_ONE,
        &ID.0,
        COMPACT_ONE,
        &[0, 0, 0, 6],
        &[0, 0, 0, 0, 0, 0, 0, 7],
        &[0, 0, 0, 8],
        &[2, b'x'],
        NO_TAGS,
        NO_TAGS,
        NO_TAGS,
    ]);
    same(&request, 10, &wire);
    let response = OffsetCommitResponse {
        throttle_time_ms: 2,
        topics: vec![OffsetCommitResponseTopic {
            topic_id: ID,
            partitions: vec![OffsetCommitResponsePartition {
                partition_index: 6,
                error_code: ErrorCode::UNKNOWN_TOPIC_ID,
            }],
            ..Default::default()
        }],
    };
    let wire = bytes(&[
        &[0, 0, 0, 2],
        COMPACT_ONE,
        &ID.0,
        COMPACT_ONE,
        &[0, 0, 0, 6],
        &[0, 100],
        NO_TAGS,
        NO_TAGS,
        NO_TAGS,
    ]);
    same(&response, 10, &wire);
}

#[test]
fn offset_fetch_10() {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g",
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![OffsetFetchRequestTopics {
                topic_id: ID,
                partition_indexes: vec![6],
                ..Default::default()
            }]),
        }],
        require_stable: true,
        ..Default::default()
    };
    let wire = bytes(&[
        COMPACT_ONE,
        &[2, b'g'],
        &[0],
        &[255; 4],
        COMPACT_ONE,
        &ID.0,
        COMPACT_ONE,
        &[0, 0, 0, 6],
        NO_TAGS,
        NO_TAGS,
        &[1],
        NO_TAGS,
    ]);
    same(&request, 10, &wire);
    let response = OffsetFetchResponse {
        groups: vec![OffsetFetchResponseGroup {
            group_id: "g",
            topics: vec![OffsetFetchResponseTopics {
                topic_id: ID,
                partitions: vec![OffsetFetchResponsePartitions {
                    partition_index: 6,
                    committed_offset: 7,
                    committed_leader_epoch: 8,
                    metadata: Some("x"),
                    error_code: ErrorCode::NONE,
                }],
                ..Default::default()
            }],
            error_code: ErrorCode::NONE,
        }],
        ..Default::default()
    };
    let wire = bytes(&[
        &[0; 4],
        COMPACT_ONE,
        &[2, b'g'],
        COMPACT_ONE,
        &ID.0,
        COMPACT_ONE,
        &[0, 0, 0, 6],
        &[0, 0, 0, 0, 0, 0, 0, 7],
        &[0, 0, 0, 8],
        &[2, b'x'],
        &[0, 0],
        NO_TAGS,
        NO_TAGS,
        &[0, 0],
        NO_TAGS,
        NO_TAGS,
    ]);
    same(&response, 10, &wire);
}

#[test]
fn delete_groups_3() {
    let request = DeleteGroupsRequest {
        groups_names: vec!["g"],
    };
    same(&request, 3, &bytes(&[COMPACT_ONE, &[2, b'g'], NO_TAGS]));
    let result = |error_code, error_message| DeleteGroupsResponse {
        throttle_time_ms: 0,
        results: vec![DeletableGroupResult {
            group_id: "g",
            error_code,
            error_message,
        }],
    };
    let wire = |code, text: &[u8]| {
        let head: &[&[u8]] = &[&[0; 4], COMPACT_ONE, &[2, b'g'], &[0, code], text];
        bytes(&[&bytes(head), NO_TAGS, NO_TAGS])
    };
    let refused = result(ErrorCode::NON_EMPTY_GROUP, Some("t"));
    same(&refused, 3, &wire(68, &[2, b't']));
    same(&result(ErrorCode::NONE, None), 3, &wire(0, &[0]));
}

#[test]
fn list_offsets_11_is_as_10() {
    let request = ListOffsetsRequest {
        replica_id: -1,
        timeout_ms: 5,
        ..Default::default()
    };
    assert_eq!(body(&request, 11), body(&request, 10));
    let response = ListOffsetsResponse::default();
    assert_eq!(body(&response, 11), body(&response, 10));
}

const ONE: &[u8] = &[0, 0, 0, 1];
const TOPIC: &[u8] = &[0, 1, b't'];

#[test]
fn produce_0_to_2() {
    let partition = PartitionProduceData {
        index: 6,
        records: Records::Borrowed(b"set"),
    };
    let topic = TopicProduceData {
        name: "t",
        partition_data: vec![partition],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: 1,
        timeout_ms: 5,
        topic_data: vec![topic],
        ..Default::default()
    };
    let wire = bytes(&[
        &[0, 1],
        &[0, 0, 0, 5],
        ONE,
        TOPIC,
        ONE,
        &[0, 0, 0, 6],
        &[0, 0, 0, 3],
        b"set",
    ]);
    for version in 0..=2 {
        same(&request, version, &wire);
    }
    let answer = |log_append_time_ms, throttle_time_ms| {
        let error_code = ErrorCode::UNSUPPORTED_VERSION;
        let partition = PartitionProduceResponse {
            index: 6,
            error_code,
            base_offset: -1,
            log_append_time_ms,
            ..Default::default()
        };
        let partition_responses = vec![partition];
        let topic = TopicProduceResponse {
            name: "t",
            partition_responses,
            ..Default::default()
        };
        ProduceResponse {
            responses: vec![topic],
            throttle_time_ms,
            ..Default::default()
        }
    };
    let partition = bytes(&[ONE, TOPIC, ONE, &[0, 0, 0, 6], &[0, 35], &[255; 8]]);
    let throttle: &[u8] = &[0, 0, 0, 2];
    same(&answer(-1, 0), 0, &partition);
    same(&answer(-1, 2), 1, &bytes(&[&partition, throttle]));
    let time: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 9];
    same(&answer(9, 2), 2, &bytes(&[&partition, time, throttle]));
}

#[test]
fn offset_commit_0_and_1() {
    let request = |generation, member_id, commit_timestamp| {
        let partition = OffsetCommitRequestPartition {
            partition_index: 1,
            committed_offset: 2,
            commit_timestamp,
            committed_metadata: Some("m"),
            ..Default::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: "t",
            partitions: vec![partition],
            ..Default::default()
        };
        OffsetCommitRequest {
            group_id: "g",
            generation_id_or_member_epoch: generation,
            member_id,
            topics: vec![topic],
            ..Default::default()
        }
    };
    let group: &[u8] = &[0, 1, b'g'];
    let offset: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 2];
    let metadata: &[u8] = &[0, 1, b'm'];
    let wire = bytes(&[group, ONE, TOPIC, ONE, ONE, offset, metadata]);
    same(&request(-1, "", -1), 0, &wire);
    let member: &[u8] = &[0, 0, 0, 7, 0, 1, b'i'];
    let time: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 4];
    let wire = bytes(&[group, member, ONE, TOPIC, ONE, ONE, offset, time, metadata]);
    same(&request(7, "i", 4), 1, &wire);
}

#[test]
fn create_topics_0_and_1() {
    let request = |validate_only| {
        let assignment = CreatableReplicaAssignment {
            partition_index: 1,
            broker_ids: vec![1],
        };
        let config = CreatableTopicConfig {
            name: "t",
            value: None,
        };
        let topic = CreatableTopic {
            name: "t",
            num_partitions: 1,
            replication_factor: -1,
            assignments: vec![assignment],
            configs: vec![config],
        };
        CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 1,
            validate_only,
        }
    };
    let assignment = bytes(&[ONE, ONE, ONE, ONE]);
    let config = bytes(&[ONE, TOPIC, &[255, 255]]);
    let wire = bytes(&[ONE, TOPIC, ONE, &[255, 255], &assignment, &config, ONE]);
    same(&request(false), 0, &wire);
    same(&request(true), 1, &bytes(&[&wire, &[1]]));
    let answer = |error_message| {
        let topic = CreatableTopicResult {
            name: "t",
            error_code: ErrorCode::TOPIC_ALREADY_EXISTS,
            error_message,
            ..Default::default()
        };
        CreateTopicsResponse {
            topics: vec![topic],
            ..Default::default()
        }
    };
    same(&answer(None), 0, &bytes(&[ONE, TOPIC, &[0, 36]]));
    same(
        &answer(Some("t")),
        1,
        &bytes(&[ONE, TOPIC, &[0, 36], TOPIC]),
    );
}

#[test]
fn delete_topics_0() {
    let request = DeleteTopicsRequest {
        topic_names: vec!["t"],
        timeout_ms: 1,
        ..Default::default()
    };
    same(&request, 0, &bytes(&[ONE, TOPIC, ONE]));
    let result = delete_topics::DeletableTopicResult {
        name: Some("t"),
        ..Default::default()
    };
    let answer = DeleteTopicsResponse {
        responses: vec![result],
        ..Default::default()
    };
    same(&answer, 0, &bytes(&[ONE, TOPIC, &[0, 0]]));
}

#[test]
fn offset_for_leader_epoch_0_and_1() {
    let partition = OffsetForLeaderPartition {
        partition: 1,
        leader_epoch: 1,
        ..Default::default()
    };
    let topic = OffsetForLeaderTopic {
        topic: "t",
        partitions: vec![partition],
    };
    let request = OffsetForLeaderEpochRequest {
        topics: vec![topic],
        ..Default::default()
    };
    let answer = |leader_epoch| {
        let end_offset = 5;
        let end = EpochEndOffset {
            partition: 1,
            leader_epoch,
            end_offset,
            ..Default::default()
        };
        let topic = OffsetForLeaderTopicResult {
            topic: "t",
            partitions: vec![end],
        };
        OffsetForLeaderEpochResponse {
            topics: vec![topic],
            ..Default::default()
        }
    };
    let wire = bytes(&[ONE, TOPIC, ONE, ONE, ONE]);
    same(&request, 0, &wire);
    same(&request, 1, &wire);
    let head = bytes(&[ONE, TOPIC, ONE, &[0, 0], ONE]);
    let end: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 5];
    same(&answer(-1), 0, &bytes(&[&head, end]));
    same(&answer(1), 1, &bytes(&[&head, ONE, end]));
}

#[test]
fn write_txn_markers_0() {
    let topic = WritableTxnMarkerTopic {
        name: "t",
        partition_indexes: vec![1],
    };
    let marker = WritableTxnMarker {
        producer_id: 3,
        producer_epoch: 4,
        transaction_result: true,
        topics: vec![topic],
        coordinator_epoch: 1,
    };
    let request = WriteTxnMarkersRequest {
        markers: vec![marker],
    };
    let producer: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 3, 0, 4, 1];
    same(
        &request,
        0,
        &bytes(&[ONE, producer, ONE, TOPIC, ONE, ONE, ONE]),
    );
}

#[test]
fn describe_configs_0() {
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: "t",
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    same(&request, 0, &bytes(&[ONE, &[2], TOPIC, &[255; 4]]));
    let config = DescribeConfigsResourceResult {
        name: "t",
        value: Some("t"),
        is_default: true,
        ..Default::default()
    };
    let result = DescribeConfigsResult {
        resource_type: 2,
        resource_name: "t",
        configs: vec![config],
        ..Default::default()
    };
    let answer = DescribeConfigsResponse {
        results: vec![result],
        ..Default::default()
    };
    let config = bytes(&[ONE, TOPIC, TOPIC, &[0, 1, 0]]);
    let head: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 255, 255, 2];
    same(&answer, 0, &bytes(&[head, TOPIC, &config]));
}

/// Bytes that the Java client 4.4.0 writes.
#[test]
fn describe_log_dirs_5() {
    let topic = DescribableLogDirTopic {
        topic: "t",
        partitions: vec![3],
    };
    let request = DescribeLogDirsRequest {
        topics: Some(vec![topic]),
    };
    same(&request, 5, &[2, 2, 116, 2, 0, 0, 0, 3, 0, 0]);
    same(&DescribeLogDirsRequest { topics: None }, 5, &[0, 0]);
    let partition = DescribeLogDirsPartition {
        partition_index: 3,
        partition_size: 7,
        offset_lag: 0,
        is_future_key: true,
    };
    let topic = DescribeLogDirsTopic {
        name: "t",
        partitions: vec![partition],
    };
    let result = DescribeLogDirsResult {
        log_dir: "/d",
        topics: vec![topic],
        total_bytes: 9,
        usable_bytes: 8,
        is_cordoned: true,
        ..Default::default()
    };
    let answer = DescribeLogDirsResponse {
        throttle_time_ms: 5,
        results: vec![result],
        ..Default::default()
    };
    let wire = bytes(&[
        &[0, 0, 0, 5, 0, 0, 2, 0, 0, 3, 47, 100, 2, 2, 116, 2],
        &[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 7],
        &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 8, 1, 0, 0],
    ]);
    same(&answer, 5, &wire);
}
