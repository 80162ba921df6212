//! What goes on in a bucket after the backup beside appends: log starts, cleaned segments, lost producer
//! snapshots, topics without a name.

use super::*;
use crate::control::NewTopic;
use crate::control::cleaner::Cleaner;
use crate::control::log_start::raise_log_start;
use crate::topic_config::TopicConfig;

async fn delete(world: &World, part: &str) -> usize {
    let keys = world.keys(part);
    assert_eq!(ground(world).objects.delete(&keys).await, 0);
    keys.len()
}

#[test]
fn a_log_start_that_was_raised_after_the_backup_stays() {
    test(async {
        let world = World::new();
        let mut acknowledged = Acknowledged::default();
        let rig = world.start_as(Some(1)).await;
        let orders = rig.create("orders", 3).await;
        let [inside, emptied, trimmed] = [0, 1, 2].map(|index| at(orders, index));
        for id in [inside, emptied, trimmed] {
            acknowledged.produce(&rig, id, 6).await;
            rig.compact_all(id).await;
            acknowledged.produce(&rig, id, 6).await;
            rig.compact_all(id).await;
        }
        back_up(&world, 1_700_000_000_000).await;
        // Inside of a segment; a later compaction tells of it.
        let raise = async |id, to| {
            let raised = raise_log_start(&rig.context, id, Offset::new(to)).await;
            assert_eq!(raised, Ok(Offset::new(to)));
        };
        raise(inside, 9).await;
        acknowledged.produce(&rig, inside, 2).await;
        rig.compact_all(inside).await;
        acknowledged.lose(inside, 0..9);
        // Up to the end.
        acknowledged.produce(&rig, emptied, 2).await;
        raise(emptied, 14).await;
        rig.compact_all(emptied).await;
        acknowledged.lose(emptied, 0..14);
        // By the deletion of a whole segment, of which nothing else tells.
        raise(trimmed, 6).await;
        acknowledged.lose(trimmed, 0..6);
        rig.collect().await;
        rig.crash().await;
        let world = lose_etcd(&world);
        let report = recovered(&world).await;
        let starts = report.partitions.iter();
        let starts = starts.map(|partition| (partition.start.get(), partition.end.get()));
        assert_eq!(starts.collect::<Vec<_>>(), [(9, 14), (14, 14), (6, 12)]);
        assert_eq!(record(&world, inside).await.log_start, Offset::new(9));
        assert_eq!(findings(&world).await, [""; 0]);
        let rig = world.start_as(Some(2)).await;
        acknowledged.assert_all(&rig).await;
        for id in [inside, emptied, trimmed] {
            acknowledged.produce(&rig, id, 2).await;
        }
        acknowledged.assert_all(&rig).await;
        rig.crash().await;
    });
}

/// Of a producer, what comes back of its state: retries are answered, the next batch is appended, and
/// one that does not follow is refused.
async fn assert_goes_on(rig: &Rig, id: TopicPartition, producer: i64, last: i32, offset: i64) {
    let again = rig.produce(id, &one("again", Some((producer, last)))).await;
    let again = again.unwrap().base_offset.get();
    assert_eq!(
        again, offset,
        "producer {producer}: a retry is not appended"
    );
    let gap = rig
        .produce(id, &one("gap", Some((producer, last + 2))))
        .await;
    assert!(
        matches!(gap, Err(ProduceError::Append(_))),
        "{producer}: {gap:?}"
    );
    let end = rig.high_watermark(id).unwrap();
    let next = rig
        .produce(id, &one("next", Some((producer, last + 1))))
        .await;
    assert_eq!(next.unwrap().base_offset.get(), end, "{producer} goes on");
}

#[test]
fn producers_go_on_where_their_snapshots_are_gone() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let ledger = rig.create("ledger", 2).await;
        let late = at(ledger, 1);
        let send = async |rig: &Rig, id, producer, sequences: std::ops::Range<i32>| {
            for sequence in sequences {
                let sent = one("value", Some((producer, sequence)));
                rig.produce(id, &sent).await.unwrap();
            }
        };
        // One that is silent since long before the backup, and one that goes on.
        send(&rig, ledger, 88, 0..3).await;
        rig.compact_all(ledger).await;
        send(&rig, ledger, 77, 0..2).await;
        rig.compact_all(ledger).await;
        rig.produce(late, &one("no producer", None)).await.unwrap();
        rig.compact_all(late).await;
        back_up(&world, 1_700_000_000_000).await;
        send(&rig, ledger, 77, 2..4).await;
        rig.compact_all(ledger).await;
        send(&rig, ledger, 77, 4..5).await;
        // A partition whose first producer comes after the backup.
        send(&rig, late, 77, 0..2).await;
        rig.compact_all(late).await;
        rig.collect().await;
        rig.crash().await;
        assert_eq!(delete(&world, "/producers/").await, 2);
        let world = lose_etcd(&world);
        let report = recovered(&world).await;
        assert!(report.partitions.iter().all(|p| p.snapshot.is_some()));
        assert_eq!(world.keys("/producers/").len(), 2, "they are made again");
        assert_eq!(findings(&world).await, [""; 0]);
        let rig = world.start_as(Some(2)).await;
        assert_goes_on(&rig, ledger, 88, 2, 2).await;
        assert_goes_on(&rig, ledger, 77, 4, 7).await;
        assert_goes_on(&rig, late, 77, 1, 2).await;
        rig.crash().await;
    });
}

