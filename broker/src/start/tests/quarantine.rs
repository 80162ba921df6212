//! Damaged segments: the partition opens, what is sound is served, the rest is told.

use super::*;
use crate::control::LoadError;
use crate::control::cleaner::Cleaner;
use crate::control::merge::merge;
use crate::shard::ReadError;

const PREFIX: &str = "kafscale/default/orders/0/segment-";

/// What happens to an object.
type Damage = fn(Vec<u8>) -> Vec<u8>;

impl World {
    async fn put(&self, key: &str, bytes: Vec<u8>) {
        let key = store::ObjectKey::new(key.to_owned()).unwrap();
        let body = store::Body::from(bytes::Bytes::from(bytes));
        let put = self.memory.put(key, body, store::PutCondition::None);
        put.await.unwrap();
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        let objects = self.memory.objects();
        let found = objects.iter().find(|(found, _)| found.as_str() == key);
        found.unwrap().1.to_vec()
    }

    async fn damage(&self, key: &str, damage: Damage) {
        self.put(key, damage(self.bytes(key))).await;
    }

    async fn remove(&self, part: &str) {
        for key in self.keys(part) {
            let key = store::ObjectKey::new(key).unwrap();
            self.memory.delete(vec![key]).await;
        }
    }
}

impl Rig {
    /// Reads batch by batch as consumers do, past what is answered as corrupt; gives the bases read,
    /// and those that are lost.
    async fn read_all(&self, id: TopicPartition) -> (Vec<i64>, Vec<i64>) {
        let (mut read, mut lost) = (Vec::new(), Vec::new());
        let mut at = self.served_from(id).unwrap();
        while at < self.high_watermark(id).unwrap() {
            match self.read(id, at).await {
                Ok(base) => read.push(base),
                Err(ReadError::Load(LoadError::Corrupt(key, _))) => {
                    assert!(key.contains(PREFIX), "{key}");
                    lost.push(at);
                }
                Err(error) => panic!("{at}: {error}"),
            }
            at += 5;
        }
        (read, lost)
    }

    async fn damaged(&self, id: TopicPartition) -> Vec<i64> {
        let owned = self.context.owned(id).unwrap();
        let state = owned.state.lock().await;
        state.damaged.keys().map(|base| base.get()).collect()
    }
}

/// Three segments of three batches of five records, and two batches in the WAL; gives all bases.
async fn three_segments(rig: &Rig, id: TopicPartition) -> Vec<i64> {
    let mut bases = Vec::new();
    for _ in 0..3 {
        bases.extend(rig.produce_many(id, 3).await);
        rig.compact_all(id).await;
    }
    bases.extend(rig.produce_many(id, 2).await);
    bases
}

fn key(base: i64) -> String {
    format!("{PREFIX}{base:020}.kfs")
}

/// Bytes of one batch of five records.
fn batch_len() -> usize {
    batch(0, 5).len()
}

