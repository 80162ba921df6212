//! Whole runs against the floor server: what is counted, and what a stall does to latency.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use kafscale_perf::access::{Access, AccessArgs};
use kafscale_perf::e2e::EndToEndRun;
use kafscale_perf::fetch::FetchRun;
use kafscale_perf::floor::{FloorServer, Options, Stall};
use kafscale_perf::join::JoinRun;
use kafscale_perf::machine::Machine;
use kafscale_perf::payload::Shape;
use kafscale_perf::produce::{Pace, ProduceRun};
use kafscale_perf::report::{Origin, Outcome, SCHEMA, write_files};
use kafscale_perf::run::{Measured, Setting};

const SHAPE: Shape = Shape {
    batch_bytes: 1024,
    record_bytes: 100,
};

fn floor(stall: Option<Stall>) -> FloorServer {
    let options = Options {
        stall,
        ..Default::default()
    };
    FloorServer::start("127.0.0.1:0", &options).unwrap()
}

fn setting(server: &FloorServer, seconds: f64) -> Setting {
    Setting {
        bootstrap: server.address().to_string(),
        access: Access::default(),
        warmup: Duration::from_millis(100),
        duration: Duration::from_secs_f64(seconds),
        broker_pid: Some(std::process::id()),
        replicas: 1,
        topic_config: Vec::new(),
        keep_topics: false,
        patience: Duration::from_secs(5),
        progress: String::new(),
    }
}

/// Whoever opens the page asks nobody for anything, and sees it in either scheme.
fn assert_stands_alone(page: &str) {
    assert!(page.contains("prefers-color-scheme:dark"));
    let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for reference in [
        "http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link",
    ] {
        assert!(!page.contains(reference), "{reference} is in the page");
    }
    for open in ["html", "head", "body", "table", "svg", "style"] {
        let (begins, ends) = (format!("<{open}"), format!("</{open}>"));
        let opened = page.matches(&format!("{begins}>")).count()
            + page.matches(&format!("{begins} ")).count();
        assert_eq!(opened, page.matches(&ends).count(), "{open}");
    }
}

fn produce(pace: Pace, stall: Option<Stall>, acks: i16) -> Measured {
    let server = floor(stall);
    let run = ProduceRun {
        connections: 1,
        partitions: 2,
        shape: SHAPE,
        acks,
        pace,
    };
    run.run(&setting(&server, 2.0), "test").unwrap()
}

/// At 200 requests a second a pause of 500 ms delays 100 of 400 requests, by 500 ms down to 0: the
/// slowest tenth took 300 ms or more. A closed loop sees one slow request and no other.
#[test]
fn the_open_loop_counts_every_request_that_a_stall_delays() {
    let stall = Stall {
        after_requests: 150,
        pause: Duration::from_millis(500),
    };
    let open = produce(Pace::PerSecond(200.0), Some(stall), -1).tally;
    assert_eq!((open.errors, open.latency.count()), (0, 400));
    for (percentile, expected_us) in [(90.0, 300e3), (95.0, 400e3), (80.0, 100e3)] {
        let found = open.latency.percentile_us(percentile);
        assert!(
            (found - expected_us).abs() < 80e3,
            "p{percentile} is {found} us"
        );
    }
    let closed = produce(Pace::InFlight(1), Some(stall), -1).tally;
    assert!(
        closed.latency.count() > 1_000,
        "{} samples",
        closed.latency.count()
    );
    assert!(closed.latency.summary().max_us > 490e3);
    assert!(closed.latency.percentile_us(99.0) < 50e3);
}

#[test]
fn joins_are_timed_for_every_member_and_failures_are_counted() {
    let server = floor(None);
    let run = JoinRun {
        groups: 2,
        members: 3,
    };
    let (new, further) = run.run(&setting(&server, 1.0), "test").unwrap();
    for tally in [&new.tally, &further.tally] {
        assert_eq!(tally.errors, 0, "{:?}", tally.first_error);
        assert_eq!(tally.latency.count(), tally.requests);
        assert!(tally.requests > 30, "{}", tally.requests);
    }
    assert_eq!(new.tally.requests % 3, 0, "each of three members is timed");
    let mut setting = setting(&server, 1.0);
    drop(server);
    setting.patience = Duration::from_secs(1);
    assert!(run.run(&setting, "test").is_err(), "nobody answers");
}

#[test]
fn a_broker_that_is_too_slow_is_seen_as_such() {
    let stall = Stall {
        after_requests: 10,
        pause: Duration::from_secs(3600),
    };
    let server = floor(Some(stall));
    let mut setting = setting(&server, 0.5);
    setting.patience = Duration::from_secs(1);
    let run = ProduceRun {
        connections: 1,
        partitions: 1,
        shape: SHAPE,
        acks: -1,
        pace: Pace::PerSecond(100.0),
    };
    let tally = run.run(&setting, "test").unwrap().tally;
    assert_eq!(tally.errors, 60 - 9, "one request opened the partition");
    assert!(tally.first_error.unwrap().contains("not answered"));
    // The server would wait for its own stall.
    std::mem::forget(server);
}

