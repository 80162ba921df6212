//! `kafscale export`: what it writes is what consumers read, whether brokers run, die or are gone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, RowAccessor};
use s3_server::{Conditional, Fault, Operation, Rule};
use serde_json::Value;

use crate::world::{Node, Over, World, eventually};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// A record: timestamp, key, value, headers.
type Content = (
    i64,
    Option<String>,
    Option<String>,
    Vec<(String, Option<String>)>,
);
/// Records by partition and offset.
type Rows = BTreeMap<(i64, i64), Content>;

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Rows from JSON lines, where a header's name is under `name`.
fn rows_of(lines: &str, name: &str) -> Rows {
    let mut rows = Rows::new();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let place = (
            row["partition"].as_i64().unwrap(),
            row["offset"].as_i64().unwrap(),
        );
        let headers = row["headers"].as_array().unwrap().iter();
        let headers = headers.map(|header| (text(&header[name]).unwrap(), text(&header["value"])));
        let content = (
            row["timestamp"].as_i64().unwrap(),
            text(&row["key"]),
            text(&row["value"]),
            headers.collect(),
        );
        assert!(
            rows.insert(place, content).is_none(),
            "{place:?} came twice"
        );
    }
    rows
}

/// What a consumer reads.
fn consumed(node: &Node, topic: &str) -> Rows {
    let arguments = [
        "consume",
        topic,
        "--from-beginning",
        "--exit-at-end",
        "--format",
        "json",
    ];
    let output = node.run(&arguments, "");
    rows_of(&String::from_utf8(output.stdout).unwrap(), "name")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn bytes(field: &Field) -> Option<String> {
    match field {
        Field::Null => None,
        Field::Bytes(bytes) => Some(String::from_utf8(bytes.data().to_vec()).unwrap()),
        other => panic!("{other:?} is no bytes"),
    }
}

/// What stands in the Parquet files of a directory.
fn parquet_rows(directory: &Path) -> Rows {
    let mut rows = Rows::new();
    for name in names(directory) {
        let reader = SerializedFileReader::new(File::open(directory.join(&name)).unwrap()).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let fields: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
            let Field::TimestampMillis(timestamp) = fields[2] else {
                panic!("{name}: {:?} is no timestamp", fields[2]);
            };
            let Field::ListInternal(headers) = fields[6] else {
                panic!("{name}: {:?} is no list", fields[6]);
            };
            let headers = headers.elements().iter().map(|header| {
                let Field::Group(header) = header else {
                    panic!("{header:?} is no header");
                };
                let value = header.get_column_iter().nth(1).unwrap().1;
                (header.get_string(0).unwrap().clone(), bytes(value))
            });
            let content = (
                *timestamp,
                bytes(fields[4]),
                bytes(fields[5]),
                headers.collect(),
            );
            let place = (i64::from(row.get_int(0).unwrap()), row.get_long(1).unwrap());
            assert!(
                rows.insert(place, content).is_none(),
                "{place:?} came twice"
            );
        }
    }
    rows
}

