//! H19: a taker may put several fences at once against a fast zombie: the lowest is the end.

use std::collections::VecDeque;

use segment::wal::{WalHeader, encode};
use segment::{SessionId, WalSequence};
use store::faulty::Operation;
use store::{Body, PutCondition};

use super::super::session::Session;
use super::gate::Gate;
use super::*;

async fn fence(stage: &Stage, session: Session, at: u64) {
    let (at, by) = (WalSequence::new(at), SessionId::new([9; 16]));
    let header = WalHeader::fence(session.broker, session.id, at, by);
    let body = Body::new(encode(header, Vec::new()).chunks);
    let key = stage.keys.wal(session.broker, session.id, at);
    let put = stage.objects.put(&key, body, PutCondition::IfAbsent).await;
    put.unwrap();
}

/// A taker, which died, has put fences at 2 and 4. Object 3 of the zombie landed between them and
/// was never acknowledged, since object 2 met a fence.
#[test]
fn h19_the_lowest_fence_is_the_end() {
    closes(
        Rule::LowestFenceIsTheEnd,
        async || {
            let stage = Stage::new().await;
            let old = stage.session(0).await;
            stage.take(old, &[0, 1]).await;
            stage.flush(old, 1, &[(0, 0, 3)]).await.unwrap();
            stage.die(old).await;
            fence(&stage, old, 2).await;
            fence(&stage, old, 4).await;
            stage.flush(old, 3, &[(0, 3, 2)]).await.unwrap();
            let new = stage.session(1).await;
            loads_all(&stage.take(new, &[0]).await, 0, 3)?;
            // The fence of one taker is the end for every other one.
            let other = stage.session(2).await;
            loads_all(&stage.take(other, &[1]).await, 1, 0)?;
            assert_eq!(stage.fences().len(), 2);
            Ok(())
        },
        Violation::NotServed,
    );
}

/// Objects that the zombie writes before it gives up.
const ZOMBIE_OBJECTS: u64 = 40;

/// A zombie writes its next object each time a taker is about to put a fence there.
#[test]
fn h19_a_fast_zombie_is_fenced_by_numbers() {
    closes(
        Rule::FencesComeInNumbers,
        async || {
            let stage = Rc::new(Stage::new().await);
            let old = stage.session(0).await;
            stage.take(old, &[0]).await;
            stage.die(old).await;
            let key = |at| stage.keys.wal(old.broker, old.id, WalSequence::new(at));
            let mut gates: VecDeque<Gate> = (1..=ZOMBIE_OBJECTS)
                .map(|at| stage.stop(Operation::Put, &key(at)))
                .collect();
            let new = stage.session(1).await;
            let taker = stage.clone();
            let taken = spawn_local(async move { taker.take(new, &[0]).await });
            let mut written = 0;
            while let Some(mut gate) = gates.pop_front() {
                tokio::select! {
                    () = gate.reached() => {}
                    () = until_finished(&taken) => break,
                }
                let offset = i64::try_from(written).unwrap();
                written += 1;
                stage.flush(old, written, &[(0, offset, 1)]).await.unwrap();
                // What the taker has put at once arrives before the next object.
                gate.open();
                while let Some(gate) = gates.pop_front_if(Gate::is_reached) {
                    gate.open();
                }
            }
            drop(gates);
            loads_all(&taken.await.unwrap(), 0, i64::try_from(written).unwrap())?;
            match written < ZOMBIE_OBJECTS / 4 {
                true => Ok(()),
                false => Err(Violation::ZombieAcknowledges),
            }
        },
        Violation::ZombieAcknowledges,
    );
}
