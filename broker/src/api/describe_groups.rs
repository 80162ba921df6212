//! DescribeGroups (key 15), versions 0-6.
//!
//! - A group that does not exist has state `Dead` and no error up to v5; from v6 on it is
//!   GROUP_ID_NOT_FOUND with a text (KIP-1043).
//! - The chosen protocol and the members' metadata are shown in state `Stable` only, assignments in
//!   any state.
//! - A group that is named twice is described once: a few bytes of a request are all members of a group in the reply.
//! - v3: authorized operations, all of them where no ACLs decide (KIP-430). v4: static members
//!   (KIP-345).
//!
//! - Needs DESCRIBE on each group: GROUP_AUTHORIZATION_FAILED.
//!
//! Left out: groups of the consumer protocol (KIP-848), which have a request of their own.

use std::collections::HashSet;

use coord::groups::{GroupDescription, InstanceId};
use security::acl::{Operation, ResourceType};
use wire::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error};
use crate::shard::slot_of_group;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 6 };
/// First version in which an unknown group is an error.
const NOT_FOUND_FROM: i16 = 6;
/// Read, delete, describe: the bit of an operation is its number in `AclOperation`.
const GROUP_OPERATIONS: i32 = 0b1_0100_1000;

/// One group of the reply, before it borrows.
struct Found<'a> {
    group: &'a str,
    outcome: Result<Option<GroupDescription>, ErrorCode>,
    message: String,
}

pub(crate) async fn handle(cx: &RequestContext, request: DescribeGroupsRequest<'_>) -> Reply {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let groups = request.groups.iter().copied();
    for group in groups.filter(|group| seen.insert(*group)) {
        cx.next_row().await;
        let name = group.to_owned();
        let may = cx.authorize(Operation::Describe, ResourceType::Group, group);
        let outcome = match may {
            Ok(()) => {
                let read = cx
                    .shard
                    .slot_read(slot_of_group(group), move |slot| slot.describe(&name));
                read.await.map_err(error::unavailable_code)
            }
            Err(code) => Err(code),
        };
        let message = format!("Group {group} not found.");
        found.push(Found {
            group,
            outcome,
            message,
        });
    }
    let groups = found
        .iter()
        .map(|found| described(cx, found))
        .map(|group| DescribedGroup {
            authorized_operations: if request.include_authorized_operations
                && group.error_code == ErrorCode::NONE
            {
                cx.operations(ResourceType::Group, group.group_id, GROUP_OPERATIONS)
            } else {
                i32::MIN
            },
            ..group
        });
    cx.reply(&DescribeGroupsResponse {
        groups: groups.collect(),
        ..DescribeGroupsResponse::default()
    })
}

fn described<'a>(cx: &RequestContext, found: &'a Found<'_>) -> DescribedGroup<'a> {
    let named = || DescribedGroup {
        group_id: found.group,
        ..DescribedGroup::default()
    };
    match &found.outcome {
        Err(error_code) => {
            let error_code = *error_code;
            cx.failed(error_code);
            DescribedGroup {
                error_code,
                ..named()
            }
        }
        Ok(None) if cx.version >= NOT_FOUND_FROM => {
            cx.failed(ErrorCode::GROUP_ID_NOT_FOUND);
            DescribedGroup {
                error_code: ErrorCode::GROUP_ID_NOT_FOUND,
                error_message: Some(&found.message),
                group_state: "Dead",
                ..named()
            }
        }
        Ok(None) => DescribedGroup {
            group_state: "Dead",
            ..named()
        },
        Ok(Some(group)) => DescribedGroup {
            group_state: group.state.as_str(),
            protocol_type: &group.protocol_type,
            protocol_data: &group.protocol_name,
            members: members(group),
            ..named()
        },
    }
}

fn members(group: &GroupDescription) -> Vec<DescribedGroupMember<'_>> {
    let members = group.members.iter().map(|member| DescribedGroupMember {
        member_id: member.member.as_str(),
        group_instance_id: member.instance.as_ref().map(InstanceId::as_str),
        client_id: &member.client_id,
        client_host: &member.client_host,
        member_metadata: &member.metadata,
        member_assignment: &member.assignment,
    });
    members.collect()
}
