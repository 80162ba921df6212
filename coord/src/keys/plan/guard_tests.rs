//! Each guard against the interleaving that it closes: with it nothing is written, without it the
//! bad write gets through.

use std::collections::BTreeMap;

use segment::{LeaderEpoch, Offset, ProducerId, TimestampMs, WalSequence};

use super::testing::{World, me, sequence};
use super::*;
use crate::keys::acl::{self, AclKey, AclRecord};
use crate::keys::broker_config::{self, BrokerConfigRecord};
use crate::keys::floor::{self, FloorRecord};
use crate::keys::group::GroupRecord;
use crate::keys::group_offset::{self, GroupOffsetRecord};
use crate::keys::partition::{EpochStart, IntentKind, ProducerSnapshotRef, Source};
use crate::keys::producer_block::{self, ProducerBlockRecord};
use crate::keys::quota::{self, QuotaEntity, QuotaName, QuotaRecord};
use crate::keys::slot::{self, SlotId, SlotRecord};
use crate::keys::tombstone::{self, TombstoneRecord};
use crate::keys::topic::{self, TopicRecord};
use crate::keys::{broker, group, pin, session_record, topic_generation};
use crate::kv::{Key, Kv, KvError, Span, wait};

fn partition_key(world: &World) -> Key {
    partition::key(&world.space, world.partition())
}

fn session_key(world: &World, number: u8) -> Key {
    session::key(&world.space, me(number).session)
}

/// Session 1 owns the partition from its sequence 1 on, epoch 0 from offset 0.
fn owned_by_one() -> World {
    let world = World::new();
    assert!(world.send(&world.take(1, 1).planned.txn).succeeded);
    let seen = world.record().unwrap();
    let epoch = append_epoch(
        &world.space,
        me(1).session,
        world.partition(),
        &seen,
        Offset::ZERO,
    );
    assert!(world.send(&epoch.unwrap().txn).succeeded);
    world
}

#[test]
fn h5_two_takers_of_one_dead_owner() {
    let world = owned_by_one();
    world.kill(1);
    let (second, third) = (world.take(2, 10), world.take(3, 20));
    assert!(world.send(&second.planned.txn).succeeded);
    world.only_guard(&third.planned.txn, &partition_key(&world));
    let record = world.record().unwrap().record;
    assert!(record.is_owned_by(me(2).session));
    assert_eq!(record.leader_epoch, LeaderEpoch::new(1));
    let sessions: Vec<_> = record.sources.iter().map(|source| source.session).collect();
    assert_eq!(sessions, [me(1).session, me(2).session]);
}

#[test]
fn h5_a_live_owner_is_not_robbed_and_a_dead_taker_takes_nothing() {
    let world = owned_by_one();
    world.only_guard(&world.take(2, 10).planned.txn, &session_key(&world, 1));
    world.kill(1);
    let late = world.take(2, 10).planned.txn;
    world.kill(2);
    world.only_guard(&late, &session_key(&world, 2));
}

#[test]
fn a_deleted_or_re_created_topic_is_not_taken() {
    let world = World::new();
    let take = world.take(1, 1).planned.txn;
    let topic_key = topic::key(&world.space, &world.name);
    let seen = world.read::<TopicRecord>(topic_key.clone()).unwrap();
    let now = TimestampMs::new(9);
    let delete = delete_topic(&world.space, me(2).session, &world.name, &seen, now);
    assert!(world.send(&delete.txn).succeeded);
    world.only_guard(&take, &topic_key);
    assert!(
        !world.send(&world.create(0)).succeeded,
        "the generation counter outlives the topic"
    );
    let counter = world.read(topic_generation::key(&world.space, &world.name));
    let record = TopicRecord {
        generation: 1,
        ..seen.record.clone()
    };
    let create = CreateTopic {
        name: &world.name,
        record,
        counter: counter.as_ref(),
    };
    assert!(
        world
            .send(
                &create_topic(&world.space, me(1).session, create)
                    .unwrap()
                    .txn
            )
            .succeeded
    );
    world.only_guard(&take, &topic_key);
    let again = CreateTopic {
        name: &world.name,
        record: seen.record,
        counter: counter.as_ref(),
    };
    let refused = create_topic(&world.space, me(1).session, again);
    assert!(matches!(refused, Err(PlanError::Backward { .. })));
}

