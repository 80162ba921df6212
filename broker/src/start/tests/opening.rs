//! Opening a partition costs one object, whatever the length of its log.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use coord::keys::partition::{self, PartitionRecord};
use coord::keys::{encode, seen};
use coord::kv::{Op, Txn};
use futures_util::FutureExt;
use segment::keys::{KeySpace, TopicDir};
use segment::kfs::KfsObject;
use segment::manifest::{Manifest, ManifestSegment};
use segment::{LeaderEpoch, TopicId};
use store::{
    Body, DeleteResults, ETag, GetError, GetOutcome, GetRange, HeadError, ListError, ListPage,
    ListRequest, ObjectKey, ObjectMeta, PutCondition, PutError, PutOutcome, StoreFuture,
};

use super::*;

/// Records of a made-up segment.
const RECORDS: i64 = 10;
/// Bytes of a made-up segment.
const BYTES: u64 = 1_000;

/// What has been read of the topic.
#[derive(Debug, Default)]
struct Reads {
    manifests: AtomicUsize,
    pages: AtomicUsize,
    others: Mutex<Vec<String>>,
    /// Segments that are being read, and the most that were at a time.
    under_way: AtomicUsize,
    most: AtomicUsize,
}

/// A store whose topic is made up, without bodies, when it is asked for; all else is in memory. With
/// `None` it only counts.
#[derive(Debug, Clone)]
struct Generated {
    memory: MemoryStore,
    keys: KeySpace,
    dir: TopicDir,
    topic: TopicId,
    segments: Option<i64>,
    reads: Arc<Reads>,
}

impl Generated {
    fn partition_of(&self, key: &str) -> Option<PartitionIndex> {
        let rest = key.strip_prefix(&self.keys.topic_prefix(&self.dir))?;
        let (index, _) = rest.split_once('/')?;
        Some(PartitionIndex::new(index.parse().unwrap()))
    }

    fn manifest(&self, partition: PartitionIndex, segments: i64) -> Bytes {
        let segment = |number: i64| ManifestSegment {
            base: Offset::new(number * RECORDS),
            end: Offset::new((number + 1) * RECORDS),
            bytes: BYTES,
            crc32: 0,
            created: TimestampMs::ZERO,
            max_timestamp: TimestampMs::new(number),
            max_timestamp_offset: None,
            time_points: Vec::new(),
        };
        let manifest = Manifest {
            partition: TopicPartition::new(self.topic, partition),
            leader_epoch: LeaderEpoch::ZERO,
            compacted_end: Offset::new(segments * RECORDS),
            log_start: Offset::ZERO,
            segments: (0..segments).map(segment).collect(),
        };
        manifest.encode()
    }

    /// Names in order, from after `after` on: the manifest, then of each segment index and body.
    fn page(
        &self,
        partition: PartitionIndex,
        segments: i64,
        request: &ListRequest,
    ) -> Vec<(String, u64)> {
        let after = request.start_after.as_deref().unwrap_or_default();
        let base = |number: i64| Offset::new(number * RECORDS);
        let first = (0..segments).collect::<Vec<_>>().partition_point(|number| {
            *self.keys.segment(&self.dir, partition, base(*number)) <= *after
        });
        let manifest = std::iter::once((self.keys.manifest(&self.dir, partition), 100));
        let rest = (first as i64..segments).flat_map(|number| {
            [
                (self.keys.index(&self.dir, partition, base(number)), 50),
                (self.keys.segment(&self.dir, partition, base(number)), BYTES),
            ]
        });
        let all = manifest.chain(rest);
        all.filter(|(key, _)| key.as_str() > after)
            .take(request.limit + 1)
            .collect()
    }

    fn list_topic(
        &self,
        partition: PartitionIndex,
        segments: i64,
        request: &ListRequest,
    ) -> ListPage {
        let mut found = self.page(partition, segments, request);
        let more = found.len() > request.limit;
        found.truncate(request.limit);
        let last = found.last().map(|(key, _)| key.clone());
        let any = self.memory.list(ListRequest::new("").limit(1));
        let any = any.now_or_never().unwrap().unwrap().objects.remove(0);
        let objects = found.into_iter().map(|(key, len)| ObjectMeta {
            key: ObjectKey::new(key).unwrap(),
            len,
            ..any.clone()
        });
        ListPage {
            objects: objects.collect(),
            next_start_after: last.filter(|_| more),
        }
    }
}

