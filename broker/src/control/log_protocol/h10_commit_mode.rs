//! H10: all brokers of a cluster commit in one way, and in the guarded mode through etcd.

use coord::keys::cluster::CommitMode;
use store::faulty::Operation;

use super::super::session::SessionError;
use super::*;

/// A commits by conditional writes. The probe of B finds that the store takes none (a gateway has
/// come between): B would look for A's committed sequence, and find none.
#[test]
fn h10_a_broker_whose_probe_disagrees_does_not_start() {
    closes(
        Rule::OneCommitMode,
        async || {
            let (world, old, id) = orders(Some(1), 2).await;
            old.crash().await;
            let probed = World {
                mode: CommitMode::Guarded,
                ..world.clone()
            };
            match Stage::over(&probed).await.begin(2).cluster().await {
                Err(SessionError::CommitMode { .. }) => return Ok(()),
                Err(error) => panic!("{error}"),
                Ok(_) => {}
            }
            let new = probed.start_as(Some(2)).await;
            has_all(&new, id, 10).await
        },
        Violation::Lost {
            acknowledged: 10,
            found: 0,
        },
    );
}

fn guarded() -> World {
    World {
        mode: CommitMode::Guarded,
        ..World::new()
    }
}

/// Without fences only what etcd has committed is found by a taker.
#[test]
fn h10_nothing_is_acknowledged_before_etcd_has_committed_it() {
    closes(
        Rule::GuardedCommitFirst,
        async || {
            let world = guarded();
            let old = world.start_as(Some(1)).await;
            let id = old.create("orders", 1).await;
            old.produce_many(id, 2).await;
            old.crash().await;
            let new = world.start_as(Some(2)).await;
            has_all(&new, id, 10).await
        },
        Violation::Lost {
            acknowledged: 10,
            found: 0,
        },
    );
}

/// Its object is on its way when the session ends and another takes over by what is committed.
#[test]
fn h10_a_session_that_is_over_commits_nothing() {
    closes(
        Rule::WriterLives,
        async || {
            let world = guarded();
            let old = Rc::new(world.start_as(Some(1)).await);
            let id = old.create("orders", 1).await;
            old.produce_many(id, 2).await;
            let mut gate = world.stop(Operation::Put, &wal_of(&old), 0);
            let produced = produce_later(&old, id);
            gate.reached().await;
            old.lose_lease().await;
            let new = world.start_as(Some(2)).await;
            gate.open();
            is_not_acknowledged(&old, produced).await?;
            has_all(&new, id, 10).await
        },
        Violation::ZombieAcknowledges,
    );
}
