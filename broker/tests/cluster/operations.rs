//! What an operator does before and beside a broker: `doctor`, a bucket of its own for backups.

use super::*;
use crate::world::{BACKUPS, BUCKET};

fn doctor(world: &World, settings: &[(&str, &str)]) -> (bool, serde_json::Value) {
    let mut command = world.tool(&["doctor", "--json"]);
    let kafka = free().to_string();
    let admin = free().to_string();
    command
        .env("KAFSCALE_BROKER_ADDR", kafka)
        .env("KAFSCALE_METRICS_ADDR", admin)
        .envs(settings.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| panic!("{error}: {said}"));
    (output.status.success(), document)
}

/// Verdict and finding of each check of this name.
fn verdicts<'a>(document: &'a serde_json::Value, name: &str) -> Vec<(&'a str, &'a str)> {
    let checks = document["checks"].as_array().unwrap().iter();
    let named = checks.filter(|check| check["name"] == name);
    let told = named.map(|check| {
        let word = |key: &str| check[key].as_str().unwrap();
        (word("verdict"), word("found"))
    });
    told.collect()
}

#[test]
fn the_doctor_finds_a_healthy_cluster_healthy_and_leaves_nothing_in_the_bucket() {
    let world = World::start(Conditional::Atomic);
    let (is_well, document) = doctor(&world, &[]);
    assert!(is_well, "{document:#}");
    for name in ["bucket", "lifecycle", "bucket latency", "time"] {
        let verdicts = verdicts(&document, name);
        assert!(matches!(&verdicts[..], [("ok", _)]), "{name}: {verdicts:?}");
    }
    assert_eq!(verdicts(&document, "cluster")[0].0, "note");
    assert!(
        verdicts(&document, "etcd")
            .iter()
            .any(|(verdict, _)| *verdict == "ok")
    );
    assert_eq!(world.s3().objects().keys(""), Vec::<String>::new());
    // Beside a broker, too.
    let node = world.node("1");
    let (is_well, document) = doctor(&world, &[("KAFSCALE_BROKER_ADDR", &node.kafka.to_string())]);
    assert!(is_well, "{document:#}");
    assert_eq!(verdicts(&document, "cluster")[0].0, "ok");
    let ports = verdicts(&document, "port");
    assert!(
        ports
            .iter()
            .any(|(verdict, found)| *verdict == "note" && found.contains("in use"))
    );
}

#[test]
fn the_doctor_says_what_a_broker_would_fail_at() {
    let world = World::start(Conditional::Ignored);
    let (is_well, document) = doctor(&world, &[]);
    assert!(
        is_well,
        "a cluster works without conditional writes: {document:#}"
    );
    assert_eq!(verdicts(&document, "bucket")[0].0, "warning");
    let nowhere = format!("http://{}", free());
    for (setting, name) in [
        ("KAFSCALE_S3_ENDPOINT", "bucket"),
        ("KAFSCALE_ETCD_ENDPOINTS", "etcd"),
    ] {
        let settings = [
            (setting, nowhere.as_str()),
            ("KAFSCALE_S3_REQUEST_TIMEOUT_MS", "1000"),
        ];
        let (is_well, document) = doctor(&world, &settings);
        assert!(!is_well, "{setting}: {document:#}");
        assert_eq!(verdicts(&document, name)[0].0, "problem", "{document:#}");
    }
    let (is_well, document) = doctor(&world, &[("KAFSCALE_S3_BUCKET", "no-such-bucket")]);
    assert!(!is_well, "{document:#}");
}

#[test]
fn settings_are_looked_at_without_a_start() {
    let world = World::start(Conditional::Atomic);
    let check = |settings: &[(&str, &str)]| {
        let mut command = world.tool(&["broker", "--check-config"]);
        let output = command.envs(settings.iter().copied()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = check(&[]);
    assert!(
        code == Some(0) && text.contains("the settings can be used"),
        "{text}"
    );
    let (code, text) = check(&[("KAFSCALE_S3_PATH_STYLE", "perhaps")]);
    assert!(code == Some(2) && text.contains("s3.path_style"), "{text}");
    let files = [
        ("KAFSCALE_TLS_CERT_FILE", "/no/such/file"),
        ("KAFSCALE_TLS_KEY_FILE", "/no/such/file"),
    ];
    let (code, text) = check(&files);
    assert!(code == Some(1) && text.contains("/no/such/file"), "{text}");
    assert_eq!(
        world.s3().requests().log().len(),
        0,
        "nothing is connected to"
    );
}

#[test]
fn backups_are_kept_in_a_bucket_of_their_own_and_restored_from_there() {
    let world = World::start(Conditional::Atomic);
    let buckets = [("KAFSCALE_BACKUP_BUCKET", BACKUPS)];
    let mut node = world.node_with("1", &[buckets[0], ("KAFSCALE_BACKUP_INTERVAL_MS", "500")]);
    node.run(&["topic", "create", "orders", "--partitions", "2"], "");
    node.produce("orders", 0..50);
    eventually("two backups are there", || {
        node.metric("kafscale_backups_total{result=\"ok\"}") >= 2.0
    });
    node.stop();
    let is_backup = |key: &String| key.contains("backup");
    assert!(!world.s3().objects_in(BUCKET).keys("").iter().any(is_backup));
    assert!(
        world
            .s3()
            .objects_in(BACKUPS)
            .keys("")
            .iter()
            .all(is_backup)
    );
    let run = |arguments: &[&str]| {
        let mut command = world.tool(arguments);
        let output = command.envs(buckets.iter().copied()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["backup", "list"]).lines().count() >= 3);
    world.etcd.ctl(&["del", "--prefix", ""]);
    run(&["backup", "restore"]);
    let node = world.node_with("2", &buckets);
    assert_eq!(node.read("orders"), (0..50).collect::<Vec<u32>>());
}

#[test]
fn a_line_that_comes_too_often_is_cut_and_counted() {
    let world = World::start(Conditional::Atomic);
    let node = world.node_with("1", &[("KAFSCALE_LOG_LINES_MAX", "1")]);
    node.run(&["topic", "create", "orders", "--partitions", "1"], "");
    for number in 0..30 {
        let group = format!("group-{number}");
        node.run(
            &[
                "consume",
                "orders",
                "--group",
                &group,
                "--from-beginning",
                "--exit-at-end",
            ],
            "",
        );
    }
    let rebalances = node
        .log()
        .lines()
        .filter(|line| line.contains(" rebalance "))
        .count();
    assert!((5..30).contains(&rebalances), "{rebalances} of 60 or so");
    eventually("what was left out is told", || {
        node.log().contains("log lines were left out")
    });
    assert!(
        node.log().contains("reason=\"a member joined\""),
        "{}",
        node.log()
    );
}
