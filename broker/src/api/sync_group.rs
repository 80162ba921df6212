//! SyncGroup (key 14), versions 0-5.
//!
//! - The leader hands in the assignment, the others wait for it. It is durable before anybody is
//!   answered. The bytes are opaque and are passed on as the leader gave them.
//! - v3: static members (KIP-345). v5: protocol type and name, checked against the group's where
//!   they are given, and returned (KIP-559).
//!
//! - Needs READ on the group: GROUP_AUTHORIZATION_FAILED.
//!
//! Left out: nothing. (Kafka refuses a request of v5 without protocol type or name; its own clients
//! always send them, and librdkafka does not in every version.)

use bytes::Bytes;
use coord::groups::{
    Generation, GroupId, InstanceId, MemberAssignment, MemberId, Reply as GroupReply, SyncRequest,
};
use security::acl::{Operation, ResourceType};
use wire::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 5 };

pub(crate) async fn handle(cx: &RequestContext, request: SyncGroupRequest<'_>) -> Reply {
    if let Err(error_code) = cx.authorize(Operation::Read, ResourceType::Group, request.group_id) {
        cx.failed(error_code);
        return cx.reply(&SyncGroupResponse {
            error_code,
            ..SyncGroupResponse::default()
        });
    }
    let sync = sync_request(&request);
    let call = cx
        .shard
        .group_call(request.group_id, |coordinator, token, now, out| {
            coordinator.sync(sync, token, now, out);
        });
    let error_code = match call.await {
        Ok(GroupReply::Sync(Ok(synced))) => {
            return cx.reply(&SyncGroupResponse {
                error_code: ErrorCode::NONE,
                protocol_type: Some(&synced.protocol_type),
                protocol_name: Some(&synced.protocol_name),
                assignment: &synced.assignment,
                ..SyncGroupResponse::default()
            });
        }
        Ok(GroupReply::Sync(Err(error))) => error::group_code(error),
        Ok(_) => unreachable!("a sync is answered as one"),
        Err(error) => error::unavailable_code(error),
    };
    cx.failed(error_code);
    cx.reply(&SyncGroupResponse {
        error_code,
        ..SyncGroupResponse::default()
    })
}

fn sync_request(request: &SyncGroupRequest<'_>) -> SyncRequest {
    let assignments = request.assignments.iter().map(|assigned| MemberAssignment {
        member: MemberId::from(assigned.member_id),
        assignment: Bytes::copy_from_slice(assigned.assignment),
    });
    SyncRequest {
        group: GroupId::from(request.group_id),
        member: MemberId::from(request.member_id),
        instance: request.group_instance_id.map(InstanceId::from),
        generation: Generation::new(request.generation_id),
        protocol_type: request.protocol_type.map(Into::into),
        protocol_name: request.protocol_name.map(Into::into),
        assignments: assignments.collect(),
    }
}
