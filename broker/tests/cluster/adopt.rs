//! `kafscale adopt`: what the original KafScale wrote is served by brokers here, and goes on.

use client::TopicPartition;
use s3_server::Conditional;
use segment::{PartitionIndex, TopicId};

use crate::common::original::{batch, key, segment, snapshot};
use crate::world::{Node, World};

const ID: [u8; 16] = [0x20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// The original's layout.
const SETTINGS: [(&str, &str); 2] = [
    ("KAFSCALE_S3_PREFIX", "/"),
    ("KAFSCALE_S3_NAMESPACE", "default"),
];

/// A segment of one batch from each offset to before the next; values are the offsets.
fn store(world: &World, partition: i32, offsets: &[i64]) {
    let batches: Vec<Vec<u8>> = offsets
        .windows(2)
        .map(|range| {
            let rows: Vec<(i64, String)> = (range[0]..range[1])
                .map(|at| (1_700_000_000_000 + at, at.to_string()))
                .collect();
            let rows: Vec<(i64, &str)> = rows.iter().map(|(at, text)| (*at, &**text)).collect();
            batch(range[0], -1, &rows)
        })
        .collect();
    let base = offsets[0];
    let (kfs, index) = segment(base, 1_700_000_000_000, &batches);
    let objects = world.s3().objects();
    objects
        .put(&key("orders", partition, base, "kfs"), kfs)
        .unwrap();
    objects
        .put(&key("orders", partition, base, "index"), index)
        .unwrap();
}

fn tool(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let output = world.tool(arguments).envs(SETTINGS).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn read(node: &Node, partition: &str) -> Vec<u32> {
    let arguments = [
        "consume",
        "orders",
        "-p",
        partition,
        "--from-beginning",
        "--exit-at-end",
    ];
    let output = node.run(&arguments, "");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn committed(node: &Node, partition: i32) -> Option<i64> {
    let all = node.client().committed("billing", None).unwrap();
    let partition = TopicPartition::new("orders", PartitionIndex::new(partition));
    all.get(&partition).map(|committed| committed.offset.get())
}

#[test]
fn what_the_original_wrote_is_served_and_goes_on() {
    let world = World::start(Conditional::Atomic);
    let put = |key: &str, value: &str| world.etcd.ctl(&["put", key, value]);
    // Partition 0 is whole; 1 lacks what lies before 40, an index, and what was given out at its end.
    store(&world, 0, &[0, 10, 150]);
    store(&world, 0, &[150, 151]);
    store(&world, 0, &[151, 400, 401, 500]);
    store(&world, 1, &[0, 20]);
    store(&world, 1, &[40, 60]);
    store(&world, 1, &[60, 70]);
    assert!(world.s3().objects().delete(&key("orders", 1, 60, "index")));
    put(
        "/kafscale/metadata/snapshot",
        &snapshot(&[("orders", ID, 3)]),
    );
    put("/kafscale/topics/orders/partitions/0/next_offset", "500");
    put("/kafscale/topics/orders/partitions/1/next_offset", "90");
    put(
        "/kafscale/topics/orders/config",
        "\u{a}\u{6}orders\u{20}\u{5}",
    );
    let offset = |partition: i32, offset: i64| {
        let key = format!("/kafscale/consumers/billing/offsets/orders/{partition}");
        let value =
            format!(r#"{{"offset":{offset},"metadata":"","committed_at":"2026-01-02T03:04:05Z"}}"#);
        put(&key, &value);
    };
    offset(0, 321);
    offset(1, 90);
    put("/kafscale/partition-leases/orders/0", "broker-0");
    let (code, said) = tool(&world, &["adopt"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("a broker of the original runs"), "{said}");
    world
        .etcd
        .ctl(&["del", "/kafscale/partition-leases/orders/0"]);
    let (code, said) = tool(&world, &["adopt", "--dry-run"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("can be adopted; nothing was written"),
        "{said}"
    );
    let (code, said) = tool(&world, &["adopt"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("orders: adopted"), "{said}");
    assert!(said.contains("40 to before 70"), "{said}");
    assert!(
        said.contains("segment-00000000000000000000.kfs does not join"),
        "{said}"
    );
    let before: Vec<String> = world.s3().objects().keys("default/orders/");

    let small = ("KAFSCALE_SEGMENT_BYTES", "64KiB");
    let quick = ("KAFSCALE_COMPACTION_INTERVAL_MS", "1000");
    let settings = [SETTINGS[0], SETTINGS[1], small, quick];
    let mut node = world.node_with("1", &settings);
    assert_eq!(read(&node, "0"), (0..500).collect::<Vec<u32>>());
    assert_eq!(read(&node, "1"), (40..70).collect::<Vec<u32>>());
    assert_eq!(read(&node, "2"), Vec::<u32>::new());
    assert_eq!(
        (committed(&node, 0), committed(&node, 1)),
        (Some(321), Some(70))
    );
    let listed = node.run(&["topic", "list", "--json"], "").stdout;
    let listed = String::from_utf8(listed).unwrap();
    let id = TopicId::new(ID).to_string();
    assert!(listed.contains(&id), "clients know it by that id: {listed}");

    // It goes on at the right offset, as a group sees it.
    let lines = |numbers: std::ops::Range<u32>| {
        numbers
            .map(|number| format!("{number}\n"))
            .collect::<String>()
    };
    node.run(&["produce", "orders", "-p", "0"], &lines(500..600));
    node.run(&["produce", "orders", "-p", "1"], &lines(70..80));
    let group = [
        "consume",
        "orders",
        "-g",
        "billing",
        "-n",
        "289",
        "--timeout",
        "30s",
    ];
    let output = node.run(&group, "");
    let mut numbers: Vec<u32> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (70..80).chain(321..600).collect::<Vec<u32>>());
    node.stop();
    let node = world.node_with("2", &settings);
    assert_eq!(read(&node, "0"), (0..600).collect::<Vec<u32>>());
    assert_eq!(read(&node, "1"), (40..80).collect::<Vec<u32>>());
    let (code, said) = tool(&world, &["adopt"]);
    assert_eq!(code, Some(1), "brokers run: {said}");
    let now = world.s3().objects().keys("default/orders/");
    assert!(
        before.iter().all(|key| now.contains(key)),
        "nothing was deleted"
    );
}
