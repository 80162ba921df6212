//! CreateTopics (key 19), versions 0-7.
//!
//! - The answer comes when the topic is durable, open and in the metadata of this broker. It is
//!   REQUEST_TIMED_OUT when the request's timeout (at least a second) is over before; the topic may
//!   then come into being later.
//! - Refusals, in Kafka's order: INVALID_REQUEST for a name that is there twice and for Kafka's
//!   internal topics, INVALID_TOPIC_EXCEPTION for an illegal name and for one that collides with a
//!   topic ('.' and '_' are the same in metric names), TOPIC_ALREADY_EXISTS, INVALID_CONFIG,
//!   INVALID_REPLICATION_FACTOR, INVALID_PARTITIONS (also above the broker's bound on partitions),
//!   INVALID_REPLICA_ASSIGNMENT, POLICY_VIOLATION where the namespace has no room for it.
//! - A request that asks for more than 10,000 partitions in all, or than one topic may have if that is more, is refused
//!   as a whole: POLICY_VIOLATION (Kafka's `MAX_PARTITIONS_PER_BATCH`).
//! - Any replication factor from 1 up is taken, and one replica is reported: the object store keeps
//!   the copies. A manual assignment chooses the owner of each partition: the first broker of its list,
//!   Kafka's preferred leader. The choice is that of AlterPartitionReassignments, made when the topic is
//!   there: partitions go to their owners right after, and where it fails the topic stays without it.
//! - v1: validation only, and texts for errors. v4: -1 for the broker's number of partitions and
//!   replicas (KIP-464); taken in older versions too. v5: the reply describes the topic's settings
//!   (KIP-525). v7: the topic's id; zero after validation only (KIP-516).
//!
//! - Partitions count against `controller_mutation_rate` (KIP-599), also those that are only validated:
//!   THROTTLING_QUOTA_EXCEEDED from v6 on, before it the reply tells to pause.
//!
//! - Needs CREATE on the cluster or on the topic: TOPIC_AUTHORIZATION_FAILED, whether it exists or not. Without DESCRIBE_CONFIGS
//!   on it its settings are not described.
//!
//! Left out: creation policies.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use security::acl::{CLUSTER, Operation, ResourceType};
use segment::{BrokerId, PartitionIndex, TopicId, TopicName, TopicPartition};
use wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
use wire::{ErrorCode, Uuid, VersionRange};

use super::alter_partition_reassignments::choose_owners;
use super::describe_configs::source_code;
use super::{Reply, RequestContext, error};
use crate::control::{ControlMsg, NewTopic, Reassignment, TopicError};
use crate::metadata::{Metadata, Topic};
use crate::namespace::Held;
use crate::topic_config::{ConfigRow, TopicConfig};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 7 };
/// First version whose topics are refused when the quota of mutations is used up.
const STRICT_FROM: i16 = 6;
/// First version whose answer describes a topic's settings.
const DESCRIBED_FROM: i16 = 5;
/// Partitions of all topics of one request, where a single topic may not have more.
const REQUEST_PARTITIONS_MAX: usize = 10_000;
/// "The broker's default" for partitions and replicas.
const DEFAULT: i32 = -1;
/// Least and most time that an admin request waits for the metadata store.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(300);

/// A code and the text that explains it.
pub(super) type Refusal = (ErrorCode, String);

/// What became of one topic.
struct Created {
    id: Uuid,
    partitions: usize,
    rows: Vec<ConfigRow>,
}

