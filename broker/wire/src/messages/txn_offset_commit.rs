//! TxnOffsetCommit: API key 28, versions 0-5. Stores a group's offsets within a transaction.
//!
//! v0: KIP-98. v2: leader epochs (KIP-320). v3: flexible; fenced by member and generation
//! (KIP-447). v4: TRANSACTION_ABORTABLE. v5: the group is added to the transaction on the way
//! (KIP-890).
//!
//! Source: `TxnOffsetCommitRequest.json` and `TxnOffsetCommitResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Stores a group's offsets within a transaction.
    pub struct TxnOffsetCommitRequest<'a>: versions 0..=5, flexible 3 {
        /// Name of the transactional producer.
        transactional_id: &'a str = "", since(0);
        /// The group.
        group_id: &'a str = "", since(0);
        /// Id of the producer; -1 if none.
        producer_id: i64 = 0, since(0);
        /// Epoch of the producer id.
        producer_epoch: i16 = 0, since(0);
        /// Generation of the group, which rises with each rebalance. Since v3.
        generation_id: i32 = -1, since(3);
        /// Id that the coordinator gave the member; empty before the first join. Since v3.
        member_id: &'a str = "", since(3);
        /// Name of a static member (KIP-345); null for a dynamic one. Since v3.
        group_instance_id: Option<&'a str> = None, since(3).nullable(3);
        /// Topics, one entry each.
        topics: Vec<TxnOffsetCommitRequestTopic<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`TxnOffsetCommitRequest::topics`].
    pub struct TxnOffsetCommitRequestTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<TxnOffsetCommitRequestPartition<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`TxnOffsetCommitRequestTopic::partitions`].
    pub struct TxnOffsetCommitRequestPartition<'a> {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// The next offset to read.
        committed_offset: i64 = 0, since(0);
        /// Leader epoch of the last record consumed; -1 if unknown. Since v2.
        committed_leader_epoch: i32 = -1, since(2).ignorable();
        /// Text that the client stores with the offset.
        committed_metadata: Option<&'a str> = None, since(0).nullable(0);
    }
}

message! {
    /// Answers [`TxnOffsetCommitRequest`].
    pub struct TxnOffsetCommitResponse<'a>: versions 0..=5, flexible 3 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Topics, one entry each.
        topics: Vec<TxnOffsetCommitResponseTopic<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`TxnOffsetCommitResponse::topics`].
    pub struct TxnOffsetCommitResponseTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<TxnOffsetCommitResponsePartition> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`TxnOffsetCommitResponseTopic::partitions`].
    pub struct TxnOffsetCommitResponsePartition {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
    }
}
