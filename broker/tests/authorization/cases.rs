//! Every API that is served: what is asked, which rules it needs, and what is answered with and without them.

use security::acl::{CLUSTER, Operation, ResourceType};
use wire::messages::alter_client_quotas as alter_quotas;
use wire::messages::alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::messages::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use wire::messages::alter_user_scram_credentials::ScramCredentialDeletion;
use wire::messages::create_acls::AclCreation;
use wire::messages::create_partitions::CreatePartitionsTopic;
use wire::messages::create_topics::CreatableTopic;
use wire::messages::delete_acls::DeleteAclsFilter;
use wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::delete_topics::DeleteTopicState;
use wire::messages::describe_configs::DescribeConfigsResource;
use wire::messages::describe_producers;
use wire::messages::describe_topic_partitions;
use wire::messages::elect_leaders::TopicPartitions;
use wire::messages::incremental_alter_configs as incremental;
use wire::messages::join_group::JoinGroupRequestProtocol;
use wire::messages::leave_group::MemberIdentity;
use wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::metadata::MetadataRequestTopic;
use wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use wire::messages::update_features::FeatureUpdateKey;
use wire::messages::*;
use wire::{ApiKey, ErrorCode, Float64, Uuid};

use super::common::{Connection, Fetch, Topic, Wanted, batch, produce_request};

/// What requests name.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) topic: Topic,
    pub(crate) group: &'static str,
}

/// Codes of an answer, and its bytes.
pub(crate) type Answer = (Vec<ErrorCode>, Vec<u8>);

/// On what a rule is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Topic,
    Group,
    Cluster,
    /// Of the group's name.
    TransactionalId,
}

impl On {
    pub(crate) fn resource(self) -> ResourceType {
        match self {
            Self::Topic => ResourceType::Topic,
            Self::Group => ResourceType::Group,
            Self::Cluster => ResourceType::Cluster,
            Self::TransactionalId => ResourceType::TransactionalId,
        }
    }

    pub(crate) fn name(self, names: &Names) -> String {
        match self {
            Self::Topic => names.topic.name.clone(),
            Self::Cluster => CLUSTER.to_owned(),
            Self::Group | Self::TransactionalId => names.group.to_owned(),
        }
    }

    pub(crate) fn denial(self) -> ErrorCode {
        match self {
            Self::Topic => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            Self::Group => ErrorCode::GROUP_AUTHORIZATION_FAILED,
            Self::Cluster => ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
            Self::TransactionalId => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        }
    }
}

/// One row of the matrix.
pub(crate) struct Case {
    pub(crate) api: ApiKey,
    pub(crate) what: &'static str,
    pub(crate) ask: fn(&mut Connection, &Names) -> Answer,
    /// All of them are needed; none where everybody is answered.
    pub(crate) needs: Vec<(On, Operation)>,
    /// The code without any of them.
    pub(crate) denied: ErrorCode,
    /// The code with all of them.
    pub(crate) allowed: ErrorCode,
    /// Whether it names what exists when it is allowed: else it would be gone.
    pub(crate) is_harmless: bool,
    /// Whether topics are named by id: an unknown id is unknown to everybody.
    pub(crate) is_by_id: bool,
}

/// APIs that anybody may ask, before and after it is known who that is.
pub(crate) const FOR_ALL: [ApiKey; 3] = [
    ApiKey::SaslHandshake,
    ApiKey::SaslAuthenticate,
    ApiKey::ApiVersions,
];

macro_rules! ask {
    ($connection:expr, $version:expr, $kind:ty, $request:expr, |$response:ident| $codes:expr) => {{
        let body = $connection.call($version, &$request);
        let (_, $response) = wire::decode_response::<$kind>(&body, $version).unwrap();
        let codes: Vec<ErrorCode> = $codes;
        (codes, body)
    }};
}

fn case(
    api: ApiKey,
    what: &'static str,
    needs: &[(On, Operation)],
    allowed: ErrorCode,
    ask: fn(&mut Connection, &Names) -> Answer,
) -> Case {
    Case {
        api,
        what,
        ask,
        needs: needs.to_vec(),
        denied: needs.first().map_or(allowed, |(on, _)| on.denial()),
        allowed,
        is_harmless: true,
        is_by_id: what.ends_with("by id"),
    }
}

use ErrorCode as E;
use On::{Cluster, Group, TransactionalId};
use Operation as O;

