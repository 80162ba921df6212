//! The bounds of connections: how many, how fast they come, how slow they may be.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use wire::messages::{ApiVersionsRequest, MetadataRequest};

use crate::common::{Connection, Fetch, LocalBroker, Topic, Wanted, eventually, numbered};

/// A busy machine takes its time.
const LONG: Duration = Duration::from_secs(30);
const CLOSED_STUCK: &str = "kafscale_connections_closed_total{reason=\"no_progress\"";

/// A request of about 20 KiB.
fn large_request(client: &mut Connection) -> bytes::Bytes {
    let name = "x".repeat(240);
    let topic = wire::messages::metadata::MetadataRequestTopic {
        name: Some(&name),
        ..Default::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![topic; 80]),
        ..MetadataRequest::default()
    };
    client.encode(4, &request).1
}

#[test]
fn a_frame_that_trickles_is_closed_and_one_that_comes_slowly_is_not() {
    let broker = LocalBroker::start(&[("request.frame_timeout_ms", "1000")]);
    let (mut trickling, mut slow) = (broker.connect(), broker.connect());
    let frame = large_request(&mut trickling);
    let began = Instant::now();
    // Five seconds: the slow one sends 4 KiB in each, the other ten bytes.
    let mut is_closed = false;
    for step in 0..50 {
        let from = frame.len() * step / 50;
        let to = frame.len() * (step + 1) / 50;
        slow.stream.write_all(&frame[from..to]).unwrap();
        is_closed |= trickling.stream.write_all(&frame[step..=step]).is_err();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        is_closed || trickling.is_closed(),
        "after {:?}",
        began.elapsed()
    );
    let (_, reply) = slow.receive();
    assert!(!reply.is_empty());
    assert!(broker.metric(CLOSED_STUCK) >= 1.0);
    broker.stop();
}

/// Batches of a mebibyte.
fn fill(client: &mut Connection, count: u64) -> Topic {
    let topic = client.create("large", 1);
    for number in 0..count {
        client
            .produce(&topic, 0, &numbered(number, 1 << 20))
            .offset();
    }
    topic
}

#[test]
fn a_reader_of_next_to_nothing_is_closed_and_a_slow_one_gets_everything() {
    let settings = [
        ("request.frame_timeout_ms", "1000"),
        ("memory.budget_bytes", "512MiB"),
    ];
    let broker = LocalBroker::start(&settings);
    let mut client = broker.connect();
    let topic = fill(&mut client, 16);
    let fetch = Fetch::of(vec![Wanted::new(&topic, 0, 0).max_bytes(64 << 20)]);
    let ask = |client: &mut Connection| {
        for _ in 0..4 {
            client.send(fetch.version, &fetch.request());
        }
    };
    let (mut still, mut slow) = (broker.connect(), broker.connect());
    ask(&mut still);
    ask(&mut slow);
    let began = Instant::now();
    let mut taken = 0_usize;
    let mut part = vec![0; 512 << 10];
    // Some 60 MiB in eight seconds at least; the other takes ten bytes a second.
    let wanted = 4 * (16 << 20);
    while taken < wanted {
        let count = slow.stream.read(&mut part).unwrap();
        assert!(count > 0, "the slow one is closed after {taken} bytes");
        taken += count;
        let due = Duration::from_secs(8).mul_f64(taken as f64 / wanted as f64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let _ = still.stream.read(&mut [0; 1]);
    }
    eventually("the other is closed", LONG, || {
        broker.metric(CLOSED_STUCK) == 1.0
    });
    broker.stop();
}

#[test]
fn fetches_give_one_batch_each_while_much_waits_for_slow_readers() {
    let settings = [("memory.budget_bytes", "32MiB"), ("shard.count", "1")];
    let broker = LocalBroker::start(&settings);
    let mut client = broker.connect();
    let topic = fill(&mut client, 12);
    let fetch = Fetch::of(vec![Wanted::new(&topic, 0, 0).max_bytes(64 << 20)]);
    assert_eq!(client.fetch(&fetch).only().bases().len(), 12);
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut reader = broker.connect();
        // More than the kernel keeps for a connection, a batch at a time.
        for _ in 0..40 {
            reader.send(fetch.version, &fetch.request());
        }
        readers.push(reader);
    }
    eventually("others get one batch", LONG, || {
        client.fetch(&fetch).only().bases().len() == 1
    });
    // Whoever waits for news goes on waiting, and is not told of nothing again and again.
    let tail = Fetch::of(vec![Wanted::new(&topic, 0, 12)]).wait(1, Duration::from_secs(1));
    let began = Instant::now();
    assert!(client.fetch(&tail).only().records.is_empty());
    assert!(began.elapsed() > Duration::from_millis(900));
    drop(readers);
    eventually("and all again when the others are gone", LONG, || {
        client.fetch(&fetch).only().bases().len() == 12
    });
    broker.stop();
}

/// A connection from an address of the loopback network.
pub(super) fn connect_from(last: u8, to: SocketAddr) -> Connection {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let mut connection = Connection::open(to);
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        socket.bind(SocketAddr::new(address, 0)).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    connection.stream = stream;
    connection
}

pub(super) fn is_served(client: &mut Connection) -> bool {
    client.send(0, &ApiVersionsRequest::default());
    client.try_receive().is_ok()
}

#[test]
fn an_address_holds_so_many_connections() {
    let settings = [("shard.connections_per_address_max", "5")];
    let broker = LocalBroker::start(&settings);
    let mut held: Vec<Connection> = (0..5).map(|_| connect_from(9, broker.kafka)).collect();
    assert!(held.iter_mut().all(is_served));
    let mut beyond = connect_from(9, broker.kafka);
    assert!(beyond.is_closed());
    assert!(
        is_served(&mut connect_from(10, broker.kafka)),
        "another address"
    );
    assert_eq!(
        broker.metric("kafscale_connections_refused_total{reason=\"address\""),
        1.0
    );
    held.pop();
    eventually("another may come for the one that has gone", LONG, || {
        let mut next = connect_from(9, broker.kafka);
        // A refused one may be closed before it is written to.
        let bytes = next.encode(0, &ApiVersionsRequest::default()).1;
        next.stream.write_all(&bytes).is_ok() && next.try_receive().is_ok()
    });
    broker.stop();
}

#[test]
fn connections_that_come_too_fast_wait_and_are_served() {
    let settings = [("shard.connections_per_second_max", "10")];
    let broker = LocalBroker::start(&settings);
    // Two shards: twenty at once, and twenty a second.
    let began = Instant::now();
    let mut all: Vec<Connection> = (0..70).map(|_| broker.connect()).collect();
    assert!(all.iter_mut().all(is_served));
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2), "{took:?}");
    assert!(broker.metric("kafscale_accept_pauses_total") > 0.0);
    broker.stop();
}
