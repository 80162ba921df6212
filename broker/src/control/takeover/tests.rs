//! The interleavings of the log protocol that a takeover must survive. Each names its item.

mod bundles;

use super::super::log_protocol::gate::{Gate, Gates};
use super::super::session::{Begin, Session};
use super::super::testing::{HEALTH, batch};
use super::*;
use crate::config::Advertised;
use crate::metrics::ControlMetrics;
use crate::shard::ShardId;
use bytes::Bytes;
use coord::keys::plan::{CreateTopic, create_topic, finish_compaction};
use coord::keys::topic::{self, TopicRecord};
use coord::kv::simulated::Simulated;
use segment::wal::{SectionBody, WalHeader, WalKind, WalObject, WalSection, WalTrailer, encode};
use segment::{BrokerId, LeaderEpoch, PartitionIndex, ProducerEpoch, Sequence, TopicId, TopicName};
use store::faulty::{FaultyStore, Operation};
use store::memory::MemoryStore;
use store::{Body, PutCondition, PutError};

/// Sessions on model stores; a test says who takes and flushes what.
pub(crate) struct World {
    pub(crate) objects: Objects,
    metrics: Arc<ControlMetrics>,
    pub(crate) store: MemoryStore,
    pub(crate) faulty: Arc<FaultyStore<MemoryStore>>,
    pub(crate) gates: Gates,
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) simulated: Simulated,
    pub(crate) keys: KeySpace,
    pub(crate) space: Keyspace,
    pub(crate) mode: CommitMode,
    pub(crate) topic: TopicId,
    pub(crate) topic_created: Revision,
    advertised: [Advertised; 1],
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::over(&crate::start::tests::World::new()).await
    }

    /// With a metadata store that takes as much in one transaction as etcd.
    pub(crate) async fn within_etcd_limits() -> Self {
        let kv = Simulated::new();
        let stores = crate::start::tests::World::new();
        Self::over(&crate::start::tests::World { kv, ..stores }).await
    }

    /// On the stores of brokers, with their topic if they have it.
    pub(crate) async fn over(stores: &crate::start::tests::World) -> Self {
        let faulty = stores.faulty.clone();
        let (simulated, metrics) = (stores.kv.clone(), Arc::<ControlMetrics>::default());
        let mut world = Self {
            objects: Objects::new(faulty.clone(), metrics.clone(), 64, HEALTH),
            metrics,
            store: stores.memory.clone(),
            faulty,
            gates: stores.gates.clone(),
            kv: Arc::new(simulated.clone()),
            simulated,
            keys: KeySpace::default(),
            space: Keyspace::new("kafscale").unwrap(),
            mode: stores.mode,
            topic: TopicId::new([5; 16]),
            topic_created: Revision::ZERO,
            advertised: [Advertised::unnamed("here", 9092, &[])],
        };
        let theirs = world
            .kv
            .get(topic::key(&world.space, &name()))
            .await
            .unwrap();
        if let Some(theirs) = seen::<TopicRecord>(theirs.as_ref()).unwrap() {
            world.topic = theirs.record.topic_id;
            world.topic_created = theirs.create_revision;
            return world;
        }
        let creator = world.session(9).await;
        let record = TopicRecord {
            topic_id: world.topic,
            generation: 0,
            partition_count: 2,
            configs: Default::default(),
            created_ms: TimestampMs::ZERO,
        };
        let name = name();
        let create = CreateTopic {
            name: &name,
            record,
            counter: None,
        };
        let planned = create_topic(&world.space, creator.id, create).unwrap();
        world.topic_created = world.kv.txn(planned.txn).await.unwrap().revision;
        world.die(creator).await;
        world
    }

    /// Stops the next call of this kind on a key with this prefix.
    pub(crate) fn stop(&self, operation: Operation, prefix: &str) -> Gate {
        self.gates.stop(&self.faulty, operation, prefix, 0)
    }

    pub(crate) async fn session(&self, broker: i32) -> Session {
        self.begin(broker).session().await.unwrap()
    }

    pub(crate) fn begin(&self, broker: i32) -> Begin<'_> {
        Begin {
            kv: &self.kv,
            space: &self.space,
            objects: &self.objects,
            keys: &self.keys,
            broker: Some(BrokerId::new(broker)),
            advertised: &self.advertised,
            rack: None,
            mode: self.mode,
            ttl: std::time::Duration::from_secs(10),
            now: TimestampMs::ZERO,
        }
    }

    /// The lease ends; the process may go on as a zombie.
    pub(crate) async fn die(&self, session: Session) {
        self.kv.revoke(session.lease).await.unwrap();
    }

    pub(crate) fn id(&self, index: i32) -> TopicPartition {
        TopicPartition::new(self.topic, PartitionIndex::new(index))
    }

    pub(crate) fn target(&self, index: i32) -> Target {
        Target {
            handle: Arc::new(PartitionHandle::new(self.id(index), ShardId(0))),
            dir: Arc::new(TopicDir::new(name(), 0)),
            topic_created: self.topic_created,
        }
    }

    pub(crate) fn taker(&self, session: Session, first: u64) -> Taker<'_> {
        Taker {
            objects: &self.objects,
            keys: &self.keys,
            kv: &self.kv,
            space: &self.space,
            me: Owner {
                session: session.id,
                broker: session.broker,
            },
            first_sequence: WalSequence::new(first),
            now: TimestampMs::ZERO,
            mode: self.mode,
        }
    }

    pub(crate) async fn records(&self) -> HashMap<TopicPartition, Seen<PartitionRecord>> {
        read_records(&self.kv, &self.space, partition::span(&self.space))
            .await
            .unwrap()
    }

    pub(crate) async fn take(&self, session: Session, partitions: &[i32]) -> Takeover {
        self.try_take(session, partitions).await.unwrap()
    }

    pub(crate) async fn try_take(
        &self,
        session: Session,
        partitions: &[i32],
    ) -> Result<Takeover, TakeoverError> {
        let targets = partitions.iter().map(|index| self.target(*index)).collect();
        let records = self.records().await;
        self.taker(session, 1).take(targets, records).await
    }

    /// What a broker does when it flushes: `(partition, base, count)` for each section.
    pub(crate) async fn flush(
        &self,
        session: Session,
        sequence: u64,
        sections: &[(i32, i64, u32)],
    ) -> Result<(), PutError> {
        let object = self.object(session, sequence, sections);
        let sequence = WalSequence::new(sequence);
        let key = self.keys.wal(session.broker, session.id, sequence);
        let body = Body::new(object.chunks).with_crc32(object.crc32);
        self.objects
            .put_once(&key, body, PutCondition::IfAbsent)
            .await
            .map(drop)
    }

    /// The same, and gives directory and trailer.
    async fn flush_with_tail(
        &self,
        session: Session,
        sequence: u64,
        sections: &[(i32, i64, u32)],
    ) -> Bytes {
        self.flush(session, sequence, sections).await.unwrap();
        self.object(session, sequence, sections).tail()
    }

    fn object(&self, session: Session, sequence: u64, sections: &[(i32, i64, u32)]) -> WalObject {
        let sections = sections.iter().map(|section| self.section(*section));
        let sequence = WalSequence::new(sequence);
        let header = WalHeader::data(session.broker, session.id, sequence, None);
        encode(header, sections.collect())
    }

    pub(crate) fn section(&self, (index, base, count): (i32, i64, u32)) -> WalSection {
        let bytes = batch(base, count);
        let producer = segment::wal::ProducerBatch {
            producer_id: ProducerId::new(40),
            epoch: ProducerEpoch::ZERO,
            base_sequence: Sequence::new(base as i32),
            record_count: count,
            base_offset: Offset::new(base),
            last_offset: Offset::new(base + i64::from(count) - 1),
            max_timestamp: TimestampMs::new(1),
            kind: segment::wal::ProducerBatchKind::Idempotent,
        };
        WalSection {
            topic: self.topic,
            partition: PartitionIndex::new(index),
            leader_epoch: LeaderEpoch::ZERO,
            first_offset: Offset::new(base),
            last_offset: Offset::new(base + i64::from(count) - 1),
            max_timestamp: TimestampMs::new(1),
            max_timestamp_offset: None,
            record_count: count,
            len: bytes.len() as u64,
            crc: crc32fast::hash(&bytes),
            producers: vec![producer],
            body: SectionBody::Inline(vec![bytes]),
        }
    }

    pub(crate) fn fences(&self) -> Vec<(SessionId, u64)> {
        let objects = self.store.objects();
        let trailers = objects
            .iter()
            .filter_map(|(_, bytes)| WalTrailer::parse(bytes).ok());
        let fences = trailers.filter(|trailer| trailer.header.kind == WalKind::Fence);
        fences
            .map(|fence| (fence.header.session, fence.header.sequence.get()))
            .collect()
    }
}

