//! The client against a small broker in this process that loses connections and answers.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use client::{
    Acks, Client, ClientError, ClientSettings, FailureKind, Fetcher, FetcherSettings, OffsetSpec,
    Producer, ProducerSettings, TopicPartition,
};
use segment::batch::{BatchHeader, assign};
use segment::record::NewRecord;
use segment::{LeaderEpoch, Offset, PartitionIndex};
use wire::messages::api_versions::ApiVersion;
use wire::messages::fetch::{FetchableTopicResponse, PartitionData};
use wire::messages::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use wire::messages::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use wire::messages::produce::{PartitionProduceResponse, TopicProduceResponse};
use wire::messages::*;
use wire::{ApiKey, ErrorCode, Message, Records, RequestHeader, Uuid, encode_response};

const TOPIC: &str = "t";
const TOPIC_ID: Uuid = Uuid([7; 16]);
const NODE: i32 = 3;
const NO_NODE: i32 = -1;

/// What happens to produce and fetch requests, by their number.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Nothing.
    None,
    /// The connection is closed before the request is looked at.
    CloseBefore,
    /// The request is carried out, and the connection is closed instead of an answer.
    CloseAfter,
    /// The answer is an error that may pass.
    Refuse,
    /// As `Refuse`, and the next answers to Metadata name no leader: the partition moves.
    Move,
}

/// Answers to Metadata without a leader while a partition moves.
const LEADERLESS_ANSWERS: u32 = 3;

#[derive(Debug, Default)]
struct State {
    batches: Vec<Bytes>,
    end: i64,
    next_sequence: i32,
    requests: u64,
    /// Answers to Metadata that are to name no leader.
    leaderless: u32,
    /// Fetch sessions begun.
    sessions: i32,
    /// The offset that the session remembers.
    asked: Option<i64>,
}

struct Broker {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Broker {
    fn start(faults: fn(u64) -> Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), shared.clone());
                std::thread::spawn(move || serve(stream, port, &shared, faults));
            }
        });
        Self { port, state }
    }

    fn client(&self) -> Client {
        let settings = ClientSettings::with_bootstrap(&format!("127.0.0.1:{}", self.port));
        let (retry_wait, retry_wait_max) = (Duration::from_millis(1), Duration::from_millis(20));
        Client::connect(ClientSettings {
            retry_wait,
            retry_wait_max,
            ..settings
        })
        .unwrap()
    }
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).ok()?];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

fn serve(mut stream: TcpStream, port: u16, state: &Mutex<State>, faults: fn(u64) -> Fault) {
    use std::io::Write;
    stream.set_nodelay(true).unwrap();
    while let Some(frame) = read_frame(&mut stream) {
        let (key, version, correlation_id) = RequestHeader::peek(&frame).unwrap();
        let api = ApiKey::try_from(key).unwrap();
        let mut state = state.lock().unwrap();
        let fault = match api {
            ApiKey::Produce | ApiKey::Fetch => {
                state.requests += 1;
                faults(state.requests)
            }
            _ => Fault::None,
        };
        if matches!(fault, Fault::CloseBefore) {
            return;
        }
        let refuse = matches!(fault, Fault::Refuse | Fault::Move);
        if matches!(fault, Fault::Move) {
            state.leaderless = LEADERLESS_ANSWERS;
        }
        let frame = match api {
            ApiKey::ApiVersions => encode(correlation_id, api, version, &versions()),
            ApiKey::Metadata => {
                let leader = match state.leaderless {
                    0 => NODE,
                    _ => NO_NODE,
                };
                state.leaderless = state.leaderless.saturating_sub(1);
                let answer = metadata(i32::from(port), leader);
                encode(correlation_id, api, version, &answer)
            }
            ApiKey::InitProducerId => {
                let answer = InitProducerIdResponse {
                    producer_id: 9,
                    ..InitProducerIdResponse::default()
                };
                encode(correlation_id, api, version, &answer)
            }
            ApiKey::ListOffsets => encode(correlation_id, api, version, &offsets(&state)),
            ApiKey::Produce => {
                let (_, request) = wire::decode_request::<ProduceRequest<'_>>(&frame).unwrap();
                let answer = produce(&mut state, &request, refuse);
                encode(correlation_id, api, version, &answer)
            }
            ApiKey::Fetch => {
                let (_, request) = wire::decode_request::<FetchRequest<'_>>(&frame).unwrap();
                let batches = state.batches.clone();
                let answer = fetch(&mut state, &batches, &request, refuse);
                encode(correlation_id, api, version, &answer)
            }
            other => panic!("{other} is not served"),
        };
        drop(state);
        if matches!(fault, Fault::CloseAfter) {
            return;
        }
        if stream.write_all(&frame.to_bytes()).is_err() {
            return;
        }
    }
}

fn encode<'a, M: Message<'a>>(id: i32, api: ApiKey, version: i16, answer: &M) -> wire::Frame {
    encode_response(id, api, version, answer).unwrap()
}