fn keyed(key: u8, value: &str, sequence: i32) -> Bytes {
    let (id, sequence) = (ProducerId::new(77), Sequence::new(sequence));
    let mut builder = RecordBatchBuilder::new().producer(id, ProducerEpoch::ZERO, sequence);
    let record = NewRecord {
        timestamp: TimestampMs::new(1_700_000_000_000),
        key: Some(&[key]),
        value: Some(value.as_bytes()),
        headers: &[],
    };
    builder.push(record).unwrap();
    builder.build().unwrap()
}

#[test]
fn a_compacted_topic_comes_back_as_it_was_cleaned_after_the_backup() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let settings = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.1"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let new = NewTopic {
            name: TopicName::new("accounts").unwrap(),
            partitions: 1,
            config: TopicConfig::from_overrides(settings.into()).unwrap(),
        };
        let topic = rig.served.catalog.create(new).await.unwrap();
        let accounts = topic.partitions[0].id;
        let mut sequence = 0;
        let mut round = async |rig: &Rig| {
            for key in [1, 2, 1, 1, 3] {
                let sent = keyed(key, &format!("{key} at {sequence}"), sequence);
                rig.produce(accounts, &sent).await.unwrap();
                sequence += 1;
            }
        };
        for _ in 0..2 {
            round(&rig).await;
            rig.compact_all(accounts).await;
        }
        let cleaner = Cleaner::new(rig.context.clone());
        assert!(cleaner.clean(accounts).await.unwrap() > 0);
        back_up(&world, 1_700_000_000_000).await;
        for _ in 0..2 {
            round(&rig).await;
            rig.compact_all(accounts).await;
        }
        // Those of before the backup are rewritten again, and merged.
        assert!(cleaner.clean(accounts).await.unwrap() > 1);
        merge(&rig.context, accounts, 64 << 20).await.unwrap();
        round(&rig).await;
        rig.crash().await;
        // What is in memory is served until it leaves.
        let rig = world.start_as(Some(1)).await;
        let expected = read_all(&rig, accounts).await;
        assert_eq!(expected.len(), 5 + 3, "{expected:?}");
        rig.crash().await;
        for manifest in [true, false] {
            if !manifest {
                assert_eq!(delete(&world, "/accounts/0/manifest.kfm").await, 1);
                assert_eq!(delete(&world, "/producers/").await, 1);
            }
            let world = lose_etcd(&world);
            let report = recovered(&world).await;
            assert_eq!(report.partitions[0].missing, []);
            assert_eq!(findings(&world).await, [""; 0]);
            let rig = world.start_as(Some(2)).await;
            assert_eq!(read_all(&rig, accounts).await, expected, "{manifest}");
            let again = rig.produce(accounts, &keyed(3, "again", 24)).await;
            assert_eq!(again.unwrap().base_offset.get(), 24);
            rig.crash().await;
        }
    });
}

