//! etcd is lost, and what was acknowledged is not.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use coord::keys::cluster::{self, ClusterRecord};
use coord::keys::group_offset::GroupOffsetRecord;
use coord::keys::partition::PartitionRecord;
use coord::keys::{Keyspace, group_offset, recovery, seen, session};
use coord::kv::simulated::{Simulated, SimulatedConfig};
use coord::kv::{
    Kv, KvFuture, KvLimits, Op, Range as KvRange, RangeReply, Revision, SessionLease, Span, Txn,
    TxnReply, Watch, range_all,
};
use segment::batch::BatchHeader;
use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
use segment::{ProducerEpoch, Sequence, TopicName};

use super::*;
use crate::control::context::wall_clock;
use crate::control::merge::merge;
use crate::control::session::SessionError;
use crate::shard::{ProduceError, Shard};
use crate::start::StartError;
use crate::start::tests::{Rig, World, test};
use crate::tools::fsck::{Fsck, Options, Severity};
use crate::tools::testing;

const NAME: &str = "kafscale";

/// What was acknowledged: partition, offset, value.
#[derive(Default)]
struct Acknowledged(HashMap<TopicPartition, BTreeMap<i64, String>>);

fn one(value: &str, producer: Option<(i64, i32)>) -> Bytes {
    let mut builder = RecordBatchBuilder::new();
    if let Some((id, sequence)) = producer {
        let id = ProducerId::new(id);
        builder = builder.producer(id, ProducerEpoch::ZERO, Sequence::new(sequence));
    }
    let record = NewRecord {
        timestamp: TimestampMs::new(1_700_000_000_000),
        key: None,
        value: Some(value.as_bytes()),
        headers: &[],
    };
    builder.push(record).unwrap();
    builder.build().unwrap()
}

impl Acknowledged {
    async fn produce(&mut self, rig: &Rig, id: TopicPartition, count: usize) {
        for _ in 0..count {
            let log = self.0.entry(id).or_default();
            let value = format!("{id} {}", log.len());
            let produced = rig.produce(id, &one(&value, None)).await.unwrap();
            let at = produced.base_offset.get();
            assert_eq!(
                log.insert(at, value),
                None,
                "{id}: offset {at} was given out twice"
            );
        }
    }

    /// Records that are lost.
    fn lose(&mut self, id: TopicPartition, offsets: std::ops::Range<i64>) {
        let log = self.0.get_mut(&id).unwrap();
        log.retain(|at, _| !offsets.contains(at));
    }

    /// Sequences of an idempotent producer.
    async fn idempotent(&mut self, rig: &Rig, id: TopicPartition, sequences: std::ops::Range<i32>) {
        for sequence in sequences {
            let log = self.0.entry(id).or_default();
            let value = format!("idempotent {sequence}");
            let sent = one(&value, Some((77, sequence)));
            let produced = rig.produce(id, &sent).await.unwrap();
            log.insert(produced.base_offset.get(), value);
        }
    }

    async fn assert_all(&self, rig: &Rig) {
        for (id, expected) in &self.0 {
            let found = read_all(rig, *id).await;
            let expected: Vec<(i64, String)> = expected.clone().into_iter().collect();
            assert_eq!(found, expected, "{id}");
        }
    }
}

/// Every record, by way of cold reads.
async fn read_all(rig: &Rig, id: TopicPartition) -> Vec<(i64, String)> {
    let (mut at, mut all) = (rig.served_from(id).unwrap(), Vec::new());
    while at < rig.high_watermark(id).unwrap() {
        let (reply, answer) = futures_channel::oneshot::channel();
        let read = move |shard: &Rc<Shard>| {
            let read = shard.clone().read(id, Offset::new(at), 1, true);
            crate::runtime::spawn(async move {
                let _ = reply.send(read.await);
            });
        };
        rig.context.shard_of(id).call(read).await.unwrap();
        for batch in answer.await.unwrap().unwrap() {
            let header = BatchHeader::parse(&batch).unwrap();
            let set = RecordSet::decode(&batch, &DecodeLimits::default()).unwrap();
            for record in set.iter() {
                let record = record.unwrap();
                if record.offset.get() >= at {
                    let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                    all.push((record.offset.get(), value));
                }
            }
            at = at.max(header.last_offset().get() + 1);
        }
    }
    all
}

