//! LeaveGroup (key 13), versions 0-5.
//!
//! - v0-2: one member; its error is that of the reply. v3: several members, also static ones by
//!   their instance id alone, each with an error of its own (KIP-345). v5: a reason, for the log
//!   (KIP-800).
//! - Members that leave are forgotten at once, and at most one rebalance follows.
//!
//! - Needs READ on the group: GROUP_AUTHORIZATION_FAILED.
//!
//! Left out: nothing.

use coord::groups::{
    GroupId, InstanceId, LeaveMember, LeaveReply, LeaveRequest, MemberId, Reply as GroupReply,
};
use security::acl::{Operation, ResourceType};
use wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 5 };
/// First version with several members.
const SEVERAL_FROM: i16 = 3;

pub(crate) async fn handle(cx: &RequestContext, request: LeaveGroupRequest<'_>) -> Reply {
    if let Err(code) = cx.authorize(Operation::Read, ResourceType::Group, request.group_id) {
        return answer(cx, code, &[]);
    }
    let leave = LeaveRequest {
        group: GroupId::from(request.group_id),
        members: members(cx.version, &request),
    };
    let call = cx
        .shard
        .group_call(request.group_id, |coordinator, token, now, out| {
            coordinator.leave(leave, token, now, out);
        });
    let (error_code, replies) = match call.await {
        Ok(GroupReply::Leave(Ok(replies))) => (ErrorCode::NONE, replies),
        Ok(GroupReply::Leave(Err(error))) => (error::group_code(error), Vec::new()),
        Ok(_) => unreachable!("a leave is answered as one"),
        Err(error) => (error::unavailable_code(error), Vec::new()),
    };
    answer(cx, error_code, &replies)
}

fn members(version: i16, request: &LeaveGroupRequest<'_>) -> Vec<LeaveMember> {
    if version < SEVERAL_FROM {
        let member = MemberId::from(request.member_id);
        return vec![LeaveMember {
            member,
            instance: None,
            reason: None,
        }];
    }
    let members = request.members.iter().map(|named| LeaveMember {
        member: MemberId::from(named.member_id),
        instance: named.group_instance_id.map(InstanceId::from),
        reason: named.reason.map(Into::into),
    });
    members.collect()
}

fn answer(cx: &RequestContext, error_code: ErrorCode, replies: &[LeaveReply]) -> Reply {
    let codes = replies
        .iter()
        .map(|reply| error::group_result(reply.result));
    let failed = codes
        .clone()
        .chain([error_code])
        .filter(|code| *code != ErrorCode::NONE);
    failed.for_each(|code| cx.failed(code));
    if cx.version < SEVERAL_FROM {
        let own = codes.clone().next().unwrap_or(error_code);
        return cx.reply(&LeaveGroupResponse {
            error_code: own,
            ..LeaveGroupResponse::default()
        });
    }
    let members = replies
        .iter()
        .zip(codes)
        .map(|(reply, error_code)| MemberResponse {
            member_id: reply.member.as_str(),
            group_instance_id: reply.instance.as_ref().map(InstanceId::as_str),
            error_code,
        });
    cx.reply(&LeaveGroupResponse {
        error_code,
        members: members.collect(),
        ..LeaveGroupResponse::default()
    })
}
