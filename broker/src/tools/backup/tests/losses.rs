//! Objects that acknowledged records were in are missing or damaged: what is lost is told, and by wish
//! the rest is served.

use super::*;

fn by_wish() -> Recover {
    Recover {
        accept_loss: true,
        ..wanted()
    }
}

/// WAL objects with batches, in order.
fn data_objects(world: &World) -> Vec<String> {
    let objects = world.memory.objects();
    let is_data = |bytes: &Bytes| {
        let trailer = segment::wal::WalTrailer::parse(bytes);
        trailer.is_ok_and(|trailer| trailer.header.kind == segment::wal::WalKind::Data)
    };
    let data = objects.iter().filter(|(_, bytes)| is_data(bytes));
    data.map(|(key, _)| key.as_str().to_owned()).collect()
}

/// The object that holds an offset of a partition.
fn object_of(world: &World, id: TopicPartition, offset: i64) -> String {
    let holds = |bytes: &Bytes| {
        let directory = segment::wal::verify(bytes).directory;
        let entries = directory.map(|directory| directory.entries);
        entries.unwrap_or_default().iter().any(|entry| {
            let range = entry.first_offset.get()..=entry.last_offset.get();
            entry.topic_partition() == id && range.contains(&offset)
        })
    };
    let objects = world.memory.objects();
    let data = data_objects(world);
    let found = objects
        .iter()
        .find(|(key, bytes)| data.iter().any(|data| data == key.as_str()) && holds(bytes));
    let (key, _) = found.unwrap_or_else(|| panic!("no object of {id} at {offset}"));
    key.as_str().to_owned()
}

async fn remove(world: &World, key: String) {
    assert_eq!(ground(world).objects.delete(&[key]).await, 0);
}

async fn damage(world: &World, key: &str) {
    let objects = world.memory.objects();
    let (_, bytes) = objects
        .iter()
        .find(|(found, _)| found.as_str() == key)
        .unwrap();
    let mut bytes = bytes.to_vec();
    // In the directory, before the trailer.
    let at = bytes.len() - 120;
    bytes[at] ^= 1;
    let body = Body::from(Bytes::from(bytes));
    let put = ground(world)
        .objects
        .put(key, body, PutCondition::None)
        .await;
    put.unwrap();
}

/// A partition that was never compacted, one with segments, and one that has lost nothing.
struct Lossy {
    world: World,
    acknowledged: Acknowledged,
    young: TopicPartition,
    old: TopicPartition,
    whole: TopicPartition,
}

impl Lossy {
    async fn lived(mode: CommitMode) -> Self {
        let world = World {
            mode,
            ..World::new()
        };
        let mut acknowledged = Acknowledged::default();
        let rig = world.start_as(Some(1)).await;
        let young = rig.create("young", 1).await;
        let old = rig.create("old", 1).await;
        let whole = rig.create("whole", 1).await;
        acknowledged.produce(&rig, old, 4).await;
        rig.compact_all(old).await;
        back_up(&world, 1_700_000_000_000).await;
        acknowledged.produce(&rig, old, 2).await;
        rig.compact_all(old).await;
        for _ in 0..6 {
            for id in [young, old, whole] {
                acknowledged.produce(&rig, id, 1).await;
            }
        }
        rig.crash().await;
        let rig = world.start_as(Some(2)).await;
        for id in [young, old, whole] {
            acknowledged.produce(&rig, id, 1).await;
        }
        acknowledged.idempotent(&rig, old, 0..1).await;
        rig.crash().await;
        Self {
            world,
            acknowledged,
            young,
            old,
            whole,
        }
    }
}

fn ranges(partition: &RecoveredPartition) -> Vec<(i64, i64)> {
    let pair = |range: &std::ops::Range<Offset>| (range.start.get(), range.end.get());
    partition.missing.iter().map(pair).collect()
}

fn of(report: &Recovered, id: TopicPartition) -> &RecoveredPartition {
    let mut all = report.partitions.iter();
    all.find(|partition| partition.id == id).unwrap()
}

/// Brokers start, and everything goes on as if nothing else had happened.
async fn assert_lives_on(world: &World, acknowledged: &mut Acknowledged, ids: &[TopicPartition]) {
    let rig = world.start_as(Some(3)).await;
    acknowledged.assert_all(&rig).await;
    for id in ids {
        acknowledged.produce_behind(&rig, *id).await;
        rig.compact_all(*id).await;
    }
    rig.collect().await;
    acknowledged.assert_all(&rig).await;
    rig.crash().await;
    let rig = world.start_as(Some(1)).await;
    acknowledged.assert_all(&rig).await;
    rig.finish().await;
}

impl Acknowledged {
    /// One more record, at an offset that nothing ever had.
    async fn produce_behind(&mut self, rig: &Rig, id: TopicPartition) {
        let end = rig.high_watermark(id).unwrap();
        let produced = rig.produce(id, &one("behind", None)).await.unwrap();
        assert_eq!(produced.base_offset.get(), end);
        let log = self.0.entry(id).or_default();
        assert_eq!(log.insert(end, "behind".to_owned()), None);
    }
}