const T: On = On::Topic;

pub(crate) fn cases() -> Vec<Case> {
    let mut all = data();
    all.extend(groups());
    all.extend(topics());
    all.extend(settings());
    all.extend(cluster());
    all.extend(security_apis());
    all
}

fn data() -> Vec<Case> {
    vec![
        case(
            ApiKey::Produce,
            "by name",
            &[(T, O::Write)],
            E::NONE,
            |c, n| {
                let batch = batch(&[b"x"]);
                let request = produce_request(&n.topic, 0, &batch, super::common::PRODUCE_TIMEOUT);
                ask!(c, 9, ProduceRequest<'_>, request, |r| vec![
                    r.responses[0].partition_responses[0].error_code
                ])
            },
        ),
        case(
            ApiKey::Produce,
            "by id",
            &[(T, O::Write)],
            E::NONE,
            |c, n| {
                let batch = batch(&[b"x"]);
                let request = produce_request(&n.topic, 0, &batch, super::common::PRODUCE_TIMEOUT);
                ask!(c, 13, ProduceRequest<'_>, request, |r| vec![
                    r.responses[0].partition_responses[0].error_code
                ])
            },
        ),
        Case {
            denied: E::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            ..case(
                ApiKey::Produce,
                "with a transactional id",
                &[(TransactionalId, O::Write)],
                E::INVALID_TXN_STATE,
                |c, n| {
                    let batch = batch(&[b"x"]);
                    let request = ProduceRequest {
                        transactional_id: Some(n.group),
                        ..produce_request(&n.topic, 0, &batch, super::common::PRODUCE_TIMEOUT)
                    };
                    ask!(c, 9, ProduceRequest<'_>, request, |r| vec![
                        r.responses[0].partition_responses[0].error_code
                    ])
                },
            )
        },
        case(
            ApiKey::Fetch,
            "by name",
            &[(T, O::Read)],
            E::NONE,
            |c, n| fetch(c, n, 12),
        ),
        case(ApiKey::Fetch, "by id", &[(T, O::Read)], E::NONE, |c, n| {
            fetch(c, n, 16)
        }),
        case(
            ApiKey::ListOffsets,
            "",
            &[(T, O::Describe)],
            E::NONE,
            |c, n| {
                let partition = ListOffsetsPartition {
                    timestamp: -1,
                    ..ListOffsetsPartition::default()
                };
                let topic = ListOffsetsTopic {
                    name: &n.topic.name,
                    partitions: vec![partition],
                };
                let request = ListOffsetsRequest {
                    replica_id: -1,
                    topics: vec![topic],
                    ..ListOffsetsRequest::default()
                };
                ask!(c, 7, ListOffsetsRequest<'_>, request, |r| vec![
                    r.topics[0].partitions[0].error_code
                ])
            },
        ),
        epoch("as a consumer", &[(T, O::Describe)]),
        epoch("as a broker", &[(Cluster, O::ClusterAction)]),
        case(
            ApiKey::DeleteRecords,
            "",
            &[(T, O::Delete)],
            E::NONE,
            |c, n| {
                let partition = DeleteRecordsPartition {
                    partition_index: 1,
                    offset: -1,
                };
                let topic = DeleteRecordsTopic {
                    name: &n.topic.name,
                    partitions: vec![partition],
                };
                let request = DeleteRecordsRequest {
                    topics: vec![topic],
                    timeout_ms: 15_000,
                };
                ask!(c, 2, DeleteRecordsRequest<'_>, request, |r| vec![
                    r.topics[0].partitions[0].error_code
                ])
            },
        ),
        producer_id("of the cluster", (Cluster, O::IdempotentWrite)),
        producer_id("of a topic", (T, O::Write)),
        case(
            ApiKey::DescribeProducers,
            "",
            &[(T, O::Read)],
            E::NONE,
            |c, n| {
                let topic = describe_producers::TopicRequest {
                    name: &n.topic.name,
                    partition_indexes: vec![0],
                };
                let request = DescribeProducersRequest {
                    topics: vec![topic],
                };
                ask!(c, 0, DescribeProducersRequest<'_>, request, |r| vec![
                    r.topics[0].partitions[0].error_code
                ])
            },
        ),
        case(
            ApiKey::DescribeTransactions,
            "",
            &[(TransactionalId, O::Describe)],
            E::TRANSACTIONAL_ID_NOT_FOUND,
            |c, n| {
                let request = DescribeTransactionsRequest {
                    transactional_ids: vec![n.group],
                };
                ask!(c, 0, DescribeTransactionsRequest<'_>, request, |r| vec![
                    r.transaction_states[0].error_code
                ])
            },
        ),
        case(ApiKey::ListTransactions, "", &[], E::NONE, |c, _| {
            let request = ListTransactionsRequest::default();
            ask!(c, 1, ListTransactionsRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
    ]
}

fn fetch(c: &mut Connection, n: &Names, version: i16) -> Answer {
    let fetch = Fetch::of(vec![Wanted::new(&n.topic, 0, 0)]).version(version);
    ask!(c, version, FetchRequest<'_>, fetch.request(), |r| vec![
        r.responses[0].partitions[0].error_code
    ])
}