fn at(id: TopicPartition, index: i32) -> TopicPartition {
    TopicPartition::new(id.topic, PartitionIndex::new(index))
}

fn ground_on(world: &World, kv: Arc<dyn Kv>) -> Ground {
    testing::ground(Arc::new(world.memory.clone()), kv, world.mode)
}

fn ground(world: &World) -> Ground {
    ground_on(world, Arc::new(world.kv.clone()))
}

async fn back_up(world: &World, now: i64) -> StoredBackup {
    let ground = ground(world);
    let found = ground.kv.get(cluster::key(&ground.space)).await.unwrap();
    let cluster = seen::<ClusterRecord>(found.as_ref())
        .unwrap()
        .unwrap()
        .record;
    let backups = Backups {
        objects: &ground.backups,
        keys: &ground.keys,
    };
    let (name, now) = ((NAME, cluster.cluster_id.as_str()), TimestampMs::new(now));
    let created = backups.create(&ground.kv, &ground.space, name, now).await;
    created.unwrap().0
}

/// The same bucket, and a metadata store that has nothing in it.
fn lose_etcd(world: &World) -> World {
    let kv = Simulated::with(SimulatedConfig {
        limits: KvLimits::NONE,
        ..Default::default()
    });
    World {
        kv,
        ..world.clone()
    }
}

fn wanted() -> Recover {
    Recover {
        name: None,
        dry_run: false,
        accept_loss: false,
        recover_unnamed: false,
        quiet: Duration::ZERO,
        now: wall_clock(),
    }
}

async fn recover_with(world: &World, wanted: &Recover) -> Result<Recovered, RecoverError> {
    recover_metadata(&ground(world), wanted, &|_| {}).await
}

async fn recovered(world: &World) -> Recovered {
    let recovered = recover_with(world, &wanted()).await.unwrap();
    assert!(recovered.is_written, "{:?}", recovered.refused);
    recovered
}

async fn record(world: &World, id: TopicPartition) -> PartitionRecord {
    let ground = ground(world);
    let found = ground
        .kv
        .get(partition::key(&ground.space, id))
        .await
        .unwrap();
    seen::<PartitionRecord>(found.as_ref())
        .unwrap()
        .unwrap()
        .record
}

/// What a deep check finds, but notes.
async fn findings(world: &World) -> Vec<String> {
    let mut ground = ground(world);
    let found = ground.kv.get(cluster::key(&ground.space)).await.unwrap();
    let cluster = seen::<ClusterRecord>(found.as_ref()).unwrap();
    ground.cluster = cluster.map(|seen| seen.record);
    let options = Options {
        deep: true,
        ..Options::default()
    };
    let report = Fsck::new(&ground, options, &|_| {}).run().await.unwrap();
    let found = report.findings.iter();
    let found = found.filter(|finding| finding.code.severity() > Severity::Note);
    found.map(ToString::to_string).collect()
}

async fn commit_offset(world: &World, group: &str, id: TopicPartition, offset: i64) {
    let ground = ground(world);
    let record = GroupOffsetRecord {
        offset: Offset::new(offset),
        leader_epoch: LeaderEpoch::NONE,
        metadata: String::new(),
        commit_ms: wall_clock(),
        expire_ms: None,
    };
    let put = Op::put(group_offset::key(&ground.space, group, id), encode(&record));
    assert!(
        ground
            .kv
            .txn(Txn::new().and_then(put))
            .await
            .unwrap()
            .succeeded
    );
}

