//! H7: a partition that is released is whole, and is never written again in that ownership.

use coord::keys::partition;
use coord::keys::plan::{Extent, release_partition};
use coord::kv::simulated::Fault;
use segment::WalSequence;
use store::faulty::Operation;

use super::super::commit::commit;
use super::super::ownership::release;
use super::*;

/// The release is applied and its reply is lost. The owner lives and is not fenced: whatever it
/// acknowledged now would lie behind the end of its source.
#[test]
fn h07_nothing_is_appended_once_a_release_is_under_way() {
    closes(
        Rule::ReleasedTakesNoAppends,
        async || {
            let (world, mut rig, id) = orders(None, 2).await;
            // As at a graceful end: nothing is taken any more.
            rig.stand_still();
            rig.drain().await;
            world.kv.inject(Fault::AppliedReplyLost);
            rig.release().await;
            let late = rig.produce(id, &batch(0, 5)).await;
            let acknowledged = if late.is_ok() { 15 } else { 10 };
            rig.crash().await;
            let rig = world.start().await;
            has_all(&rig, id, acknowledged).await
        },
        Violation::Lost {
            acknowledged: 15,
            found: 10,
        },
    );
}

/// The last batch is on its way when the partition shall be given away.
#[test]
fn h07_a_release_waits_for_every_acknowledgement() {
    closes(
        Rule::ReleaseAfterAcknowledgements,
        async || {
            let (world, mut old, id) = orders(None, 2).await;
            old.stand_still();
            let old = Rc::new(old);
            let mut gate = world.stop(Operation::Put, &wal_of(&old), 0);
            let produced = produce_later(&old, id);
            gate.reached().await;
            let shard = old.context.shard_of(id);
            shard.call(move |shard| shard.release(id)).await.unwrap();
            // What `Ownership::give` does: it asks until the shard says that all is quiet.
            let is_quiet = async || {
                let quiet = shard.call(move |shard| shard.are_quiet(&[id]));
                quiet.await.unwrap()
            };
            let owned = old.context.owned(id).unwrap();
            let too_early = is_quiet().await;
            if too_early {
                assert_eq!(release(&old.context, vec![owned.clone()]).await, 1);
            }
            gate.open();
            produced.await.unwrap().expect("the session lives");
            if !too_early {
                assert!(is_quiet().await);
                assert_eq!(release(&old.context, vec![owned]).await, 1);
            }
            Rc::into_inner(old).unwrap().crash().await;
            let new = world.start().await;
            has_all(&new, id, 15).await
        },
        Violation::Lost {
            acknowledged: 15,
            found: 10,
        },
    );
}

/// The request that releases the partition is delayed and sent again. The owner takes the partition
/// back, with a higher epoch, and acknowledges more; then the first request arrives.
#[test]
fn h07_a_release_that_arrives_late_changes_nothing() {
    closes(
        Rule::WrittenAsRead,
        async || {
            let stage = Stage::new().await;
            let owner = stage.session(0).await;
            stage.take(owner, &[0]).await;
            stage.flush(owner, 1, &[(0, 0, 3)]).await.unwrap();
            let id = stage.id(0);
            let key = partition::key(&stage.space, id);
            let seen = stage.records().await.remove(&id).unwrap();
            let end = WalSequence::new(2);
            let planned =
                release_partition(&stage.space, owner.id, id, &seen, end, Extent::Unknown).unwrap();
            stage.simulated.inject(Fault::Delayed);
            let released = commit(&stage.kv, &key, &planned, Some(&seen))
                .await
                .unwrap();
            assert_eq!(released.record.owner, None);
            let records = stage.records().await;
            let taker = stage.taker(owner, 2);
            let taken = taker.take(vec![stage.target(0)], records).await.unwrap();
            loads_all(&taken, 0, 3)?;
            stage.flush(owner, 2, &[(0, 3, 2)]).await.unwrap();
            assert!(stage.simulated.land_delayed());
            stage.die(owner).await;
            let new = stage.session(1).await;
            loads_all(&stage.take(new, &[0]).await, 0, 5)
        },
        Violation::Lost {
            acknowledged: 5,
            found: 3,
        },
    );
}
