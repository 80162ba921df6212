//! CreatePartitions: API key 37, versions 0-3. Raises the number of partitions of topics.
//!
//! v0: KIP-195. v2: flexible. v3: THROTTLING_QUOTA_EXCEEDED (KIP-599).
//!
//! Source: `CreatePartitionsRequest.json` and `CreatePartitionsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Raises the number of partitions of topics.
    pub struct CreatePartitionsRequest<'a>: versions 0..=3, flexible 2 {
        /// Topics, one entry each.
        topics: Vec<CreatePartitionsTopic<'a>> = Vec::new(), since(0);
        /// How long the broker may take, in ms.
        timeout_ms: i32 = 0, since(0);
        /// Whether only to check the request, and change nothing.
        validate_only: bool = false, since(0);
    }
}

part! {
    /// One entry of [`CreatePartitionsRequest::topics`].
    pub struct CreatePartitionsTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Number of partitions that the topic shall have.
        count: i32 = 0, since(0);
        /// Replicas of each new partition, chosen by hand; null for the broker's choice.
        assignments: Option<Vec<CreatePartitionsAssignment>> = None, since(0).nullable(0);
    }
}

part! {
    /// One entry of [`CreatePartitionsTopic::assignments`].
    pub struct CreatePartitionsAssignment {
        /// Ids of the brokers that hold the replicas.
        broker_ids: Vec<i32> = Vec::new(), since(0);
    }
}

message! {
    /// Answers [`CreatePartitionsRequest`].
    pub struct CreatePartitionsResponse<'a>: versions 0..=3, flexible 2 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcomes, one entry each.
        results: Vec<CreatePartitionsTopicResult<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`CreatePartitionsResponse::results`].
    pub struct CreatePartitionsTopicResult<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
    }
}
