//! The program as a user meets it: a broker, and the client commands against it.
//!
//! Each test starts a broker of its own, on free ports, in a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/ports.rs"]
mod ports;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kafscale");
/// Longest wait for a broker to take requests.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for any command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// A broker of the test's own. Killed when it is dropped.
struct Broker {
    child: Child,
    address: String,
    metrics: String,
    directory: TempDir,
}

fn free_address() -> String {
    ports::free().to_string()
}

/// A command that takes nothing from the environment of the test.
fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KAFSCALE_") {
            command.env_remove(name);
        }
    }
    command
}

impl Broker {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (address, metrics) = (free_address(), free_address());
        let child = Self::spawn(&address, &metrics, directory.path(), more);
        let mut broker = Self {
            child,
            address,
            metrics,
            directory,
        };
        broker.wait_ready();
        broker
    }

    fn spawn(address: &str, metrics: &str, directory: &Path, more: &[&str]) -> Child {
        let log = directory.join("broker.log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = program();
        command.args([
            "broker",
            "--broker-addr",
            address,
            "--metrics-addr",
            metrics,
        ]);
        command.args(["--shards", "2", "--pin", "false", "--log-level", "info"]);
        command.arg("--data-dir").arg(directory.join("data"));
        command.args(more);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn wait_ready(&mut self) {
        let deadline = Instant::now() + READY_TIMEOUT;
        while !is_ready(&self.metrics) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the broker ended with {ended:?}:\n{}",
                self.log()
            );
            assert!(
                Instant::now() < deadline,
                "the broker is not ready:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the broker as `kill -9` does, and starts it again on the same ports.
    fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(&self.address, &self.metrics, self.directory.path(), &[]);
        self.wait_ready();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("broker.log")).unwrap_or_default()
    }

    fn command(&self, words: &str) -> Command {
        let mut command = program();
        command
            .args(words.split_whitespace())
            .args(["-b", &self.address]);
        command
    }

    /// Runs a command with input; fails unless it ends with `code`.
    fn run(&self, words: &str, input: &[u8], code: i32) -> Output {
        let output = run(self.command(words), input);
        let (stdout, stderr) = (output.stdout.as_slice(), output.stderr.as_slice());
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words}\nstdout: {}\nstderr: {}\nbroker: {}",
            String::from_utf8_lossy(&stdout[..stdout.len().min(2_000)]),
            String::from_utf8_lossy(stderr),
            self.log()
        );
        output
    }

    fn ok(&self, words: &str) -> String {
        String::from_utf8(self.run(words, b"", 0).stdout).unwrap()
    }

    fn fails(&self, words: &str, code: i32) -> String {
        String::from_utf8(self.run(words, b"", code).stderr).unwrap()
    }

    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.ok(words)).unwrap()
    }

    /// Files of the log whose names end so.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.directory.path().join("data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(ending) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(metrics: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(metrics)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Runs a command to its end, feeding it `input` meanwhile.
fn run(mut command: Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // A command that fails early does not read its input.
    let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let id = child.id();
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if finished.recv_timeout(COMMAND_TIMEOUT).is_err() {
            let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        }
    });
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    watch.join().unwrap();
    feed.join().unwrap();
    output
}

/// Random lines of random bytes; some are empty, some long.
fn random_lines(seed: u64, count: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut bytes = Vec::new();
    for _ in 0..count {
        let length = match random.random_range(0..100) {
            0 => 0,
            1 => random.random_range(10_000..50_000),
            _ => random.random_range(1..200),
        };
        let start = bytes.len();
        bytes.resize(start + length, 0);
        random.fill_bytes(&mut bytes[start..]);
        bytes[start..]
            .iter_mut()
            .filter(|byte| **byte == b'\n')
            .for_each(|byte| *byte = b'\r');
        bytes.push(b'\n');
    }
    bytes
}

fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    let differ = found
        .iter()
        .zip(expected)
        .position(|(one, other)| one != other);
    assert_eq!((found.len(), differ), (expected.len(), None), "{what}");
}

const ALL: &str = "consume lines --from-beginning --exit-at-end --timeout 30s";

#[test]
fn lines_come_back_byte_for_byte_across_kills() {
    let mut broker = Broker::start();
    broker.ok("topic create lines --partitions 1");
    let mut sent = Vec::new();
    for (seed, compression) in ["none", "gzip", "snappy", "lz4", "zstd"]
        .into_iter()
        .enumerate()
    {
        let lines = random_lines(seed as u64, 3_000);
        if seed % 2 == 0 {
            let words = format!("produce lines --compression {compression}");
            broker.run(&words, &lines, 0);
        } else {
            let file = broker.directory.path().join("lines.txt");
            std::fs::write(&file, &lines).unwrap();
            let words = format!("produce lines -z {compression} --file {}", file.display());
            broker.ok(&words);
        }
        sent.extend_from_slice(&lines);
        broker.kill_and_restart();
        assert_same(&broker.run(ALL, b"", 0).stdout, &sent, compression);
    }
    let file = broker.directory.path().join("out.txt");
    broker.ok(&format!("{ALL} --output {}", file.display()));
    assert_same(&std::fs::read(&file).unwrap(), &sent, "a file");
    let last = broker
        .run("consume lines --offset -2 --exit-at-end", b"", 0)
        .stdout;
    assert!(sent.ends_with(&last) && last.iter().filter(|byte| **byte == b'\n').count() == 2);
}

#[test]
fn a_producer_outlives_its_broker() {
    let mut broker = Broker::start();
    broker.ok("topic create lines --partitions 1");
    let lines = random_lines(7, 20_000);
    let (first, rest) = lines.split_at(lines.len() / 2);
    let mut command = broker.command("produce lines");
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(first).unwrap();
    broker.kill_and_restart();
    stdin.write_all(rest).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_same(
        &broker.run(ALL, b"", 0).stdout,
        &lines,
        "each record once, in order",
    );
}

#[test]
fn topics_are_created_shown_changed_and_deleted() {
    let broker = Broker::start();
    broker.ok("topic create orders --partitions 3 --replication-factor 3 -c retention.ms=86400000");
    let error = broker.fails("topic create orders", 1);
    assert!(error.contains("TOPIC_ALREADY_EXISTS"), "{error}");
    broker.ok("topic create orders --if-not-exists");
    broker.ok("topic create other");
    assert_eq!(broker.ok("topic list"), "orders\nother\n");
    broker.run("produce orders --partition 2", b"one\ntwo\n", 0);
    let described = &broker.json("topic describe orders --json")[0];
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(described["partitions"][2]["end_offset"], 2);
    assert_eq!(described["configs"][0]["name"], "retention.ms");
    assert_eq!(described["configs"][0]["value"], "86400000");
    broker.ok(
        "topic alter orders --config max.message.bytes=2000000 --delete-config retention.ms -p 5",
    );
    let shown = broker.ok("topic describe orders");
    assert!(shown.contains("partitions  5"), "{shown}");
    assert!(
        shown.contains("max.message.bytes=2000000") && !shown.contains("retention.ms"),
        "{shown}"
    );
    let error = broker.fails("topic alter orders --config no.such.thing=1", 1);
    assert!(error.contains("INVALID_CONFIG"), "{error}");
    broker.ok("topic delete orders other");
    assert_eq!(broker.ok("topic list"), "");
    broker.fails("topic delete orders", 1);
    broker.ok("topic delete orders --if-exists");
}

