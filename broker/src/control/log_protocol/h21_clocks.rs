//! H21: nothing is decided by comparing clocks: readers have no grace period. (That no object is
//! judged by its age is checked in `tests/architecture.rs`.)

use segment::Offset;
use segment::wal::WalKind;
use store::faulty::Operation;

use super::*;

/// A reader has looked up where its bytes lie. They are compacted and the object is deleted before
/// it is read: there is no grace period, the reader looks again.
#[test]
fn h21_bytes_that_were_moved_are_looked_up_again() {
    closes(
        Rule::MovedBytesAreLookedUp,
        async || {
            let (world, rig, id) = orders(None, 2).await;
            let wal = wal_of(&rig);
            rig.crash().await;
            // After a restart nothing of it is in memory.
            let rig = world.start().await;
            let mut gate = world.stop(Operation::Get, &wal, 0);
            let shard = rig.context.shard_of(id).clone();
            let read = spawn_local(async move {
                let read = shard.call_task(move |shard| shard.read(id, Offset::ZERO, 1, true));
                read.await.unwrap()
            });
            gate.reached().await;
            rig.compact_all(id).await;
            rig.collect().await;
            assert_eq!(world.kinds(WalKind::Data), 0, "the object is gone");
            gate.open();
            match read.await.unwrap() {
                Ok(bytes) => assert_eq!(bytes.concat().len(), batch(0, 5).len()),
                Err(_) => return Err(Violation::ReadFails),
            }
            has_all(&rig, id, 10).await
        },
        Violation::ReadFails,
    );
}
