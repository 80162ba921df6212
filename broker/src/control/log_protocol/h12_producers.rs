//! H12: a retry is known, whatever has become of the first copy.

use segment::Offset;
use store::faulty::Operation;

use super::*;
use crate::start::tests::idempotent;

/// The first batch of a producer is sent again: it must be answered with its offset.
async fn retry(rig: &Rig, id: TopicPartition) -> Verdict {
    let again = rig.produce(id, &idempotent(0)).await.unwrap();
    match again.base_offset.get() {
        0 => Ok(()),
        offset => Err(Violation::Duplicate { offset }),
    }
}

/// The acknowledgement is lost, the batch is compacted and its WAL object deleted, the owner dies,
/// and the client sends again.
#[test]
fn h12_a_retry_is_known_after_a_compaction() {
    closes(
        Rule::ProducersAreSnapshotted,
        async || {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            rig.produce(id, &idempotent(0)).await.unwrap();
            rig.compact_all(id).await;
            rig.collect().await;
            rig.crash().await;
            retry(&world.start().await, id).await
        },
        Violation::Duplicate { offset: 1 },
    );
}

/// The same before a compaction: the directories tell who wrote what.
#[test]
fn h12_a_retry_is_known_from_the_wal() {
    closes(
        Rule::DirectoriesReplayProducers,
        async || {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            rig.produce(id, &idempotent(0)).await.unwrap();
            rig.crash().await;
            retry(&world.start().await, id).await
        },
        Violation::Duplicate { offset: 1 },
    );
}

/// Whether the second copy of a batch of one record has arrived: it has joined, or was appended.
async fn is_twice(rig: &Rig, id: TopicPartition) -> bool {
    let arrived = rig.context.shard_of(id).call(move |shard| {
        let end = shard.with_log(id, |log| log.log_end());
        shard.metrics.produce_duplicates.get() == 1 || end == Some(Offset::new(2))
    });
    arrived.await.unwrap()
}

/// The batch is on its way to the store when the client sends it again.
#[test]
fn h12_a_retry_joins_the_batch_in_flight() {
    closes(
        Rule::RetriesJoin,
        async || {
            let world = World::new();
            let rig = Rc::new(world.start().await);
            let id = rig.create("orders", 1).await;
            let send = || {
                let rig = rig.clone();
                spawn_local(async move { rig.produce(id, &idempotent(0)).await })
            };
            let mut gate = world.stop(Operation::Put, &wal_of(&rig), 0);
            let first = send();
            gate.reached().await;
            let again = send();
            while !is_twice(&rig, id).await {
                tokio::task::yield_now().await;
            }
            gate.open();
            assert_eq!(first.await.unwrap().unwrap().base_offset.get(), 0);
            match again.await.unwrap().unwrap().base_offset.get() {
                0 => Ok(()),
                offset => Err(Violation::Duplicate { offset }),
            }
        },
        Violation::Duplicate { offset: 1 },
    );
}
