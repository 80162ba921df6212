//! H14: a committed offset changes only by a client's commit, in the order acknowledged.

use coord::groups::{CommittedOffset, GroupId, GroupWrite, OffsetKey, Persisted, WriteOp};
use coord::keys::group_offset::{self, GroupOffsetRecord};
use coord::keys::seen;
use coord::kv::Kv;
use coord::kv::simulated::Fault;
use futures_channel::oneshot;
use segment::{LeaderEpoch, Offset, TimestampMs};

use super::*;
use crate::shard::slot_of_group;

const GROUP: &str = "billing";

async fn commit(rig: &Rig, id: TopicPartition, offset: i64) -> Persisted {
    let key = OffsetKey {
        group: GroupId::new(GROUP),
        partition: id,
    };
    let offset = CommittedOffset {
        offset: Offset::new(offset),
        leader_epoch: LeaderEpoch::NONE,
        metadata: "".into(),
        commit_timestamp: TimestampMs::ZERO,
        expire_timestamp: None,
    };
    let write = GroupWrite {
        ops: vec![WriteOp::PutOffset(key, offset)],
        bytes: 0,
    };
    let (reply, answer) = oneshot::channel();
    rig.served.slots.persist(slot_of_group(GROUP), write, reply);
    answer.await.expect("the outcome is known")
}

async fn is_committed(world: &World, rig: &Rig, id: TopicPartition, expected: i64) -> Verdict {
    let key = group_offset::key(&rig.context.space, GROUP, id);
    let stored = world.kv.get(key).await.unwrap();
    let stored = seen::<GroupOffsetRecord>(stored.as_ref()).unwrap();
    match stored.map(|seen| seen.record.offset.get()) {
        Some(found) if found == expected => Ok(()),
        found => Err(Violation::Committed { found }),
    }
}

/// The request that commits 10 is delayed and sent again; 20 is committed; then the first request
/// arrives.
#[test]
fn h14_a_late_commit_takes_nothing_back() {
    closes(
        Rule::WrittenAsRead,
        async || {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            world.kv.inject(Fault::Delayed);
            assert_eq!(commit(&rig, id, 10).await, Persisted::Done);
            assert_eq!(commit(&rig, id, 20).await, Persisted::Done);
            assert!(world.kv.land_delayed());
            is_committed(&world, &rig, id, 20).await
        },
        Violation::Committed { found: Some(10) },
    );
}

/// The request is lost, and nobody tells: only a reading shows that nothing was stored.
#[test]
fn h14_an_unknown_commit_is_read_back() {
    closes(
        Rule::UnknownOutcomeIsRead,
        async || {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            world.kv.inject(Fault::RequestLost);
            assert_eq!(commit(&rig, id, 10).await, Persisted::Done);
            is_committed(&world, &rig, id, 10).await
        },
        Violation::Committed { found: None },
    );
}

/// A coordinator that others may have replaced has committed offsets in memory still.
#[test]
fn h14_offsets_are_told_only_by_a_proven_session() {
    closes(
        Rule::ProofExpires,
        async || {
            let world = World::new();
            let old = world.start_as(Some(1)).await;
            old.lose_lease().await;
            old.context.proof.run_out();
            let slot = slot_of_group(GROUP);
            let read = old.context.shards[0]
                .call_task(move |shard| async move { shard.slot_read(slot, |_| ()).await });
            match read.await.unwrap() {
                Err(_) => Ok(()),
                Ok(()) => Err(Violation::StaleRead),
            }
        },
        Violation::StaleRead,
    );
}
