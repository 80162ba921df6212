//! Produce: API key 0, versions 0-13. Appends record batches to partitions.
//!
//! v0-2: message sets of magic 0 and 1. They decode, so that a broker can refuse them by name.
//! v3: record batches v2 and transactional ids (KIP-98). v5: log start offset in the response.
//! v7: zstd (KIP-110). v8: the records to blame (KIP-467). v9: flexible (KIP-482). v10: the new
//! leader in the response (KIP-951). v11-12: transactions, part two (KIP-890). v13: topic ids
//! instead of names (KIP-516).
//!
//! Source: `ProduceRequest.json` and `ProduceResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};
use crate::records::Records;
use crate::uuid::Uuid;

message! {
    /// Appends record batches to partitions.
    pub struct ProduceRequest<'a>: versions 0..=13, flexible 9 {
        /// Name of the transactional producer; null if there is none. Since v3.
        transactional_id: Option<&'a str> = None, since(3).nullable(3);
        /// Acknowledgements asked for: 0 none (and no response), 1 the leader's, -1 all in-sync
        /// replicas'.
        acks: i16 = 0, since(0);
        /// How long the broker may take, in ms.
        timeout_ms: i32 = 0, since(0);
        /// Topics, one entry each.
        topic_data: Vec<TopicProduceData<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ProduceRequest::topic_data`].
    pub struct TopicProduceData<'a> {
        /// Name of the topic. Until v12.
        name: &'a str = "", between(0, 12).ignorable();
        /// Id of the topic (KIP-516). Since v13.
        topic_id: Uuid = Uuid::ZERO, since(13).ignorable();
        /// Partitions, one entry each.
        partition_data: Vec<PartitionProduceData<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`TopicProduceData::partition_data`].
    pub struct PartitionProduceData<'a> {
        /// Index of the partition.
        index: i32 = 0, since(0);
        /// Record batches.
        records: Records<'a> = Records::Null, since(0);
    }
}

message! {
    /// Answers [`ProduceRequest`].
    pub struct ProduceResponse<'a>: versions 0..=13, flexible 9 {
        /// Outcomes, one entry each.
        responses: Vec<TopicProduceResponse<'a>> = Vec::new(), since(0);
        /// How long the client should pause because of a quota, in ms; 0 for none. Since v1.
        throttle_time_ms: i32 = 0, since(1).ignorable();
        /// Addresses of the leaders that `current_leader` names (KIP-951). Since v10.
        node_endpoints: Vec<NodeEndpoint<'a>> = Vec::new(), since(10).tag(0);
    }
}

part! {
    /// One entry of [`ProduceResponse::responses`].
    pub struct TopicProduceResponse<'a> {
        /// Name of the topic. Until v12.
        name: &'a str = "", between(0, 12).ignorable();
        /// Id of the topic (KIP-516). Since v13.
        topic_id: Uuid = Uuid::ZERO, since(13).ignorable();
        /// Partitions, one entry each.
        partition_responses: Vec<PartitionProduceResponse<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`TopicProduceResponse::partition_responses`].
    pub struct PartitionProduceResponse<'a> {
        /// Index of the partition.
        index: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Offset given to the first record.
        base_offset: i64 = 0, since(0);
        /// Time of the append in ms since the epoch, if the topic stamps records itself; else -1.
        /// Since v2.
        log_append_time_ms: i64 = -1, since(2).ignorable();
        /// First offset that can still be read; -1 if unknown. Since v5.
        log_start_offset: i64 = -1, since(5).ignorable();
        /// Records that made the broker refuse the batch (KIP-467). Since v8.
        record_errors: Vec<BatchIndexAndErrorMessage<'a>> = Vec::new(), since(8).ignorable();
        /// What went wrong, for people; null if nothing did. Since v8.
        error_message: Option<&'a str> = None, since(8).nullable(8).ignorable();
        /// The leader that the client should turn to (KIP-951). Since v10.
        current_leader: LeaderIdAndEpoch = LeaderIdAndEpoch::default(), since(10).tag(0);
    }
}

part! {
    /// One entry of [`PartitionProduceResponse::record_errors`].
    pub struct BatchIndexAndErrorMessage<'a> {
        /// Index of the rejected record in its batch. Since v8.
        batch_index: i32 = 0, since(8);
        /// What was wrong with the record. Since v8.
        batch_index_error_message: Option<&'a str> = None, since(8).nullable(8);
    }
}

part! {
    /// Content of [`PartitionProduceResponse::current_leader`].
    pub struct LeaderIdAndEpoch {
        /// Id of the leading broker; -1 if none is known. Since v10.
        leader_id: i32 = -1, since(10);
        /// Leader epoch; -1 if unknown. Since v10.
        leader_epoch: i32 = -1, since(10);
    }
}

part! {
    /// One entry of [`ProduceResponse::node_endpoints`].
    pub struct NodeEndpoint<'a> {
        /// Id of the broker. Since v10.
        node_id: i32 = 0, since(10);
        /// Host name or address. Since v10.
        host: &'a str = "", since(10);
        /// TCP port. Since v10.
        port: i32 = 0, since(10);
        /// Rack of the broker, if it has one. Since v10.
        rack: Option<&'a str> = None, since(10).nullable(10);
    }
}
