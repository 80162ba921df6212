//! What the suites share: brokers in this process, connections that send typed requests one by one
//! and read replies one by one, and batches.
//!
//! A connection does nothing by itself: no retry, no version negotiation, no metadata. Every read
//! has a time limit, so that a broker that does not answer fails the test that waits for it.

#![allow(dead_code, reason = "each suite uses a part of this")]

pub(crate) mod child;
pub(crate) mod original;
pub(crate) mod ports;
pub(crate) mod quiet;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use broker::config::Config;
use broker::start::{Running, StartError, Stores, run_on};
use bytes::Bytes;
use coord::keys::cluster::CommitMode;
use coord::kv::embedded::Embedded;
use futures_channel::oneshot;
use segment::TimestampMs;
use segment::batch::BatchHeader;
use segment::record::{NewRecord, RecordBatchBuilder};
use store::ObjectStore;
use store::memory::MemoryStore;
use tempfile::TempDir;
use wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use wire::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
use wire::messages::produce::{PartitionProduceData, TopicProduceData};
use wire::messages::{CreateTopicsRequest, FetchRequest, ProduceRequest};
use wire::{ErrorCode, Records, Request, RequestHeader, Uuid};

/// Longest wait for any reply.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for a broker to serve.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a produce request of these tests may wait, as it says itself.
pub(crate) const PRODUCE_TIMEOUT: Duration = Duration::from_secs(15);

/// A broker in this process, on stores of its own.
pub(crate) struct LocalBroker {
    pub(crate) kafka: SocketAddr,
    admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), StartError>>>,
    objects: Arc<dyn ObjectStore>,
    kv: Arc<Embedded>,
    config: Config,
    directory: Arc<TempDir>,
}

impl LocalBroker {
    /// A broker whose objects are in memory, with some settings beside those of [`base`].
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_on(Arc::new(MemoryStore::new()), settings)
    }

    pub(crate) fn start_on(objects: Arc<dyn ObjectStore>, settings: &[(&str, &str)]) -> Self {
        let config = Config::with(&[&base(), settings].concat()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kv = Arc::new(Embedded::open(directory.path()).unwrap());
        Self::run(config, objects, kv, Arc::new(directory))
    }

    fn run(
        config: Config,
        objects: Arc<dyn ObjectStore>,
        kv: Arc<Embedded>,
        directory: Arc<TempDir>,
    ) -> Self {
        let stores = Stores {
            objects: objects.clone(),
            backups: None,
            kv: kv.clone(),
            place: "memory".to_owned(),
            mode: CommitMode::Conditional,
            replaces: true,
            shared: false,
        };
        let (stop, stopped) = oneshot::channel();
        let (ready, told) = std::sync::mpsc::channel::<Running>();
        let settings = config.clone();
        let thread = std::thread::spawn(move || {
            run_on(settings, stores, stopped, move |running| {
                ready.send(running).unwrap();
            })
        });
        let running = told.recv_timeout(READY_TIMEOUT).unwrap();
        Self {
            kafka: running.kafka,
            admin: running.admin,
            stop: Some(stop),
            thread: Some(thread),
            objects,
            kv,
            config,
            directory,
        }
    }

    /// Ends the broker in good order.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap().unwrap();
    }

    /// Ends the broker in good order and starts another on its stores, on other ports.
    pub(crate) fn restart(mut self) -> Self {
        self.end();
        let (objects, kv) = (self.objects.clone(), self.kv.clone());
        Self::run(self.config.clone(), objects, kv, self.directory.clone())
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.kafka)
    }

    /// Where metrics and health are.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric(self.admin, name)
    }
}

