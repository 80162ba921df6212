//! DeleteGroups (key 42), versions 0-3.
//!
//! - Groups without members go with all their committed offsets (KIP-229); the answer comes when
//!   that is durable. A group that is named twice is answered once, as in Kafka.
//! - GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, or a retriable code of the coordinator, for each group; v3: with a
//!   text (KIP-1043).
//!
//! - Needs DELETE on each group: GROUP_AUTHORIZATION_FAILED.
//!
//! Left out: nothing.

use std::collections::HashSet;

use coord::groups::{GroupError, GroupId, Reply as GroupReply};
use security::acl::{Operation, ResourceType};
use wire::VersionRange;
use wire::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

use super::alter_configs::outcome_fields;
use super::create_topics::Refusal;
use super::{Reply, RequestContext, error};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 3 };

pub(crate) async fn handle(cx: &RequestContext, request: DeleteGroupsRequest<'_>) -> Reply {
    let mut seen = HashSet::new();
    let groups: Vec<&str> = request
        .groups_names
        .iter()
        .copied()
        .filter(|group| seen.insert(*group))
        .collect();
    let outcomes = cx
        .side_by_side(groups.iter().map(|group| delete(cx, group)))
        .await;
    let results = groups.iter().zip(&outcomes).map(|(group_id, outcome)| {
        let (error_code, error_message) = outcome_fields(cx, outcome);
        DeletableGroupResult {
            group_id,
            error_code,
            error_message,
        }
    });
    cx.reply(&DeleteGroupsResponse {
        results: results.collect(),
        ..DeleteGroupsResponse::default()
    })
}

async fn delete(cx: &RequestContext, group: &str) -> Result<(), Refusal> {
    cx.authorize_or_tell(Operation::Delete, ResourceType::Group, group)?;
    let id = GroupId::from(group);
    let call = cx.shard.group_write(group, |coordinator, token, now, out| {
        coordinator.delete_groups(vec![id], token, now, out);
    });
    match call.await {
        Ok(GroupReply::DeleteGroups(results)) => {
            let result = results.into_iter().next().map(|(_, result)| result);
            let result = result.unwrap_or(Err(GroupError::UnknownServerError));
            result.map_err(|error| (error::group_code(error), error.to_string()))
        }
        Ok(_) => unreachable!("a deletion of groups is answered as one"),
        Err(error) => Err((error::unavailable_code(error), error.to_string())),
    }
}
