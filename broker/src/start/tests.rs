//! The control thread with real shards, on stores in memory: what is acknowledged survives whatever
//! comes.

mod cleaning;
mod cluster;
mod day;
mod doctored;
mod garbage;
mod large;
mod merge;
mod missing;
mod opening;
mod quarantine;
mod reassign;
mod store_trouble;
mod times;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use super::life::{Broker, DRAINS, Parts, Tasks};
use super::shards::{Ended, stop_shards, watch_shards};
use super::*;
use crate::config::Advertised;
use crate::control::compactor::compact;
use crate::control::context::{Context, wall_clock};
use crate::control::flusher::{Drain, Flusher};
use crate::control::garbage::{Garbage, GarbageError};
use crate::control::keeper::Keeper;
use crate::control::loads::load_spans;
use crate::control::log_protocol::gate::{Gate, GatedKv, Gates, Readings};
use crate::control::log_start::raise_log_start;
use crate::control::requests::Requests;
use crate::control::retention::retain;
use crate::control::session::publish_state;
use crate::control::testing::batch;
use crate::control::{ControlHandle, NewConfig, NewTopic, health};
use crate::partition::{ColdPlace, ReadSnapshot, run};
use crate::shard::{self, Shard, ShardMsg};
use crate::shard::{ProduceCall, ProduceError, ProducePart, Produced};
use crate::topic_config::TopicConfig;
use bytes::{Bytes, BytesMut};
use coord::keys::cluster::CommitMode;
use coord::keys::session::SessionState;
use coord::kv::simulated::{Simulated, SimulatedConfig};
use coord::kv::{Kv, KvLimits};
use coord::rules;
use segment::batch::BatchHeader;
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::wal::{WalKind, WalTrailer};
use segment::{
    BrokerId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicName,
    TopicPartition, WalSequence,
};
use store::ObjectStore;
use store::faulty::{Fault, FaultyStore, Operation, Rule, Scripted};
use store::memory::MemoryStore;

/// Runs a test on the control thread.
pub(crate) fn test<F: Future>(main: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = LocalSet::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| local.block_on(&runtime, main)));
    // A test that failed has left its shards running.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Stores that outlive brokers.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) memory: MemoryStore,
    pub(crate) faulty: Arc<FaultyStore<MemoryStore>>,
    pub(crate) kv: Simulated,
    pub(crate) mode: CommitMode,
    /// Where calls of the object store are stopped.
    pub(crate) gates: Gates,
    /// Where readings of the metadata store are stopped.
    pub(crate) readings: Readings,
}

impl World {
    pub(crate) fn new() -> Self {
        let memory = MemoryStore::new();
        let gates = Gates::default();
        let faulty = Arc::new(FaultyStore::new(memory.clone(), 7, gates.sleep()));
        let kv = Simulated::with(SimulatedConfig {
            limits: KvLimits::NONE,
            ..Default::default()
        });
        Self {
            memory,
            faulty,
            kv,
            mode: CommitMode::Conditional,
            gates,
            readings: Readings::default(),
        }
    }

    /// Stops the next call of this kind on a key with this prefix, after `skip` of them.
    pub(crate) fn stop(&self, operation: Operation, prefix: &str, skip: u64) -> Gate {
        self.gates.stop(&self.faulty, operation, prefix, skip)
    }

    /// A broker that has the stores for itself.
    pub(crate) async fn start(&self) -> Rig {
        self.start_as(None).await
    }

    /// A broker of a cluster, or one that has the stores for itself.
    pub(crate) async fn start_as(&self, broker: Option<i32>) -> Rig {
        self.start_on(broker, self.faulty.clone(), &[]).await
    }

    /// A broker that may be refused.
    pub(crate) async fn try_start_as(&self, broker: Option<i32>) -> Result<Rig, StartError> {
        self.try_start_on(broker, self.faulty.clone(), &[]).await
    }