#[test]
fn h6_every_open_source_is_fenced_and_closed() {
    let world = owned_by_one();
    let floor = raise_floor(&world.space, me(1).session, None, sequence(5), sequence(6)).unwrap();
    assert!(world.send(&floor.txn).succeeded);
    world.kill(1);
    assert!(world.send(&world.take(2, 10).planned.txn).succeeded);
    world.kill(2);
    let plan = world.take(3, 20);
    let reply = world.send(&plan.planned.txn);
    let floors = plan.floors(&reply).unwrap();
    let expected = [
        (me(1).session, sequence(5)),
        (me(2).session, WalSequence::ZERO),
    ];
    assert_eq!(
        floors, expected,
        "the sources of both dead sessions, oldest first"
    );
    let seen = world.record().unwrap();
    let close = |ends: &[_]| {
        let start = Some(Offset::new(40));
        close_sources(
            &world.space,
            me(3).session,
            world.partition(),
            &seen,
            ends,
            Extent::Unknown,
            start,
        )
    };
    let one = close(&[(me(2).session, sequence(11))]);
    assert_eq!(
        one,
        Err(PlanError::OpenSource {
            session: me(1).session
        })
    );
    let closed = close(&[(me(1).session, sequence(9)), (me(2).session, sequence(10))]).unwrap();
    assert!(world.send(&closed.txn).succeeded);
    let record = world.record().unwrap().record;
    assert_eq!(
        record.sources.len(),
        2,
        "session 2 wrote nothing: its source is dropped"
    );
    assert!(record.needs(me(1).session, sequence(8)) && !record.needs(me(1).session, sequence(9)));
    let epochs = [(0, 0), (2, 40)].map(|(epoch, start)| EpochStart {
        epoch: LeaderEpoch::new(epoch),
        start: Offset::new(start),
    });
    assert_eq!(
        record.epochs, epochs,
        "an epoch that wrote nothing has no start"
    );
}

#[test]
fn closing_is_guarded_by_record_and_session() {
    let world = owned_by_one();
    world.kill(1);
    assert!(world.send(&world.take(2, 10).planned.txn).succeeded);
    let seen = world.record().unwrap();
    let ends = [(me(1).session, sequence(4))];
    let start = Some(Offset::new(3));
    let close = close_sources(
        &world.space,
        me(2).session,
        world.partition(),
        &seen,
        &ends,
        Extent::Unknown,
        start,
    );
    let close = close.unwrap().txn;
    world.kill(2);
    world.only_guard(&close, &session_key(&world, 2));
    assert!(
        !world.send(&world.register(2)).succeeded,
        "a session id is never used again"
    );
    assert!(world.send(&world.take(3, 20).planned.txn).succeeded);
    let mut revived = close.clone();
    revived
        .compares
        .retain(|compare| compare.key != session_key(&world, 2));
    world.only_guard(&revived, &partition_key(&world));
}

