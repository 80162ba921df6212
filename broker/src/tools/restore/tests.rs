use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::control::segments::{find_segments, object_keys, read_whole};
use crate::tools::testing::ground;
use coord::keys::cluster::CommitMode;
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::{Record, encode, restore as announced, topic_generation};
use coord::kv::simulated::Simulated;
use coord::kv::{Kv, Op, Txn, wait};
use futures_util::FutureExt;
use proptest::prelude::*;
use segment::batch::{Batches, Codec};
use segment::keys::TopicDir;
use segment::kfs::KfsObject;
use segment::manifest::Manifest;
use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
use segment::{LeaderEpoch, TopicId, TopicPartition};
use store::memory::MemoryStore;
use store::{Body, PutCondition};

const SOURCE: TopicId = TopicId::new([7; 16]);

type Row = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// A batch: its base, its codec, and its records' offsets from there and timestamps.
#[derive(Debug, Clone)]
struct Given {
    base: i64,
    codec: Codec,
    rows: Vec<(i32, i64)>,
}

impl Given {
    fn bytes(&self) -> Bytes {
        let mut builder = RecordBatchBuilder::new()
            .base_offset(Offset::new(self.base))
            .leader_epoch(LeaderEpoch::new(i32::try_from(self.base / 40).unwrap()))
            .codec(self.codec);
        for (delta, timestamp) in &self.rows {
            let key = format!("{}", self.base + i64::from(*delta));
            let value = key.repeat(3);
            let record = NewRecord {
                timestamp: TimestampMs::new(*timestamp),
                key: (delta % 2 == 0).then_some(key.as_bytes()),
                value: (delta % 5 != 4).then_some(value.as_bytes()),
                headers: &[("h", Some(b"x")), ("none", None)],
            };
            builder.push_at(*delta, record).unwrap();
        }
        builder.build().unwrap()
    }
}

struct World {
    ground: Ground,
    store: MemoryStore,
}

impl World {
    fn new() -> Self {
        let store = MemoryStore::new();
        let kv: Arc<dyn Kv> = Arc::new(Simulated::new());
        let ground = ground(Arc::new(store.clone()), kv, CommitMode::Conditional);
        let world = Self { ground, store };
        let cluster = world.ground.cluster.clone().unwrap();
        world.put(coord::keys::cluster::key(&world.ground.space), &cluster);
        world
    }

    fn put<T: Record>(&self, key: coord::kv::Key, record: &T) {
        let txn = Txn::new().and_then(Op::put(key, encode(record)));
        wait(self.ground.kv.txn(txn)).unwrap();
    }

    fn read<T: Record>(&self, key: coord::kv::Key) -> Option<T> {
        let found = wait(self.ground.kv.get(key)).unwrap();
        seen::<T>(found.as_ref()).unwrap().map(|seen| seen.record)
    }

    /// Topic `a` with these partitions: each a list of segments of batches, and a log start.
    async fn source(&self, partitions: &[(i64, Vec<Vec<Given>>)]) {
        let Ground { space, keys, .. } = &self.ground;
        let dir = TopicDir::new(name("a"), 0);
        for (index, (log_start, segments)) in (0..).zip(partitions) {
            let id = TopicPartition::new(SOURCE, PartitionIndex::new(index));
            let mut end = Offset::ZERO;
            for segment in segments {
                let chunks = segment.iter().map(Given::bytes).collect();
                let kfs = KfsObject::build(end, TimestampMs::new(1), chunks).unwrap();
                let key = keys.segment(&dir, id.partition, end);
                end = kfs.last_offset.next().unwrap();
                let body = Body::new(kfs.chunks);
                let put = self.ground.objects.put(&key, body, PutCondition::IfAbsent);
                put.await.unwrap();
            }
            let record = PartitionRecord {
                leader_epoch: LeaderEpoch::new(90),
                compacted_end: end,
                log_start: Offset::new(*log_start),
                ..PartitionRecord::absent()
            };
            self.put(partition::key(space, id), &record);
        }
        let record = TopicRecord {
            topic_id: SOURCE,
            generation: 0,
            partition_count: i32::try_from(partitions.len()).unwrap(),
            configs: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
            created_ms: TimestampMs::new(1),
        };
        self.put(topic::key(space, &name("a")), &record);
        let counter = topic_generation::TopicGenerationRecord { next: 1 };
        self.put(topic_generation::key(space, &name("a")), &counter);
    }

