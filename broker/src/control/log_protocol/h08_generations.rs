//! H8: no key is ever used by two topics, so no late PUT or DELETE can matter.

use segment::kfs::KfsObject;
use segment::{Offset, TimestampMs};
use store::faulty::Operation;
use store::{Body, ObjectKey, ObjectStore, PutCondition};

use super::*;

const OLD: &str = "kafscale/default/orders/0/";
const FIRST: &str = "kafscale/default/orders/0/segment-00000000000000000000.kfs";

/// A DELETE of the deleted topic's segment timed out at its sender and is still on its way. The
/// topic is created again, written, compacted, and its WAL goes; then the DELETE arrives.
#[test]
fn h08_a_late_delete_meets_nothing_of_the_next_topic() {
    closes(
        Rule::GenerationsHavePrefixes,
        async || {
            let (world, rig, old) = orders(None, 2).await;
            rig.compact_all(old).await;
            let mut gate = world.stop(Operation::Delete, FIRST, 0);
            let late = world.faulty.delete(vec![ObjectKey::new(FIRST).unwrap()]);
            let late = spawn_local(late);
            gate.reached().await;
            rig.served.catalog.delete(old.topic).await.unwrap();
            while !world.keys(OLD).is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let id = rig.create("orders", 1).await;
            rig.produce_many(id, 2).await;
            rig.compact_all(id).await;
            rig.collect().await;
            gate.open();
            late.await.unwrap();
            is_there_after_a_crash(&world, rig, id, 10).await
        },
        Violation::LogStart {
            expected: 0,
            found: 10,
        },
    );
}

/// Under the prefix of the name lies a segment of an earlier life of the bucket. A new topic would
/// take it for a part of its own log.
#[test]
fn h08_a_new_topic_never_adopts_objects() {
    closes(
        Rule::CreateSkipsUsedPrefixes,
        async || {
            let world = World::new();
            let rig = world.start().await;
            let alien = KfsObject::build(Offset::new(2), TimestampMs::ZERO, vec![batch(2, 8)]);
            let key = format!("{OLD}segment-00000000000000000002.kfs");
            let body = Body::new(alien.unwrap().chunks);
            let objects = &rig.context.objects;
            objects.put(&key, body, PutCondition::None).await.unwrap();
            let id = rig.create("orders", 1).await;
            for _ in 0..2 {
                rig.produce_many(id, 1).await;
                rig.compact_all(id).await;
            }
            is_there_after_a_crash(&world, rig, id, 10).await
        },
        Violation::LogStart {
            expected: 0,
            found: 2,
        },
    );
}
