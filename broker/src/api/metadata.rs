//! Metadata (key 3), versions 0-13.
//!
//! - No topics asked for: all of them. That is null from v1 on and the empty list in v0; the empty
//!   list of v1 and later is none of them. A name or id asked for twice is answered once.
//! - A topic that does not exist is created if the broker's settings and the request (v4) allow it,
//!   with the broker's number of partitions, and described at once: the answer comes when it is
//!   durable. Kafka answers UNKNOWN_TOPIC_OR_PARTITION first and lets the client ask again. Of the
//!   unknown names of one request at most 100 are created; the others get LEADER_NOT_AVAILABLE, and
//!   the client's next request creates more.
//! - The partitions of such a topic count against `controller_mutation_rate` of the client that asks (KIP-599). Once
//!   it is used up the topic is not created: UNKNOWN_TOPIC_OR_PARTITION, without a throttle, as Kafka answers
//!   before its controller has refused; the client asks again.
//! - Otherwise UNKNOWN_TOPIC_OR_PARTITION, or INVALID_TOPIC_EXCEPTION for an illegal name. Kafka's
//!   internal topics do not exist here and are not created.
//! - One replica, the owner, is reported, whatever replication factor was asked for: the object
//!   store keeps the copies. A partition between two owners, or that its owner has not opened yet,
//!   has LEADER_NOT_AVAILABLE and no leader.
//! - The controller is the live node with the smallest id: any broker carries out admin requests,
//!   so that it only has to be the same in every answer.
//! - v2: cluster id (KIP-78). v5: offline replicas, always none (KIP-112). v7: leader epochs
//!   (KIP-320). v8: authorized operations, all of them where no ACLs decide (KIP-430); those of
//!   the cluster until v10 (KIP-700). v10: topic ids in the reply; v12: in the request (KIP-516).
//!   v13: an error for the whole reply, unused (KIP-1102).
//!
//! - Needs DESCRIBE on each topic: all topics are those that may be seen, others are TOPIC_AUTHORIZATION_FAILED, whether
//!   they exist or not; an id is told without its name. To create a topic needs CREATE on the cluster or on it.
//!
//! - Brokers are told with their addresses at the listener that the client came by; those without it are left out. A
//!   partition whose leader is such a broker is LISTENER_NOT_FOUND, LEADER_NOT_AVAILABLE before v6.
//!
//! Left out: rack-dependent answers.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use security::acl::{CLUSTER, Operation, ResourceType};
use segment::{LeaderEpoch, TopicId, TopicName};
use wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use wire::{ErrorCode, Uuid, VersionRange};

use super::describe_cluster::CLUSTER_OPERATIONS;
use super::{Reply, RequestContext, error};
use crate::control::{ControlMsg, NewTopic, TopicError};
use crate::metadata::{Metadata, Topic};
use crate::node::NodeId;
use crate::partition::PartitionHandle;
use crate::topic_config::TopicConfig;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 13 };
/// First version in which topics may be named by id.
const TOPIC_IDS_FROM: i16 = 12;
/// Versions that can carry the operations allowed on the cluster.
const CLUSTER_OPERATIONS_IN: VersionRange = VersionRange { min: 8, max: 10 };
/// First version that tells that a leader does not have the listener.
const LISTENER_NOT_FOUND_FROM: i16 = 6;
/// Topics that one request creates at most.
const AUTO_CREATED_MAX: usize = 100;
/// "No node" on the wire.
pub(super) const NO_NODE: i32 = -1;
/// "No leader epoch" on the wire.
pub(super) const NO_LEADER_EPOCH: i32 = -1;
/// Read, write, create, delete, alter, describe, describe configs, alter configs: the bit of an
/// operation is its number in `AclOperation`.
pub(super) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

/// One topic of the reply.
enum Entry<'a> {
    Found(Arc<Topic>),
    Missing(ErrorCode, &'a str),
    MissingId(ErrorCode, Uuid),
}

pub(crate) async fn handle(cx: &RequestContext, request: MetadataRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let mut entries = match &request.topics {
        None => all(cx, &metadata),
        Some(topics) if topics.is_empty() && cx.version == 0 => all(cx, &metadata),
        Some(topics) => match named(cx, &metadata, topics).await {
            Ok(entries) => entries,
            Err(entries) => return answer(cx, &request, &metadata, &entries),
        },
    };
    if request.allow_auto_topic_creation && cx.shard.shared.config.topic.auto_create {
        create_missing(cx, &mut entries).await;
    }
    answer(cx, &request, &cx.shard.metadata(), &entries)
}

/// All topics but those that its client may not see.
fn all(cx: &RequestContext, metadata: &Metadata) -> Vec<Entry<'static>> {
    let may_see = |topic: &&Arc<Topic>| {
        cx.allows_quietly(
            Operation::Describe,
            ResourceType::Topic,
            topic.name.as_str(),
        )
    };
    let mut topics: Vec<Arc<Topic>> = metadata.topics().filter(may_see).cloned().collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    topics.into_iter().map(Entry::Found).collect()
}

