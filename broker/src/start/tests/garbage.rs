//! What is left when nothing is needed any more.

use super::*;
use segment::keys::ObjectKey as Named;

/// Objects under the WAL prefix but the cluster's, first objects and fences.
fn rest(world: &World, rig: &Rig) -> Vec<String> {
    let objects = world.memory.objects();
    let is_kept = |key: &str, bytes: &[u8]| match rig.context.keys.parse(key) {
        Some(Named::Wal { .. }) => {
            let kind = WalTrailer::parse(bytes).map(|trailer| trailer.header.kind);
            matches!(kind, Ok(WalKind::Open | WalKind::Fence))
        }
        other => matches!(other, Some(Named::Cluster)),
    };
    let under = objects
        .iter()
        .filter(|(key, _)| key.as_str().starts_with("kafscale-wal/"));
    let left = under.filter(|(key, bytes)| !is_kept(key.as_str(), bytes));
    left.map(|(key, _)| key.as_str().to_owned()).collect()
}

#[test]
fn a_cluster_whose_topics_are_all_deleted_keeps_only_cluster_open_and_fence_objects() {
    test(async {
        let world = World::new();
        let one = world.start_as(Some(1)).await;
        let orders = one.create("orders", 4).await;
        let payments = one.create("payments", 1).await;
        for index in 0..4 {
            let id = TopicPartition::new(orders.topic, PartitionIndex::new(index));
            one.produce_many(id, 30).await;
        }
        one.produce(payments, &idempotent(0)).await.unwrap();
        one.compact_all(payments).await;
        one.context.heartbeat.notify_one();
        one.produce_many(payments, 2).await;
        one.crash().await;
        let two = world.start_as(Some(2)).await;
        let three = world.start_as(Some(3)).await;
        let moved = async {
            while two.context.owned(payments).is_none() && three.context.owned(payments).is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), moved)
            .await
            .unwrap();
        assert!(!rest(&world, &two).is_empty());
        for id in [orders, payments] {
            two.served.catalog.delete(id.topic).await.unwrap();
        }
        let swept = async {
            while !rest(&world, &two).is_empty() {
                two.collect().await;
                three.collect().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let swept = tokio::time::timeout(Duration::from_secs(20), swept).await;
        assert!(swept.is_ok(), "left: {:?}", rest(&world, &two));
        assert!(world.keys("kafscale/default/").is_empty());
        two.finish().await;
        three.finish().await;
    });
}
