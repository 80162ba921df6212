use std::cell::Cell;
use std::sync::Arc;

use super::*;
use crate::control::segments::find_segments;
use crate::tools::testing::ground;
use coord::keys::Record;
use coord::keys::cluster::CommitMode;
use coord::kv::simulated::Simulated;
use coord::kv::{Key, Kv, Op, Span, Txn, Value, wait};
use segment::keys::KeySpace;
use store::memory::MemoryStore;
use store::{Body, PutCondition};

#[path = "../../../tests/common/original.rs"]
mod bytes;

use bytes::{batch, key, segment, snapshot};

const ID: [u8; 16] = [0xfa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

type Objects = Vec<(String, Vec<u8>)>;
type Metadata = Vec<(Key, Value)>;

struct World {
    ground: Ground,
    store: MemoryStore,
}

impl World {
    /// `orders` with three partitions; nothing in the bucket.
    fn new() -> Self {
        let store = MemoryStore::new();
        let kv: Arc<dyn Kv> = Arc::new(Simulated::new());
        let mut ground = ground(Arc::new(store.clone()), kv, CommitMode::Conditional);
        ground.keys = KeySpace::new("", "kafscale-wal/", "default").unwrap();
        ground.cluster = None;
        let world = Self { ground, store };
        world.put_key(
            "/kafscale/metadata/snapshot",
            snapshot(&[("orders", ID, 3)]).as_bytes(),
        );
        world
    }

    fn put_key(&self, key: &str, value: &[u8]) {
        let op = Op::put(key.into(), Value::from(value.to_vec()));
        wait(self.ground.kv.txn(Txn::new().and_then(op))).unwrap();
    }

    async fn put_object(&self, key: &str, bytes: Vec<u8>) {
        let put = self
            .ground
            .objects
            .put(key, Body::from(bytes), PutCondition::None);
        put.await.unwrap();
    }

    /// A segment of one batch, `base` to before `end`.
    async fn segment(&self, partition: i32, base: i64, end: i64) {
        let records: Vec<(i64, &str)> = (base..end).map(|at| (1_000 + at, "v")).collect();
        let (kfs, index) = segment(base, 7, &[batch(base, -1, &records)]);
        self.put_object(&key("orders", partition, base, "kfs"), kfs)
            .await;
        self.put_object(&key("orders", partition, base, "index"), index)
            .await;
    }

    async fn adopt(&self) -> Result<Vec<AdoptedTopic>, AdoptError> {
        adopt(&self.ground, &wanted(false), &|_| ()).await
    }

    async fn orders(&self) -> AdoptedTopic {
        let mut all = self.adopt().await.unwrap();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn read<T: Record>(&self, key: Key) -> Option<T> {
        let found = wait(self.ground.kv.get(key)).unwrap();
        seen::<T>(found.as_ref()).unwrap().map(|seen| seen.record)
    }

    fn topic(&self) -> Option<TopicRecord> {
        self.read(topic::key(&self.ground.space, &name()))
    }

    fn partition(&self, partition: i32) -> Option<PartitionRecord> {
        self.read(partition::key(&self.ground.space, id(partition)))
    }

    fn committed(&self, group: &str, partition: i32) -> Option<GroupOffsetRecord> {
        self.read(group_offset::key(&self.ground.space, group, id(partition)))
    }

    fn everything(&self) -> (Objects, Metadata) {
        let objects = self.store.objects().into_iter();
        let objects = objects.map(|(key, bytes)| (key.as_str().to_owned(), bytes.to_vec()));
        let all = wait(range_all(&self.ground.kv, Span::prefix("/"))).unwrap();
        let keys = all
            .entries
            .into_iter()
            .map(|entry| (entry.key, entry.value));
        (objects.collect(), keys.collect())
    }
}

fn wanted(dry_run: bool) -> Adopt {
    Adopt {
        prefix: PREFIX_DEFAULT.to_owned(),
        topics: None,
        with_retention: false,
        dry_run,
    }
}

fn name() -> TopicName {
    TopicName::new("orders").unwrap()
}

fn id(partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId::new(ID), PartitionIndex::new(partition))
}

fn test(body: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(body);
}

/// What the original's defects leave: overlaps, gaps, segments without an index and the other way
/// round, offsets that were given out and never stored.
async fn battered() -> World {
    let world = World::new();
    for (partition, base, end) in [
        (0, 0, 3),
        (0, 1, 3),
        (0, 3, 5),
        (1, 0, 2),
        (1, 4, 6),
        (1, 6, 7),
    ] {
        world.segment(partition, base, end).await;
    }
    let orphan = [key("orders", 0, 3, "index")];
    assert_eq!(world.ground.objects.delete(&orphan).await, 0);
    let lost = [key("orders", 1, 0, "kfs")];
    assert_eq!(world.ground.objects.delete(&lost).await, 0);
    world.segment(1, 1, 2).await;
    world
        .put_object("default/orders/lfs/2026/01/01/obj-1", b"large".to_vec())
        .await;
    let topic = "/kafscale/topics/orders";
    world.put_key(&format!("{topic}/partitions/0/next_offset"), b"9");
    world.put_key(&format!("{topic}/partitions/2/next_offset"), b"40");
    // retention_ms: 5, which the original never carried out.
    world.put_key(&format!("{topic}/config"), b"\x0a\x06orders\x20\x05");
    let consumers = "/kafscale/consumers/team/a/offsets/orders";
    for (partition, offset) in [(0, 9), (1, 5), (7, 1)] {
        let value = format!(r#"{{"offset":{offset},"metadata":"m","committed_at":"x"}}"#);
        world.put_key(&format!("{consumers}/{partition}"), value.as_bytes());
    }
    world
}

#[test]
fn what_the_defects_of_the_original_left_is_reported_and_the_rest_is_served() {
    test(async {
        let world = battered().await;
        let before = world.everything();
        let looked = adopt(&world.ground, &wanted(true), &|_| ()).await.unwrap();
        assert_eq!(world.everything(), before, "a dry run writes nothing");
        let adopted = world.orders().await;
        assert_eq!(adopted.outcome, Outcome::Adopted);
        assert_eq!(adopted.logs, looked[0].logs);
        let [zero, one, two] = &adopted.logs[..] else {
            panic!("three partitions")
        };
        let range = |log: &OriginalLog| (log.start.get(), log.end.get(), log.segments);
        assert_eq!(
            [range(zero), range(one), range(two)],
            [(0, 5, 2), (4, 7, 2), (40, 40, 0)]
        );
        let left = |log: &OriginalLog| {
            let left = log.left_out.iter();
            let left = left.map(|left| (left.base.get(), left.reason.clone()));
            left.collect::<Vec<_>>()
        };
        assert_eq!(left(zero), [(1, Reason::Inside)]);
        assert_eq!(left(one), [(1, Reason::Apart)]);
        assert_eq!((zero.without_index, one.without_segment), (1, 1));
        assert_eq!(zero.given_out, Some(Offset::new(9)));
        assert_eq!((one.given_out, two.given_out), (None, None));
        assert_eq!(
            (
                adopted.offsets,
                adopted.offsets_clamped,
                adopted.offsets_left_out
            ),
            (2, 1, 1)
        );
        assert_eq!(adopted.settings_left_out.len(), 1);
        // Our metadata.
        let topic = world.topic().unwrap();
        assert_eq!((topic.topic_id, topic.generation), (TopicId::new(ID), 0));
        assert_eq!(topic.configs["retention.ms"], "-1", "nothing is deleted");
        let ends: Vec<i64> = (0..3)
            .map(|p| world.partition(p).unwrap().compacted_end.get())
            .collect();
        assert_eq!(ends, [5, 7, 40]);
        let offset = |group: &str, partition| world.committed(group, partition).unwrap().offset;
        assert_eq!(offset("team/a", 0), Offset::new(5), "not above the end");
        assert_eq!(offset("team/a", 1), Offset::new(5));
        assert_eq!(world.committed("team/a", 1).unwrap().metadata, "m");
        // Nothing of the original's was changed.
        let after = world.everything();
        assert!(before.0.iter().all(|object| after.0.contains(object)));
        assert!(before.1.iter().all(|key| after.1.contains(key)));
        let new = after.0.iter().filter(|object| !before.0.contains(object));
        let new: Vec<&str> = new.map(|(key, _)| key.as_str()).collect();
        let orphan = key("orders", 0, 3, "index");
        assert_eq!(
            new,
            [
                "default/orders/0/manifest.kfm",
                orphan.as_str(),
                "default/orders/1/manifest.kfm"
            ]
        );
        // Brokers find what was told.
        for log in &adopted.logs {
            let record = world.partition(log.partition.get()).unwrap();
            let (objects, keys) = (&world.ground.objects, &world.ground.keys);
            let dir = TopicDir::new(name(), 0);
            let id = id(log.partition.get());
            let found = find_segments(objects, keys, &dir, id, &record)
                .await
                .unwrap();
            assert_eq!(found.covered_from, log.start);
            assert_eq!(found.live.len(), log.segments);
        }
    });
}

#[test]
fn an_adoption_is_done_once_and_goes_on_where_it_was_interrupted() {
    test(async {
        let world = battered().await;
        world.orders().await;
        let first = world.everything();
        assert_eq!(world.orders().await.outcome, Outcome::Already);
        assert_eq!(world.everything(), first);
        // As if it had ended before the last transaction.
        let space = &world.ground.space;
        for key in [
            topic::key(space, &name()),
            topic_generation::key(space, &name()),
        ] {
            wait(world.ground.kv.txn(Txn::new().and_then(Op::Delete(key)))).unwrap();
        }
        assert_eq!(world.orders().await.outcome, Outcome::Adopted);
        assert_eq!(world.everything().0, first.0);
        assert_eq!(world.topic().unwrap().topic_id, TopicId::new(ID));
    });
}

#[test]
fn leader_epochs_of_clients_are_kept_below_ours() {
    test(async {
        let world = World::new();
        let (kfs, index) = segment(0, 7, &[batch(0, -1, &[(1, "a")]), batch(1, 6, &[(2, "b")])]);
        world.put_object(&key("orders", 0, 0, "kfs"), kfs).await;
        world.put_object(&key("orders", 0, 0, "index"), index).await;
        world.orders().await;
        let record = world.partition(0).unwrap();
        assert_eq!(record.leader_epoch, LeaderEpoch::new(6));
        assert_eq!(record.epochs.len(), 1);
        assert_eq!(record.epochs[0].start, Offset::new(1));
    });
}

#[test]
fn a_damaged_segment_is_left_out_and_at_the_end_it_refuses_the_topic() {
    test(async {
        let world = World::new();
        world.segment(0, 0, 3).await;
        world.segment(0, 5, 8).await;
        let (mut kfs, _) = segment(3, 7, &[batch(3, -1, &[(1, "a"), (2, "b")])]);
        kfs[80] ^= 1;
        world
            .put_object(&key("orders", 0, 3, "kfs"), kfs.clone())
            .await;
        let looked = adopt(&world.ground, &wanted(true), &|_| ()).await.unwrap();
        let log = &looked[0].logs[0];
        assert_eq!((log.start.get(), log.end.get()), (5, 8));
        let damaged = |left: &LeftOut| matches!(left.reason, Reason::Damaged(_));
        assert_eq!(log.left_out.len(), 2);
        assert!(damaged(&log.left_out[1]));
        assert_eq!(looked[0].outcome, Outcome::Adopted);
        // Nothing of it shows where the log ends.
        world
            .put_object(&key("orders", 1, 0, "kfs"), Vec::new())
            .await;
        let Outcome::Refused(why) = world.orders().await.outcome else {
            panic!("the first segment of a broker would need that key")
        };
        assert!(why.contains(&key("orders", 1, 0, "kfs")), "{why}");
        assert_eq!(world.topic(), None);
        assert_eq!(world.partition(0), None);
    });
}

#[test]
fn names_that_cannot_be_ours_are_refused() {
    test(async {
        let world = World::new();
        let topics = [("orders", ID, 1), ("a b", [1; 16], 1), ("none", [2; 16], 0)];
        let value = snapshot(&topics);
        world.put_key("/kafscale/metadata/snapshot", value.as_bytes());
        world.segment(0, 0, 3).await;
        let record = TopicRecord {
            topic_id: TopicId::new([9; 16]),
            generation: 0,
            partition_count: 1,
            configs: BTreeMap::new(),
            created_ms: wall_clock(),
        };
        let key = topic::key(&world.ground.space, &name());
        let stored = coord::keys::encode(&record);
        world.put_key(key.as_str().unwrap(), stored.as_bytes());
        for topic in world.adopt().await.unwrap() {
            assert!(matches!(topic.outcome, Outcome::Refused(_)), "{topic:?}");
            assert!(topic.logs.is_empty());
        }
        // A topic that was deleted here: its objects may be being swept.
        wait(world.ground.kv.txn(Txn::new().and_then(Op::Delete(key)))).unwrap();
        let counter = topic_generation::key(&world.ground.space, &name());
        world.put_key(counter.as_str().unwrap(), br#"{"v":1,"next":1}"#);
        let adopted = world.adopt().await.unwrap();
        assert!(matches!(adopted[0].outcome, Outcome::Refused(_)));
        let unknown = Adopt {
            topics: Some(["payments".to_owned()].into()),
            ..wanted(false)
        };
        let error = adopt(&world.ground, &unknown, &|_| ()).await.unwrap_err();
        assert!(matches!(error, AdoptError::NoTopic(_)));
    });
}

#[test]
fn nothing_is_adopted_while_anybody_runs() {
    test(async {
        let world = battered().await;
        let session = format!("/kafscale/kafscale/sessions/{:032x}", 5);
        world.put_key(&session, b"{}");
        let error = world.adopt().await.unwrap_err();
        assert!(matches!(error, AdoptError::BrokersRun(_)), "{error}");
        let looked = adopt(&world.ground, &wanted(true), &|_| ()).await.unwrap();
        assert_eq!(looked.len(), 1, "a dry run is no harm");
        let gone = Txn::new().and_then(Op::Delete(session.as_str().into()));
        wait(world.ground.kv.txn(gone)).unwrap();
        let lease = "/kafscale/partition-leases/orders/0";
        world.put_key(lease, b"broker-0");
        let error = world.adopt().await.unwrap_err().to_string();
        assert!(error.contains(lease), "{error}");
        wait(
            world
                .ground
                .kv
                .txn(Txn::new().and_then(Op::Delete(lease.into()))),
        )
        .unwrap();
        // It comes while segments are read.
        let told = Cell::new(false);
        let progress = |_| {
            if !told.replace(true) {
                world.put_key("/kafscale/topics/orders/partitions/1/next_offset", b"8");
            }
        };
        let error = adopt(&world.ground, &wanted(false), &progress)
            .await
            .unwrap_err();
        assert!(
            matches!(error, AdoptError::Original(OriginalError::Changed(_))),
            "{error}"
        );
        assert_eq!(world.topic(), None);
    });
}

#[test]
fn another_place_or_name_is_refused() {
    test(async {
        let mut world = battered().await;
        world.ground.keys = KeySpace::default();
        let error = world.adopt().await.unwrap_err().to_string();
        assert!(error.contains("KAFSCALE_S3_PREFIX"), "{error}");
        world.ground.keys = KeySpace::new("", "kafscale-wal/", "default").unwrap();
        let cluster = world.ground.keys.cluster();
        world
            .put_object(&cluster, b"other\nkafscale/default/\n".to_vec())
            .await;
        let error = world.adopt().await.unwrap_err();
        assert!(matches!(error, AdoptError::Place(_)), "{error}");
        world.ground.name = "topics".to_owned();
        let error = world.adopt().await.unwrap_err();
        assert!(matches!(error, AdoptError::ClusterName(_)), "{error}");
    });
}