fn epoch(what: &'static str, needs: &[(On, Operation)]) -> Case {
    let ask = |c: &mut Connection, n: &Names| {
        let topic = OffsetForLeaderTopic {
            topic: &n.topic.name,
            partitions: vec![OffsetForLeaderPartition::default()],
        };
        let request = OffsetForLeaderEpochRequest {
            topics: vec![topic],
            ..OffsetForLeaderEpochRequest::default()
        };
        ask!(c, 3, OffsetForLeaderEpochRequest<'_>, request, |r| vec![
            r.topics[0].partitions[0].error_code
        ])
    };
    Case {
        denied: E::TOPIC_AUTHORIZATION_FAILED,
        ..case(ApiKey::OffsetForLeaderEpoch, what, needs, E::NONE, ask)
    }
}

fn producer_id(what: &'static str, need: (On, Operation)) -> Case {
    let ask = |c: &mut Connection, _: &Names| {
        let request = InitProducerIdRequest::default();
        ask!(c, 4, InitProducerIdRequest<'_>, request, |r| vec![
            r.error_code
        ])
    };
    Case {
        denied: E::CLUSTER_AUTHORIZATION_FAILED,
        ..case(ApiKey::InitProducerId, what, &[need], E::NONE, ask)
    }
}

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

fn groups() -> Vec<Case> {
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

/// Metadata of a topic, or of all; nothing is created.
pub(crate) fn metadata(
    c: &mut Connection,
    version: i16,
    topic: Option<(Option<&str>, Uuid)>,
) -> Answer {
    let topic = topic.map(|(name, topic_id)| vec![MetadataRequestTopic { topic_id, name }]);
    let request = MetadataRequest {
        topics: topic,
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    ask!(c, version, MetadataRequest<'_>, request, |r| {
        r.topics.iter().map(|topic| topic.error_code).collect()
    })
}

fn topics() -> Vec<Case> {
    let see = [(T, O::Describe)];
    vec![
        case(ApiKey::Metadata, "by name", &see, E::NONE, |c, n| {
            metadata(c, 9, Some((Some(&n.topic.name), Uuid::ZERO)))
        }),
        case(ApiKey::Metadata, "by id", &see, E::NONE, |c, n| {
            metadata(c, 12, Some((None, n.topic.id)))
        }),
        case(
            ApiKey::DescribeTopicPartitions,
            "",
            &see,
            E::NONE,
            |c, n| {
                let topic = describe_topic_partitions::TopicRequest {
                    name: &n.topic.name,
                };
                let request = DescribeTopicPartitionsRequest {
                    topics: vec![topic],
                    ..DescribeTopicPartitionsRequest::default()
                };
                ask!(c, 0, DescribeTopicPartitionsRequest<'_>, request, |r| vec![
                    r.topics[0].error_code
                ])
            },
        ),
        Case {
            is_harmless: false,
            ..create_topic("with leave for the topic", (T, O::Create))
        },
        Case {
            is_harmless: false,
            ..create_topic("with leave for the cluster", (Cluster, O::Create))
        },
        Case {
            is_harmless: false,
            ..delete_topic("by name", (T, O::Delete), |c, n| {
                let request = DeleteTopicsRequest {
                    topic_names: vec![&n.topic.name],
                    timeout_ms: 15_000,
                    ..DeleteTopicsRequest::default()
                };
                ask!(c, 5, DeleteTopicsRequest<'_>, request, |r| vec![
                    r.responses[0].error_code
                ])
            })
        },
        Case {
            is_harmless: false,
            ..delete_topic(
                "with leave for the cluster",
                (Cluster, O::Delete),
                |c, n| {
                    let state = DeleteTopicState {
                        name: Some(&n.topic.name),
                        topic_id: Uuid::ZERO,
                    };
                    let request = DeleteTopicsRequest {
                        topics: vec![state],
                        timeout_ms: 15_000,
                        ..DeleteTopicsRequest::default()
                    };
                    ask!(c, 6, DeleteTopicsRequest<'_>, request, |r| vec![
                        r.responses[0].error_code
                    ])
                },
            )
        },
        case(
            ApiKey::CreatePartitions,
            "",
            &[(T, O::Alter)],
            E::NONE,
            |c, n| {
                let topic = CreatePartitionsTopic {
                    name: &n.topic.name,
                    count: 5,
                    ..CreatePartitionsTopic::default()
                };
                let request = CreatePartitionsRequest {
                    topics: vec![topic],
                    timeout_ms: 15_000,
                    validate_only: true,
                };
                ask!(c, 2, CreatePartitionsRequest<'_>, request, |r| vec![
                    r.results[0].error_code
                ])
            },
        ),
    ]
}

