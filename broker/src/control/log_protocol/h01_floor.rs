//! H1: "first free sequence" means nothing once objects have been deleted. The floor says below
//! which everything is committed, and only there may anything have been deleted.

use coord::keys::partition::{self, Intent, IntentKind};
use coord::keys::plan::{self, Finish, SourceTrim};
use coord::kv::simulated::Fault;
use segment::{Offset, TimestampMs, WalSequence};
use store::PutError;
use store::faulty::Operation;

use super::super::commit::commit;
use super::super::session::Session;
use super::*;

async fn raise_floor(stage: &Stage, session: Session, floor: u64) {
    let (floor, end) = (WalSequence::new(floor), WalSequence::new(9));
    let planned = plan::raise_floor(&stage.space, session.id, None, floor, end).unwrap();
    assert!(stage.kv.txn(planned.txn).await.unwrap().succeeded);
}

/// P lies in object 1, Q in object 2. P is compacted and its object deleted. Whoever takes Q must
/// not end the session at object 1.
#[test]
fn h01_the_search_for_the_end_starts_at_the_floor() {
    closes(
        Rule::FenceFromFloor,
        async || {
            let stage = Stage::new().await;
            let old = stage.session(0).await;
            stage.take(old, &[0, 1]).await;
            stage.flush(old, 1, &[(0, 0, 3)]).await.unwrap();
            stage.flush(old, 2, &[(1, 0, 5)]).await.unwrap();
            raise_floor(&stage, old, 2).await;
            let key = stage.keys.wal(old.broker, old.id, WalSequence::new(1));
            stage.objects.delete(&[key]).await;
            stage.die(old).await;
            let new = stage.session(1).await;
            loads_all(&stage.take(new, &[1]).await, 1, 5)
        },
        Violation::Lost {
            acknowledged: 5,
            found: 0,
        },
    );
}

/// Object 2 has landed, object 1 is in flight: the end is 1, although LIST shows 2. A fence behind
/// what LIST shows would let object 1 land, and the zombie acknowledge both.
#[test]
fn h01_an_upload_that_is_still_under_way_is_fenced() {
    closes(
        Rule::ListIsAHint,
        async || {
            let stage = Stage::new().await;
            let old = stage.session(0).await;
            stage.take(old, &[0, 1]).await;
            stage.flush(old, 2, &[(1, 0, 5)]).await.unwrap();
            // Only `open` is known to be committed, so 2 is the first key that LIST shows.
            raise_floor(&stage, old, 1).await;
            stage.die(old).await;
            let new = stage.session(1).await;
            let taken = stage.take(new, &[0, 1]).await;
            match stage.flush(old, 1, &[(0, 0, 1)]).await {
                Ok(()) => return Err(Violation::ZombieAcknowledges),
                Err(error) => assert!(matches!(error, PutError::AlreadyExists { .. })),
            }
            loads_all(&taken, 0, 0)?;
            loads_all(&taken, 1, 0)
        },
        Violation::ZombieAcknowledges,
    );
}

/// The floor rises only to below what a partition still needs, compacted or not.
#[test]
fn h01_the_floor_stays_below_what_is_needed() {
    closes(
        Rule::FloorBelowNeeded,
        async || {
            let (world, rig, id) = orders(None, 2).await;
            let other = rig.create("compacted", 1).await;
            rig.produce_many(other, 2).await;
            rig.compact_all(other).await;
            rig.collect().await;
            is_there_after_a_crash(&world, rig, id, 10).await
        },
        Violation::Lost {
            acknowledged: 10,
            found: 0,
        },
    );
}

/// The transaction that raises the floor is refused, since the session is over: nothing may be
/// deleted, because the next taker starts at the old floor.
#[test]
fn h01_nothing_is_deleted_below_a_floor_that_is_not_confirmed() {
    closes(
        Rule::DeleteBelowConfirmedFloor,
        async || {
            let (world, old, id) = orders(Some(1), 2).await;
            old.compact_all(id).await;
            old.produce_many(id, 1).await;
            old.lose_lease().await;
            let _ = old.try_collect().await;
            let new = world.start_as(Some(2)).await;
            has_all(&new, id, 15).await
        },
        Violation::Lost {
            acknowledged: 15,
            found: 10,
        },
    );
}

