//! JoinGroup (key 11), versions 0-9.
//!
//! - The classic group protocol. The request waits at the group's coordinator until all members
//!   have joined or the rebalance timeout is over; the state machine is `coord::groups`.
//! - v0: the session timeout is the rebalance timeout too (KIP-62 gave it its own in v1). v4: a
//!   member without an id gets one with MEMBER_ID_REQUIRED and joins again (KIP-394). v5: static
//!   members (KIP-345). v7: the protocol type is returned, and null is the protocol name of an
//!   error (KIP-559). v8: a reason, which is not used (KIP-800). v9: the leader may be told to skip
//!   the assignment (KIP-814).
//!
//! - Needs READ on the group: GROUP_AUTHORIZATION_FAILED.
//!
//! Left out: the consumer protocol of KIP-848, which has requests of its own.

use std::sync::Arc;

use bytes::Bytes;
use coord::groups::{
    GroupId, InstanceId, JoinRefused, JoinRequest, JoinedGroup, MemberId, Protocol,
    Reply as GroupReply,
};
use security::acl::{Operation, ResourceType};
use wire::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 9 };
/// First version in which a new member needs an id before it joins.
const MEMBER_ID_FROM: i16 = 4;
/// First version in which null stands for no protocol.
const NULL_PROTOCOL_FROM: i16 = 7;
/// First version in which the assignment may be skipped.
const SKIP_ASSIGNMENT_FROM: i16 = 9;

pub(crate) async fn handle(cx: &RequestContext, request: JoinGroupRequest<'_>) -> Reply {
    if let Err(code) = cx.authorize(Operation::Read, ResourceType::Group, request.group_id) {
        return refuse(cx, code, request.member_id);
    }
    let join = join_request(cx, &request);
    let call = cx
        .shard
        .group_call(request.group_id, |coordinator, token, now, out| {
            coordinator.join(join, token, now, out);
        });
    let reply = match call.await {
        Ok(reply) => reply,
        Err(error) => return refuse(cx, error::unavailable_code(error), request.member_id),
    };
    match reply {
        GroupReply::Join(Ok(joined)) => welcome(cx, &joined),
        GroupReply::Join(Err(JoinRefused { error, member })) => {
            refuse(cx, error::group_code(error), member.as_str())
        }
        _ => unreachable!("a join is answered as one"),
    }
}

fn join_request(cx: &RequestContext, request: &JoinGroupRequest<'_>) -> JoinRequest {
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: protocol.name.into(),
        metadata: Bytes::copy_from_slice(protocol.metadata),
    });
    JoinRequest {
        group: GroupId::from(request.group_id),
        member: MemberId::from(request.member_id),
        instance: request.group_instance_id.map(InstanceId::from),
        client_id: cx.client_id.clone().unwrap_or_default(),
        client_host: Arc::from(format!("/{}", cx.peer.ip())),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        protocol_type: request.protocol_type.into(),
        protocols: protocols.collect(),
        random_bits: rand::random(),
        member_id_required: cx.version >= MEMBER_ID_FROM,
        skip_assignment_supported: cx.version >= SKIP_ASSIGNMENT_FROM,
    }
}

fn welcome(cx: &RequestContext, joined: &JoinedGroup) -> Reply {
    let members = joined.members.iter().map(|member| JoinGroupResponseMember {
        member_id: member.member.as_str(),
        group_instance_id: member.instance.as_ref().map(InstanceId::as_str),
        metadata: &member.metadata,
    });
    cx.reply(&JoinGroupResponse {
        generation_id: joined.generation.get(),
        protocol_type: Some(&joined.protocol_type),
        protocol_name: Some(&joined.protocol_name),
        leader: joined.leader.as_str(),
        skip_assignment: joined.skip_assignment && cx.version >= SKIP_ASSIGNMENT_FROM,
        member_id: joined.member.as_str(),
        members: members.collect(),
        ..JoinGroupResponse::default()
    })
}

fn refuse(cx: &RequestContext, error_code: ErrorCode, member_id: &str) -> Reply {
    cx.failed(error_code);
    cx.reply(&JoinGroupResponse {
        error_code,
        protocol_name: if cx.version >= NULL_PROTOCOL_FROM {
            None
        } else {
            Some("")
        },
        member_id,
        ..JoinGroupResponse::default()
    })
}