fn name() -> TopicName {
    TopicName::new("orders").unwrap()
}

/// The end of the log of each partition that was taken.
pub(crate) fn ends(takeover: &Takeover) -> Vec<(i32, i64)> {
    assert!(takeover.refused.is_empty(), "{:?}", takeover.refused);
    let end = |taken: &Taken| {
        let image = &taken.image;
        let last = image.slots.last().and_then(|slot| slot.last.next());
        let end = last.unwrap_or(image.compacted_end);
        (image.handle.id.partition.get(), end.get())
    };
    let mut ends: Vec<_> = takeover.taken.iter().map(end).collect();
    ends.sort();
    ends
}

#[tokio::test]
async fn what_was_acknowledged_is_there_and_a_zombie_meets_the_fence() {
    let world = World::new().await;
    let old = world.session(0).await;
    assert_eq!(ends(&world.take(old, &[0, 1]).await), [(0, 0), (1, 0)]);
    world.flush(old, 1, &[(0, 0, 3), (1, 0, 2)]).await.unwrap();
    world.flush(old, 2, &[(0, 3, 1)]).await.unwrap();
    world.die(old).await;
    let new = world.session(1).await;
    let takeover = world.take(new, &[0, 1]).await;
    assert_eq!(ends(&takeover), [(0, 4), (1, 2)]);
    assert_eq!(takeover.largest_producer, Some(ProducerId::new(40)));
    assert_eq!(world.fences(), [(old.id, 3)]);
    let late = world.flush(old, 3, &[(0, 4, 1)]).await;
    assert!(matches!(late, Err(PutError::AlreadyExists { .. })));
    let records = world.records().await;
    let record = &records[&world.id(0)].record;
    assert_eq!(record.leader_epoch.get(), 1);
    let starts: Vec<_> = record
        .epochs
        .iter()
        .map(|e| (e.epoch.get(), e.start.get()))
        .collect();
    assert_eq!(starts, [(0, 0), (1, 4)]);
}

