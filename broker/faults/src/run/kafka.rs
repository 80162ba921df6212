//! The few requests that the clients of the run send, one at a time, without any retry: the
//! retries belong to the clients, which record what each attempt did.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use check::{Epoch, Partition, Record, Value};
use client::{ClientError, ClientSettings, Connection};
use segment::batch::Batches;
use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
use segment::{ProducerEpoch, ProducerId, Sequence, TimestampMs};
use wire::messages::create_topics::CreatableTopic;
use wire::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use wire::messages::metadata::MetadataRequestTopic;
use wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::produce::{PartitionProduceData, TopicProduceData};
use wire::messages::{
    CreateTopicsRequest, FetchRequest, InitProducerIdRequest, MetadataRequest, OffsetCommitRequest,
    ProduceRequest,
};
use wire::{ErrorCode, Records};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Longest wait for the answer to a small request.
pub(super) const SMALL_TIMEOUT: Duration = Duration::from_secs(1);
/// What a produce request says that the broker may take.
const PRODUCE_TIMEOUT_MS: i32 = 4_000;
/// Longest wait for its answer.
const PRODUCE_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for the answer to a fetch: what does not answer is asked again.
const FETCH_WAIT: Duration = Duration::from_secs(1);
/// What a request for a new topic says that the broker may take.
const ADMIN_TIMEOUT_MS: i32 = 2_000;
/// Last versions of Produce and Fetch that name topics by name.
const BY_NAME_MAX: i16 = 12;
/// Bytes of one record: with them a segment fills in a few seconds.
const RECORD_BYTES: usize = 400;
const FETCH_BYTES: i32 = 1 << 20;

pub(super) fn settings() -> ClientSettings {
    ClientSettings {
        client_id: "kafscale-faults".to_owned(),
        connect_timeout: CONNECT_TIMEOUT,
        request_timeout: SMALL_TIMEOUT,
        retry_timeout: Duration::from_secs(2),
        ..ClientSettings::default()
    }
}

/// The producer's part of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
    pub(super) next: Sequence,
}

/// A batch with these values; `identity` makes it one of an idempotent producer.
pub(super) fn batch(values: &[Value], identity: Option<Identity>) -> Result<Bytes, ClientError> {
    let mut builder = RecordBatchBuilder::new();
    if let Some(Identity { id, epoch, next }) = identity {
        builder = builder.producer(id, epoch, next);
    }
    // Of now: what is older than seven days is deleted by retention.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_millis();
    let timestamp = TimestampMs::new(i64::try_from(now).unwrap_or(i64::MAX));
    for value in values {
        let mut bytes = value.0.to_be_bytes().to_vec();
        bytes.resize(RECORD_BYTES, b'.');
        builder.push(NewRecord {
            timestamp,
            value: Some(&bytes),
            ..NewRecord::default()
        })?;
    }
    Ok(builder.build()?)
}

/// What a broker answered to a batch.
pub(super) fn produce(
    connection: &mut Connection,
    topic: &str,
    partition: Partition,
    batch: Bytes,
) -> Result<(ErrorCode, i64), ClientError> {
    let part = PartitionProduceData {
        index: partition.0,
        records: Records::Chunks(vec![batch]),
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: PRODUCE_TIMEOUT_MS,
        topic_data: vec![TopicProduceData {
            name: topic,
            partition_data: vec![part],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let reply = connection.call_within(&request, BY_NAME_MAX, PRODUCE_WAIT)?;
    let response = reply.decode()?;
    let parts = response.responses.iter();
    let mut parts = parts.flat_map(|topic| &topic.partition_responses);
    let part = parts.next().ok_or_else(|| nothing(connection.address()))?;
    Ok((part.error_code, part.base_offset))
}

fn nothing(address: &str) -> ClientError {
    ClientError::Protocol {
        address: address.to_owned(),
        reason: "an answer without the partition".to_owned(),
    }
}

/// Where to read a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) partition: Partition,
    pub(super) offset: i64,
    /// Leader epoch that is known; -1 for none.
    pub(super) epoch: i32,
}

/// What a fetch gave of one partition.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) partition: Partition,
    pub(super) code: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) records: Vec<Record>,
}