    /// The same, by a way of its own to the object store, with some settings beside the usual ones.
    async fn start_on(
        &self,
        broker: Option<i32>,
        objects: Arc<dyn ObjectStore>,
        settings: &[(&str, &str)],
    ) -> Rig {
        let started = self.try_start_on(broker, objects, settings).await;
        started.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_start_on(
        &self,
        broker: Option<i32>,
        objects: Arc<dyn ObjectStore>,
        settings: &[(&str, &str)],
    ) -> Result<Rig, StartError> {
        let usual = [
            ("broker.addr", "127.0.0.1:0"),
            ("broker.session_ttl_ms", "1000"),
            ("shard.count", "2"),
            ("shard.pin", "false"),
            ("shard.io_driver", "epoll"),
            ("memory.budget_bytes", "256MiB"),
            ("memory.cache_bytes", "64MiB"),
            ("log.flush_interval_ms", "1"),
        ];
        let config = Arc::new(Config::with(&[&usual, settings].concat()).unwrap());
        let (control, requests, flushes) = ControlHandle::new();
        let reached = GatedKv::new(self.kv.clone(), self.readings.clone());
        let stores = Stores {
            objects,
            backups: None,
            kv: Arc::new(reached.clone()),
            place: "memory".to_owned(),
            mode: self.mode,
            replaces: true,
            shared: broker.is_some(),
        };
        let advertised = vec![Advertised::unnamed("localhost", 1, &[])];
        let parts = Parts {
            config,
            stores,
            control,
            advertised,
            metrics: Arc::default(),
            tokens: None,
            broker: broker.map(BrokerId::new),
            events: Arc::default(),
        };
        let (context, mut shards) = parts.begin().await?;
        // A rule that a test has taken out does not hold on the shards either.
        let without = rules::without_here();
        for shard in context.shards.iter() {
            shard.call(move |_| rules::adopt(without)).await.unwrap();
        }
        let ended = watch_shards(&context, std::mem::take(&mut shards.threads));
        let address = "127.0.0.1:1".parse().unwrap();
        let running = Running {
            kafka: address,
            admin: address,
        };
        let place = "memory".to_owned();
        let broker = Broker {
            context: context.clone(),
            shards,
            place,
            running,
            began: Instant::now(),
        };
        let (drain, drains) = flume::bounded(DRAINS);
        let mut tasks = Tasks::new(&context);
        tasks.spawn(
            "flusher",
            Flusher::new(context.clone(), flushes, drains).run(),
        );
        let (prove, proofs) = flume::bounded(1);
        if !context.proof.is_forever() {
            tasks.spawn("keeper", Keeper::new(context.clone(), proofs).run());
        }
        let loaded = broker.load(prove).await.unwrap();
        let served = loaded.requests;
        let mut following = Tasks::new(&context);
        following.keep(loaded.following);
        tasks.spawn("catalog", served.catalog.clone().publish_changes());
        let mut serving = Tasks::new(&context);
        serving.spawn("ownership", loaded.ownership.run());
        serving.spawn("health watch", health::watch(context.clone()));
        tasks.spawn("request loop", served.clone().serve(requests));
        Ok(Rig {
            context,
            reached,
            broker,
            served,
            drain,
            ended,
            serving,
            following,
            _tasks: tasks,
        })
    }

    pub(crate) fn kinds(&self, kind: WalKind) -> usize {
        let objects = self.memory.objects();
        let trailers = objects
            .iter()
            .filter_map(|(_, bytes)| WalTrailer::parse(bytes).ok());
        trailers
            .filter(|trailer| trailer.header.kind == kind)
            .count()
    }

    pub(crate) fn keys(&self, part: &str) -> Vec<String> {
        let objects = self.memory.objects();
        let keys = objects.iter().map(|(key, _)| key.as_str().to_owned());
        keys.filter(|key| key.contains(part)).collect()
    }
}

fn assert_session_over(ending: &Ending, part: &str) {
    match ending {
        Ending::Session(reason) => assert!(reason.contains(part), "{reason}"),
        Ending::Process(reason) => panic!("the session ends, not the process: {reason}"),
    }
}

pub(crate) struct Rig {
    pub(crate) context: Rc<Context>,
    /// The metadata store as this broker reaches it.
    pub(crate) reached: GatedKv,
    broker: Broker,
    pub(crate) served: Requests,
    drain: flume::Sender<Drain>,
    ended: Ended,
    serving: Tasks,
    following: Tasks,
    _tasks: Tasks,
}

impl Rig {
    /// As kill -9: nothing is released, and the lease ends.
    pub(crate) async fn crash(self) {
        stop_shards(&self.context.shards, &self.ended).await;
        self.context
            .kv
            .revoke(self.context.session.lease)
            .await
            .unwrap();
    }

