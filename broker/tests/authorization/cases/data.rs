//! Records, and what is asked of partitions.

use wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::describe_producers;
use wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};

use super::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            ApiKey::Produce,
            "by name",
            &[(T, O::Write)],
            E::NONE,
            |c, n| {
                let batch = batch(&[b"x"]);
                let request = produce_request(&n.topic, 0, &batch, crate::common::PRODUCE_TIMEOUT);
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
                let request = produce_request(&n.topic, 0, &batch, crate::common::PRODUCE_TIMEOUT);
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
                        ..produce_request(&n.topic, 0, &batch, crate::common::PRODUCE_TIMEOUT)
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
