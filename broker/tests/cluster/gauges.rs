//! What a broker of a cluster tells of itself: lag of groups whatever broker leads the partitions,
//! segments that it owns, its rack.

use client::TopicPartition;
use s3_server::Conditional;
use segment::{Offset, PartitionIndex};

use crate::world::{Node, World, eventually};

const LAG: &str = "kafscale_consumer_group_lag{group=\"billing\",topic=\"orders\"}";

fn total(nodes: &[&Node], name: &str) -> f64 {
    nodes.iter().map(|node| node.metric(name)).sum()
}

fn commit(node: &Node, offsets: impl IntoIterator<Item = (i32, i64)>) {
    let at = |(partition, offset)| {
        let partition = TopicPartition::new("orders", PartitionIndex::new(partition));
        (partition, Offset::new(offset))
    };
    let offsets = offsets.into_iter().map(at).collect();
    node.client().commit_offline("billing", &offsets).unwrap();
}

/// The coordinator of a group tells its lag over all partitions, and nobody else does.
#[test]
fn lag_counts_partitions_that_other_brokers_lead() {
    let world = World::start(Conditional::Atomic);
    let settings = [("KAFSCALE_LAG_SAMPLE_INTERVAL_SEC", "1")];
    let [one, two, mut three] = ["1", "2", "3"].map(|id| world.node_with(id, &settings));
    one.run(&["topic", "create", "orders", "--partitions", "6"], "");
    let leaders = one.client().topic("orders").unwrap().partitions;
    let leaders: std::collections::BTreeSet<_> = leaders.iter().map(|it| it.leader).collect();
    assert_eq!(leaders.len(), 3, "every broker leads some");
    let listings = |node: &Node| node.metric("kafscale_requests_total{api=\"ListOffsets\"}");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(listings(&two), 0.0, "without groups nobody is asked");
    one.produce("orders", 0..600);
    commit(&one, (0..6).map(|partition| (partition, 0)));
    let all = [&one, &two, &three];
    eventually("the lag is that of all partitions", || {
        total(&all, LAG) == 600.0
    });
    let telling = all.iter().filter(|node| node.metric(LAG) > 0.0).count();
    assert_eq!(telling, 1, "the coordinator alone");
    // Records that come, and commits.
    one.produce("orders", 600..700);
    eventually("the lag grows", || total(&all, LAG) == 700.0);
    let ends = one.client().log_bounds(&partitions()).unwrap();
    commit(
        &one,
        ends.iter()
            .map(|(at, (_, end))| (at.partition.get(), end.get())),
    );
    eventually("the lag is gone", || total(&all, LAG) == 0.0);
    // One question a leader and a second, whatever the number of groups and partitions.
    let (before, began) = (
        total(&all, "kafscale_requests_total{api=\"ListOffsets\"}"),
        4,
    );
    std::thread::sleep(std::time::Duration::from_secs(began));
    let asked = total(&all, "kafscale_requests_total{api=\"ListOffsets\"}") - before;
    assert!(
        asked <= 2.0 * 2.0 * (began + 1) as f64,
        "{asked} in {began} s"
    );
    // A leader that dies takes nothing from it, but for the time until its partitions move.
    three.kill();
    one.produce("orders", 700..800);
    let left = [&one, &two];
    eventually("the lag is complete again", || total(&left, LAG) == 100.0);
}

fn partitions() -> Vec<TopicPartition> {
    let all = (0..6).map(|index| TopicPartition::new("orders", PartitionIndex::new(index)));
    all.collect()
}

/// Right after compaction, takeover, release, retention and deletion.
#[test]
fn segments_are_counted_by_their_owner() {
    let world = World::start(Conditional::Atomic);
    let settings = [
        ("KAFSCALE_SEGMENT_BYTES", "64KiB"),
        ("KAFSCALE_RETENTION_CHECK_INTERVAL_MS", "500"),
    ];
    let [one, mut two] = ["1", "2"].map(|id| world.node_with(id, &settings));
    one.run(&["topic", "create", "orders", "--partitions", "4"], "");
    let lines: Vec<String> = (0..300).map(|number| format!("{number:0>512}")).collect();
    let lines = format!("{}\n", lines.join("\n"));
    // What is in the store is what the owners tell.
    let stored = || {
        let all = world.s3().objects().list("kafscale/default/orders/");
        let segments = all.into_iter().filter(|it| it.key.ends_with(".kfs"));
        let sizes: Vec<u64> = segments.map(|it| it.size).collect();
        (sizes.len() as f64, sizes.iter().sum::<u64>() as f64)
    };
    let told = |nodes: &[&Node]| {
        // The names of one are not the beginning of the other's: a sample's name ends with a space.
        let count = total(nodes, "kafscale_segments ");
        (count, total(nodes, "kafscale_segment_bytes "))
    };
    for segments in [4.0, 8.0] {
        for partition in ["0", "1", "2", "3"] {
            one.run(&["produce", "orders", "--partition", partition], &lines);
        }
        eventually("compaction", || {
            stored().0 >= segments && told(&[&one, &two]) == stored()
        });
    }
    assert!(
        told(&[&one]).0 > 0.0 && told(&[&two]).0 > 0.0,
        "each has a part"
    );
    two.kill();
    eventually("takeover", || told(&[&one]) == stored());
    let two = world.node_with("3", &settings);
    eventually("the new broker has its share", || {
        told(&[&two]).0 > 0.0 && told(&[&one, &two]) == stored()
    });
    world.operate(&["drain", "1"]);
    eventually("release", || {
        told(&[&one]) == (0.0, 0.0) && told(&[&two]) == stored()
    });
    let (before, _) = stored();
    let retain = "retention.bytes=1";
    two.run(&["topic", "alter", "orders", "--config", retain], "");
    eventually("retention", || {
        stored().0 < before && told(&[&one, &two]) == stored()
    });
    two.run(&["topic", "delete", "orders"], "");
    eventually("deletion", || told(&[&one, &two]) == (0.0, 0.0));
}

#[test]
fn the_rack_of_a_broker_is_told() {
    let world = World::start(Conditional::Atomic);
    let one = world.node_with("1", &[("KAFSCALE_BROKER_RACK", "zone-a")]);
    let two = world.node("2");
    // As every broker knows it, by its own settings and by the session of the other.
    for node in [&one, &two] {
        eventually("both are known", || racks(node).len() == 2);
        let expected = [(1, Some("zone-a".to_owned())), (2, None)];
        assert_eq!(racks(node), expected);
    }
    let described = world.operate(&["describe", "--json"]);
    let state: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!(state["brokers"][0]["rack"], "zone-a", "{described}");
}

fn racks(node: &Node) -> Vec<(i32, Option<String>)> {
    let reply = node
        .client()
        .call_any(&wire::messages::MetadataRequest::default());
    let reply = reply.unwrap();
    let brokers = reply.decode().unwrap().brokers;
    let rack = |it: &wire::messages::metadata::MetadataResponseBroker<'_>| {
        (it.node_id, it.rack.map(str::to_owned))
    };
    let mut racks: Vec<_> = brokers.iter().map(rack).collect();
    racks.sort();
    racks
}