    pub(crate) async fn finish(self) {
        drop(self.serving);
        publish_state(&self.context, SessionState::Draining)
            .await
            .unwrap();
        self.broker.drain(self.drain).await.unwrap();
        self.broker.release().await;
        self.served.slots.release_all().await.unwrap();
        stop_shards(&self.context.shards, &self.ended).await;
        self.context
            .kv
            .revoke(self.context.session.lease)
            .await
            .unwrap();
    }

    pub(crate) async fn create(&self, name: &str, partitions: u32) -> TopicPartition {
        let config = TopicConfig::from_overrides(BTreeMap::new()).unwrap();
        let new = NewTopic {
            name: TopicName::new(name).unwrap(),
            partitions,
            config,
        };
        let topic = self.served.catalog.create(new).await.unwrap();
        topic.partitions[0].id
    }

    pub(crate) async fn produce(
        &self,
        id: TopicPartition,
        bytes: &[u8],
    ) -> Result<Produced, ProduceError> {
        let header = BatchHeader::parse_whole(bytes).unwrap();
        let part = ProducePart {
            id,
            bytes: BytesMut::from(bytes),
            memory: bytes.len() as u64,
            header,
        };
        let (reply, answer) = oneshot::channel();
        let call = ProduceCall {
            parts: vec![part],
            now: wall_clock(),
            reply,
        };
        self.context
            .shard_of(id)
            .send(ShardMsg::Produce(call))
            .await
            .unwrap();
        answer.await.unwrap().remove(0)
    }

    /// `count` batches of 5 records; gives the first offset of each.
    pub(crate) async fn produce_many(&self, id: TopicPartition, count: usize) -> Vec<i64> {
        let mut bases = Vec::new();
        for _ in 0..count {
            let produced = self.produce(id, &batch(0, 5)).await.unwrap();
            bases.push(produced.base_offset.get());
        }
        bases
    }

    fn snapshot(&self, id: TopicPartition) -> Option<Arc<ReadSnapshot>> {
        let metadata = self.context.metadata.load();
        let topic = metadata.topic_by_id(id.topic)?;
        topic.partition(id.partition)?.snapshot()
    }

    pub(crate) fn high_watermark(&self, id: TopicPartition) -> Option<i64> {
        Some(self.snapshot(id)?.high_watermark.get())
    }

    pub(crate) fn served_from(&self, id: TopicPartition) -> Option<i64> {
        Some(self.snapshot(id)?.log_start.get())
    }

    /// First offsets of all batches from `from` on, read from the store.
    pub(crate) async fn scan(&self, id: TopicPartition, from: i64) -> Vec<i64> {
        let (mut at, mut bases) = (Offset::new(from), Vec::new());
        while at.get() < self.high_watermark(id).unwrap() {
            let place = move |shard: &Rc<Shard>| shard.with_log(id, |log| log.place(at)).flatten();
            let place = self
                .context
                .shard_of(id)
                .call(place)
                .await
                .unwrap()
                .unwrap();
            let objects = &self.context.objects;
            let (key, range) = match place {
                ColdPlace::Chunk { key, range, .. } => (key, range),
                ColdPlace::Lost { key } => panic!("{key} is damaged at {at}"),
                ColdPlace::Index {
                    index_key,
                    key,
                    bytes,
                    ..
                } => {
                    let spans = load_spans(objects, &index_key, &key, bytes).await.unwrap();
                    let after = spans.partition_point(|span| span.first <= at);
                    (key, spans[after - 1].range.clone())
                }
            };
            let range = store::GetRange::Range(range);
            let found = objects.get(&key, range).await.unwrap();
            let run = run::parse(&found.bytes, &run::Told::nothing()).unwrap();
            let fresh = run.batches().iter().filter(|batch| batch.base >= at);
            bases.extend(fresh.map(|batch| batch.base.get()));
            at = run.last().next().unwrap();
        }
        bases
    }

