//! Two rules that everything else stands on, as a model of the protocol has shown by taking them
//! out: objects are acknowledged in sequence, and a session is fenced before it is loaded.

use segment::WalSequence;
use store::PutError;

use super::*;
use crate::shard::ShardId;
use crate::wal::{Scheduler, SchedulerConfig, Sealed, Step, UploadWindow};

/// Objects 1 (P) and 2 (Q) are on their way and 2 arrives first. Object 1 never does: the session
/// dies, and the taker's fence at 1 ends it.
#[test]
fn objects_are_acknowledged_strictly_in_sequence() {
    closes(
        Rule::AcknowledgedInSequence,
        async || {
            let stage = Stage::new().await;
            let old = stage.session(0).await;
            stage.take(old, &[0, 1]).await;
            let config = SchedulerConfig {
                interval: Duration::ZERO,
                window: UploadWindow {
                    least: 2,
                    most: 2,
                    bytes: u64::MAX,
                },
            };
            let mut scheduler = Scheduler::new(config, WalSequence::new(1));
            for number in 1..=2 {
                scheduler.urgent(ShardId(0));
                let Step::Seal { sequence, .. } = scheduler.step(Duration::from_millis(number))
                else {
                    panic!("two uploads may run");
                };
                scheduler.sealed(sequence, Sealed::Object(1));
            }
            stage.flush(old, 2, &[(1, 0, 5)]).await.unwrap();
            let acknowledged = scheduler.stored(WalSequence::new(2));
            let acknowledged = if acknowledged.is_empty() { 0 } else { 5 };
            stage.die(old).await;
            let new = stage.session(1).await;
            loads_all(&stage.take(new, &[0, 1]).await, 1, acknowledged)
        },
        Violation::Lost {
            acknowledged: 5,
            found: 0,
        },
    );
}

/// The old session is not dead but slow: its next object arrives after the taker has loaded.
#[test]
fn a_session_is_fenced_before_it_is_loaded() {
    closes(
        Rule::FenceBeforeLoading,
        async || {
            let stage = Stage::new().await;
            let old = stage.session(0).await;
            stage.take(old, &[0]).await;
            stage.flush(old, 1, &[(0, 0, 3)]).await.unwrap();
            stage.die(old).await;
            let new = stage.session(1).await;
            let taken = stage.take(new, &[0]).await;
            match stage.flush(old, 2, &[(0, 3, 2)]).await {
                Ok(()) => return Err(Violation::ZombieAcknowledges),
                Err(error) => assert!(matches!(error, PutError::AlreadyExists { .. })),
            }
            loads_all(&taken, 0, 3)
        },
        Violation::ZombieAcknowledges,
    );
}
