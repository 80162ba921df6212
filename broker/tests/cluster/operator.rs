//! What an operator is told, and what comes of what he asks for.

use std::collections::BTreeMap;

use s3_server::Conditional;

use crate::world::{Node, World};

/// Partitions and slots of each broker.
fn counts(world: &World) -> Vec<(i64, i64, i64)> {
    let described = world.operate(&["describe", "--json"]);
    let state: serde_json::Value = serde_json::from_str(&described).unwrap();
    let rows = state["brokers"].as_array().unwrap().iter();
    let number = |row: &serde_json::Value, name: &str| row[name].as_i64().unwrap();
    rows.map(|row| {
        (
            number(row, "id"),
            number(row, "partitions"),
            number(row, "slots"),
        )
    })
    .collect()
}

/// What a dry run tells: the receivers of partitions, and how many slots move.
fn told(world: &World, arguments: &[&str]) -> (BTreeMap<i64, i64>, usize) {
    let arguments = [arguments, &["--dry-run", "--json"]].concat();
    let all: serde_json::Value = serde_json::from_str(&world.operate(&arguments)).unwrap();
    let all = all.as_array().unwrap();
    let partitions = all.iter().filter(|it| it["topic"] == "orders");
    let receivers = partitions.map(|it| {
        assert_ne!(it["from"], it["to"]);
        (
            it["partition"].as_i64().unwrap(),
            it["to"].as_i64().unwrap(),
        )
    });
    let slots = all.iter().filter(|it| it["slot"].is_i64()).count();
    (receivers.collect(), slots)
}

fn leaders(node: &Node) -> BTreeMap<i64, i64> {
    let partitions = node.client().topic("orders").unwrap().partitions;
    let leader =
        |it: &client::PartitionInfo| (it.partition.get().into(), it.leader.unwrap().into());
    partitions.iter().map(leader).collect()
}

#[test]
fn dry_runs_tell_what_drain_undrain_and_balance_do() {
    let world = World::start(Conditional::Atomic);
    let one = world.node("1");
    one.run(&["topic", "create", "orders", "--partitions", "8"], "");
    let alone = world.command_line(&["drain", "1"]);
    let said = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert_eq!(alone.status.code(), Some(1), "{said}");
    assert!(said.contains("start one, or undrain one, first"), "{said}");
    // Before it runs.
    let said = world.operate(&["undrain", "2"]);
    assert!(said.contains("broker 2 is not running"), "{said}");
    let said = world.operate(&["drain", "2"]);
    assert!(said.contains("kept empty when it starts"), "{said}");
    let two = world.node("2");
    assert_eq!(counts(&world), [(1, 8, 64), (2, 0, 0)], "it is kept empty");
    let said = world.operate(&["balance", "--dry-run"]);
    assert_eq!(
        said, "0 partitions and 0 slots move\n",
        "a drained broker has its share"
    );

    // A dry run changes nothing, and tells what comes.
    let (receivers, slots) = told(&world, &["undrain", "2"]);
    assert_eq!((receivers.len(), slots), (4, 32));
    let said = world.operate(&["undrain", "2", "--dry-run"]);
    assert!(
        said.contains("MOVES") && said.ends_with("4 partitions and 32 slots move\n"),
        "{said}"
    );
    let partition = receivers.keys().next().unwrap();
    let row = format!("orders-{partition}");
    let row = said.lines().find(|line| line.starts_with(&row)).unwrap();
    let cells: Vec<&str> = row.split_whitespace().skip(1).collect();
    assert_eq!(cells, ["1", "2"], "{said}");
    assert_eq!(counts(&world), [(1, 8, 64), (2, 0, 0)]);
    let said = world.operate(&["undrain", "2"]);
    assert_eq!(said, "broker 2 has its share: 4 partitions, 32 slots\n");
    assert_eq!(counts(&world), [(1, 4, 32), (2, 4, 32)]);
    let moved: BTreeMap<i64, i64> = leaders(&one)
        .into_iter()
        .filter(|(_, at)| *at == 2)
        .collect();
    assert_eq!(
        moved, receivers,
        "what was told has moved, and nothing else"
    );

    let (receivers, slots) = told(&world, &["drain", "1"]);
    assert_eq!((receivers.len(), slots), (4, 32));
    assert!(receivers.values().all(|to| *to == 2));
    let said = world.operate(&["drain", "1"]);
    assert!(said.contains("owns nothing any more"), "{said}");
    world.operate(&["undrain", "1", "--no-wait"]);
    let said = world.operate(&["balance"]);
    assert!(
        said.contains("BROKER") && !said.contains("WITHOUT"),
        "{said}"
    );
    assert_eq!(counts(&world), [(1, 4, 32), (2, 4, 32)]);

    // Counts that differ by one stay: nothing moves without need.
    let before = leaders(&two);
    one.run(&["topic", "alter", "orders", "--partitions", "9"], "");
    let (receivers, slots) = told(&world, &["balance"]);
    assert_eq!((receivers.len(), slots), (0, 0));
    world.operate(&["balance"]);
    let after: BTreeMap<i64, i64> = leaders(&two)
        .into_iter()
        .filter(|(at, _)| *at < 8)
        .collect();
    assert_eq!(after, before);
}
