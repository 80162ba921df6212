//! Brokers as processes on a real etcd and an S3 server over the wire: what a cluster promises, and
//! what a start refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use s3_server::{Conditional, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kafscale");
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time to live of a session: how long a dead broker's partitions are without a leader.
const TTL_MS: &str = "1000";

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A real etcd, alone, in a directory of its own.
struct Etcd {
    child: Child,
    client: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Etcd {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (client, peer) = (free(), free());
        let url = |address: SocketAddr| format!("http://{address}");
        let child = Command::new(etcd_program())
            .args(["--name", "one", "--log-level", "error", "--logger", "zap"])
            .arg("--data-dir")
            .arg(directory.path())
            .args([
                "--listen-client-urls",
                &url(client),
                "--advertise-client-urls",
                &url(client),
            ])
            .args([
                "--listen-peer-urls",
                &url(peer),
                "--initial-advertise-peer-urls",
                &url(peer),
            ])
            .args(["--initial-cluster", &format!("one={}", url(peer))])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("etcd listens", || TcpStream::connect(client).is_ok());
        Self {
            child,
            client,
            _directory: directory,
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `KAFSCALE_TEST_ETCD`, else what `scripts/install-etcd` has installed, or installs now.
fn etcd_program() -> PathBuf {
    if let Some(named) = std::env::var_os("KAFSCALE_TEST_ETCD") {
        return named.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install-etcd");
    let output = Command::new(&script).output().unwrap();
    assert!(
        output.status.success(),
        "{} found no way to install etcd: {}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Path::new(String::from_utf8(output.stdout).unwrap().trim()).join("etcd")
}

/// What brokers share.
struct World {
    etcd: Etcd,
    s3: Server,
    logs: tempfile::TempDir,
}

impl World {
    fn start(conditional: Conditional) -> Self {
        let options = s3_server::Options {
            buckets: vec!["log".to_owned()],
            access_key: "ak".to_owned(),
            secret_key: "sksksksk".to_owned(),
            conditional,
            ..s3_server::Options::default()
        };
        Self {
            etcd: Etcd::start(),
            s3: Server::start(options).unwrap(),
            logs: tempfile::tempdir().unwrap(),
        }
    }

    /// A broker with the usual settings, of which some are replaced.
    fn command(&self, id: &str, kafka: SocketAddr, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KAFSCALE_") {
                command.env_remove(name);
            }
        }
        let etcd = format!("http://{}", self.etcd.client);
        command
            .arg("broker")
            .env("KAFSCALE_S3_BUCKET", "log")
            .env("KAFSCALE_S3_ENDPOINT", self.s3.endpoint())
            .env("KAFSCALE_S3_ACCESS_KEY", "ak")
            .env("KAFSCALE_S3_SECRET_KEY", "sksksksk")
            .env("KAFSCALE_ETCD_ENDPOINTS", etcd)
            .env("KAFSCALE_SESSION_TTL_MS", TTL_MS)
            .env("KAFSCALE_FLUSH_INTERVAL_MS", "20")
            .env("KAFSCALE_SHARDS", "2")
            .env("KAFSCALE_S3_HEALTH_WINDOW_SEC", "12")
            .env("KAFSCALE_PIN", "false")
            .env("KAFSCALE_MEMORY_BYTES", "64MiB")
            .env("KAFSCALE_CACHE_SIZE", "64MiB")
            .env("KAFSCALE_BROKER_ID", id)
            .env("KAFSCALE_BROKER_ADDR", kafka.to_string())
            .env("KAFSCALE_METRICS_ADDR", free().to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null());
        command
    }

    fn node(&self, id: &str) -> Node {
        let kafka = free();
        let log = self.logs.path().join(format!("{id}-{}.log", kafka.port()));
        let file = std::fs::File::create(&log).unwrap();
        let child = self
            .command(id, kafka, &[])
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut node = Node { child, kafka, log };
        eventually("the broker is ready", || {
            let ended = node.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}:\n{}", node.log());
            node.log().contains(" is ready")
        });
        node
    }

    /// What an operator is told.
    fn operate(&self, arguments: &[&str]) -> String {
        let output = Command::new(PROGRAM)
            .arg("cluster")
            .args(arguments)
            .env(
                "KAFSCALE_ETCD_ENDPOINTS",
                format!("http://{}", self.etcd.client),
            )
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a start that is refused says.
    fn refusal(&self, settings: &[(&str, &str)]) -> String {
        let mut child = self
            .command("7", free(), settings)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("it was not refused: {settings:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert!(!child.wait().unwrap().success(), "{settings:?}: {said}");
        said
    }
}

struct Node {
    child: Child,
    kafka: SocketAddr,
    log: PathBuf,
}

impl Node {
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .args(["-b", &self.kafka.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{arguments:?}: {said}\n{}",
            self.log()
        );
        output
    }

    fn produce(&self, topic: &str, numbers: std::ops::Range<u32>) {
        let lines: Vec<String> = numbers.map(|number| number.to_string()).collect();
        self.run(&["produce", topic], &format!("{}\n", lines.join("\n")));
    }

    /// Everything in a topic, in order of number.
    fn read(&self, topic: &str) -> Vec<u32> {
        let output = self.run(&["consume", topic, "--from-beginning", "--exit-at-end"], "");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM, and the end.
    fn stop(&mut self) {
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status:?}\n{}", self.log());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_acknowledged_survives_dead_frozen_and_leaving_brokers() {
    let world = World::start(Conditional::Atomic);
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
    let world = World::start(Conditional::Ignored);
    let mut node = world.node("1");
    assert!(node.log().contains("Guarded commits"), "{}", node.log());
    node.run(&["topic", "create", "orders", "--partitions", "3"], "");
    node.produce("orders", 0..500);
    node.kill();
    let node = world.node("1");
    node.produce("orders", 500..600);
    assert_eq!(node.read("orders"), (0..600).collect::<Vec<u32>>());
}

#[test]
fn a_start_that_cannot_be_right_is_refused_and_says_why() {
    let world = World::start(Conditional::Atomic);
    let node = world.node("7");
    let said = world.refusal(&[]);
    assert!(
        said.contains("broker id 7 is in use by a live broker"),
        "{said}"
    );
    let said = world.refusal(&[("KAFSCALE_S3_SECRET_KEY", "wrong")]);
    assert!(said.contains("KAFSCALE_S3_SECRET_KEY"), "{said}");
    let said = world.refusal(&[("KAFSCALE_S3_BUCKET", "nowhere")]);
    assert!(said.contains("KAFSCALE_S3_BUCKET"), "{said}");
    let said = world.refusal(&[("KAFSCALE_ETCD_ENDPOINTS", "http://127.0.0.1:1")]);
    assert!(said.contains("KAFSCALE_ETCD_ENDPOINTS"), "{said}");
    let said = world.refusal(&[("KAFSCALE_S3_ENDPOINT", "http://127.0.0.1:1")]);
    assert!(said.contains("KAFSCALE_S3_ENDPOINT"), "{said}");
    // Another cluster on the same objects; on a namespace of its own it is welcome.
    let said = world.refusal(&[("KAFSCALE_CLUSTER", "other")]);
    assert!(said.contains("belongs to cluster"), "{said}");
    assert!(
        node.log().matches("session begun").count() == 1,
        "the first one is untouched"
    );
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
    let rule = world.s3.faults().add(s3_server::Rule::new(fault)).unwrap();
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
    assert!(world.s3.faults().remove(rule));
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