#[test]
fn sources_are_narrowed_to_what_holds_sections_and_never_guessed() {
    let source = |number: u8, first: u64, end: Option<u64>| Source {
        session: me(number).session,
        broker: me(number).broker,
        first_sequence: sequence(first),
        end_sequence: end.map(sequence),
    };
    let all = vec![
        source(1, 3, Some(50)),
        source(2, 1, Some(9)),
        source(3, 1, Some(20)),
        source(4, 1, None),
    ];
    let at = |number: u8, at: u64| (me(number).session, sequence(at));
    let narrowed = |extent: Extent| {
        let mut sources = all.clone();
        extent.narrow(&mut sources);
        sources
    };
    let between = |first, last| narrowed(Extent::Objects { first, last });
    let open = source(4, 1, None);
    assert_eq!(narrowed(Extent::Unknown), all);
    assert_eq!(narrowed(Extent::Empty), [open]);
    assert_eq!(between(at(2, 4), at(2, 4)), [source(2, 4, Some(5)), open]);
    assert_eq!(
        between(at(1, 7), at(2, 1)),
        [source(1, 7, Some(50)), source(2, 1, Some(2)), open]
    );
    for (first, last) in [
        (at(1, 50), at(2, 1)),
        (at(1, 3), at(9, 1)),
        (at(2, 1), at(1, 3)),
        (at(4, 5), at(4, 6)),
    ] {
        assert_eq!(
            between(first, last),
            all,
            "what does not fit changes nothing"
        );
    }
}

#[test]
fn h7_a_release_whose_reply_was_lost() {
    let world = owned_by_one();
    let seen = world.record().unwrap();
    let release = |end| {
        release_partition(
            &world.space,
            me(1).session,
            world.partition(),
            &seen,
            sequence(end),
            Extent::Unknown,
        )
    };
    let planned = release(7).unwrap();
    assert_eq!(
        planned.resolve(world.record().as_ref()),
        Resolution::Unchanged
    );
    // Not applied: the same session takes it anew, with a higher epoch and its old source closed.
    let again = |own_end| {
        let take = Take {
            topic: &world.name,
            topic_created: world.topic_created(),
            partition: world.partition(),
            seen: Some(&seen),
            me: me(1),
            first_sequence: sequence(7),
            own_end,
        };
        take_partition(&world.space, take)
    };
    assert_eq!(
        again(None),
        Err(PlanError::OpenSource {
            session: me(1).session
        })
    );
    let plan = again(Some(sequence(7))).unwrap();
    assert!(
        plan.to_fence.is_empty(),
        "our own live session is not fenced"
    );
    assert!(world.send(&plan.planned.txn).succeeded);
    let record = world.record().unwrap();
    assert_eq!(record.record.sources.len(), 2);
    assert_eq!(record.record.leader_epoch, LeaderEpoch::new(1));
    // The release lands at last: it must not.
    world.only_guard(&planned.txn, &partition_key(&world));
    assert_eq!(planned.resolve(Some(&record)), Resolution::Superseded);
    let space = &world.space;
    let release = release_partition(
        space,
        me(1).session,
        world.partition(),
        &record,
        sequence(9),
        Extent::Unknown,
    )
    .unwrap();
    assert!(world.send(&release.txn).succeeded);
    let released = world.record().unwrap();
    assert_eq!(release.resolve(Some(&released)), Resolution::Applied);
    assert!(released.record.owner.is_none());
    // No owner: nobody has to be dead, and nothing has to be fenced.
    let next = world.take(2, 30);
    assert!(next.to_fence.is_empty());
    assert!(world.send(&next.planned.txn).succeeded);
}

