use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use coord::keys::cluster::{self, ClusterRecord};
use coord::keys::group_offset::{self, GroupOffsetRecord};
use coord::keys::partition::{self as partition_key, Intent, IntentKind, PartitionRecord};
use coord::keys::restore::{self, RestoreRecord};
use coord::keys::{encode, floor, topic_generation};
use coord::kv::{Key, Kv, Op, Txn, Value};
use segment::kfs::KfsObject;
use segment::{
    LeaderEpoch, PartitionIndex, SessionId, TimestampMs, TopicId, TopicPartition, WalSequence,
};
use store::{Body, ObjectKey, ObjectStore, PutCondition};

use super::*;
use crate::control::compactor::compact;
use crate::control::merge::merge;
use crate::control::testing::batch;
use crate::start::tests::{Rig, World, test};
use crate::tools::testing;

/// What has been found, without notes unless they are asked for.
type Codes = BTreeSet<&'static str>;

async fn ground(world: &World) -> Ground {
    let kv: Arc<dyn Kv> = Arc::new(world.kv.clone());
    let mut ground = testing::ground(Arc::new(world.memory.clone()), kv, world.mode);
    let found = ground.kv.get(cluster::key(&ground.space)).await.unwrap();
    let found = coord::keys::seen::<ClusterRecord>(found.as_ref()).unwrap();
    ground.cluster = found.map(|seen| seen.record);
    ground
}

async fn check(world: &World, options: Options) -> Report {
    let ground = ground(world).await;
    Fsck::new(&ground, options, &|_| {}).run().await.unwrap()
}

fn deep() -> Options {
    Options {
        deep: true,
        ..Options::default()
    }
}

fn codes(report: &Report) -> Codes {
    let all = report.findings.iter().map(|finding| finding.code);
    let all = all.filter(|code| code.severity() > Severity::Note);
    all.map(Code::name).collect()
}

/// Carries out all repairs; gives those that were refused.
async fn repair(world: &World, report: &Report, accept_loss: bool) -> Vec<(Code, String)> {
    let ground = ground(world).await;
    let mut refused = Vec::new();
    for finding in &report.findings {
        if finding.accepts_loss() && !accept_loss {
            continue;
        }
        for repair in &finding.repairs {
            if let Outcome::Refused(why) = repair.carry_out(&ground).await.unwrap() {
                refused.push((finding.code, why));
            }
        }
    }
    refused
}

async fn put(world: &World, key: &str, bytes: impl Into<Vec<u8>>) {
    let key = ObjectKey::new(key.to_owned()).unwrap();
    let body = Body::from(Bytes::from(bytes.into()));
    world
        .memory
        .put(key, body, PutCondition::None)
        .await
        .unwrap();
}

fn bytes(world: &World, key: &str) -> Vec<u8> {
    let objects = world.memory.objects();
    let found = objects.iter().find(|(found, _)| found.as_str() == key);
    found.unwrap_or_else(|| panic!("no {key}")).1.to_vec()
}

async fn remove(world: &World, key: &str) {
    let key = ObjectKey::new(key.to_owned()).unwrap();
    world.memory.delete(vec![key]).await;
}

async fn write(world: &World, key: Key, value: Value) {
    world
        .kv
        .txn(Txn::new().and_then(Op::put(key, value)))
        .await
        .unwrap();
}

async fn change(world: &World, id: TopicPartition, change: impl FnOnce(&mut PartitionRecord)) {
    let space = ground(world).await.space;
    let key = partition_key::key(&space, id);
    let found = world.kv.get(key.clone()).await.unwrap();
    let seen = coord::keys::seen::<PartitionRecord>(found.as_ref()).unwrap();
    let mut record = seen.unwrap().record;
    change(&mut record);
    write(world, key, encode(&record)).await;
}

fn segment(topic: &str, base: i64) -> String {
    format!("kafscale/default/{topic}/0/segment-{base:020}.kfs")
}

/// Three segments of three batches, and two batches in the WAL.
async fn fill(rig: &Rig, id: TopicPartition) {
    for _ in 0..3 {
        rig.produce_many(id, 3).await;
        while compact(&rig.context, id, 64 << 20).await.unwrap().is_some() {}
    }
    rig.produce_many(id, 2).await;
}