#[test]
fn keys_headers_and_nulls_are_kept() {
    let broker = Broker::start();
    broker.ok("topic create keyed --partitions 4");
    let input = b"a:1\nb:2\na:NULL\nc:\n";
    broker.run(
        "produce keyed -K : --null-value NULL -H from=test",
        input,
        0,
    );
    let printed = broker.ok("consume keyed --from-beginning --exit-at-end --format json");
    let records: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut values: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for record in &records {
        assert_eq!(record["headers"][0]["name"], "from");
        assert_eq!(record["headers"][0]["value"], "test");
        values
            .entry(record["key"].as_str().unwrap())
            .or_default()
            .push(&record["value"]);
    }
    let expected = [
        ("a", vec!["\"1\"", "null"]),
        ("b", vec!["\"2\""]),
        ("c", vec!["\"\""]),
    ];
    let found: Vec<(&str, Vec<String>)> = values
        .iter()
        .map(|(key, values)| (*key, values.iter().map(ToString::to_string).collect()))
        .collect();
    assert_eq!(found.len(), expected.len());
    for ((key, values), (expected_key, expected_values)) in found.iter().zip(&expected) {
        assert_eq!((key, values.len()), (expected_key, expected_values.len()));
        assert!(
            values
                .iter()
                .zip(expected_values)
                .all(|(one, other)| one == other),
            "{values:?}"
        );
    }
    let error = String::from_utf8(broker.run("produce keyed -K :", b"x:1\ny\n", 1).stderr).unwrap();
    assert!(error.contains("line 2 has no key separator"), "{error}");
    let text = "consume keyed --from-beginning --exit-at-end --print-key --delimiter = -n 5";
    assert!(broker.ok(text).lines().any(|line| line == "a=null"));
}

#[test]
fn groups_commit_show_reset_and_go() {
    let mut broker = Broker::start();
    broker.ok("topic create work --partitions 1");
    let lines: String = (0..100).map(|number| format!("{number}\n")).collect();
    broker.run("produce work", lines.as_bytes(), 0);
    let read = "consume work --group g --from-beginning --timeout 30s";
    let first = broker.ok(&format!("{read} --max-messages 40"));
    broker.kill_and_restart();
    let rest = broker.ok(&format!("{read} --exit-at-end"));
    assert_eq!(format!("{first}{rest}"), lines);
    let listed = broker.json("group list --json");
    assert_eq!(listed[0]["group"], "g");
    let described = &broker.json("group describe g --json")[0];
    assert_eq!(described["state"], "Empty");
    assert_eq!(described["offsets"][0]["committed"], 100);
    assert_eq!(described["offsets"][0]["lag"], 0);
    let planned = broker.ok("group reset-offsets g --topic work --shift-by -30");
    assert!(
        planned.contains("70") && planned.contains("nothing was changed"),
        "{planned}"
    );
    assert_eq!(
        broker.json("group describe g --json")[0]["offsets"][0]["committed"],
        100
    );
    broker.ok("group reset-offsets g --topic work:0 --to-offset 95 --execute");
    assert_eq!(
        broker.ok(&format!("{read} --exit-at-end")),
        "95\n96\n97\n98\n99\n"
    );
    broker.ok("group reset-offsets g --all-topics --to-timestamp 2020-01-01T00:00:00Z --execute");
    assert_eq!(broker.ok(&format!("{read} --exit-at-end")), lines);
    broker.ok("group delete g");
    let error = broker.fails("group describe g", 1);
    assert!(error.contains("no such group"), "{error}");
}

#[test]
fn a_member_outlives_its_broker() {
    let mut broker = Broker::start();
    broker.ok("topic create work --partitions 2");
    let words = "consume work --group g --from-beginning --max-messages 20 --timeout 60s";
    let child = broker
        .command(words)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let numbers = |range: std::ops::Range<u32>| -> String {
        range.map(|number| format!("{number}\n")).collect()
    };
    broker.run("produce work --partition 0", numbers(0..10).as_bytes(), 0);
    let deadline = Instant::now() + Duration::from_secs(30);
    let committed = |broker: &Broker| {
        let found = run(broker.command("group describe g --json"), b"").stdout;
        let described: Value = serde_json::from_slice(&found).unwrap_or_default();
        described[0]["offsets"][0]["committed"].as_i64()
    };
    while committed(&broker) != Some(10) {
        assert!(
            Instant::now() < deadline,
            "nothing is committed:\n{}",
            broker.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    broker.kill_and_restart();
    broker.run("produce work --partition 1", numbers(10..20).as_bytes(), 0);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), numbers(0..20));
}

