//! Lookups by time in segments read one block, whatever the segment's length.

use super::*;
use crate::control::TimeTarget;
use crate::shard::RunOfTime;
use segment::manifest::Manifest;

/// A batch of one record of about 300 KiB with this timestamp.
fn big(timestamp: i64) -> bytes::Bytes {
    let value = vec![7; 300 << 10];
    let mut builder = RecordBatchBuilder::new();
    builder
        .push(NewRecord {
            timestamp: TimestampMs::new(timestamp),
            key: None,
            value: Some(&value),
            headers: &[],
        })
        .unwrap();
    builder.build().unwrap()
}

impl Rig {
    /// The offsets of the batches that a lookup reads, and whether it was one block.
    async fn of_time(&self, id: TopicPartition, target: TimeTarget, from: i64) -> (Vec<i64>, bool) {
        let (reply, answer) = futures_channel::oneshot::channel();
        let look = move |shard: &Rc<Shard>| {
            let shard = shard.clone();
            crate::runtime::spawn(async move {
                let found = shard
                    .run_of_time(id, Offset::ZERO, target, Offset::new(from))
                    .await;
                let _ = reply.send(found.unwrap());
            });
        };
        self.context.shard_of(id).call(look).await.unwrap();
        let bases = |run: &run::Run| run.batches().iter().map(|b| b.base.get()).collect();
        match answer.await.unwrap() {
            RunOfTime::Block(run) => (bases(&run), true),
            RunOfTime::Part(run) => (bases(&run), false),
            RunOfTime::NotBefore(end) => (vec![end.get()], true),
        }
    }

    fn points(&self, world: &World) -> Vec<usize> {
        let objects = world.memory.objects();
        let manifest = objects
            .iter()
            .find(|(key, _)| key.as_str().ends_with(".kfm"))
            .map(|(_, bytes)| Manifest::parse(bytes).unwrap());
        let segments = manifest.unwrap().segments;
        segments.iter().map(|s| s.time_points.len()).collect()
    }
}

#[test]
fn a_lookup_by_time_reads_one_block_and_the_manifest_keeps_its_points() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        // Out of order: the largest timestamp is in the middle.
        for timestamp in [10, 20, 30, 40, 90, 50, 60, 70, 80, 15, 25, 35] {
            rig.produce(id, &big(timestamp)).await.unwrap();
        }
        rig.compact_all(id).await;
        assert_eq!(rig.points(&world), [3]);
        let from = |timestamp| TimeTarget::From(TimestampMs::new(timestamp));
        assert_eq!(rig.of_time(id, from(5), 0).await, (vec![0, 1, 2, 3], true));
        assert_eq!(rig.of_time(id, from(41), 0).await, (vec![4, 5, 6, 7], true));
        assert_eq!(
            rig.of_time(id, from(71), 8).await,
            (vec![8, 9, 10, 11], true)
        );
        assert_eq!(rig.of_time(id, from(99), 0).await, (vec![12], true));
        let largest = TimeTarget::Largest;
        assert_eq!(rig.of_time(id, largest, 0).await, (vec![4, 5, 6, 7], true));
        // The points of earlier segments are carried over, and found again after a restart.
        rig.produce(id, &big(100)).await.unwrap();
        rig.compact_all(id).await;
        assert_eq!(rig.points(&world), [3, 1]);
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.of_time(id, from(41), 0).await, (vec![4, 5, 6, 7], true));
        // Without a manifest everything is found by reading.
        let manifest = world.keys("manifest");
        rig.context.objects.delete(&manifest).await;
        rig.crash().await;
        let rig = world.start().await;
        let (_, is_block) = rig.of_time(id, from(41), 0).await;
        assert!(
            is_block,
            "segments that were read whole have their points again"
        );
        rig.crash().await;
    });
}
