//! ListPartitionReassignments (key 46), version 0.
//!
//! - The partitions that are to move to a broker that was chosen for them (KIP-455) and that do not serve
//!   there yet: the broker is being added, the present owner removed. A choice of a broker that is down
//!   or drained stays in the list until it can be carried out, or is taken back.
//! - Topics and partitions that are not known are left out, as in Kafka; REQUEST_TIMED_OUT where the
//!   broker is going down.
//!
//! - Needs DESCRIBE on the cluster: CLUSTER_AUTHORIZATION_FAILED.
//!
//! Left out: nothing. The timeout does not matter, since nothing is waited for.

use std::collections::{BTreeMap, HashSet};

use security::acl::Operation;
use segment::{PartitionIndex, TopicPartition};
use wire::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    ListPartitionReassignmentsTopics, OngoingPartitionReassignment, OngoingTopicReassignment,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};
use crate::control::{ControlMsg, Moving};
use crate::metadata::Metadata;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 0 };

pub(crate) async fn handle(
    cx: &RequestContext,
    request: ListPartitionReassignmentsRequest<'_>,
) -> Reply {
    if let Err((error_code, text)) = cx.authorize_cluster(Operation::Describe) {
        cx.failed(error_code);
        return cx.reply(&ListPartitionReassignmentsResponse {
            error_code,
            error_message: Some(text),
            ..ListPartitionReassignmentsResponse::default()
        });
    }
    let asked = cx.shard.shared.control.ask(ControlMsg::Reassignments);
    let Ok(moving) = asked.await else {
        let error_code = ErrorCode::REQUEST_TIMED_OUT;
        cx.failed(error_code);
        return cx.reply(&ListPartitionReassignmentsResponse {
            error_code,
            error_message: Some("The broker is shutting down."),
            ..ListPartitionReassignmentsResponse::default()
        });
    };
    let metadata = cx.shard.metadata();
    let topics = topics(cx.listener(), &metadata, request.topics.as_deref(), &moving);
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| OngoingTopicReassignment { name, partitions });
    cx.reply(&ListPartitionReassignmentsResponse {
        topics: topics.collect(),
        ..ListPartitionReassignmentsResponse::default()
    })
}

/// What is under way and asked for, by name of the topic.
fn topics<'a>(
    listener: &str,
    metadata: &'a Metadata,
    asked: Option<&[ListPartitionReassignmentsTopics<'_>]>,
    moving: &[Moving],
) -> BTreeMap<&'a str, Vec<OngoingPartitionReassignment>> {
    let ids = asked.map(|asked| {
        let ids = asked.iter().flat_map(|asked| {
            let topic = metadata.topic(asked.name);
            let indexes = asked.partition_indexes.iter().copied();
            indexes.filter_map(move |index| Some(topic?.partition(PartitionIndex::new(index))?.id))
        });
        ids.collect::<HashSet<TopicPartition>>()
    });
    let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for it in moving {
        if ids.as_ref().is_some_and(|ids| !ids.contains(&it.id)) {
            continue;
        }
        if let Some(topic) = metadata.topic_by_id(it.id.topic) {
            let rows = topics.entry(topic.name.as_str()).or_default();
            rows.push(row(listener, metadata, it));
        }
    }
    topics
}

fn row(listener: &str, metadata: &Metadata, moving: &Moving) -> OngoingPartitionReassignment {
    // A broker that is down, or not at this listener, is named by its id: what its nodes were is not known.
    let node = |broker| {
        let node = metadata.node(broker).and_then(|node| node.at(listener));
        node.map_or(broker.get(), |node| node.of_partition(moving.id).id.get())
    };
    let to = node(moving.to);
    let from: Vec<i32> = moving.from.map(node).into_iter().collect();
    OngoingPartitionReassignment {
        partition_index: moving.id.partition.get(),
        replicas: std::iter::once(to).chain(from.iter().copied()).collect(),
        adding_replicas: vec![to],
        removing_replicas: from,
    }
}
