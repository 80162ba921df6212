//! H6: every session with an open source is fenced, not only the last owner's.

use store::PutError;
use store::faulty::{Fault, Operation, Rule as FaultRule};

use super::*;

/// S1 takes P from S0 in etcd and dies before the fence. S2 takes P: a fence for S1 alone would let
/// S0, which runs on as a zombie, go on acknowledging.
#[test]
fn h06_every_source_without_an_end_is_fenced() {
    closes(
        Rule::FenceEverySource,
        async || {
            let stage = Stage::new().await;
            let old = stage.session(0).await;
            stage.take(old, &[0]).await;
            stage.die(old).await;
            let middle = stage.session(1).await;
            let rule = FaultRule::always(Operation::List, Fault::Denied);
            stage.faulty.add_rule(rule);
            assert!(stage.try_take(middle, &[0]).await.is_err());
            stage.faulty.clear();
            stage.die(middle).await;
            let record = &stage.records().await[&stage.id(0)].record;
            let open: Vec<_> = record
                .sources
                .iter()
                .map(|s| (s.session, s.is_open()))
                .collect();
            assert_eq!(open, [(old.id, true), (middle.id, true)]);
            let new = stage.session(2).await;
            let taken = stage.take(new, &[0]).await;
            match stage.flush(old, 1, &[(0, 0, 2)]).await {
                Ok(()) => return Err(Violation::ZombieAcknowledges),
                Err(error) => assert!(matches!(error, PutError::AlreadyExists { .. })),
            }
            let mut fences = stage.fences();
            fences.sort();
            let mut expected = vec![(old.id, 1), (middle.id, 1)];
            expected.sort();
            assert_eq!(fences, expected);
            loads_all(&taken, 0, 0)
        },
        Violation::ZombieAcknowledges,
    );
}
