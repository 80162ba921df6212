//! AlterPartitionReassignments (key 45), versions 0-1.
//!
//! - A partition has one replica, its owner; the object store replicates. So `replicas` names one live
//!   broker (KIP-455), which gets the partition: its present owner gives it away gracefully, and the
//!   answer comes when the choice is durable, before the move, as in Kafka. The partition stays with the
//!   broker whatever the cluster balances, until another is chosen; while the broker is down or drained
//!   others serve it. With direct routing the broker is named by the node of the partition's shard.
//! - Null takes the choice back, also one that was carried out: then the cluster places the partition again. (In Kafka
//!   nothing is left of a reassignment that was carried out, nor does it place partitions again.)
//! - INVALID_REPLICA_ASSIGNMENT for no, several, unknown or drained brokers, UNKNOWN_TOPIC_OR_PARTITION,
//!   NO_REASSIGNMENT_IN_PROGRESS, REQUEST_TIMED_OUT where the metadata store does not answer in the
//!   request's timeout (at least a second), INVALID_REQUEST for partitions beyond those that one request
//!   may name.
//! - Needs ALTER on the cluster: CLUSTER_AUTHORIZATION_FAILED.
//! - v1: whether the number of replicas may change (KIP-860). It never does.

use std::collections::HashMap;

use security::acl::Operation;
use segment::{BrokerId, PartitionIndex, TopicPartition};
use wire::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use wire::{ErrorCode, VersionRange};

use super::create_topics::{Refusal, timed_out, wait_of};
use super::{Reply, RequestContext, error};
use crate::control::{ControlMsg, ReassignError, Reassignment};
use crate::metadata::Metadata;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 1 };

pub(crate) async fn handle(
    cx: &RequestContext,
    request: AlterPartitionReassignmentsRequest<'_>,
) -> Reply {
    if let Err((error_code, text)) = cx.authorize_cluster(Operation::Alter) {
        return denied(cx, &request, error_code, text);
    }
    let metadata = cx.shard.metadata();
    let limit = cx.shard.shared.config.request.partitions_max;
    let mut named = 0;
    // What a partition that is named twice was last asked for counts.
    let mut wanted: HashMap<TopicPartition, Option<BrokerId>> = HashMap::new();
    let mut topics: Vec<Vec<Result<TopicPartition, Refusal>>> = Vec::new();
    for topic in &request.topics {
        let mut rows = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            cx.next_row().await;
            named += 1;
            let row = match named <= limit {
                true => reassignment(&metadata, topic.name, asked),
                false => Err((
                    ErrorCode::INVALID_REQUEST,
                    format!("A request may name {limit} partitions at most."),
                )),
            };
            rows.push(row.map(|Reassignment { id, to }| {
                wanted.insert(id, to);
                id
            }));
        }
        topics.push(rows);
    }
    let wanted = wanted.into_iter();
    let wanted = wanted.map(|(id, to)| Reassignment { id, to }).collect();
    let outcomes = match choose_owners(cx, wanted, request.timeout_ms).await {
        Ok(outcomes) => outcomes,
        Err((error_code, text)) => {
            cx.failed(error_code);
            return cx.reply(&AlterPartitionReassignmentsResponse {
                error_code,
                error_message: Some(&text),
                ..AlterPartitionReassignmentsResponse::default()
            });
        }
    };
    answer(cx, &request, &topics, &outcomes)
}

/// Refuses the whole, and each partition that it names.
fn denied(
    cx: &RequestContext,
    request: &AlterPartitionReassignmentsRequest<'_>,
    error_code: ErrorCode,
    text: &str,
) -> Reply {
    cx.failed(error_code);
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|it| ReassignablePartitionResponse {
                partition_index: it.partition_index,
                error_code,
                error_message: Some(text),
            });
        ReassignableTopicResponse {
            name: topic.name,
            partitions: partitions.collect(),
        }
    });
    cx.reply(&AlterPartitionReassignmentsResponse {
        error_code,
        error_message: Some(text),
        responses: topics.collect(),
        ..AlterPartitionReassignmentsResponse::default()
    })
}

/// What is asked for one partition.
fn reassignment(
    metadata: &Metadata,
    topic: &str,
    asked: &ReassignablePartition,
) -> Result<Reassignment, Refusal> {
    let unknown = |text| (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, text);
    let found = metadata.topic(topic);
    let found = found.ok_or_else(|| unknown(format!("Unable to find a topic named {topic}.")))?;
    let index = asked.partition_index;
    let handle = found.partition(PartitionIndex::new(index));
    let handle =
        handle.ok_or_else(|| unknown(format!("Unable to find partition {topic}:{index}.")))?;
    let to = match &asked.replicas {
        None => None,
        Some(replicas) => Some(broker(metadata, handle.id, replicas)?),
    };
    Ok(Reassignment { id: handle.id, to })
}

/// The broker that a list of replicas names.
fn broker(metadata: &Metadata, id: TopicPartition, replicas: &[i32]) -> Result<BrokerId, Refusal> {
    let invalid = |text| (ErrorCode::INVALID_REPLICA_ASSIGNMENT, text);
    let replica = match replicas {
        [] => {
            let text = "The manual partition assignment includes an empty replica list.";
            return Err(invalid(text.to_owned()));
        }
        [replica] => *replica,
        several => {
            return Err(invalid(format!(
                "The manual partition assignment names {several:?}; a partition has one replica, \
                 since the object store replicates: name one broker."
            )));
        }
    };
    let mut nodes = metadata.brokers.iter();
    let node = nodes.find(|node| {
        let mut at = node.everywhere();
        at.any(|at| at.of_partition(id).id.get() == replica)
    });
    if let Some(node) = node {
        return Ok(node.id);
    }
    let text = match metadata.has_node(replica) {
        true => format!(
            "The manual partition assignment includes node {replica}, a shard that does not serve \
             this partition on its broker."
        ),
        false => format!(
            "The manual partition assignment includes broker {replica}, but no such broker is \
             registered."
        ),
    };
    Err(invalid(text))
}

