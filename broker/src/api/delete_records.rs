//! DeleteRecords (key 21), versions 0-2.
//!
//! - Raises the log start of partitions (KIP-107); -1 means the high watermark. The answer comes
//!   when the new log start is durable, and carries it. An offset below the log start changes
//!   nothing.
//! - UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER for a partition that is not served,
//!   OFFSET_OUT_OF_RANGE above the high watermark or below -1, REQUEST_TIMED_OUT when the request's
//!   timeout (at least a second) is over, INVALID_REQUEST for partitions beyond those that one
//!   request may name.
//!
//! - Needs DELETE on each topic: TOPIC_AUTHORIZATION_FAILED, whether it exists or not.
//!
//! Left out: deleting records inside a segment object. They are not readable any more at once; the
//! object goes when the log start has passed its end.

use std::time::Duration;

use security::acl::{Operation, ResourceType};
use segment::{Offset, PartitionIndex};
use wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use wire::{ErrorCode, VersionRange};

use super::create_topics::wait_of;
use super::{Reply, RequestContext, error};
use crate::control::{ControlMsg, TopicError};
use crate::metadata::Topic;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 2 };
/// "The high watermark" in a request.
const HIGH_WATERMARK: i64 = -1;
/// "Unknown" in a reply.
const NO_WATERMARK: i64 = -1;

pub(crate) async fn handle(cx: &RequestContext, request: DeleteRecordsRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let wait = wait_of(request.timeout_ms);
    let limit = cx.shard.shared.config.request.partitions_max;
    let mut named = 0;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let may = cx.authorize(Operation::Delete, ResourceType::Topic, topic.name);
        let found = metadata.topic(topic.name);
        let work = topic.partitions.iter().map(|partition| {
            named += 1;
            let is_within = named <= limit;
            async move {
                may?;
                if is_within {
                    raise(cx, found.map(AsRef::as_ref), partition, wait).await
                } else {
                    Err(ErrorCode::INVALID_REQUEST)
                }
            }
        });
        let outcomes = cx.side_by_side(work).await;
        let partitions = topic.partitions.iter().zip(outcomes);
        let partitions = partitions.map(|(asked, outcome)| row(cx, asked, outcome));
        topics.push(DeleteRecordsTopicResult {
            name: topic.name,
            partitions: partitions.collect(),
        });
    }
    cx.reply(&DeleteRecordsResponse {
        topics,
        ..DeleteRecordsResponse::default()
    })
}

fn row(
    cx: &RequestContext,
    asked: &DeleteRecordsPartition,
    outcome: Result<Offset, ErrorCode>,
) -> DeleteRecordsPartitionResult {
    let (low_watermark, error_code) = match outcome {
        Ok(log_start) => (log_start.get(), ErrorCode::NONE),
        Err(code) => {
            cx.failed(code);
            (NO_WATERMARK, code)
        }
    };
    DeleteRecordsPartitionResult {
        partition_index: asked.partition_index,
        low_watermark,
        error_code,
    }
}

async fn raise(
    cx: &RequestContext,
    topic: Option<&Topic>,
    asked: &DeleteRecordsPartition,
    wait: Duration,
) -> Result<Offset, ErrorCode> {
    let index = PartitionIndex::new(asked.partition_index);
    let handle = topic.and_then(|topic| topic.partition(index));
    let handle = handle.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let snapshot = cx.shard.snapshot(handle);
    let snapshot = snapshot.ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    let to = match asked.offset {
        HIGH_WATERMARK => snapshot.high_watermark,
        offset => Offset::new(offset),
    };
    if !to.is_valid() || to > snapshot.high_watermark {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    if to <= snapshot.log_start {
        return Ok(snapshot.log_start);
    }
    let control = &cx.shard.shared.control;
    let raised = control.ask(|reply| ControlMsg::RaiseLogStart(handle.id, to, reply));
    match cx.shard.at_most(wait, raised).await {
        // It has moved on meanwhile: the client asks its new leader.
        Some(Ok(Err(TopicError::Unknown))) => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Some(Ok(raised)) => raised.map_err(|error| error::topic_code(&error)),
        None | Some(Err(_)) => Err(ErrorCode::REQUEST_TIMED_OUT),
    }
}