fn versions() -> ApiVersionsResponse<'static> {
    let served = [
        ApiKey::ApiVersions,
        ApiKey::Metadata,
        ApiKey::InitProducerId,
        ApiKey::ListOffsets,
        ApiKey::Produce,
        ApiKey::Fetch,
    ];
    let version = |api: &ApiKey| {
        let versions = wire::supported_versions(*api);
        let (min_version, max_version) = (versions.min, versions.max);
        ApiVersion {
            api_key: api.as_i16(),
            min_version,
            max_version,
        }
    };
    let api_keys = served.iter().map(version).collect();
    ApiVersionsResponse {
        api_keys,
        ..ApiVersionsResponse::default()
    }
}

fn metadata(port: i32, leader_id: i32) -> MetadataResponse<'static> {
    let broker = MetadataResponseBroker {
        node_id: NODE,
        host: "127.0.0.1",
        port,
        rack: None,
    };
    let partition = MetadataResponsePartition {
        error_code: match leader_id {
            NO_NODE => ErrorCode::LEADER_NOT_AVAILABLE,
            _ => ErrorCode::NONE,
        },
        leader_id,
        ..Default::default()
    };
    let topic = MetadataResponseTopic {
        name: Some(TOPIC),
        topic_id: TOPIC_ID,
        partitions: vec![partition],
        ..Default::default()
    };
    let (brokers, topics) = (vec![broker], vec![topic]);
    MetadataResponse {
        brokers,
        topics,
        controller_id: NODE,
        ..Default::default()
    }
}

fn offsets(state: &State) -> ListOffsetsResponse<'static> {
    let offset = state.end;
    let partition = ListOffsetsPartitionResponse {
        offset,
        ..Default::default()
    };
    let topic = ListOffsetsTopicResponse {
        name: TOPIC,
        partitions: vec![partition],
    };
    ListOffsetsResponse {
        topics: vec![topic],
        ..Default::default()
    }
}

/// Appends as a broker does for an idempotent producer: in sequence, each batch once.
fn produce(
    state: &mut State,
    request: &ProduceRequest<'_>,
    refuse: bool,
) -> ProduceResponse<'static> {
    let topic = &request.topic_data[0];
    assert_eq!(topic.topic_id, TOPIC_ID);
    let batch = topic.partition_data[0].records.borrowed().unwrap();
    let header = BatchHeader::parse_whole(batch).unwrap();
    header.verify_crc(batch).unwrap();
    let sequence = header.base_sequence.get();
    let mut base_offset = -1;
    let error_code = if refuse {
        ErrorCode::NOT_LEADER_OR_FOLLOWER
    } else if sequence >= 0 && sequence > state.next_sequence {
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
    } else if sequence >= 0 && sequence < state.next_sequence {
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER
    } else {
        let mut bytes = BytesMut::from(batch);
        assign(&mut bytes, Offset::new(state.end), LeaderEpoch::ZERO);
        base_offset = state.end;
        state.end += i64::from(header.record_count);
        state.next_sequence += header.record_count.cast_signed();
        state.batches.push(bytes.freeze());
        ErrorCode::NONE
    };
    let partition = PartitionProduceResponse {
        error_code,
        base_offset,
        ..Default::default()
    };
    let partition_responses = vec![partition];
    let topic = TopicProduceResponse {
        topic_id: TOPIC_ID,
        partition_responses,
        ..TopicProduceResponse::default()
    };
    ProduceResponse {
        responses: vec![topic],
        ..ProduceResponse::default()
    }
}

/// Gives the batch that holds the offset asked for; an incremental fetch must name a change.
fn fetch<'a>(
    state: &mut State,
    batches: &'a [Bytes],
    request: &FetchRequest<'_>,
    refuse: bool,
) -> FetchResponse<'a> {
    if request.session_epoch == 0 {
        state.sessions += 1;
    }
    let session_id = state.sessions;
    if let Some(topic) = request.topics.first() {
        state.asked = Some(topic.partitions[0].fetch_offset);
    }
    let Some(offset) = state.asked else {
        return FetchResponse {
            session_id,
            ..FetchResponse::default()
        };
    };
    let holds = |batch: &&Bytes| BatchHeader::parse(batch).unwrap().last_offset().get() >= offset;
    let found = batches.iter().find(holds).filter(|_| !refuse);
    let error_code = match refuse {
        true => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        false => ErrorCode::NONE,
    };
    let data = PartitionData {
        error_code,
        high_watermark: state.end,
        records: found.map_or(Records::Null, |batch| Records::Borrowed(batch)),
        ..PartitionData::default()
    };
    let topic = FetchableTopicResponse {
        topic_id: TOPIC_ID,
        partitions: vec![data],
        ..FetchableTopicResponse::default()
    };
    FetchResponse {
        session_id,
        responses: vec![topic],
        ..FetchResponse::default()
    }
}

fn produce_numbers(broker: &Broker, count: u32, settings: ProducerSettings) -> Producer {
    let mut producer = Producer::new(broker.client(), settings).unwrap();
    for number in 0..count {
        let value = number.to_be_bytes();
        let record = NewRecord {
            value: Some(&value),
            ..NewRecord::default()
        };
        producer.send(TOPIC, None, record).unwrap();
    }
    producer.flush().unwrap();
    producer
}

