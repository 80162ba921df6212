//! Lifecycle rules of the bucket delete segments under a running broker, which carries on.

use std::collections::BTreeSet;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter,
};

use super::world::{ACCESS_KEY, BUCKET, SECRET_KEY};
use super::*;

/// `docs/operations.md` gives such a rule.
const PREFIX: &str = "kafscale/";
const DAYS: i32 = 365;

fn put_rule(world: &World) {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(world.s3().endpoint())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .force_path_style(true);
    let client = aws_sdk_s3::Client::from_conf(config.build());
    let rule = LifecycleRule::builder()
        .id("everything")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix(PREFIX).build())
        .expiration(LifecycleExpiration::builder().days(DAYS).build());
    let rules = BucketLifecycleConfiguration::builder()
        .rules(rule.build().unwrap())
        .build();
    let put = client
        .put_bucket_lifecycle_configuration()
        .bucket(BUCKET)
        .lifecycle_configuration(rules.unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(put.send()).unwrap();
}

/// It takes segments, indexes and manifests; WAL objects and fences lie elsewhere.
#[test]
fn a_rule_over_all_segments_takes_nothing_that_a_broker_cannot_do_without() {
    let world = World::start(Conditional::Atomic);
    put_rule(&world);
    let mut one = world.node_with("1", &[("KAFSCALE_COMPACTION_INTERVAL_MS", "1000")]);
    // A segment has 64 KiB at least, and one that is smaller waits for an hour.
    let create = [
        "topic",
        "create",
        "orders",
        "--config",
        "segment.bytes=65536",
    ];
    one.run(&create, "");
    let lines = |numbers: std::ops::Range<u32>| {
        let lines = numbers.map(|number| format!("{number:0>200}\n"));
        lines.collect::<String>()
    };
    let segments = || {
        let keys = world.s3().objects().keys(PREFIX);
        keys.iter().filter(|key| key.ends_with(".kfs")).count()
    };
    for round in 0..3 {
        let numbers = round * 500..(round + 1) * 500;
        one.run(&["produce", "orders"], &lines(numbers));
        eventually("a segment is written", || segments() > round as usize);
    }
    let wal: BTreeSet<String> = world
        .s3()
        .objects()
        .keys("kafscale-wal/")
        .into_iter()
        .collect();
    let (gone, _) = world.s3().objects().expire(Some(DAYS as u32 + 1));
    assert!(gone.len() >= 6 && gone.iter().all(|key| key.starts_with(PREFIX)));
    assert!(wal.iter().all(|key| !gone.contains(key)));
    one.run(&["produce", "orders"], &lines(1_500..1_510));
    let read = one.read("orders");
    assert_eq!(read, (0..1_510).collect::<Vec<_>>(), "from memory");
    assert_eq!(one.log().matches("session begun").count(), 1);
    // Whoever has nothing in memory finds what is left.
    one.kill();
    let two = world.node("2");
    eventually("the log starts where it still is", || {
        two.read("orders") == (1_500..1_510).collect::<Vec<_>>()
    });
    two.run(&["produce", "orders"], &lines(1_510..1_520));
    assert_eq!(two.read("orders"), (1_500..1_520).collect::<Vec<_>>());
}