    pub(crate) async fn compact_all(&self, id: TopicPartition) {
        while compact(&self.context, id, 64 << 20)
            .await
            .unwrap()
            .is_some()
        {}
    }

    pub(crate) async fn collect(&self) {
        self.try_collect().await.unwrap();
    }

    pub(crate) async fn try_collect(&self) -> Result<(), GarbageError> {
        Garbage::new(self.context.clone()).pass().await
    }

    /// Takes nothing and gives nothing from now on.
    pub(crate) fn stand_still(&mut self) {
        self.serving = Tasks::new(&self.context);
    }

    /// Its watches tell it nothing from now on.
    pub(crate) fn hears_nothing(&mut self) {
        self.following = Tasks::new(&self.context);
    }

    /// Ends gracefully, but for the shards and the lease.
    pub(crate) async fn end(&self) -> Result<(), StartError> {
        self.broker
            .end(&self.served.slots, self.drain.clone())
            .await
    }

    /// Stops appends and waits for what was appended, as at a graceful end.
    pub(crate) async fn drain(&self) {
        self.broker.drain(self.drain.clone()).await.unwrap();
    }

    /// Releases everything, as at a graceful end.
    pub(crate) async fn release(&self) {
        self.broker.release().await;
    }

    /// Whether the flusher has ended: nothing is acknowledged any more.
    pub(crate) fn flusher_has_ended(&self) -> bool {
        self.drain.is_disconnected()
    }

    /// The lease ends; the process goes on, and learns of it only by what it meets.
    pub(crate) async fn lose_lease(&self) {
        let lease = self.context.session.lease;
        self.context.kv.revoke(lease).await.unwrap();
    }

    /// The broker reaches the metadata store no more, and the lease ends.
    pub(crate) async fn is_cut_off(&self) {
        self.lose_lease().await;
        self.reached.cut_off();
    }
}

/// A batch of an idempotent producer.
pub(crate) fn idempotent(sequence: i32) -> bytes::Bytes {
    let mut builder = RecordBatchBuilder::new().producer(
        ProducerId::new(77),
        ProducerEpoch::ZERO,
        Sequence::new(sequence),
    );
    let (timestamp, value) = (TimestampMs::new(5), Some(b"v".as_slice()));
    builder
        .push(NewRecord {
            timestamp,
            key: None,
            value,
            headers: &[],
        })
        .unwrap();
    builder.build().unwrap()
}

#[test]
fn what_is_acknowledged_survives_a_crash_and_a_graceful_end() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 3).await;
        let mut bases = rig.produce_many(id, 20).await;
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.high_watermark(id), Some(100));
        assert_eq!(rig.scan(id, 0).await, bases);
        bases.extend(rig.produce_many(id, 3).await);
        rig.finish().await;
        let fences = world.kinds(WalKind::Fence);
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 0).await, bases);
        assert_eq!(
            world.kinds(WalKind::Fence),
            fences,
            "a released partition needs no fence"
        );
        bases.extend(rig.produce_many(id, 1).await);
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.crash().await;
    });
}

#[test]
fn segments_take_over_from_wal_objects_and_garbage_goes() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let idle = rig.create("idle", 2).await;
        let mut bases = rig.produce_many(id, 30).await;
        rig.crash().await;
        let rig = world.start().await;
        rig.compact_all(id).await;
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.collect().await;
        assert_eq!(world.kinds(WalKind::Data), 0, "{:?}", world.keys(".wal"));
        bases.extend(rig.produce_many(id, 10).await);
        rig.compact_all(id).await;
        bases.extend(rig.produce_many(id, 2).await);
        rig.collect().await;
        assert_eq!(world.kinds(WalKind::Data), 2);
        let (opens, fences) = (world.kinds(WalKind::Open), world.kinds(WalKind::Fence));
        assert_eq!((opens, fences), (2, 1), "H2: fences stay, for ever");
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.crash().await;
        let rig = world.start().await;
        rig.collect().await;
        assert_eq!(rig.scan(id, 0).await, bases);
        assert_eq!(rig.high_watermark(idle), Some(0));
        assert_eq!(world.kinds(WalKind::Data), 2);
        assert_eq!(world.kinds(WalKind::Fence), 2);
        assert_eq!(
            world.keys("segment-").len(),
            4,
            "two segments with their indexes"
        );
        rig.crash().await;
    });
}

