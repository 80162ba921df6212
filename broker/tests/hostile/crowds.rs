//! Many hostile clients at once: memory stays within bounds, and others are served as before.
//!
//! "As before" is measured against a second broker beside the first that nobody attacks: a good client asks both in turns,
//! so that whatever else goes on on the machine, the attackers' own work included, slows both alike. What is
//! compared is the median, over many rounds, of the 99th percentile of a round.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use segment::batch::Codec;
use wire::messages::create_topics::CreatableTopic;
use wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::metadata::MetadataRequestTopic;
use wire::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteTopicsRequest,
    ListOffsetsRequest, MetadataRequest,
};
use wire::{ErrorCode, Request};

use crate::common::{Connection, Fetch, PRODUCE_TIMEOUT, Wanted, batch, numbered, produce_request};
use crate::defects::{BOMBS_MAX, bomb, large_arrays, tagged_fields};
use crate::victim::{Answer, GROWTH_MAX, MEMORY_BYTES, MOMENT, Victim, ask, prefixed, request};

/// What others may be slowed down by.
const SLOWER_MAX: f64 = 2.0;
/// Rounds of a measurement, and requests of a round.
const ROUNDS: usize = 15;
const REQUESTS: usize = 200;
/// A median that lies so near is the same: a debug build on a busy machine.
const SAME: Duration = Duration::from_micros(300);
/// Measurements of which one must succeed: other work on the machine comes and goes.
const TRIES: usize = 4;

/// A client that fetches what is in memory and asks for versions.
struct Good {
    client: Connection,
    fetch: Fetch,
}

impl Good {
    fn of(victim: &Victim) -> Self {
        Self {
            client: victim.connect(),
            fetch: Fetch::of(vec![Wanted::new(&victim.topic, 0, 0)]),
        }
    }