#[test]
fn a_sound_cluster_is_clean_running_or_stopped_and_only_reads_are_made() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 3).await;
        fill(&rig, id).await;
        let before = world.memory.objects();
        let report = check(&world, deep()).await;
        assert_eq!(codes(&report), Codes::new(), "{:?}", report.findings);
        assert!(report.is_clean() && report.partitions == 3 && report.objects > 8);
        rig.crash().await;
        let report = check(&world, deep()).await;
        assert_eq!(codes(&report), Codes::new(), "{:?}", report.findings);
        let rig = world.start().await;
        fill(&rig, id).await;
        rig.finish().await;
        let report = check(&world, deep()).await;
        assert_eq!(codes(&report), Codes::new(), "{:?}", report.findings);
        let objects: BTreeSet<String> = world.keys("").into_iter().collect();
        assert!(before.iter().all(|(key, _)| objects.contains(key.as_str())));
    });
}

/// What changes while it is looked at is no finding.
#[test]
fn a_cluster_under_load_has_no_findings() {
    test(async {
        let world = World::new();
        let rig = Rc::new(world.start().await);
        let id = rig.create("orders", 1).await;
        let working = rig.clone();
        let work = tokio::task::spawn_local(async move {
            for turn in 0_u64.. {
                working.produce_many(id, 2).await;
                while compact(&working.context, id, 64 << 20)
                    .await
                    .unwrap()
                    .is_some()
                {}
                if turn % 10 == 9 {
                    merge(&working.context, id, 64 << 20).await.unwrap();
                    working.collect().await;
                }
            }
        });
        for options in [deep(), Options::default(), deep()] {
            let report = check(&world, options).await;
            assert_eq!(codes(&report), Codes::new(), "{:?}", report.findings);
        }
        assert!(!work.is_finished(), "it went on all the time");
        work.abort();
        let _ = work.await;
        let Ok(rig) = Rc::try_unwrap(rig) else {
            panic!("the work is over")
        };
        rig.crash().await;
    });
}

#[test]
fn wrong_metadata_is_found_and_repaired() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        fill(&rig, id).await;
        rig.crash().await;
        let space = ground(&world).await.space;
        let stranger = TopicPartition::new(TopicId::new([7; 16]), PartitionIndex::ZERO);
        let beyond = TopicPartition::new(id.topic, PartitionIndex::new(5));
        let mut absent = PartitionRecord::absent();
        absent.leader_epoch = LeaderEpoch::ZERO;
        for id in [stranger, beyond] {
            write(&world, partition_key::key(&space, id), encode(&absent)).await;
        }
        let offset = |offset| {
            encode(&GroupOffsetRecord {
                offset: Offset::new(offset),
                leader_epoch: LeaderEpoch::NONE,
                metadata: String::new(),
                commit_ms: TimestampMs::ZERO,
                expire_ms: None,
            })
        };
        write(&world, group_offset::key(&space, "g", stranger), offset(3)).await;
        write(&world, group_offset::key(&space, "g", id), offset(56)).await;
        write(&world, group_offset::key(&space, "h", id), offset(55)).await;
        let name = segment::TopicName::new("orders").unwrap();
        let counter = topic_generation::key(&space, &name);
        world
            .kv
            .txn(Txn::new().and_then(Op::Delete(counter.clone())))
            .await
            .unwrap();
        let unknown = SessionId::new([9; 16]);
        let record = encode(&floor::FloorRecord {
            floor: WalSequence::new(4),
        });
        write(&world, floor::key(&space, unknown), record).await;
        let broken = partition_key::key(
            &space,
            TopicPartition::new(id.topic, PartitionIndex::new(9)),
        );
        write(&world, broken.clone(), "{\"v\":1}".into()).await;
        remove(&world, "kafscale-wal/default/cluster").await;
        let report = check(&world, Options::default()).await;
        let expected = [
            "partition-unknown",
            "partition-beyond-count",
            "group-offset-unknown",
            "group-offset-beyond-end",
            "generation-counter",
            "session-unknown",
            "record-unreadable",
            "cluster-object",
        ];
        assert_eq!(codes(&report), expected.into(), "{:#?}", report.findings);
        assert_eq!(repair(&world, &report, false).await, []);
        let report = check(&world, Options::default()).await;
        let left = [
            "partition-beyond-count",
            "group-offset-beyond-end",
            "session-unknown",
            "record-unreadable",
            "cluster-object",
        ];
        assert_eq!(codes(&report), left.into());
        let found = world.kv.get(counter).await.unwrap().unwrap();
        assert!(
            found.value.to_bytes().ends_with(b"\"next\":1}"),
            "{found:?}"
        );
        world
            .kv
            .txn(Txn::new().and_then(Op::Delete(cluster::key(&space))))
            .await
            .unwrap();
        assert!(codes(&check(&world, Options::default()).await).contains("cluster-missing"));
    });
}