/// What a segment did not take stays in the WAL, whichever session wrote it.
#[test]
fn a_segment_that_takes_a_part_leaves_the_rest() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let mut bases = rig.produce_many(id, 4).await;
        rig.crash().await;
        let rig = world.start().await;
        bases.extend(rig.produce_many(id, 4).await);
        for taken in 1..=6 {
            assert!(compact(&rig.context, id, 1).await.unwrap().is_some());
            rig.collect().await;
            assert_eq!(world.kinds(WalKind::Data), 8 - taken);
            assert_eq!(rig.scan(id, 0).await, bases);
        }
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.compact_all(id).await;
        rig.collect().await;
        assert_eq!(world.kinds(WalKind::Data), 0);
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.crash().await;
    });
}

/// H4: a compaction that stops anywhere is finished by whoever comes next, with the same bytes.
#[test]
fn h4_a_pending_intent_is_finished_after_a_restart() {
    for stopped_at in [
        "kafscale/default/orders/0/segment",
        "kafscale-wal/default/producers/",
    ] {
        test(async {
            let world = World::new();
            let rig = world.start().await;
            let id = rig.create("orders", 1).await;
            for sequence in 0..4 {
                rig.produce(id, &idempotent(sequence)).await.unwrap();
            }
            let rule = Rule::always(Operation::Put, Fault::Denied).prefix(stopped_at);
            world.faulty.add_rule(rule);
            assert!(compact(&rig.context, id, 64 << 20).await.is_err());
            // More arrives before the crash, and some more after it.
            rig.produce(id, &idempotent(4)).await.unwrap();
            world.faulty.clear();
            let before = world.keys(".kfs");
            rig.crash().await;
            let rig = world.start().await;
            rig.produce(id, &idempotent(5)).await.unwrap();
            assert!(compact(&rig.context, id, 64 << 20).await.unwrap().is_some());
            let owned = rig.context.owned(id).unwrap();
            assert_eq!(
                owned.state.lock().await.seen.record.compacted_end,
                Offset::new(4)
            );
            rig.compact_all(id).await;
            assert_eq!(world.keys(".kfs").len(), 2, "{before:?}");
            assert_eq!(rig.scan(id, 0).await, [0, 1, 2, 3, 4, 5]);
            rig.crash().await;
        });
    }
}

/// H12: a retry is answered with the first offset, whatever has happened since.
#[test]
fn h12_retries_are_known_after_compaction_garbage_and_a_crash() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        for sequence in 0..7 {
            let produced = rig.produce(id, &idempotent(sequence)).await.unwrap();
            assert_eq!(produced.base_offset.get(), i64::from(sequence));
            if sequence == 2 || sequence == 4 {
                rig.compact_all(id).await;
            }
        }
        rig.collect().await;
        assert_eq!(
            world.keys("/producers/").len(),
            1,
            "the older snapshot is gone"
        );
        rig.crash().await;
        let rig = world.start().await;
        for sequence in 2..7 {
            let again = rig.produce(id, &idempotent(sequence)).await.unwrap();
            assert_eq!(
                again.base_offset.get(),
                i64::from(sequence),
                "a duplicate of {sequence}"
            );
        }
        assert_eq!(rig.high_watermark(id), Some(7));
        assert!(
            rig.produce(id, &idempotent(9)).await.is_err(),
            "a gap is still a gap"
        );
        let block = rig.context.producer_floor.get();
        assert_eq!(
            block,
            ProducerId::new(78),
            "new ids start above what was seen"
        );
        rig.crash().await;
    });
}

