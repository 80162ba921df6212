//! ElectLeaders (key 43), versions 0-2.
//!
//! - A partition has one replica, its owner, which is its preferred leader (KIP-183) and the only
//!   eligible one (KIP-460). So where it is led ELECTION_NOT_NEEDED is answered, and where it is not
//!   PREFERRED_LEADER_NOT_AVAILABLE or, for an unclean election, ELIGIBLE_LEADERS_NOT_AVAILABLE: the
//!   cluster finds a new owner by itself, and the client asks again.
//! - UNKNOWN_TOPIC_OR_PARTITION; INVALID_REQUEST for another kind of election.
//! - Without a list all partitions are meant; those that need no election are left out then, as in
//!   Kafka.
//!
//! - Needs ALTER on the cluster: CLUSTER_AUTHORIZATION_FAILED.
//!
//! Left out: nothing. The timeout does not matter, since nothing is waited for.

use security::acl::Operation;
use segment::PartitionIndex;
use wire::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
    TopicPartitions,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};
use crate::metadata::Metadata;
use crate::partition::PartitionHandle;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 2 };

const NOT_NEEDED: &str = "Leader election not needed for topic partition.";

/// Kinds of election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Election {
    Preferred,
    Unclean,
}

/// Why a partition has no new leader.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal(ErrorCode, String);

pub(crate) async fn handle(cx: &RequestContext, request: ElectLeadersRequest<'_>) -> Reply {
    if let Err((code, text)) = cx.authorize_cluster(Operation::Alter) {
        return refuse(cx, &request, code, text);
    }
    let election = match request.election_type {
        0 => Election::Preferred,
        1 => Election::Unclean,
        unknown => return unknown_election(cx, &request, unknown),
    };
    let metadata = cx.shard.metadata();
    let outcomes = match &request.topic_partitions {
        Some(topics) => asked(&metadata, topics, election),
        None => all(&metadata, election),
    };
    answer(cx, ErrorCode::NONE, &outcomes)
}

/// Topics with the refusals of their partitions, by index.
type Outcomes<'a> = Vec<(&'a str, Vec<(i32, Refusal)>)>;

fn asked<'a>(
    metadata: &Metadata,
    topics: &[TopicPartitions<'a>],
    election: Election,
) -> Outcomes<'a> {
    let topics = topics.iter().map(|asked| {
        let found = metadata.topic(asked.topic);
        let elect = |index: &i32| {
            let unknown = |text| Refusal(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, text);
            let name = asked.topic;
            let refusal = match found {
                None => unknown(format!("No such topic as {name}")),
                Some(topic) => match topic.partition(PartitionIndex::new(*index)) {
                    None => unknown(format!("No such partition as {name}-{index}")),
                    Some(handle) => refusal(metadata, handle, election),
                },
            };
            (*index, refusal)
        };
        (asked.topic, asked.partitions.iter().map(elect).collect())
    });
    topics.collect()
}

fn all(metadata: &Metadata, election: Election) -> Outcomes<'_> {
    let topics = metadata.topics().map(|topic| {
        let partitions = topic.partitions.iter().map(|handle| {
            let index = handle.id.partition.get();
            (index, refusal(metadata, handle, election))
        });
        let needed = partitions.filter(|(_, it)| it.0 != ErrorCode::ELECTION_NOT_NEEDED);
        (topic.name.as_str(), needed.collect())
    });
    topics.collect()
}

fn refusal(metadata: &Metadata, handle: &PartitionHandle, election: Election) -> Refusal {
    let (code, text) = match (metadata.live_leader(handle), election) {
        (Some(_), _) => (ErrorCode::ELECTION_NOT_NEEDED, NOT_NEEDED),
        (None, Election::Preferred) => (
            ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE,
            "The preferred leader was not available.",
        ),
        (None, Election::Unclean) => (
            ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE,
            "Eligible topic partition leaders are not available.",
        ),
    };
    Refusal(code, text.to_owned())
}

fn unknown_election(cx: &RequestContext, request: &ElectLeadersRequest<'_>, kind: i8) -> Reply {
    let text = format!("Unknown election type {kind}");
    refuse(cx, request, ErrorCode::INVALID_REQUEST, &text)
}

/// Refuses the whole, and each partition that it names.
fn refuse(
    cx: &RequestContext,
    request: &ElectLeadersRequest<'_>,
    code: ErrorCode,
    text: &str,
) -> Reply {
    let topics = request.topic_partitions.iter().flatten().map(|topic| {
        let refused = topic.partitions.iter();
        let refused = refused.map(|index| (*index, Refusal(code, text.to_owned())));
        (topic.topic, refused.collect())
    });
    cx.failed(code);
    answer(cx, code, &topics.collect())
}

fn answer(cx: &RequestContext, error_code: ErrorCode, outcomes: &Outcomes<'_>) -> Reply {
    let results = outcomes
        .iter()
        .map(|(topic, partitions)| ReplicaElectionResult {
            topic,
            partition_result: partitions
                .iter()
                .map(|it| partition_result(cx, it))
                .collect(),
        });
    cx.reply(&ElectLeadersResponse {
        error_code,
        replica_election_results: results.collect(),
        ..ElectLeadersResponse::default()
    })
}

fn partition_result<'a>(
    cx: &RequestContext,
    (partition_id, Refusal(error_code, text)): &'a (i32, Refusal),
) -> PartitionResult<'a> {
    cx.failed(*error_code);
    PartitionResult {
        partition_id: *partition_id,
        error_code: *error_code,
        error_message: Some(text),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use segment::{BrokerId, TopicId, TopicName, TopicPartition};

    use super::*;
    use crate::metadata::Topic;
    use crate::shard::ShardId;
    use crate::topic_config::TopicConfig;

    /// A cluster whose one topic has two partitions that nobody leads.
    fn leaderless() -> Metadata {
        let id = TopicId::new([7; 16]);
        let handle = |index| {
            let id = TopicPartition::new(id, PartitionIndex::new(index));
            Arc::new(PartitionHandle::new(id, ShardId(0)))
        };
        let topic = Topic {
            name: TopicName::new("t").unwrap(),
            id,
            generation: 0,
            config: TopicConfig::default(),
            partitions: vec![handle(0), handle(1)],
        };
        let broker = BrokerId::new(0);
        Metadata::new("c".to_owned(), broker, Vec::new(), [Arc::new(topic)])
    }

    fn codes(outcomes: Outcomes<'_>) -> Vec<(i32, ErrorCode)> {
        let rows = outcomes.into_iter().flat_map(|(_, rows)| rows);
        rows.map(|(index, refusal)| (index, refusal.0)).collect()
    }

    #[test]
    fn without_an_owner_each_election_says_which_leader_is_missing() {
        let metadata = leaderless();
        for (election, code) in [
            (
                Election::Preferred,
                ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE,
            ),
            (Election::Unclean, ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE),
        ] {
            let expected = vec![(0, code), (1, code)];
            assert_eq!(codes(all(&metadata, election)), expected);
            let topics = [TopicPartitions {
                topic: "t",
                partitions: vec![0, 1],
            }];
            assert_eq!(codes(asked(&metadata, &topics, election)), expected);
        }
    }
}