pub(crate) async fn handle(cx: &RequestContext, request: CreateTopicsRequest<'_>) -> Reply {
    if is_excessive(cx, &request) {
        return excessive(cx, &request);
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name).or_default() += 1;
    }
    let mut seen = HashSet::new();
    let topics: Vec<&CreatableTopic<'_>> = request
        .topics
        .iter()
        .filter(|topic| seen.insert(topic.name))
        .collect();
    let metadata = cx.shard.metadata();
    let wait = wait_of(request.timeout_ms);
    let may_all = cx.allows_quietly(Operation::Create, ResourceType::Cluster, CLUSTER);
    let work = topics.iter().map(|topic| async {
        if counts.get(topic.name).is_some_and(|count| *count > 1) {
            return Err((
                ErrorCode::INVALID_REQUEST,
                "Duplicate topic name.".to_owned(),
            ));
        }
        if !may_all && !cx.allows(Operation::Create, ResourceType::Topic, topic.name) {
            let text = "Authorization failed.".to_owned();
            return Err((ErrorCode::TOPIC_AUTHORIZATION_FAILED, text));
        }
        let (new, owners) = validate(cx, &metadata, topic)?;
        cx.charge_partitions(STRICT_FROM, new.partitions as usize)?;
        if request.validate_only {
            return Ok(described(
                cx,
                Uuid::ZERO,
                new.partitions as usize,
                &new.config,
            ));
        }
        let topic = create(cx, new, wait).await?;
        assign(cx, topic.id, owners, request.timeout_ms).await?;
        let id = Uuid(topic.id.get());
        Ok(described(cx, id, topic.partitions.len(), &topic.config))
    });
    let outcomes: Vec<Result<Created, Refusal>> = cx.side_by_side(work).await;
    let results = topics.iter().zip(&outcomes);
    let results = results.map(|(topic, outcome)| result(cx, topic.name, outcome));
    cx.reply(&CreateTopicsResponse {
        topics: results.collect(),
        ..CreateTopicsResponse::default()
    })
}

/// Whether the topics of a request have too many partitions, all together.
fn is_excessive(cx: &RequestContext, request: &CreateTopicsRequest<'_>) -> bool {
    let settings = &cx.shard.shared.config.topic;
    let partitions = request.topics.iter().map(|topic| {
        match (
            topic.assignments.len(),
            usize::try_from(topic.num_partitions),
        ) {
            (0, Ok(count)) => count,
            (0, Err(_)) if topic.num_partitions == DEFAULT => settings.auto_create_partitions,
            (assigned, _) => assigned,
        }
    });
    partitions.sum::<usize>() > REQUEST_PARTITIONS_MAX.max(settings.partitions_max)
}

fn excessive(cx: &RequestContext, request: &CreateTopicsRequest<'_>) -> Reply {
    let error_code = ErrorCode::POLICY_VIOLATION;
    let topics = request.topics.iter().map(|topic| {
        cx.failed(error_code);
        CreatableTopicResult {
            name: topic.name,
            error_code,
            error_message: Some("Excessively large number of partitions per request."),
            ..CreatableTopicResult::default()
        }
    });
    cx.reply(&CreateTopicsResponse {
        topics: topics.collect(),
        ..CreateTopicsResponse::default()
    })
}

/// How long an admin request waits.
pub(super) fn wait_of(timeout_ms: i32) -> Duration {
    let asked = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    asked.clamp(WAIT_MIN, WAIT_MAX)
}

/// What is said when that time is over, or the broker goes down.
pub(super) fn timed_out() -> Refusal {
    let text = "The request timed out; the change may still be carried out.";
    (ErrorCode::REQUEST_TIMED_OUT, text.to_owned())
}

/// The code and text of a failed topic operation.
pub(super) fn refusal(error: &TopicError) -> Refusal {
    (error::topic_code(error), error.to_string())
}