#[test]
fn wrong_objects_of_a_partition_are_found_and_repaired() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        fill(&rig, id).await;
        rig.crash().await;
        let key = |base: i64| segment("orders", base);
        let index = |base: i64| key(base).replace(".kfs", ".index");
        let manifest = "kafscale/default/orders/0/manifest.kfm";
        // Damage in the body is found by a deep look only.
        let mut body = bytes(&world, &key(15));
        body[32 + batch(0, 5).len() + 70] ^= 1;
        put(&world, &key(15), body).await;
        let report = check(&world, Options::default()).await;
        assert_eq!(codes(&report), Codes::new(), "{:?}", report.findings);
        assert_eq!(
            codes(&check(&world, deep()).await),
            ["segment-damaged"].into()
        );
        // The others by any.
        let cut = bytes(&world, &key(30))[..200].to_vec();
        put(&world, &key(30), cut).await;
        remove(&world, &index(0)).await;
        put(&world, &index(15), "IDX").await;
        put(&world, &index(700), "IDX").await;
        let stale = bytes(&world, manifest);
        put(&world, manifest, "KMAN").await;
        let snapshot = format!(
            "kafscale-wal/default/producers/{}/0/{:020}-{:010}",
            id.topic, 3, 0
        );
        put(&world, &snapshot, "KPRS").await;
        // 35 is inside the last segment; 900 is above the end.
        let inside = vec![batch(35, 5)];
        let inside = KfsObject::build(Offset::new(35), TimestampMs::ZERO, inside).unwrap();
        put(&world, &key(35), inside.to_vec()).await;
        put(&world, &key(900), bytes(&world, &key(0))).await;
        put(&world, "kafscale/default/other/0/manifest.kfm", "x").await;
        put(&world, "kafscale/default/notes.txt", "x").await;
        put(&world, "kafscale/default/orders/3/manifest.kfm", "x").await;
        put(
            &world,
            "kafscale-wal/default/0/0102030405060708090a0b0c0d0e0f10/00000000000000000001.wal",
            "x",
        )
        .await;
        let report = check(&world, deep()).await;
        let expected: Codes = [
            "segment-damaged",
            "segment-stray",
            "segment-ahead",
            "index-missing",
            "index-leftover",
            "manifest-damaged",
            "snapshot-leftover",
            "topic-objects-unknown",
            "partition-objects-unknown",
            "wal-unknown-session",
        ]
        .into();
        assert_eq!(codes(&report), expected, "{:#?}", report.findings);
        assert!(
            report
                .findings
                .iter()
                .any(|f| f.code == Code::ObjectForeign)
        );
        let damaged = report
            .findings
            .iter()
            .filter(|f| f.code == Code::SegmentDamaged);
        let details: Vec<&str> = damaged.map(|finding| finding.detail.as_str()).collect();
        assert!(
            details
                .iter()
                .any(|detail| detail.contains("offsets 20..25 are lost")),
            "{details:?}"
        );
        assert_eq!(repair(&world, &report, false).await, []);
        let report = check(&world, deep()).await;
        // It is in the repaired one now, as far as anybody can tell; a copy is kept of it, too.
        let left = [
            "segment-leftover",
            "segment-ahead",
            "topic-objects-unknown",
            "partition-objects-unknown",
            "wal-unknown-session",
        ];
        assert_eq!(codes(&report), left.into(), "{:#?}", report.findings);
        assert_eq!(world.keys("quarantine/orders/0/").len(), 3);
        // A manifest of before tells of segments that have other bytes now.
        put(&world, manifest, stale).await;
        assert!(codes(&check(&world, deep()).await).contains("manifest-stale"));
        let rig = world.start().await;
        assert_eq!(rig.high_watermark(id), Some(55));
        let found = rig.scan(id, 0).await;
        assert_eq!(found.first(), Some(&0));
        assert!(found.contains(&15) && found.contains(&20) && found.contains(&50));
        rig.crash().await;
    });
}