fn read_numbers(broker: &Broker, count: usize) -> Vec<u32> {
    let mut client = broker.client();
    client.topic(TOPIC).unwrap();
    let mut fetcher = Fetcher::new(FetcherSettings::default());
    let partition = TopicPartition::new(TOPIC, PartitionIndex::ZERO);
    fetcher.assign([(partition, Offset::ZERO)]);
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let fetched = fetcher
            .poll(&mut client, Duration::from_secs(10))
            .unwrap()
            .unwrap();
        let flow = fetched.for_each(|record| {
            assert_eq!(record.offset.get(), i64::try_from(numbers.len()).unwrap());
            numbers.push(u32::from_be_bytes(
                record.value.unwrap().try_into().unwrap(),
            ));
            ControlFlow::<()>::Continue(())
        });
        assert!(flow.unwrap().is_continue());
    }
    numbers
}

fn small_batches() -> ProducerSettings {
    ProducerSettings {
        batch_bytes: 300,
        ..ProducerSettings::default()
    }
}

#[test]
fn records_arrive_once_and_in_order() {
    let broker = Broker::start(|_| Fault::None);
    let producer = produce_numbers(&broker, 5_000, small_batches());
    let produced = producer.produced();
    assert_eq!(
        (produced.records, produced.bytes, produced.resent),
        (5_000, 20_000, 0)
    );
    assert_eq!(read_numbers(&broker, 5_000), (0..5_000).collect::<Vec<_>>());
}

#[test]
fn lost_connections_and_refusals_neither_lose_nor_repeat_records() {
    let faults = |number: u64| match number {
        _ if number % 13 == 5 => Fault::CloseAfter,
        _ if number % 17 == 3 => Fault::CloseBefore,
        _ if number % 7 == 2 => Fault::Refuse,
        _ => Fault::None,
    };
    let broker = Broker::start(faults);
    let producer = produce_numbers(&broker, 5_000, small_batches());
    assert!(producer.produced().resent > 50, "{:?}", producer.produced());
    assert_eq!(broker.state.lock().unwrap().end, 5_000);
    assert_eq!(read_numbers(&broker, 5_000), (0..5_000).collect::<Vec<_>>());
}

#[test]
fn a_partition_without_a_leader_for_a_while_is_asked_for_again() {
    let broker = Broker::start(|number| match number {
        2 => Fault::Move,
        _ => Fault::None,
    });
    let settings = ProducerSettings {
        delivery_timeout: Duration::from_secs(10),
        ..small_batches()
    };
    produce_numbers(&broker, 1_000, settings);
    assert_eq!(read_numbers(&broker, 1_000), (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_failure_that_does_not_pass_ends_in_a_timeout_that_says_why() {
    let broker = Broker::start(|_| Fault::Refuse);
    let delivery_timeout = Duration::from_millis(200);
    let settings = ProducerSettings {
        delivery_timeout,
        ..ProducerSettings::default()
    };
    let mut producer = Producer::new(broker.client(), settings).unwrap();
    let record = NewRecord {
        value: Some(b"v"),
        ..NewRecord::default()
    };
    producer.send(TOPIC, None, record).unwrap();
    let error = producer.flush().unwrap_err();
    assert_eq!(error.kind(), FailureKind::TimedOut);
    assert!(
        error.to_string().contains("NOT_LEADER_OR_FOLLOWER"),
        "{error}"
    );
}

#[test]
fn settings_and_partitions_that_cannot_be_used_are_refused() {
    let broker = Broker::start(|_| Fault::None);
    let settings = ProducerSettings {
        acks: Acks::Leader,
        ..ProducerSettings::default()
    };
    let error = Producer::new(broker.client(), settings).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Usage);
    let mut producer = Producer::new(broker.client(), ProducerSettings::default()).unwrap();
    let record = NewRecord {
        value: Some(b"v"),
        ..NewRecord::default()
    };
    let error = producer
        .send(TOPIC, Some(PartitionIndex::new(1)), record)
        .unwrap_err();
    assert!(
        matches!(error, ClientError::UnknownPartition { count: 1, .. }),
        "{error}"
    );
}

#[test]
fn nobody_there_is_said_at_once() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let settings = ClientSettings::with_bootstrap(&format!("127.0.0.1:{port}"));
    let error = Client::connect(settings).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unreachable);
    assert!(error.to_string().contains("connection refused"), "{error}");
}

#[test]
fn offsets_are_looked_up_at_the_leader() {
    let broker = Broker::start(|_| Fault::None);
    produce_numbers(&broker, 10, ProducerSettings::default());
    let partition = TopicPartition::new(TOPIC, PartitionIndex::ZERO);
    let mut client = broker.client();
    let found = client
        .offsets(std::slice::from_ref(&partition), OffsetSpec::Latest)
        .unwrap();
    assert_eq!(found[&partition].offset, Some(Offset::new(10)));
}
