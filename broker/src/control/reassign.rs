//! Choosing the owners of partitions (Kafka's AlterPartitionReassignments and ListPartitionReassignments).
//!
//! Control thread. A choice is a key, the pin of the partition; who carries it out is
//! [`super::ownership`] on the brokers concerned, by `coord::placement`: the present owner gives the
//! partition away gracefully, and the chosen broker takes it. A move is under way as long as the pin
//! names another broker than the one that owns the partition.

use std::collections::HashMap;

use coord::keys::pin::{self, PinRecord};
use coord::keys::plan::{self, PARTITIONS_MAX};
use coord::keys::{Seen, seen};
use coord::kv::{Revision, range_all};
use coord::placement::Standing;
use segment::{BrokerId, TopicId, TopicName, TopicPartition};

use super::catalog::Catalog;
use super::commit::{Change, CommitError, commit_all};
use super::context::Context;

/// A partition, and the broker that is to own it; none takes the choice back, carried out or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reassignment {
    /// The partition.
    pub id: TopicPartition,
    /// The broker.
    pub to: Option<BrokerId>,
}

/// A move that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moving {
    /// The partition.
    pub id: TopicPartition,
    /// The live broker that owns it now.
    pub from: Option<BrokerId>,
    /// The broker that is to own it.
    pub to: BrokerId,
}

/// Why the owner of a partition was not chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReassignError {
    /// Its topic has gone.
    #[error("no such topic")]
    Unknown,
    /// The broker does not live.
    #[error(
        "The manual partition assignment includes broker {0}, but no such broker is registered."
    )]
    NoBroker(BrokerId),
    /// The broker gives everything away.
    #[error("The manual partition assignment includes broker {0}, which is being drained.")]
    Drained(BrokerId),
    /// No choice holds that could be taken back.
    #[error("No partition reassignment is in progress.")]
    NoneUnderWay,
    /// The metadata store cannot be reached, or others chose at the same time.
    #[error("the metadata store is not available: {0}")]
    Unavailable(String),
}

/// Chooses owners; outcomes are in the order of what is wanted, which names each partition once. What
/// was chosen is carried out afterwards.
pub async fn reassign(
    context: &Context,
    catalog: &Catalog,
    wanted: Vec<Reassignment>,
) -> Vec<Result<(), ReassignError>> {
    let mut topics: HashMap<TopicId, Option<(TopicName, Revision)>> = HashMap::new();
    for it in &wanted {
        let topic = it.id.topic;
        topics
            .entry(topic)
            .or_insert_with(|| catalog.created(topic));
    }
    let pins = match pins(context, topics.keys().copied().collect()).await {
        Ok(pins) => pins,
        Err(error) => {
            let error = ReassignError::Unavailable(error.to_string());
            return vec![Err(error); wanted.len()];
        }
    };
    let mut outcomes = Vec::with_capacity(wanted.len());
    let (mut changes, mut places) = (Vec::new(), Vec::new());
    for it in wanted {
        let before = pins.get(&it.id);
        let topic = topics.get(&it.id.topic).and_then(Option::as_ref);
        match change(context, topic, it, before) {
            Ok(change) => {
                changes.push(change);
                places.push((outcomes.len(), it.id));
                outcomes.push(Ok(()));
            }
            Err(error) => outcomes.push(Err(error)),
        }
    }
    let committed = commit_all(&context.kv, &changes, PARTITIONS_MAX).await;
    for ((place, id), committed) in places.into_iter().zip(committed) {
        match committed {
            Ok(seen) => context.view.pin_is(id, &seen),
            Err(error) => outcomes[place] = Err(ReassignError::Unavailable(error.to_string())),
        }
    }
    context.view.touch();
    outcomes
}

/// The pins of these topics as they are stored.
async fn pins(
    context: &Context,
    topics: Vec<TopicId>,
) -> Result<HashMap<TopicPartition, Seen<PinRecord>>, CommitError> {
    let span = match topics[..] {
        [only] => pin::topic_span(&context.space, only),
        _ => pin::span(&context.space),
    };
    let found = range_all(&context.kv, span).await?;
    let mut pins = HashMap::new();
    for entry in &found.entries {
        let Ok(id) = pin::parse(&context.space, &entry.key) else {
            continue;
        };
        if let Some(seen) = seen::<PinRecord>(Some(entry))? {
            pins.insert(id, seen);
        }
    }
    Ok(pins)
}

fn change(
    context: &Context,
    topic: Option<&(TopicName, Revision)>,
    wanted: Reassignment,
    before: Option<&Seen<PinRecord>>,
) -> Result<Change<PinRecord>, ReassignError> {
    let Reassignment { id, to } = wanted;
    let (name, created) = topic.ok_or(ReassignError::Unknown)?;
    match to {
        Some(broker) => check_broker(context, broker)?,
        None if before.is_none_or(|before| before.record.broker.is_none()) => {
            return Err(ReassignError::NoneUnderWay);
        }
        None => {}
    }
    let (space, session) = (&context.space, context.session.id);
    let topic = (name, *created);
    Ok(Change {
        key: pin::key(space, id),
        planned: plan::pin_partition(space, session, topic, id, before, to),
        before: before.cloned(),
    })
}

fn check_broker(context: &Context, broker: BrokerId) -> Result<(), ReassignError> {
    let members = context.view.members();
    let mut named = members.iter().filter(|member| member.broker == broker);
    match named.next().map(|member| member.standing) {
        None => Err(ReassignError::NoBroker(broker)),
        Some(Standing::Gives) => Err(ReassignError::Drained(broker)),
        // One that cannot write now gets it once it can.
        Some(Standing::Takes | Standing::Keeps) => Ok(()),
    }
}

/// The moves that are under way, in order of partition.
pub fn under_way(context: &Context) -> Vec<Moving> {
    let metadata = context.metadata.load_full();
    let moving = |(id, to): (TopicPartition, BrokerId)| {
        metadata.topic_by_id(id.topic)?;
        let from = context.view.leader(id).map(|leader| leader.broker);
        (from != Some(to)).then_some(Moving { id, from, to })
    };
    let pins = context.view.pins().into_iter();
    let mut moving: Vec<Moving> = pins.filter_map(moving).collect();
    moving.sort_unstable_by_key(|it| it.id);
    moving
}
