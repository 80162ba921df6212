//! Topics: what is told of them, and what makes and deletes them.

use wire::messages::create_partitions::CreatePartitionsTopic;
use wire::messages::create_topics::CreatableTopic;
use wire::messages::delete_topics::DeleteTopicState;
use wire::messages::describe_topic_partitions;
use wire::messages::metadata::MetadataRequestTopic;

use super::*;

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

pub(super) fn cases() -> Vec<Case> {
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