fn assert_the_rest_is_served(mode: CommitMode) {
    test(async {
        let Lossy {
            world,
            mut acknowledged,
            young,
            old,
            whole,
        } = Lossy::lived(mode).await;
        for (id, offset) in [(young, 2), (young, 4), (old, 8)] {
            remove(&world, object_of(&world, id, offset)).await;
            acknowledged.lose(id, offset..offset + 1);
        }
        let world = lose_etcd(&world);
        let report = recover_with(&world, &wanted()).await.unwrap();
        assert!(!report.is_written && dump(&world).await.is_empty());
        assert!(
            matches!(report.refused, Some(RecoverError::Loss(2))),
            "{:?}",
            report.refused
        );
        assert_eq!(ranges(of(&report, young)), [(2, 3), (4, 5)]);
        assert_eq!(
            of(&report, young).hidden,
            Some(Offset::ZERO..Offset::new(4))
        );
        assert_eq!(ranges(of(&report, old)), [(8, 9)]);
        assert_eq!(of(&report, old).hidden, Some(Offset::ZERO..Offset::new(8)));
        assert_eq!(ranges(of(&report, whole)), []);
        let before = world.keys("");
        // An interrupted one is run again.
        let kv = Cut {
            inner: world.kv.clone(),
            left: AtomicUsize::new(1),
        };
        let cut = recover_metadata(&ground_on(&world, Arc::new(kv)), &by_wish(), &|_| {}).await;
        assert!(cut.is_err());
        assert!(
            world.keys(".kfs").len() > 2,
            "it was interrupted after it wrote segments"
        );
        let report = recover_with(&world, &by_wish()).await.unwrap();
        assert!(report.is_written);
        let after = world.keys("");
        assert!(
            before.iter().all(|key| after.contains(key)),
            "nothing is deleted"
        );
        assert_eq!(findings(&world).await, [""; 0], "before a broker starts");
        assert_lives_on(&world, &mut acknowledged, &[young, old, whole]).await;
        assert_eq!(findings(&world).await, [""; 0], "after all");
    });
}

#[test]
fn wal_objects_that_are_missing_are_told_by_offsets_and_the_rest_is_served() {
    assert_the_rest_is_served(CommitMode::Conditional);
}

#[test]
fn so_it_is_where_etcd_guards_the_commits() {
    assert_the_rest_is_served(CommitMode::Guarded);
}

/// Its session gets no record, so that the damaged object stays until somebody deletes it.
#[test]
fn a_wal_object_that_is_damaged_is_told_and_the_rest_is_served() {
    test(async {
        let Lossy {
            world,
            mut acknowledged,
            young,
            old,
            whole,
        } = Lossy::lived(CommitMode::Conditional).await;
        let damaged = object_of(&world, old, 9);
        damage(&world, &damaged).await;
        acknowledged.lose(old, 9..10);
        let world = lose_etcd(&world);
        let report = recover_with(&world, &wanted()).await.unwrap();
        assert!(!report.is_written && dump(&world).await.is_empty());
        let refused = report.refused.unwrap().to_string();
        assert!(refused.contains(&damaged), "{refused}");
        assert!(
            report.unreadable[0].contains(&damaged),
            "{:?}",
            report.unreadable
        );
        let lost = report.partitions.iter().filter(|p| !p.missing.is_empty());
        let lost: Vec<_> = lost.map(|p| (p.id, ranges(p))).collect();
        assert_eq!(lost, [(old, vec![(9, 10)])]);
        let report = recover_with(&world, &by_wish()).await.unwrap();
        assert!(report.is_written);
        let apart = report.kept_apart[0].session.to_string();
        assert!(damaged.contains(&apart), "{damaged}");
        // Nothing but what the report has told.
        for finding in findings(&world).await {
            let is_told =
                finding.contains("wal-unknown-session") || finding.contains("session-unknown");
            assert!(is_told && finding.contains(&apart), "{finding}");
        }
        assert_lives_on(&world, &mut acknowledged, &[young, old, whole]).await;
        assert!(world.keys(&damaged).len() == 1, "it stays");
        assert!(world.keys(&apart).len() > 1);
    });
}

/// A segment and a WAL object of one partition, in the middle of a segment that is cut off by a log
/// start.
#[test]
fn segments_and_wal_objects_that_are_missing_together_leave_the_rest() {
    test(async {
        let world = World::new();
        let mut acknowledged = Acknowledged::default();
        let rig = world.start_as(Some(1)).await;
        let orders = rig.create("orders", 1).await;
        for _ in 0..4 {
            acknowledged.produce(&rig, orders, 3).await;
            rig.compact_all(orders).await;
        }
        let context = &rig.context;
        let raised = crate::control::log_start::raise_log_start(context, orders, Offset::new(4));
        raised.await.unwrap();
        acknowledged.lose(orders, 0..4);
        acknowledged.idempotent(&rig, orders, 0..1).await;
        rig.compact_all(orders).await;
        back_up(&world, 1_700_000_000_000).await;
        acknowledged.produce(&rig, orders, 1).await;
        acknowledged.idempotent(&rig, orders, 1..2).await;
        acknowledged.produce(&rig, orders, 2).await;
        rig.crash().await;
        for lost in [
            "segment-00000000000000000006.kfs",
            "segment-00000000000000000006.index",
        ] {
            remove(&world, world.keys(lost).remove(0)).await;
        }
        acknowledged.lose(orders, 6..9);
        remove(&world, object_of(&world, orders, 14)).await;
        acknowledged.lose(orders, 14..15);
        let world = lose_etcd(&world);
        let report = recover_with(&world, &by_wish()).await.unwrap();
        assert!(report.is_written);
        let partition = of(&report, orders);
        assert_eq!(ranges(partition), [(6, 9), (14, 15)]);
        assert_eq!((partition.start.get(), partition.end.get()), (4, 17));
        // Nothing is deleted, a producer snapshot that nobody needs any more neither.
        let found = findings(&world).await;
        let is_known = |finding: &String| finding.contains("snapshot-leftover");
        assert!(found.len() == 1 && found.iter().all(is_known), "{found:?}");
        // A producer whose batch is lost is not refused for it.
        let rig = world.start_as(Some(2)).await;
        acknowledged.idempotent(&rig, orders, 2..3).await;
        rig.crash().await;
        assert_lives_on(&world, &mut acknowledged, &[orders]).await;
    });
}