    async fn restore(&self, wanted: &Restore) -> Result<Report, RestoreError> {
        restore(&self.ground, wanted, &|_| ()).await
    }

    /// The records of a partition of a topic that a broker would serve, its range, and its batches.
    async fn served(&self, topic_name: &str, index: i32) -> (Vec<Row>, (i64, i64), Vec<Vec<u8>>) {
        let Ground {
            space,
            keys,
            objects,
            ..
        } = &self.ground;
        let topic: TopicRecord = self.read(topic::key(space, &name(topic_name))).unwrap();
        let dir = TopicDir::new(name(topic_name), topic.generation);
        let id = TopicPartition::new(topic.topic_id, PartitionIndex::new(index));
        let record: PartitionRecord = self.read(partition::key(space, id)).unwrap();
        let found = find_segments(objects, keys, &dir, id, &record)
            .await
            .unwrap();
        assert!(topic_name == "a" || found.dead.is_empty());
        let start = record.log_start.max(found.covered_from);
        let (mut rows, mut batches) = (Vec::new(), Vec::new());
        for segment in &found.live {
            let whole = read_whole(objects, keys, &dir, id.partition, segment.base).await;
            let body = whole.unwrap().unwrap().body;
            for batch in Batches::strict(&body) {
                let batch = batch.unwrap();
                assert!(batch.header.leader_epoch <= record.leader_epoch);
                let base = batch.header.base_offset;
                let epoch = record.epochs.iter().rfind(|past| past.start <= base);
                // A consumer asks where the epoch of this batch ended.
                let epoch = epoch.map(|past| past.epoch);
                assert!(topic_name == "a" || epoch == Some(batch.header.leader_epoch));
                let set = RecordSet::decode(batch.bytes, &DecodeLimits::default()).unwrap();
                batches.push(batch.bytes.to_vec());
                for read in set.iter().map(Result::unwrap).filter(|r| r.offset >= start) {
                    assert_eq!(read.headers.len(), 2);
                    let bytes = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
                    let (offset, timestamp) = (read.offset.get(), read.timestamp.get());
                    rows.push((offset, timestamp, bytes(read.key), bytes(read.value)));
                }
            }
        }
        (rows, (start.get(), record.compacted_end.get()), batches)
    }

    fn keys(&self, part: &str) -> Vec<String> {
        let all = self.store.objects().into_iter();
        let all = all.map(|(key, _)| key.as_str().to_owned());
        all.filter(|key| key.contains(part)).collect()
    }

