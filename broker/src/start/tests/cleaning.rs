//! Log compaction of whole partitions: of each key the latest record stays, whatever interrupts it.

use super::*;
use crate::control::cleaner::{Cleaner, resolve};
use crate::control::merge::merge;
use segment::record::{DecodeLimits, RecordSet};

/// A batch of records with these keys, each valued by `round`; 0 is a tombstone.
fn keyed(keys: &[u8], round: u8) -> bytes::Bytes {
    let (mut builder, value) = (RecordBatchBuilder::new(), [round]);
    for key in keys {
        let record = NewRecord {
            timestamp: TimestampMs::new(1_700_000_000_000),
            key: Some(&[*key]),
            value: (round > 0).then_some(value.as_slice()),
            headers: &[],
        };
        builder.push(record).unwrap();
    }
    builder.build().unwrap()
}

impl Rig {
    async fn compacted_topic(&self, name: &str) -> TopicPartition {
        let settings = [
            ("cleanup.policy", "compact"),
            ("delete.retention.ms", "60000"),
            ("min.cleanable.dirty.ratio", "0.1"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let new = NewTopic {
            name: TopicName::new(name).unwrap(),
            partitions: 1,
            config: TopicConfig::from_overrides(settings.into()).unwrap(),
        };
        let topic = self.served.catalog.create(new).await.unwrap();
        TopicPartition::new(topic.id, PartitionIndex::ZERO)
    }

    /// Every record by way of cold reads: offset, key, value.
    async fn records(&self, id: TopicPartition) -> Vec<(i64, u8, u8)> {
        let (mut at, mut all) = (0, Vec::new());
        while at < self.high_watermark(id).unwrap() {
            let (reply, answer) = futures_channel::oneshot::channel();
            let read = move |shard: &Rc<Shard>| {
                let read = shard.clone().read(id, Offset::new(at), 1, true);
                crate::runtime::spawn(async move {
                    let _ = reply.send(read.await);
                });
            };
            self.context.shard_of(id).call(read).await.unwrap();
            for batch in answer.await.unwrap().unwrap() {
                let header = BatchHeader::parse(&batch).unwrap();
                assert!(header.last_offset().get() >= at, "a reader always moves on");
                at = header.last_offset().get() + 1;
                let set = RecordSet::decode(&batch, &DecodeLimits::default()).unwrap();
                all.extend(set.iter().map(|record| {
                    let record = record.unwrap();
                    let value = record.value.map_or(0, |value| value[0]);
                    (record.offset.get(), record.key.unwrap()[0], value)
                }));
            }
        }
        all
    }

    async fn rounds(&self, id: TopicPartition, rounds: std::ops::RangeInclusive<u8>) {
        for round in rounds {
            self.produce(id, &keyed(&[1, 2, 3], round)).await.unwrap();
            self.produce(id, &keyed(&[10 + round], round))
                .await
                .unwrap();
            self.compact_all(id).await;
        }
    }
}

#[test]
fn of_each_key_the_latest_record_stays_where_it_was() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.compacted_topic("accounts").await;
        rig.rounds(id, 1..=4).await;
        // Not in a segment yet: not touched.
        rig.produce(id, &keyed(&[1], 9)).await.unwrap();
        let before = rig.records(id).await;
        assert_eq!(before.len(), 17);
        let cleaner = Cleaner::new(rig.context.clone());
        assert_eq!(
            cleaner.clean(id).await.unwrap(),
            3,
            "the last segment loses nothing"
        );
        let expected = vec![
            (3, 11, 1),
            (7, 12, 2),
            (11, 13, 3),
            (12, 1, 4),
            (13, 2, 4),
            (14, 3, 4),
            (15, 14, 4),
            (16, 1, 9),
        ];
        assert_eq!(cleaner.clean(id).await.unwrap(), 0, "nothing is dirty");
        // What is in memory is served until it leaves; here it leaves with the broker.
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.records(id).await, expected);
        rig.compact_all(id).await;
        let cleaner = Cleaner::new(rig.context.clone());
        assert_eq!(cleaner.clean(id).await.unwrap(), 1);
        let mut later = expected.clone();
        later.remove(3);
        assert_eq!(rig.records(id).await, later, "read from the store");
        // Merged segments are cleaned like any other.
        rig.rounds(id, 5..=8).await;
        assert!(merge(&rig.context, id, 64 << 20).await.unwrap().is_some());
        cleaner.clean(id).await.unwrap();
        rig.crash().await;
        let rig = world.start().await;
        let keys: Vec<u8> = rig.records(id).await.iter().map(|row| row.1).collect();
        assert_eq!(keys, [11, 12, 13, 14, 15, 16, 17, 1, 2, 3, 18]);
        rig.crash().await;
    });
}