#[test]
fn the_rate_is_kept_and_acks_0_is_marked() {
    let tally = produce(Pace::PerSecond(300.0), None, -1).tally;
    assert!(
        tally.requests.abs_diff(600) <= 60,
        "{} requests",
        tally.requests
    );
    let tally = produce(Pace::PerSecond(300.0), None, 0).tally;
    assert!(
        tally.requests.abs_diff(600) <= 60,
        "{} requests",
        tally.requests
    );
    assert!(tally.notes.iter().any(|note| note.contains("acks=0")));
}

#[test]
fn fetches_are_full_and_the_results_have_their_shape() {
    let server = floor(None);
    let run = FetchRun {
        connections: 2,
        fetch_bytes: 64 << 10,
        shape: Shape {
            batch_bytes: 16 << 10,
            record_bytes: 1 << 10,
        },
        data_bytes: 1 << 20,
        threads: 1,
        per_second: None,
    };
    let measured = run.run(&setting(&server, 0.3), "test").unwrap();
    assert_eq!(measured.tally.errors, 0);
    assert_eq!(measured.tally.bytes, measured.tally.requests * (64 << 10));
    let origin = Origin {
        schema: SCHEMA,
        command: "kafscale-perf fetch | more <x>".to_owned(),
        broker: "floor".to_owned(),
        commit: "abc".to_owned(),
        date: "2026-11-23T00:00:00Z".to_owned(),
        machine: Machine::here(),
    };
    let parameters = [("fetch_bytes", "65536".to_owned())];
    let outcome = Outcome::new(&origin, "fetch-64k", &parameters, &measured);
    let directory = tempfile::tempdir().unwrap();
    let path = write_files(directory.path(), "fetch", std::slice::from_ref(&outcome)).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let read: Vec<Outcome> = serde_json::from_str(&text).unwrap();
    assert_eq!(read[0].name, outcome.name);
    assert_eq!(read[0].latency.count, outcome.latency.count);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let row = value[0].as_object().unwrap();
    for key in [
        "command", "commit", "date", "machine", "broker", "schema", "latency", "curve",
    ] {
        assert!(row.contains_key(key), "{key} is missing");
    }
    for key in [
        "p50_us", "p90_us", "p99_us", "p999_us", "p9999_us", "max_us", "count",
    ] {
        assert!(row["latency"][key].is_number(), "{key} is missing");
    }
    let markdown = std::fs::read_to_string(directory.path().join("fetch.md")).unwrap();
    let widths: Vec<usize> = markdown
        .lines()
        .map(|line| line.replace("\\|", "").matches('|').count())
        .collect();
    assert_eq!(widths, vec![15, 15, 15]);
    let page = std::fs::read_to_string(directory.path().join("fetch.html")).unwrap();
    assert_stands_alone(&page);
    for shown in [
        "fetch-64k",
        "more &lt;x&gt;",
        "Latency by percentile",
        "Throughput",
    ] {
        assert!(page.contains(shown), "{shown} is missing");
    }
    assert_eq!(page.matches("<svg").count(), 3);
    let cpu = outcome.broker_cpu_s_per_gb.unwrap();
    let expected = outcome.broker_cpu_s.unwrap() / (outcome.mb_per_s * outcome.seconds / 1e3);
    assert!((cpu / expected - 1.0).abs() < 1e-6 && cpu > 0.0, "{cpu}");
    assert!(
        std::fs::read_to_string(directory.path().join("fetch.svg"))
            .unwrap()
            .contains("</svg>")
    );
}

/// One thread drives more connections than it has, on every shard; every answer is full, and its order is
/// that of its connection alone.
#[test]
fn one_thread_drives_many_connections_over_all_shards() {
    let options = Options {
        shards: 2,
        pin: true,
        ..Default::default()
    };
    let server = FloorServer::start("127.0.0.1:0", &options).unwrap();
    for threads in [1, 3] {
        let run = FetchRun {
            connections: 17,
            fetch_bytes: 4096,
            shape: SHAPE,
            data_bytes: 1 << 20,
            threads,
            per_second: None,
        };
        let tally = run.run(&setting(&server, 0.3), "test").unwrap().tally;
        assert_eq!((tally.errors, tally.first_error), (0, None));
        assert_eq!(tally.bytes, tally.requests * 4096);
        assert!(tally.requests > 170, "{}", tally.requests);
        assert_eq!(tally.latency.count(), tally.requests);
    }
}

