//! Brokers as processes on a real etcd and an S3 server over the wire: what a cluster promises, and
//! what a start refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "cluster/adopt.rs"]
mod adopt;
#[path = "cluster/assigned.rs"]
mod assigned;
#[path = "common/authority.rs"]
mod authority;
#[path = "cluster/backup.rs"]
mod backup;
mod common;
#[path = "cluster/direct.rs"]
mod direct;
#[path = "cluster/export.rs"]
mod export;
#[path = "cluster/fsck.rs"]
mod fsck;
#[path = "cluster/gauges.rs"]
mod gauges;
#[path = "cluster/groups.rs"]
mod groups;
#[path = "cluster/lifecycle.rs"]
mod lifecycle;
#[path = "cluster/listeners.rs"]
mod listeners;
#[path = "cluster/moves.rs"]
mod moves;
#[path = "cluster/operations.rs"]
mod operations;
#[path = "cluster/operator.rs"]
mod operator;
#[path = "cluster/quotas.rs"]
mod quotas;
#[path = "cluster/refusals.rs"]
mod refusals;
#[path = "cluster/restore.rs"]
mod restore;
#[path = "cluster/tls_stores.rs"]
mod tls_stores;
#[path = "cluster/two_clusters.rs"]
mod two_clusters;
#[path = "cluster/world.rs"]
mod world;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use s3_server::Conditional;
use world::{PROGRAM, World, eventually, free};

#[test]
fn what_is_acknowledged_survives_dead_frozen_and_leaving_brokers() {
    let world = World::start_named(Conditional::Atomic);
    let one = world.node("1");
    let (mut two, mut three) = (world.node("2"), world.node("3"));
    one.run(&["topic", "create", "orders", "--partitions", "6"], "");
    one.produce("orders", 0..1_000);
    let expected = |end: u32| (0..end).collect::<Vec<u32>>();
    for node in [&one, &two, &three] {
        assert_eq!(node.read("orders"), expected(1_000));
    }
    let drained = world.operate(&["drain", "2"]);
    assert!(drained.contains("owns nothing any more"), "{drained}");
    let described = world.operate(&["describe", "--json"]);
    let state: serde_json::Value = serde_json::from_str(&described).unwrap();
    let counts: Vec<i64> = (0..3)
        .map(|index| state["brokers"][index]["partitions"].as_i64().unwrap())
        .collect();
    assert_eq!(counts, [3, 0, 3], "{described}");
    world.operate(&["undrain", "2"]);
    let balanced = world.operate(&["balance"]);
    assert!(!balanced.contains("WITHOUT"), "{balanced}");
    assert_eq!(two.read("orders"), expected(1_000));
    three.kill();
    two.produce("orders", 1_000..2_000);
    assert_eq!(one.read("orders"), expected(2_000));
    // Frozen for longer than its lease: what it owned is served by others, and it comes back.
    // A client that asks it meanwhile waits for its own request timeout, as with any broker.
    one.signal("-STOP");
    eventually("its partitions have other leaders", || {
        let described = world.operate(&["describe", "--json"]);
        let state: serde_json::Value = serde_json::from_str(&described).unwrap();
        state["brokers"].as_array().unwrap().len() == 1 && state["partitions_without_leader"] == 0
    });
    two.produce("orders", 2_000..3_000);
    assert_eq!(two.read("orders"), expected(3_000));
    one.signal("-CONT");
    eventually("the frozen broker begins another session", || {
        one.log().matches("session begun").count() == 2
    });
    assert_eq!(one.read("orders"), expected(3_000));
    two.stop();
    one.produce("orders", 3_000..4_000);
    assert_eq!(one.read("orders"), expected(4_000));
    let again = world.node("3");
    assert_eq!(
        again.read("orders"),
        expected(4_000),
        "the id is free again"
    );
}

#[test]
fn a_store_that_ignores_conditions_is_found_and_commits_are_guarded_by_etcd() {
    let world = World::start_named(Conditional::Ignored);
    let mut node = world.node("1");
    assert!(node.log().contains("Guarded commits"), "{}", node.log());
    node.run(&["topic", "create", "orders", "--partitions", "3"], "");
    node.produce("orders", 0..500);
    node.kill();
    let node = world.node("1");
    node.produce("orders", 500..600);
    assert_eq!(node.read("orders"), (0..600).collect::<Vec<u32>>());
}