#[test]
fn gaps_leftovers_and_lost_producers_are_found_and_a_loss_is_accepted_only_by_wish() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        for sequence in 0..3 {
            rig.produce(id, &crate::start::tests::idempotent(sequence))
                .await
                .unwrap();
            while compact(&rig.context, id, 64 << 20).await.unwrap().is_some() {}
        }
        // The record names what is there as of offset 3; its segments are 0, 1 and 2.
        let snapshot = world.keys("/producers/").remove(0);
        let middle = bytes(&world, &segment("orders", 1));
        remove(&world, &segment("orders", 1)).await;
        put(&world, &snapshot, "KPRS").await;
        let live = check(&world, Options::default()).await;
        let refused = repair(&world, &live, true).await;
        assert!(
            refused
                .iter()
                .all(|(_, why)| why.contains("stop the brokers")),
            "{refused:?}"
        );
        assert_eq!(refused.len(), 2);
        rig.crash().await;
        let report = check(&world, Options::default()).await;
        let expected: Codes = ["segment-gap", "segment-stray", "snapshot-damaged"].into();
        assert_eq!(codes(&report), expected, "{:#?}", report.findings);
        let gap = report
            .findings
            .iter()
            .find(|f| f.code == Code::SegmentGap)
            .unwrap();
        assert!(gap.detail.contains("1..2"), "{}", gap.detail);
        remove(&world, &snapshot).await;
        let report = check(&world, Options::default()).await;
        assert!(codes(&report).contains("snapshot-missing"));
        assert_eq!(repair(&world, &report, false).await, []);
        assert!(codes(&check(&world, Options::default()).await).contains("segment-gap"));
        assert_eq!(repair(&world, &report, true).await, []);
        let report = check(&world, Options::default()).await;
        assert_eq!(
            codes(&report),
            ["segment-leftover"].into(),
            "{:#?}",
            report.findings
        );
        // What lies below the log start is deleted; what is the only copy of records is not.
        put(&world, &segment("orders", 1), middle).await;
        assert_eq!(repair(&world, &report, false).await, []);
        assert_eq!(world.keys(".kfs").len(), 2);
        let rig = world.start().await;
        assert_eq!(rig.scan(id, 2).await, [2]);
        rig.crash().await;
        // Segments that a lifecycle rule has deleted.
        remove(&world, &segment("orders", 2)).await;
        let report = check(&world, Options::default()).await;
        assert!(
            codes(&report).contains("log-start-behind"),
            "{:#?}",
            report.findings
        );
    });
}

#[test]
fn a_lost_wal_object_is_told_with_the_offsets_that_it_held() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        rig.produce_many(id, 6).await;
        rig.crash().await;
        let objects = world.keys(".wal");
        let third = objects
            .iter()
            .find(|key| key.ends_with("3.wal"))
            .unwrap()
            .clone();
        let was = bytes(&world, &third);
        // The session of the dead broker is not fenced: what follows says that it was acknowledged.
        remove(&world, &third).await;
        let report = check(&world, Options::default()).await;
        assert_eq!(
            codes(&report),
            ["wal-missing"].into(),
            "{:#?}",
            report.findings
        );
        assert_eq!(report.findings[0].subject, third);
        put(&world, &third, was.clone()).await;
        // A closed source.
        let rig = world.start().await;
        rig.crash().await;
        assert_eq!(codes(&check(&world, deep()).await), Codes::new());
        let own = third.replace("00000000000000000003.wal", "own-00000000000000000009.kfs");
        put(&world, &own, "x").await;
        let report = check(&world, deep()).await;
        let unnamed = report
            .findings
            .iter()
            .filter(|f| f.code == Code::OwnUnnamed);
        assert_eq!(
            unnamed.map(|f| f.subject.as_str()).collect::<Vec<_>>(),
            [&own]
        );
        remove(&world, &own).await;
        remove(&world, &third).await;
        let report = check(&world, Options::default()).await;
        assert_eq!(
            codes(&report),
            ["wal-missing"].into(),
            "{:#?}",
            report.findings
        );
        let detail = &report.findings[0].detail;
        assert!(detail.contains("offsets 10..15"), "{detail}");
        // Damage in a directory is found by any look, damage in a section by a deep one.
        let mut broken = was.clone();
        let at = broken.len() - 120;
        broken[at] ^= 1;
        put(&world, &third, broken).await;
        assert_eq!(
            codes(&check(&world, Options::default()).await),
            ["wal-damaged"].into()
        );
        let mut broken = was.clone();
        broken[100] ^= 1;
        put(&world, &third, broken).await;
        assert_eq!(
            codes(&check(&world, Options::default()).await),
            Codes::new()
        );
        assert_eq!(codes(&check(&world, deep()).await), ["wal-damaged"].into());
        put(&world, &third, was).await;
        assert_eq!(codes(&check(&world, deep()).await), Codes::new());
    });
}