#[test]
fn uploads_that_fail_are_sent_again_and_nothing_is_acknowledged_early() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let wal = "kafscale-wal/default/0/";
        for (skip, fault) in [
            (0, Fault::ErrorAfter),
            (1, Fault::UnknownBefore),
            (2, Fault::Throttled),
            (3, Fault::Conflict),
            (4, Fault::Full),
        ] {
            let (operation, prefix) = (Operation::Put, wal.to_owned());
            world.faulty.add_scripted(Scripted {
                operation,
                prefix,
                skip,
                fault,
            });
        }
        let bases = rig.produce_many(id, 12).await;
        assert_eq!(bases, (0..12).map(|n| n * 5).collect::<Vec<i64>>());
        assert_eq!(rig.scan(id, 0).await, bases);
        assert!(rig.context.refusal.reason().is_none());
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.crash().await;
    });
}

#[test]
fn a_fence_on_our_own_prefix_and_a_refusal_for_good_end_the_session() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let rule = Rule::always(Operation::Put, Fault::Denied).prefix("kafscale-wal/default/0/");
        world.faulty.add_rule(rule);
        let bytes = batch(0, 1);
        let produced = rig.produce(id, &bytes);
        tokio::select! {
            _ = produced => panic!("it is not acknowledged"),
            ending = rig.context.failure.wait() => assert_session_over(&ending, "refuses writes"),
        }
        world.faulty.clear();
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.high_watermark(id), Some(0));
        let session = rig.context.session;
        let header = segment::wal::WalHeader::fence(
            session.broker,
            session.id,
            WalSequence::new(1),
            segment::SessionId::new([9; 16]),
        );
        let fence = segment::wal::encode(header, Vec::new());
        let key = rig
            .context
            .keys
            .wal(session.broker, session.id, WalSequence::new(1));
        let body = store::Body::new(fence.chunks);
        rig.context
            .objects
            .put(&key, body, store::PutCondition::IfAbsent)
            .await
            .unwrap();
        let bytes = batch(0, 1);
        let produced = rig.produce(id, &bytes);
        tokio::select! {
            _ = produced => panic!("it is not acknowledged"),
            ending = rig.context.failure.wait() => assert_session_over(&ending, "fence"),
        }
        rig.crash().await;
    });
}

#[test]
fn topics_are_created_altered_and_deleted_for_ever() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("a.b", 1).await;
        rig.produce_many(id, 2).await;
        rig.compact_all(id).await;
        let catalog = &rig.served.catalog;
        let config = TopicConfig::from_overrides(BTreeMap::new()).unwrap();
        let again = |name: &str| NewTopic {
            name: TopicName::new(name).unwrap(),
            partitions: 1,
            config: config.clone(),
        };
        use crate::control::TopicError;
        assert!(matches!(
            catalog.create(again("a.b")).await,
            Err(TopicError::Exists(_))
        ));
        assert!(matches!(
            catalog.create(again("a_b")).await,
            Err(TopicError::Collision(..))
        ));
        let grown = catalog.create_partitions(id.topic, 4).await.unwrap();
        assert_eq!(grown.partitions.len(), 4);
        assert!(
            grown
                .partitions
                .iter()
                .all(|handle| handle.snapshot().is_some())
        );
        assert!(catalog.create_partitions(id.topic, 4).await.is_err());
        let settings = |pair: (&str, &str)| {
            let one = BTreeMap::from([(pair.0.to_owned(), pair.1.to_owned())]);
            TopicConfig::from_overrides(one).unwrap()
        };
        let (bytes, time) = (("segment.bytes", "70000"), ("retention.ms", "9"));
        let change = |config, based_on| NewConfig { config, based_on };
        let first = change(settings(bytes), Some(config.clone()));
        catalog.alter_config(id.topic, first).await.unwrap();
        let late = change(settings(time), Some(config.clone()));
        assert_eq!(
            catalog.alter_config(id.topic, late).await.unwrap_err(),
            TopicError::Changed,
            "derived from settings that hold no more"
        );
        let sized = rig
            .context
            .shard_of(id)
            .call(|shard| shard.compaction_candidates());
        let sized = sized.await.unwrap();
        assert!(
            sized
                .iter()
                .all(|candidate| candidate.segment_bytes == 70_000)
        );
        catalog.delete(id.topic).await.unwrap();
        assert!(rig.context.metadata.load().topic("a.b").is_none());
        for _ in 0..100 {
            if world.keys("kafscale/default/").is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(world.keys("kafscale/default/"), [""; 0]);
        let reborn = rig.create("a.b", 1).await;
        assert_ne!(reborn.topic, id.topic);
        assert_eq!(rig.high_watermark(reborn), Some(0));
        rig.produce_many(reborn, 1).await;
        rig.compact_all(reborn).await;
        assert_eq!(world.keys("a.b@1/0/segment-").len(), 2);
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.high_watermark(reborn), Some(5));
        assert_eq!(rig.context.metadata.load().topic_count(), 1);
        rig.crash().await;
    });
}

