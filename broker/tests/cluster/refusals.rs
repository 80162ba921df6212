//! Starts that cannot succeed: refused with one message that says what is wrong and what to do, in
//! bounded time, and with nothing kept anywhere instead. And the same troubles under a broker that
//! serves already: it refuses produce, says what to do, and goes on by itself.

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use s3_server::{Conditional, ErrorCode, Fault, Rule};
use wire::ErrorCode as KafkaCode;

use crate::common::{Connection, batch, produce_request, produced};
use crate::world::{PATIENCE, TTL_MS, World, eventually};

/// Longest time until a refusal that waits for nothing, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(20);
/// As `kafscale --help` lists them.
const FAILED: i32 = 1;
const USAGE: i32 = 2;

type Settings<'a> = &'a [(&'a str, &'a str)];

/// A start is refused: with this exit code, in this time, and with one message, in which all of
/// `words` are.
#[track_caller]
fn assert_refused(
    world: &World,
    settings: Settings<'_>,
    code: i32,
    within: Duration,
    words: &[&str],
) {
    let refused = world.refused(settings);
    assert_eq!(refused.code, Some(code), "{refused:?}");
    assert!(refused.took < within, "{refused:?}");
    let said = &refused.said;
    let messages: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("kafscale: "))
        .collect();
    let [message] = messages.as_slice() else {
        panic!("one message: {said}");
    };
    assert!(
        said.ends_with(&format!("{message}\n")),
        "the last word: {said}"
    );
    let others = said.contains("WARN") || said.contains("ERROR") || said.contains("panicked");
    assert!(!others, "nothing else is wrong: {said}");
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}

fn at_once(world: &World, settings: Settings<'_>, words: &[&str]) {
    assert_refused(world, settings, FAILED, AT_ONCE, words);
}

fn error(code: ErrorCode) -> Rule {
    Rule::new(Fault::Error {
        code,
        retry_after_seconds: None,
    })
}

#[test]
fn wrong_credentials_an_expired_token_a_missing_bucket_and_a_wrong_clock_are_refused() {
    let world = World::start(Conditional::Atomic);
    at_once(
        &world,
        &[("KAFSCALE_S3_SECRET_KEY", "wrong")],
        &["SignatureDoesNotMatch", "check KAFSCALE_S3_SECRET_KEY"],
    );
    at_once(
        &world,
        &[("KAFSCALE_S3_ACCESS_KEY", "nobody")],
        &["InvalidAccessKeyId", "check KAFSCALE_S3_ACCESS_KEY"],
    );
    at_once(
        &world,
        &[("KAFSCALE_S3_BUCKET", "nowhere")],
        &[
            "NoSuchBucket",
            "create the bucket nowhere",
            "KAFSCALE_S3_BUCKET",
        ],
    );
    let faults = world.s3().faults();
    let expired = faults.add(error(ErrorCode::ExpiredToken)).unwrap();
    at_once(
        &world,
        &[("KAFSCALE_S3_SESSION_TOKEN", "old")],
        &["ExpiredToken", "renew KAFSCALE_S3_SESSION_TOKEN"],
    );
    assert!(faults.remove(expired));
    let denied = faults.add(error(ErrorCode::AccessDenied)).unwrap();
    at_once(
        &world,
        &[],
        &[
            "AccessDenied",
            "grant s3:ListBucket on arn:aws:s3:::kafscale-test",
        ],
    );
    assert!(faults.remove(denied));
    let skew = Rule::new(Fault::ClockSkew { seconds: 3_600 });
    let skewed = faults.add(skew).unwrap();
    at_once(
        &world,
        &[],
        &[
            "RequestTimeTooSkewed",
            "the clock of this machine says",
            "(NTP)",
        ],
    );
    assert!(faults.remove(skewed));
    assert!(
        world.s3().objects().keys("").is_empty(),
        "nothing was written"
    );
}

#[test]
fn stores_that_cannot_be_reached_are_refused() {
    let world = World::start(Conditional::Atomic);
    at_once(
        &world,
        &[("KAFSCALE_ETCD_ENDPOINTS", "http://127.0.0.1:1")],
        &[
            "no etcd member can be used",
            "is etcd running",
            "KAFSCALE_ETCD_ENDPOINTS",
        ],
    );
    at_once(
        &world,
        &[("KAFSCALE_S3_ENDPOINT", "http://127.0.0.1:1")],
        &[
            "was not sent",
            "check KAFSCALE_S3_BUCKET",
            "KAFSCALE_S3_ENDPOINT",
        ],
    );
    // What listens there never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    at_once(
        &world,
        &[("KAFSCALE_ETCD_ENDPOINTS", &url)],
        &["no etcd member can be used", "KAFSCALE_ETCD_ENDPOINTS"],
    );
    let settings = [
        ("KAFSCALE_S3_ENDPOINT", url.as_str()),
        ("KAFSCALE_S3_REQUEST_TIMEOUT_MS", "1000"),
    ];
    let refused = world.refused(&settings);
    assert_eq!(refused.code, Some(FAILED), "{refused:?}");
    assert!(refused.took < PATIENCE / 2, "{refused:?}");
    assert!(
        refused.said.contains("trying again"),
        "it says what it waits for: {refused:?}"
    );
    let last = refused.said.lines().last().unwrap();
    assert!(last.contains("no answer within 1s"), "{last}");
    assert!(last.contains("KAFSCALE_S3_ENDPOINT"), "{last}");
}