fn create_topic(what: &'static str, need: (On, Operation)) -> Case {
    let ask = |c: &mut Connection, n: &Names| {
        let topic = CreatableTopic {
            name: &n.topic.name,
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 15_000,
            validate_only: true,
        };
        ask!(c, 6, CreateTopicsRequest<'_>, request, |r| vec![
            r.topics[0].error_code
        ])
    };
    Case {
        denied: E::TOPIC_AUTHORIZATION_FAILED,
        ..case(ApiKey::CreateTopics, what, &[need], E::NONE, ask)
    }
}

fn delete_topic(
    what: &'static str,
    need: (On, Operation),
    ask: fn(&mut Connection, &Names) -> Answer,
) -> Case {
    let allowed = E::UNKNOWN_TOPIC_OR_PARTITION;
    Case {
        denied: E::TOPIC_AUTHORIZATION_FAILED,
        ..case(ApiKey::DeleteTopics, what, &[need], allowed, ask)
    }
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

fn settings() -> Vec<Case> {
    let (see, change) = (O::DescribeConfigs, O::AlterConfigs);
    vec![
        case(
            ApiKey::DescribeConfigs,
            "of a topic",
            &[(T, see)],
            E::NONE,
            |c, n| describe_configs(c, TOPIC, &n.topic.name),
        ),
        case(
            ApiKey::DescribeConfigs,
            "of a group",
            &[(Group, see)],
            E::NONE,
            |c, n| describe_configs(c, GROUP, n.group),
        ),
        case(
            ApiKey::DescribeConfigs,
            "of a broker",
            &[(Cluster, see)],
            E::NONE,
            |c, _| describe_configs(c, BROKER, "0"),
        ),
        case(
            ApiKey::AlterConfigs,
            "of a topic",
            &[(T, change)],
            E::NONE,
            |c, n| alter_configs(c, TOPIC, &n.topic.name),
        ),
        case(
            ApiKey::AlterConfigs,
            "of a group",
            &[(Group, change)],
            E::INVALID_REQUEST,
            |c, n| alter_configs(c, GROUP, n.group),
        ),
        case(
            ApiKey::AlterConfigs,
            "of a broker",
            &[(Cluster, change)],
            E::INVALID_REQUEST,
            |c, _| alter_configs(c, BROKER, "0"),
        ),
        case(
            ApiKey::IncrementalAlterConfigs,
            "of a topic",
            &[(T, change)],
            E::NONE,
            |c, n| incremental(c, TOPIC, &n.topic.name),
        ),
        case(
            ApiKey::IncrementalAlterConfigs,
            "of a broker",
            &[(Cluster, change)],
            E::INVALID_REQUEST,
            |c, _| incremental(c, BROKER, "0"),
        ),
        case(
            ApiKey::ListConfigResources,
            "",
            &[(Cluster, see)],
            E::NONE,
            |c, _| {
                let request = ListConfigResourcesRequest::default();
                ask!(c, 1, ListConfigResourcesRequest, request, |r| vec![
                    r.error_code
                ])
            },
        ),
        case(
            ApiKey::DescribeClientQuotas,
            "",
            &[(Cluster, see)],
            E::NONE,
            |c, _| {
                let request = DescribeClientQuotasRequest::default();
                ask!(c, 1, DescribeClientQuotasRequest<'_>, request, |r| vec![
                    r.error_code
                ])
            },
        ),
        case(
            ApiKey::AlterClientQuotas,
            "",
            &[(Cluster, change)],
            E::NONE,
            |c, _| {
                let entity = alter_quotas::EntityData {
                    entity_type: "user",
                    entity_name: Some("u"),
                };
                let op = alter_quotas::OpData {
                    key: "producer_byte_rate",
                    value: Float64::new(1e6),
                    remove: false,
                };
                let entry = alter_quotas::RequestEntryData {
                    entity: vec![entity],
                    ops: vec![op],
                };
                let request = AlterClientQuotasRequest {
                    entries: vec![entry],
                    validate_only: true,
                };
                ask!(c, 1, AlterClientQuotasRequest<'_>, request, |r| vec![
                    r.entries[0].error_code
                ])
            },
        ),
    ]
}