#[test]
fn h4_intents_come_one_after_the_other_and_zombies_make_none() {
    let world = owned_by_one();
    let seen = world.record().unwrap();
    let session = me(1).session;
    let begin = |seen: &_, base, end, kind| {
        let intent = World::intent(base, end, kind);
        begin_intent(&world.space, session, world.partition(), seen, intent)
    };
    assert!(matches!(
        begin(&seen, 3, 9, IntentKind::Append),
        Err(PlanError::BadRange { .. })
    ));
    assert!(matches!(
        begin(&seen, 0, 0, IntentKind::Append),
        Err(PlanError::BadRange { .. })
    ));
    let (first, second) = (
        begin(&seen, 0, 10, IntentKind::Append),
        begin(&seen, 0, 20, IntentKind::Append),
    );
    assert!(world.send(&first.unwrap().txn).succeeded);
    world.only_guard(&second.unwrap().txn, &partition_key(&world));
    let seen = world.record().unwrap();
    let pending = begin(&seen, 10, 20, IntentKind::Append);
    assert!(matches!(pending, Err(PlanError::IntentPending { .. })));
    let finish = |snapshot| {
        let snapshot = ProducerSnapshotRef {
            end: Offset::new(snapshot),
            epoch: LeaderEpoch::ZERO,
        };
        let trim = SourceTrim {
            session,
            first_sequence: sequence(1),
            keep_from: sequence(6),
        };
        let finish = Finish {
            trims: vec![trim],
            producer_snapshot: Some(snapshot),
        };
        finish_compaction(&world.space, session, world.partition(), &seen, &finish)
    };
    assert!(
        matches!(finish(9), Err(PlanError::BadRange { .. })),
        "exactly at the segment's end"
    );
    let finish = finish(10).unwrap().txn;
    // Taken over meanwhile: a stale compaction neither moves the end nor trims the sources.
    let stale = world.kv.fork();
    world.kill(1);
    assert!(world.send(&world.take(2, 10).planned.txn).succeeded);
    let mut revived = finish.clone();
    revived
        .compares
        .retain(|compare| compare.key != session_key(&world, 1));
    world.only_guard(&revived, &partition_key(&world));
    assert!(
        world.record().unwrap().record.intent.is_some(),
        "the next owner finishes it"
    );
    assert!(wait(stale.txn(finish)).unwrap().succeeded);
    let stored = wait(stale.get(partition_key(&world))).unwrap();
    let record = crate::keys::codec::seen::<partition::PartitionRecord>(stored.as_ref()).unwrap();
    let record = record.unwrap().record;
    assert_eq!(record.compacted_end, Offset::new(10));
    assert!(record.intent.is_none() && !record.needs(session, sequence(5)));
    assert!(record.needs(session, sequence(6)));
}

#[test]
fn h16_log_start_rises_and_keeps_the_epoch_that_covers_it() {
    let world = owned_by_one();
    world.kill(1);
    assert!(world.send(&world.take(2, 1).planned.txn).succeeded);
    let seen = world.record().unwrap();
    let (space, partition, writer) = (&world.space, world.partition(), me(2).session);
    let ends = [(me(1).session, sequence(4))];
    let start = Some(Offset::new(100));
    let close = close_sources(
        space,
        writer,
        partition,
        &seen,
        &ends,
        Extent::Unknown,
        start,
    )
    .unwrap();
    assert!(world.send(&close.txn).succeeded);
    let seen = world.record().unwrap();
    let raise = |to| raise_log_start(space, writer, partition, &seen, Offset::new(to));
    assert!(matches!(raise(0), Err(PlanError::Backward { .. })));
    assert_eq!(raise(99).unwrap().record.epochs.len(), 2);
    assert_eq!(raise(100).unwrap().record.epochs.len(), 1);
    assert_eq!(raise(500).unwrap().record.epochs.len(), 1);
    let other = raise(99).unwrap().txn;
    assert!(world.send(&raise(100).unwrap().txn).succeeded);
    world.only_guard(&other, &partition_key(&world));
}

#[test]
fn h1_the_floor_rises_only_by_its_live_session() {
    let world = World::new();
    let session = me(1).session;
    let raise = |seen: Option<&Seen<FloorRecord>>, to| {
        raise_floor(&world.space, session, seen, sequence(to), sequence(10))
    };
    assert!(
        matches!(raise(None, 11), Err(PlanError::Backward { .. })),
        "above what is committed"
    );
    let (late, first) = (raise(None, 3).unwrap(), raise(None, 8).unwrap());
    assert!(world.send(&first.txn).succeeded);
    let key = floor::key(&world.space, session);
    world.only_guard(&late.txn, &key);
    let seen = world.read::<FloorRecord>(key.clone()).unwrap();
    assert!(matches!(
        raise(Some(&seen), 8),
        Err(PlanError::Backward { .. })
    ));
    let last = raise(Some(&seen), 9).unwrap();
    world.kill(1);
    world.only_guard(&last.txn, &session_key(&world, 1));
    assert!(
        world.read::<FloorRecord>(key).is_some(),
        "the floor outlives its session"
    );
}