    /// The 99th percentile of a round.
    fn round(&mut self) -> Duration {
        let mut times: Vec<Duration> = (0..REQUESTS / 2)
            .flat_map(|_| {
                let began = Instant::now();
                self.client.call(0, &ApiVersionsRequest::default());
                let first = began.elapsed();
                let began = Instant::now();
                self.client.fetch(&self.fetch);
                [first, began.elapsed()]
            })
            .collect();
        times.sort_unstable();
        times[REQUESTS * 99 / 100 - 1]
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Others are served as they are by a broker that nobody attacks.
fn others_are_served(attacked: &Victim, calm: &Victim) {
    let (mut here, mut there) = (Good::of(attacked), Good::of(calm));
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        let rounds = (0..ROUNDS).map(|_| (here.round(), there.round()));
        let (attacked, calm): (Vec<_>, Vec<_>) = rounds.unzip();
        let (attacked, calm) = (median(attacked), median(calm));
        seen.push((attacked, calm));
        if attacked <= calm.mul_f64(SLOWER_MAX) || attacked <= calm + SAME {
            eprintln!("p99 (attacked, calm): {seen:?}");
            return;
        }
    }
    panic!("others are slowed down; p99 (attacked, calm): {seen:?}");
}

/// Runs `attack` again and again on a thread of its own while `meanwhile` is done.
fn while_attacked(attack: impl Fn() + Sync, meanwhile: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                attack();
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Writes without a wait for room.
fn send(mut stream: &TcpStream, bytes: &[u8]) {
    stream.set_nonblocking(true).unwrap();
    // A connection that the broker has closed meanwhile is what is wanted.
    let _ = stream.write(bytes);
}

#[test]
fn ten_thousand_unfinished_frames() {
    const CONNECTIONS: usize = 10_000;
    // They spread over two shards, not quite evenly.
    let victim = Victim::alone(&["--connections-max", "6000"]);
    let calm = victim.beside(&[]);
    let half = request(3, 9, true, &[1; 2_000]);
    let mut held = Vec::with_capacity(CONNECTIONS);
    for index in 0..CONNECTIONS {
        let stream = victim.raw();
        match index % 4 {
            0 => send(&stream, &half[..2]),
            1 => send(&stream, &half[..9]),
            2 => send(&stream, &half[..half.len() - 1]),
            // Nearly as much as comes without a reservation.
            _ => send(
                &stream,
                &[&16_000_i32.to_be_bytes()[..], &[0; 12_000]].concat(),
            ),
        }
        held.push(stream);
    }
    // They are taken at a bounded rate, 500 a second for each shard.
    crate::common::eventually("they are open", Duration::from_secs(25), || {
        victim.metric("kafscale_connections{") >= CONNECTIONS as f64 * 0.9
    });
    others_are_served(&victim, &calm);
    // What they hold beside the budget: a buffer of 16 KiB each for a quarter of them, and their tasks. 31,120 bytes
    // a connection in a debug build (2 cores, Linux 6.18).
    victim.is_well(GROWTH_MAX.max(CONNECTIONS as u64 * 34 * 1024));
    eprintln!(
        "{} bytes a connection",
        victim.growth() / CONNECTIONS as u64
    );
    drop(held);
    crate::common::eventually("they are gone", Duration::from_secs(60), || {
        victim.metric("kafscale_connections{") < 100.0
    });
}

#[test]
fn slow_writers() {
    let victim = Victim::alone(&[]);
    let calm = victim.beside(&[]);
    let frame = request(3, 9, true, &[1; 2_000]);
    let writers: Vec<TcpStream> = (0..300).map(|_| victim.raw()).collect();
    let next = AtomicUsize::new(0);
    let trickle = || {
        // A byte of each now and then; none ever sends the last one.
        let at = next.fetch_add(1, Ordering::Relaxed) % (frame.len() - 1);
        for stream in &writers {
            send(stream, &frame[at..=at]);
        }
        std::thread::sleep(5 * MOMENT);
    };
    while_attacked(trickle, || others_are_served(&victim, &calm));
    victim.is_well(64 << 20);
}

#[test]
fn slow_readers() {
    let victim = Victim::alone(&[]);
    let calm = victim.beside(&[]);
    let mut client = victim.connect();
    let large = client.create("large", 1);
    for number in 0..24 {
        client
            .produce(&large, 0, &numbered(number, 1 << 20))
            .offset();
    }
    // Each asks for all of it, 60 times, and reads nothing.
    let fetch = Fetch::of(vec![Wanted::new(&large, 0, 0).max_bytes(64 << 20)]);
    let mut readers = Vec::new();
    for _ in 0..100 {
        let mut reader = victim.connect();
        for _ in 0..60 {
            let (_, bytes) = reader.encode(fetch.version, &fetch.request());
            send(&reader.stream, &bytes);
        }
        readers.push(reader);
    }
    std::thread::sleep(10 * MOMENT);
    others_are_served(&victim, &calm);
    let unsent = victim.metric("kafscale_memory_bytes{use=\"unsent\"");
    assert!(unsent > 0.0);
    victim.is_well(GROWTH_MAX);
    drop(readers);
    crate::common::eventually("nothing is held for them", Duration::from_secs(30), || {
        victim.metric("kafscale_memory_bytes{use=\"unsent\"") == 0.0
    });
}

/// Connections that come and go, with bytes that are no requests.
#[test]
fn garbage_and_churn() {
    let victim = Victim::alone(&[]);
    let calm = victim.beside(&[]);
    let number = std::sync::atomic::AtomicU64::new(1);
    let garbage = || {
        // A linear congruential generator: any bytes will do.
        let seed = number.fetch_add(1, Ordering::Relaxed);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut noise = vec![0; 16 + (seed % 300) as usize];
        for byte in &mut noise {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        noise[0] = 0;
        ask(victim.raw(), &prefixed(&noise));
        std::thread::sleep(MOMENT / 50);
    };
    while_attacked(garbage, || others_are_served(&victim, &calm));
    victim.is_well(64 << 20);
}

/// Clients that send requests without a pause and read no answer, while `meanwhile` looks at the broker and at one
/// beside it that nobody attacks.
fn flooded(meanwhile: impl FnOnce(&Victim, &Victim)) {
    let victim = Victim::alone(&[]);
    let calm = victim.beside(&[]);
    let flood = request(3, 1, false, &0_i32.to_be_bytes()).repeat(200);
    let clients: Vec<TcpStream> = (0..50).map(|_| victim.raw()).collect();
    let pour = || {
        for stream in &clients {
            send(stream, &flood);
        }
        std::thread::sleep(MOMENT);
    };
    while_attacked(pour, || meanwhile(&victim, &calm));
    victim.is_well(GROWTH_MAX);
}

#[test]
fn floods_that_nobody_reads() {
    flooded(|victim, _| {
        let mut good = Good::of(victim);
        for _ in 0..ROUNDS {
            good.round();
        }
    });
}

#[test]
fn floods_that_nobody_reads_slow_nobody_down() {
    flooded(others_are_served);
}

/// What costs a decoder most for its bytes, without a pause.
#[test]
fn costly_frames_slow_nobody_down() {
    for frames in [tagged_fields(), large_arrays()] {
        let victim = Victim::alone(&[]);
        let calm = victim.beside(&[]);
        let attack = || {
            for frame in &frames {
                ask(victim.raw(), frame);
            }
        };
        while_attacked(attack, || others_are_served(&victim, &calm));
        victim.is_well(GROWTH_MAX);
    }
}

/// Batches that are to be decompressed, without a pause.
#[test]
fn decompression_bombs_slow_nobody_down() {
    let victim = Victim::alone(&[]);
    let calm = victim.beside(&[]);
    let compacted = [("cleanup.policy", "compact")];
    let topic = victim.connect().create_with("compacted", 1, &compacted);
    let bombs = [Codec::Gzip, Codec::Zstd].map(|codec| bomb(codec, 200 << 20));
    let attack = || {
        let mut client = victim.connect();
        for bytes in &bombs {
            assert_ne!(client.produce(&topic, 0, bytes).error, ErrorCode::NONE);
        }
    };
    while_attacked(attack, || others_are_served(&victim, &calm));
    victim.is_well(BOMBS_MAX);
}

/// Producers that promise much, send a part of it and go on with the next connection.
#[test]
fn producers_that_leave_in_the_middle() {
    let victim = Victim::alone(&[]);
    let calm = victim.beside(&[]);
    let bytes = batch(&[&vec![7; 400_000]]);
    let produce = produce_request(&victim.topic, 2, &bytes, PRODUCE_TIMEOUT);
    let mut client = victim.connect();
    let (_, whole) = encoded(&mut client, &produce);
    let leave = || {
        let stream = victim.raw();
        send(&stream, &whole[..whole.len() / 2]);
        drop(stream);
        std::thread::sleep(MOMENT / 20);
    };
    while_attacked(leave, || others_are_served(&victim, &calm));
    victim.is_well(GROWTH_MAX);
}

/// Each is a third of a megabyte, and many times that while it waits for news of ten thousand partitions.
#[test]
fn fetches_of_many_partitions_that_wait() {
    const PARTITIONS: i32 = 10_000;
    const CLIENTS: usize = 150;
    let victim = Victim::alone(&[]);
    let mut client = victim.connect();
    let topic = client.create("many", PARTITIONS);
    let before = victim.growth();
    let all = (0..PARTITIONS).map(|index| Wanted::new(&topic, index, 0));
    let fetch = Fetch::of(all.collect()).wait(1, Duration::from_secs(60));
    let (_, frame) = client.encode(fetch.version, &fetch.request());
    let waiting: Vec<TcpStream> = (0..CLIENTS).map(|_| victim.raw()).collect();
    let largest = std::thread::scope(|scope| {
        for mut stream in &waiting {
            let frame = &frame;
            scope.spawn(move || stream.write_all(frame).unwrap());
        }
        let looks = (0..50).map(|_| {
            std::thread::sleep(MOMENT);
            victim.growth()
        });
        looks.max().unwrap()
    });
    // Half of the budget is for requests; without a reservation they take more than all of it.
    let grew = largest - before;
    assert!(grew <= MEMORY_BYTES, "{grew} bytes, at most {MEMORY_BYTES}");
    eprintln!("grew by {} KiB", grew >> 10);
    // Small requests go on, and every fetch is answered in the end.
    client.call(0, &ApiVersionsRequest::default());
    for mut stream in waiting {
        // They take turns, too, and each takes long in a debug build.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut prefix = [0; 4];
        std::io::Read::read_exact(&mut stream, &mut prefix).unwrap();
    }
    victim.is_well(before + GROWTH_MAX);
}

/// Sends requests that name very much, and reads the answers, on four connections without a pause.
fn swamped(frame: &[u8], victim: &Victim, calm: &Victim) {
    let streams: Vec<TcpStream> = (0..4).map(|_| victim.raw()).collect();
    let ask = || {
        for mut stream in &streams {
            stream.write_all(frame).unwrap();
        }
        for mut stream in &streams {
            let mut prefix = [0; 4];
            stream.read_exact(&mut prefix).unwrap();
            let left = u64::from(u32::from_be_bytes(prefix));
            let read = std::io::copy(&mut stream.take(left), &mut std::io::sink());
            assert_eq!(read.unwrap(), left);
        }
    };
    while_attacked(ask, || others_are_served(victim, calm));
}

/// A hundred thousand rows, each a step of the shard that nobody else can take meanwhile.
const ROWS: i32 = 100_000;

#[test]
fn fetches_of_very_many_partitions_slow_nobody_down() {
    let victim = Victim::alone(&[]);
    let calm = victim.beside(&[]);
    let all = (0..ROWS).map(|index| Wanted::new(&victim.topic, index, 0));
    let fetch = Fetch::of(all.collect());
    let (_, frame) = victim.connect().encode(fetch.version, &fetch.request());
    swamped(&frame, &victim, &calm);
    assert!(victim.metric("kafscale_requests_held_back_total") > 0.0);
    victim.is_well(GROWTH_MAX);
}

#[test]
fn lookups_of_very_many_offsets_slow_nobody_down() {
    let victim = Victim::alone(&[]);
    let calm = victim.beside(&[]);
    let partitions = (0..ROWS).map(|partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: -1,
        ..ListOffsetsPartition::default()
    });
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: &victim.topic.name,
            partitions: partitions.collect(),
        }],
        ..ListOffsetsRequest::default()
    };
    let (_, frame) = victim.connect().encode(5, &request);
    swamped(&frame, &victim, &calm);
    victim.is_well(GROWTH_MAX);
}