fn validate(
    cx: &RequestContext,
    metadata: &Metadata,
    topic: &CreatableTopic<'_>,
) -> Result<(NewTopic, Owners), Refusal> {
    let name = TopicName::new(topic.name)
        .map_err(|error| (error::topic_name_code(&error), error.to_string()))?;
    if name.is_internal() {
        let text = format!("Creation of internal topic {name} is prohibited.");
        return Err((ErrorCode::INVALID_REQUEST, text));
    }
    if metadata.topic(name.as_str()).is_some() {
        return Err(refusal(&TopicError::Exists(name.to_string())));
    }
    if name.has_collision_chars()
        && let Some(other) = metadata
            .topics()
            .find(|other| other.name.collides_with(&name))
    {
        let other = other.name.as_str();
        let other = match cx.allows_quietly(Operation::Describe, ResourceType::Topic, other) {
            true => other,
            false => "another one",
        };
        return Err(refusal(&TopicError::Collision(
            name.to_string(),
            other.to_owned(),
        )));
    }
    let config = config(topic)?;
    let (partitions, owners) = partitions(cx, topic)?;
    let more = Held {
        topics: 1,
        partitions: partitions as usize,
    };
    namespace_has_room(cx, metadata, more)?;
    let new = NewTopic {
        name,
        partitions,
        config,
    };
    Ok((new, owners))
}

fn config(topic: &CreatableTopic<'_>) -> Result<TopicConfig, Refusal> {
    let nulls: Vec<&str> = topic
        .configs
        .iter()
        .filter(|own| own.value.is_none())
        .map(|own| own.name)
        .collect();
    if !nulls.is_empty() {
        let text = format!(
            "Null value not supported for topic configs: {}",
            nulls.join(",")
        );
        return Err((ErrorCode::INVALID_CONFIG, text));
    }
    let pairs = topic
        .configs
        .iter()
        .filter_map(|own| Some((own.name, own.value?)));
    let overrides: BTreeMap<String, String> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    TopicConfig::from_overrides(overrides)
        .map_err(|error| (error::config_code(&error), error.to_string()))
}

/// The brokers that a manual assignment gives partitions to.
pub(super) type Owners = Vec<(PartitionIndex, BrokerId)>;

fn partitions(cx: &RequestContext, topic: &CreatableTopic<'_>) -> Result<(u32, Owners), Refusal> {
    if !topic.assignments.is_empty() {
        if i32::from(topic.replication_factor) != DEFAULT || topic.num_partitions != DEFAULT {
            let text = "A manual partition assignment was specified, but replication factor and \
                        numPartitions were not set to -1.";
            return Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
        }
        let owners = assigned(&cx.shard.metadata(), &topic.assignments)?;
        return Ok((partitions_within(cx, owners.len())?, owners));
    }
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let text = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, text.to_owned()));
    }
    let settings = &cx.shard.shared.config.topic;
    let count = match usize::try_from(topic.num_partitions) {
        Ok(count @ 1..) => count,
        Err(_) if topic.num_partitions == DEFAULT => settings.auto_create_partitions,
        _ => {
            let text = "Number of partitions was set to an invalid non-positive value.";
            return Err((ErrorCode::INVALID_PARTITIONS, text.to_owned()));
        }
    };
    Ok((partitions_within(cx, count)?, Owners::new()))
}

/// Checks a number of partitions against the broker's bound.
pub(super) fn partitions_within(cx: &RequestContext, count: usize) -> Result<u32, Refusal> {
    let max = cx.shard.shared.config.topic.partitions_max;
    match u32::try_from(count) {
        Ok(partitions) if count <= max => Ok(partitions),
        _ => {
            let text = format!(
                "A topic may have {max} partitions at most (topic.partitions_max), {count} were \
                 asked for."
            );
            Err((ErrorCode::INVALID_PARTITIONS, text))
        }
    }
}

/// Checks the bounds of the namespace, where it has any: Kafka's creation policies come last, too. What others
/// create at the same time counts when it is carried out.
pub(super) fn namespace_has_room(
    cx: &RequestContext,
    metadata: &Metadata,
    more: Held,
) -> Result<(), Refusal> {
    let bounds = &cx.shard.shared.config.namespace;
    if !bounds.bounds_topics() {
        return Ok(());
    }
    let room = bounds.room_for(more, metadata.held());
    room.map_err(|full| refusal(&TopicError::Full(full)))
}

