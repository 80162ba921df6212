//! Moves the committed offsets of a group that has no members, as `kafscale group reset-offsets` does: what would be
//! moved is shown first.

use client::{Client, ClientError, ResetTarget, TopicPartition as Named};
use hyper::StatusCode;
use segment::{Offset, PartitionIndex, TimestampMs};
use serde::{Deserialize, Serialize};
use wire::ErrorCode;

use super::topics::changed;
use super::{Question, group};
use crate::console::call::Refused;

/// Partitions of one reset.
const PARTITIONS_MAX: usize = 5_000;
/// States of a group that nobody reads for.
const IDLE: [&str; 2] = ["Empty", "Dead"];

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    /// One topic; none for every partition for which the group has committed an offset.
    topic: Option<String>,
    /// Some of its partitions; none for all.
    partitions: Option<Vec<i32>>,
    to: To,
    /// Nothing is changed without this.
    #[serde(default)]
    execute: bool,
}

/// Where offsets are moved to.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum To {
    Earliest,
    Latest,
    Offset(i64),
    TimeMs(i64),
    Shift(i64),
}

impl From<To> for ResetTarget {
    fn from(to: To) -> Self {
        match to {
            To::Earliest => Self::Earliest,
            To::Latest => Self::Latest,
            To::Offset(offset) => Self::Offset(Offset::new(offset.max(0))),
            To::TimeMs(time) => Self::Time(TimestampMs::new(time.max(0))),
            To::Shift(count) => Self::Shift(count),
        }
    }
}

/// Answer of `POST /api/v1/groups/{group}/offsets`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Reset {
    group: String,
    /// Whether the offsets were moved.
    executed: bool,
    moves: Vec<Move>,
}

#[derive(Debug, Serialize)]
struct Move {
    topic: String,
    partition: i32,
    from: Option<i64>,
    to: i64,
}

/// What came of it at the cluster.
enum Outcome {
    Done(Vec<Move>),
    /// It has members.
    Busy(String, usize),
    /// There is nothing to move.
    Nothing(&'static str),
}

pub(in crate::console) async fn reset(
    question: &Question<'_>,
    group: &str,
) -> Result<Reset, Refused> {
    let form: Form = question.form()?;
    if form.partitions.is_some() && form.topic.is_none() {
        return Err(Refused::bad("partitions need a topic"));
    }
    if let Some(topic) = &form.topic {
        question.topic(topic)?;
    }
    let (name, execute) = (group.to_owned(), form.execute);
    let kafka = &question.service.kafka;
    match kafka
        .ask(move |client| carry_out(client, &name, &form))
        .await?
    {
        Outcome::Done(moves) => {
            if execute {
                let text = format!("group {group}: offsets of {} partitions moved", moves.len());
                changed(question, &text);
            }
            Ok(Reset {
                group: group.to_owned(),
                executed: execute,
                moves,
            })
        }
        Outcome::Busy(state, members) => Err(Refused::new(
            StatusCode::CONFLICT,
            format!("group {group} is {state} with {members} members: stop them first"),
        )),
        Outcome::Nothing(why) => Err(Refused::bad(why)),
    }
}

fn carry_out(client: &mut Client, group: &str, form: &Form) -> Result<Outcome, ClientError> {
    match client.describe_group(group) {
        Ok(found) if !IDLE.contains(&found.state.as_str()) => {
            return Ok(Outcome::Busy(found.state, found.members.len()));
        }
        Ok(_) => {}
        // One that does not exist yet may get offsets.
        Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => {}
        Err(error) => return Err(error),
    }
    let committed = client.committed(group, None)?;
    let partitions = match &form.topic {
        None => committed.keys().cloned().collect(),
        Some(topic) => match select(client, topic, form.partitions.as_deref())? {
            Some(partitions) => partitions,
            None => return Ok(Outcome::Nothing("the topic has no such partition")),
        },
    };
    if partitions.is_empty() {
        return Ok(Outcome::Nothing(
            "the group has committed no offsets: name a topic",
        ));
    }
    if partitions.len() > PARTITIONS_MAX {
        let why = "these are too many partitions at once: reset topic by topic";
        return Ok(Outcome::Nothing(why));
    }
    let existing: Vec<Named> = group::bounds(client, partitions.iter())?
        .into_keys()
        .collect();
    let moves = match client.plan_reset(group, &existing, ResetTarget::from(form.to)) {
        Ok(moves) => moves,
        Err(ClientError::NothingToShift { .. }) => {
            let why = "a partition has no committed offset to shift";
            return Ok(Outcome::Nothing(why));
        }
        Err(error) => return Err(error),
    };
    if form.execute {
        let offsets = moves.iter().map(|(of, moved)| (of.clone(), moved.to));
        client.commit_offline(group, &offsets.collect())?;
    }
    let moves = moves.into_iter().map(|(of, moved)| Move {
        topic: of.topic.to_string(),
        partition: of.partition.get(),
        from: moved.from.map(Offset::get),
        to: moved.to.get(),
    });
    Ok(Outcome::Done(moves.collect()))
}

/// These partitions of a topic, or all; none if it does not have one of them.
fn select(
    client: &mut Client,
    topic: &str,
    wanted: Option<&[i32]>,
) -> Result<Option<Vec<Named>>, ClientError> {
    let info = client.topic(topic)?;
    let named = |partition| Named::new(info.name.clone(), partition);
    let Some(wanted) = wanted else {
        let all = info.partitions.iter().map(|it| named(it.partition));
        return Ok(Some(all.collect()));
    };
    let wanted: std::collections::BTreeSet<i32> = wanted.iter().copied().collect();
    let some = wanted.into_iter().map(|number| {
        let partition = PartitionIndex::new(number);
        info.partition(partition).map(|_| named(partition))
    });
    Ok(some.collect())
}
