//! Groups, their offsets and coordinators.

use wire::messages::join_group::JoinGroupRequestProtocol;
use wire::messages::leave_group::MemberIdentity;
use wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};

use super::*;

fn commit(c: &mut Connection, n: &Names, version: i16) -> Answer {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        ..OffsetCommitRequestPartition::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: &n.topic.name,
        topic_id: n.topic.id,
        partitions: vec![partition(0), partition(1)],
    };
    let request = OffsetCommitRequest {
        group_id: n.group,
        topics: vec![topic],
        ..OffsetCommitRequest::default()
    };
    ask!(c, version, OffsetCommitRequest<'_>, request, |r| {
        let rows = r.topics[0].partitions.iter();
        rows.map(|row| row.error_code).collect()
    })
}

/// Commits of both partitions of a topic in a group, for what is asked of them.
pub(crate) fn commit_offsets(c: &mut Connection, n: &Names) {
    assert_eq!(commit(c, n, 9).0, [E::NONE; 2]);
}

pub(crate) fn offsets(c: &mut Connection, n: &Names, version: i16, is_all: bool) -> Answer {
    let topic = OffsetFetchRequestTopics {
        name: &n.topic.name,
        topic_id: n.topic.id,
        partition_indexes: vec![0],
    };
    let group = OffsetFetchRequestGroup {
        group_id: n.group,
        topics: (!is_all).then(|| vec![topic]),
        ..OffsetFetchRequestGroup::default()
    };
    let request = OffsetFetchRequest {
        groups: vec![group],
        ..OffsetFetchRequest::default()
    };
    ask!(c, version, OffsetFetchRequest<'_>, request, |r| {
        let group = &r.groups[0];
        let rows = group.topics.iter().flat_map(|topic| &topic.partitions);
        let codes: Vec<E> = rows.map(|row| row.error_code).collect();
        match group.error_code {
            E::NONE if !codes.is_empty() => codes,
            code => vec![code],
        }
    })
}

pub(super) fn cases() -> Vec<Case> {
    const READ: &[(On, Operation)] = &[(Group, O::Read)];
    let both = [(Group, O::Read), (T, O::Read)];
    let see = [(Group, O::Describe), (T, O::Describe)];
    vec![
        case(ApiKey::OffsetCommit, "by name", &both, E::NONE, |c, n| {
            commit(c, n, 9)
        }),
        case(ApiKey::OffsetCommit, "by id", &both, E::NONE, |c, n| {
            commit(c, n, 10)
        }),
        case(ApiKey::OffsetFetch, "by name", &see, E::NONE, |c, n| {
            offsets(c, n, 9, false)
        }),
        case(ApiKey::OffsetFetch, "by id", &see, E::NONE, |c, n| {
            offsets(c, n, 10, false)
        }),
        case(
            ApiKey::OffsetFetch,
            "all",
            &[(Group, O::Describe)],
            E::NONE,
            |c, n| offsets(c, n, 9, true),
        ),
        case(
            ApiKey::FindCoordinator,
            "of a group",
            &[(Group, O::Describe)],
            E::NONE,
            |c, n| coordinator(c, n, 0),
        ),
        case(
            ApiKey::FindCoordinator,
            "of a transactional id",
            &[(TransactionalId, O::Describe)],
            E::NONE,
            |c, n| coordinator(c, n, 1),
        ),
        case(
            ApiKey::JoinGroup,
            "",
            READ,
            E::MEMBER_ID_REQUIRED,
            |c, n| {
                let protocol = JoinGroupRequestProtocol {
                    name: "range",
                    metadata: b"m",
                };
                let request = JoinGroupRequest {
                    group_id: n.group,
                    session_timeout_ms: 30_000,
                    rebalance_timeout_ms: 30_000,
                    protocol_type: "consumer",
                    protocols: vec![protocol],
                    ..JoinGroupRequest::default()
                };
                ask!(c, 6, JoinGroupRequest<'_>, request, |r| vec![r.error_code])
            },
        ),
        case(ApiKey::SyncGroup, "", READ, E::UNKNOWN_MEMBER_ID, |c, n| {
            let request = SyncGroupRequest {
                group_id: n.group,
                member_id: "m",
                ..SyncGroupRequest::default()
            };
            ask!(c, 3, SyncGroupRequest<'_>, request, |r| vec![r.error_code])
        }),
        case(ApiKey::Heartbeat, "", READ, E::UNKNOWN_MEMBER_ID, |c, n| {
            let request = HeartbeatRequest {
                group_id: n.group,
                member_id: "m",
                ..HeartbeatRequest::default()
            };
            ask!(c, 3, HeartbeatRequest<'_>, request, |r| vec![r.error_code])
        }),
        case(
            ApiKey::LeaveGroup,
            "",
            READ,
            E::UNKNOWN_MEMBER_ID,
            |c, n| {
                let member = MemberIdentity {
                    member_id: "m",
                    ..MemberIdentity::default()
                };
                let request = LeaveGroupRequest {
                    group_id: n.group,
                    members: vec![member],
                    ..LeaveGroupRequest::default()
                };
                ask!(c, 4, LeaveGroupRequest<'_>, request, |r| {
                    let of_member = r.members.first().map(|it| it.error_code);
                    vec![of_member.unwrap_or(r.error_code)]
                })
            },
        ),
        case(
            ApiKey::DescribeGroups,
            "",
            &[(Group, O::Describe)],
            E::NONE,
            |c, n| {
                let request = DescribeGroupsRequest {
                    groups: vec![n.group],
                    ..DescribeGroupsRequest::default()
                };
                ask!(c, 4, DescribeGroupsRequest<'_>, request, |r| vec![
                    r.groups[0].error_code
                ])
            },
        ),
        case(ApiKey::ListGroups, "", &[], E::NONE, |c, _| {
            let request = ListGroupsRequest::default();
            ask!(c, 4, ListGroupsRequest<'_>, request, |r| vec![r.error_code])
        }),
        Case {
            is_harmless: false,
            ..case(
                ApiKey::DeleteGroups,
                "",
                &[(Group, O::Delete)],
                E::GROUP_ID_NOT_FOUND,
                |c, n| {
                    let request = DeleteGroupsRequest {
                        groups_names: vec![n.group],
                    };
                    ask!(c, 2, DeleteGroupsRequest<'_>, request, |r| vec![
                        r.results[0].error_code
                    ])
                },
            )
        },
        case(
            ApiKey::OffsetDelete,
            "",
            &[(Group, O::Delete), (T, O::Read)],
            E::NONE,
            |c, n| {
                let partition = OffsetDeleteRequestPartition { partition_index: 0 };
                let topic = OffsetDeleteRequestTopic {
                    name: &n.topic.name,
                    partitions: vec![partition],
                };
                let request = OffsetDeleteRequest {
                    group_id: n.group,
                    topics: vec![topic],
                };
                ask!(c, 0, OffsetDeleteRequest<'_>, request, |r| {
                    let row = r.topics.first().map(|it| it.partitions[0].error_code);
                    vec![row.unwrap_or(r.error_code)]
                })
            },
        ),
    ]
}

fn coordinator(c: &mut Connection, n: &Names, key_type: i8) -> Answer {
    let request = FindCoordinatorRequest {
        key_type,
        coordinator_keys: vec![n.group],
        ..FindCoordinatorRequest::default()
    };
    ask!(c, 4, FindCoordinatorRequest<'_>, request, |r| vec![
        r.coordinators[0].error_code
    ])
}