/// What an export as JSON gives on standard output.
fn exported(world: &World, topic: &str, more: &[&str]) -> Rows {
    let arguments = [
        "export", "--topic", topic, "--format", "json", "--output", "-",
    ];
    let output = world.tool(&[&arguments, more].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    rows_of(&String::from_utf8(output.stdout).unwrap(), "key")
}

/// Keys, nulls, headers, with one codec.
fn produce(node: &Node, topic: &str, codec: &str) {
    let lines = (0..200).map(|number| match number % 10 {
        0 => format!("k{number}:NULL\n"),
        1 => format!("NULL:v{number}\n"),
        _ => format!(
            "k{number}:{}\n",
            format!("{codec}-{number} ").repeat(number)
        ),
    });
    let header = format!("codec={codec}");
    let arguments = [
        "produce",
        topic,
        "-z",
        codec,
        "-K",
        ":",
        "--null-value",
        "NULL",
        "-H",
        &header,
    ];
    node.run(&arguments, &lines.collect::<String>());
}

#[test]
fn an_export_has_what_consumers_read_of_segments_and_wal_with_and_without_brokers() {
    let world = World::start_named(Conditional::Atomic);
    let settings = [
        ("KAFSCALE_SEGMENT_BYTES", "64KiB"),
        ("KAFSCALE_COMPACTION_INTERVAL_MS", "1000"),
    ];
    let mut one = world.node_with("1", &settings);
    let mut two = world.node_with("2", &settings);
    one.run(&["topic", "create", "orders", "--partitions", "3"], "");
    for codec in CODECS {
        produce(&one, "orders", codec);
    }
    eventually("something is compacted", || {
        let compactions = "kafscale_compactions_total{result=\"ok\"}";
        one.metric(compactions) + two.metric(compactions) >= 3.0
    });
    for codec in CODECS {
        produce(&two, "orders", codec);
    }
    let expected = consumed(&one, "orders");
    assert_eq!(expected.len(), 2_000);
    assert_eq!(exported(&world, "orders", &[]), expected);
    let place = tempfile::tempdir().unwrap();
    let export = |name: &str, more: &[&str]| {
        let path = place.path().join(name);
        let path = path.to_str().unwrap();
        let arguments = ["export", "--topic", "orders", "--output", path];
        let output = world.tool(&[&arguments, more].concat()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{said}"
        );
        said
    };
    let said = export("all", &[]);
    assert!(said.contains("exported 2,000 records, 3 files"), "{said}");
    assert_eq!(parquet_rows(&place.path().join("all")), expected);
    // Small files, two partitions, a range of offsets.
    let more = [
        "--partitions",
        "2,0",
        "--from",
        "100",
        "--to",
        "400",
        "--file-bytes",
        "2KiB",
    ];
    export("some", &more);
    let mut some = expected.clone();
    some.retain(|(partition, offset), _| *partition != 1 && (100..400).contains(offset));
    assert_eq!(parquet_rows(&place.path().join("some")), some);
    assert!(names(&place.path().join("some")).len() > 2);
    // By time, to the millisecond.
    let mut times: Vec<i64> = expected.values().map(|row| row.0).collect();
    times.sort_unstable();
    let (from, to) = (times[500], times[1_500]);
    let bounds = [format!("@{from}"), format!("@{to}")];
    let mut timed = expected.clone();
    timed.retain(|_, row| (from..to).contains(&row.0));
    assert!(!timed.is_empty() && timed.len() < expected.len());
    assert_eq!(
        exported(
            &world,
            "orders",
            &["--from", &bounds[0], "--to", &bounds[1]]
        ),
        timed
    );
    // One dies, one leaves: the bucket is all that there is.
    one.kill();
    two.stop();
    assert_eq!(exported(&world, "orders", &[]), expected);
    export("later", &[]);
    assert_eq!(parquet_rows(&place.path().join("later")), expected);
}

#[test]
fn an_export_reads_commits_that_etcd_guards() {
    let world = World::start_named(Conditional::Ignored);
    let mut node = world.node("1");
    node.run(&["topic", "create", "orders", "--partitions", "3"], "");
    produce(&node, "orders", "zstd");
    node.kill();
    let node = world.node("1");
    produce(&node, "orders", "gzip");
    let expected = consumed(&node, "orders");
    assert_eq!(expected.len(), 400);
    assert_eq!(exported(&world, "orders", &[]), expected);
}

#[test]
fn an_export_ends_under_a_running_producer_and_has_all_that_was_acknowledged_before() {
    let world = World::start_named(Conditional::Atomic);
    let node = world.node("1");
    node.run(&["topic", "create", "busy", "--partitions", "2"], "");
    let (over, acknowledged) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let next = acknowledged.load(Ordering::Relaxed) + 500;
                node.produce("busy", next - 500..next);
                acknowledged.store(next, Ordering::Relaxed);
            }
        });
        for _ in 0..3 {
            eventually("more is there", || {
                acknowledged.load(Ordering::Relaxed) >= 500
            });
            let before = acknowledged.load(Ordering::Relaxed);
            let rows = exported(&world, "busy", &[]);
            let mut next = BTreeMap::from([(0, 0), (1, 0)]);
            for (partition, offset) in rows.keys() {
                let next = next.get_mut(partition).unwrap();
                assert_eq!(offset, next, "offsets of partition {partition} are dense");
                *next += 1;
            }
            let found: Vec<u32> = rows
                .values()
                .map(|row| row.2.as_ref().unwrap().parse().unwrap())
                .collect();
            let known = found.iter().filter(|number| **number < before).count();
            assert_eq!(
                known, before as usize,
                "what was acknowledged before is there once"
            );
        }
    });
}

