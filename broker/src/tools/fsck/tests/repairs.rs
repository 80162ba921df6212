//! Repairs that are rare: of objects that many partitions need, of damage that only a deep look finds,
//! of sessions that nobody has fenced, and in the guarded mode.

use segment::wal::{WalEntry, WalHeader, verify};

use super::*;

fn entries(world: &World, key: &str) -> Vec<WalEntry> {
    let directory = verify(&bytes(world, key)).directory;
    directory.map_or(Vec::new(), |directory| directory.entries)
}

/// WAL objects that hold batches, in order.
fn data(world: &World) -> Vec<String> {
    let objects = world.keys(".wal").into_iter();
    objects
        .filter(|key| !entries(world, key).is_empty())
        .collect()
}

async fn produce_everywhere(rig: &Rig, ids: &[TopicPartition]) {
    let all = ids.iter().map(|id| rig.produce_many(*id, 1));
    futures_util::future::join_all(all).await;
}

fn partitions(id: TopicPartition, count: i32) -> Vec<TopicPartition> {
    let at = |index| TopicPartition::new(id.topic, PartitionIndex::new(index));
    (0..count).map(at).collect()
}

#[test]
fn an_object_that_many_partitions_need_is_repaired_for_all_of_them_in_one_run() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let ids = partitions(rig.create("orders", 4).await, 4);
        let mut shared = None;
        for _ in 0..100 {
            produce_everywhere(&rig, &ids).await;
            let objects = data(&world);
            shared = objects
                .into_iter()
                .find(|key| entries(&world, key).len() > 1);
            if shared.is_some() {
                break;
            }
        }
        let shared = shared.expect("partitions share an object");
        produce_everywhere(&rig, &ids).await;
        let ends: Vec<_> = ids
            .iter()
            .map(|id| rig.high_watermark(*id).unwrap())
            .collect();
        rig.crash().await;
        // It closes the source of every partition.
        world.start().await.crash().await;
        let was = bytes(&world, &shared);
        let lost = entries(&world, &shared);
        for is_missing in [true, false] {
            match is_missing {
                true => remove(&world, &shared).await,
                false => {
                    let mut broken = was.clone();
                    let at = broken.len() - 120;
                    broken[at] ^= 1;
                    put(&world, &shared, broken).await;
                }
            }
            let report = check(&world, Options::default()).await;
            let found: Vec<&Finding> = report
                .findings
                .iter()
                .filter(|f| !f.repairs.is_empty())
                .collect();
            assert_eq!(found.len(), 1, "{:#?}", report.findings);
            assert_eq!(found[0].subject, shared);
            assert_eq!(found[0].repairs.len(), 4);
            for entry in &lost {
                let id = entry.topic_partition().to_string();
                assert!(found[0].detail.contains(&id), "{}", found[0].detail);
            }
        }
        let report = check(&world, Options::default()).await;
        assert_eq!(repair(&world, &report, true).await, []);
        let report = check(&world, deep()).await;
        assert_eq!(codes(&report), Codes::new(), "{:#?}", report.findings);
        let rig = world.start().await;
        for (id, end) in ids.iter().zip(ends) {
            assert_eq!(rig.high_watermark(*id), Some(end));
            let all: Vec<i64> = (0..end / 5).map(|batch| batch * 5).collect();
            assert_eq!(rig.scan(*id, 0).await, all);
        }
        rig.finish().await;
    });
}

/// Partitions are looked at in portions, and an object may be needed by some of each.
#[test]
fn what_portions_say_of_one_object_is_one_finding() {
    let of = |partition: i32| {
        let (topic, name) = (TopicId::new([7; 16]), TopicName::new("orders").unwrap());
        let id = TopicPartition::new(topic, PartitionIndex::new(partition));
        let dir = segment::keys::TopicDir::new(name, 0);
        let detail = format!("offsets of {partition}");
        Finding::new(Code::WalMissing, "1.wal", detail).repair(Repair::CloseWal { id, dir })
    };
    let mut report = Report::default();
    for partition in [0, 1, 1] {
        report.join(vec![of(partition)]);
    }
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].repairs.len(), 2);
    assert_eq!(report.findings[0].detail, "offsets of 0; offsets of 1");
    // Sentences are bounded, repairs are not.
    (2..50).for_each(|partition| report.join(vec![of(partition)]));
    assert_eq!(report.findings[0].repairs.len(), 50);
    assert!(
        report.findings[0]
            .detail
            .ends_with("offsets of 20; and more")
    );
}

#[test]
fn an_outcome_of_two_repairs_is_done_if_both_are() {
    let done = |what: &str| Outcome::Done(what.to_owned());
    let refused = |why: &str| Outcome::Refused(why.to_owned());
    assert_eq!(done("a").and(done("b")), done("a; b"));
    assert_eq!(done("a").and(refused("b")), refused("b"));
    assert_eq!(refused("a").and(done("b")), refused("a"));
    assert_eq!(refused("a").and(refused("b")), refused("a; b"));
    assert_eq!(refused("a").and(refused("a")), refused("a"));
}

