//! H9: nothing is deleted from stale or missing knowledge.

use coord::keys::Keyspace;
use coord::keys::cluster::{ClusterRecord, CommitMode};
use coord::keys::plan;
use coord::kv::Kv;
use coord::kv::simulated::Simulated;
use segment::TimestampMs;
use std::sync::Arc;
use store::faulty::Operation;

use super::super::ownership::release;
use super::super::session::SessionError;
use super::*;

/// The broker that collects for all, which owns nothing, and sessions beside it.
async fn collector(world: &World) -> (Rc<Rig>, Stage) {
    let mut rig = world.start_as(Some(0)).await;
    rig.stand_still();
    (Rc::new(rig), Stage::over(world).await)
}

/// A third party has read that nobody names S1. S1 takes P and acknowledges; then the third party
/// lists what is there.
#[test]
fn h09_objects_of_a_live_session_are_deleted_by_nobody_else() {
    closes(
        Rule::OnlyOwnersDeleteLive,
        async || {
            let world = World::new();
            let (third, stage) = collector(&world).await;
            let s1 = stage.session(1).await;
            let mut gate = world.stop(Operation::List, "kafscale-wal/default/", 0);
            let collecting = third.clone();
            let pass = spawn_local(async move { collecting.collect().await });
            gate.reached().await;
            stage.take(s1, &[0]).await;
            stage.flush(s1, 1, &[(0, 0, 3)]).await.unwrap();
            gate.open();
            pass.await.unwrap();
            stage.die(s1).await;
            let s2 = stage.session(2).await;
            loads_all(&stage.take(s2, &[0]).await, 0, 3)
        },
        Violation::Lost {
            acknowledged: 3,
            found: 0,
        },
    );
}

/// S1 takes P, acknowledges and dies between two readings of the third party: what it knows of
/// sessions must not be newer than what it knows of records.
#[test]
fn h09_sessions_are_read_before_records() {
    closes(
        Rule::SessionsBeforeRecords,
        async || {
            for readings in [1, 2] {
                let world = World::new();
                let (third, stage) = collector(&world).await;
                let s1 = stage.session(1).await;
                let mut gate = world.readings.stop(readings);
                let collecting = third.clone();
                let pass = spawn_local(async move { collecting.collect().await });
                gate.reached().await;
                stage.take(s1, &[0]).await;
                stage.flush(s1, 1, &[(0, 0, 3)]).await.unwrap();
                stage.die(s1).await;
                gate.open();
                pass.await.unwrap();
                let s2 = stage.session(2).await;
                loads_all(&stage.take(s2, &[0]).await, 0, 3)?;
            }
            Ok(())
        },
        Violation::Lost {
            acknowledged: 3,
            found: 0,
        },
    );
}

/// The metadata store is restored from a backup that is older than a session, a broker collects,
/// and the present metadata comes back.
#[test]
fn h09_objects_of_unknown_sessions_are_never_deleted() {
    closes(
        Rule::UnknownSessionsStay,
        async || {
            let (world, rig, id) = orders(None, 3).await;
            let cluster_id = rig.context.cluster_id.clone();
            rig.crash().await;
            let restored = World {
                kv: Simulated::new(),
                ..world.clone()
            };
            let record = ClusterRecord {
                cluster_id,
                commit_mode: CommitMode::Conditional,
                created_ms: TimestampMs::ZERO,
            };
            let planned = plan::create_cluster(&Keyspace::new("kafscale").unwrap(), record);
            restored.kv.txn(planned.txn).await.unwrap();
            let rig = restored.start().await;
            rig.collect().await;
            is_there_after_a_crash(&world, rig, id, 15).await
        },
        Violation::Lost {
            acknowledged: 15,
            found: 0,
        },
    );
}

/// P and Q lie in the same objects of a dead session. P is compacted, Q is not.
#[test]
fn h09_what_any_record_names_stays() {
    closes(
        Rule::NamedObjectsStay,
        async || {
            let (world, rig, id) = orders(None, 2).await;
            let other = rig.create("compacted", 1).await;
            rig.produce_many(other, 2).await;
            rig.crash().await;
            let rig = world.start().await;
            rig.compact_all(other).await;
            rig.collect().await;
            is_there_after_a_crash(&world, rig, id, 10).await
        },
        Violation::NotServed,
    );
}

/// S0 has given P away, which still needs S0's objects: S0's own tables no longer know of it.
#[test]
fn h09_what_was_released_counts_for_the_floor() {
    closes(
        Rule::ReleasedPartitionsCount,
        async || {
            let (world, mut old, id) = orders(Some(1), 2).await;
            let other = old.create("stays", 1).await;
            old.produce_many(other, 2).await;
            old.stand_still();
            // What `Ownership::give` does.
            let owned = old.context.owned(id).unwrap();
            assert_eq!(release(&old.context, vec![owned]).await, 1);
            let shard = old.context.shard_of(id);
            shard.call(move |shard| shard.close(&[id])).await.unwrap();
            old.context.owned.borrow_mut().remove(id);
            let heir = world.start_as(Some(2)).await;
            has_all(&heir, id, 10).await?;
            old.compact_all(other).await;
            old.collect().await;
            heir.crash().await;
            let next = world.start_as(Some(3)).await;
            has_all(&next, id, 10).await
        },
        Violation::NotServed,
    );
}

/// Two clusters on one bucket and namespace: the second one would sweep the first.
#[test]
fn h09_objects_of_another_cluster_refuse_the_start() {
    closes(
        Rule::OneClusterOneStore,
        async || {
            let stage = Stage::new().await;
            let [first, other] = [(); 2].map(|()| -> Arc<dyn Kv> { Arc::new(Simulated::new()) });
            let mut begin = stage.begin(1);
            begin.kv = &first;
            begin.cluster().await.expect("the first cluster");
            begin.kv = &other;
            match begin.cluster().await {
                Ok(_) => Err(Violation::Starts),
                Err(SessionError::OtherCluster { .. }) => Ok(()),
                Err(error) => panic!("{error}"),
            }
        },
        Violation::Starts,
    );
}