#[test]
fn a_damaged_segment_keeps_its_range_and_what_is_sound_is_served() {
    let cases: [(&str, Damage, &[i64]); 8] = [
        (
            "body",
            |mut b| {
                b[32 + batch_len() + 70] ^= 1;
                b
            },
            &[5],
        ),
        (
            "length of a batch",
            |mut b| {
                b[32 + batch_len() + 10] ^= 1;
                b
            },
            &[5],
        ),
        (
            "footer",
            |mut b| {
                let n = b.len();
                b[n - 2] ^= 1;
                b
            },
            &[],
        ),
        (
            "header",
            |mut b| {
                b[1] ^= 1;
                b
            },
            &[],
        ),
        (
            "truncated",
            |b| b[..32 + batch_len() + 40].to_vec(),
            &[5, 10],
        ),
        (
            "cut between batches",
            |b| b[..32 + batch_len()].to_vec(),
            &[5, 10],
        ),
        ("empty", |_| Vec::new(), &[0, 5, 10]),
        (
            "garbage",
            |_| b"<html>502 Bad Gateway</html>".repeat(40),
            &[0, 5, 10],
        ),
    ];
    for base in [0, 15, 30] {
        for (what, damage, lost) in cases {
            test(async move {
                let world = World::new();
                let rig = world.start().await;
                let id = rig.create("orders", 1).await;
                let mut bases = three_segments(&rig, id).await;
                rig.crash().await;
                world.damage(&key(base), damage).await;
                world.remove("manifest.kfm").await;
                let damaged = world.bytes(&key(base));
                let rig = world.start().await;
                let lost: Vec<i64> = lost.iter().map(|offset| base + offset).collect();
                let left = |bases: &[i64]| -> Vec<i64> {
                    let sound = bases.iter().filter(|base| !lost.contains(base));
                    sound.copied().collect()
                };
                assert_eq!(rig.served_from(id), Some(0), "{what} of {base}");
                assert_eq!(rig.damaged(id).await, [base], "{what} of {base}");
                let found = rig.read_all(id).await;
                assert_eq!(found, (left(&bases), lost.clone()), "{what} of {base}");
                // The log goes on, and nothing touches the object.
                bases.extend(rig.produce_many(id, 2).await);
                rig.compact_all(id).await;
                rig.crash().await;
                let rig = world.start().await;
                assert_eq!(
                    rig.read_all(id).await,
                    (left(&bases), lost.clone()),
                    "{what}"
                );
                assert_eq!(world.bytes(&key(base)), damaged, "{what} of {base}");
                rig.crash().await;
            });
        }
    }
}

#[test]
fn a_segment_that_is_damaged_on_its_way_is_read_again() {
    for fault in [Fault::FlipBit, Fault::Truncate] {
        test(async move {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            let bases = three_segments(&rig, id).await;
            rig.crash().await;
            world.remove("manifest.kfm").await;
            world.faulty.add_scripted(Scripted {
                operation: Operation::Get,
                prefix: key(15),
                skip: 0,
                fault: fault.clone(),
            });
            let rig = world.start().await;
            assert_eq!(rig.damaged(id).await, [0; 0]);
            assert_eq!(rig.read_all(id).await, (bases, Vec::new()));
            rig.crash().await;
        });
    }
}

/// What the manifest tells of is not read when a partition is opened: the first reader finds it.
#[test]
fn damage_that_a_reader_finds_costs_only_what_is_lost() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let bases = three_segments(&rig, id).await;
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.damaged(id).await, [0; 0]);
        let sound = world.bytes(&key(15));
        world
            .damage(&key(15), |mut b| {
                b[32 + 70] ^= 1;
                b
            })
            .await;
        let (read, lost) = rig.read_all(id).await;
        assert_eq!(lost, [15]);
        assert_eq!(read.len(), bases.len() - 1);
        assert_eq!(rig.damaged(id).await, [15]);
        // It is not written into the manifest, so that the next owner looks at it again.
        rig.produce_many(id, 1).await;
        rig.compact_all(id).await;
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.damaged(id).await, [15]);
        // Somebody restores the object under the running broker.
        world.put(&key(15), sound).await;
        let owned = rig.context.owned(id).unwrap();
        for damaged in owned.state.lock().await.damaged.values_mut() {
            damaged.looked -= Duration::from_secs(60);
        }
        assert_eq!(rig.read_all(id).await.1, [0; 0]);
        assert_eq!(rig.damaged(id).await, [0; 0]);
        rig.crash().await;
    });
}

