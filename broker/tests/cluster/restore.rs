//! `kafscale restore` on a cluster that serves: the new topic holds the old one as it was at a moment,
//! record by record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use s3_server::Conditional;
use serde_json::Value;

use crate::world::{Node, Over, World, eventually};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Sends records of about half a KiB, with keys and headers, in one codec.
fn produce(node: &Node, partition: &str, codec: &str, numbers: std::ops::Range<u32>) {
    let lines: Vec<String> = numbers
        .map(|number| format!("k{number}:{number:0>500}"))
        .collect();
    let arguments = [
        "produce",
        "orders",
        "-p",
        partition,
        "-z",
        codec,
        "-K",
        ":",
        "-H",
        "from=test",
    ];
    node.run(&arguments, &format!("{}\n", lines.join("\n")));
}

/// All records of a topic, by partition and offset, without its name.
fn records(node: &Node, topic: &str) -> Vec<Value> {
    let arguments = [
        "consume",
        topic,
        "--from-beginning",
        "--exit-at-end",
        "-f",
        "json",
    ];
    let output = node.run(&arguments, "");
    let text = String::from_utf8(output.stdout).unwrap();
    let read = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record.as_object_mut().unwrap().remove("topic");
        record
    };
    let mut records: Vec<Value> = text.lines().map(read).collect();
    let number = |record: &Value, name: &str| record[name].as_i64().unwrap();
    records.sort_by_key(|record| (number(record, "partition"), number(record, "offset")));
    records
}

fn timestamp(record: &Value) -> i64 {
    record["timestamp"].as_i64().unwrap()
}

fn restore(world: &World, target: &str, to: i64) -> String {
    let to = to.to_string();
    let arguments = [
        "restore", "--topic", "orders", "--target", target, "--to", &to,
    ];
    let output = world.tool(&arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_topic_is_restored_while_brokers_serve_it() {
    let world = World::start_named(Conditional::Atomic);
    let settings = [
        ("KAFSCALE_SEGMENT_BYTES", "64KiB"),
        ("KAFSCALE_COMPACTION_INTERVAL_MS", "1000"),
    ];
    let one = world.node_with("1", &settings);
    let mut two = world.node_with("2", &settings);
    let create = [
        "topic",
        "create",
        "orders",
        "--partitions",
        "2",
        "-c",
        "retention.ms=-1",
    ];
    one.run(&create, "");
    for (codec, first) in CODECS.iter().zip((0..).step_by(300)) {
        produce(&one, "0", codec, first..first + 200);
        produce(&one, "1", codec, first + 200..first + 300);
    }
    std::thread::sleep(std::time::Duration::from_millis(5));
    let noted = now_ms();
    std::thread::sleep(std::time::Duration::from_millis(5));
    for (codec, first) in CODECS.iter().zip((10_000..).step_by(300)) {
        produce(&two, "0", codec, first..first + 300);
    }
    eventually("some of it is in segments", || {
        one.metric("kafscale_compactions_total{result=\"ok\"}")
            + two.metric("kafscale_compactions_total{result=\"ok\"}")
            >= 2.0
    });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Over(&over);
        scope.spawn(|| {
            let mut next = 50_000;
            while !over.load(Ordering::Relaxed) {
                produce(&two, "1", "lz4", next..next + 20);
                next += 20;
            }
        });
        let said = restore(&world, "noon", noted);
        assert!(said.contains("holds 1500 records of orders"), "{said}");
        drop(ends);
    });
    let all = records(&one, "orders");
    let within = |to: i64| {
        let within = all.iter().filter(|record| timestamp(record) <= to);
        within.cloned().collect::<Vec<Value>>()
    };
    assert_eq!(within(noted).len(), 1_500);
    eventually("the new topic is served", || {
        let output = one.run(&["topic", "list"], "");
        String::from_utf8(output.stdout).unwrap().contains("noon")
    });
    assert_eq!(records(&one, "noon"), within(noted));

    // At the time of a record in the middle of what was sent together.
    let middle = timestamp(&all[all.len() / 3]);
    let dry = ["restore", "--topic", "orders", "--target", "middle", "--to"];
    let middle_text = middle.to_string();
    let dry: Vec<&str> = dry
        .into_iter()
        .chain([&*middle_text, "--dry-run"])
        .collect();
    let looked = world.tool(&dry).output().unwrap();
    assert!(looked.status.success());
    let told = String::from_utf8(looked.stdout).unwrap();
    assert!(told.contains("Nothing was written"), "{told}");
    restore(&world, "middle", middle);
    eventually("the new topic is served", || {
        let output = one.run(&["topic", "list"], "");
        String::from_utf8(output.stdout).unwrap().contains("middle")
    });
    assert_eq!(records(&two, "middle"), within(middle));

    // It is a topic like any other: it goes on at its end, moves, and has the configuration.
    let before = records(&one, "noon").len();
    one.run(&["produce", "noon", "-p", "0"], "one more\n");
    let after = records(&two, "noon");
    assert_eq!(after.len(), before + 1);
    let described = one.run(&["topic", "describe", "noon"], "").stdout;
    let described = String::from_utf8(described).unwrap();
    assert!(described.contains("retention.ms"), "{described}");
    two.stop();
    assert_eq!(records(&one, "noon"), after);
    let again = world
        .tool(&[
            "restore", "--topic", "orders", "--target", "noon", "--to", "1",
        ])
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("topic noon exists"), "{said}");
}
