//! DescribeTopicPartitions (key 75), version 0.
//!
//! - Topics in order of name, page by page (KIP-966): at most 2,000 partitions a reply, fewer if
//!   the request says so. The cursor of a reply names the topic and partition where the next page
//!   begins.
//! - No topics asked for: all of them. An unknown topic is UNKNOWN_TOPIC_OR_PARTITION, an illegal
//!   name INVALID_TOPIC_EXCEPTION. Nothing is created.
//! - A cursor whose topic is not among those asked for, or whose partition is negative, is
//!   INVALID_REQUEST for every topic of the request.
//! - Needs DESCRIBE on each topic: others are left out of all topics, and TOPIC_AUTHORIZATION_FAILED where they are named,
//!   whether they exist or not.
//! - Leaders are told as the listener that the client came by knows them: LISTENER_NOT_FOUND where one does not have it.
//! - Eligible leader replicas are empty: whoever owns a partition has all its acknowledged records.

use std::collections::BTreeSet;

use security::acl::{Operation, ResourceType};
use segment::TopicName;
use wire::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use wire::{ErrorCode, Uuid, VersionRange};

use super::metadata::{NO_LEADER_EPOCH, NO_NODE, TOPIC_OPERATIONS, leader, replica};
use super::{Reply, RequestContext, error};
use crate::metadata::{Metadata, Topic};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 0 };
/// Partitions of one reply (`max.request.partition.size.limit`).
const PARTITIONS_MAX: usize = 2_000;

pub(crate) async fn handle(
    cx: &RequestContext,
    request: DescribeTopicPartitionsRequest<'_>,
) -> Reply {
    let metadata = cx.shard.metadata();
    let wants_all = request.topics.is_empty();
    let from = request
        .cursor
        .as_ref()
        .map_or("", |cursor| cursor.topic_name);
    let names: BTreeSet<&str> = if wants_all {
        metadata
            .topics()
            .map(|topic| topic.name.as_str())
            .filter(|name| *name >= from)
            .filter(|name| cx.allows_quietly(Operation::Describe, ResourceType::Topic, name))
            .collect()
    } else {
        request
            .topics
            .iter()
            .map(|topic| topic.name)
            .filter(|name| *name >= from)
            .collect()
    };
    let is_refused = request.cursor.as_ref().is_some_and(|cursor| {
        cursor.partition_index < 0 || !wants_all && !names.contains(cursor.topic_name)
    });
    if is_refused {
        return refuse(cx, &request);
    }
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let page = Page {
        cx,
        metadata: &metadata,
        start: request.cursor,
        wants_all,
        left: limit.clamp(1, PARTITIONS_MAX),
    };
    cx.reply(&page.fill(&names))
}

fn refuse(cx: &RequestContext, request: &DescribeTopicPartitionsRequest<'_>) -> Reply {
    let topics = request.topics.iter().map(|topic| {
        cx.failed(ErrorCode::INVALID_REQUEST);
        DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::INVALID_REQUEST,
            name: Some(topic.name),
            ..DescribeTopicPartitionsResponseTopic::default()
        }
    });
    cx.reply(&DescribeTopicPartitionsResponse {
        topics: topics.collect(),
        ..DescribeTopicPartitionsResponse::default()
    })
}

struct Page<'a> {
    cx: &'a RequestContext,
    metadata: &'a Metadata,
    start: Option<Cursor<'a>>,
    wants_all: bool,
    left: usize,
}

impl<'a> Page<'a> {
    fn fill(mut self, names: &BTreeSet<&'a str>) -> DescribeTopicPartitionsResponse<'a> {
        let mut response = DescribeTopicPartitionsResponse::default();
        for &name in names {
            if self.left == 0 {
                response.next_cursor = Some(Cursor {
                    topic_name: name,
                    partition_index: 0,
                });
                break;
            }
            // Those of all topics that may not be seen have been left out.
            if !self.wants_all
                && let Err(code) = self
                    .cx
                    .authorize(Operation::Describe, ResourceType::Topic, name)
            {
                response.topics.push(self.refused(name, code));
                continue;
            }
            let Some(topic) = self.metadata.topic(name) else {
                if !self.wants_all {
                    response.topics.push(self.missing(name));
                }
                continue;
            };
            let first = match &self.start {
                Some(cursor) if cursor.topic_name == name => cursor.partition_index,
                _ => 0,
            };
            let first = usize::try_from(first).unwrap_or(0);
            let partitions = self.partitions(topic, first);
            let next = first + partitions.len();
            self.left -= partitions.len();
            response.topics.push(described(self.cx, topic, partitions));
            if next < topic.partitions.len() {
                let partition_index = i32::try_from(next).unwrap_or(i32::MAX);
                response.next_cursor = Some(Cursor {
                    topic_name: name,
                    partition_index,
                });
                break;
            }
        }
        response
    }

    fn missing(&self, name: &'a str) -> DescribeTopicPartitionsResponseTopic<'a> {
        let error_code = match TopicName::new(name) {
            Ok(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Err(error) => error::topic_name_code(&error),
        };
        self.refused(name, error_code)
    }

    fn refused(
        &self,
        name: &'a str,
        error_code: ErrorCode,
    ) -> DescribeTopicPartitionsResponseTopic<'a> {
        self.cx.failed(error_code);
        DescribeTopicPartitionsResponseTopic {
            error_code,
            name: Some(name),
            ..DescribeTopicPartitionsResponseTopic::default()
        }
    }

    fn partitions(
        &self,
        topic: &Topic,
        first: usize,
    ) -> Vec<DescribeTopicPartitionsResponsePartition> {
        let rows = (0..).zip(&topic.partitions).skip(first).take(self.left);
        let rows = rows.map(|(partition_index, handle)| {
            let listener = self.cx.listener();
            let leader = leader(listener, self.metadata, handle);
            let error_code = leader.err().unwrap_or(ErrorCode::NONE);
            let leader = leader.ok();
            let replica = replica(listener, self.metadata, leader);
            DescribeTopicPartitionsResponsePartition {
                error_code,
                partition_index,
                leader_id: leader.map_or(NO_NODE, |(node, _)| node.get()),
                leader_epoch: leader.map_or(NO_LEADER_EPOCH, |(_, epoch)| epoch.get()),
                replica_nodes: vec![replica],
                isr_nodes: vec![replica],
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                offline_replicas: Vec::new(),
            }
        });
        rows.collect()
    }
}

fn described<'a>(
    cx: &RequestContext,
    topic: &'a Topic,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
) -> DescribeTopicPartitionsResponseTopic<'a> {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(topic.name.as_str()),
        topic_id: Uuid(topic.id.get()),
        is_internal: topic.name.is_internal(),
        partitions,
        topic_authorized_operations: cx.operations(
            ResourceType::Topic,
            topic.name.as_str(),
            TOPIC_OPERATIONS,
        ),
    }
}