    fn metadata(&self) -> Vec<String> {
        let all = wait(range_all(&self.ground.kv, self.ground.space.span())).unwrap();
        all.entries
            .iter()
            .map(|entry| entry.key.to_string())
            .collect()
    }
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn wanted(until: i64) -> Restore {
    Restore {
        source: name("a"),
        target: name("b"),
        until: TimestampMs::new(until),
        partitions: None,
        segment_bytes: 400,
        dry_run: false,
    }
}

fn test(body: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(body);
}

/// Three batches in two segments; times 1 to 9, not in order.
fn small() -> Vec<Vec<Given>> {
    let given = |base, codec, rows: &[(i32, i64)]| Given {
        base,
        codec,
        rows: rows.to_vec(),
    };
    vec![
        vec![
            given(0, Codec::None, &[(0, 1), (1, 7), (2, 2)]),
            given(3, Codec::Zstd, &[(0, 3), (2, 9)]),
        ],
        vec![given(6, Codec::Gzip, &[(0, 4), (1, 5)])],
    ]
}

fn log() -> impl Strategy<Value = (i64, Vec<Vec<Given>>)> {
    let record = (1_i32..4, 0_i64..50);
    let batch = (
        prop::collection::vec(record, 1..6),
        prop::sample::select(Codec::ALL.to_vec()),
        prop_oneof![3 => Just(0_i64), 1 => 1_i64..9],
    );
    let segments = prop::collection::vec(prop::collection::vec(batch, 1..5), 0..4);
    (segments, 0_i64..30).prop_map(|(segments, start)| {
        let mut at = 0;
        let segments: Vec<Vec<Given>> = segments
            .into_iter()
            .map(|segment| {
                let batch = |(records, codec, hole): (Vec<(i32, i64)>, Codec, i64)| {
                    let base = at + hole;
                    let mut delta = -1;
                    let row = |(step, time): (i32, i64)| {
                        delta += step;
                        (delta, time)
                    };
                    let rows: Vec<(i32, i64)> = records.into_iter().map(row).collect();
                    at = base + i64::from(delta) + 1;
                    Given { base, codec, rows }
                };
                segment.into_iter().map(batch).collect()
            })
            .collect();
        (start.min(at), segments)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The rule: what is not later than the moment, at its offset, and nothing else.
    #[test]
    fn the_target_holds_what_a_filter_of_the_source_leaves(
        logs in prop::collection::vec(log(), 1..4),
        until in -1_i64..51,
    ) {
        test(async {
            let world = World::new();
            world.source(&logs).await;
            let dry = Restore { dry_run: true, ..wanted(until) };
            let dry = world.restore(&dry).await.unwrap();
            assert!(world.keys("/b/").is_empty());
            let report = world.restore(&wanted(until)).await.unwrap();
            for (index, restored) in (0..).zip(&report.partitions) {
                let (before, source_range, source_batches) = world.served("a", index).await;
                let (after, range, batches) = world.served("b", index).await;
                let is_within = |row: &&Row| row.1 <= until;
                let expected: Vec<Row> = before.iter().filter(is_within).cloned().collect();
                assert_eq!(after, expected);
                let copied = restored.copied.as_ref().unwrap();
                let dry = dry.partitions[usize::try_from(index).unwrap()].copied.as_ref();
                assert_eq!(dry.map(|dry| (dry.records, dry.bytes)), Some((copied.records, copied.bytes)));
                assert_eq!(range, (source_range.0, copied.end.get()));
                assert!(copied.end <= restored.source_end);
                assert_eq!(restored.source_end.get(), source_range.1);
                let of_source = batches.iter().filter(|b| source_batches.contains(b)).count();
                assert_eq!(of_source as u64, batches.len() as u64 - copied.cut, "byte for byte");
            }
        });
    }
}

#[test]
fn the_topic_has_the_configuration_and_a_generation_of_its_own() {
    test(async {
        let world = World::new();
        world.source(&[(0, small()), (0, small())]).await;
        let one = Restore {
            partitions: Some([1].into()),
            ..wanted(5)
        };
        let report = world.restore(&one).await.unwrap();
        let topic = report.topic.unwrap();
        assert_ne!(topic.topic_id, SOURCE);
        assert_eq!(topic.configs["retention.ms"], "-1");
        assert_eq!(topic.partition_count, 2);
        assert_eq!(report.partitions[0].copied, None);
        assert_eq!(world.served("b", 0).await.1, (0, 0), "it was not asked for");
        let offsets: Vec<i64> = world
            .served("b", 1)
            .await
            .0
            .iter()
            .map(|row| row.0)
            .collect();
        assert_eq!(offsets, [0, 2, 3, 6, 7]);
        let counter = topic_generation::key(&world.ground.space, &name("b"));
        let counter: topic_generation::TopicGenerationRecord = world.read(counter).unwrap();
        assert_eq!(counter.next, topic.generation + 1);
        let announcement = announced::key(&world.ground.space, &name("b"));
        assert!(
            world
                .read::<announced::RestoreRecord>(announcement)
                .is_none()
        );
        let error = world.restore(&wanted(5)).await.unwrap_err();
        assert!(matches!(error, RestoreError::Exists(_)), "{error}");
    });
}

/// Objects that nobody knows lie under the prefix of the name: they are never taken for its own.
#[test]
fn a_prefix_that_is_in_use_is_passed_over() {
    test(async {
        let world = World::new();
        world.source(&[(0, small())]).await;
        let alien = "kafscale/default/b/0/segment-00000000000000000000.kfs";
        let put = world
            .ground
            .objects
            .put(alien, Body::from(vec![1]), PutCondition::None);
        put.await.unwrap();
        let report = world.restore(&wanted(5)).await.unwrap();
        assert_eq!(report.topic.unwrap().generation, 1);
        assert_eq!(world.keys("/b/"), [alien]);
        assert_eq!(world.served("b", 0).await.0.len(), 5);
    });
}

#[test]
fn what_an_interruption_leaves_is_invisible_and_goes_with_the_next_try() {
    test(async {
        let world = World::new();
        world.source(&[(0, small()), (0, small())]).await;
        // The bucket is full after a few objects, whenever that is.
        let used = world.store.used_bytes();
        for room in [0, 300, 600, 900] {
            world.store.set_capacity_bytes(Some(used + room));
            let small = Restore {
                segment_bytes: 1,
                ..wanted(5)
            };
            let error = world.restore(&small).await.unwrap_err();
            assert!(matches!(error, RestoreError::Put { .. }), "{error}");
            world.store.set_capacity_bytes(None);
            let target = topic::key(&world.ground.space, &name("b"));
            assert!(world.read::<TopicRecord>(target).is_none());
        }
        let left = world.keys("/b");
        assert!(!left.is_empty(), "the last try had written something");
        let report = world.restore(&wanted(5)).await.unwrap();
        assert!(report.discarded.is_some());
        let topic = report.topic.unwrap();
        assert_eq!(topic.generation, 4, "no prefix is used twice");
        let objects = world.keys("/b");
        assert!(
            objects.iter().all(|key| key.contains("/b@4/")),
            "{objects:?}"
        );
        let id = topic.topic_id.to_string();
        let metadata = world.metadata();
        let of_unknown = |key: &&String| {
            let is_partition = key.contains("/partitions/");
            is_partition && !key.contains(&id) && !key.contains(&SOURCE.to_string())
        };
        assert_eq!(metadata.iter().find(of_unknown), None);
        assert!(!metadata.iter().any(|key| key.contains("/restores/")));
        assert_eq!(world.served("b", 1).await.0.len(), 5);
    });
}

/// A run that was taken for dead makes nothing, and takes away what it has written.
#[test]
fn of_two_restores_to_one_name_the_later_one_wins() {
    test(async {
        let world = World::new();
        world.source(&[(0, small())]).await;
        let (first, _) = Target::announce(&world.ground, &wanted(5)).await.unwrap();
        let report = world.restore(&wanted(9)).await.unwrap();
        assert!(report.discarded.is_some());
        let partitions = report.partitions;
        let late = first.make(&partitions, BTreeMap::new()).await;
        assert!(matches!(late, Err(RestoreError::Overtaken(_))));
        first.discard().await.unwrap();
        assert_eq!(world.served("b", 0).await.0.len(), 7);
    });
}

/// The name is taken while the copy is made.
#[test]
fn a_topic_that_is_created_meanwhile_stays_and_nothing_is_left_of_the_copy() {
    test(async {
        let world = World::new();
        world.source(&[(0, small())]).await;
        let created = TopicRecord {
            topic_id: TopicId::new([3; 16]),
            generation: 5,
            partition_count: 1,
            configs: BTreeMap::new(),
            created_ms: TimestampMs::ZERO,
        };
        let key = topic::key(&world.ground.space, &name("b"));
        let progress = |_| world.put(key.clone(), &created);
        let outcome = restore(&world.ground, &wanted(5), &progress).await;
        assert!(matches!(outcome, Err(RestoreError::Overtaken(_))));
        assert_eq!(
            world.read::<TopicRecord>(key.clone()),
            Some(created.clone())
        );
        assert!(world.keys("/b").is_empty());
        let metadata = world.metadata();
        assert!(!metadata.iter().any(|key| key.contains("/restores/")));
        let source = SOURCE.to_string();
        let mut partitions = metadata.iter().filter(|key| key.contains("/partitions/"));
        assert!(partitions.all(|key| key.contains(&source)));
    });
}

#[test]
fn what_cannot_be_restored_is_refused() {
    test(async {
        let world = World::new();
        let none = world.restore(&wanted(5)).await.unwrap_err();
        assert!(matches!(none, RestoreError::NoSource(_)), "{none}");
        let buried = tombstone::TombstoneRecord {
            name: "a".to_owned(),
            generation: 0,
            partition_count: 1,
            deleted_ms: TimestampMs::ZERO,
        };
        world.put(tombstone::key(&world.ground.space, SOURCE), &buried);
        let deleted = world.restore(&wanted(5)).await.unwrap_err();
        assert!(matches!(deleted, RestoreError::Deleted(_)), "{deleted}");
        world.source(&[(0, small())]).await;
        let partition = Restore {
            partitions: Some([1].into()),
            ..wanted(5)
        };
        let error = world.restore(&partition).await.unwrap_err();
        assert!(matches!(error, RestoreError::NoPartition { .. }), "{error}");
        let dotted = Restore {
            target: name("b.c"),
            ..wanted(5)
        };
        world.restore(&dotted).await.unwrap();
        let collides = Restore {
            target: name("b_c"),
            ..wanted(5)
        };
        let error = world.restore(&collides).await.unwrap_err();
        assert!(matches!(error, RestoreError::Collision(..)), "{error}");
    });
}

/// Retention goes on under a restore: what has gone is no part of it, and the rest is.
#[test]
fn what_goes_while_it_is_read_is_left_out() {
    for (log_start, expected) in [(6, vec![6, 7]), (8, Vec::new())] {
        test(async {
            let world = World::new();
            world.source(&[(0, small())]).await;
            let id = TopicPartition::new(SOURCE, PartitionIndex::ZERO);
            let key = partition::key(&world.ground.space, id);
            let before: PartitionRecord = world.read(key.clone()).unwrap();
            let first = world.keys("/a/0/segment-00000000000000000000.kfs");
            let progress = |step| {
                if let Step::Total(_) = step {
                    let log_start = Offset::new(log_start);
                    let record = PartitionRecord {
                        log_start,
                        ..before.clone()
                    };
                    world.put(key.clone(), &record);
                    let gone = first
                        .iter()
                        .map(|key| store::ObjectKey::new(key.as_str()).unwrap());
                    let deleted = world.ground.store.delete(gone.collect());
                    assert!(deleted.now_or_never().unwrap()[0].1.is_ok());
                }
            };
            restore(&world.ground, &wanted(5), &progress).await.unwrap();
            let (rows, ..) = world.served("b", 0).await;
            let offsets: Vec<i64> = rows.iter().map(|row| row.0).collect();
            assert_eq!(offsets, expected);
        });
    }
}

/// The manifest tells brokers all: they read no segment when they take the topic.
#[test]
fn brokers_need_not_read_the_segments_to_open_them() {
    test(async {
        let world = World::new();
        world.source(&[(0, small())]).await;
        world.restore(&wanted(9)).await.unwrap();
        let Ground { keys, objects, .. } = &world.ground;
        let manifest = world.keys("/b/0/manifest.kfm");
        let found = objects
            .get(&manifest[0], store::GetRange::Full)
            .await
            .unwrap();
        let manifest = Manifest::parse(&found.bytes).unwrap();
        let segments = world.keys("/b/0/segment-");
        assert_eq!(segments.len(), 2 * manifest.segments.len());
        let dir = TopicDir::new(name("b"), 0);
        for entry in &manifest.segments {
            let partition = PartitionIndex::ZERO;
            let [index, key] = object_keys(keys, &dir, partition, entry.base);
            assert!(segments.contains(&index) && segments.contains(&key));
            let whole = read_whole(objects, keys, &dir, partition, entry.base).await;
            assert_eq!(whole.unwrap().unwrap().segment, *entry);
        }
    });
}
