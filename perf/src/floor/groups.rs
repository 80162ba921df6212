//! Groups as the floor server plays them: every member leads a group of its own, and every heartbeat
//! tells of a rebalance. Nothing is kept.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use wire::messages::delete_groups::DeleteGroupsResponse;
use wire::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use wire::messages::heartbeat::HeartbeatResponse;
use wire::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use wire::messages::leave_group::LeaveGroupResponse;
use wire::messages::sync_group::SyncGroupResponse;
use wire::{ApiKey, ErrorCode, Frame, decode_request};

use super::answers::encode;

/// What is served: key, lowest and highest version.
pub(super) const VERSIONS: &[(ApiKey, i16, i16)] = &[
    (ApiKey::FindCoordinator, 4, 4),
    (ApiKey::JoinGroup, 5, 7),
    (ApiKey::Heartbeat, 3, 4),
    (ApiKey::SyncGroup, 3, 5),
    (ApiKey::LeaveGroup, 3, 4),
    (ApiKey::DeleteGroups, 1, 2),
];
const MEMBER: &str = "member";

pub(super) fn answer(key: ApiKey, version: i16, frame: &[u8], at: SocketAddr) -> Result<Frame> {
    match key {
        ApiKey::FindCoordinator => {
            let (_, request) = decode_request::<FindCoordinatorRequest<'_>>(frame)?;
            let host = at.ip().to_string();
            let found = request.coordinator_keys.iter().map(|key| Coordinator {
                key,
                host: &host,
                port: i32::from(at.port()),
                ..Default::default()
            });
            let response = FindCoordinatorResponse {
                coordinators: found.collect(),
                ..Default::default()
            };
            encode(key, version, &response)
        }
        ApiKey::JoinGroup => {
            let (_, request) = decode_request::<JoinGroupRequest<'_>>(frame)?;
            let mut response = JoinGroupResponse {
                member_id: MEMBER,
                ..Default::default()
            };
            if request.member_id.is_empty() {
                response.error_code = ErrorCode::MEMBER_ID_REQUIRED;
            } else {
                response.generation_id = 1;
                response.leader = MEMBER;
                response.members.push(JoinGroupResponseMember {
                    member_id: MEMBER,
                    ..Default::default()
                });
            }
            encode(key, version, &response)
        }
        ApiKey::Heartbeat => {
            let response = HeartbeatResponse {
                error_code: ErrorCode::REBALANCE_IN_PROGRESS,
                ..Default::default()
            };
            encode(key, version, &response)
        }
        ApiKey::SyncGroup => encode(key, version, &SyncGroupResponse::default()),
        ApiKey::LeaveGroup => encode(key, version, &LeaveGroupResponse::default()),
        ApiKey::DeleteGroups => encode(key, version, &DeleteGroupsResponse::default()),
        _ => bail!("the floor server does not serve {key}"),
    }
}
