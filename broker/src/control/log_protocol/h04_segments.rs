//! H4: whoever writes the key of a segment, however late, writes the same bytes; what is beside it
//! is derived, or a hint.

use coord::keys::cluster::CommitMode;
use segment::keys::TopicDir;
use segment::kfs::KfsObject;
use segment::manifest::Manifest;
use segment::{Offset, TimestampMs, TopicName};
use store::faulty::{Fault, Operation, Rule as FaultRule};
use store::{Body, PutCondition};

use super::super::compactor::compact;
use super::super::loads::load_spans;
use super::super::merge::merge;
use super::*;
use crate::partition::ColdPlace;

const SEGMENT: &str = "kafscale/default/orders/0/segment-00000000000000000000.kfs";

/// On a store without conditional writes S0 is about to write [0, 10). S1 takes over with five
/// records more, compacts, and the WAL goes. Then the write of S0 lands on the same key.
#[test]
fn h04_a_late_segment_never_shortens_one() {
    closes(
        Rule::PendingIntentFirst,
        async || {
            let world = World {
                mode: CommitMode::Guarded,
                ..World::new()
            };
            let rule = FaultRule::always(Operation::Put, Fault::IgnoreCondition);
            world.faulty.add_rule(rule);
            let old = Rc::new(world.start_as(Some(1)).await);
            let id = old.create("orders", 1).await;
            old.produce_many(id, 2).await;
            let mut gate = world.stop(Operation::Put, SEGMENT, 0);
            let zombie = old.clone();
            let late = spawn_local(async move { compact(&zombie.context, id, 64 << 20).await });
            gate.reached().await;
            old.lose_lease().await;
            let new = world.start_as(Some(2)).await;
            new.produce_many(id, 1).await;
            new.compact_all(id).await;
            new.collect().await;
            gate.open();
            assert!(late.await.unwrap().is_err(), "its session is over");
            new.crash().await;
            let next = world.start_as(Some(3)).await;
            has_all(&next, id, 15).await
        },
        Violation::LogStart {
            expected: 0,
            found: 15,
        },
    );
}

/// There is an object under the segment's key that holds as many records, and others.
#[test]
fn h04_an_alien_segment_is_not_adopted() {
    closes(
        Rule::AdoptOnlyOurBytes,
        async || {
            let (world, rig, id) = orders(None, 2).await;
            let alien = KfsObject::build(Offset::ZERO, TimestampMs::ZERO, vec![batch(0, 10)]);
            let alien = Body::new(alien.unwrap().chunks);
            let objects = &rig.context.objects;
            let put = objects.put(SEGMENT, alien, PutCondition::None).await;
            put.unwrap();
            if let Err(refused) = compact(&rig.context, id, 64 << 20).await {
                let refused = refused.to_string();
                assert!(refused.contains("exists and has other bytes"), "{refused}");
            }
            rig.collect().await;
            is_there_after_a_crash(&world, rig, id, 10).await
        },
        Violation::OtherRecords { found: vec![0] },
    );
}

/// S0 is about to write eight segments as one. S1 takes over, finishes that, and merges more into
/// the same key; the small ones go. Then the write of S0 lands.
async fn late_merge(world: World) -> Verdict {
    let old = Rc::new(world.start_as(Some(1)).await);
    let id = old.create("orders", 1).await;
    small_segments(&old, id, 8).await;
    let mut gate = world.stop(Operation::Put, SEGMENT, 0);
    let zombie = old.clone();
    let late = spawn_local(async move { merge(&zombie.context, id, 64 << 20).await });
    let stopped = tokio::select! {
        () = gate.reached() => true,
        () = until_finished(&late) => false,
    };
    old.lose_lease().await;
    let new = world.start_as(Some(2)).await;
    while merge(&new.context, id, 64 << 20).await.unwrap().is_some() {}
    small_segments(&new, id, 8).await;
    while merge(&new.context, id, 64 << 20).await.unwrap().is_some() {}
    if stopped {
        assert_eq!(world.keys(".kfs").len(), 1, "all are one");
    }
    gate.open();
    let _ = late.await.unwrap();
    new.crash().await;
    let next = world.start_as(Some(3)).await;
    has_all(&next, id, 80).await
}

async fn small_segments(rig: &Rig, id: TopicPartition, count: usize) {
    for _ in 0..count {
        rig.produce_many(id, 1).await;
        rig.compact_all(id).await;
    }
}

#[test]
fn h04_a_late_merge_meets_another_etag() {
    closes(
        Rule::MergeOverWhatWasRead,
        async || late_merge(World::new()).await,
        Violation::LogStart {
            expected: 0,
            found: 80,
        },
    );
}

#[test]
fn h04_nothing_is_merged_without_conditional_writes() {
    closes(
        Rule::NoMergeWithoutConditions,
        async || {
            let world = World {
                mode: CommitMode::Guarded,
                ..World::new()
            };
            let rule = FaultRule::always(Operation::Put, Fault::IgnoreCondition);
            world.faulty.add_rule(rule);
            late_merge(world).await
        },
        Violation::LogStart {
            expected: 0,
            found: 80,
        },
    );
}

/// The index of another segment lies beside the segment: a late write of a session that is over.
#[test]
fn h04_an_index_that_does_not_match_is_built_again() {
    closes(
        Rule::IndexIsDerived,
        async || {
            let (_world, rig, id) = orders(None, 2).await;
            rig.compact_all(id).await;
            let place = move |shard: &Rc<crate::shard::Shard>| {
                shard.with_log(id, |log| log.place(Offset::ZERO)).flatten()
            };
            let place = rig.context.shard_of(id).call(place).await.unwrap();
            let Some(ColdPlace::Index {
                index_key,
                key,
                bytes,
                ..
            }) = place
            else {
                panic!("it lies in a segment: {place:?}");
            };
            let objects = &rig.context.objects;
            let other = KfsObject::build(Offset::new(5), TimestampMs::ZERO, vec![batch(5, 1)]);
            let other = Body::from(other.unwrap().index.encode()[..20].to_vec());
            let put = objects.put(&index_key, other, PutCondition::None).await;
            put.unwrap();
            match load_spans(objects, &index_key, &key, bytes).await {
                Ok(spans) => assert_eq!(spans[0].first, Offset::ZERO),
                Err(_) => return Err(Violation::ReadFails),
            }
            has_all(&rig, id, 10).await
        },
        Violation::ReadFails,
    );
}

/// The manifest tells of another segment under a base than the one that is there.
#[test]
fn h04_a_manifest_is_only_a_hint() {
    closes(
        Rule::ManifestIsAHint,
        async || {
            let (world, rig, id) = orders(None, 2).await;
            rig.compact_all(id).await;
            let owned = rig.context.owned(id).unwrap();
            let state = owned.state.lock().await;
            let mut segments = state.segments.clone();
            segments[0].end = Offset::new(5);
            segments[0].bytes -= 1;
            let record = &state.seen.record;
            let manifest = Manifest {
                partition: id,
                leader_epoch: record.leader_epoch,
                compacted_end: record.compacted_end,
                log_start: record.log_start,
                segments,
            };
            drop(state);
            let dir = TopicDir::new(TopicName::new("orders").unwrap(), 0);
            let key = rig.context.keys.manifest(&dir, id.partition);
            let body = Body::from(manifest.encode());
            let objects = &rig.context.objects;
            objects.put(&key, body, PutCondition::None).await.unwrap();
            is_there_after_a_crash(&world, rig, id, 10).await
        },
        Violation::LogStart {
            expected: 0,
            found: 10,
        },
    );
}