/// What a manual assignment of a new topic says.
fn assigned(
    metadata: &Metadata,
    assignments: &[CreatableReplicaAssignment],
) -> Result<Owners, Refusal> {
    let refuse = |text: String| Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text));
    let mut indexes = HashSet::new();
    for assignment in assignments {
        let index = assignment.partition_index;
        if !indexes.insert(index) {
            return refuse(format!(
                "Found multiple manual partition assignments for partition {index}"
            ));
        }
    }
    let count = i32::try_from(assignments.len()).unwrap_or(i32::MAX);
    if !(0..count).all(|index| indexes.contains(&index)) {
        return refuse("partitions should be a consecutive 0-based integer sequence".to_owned());
    }
    let lists = assignments.iter().map(|assignment| {
        let index = PartitionIndex::new(assignment.partition_index);
        (index, &assignment.broker_ids[..])
    });
    owners(metadata, lists)
}

/// The owners that lists of replicas choose, as Kafka checks them: live brokers, each once, as many for each
/// partition.
pub(super) fn owners<'a>(
    metadata: &Metadata,
    lists: impl Iterator<Item = (PartitionIndex, &'a [i32])>,
) -> Result<Owners, Refusal> {
    let prefix = "The manual partition assignment includes";
    let refuse = |text: String| {
        let text = format!("{prefix} {text}");
        Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text))
    };
    let (mut owners, mut factor) = (Owners::new(), None);
    for (index, nodes) in lists {
        let brokers: Vec<Option<BrokerId>> = nodes
            .iter()
            .map(|node| broker_of(metadata, *node))
            .collect();
        let mut seen = HashSet::new();
        for (node, broker) in nodes.iter().zip(&brokers) {
            if broker.is_none() {
                return refuse(format!("broker {node}, but no such broker is registered."));
            }
            if !seen.insert(broker) {
                return refuse(format!("the broker {node} more than once."));
            }
        }
        let Some(Some(owner)) = brokers.first() else {
            return refuse("an empty replica list.".to_owned());
        };
        let expected = *factor.get_or_insert(nodes.len());
        if nodes.len() != expected {
            return refuse(format!(
                "a partition with {} replica(s), but this is not consistent with previous \
                 partitions, which have {expected} replica(s).",
                nodes.len()
            ));
        }
        owners.push((index, *owner));
    }
    Ok(owners)
}

/// The live broker with this node; with direct routing any of its shards stands for it, since the shard of a
/// partition is not chosen.
fn broker_of(metadata: &Metadata, node: i32) -> Option<BrokerId> {
    let mut brokers = metadata.brokers.iter();
    brokers
        .find(|broker| broker.has_node(node))
        .map(|broker| broker.id)
}

/// Gives partitions that have just been created to the brokers that were asked for.
pub(super) async fn assign(
    cx: &RequestContext,
    topic: TopicId,
    owners: Owners,
    timeout_ms: i32,
) -> Result<(), Refusal> {
    let wanted = owners.into_iter().map(|(index, broker)| Reassignment {
        id: TopicPartition::new(topic, index),
        to: Some(broker),
    });
    let outcomes = choose_owners(cx, wanted.collect(), timeout_ms).await?;
    let failed = outcomes.into_values().find_map(Result::err);
    failed.map_or(Ok(()), |error| {
        let text = format!("The partitions are created, but not with this assignment: {error}");
        Err((error::reassign_code(&error), text))
    })
}

async fn create(cx: &RequestContext, new: NewTopic, wait: Duration) -> Result<Arc<Topic>, Refusal> {
    let control = &cx.shard.shared.control;
    let created = control.ask(|reply| ControlMsg::CreateTopic(new, reply));
    match cx.shard.at_most(wait, created).await {
        Some(Ok(created)) => created.map_err(|error| refusal(&error)),
        None | Some(Err(_)) => Err(timed_out()),
    }
}