#[test]
fn a_tombstone_takes_its_key_away_and_stays_for_its_time() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.compacted_topic("accounts").await;
        rig.rounds(id, 1..=2).await;
        rig.produce(id, &keyed(&[2], 0)).await.unwrap();
        rig.compact_all(id).await;
        let cleaner = Cleaner::new(rig.context.clone());
        assert!(cleaner.clean(id).await.unwrap() > 0);
        rig.crash().await;
        let rig = world.start().await;
        let left = rig.records(id).await;
        let of_key: Vec<_> = left.iter().filter(|row| row.1 == 2).collect();
        assert_eq!(of_key, [&(8, 2, 0)]);
        rig.crash().await;
    });
}

/// A segment that lost all its records is as long as any other that did, and keeps its key when it is merged: what is in
/// memory of one was taken for the next (seed 221 of the simulator), whose later offsets nobody could read then.
#[test]
fn what_is_in_memory_of_a_segment_is_not_read_in_the_place_of_another() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.compacted_topic("accounts").await;
        for round in 1..=8 {
            rig.produce(id, &keyed(&[1], round)).await.unwrap();
            rig.compact_all(id).await;
        }
        assert_eq!(
            Cleaner::new(rig.context.clone()).clean(id).await.unwrap(),
            7
        );
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.records(id).await, [(7, 1, 8)], "they are in memory now");
        assert!(merge(&rig.context, id, 64 << 20).await.unwrap().is_some());
        rig.produce(id, &keyed(&[1], 9)).await.unwrap();
        rig.compact_all(id).await;
        assert_eq!(
            Cleaner::new(rig.context.clone()).clean(id).await.unwrap(),
            1
        );
        assert_eq!(rig.records(id).await, [(8, 1, 9)]);
        rig.crash().await;
    });
}

/// H4: a rewrite that was interrupted is ended by the next owner, and a late PUT of it is harmless.
#[test]
fn h4_a_rewrite_that_was_interrupted_is_ended_by_the_next_owner() {
    for lands in [false, true] {
        test(async move {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.compacted_topic("accounts").await;
            rig.rounds(id, 1..=3).await;
            let before = rig.records(id).await;
            let first = world.keys(".kfs")[0].clone();
            let fault = match lands {
                true => Fault::HangAfter,
                false => Fault::HangBefore,
            };
            world
                .faulty
                .add_rule(Rule::always(Operation::Put, fault).prefix(first.clone()));
            let old = rig
                .context
                .objects
                .get(&first, store::GetRange::Full)
                .await
                .unwrap();
            let cleaner = Cleaner::new(rig.context.clone());
            let cleaning = tokio::time::timeout(Duration::from_millis(300), cleaner.clean(id));
            assert!(cleaning.await.is_err(), "it hangs");
            world.faulty.clear();
            rig.crash().await;
            let rig = world.start().await;
            let owned = rig.context.owned(id).unwrap();
            assert!(owned.state.lock().await.seen.record.intent.is_some());
            resolve(&rig.context, id).await.unwrap();
            assert_eq!(owned.state.lock().await.seen.record.intent, None);
            let now = rig.records(id).await;
            match lands {
                true => assert!(now.len() < before.len()),
                false => assert_eq!(now, before),
            }
            let late = store::ObjectStore::put(
                &world.memory,
                store::ObjectKey::new(first).unwrap(),
                store::Body::from(bytes::Bytes::from_static(b"late")),
                store::PutCondition::IfMatch(old.etag),
            );
            assert!(matches!(late.await, Err(store::PutError::Mismatch { .. })));
            rig.produce(id, &keyed(&[1], 9)).await.unwrap();
            rig.compact_all(id).await;
            let cleaner = Cleaner::new(rig.context.clone());
            assert!(cleaner.clean(id).await.unwrap() > 0);
            rig.crash().await;
            let rig = world.start().await;
            let keys: Vec<u8> = rig.records(id).await.iter().map(|row| row.1).collect();
            assert_eq!(keys, [11, 12, 2, 3, 13, 1]);
            rig.crash().await;
        });
    }
}

/// A pass that cannot look at every segment ends there, and begins anew later.
#[test]
fn what_was_passed_over_is_not_taken_for_clean() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.compacted_topic("accounts").await;
        rig.rounds(id, 1..=3).await;
        rig.produce(id, &keyed(&[2], 0)).await.unwrap();
        // A compaction is under way: nothing may be rewritten beside it.
        let denied = Rule::always(Operation::Put, Fault::Denied);
        world
            .faulty
            .add_rule(denied.prefix("kafscale/default/accounts/"));
        assert!(compact(&rig.context, id, 64 << 20).await.is_err());
        world.faulty.clear();
        let cleaner = Cleaner::new(rig.context.clone());
        assert_eq!(cleaner.clean(id).await.unwrap(), 0);
        rig.compact_all(id).await;
        assert!(cleaner.clean(id).await.unwrap() > 0);
        rig.crash().await;
        let rig = world.start().await;
        let left: Vec<(u8, u8)> = rig.records(id).await.iter().map(|r| (r.1, r.2)).collect();
        assert_eq!(left, [(11, 1), (12, 2), (1, 3), (3, 3), (13, 3), (2, 0)]);
        rig.crash().await;
    });
}
