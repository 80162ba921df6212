//! H16: the log start comes from the record and from what covers the log, never from LIST alone.

use segment::Offset;
use store::{Body, GetRange, PutCondition};

use super::super::log_start::raise_log_start;
use super::*;

fn segment(base: i64) -> String {
    format!("kafscale/default/orders/0/segment-{base:020}.kfs")
}

/// Records below 10 are deleted, and their segment. A late PUT of a session that is over brings the
/// segment back.
#[test]
fn h16_a_late_segment_does_not_bring_deleted_records_back() {
    closes(
        Rule::LogStartFromRecord,
        async || {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            for _ in 0..2 {
                rig.produce_many(id, 2).await;
                rig.compact_all(id).await;
            }
            let objects = &rig.context.objects;
            let late = objects.get(&segment(0), GetRange::Full).await.unwrap();
            let raised = raise_log_start(&rig.context, id, Offset::new(10)).await;
            assert_eq!(raised, Ok(Offset::new(10)));
            assert_eq!(world.keys(".kfs").len(), 1);
            let late = Body::from(late.bytes.to_vec());
            let put = objects.put(&segment(0), late, PutCondition::IfAbsent).await;
            put.unwrap();
            rig.crash().await;
            let rig = world.start().await;
            starts_at(&rig, id, 10)?;
            assert_eq!(rig.scan(id, 10).await, [10, 15]);
            Ok(())
        },
        Violation::LogStart {
            expected: 10,
            found: 0,
        },
    );
}

/// A lifecycle rule has deleted the segment in the middle: the log starts behind the hole.
#[test]
fn h16_the_log_starts_behind_the_last_hole() {
    closes(
        Rule::CoverageIsContiguous,
        async || {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            for _ in 0..3 {
                rig.produce_many(id, 2).await;
                rig.compact_all(id).await;
            }
            rig.context.objects.delete(&[segment(10)]).await;
            rig.crash().await;
            let rig = world.start().await;
            starts_at(&rig, id, 20)?;
            assert_eq!(rig.scan(id, 20).await, [20, 25]);
            let owned = rig.context.owned(id).unwrap();
            let stored = owned.state.lock().await.seen.record.log_start;
            assert_eq!(stored, Offset::new(20), "it is raised in etcd too");
            Ok(())
        },
        Violation::LogStart {
            expected: 20,
            found: 0,
        },
    );
}

/// A listing is old and does not show segments that are there: the log start, which never falls back, stays
/// (seed 35 of the simulator).
#[test]
fn h16_a_segment_that_is_only_not_listed_is_no_hole() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        for _ in 0..3 {
            rig.produce_many(id, 2).await;
            rig.compact_all(id).await;
        }
        rig.crash().await;
        let stale = store::faulty::Fault::StaleList(64);
        let rule = store::faulty::Rule::always(store::faulty::Operation::List, stale);
        world.faulty.add_rule(rule);
        let rig = world.start().await;
        world.faulty.clear();
        assert_eq!(starts_at(&rig, id, 0), Ok(()));
        assert_eq!(rig.scan(id, 0).await, [0, 5, 10, 15, 20, 25]);
    });
}

/// Records are deleted by a broker whose session is over: it must not report what etcd has not
/// stored, since the next owner starts at what is stored.
#[test]
fn h16_a_log_start_that_is_reported_is_stored() {
    closes(
        Rule::LogStartRaisedInEtcdFirst,
        async || {
            let (world, old, id) = orders(Some(1), 2).await;
            old.lose_lease().await;
            let reported = raise_log_start(&old.context, id, Offset::new(5)).await;
            let new = world.start_as(Some(2)).await;
            starts_at(&new, id, reported.map_or(0, Offset::get))
        },
        Violation::LogStart {
            expected: 5,
            found: 0,
        },
    );
}
