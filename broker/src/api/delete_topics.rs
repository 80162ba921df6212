//! DeleteTopics (key 20), versions 0-6.
//!
//! - A topic is gone from the metadata when this is answered; its objects are swept afterwards. A
//!   topic of the same name created later has another id and other object keys.
//! - UNKNOWN_TOPIC_OR_PARTITION for an unknown name, UNKNOWN_TOPIC_ID for an unknown id,
//!   INVALID_REQUEST for a topic that is named twice, or by both name and id, or by neither,
//!   REQUEST_TIMED_OUT when the request's timeout (at least a second) is over.
//! - v5: texts for errors (KIP-599). v6: topics by id (KIP-516).
//!
//! - Partitions count against `controller_mutation_rate` (KIP-599): THROTTLING_QUOTA_EXCEEDED from v5 on,
//!   before it the reply tells to pause.
//!
//! - Needs DELETE on the cluster, or on the topic besides DESCRIBE: TOPIC_AUTHORIZATION_FAILED. Without DESCRIBE nothing
//!   is told: neither whether a name exists, nor the name of an id.
//!
//! Left out: `delete.topic.enable`.

use std::collections::HashMap;
use std::time::Duration;

use security::acl::{CLUSTER, Operation, ResourceType};
use segment::TopicId;
use wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use wire::{ErrorCode, Uuid, VersionRange};

use super::create_topics::{Refusal, refusal, timed_out, wait_of};
use super::{Reply, RequestContext};
use crate::control::{ControlMsg, TopicError};
use crate::metadata::Metadata;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 6 };
/// First version whose topics are refused when the quota of mutations is used up.
const STRICT_FROM: i16 = 5;
/// First version in which topics are structs with a name or an id.
const STATES_FROM: i16 = 6;

/// One topic of the reply.
struct Target {
    name: Option<String>,
    id: Uuid,
    found: Result<TopicId, Refusal>,
}

pub(crate) async fn handle(cx: &RequestContext, request: DeleteTopicsRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let leave = |name: &str| leave(cx, name);
    let targets = if cx.version >= STATES_FROM {
        targets(&metadata, &request.topics, &leave)
    } else {
        let names = request.topic_names.iter().copied();
        let topics: Vec<_> = names
            .map(|name| DeleteTopicState {
                name: Some(name),
                topic_id: Uuid::ZERO,
            })
            .collect();
        targets(&metadata, &topics, &leave)
    };
    let wait = wait_of(request.timeout_ms);
    let work = targets.iter().map(|target| async {
        match &target.found {
            Ok(id) => {
                let partitions = metadata
                    .topic_by_id(*id)
                    .map_or(0, |it| it.partitions.len());
                cx.charge_partitions(STRICT_FROM, partitions)?;
                delete(cx, *id, wait).await
            }
            Err(refusal) => Err(refusal.clone()),
        }
    });
    let outcomes = cx.side_by_side(work).await;
    let responses = targets.iter().zip(&outcomes).map(|(target, outcome)| {
        let (error_code, error_message) = match outcome {
            Ok(()) => (ErrorCode::NONE, None),
            Err((code, text)) => {
                cx.failed(*code);
                (*code, Some(text.as_str()))
            }
        };
        DeletableTopicResult {
            name: target.name.as_deref(),
            topic_id: target.id,
            error_code,
            error_message,
        }
    });
    cx.reply(&DeleteTopicsResponse {
        responses: responses.collect(),
        ..DeleteTopicsResponse::default()
    })
}

/// Whether a topic may be seen, and whether it may be deleted.
type Leave<'a> = &'a dyn Fn(&str) -> (bool, bool);

fn leave(cx: &RequestContext, name: &str) -> (bool, bool) {
    if cx.allows_quietly(Operation::Delete, ResourceType::Cluster, CLUSTER) {
        return (true, true);
    }
    let may = |operation| cx.allows(operation, ResourceType::Topic, name);
    (may(Operation::Describe), may(Operation::Delete))
}