impl ObjectStore for Generated {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        self.memory.put(key, body, condition)
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        let Some(partition) = self.partition_of(key.as_str()) else {
            return self.memory.get(key, range);
        };
        if key.as_str() == self.keys.manifest(&self.dir, partition) {
            self.reads.manifests.fetch_add(1, Ordering::Relaxed);
        } else {
            self.reads.others.lock().unwrap().push(key.to_string());
        }
        let Some(segments) = self.segments else {
            let found = self.memory.get(key, range);
            let reads = self.reads.clone();
            return Box::pin(async move {
                let now = reads.under_way.fetch_add(1, Ordering::Relaxed) + 1;
                reads.most.fetch_max(now, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
                reads.under_way.fetch_sub(1, Ordering::Relaxed);
                found.await
            });
        };
        let bytes = self.manifest(partition, segments);
        let outcome = GetOutcome {
            object_len: bytes.len() as u64,
            bytes,
            etag: ETag::new("made up"),
        };
        Box::pin(async { Ok(outcome) })
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        self.memory.head(key)
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        let Some(partition) = self.partition_of(&request.prefix) else {
            return self.memory.list(request);
        };
        self.reads.pages.fetch_add(1, Ordering::Relaxed);
        let Some(segments) = self.segments else {
            return self.memory.list(request);
        };
        let page = self.list_topic(partition, segments, &request);
        Box::pin(async { Ok(page) })
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        self.memory.delete(keys)
    }
}

/// A topic of which etcd holds that all its records up to `end` are in segments.
async fn compacted_topic(
    world: &World,
    partitions: i32,
    end: i64,
) -> (KeySpace, TopicDir, TopicId) {
    let rig = world.start_as(Some(1)).await;
    let id = rig.create("orders", partitions as u32).await;
    let (kv, space, keys) = (
        rig.context.kv.clone(),
        rig.context.space.clone(),
        rig.context.keys.clone(),
    );
    let dir = TopicDir::clone(&rig.context.owned(id).unwrap().dir);
    rig.finish().await;
    for index in 0..partitions {
        let key = partition::key(
            &space,
            TopicPartition::new(id.topic, PartitionIndex::new(index)),
        );
        let found = kv.get(key.clone()).await.unwrap();
        let mut record = seen::<PartitionRecord>(found.as_ref())
            .unwrap()
            .unwrap()
            .record;
        record.compacted_end = Offset::new(end);
        let put = Op::put(key, encode(&record));
        kv.txn(Txn::new().and_then(put)).await.unwrap();
    }
    (keys, dir, id.topic)
}

/// Opens every partition, and gives what was read of the topic.
async fn open(world: &World, store: Generated, partitions: i32, end: i64) -> Arc<Reads> {
    let (topic, reads) = (store.topic, store.reads.clone());
    let rig = world.start_on(Some(1), Arc::new(store), &[]).await;
    for index in 0..partitions {
        let id = TopicPartition::new(topic, PartitionIndex::new(index));
        assert_eq!(rig.high_watermark(id), Some(end), "{id}");
    }
    rig.crash().await;
    reads
}

/// Each partition costs its manifest, and a page of LIST for every 1,000 objects.
async fn open_generated(partitions: i32, segments: i64) {
    let world = World::new();
    let end = segments * RECORDS;
    let (keys, dir, topic) = compacted_topic(&world, partitions, end).await;
    let store = Generated {
        memory: world.memory.clone(),
        keys,
        dir,
        topic,
        segments: Some(segments),
        reads: Arc::default(),
    };
    let began = Instant::now();
    let reads = open(&world, store, partitions, end).await;
    println!(
        "{partitions} partitions of {segments} segments opened in {:?}",
        began.elapsed()
    );
    let pages = (2 * segments as usize + 1).div_ceil(1_000);
    let count = partitions as usize;
    assert_eq!(reads.manifests.load(Ordering::Relaxed), count);
    assert_eq!(reads.pages.load(Ordering::Relaxed), count * pages);
    assert_eq!(*reads.others.lock().unwrap(), [""; 0], "no segment is read");
}