/// Reads partitions from one broker, waiting there for up to `wait` for records.
pub(super) fn fetch(
    connection: &mut Connection,
    topic: &str,
    positions: &[Position],
    wait: Duration,
) -> Result<Vec<Piece>, ClientError> {
    let partitions = positions.iter().map(|position| FetchPartition {
        partition: position.partition.0,
        current_leader_epoch: position.epoch,
        fetch_offset: position.offset,
        partition_max_bytes: FETCH_BYTES,
        ..FetchPartition::default()
    });
    let request = FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(0),
        min_bytes: 1,
        max_bytes: FETCH_BYTES,
        topics: vec![FetchTopic {
            topic,
            partitions: partitions.collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let reply = connection.call_within(&request, BY_NAME_MAX, FETCH_WAIT)?;
    let response = reply.decode()?;
    check_code("fetch", response.error_code)?;
    let mut pieces = Vec::new();
    for part in response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
    {
        let partition = Partition(part.partition_index);
        let asked = positions.iter().find(|asked| asked.partition == partition);
        let from = asked.ok_or_else(|| nothing(connection.address()))?.offset;
        pieces.push(piece(connection.address(), part, from)?);
    }
    Ok(pieces)
}

fn piece(address: &str, part: &PartitionData<'_>, from: i64) -> Result<Piece, ClientError> {
    let damaged = |reason: String| ClientError::Protocol {
        address: address.to_owned(),
        reason,
    };
    let mut records = Vec::new();
    for batch in Batches::until_truncated(part.records.borrowed().unwrap_or_default()) {
        let batch = batch.map_err(|error| damaged(error.to_string()))?;
        batch
            .verify_crc()
            .map_err(|error| damaged(error.to_string()))?;
        let epoch = Epoch(batch.header.leader_epoch.get());
        let set = RecordSet::decode(batch.bytes, &DecodeLimits::default());
        let set = set.map_err(|error| damaged(error.to_string()))?;
        for record in &set {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            let value = record.value.and_then(|bytes| bytes.first_chunk::<8>());
            let value = value.ok_or_else(|| damaged("a record without a value".to_owned()))?;
            if record.offset.get() >= from {
                records.push(Record {
                    offset: record.offset.get(),
                    value: Value(u64::from_be_bytes(*value)),
                    epoch,
                });
            }
        }
    }
    Ok(Piece {
        partition: Partition(part.partition_index),
        code: part.error_code,
        high_watermark: part.high_watermark,
        records,
    })
}

/// Leader and epoch of a partition as one broker names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) broker: i32,
    pub(super) epoch: i32,
}

/// The leaders that a broker names; none where it knows of none.
pub(super) fn leaders(
    connection: &mut Connection,
    topic: &str,
) -> Result<Vec<(Partition, Option<Leader>)>, ClientError> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(topic),
            ..MetadataRequestTopic::default()
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let reply = connection.call(&request)?;
    let response = reply.decode()?;
    let parts = response.topics.iter().flat_map(|topic| &topic.partitions);
    let leader = parts.map(|part| {
        let leader = Leader {
            broker: part.leader_id,
            epoch: part.leader_epoch,
        };
        let known = part.leader_id >= 0 && part.error_code.is_none();
        (Partition(part.partition_index), known.then_some(leader))
    });
    Ok(leader.collect())
}

/// Asks a broker to create a topic of one partition; what it answers.
pub(super) fn create_once(
    connection: &mut Connection,
    topic: &str,
    wait: Duration,
) -> Result<ErrorCode, ClientError> {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: topic,
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        timeout_ms: ADMIN_TIMEOUT_MS,
        ..CreateTopicsRequest::default()
    };
    let reply = connection.call_within(&request, i16::MAX, wait)?;
    let response = reply.decode()?;
    let first = response.topics.first();
    first
        .map(|topic| topic.error_code)
        .ok_or_else(|| nothing(connection.address()))
}

/// Asks a broker to commit an offset of a group without members; what it answers.
pub(super) fn commit_once(
    connection: &mut Connection,
    topic: &str,
    group: &str,
    wait: Duration,
) -> Result<ErrorCode, ClientError> {
    let request = OffsetCommitRequest {
        group_id: group,
        topics: vec![OffsetCommitRequestTopic {
            name: topic,
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 1,
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let reply = connection.call_within(&request, i16::MAX, wait)?;
    let response = reply.decode()?;
    let mut parts = response.topics.iter().flat_map(|topic| &topic.partitions);
    parts
        .next()
        .map(|part| part.error_code)
        .ok_or_else(|| nothing(connection.address()))
}

/// A producer id of one's own.
pub(super) fn identity(connection: &mut Connection) -> Result<Identity, ClientError> {
    let reply = connection.call(&InitProducerIdRequest::default())?;
    let response = reply.decode()?;
    check_code("get a producer id", response.error_code)?;
    Ok(Identity {
        id: ProducerId::new(response.producer_id),
        epoch: ProducerEpoch::new(response.producer_epoch),
        next: Sequence::ZERO,
    })
}

fn check_code(operation: &str, code: ErrorCode) -> Result<(), ClientError> {
    if code.is_none() {
        return Ok(());
    }
    Err(ClientError::Refused {
        operation: operation.to_owned(),
        code,
        message: None,
    })
}