#[test]
fn a_login_that_etcd_refuses_is_told() {
    let world = World::start(Conditional::Atomic);
    world.etcd.ctl(&["user", "add", "root:secret"]);
    world.etcd.ctl(&["user", "grant-role", "root", "root"]);
    world.etcd.ctl(&["auth", "enable"]);
    let login = |password| {
        [
            ("KAFSCALE_ETCD_USERNAME", "root"),
            ("KAFSCALE_ETCD_PASSWORD", password),
        ]
    };
    let words = [
        "etcd refuses the login",
        "check KAFSCALE_ETCD_USERNAME and KAFSCALE_ETCD_PASSWORD",
    ];
    at_once(&world, &login("wrong"), &words);
    at_once(&world, &[], &words);
    drop(world.node_with("1", &login("secret")));
}

/// Half of what a cluster needs is a mistake, never a broker on its own.
#[test]
fn settings_for_half_a_cluster_or_for_a_store_in_memory_are_refused() {
    let world = World::start(Conditional::Atomic);
    for (name, value, word) in [
        (
            "KAFSCALE_S3_BUCKET",
            "",
            "s3.bucket and etcd.endpoints go together",
        ),
        (
            "KAFSCALE_ETCD_ENDPOINTS",
            "",
            "s3.bucket and etcd.endpoints go together",
        ),
        (
            "KAFSCALE_USE_MEMORY_S3",
            "true",
            "there is no store in memory",
        ),
        ("KAFSCALE_S3_SECRET_KEY", "", "s3.secret_key"),
    ] {
        assert_refused(&world, &[(name, value)], USAGE, AT_ONCE, &[word]);
    }
}

#[test]
fn a_broker_id_that_is_in_use_is_refused() {
    let world = World::start(Conditional::Atomic);
    let node = world.node("7");
    let ttl = Duration::from_millis(TTL_MS.parse().unwrap());
    let within = ttl + AT_ONCE;
    let words = [
        "broker id 7 is in use by a live broker",
        "set another KAFSCALE_BROKER_ID, or stop that broker",
    ];
    assert_refused(&world, &[], FAILED, within, &words);
    assert_eq!(
        node.log().matches("session begun").count(),
        1,
        "the first one is untouched"
    );
    node.produce("orders", 0..10);
    assert_eq!(node.read("orders"), (0..10).collect::<Vec<u32>>());
}

/// One produce request of one record, without any retry.
fn produce_once(
    connection: &mut Connection,
    topic: &crate::common::Topic,
    batch: &Bytes,
) -> KafkaCode {
    let request = produce_request(topic, 0, batch, Duration::from_secs(2));
    produced(&connection.call(crate::common::PRODUCE_VERSION, &request)).error
}

/// A fault befalls a broker that serves: produce is refused with errors that clients retry, the
/// log says what to do, reads from memory go on; when it has passed everything does, in the same
/// session.
fn assert_outlived(fault: Fault, words: &[&str]) {
    let world = World::start(Conditional::Atomic);
    let node = world.node("1");
    let mut connection = Connection::open(node.kafka);
    let topic = connection.create("orders", 1);
    let one = batch(&[b"1"]);
    assert_eq!(produce_once(&mut connection, &topic, &one), KafkaCode::NONE);
    let rule = world.s3().faults().add(Rule::new(fault)).unwrap();
    let mut refused = 0;
    eventually("produce is refused at once", || {
        let began = std::time::Instant::now();
        let code = produce_once(&mut connection, &topic, &one);
        assert!(code.retriable(), "clients give up at {code:?}");
        refused += u32::from(began.elapsed() < Duration::from_millis(500));
        refused >= 3
    });
    let log = node.log();
    for word in words {
        assert!(log.contains(word), "{word}: {log}");
    }
    eventually("the state of the store is told with its reason", || {
        let log = node.log();
        let told = log
            .lines()
            .find(|line| line.contains("the object store is unavailable:"));
        told.is_some_and(|line| words.iter().all(|word| line.contains(word)))
    });
    assert_eq!(node.read("orders")[0], 1, "reads go on");
    assert!(world.s3().faults().remove(rule));
    eventually("produce goes on", || {
        produce_once(&mut connection, &topic, &one) == KafkaCode::NONE
    });
    let log = node.log();
    assert_eq!(log.matches("session begun").count(), 1, "{log}");
    let all = node.read("orders");
    assert!(
        all.len() >= 2 && all.iter().all(|number| *number == 1),
        "{all:?}"
    );
}

#[test]
fn a_token_that_expires_under_a_broker_is_outlived() {
    let fault = Fault::Error {
        code: ErrorCode::ExpiredToken,
        retry_after_seconds: None,
    };
    assert_outlived(fault, &["ExpiredToken", "renew KAFSCALE_S3_SESSION_TOKEN"]);
}

#[test]
fn a_clock_that_goes_wrong_under_a_broker_is_outlived() {
    let fault = Fault::ClockSkew { seconds: -3_600 };
    assert_outlived(fault, &["RequestTimeTooSkewed", "(NTP)"]);
}