#[test]
fn opening_reads_one_object_of_a_partition_whatever_its_length() {
    test(async {
        open_generated(20, 3).await;
        open_generated(20, 1_000).await;
    });
}

#[test]
#[ignore = "takes minutes and gigabytes: scripts/full runs it"]
fn ten_thousand_partitions_of_a_thousand_segments_are_opened() {
    test(open_generated(10_000, 1_000));
}

/// A topic whose segments have bodies, as compaction writes them; the manifests tell of all but the
/// last so many.
async fn real_topic(partitions: i32, segments: i64, untold: i64) -> (World, Generated) {
    let world = World::new();
    let end = segments * RECORDS;
    let (keys, dir, topic) = compacted_topic(&world, partitions, end).await;
    let put = async |key: String, bytes: Bytes| {
        let key = ObjectKey::new(key).unwrap();
        let put = world.memory.put(key, Body::from(bytes), PutCondition::None);
        put.await.unwrap();
    };
    for index in 0..partitions {
        let partition = PartitionIndex::new(index);
        let mut told = Vec::new();
        for number in 0..segments {
            let base = Offset::new(number * RECORDS);
            let chunk = batch(base.get(), RECORDS as u32);
            let built = KfsObject::build(base, TimestampMs::ZERO, vec![chunk]).unwrap();
            put(keys.index(&dir, partition, base), built.index.encode()).await;
            put(keys.segment(&dir, partition, base), built.to_vec().into()).await;
            if number + untold >= segments {
                continue;
            }
            told.push(ManifestSegment {
                base,
                end: built.last_offset.next().unwrap(),
                bytes: built.len,
                crc32: built.crc32,
                created: TimestampMs::ZERO,
                max_timestamp: built.max_timestamp,
                max_timestamp_offset: None,
                time_points: Vec::new(),
            });
        }
        let manifest = Manifest {
            partition: TopicPartition::new(topic, partition),
            leader_epoch: LeaderEpoch::ZERO,
            compacted_end: Offset::new(end - untold * RECORDS),
            log_start: Offset::ZERO,
            segments: told,
        };
        put(keys.manifest(&dir, partition), manifest.encode()).await;
    }
    let store = Generated {
        memory: world.memory.clone(),
        keys,
        dir,
        topic,
        segments: None,
        reads: Arc::default(),
    };
    (world, store)
}

#[test]
fn a_hundred_partitions_of_a_thousand_segments_are_opened_by_few_reads() {
    test(async {
        let (partitions, segments) = (100, 1_000);
        let (world, store) = real_topic(partitions, segments, 1).await;
        let topic = store.topic;
        let reads = open(&world, store, partitions, segments * RECORDS).await;
        let others = reads.others.lock().unwrap().clone();
        assert_eq!(others.len(), partitions as usize, "the new segment of each");
        assert!(others.iter().all(|key| key.ends_with(".kfs")));
        let once: std::collections::HashSet<_> = others.iter().collect();
        assert_eq!(once.len(), others.len(), "each once");
        assert_eq!(reads.manifests.load(Ordering::Relaxed), partitions as usize);
        let rig = world.start_as(Some(1)).await;
        let last = TopicPartition::new(topic, PartitionIndex::new(partitions - 1));
        let expected: Vec<i64> = (0..segments).map(|number| number * RECORDS).collect();
        assert_eq!(rig.scan(last, 0).await, expected);
        rig.crash().await;
    });
}

/// A segment may have a gigabyte.
#[test]
fn segments_that_no_manifest_tells_of_are_read_a_few_at_a_time() {
    test(async {
        let (partitions, segments) = (5, 40);
        let (world, store) = real_topic(partitions, segments, segments).await;
        let reads = open(&world, store, partitions, segments * RECORDS).await;
        let others = reads.others.lock().unwrap().len();
        assert_eq!(others, partitions as usize * segments as usize);
        let most = reads.most.load(Ordering::Relaxed);
        // Manifests are read at the same time.
        assert!(most <= 4 + partitions as usize, "{most} at a time");
    });
}