#[test]
fn a_broker_id_and_a_session_id_are_claimed_once() {
    let world = World::new();
    // Another session with the broker id of a live one.
    let mut twin = world.register(1);
    let fresh = segment::SessionId::new([99; 16]);
    for compare in &mut twin.compares {
        if compare.key == session_key(&world, 1) {
            compare.key = session::key(&world.space, fresh);
        } else if compare.key == session_record::key(&world.space, me(1).session) {
            compare.key = session_record::key(&world.space, fresh);
        }
    }
    world.only_guard(&twin, &broker::key(&world.space, me(1).broker));
    let world = World::new();
    world.kill(1);
    let again = world.register(1);
    world.only_guard(&again, &session_record::key(&world.space, me(1).session));
}

#[test]
fn producer_blocks_never_overlap() {
    let world = World::new();
    let take = |number: u8, seen: Option<&Seen<ProducerBlockRecord>>, at_least| {
        let at_least = ProducerId::new(at_least);
        take_producer_block(&world.space, me(number).session, seen, at_least).unwrap()
    };
    let key = producer_block::key(&world.space);
    let ((one, first), (two, same)) = (take(1, None, 0), take(2, None, 0));
    assert_eq!(first, same, "both planned the same block");
    assert!(world.send(&one.txn).succeeded);
    world.only_guard(&two.txn, &key);
    let seen = world.read(key.clone());
    let (planned, block) = take(2, seen.as_ref(), 5_500);
    assert_eq!((block.first.get(), block.end.get()), (5_500, 6_500));
    world.kill(2);
    world.only_guard(&planned.txn, &session_key(&world, 2));
}

#[test]
fn deletion_is_guarded_and_sweeps_only_its_own_partitions() {
    let world = owned_by_one();
    assert!(world.send(&world.pinned(1)).succeeded);
    let key = topic::key(&world.space, &world.name);
    let seen = world.read::<TopicRecord>(key.clone()).unwrap();
    let now = TimestampMs::new(9);
    let delete = delete_topic(&world.space, me(2).session, &world.name, &seen, now);
    let configs = BTreeMap::from([("retention.ms".to_string(), "1".to_string())]);
    let alter = alter_topic(&world.space, me(1).session, &world.name, &seen, 3, configs).unwrap();
    assert!(world.send(&alter.txn).succeeded);
    world.only_guard(&delete.txn, &key);
    let seen = world.read::<TopicRecord>(key.clone()).unwrap();
    let delete = delete_topic(&world.space, me(2).session, &world.name, &seen, now);
    assert!(world.send(&delete.txn).succeeded);
    world.only_guard(&alter.txn, &key);
    let tombstone = world.read::<TombstoneRecord>(tombstone::key(&world.space, world.topic));
    let tombstone = tombstone.unwrap();
    assert_eq!(tombstone.record.partition_count, 3);
    let finish = finish_topic_deletion(&world.space, me(2).session, world.topic, &tombstone);
    assert!(world.record().is_some() && world.pin().is_some());
    assert!(world.send(&finish).succeeded);
    assert!(world.record().is_none() && world.pin().is_none());
    assert!(!world.send(&finish).succeeded, "a sweep ends once");
}

#[test]
fn a_pin_is_guarded_by_what_was_read_by_the_session_and_by_its_topic() {
    let world = World::new();
    let key = pin::key(&world.space, world.partition());
    let (first, second) = (world.pinned(1), world.pinned(2));
    assert!(world.send(&first).succeeded);
    world.only_guard(&second, &key);
    assert_eq!(world.pin().unwrap().record.broker, Some(me(2).broker));
    let again = world.pinned(2);
    world.kill(2);
    world.only_guard(&again, &session_key(&world, 2));
    let late = world.pinned(1);
    let topic_key = topic::key(&world.space, &world.name);
    let seen = world.read::<TopicRecord>(topic_key.clone()).unwrap();
    let now = TimestampMs::new(9);
    let delete = delete_topic(&world.space, me(1).session, &world.name, &seen, now);
    assert!(world.send(&delete.txn).succeeded);
    world.only_guard(&late, &topic_key);
}