/// Backblaze B2 answers conditional writes with 501: what the broker would write so is written without.
#[test]
fn a_store_that_refuses_conditions_is_served_as_one_that_ignores_them() {
    let world = World::start(Conditional::Refused);
    let small = [
        ("KAFSCALE_SEGMENT_BYTES", "64KiB"),
        ("KAFSCALE_BACKUP_INTERVAL_MS", "500"),
    ];
    let mut node = world.node_with("1", &small);
    assert!(node.log().contains("Guarded commits"), "{}", node.log());
    node.run(&["topic", "create", "orders", "--partitions", "3"], "");
    node.produce("orders", 0..20_000);
    eventually("segments and backups are written", || {
        node.metric("kafscale_compactions_total{result=\"ok\"}") >= 1.0
            && node.metric("kafscale_backups_total{result=\"ok\"}") >= 1.0
    });
    node.kill();
    let mut node = world.node_with("1", &small);
    node.produce("orders", 20_000..20_100);
    assert_eq!(node.read("orders"), (0..20_100).collect::<Vec<u32>>());
    node.stop();
    let output = world.tool(&["fsck", "--deep"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// A store that creates under a condition and never replaces under one: what would replace is left alone, and compaction
/// goes on.
#[test]
fn a_store_that_keeps_no_if_match_merges_nothing_and_compacts_all_the_same() {
    let world = World::start(Conditional::CreateOnly);
    let small = [
        ("KAFSCALE_SEGMENT_BYTES", "1MiB"),
        ("KAFSCALE_COMPACTION_INTERVAL_MS", "1000"),
    ];
    let mut node = world.node_with("1", &small);
    assert!(node.log().contains("Conditional commits"), "{}", node.log());
    node.run(&["topic", "create", "orders", "--partitions", "1"], "");
    let segments = || node.metric("kafscale_compactions_total{result=\"ok\"}");
    for round in 0..9 {
        node.produce("orders", round * 100..(round + 1) * 100);
        eventually("it is compacted", || segments() > f64::from(round));
    }
    assert_eq!(
        node.metric("kafscale_compactions_total{result=\"error\"}"),
        0.0
    );
    assert_eq!(
        node.metric("kafscale_compactions_total{result=\"merged\"}"),
        0.0
    );
    assert_eq!(node.read("orders"), (0..900).collect::<Vec<u32>>());
    node.stop();
}

/// The store answers 503 for a while, then again: produce is refused with an error that clients
/// retry, reads from memory go on, and everything recovers by itself.
#[test]
fn a_store_that_fails_for_a_while_refuses_produce_and_recovers_by_itself() {
    let world = World::start(Conditional::Atomic);
    let node = world.node("1");
    node.run(&["topic", "create", "orders", "--partitions", "3"], "");
    node.produce("orders", 0..500);
    let fault = s3_server::Fault::Error {
        code: s3_server::ErrorCode::ServiceUnavailable,
        retry_after_seconds: None,
    };
    let rule = world
        .s3()
        .faults()
        .add(s3_server::Rule::new(fault))
        .unwrap();
    // A producer that does not give up; its records come back once.
    let mut waiting = Command::new(PROGRAM)
        .args(["produce", "orders", "-b", &node.kafka.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines: Vec<String> = (500..600).map(|number: u32| number.to_string()).collect();
    let mut input = waiting.stdin.take().unwrap();
    input
        .write_all(format!("{}\n", lines.join("\n")).as_bytes())
        .unwrap();
    drop(input);
    eventually("the store counts as unavailable", || {
        node.log().contains("the object store is unavailable")
    });
    assert_eq!(node.read("orders"), (0..500).collect::<Vec<u32>>());
    assert!(world.s3().faults().remove(rule));
    eventually("the store has recovered", || {
        node.log().contains("has recovered")
    });
    eventually("the producer gets through", || {
        waiting.try_wait().unwrap().is_some()
    });
    assert!(waiting.wait().unwrap().success());
    node.produce("orders", 600..700);
    assert_eq!(node.read("orders"), (0..700).collect::<Vec<u32>>());
}

/// A start that waits for an earlier session of its id, or for a store, ends at once when told to.
#[test]
fn sigterm_ends_a_start_that_waits() {
    let world = World::start(Conditional::Atomic);
    let node = world.node("1");
    let log = world.logs.path().join("waits.log");
    let file = std::fs::File::create(&log).unwrap();
    let patient = [("KAFSCALE_SESSION_TTL_MS", "60000")];
    let mut waiting = world
        .command("1", free(), &patient)
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    eventually("it waits", || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        said.contains("waiting for it to end")
    });
    let told = Instant::now();
    let pid = waiting.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(waiting.wait().unwrap().success());
    assert!(
        told.elapsed() < Duration::from_secs(10),
        "{:?}",
        told.elapsed()
    );
    assert!(node.log().matches("session begun").count() == 1);
}