/// Nothing else is wrong: only a deep look finds it.
#[test]
fn a_section_that_is_damaged_is_left_out_by_wish() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let other = rig.create("payments", 1).await;
        rig.produce_many(id, 4).await;
        rig.produce_many(other, 1).await;
        rig.crash().await;
        let second = data(&world).remove(1);
        let mut broken = bytes(&world, &second);
        broken[100] ^= 1;
        put(&world, &second, broken).await;
        assert_eq!(
            codes(&check(&world, Options::default()).await),
            Codes::new()
        );
        let report = check(&world, deep()).await;
        assert_eq!(codes(&report), ["wal-damaged"].into());
        assert_eq!(
            report.findings[0].repairs.len(),
            1,
            "the other one is whole"
        );
        assert_eq!(repair(&world, &report, true).await, []);
        let report = check(&world, deep()).await;
        assert_eq!(codes(&report), Codes::new(), "{:#?}", report.findings);
        let rig = world.start().await;
        assert_eq!(rig.high_watermark(id), Some(20));
        assert_eq!(rig.scan(id, 0).await, [0, 5, 10, 15]);
        assert_eq!(rig.high_watermark(other), Some(5));
        assert_eq!(rig.produce_many(id, 1).await, [20]);
        rig.finish().await;
    });
}

/// Whoever took the partition would fence the session in the hole, and end the log there; so would one
/// who has taken another partition.
#[test]
fn what_was_acknowledged_behind_a_hole_of_a_session_that_nobody_has_fenced_is_kept() {
    for is_fenced in [false, true] {
        test(async {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            rig.produce_many(id, 6).await;
            rig.crash().await;
            let third = data(&world).remove(2);
            if is_fenced {
                let WalHeader {
                    broker,
                    session,
                    sequence,
                    ..
                } = WalHeader::parse(&bytes(&world, &third)).unwrap();
                let by = SessionId::new([9; 16]);
                let fence = WalHeader::fence(broker, session, sequence, by);
                let fence = segment::wal::encode(fence, Vec::new()).chunks.concat();
                put(&world, &third, fence).await;
            } else {
                remove(&world, &third).await;
            }
            let report = check(&world, Options::default()).await;
            let findings = &report.findings;
            assert_eq!(codes(&report), ["wal-missing"].into(), "{findings:#?}");
            assert_eq!(findings[0].subject, third);
            assert_eq!(repair(&world, &report, true).await, []);
            let report = check(&world, deep()).await;
            let findings = &report.findings;
            assert_eq!(codes(&report), Codes::new(), "{findings:#?}");
            let rig = world.start().await;
            assert_eq!(rig.high_watermark(id), Some(30));
            assert_eq!(rig.scan(id, 0).await, [0, 5, 10, 15, 20, 25]);
            rig.finish().await;
        });
    }
}

#[test]
fn in_the_guarded_mode_a_segment_is_repaired_when_nobody_owns_it() {
    test(async {
        let world = World {
            mode: coord::keys::cluster::CommitMode::Guarded,
            ..World::new()
        };
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        fill(&rig, id).await;
        let damaged = bytes(&world, &segment("orders", 15))[..300].to_vec();
        put(&world, &segment("orders", 15), damaged.clone()).await;
        remove(&world, "kafscale/default/orders/0/manifest.kfm").await;
        let report = check(&world, Options::default()).await;
        assert_eq!(
            codes(&report),
            ["segment-damaged"].into(),
            "{:#?}",
            report.findings
        );
        let refused = repair(&world, &report, false).await;
        assert!(refused[0].1.contains("ignores conditions"), "{refused:?}");
        assert_eq!(
            bytes(&world, &segment("orders", 15)),
            damaged,
            "it is as it was"
        );
        rig.crash().await;
        assert_eq!(repair(&world, &report, false).await, []);
        let copy = world.keys("kafscale-wal/default/quarantine/").remove(0);
        assert_eq!(bytes(&world, &copy), damaged, "a copy is kept");
        // And a WAL object that is lost.
        // Not the last one: nobody would know which offsets it had.
        let lost = data(&world).into_iter().rev().nth(1).unwrap();
        remove(&world, &lost).await;
        let report = check(&world, Options::default()).await;
        assert_eq!(
            codes(&report),
            ["wal-missing"].into(),
            "{:#?}",
            report.findings
        );
        assert_eq!(repair(&world, &report, true).await, []);
        let report = check(&world, deep()).await;
        assert_eq!(codes(&report), Codes::new(), "{:#?}", report.findings);
        let rig = world.start().await;
        assert_eq!(rig.high_watermark(id), Some(55));
        let found = rig.scan(id, 0).await;
        assert!(
            found.contains(&15) && found.contains(&45) && found.contains(&50),
            "{found:?}"
        );
        rig.finish().await;
    });
}

/// What lies above the floor that it has recorded only its broker can judge.
#[test]
fn of_a_live_session_only_what_lies_below_its_floor_is_garbage() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        rig.produce_many(id, 4).await;
        let first = data(&world).remove(0);
        let was = bytes(&world, &first);
        while compact(&rig.context, id, 64 << 20).await.unwrap().is_some() {}
        let options = Options {
            garbage: true,
            ..Options::default()
        };
        assert_eq!(
            check(&world, options.clone()).await.findings,
            [],
            "no floor yet"
        );
        rig.collect().await;
        assert!(!data(&world).contains(&first));
        rig.produce_many(id, 2).await;
        put(&world, &first, was).await;
        let report = check(&world, options.clone()).await;
        let found: Vec<&str> = report.findings.iter().map(|f| f.subject.as_str()).collect();
        assert_eq!(found, [first.as_str()]);
        assert_eq!(repair(&world, &report, false).await, []);
        assert_eq!(check(&world, options).await.findings, []);
        assert_eq!(data(&world).len(), 2, "what is needed is there");
        rig.crash().await;
    });
}
