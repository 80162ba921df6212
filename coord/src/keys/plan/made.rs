//! Topics that a tool makes from objects: restored and adopted ones. A tool has no session, so every
//! guard is a revision of what it has read.
//!
//! A topic key comes last, when all that it needs is there: brokers take a topic from that moment on,
//! and see nothing of it before.

use segment::{TopicName, TopicPartition};

use super::{PlanError, Planned, revision_of, unchanged};
use crate::keys::codec::{Record, Seen, encode};
use crate::keys::group_offset::{self, GroupOffsetRecord};
use crate::keys::partition::{self, PartitionRecord};
use crate::keys::restore::{self, RestoreRecord};
use crate::keys::space::Keyspace;
use crate::keys::topic::{self, TopicRecord};
use crate::keys::topic_generation::{self, TopicGenerationRecord};
use crate::kv::{Compare, Key, Op, Revision, Txn};

/// Announces a topic that is to be restored, and takes its generation: no topic that is created
/// meanwhile has the same prefix. The name has no topic, the counter is as it was read, and nobody
/// else has announced it.
///
/// # Errors
/// [`PlanError::Backward`] for a generation below the counter, [`PlanError::Exhausted`] after the
/// last.
pub fn begin_restore(
    space: &Keyspace,
    name: &TopicName,
    record: RestoreRecord,
    counter: Option<&Seen<TopicGenerationRecord>>,
) -> Result<Planned<RestoreRecord>, PlanError> {
    let what = "topic generation";
    let lowest = counter.map_or(0, |seen| seen.record.next);
    if record.generation < lowest {
        let (from, to) = (lowest.into(), record.generation.into());
        return Err(PlanError::Backward { what, from, to });
    }
    let next = record.generation.checked_add(1);
    let next = next.ok_or(PlanError::Exhausted { what })?;
    assert!(next > lowest, "a generation is used once");
    let key = restore::key(space, name);
    let counter_key = topic_generation::key(space, name);
    let txn = Txn::new()
        .when(Compare::absent(topic::key(space, name)))
        .when(Compare::absent(key.clone()))
        .when(unchanged(&counter_key, counter))
        .and_then(Op::put(key.clone(), encode(&record)))
        .and_then(Op::put(
            counter_key,
            encode(&TopicGenerationRecord { next }),
        ))
        .or_else(Op::Get(key));
    assert_eq!(
        txn.validate(),
        Ok(()),
        "announcement and counter are two keys"
    );
    Ok(Planned {
        txn,
        record,
        planned_on: Revision::ZERO,
    })
}

/// Writes a partition of a topic that is being restored: it is announced as it was, and has no such
/// partition yet.
pub fn restore_partition(
    space: &Keyspace,
    name: &TopicName,
    announced: &Seen<RestoreRecord>,
    partition: TopicPartition,
    record: PartitionRecord,
) -> Planned<PartitionRecord> {
    assert!(
        partition.topic == announced.record.topic_id,
        "a partition of the topic that was announced"
    );
    let key = partition::key(space, partition);
    let guard = unchanged(&restore::key(space, name), Some(announced));
    put(key, None, record, [guard])
}

/// Makes the topic and takes the announcement back: it is as it was, the name has no topic.
pub fn finish_restore(
    space: &Keyspace,
    name: &TopicName,
    announced: &Seen<RestoreRecord>,
    record: TopicRecord,
) -> Planned<TopicRecord> {
    let RestoreRecord {
        topic_id,
        generation,
        ..
    } = announced.record;
    assert!(
        record.topic_id == topic_id && record.generation == generation,
        "the topic that was announced"
    );
    let restore_key = restore::key(space, name);
    let guard = unchanged(&restore_key, Some(announced));
    let mut planned = put(topic::key(space, name), None, record, [guard]);
    planned.txn = planned.txn.and_then(Op::Delete(restore_key));
    let valid = planned.txn.validate();
    assert_eq!(valid, Ok(()), "topic and announcement are two keys");
    planned
}

/// Takes an announcement back with the partitions written under it. To be sent after the objects are
/// gone; afterwards nothing names their prefix any more.
pub fn discard_restore(space: &Keyspace, name: &TopicName, announced: &Seen<RestoreRecord>) -> Txn {
    let key = restore::key(space, name);
    let partitions = partition::topic_span(space, announced.record.topic_id);
    Txn::new()
        .when(unchanged(&key, Some(announced)))
        .and_then(Op::Delete(key))
        .and_then(Op::DeleteSpan(partitions))
}

