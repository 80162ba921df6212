//! OffsetCommit (key 8), versions 1-10.
//!
//! - Offsets are durable before this is answered; COORDINATOR_NOT_AVAILABLE if they are not in 5 s,
//!   as with Kafka's `offsets.commit.timeout.ms`: they may be committed later all the same. They
//!   are kept under the topic's id, so that a topic that is created again does not inherit them.
//! - UNKNOWN_TOPIC_OR_PARTITION for what is not in the metadata; the other partitions are
//!   committed. Errors of the group are in every partition: UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION,
//!   FENCED_INSTANCE_ID, REBALANCE_IN_PROGRESS, and so on.
//! - A consumer that assigns itself commits with generation -1, into a group without members.
//! - v1: a commit time; v2-4: a retention time, which takes precedence over the broker's. v6:
//!   leader epochs (KIP-320). v7: static members (KIP-345). v9: GROUP_ID_NOT_FOUND for an unknown
//!   group (KIP-848). v10: topic ids instead of names; UNKNOWN_TOPIC_ID.
//!
//! - Needs READ on the group (GROUP_AUTHORIZATION_FAILED) and on each topic (TOPIC_AUTHORIZATION_FAILED).
//!
//! Left out: v0, which stored offsets in ZooKeeper.

use std::collections::VecDeque;
use std::sync::Arc;

use coord::groups::{
    CommitOffset, CommitReply, CommitRequest, Generation, GroupId, InstanceId, MemberId,
    Reply as GroupReply,
};
use security::acl::{Operation, ResourceType};
use segment::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicPartition};
use wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use wire::{ErrorCode, Uuid, VersionRange};

use super::{Reply, RequestContext, error};
use crate::metadata::{Metadata, Topic};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 10 };
/// First version in which clients understand GROUP_ID_NOT_FOUND here.
const GROUP_NOT_FOUND_FROM: i16 = 9;
/// First version with topic ids instead of names.
pub(super) const TOPIC_IDS_FROM: i16 = 10;
/// "Not given" for times.
const NO_TIME: i64 = -1;

pub(crate) async fn handle(cx: &RequestContext, request: OffsetCommitRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let may = cx.authorize(Operation::Read, ResourceType::Group, request.group_id);
    let (places, offsets) = resolve(cx, &metadata, &request, may);
    if offsets.is_empty() {
        return answer(cx, &request, &places, &mut VecDeque::new());
    }
    let count = offsets.len();
    let commit = CommitRequest {
        group: GroupId::from(request.group_id),
        member: MemberId::from(request.member_id),
        instance: request.group_instance_id.map(InstanceId::from),
        generation: Generation::new(request.generation_id_or_member_epoch),
        retention_ms: Some(request.retention_time_ms).filter(|ms| *ms != NO_TIME),
        group_not_found_supported: cx.version >= GROUP_NOT_FOUND_FROM,
        offsets,
    };
    let call = cx
        .shard
        .group_write(request.group_id, |coordinator, token, now, out| {
            coordinator.commit(commit, token, now, out);
        });
    let mut codes: VecDeque<ErrorCode> = match call.await {
        Ok(GroupReply::Commit(replies)) => codes(&replies),
        Ok(_) => unreachable!("a commit is answered as one"),
        Err(error) => std::iter::repeat_n(error::unavailable_code(error), count).collect(),
    };
    answer(cx, &request, &places, &mut codes)
}

fn codes(replies: &[CommitReply]) -> VecDeque<ErrorCode> {
    replies
        .iter()
        .map(|reply| error::group_result(reply.result))
        .collect()
}

/// A topic as requests about committed offsets name it, which they need leave for.
pub(super) fn find_topic<'a>(
    cx: &RequestContext,
    metadata: &'a Metadata,
    name: &str,
    id: Uuid,
    operation: Operation,
) -> Result<&'a Arc<Topic>, ErrorCode> {
    if cx.version >= TOPIC_IDS_FROM {
        let topic = metadata.topic_by_id(TopicId::new(id.0));
        let topic = topic.ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?;
        cx.authorize(operation, ResourceType::Topic, topic.name.as_str())?;
        Ok(topic)
    } else {
        cx.authorize(operation, ResourceType::Topic, name)?;
        let topic = metadata.topic(name);
        topic.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}

/// Which partitions of the request exist, in its order, and what is committed for those.
fn resolve(
    cx: &RequestContext,
    metadata: &Metadata,
    request: &OffsetCommitRequest<'_>,
    may: Result<(), ErrorCode>,
) -> (Vec<Result<(), ErrorCode>>, Vec<CommitOffset>) {
    let (mut places, mut offsets) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        let find = |()| find_topic(cx, metadata, topic.name, topic.topic_id, Operation::Read);
        let found = may.and_then(find);
        for partition in &topic.partitions {
            let index = PartitionIndex::new(partition.partition_index);
            let id = found.and_then(|found| {
                let handle = found.partition(index);
                handle
                    .map(|handle| handle.id)
                    .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            });
            places.push(id.map(drop));
            offsets.extend(id.map(|id| commit_offset(id, partition)));
        }
    }
    (places, offsets)
}

fn commit_offset(id: TopicPartition, asked: &OffsetCommitRequestPartition<'_>) -> CommitOffset {
    let timestamp = Some(asked.commit_timestamp).filter(|time| *time != NO_TIME);
    CommitOffset {
        partition: id,
        offset: Offset::new(asked.committed_offset),
        leader_epoch: LeaderEpoch::new(asked.committed_leader_epoch),
        metadata: asked.committed_metadata.map(Into::into),
        timestamp: timestamp.map(TimestampMs::new),
    }
}

fn answer(
    cx: &RequestContext,
    request: &OffsetCommitRequest<'_>,
    places: &[Result<(), ErrorCode>],
    codes: &mut VecDeque<ErrorCode>,
) -> Reply {
    let mut places = places.iter();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let partitions = topic
            .partitions
            .iter()
            .zip(places.by_ref())
            .map(|(asked, place)| {
                let error_code = match place {
                    Ok(()) => codes.pop_front().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR),
                    Err(code) => *code,
                };
                if error_code != ErrorCode::NONE {
                    cx.failed(error_code);
                }
                OffsetCommitResponsePartition {
                    partition_index: asked.partition_index,
                    error_code,
                }
            });
        topics.push(OffsetCommitResponseTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        });
    }
    cx.reply(&OffsetCommitResponse {
        topics,
        ..OffsetCommitResponse::default()
    })
}
