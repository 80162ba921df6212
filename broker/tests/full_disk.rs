//! A full disk under a running broker: produce is refused with an error that clients retry, all else
//! goes on, and when space returns so does produce, without a restart.
//!
//! The disk is a small tmpfs in a mount namespace of a child of this test, which runs this binary
//! again: nothing stays mounted. `child_fills_the_disk_under_a_broker` is that child and does
//! nothing without its environment variable.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::child::ChildBroker;
use common::{
    Connection, Fetch, PRODUCE_VERSION, Topic, Wanted, batches, eventually, numbered,
    produce_request, produced,
};
use wire::ErrorCode;
use wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::{ApiVersionsRequest, OffsetCommitRequest};

const ROOT: &str = "BROKER_TEST_FULL_DISK_ROOT";
/// Leaves the test out where nothing may be mounted.
const CHOICE: &str = "BROKER_TEST_FULL_DISK";
/// Says that the child came to its end.
const DONE: &str = "FULL DISK SURVIVED";
/// Size of the file that is deleted to make room.
const BALLAST_BYTES: usize = 6 << 20;
/// Bytes of a batch.
const BATCH_BYTES: usize = 200_000;
/// Batches that the disk cannot hold.
const BATCHES_MAX: usize = 400;
/// What "promptly" means where other work goes on on the machine.
const PROMPT: Duration = Duration::from_secs(4);
/// For the disk to fill up, and for produce to work again.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_full_disk_refuses_produce_and_recovers_when_space_returns() {
    if env::var(CHOICE).is_ok_and(|choice| choice == "skip") {
        eprintln!("SKIPPED by {CHOICE}=skip: the full disk under a broker");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    // The metadata are preallocated; the rest is for the log.
    let script = format!("mount -t tmpfs -o size=24m none \"${ROOT}\" && exec \"$@\"");
    let run = |flags: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", &script, "sh"]);
        command.arg(env::current_exe().unwrap()).args([
            "child_fills_the_disk_under_a_broker",
            "--exact",
            "--nocapture",
        ]);
        command.env(ROOT, root.path()).output().unwrap()
    };
    let mut output = run(&["-m"]);
    if String::from_utf8_lossy(&output.stderr).contains("unshare") {
        output = run(&["-r", "-m"]);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(
        output.status.success() && text.contains(DONE),
        "{text}\n{}\nwhere mounts are refused set {CHOICE}=skip",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn child_fills_the_disk_under_a_broker() {
    let Some(root) = env::var_os(ROOT) else {
        return;
    };
    let root = Path::new(&root);
    let elsewhere = tempfile::tempdir().unwrap();
    let log = elsewhere.path().join("broker.log");
    let flags = ["--memory-bytes", "64MiB", "--cache-size", "1MiB"];
    let mut broker = ChildBroker::start(&root.join("data"), &log, &flags);
    let ballast = root.join("ballast");
    std::fs::write(&ballast, vec![1; BALLAST_BYTES]).unwrap();

    let mut producer = broker.connect();
    let topic = producer.create("t", 1);
    let mut history = History::new(topic);
    history.fill(&mut producer);
    let filled = history.acknowledged.len();
    assert!(filled > 5, "{filled} batches fit");
    eventually("readiness says that produce is refused", LONG, || {
        !broker.is_ready()
    });
    others_go_on(&broker, &history);

    let before = Instant::now();
    std::fs::remove_file(&ballast).unwrap();
    eventually("produce works again", LONG, || {
        history.produce(&mut producer).is_none()
    });
    println!("produce worked {:?} after space returned", before.elapsed());
    eventually("it is ready again", LONG, || broker.is_ready());
    for _ in 0..5 {
        assert_eq!(history.produce(&mut producer), ErrorCode::NONE);
    }
    history.is_complete(&mut producer);
    eventually("offsets are committed", LONG, || {
        commit(&mut producer, &history.topic).is_none()
    });
    producer.create("after", 1);

    // Full once more, and killed while it is.
    history.fill(&mut producer);
    broker.kill_and_restart();
    let mut producer = broker.connect();
    history.is_complete(&mut producer);
    assert_eq!(history.acknowledged[0], 0);
    println!("{DONE}: {} batches", history.acknowledged.len());
}

/// Every batch has a number of its own; those that were acknowledged have an offset.
struct History {
    topic: Topic,
    sent: u64,
    /// Numbers of acknowledged batches, with the offset of each.
    acknowledged: Vec<u64>,
    offsets: Vec<i64>,
}

impl History {
    fn new(topic: Topic) -> Self {
        Self {
            topic,
            sent: 0,
            acknowledged: Vec::new(),
            offsets: Vec::new(),
        }
    }

    fn produce(&mut self, client: &mut Connection) -> ErrorCode {
        let number = self.sent;
        self.sent += 1;
        let one = numbered(number, BATCH_BYTES);
        let request = produce_request(&self.topic, 0, &one, PROMPT / 2);
        let found = produced(&client.call(PRODUCE_VERSION, &request));
        if found.error.is_none() {
            self.acknowledged.push(number);
            self.offsets.push(found.base_offset);
        }
        found.error
    }

    /// Produces until that is refused, with an error that clients retry.
    fn fill(&mut self, client: &mut Connection) {
        for _ in 0..BATCHES_MAX {
            let code = self.produce(client);
            if !code.is_none() {
                assert!(code.retriable(), "{code:?}");
                // The batch itself is kept and may be stored yet; what is sent now is refused.
                eventually("produce is refused at once", LONG, || {
                    self.produce(client) == ErrorCode::KAFKA_STORAGE_ERROR
                });
                return;
            }
        }
        panic!("the file system is not bounded");
    }

    /// Reads everything: each acknowledged batch is there, once, where it was said to be. What was
    /// sent and not acknowledged may be there.
    fn is_complete(&self, client: &mut Connection) {
        let (mut next, mut found) = (0, Vec::new());
        loop {
            let wanted = Wanted::new(&self.topic, 0, next);
            let fetched = client.fetch(&Fetch::of(vec![wanted]));
            let only = fetched.only();
            assert_eq!(only.error, ErrorCode::NONE);
            if next == only.high_watermark {
                break;
            }
            let mut rest = only.records.as_slice();
            for header in batches(&only.records) {
                let (one, after) = rest.split_at(12 + header.batch_length as usize);
                let marker = value(one);
                found.push((header.base_offset.get(), marker));
                next = header.next_offset().get();
                rest = after;
            }
        }
        for (number, offset) in self.acknowledged.iter().zip(&self.offsets) {
            let times = found.iter().filter(|(_, it)| it == number).count();
            assert_eq!(times, 1, "batch {number} is there once");
            assert!(found.contains(&(*offset, *number)), "batch {number}");
        }
    }
}

/// The number in the only record of a batch.
fn value(batch: &[u8]) -> u64 {
    let limits = segment::record::DecodeLimits::default();
    let records = segment::record::RecordSet::decode(batch, &limits).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    u64::from_be_bytes(record.value.unwrap()[..8].try_into().unwrap())
}

/// What writes nothing is served promptly; what writes metadata is served or refused, promptly too.
fn others_go_on(broker: &ChildBroker, history: &History) {
    let mut client = broker.connect();
    let began = Instant::now();
    client.call(0, &ApiVersionsRequest::default());
    assert!(began.elapsed() < PROMPT);
    history.is_complete(&mut client);
    let began = Instant::now();
    let wanted = Wanted::new(&history.topic, 0, 0);
    let found = client.fetch(&Fetch::of(vec![wanted]));
    assert_eq!(found.only().bases()[0], 0);
    assert!(began.elapsed() < PROMPT);
    let began = Instant::now();
    let code = commit(&mut client, &history.topic);
    assert!(code.is_none() || code.retriable(), "{code:?}");
    assert!(began.elapsed() < PROMPT);
}

/// A commit of a consumer that is in no group, once its coordinator is there.
fn commit(client: &mut Connection, topic: &Topic) -> ErrorCode {
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: 3,
        ..OffsetCommitRequestPartition::default()
    };
    let request = OffsetCommitRequest {
        group_id: "g",
        topics: vec![OffsetCommitRequestTopic {
            name: &topic.name,
            partitions: vec![partition],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let body = client.call(7, &request);
    let (_, reply) = wire::decode_response::<OffsetCommitRequest<'_>>(&body, 7).unwrap();
    reply.topics[0].partitions[0].error_code
}