fn describe_configs(c: &mut Connection, resource_type: i8, resource_name: &str) -> Answer {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name,
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        ..DescribeConfigsRequest::default()
    };
    ask!(c, 4, DescribeConfigsRequest<'_>, request, |r| vec![
        r.results[0].error_code
    ])
}

fn alter_configs(c: &mut Connection, resource_type: i8, resource_name: &str) -> Answer {
    let config = AlterableConfig {
        name: "retention.ms",
        value: Some("1000000"),
    };
    let resource = AlterConfigsResource {
        resource_type,
        resource_name,
        configs: vec![config],
    };
    let request = AlterConfigsRequest {
        resources: vec![resource],
        validate_only: true,
    };
    ask!(c, 2, AlterConfigsRequest<'_>, request, |r| vec![
        r.responses[0].error_code
    ])
}

fn incremental(c: &mut Connection, resource_type: i8, resource_name: &str) -> Answer {
    let config = incremental::AlterableConfig {
        name: "retention.ms",
        config_operation: 0,
        value: Some("1000000"),
    };
    let resource = incremental::AlterConfigsResource {
        resource_type,
        resource_name,
        configs: vec![config],
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![resource],
        validate_only: true,
    };
    ask!(c, 1, IncrementalAlterConfigsRequest<'_>, request, |r| vec![
        r.responses[0].error_code
    ])
}

