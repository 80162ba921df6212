//! CreatePartitions (key 37), versions 0-3.
//!
//! - Raises the number of partitions of topics (KIP-195). The new partitions are open when this is
//!   answered. Validation only is honored.
//! - INVALID_REQUEST for a topic that is named twice, UNKNOWN_TOPIC_OR_PARTITION,
//!   INVALID_PARTITIONS for a count that is no increase or above the broker's bound,
//!   INVALID_REPLICA_ASSIGNMENT for a manual assignment that Kafka would refuse, REQUEST_TIMED_OUT when the
//!   request's timeout (at least a second) is over.
//! - Needs ALTER on each topic: TOPIC_AUTHORIZATION_FAILED, whether it exists or not.
//! - A manual assignment chooses the owners of the new partitions, as in CreateTopics.
//!
//! - New partitions count against `controller_mutation_rate` (KIP-599), also those that are only validated:
//!   THROTTLING_QUOTA_EXCEEDED from v3 on, before it the reply tells to pause.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use security::acl::{Operation, ResourceType};
use segment::{PartitionIndex, TopicId};
use wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use wire::{ErrorCode, VersionRange};

use super::create_topics::{
    Owners, Refusal, assign, namespace_has_room, owners, partitions_within, refusal, timed_out,
    wait_of,
};
use super::{Reply, RequestContext};
use crate::control::{ControlMsg, TopicError};
use crate::metadata::Metadata;
use crate::namespace::Held;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 3 };
/// First version whose partitions are refused when the quota of mutations is used up.
const STRICT_FROM: i16 = 3;

pub(crate) async fn handle(cx: &RequestContext, request: CreatePartitionsRequest<'_>) -> Reply {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name).or_default() += 1;
    }
    let mut seen = HashSet::new();
    let topics: Vec<&CreatePartitionsTopic<'_>> = request
        .topics
        .iter()
        .filter(|topic| seen.insert(topic.name))
        .collect();
    let metadata = cx.shard.metadata();
    let wait = wait_of(request.timeout_ms);
    let work = topics.iter().map(|topic| async {
        if counts.get(topic.name).is_some_and(|count| *count > 1) {
            return Err((
                ErrorCode::INVALID_REQUEST,
                "Duplicate topic name.".to_owned(),
            ));
        }
        cx.authorize_or_tell(Operation::Alter, ResourceType::Topic, topic.name)?;
        let (id, count, owners) = validate(cx, &metadata, topic)?;
        let before = metadata.topic_by_id(id).map_or(0, |it| it.partitions.len());
        cx.charge_partitions(STRICT_FROM, (count as usize).saturating_sub(before))?;
        if request.validate_only {
            return Ok(());
        }
        raise(cx, id, count, wait).await?;
        assign(cx, id, owners, request.timeout_ms).await
    });
    let outcomes: Vec<Result<(), Refusal>> = cx.side_by_side(work).await;
    let results = topics.iter().zip(&outcomes).map(|(topic, outcome)| {
        let (error_code, error_message) = match outcome {
            Ok(()) => (ErrorCode::NONE, None),
            Err((code, text)) => {
                cx.failed(*code);
                (*code, Some(text.as_str()))
            }
        };
        CreatePartitionsTopicResult {
            name: topic.name,
            error_code,
            error_message,
        }
    });
    cx.reply(&CreatePartitionsResponse {
        results: results.collect(),
        ..CreatePartitionsResponse::default()
    })
}

fn validate(
    cx: &RequestContext,
    metadata: &Metadata,
    topic: &CreatePartitionsTopic<'_>,
) -> Result<(TopicId, u32, Owners), Refusal> {
    let invalid = |text: String| Err((ErrorCode::INVALID_PARTITIONS, text));
    let found = metadata
        .topic(topic.name)
        .ok_or_else(|| refusal(&TopicError::Unknown))?;
    let (name, asked, now) = (topic.name, topic.count, found.partitions.len());
    let count = match usize::try_from(asked) {
        Ok(count) if count > now => count,
        Ok(count) if count == now => {
            return invalid(format!("Topic already has {now} partition(s)."));
        }
        _ => {
            return invalid(format!(
                "The topic {name} currently has {now} partition(s); {asked} would not be an \
                 increase."
            ));
        }
    };
    let partitions = partitions_within(cx, count)?;
    let mut chosen = Owners::new();
    if let Some(assignments) = &topic.assignments {
        if assignments.len() != count - now {
            let text = format!(
                "Attempted to add {} additional partition(s), but {} assignment(s) were specified.",
                count - now,
                assignments.len()
            );
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text));
        }
        let new = (now..count).filter_map(|index| i32::try_from(index).ok());
        let lists = assignments.iter().map(|new| &new.broker_ids[..]);
        chosen = owners(metadata, new.map(PartitionIndex::new).zip(lists))?;
    }
    let more = Held {
        topics: 0,
        partitions: count - now,
    };
    namespace_has_room(cx, metadata, more)?;
    Ok((found.id, partitions, chosen))
}

async fn raise(
    cx: &RequestContext,
    id: TopicId,
    count: u32,
    wait: Duration,
) -> Result<(), Refusal> {
    let control = &cx.shard.shared.control;
    let raised = control.ask(|reply| ControlMsg::CreatePartitions(id, count, reply));
    match cx.shard.at_most(wait, raised).await {
        Some(Ok(raised)) => raised.map(drop).map_err(|error| refusal(&error)),
        None | Some(Err(_)) => Err(timed_out()),
    }
}