/// Writes a partition of a topic that is being adopted: the name has no topic, and never had one. What
/// an adoption that was interrupted has written is replaced.
pub fn adopt_partition(
    space: &Keyspace,
    name: &TopicName,
    partition: TopicPartition,
    seen: Option<&Seen<PartitionRecord>>,
    record: PartitionRecord,
) -> Planned<PartitionRecord> {
    let key = partition::key(space, partition);
    put(key, seen, record, never_used(space, name))
}

/// Writes a committed offset in a topic that is being adopted, as [`adopt_partition`] does. Only while
/// no broker runs: the owner of a slot reads offsets when it takes it, and never again.
pub fn adopt_offset(
    space: &Keyspace,
    name: &TopicName,
    group: &str,
    partition: TopicPartition,
    seen: Option<&Seen<GroupOffsetRecord>>,
    record: GroupOffsetRecord,
) -> Planned<GroupOffsetRecord> {
    let key = group_offset::key(space, group, partition);
    put(key, seen, record, never_used(space, name))
}

/// Makes a topic of the objects that lie under the prefix of its name, which is that of generation 0:
/// the name has no topic, and never had one.
pub fn adopt_topic(
    space: &Keyspace,
    name: &TopicName,
    record: TopicRecord,
) -> Planned<TopicRecord> {
    assert!(
        record.generation == 0,
        "the original's layout is that of generation 0"
    );
    let [topic_absent, counter_absent] = never_used(space, name);
    let key = topic::key(space, name);
    let txn = Txn::new()
        .when(topic_absent)
        .when(counter_absent)
        .and_then(Op::put(key.clone(), encode(&record)))
        .and_then(Op::put(
            topic_generation::key(space, name),
            encode(&TopicGenerationRecord { next: 1 }),
        ))
        .or_else(Op::Get(key));
    assert_eq!(txn.validate(), Ok(()), "topic and counter are two keys");
    Planned {
        txn,
        record,
        planned_on: Revision::ZERO,
    }
}

/// No topic has this name, or had it: the prefix of generation 0 is free of ours.
fn never_used(space: &Keyspace, name: &TopicName) -> [Compare; 2] {
    [
        Compare::absent(topic::key(space, name)),
        Compare::absent(topic_generation::key(space, name)),
    ]
}

