//! Large sections: an object of their own, named by a WAL object once it is durable.

use super::*;
use crate::partition::LARGE_SECTION_BYTES;
use segment::SessionId;

/// A batch of one record of so many bytes.
fn large(bytes: u64) -> bytes::Bytes {
    let value = vec![9; bytes as usize];
    let mut builder = RecordBatchBuilder::new();
    builder
        .push(NewRecord {
            timestamp: TimestampMs::new(1_700_000_000_000),
            key: None,
            value: Some(&value),
            headers: &[],
        })
        .unwrap();
    builder.build().unwrap()
}

/// H3: what is large is served, moved and collected like the rest, and no segment has its key before
/// it is acknowledged.
#[test]
fn h3_a_large_section_has_an_object_of_its_own_and_becomes_a_segment_like_any_other() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        rig.produce(id, &batch(0, 5)).await.unwrap();
        let produced = rig.produce(id, &large(LARGE_SECTION_BYTES)).await.unwrap();
        assert_eq!(produced.base_offset.get(), 5);
        rig.produce(id, &batch(0, 5)).await.unwrap();
        assert_eq!(world.keys("own-").len(), 1);
        assert!(world.keys("kafscale/default/").is_empty());
        assert_eq!(rig.scan(id, 0).await, [0, 5, 6]);
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 0).await, [0, 5, 6]);
        assert_eq!(rig.produce_many(id, 1).await, [11]);
        rig.produce(id, &large(LARGE_SECTION_BYTES)).await.unwrap();
        assert_eq!(world.keys("own-").len(), 2);
        rig.compact_all(id).await;
        rig.collect().await;
        assert_eq!(world.keys("own-"), [] as [String; 0]);
        assert_eq!(rig.scan(id, 0).await, [0, 5, 6, 11, 16]);
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 0).await, [0, 5, 6, 11, 16]);
        rig.finish().await;
    });
}

#[test]
fn while_a_large_section_is_stored_only_its_partition_waits() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let slow = rig.create("slow", 1).await;
        let fast = rig.create("fast", 1).await;
        let hang = Rule::always(Operation::Put, Fault::ErrorBefore);
        let session: SessionId = rig.context.session.id;
        let prefix = rig
            .context
            .keys
            .session_prefix(rig.context.node.id, session);
        world.faulty.add_rule(hang.prefix(format!("{prefix}own-")));
        let bytes = large(LARGE_SECTION_BYTES);
        let waiting = rig.produce(slow, &bytes);
        let behind = async {
            // Sealed after it: it waits too, in its place.
            tokio::time::sleep(Duration::from_millis(50)).await;
            rig.produce(slow, &batch(0, 1)).await
        };
        let others = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let bases = rig.produce_many(fast, 20).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(rig.high_watermark(slow), Some(0));
            world.faulty.clear();
            bases
        };
        let (large, behind, bases) = tokio::join!(waiting, behind, others);
        assert_eq!(large.unwrap().base_offset.get(), 0);
        assert_eq!(behind.unwrap().base_offset.get(), 1);
        assert_eq!(bases.len(), 20);
        assert_eq!(rig.scan(slow, 0).await, [0, 1]);
        rig.finish().await;
    });
}

/// An object that no WAL object names holds nothing: it was never acknowledged.
#[test]
fn an_object_of_its_own_that_is_never_named_is_garbage() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let bases = rig.produce_many(id, 2).await;
        let key = rig
            .context
            .keys
            .own(rig.context.node.id, rig.context.session.id, 0);
        let rule = Rule::always(Operation::Put, Fault::HangAfter).prefix(key.clone());
        world.faulty.add_rule(rule);
        let bytes = large(LARGE_SECTION_BYTES);
        let produced = rig.produce(id, &bytes);
        assert!(
            tokio::time::timeout(Duration::from_millis(300), produced)
                .await
                .is_err()
        );
        assert_eq!(world.keys("own-"), std::slice::from_ref(&key));
        rig.crash().await;
        world.faulty.clear();
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 0).await, bases);
        assert_eq!(rig.produce_many(id, 1).await, [10]);
        rig.compact_all(id).await;
        rig.collect().await;
        assert_eq!(world.keys("own-"), [] as [String; 0]);
        rig.finish().await;
    });
}
