//! OffsetDelete (key 47), version 0.
//!
//! - Deletes committed offsets of single partitions (KIP-496); the answer comes when they are gone
//!   durably. A partition without an offset is no error.
//! - UNKNOWN_TOPIC_OR_PARTITION for what is not in the metadata, GROUP_SUBSCRIBED_TO_TOPIC for
//!   topics that the group uses. For the whole request: INVALID_GROUP_ID, GROUP_ID_NOT_FOUND, and
//!   NON_EMPTY_GROUP for a group with members that are not consumers.
//!
//! - Needs DELETE on the group (GROUP_AUTHORIZATION_FAILED for the whole) and READ on each topic.
//!
//! Left out: nothing.

use std::collections::VecDeque;

use coord::groups::{DeleteOffsetsRequest, GroupId, OffsetToDelete, Reply as GroupReply};
use security::acl::{Operation, ResourceType};
use segment::PartitionIndex;
use wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error};
use crate::metadata::Metadata;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 0 };

pub(crate) async fn handle(cx: &RequestContext, request: OffsetDeleteRequest<'_>) -> Reply {
    let metadata = cx.shard.metadata();
    let may = cx.authorize(Operation::Delete, ResourceType::Group, request.group_id);
    if let Err(error_code) = may {
        return refuse(cx, error_code);
    }
    let (places, offsets) = resolve(cx, &metadata, &request);
    let delete = DeleteOffsetsRequest {
        group: GroupId::from(request.group_id),
        offsets,
    };
    let call = cx
        .shard
        .group_write(request.group_id, |coordinator, token, now, out| {
            coordinator.delete_offsets(delete, token, now, out);
        });
    let replies = match call.await {
        Ok(GroupReply::DeleteOffsets(result)) => result.map_err(error::group_code),
        Ok(_) => unreachable!("a deletion of offsets is answered as one"),
        Err(error) => Err(error::unavailable_code(error)),
    };
    match replies {
        Ok(replies) => {
            let codes = replies
                .iter()
                .map(|reply| error::group_result(reply.result))
                .collect();
            answer(cx, &request, &places, codes)
        }
        Err(error_code) => refuse(cx, error_code),
    }
}

fn refuse(cx: &RequestContext, error_code: ErrorCode) -> Reply {
    cx.failed(error_code);
    cx.reply(&OffsetDeleteResponse {
        error_code,
        ..OffsetDeleteResponse::default()
    })
}

/// Which partitions of the request exist, in its order, and what is deleted for those.
fn resolve(
    cx: &RequestContext,
    metadata: &Metadata,
    request: &OffsetDeleteRequest<'_>,
) -> (Vec<Result<(), ErrorCode>>, Vec<OffsetToDelete>) {
    let (mut places, mut offsets) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        let may = cx.authorize(Operation::Read, ResourceType::Topic, topic.name);
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let found = may.and_then(|()| metadata.topic(topic.name).ok_or(unknown));
        let topic_name: std::sync::Arc<str> = topic.name.into();
        for partition in &topic.partitions {
            let index = PartitionIndex::new(partition.partition_index);
            let id = found.and_then(|found| found.partition(index).ok_or(unknown));
            let id = id.map(|handle| handle.id);
            places.push(id.map(drop));
            offsets.extend(id.map(|partition| OffsetToDelete {
                partition,
                topic_name: topic_name.clone(),
            }));
        }
    }
    (places, offsets)
}

fn answer(
    cx: &RequestContext,
    request: &OffsetDeleteRequest<'_>,
    places: &[Result<(), ErrorCode>],
    mut codes: VecDeque<ErrorCode>,
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
                OffsetDeleteResponsePartition {
                    partition_index: asked.partition_index,
                    error_code,
                }
            });
        topics.push(OffsetDeleteResponseTopic {
            name: topic.name,
            partitions: partitions.collect(),
        });
    }
    cx.reply(&OffsetDeleteResponse {
        topics,
        ..OffsetDeleteResponse::default()
    })
}