fn put<T: Record>(
    key: Key,
    seen: Option<&Seen<T>>,
    record: T,
    guards: impl IntoIterator<Item = Compare>,
) -> Planned<T> {
    let txn = Txn::new().when(unchanged(&key, seen));
    let txn = guards.into_iter().fold(txn, Txn::when);
    assert!(
        txn.compares.len() > 1,
        "a tool has no session: two things that it has read guard it"
    );
    Planned {
        txn: txn
            .and_then(Op::put(key.clone(), encode(&record)))
            .or_else(Op::Get(key)),
        record,
        planned_on: revision_of(seen),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::World;
    use super::*;
    use crate::keys::codec;
    use crate::kv::{Kv, wait};
    use segment::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};

    const ID: TopicId = TopicId::new([9; 16]);

    fn name() -> TopicName {
        TopicName::new("copy").unwrap()
    }

    fn announcement(generation: u32) -> RestoreRecord {
        RestoreRecord {
            topic_id: ID,
            generation,
            source: "t".to_owned(),
            until_ms: TimestampMs::new(5),
            begun_ms: TimestampMs::new(6),
        }
    }

    fn topic(generation: u32) -> TopicRecord {
        TopicRecord {
            topic_id: ID,
            generation,
            partition_count: 1,
            configs: Default::default(),
            created_ms: TimestampMs::ZERO,
        }
    }

    fn partition() -> (TopicPartition, PartitionRecord) {
        let record = PartitionRecord {
            leader_epoch: LeaderEpoch::ZERO,
            compacted_end: Offset::new(7),
            ..PartitionRecord::absent()
        };
        (TopicPartition::new(ID, PartitionIndex::ZERO), record)
    }

    fn read<T: Record>(world: &World, key: Key) -> Option<Seen<T>> {
        codec::seen(wait(world.kv.get(key)).unwrap().as_ref()).unwrap()
    }

    fn begin(world: &World, generation: u32) -> bool {
        let counter = read(world, topic_generation::key(&world.space, &name()));
        let planned = begin_restore(
            &world.space,
            &name(),
            announcement(generation),
            counter.as_ref(),
        );
        world.send(&planned.unwrap().txn).succeeded
    }

    fn announced(world: &World) -> Seen<RestoreRecord> {
        read(world, restore::key(&world.space, &name())).unwrap()
    }

    #[test]
    fn a_restore_is_announced_written_and_made() {
        let world = World::new();
        let space = &world.space;
        assert!(begin(&world, 0));
        assert!(!begin(&world, 1), "another run has announced it");
        let seen = announced(&world);
        let (id, record) = partition();
        let write = restore_partition(space, &name(), &seen, id, record.clone());
        assert!(world.send(&write.txn).succeeded);
        assert!(!world.send(&write.txn).succeeded, "written once");
        let finish = finish_restore(space, &name(), &seen, topic(0));
        assert!(world.send(&finish.txn).succeeded);
        assert!(!world.send(&finish.txn).succeeded);
        assert_eq!(
            read::<TopicRecord>(&world, topic::key(space, &name()))
                .unwrap()
                .record,
            topic(0)
        );
        assert!(read::<RestoreRecord>(&world, restore::key(space, &name())).is_none());
        assert_eq!(
            read::<PartitionRecord>(&world, partition::key(space, id))
                .unwrap()
                .record,
            record
        );
        assert!(!begin(&world, 1), "the name has a topic now");
    }

    #[test]
    fn a_generation_is_used_once() {
        let world = World::new();
        assert!(begin(&world, 3));
        let seen = announced(&world);
        assert!(
            world
                .send(&discard_restore(&world.space, &name(), &seen))
                .succeeded
        );
        let counter = read(&world, topic_generation::key(&world.space, &name()));
        let planned = begin_restore(&world.space, &name(), announcement(3), counter.as_ref());
        assert!(matches!(planned, Err(PlanError::Backward { .. })));
        assert!(begin(&world, 4));
    }

    /// A run that was taken for dead changes nothing any more.
    #[test]
    fn a_discarded_restore_writes_nothing() {
        let world = World::new();
        let space = &world.space;
        assert!(begin(&world, 0));
        let old = announced(&world);
        let (id, record) = partition();
        let write = restore_partition(space, &name(), &old, id, record.clone());
        assert!(world.send(&write.txn).succeeded);
        assert!(world.send(&discard_restore(space, &name(), &old)).succeeded);
        assert!(read::<PartitionRecord>(&world, partition::key(space, id)).is_none());
        assert!(begin(&world, 1));
        for txn in [
            restore_partition(space, &name(), &old, id, record).txn,
            finish_restore(space, &name(), &old, topic(0)).txn,
            discard_restore(space, &name(), &old),
        ] {
            assert!(!world.send(&txn).succeeded);
        }
        assert_eq!(announced(&world).record, announcement(1));
    }

    #[test]
    fn only_a_name_that_was_never_used_is_adopted() {
        let world = World::new();
        let space = &world.space;
        let (id, record) = partition();
        let write = |seen: Option<&Seen<PartitionRecord>>| {
            adopt_partition(space, &name(), id, seen, record.clone()).txn
        };
        assert!(world.send(&write(None)).succeeded);
        let again = read(&world, partition::key(space, id));
        assert!(
            world.send(&write(again.as_ref())).succeeded,
            "an interrupted adoption is done again"
        );
        let offset = GroupOffsetRecord {
            offset: Offset::new(3),
            leader_epoch: LeaderEpoch::NONE,
            metadata: String::new(),
            commit_ms: TimestampMs::ZERO,
            expire_ms: None,
        };
        let commit = adopt_offset(space, &name(), "g/1", id, None, offset).txn;
        assert!(world.send(&commit).succeeded);
        let adopt = adopt_topic(space, &name(), topic(0)).txn;
        assert!(world.send(&adopt).succeeded);
        let now = read(&world, partition::key(space, id));
        for txn in [&adopt, &commit, &write(now.as_ref())] {
            assert!(!world.send(txn).succeeded, "it is a topic now");
        }
        let gone = Txn::new().and_then(Op::Delete(topic::key(space, &name())));
        assert!(world.send(&gone).succeeded);
        for txn in [&adopt, &write(now.as_ref())] {
            assert!(!world.send(txn).succeeded, "the name was used");
        }
    }
}