#[test]
fn quotas_are_guarded_by_what_was_read_and_by_the_session_and_go_when_none_is_left() {
    let world = World::new();
    let entity = QuotaEntity::Client(QuotaName::Named("a".to_owned()));
    let key = quota::key(&world.space, &entity);
    let put = |number: u8, seen: Option<&Seen<QuotaRecord>>, values: &[(&str, f64)]| {
        let values = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value));
        let record = QuotaRecord {
            values: values.collect(),
        };
        put_quotas(&world.space, me(number).session, &entity, seen, record).txn
    };
    let (first, second) = (put(1, None, &[("x", 0.1)]), put(2, None, &[("x", 2.0)]));
    assert!(world.send(&first).succeeded);
    world.only_guard(&second, &key);
    let seen = world.read::<QuotaRecord>(key.clone()).unwrap();
    assert_eq!(seen.record.values["x"], 0.1);
    let (gone, late) = (put(2, Some(&seen), &[]), put(1, Some(&seen), &[]));
    assert!(world.send(&gone).succeeded);
    assert!(world.read::<QuotaRecord>(key.clone()).is_none());
    world.only_guard(&late, &key);
    let again = put(2, None, &[("x", 1.0)]);
    world.kill(2);
    world.only_guard(&again, &session_key(&world, 2));
}

#[test]
fn settings_of_a_broker_are_guarded_by_what_was_read_and_by_the_session() {
    let world = World::new();
    for broker in [None, Some(me(1).broker)] {
        let key = broker_config::key(&world.space, broker);
        let put = |number: u8, seen: Option<&Seen<BrokerConfigRecord>>| {
            let record = BrokerConfigRecord {
                values: [("a".to_owned(), number.to_string())].into(),
            };
            put_broker_config(&world.space, me(number).session, broker, seen, record).txn
        };
        let (first, second) = (put(1, None), put(2, None));
        assert!(world.send(&first).succeeded);
        world.only_guard(&second, &key);
        let seen = world.read::<BrokerConfigRecord>(key.clone()).unwrap();
        assert_eq!(seen.record.values["a"], "1");
    }
    let again = {
        let key = broker_config::key(&world.space, None);
        let seen = world.read::<BrokerConfigRecord>(key).unwrap();
        let record = BrokerConfigRecord::default();
        put_broker_config(&world.space, me(2).session, None, Some(&seen), record).txn
    };
    world.kill(2);
    world.only_guard(&again, &session_key(&world, 2));
}

#[test]
fn rules_are_guarded_by_the_session_and_are_there_once() {
    let world = World::new();
    let rule = AclKey {
        resource: 2,
        pattern: 3,
        name: "t".to_owned(),
        principal: "User:a".to_owned(),
        host: "*".to_owned(),
        operation: 3,
        permission: 3,
    };
    let key = acl::key(&world.space, &rule);
    let rules = std::slice::from_ref(&rule);
    let record = AclRecord {
        by: "User:b".to_owned(),
    };
    let put = |number: u8| put_acls(&world.space, me(number).session, rules, &record);
    let delete = |number: u8| delete_acls(&world.space, me(number).session, rules);
    for number in [1, 2] {
        assert!(world.send(&put(number)).succeeded);
        assert_eq!(world.read::<AclRecord>(key.clone()).unwrap().record, record);
    }
    for number in [1, 2] {
        assert!(world.send(&delete(number)).succeeded);
        assert!(world.read::<AclRecord>(key.clone()).is_none());
    }
    world.kill(2);
    world.only_guard(&put(2), &session_key(&world, 2));
    world.only_guard(&delete(2), &session_key(&world, 2));
}

struct Slot {
    world: World,
    slot: SlotId,
}