/// No broker opens a partition whose closed sources lack an object. By wish it is opened without the
/// records that are lost, whose offsets nothing else ever gets.
#[test]
fn a_partition_that_lost_wal_objects_is_opened_by_wish_and_keeps_the_rest() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        rig.produce_many(id, 2).await;
        while compact(&rig.context, id, 64 << 20).await.unwrap().is_some() {}
        rig.produce_many(id, 6).await;
        rig.crash().await;
        // Another session, with a closed source before it.
        let rig = world.start().await;
        rig.produce_many(id, 2).await;
        let first = rig.context.session.id.to_string();
        rig.crash().await;
        let theirs = world.keys(".wal").into_iter();
        let theirs: Vec<String> = theirs.filter(|key| !key.contains(&first)).collect();
        for lost in ["5.wal", "6.wal"] {
            let lost = theirs.iter().find(|key| key.ends_with(lost)).unwrap();
            remove(&world, lost).await;
        }
        // The section of the third object has a flipped bit.
        let third = theirs.iter().find(|key| key.ends_with("3.wal")).unwrap();
        let mut broken = bytes(&world, third);
        broken[100] ^= 1;
        put(&world, third, broken).await;
        let rig = world.start().await;
        assert_eq!(rig.high_watermark(id), None, "it cannot be opened");
        rig.crash().await;
        let report = check(&world, deep()).await;
        repair(&world, &report, false).await;
        assert!(!check(&world, deep()).await.is_clean(), "only by wish");
        // What lies where the segment is to be, and does not even state an end behind its beginning.
        let alien = segment("orders", 10);
        put(&world, &alien, bytes(&world, &segment("orders", 0))).await;
        let refused = repair(&world, &report, true).await;
        assert!(
            refused.iter().any(|(_, why)| why.contains(&alien)),
            "{refused:?}"
        );
        remove(&world, &alien).await;
        let refused = repair(&world, &report, true).await;
        // Both objects lack for one reason, and one repair mends it.
        assert!(refused.len() <= 2, "{refused:?}");
        let report = check(&world, deep()).await;
        assert_eq!(codes(&report), Codes::new(), "{:#?}", report.findings);
        let rig = world.start().await;
        assert_eq!(rig.served_from(id), Some(0));
        assert_eq!(rig.high_watermark(id), Some(50));
        // Batches without records stand for what is lost: offsets 10 to 14 and 20 to 29.
        let expected = [0, 5, 10, 15, 20, 30, 35, 40, 45];
        assert_eq!(rig.scan(id, 0).await, expected);
        assert_eq!(rig.produce_many(id, 1).await, [50]);
        rig.finish().await;
    });
}

/// The dry run lists exactly what the collector deletes then.
#[test]
fn the_dry_run_of_garbage_is_what_the_collector_deletes() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let other = rig.create("payments", 1).await;
        rig.produce_many(id, 70).await;
        rig.produce_many(other, 3).await;
        rig.context.heartbeat.notify_one();
        rig.crash().await;
        let rig = world.start().await;
        while compact(&rig.context, id, 64 << 20).await.unwrap().is_some() {}
        let options = Options {
            garbage: true,
            ..Options::default()
        };
        let report = check(&world, options.clone()).await;
        assert!(
            report
                .findings
                .iter()
                .all(|f| f.code == Code::WalGarbage && f.bytes > Some(0))
        );
        let listed: BTreeSet<String> = report.findings.iter().map(|f| f.subject.clone()).collect();
        assert!(listed.len() >= 70, "{}", listed.len());
        assert!(
            listed.iter().any(|key| key.ends_with(".dir")),
            "a bundle goes, too"
        );
        let before: BTreeSet<String> = world.keys("").into_iter().collect();
        rig.collect().await;
        let after: BTreeSet<String> = world.keys("").into_iter().collect();
        let deleted: BTreeSet<String> = before.difference(&after).cloned().collect();
        assert_eq!(listed, deleted);
        assert_eq!(check(&world, options.clone()).await.findings, []);
        // What cannot be read may need anything: then nothing is garbage.
        while compact(&rig.context, other, 64 << 20)
            .await
            .unwrap()
            .is_some()
        {}
        rig.crash().await;
        assert_ne!(check(&world, options.clone()).await.findings, []);
        let space = ground(&world).await.space;
        let key = partition_key::key(
            &space,
            TopicPartition::new(id.topic, PartitionIndex::new(9)),
        );
        write(&world, key, "{".into()).await;
        assert_eq!(check(&world, options).await.findings, []);
    });
}

