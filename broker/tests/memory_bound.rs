//! Memory stays bounded whatever clients send and however long the store takes, and what needs no
//! memory to speak of goes on meanwhile.
//!
//! One test only: it looks at the memory of its process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{
    Connection, Fetch, LocalBroker, PRODUCE_VERSION, Topic, Wanted, eventually, numbered,
    produce_request, produced,
};
use futures_util::FutureExt;
use store::faulty::{Fault, FaultyStore, Operation, Rule, Sleep};
use store::memory::MemoryStore;
use tokio::sync::watch;
use wire::ErrorCode;
use wire::messages::join_group::JoinGroupRequestProtocol;
use wire::messages::sync_group::SyncGroupRequestAssignment;
use wire::messages::{ApiVersionsRequest, HeartbeatRequest, JoinGroupRequest, SyncGroupRequest};

/// That of the program: what an allocator keeps belongs to what is looked at here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The smallest memory budget that the settings allow, in MiB, as they take it.
const BUDGET: &str = "16MiB";
const BUDGET_BYTES: f64 = (16 << 20) as f64;
/// Growth of the process's memory that is taken for bounded. The clients of this test, their socket
/// buffers apart, and what the allocator keeps are in it; what they send is ten times as much.
const GROWTH_MAX: u64 = 64 << 20;
/// What "promptly" means where other work goes on on the machine.
const PROMPT: Duration = Duration::from_secs(2);
/// For everything to go back to normal.
const RECOVERY: Duration = Duration::from_secs(20);
const PARTITIONS: i32 = 8;
/// Batches of a few bytes in each partition.
const SMALL_BATCHES: usize = 1_000;
/// Bytes of a batch of a fast producer.
const BATCH_BYTES: usize = 100_000;

/// A store whose PUTs to the log can be held back.
struct Held {
    store: FaultyStore<MemoryStore>,
    open: watch::Sender<bool>,
}

impl Held {
    fn new() -> Self {
        let (open, _) = watch::channel(true);
        let gate = open.clone();
        let wait: Sleep = Arc::new(move |_| {
            let mut gate = gate.subscribe();
            async move {
                // A gate that is gone holds nobody back.
                let _ = gate.wait_for(|open| *open).await;
            }
            .boxed()
        });
        let store = FaultyStore::new(MemoryStore::new(), 7, wait);
        // The duration does not matter: the gate decides.
        let delay = Fault::DelayBefore(Duration::from_secs(1));
        store.add_rule(Rule::always(Operation::Put, delay).prefix("kafscale-wal/"));
        Self { store, open }
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}

/// A member of a group, which must not be thrown out.
struct Member {
    id: String,
    generation: i32,
}

impl Member {
    fn join(client: &mut Connection) -> Self {
        let protocols = vec![JoinGroupRequestProtocol {
            name: "range",
            metadata: b"",
        }];
        let join = JoinGroupRequest {
            group_id: "g",
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer",
            protocols,
            ..JoinGroupRequest::default()
        };
        let body = client.call(3, &join);
        let (_, joined) = wire::decode_response::<JoinGroupRequest<'_>>(&body, 3).unwrap();
        assert_eq!(joined.error_code, ErrorCode::NONE);
        let sync = SyncGroupRequest {
            group_id: "g",
            generation_id: joined.generation_id,
            member_id: joined.member_id,
            assignments: vec![SyncGroupRequestAssignment {
                member_id: joined.member_id,
                assignment: b"all",
            }],
            ..SyncGroupRequest::default()
        };
        client.call(2, &sync);
        Self {
            id: joined.member_id.to_owned(),
            generation: joined.generation_id,
        }
    }
}

/// Clients with small requests, spread over the shards.
struct Probes {
    connections: Vec<Connection>,
    member: Member,
    topic: Topic,
    longest: Duration,
}

impl Probes {
    /// Each asks for a heartbeat, the versions and a batch in memory, and is answered promptly.
    fn are_served(&mut self) {
        for client in &mut self.connections {
            let began = Instant::now();
            let heartbeat = HeartbeatRequest {
                group_id: "g",
                generation_id: self.member.generation,
                member_id: &self.member.id,
                group_instance_id: None,
            };
            let body = client.call(3, &heartbeat);
            let reply = wire::decode_response::<HeartbeatRequest<'_>>(&body, 3).unwrap();
            assert_eq!(reply.1.error_code, ErrorCode::NONE);
            client.call(0, &ApiVersionsRequest::default());
            let wanted = (0..PARTITIONS).map(|index| Wanted::new(&self.topic, index, 0));
            let fetch = Fetch::of(wanted.collect()).max_bytes(1_000);
            let found = client.fetch(&fetch);
            assert_eq!(found.partitions[0].bases().first(), Some(&0));
            self.longest = self.longest.max(began.elapsed());
            assert!(self.longest < PROMPT, "answered after {:?}", self.longest);
        }
    }
}

/// Sends as much of `bytes`, over and over, as the broker takes without a wait.
struct Pourer {
    connection: Connection,
    bytes: Bytes,
    position: usize,
    sent: u64,
}

impl Pourer {
    fn new(connection: Connection, bytes: Bytes) -> Self {
        connection.stream.set_nonblocking(true).unwrap();
        Self {
            connection,
            bytes,
            position: 0,
            sent: 0,
        }
    }

