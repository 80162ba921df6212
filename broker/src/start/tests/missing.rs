//! Objects that somebody else deletes under a running broker.

use super::*;
use crate::control::LoadError;
use crate::shard::ReadError;
use coord::keys::partition as partition_key;
use coord::keys::partition::{Owner, PartitionRecord};
use coord::keys::{encode, seen};
use coord::kv::{Op, Txn};
use segment::SessionId;

impl Rig {
    /// Reads one batch as a fetch does that misses the tail; gives its base.
    pub(crate) async fn read(&self, id: TopicPartition, from: i64) -> Result<i64, ReadError> {
        let (reply, answer) = futures_channel::oneshot::channel();
        self.context
            .shard_of(id)
            .call(move |shard: &Rc<Shard>| {
                let read = shard.clone().read(id, Offset::new(from), 1, true);
                crate::runtime::spawn(async move {
                    let base = |found: Vec<bytes::Bytes>| {
                        let header = found
                            .first()
                            .map(|bytes| BatchHeader::parse(bytes).unwrap());
                        header.map_or(-1, |header| header.base_offset.get())
                    };
                    let _ = reply.send(read.await.map(base));
                });
            })
            .await
            .unwrap();
        answer.await.unwrap()
    }

    async fn log_start(&self, id: TopicPartition) -> i64 {
        let owned = self.context.owned(id).unwrap();
        let state = owned.state.lock().await;
        state.seen.record.log_start.get()
    }
}

/// H16: a lifecycle rule deletes old segments: the log start follows, in the record first.
#[test]
fn h16_the_log_start_follows_segments_that_are_deleted_under_a_running_broker() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        for _ in 0..3 {
            rig.produce_many(id, 2).await;
            rig.compact_all(id).await;
        }
        rig.crash().await;
        let rig = world.start().await;
        let middle = world.keys("segment-00000000000000000010.");
        assert_eq!(middle.len(), 2);
        rig.context.objects.delete(&middle).await;
        // What comes after is looked for ahead, and nobody is told that it is not there.
        assert_eq!(rig.read(id, 0).await, Ok(0));
        assert_eq!(rig.read(id, 10).await, Err(ReadError::OutOfRange));
        assert_eq!(rig.log_start(id).await, 20);
        assert_eq!(rig.read(id, 0).await, Err(ReadError::OutOfRange));
        assert_eq!(rig.scan(id, 20).await, [20, 25]);
        // All of it is gone: the log goes on where it ended.
        rig.context.objects.delete(&world.keys("segment-")).await;
        assert_eq!(rig.read(id, 20).await, Err(ReadError::OutOfRange));
        assert_eq!(rig.log_start(id).await, 30);
        assert_eq!(rig.produce_many(id, 1).await, [30]);
        rig.crash().await;
    });
}

/// H11: a WAL object that is gone never moves the log start; the record tells whose log it is.
#[test]
fn h11_a_lost_wal_object_moves_nothing_and_a_foreign_owner_ends_the_session() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let bases = rig.produce_many(id, 3).await;
        rig.crash().await;
        let rig = world.start().await;
        let key = rig.context.shard_of(id).clone();
        let place = move |shard: &Rc<Shard>| shard.with_log(id, |log| log.place(Offset::ZERO));
        let Some(Some(ColdPlace::Chunk { key, .. })) = key.call(place).await.unwrap() else {
            panic!("the first batch is in the WAL");
        };
        rig.context.objects.delete(&[key.to_string()]).await;
        let lost = rig.read(id, 0).await;
        assert_eq!(lost, Err(ReadError::Load(LoadError::NotFound(key))));
        assert_eq!(rig.log_start(id).await, 0);
        assert_eq!(rig.read(id, bases[1]).await, Ok(bases[1]));
        // Another broker has taken the partition and collects its objects: this one is a zombie.
        let record_key = partition_key::key(&rig.context.space, id);
        let found = world.kv.get(record_key.clone()).await.unwrap();
        let mut record = seen::<PartitionRecord>(found.as_ref())
            .unwrap()
            .unwrap()
            .record;
        record.owner = Some(Owner {
            session: SessionId::new([9; 16]),
            broker: BrokerId::new(9),
        });
        let put = Op::put(record_key, encode(&record));
        world.kv.txn(Txn::new().and_then(put)).await.unwrap();
        assert_eq!(rig.read(id, 0).await, Err(ReadError::NotServed));
        assert_session_over(&rig.context.failure.wait().await, "taken over");
        rig.crash().await;
    });
}