/// The transaction that raises the floor is lost on its way, and so is its reply.
#[test]
fn h01_a_floor_whose_outcome_is_unknown_is_read_back() {
    closes(
        Rule::UnknownOutcomeIsRead,
        async || {
            let (world, rig, id) = orders(None, 2).await;
            rig.compact_all(id).await;
            rig.produce_many(id, 1).await;
            world.kv.inject(Fault::RequestLost);
            rig.collect().await;
            assert_eq!(world.kinds(segment::wal::WalKind::Data), 1);
            is_there_after_a_crash(&world, rig, id, 15).await
        },
        Violation::Lost {
            acknowledged: 15,
            found: 10,
        },
    );
}

/// A taker has read the floor and is about to search. The old session, whose lease is gone, raises
/// its floor and deletes: the taker would end it at the first object that it has deleted.
#[test]
fn h01_a_session_that_is_over_raises_no_floor() {
    closes(
        Rule::WriterLives,
        async || {
            let (world, old, id) = orders(Some(1), 2).await;
            old.compact_all(id).await;
            old.produce_many(id, 1).await;
            old.lose_lease().await;
            let stage = Rc::new(Stage::over(&world).await);
            let new = stage.session(2).await;
            let mut gate = stage.stop(Operation::List, &wal_of(&old));
            let taker = stage.clone();
            let taken = spawn_local(async move { taker.take(new, &[0]).await });
            gate.reached().await;
            let _ = old.try_collect().await;
            gate.open();
            loads_all(&taken.await.unwrap(), 0, 15)
        },
        Violation::Lost {
            acknowledged: 15,
            found: 10,
        },
    );
}

/// S0 writes P to objects 1 and 2, takes Q, writes it to objects 3 and 4, and dies. S1 takes P
/// alone and compacts it: nothing names objects 1 and 2 any more. They stay until Q is taken too:
/// its taker would end S0 at the first one that is missing.
#[test]
fn h01_a_dead_session_keeps_its_objects_until_all_of_it_is_fenced() {
    closes(
        Rule::UnfencedSessionsStay,
        async || {
            let world = World::new();
            let mut collector = world.start_as(Some(0)).await;
            collector.stand_still();
            let stage = Stage::over(&world).await;
            let s0 = stage.session(3).await;
            stage.take(s0, &[0]).await;
            stage.flush(s0, 1, &[(0, 0, 1)]).await.unwrap();
            stage.flush(s0, 2, &[(0, 1, 1)]).await.unwrap();
            let records = stage.records().await;
            let late = stage.taker(s0, 3);
            let taken = late.take(vec![stage.target(1)], records).await;
            loads_all(&taken.unwrap(), 1, 0)?;
            stage.flush(s0, 3, &[(1, 0, 3)]).await.unwrap();
            stage.flush(s0, 4, &[(1, 3, 2)]).await.unwrap();
            stage.die(s0).await;
            let s1 = stage.session(1).await;
            loads_all(&stage.take(s1, &[0]).await, 0, 2)?;
            compacted(&stage, s1, 2).await;
            collector.collect().await;
            let s2 = stage.session(2).await;
            loads_all(&stage.take(s2, &[1]).await, 1, 5)
        },
        Violation::Lost {
            acknowledged: 5,
            found: 0,
        },
    );
}

/// What a compaction of partition 0 up to `end` leaves of its record: no source of S0.
async fn compacted(stage: &Stage, owner: Session, end: i64) {
    let id = stage.id(0);
    let key = partition::key(&stage.space, id);
    let intent = Intent {
        base: Offset::ZERO,
        end: Offset::new(end),
        created_ms: TimestampMs::ZERO,
        kind: IntentKind::Append,
        object_bytes: None,
        object_crc32c: None,
    };
    let seen = stage.records().await.remove(&id).unwrap();
    let planned = plan::begin_intent(&stage.space, owner.id, id, &seen, intent).unwrap();
    let seen = commit(&stage.kv, &key, &planned, Some(&seen))
        .await
        .unwrap();
    let old = seen.record.sources[0];
    let trim = SourceTrim {
        session: old.session,
        first_sequence: old.first_sequence,
        keep_from: old.end_sequence.unwrap(),
    };
    let finish = Finish {
        trims: vec![trim],
        producer_snapshot: None,
    };
    let planned = plan::finish_compaction(&stage.space, owner.id, id, &seen, &finish).unwrap();
    let seen = commit(&stage.kv, &key, &planned, Some(&seen))
        .await
        .unwrap();
    assert!(
        seen.record
            .sources
            .iter()
            .all(|source| source.session == owner.id)
    );
}
