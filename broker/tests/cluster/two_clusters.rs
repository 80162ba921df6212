//! Two clusters on one bucket and one etcd: each on its namespace, they never see each other; on
//! one namespace the second is refused.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use client::TopicPartition;
use s3_server::Conditional;
use segment::{Offset, PartitionIndex};

use crate::world::{Node, Over, World, eventually};

/// The name of one cluster is the beginning of the other's.
const ONE: &str = "prod";
const OTHER: &str = "prod-2";
const GROUP: &str = "billing";

/// Cluster and namespace of one name, and small segments.
fn settings(name: &'static str) -> [(&'static str, &'static str); 3] {
    [
        ("KAFSCALE_CLUSTER", name),
        ("KAFSCALE_S3_NAMESPACE", name),
        ("KAFSCALE_SEGMENT_BYTES", "64KiB"),
    ]
}

/// Sends numbers as lines of half a KiB.
fn produce(node: &Node, topic: &str, partition: &str, numbers: std::ops::Range<u32>) {
    let lines: Vec<String> = numbers.map(|number| format!("{number:0>512}")).collect();
    let arguments = ["produce", topic, "--partition", partition];
    node.run(&arguments, &format!("{}\n", lines.join("\n")));
}

fn told(node: &Node, arguments: &[&str]) -> String {
    String::from_utf8(node.run(arguments, "").stdout).unwrap()
}

fn commit(node: &Node, topic: &str, offset: i64) {
    let partition = TopicPartition::new(topic, PartitionIndex::ZERO);
    let offsets = [(partition, Offset::new(offset))].into_iter().collect();
    node.client().commit_offline(GROUP, &offsets).unwrap();
}

fn committed(node: &Node, topic: &str) -> Option<i64> {
    let partition = TopicPartition::new(topic, PartitionIndex::ZERO);
    let all = node.client().committed(GROUP, None).unwrap();
    all.get(&partition).map(|committed| committed.offset.get())
}

/// The segments of a cluster's topic: of its first partition, where nothing is written later.
fn segments(world: &World, name: &str) -> BTreeSet<String> {
    let prefix = format!("kafscale/{name}/orders/0/segment-");
    world.s3().objects().keys(&prefix).into_iter().collect()
}

/// Every object lies below a prefix of one of the two.
#[track_caller]
fn assert_apart(world: &World) {
    let roots =
        [ONE, OTHER].map(|name| [format!("kafscale/{name}/"), format!("kafscale-wal/{name}/")]);
    let roots = roots.as_flattened();
    let keys = world.s3().objects().keys("");
    let stray = keys
        .iter()
        .find(|key| !roots.iter().any(|root| key.starts_with(root)));
    assert_eq!(stray, None);
}

#[test]
fn two_clusters_share_a_bucket_and_an_etcd_and_never_see_each_other() {
    let world = World::start(Conditional::Atomic);
    // The same broker id, too.
    let mut one = world.node_with("1", &settings(ONE));
    let mut other = world.node_with("1", &settings(OTHER));
    for node in [&one, &other] {
        node.run(&["topic", "create", "orders", "--partitions", "2"], "");
    }
    one.run(&["topic", "create", "only-here", "--partitions", "2"], "");
    for topic in ["orders", "only-here"] {
        produce(&one, topic, "0", 0..500);
        produce(&one, topic, "1", 500..1_000);
    }
    produce(&other, "orders", "0", 5_000..5_500);
    commit(&one, "orders", 7);
    commit(&other, "orders", 3);
    eventually("both have segments", || {
        !segments(&world, ONE).is_empty() && !segments(&world, OTHER).is_empty()
    });
    let before = segments(&world, OTHER);
    assert_apart(&world);

    // The first compacts, collects garbage and deletes everything, while the other serves.
    let over = AtomicBool::new(false);
    let end = std::thread::scope(|scope| {
        let ends = Over(&over);
        let serving = scope.spawn(|| {
            let mut end = 5_500;
            while !over.load(Ordering::Relaxed) {
                produce(&other, "orders", "1", end..end + 5);
                end += 5;
            }
            end
        });
        eventually("segments are made and their WAL objects deleted", || {
            one.metric("kafscale_compactions_total{result=\"ok\"}") >= 2.0
                && one.metric("kafscale_wal_objects_total{event=\"deleted\"}") >= 1.0
        });
        one.run(&["topic", "delete", "orders", "only-here"], "");
        eventually("the objects of its topics are swept", || {
            let left = world.s3().objects().keys(&format!("kafscale/{ONE}/"));
            left.is_empty()
        });
        drop(ends);
        serving.join().unwrap()
    });
    let expected: Vec<u32> = (5_000..end).collect();
    assert_eq!(other.read("orders"), expected);
    assert!(
        segments(&world, OTHER).is_superset(&before),
        "no segment of the other has gone"
    );
    assert_apart(&world);
    assert_eq!(told(&one, &["topic", "list"]), "");
    assert_eq!(told(&other, &["topic", "list"]), "orders\n");
    assert_eq!(committed(&one, "orders"), None, "it went with its topic");
    assert_eq!(committed(&other, "orders"), Some(3));

    // Neither is a broker of the other, nor takes what a dead one has left.
    let brokers = |name: &str| {
        let described = world.operate(&["describe", "--json", "--cluster", name]);
        let state: serde_json::Value = serde_json::from_str(&described).unwrap();
        let brokers = state["brokers"].as_array().unwrap().len();
        (state["cluster_id"].as_str().unwrap().to_owned(), brokers)
    };
    let (id, count) = brokers(ONE);
    assert_eq!(count, 1);
    assert_ne!(brokers(OTHER), (id, count));
    other.kill();
    eventually("the session of the other ends", || brokers(OTHER).1 == 0);
    assert_eq!(brokers(ONE).1, 1);
    let again = world.node_with("2", &settings(OTHER));
    assert_eq!(again.read("orders"), expected, "read back from the store");
    assert_eq!(committed(&again, "orders"), Some(3));
    one.stop();
}

/// Everything that mixes up two clusters, or two places, refuses to start and changes nothing.
#[test]
fn a_broker_on_objects_or_metadata_of_others_is_refused() {
    let world = World::start(Conditional::Atomic);
    let node = world.node("1");
    node.run(&["topic", "create", "orders", "--partitions", "1"], "");
    node.produce("orders", 0..100);
    let before = world.s3().objects().keys("");
    // Another cluster on the same namespace.
    let said = world.refusal(&[("KAFSCALE_CLUSTER", "other")]);
    assert!(said.contains("belongs to cluster"), "{said}");
    assert!(said.contains("KAFSCALE_S3_NAMESPACE"), "{said}");
    // The same cluster on other objects: it would find nothing there to fence or to serve.
    for (name, value) in [
        ("KAFSCALE_S3_NAMESPACE", "elsewhere"),
        ("KAFSCALE_S3_WAL_PREFIX", "elsewhere/"),
    ] {
        let said = world.refusal(&[(name, value)]);
        assert!(
            said.contains("has served before") && said.contains(name),
            "{said}"
        );
    }
    let said = world.refusal(&[("KAFSCALE_S3_PREFIX", "elsewhere/")]);
    assert!(said.contains("\"kafscale/default/\""), "{said}");
    assert!(said.contains("KAFSCALE_S3_PREFIX"), "{said}");
    assert_eq!(
        world.s3().objects().keys(""),
        before,
        "nothing was left behind"
    );
    assert_eq!(node.read("orders"), (0..100).collect::<Vec<u32>>());
}
