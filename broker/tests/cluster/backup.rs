//! etcd is lost: the metadata comes back from a backup and from what the bucket holds.

use super::*;

#[test]
fn what_was_acknowledged_after_the_backup_survives_the_loss_of_etcd() {
    let world = World::start(Conditional::Atomic);
    let (mut one, mut two) = (world.node("1"), world.node("2"));
    let create = ["topic", "create", "orders", "--partitions", "4"];
    one.run(&create, "");
    one.produce("orders", 0..200);
    let run = |arguments: &[&str]| {
        let output = world.tool(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["backup", "create"]);
    // The metadata goes on: more records, a takeover, another topic.
    one.produce("orders", 200..400);
    two.kill();
    eventually("the other has everything", || {
        let state = world.operate(&["describe", "--json"]);
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        state["partitions_without_leader"] == 0 && state["brokers"].as_array().unwrap().len() == 1
    });
    one.produce("orders", 400..500);
    // Nothing but WAL objects ever tells of this one.
    one.run(&["topic", "create", "late", "--partitions", "2"], "");
    one.produce("late", 0..20);
    one.kill();
    world.etcd.ctl(&["del", "--prefix", ""]);
    let listed = run(&["backup", "list"]);
    assert!(listed.lines().count() >= 2, "{listed}");
    run(&["backup", "verify"]);
    let refusal = world.refusal(&[]);
    assert!(refusal.contains("backup restore"), "{refusal}");
    world.etcd.ctl(&["del", "--prefix", ""]);
    let told = run(&["backup", "restore", "--dry-run"]);
    assert!(told.contains("--recover-unnamed"), "{told}");
    let report = run(&["backup", "restore", "--recover-unnamed"]);
    let again = world.tool(&["backup", "restore"]).output().unwrap();
    assert!(!again.status.success(), "the keyspace is not empty");
    let mut three = world.node("3");
    let all: Vec<u32> = (0..500).collect();
    assert_eq!(three.read("orders"), all, "{report}");
    let late = report
        .lines()
        .find_map(|line| line.strip_prefix("Topic recovered-"));
    let (late, _) = late
        .unwrap_or_else(|| panic!("{report}"))
        .split_once(':')
        .unwrap();
    let late = format!("recovered-{late}");
    assert_eq!(three.read(&late), (0..20).collect::<Vec<u32>>());
    three.produce("orders", 500..510);
    assert_eq!(three.read("orders").len(), 510);
    three.stop();
    run(&["fsck", "--deep"]);
}