/// H2: the fence of an earlier taker is the end for every later one.
#[tokio::test]
async fn h2_one_fence_ends_a_session_for_everybody() {
    let world = World::new().await;
    let old = world.session(0).await;
    world.take(old, &[0, 1]).await;
    world.flush(old, 1, &[(0, 0, 1), (1, 0, 1)]).await.unwrap();
    world.die(old).await;
    let first = world.session(1).await;
    assert_eq!(ends(&world.take(first, &[0]).await), [(0, 1)]);
    let second = world.session(2).await;
    assert_eq!(ends(&world.take(second, &[1]).await), [(1, 1)]);
    assert_eq!(world.fences(), [(old.id, 2)]);
}

/// A source that brought nothing to a partition does not stay in its record.
#[tokio::test]
async fn idle_partitions_do_not_gather_sources() {
    let world = World::new().await;
    for life in 0..5 {
        let session = world.session(0).await;
        world.take(session, &[0, 1]).await;
        world.flush(session, 1, &[(0, life, 1)]).await.unwrap();
        world.die(session).await;
    }
    let records = world.records().await;
    assert_eq!(records[&world.id(1)].record.sources.len(), 1);
    assert_eq!(records[&world.id(0)].record.sources.len(), 5);
}

#[tokio::test]
async fn a_missing_or_damaged_object_refuses_the_partition_and_changes_nothing_of_it() {
    let world = World::new().await;
    let old = world.session(0).await;
    world.take(old, &[0]).await;
    for n in 0..3 {
        world.flush(old, n + 1, &[(0, n as i64, 1)]).await.unwrap();
    }
    world.die(old).await;
    let middle = world.session(1).await;
    assert_eq!(ends(&world.take(middle, &[0]).await), [(0, 3)]);
    world.die(middle).await;
    let key = world.keys.wal(old.broker, old.id, WalSequence::new(2));
    world.objects.delete(std::slice::from_ref(&key)).await;
    let new = world.session(2).await;
    let takeover = world.take(new, &[0, 1]).await;
    assert_eq!(takeover.refused.len(), 1);
    let reason = takeover.refused[0].1.to_string();
    assert!(
        reason.contains("object 2") && reason.contains("missing"),
        "{reason}"
    );
    assert_eq!(takeover.taken.len(), 1, "the other partition is served");
    world.die(new).await;
    world
        .objects
        .put(&key, Body::from(vec![1; 500]), PutCondition::None)
        .await
        .unwrap();
    let next = world.session(3).await;
    assert_eq!(
        world.take(next, &[0]).await.refused.len(),
        1,
        "nor is a damaged one believed"
    );
    let records = world.records().await;
    let sources = &records[&world.id(0)].record.sources;
    assert!(
        sources.iter().any(|source| source.session == old.id),
        "{sources:?}"
    );
}