/// A cluster that is backed up in the middle of its life. What it acknowledged; and its partitions.
struct Life {
    world: World,
    acknowledged: Acknowledged,
    orders: TopicPartition,
    ledger: TopicPartition,
    doomed: TopicPartition,
    fresh: TopicPartition,
}

impl Life {
    async fn lived(mode: CommitMode) -> Self {
        let world = World {
            mode,
            ..World::new()
        };
        let mut acknowledged = Acknowledged::default();
        let one = world.start_as(Some(1)).await;
        let orders = one.create("orders", 4).await;
        let ledger = one.create("ledger", 1).await;
        let doomed = one.create("doomed", 1).await;
        acknowledged.produce(&one, orders, 12).await;
        one.compact_all(orders).await;
        acknowledged.idempotent(&one, ledger, 0..4).await;
        one.compact_all(ledger).await;
        acknowledged.produce(&one, doomed, 3).await;
        one.compact_all(doomed).await;
        acknowledged.produce(&one, orders, 3).await;
        commit_offset(&world, "billing", orders, 9).await;
        back_up(&world, 1_700_000_000_000).await;
        // A partition that is seldom written to, between ones that are compacted.
        for _ in 0..4 {
            acknowledged.produce(&one, orders, 2).await;
            acknowledged.produce(&one, at(orders, 1), 1).await;
        }
        acknowledged.idempotent(&one, ledger, 4..9).await;
        one.compact_all(orders).await;
        one.compact_all(ledger).await;
        one.collect().await;
        acknowledged.produce(&one, orders, 2).await;
        one.compact_all(orders).await;
        merge(&one.context, orders, 64 << 20).await.unwrap();
        acknowledged.produce(&one, orders, 4).await;
        // What lies before these is needed no more when they still are.
        acknowledged.produce(&one, at(orders, 2), 1).await;
        one.crash().await;
        let two = world.start_as(Some(2)).await;
        acknowledged.produce(&two, orders, 2).await;
        acknowledged.produce(&two, at(orders, 2), 2).await;
        acknowledged.idempotent(&two, ledger, 9..11).await;
        two.compact_all(orders).await;
        two.collect().await;
        acknowledged.produce(&two, orders, 3).await;
        acknowledged.produce(&two, at(orders, 3), 1).await;
        acknowledged.produce(&two, orders, 3).await;
        two.finish().await;
        let three = world.start_as(Some(1)).await;
        three.compact_all(orders).await;
        three.collect().await;
        let fresh = three.create("fresh", 2).await;
        acknowledged.produce(&three, fresh, 3).await;
        three.compact_all(fresh).await;
        acknowledged.produce(&three, at(fresh, 1), 2).await;
        acknowledged.produce(&three, fresh, 2).await;
        three.served.catalog.delete(doomed.topic).await.unwrap();
        acknowledged.0.remove(&doomed);
        for _ in 0..200 {
            if world.keys("/doomed/").is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        acknowledged.produce(&three, orders, 3).await;
        acknowledged.idempotent(&three, ledger, 11..12).await;
        three.collect().await;
        three.crash().await;
        Self {
            world,
            acknowledged,
            orders,
            ledger,
            doomed,
            fresh,
        }
    }
}

#[test]
fn what_was_acknowledged_after_the_backup_is_there_when_etcd_is_lost() {
    assert_nothing_is_lost(CommitMode::Conditional);
}

#[test]
fn nor_is_it_where_etcd_guards_the_commits() {
    assert_nothing_is_lost(CommitMode::Guarded);
}

/// Writes the metadata of [`Life`] back, and looks at it before a broker starts.
async fn assert_recovered(world: &World, ids: &[TopicPartition]) {
    let report = recovered(world).await;
    assert_eq!(report.sessions, (3, 2));
    assert!(
        report.kept_apart.is_empty() && report.orphans.is_empty(),
        "{report:?}"
    );
    assert!(report.beyond.is_empty());
    for partition in &report.partitions {
        assert!(partition.missing.is_empty(), "{partition:?}");
        assert!(
            partition
                .record
                .sources
                .iter()
                .all(|source| !source.is_open())
        );
    }
    let origin = |name: &str| {
        let topics = report.topics.iter();
        let mut named = topics.filter(|topic| topic.dir.name.as_str() == name);
        named
            .next()
            .map(|topic| (topic.origin, topic.record.partition_count))
    };
    assert_eq!(origin("fresh"), Some((Origin::Objects, 2)));
    assert_eq!(origin("doomed"), Some((Origin::Backup, 1)));
    assert_eq!(findings(world).await, [""; 0], "before a broker starts");
    let kv: Arc<dyn Kv> = Arc::new(world.kv.clone());
    let space = Keyspace::new(NAME).unwrap();
    let block = kv.get(producer_block::key(&space)).await.unwrap();
    let block = seen::<ProducerBlockRecord>(block.as_ref())
        .unwrap()
        .unwrap();
    assert!(
        block.record.next.get() > 77 + 100_000,
        "a client's id is given to no other"
    );
    for id in ids {
        let epoch = record(world, *id).await.leader_epoch.get();
        assert!(epoch >= 2 + 100, "takeovers that left nothing: {epoch}");
    }
}

fn assert_nothing_is_lost(mode: CommitMode) {
    test(async {
        let Life {
            world,
            mut acknowledged,
            orders,
            ledger,
            doomed,
            fresh,
        } = Life::lived(mode).await;
        let world = lose_etcd(&world);
        assert_recovered(&world, &[orders, at(orders, 1), ledger]).await;
        let rig = world.start_as(Some(1)).await;
        acknowledged.assert_all(&rig).await;
        assert_eq!(
            rig.high_watermark(doomed),
            Some(3),
            "no offset is given out twice"
        );
        assert_eq!(read_all(&rig, doomed).await, []);
        // A retry of the last batch is answered, the next one is appended.
        let again = rig
            .produce(ledger, &one("idempotent 11", Some((77, 11))))
            .await;
        assert_eq!(again.unwrap().base_offset.get(), 11);
        let gap = rig
            .produce(ledger, &one("idempotent 13", Some((77, 13))))
            .await;
        assert!(matches!(gap, Err(ProduceError::Append(_))), "{gap:?}");
        acknowledged.idempotent(&rig, ledger, 12..14).await;
        for id in [
            orders,
            at(orders, 1),
            at(orders, 2),
            at(orders, 3),
            fresh,
            at(fresh, 1),
            doomed,
        ] {
            acknowledged.produce(&rig, id, 2).await;
        }
        // Whatever the collector finds superfluous now is.
        rig.collect().await;
        for id in [orders, at(orders, 1), ledger, fresh] {
            rig.compact_all(id).await;
        }
        rig.collect().await;
        rig.crash().await;
        let rig = world.start_as(Some(2)).await;
        acknowledged.assert_all(&rig).await;
        assert_eq!(
            rig.create("doomed-2", 1).await.partition,
            PartitionIndex::ZERO
        );
        rig.finish().await;
        assert_eq!(findings(&world).await, [""; 0], "after all");
    });
}

/// Without the backup's being old there is nothing to make up for.
#[test]
fn where_nothing_has_changed_since_the_backup_it_comes_back_as_it_was() {
    test(async {
        let world = World::new();
        let mut acknowledged = Acknowledged::default();
        let rig = world.start_as(Some(1)).await;
        let orders = rig.create("orders", 2).await;
        acknowledged.produce(&rig, orders, 5).await;
        rig.compact_all(orders).await;
        acknowledged.produce(&rig, orders, 2).await;
        commit_offset(&world, "billing", orders, 4).await;
        rig.crash().await;
        back_up(&world, 1_700_000_000_000).await;
        let before = dump(&world).await;
        let world = lose_etcd(&world);
        recovered(&world).await;
        let after = dump(&world).await;
        let changed: Vec<&String> = before
            .keys()
            .chain(after.keys())
            .filter(|key| before.get(*key) != after.get(*key))
            .collect();
        let allowed = ["partitions/", "floors/", "slots/", "producer-ids"];
        let allowed = |key: &str| allowed.iter().any(|part| key.contains(part));
        assert!(changed.iter().all(|key| allowed(key)), "{changed:?}");
        let record = record(&world, orders).await;
        assert_eq!(record.compacted_end, Offset::new(5));
        assert_eq!(record.sources.len(), 1);
        let rig = world.start_as(Some(1)).await;
        acknowledged.assert_all(&rig).await;
        rig.crash().await;
    });
}

async fn dump(world: &World) -> BTreeMap<String, Vec<u8>> {
    let kv: Arc<dyn Kv> = Arc::new(world.kv.clone());
    let space = Keyspace::new(NAME).unwrap();
    let entries = range_all(&kv, space.span()).await.unwrap().entries;
    let bound = |key: &coord::kv::Key| session::span(&space).contains(key);
    let entries = entries.into_iter().filter(|entry| !bound(&entry.key));
    entries
        .map(|entry| (entry.key.to_string(), entry.value.as_bytes().to_vec()))
        .collect()
}

/// A metadata store that fails for good after some transactions.
struct Cut {
    inner: Simulated,
    left: AtomicUsize,
}

impl Kv for Cut {
    fn txn(&self, txn: Txn) -> KvFuture<TxnReply> {
        let left = self.left.load(Ordering::Relaxed);
        match left.checked_sub(1) {
            Some(left) => {
                self.left.store(left, Ordering::Relaxed);
                self.inner.txn(txn)
            }
            None => Box::pin(async { Err(KvError::Closed) }),
        }
    }