#[test]
fn an_index_or_manifest_that_is_missing_or_wrong_costs_nothing() {
    let wrong: [(&str, Option<Damage>); 4] = [
        (".index", None),
        (".index", Some(|_| b"IDX?".to_vec())),
        ("manifest.kfm", None),
        (
            "manifest.kfm",
            Some(|mut b| {
                b[60] ^= 1;
                b
            }),
        ),
    ];
    for (part, damage) in wrong {
        test(async move {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            let bases = three_segments(&rig, id).await;
            rig.crash().await;
            match damage {
                None => world.remove(part).await,
                Some(damage) => {
                    for key in world.keys(part) {
                        world.damage(&key, damage).await;
                    }
                }
            }
            let rig = world.start().await;
            assert_eq!(rig.read_all(id).await, (bases, vec![]), "{part}");
            assert_eq!(rig.damaged(id).await, [0; 0]);
            rig.crash().await;
        });
    }
    // An index that can be read and is that of another segment.
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        rig.produce(id, &batch(0, 7)).await.unwrap();
        rig.produce_many(id, 100).await;
        rig.compact_all(id).await;
        rig.crash().await;
        let index = world.keys(".index").remove(0);
        let mut chunks = vec![batch(0, 9)];
        chunks.extend((0..100).map(|n| batch(9 + n * 5, 5)));
        let other = segment::index::Index::build(&chunks, 100).unwrap();
        world.put(&index, other.encode().to_vec()).await;
        let rig = world.start().await;
        assert_eq!(rig.read(id, 502).await, Ok(502));
        assert_eq!(rig.read(id, 0).await, Ok(0));
        assert_eq!(rig.damaged(id).await, [0; 0]);
        rig.crash().await;
    });
}

#[test]
fn merges_and_log_compaction_leave_a_damaged_segment_alone_and_retention_does_not() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        for _ in 0..18 {
            rig.produce_many(id, 1).await;
            rig.compact_all(id).await;
        }
        rig.crash().await;
        world.damage(&key(45), |_| Vec::new()).await;
        let rig = world.start().await;
        for _ in 0..2 {
            let merged = merge(&rig.context, id, 64 << 20).await.unwrap();
            assert!(merged.is_some_and(|segments| segments >= 8), "{merged:?}");
        }
        assert_eq!(merge(&rig.context, id, 64 << 20).await.unwrap(), None);
        assert_eq!(world.bytes(&key(45)), b"");
        let (read, lost) = rig.read_all(id).await;
        assert_eq!((read.len(), lost), (17, vec![45]));
        let settings = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let new = NewConfig {
            config: TopicConfig::from_overrides(settings.into()).unwrap(),
            based_on: None,
        };
        rig.served
            .catalog
            .alter_config(id.topic, new)
            .await
            .unwrap();
        let before: Vec<Vec<u8>> = [45, 50].map(|base| world.bytes(&key(base))).into();
        assert_eq!(
            Cleaner::new(rig.context.clone()).clean(id).await.unwrap(),
            1
        );
        let after: Vec<Vec<u8>> = [45, 50].map(|base| world.bytes(&key(base))).into();
        assert_eq!(
            after, before,
            "nothing from the damaged segment on is rewritten"
        );
        let to = Offset::new(50);
        assert_eq!(raise_log_start(&rig.context, id, to).await, Ok(to));
        assert_eq!(rig.damaged(id).await, [0; 0]);
        assert_eq!(
            world.keys(".kfs").len(),
            1,
            "it goes with what is below the log start"
        );
        rig.crash().await;
    });
}

/// A segment that is damaged when it is to be merged: the merge is given up, not tried for ever.
#[test]
fn a_merge_that_finds_damage_leaves_it_out() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        for _ in 0..18 {
            rig.produce_many(id, 1).await;
            rig.compact_all(id).await;
        }
        world
            .damage(&key(45), |mut b| {
                b[100] ^= 1;
                b
            })
            .await;
        let error = merge(&rig.context, id, 64 << 20).await.unwrap_err();
        crate::control::compactor::examine_damaged(&rig.context, id, &error).await;
        assert_eq!(rig.damaged(id).await, [45]);
        assert_eq!(merge(&rig.context, id, 64 << 20).await.unwrap(), Some(9));
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.read_all(id).await.1, [45]);
        rig.crash().await;
    });
}
