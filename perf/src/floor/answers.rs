//! What the floor server says, without a socket: a request comes in, the parts of a reply go out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use rustls::ServerConfig;
use wire::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use wire::messages::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use wire::messages::delete_topics::DeleteTopicsResponse;
use wire::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use wire::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use wire::{ApiKey, Frame, Message, RequestHeader, decode_request, encode_response};

use super::fetch::Walks;
use super::{Options, Stall, groups};

/// Bytes of a response before its body: the length and the correlation id.
pub(super) const HEAD_BYTES: usize = 8;
/// What the server says it serves: key, lowest and highest version.
const VERSIONS: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 12),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::Metadata, 4, 9),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 5),
    (ApiKey::DeleteTopics, 1, 5),
];

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    address: SocketAddr,
    /// Partitions of the topic that was created last: every topic has so many.
    partitions: Arc<AtomicI32>,
    data_bytes: u64,
    stall: Option<Stall>,
    /// How TLS is spoken; none where it is not.
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl Shared {
    pub(super) fn new(
        address: SocketAddr,
        options: &Options,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        Self {
            address,
            partitions: Arc::new(AtomicI32::new(1)),
            data_bytes: options.data_bytes,
            stall: options.stall,
            tls,
        }
    }
}

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Reply {
    /// In this order.
    pub(super) parts: Vec<Bytes>,
    /// To wait before.
    pub(super) pause: Option<Duration>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    shared: Shared,
    walks: Walks,
    produced: u64,
}

impl Session {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared,
            walks: Walks::default(),
            produced: 0,
        }
    }

    /// The reply to a request, which is given without its length; none where the client wants none.
    pub(super) fn answer(&mut self, frame: &[u8]) -> Result<Option<Reply>> {
        let (key, version, id) = RequestHeader::peek(frame)?;
        let key = ApiKey::try_from(key).map_err(|kind| anyhow::anyhow!("{kind:?}"))?;
        let mut pause = None;
        let parts = match key {
            ApiKey::Fetch => {
                let partitions = self.shared.partitions.load(Ordering::Relaxed);
                let share = self.shared.data_bytes / partitions.max(1).unsigned_abs() as u64;
                let whole = self.walks.answer(frame, share)?;
                with_id(whole, &[], id)
            }
            ApiKey::Produce => {
                let stall = self.shared.stall;
                let stall = stall.filter(|stall| stall.after_requests == self.produced);
                pause = stall.map(|stall| stall.pause);
                self.produced += 1;
                let Some(answer) = produce_answer(frame, version)? else {
                    return Ok(None);
                };
                of_frame(&answer, id)?
            }
            _ => of_frame(&other_answer(key, version, frame, &self.shared)?, id)?,
        };
        Ok(Some(Reply { parts, pause }))
    }
}

/// The parts of a frame under another correlation id.
fn of_frame(frame: &Frame, correlation_id: i32) -> Result<Vec<Bytes>> {
    let (first, rest) = frame.parts.split_first().context("a frame has a part")?;
    Ok(with_id(first, rest, correlation_id))
}

/// The length of `first` and this correlation id, then what lies behind them.
fn with_id(first: &Bytes, rest: &[Bytes], correlation_id: i32) -> Vec<Bytes> {
    let mut head = [0; HEAD_BYTES];
    let (length, id) = head.split_at_mut(HEAD_BYTES / 2);
    length.copy_from_slice(&first[..HEAD_BYTES / 2]);
    id.copy_from_slice(&correlation_id.to_be_bytes());
    let mut parts = Vec::with_capacity(rest.len() + 2);
    parts.push(Bytes::copy_from_slice(&head));
    parts.push(first.slice(HEAD_BYTES..));
    parts.extend_from_slice(rest);
    parts
}
fn produce_answer(frame: &[u8], version: i16) -> Result<Option<Frame>> {
    let (_, request) = decode_request::<ProduceRequest<'_>>(frame)?;
    if request.acks == 0 {
        return Ok(None);
    }
    let topics = request.topic_data.iter().map(|topic| TopicProduceResponse {
        name: topic.name,
        partition_responses: (topic.partition_data.iter())
            .map(|data| PartitionProduceResponse {
                index: data.index,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let response = ProduceResponse {
        responses: topics.collect(),
        ..Default::default()
    };
    Ok(Some(encode_response(
        0,
        ApiKey::Produce,
        version,
        &response,
    )?))
}

fn other_answer(key: ApiKey, version: i16, frame: &[u8], shared: &Shared) -> Result<Frame> {
    match key {
        ApiKey::ApiVersions => {
            let rows = VERSIONS.iter().chain(groups::VERSIONS);
            let rows = rows.map(|(key, min_version, max_version)| ApiVersion {
                api_key: key.as_i16(),
                min_version: *min_version,
                max_version: *max_version,
            });
            let api_keys = rows.collect();
            let response = ApiVersionsResponse {
                api_keys,
                ..Default::default()
            };
            encode(key, version, &response)
        }
        ApiKey::Metadata => metadata_answer(version, frame, shared),
        ApiKey::CreateTopics => {
            let (_, request) = decode_request::<CreateTopicsRequest<'_>>(frame)?;
            let topic = request.topics.first().context("no topic")?;
            shared
                .partitions
                .store(topic.num_partitions, Ordering::Relaxed);
            let result = CreatableTopicResult {
                name: topic.name,
                ..Default::default()
            };
            let topics = vec![result];
            encode(
                key,
                version,
                &CreateTopicsResponse {
                    topics,
                    ..Default::default()
                },
            )
        }
        ApiKey::DeleteTopics => encode(key, version, &DeleteTopicsResponse::default()),
        _ => groups::answer(key, version, frame, shared.address),
    }
}

fn metadata_answer(version: i16, frame: &[u8], shared: &Shared) -> Result<Frame> {
    let (_, request) = decode_request::<MetadataRequest<'_>>(frame)?;
    let host = shared.address.ip().to_string();
    let partitions = (0..shared.partitions.load(Ordering::Relaxed)).map(|partition_index| {
        MetadataResponsePartition {
            partition_index,
            leader_id: 0,
            ..Default::default()
        }
    });
    let partitions: Vec<_> = partitions.collect();
    let names = request.topics.iter().flatten().map(|topic| topic.name);
    let topics = names.map(|name| MetadataResponseTopic {
        name,
        partitions: partitions.clone(),
        ..Default::default()
    });
    let response = MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: 0,
            host: &host,
            port: i32::from(shared.address.port()),
            ..Default::default()
        }],
        controller_id: 0,
        topics: topics.collect(),
        ..Default::default()
    };
    encode(ApiKey::Metadata, version, &response)
}

pub(super) fn encode<'a, M: Message<'a>>(key: ApiKey, version: i16, response: &M) -> Result<Frame> {
    Ok(encode_response(0, key, version, response)?)
}