/// The topics that the request names, each once. An error is the same answer where the request
/// names topics in a way that its version does not allow: nothing is created then.
async fn named<'a>(
    cx: &RequestContext,
    metadata: &Metadata,
    topics: &[MetadataRequestTopic<'a>],
) -> Result<Vec<Entry<'a>>, Vec<Entry<'a>>> {
    let has_id = |topic: &MetadataRequestTopic<'_>| !topic.topic_id.is_zero();
    let is_nameless = |topic: &MetadataRequestTopic<'_>| topic.name.is_none() && !has_id(topic);
    let old = cx.version < TOPIC_IDS_FROM;
    if topics
        .iter()
        .any(|topic| is_nameless(topic) || old && has_id(topic))
    {
        let refused = |topic: &MetadataRequestTopic<'a>| {
            Entry::Missing(ErrorCode::INVALID_REQUEST, topic.name.unwrap_or_default())
        };
        return Err(topics.iter().map(refused).collect());
    }
    if topics.iter().any(has_id) {
        // As in Kafka, names are not looked at where any topic is named by id.
        let mut seen = HashSet::new();
        let ids = topics
            .iter()
            .filter(|topic| has_id(topic))
            .map(|topic| topic.topic_id);
        let mut entries = Vec::new();
        for id in ids.filter(|id| seen.insert(*id)) {
            cx.next_row().await;
            entries.push(by_id(cx, metadata, id));
        }
        return Ok(entries);
    }
    let mut seen = HashSet::new();
    let mut entries = Vec::new();
    let names = topics.iter().filter_map(|topic| topic.name);
    for name in names.filter(|name| seen.insert(*name)) {
        cx.next_row().await;
        entries.push(by_name(cx, metadata, name));
    }
    Ok(entries)
}

fn by_id(cx: &RequestContext, metadata: &Metadata, id: Uuid) -> Entry<'static> {
    let Some(topic) = metadata.topic_by_id(TopicId::new(id.0)) else {
        return Entry::MissingId(ErrorCode::UNKNOWN_TOPIC_ID, id);
    };
    let may = cx.authorize(
        Operation::Describe,
        ResourceType::Topic,
        topic.name.as_str(),
    );
    may.map_or_else(
        |code| Entry::MissingId(code, id),
        |()| Entry::Found(topic.clone()),
    )
}

fn by_name<'a>(cx: &RequestContext, metadata: &Metadata, name: &'a str) -> Entry<'a> {
    if let Err(code) = cx.authorize(Operation::Describe, ResourceType::Topic, name) {
        return Entry::Missing(code, name);
    }
    match (metadata.topic(name), TopicName::new(name)) {
        (Some(topic), _) => Entry::Found(topic.clone()),
        (None, Ok(_)) => Entry::Missing(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, name),
        (None, Err(error)) => Entry::Missing(error::topic_name_code(&error), name),
    }
}

