//! Small segments become large ones, whatever interrupts it.

use super::*;
use crate::control::merge::merge;

const SEGMENT: u64 = 64 << 20;

impl Rig {
    /// `count` segments of one batch each; gives the first offsets.
    async fn small_segments(&self, id: TopicPartition, count: usize) -> Vec<i64> {
        let mut bases = Vec::new();
        for _ in 0..count {
            bases.extend(self.produce_many(id, 1).await);
            self.compact_all(id).await;
        }
        bases
    }
}

#[test]
fn merged_segments_hold_the_same_records_and_the_small_ones_go() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let mut bases = rig.small_segments(id, 9).await;
        rig.crash().await;
        let rig = world.start().await;
        for base in &bases {
            assert_eq!(
                rig.read(id, *base).await,
                Ok(*base),
                "indexes and chunks are cached"
            );
        }
        assert_eq!(merge(&rig.context, id, SEGMENT).await.unwrap(), Some(9));
        assert_eq!(world.keys(".kfs").len(), 1, "{:?}", world.keys(".kfs"));
        assert_eq!(world.keys(".index").len(), 1);
        for base in &bases {
            assert_eq!(
                rig.read(id, *base).await,
                Ok(*base),
                "from the merged segment"
            );
        }
        assert_eq!(merge(&rig.context, id, SEGMENT).await.unwrap(), None);
        bases.extend(rig.small_segments(id, 2).await);
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 0).await, bases);
        bases.extend(rig.small_segments(id, 6).await);
        assert_eq!(merge(&rig.context, id, SEGMENT).await.unwrap(), Some(9));
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.crash().await;
    });
}

/// H4: an intent to merge is finished by whoever owns the partition next, with the same bytes.
#[test]
fn h4_a_merge_that_was_interrupted_is_finished_by_the_next_owner() {
    // The segment's PUT fails, the broker dies after it, the deletes fail.
    for interrupted in ["put", "after the put", "delete"] {
        test(async move {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            let mut bases = rig.small_segments(id, 8).await;
            let first = world.keys(".kfs")[0].clone();
            world.faulty.add_rule(match interrupted {
                "put" => Rule::always(Operation::Put, Fault::Denied).prefix(first),
                "delete" => Rule::always(Operation::Delete, Fault::ErrorBefore).prefix("kafscale/"),
                _ => Rule::always(Operation::Put, Fault::HangAfter).prefix(first),
            });
            let merging = merge(&rig.context, id, SEGMENT);
            match interrupted {
                "put" => assert!(merging.await.is_err()),
                "delete" => assert_eq!(merging.await.unwrap(), Some(8)),
                _ => {
                    let stored = async {
                        while !replaced(&world) {
                            tokio::task::yield_now().await;
                        }
                    };
                    tokio::select! {
                        biased;
                        () = stored => {}
                        done = merging => panic!("it was to be interrupted: {done:?}"),
                    }
                }
            }
            world.faulty.clear();
            rig.crash().await;
            let rig = world.start().await;
            assert_eq!(rig.scan(id, 0).await, bases, "{interrupted}");
            let again = merge(&rig.context, id, SEGMENT).await.unwrap();
            assert!(again.is_none() || again >= Some(1), "{again:?}");
            bases.extend(rig.small_segments(id, 1).await);
            assert_eq!(rig.scan(id, 0).await, bases, "{interrupted}");
            assert_eq!(
                world.keys(".kfs").len(),
                2,
                "{interrupted}: {:?}",
                world.keys(".kfs")
            );
            let owned = rig.context.owned(id).unwrap();
            assert_eq!(owned.state.lock().await.seen.record.intent, None);
            rig.crash().await;
        });
    }
}

/// Whether the first segment is the merged one.
fn replaced(world: &World) -> bool {
    let objects = world.memory.objects();
    let mut segments = objects
        .iter()
        .filter(|(key, _)| key.as_str().ends_with(".kfs"));
    let sizes: Vec<usize> = segments.by_ref().map(|(_, bytes)| bytes.len()).collect();
    sizes.first() > sizes.last()
}

/// H4: a zombie's late PUT of a shorter merge does not replace a longer one.
#[test]
fn h4_a_late_merge_does_not_land_over_a_later_one() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let mut bases = rig.small_segments(id, 8).await;
        let segment = &world.keys(".kfs")[0];
        let key = store::ObjectKey::new(segment.clone()).unwrap();
        let old = rig
            .context
            .objects
            .get(segment, store::GetRange::Full)
            .await
            .unwrap();
        assert_eq!(merge(&rig.context, id, SEGMENT).await.unwrap(), Some(8));
        bases.extend(rig.small_segments(id, 8).await);
        assert_eq!(merge(&rig.context, id, SEGMENT).await.unwrap(), Some(9));
        let late = store::ObjectStore::put(
            &world.memory,
            key,
            store::Body::from(old.bytes),
            store::PutCondition::IfMatch(old.etag),
        );
        assert!(matches!(late.await, Err(store::PutError::Mismatch { .. })));
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.crash().await;
    });
}

/// The log start passes the base of a merge that was begun: it is given up, and the log goes on.
#[test]
fn a_merge_whose_first_segments_are_deleted_is_given_up() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let bases = rig.small_segments(id, 8).await;
        let rule = Rule::always(Operation::Put, Fault::Denied).prefix("kafscale/default/orders/");
        world.faulty.add_rule(rule);
        assert!(merge(&rig.context, id, SEGMENT).await.is_err());
        world.faulty.clear();
        assert_eq!(
            raise_log_start(&rig.context, id, Offset::new(bases[3])).await,
            Ok(Offset::new(bases[3]))
        );
        rig.produce_many(id, 1).await;
        rig.compact_all(id).await;
        let owned = rig.context.owned(id).unwrap();
        assert_eq!(owned.state.lock().await.seen.record.intent, None);
        assert_eq!(rig.scan(id, bases[3]).await[..5], bases[3..]);
        rig.crash().await;
    });
}