    fn range(&self, range: KvRange) -> KvFuture<RangeReply> {
        self.inner.range(range)
    }

    fn get(&self, key: Key) -> KvFuture<Option<coord::kv::KeyValue>> {
        self.inner.get(key)
    }

    fn watch(&self, span: Span, from: Revision) -> KvFuture<Watch> {
        self.inner.watch(span, from)
    }

    fn grant_session(&self, ttl: Duration) -> KvFuture<SessionLease> {
        self.inner.grant_session(ttl)
    }

    fn keep_alive(&self, session: SessionLease) -> KvFuture<Duration> {
        self.inner.keep_alive(session)
    }

    fn revoke(&self, session: SessionLease) -> KvFuture<()> {
        self.inner.revoke(session)
    }

    fn limits(&self) -> KvLimits {
        self.inner.limits()
    }
}

#[test]
fn a_recovery_that_is_interrupted_is_run_again_and_no_broker_starts_in_between() {
    test(async {
        let Life {
            world,
            acknowledged,
            ..
        } = Life::lived(CommitMode::Conditional).await;
        for cut in 0..3 {
            let world = lose_etcd(&world);
            let kv = Cut {
                inner: world.kv.clone(),
                left: AtomicUsize::new(cut),
            };
            let ground = ground_on(&world, Arc::new(kv));
            let outcome = recover_metadata(&ground, &wanted(), &|_| {}).await;
            assert!(outcome.is_err(), "cut after {cut}");
            if cut > 0 {
                let mark = recovery::key(&Keyspace::new(NAME).unwrap());
                assert!(world.kv.get(mark).await.unwrap().is_some());
                let refused = world.try_start_as(Some(1)).await;
                assert!(
                    matches!(
                        refused,
                        Err(StartError::Session(SessionError::Recovering { .. }))
                    ),
                    "cut after {cut}"
                );
            }
            recovered(&world).await;
            let rig = world.start_as(Some(1)).await;
            acknowledged.assert_all(&rig).await;
            rig.crash().await;
            // The bucket has gone on with the metadata of this turn; the next one begins there.
        }
    });
}

#[test]
fn it_writes_into_an_empty_keyspace_only_and_nothing_in_a_dry_run() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let orders = rig.create("orders", 1).await;
        rig.produce(orders, &one("1", None)).await.unwrap();
        let none = recover_with(&lose_etcd(&world), &wanted()).await;
        assert!(matches!(none, Err(RecoverError::NoBackup(..))), "{none:?}");
        let stored = back_up(&world, 1_700_000_000_000).await;
        let running = recover_with(&world, &wanted()).await;
        assert!(
            matches!(running, Err(RecoverError::BrokersRun(_))),
            "{running:?}"
        );
        rig.crash().await;
        let in_use = recover_with(&world, &wanted()).await;
        assert!(
            matches!(in_use, Err(RecoverError::NotEmpty { .. })),
            "{in_use:?}"
        );
        let objects = world.memory.objects().len();
        let world = lose_etcd(&world);
        let dry = Recover {
            dry_run: true,
            ..wanted()
        };
        let report = recover_with(&world, &dry).await.unwrap();
        assert!(!report.is_written);
        assert_eq!(report.partitions[0].end, Offset::new(1));
        assert_eq!(world.memory.objects().len(), objects);
        assert!(dump(&world).await.is_empty());
        // One bit.
        let key = store::ObjectKey::new(stored.key.clone()).unwrap();
        let objects = world.memory.objects();
        let (_, bytes) = objects.iter().find(|(found, _)| *found == key).unwrap();
        let mut damaged = bytes.to_vec();
        damaged[40] ^= 1;
        let body = Body::from(Bytes::from(damaged));
        let ground = ground(&world);
        ground
            .objects
            .put(&stored.key, body, PutCondition::None)
            .await
            .unwrap();
        let refused = recover_with(&world, &wanted()).await;
        assert!(
            matches!(refused, Err(RecoverError::Backup(_))),
            "{refused:?}"
        );
        assert!(dump(&world).await.is_empty());
    });
}

