//! H13: a store that is slow or fails for a while ends no session, and nothing piles up for ever.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use segment::{SessionId, WalSequence};
use store::faulty::{Fault, Operation, Scripted};

use super::super::context::Refusal;
use super::super::policy::{Backlog, Policy};
use super::*;

/// A PUT fails three times, in three ways.
#[test]
fn h13_a_failed_put_is_sent_again_and_ends_no_session() {
    closes(
        Rule::FailedPutsAreSentAgain,
        async || {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            let faults = [Fault::ErrorBefore, Fault::Throttled, Fault::Conflict];
            for (skip, fault) in (0..).zip(faults) {
                world.faulty.add_scripted(Scripted {
                    operation: Operation::Put,
                    prefix: wal_of(&rig),
                    skip,
                    fault,
                });
            }
            let before = rig.context.metrics.puts.get();
            let bytes = batch(0, 5);
            tokio::select! {
                produced = rig.produce(id, &bytes) => drop(produced.unwrap()),
                _ = rig.context.failure.wait() => return Err(Violation::SessionEnds),
            }
            assert_eq!(rig.context.metrics.puts.get() - before, 4);
            has_all(&rig, id, 5).await
        },
        Violation::SessionEnds,
    );
}

/// Nothing can be compacted while etcd is down: at the bound produce is refused.
#[test]
fn h13_the_wal_backlog_is_bounded() {
    closes(
        Rule::BacklogIsBounded,
        async || {
            let policy = Policy {
                interval: Duration::from_secs(600),
                backlog_max: 100,
            };
            let refusal = Refusal::new(Arc::new(AtomicBool::new(false)), Arc::default());
            let first = WalSequence::new(1);
            for objects in 0..1_000 {
                let backlog = Backlog {
                    session: SessionId::new([1; 16]),
                    first,
                    end: WalSequence::new(1 + objects),
                    inherited: 0,
                };
                refusal.backlog_is_full(policy.is_full(&backlog));
                if refusal.reason().is_some() {
                    assert_eq!(objects, 100);
                    return Ok(());
                }
            }
            Err(Violation::Unbounded)
        },
        Violation::Unbounded,
    );
}
