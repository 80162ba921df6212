//! The physical floor: a server that frames like Kafka and does nothing else.
//!
//! One std thread per connection with blocking calls; a fetch is answered with bytes that were
//! prepared before, in one vectored write. What a broker takes beyond this server's latency, with
//! the same client on the same machine, is the broker's own. It speaks just enough of the protocol
//! to serve the runs of this crate; it stores nothing.

mod groups;

use std::io::{ErrorKind, IoSlice};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use segment::batch::assign;
use segment::{LeaderEpoch, Offset};
use wire::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use wire::messages::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use wire::messages::delete_topics::DeleteTopicsResponse;
use wire::messages::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use wire::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use wire::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use wire::{ApiKey, Frame, Message, Records, RequestHeader, decode_request, encode_response};

use crate::connection::{FrameReader, write_all_vectored};
use crate::payload::{Shape, wall_clock};

/// Name of this server in results.
pub const FLOOR_NAME: &str = "floor";
/// Where the correlation id lies in a response: behind the length.
const CORRELATION_ID_AT: usize = 4;
/// Batches of an answer are not larger than this.
const BATCH_BYTES_MAX: usize = 16 * 1024;
/// How often the acceptor looks whether it should stop.
const ACCEPT_POLL: Duration = Duration::from_millis(20);
/// What the server says it serves: key, lowest and highest version.
const VERSIONS: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 12),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::Metadata, 4, 9),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 5),
    (ApiKey::DeleteTopics, 1, 5),
];

/// A pause that the server makes once on each connection.
#[derive(Debug, Clone, Copy)]
pub struct Stall {
    /// Produce requests that are answered before it.
    pub after_requests: u64,
    /// Its length.
    pub pause: Duration,
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct FloorServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    acceptor: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Clone)]
struct Shared {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    partitions: Arc<AtomicI32>,
    stall: Option<Stall>,
}

impl FloorServer {
    /// Listens on `address`, which may have port 0.
    ///
    /// # Errors
    /// The address is taken.
    pub fn start(address: &str, stall: Option<Stall>) -> Result<Self> {
        let listener =
            TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Shared {
            address,
            stop: stop.clone(),
            partitions: Arc::new(AtomicI32::new(1)),
            stall,
        };
        let acceptor = std::thread::Builder::new().name("floor".to_owned());
        let acceptor = Some(acceptor.spawn(move || accept(&listener, &shared))?);
        Ok(Self {
            address,
            stop,
            acceptor,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process ends.
    pub fn serve(mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            // A panic there has printed its message.
            let _ = acceptor.join();
        }
    }
}

impl Drop for FloorServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            // See `serve`.
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Shared) {
    std::thread::scope(|scope| {
        while !shared.stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    // A connection that fails ends alone; its client sees why.
                    scope.spawn(move || drop(serve_connection(stream, shared)));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(ACCEPT_POLL),
                Err(_) => return,
            }
        }
    });
}

/// An answer to fetches of one size of one partition.
struct Answer {
    partition: i32,
    bytes_max: i32,
    version: i16,
    frame: Frame,
}

fn serve_connection(stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = FrameReader::new(stream)?;
    let mut answers: Vec<Answer> = Vec::new();
    let mut produced = 0;
    while let Some(frame) = reader.next_unless(|| shared.stop.load(Ordering::Relaxed))? {
        let (key, version, id) = RequestHeader::peek(frame)?;
        let key = ApiKey::try_from(key).map_err(|kind| anyhow::anyhow!("{kind:?}"))?;
        match key {
            ApiKey::Fetch => send(&mut writer, fetch_answer(&mut answers, frame)?, id)?,
            ApiKey::Produce => {
                if let Some(stall) = shared.stall.filter(|s| s.after_requests == produced) {
                    std::thread::sleep(stall.pause);
                }
                produced += 1;
                let Some(answer) = produce_answer(frame, version)? else {
                    continue;
                };
                send(&mut writer, &answer, id)?;
            }
            _ => {
                let answer = other_answer(key, version, frame, shared)?;
                send(&mut writer, &answer, id)?;
            }
        }
    }
    Ok(())
}

fn send(writer: &mut TcpStream, frame: &Frame, correlation_id: i32) -> Result<()> {
    let (first, rest) = frame.parts.split_first().context("a frame has a part")?;
    let (length, behind) = first.split_at(CORRELATION_ID_AT);
    let id = correlation_id.to_be_bytes();
    let mut slices = vec![IoSlice::new(length), IoSlice::new(&id)];
    slices.push(IoSlice::new(behind.get(id.len()..).unwrap_or_default()));
    slices.extend(rest.iter().map(|part| IoSlice::new(part)));
    Ok(write_all_vectored(writer, &mut slices)?)
}

fn fetch_answer<'a>(answers: &'a mut Vec<Answer>, frame: &[u8]) -> Result<&'a Frame> {
    let (header, request) = decode_request::<FetchRequest<'_>>(frame)?;
    let topic = request.topics.first().context("a fetch without a topic")?;
    let asked = topic
        .partitions
        .first()
        .context("a fetch without a partition")?;
    let (partition, bytes_max) = (asked.partition, asked.partition_max_bytes);
    let version = header.api_version;
    let known = answers.iter().position(|answer| {
        (answer.partition, answer.bytes_max, answer.version) == (partition, bytes_max, version)
    });
    let index = match known {
        Some(index) => index,
        None => {
            let frame = build_fetch_answer(topic.topic, partition, bytes_max, version)?;
            answers.push(Answer {
                partition,
                bytes_max,
                version,
                frame,
            });
            answers.len() - 1
        }
    };
    Ok(&answers[index].frame)
}

fn build_fetch_answer(topic: &str, partition: i32, bytes: i32, version: i16) -> Result<Frame> {
    let bytes = usize::try_from(bytes)?;
    let batch_bytes = bytes.min(BATCH_BYTES_MAX);
    let shape = Shape {
        batch_bytes,
        record_bytes: 1024.min(batch_bytes),
    };
    let payload = shape.build(wall_clock(), None)?;
    let mut whole = Vec::with_capacity(bytes);
    let mut offset = 0;
    while whole.len() + payload.bytes.len() <= bytes {
        let mut batch = payload.bytes.to_vec();
        assign(&mut batch, Offset::new(offset), LeaderEpoch::ZERO);
        whole.extend_from_slice(&batch);
        offset += i64::try_from(payload.records)?;
    }
    let data = PartitionData {
        partition_index: partition,
        high_watermark: offset,
        last_stable_offset: offset,
        log_start_offset: 0,
        records: Records::Chunks(vec![Bytes::from(whole)]),
        ..Default::default()
    };
    let response = FetchResponse {
        session_id: 1,
        responses: vec![FetchableTopicResponse {
            topic,
            partitions: vec![data],
            ..Default::default()
        }],
        ..Default::default()
    };
    Ok(encode_response(0, ApiKey::Fetch, version, &response)?)
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

fn encode<'a, M: Message<'a>>(key: ApiKey, version: i16, response: &M) -> Result<Frame> {
    Ok(encode_response(0, key, version, response)?)
}
