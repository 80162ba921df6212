//! Creating, altering and deleting topics.

use std::collections::BTreeMap;

use segment::{SessionId, TimestampMs, TopicId, TopicName};

use super::{PlanError, Planned, guarded, revision_of, session_lives, unchanged};
use crate::keys::codec::{Seen, encode};
use crate::keys::partition;
use crate::keys::pin;
use crate::keys::space::Keyspace;
use crate::keys::tombstone::{self, TombstoneRecord};
use crate::keys::topic::{self, TopicRecord};
use crate::keys::topic_generation::{self, TopicGenerationRecord};
use crate::kv::{Compare, Op, Revision, Txn};
use crate::rules::Rule;

/// A topic to create.
#[derive(Clone, Debug)]
pub struct CreateTopic<'a> {
    /// Its name.
    pub name: &'a TopicName,
    /// Its record. The generation is the first, from the counter up, whose prefix LISTs empty.
    pub record: TopicRecord,
    /// The name's generation counter as it was read.
    pub counter: Option<&'a Seen<TopicGenerationRecord>>,
}

/// Creates a topic and moves the counter of its name, in one transaction: the topic is not there,
/// the counter is as it was read, our session lives. Partition keys are left to the first
/// takeovers.
///
/// # Errors
/// [`PlanError::Backward`] for a generation below the counter, [`PlanError::Exhausted`] after the
/// last.
pub fn create_topic(
    space: &Keyspace,
    writer: SessionId,
    create: CreateTopic<'_>,
) -> Result<Planned<TopicRecord>, PlanError> {
    let CreateTopic {
        name,
        record,
        counter,
    } = create;
    let lowest = counter.map_or(0, |seen| seen.record.next);
    if record.generation < lowest {
        let (from, to) = (lowest.into(), record.generation.into());
        return Err(PlanError::Backward {
            what: "topic generation",
            from,
            to,
        });
    }
    let next = record.generation.checked_add(1);
    let next = next.ok_or(PlanError::Exhausted {
        what: "topic generation",
    })?;
    assert!(next > lowest, "a generation is used once");
    let key = topic::key(space, name);
    let counter_key = topic_generation::key(space, name);
    let txn = Txn::new()
        .when(Compare::absent(key.clone()))
        .rule(Rule::WrittenAsRead, unchanged(&counter_key, counter))
        .rule(Rule::WriterLives, session_lives(space, writer))
        .and_then(Op::put(key.clone(), encode(&record)))
        .and_then(Op::put(
            counter_key.clone(),
            encode(&TopicGenerationRecord { next }),
        ))
        .or_else(Op::Get(key))
        .or_else(Op::Get(counter_key));
    assert_eq!(txn.validate(), Ok(()), "topic and counter are two keys");
    Ok(Planned {
        txn,
        record,
        planned_on: Revision::ZERO,
    })
}

/// Changes configurations or the number of partitions of a topic: it is as it was read, our session
/// lives.
///
/// # Errors
/// [`PlanError::Backward`] if it would have fewer partitions.
pub fn alter_topic(
    space: &Keyspace,
    writer: SessionId,
    name: &TopicName,
    seen: &Seen<TopicRecord>,
    partition_count: i32,
    configs: BTreeMap<String, String>,
) -> Result<Planned<TopicRecord>, PlanError> {
    let from = seen.record.partition_count;
    if partition_count < from {
        let (from, to) = (from.into(), partition_count.into());
        return Err(PlanError::Backward {
            what: "partition count",
            from,
            to,
        });
    }
    let record = TopicRecord {
        partition_count,
        configs,
        ..seen.record.clone()
    };
    assert!(
        record.topic_id == seen.record.topic_id && record.generation == seen.record.generation,
        "a topic that is altered stays the same topic"
    );
    Ok(guarded(
        space,
        writer,
        topic::key(space, name),
        Some(seen),
        record,
    ))
}

/// Deletes a topic: its key goes and a tombstone for the sweep comes, in one transaction. It is as
/// it was read, our session lives.
pub fn delete_topic(
    space: &Keyspace,
    writer: SessionId,
    name: &TopicName,
    seen: &Seen<TopicRecord>,
    now: TimestampMs,
) -> Planned<TombstoneRecord> {
    let record = TombstoneRecord {
        name: name.as_str().to_string(),
        generation: seen.record.generation,
        partition_count: seen.record.partition_count,
        deleted_ms: now,
    };
    let key = topic::key(space, name);
    let tombstone = tombstone::key(space, seen.record.topic_id);
    let txn = Txn::new()
        .rule(Rule::WrittenAsRead, unchanged(&key, Some(seen)))
        .rule(Rule::WriterLives, session_lives(space, writer))
        .and_then(Op::Delete(key.clone()))
        .and_then(Op::put(tombstone, encode(&record)))
        .or_else(Op::Get(key));
    assert_eq!(txn.validate(), Ok(()), "a tombstone has a key of its own");
    Planned {
        txn,
        record,
        planned_on: Revision::ZERO,
    }
}

/// Ends a sweep: the tombstone and the topic's partition keys and pins go. To be sent only after the
/// objects are gone; nothing can bring such a key back, since the topic key has gone.
pub fn finish_topic_deletion(
    space: &Keyspace,
    writer: SessionId,
    topic_id: TopicId,
    seen: &Seen<TombstoneRecord>,
) -> Txn {
    let key = tombstone::key(space, topic_id);
    assert!(
        revision_of(Some(seen)) > Revision::ZERO,
        "a tombstone that was read has a revision"
    );
    Txn::new()
        .rule(Rule::WrittenAsRead, unchanged(&key, Some(seen)))
        .rule(Rule::WriterLives, session_lives(space, writer))
        .and_then(Op::Delete(key))
        .and_then(Op::DeleteSpan(partition::topic_span(space, topic_id)))
        .and_then(Op::DeleteSpan(pin::topic_span(space, topic_id)))
}