fn cluster() -> Vec<Case> {
    let (see, change) = ([(Cluster, O::Describe)], [(Cluster, O::Alter)]);
    vec![
        case(ApiKey::DescribeCluster, "", &[], E::NONE, |c, _| {
            let request = DescribeClusterRequest::default();
            ask!(c, 0, DescribeClusterRequest, request, |r| vec![
                r.error_code
            ])
        }),
        case(ApiKey::DescribeLogDirs, "", &see, E::NONE, |c, _| {
            let request = DescribeLogDirsRequest { topics: None };
            ask!(c, 4, DescribeLogDirsRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
        case(
            ApiKey::ElectLeaders,
            "",
            &change,
            E::ELECTION_NOT_NEEDED,
            |c, n| {
                let topic = TopicPartitions {
                    topic: &n.topic.name,
                    partitions: vec![0],
                };
                let request = ElectLeadersRequest {
                    topic_partitions: Some(vec![topic]),
                    ..ElectLeadersRequest::default()
                };
                ask!(c, 2, ElectLeadersRequest<'_>, request, |r| vec![
                    r.replica_election_results[0].partition_result[0].error_code
                ])
            },
        ),
        case(
            ApiKey::AlterPartitionReassignments,
            "",
            &change,
            E::NO_REASSIGNMENT_IN_PROGRESS,
            |c, n| {
                let topic = ReassignableTopic {
                    name: &n.topic.name,
                    partitions: vec![ReassignablePartition::default()],
                };
                let request = AlterPartitionReassignmentsRequest {
                    topics: vec![topic],
                    ..AlterPartitionReassignmentsRequest::default()
                };
                ask!(
                    c,
                    0,
                    AlterPartitionReassignmentsRequest<'_>,
                    request,
                    |r| vec![r.responses[0].partitions[0].error_code]
                )
            },
        ),
        case(
            ApiKey::ListPartitionReassignments,
            "",
            &see,
            E::NONE,
            |c, _| {
                let request = ListPartitionReassignmentsRequest::default();
                ask!(
                    c,
                    0,
                    ListPartitionReassignmentsRequest<'_>,
                    request,
                    |r| vec![r.error_code]
                )
            },
        ),
        case(ApiKey::UpdateFeatures, "", &change, E::NONE, |c, _| {
            let update = FeatureUpdateKey {
                feature: "group.version",
                max_version_level: 0,
                ..FeatureUpdateKey::default()
            };
            let request = UpdateFeaturesRequest {
                feature_updates: vec![update],
                ..UpdateFeaturesRequest::default()
            };
            ask!(c, 1, UpdateFeaturesRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
        case(
            ApiKey::UnregisterBroker,
            "",
            &change,
            E::BROKER_ID_NOT_REGISTERED,
            |c, _| {
                let request = UnregisterBrokerRequest { broker_id: 77 };
                ask!(c, 0, UnregisterBrokerRequest, request, |r| vec![
                    r.error_code
                ])
            },
        ),
    ]
}

fn security_apis() -> Vec<Case> {
    let (see, change) = ([(Cluster, O::Describe)], [(Cluster, O::Alter)]);
    let tokens = E::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED;
    vec![
        case(ApiKey::DescribeAcls, "", &see, E::NONE, |c, _| {
            let request = DescribeAclsRequest {
                resource_type_filter: 1,
                resource_name_filter: None,
                pattern_type_filter: 1,
                principal_filter: Some("User:nobody"),
                host_filter: None,
                operation: 1,
                permission_type: 1,
            };
            ask!(c, 2, DescribeAclsRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
        case(ApiKey::CreateAcls, "", &change, E::NONE, |c, _| {
            let creation = AclCreation {
                resource_type: 2,
                resource_name: "t",
                resource_pattern_type: 3,
                principal: "User:nobody",
                host: "*",
                operation: 3,
                permission_type: 3,
            };
            let request = CreateAclsRequest {
                creations: vec![creation],
            };
            ask!(c, 2, CreateAclsRequest<'_>, request, |r| vec![
                r.results[0].error_code
            ])
        }),
        case(ApiKey::DeleteAcls, "", &change, E::NONE, |c, _| {
            let filter = DeleteAclsFilter {
                resource_type_filter: 1,
                resource_name_filter: None,
                pattern_type_filter: 1,
                principal_filter: Some("User:nobody"),
                host_filter: None,
                operation: 1,
                permission_type: 1,
            };
            let request = DeleteAclsRequest {
                filters: vec![filter],
            };
            ask!(c, 2, DeleteAclsRequest<'_>, request, |r| vec![
                r.filter_results[0].error_code
            ])
        }),
        case(
            ApiKey::DescribeUserScramCredentials,
            "",
            &see,
            E::NONE,
            |c, _| {
                let request = DescribeUserScramCredentialsRequest { users: None };
                ask!(
                    c,
                    0,
                    DescribeUserScramCredentialsRequest<'_>,
                    request,
                    |r| vec![r.error_code]
                )
            },
        ),
        case(
            ApiKey::AlterUserScramCredentials,
            "",
            &change,
            E::RESOURCE_NOT_FOUND,
            |c, _| {
                let deletion = ScramCredentialDeletion {
                    name: "nobody",
                    mechanism: 1,
                };
                let request = AlterUserScramCredentialsRequest {
                    deletions: vec![deletion],
                    upsertions: Vec::new(),
                };
                ask!(
                    c,
                    0,
                    AlterUserScramCredentialsRequest<'_>,
                    request,
                    |r| vec![r.results[0].error_code]
                )
            },
        ),
        case(ApiKey::CreateDelegationToken, "", &[], tokens, |c, _| {
            let request = CreateDelegationTokenRequest::default();
            ask!(c, 2, CreateDelegationTokenRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
        case(ApiKey::RenewDelegationToken, "", &[], tokens, |c, _| {
            let request = RenewDelegationTokenRequest::default();
            ask!(c, 2, RenewDelegationTokenRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
        case(ApiKey::ExpireDelegationToken, "", &[], tokens, |c, _| {
            let request = ExpireDelegationTokenRequest::default();
            ask!(c, 2, ExpireDelegationTokenRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
        case(ApiKey::DescribeDelegationToken, "", &[], tokens, |c, _| {
            let request = DescribeDelegationTokenRequest::default();
            ask!(c, 2, DescribeDelegationTokenRequest<'_>, request, |r| vec![
                r.error_code
            ])
        }),
    ]
}