/// The produce path needs no etcd: a broker that has lost it acknowledges on.
#[test]
fn a_broker_that_writes_on_is_noticed_and_in_any_case_fenced() {
    test(async {
        let world = World::new();
        let mut acknowledged = Acknowledged::default();
        let zombie = world.start_as(Some(1)).await;
        let orders = zombie.create("orders", 1).await;
        back_up(&world, 1_700_000_000_000).await;
        acknowledged.produce(&zombie, orders, 3).await;
        let lost = lose_etcd(&world);
        let patient = Recover {
            quiet: Duration::from_millis(300),
            ..wanted()
        };
        let producing = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            acknowledged.produce(&zombie, orders, 1).await;
        };
        let (outcome, ()) = tokio::join!(recover_with(&lost, &patient), producing);
        assert!(
            matches!(outcome, Err(RecoverError::Changing { .. })),
            "{outcome:?}"
        );
        assert!(dump(&lost).await.is_empty());
        recovered(&lost).await;
        let late = one("too late", None);
        tokio::select! {
            produced = zombie.produce(orders, &late) => assert!(produced.is_err(), "{produced:?}"),
            _ = zombie.context.failure.wait() => {}
        }
        zombie.crash().await;
        let rig = lost.start_as(Some(2)).await;
        acknowledged.produce(&rig, orders, 2).await;
        acknowledged.assert_all(&rig).await;
        rig.crash().await;
    });
}