#[test]
fn an_interrupted_export_leaves_whole_files_alone_and_tells_so() {
    let world = World::start(Conditional::Atomic);
    let node = world.node("1");
    node.run(&["topic", "create", "orders", "--partitions", "1"], "");
    // More than a reader reads ahead.
    let line = "0123456789".repeat(2_000);
    for round in 0..8 {
        let lines = (0..200).map(|number| format!("{round} {number} {line}\n"));
        node.run(&["produce", "orders"], &lines.collect::<String>());
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_str().unwrap();
    let arguments = ["export", "--topic", "orders", "--output", path];
    // Slow first, and then it stands still.
    let delayed = |lo_ms| {
        let fault = Fault::Delay { lo_ms, hi_ms: None };
        let rule = Rule::new(fault).on(Operation::GetObject);
        world.s3().faults().add(rule).unwrap()
    };
    let slow = delayed(300);
    let mut child = world
        .tool(
            &[
                &arguments[..],
                &["--file-bytes", "20KiB", "--compression", "none"],
            ]
            .concat(),
        )
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("a file is whole", || {
        names(place.path())
            .iter()
            .any(|name| !name.starts_with('.'))
    });
    let still = delayed(600_000);
    assert!(
        child.try_wait().unwrap().is_none(),
        "it has ended too early"
    );
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    eventually("it ends", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted: what is listed above"), "{said}");
    assert!(world.s3().faults().remove(slow) && world.s3().faults().remove(still));
    let left = names(place.path());
    assert!(
        left.iter()
            .all(|name| name.ends_with(".parquet") && !name.starts_with('.')),
        "{left:?}"
    );
    let expected = consumed(&node, "orders");
    let rows = parquet_rows(place.path());
    assert!(rows.len() < expected.len());
    for (place, row) in &rows {
        assert_eq!(Some(row), expected.get(place));
    }
    // The same directory is not mixed with another export; what is missing can be added.
    let refused = world.tool(&arguments).output().unwrap();
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.contains("--append"), "{refused}");
    let row = said.lines().find(|line| line.starts_with("0 ")).unwrap();
    let next = row.split_whitespace().nth(2).unwrap();
    let more = ["--append", "--from", next];
    let status = world
        .tool(&[&arguments[..], &more].concat())
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    assert_eq!(parquet_rows(place.path()), expected);
}

#[test]
fn what_cannot_be_exported_is_told_with_what_to_do() {
    let world = World::start_named(Conditional::Atomic);
    let node = world.node("1");
    node.run(&["topic", "create", "orders", "--partitions", "2"], "");
    node.produce("orders", 0..10);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out");
    let path = path.to_str().unwrap();
    let refused = |arguments: &[&str]| {
        let output = world.tool(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let base = ["export", "--output", path, "--topic"];
    for (more, expected) in [
        (&["nothing"][..], "there is no topic nothing in s3://"),
        (
            &["orders", "--partitions", "2"],
            "topic orders has partitions 0 to 1, no 2",
        ),
        (&["orders", "--from", "1000"], "begin at `earliest`"),
    ] {
        let said = refused(&[&base[..], more].concat());
        assert!(said.contains(expected), "{said}");
    }
    assert!(
        !Path::new(path).exists(),
        "nothing is made for what is refused"
    );
    // A topic without a record: no file, no error.
    node.run(&["topic", "create", "empty", "--partitions", "2"], "");
    let output = world
        .tool(&[&base[..], &["empty"]].concat())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.contains("exported 0 records, 0 files"),
        "{said}"
    );
    assert_eq!(names(Path::new(path)), [""; 0]);
    // A reader that has seen enough ends it quietly.
    let mut child = world
        .tool(&[
            "export", "--topic", "orders", "--format", "json", "--output", "-",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && !said.contains("cannot write"),
        "{said}"
    );
}
