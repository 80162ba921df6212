//! H2: no clock bounds how long a process is frozen, so a fence has to stay for ever.

use store::faulty::Operation;
use store::s3::{Expiry, LifecycleRule};

use super::*;
use crate::start::spares_the_wal;

/// The old session is frozen with its third object on its way. All that it has acknowledged is
/// taken, compacted and swept; then it thaws.
#[test]
fn h02_fences_are_never_swept() {
    closes(
        Rule::FencesStay,
        async || {
            let world = World::new();
            let old = Rc::new(world.start_as(Some(1)).await);
            let id = old.create("orders", 1).await;
            old.produce_many(id, 2).await;
            let mut gate = world.stop(Operation::Put, &wal_of(&old), 0);
            let produced = produce_later(&old, id);
            gate.reached().await;
            old.lose_lease().await;
            let new = world.start_as(Some(2)).await;
            new.compact_all(id).await;
            new.collect().await;
            gate.open();
            is_not_acknowledged(&old, produced).await?;
            has_all(&new, id, 10).await
        },
        Violation::ZombieAcknowledges,
    );
}

/// A lifecycle rule of the bucket that covers the WAL deletes fences too: the start is refused.
#[test]
fn h02_a_lifecycle_rule_that_covers_the_wal_refuses_the_start() {
    let deletes = |prefix: &str| LifecycleRule {
        id: "tidy".to_owned(),
        prefix: prefix.to_owned(),
        enabled: true,
        expires: Some(Expiry::AfterDays(30)),
    };
    closes(
        Rule::LifecycleSparesTheWal,
        async || {
            let wal = "kafscale-wal/default/";
            let harmless = spares_the_wal(&[deletes("kafscale/")], wal);
            harmless.expect("old segments may go");
            match spares_the_wal(&[deletes("kafscale/"), deletes("")], wal) {
                Ok(()) => Err(Violation::Starts),
                Err(_) => Ok(()),
            }
        },
        Violation::Starts,
    );
}