/// What the request names, each topic once; by name and by id may be the same one.
fn targets(metadata: &Metadata, topics: &[DeleteTopicState<'_>], leave: Leave<'_>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    let mut places: HashMap<(Option<&str>, Uuid), usize> = HashMap::new();
    let mut found: HashMap<TopicId, usize> = HashMap::new();
    let invalid = |text: &str| (ErrorCode::INVALID_REQUEST, text.to_owned());
    for topic in topics {
        let key = (topic.name, topic.topic_id);
        if let Some(&place) = places.get(&key) {
            let what = if topic.name.is_some() { "name" } else { "id" };
            targets[place].found = Err(invalid(&format!("Duplicate topic {what}.")));
            continue;
        }
        places.insert(key, targets.len());
        let mut target = resolve(metadata, topic, leave);
        if let Ok(id) = target.found
            && found.insert(id, targets.len()).is_some()
        {
            let text = "The provided topic name maps to an ID that was already supplied.";
            target.found = Err(invalid(text));
        }
        targets.push(target);
    }
    targets
}

fn resolve(metadata: &Metadata, topic: &DeleteTopicState<'_>, leave: Leave<'_>) -> Target {
    let target = |found| Target {
        name: topic.name.map(str::to_owned),
        id: topic.topic_id,
        found,
    };
    let invalid = |text: &str| Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
    let denied = || {
        let text = "Topic authorization failed.".to_owned();
        Err((ErrorCode::TOPIC_AUTHORIZATION_FAILED, text))
    };
    match (topic.name, topic.topic_id.is_zero()) {
        (Some(_), false) => target(invalid("You may not specify both topic name and topic id.")),
        (None, true) => target(invalid("Neither topic name nor id were specified.")),
        (Some(name), true) => match (leave(name), metadata.topic(name)) {
            ((false, _), _) | ((_, false), Some(_)) => target(denied()),
            (_, Some(found)) => Target {
                id: Uuid(found.id.get()),
                ..target(Ok(found.id))
            },
            (_, None) => target(Err(refusal(&TopicError::Unknown))),
        },
        (None, false) => match metadata.topic_by_id(TopicId::new(topic.topic_id.0)) {
            Some(found) => {
                let (may_see, may_delete) = leave(found.name.as_str());
                let name = (may_see || may_delete).then(|| found.name.to_string());
                let found = if may_delete { Ok(found.id) } else { denied() };
                Target {
                    name,
                    ..target(found)
                }
            }
            None => {
                let text = "This server does not host this topic ID.".to_owned();
                target(Err((ErrorCode::UNKNOWN_TOPIC_ID, text)))
            }
        },
    }
}

async fn delete(cx: &RequestContext, id: TopicId, wait: Duration) -> Result<(), Refusal> {
    let control = &cx.shard.shared.control;
    let deleted = control.ask(|reply| ControlMsg::DeleteTopic(id, reply));
    match cx.shard.at_most(wait, deleted).await {
        Some(Ok(deleted)) => deleted.map_err(|error| refusal(&error)),
        None | Some(Err(_)) => Err(timed_out()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use segment::{BrokerId, TopicName};

    use super::*;
    use crate::metadata::Topic;
    use crate::topic_config::TopicConfig;

    const A: [u8; 16] = [1; 16];

    fn metadata() -> Metadata {
        let topic = Topic {
            name: TopicName::new("a").unwrap(),
            id: TopicId::new(A),
            generation: 0,
            config: TopicConfig::default(),
            partitions: Vec::new(),
        };
        Metadata::new(
            "c".to_owned(),
            BrokerId::new(0),
            Vec::new(),
            [Arc::new(topic)],
        )
    }

    fn codes(topics: &[(Option<&str>, [u8; 16])]) -> Vec<ErrorCode> {
        let state = |(name, id): &(Option<&'static str>, [u8; 16])| DeleteTopicState {
            name: *name,
            topic_id: Uuid(*id),
        };
        let topics: Vec<(Option<&'static str>, [u8; 16])> = topics
            .iter()
            .map(|(name, id)| (name.map(|name| if name == "a" { "a" } else { "b" }), *id))
            .collect();
        let topics: Vec<_> = topics.iter().map(state).collect();
        let code = |target: Target| {
            target
                .found
                .map_or_else(|(code, _)| code, |_| ErrorCode::NONE)
        };
        targets(&metadata(), &topics, &|_| (true, true))
            .into_iter()
            .map(code)
            .collect()
    }

    #[test]
    fn topics_are_found_by_name_or_id_once() {
        const NO: [u8; 16] = [0; 16];
        const B: [u8; 16] = [2; 16];
        assert_eq!(codes(&[(Some("a"), NO)]), [ErrorCode::NONE]);
        assert_eq!(codes(&[(None, A)]), [ErrorCode::NONE]);
        assert_eq!(
            codes(&[(Some("b"), NO)]),
            [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]
        );
        assert_eq!(codes(&[(None, B)]), [ErrorCode::UNKNOWN_TOPIC_ID]);
        assert_eq!(codes(&[(None, NO)]), [ErrorCode::INVALID_REQUEST]);
        assert_eq!(codes(&[(Some("a"), A)]), [ErrorCode::INVALID_REQUEST]);
        assert_eq!(
            codes(&[(Some("a"), NO), (Some("a"), NO)]),
            [ErrorCode::INVALID_REQUEST]
        );
        let both = codes(&[(None, A), (Some("a"), NO)]);
        assert_eq!(both, [ErrorCode::NONE, ErrorCode::INVALID_REQUEST]);
    }
}