#[test]
fn a_topic_without_a_name_comes_back_under_an_invented_one_by_wish() {
    test(async {
        let world = World::new();
        let mut acknowledged = Acknowledged::default();
        let rig = world.start_as(Some(1)).await;
        let orders = rig.create("orders", 1).await;
        let deleted = rig.create("deleted", 1).await;
        acknowledged.produce(&rig, orders, 1).await;
        rig.produce(deleted, &one("deleted", None)).await.unwrap();
        rig.served.catalog.delete(deleted.topic).await.unwrap();
        acknowledged.produce(&rig, orders, 8).await;
        // Its floor is known, and so is that everything below was acknowledged.
        rig.context.heartbeat.notify_one();
        for _ in 0..200 {
            let space = Keyspace::new(NAME).unwrap();
            let tombstones = coord::keys::tombstone::span(&space);
            let kv: Arc<dyn Kv> = Arc::new(world.kv.clone());
            if range_all(&kv, tombstones).await.unwrap().entries.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rig.crash().await;
        // A takeover closes the session that holds them.
        let rig = world.start_as(Some(2)).await;
        back_up(&world, 1_700_000_000_000).await;
        let unnamed = rig.create("unnamed", 3).await;
        for id in [unnamed, at(unnamed, 2)] {
            acknowledged.produce(&rig, id, 2).await;
        }
        acknowledged.idempotent(&rig, at(unnamed, 2), 0..2).await;
        acknowledged.produce(&rig, orders, 2).await;
        rig.crash().await;
        let name = format!("recovered-{}", unnamed.topic);
        // Without the wish it is told how.
        let dry = Recover {
            dry_run: true,
            ..wanted()
        };
        let told = recover_with(&lose_etcd(&world), &dry).await.unwrap();
        let told = format!("{:?}", told.orphans);
        assert!(told.contains(&name), "{told}");
        assert!(
            !told.contains(&format!("recovered-{}", deleted.topic)),
            "{told}"
        );
        // Twice: no backup is made in between.
        for broker in [3, 1] {
            let world = lose_etcd(&world);
            let by_wish = Recover {
                recover_unnamed: true,
                ..wanted()
            };
            let report = recover_with(&world, &by_wish).await.unwrap();
            assert!(report.is_written, "{:?}", report.refused);
            let of_name = |topic: &&RecoveredTopic| topic.dir.name.as_str() == name;
            let topic = report.topics.iter().find(of_name).unwrap();
            assert_eq!(topic.origin, Origin::Wal);
            assert_eq!(topic.record.partition_count, 3);
            assert_eq!(report.topics.len(), 2);
            let rig = world.start_as(Some(broker)).await;
            acknowledged.assert_all(&rig).await;
            let again = one("again", Some((77, 1)));
            let again = rig.produce(at(unnamed, 2), &again).await.unwrap();
            assert_eq!(again.base_offset.get(), 3, "a retry");
            acknowledged.produce(&rig, at(unnamed, 1), 1).await;
            acknowledged.produce(&rig, unnamed, 1).await;
            if broker == 1 {
                rig.compact_all(unnamed).await;
                assert!(!world.keys(&format!("/{name}/0/segment")).is_empty());
                rig.collect().await;
                acknowledged.assert_all(&rig).await;
            }
            rig.crash().await;
        }
    });
}

/// Objects below the floor that the backup knew are gone, and more.
#[test]
fn floors_are_those_of_the_bucket_and_not_of_the_backup() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let orders = rig.create("orders", 1).await;
        let session = rig.context.session.id;
        let mut acknowledged = Acknowledged::default();
        let turn = async |acknowledged: &mut Acknowledged| {
            acknowledged.produce(&rig, orders, 4).await;
            rig.compact_all(orders).await;
            rig.collect().await;
        };
        turn(&mut acknowledged).await;
        back_up(&world, 1_700_000_000_000).await;
        let floor = async |world: &World| {
            let ground = ground(world);
            let found = ground.kv.get(floor::key(&ground.space, session)).await;
            let found = seen::<FloorRecord>(found.unwrap().as_ref()).unwrap();
            found.unwrap().record.floor.get()
        };
        let backed_up = floor(&world).await;
        turn(&mut acknowledged).await;
        acknowledged.produce(&rig, orders, 1).await;
        rig.crash().await;
        let lost = lose_etcd(&world);
        recovered(&lost).await;
        let keys = lost.keys(&session.to_string()).into_iter();
        let sequences = keys.filter_map(|key| {
            let name = key.rsplit('/').next()?.strip_suffix(".wal")?;
            name.parse::<u64>().ok().filter(|sequence| *sequence > 0)
        });
        let lowest = sequences.min().unwrap();
        assert!(lowest > backed_up && backed_up > 1, "{lowest} {backed_up}");
        assert_eq!(floor(&lost).await, lowest);
        let rig = lost.start_as(Some(2)).await;
        acknowledged.assert_all(&rig).await;
        rig.crash().await;
    });
}

/// A listing comes in pages; both roots have more than one here.
#[test]
fn a_bucket_of_many_pages_is_read_to_its_end() {
    test(async {
        let world = World::new();
        let mut acknowledged = Acknowledged::default();
        let rig = world.start_as(Some(1)).await;
        let orders = rig.create("orders", 1).await;
        back_up(&world, 1_700_000_000_000).await;
        acknowledged.produce(&rig, orders, 3).await;
        rig.compact_all(orders).await;
        acknowledged.produce(&rig, orders, 3).await;
        rig.crash().await;
        let ground = ground(&world);
        for root in [ground.keys.segments_root(), ground.keys.wal_root()] {
            for n in 0..1_100 {
                let key = format!("{root}!/{n}");
                let body = Body::from(Bytes::from_static(b"x"));
                ground
                    .objects
                    .put(&key, body, PutCondition::None)
                    .await
                    .unwrap();
            }
        }
        let world = lose_etcd(&world);
        let report = recovered(&world).await;
        assert_eq!(report.partitions[0].end, Offset::new(6));
        let rig = world.start_as(Some(1)).await;
        acknowledged.assert_all(&rig).await;
        rig.crash().await;
    });
}