impl Drop for LocalBroker {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

/// Settings of a small broker on free ports.
fn base() -> [(&'static str, &'static str); 7] {
    [
        ("broker.addr", "127.0.0.1:0"),
        ("admin.metrics_addr", "127.0.0.1:0"),
        ("shard.count", "2"),
        ("shard.pin", "false"),
        ("memory.budget_bytes", "64MiB"),
        ("memory.cache_bytes", "64MiB"),
        ("log.flush_interval_ms", "2"),
    ]
}

/// A page of the metrics listener; nothing while nobody listens.
pub(crate) fn page(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The sum of all samples of the metrics whose name, with labels, begins so.
pub(crate) fn metric(admin: SocketAddr, name: &str) -> f64 {
    let page = page(admin, "/metrics").unwrap();
    let samples = page.lines().filter(|line| line.starts_with(name));
    let values: Vec<f64> = samples
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(!values.is_empty(), "there is no metric {name}");
    values.iter().sum()
}

/// Asks again and again until `done`; fails after `limit`.
pub(crate) fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A topic as fetches and produce requests name it: by name, or from v13 on by id.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
}

/// What a produce request came to, for its one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Produced {
    pub(crate) error: ErrorCode,
    pub(crate) base_offset: i64,
}

impl Produced {
    pub(crate) fn offset(self) -> i64 {
        assert_eq!(self.error, ErrorCode::NONE, "the batch is refused");
        self.base_offset
    }
}

/// What a fetch asks of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    topic: Topic,
    index: i32,
    offset: i64,
    max_bytes: i32,
    leader_epoch: i32,
}

impl Wanted {
    pub(crate) fn new(topic: &Topic, index: i32, offset: i64) -> Self {
        Self {
            topic: topic.clone(),
            index,
            offset,
            max_bytes: 1 << 20,
            leader_epoch: -1,
        }
    }

    pub(crate) fn max_bytes(mut self, max_bytes: i32) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    pub(crate) fn leader_epoch(mut self, leader_epoch: i32) -> Self {
        self.leader_epoch = leader_epoch;
        self
    }
}

/// A fetch: of everything that is there, without a wait or a session, unless told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    pub(crate) version: i16,
    pub(crate) max_wait: Duration,
    pub(crate) min_bytes: i32,
    pub(crate) max_bytes: i32,
    pub(crate) isolation_level: i8,
    pub(crate) session_id: i32,
    pub(crate) session_epoch: i32,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) forgotten: Vec<(Topic, i32)>,
}

impl Fetch {
    pub(crate) fn of(wanted: Vec<Wanted>) -> Self {
        Self {
            version: 12,
            max_wait: Duration::ZERO,
            min_bytes: 1,
            max_bytes: 50 << 20,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            wanted,
            forgotten: Vec::new(),
        }
    }

    pub(crate) fn version(mut self, version: i16) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn wait(mut self, min_bytes: i32, max_wait: Duration) -> Self {
        (self.min_bytes, self.max_wait) = (min_bytes, max_wait);
        self
    }

    pub(crate) fn max_bytes(mut self, max_bytes: i32) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    pub(crate) fn session(mut self, id: i32, epoch: i32) -> Self {
        (self.session_id, self.session_epoch) = (id, epoch);
        self
    }

    pub(crate) fn request(&self) -> FetchRequest<'_> {
        let same = |a: &Wanted, b: &Wanted| a.topic.name == b.topic.name;
        let topics = self.wanted.chunk_by(same).map(|wanted| FetchTopic {
            topic: &wanted[0].topic.name,
            topic_id: wanted[0].topic.id,
            partitions: wanted.iter().map(Self::partition).collect(),
        });
        let forgotten = self.forgotten.iter().map(|(topic, index)| ForgottenTopic {
            topic: &topic.name,
            topic_id: topic.id,
            partitions: vec![*index],
        });
        FetchRequest {
            max_wait_ms: self.max_wait.as_millis() as i32,
            min_bytes: self.min_bytes,
            max_bytes: self.max_bytes,
            isolation_level: self.isolation_level,
            session_id: self.session_id,
            session_epoch: self.session_epoch,
            topics: topics.collect(),
            forgotten_topics_data: forgotten.collect(),
            ..FetchRequest::default()
        }
    }

    fn partition(wanted: &Wanted) -> FetchPartition {
        FetchPartition {
            partition: wanted.index,
            current_leader_epoch: wanted.leader_epoch,
            fetch_offset: wanted.offset,
            partition_max_bytes: wanted.max_bytes,
            ..FetchPartition::default()
        }
    }
}