#[test]
fn very_many_names_slow_nobody_down() {
    let victim = Victim::alone(&[]);
    let calm = victim.beside(&[]);
    let names: Vec<String> = (0..ROWS).map(|index| format!("g{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let topics = names.iter().map(|name| MetadataRequestTopic {
        name: Some(name),
        ..MetadataRequestTopic::default()
    });
    let metadata = MetadataRequest {
        topics: Some(topics.collect()),
        ..MetadataRequest::default()
    };
    let groups = DeleteGroupsRequest {
        groups_names: names.clone(),
    };
    let topics = DeleteTopicsRequest {
        topic_names: names.clone(),
        timeout_ms: 10_000,
        ..DeleteTopicsRequest::default()
    };
    let mut client = victim.connect();
    let frames = [
        client.encode(8, &metadata),
        client.encode(1, &groups),
        client.encode(3, &topics),
    ];
    for (_, frame) in frames {
        swamped(&frame, &victim, &calm);
    }
    // A future for each name, all at once, were half a gigabyte.
    victim.is_well(GROWTH_MAX);
}

/// Each would be described with all its settings.
#[test]
fn very_many_new_topics() {
    const TOPICS: usize = 50_000;
    let victim = Victim::alone(&[]);
    let names: Vec<String> = (0..TOPICS).map(|index| format!("t{index}")).collect();
    let topics = names.iter().map(|name| CreatableTopic {
        name,
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    });
    let mut creation = CreateTopicsRequest {
        topics: topics.collect(),
        timeout_ms: 10_000,
        validate_only: true,
    };
    let mut client = victim.connect();
    for (count, code) in [
        (TOPICS, ErrorCode::POLICY_VIOLATION),
        (10_001, ErrorCode::POLICY_VIOLATION),
        (10_000, ErrorCode::NONE),
    ] {
        creation.topics.truncate(count);
        client.send(7, &creation);
        let (_, body) = client.receive();
        let decoded = wire::decode_response::<CreateTopicsRequest<'_>>(&body, 7);
        let (_, response) = decoded.unwrap();
        assert_eq!(response.topics.len(), count);
        let mut topics = response.topics.iter();
        assert!(topics.all(|topic| topic.error_code == code), "{count}");
    }
    victim.is_well(GROWTH_MAX);
}

/// More than any request may name: its connection is closed, and the operator is told.
#[test]
fn more_than_a_request_may_name() {
    let victim = Victim::alone(&[]);
    let names = vec!["g"; 300_000];
    let deletion = DeleteGroupsRequest {
        groups_names: names,
    };
    let (_, frame) = victim.connect().encode(1, &deletion);
    assert_eq!(ask(victim.raw(), &frame), Answer::Closed);
    let rejected = "kafscale_frames_rejected_total{reason=\"decode_budget\"";
    assert_eq!(victim.metric(rejected), 1.0);
    victim.is_well(64 << 20);
}

fn encoded<'a, R: Request<'a>>(client: &mut Connection, request: &R) -> (i32, bytes::Bytes) {
    client.encode(crate::common::PRODUCE_VERSION, request)
}
