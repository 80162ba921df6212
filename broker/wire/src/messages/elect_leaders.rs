//! ElectLeaders: API key 43, versions 0-2. Elects leaders of partitions.
//!
//! v0: KIP-183. v1: kinds of election and the error of the whole request (KIP-460). v2: flexible.
//!
//! Source: `ElectLeadersRequest.json` and `ElectLeadersResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Elects leaders of partitions.
    pub struct ElectLeadersRequest<'a>: versions 0..=2, flexible 2 {
        /// 0: the preferred replica; 1: any live replica where there is no leader. Since v1.
        election_type: i8 = 0, since(1);
        /// Topics, one entry each; null for all partitions.
        topic_partitions: Option<Vec<TopicPartitions<'a>>> = Some(Vec::new()), since(0).nullable(0);
        /// How long the broker may take, in ms.
        timeout_ms: i32 = 60_000, since(0);
    }
}

part! {
    /// One entry of [`ElectLeadersRequest::topic_partitions`].
    pub struct TopicPartitions<'a> {
        /// Name of the topic.
        topic: &'a str = "", since(0);
        /// Its partitions, by index.
        partitions: Vec<i32> = Vec::new(), since(0);
    }
}

message! {
    /// Answers [`ElectLeadersRequest`].
    pub struct ElectLeadersResponse<'a>: versions 0..=2, flexible 2 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome of the whole request; 0 is success. Since v1.
        error_code: ErrorCode = ErrorCode::NONE, since(1);
        /// Outcomes, one entry for each topic.
        replica_election_results: Vec<ReplicaElectionResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ElectLeadersResponse::replica_election_results`].
    pub struct ReplicaElectionResult<'a> {
        /// Name of the topic.
        topic: &'a str = "", since(0);
        /// Its partitions, one entry each.
        partition_result: Vec<PartitionResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ReplicaElectionResult::partition_result`].
    pub struct PartitionResult<'a> {
        /// Index of the partition.
        partition_id: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = Some(""), since(0).nullable(0);
    }
}