/// The reply to a fetch.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) error: ErrorCode,
    pub(crate) session_id: i32,
    pub(crate) partitions: Vec<FetchedPartition>,
}

/// One partition of the reply to a fetch.
#[derive(Debug, Clone)]
pub(crate) struct FetchedPartition {
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    pub(crate) index: i32,
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable: i64,
    pub(crate) log_start: i64,
    /// How many aborted transactions are named; none where the list is null.
    pub(crate) aborted: Option<usize>,
    pub(crate) records: Vec<u8>,
}

impl FetchedPartition {
    /// First offsets of the batches, each of which is whole and sound.
    pub(crate) fn bases(&self) -> Vec<i64> {
        let batches = batches(&self.records);
        batches.iter().map(|it| it.base_offset.get()).collect()
    }
}

impl Fetched {
    pub(crate) fn decode(body: &[u8], version: i16) -> Self {
        let (_, response) = wire::decode_response::<FetchRequest<'_>>(body, version).unwrap();
        let mut partitions = Vec::new();
        for topic in &response.responses {
            partitions.extend(topic.partitions.iter().map(|it| FetchedPartition {
                topic: topic.topic.to_owned(),
                topic_id: topic.topic_id,
                index: it.partition_index,
                error: it.error_code,
                high_watermark: it.high_watermark,
                last_stable: it.last_stable_offset,
                log_start: it.log_start_offset,
                aborted: it.aborted_transactions.as_ref().map(Vec::len),
                records: it.records.pieces().flatten().copied().collect(),
            }));
        }
        Self {
            error: response.error_code,
            session_id: response.session_id,
            partitions,
        }
    }

    /// The only partition of the reply.
    pub(crate) fn only(&self) -> &FetchedPartition {
        assert_eq!((self.error, self.partitions.len()), (ErrorCode::NONE, 1));
        &self.partitions[0]
    }

    pub(crate) fn indexes(&self) -> Vec<i32> {
        assert_eq!(self.error, ErrorCode::NONE);
        self.partitions.iter().map(|it| it.index).collect()
    }
}