impl Slot {
    /// Slot 5, owned by session 1.
    fn new() -> Self {
        let slot = Slot {
            world: World::new(),
            slot: SlotId::new(5).unwrap(),
        };
        let take = take_slot(&slot.world.space, slot.slot, None, me(1)).unwrap();
        assert!(slot.world.send(&take.txn).succeeded);
        slot
    }

    fn seen(&self) -> Seen<SlotRecord> {
        self.world
            .read(slot::key(&self.world.space, self.slot))
            .unwrap()
    }

    fn commit(&self, seen: &Seen<SlotRecord>, offset: i64) -> Planned<SlotRecord> {
        let guard = SlotGuard {
            slot: self.slot,
            seen,
            writer: me(1).session,
        };
        let offsets = vec![("g/1".to_string(), self.world.partition(), committed(offset))];
        commit_offsets(&self.world.space, &guard, offsets).unwrap()
    }

    fn offset(&self) -> Option<i64> {
        let key = group_offset::key(&self.world.space, "g/1", self.world.partition());
        self.world
            .read::<GroupOffsetRecord>(key)
            .map(|seen| seen.record.offset.get())
    }
}

fn committed(offset: i64) -> GroupOffsetRecord {
    GroupOffsetRecord {
        offset: Offset::new(offset),
        leader_epoch: LeaderEpoch::NONE,
        metadata: String::new(),
        commit_ms: TimestampMs::new(1),
        expire_ms: None,
    }
}

#[test]
fn h14_a_late_commit_does_not_take_offsets_back() {
    let slot = Slot::new();
    let key = slot::key(&slot.world.space, slot.slot);
    let seen = slot.seen();
    let (ten, twenty) = (slot.commit(&seen, 10), slot.commit(&seen, 20));
    slot.world.kv.inject(crate::kv::simulated::Fault::Delayed);
    let error = wait(slot.world.kv.txn(ten.txn.clone())).unwrap_err();
    assert!(error.is_ambiguous());
    assert_eq!(ten.resolve(Some(&slot.seen())), Resolution::Unchanged);
    assert!(slot.world.send(&twenty.txn).succeeded);
    assert!(slot.world.kv.land_delayed());
    assert_eq!(slot.offset(), Some(20));
    slot.world.only_guard(&ten.txn, &key);
    // A client may commit lower: it is its own commit, in order.
    assert!(slot.world.send(&slot.commit(&slot.seen(), 5).txn).succeeded);
    assert_eq!(slot.offset(), Some(5));
    let lost = slot.commit(&slot.seen(), 6);
    slot.world
        .kv
        .inject(crate::kv::simulated::Fault::AppliedReplyLost);
    assert!(matches!(
        wait(slot.world.kv.txn(lost.txn.clone())),
        Err(KvError::Ambiguous { .. })
    ));
    assert_eq!(lost.resolve(Some(&slot.seen())), Resolution::Applied);
}

#[test]
fn h14_a_zombie_coordinator_commits_nothing() {
    let slot = Slot::new();
    let zombie = slot.commit(&slot.seen(), 10);
    let rob = take_slot(&slot.world.space, slot.slot, Some(&slot.seen()), me(2)).unwrap();
    slot.world
        .only_guard(&rob.txn, &session_key(&slot.world, 1));
    slot.world.kill(1);
    slot.world
        .only_guard(&zombie.txn, &session_key(&slot.world, 1));
    assert!(slot.world.send(&rob.txn).succeeded);
    let seen = slot.seen();
    assert_eq!(
        seen.record.unfenced,
        [me(1)],
        "the old coordinator is fenced before we serve"
    );
    let mut revived = zombie.txn.clone();
    revived
        .compares
        .retain(|compare| compare.key != session_key(&slot.world, 1));
    slot.world
        .only_guard(&revived, &slot::key(&slot.world.space, slot.slot));
    let guard = SlotGuard {
        slot: slot.slot,
        seen: &seen,
        writer: me(2).session,
    };
    let finish = finish_slot_take(&slot.world.space, &guard).unwrap();
    assert!(slot.world.send(&finish.txn).succeeded);
    assert!(slot.seen().record.unfenced.is_empty());
    assert_eq!(slot.offset(), None);
}