fn described(cx: &RequestContext, id: Uuid, partitions: usize, config: &TopicConfig) -> Created {
    let segment_bytes = cx.shard.shared.config.log.segment_bytes;
    let rows = match cx.version >= DESCRIBED_FROM {
        true => config.describe(segment_bytes),
        false => Vec::new(),
    };
    Created {
        id,
        partitions,
        rows,
    }
}

fn result<'a>(
    cx: &RequestContext,
    name: &'a str,
    outcome: &'a Result<Created, Refusal>,
) -> CreatableTopicResult<'a> {
    match outcome {
        Err((error_code, text)) => {
            cx.failed(*error_code);
            CreatableTopicResult {
                name,
                error_code: *error_code,
                error_message: Some(text),
                ..CreatableTopicResult::default()
            }
        }
        Ok(created) => {
            if !cx.allows_quietly(Operation::DescribeConfigs, ResourceType::Topic, name) {
                return CreatableTopicResult {
                    name,
                    topic_id: created.id,
                    error_message: None,
                    topic_config_error_code: ErrorCode::TOPIC_AUTHORIZATION_FAILED,
                    ..CreatableTopicResult::default()
                };
            }
            let configs = created.rows.iter().map(|row| CreatableTopicConfigs {
                name: row.name,
                value: Some(&row.value),
                read_only: false,
                config_source: source_code(row.source),
                is_sensitive: false,
            });
            CreatableTopicResult {
                name,
                topic_id: created.id,
                error_message: None,
                num_partitions: i32::try_from(created.partitions).unwrap_or(i32::MAX),
                replication_factor: 1,
                configs: Some(configs.collect()),
                ..CreatableTopicResult::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Advertised;
    use crate::node::BrokerNode;

    fn cluster() -> Metadata {
        let node = |id, shard_ports: &[u16]| BrokerNode {
            id: BrokerId::new(id),
            listeners: vec![Advertised::unnamed("h", 1, shard_ports)],
            rack: None,
        };
        let nodes = vec![node(1, &[5, 6]), node(2, &[]), node(3, &[])];
        Metadata::new("c".to_owned(), BrokerId::new(1), nodes, [])
    }

    fn chosen(lists: &[&[i32]]) -> Result<Vec<i32>, Refusal> {
        let lists = (0..).map(PartitionIndex::new).zip(lists.iter().copied());
        let owners = owners(&cluster(), lists)?;
        Ok(owners.iter().map(|(_, broker)| broker.get()).collect())
    }

    #[test]
    fn the_first_broker_of_a_list_is_to_own_the_partition() {
        assert_eq!(chosen(&[&[3], &[2], &[3]]).unwrap(), [3, 2, 3]);
        assert_eq!(chosen(&[&[3, 2], &[2, 3]]).unwrap(), [3, 2]);
        assert_eq!(
            chosen(&[&[513], &[512]]).unwrap(),
            [1, 1],
            "nodes of shards"
        );
        for (lists, part) in [
            (&[&[2][..], &[]][..], "empty replica list"),
            (&[&[9]], "broker 9, but no such broker"),
            (&[&[2, 1]], "broker 1, but no such broker"),
            (&[&[-1]], "no such broker"),
            (&[&[2, 2]], "broker 2 more than once"),
            (&[&[512, 513]], "broker 513 more than once"),
            (&[&[2, 3], &[2]], "1 replica(s), but this is not consistent"),
        ] {
            let (code, text) = chosen(lists).unwrap_err();
            assert_eq!(code, ErrorCode::INVALID_REPLICA_ASSIGNMENT, "{lists:?}");
            assert!(text.contains(part), "{lists:?}: {text}");
        }
    }

    #[test]
    fn the_wait_is_bounded_both_ways() {
        assert_eq!(wait_of(-1), WAIT_MIN);
        assert_eq!(wait_of(0), WAIT_MIN);
        assert_eq!(wait_of(30_000), Duration::from_secs(30));
        assert_eq!(wait_of(i32::MAX), WAIT_MAX);
    }
}
