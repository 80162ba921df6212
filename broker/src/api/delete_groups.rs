//! DeleteGroups (key 42), versions 0-2.
//!
//! - Groups without members go with all their committed offsets (KIP-229); the answer comes when
//!   that is durable. A group that is named twice is answered once, as in Kafka.
//! - GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, or a retriable code of the coordinator, for each group.
//!
//! Left out: nothing.

use std::collections::HashSet;

use coord::groups::{GroupId, Reply as GroupReply};
use futures_util::future::join_all;
use wire::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 2 };

pub(crate) async fn handle(cx: &RequestContext, request: DeleteGroupsRequest<'_>) -> Reply {
    let mut seen = HashSet::new();
    let groups: Vec<&str> = request
        .groups_names
        .iter()
        .copied()
        .filter(|group| seen.insert(*group))
        .collect();
    let codes = join_all(groups.iter().map(|group| delete(cx, group))).await;
    let results = groups.iter().zip(codes).map(|(group_id, error_code)| {
        if error_code != ErrorCode::NONE {
            cx.failed(error_code);
        }
        DeletableGroupResult {
            group_id,
            error_code,
        }
    });
    cx.reply(&DeleteGroupsResponse {
        results: results.collect(),
        ..DeleteGroupsResponse::default()
    })
}

async fn delete(cx: &RequestContext, group: &str) -> ErrorCode {
    let id = GroupId::from(group);
    let call = cx.shard.group_write(group, |coordinator, token, now, out| {
        coordinator.delete_groups(vec![id], token, now, out);
    });
    match call.await {
        Ok(GroupReply::DeleteGroups(results)) => {
            let result = results.into_iter().next().map(|(_, result)| result);
            result.map_or(ErrorCode::UNKNOWN_SERVER_ERROR, error::group_result)
        }
        Ok(_) => unreachable!("a deletion of groups is answered as one"),
        Err(error) => error::unavailable_code(error),
    }
}