/// Outcomes by partition.
pub(super) type Outcomes = HashMap<TopicPartition, Result<(), ReassignError>>;

/// Makes choices durable, each partition named once; what was chosen is carried out afterwards.
pub(super) async fn choose_owners(
    cx: &RequestContext,
    wanted: Vec<Reassignment>,
    timeout_ms: i32,
) -> Result<Outcomes, Refusal> {
    if wanted.is_empty() {
        return Ok(Outcomes::new());
    }
    let ids: Vec<TopicPartition> = wanted.iter().map(|it| it.id).collect();
    let control = &cx.shard.shared.control;
    let asked = control.ask(|reply| ControlMsg::Reassign(wanted, reply));
    match cx.shard.at_most(wait_of(timeout_ms), asked).await {
        Some(Ok(outcomes)) => Ok(ids.into_iter().zip(outcomes).collect()),
        None | Some(Err(_)) => Err(timed_out()),
    }
}

fn answer(
    cx: &RequestContext,
    request: &AlterPartitionReassignmentsRequest<'_>,
    topics: &[Vec<Result<TopicPartition, Refusal>>],
    outcomes: &Outcomes,
) -> Reply {
    let texts: Vec<Vec<Option<Refusal>>> = topics
        .iter()
        .map(|rows| rows.iter().map(|row| refusal(row, outcomes)).collect())
        .collect();
    let responses = request.topics.iter().zip(&texts).map(|(topic, rows)| {
        let rows = topic.partitions.iter().zip(rows);
        let rows = rows.map(|(asked, refusal)| {
            let (error_code, error_message) = match refusal {
                None => (ErrorCode::NONE, None),
                Some((code, text)) => {
                    cx.failed(*code);
                    (*code, Some(text.as_str()))
                }
            };
            ReassignablePartitionResponse {
                partition_index: asked.partition_index,
                error_code,
                error_message,
            }
        });
        ReassignableTopicResponse {
            name: topic.name,
            partitions: rows.collect(),
        }
    });
    cx.reply(&AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses: responses.collect(),
        ..AlterPartitionReassignmentsResponse::default()
    })
}

fn refusal(row: &Result<TopicPartition, Refusal>, outcomes: &Outcomes) -> Option<Refusal> {
    let id = match row {
        Ok(id) => id,
        Err(refusal) => return Some(refusal.clone()),
    };
    match outcomes.get(id) {
        Some(Ok(())) => None,
        Some(Err(error)) => Some((error::reassign_code(error), error.to_string())),
        None => unreachable!("every partition that is asked for has an outcome"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use segment::{TopicId, TopicName};

    use super::*;
    use crate::config::Advertised;
    use crate::metadata::Topic;
    use crate::node::BrokerNode;
    use crate::partition::PartitionHandle;
    use crate::shard::{ShardId, shard_of_partition};
    use crate::topic_config::TopicConfig;

    const ID: TopicId = TopicId::new([7; 16]);

    fn partition() -> TopicPartition {
        TopicPartition::new(ID, PartitionIndex::ZERO)
    }

    /// A broker, the first with direct routing on two shards, and a topic of one partition.
    fn cluster() -> Metadata {
        let node = |id, shard_ports: &[u16]| BrokerNode {
            id: BrokerId::new(id),
            listeners: vec![Advertised::unnamed("h", 1, shard_ports)],
            rack: None,
        };
        let topic = Topic {
            name: TopicName::new("t").unwrap(),
            id: ID,
            generation: 0,
            config: TopicConfig::default(),
            partitions: vec![Arc::new(PartitionHandle::new(partition(), ShardId(0)))],
        };
        let nodes = vec![node(1, &[5, 6]), node(2, &[])];
        Metadata::new("c".to_owned(), BrokerId::new(1), nodes, [Arc::new(topic)])
    }

    fn ask(topic: &str, index: i32, replicas: Option<&[i32]>) -> Result<Reassignment, Refusal> {
        let asked = ReassignablePartition {
            partition_index: index,
            replicas: replicas.map(<[i32]>::to_vec),
        };
        reassignment(&cluster(), topic, &asked)
    }

    #[test]
    fn replicas_name_one_live_broker_by_the_node_that_clients_know() {
        let to = |replicas| ask("t", 0, replicas).unwrap().to.map(BrokerId::get);
        assert_eq!(to(None), None);
        assert_eq!(to(Some(&[2])), Some(2));
        let shard = shard_of_partition(partition(), 2).index() as i32;
        assert_eq!(to(Some(&[512 + shard])), Some(1));
        for (replicas, part) in [
            (vec![], "empty replica list"),
            (vec![2, 1], "one replica"),
            (vec![2, 2], "one replica"),
            (vec![9], "no such broker"),
            (vec![-1], "no such broker"),
            (vec![1], "no such broker"),
            (vec![512 + 1 - shard], "does not serve this partition"),
        ] {
            let (code, text) = ask("t", 0, Some(&replicas)).unwrap_err();
            assert_eq!(code, ErrorCode::INVALID_REPLICA_ASSIGNMENT, "{replicas:?}");
            assert!(text.contains(part), "{replicas:?}: {text}");
        }
        for (topic, index) in [("t", 1), ("t", -1), ("none", 0)] {
            let (code, _) = ask(topic, index, Some(&[2])).unwrap_err();
            assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
    }
}