/// The other runtime gives the same answers, where the kernel lets it run.
#[cfg(feature = "glommio")]
#[test]
fn glommio_serves_the_same() {
    let options = Options {
        runtime: kafscale_perf::floor::FloorRuntime::Glommio,
        ..Default::default()
    };
    let server = FloorServer::start("127.0.0.1:0", &options).unwrap();
    let run = FetchRun {
        connections: 5,
        fetch_bytes: 256 << 10,
        shape: SHAPE,
        data_bytes: 1 << 20,
        threads: 1,
        per_second: None,
    };
    let tally = run.run(&setting(&server, 0.3), "test").unwrap().tally;
    assert_eq!((tally.errors, tally.first_error), (0, None));
    assert_eq!(tally.bytes, tally.requests * (256 << 10));
    assert!(tally.requests > 20, "{}", tally.requests);
    // glommio's executor ends with its process.
    std::mem::forget(server);
}

/// Every kind of run goes through TLS as it goes without.
#[test]
fn runs_go_through_tls() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("pem"), directory.path().join("key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let options = Options {
        tls: Some((cert.clone(), key)),
        ..Default::default()
    };
    let server = FloorServer::start("127.0.0.1:0", &options).unwrap();
    let mut setting = setting(&server, 0.5);
    let produce = ProduceRun {
        connections: 2,
        partitions: 2,
        shape: SHAPE,
        acks: -1,
        pace: Pace::PerSecond(100.0),
    };
    let refused = produce.run(&setting, "test");
    assert!(refused.is_err(), "the server speaks nothing but TLS");
    let args = AccessArgs {
        ca_file: Some(cert),
        ..Default::default()
    };
    setting.access = args.access().unwrap();
    let tally = produce.run(&setting, "test").unwrap().tally;
    assert_eq!((tally.errors, tally.latency.count()), (0, 50));
    // Records of TLS hold 16 KiB at most.
    for (fetch_bytes, per_second) in [(1 << 10, None), (256 << 10, None), (64 << 10, Some(50.0))] {
        let run = FetchRun {
            connections: 2,
            fetch_bytes,
            shape: SHAPE,
            data_bytes: 4 << 20,
            threads: 1,
            per_second,
        };
        let tally = run.run(&setting, "test").unwrap().tally;
        assert_eq!((tally.errors, tally.first_error), (0, None));
        assert_eq!(tally.bytes, tally.requests * fetch_bytes as u64);
        assert!(tally.requests > 10, "{}", tally.requests);
    }
}

/// Whichever shard has the fewest gets the next socket, and a closed one counts no more.
#[test]
fn sockets_are_dealt_to_the_shard_that_has_the_fewest() {
    let options = Options {
        shards: 3,
        ..Default::default()
    };
    let server = FloorServer::start("127.0.0.1:0", &options).unwrap();
    let connect = || std::net::TcpStream::connect(server.address()).unwrap();
    let becomes = |expected: [usize; 3]| {
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while server.connections() != expected {
            assert!(
                std::time::Instant::now() < until,
                "{:?}, not {expected:?}",
                server.connections()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let mut open: Vec<_> = (0..6).map(|_| connect()).collect();
    becomes([2, 2, 2]);
    // Dealt in order, so the second and the fifth are the second shard's.
    open.remove(4);
    open.remove(1);
    becomes([2, 0, 2]);
    open.extend([connect(), connect(), connect()]);
    becomes([3, 2, 2]);
}

/// A fetch on schedule counts from its intended time, and the rate is that of all connections.
#[test]
fn fetches_on_schedule_keep_their_rate() {
    let server = floor(None);
    let run = FetchRun {
        connections: 3,
        fetch_bytes: 1024,
        shape: SHAPE,
        data_bytes: 1 << 20,
        threads: 1,
        per_second: Some(300.0),
    };
    let tally = run.run(&setting(&server, 1.0), "test").unwrap().tally;
    assert!(tally.requests.abs_diff(300) <= 60, "{}", tally.requests);
    assert_eq!(tally.latency.count(), 300);
    let service = tally.service.unwrap().summary();
    assert!(service.mean_us <= tally.latency.summary().mean_us);
}

#[test]
fn records_that_never_come_back_are_missed() {
    // The floor server forgets what is produced: every record is acknowledged, none of this run's
    // can be read.
    let server = floor(None);
    let run = EndToEndRun {
        producers: 1,
        consumers: 1,
        partitions: 1,
        shape: SHAPE,
        per_second: 50.0,
    };
    let (consumed, produced) = run.run(&setting(&server, 0.2), "test").unwrap();
    assert_eq!(consumed.tally.latency.count(), 0);
    assert_eq!(consumed.tally.errors, produced.tally.records_in_all);
    assert_eq!(produced.tally.latency.count(), 10);
}