    fn pour(&mut self, most: u64) {
        while self.sent < most {
            let Ok(count) = self.connection.stream.write(&self.bytes[self.position..]) else {
                return;
            };
            self.position = (self.position + count) % self.bytes.len();
            self.sent += count as u64;
        }
    }
}

/// Pours for a while, with probes in between; gives the bytes that went out.
fn pour(pourers: &mut [Pourer], most: u64, probes: &mut Probes, broker: &LocalBroker) -> u64 {
    let ends = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < ends {
        for pourer in pourers.iter_mut() {
            pourer.pour(most);
        }
        probes.are_served();
        let held = broker.metric("kafscale_memory_bytes");
        assert!(held <= 1.5 * BUDGET_BYTES, "{held} bytes are held");
    }
    pourers.iter().map(|pourer| pourer.sent).sum()
}

#[test]
fn memory_is_bounded_and_small_requests_are_served_while_the_store_does_not_answer() {
    let held = Held::new();
    let settings = [
        ("memory.budget_bytes", BUDGET),
        // Memory is what pushes back here, not the health of the store.
        ("health.latency_crit_ms", "600000"),
        ("memory.cache_bytes", "2MiB"),
        ("group.initial_rebalance_delay_ms", "0"),
    ];
    let broker = LocalBroker::start_on(Arc::new(held.store.clone()), &settings);
    let mut client = broker.connect();
    let topic = client.create("t", PARTITIONS);
    for index in 0..PARTITIONS {
        client.produce(&topic, index, &numbered(0, 100)).offset();
    }
    let mut probes = Probes {
        member: Member::join(&mut client),
        connections: (0..6).map(|_| broker.connect()).collect(),
        topic: topic.clone(),
        longest: Duration::ZERO,
    };
    probes.are_served();
    held.open.send_replace(false);
    let before = resident_bytes();

    small_batches_keep_no_large_buffers(&broker, &topic);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes for small batches");

    // Large frames that are never finished.
    let mut promise = vec![0; 3 << 20];
    promise[..4].copy_from_slice(&(3_i32 << 20).to_be_bytes());
    promise[4..12].copy_from_slice(&[0, 0, 0, 9, 0, 0, 0, 1]);
    let promise = Bytes::from(promise);
    let unfinished = (0..60).map(|_| Pourer::new(broker.connect(), promise.clone()));
    let mut unfinished: Vec<Pourer> = unfinished.collect();
    pour(&mut unfinished, 2 << 20, &mut probes, &broker);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes for unfinished frames");
    assert!(broker.metric("kafscale_memory_waits_total") > 0.0);
    drop(unfinished);

    // Producers that send without a look at the replies.
    let mut producers = Vec::new();
    for index in 0..24 {
        let mut connection = broker.connect();
        let batch = numbered(1, BATCH_BYTES);
        let timeout = Duration::from_secs(1);
        let request = produce_request(&topic, index % PARTITIONS, &batch, timeout);
        let (_, bytes) = connection.encode(PRODUCE_VERSION, &request);
        producers.push(Pourer::new(connection, bytes));
    }
    let sent = pour(&mut producers, u64::MAX, &mut probes, &broker);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes for {sent} sent");
    let refused = first_errors(producers);
    assert!(
        refused.contains(&ErrorCode::NOT_ENOUGH_REPLICAS),
        "{refused:?}"
    );
    assert!(refused.iter().all(|code| code.retriable()), "{refused:?}");

    held.open.send_replace(true);
    everything_is_as_before(&broker, &topic, probes);
}

/// Requests of a few bytes, each alone on its connection, that stay in memory.
fn small_batches_keep_no_large_buffers(broker: &LocalBroker, topic: &Topic) {
    std::thread::scope(|scope| {
        for index in 0..PARTITIONS {
            let mut client = broker.connect();
            scope.spawn(move || {
                let one = numbered(1, 100);
                let request = produce_request(topic, index, &one, Duration::ZERO);
                for _ in 0..SMALL_BATCHES {
                    let code = produced(&client.call(PRODUCE_VERSION, &request)).error;
                    assert_eq!(code, ErrorCode::REQUEST_TIMED_OUT);
                }
            });
        }
    });
}

/// The first errors that producers find among their replies.
fn first_errors(producers: Vec<Pourer>) -> Vec<ErrorCode> {
    let mut errors = Vec::new();
    for mut producer in producers {
        producer.connection.stream.set_nonblocking(false).unwrap();
        let stream = &producer.connection.stream;
        // What was answered lies here already.
        let wait = Duration::from_millis(50);
        stream.set_read_timeout(Some(wait)).unwrap();
        for _ in 0..20 {
            let Ok((_, body)) = producer.connection.try_receive() else {
                break;
            };
            let code = produced(&body).error;
            assert_ne!(code, ErrorCode::NONE, "nothing is stored");
            errors.push(code);
        }
    }
    errors
}

fn everything_is_as_before(broker: &LocalBroker, topic: &Topic, mut probes: Probes) {
    let mut client = broker.connect();
    let began = Instant::now();
    for index in 0..PARTITIONS {
        let one = numbered(2, BATCH_BYTES);
        eventually("produce works again", RECOVERY, || {
            let found = client.produce(topic, index, &one);
            assert!(found.error.is_none() || found.error.retriable());
            found.error.is_none()
        });
    }
    assert!(began.elapsed() < RECOVERY);
    probes.are_served();
    eventually("all memory is given back", RECOVERY, || {
        broker.metric("kafscale_memory_bytes") == 0.0
    });
}