#[test]
fn what_belongs_to_no_known_topic_is_told_and_outlives_the_collector() {
    test(async {
        let world = World::new();
        let mut acknowledged = Acknowledged::default();
        let rig = world.start_as(Some(1)).await;
        let orders = rig.create("orders", 1).await;
        acknowledged.produce(&rig, orders, 2).await;
        back_up(&world, 1_700_000_000_000).await;
        let unnamed = rig.create("unnamed", 1).await;
        rig.produce(unnamed, &one("only in the WAL", None))
            .await
            .unwrap();
        rig.crash().await;
        let world = lose_etcd(&world);
        let report = recovered(&world).await;
        assert_eq!(report.kept_apart.len(), 1);
        let orphan = &report.orphans[0].0;
        assert!(orphan.contains(&unnamed.topic.to_string()), "{orphan}");
        let data = world.kinds(segment::wal::WalKind::Data);
        let rig = world.start_as(Some(1)).await;
        acknowledged.assert_all(&rig).await;
        rig.compact_all(orders).await;
        rig.collect().await;
        assert_eq!(
            world.kinds(segment::wal::WalKind::Data),
            data,
            "nothing is deleted"
        );
        rig.crash().await;
    });
}

#[test]
fn a_name_that_was_made_again_has_its_later_topic_and_generation() {
    test(async {
        let world = World::new();
        let mut acknowledged = Acknowledged::default();
        let rig = world.start_as(Some(1)).await;
        let old = rig.create("orders", 1).await;
        rig.produce(old, &one("old", None)).await.unwrap();
        rig.compact_all(old).await;
        back_up(&world, 1_700_000_000_000).await;
        rig.served.catalog.delete(old.topic).await.unwrap();
        let new = rig.create("orders", 1).await;
        acknowledged.produce(&rig, new, 3).await;
        rig.compact_all(new).await;
        acknowledged.produce(&rig, new, 3).await;
        let grown = rig
            .served
            .catalog
            .create_partitions(new.topic, 3)
            .await
            .unwrap();
        acknowledged.produce(&rig, grown.partitions[2].id, 1).await;
        rig.crash().await;
        let world = lose_etcd(&world);
        let report = recovered(&world).await;
        let topic = &report.topics[0];
        assert_eq!((topic.dir.generation, topic.record.partition_count), (1, 3));
        let rig = world.start_as(Some(1)).await;
        acknowledged.assert_all(&rig).await;
        rig.served.catalog.delete(new.topic).await.unwrap();
        let third = rig.create("orders", 1).await;
        rig.produce(third, &one("third", None)).await.unwrap();
        rig.compact_all(third).await;
        assert!(!world.keys("/orders@2/").is_empty());
        assert_eq!(TopicName::new("orders").unwrap().as_str(), "orders");
        rig.crash().await;
    });
}