#[test]
fn the_log_start_rises_and_what_lies_below_it_goes() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        rig.produce_many(id, 4).await;
        rig.compact_all(id).await;
        rig.produce_many(id, 4).await;
        rig.compact_all(id).await;
        rig.produce_many(id, 1).await;
        let context = &rig.context;
        assert_eq!(
            raise_log_start(context, id, Offset::new(7)).await,
            Ok(Offset::new(7))
        );
        assert_eq!(world.keys(".kfs").len(), 2);
        assert_eq!(
            raise_log_start(context, id, Offset::new(22)).await,
            Ok(Offset::new(22))
        );
        assert_eq!(world.keys(".kfs").len(), 1);
        assert_eq!(
            raise_log_start(context, id, Offset::new(3)).await,
            Ok(Offset::new(22))
        );
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 25).await, [25, 30, 35, 40]);
        let context = &rig.context;
        assert_eq!(
            raise_log_start(context, id, Offset::new(99)).await,
            Ok(Offset::new(45))
        );
        rig.compact_all(id).await;
        assert_eq!(world.keys(".kfs").len(), 0, "{:?}", world.keys(".kfs"));
        assert_eq!(rig.produce_many(id, 1).await, [45]);
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 45).await, [45]);
        rig.crash().await;
    });
}

#[test]
fn retention_deletes_what_is_old_or_too_much_and_nothing_else() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let set = async |settings: &[(&str, &str)]| {
            let all = settings
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let config = TopicConfig::from_overrides(all.collect()).unwrap();
            let new = NewConfig {
                config,
                based_on: None,
            };
            rig.served
                .catalog
                .alter_config(id.topic, new)
                .await
                .unwrap();
        };
        rig.produce_many(id, 4).await;
        rig.compact_all(id).await;
        let bases = rig.produce_many(id, 4).await;
        let retained = async || {
            let raised = retain(&rig.context, id, wall_clock()).await.unwrap();
            raised.map(Offset::get)
        };
        set(&[("retention.ms", "-1")]).await;
        assert_eq!(retained().await, None);
        // By size: the segment goes, since the WAL alone has that much.
        let bytes = rig.context.shard_of(id).clone();
        let bytes = bytes.call(move |shard| shard.with_log(id, |log| log.uncompacted_bytes()));
        let bytes = bytes.await.unwrap().unwrap().to_string();
        set(&[("retention.ms", "-1"), ("retention.bytes", &bytes)]).await;
        assert_eq!(retained().await, Some(20));
        assert_eq!(retained().await, None);
        assert_eq!(world.keys(".kfs").len(), 0);
        assert_eq!(rig.scan(id, 20).await, bases);
        // By time: the batches of these tests are of the year 2023.
        set(&[("retention.ms", "86400000")]).await;
        assert_eq!(retained().await, Some(40));
        assert_eq!(rig.produce_many(id, 1).await, [40], "offsets go on");
        rig.crash().await;
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 40).await, [40]);
        rig.crash().await;
    });
}

#[test]
fn the_partition_index_is_part_of_the_hash_of_shards() {
    let id =
        |index| TopicPartition::new(segment::TopicId::new([3; 16]), PartitionIndex::new(index));
    let shards: std::collections::HashSet<_> = (0..64)
        .map(|index| shard::shard_of_partition(id(index), 8))
        .collect();
    assert_eq!(shards.len(), 8);
}
