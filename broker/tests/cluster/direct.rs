//! Direct routing in a cluster: brokers with and without it name the same nodes.

use s3_server::Conditional;

use super::world::{Node, World, eventually};

const DIRECT: (&str, &str) = ("KAFSCALE_DIRECT_PORT", "0");

/// The leaders of all partitions, as a broker names them; none of those between two owners.
fn leaders(node: &Node) -> Vec<Option<i64>> {
    let output = node.run(&["topic", "describe", "t", "--json"], "");
    let described: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let partitions = described[0]["partitions"].as_array().unwrap();
    let leader = |partition: &serde_json::Value| partition["leader"].as_i64();
    partitions.iter().map(leader).collect()
}

#[test]
fn brokers_with_and_without_direct_routing_name_the_same_leaders_and_serve_each_others_clients() {
    let world = World::start(Conditional::Atomic);
    let one = world.node_with("0", &[DIRECT]);
    let two = world.node("1");
    one.run(&["topic", "create", "t", "--partitions", "16"], "");
    let nodes = [1, 256, 257].map(Some);
    eventually("both brokers lead partitions, and say the same", || {
        let [by_one, by_two] = [&one, &two].map(leaders);
        by_one == by_two && nodes.iter().all(|node| by_one.contains(node))
    });
    one.produce("t", 0..100);
    two.produce("t", 100..200);
    let all: Vec<u32> = (0..200).collect();
    assert_eq!(one.read("t"), all);
    assert_eq!(two.read("t"), all);
    assert!(one.log().contains("direct routing"), "{}", one.log());
}

#[test]
fn a_broker_whose_node_another_has_is_refused() {
    let world = World::start(Conditional::Atomic);
    let _one = world.node_with("0", &[DIRECT]);
    let said = world.refusal(&[("KAFSCALE_BROKER_ID", "257")]);
    assert!(
        said.contains("node id 257 is in use by live broker 0"),
        "{said}"
    );
    assert!(said.contains("another KAFSCALE_BROKER_ID"), "{said}");
}
