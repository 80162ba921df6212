//! The cluster and its brokers.

use wire::messages::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use wire::messages::elect_leaders::TopicPartitions;
use wire::messages::update_features::FeatureUpdateKey;

use super::*;

pub(super) fn cases() -> Vec<Case> {
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
