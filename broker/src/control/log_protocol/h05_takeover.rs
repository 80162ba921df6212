//! H5: a takeover is guarded by the record that it has read, by the absence of the owner's session
//! and by its own.

use coord::keys::cluster::CommitMode;
use coord::keys::committed;
use coord::keys::plan::commit_sequence;
use segment::WalSequence;

use super::super::commit::commit;
use super::*;

/// Two takers have read the same record. The first takes, fences, loads and acknowledges; then the
/// transaction of the second arrives.
#[test]
fn h05_a_stale_reader_takes_nothing() {
    closes(
        Rule::WrittenAsRead,
        async || {
            let stage = Stage::new().await;
            let old = stage.session(0).await;
            stage.take(old, &[0]).await;
            stage.die(old).await;
            let (first, second) = (stage.session(1).await, stage.session(2).await);
            let stale = stage.records().await;
            loads_all(&stage.take(first, &[0]).await, 0, 0)?;
            stage.flush(first, 1, &[(0, 0, 7)]).await.unwrap();
            let taker = stage.taker(second, 1);
            let late = taker.take(vec![stage.target(0)], stale).await.unwrap();
            if !late.taken.is_empty() {
                return loads_all(&late, 0, 7);
            }
            stage.die(first).await;
            loads_all(&stage.take(second, &[0]).await, 0, 7)
        },
        Violation::Lost {
            acknowledged: 7,
            found: 0,
        },
    );
}

/// In the guarded mode nothing but the owner's session stands between it and a taker.
#[test]
fn h05_a_live_owner_is_not_robbed() {
    closes(
        Rule::OwnerIsGone,
        async || {
            let world = World {
                mode: CommitMode::Guarded,
                ..World::new()
            };
            let stage = Stage::over(&world).await;
            let (owner, taker) = (stage.session(0).await, stage.session(1).await);
            stage.take(owner, &[0]).await;
            let robbed = stage.take(taker, &[0]).await;
            // The owner lives, so what it stores is committed and acknowledged.
            stage.flush(owner, 1, &[(0, 0, 3)]).await.unwrap();
            let planned = commit_sequence(&stage.space, owner.id, None, WalSequence::new(2));
            let key = committed::key(&stage.space, owner.id);
            let committed = commit(&stage.kv, &key, &planned.unwrap(), None).await;
            committed.expect("its session lives");
            if !robbed.taken.is_empty() {
                return loads_all(&robbed, 0, 3);
            }
            stage.die(owner).await;
            loads_all(&stage.take(taker, &[0]).await, 0, 3)
        },
        Violation::Lost {
            acknowledged: 3,
            found: 0,
        },
    );
}