#[test]
fn two_members_share_a_topic() {
    let broker = Broker::start();
    broker.ok("topic create shared --partitions 4");
    let mut first = broker.command("consume shared --group pair --from-beginning --timeout 20s");
    let first = first.stdout(Stdio::piped()).spawn().unwrap();
    let mut second = broker.command("consume shared --group pair --from-beginning --timeout 20s");
    let second = second.stdout(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = run(broker.command("group describe pair --json"), b"");
        let members = serde_json::from_slice::<Value>(&found.stdout)
            .ok()
            .and_then(|described| {
                let members = described[0]["members"].as_array()?.clone();
                let shared =
                    |it: &Value| it["assignment"].as_array().is_some_and(|it| it.len() == 2);
                Some(members.iter().filter(|member| shared(member)).count())
            });
        if members == Some(2) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the group does not settle: {found:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    for partition in 0..4 {
        let line = format!("to {partition}\n");
        broker.run(
            &format!("produce shared --partition {partition}"),
            line.as_bytes(),
            0,
        );
    }
    let first = String::from_utf8(first.wait_with_output().unwrap().stdout).unwrap();
    let second = String::from_utf8(second.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(
        (first.lines().count(), second.lines().count()),
        (2, 2),
        "{first:?} {second:?}"
    );
    let mut all: Vec<&str> = first.lines().chain(second.lines()).collect();
    all.sort_unstable();
    assert_eq!(all, ["to 0", "to 1", "to 2", "to 3"]);
}

#[test]
fn files_of_the_log_are_verified_and_damage_is_found() {
    let broker = Broker::start();
    broker.ok("topic create lines --partitions 2");
    broker.run("produce lines", &random_lines(3, 5_000), 0);
    let files = broker.files(".wal");
    assert!(files.len() >= 2, "an open object and data: {files:?}");
    let mut command = program();
    command.args(["segment", "verify"]).args(&files);
    let output = run(command, b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.contains(": ok, ")).count(),
        files.len(),
        "{text}"
    );

    let largest = files
        .iter()
        .max_by_key(|file| file.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = broker.directory.path().join("damaged.wal");
    std::fs::write(&damaged, &bytes).unwrap();
    let mut command = program();
    command
        .args(["segment", "verify", "--json"])
        .arg(&damaged)
        .arg(&files[0]);
    let output = run(command, b"");
    assert_eq!(output.status.code(), Some(1));
    let documents: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(documents[0]["sound"], false);
    assert_eq!(documents[0]["faults"].as_array().unwrap().len(), 1);
    assert_eq!(documents[1]["sound"], true);

    let mut command = program();
    command
        .args(["segment", "inspect", "--batches"])
        .arg(largest);
    let text = String::from_utf8(run(command, b"").stdout).unwrap();
    assert!(
        text.contains("wal") && text.contains("base_offset="),
        "{text}"
    );
    let mut command = program();
    command.args(["segment", "inspect", "-"]);
    assert_eq!(run(command, b"not a segment").status.code(), Some(1));
}

#[test]
fn failures_end_with_the_documented_codes() {
    let nobody = free_address();
    let mut command = program();
    command.args(["topic", "list", "-b", &nobody]);
    let output = run(command, b"");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("start one with `kafscale broker`"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");

    let broker = Broker::start();
    broker.ok("topic create lines");
    broker.fails("consume lines --no-such-option", 2);
    let text = broker.fails("consume nothing", 1);
    assert!(text.contains("does not exist"), "{text}");
    let text = broker.fails("consume lines --max-messages 1 --timeout 300ms", 4);
    assert!(text.contains("0 of 1 records"), "{text}");
    broker.ok("consume lines --timeout 300ms");
    let text = broker.fails("consume lines --offset 5 --exit-at-end", 1);
    assert!(text.contains("out of range"), "{text}");
    let text = broker.fails("produce lines --partition 9", 0);
    assert_eq!(text, "", "nothing was sent");
    let text = String::from_utf8(broker.run("produce lines -p 9", b"x\n", 1).stderr).unwrap();
    assert!(text.contains("no partition 9"), "{text}");
}

#[test]
fn a_reader_that_goes_away_ends_consume_quietly() {
    let broker = Broker::start();
    broker.ok("topic create lines --partitions 1");
    broker.run("produce lines", &random_lines(5, 20_000), 0);
    let mut command = broker.command(ALL);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut few = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut few).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

fn signal(child: &Child, name: &str) {
    let mut command = Command::new("kill");
    let status = command.args([name, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// Waits for the end of a process, which must come soon; gives its code and what it says.
fn ended(child: Child, what: &str) -> (Option<i32>, String) {
    let id = child.id();
    let (done, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || drop(done.send(child.wait_with_output())));
    let Ok(output) = told.recv_timeout(Duration::from_secs(20)) else {
        let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        panic!("{what}: it does not end");
    };
    let output = output.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

#[test]
fn a_signal_ends_a_member_after_its_batch_and_it_leaves_the_group() {
    let broker = Broker::start();
    broker.ok("topic create work --partitions 1");
    let mut printed = 0;
    for (name, group) in [("-INT", "--group g"), ("-TERM", "--group g"), ("-INT", "")] {
        let mut command = broker.command(&format!("consume work {group} --from-beginning"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines: String = (printed..printed + 10)
            .map(|number| format!("{number:04}\n"))
            .collect();
        broker.run("produce work", lines.as_bytes(), 0);
        printed += 10;
        let expected = if group.is_empty() { printed } else { 10 };
        let mut out = vec![0; expected * 5];
        child.stdout.as_mut().unwrap().read_exact(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().ends_with(&lines));
        signal(&child, name);
        let (code, text) = ended(child, name);
        assert_eq!(code, Some(130), "{text}");
        let said = format!("kafscale: interrupted: {expected} records were printed\n");
        assert_eq!(text, said);
        if group.is_empty() {
            continue;
        }
        let described = &broker.json("group describe g --json")[0];
        assert_eq!(described["state"], "Empty", "it has left");
        assert_eq!(described["offsets"][0]["committed"], printed as u64);
    }
}

#[test]
fn a_second_signal_ends_a_consumer_that_cannot_go_on() {
    let broker = Broker::start();
    broker.ok("topic create lines --partitions 1");
    broker.run("produce lines", &random_lines(9, 20_000), 0);
    let mut command = broker.command("consume lines --from-beginning");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut few = [0; 10];
    child.stdout.as_mut().unwrap().read_exact(&mut few).unwrap();
    let stdout = child.stdout.take();
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(500));
    let waits = child.try_wait().unwrap().is_none();
    assert!(waits, "it waits for its reader, to finish its batch");
    signal(&child, "-INT");
    let (code, text) = ended(child, "the second signal");
    assert_eq!((code, text.as_str()), (Some(130), ""));
    drop(stdout);
}

#[test]
fn a_signal_ends_a_producer_after_it_has_sent_what_it_has_read() {
    let broker = Broker::start();
    broker.ok("topic create lines --partitions 1");
    let mut command = broker.command("produce lines --linger 10m");
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = random_lines(11, 500);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&lines).unwrap();
    stdin.flush().unwrap();
    // Whatever it has not read by now it would never read: the pipe is drained when it is empty.
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(
        broker.ok("consume lines --from-beginning --exit-at-end"),
        ""
    );
    signal(&child, "-INT");
    let (code, text) = ended(child, "produce");
    assert_eq!(code, Some(130), "{text}");
    let said = "kafscale: interrupted: 500 records were acknowledged\n";
    assert_eq!(text, said);
    assert_same(&broker.run(ALL, b"", 0).stdout, &lines, "what was read");
    drop(stdin);
}

/// A file in a folder of the test's own.
fn written(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn users_are_made_by_the_administrator_and_get_in_until_they_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let admin = written(&directory, "admin", "hunter2\n");
    let alice = written(&directory, "alice", "wonder land\r\n");
    let broker = Broker::start_with(&[
        "--sasl-mechanisms",
        "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
        "--admin-password-file",
        &admin,
    ]);
    let as_admin =
        |words: &str| broker.ok(&format!("--user admin --password-file {admin} {words}"));
    as_admin(&format!("user set alice --new-password-file {alice}"));
    let listed = as_admin("user list");
    assert!(listed.contains("alice  SCRAM-SHA-256  4096"), "{listed}");
    let as_alice = format!("--user alice --password-file {alice}");
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        broker.ok(&format!(
            "{as_alice} --sasl-mechanism {mechanism} topic list"
        ));
    }
    broker.fails(
        &format!("--user alice --password-file {admin} topic list"),
        1,
    );
    broker.fails("topic list", 3);
    broker.fails("--user alice topic list", 2);
    as_admin("user delete alice");
    broker.fails(&format!("{as_alice} topic list"), 1);
    broker.fails(
        &format!("--user admin --password-file {admin} user delete alice"),
        1,
    );
    let log = broker.log();
    assert!(
        !log.contains("hunter2") && !log.contains("wonder land"),
        "{log}"
    );
}

#[test]
fn rules_are_added_shown_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, format!("{name}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (admin_file, alice_file) = (file("admin.password"), file("alice.password"));
    let broker = Broker::start_with(&[
        "--sasl-mechanisms",
        "SCRAM-SHA-256",
        "--admin-password-file",
        &admin_file,
    ]);
    let as_admin = |words: &str| format!("{words} --user admin --password-file {admin_file}");
    let admin = |words: &str| broker.ok(&as_admin(words));
    let as_alice = |words: &str| format!("{words} --user alice --password-file {alice_file}");
    let produce = as_alice("produce orders --request-timeout 10s");
    admin(&format!("user set alice --new-password-file {alice_file}"));
    admin("topic create orders --partitions 1");
    let refused = broker.fails(&as_alice("acl list"), 1);
    assert!(
        refused.contains("Cluster authorization failed"),
        "{refused}"
    );
    broker.run(&produce, b"a\n", 1);
    assert!(
        broker.log().contains("kafscale::audit: denied"),
        "{}",
        broker.log()
    );
    admin("acl allow User:alice --operation read,write --topic orders --group billing");
    broker.run(&produce, b"a\n", 0);
    let list = || -> Value { serde_json::from_str(&admin("acl list --json")).unwrap() };
    let rules = list();
    assert_eq!(
        rules.as_array().unwrap().len(),
        3,
        "a group is not written to: {rules}"
    );
    admin("acl deny User:alice --operation write --topic ord --prefixed --host 127.0.0.1");
    broker.run(&produce, b"a\n", 1);
    let table = admin("acl list --topic orders");
    assert!(
        table.contains("deny") && table.contains("ord...") && !table.contains("billing"),
        "{table}"
    );
    let removed = admin("acl remove User:alice --topic ord");
    assert!(removed.contains("ord..."), "{removed}");
    broker.run(&produce, b"a\n", 0);
    admin("acl remove User:alice");
    assert_eq!(list(), serde_json::json!([]));
    for words in [
        "acl allow User:alice --operation read",
        "acl allow alice --operation read --topic t",
        "acl allow User:alice --operation idempotent-write --topic t",
        "acl allow User:alice --operation fly --topic t",
    ] {
        broker.fails(&as_admin(words), 2);
    }
}