#[test]
fn groups_are_guarded_by_slot_and_revision() {
    let slot = Slot::new();
    let space = &slot.world.space;
    let state = GroupRecord {
        state_version: 3,
        state: vec![0, b'\n', 255].into(),
    };
    let key = group::key(space, "g/1");
    let put = |seen: &Seen<SlotRecord>, at| {
        let guard = SlotGuard {
            slot: slot.slot,
            seen,
            writer: me(1).session,
        };
        put_group(space, &guard, "g/1", at, state.clone()).unwrap()
    };
    let created = slot.world.send(&put(&slot.seen(), Revision::ZERO).txn);
    assert!(created.succeeded);
    slot.world
        .only_guard(&put(&slot.seen(), Revision::ZERO).txn, &key);
    let stored = wait(slot.world.kv.get(key.clone())).unwrap().unwrap();
    assert_eq!(GroupRecord::decode(&stored.value).unwrap(), state);
    let late = put(&slot.seen(), created.revision);
    assert!(slot.world.send(&slot.commit(&slot.seen(), 1).txn).succeeded);
    slot.world
        .only_guard(&late.txn, &slot::key(space, slot.slot));
    let seen = slot.seen();
    let guard = SlotGuard {
        slot: slot.slot,
        seen: &seen,
        writer: me(1).session,
    };
    let delete = delete_group(space, &guard, "g/1", created.revision).unwrap();
    assert!(slot.world.send(&delete.txn).succeeded);
    assert_eq!(
        (slot.offset(), wait(slot.world.kv.get(key)).unwrap()),
        (None, None)
    );
}

#[test]
fn slot_changes_have_bounds_and_the_last_commit_of_a_partition_counts() {
    let slot = Slot::new();
    let seen = slot.seen();
    let guard = SlotGuard {
        slot: slot.slot,
        seen: &seen,
        writer: me(1).session,
    };
    let commit = |offset| ("g/1".to_string(), slot.world.partition(), committed(offset));
    let many = vec![commit(1); SLOT_CHANGES_MAX + 1];
    let refused = commit_offsets(&slot.world.space, &guard, many);
    assert!(matches!(refused, Err(PlanError::TooMany { .. })));
    let both = commit_offsets(&slot.world.space, &guard, vec![commit(2), commit(1)]).unwrap();
    assert!(slot.world.send(&both.txn).succeeded);
    assert_eq!(slot.offset(), Some(1));
    let delete = GroupChange::Delete {
        group: "g/1".to_string(),
        seen: Revision::ZERO,
    };
    let (group, partition, record) = commit(3);
    let clash = vec![
        delete,
        GroupChange::Commit {
            group,
            partition,
            record,
        },
    ];
    let clash = slot_changes(&slot.world.space, &guard, clash);
    assert!(matches!(clash, Err(PlanError::Conflict { .. })));
    let other = SlotGuard {
        writer: me(2).session,
        ..guard
    };
    let refused = commit_offsets(&slot.world.space, &other, vec![commit(1)]);
    assert!(matches!(refused, Err(PlanError::NotOwner { .. })));
}

#[test]
fn thirty_two_partitions_fit_one_request_of_etcd() {
    let world = owned_by_one();
    world.kill(1);
    let plan = world.take(2, 10).planned.txn;
    let batch = Txn::batch(vec![plan; PARTITIONS_MAX]);
    assert!(batch.operations() <= crate::kv::KvLimits::ETCD.operations_max);
    assert!(batch.bytes() < crate::kv::KvLimits::ETCD.bytes_max);
    let all = wait(world.kv.range(crate::kv::Range {
        span: Span::prefix(world.space.prefix()),
        limit: 0,
        at: None,
    }));
    assert!(
        all.unwrap()
            .entries
            .iter()
            .all(|stored| stored.value.len() < 2_000)
    );
}
