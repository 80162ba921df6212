//! `kafscale fsck` on a cluster whose brokers serve, die and come back.

use std::process::Command;

use s3_server::Conditional;

use crate::world::{PROGRAM, World, eventually, free};

/// Checks everything with the settings of the brokers, which ends with this code; gives what it says.
fn fsck(world: &World, options: &[&str], code: i32) -> String {
    let broker = world.command("1", free(), &[]);
    let settings = broker
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let mut command = Command::new(PROGRAM);
    let output = command.arg("fsck").args(options).envs(settings).output();
    let output = output.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{options:?}: {text}{errors}"
    );
    text
}

#[test]
fn a_cluster_is_clean_while_it_works_and_after_a_broker_has_died() {
    let world = World::start(Conditional::Atomic);
    let settings = [
        ("KAFSCALE_SEGMENT_BYTES", "64KiB"),
        ("KAFSCALE_COMPACTION_INTERVAL_MS", "1000"),
    ];
    let one = world.node_with("1", &settings);
    let mut two = world.node_with("2", &settings);
    one.run(&["topic", "create", "orders", "--partitions", "6"], "");
    one.produce("orders", 0..200_000);
    let clean = "0 errors, 0 warnings";
    for _ in 0..3 {
        one.produce("orders", 0..20_000);
        let text = fsck(&world, &["--deep"], 0);
        assert!(text.contains(clean), "{text}");
    }
    // Whoever leads the partitions that the producer chose.
    eventually("there are segments", || {
        one.metric("kafscale_segments") + two.metric("kafscale_segments") > 0.0
    });
    two.kill();
    // A kill may come before a compaction has deleted what it replaced: a repair is safe at any time.
    let text = fsck(&world, &["--repair"], 0);
    assert!(text.contains(clean), "{text}");
    one.produce("orders", 0..1_000);
    let text = fsck(&world, &["--deep", "--topic", "orders"], 0);
    assert!(text.contains("6 partitions"), "{text}");
    let text = fsck(&world, &["--garbage"], 0);
    assert!(text.contains("are garbage"), "{text}");
    assert_eq!(one.read("orders").len(), 261_000);
}
