//! H17: a 412 on our own prefix is our own object, or the end of the session. (For the fence of a
//! taker a 412 is the normal case: see H1.)

use segment::wal::{WalHeader, encode};
use segment::{SessionId, WalSequence};
use store::faulty::{Fault, Operation, Rule as FaultRule};
use store::{Body, PutCondition};

use super::*;

/// Puts a fence at the first sequence of a live session: others have ended it. Gives the key.
async fn fence(rig: &Rig) -> String {
    let session = rig.context.session;
    let (first, other) = (WalSequence::new(1), SessionId::new([9; 16]));
    let header = WalHeader::fence(session.broker, session.id, first, other);
    let fence = Body::new(encode(header, Vec::new()).chunks);
    let key = rig.context.keys.wal(session.broker, session.id, first);
    let put = rig.context.objects.put(&key, fence, PutCondition::IfAbsent);
    put.await.unwrap();
    key
}

#[test]
fn h17_a_fence_in_the_way_ends_the_session() {
    closes(
        Rule::RefusalsAreRead,
        async || {
            let world = World::new();
            let rig = Rc::new(world.start().await);
            let id = rig.create("orders", 1).await;
            fence(&rig).await;
            let produced = produce_later(&rig, id);
            is_not_acknowledged(&rig, produced).await?;
            assert_eq!(rig.context.metrics.sessions_fenced.get(), 1);
            Ok(())
        },
        Violation::ZombieAcknowledges,
    );
}

/// The PUT succeeds and its reply is lost: the same bytes, sent again, meet themselves.
#[test]
fn h17_our_own_object_in_the_way_is_our_success() {
    closes(
        Rule::OwnCopyIsSuccess,
        async || {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            let rule = FaultRule::always(Operation::Put, Fault::ErrorAfter);
            world.faulty.add_rule(rule.prefix(wal_of(&rig)).times(1));
            let bytes = batch(0, 5);
            tokio::select! {
                produced = rig.produce(id, &bytes) => drop(produced.unwrap()),
                _ = rig.context.failure.wait() => return Err(Violation::SessionEnds),
            }
            is_there_after_a_crash(&world, rig, id, 5).await
        },
        Violation::SessionEnds,
    );
}

/// What was in the way is gone when it is read: somebody has been there all the same, and nothing
/// of ours is stored.
#[test]
fn h17_something_in_the_way_that_vanishes_ends_the_session() {
    closes(
        Rule::GoneAfterRefusalIsFenced,
        async || {
            let world = World::new();
            let rig = Rc::new(world.start().await);
            let id = rig.create("orders", 1).await;
            let key = fence(&rig).await;
            let mut gate = world.stop(Operation::Get, &key, 0);
            let produced = produce_later(&rig, id);
            gate.reached().await;
            rig.context.objects.delete(&[key]).await;
            gate.open();
            is_not_acknowledged(&rig, produced).await
        },
        Violation::ZombieAcknowledges,
    );
}
