//! Heartbeat (key 12), versions 0-4.
//!
//! - Keeps a member's session; memory only, nothing is written. During a rebalance the answer is
//!   REBALANCE_IN_PROGRESS, and the session is kept all the same.
//! - v3: static members (KIP-345).
//!
//! - Needs READ on the group: GROUP_AUTHORIZATION_FAILED.
//!
//! Left out: nothing.

use coord::groups::{
    Generation, GroupId, HeartbeatRequest as GroupHeartbeat, InstanceId, MemberId,
    Reply as GroupReply,
};
use security::acl::{Operation, ResourceType};
use wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 4 };

pub(crate) async fn handle(cx: &RequestContext, request: HeartbeatRequest<'_>) -> Reply {
    if let Err(error_code) = cx.authorize(Operation::Read, ResourceType::Group, request.group_id) {
        cx.failed(error_code);
        return cx.reply(&HeartbeatResponse {
            error_code,
            ..HeartbeatResponse::default()
        });
    }
    let heartbeat = GroupHeartbeat {
        group: GroupId::from(request.group_id),
        member: MemberId::from(request.member_id),
        instance: request.group_instance_id.map(InstanceId::from),
        generation: Generation::new(request.generation_id),
    };
    let call = cx
        .shard
        .group_call(request.group_id, |coordinator, token, now, out| {
            coordinator.heartbeat(heartbeat, token, now, out);
        });
    let error_code = match call.await {
        Ok(GroupReply::Heartbeat(result)) => error::group_result(result),
        Ok(_) => unreachable!("a heartbeat is answered as one"),
        Err(error) => error::unavailable_code(error),
    };
    if error_code != ErrorCode::NONE {
        cx.failed(error_code);
    }
    cx.reply(&HeartbeatResponse {
        error_code,
        ..HeartbeatResponse::default()
    })
}