/// H12: producer state outlives the WAL objects that it came from.
#[tokio::test]
async fn h12_producer_state_is_the_snapshot_and_what_came_after_it() {
    let world = World::new().await;
    let old = world.session(0).await;
    let taken = world.take(old, &[0]).await.taken.remove(0);
    world.flush(old, 1, &[(0, 0, 2)]).await.unwrap();
    world.flush(old, 2, &[(0, 2, 2)]).await.unwrap();
    world.die(old).await;
    let mut taken = {
        drop(taken);
        let again = world.session(1).await;
        let mut takeover = world.take(again, &[0]).await;
        (again, takeover.taken.remove(0))
    };
    // A compaction to offset 2: snapshot, then the record that names it.
    let (session, taken) = (taken.0, &mut taken.1);
    let mut state = taken.owned.state.lock().await;
    let id = world.id(0);
    let producers = taken.image.producers.at(Offset::new(2));
    let snapshot = segment::producer_snapshot::ProducerSnapshot {
        partition: id,
        end_offset: Offset::new(2),
        producers: producers
            .iter()
            .map(|(id, e)| image::stored_producer(*id, e))
            .collect(),
        aborted: Vec::new(),
    };
    let epoch = state.seen.record.leader_epoch;
    let key = world.keys.producer_snapshot(id, Offset::new(2), epoch);
    let body = Body::from(snapshot.encode());
    world
        .objects
        .put(&key, body, PutCondition::IfAbsent)
        .await
        .unwrap();
    let intent = coord::keys::partition::Intent {
        base: Offset::ZERO,
        end: Offset::new(2),
        created_ms: TimestampMs::ZERO,
        kind: coord::keys::partition::IntentKind::Append,
        object_bytes: None,
        object_crc32c: None,
    };
    let kfs = segment::kfs::KfsObject::build(Offset::ZERO, TimestampMs::ZERO, vec![batch(0, 2)]);
    let segment_key = world
        .keys
        .segment(&TopicDir::new(name(), 0), id.partition, Offset::ZERO);
    let body = Body::new(kfs.unwrap().chunks);
    world
        .objects
        .put(&segment_key, body, PutCondition::IfAbsent)
        .await
        .unwrap();
    let planned = plan::begin_intent(&world.space, session.id, id, &state.seen, intent).unwrap();
    let pkey = partition::key(&world.space, id);
    state.seen = commit(&world.kv, &pkey, &planned, Some(&state.seen))
        .await
        .unwrap();
    let finish = plan::Finish {
        trims: Vec::new(),
        producer_snapshot: Some(coord::keys::partition::ProducerSnapshotRef {
            end: Offset::new(2),
            epoch,
        }),
    };
    let planned = finish_compaction(&world.space, session.id, id, &state.seen, &finish).unwrap();
    commit(&world.kv, &pkey, &planned, Some(&state.seen))
        .await
        .unwrap();
    world.die(session).await;
    let last = world.session(2).await;
    let takeover = world.take(last, &[0]).await;
    assert_eq!(ends(&takeover), [(0, 4)]);
    let image = &takeover.taken[0].image;
    assert_eq!(image.compacted_end, Offset::new(2));
    assert_eq!(image.segments.len(), 1);
    let known = image.producers.at(Offset::new(4));
    let batches: Vec<i64> = known[0]
        .1
        .batches
        .iter()
        .map(|b| b.base_offset.get())
        .collect();
    assert_eq!(
        batches,
        [0, 2],
        "the batch below the compacted end is known too"
    );
    world.die(last).await;
    world.objects.delete(&[key]).await;
    let blind = world.session(3).await;
    let takeover = world.take(blind, &[0]).await;
    assert!(matches!(takeover.refused[0].1, ImageError::Snapshot { .. }));
}