/// A connection, spoken to by hand.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What the client calls itself.
    pub(crate) client_id: &'static str,
    next: i32,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(REPLY_TIMEOUT)).unwrap();
        Self {
            stream,
            client_id: "tests",
            next: 1,
        }
    }

    /// The bytes of a request, with its length before it; and its correlation id.
    pub(crate) fn encode<'q, R: Request<'q>>(&mut self, version: i16, request: &R) -> (i32, Bytes) {
        let correlation_id = self.next;
        self.next += 1;
        let header = RequestHeader {
            api_key: R::KEY.as_i16(),
            api_version: version,
            correlation_id,
            client_id: Some(self.client_id),
        };
        let frame = wire::encode_request(&header, request).unwrap();
        (correlation_id, frame.to_bytes())
    }

    /// Sends a request; gives its correlation id.
    pub(crate) fn send<'q, R: Request<'q>>(&mut self, version: i16, request: &R) -> i32 {
        let (correlation_id, bytes) = self.encode(version, request);
        self.stream.write_all(&bytes).unwrap();
        correlation_id
    }

    /// Reads the next reply, whatever it answers.
    pub(crate) fn receive(&mut self) -> (i32, Vec<u8>) {
        self.try_receive().expect("a reply in time")
    }

    pub(crate) fn try_receive(&mut self) -> std::io::Result<(i32, Vec<u8>)> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        let mut body = vec![0; i32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut body)?;
        Ok((i32::from_be_bytes(body[..4].try_into().unwrap()), body))
    }

    /// Sends a request and reads its reply.
    pub(crate) fn call<'q, R: Request<'q>>(&mut self, version: i16, request: &R) -> Vec<u8> {
        let sent = self.send(version, request);
        let (correlation_id, body) = self.receive();
        assert_eq!(correlation_id, sent, "the reply answers the request");
        body
    }

    /// Whether the broker has closed the connection, or does so in time.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }

    pub(crate) fn create(&mut self, name: &str, partitions: i32) -> Topic {
        self.create_with(name, partitions, &[])
    }

    pub(crate) fn create_with(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&'static str, &'static str)],
    ) -> Topic {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name,
            value: Some(value),
        });
        let topic = CreatableTopic {
            name,
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 15_000,
            validate_only: false,
        };
        let body = self.call(7, &request);
        let (_, response) = wire::decode_response::<CreateTopicsRequest<'_>>(&body, 7).unwrap();
        assert_eq!(response.topics[0].error_code, ErrorCode::NONE);
        Topic {
            name: name.to_owned(),
            id: response.topics[0].topic_id,
        }
    }

    pub(crate) fn fetch(&mut self, fetch: &Fetch) -> Fetched {
        let body = self.call(fetch.version, &fetch.request());
        Fetched::decode(&body, fetch.version)
    }

    pub(crate) fn produce(&mut self, topic: &Topic, index: i32, batch: &Bytes) -> Produced {
        let body = self.call(
            PRODUCE_VERSION,
            &produce_request(topic, index, batch, PRODUCE_TIMEOUT),
        );
        produced(&body)
    }
}

/// The version in which these tests produce.
pub(crate) const PRODUCE_VERSION: i16 = 9;

pub(crate) fn produce_request<'a>(
    topic: &'a Topic,
    index: i32,
    batch: &Bytes,
    timeout: Duration,
) -> ProduceRequest<'a> {
    let partition = PartitionProduceData {
        index,
        records: Records::Chunks(vec![batch.clone()]),
    };
    ProduceRequest {
        acks: -1,
        timeout_ms: timeout.as_millis() as i32,
        topic_data: vec![TopicProduceData {
            name: &topic.name,
            topic_id: topic.id,
            partition_data: vec![partition],
        }],
        ..ProduceRequest::default()
    }
}

/// Reads the reply to a request of [`produce_request`].
pub(crate) fn produced(body: &[u8]) -> Produced {
    let (_, response) = wire::decode_response::<ProduceRequest<'_>>(body, PRODUCE_VERSION).unwrap();
    let partition = &response.responses[0].partition_responses[0];
    Produced {
        error: partition.error_code,
        base_offset: partition.base_offset,
    }
}

/// A batch with a record for each value.
pub(crate) fn batch(values: &[&[u8]]) -> Bytes {
    let mut builder = RecordBatchBuilder::new();
    for value in values {
        let record = NewRecord {
            timestamp: TimestampMs::new(1_700_000_000_000),
            key: None,
            value: Some(value),
            headers: &[],
        };
        builder.push(record).unwrap();
    }
    builder.build().unwrap()
}

/// A batch of one record whose value is `number` and then zeros, of `bytes` in all.
pub(crate) fn numbered(number: u64, bytes: usize) -> Bytes {
    let mut value = vec![0; bytes];
    value[..8].copy_from_slice(&number.to_be_bytes());
    batch(&[&value])
}

/// The headers of the batches, which must be whole and sound.
pub(crate) fn batches(mut bytes: &[u8]) -> Vec<BatchHeader> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let length = 12 + i32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        let (one, rest) = bytes.split_at(length);
        let header = BatchHeader::parse_whole(one).unwrap();
        header.verify_crc(one).unwrap();
        headers.push(header);
        bytes = rest;
    }
    headers
}