/// A segment that nobody has any more: the restore says so and asks.
#[test]
fn lost_records_are_told_and_not_passed_over_silently() {
    test(async {
        let world = World::new();
        let mut acknowledged = Acknowledged::default();
        let rig = world.start_as(Some(1)).await;
        let orders = rig.create("orders", 1).await;
        acknowledged.produce(&rig, orders, 4).await;
        rig.compact_all(orders).await;
        back_up(&world, 1_700_000_000_000).await;
        acknowledged.produce(&rig, orders, 4).await;
        rig.compact_all(orders).await;
        rig.collect().await;
        acknowledged.produce(&rig, orders, 2).await;
        rig.crash().await;
        let world = lose_etcd(&world);
        let lost = world.keys("segment-00000000000000000004");
        assert_eq!(ground(&world).objects.delete(&lost).await, 0);
        let report = recover_with(&world, &wanted()).await.unwrap();
        assert!(!report.is_written && dump(&world).await.is_empty());
        assert!(matches!(report.refused, Some(RecoverError::Loss(1))));
        let partition = &report.partitions[0];
        assert_eq!(partition.missing, [Offset::new(4)..Offset::new(8)]);
        assert_eq!(partition.hidden, Some(Offset::ZERO..Offset::new(4)));
        let accept = Recover {
            accept_loss: true,
            ..wanted()
        };
        assert!(recover_with(&world, &accept).await.unwrap().is_written);
        let rig = world.start_as(Some(1)).await;
        assert_eq!(rig.served_from(orders), Some(0));
        assert_eq!(rig.high_watermark(orders), Some(10));
        acknowledged.lose(orders, 4..8);
        acknowledged.assert_all(&rig).await;
        rig.crash().await;
        assert_eq!(findings(&world).await, [""; 0]);
    });
}

mod corners;
mod losses;