/// Creates the topics that are missing, side by side, and puts them in their places.
async fn create_missing(cx: &RequestContext, entries: &mut [Entry<'_>]) {
    let mut places = Vec::new();
    let may_all = cx.allows_quietly(Operation::Create, ResourceType::Cluster, CLUSTER);
    for (place, entry) in entries.iter_mut().enumerate() {
        let Entry::Missing(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, name) = entry else {
            continue;
        };
        let Ok(name) = TopicName::new(name) else {
            continue;
        };
        if name.is_internal() {
            continue;
        }
        let may = may_all || cx.allows(Operation::Create, ResourceType::Topic, name.as_str());
        if !may {
            if let Entry::Missing(code, _) = entry {
                *code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
            }
            continue;
        }
        if places.len() < AUTO_CREATED_MAX {
            places.push((place, name));
        } else if let Entry::Missing(code, _) = entry {
            *code = ErrorCode::LEADER_NOT_AVAILABLE;
        }
    }
    let created = join_all(places.iter().map(|(_, name)| create(cx, name))).await;
    for ((place, _), result) in places.iter().zip(created) {
        match (result, &mut entries[*place]) {
            (Ok(topic), entry) => *entry = Entry::Found(topic),
            (Err(failed), Entry::Missing(code, _)) => *code = failed,
            (Err(_), Entry::Found(_) | Entry::MissingId(..)) => {}
        }
    }
}

async fn create(cx: &RequestContext, name: &TopicName) -> Result<Arc<Topic>, ErrorCode> {
    let partitions = cx.shard.shared.config.topic.auto_create_partitions;
    if !cx.charge_auto_created(partitions) {
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let new = NewTopic {
        name: name.clone(),
        partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
        config: TopicConfig::default(),
    };
    let control = &cx.shard.shared.control;
    let created = control
        .ask(|reply| ControlMsg::CreateTopic(new, reply))
        .await;
    match created {
        Ok(Ok(topic)) => Ok(topic),
        Ok(Err(TopicError::Exists(_))) => {
            let metadata = cx.shard.metadata();
            metadata
                .topic(name.as_str())
                .cloned()
                .ok_or(ErrorCode::LEADER_NOT_AVAILABLE)
        }
        Ok(Err(TopicError::Unavailable(_))) | Err(_) => Err(ErrorCode::LEADER_NOT_AVAILABLE),
        Ok(Err(error)) => Err(error::topic_code(&error)),
    }
}

fn answer(
    cx: &RequestContext,
    request: &MetadataRequest<'_>,
    metadata: &Metadata,
    entries: &[Entry<'_>],
) -> Reply {
    let brokers = metadata
        .endpoints(cx.listener())
        .map(|node| MetadataResponseBroker {
            node_id: node.id.get(),
            host: node.host,
            port: i32::from(node.port),
            rack: node.rack,
        });
    let with_operations = request.include_topic_authorized_operations;
    let topics = entries
        .iter()
        .map(|entry| response_topic(cx, metadata, entry, with_operations));
    let with_cluster =
        request.include_cluster_authorized_operations && CLUSTER_OPERATIONS_IN.contains(cx.version);
    cx.reply(&MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(&metadata.cluster_id),
        controller_id: controller(cx.listener(), metadata),
        topics: topics.collect(),
        cluster_authorized_operations: cx.cluster_operations(with_cluster, CLUSTER_OPERATIONS),
        ..MetadataResponse::default()
    })
}

fn response_topic<'a>(
    cx: &RequestContext,
    metadata: &Metadata,
    entry: &'a Entry<'_>,
    with_operations: bool,
) -> MetadataResponseTopic<'a> {
    let failed = |error_code, name, topic_id| {
        cx.failed(error_code);
        MetadataResponseTopic {
            error_code,
            name,
            topic_id,
            ..MetadataResponseTopic::default()
        }
    };
    match entry {
        Entry::Missing(code, name) => failed(*code, Some(*name), Uuid::ZERO),
        Entry::MissingId(code, id) => failed(*code, None, *id),
        Entry::Found(topic) => MetadataResponseTopic {
            error_code: ErrorCode::NONE,
            name: Some(topic.name.as_str()),
            topic_id: Uuid(topic.id.get()),
            is_internal: topic.name.is_internal(),
            partitions: partitions(cx, metadata, topic),
            topic_authorized_operations: match with_operations {
                true => cx.operations(ResourceType::Topic, topic.name.as_str(), TOPIC_OPERATIONS),
                false => i32::MIN,
            },
        },
    }
}

fn partitions(
    cx: &RequestContext,
    metadata: &Metadata,
    topic: &Topic,
) -> Vec<MetadataResponsePartition> {
    let code = |code| match code {
        ErrorCode::LISTENER_NOT_FOUND if cx.version < LISTENER_NOT_FOUND_FROM => {
            ErrorCode::LEADER_NOT_AVAILABLE
        }
        code => code,
    };
    let rows = (0..)
        .zip(&topic.partitions)
        .map(|(partition_index, handle)| {
            let leader = leader(cx.listener(), metadata, handle);
            let error_code = leader.err().map_or(ErrorCode::NONE, code);
            let leader = leader.ok();
            let replica = replica(cx.listener(), metadata, leader);
            MetadataResponsePartition {
                error_code,
                partition_index,
                leader_id: leader.map_or(NO_NODE, |(node, _)| node.get()),
                leader_epoch: leader.map_or(NO_LEADER_EPOCH, |(_, epoch)| epoch.get()),
                replica_nodes: vec![replica],
                isr_nodes: vec![replica],
                offline_replicas: Vec::new(),
            }
        });
    rows.collect()
}

/// Who leads a partition, as clients of a listener are told: LEADER_NOT_AVAILABLE if nobody does, LISTENER_NOT_FOUND if
/// it is a broker without that listener.
pub(super) fn leader(
    listener: &str,
    metadata: &Metadata,
    handle: &PartitionHandle,
) -> Result<(NodeId, LeaderEpoch), ErrorCode> {
    let found = metadata.live_leader(handle);
    let (node, leader) = found.ok_or(ErrorCode::LEADER_NOT_AVAILABLE)?;
    let at = node.at(listener).ok_or(ErrorCode::LISTENER_NOT_FOUND)?;
    Ok((at.of_partition(handle.id).id, leader.epoch))
}

/// The one replica that is reported: the owner; between two owners the controller, since clients
/// do not expect a partition without replicas.
pub(super) fn replica(
    listener: &str,
    metadata: &Metadata,
    leader: Option<(NodeId, LeaderEpoch)>,
) -> i32 {
    leader.map_or_else(|| controller(listener, metadata), |(node, _)| node.get())
}

/// The controller on the wire.
pub(super) fn controller(listener: &str, metadata: &Metadata) -> i32 {
    metadata.controller(listener).map_or(NO_NODE, NodeId::get)
}