/// A broker serves what is left as soon as the segment is repaired under it.
#[test]
fn a_segment_is_repaired_under_a_running_broker() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        fill(&rig, id).await;
        rig.crash().await;
        let damaged = bytes(&world, &segment("orders", 15))[..300].to_vec();
        put(&world, &segment("orders", 15), damaged.clone()).await;
        remove(&world, "kafscale/default/orders/0/manifest.kfm").await;
        let rig = world.start().await;
        assert!(rig.read(id, 25).await.is_err());
        // A rewrite that is about to come: hands off.
        let owned = rig.context.owned(id).unwrap();
        let intent = Intent {
            base: Offset::new(0),
            end: Offset::new(30),
            created_ms: TimestampMs::ZERO,
            kind: IntentKind::Extend {
                etag: "1".to_owned(),
            },
            object_bytes: None,
            object_crc32c: None,
        };
        change(&world, id, |record| record.intent = Some(Box::new(intent))).await;
        let report = check(&world, Options::default()).await;
        assert_eq!(
            codes(&report),
            ["segment-damaged"].into(),
            "{:#?}",
            report.findings
        );
        let refused = repair(&world, &report, false).await;
        assert!(
            refused[0].1.contains("about to be rewritten"),
            "{refused:?}"
        );
        change(&world, id, |record| record.intent = None).await;
        assert_eq!(repair(&world, &report, false).await, []);
        let copy = world.keys("kafscale-wal/default/quarantine/").remove(0);
        assert_eq!(bytes(&world, &copy), damaged, "a copy is kept");
        assert!(
            repair(&world, &report, false).await[0]
                .1
                .contains("sound now")
        );
        for damaged in owned.state.lock().await.damaged.values_mut() {
            damaged.looked -= std::time::Duration::from_secs(60);
        }
        assert_eq!(rig.read(id, 25).await, Ok(25), "a batch without records");
        assert_eq!(rig.read(id, 30).await, Ok(30));
        assert!(owned.state.lock().await.damaged.is_empty());
        assert_eq!(codes(&check(&world, deep()).await), Codes::new());
        rig.crash().await;
    });
}

#[test]
fn only_one_topic_is_looked_at_by_wish() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        for name in ["orders", "payments"] {
            let id = rig.create(name, 1).await;
            fill(&rig, id).await;
            remove(&world, &segment(name, 0).replace(".kfs", ".index")).await;
        }
        let options = |name| Options {
            topic: Some(segment::TopicName::new(name).unwrap()),
            ..Options::default()
        };
        let report = check(&world, options("orders")).await;
        assert_eq!(report.findings.len(), 1);
        assert!(report.findings[0].subject.contains("/orders/"));
        let ground = ground(&world).await;
        let none = Fsck::new(&ground, options("none"), &|_| {}).run().await;
        assert!(matches!(none, Err(FsckError::NoTopic(_))));
        rig.crash().await;
    });
}

/// What a restore has written before its topic is there is no rubbish.
#[test]
fn a_topic_that_is_being_restored_is_left_alone() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        rig.create("orders", 1).await;
        rig.crash().await;
        let space = ground(&world).await.space;
        let (topic_id, name) = (TopicId::new([7; 16]), TopicName::new("copy").unwrap());
        let id = TopicPartition::new(topic_id, PartitionIndex::ZERO);
        let record = PartitionRecord {
            leader_epoch: LeaderEpoch::ZERO,
            ..PartitionRecord::absent()
        };
        write(&world, partition_key::key(&space, id), encode(&record)).await;
        put(&world, &segment("copy@3", 0), "a segment").await;
        let lonely = Codes::from(["partition-unknown", "topic-objects-unknown"]);
        assert_eq!(codes(&check(&world, deep()).await), lonely);
        let announced = RestoreRecord {
            topic_id,
            generation: 3,
            source: "orders".to_owned(),
            until_ms: TimestampMs::ZERO,
            begun_ms: TimestampMs::ZERO,
        };
        write(&world, restore::key(&space, &name), encode(&announced)).await;
        let report = check(&world, deep()).await;
        assert_eq!(codes(&report), Codes::new(), "{:?}", report.findings);
        let told = report.findings.iter().map(|finding| finding.code);
        assert!(told.collect::<Vec<_>>().contains(&Code::RestorePending));
    });
}

mod repairs;
