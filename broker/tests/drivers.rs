//! The same scenario over io_uring and over epoll: what a connection promises does not depend on
//! the kernel interface of its shard.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use broker::runtime::Driver;
use common::{
    Connection, Fetch, Fetched, LocalBroker, PRODUCE_TIMEOUT, PRODUCE_VERSION, Topic, Wanted,
    eventually, numbered, produce_request, produced,
};
use wire::messages::ApiVersionsRequest;

/// A wait that no test sits out.
const LONG: Duration = Duration::from_secs(15);
/// What "at once" means where other work goes on on the machine.
const SOON: Duration = Duration::from_secs(4);
/// Batches of the large fetch, and their size: more than socket buffers hold.
const LARGE: (i64, usize) = (24, 500_000);

#[test]
fn epoll_serves_the_scenario() {
    scenario("epoll");
}

/// Where the kernel refuses io_uring, what must hold is that a broker which is told to use it says
/// so and does not start.
#[test]
fn io_uring_serves_the_scenario_or_is_refused_by_name() {
    match Driver::probe_io_uring() {
        Ok(()) => scenario("io_uring"),
        Err(reason) => {
            eprintln!("io_uring is refused here: {reason}");
            let start = || LocalBroker::start(&[("shard.io_driver", "io_uring")]);
            assert!(std::panic::catch_unwind(start).is_err());
        }
    }
}

fn scenario(driver: &str) {
    let broker = LocalBroker::start(&[("shard.io_driver", driver)]);
    let mut client = broker.connect();
    let topic = client.create("t", 2);
    large_batches_there_and_back(&mut client, &topic);
    a_long_poll_is_woken(&broker, &topic);
    requests_are_pipelined(&mut client, &topic);
    bytes_arrive_one_by_one(&mut client, &topic);
    connections_die_in_the_middle(&broker, &topic);
    let found = client.fetch(&Fetch::of(vec![Wanted::new(&topic, 1, 0)]));
    assert!(found.only().high_watermark > 0, "the others go on");
    drop(client);
    eventually("every connection is given back", LONG, || {
        broker.metric("kafscale_connections{") == 0.0
    });
    broker.stop();
}

fn large_batches_there_and_back(client: &mut Connection, topic: &Topic) {
    let (count, bytes) = LARGE;
    for number in 0..count {
        let one = numbered(number as u64, bytes);
        assert_eq!(client.produce(topic, 0, &one).offset(), number);
    }
    let wanted = Wanted::new(topic, 0, 0).max_bytes(i32::MAX);
    let fetch = Fetch::of(vec![wanted]);
    let id = client.send(fetch.version, &fetch.request());
    // The reply is larger than what sockets buffer: the broker has to write it in parts.
    std::thread::sleep(Duration::from_millis(100));
    let (found, body) = client.receive();
    assert_eq!(found, id);
    let fetched = Fetched::decode(&body, fetch.version);
    assert_eq!(fetched.only().bases(), (0..count).collect::<Vec<i64>>());
}

fn a_long_poll_is_woken(broker: &LocalBroker, topic: &Topic) {
    let (mut reader, mut writer) = (broker.connect(), broker.connect());
    let fetch = Fetch::of(vec![Wanted::new(topic, 1, 0)]).wait(1, LONG);
    reader.send(fetch.version, &fetch.request());
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    writer.produce(topic, 1, &numbered(1, 100)).offset();
    let fetched = Fetched::decode(&reader.receive().1, fetch.version);
    assert!(began.elapsed() < SOON);
    assert_eq!(fetched.only().bases(), [0]);
}

fn requests_are_pipelined(client: &mut Connection, topic: &Topic) {
    let mut all = Vec::new();
    let mut ids = Vec::new();
    for number in 0..100 {
        let one = numbered(number, 200);
        let request = produce_request(topic, 1, &one, PRODUCE_TIMEOUT);
        let (id, bytes) = client.encode(PRODUCE_VERSION, &request);
        all.extend_from_slice(&bytes);
        ids.push((id, true));
        let (id, bytes) = client.encode(0, &ApiVersionsRequest::default());
        all.extend_from_slice(&bytes);
        ids.push((id, false));
    }
    client.stream.write_all(&all).unwrap();
    let mut last = 0;
    for (id, is_produce) in ids {
        let (found, body) = client.receive();
        assert_eq!(found, id);
        if is_produce {
            let offset = produced(&body).offset();
            assert_eq!(offset, last + 1);
            last = offset;
        }
    }
}

fn bytes_arrive_one_by_one(client: &mut Connection, topic: &Topic) {
    let one = numbered(1, 50);
    let request = produce_request(topic, 1, &one, PRODUCE_TIMEOUT);
    let (id, bytes) = client.encode(PRODUCE_VERSION, &request);
    for byte in &bytes {
        client.stream.write_all(&[*byte]).unwrap();
    }
    let (found, body) = client.receive();
    assert_eq!(found, id);
    produced(&body).offset();
}

/// Connections end after each length of a frame that is of interest, by FIN and by RST.
fn connections_die_in_the_middle(broker: &LocalBroker, topic: &Topic) {
    let one = numbered(1, 2_000_000);
    let high_watermark = || {
        let fetch = Fetch::of(vec![Wanted::new(topic, 1, 0)]);
        broker.connect().fetch(&fetch).only().high_watermark
    };
    let before = high_watermark();
    for kept in [1, 3, 4, 5, 20, 1_000, 1_500_000] {
        for reset in [false, true] {
            let mut dying = broker.connect();
            if reset {
                // A reply that lies unread turns the close into a reset.
                dying.send(0, &ApiVersionsRequest::default());
                dying.stream.peek(&mut [0; 1]).unwrap();
            }
            let request = produce_request(topic, 1, &one, PRODUCE_TIMEOUT);
            let (_, bytes) = dying.encode(PRODUCE_VERSION, &request);
            dying.stream.write_all(&bytes[..kept]).unwrap();
            if !reset {
                dying.stream.shutdown(Shutdown::Write).unwrap();
                assert!(dying.is_closed(), "{kept} bytes of a frame");
            }
        }
    }
    assert_eq!(
        high_watermark(),
        before,
        "no part of a frame is carried out"
    );
    let mut unread = broker.connect();
    let wanted = Wanted::new(topic, 0, 0).max_bytes(i32::MAX);
    let fetch = Fetch::of(vec![wanted]);
    unread.send(fetch.version, &fetch.request());
    std::thread::sleep(Duration::from_millis(100));
    drop(unread);
}
