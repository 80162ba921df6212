//! AddPartitionsToTxn: API key 24, versions 0-5. Adds partitions to a transaction.
//!
//! v0: KIP-98. v3: flexible. v4: several transactions, from brokers (KIP-890). v5:
//! TRANSACTION_ABORTABLE (KIP-890).
//!
//! Source: `AddPartitionsToTxnRequest.json` and `AddPartitionsToTxnResponse.json` of Apache
//! Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::{between, since};

message! {
    /// Adds partitions to a transaction.
    pub struct AddPartitionsToTxnRequest<'a>: versions 0..=5, flexible 3 {
        /// Transactions, one entry each. Since v4.
        transactions: Vec<AddPartitionsToTxnTransaction<'a>> = Vec::new(), since(4);
        /// Name of the transactional producer. Until v3.
        v3_and_below_transactional_id: &'a str = "", between(0, 3);
        /// Id of the producer. Until v3.
        v3_and_below_producer_id: i64 = 0, between(0, 3);
        /// Epoch of the producer id. Until v3.
        v3_and_below_producer_epoch: i16 = 0, between(0, 3);
        /// Topics to add. Until v3.
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic<'a>> = Vec::new(), between(0, 3);
    }
}

part! {
    /// One entry of [`AddPartitionsToTxnRequest::transactions`].
    pub struct AddPartitionsToTxnTransaction<'a> {
        /// Name of the transactional producer. Since v4.
        transactional_id: &'a str = "", since(4);
        /// Id of the producer; -1 if none. Since v4.
        producer_id: i64 = 0, since(4);
        /// Epoch of the producer id. Since v4.
        producer_epoch: i16 = 0, since(4);
        /// Whether only to check that the partitions are in the transaction (KIP-890). Since v4.
        verify_only: bool = false, since(4);
        /// Topics, one entry each. Since v4.
        topics: Vec<AddPartitionsToTxnTopic<'a>> = Vec::new(), since(4);
    }
}

part! {
    /// One entry of [`AddPartitionsToTxnTransaction::topics`].
    pub struct AddPartitionsToTxnTopic<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<i32> = Vec::new(), since(0);
    }
}

message! {
    /// Answers [`AddPartitionsToTxnRequest`].
    pub struct AddPartitionsToTxnResponse<'a>: versions 0..=5, flexible 3 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success. Since v4.
        error_code: ErrorCode = ErrorCode::NONE, since(4).ignorable();
        /// Outcome for each transaction. Since v4.
        results_by_transaction: Vec<AddPartitionsToTxnResult<'a>> = Vec::new(), since(4);
        /// Outcome for each topic of the one transaction. Until v3.
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult<'a>> =
            Vec::new(), between(0, 3);
    }
}

part! {
    /// One entry of [`AddPartitionsToTxnResponse::results_by_transaction`].
    pub struct AddPartitionsToTxnResult<'a> {
        /// Name of the transactional producer. Since v4.
        transactional_id: &'a str = "", since(4);
        /// Outcome for each topic. Since v4.
        topic_results: Vec<AddPartitionsToTxnTopicResult<'a>> = Vec::new(), since(4);
    }
}

part! {
    /// One entry of [`AddPartitionsToTxnResult::topic_results`].
    pub struct AddPartitionsToTxnTopicResult<'a> {
        /// Name of the topic.
        name: &'a str = "", since(0);
        /// Outcome for each partition.
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`AddPartitionsToTxnTopicResult::results_by_partition`].
    pub struct AddPartitionsToTxnPartitionResult {
        /// Index of the partition.
        partition_index: i32 = 0, since(0);
        /// Outcome for the partition; 0 is success.
        partition_error_code: ErrorCode = ErrorCode::NONE, since(0);
    }
}
