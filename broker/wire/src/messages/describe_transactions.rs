//! DescribeTransactions: API key 65, version 0. Describes transactions.
//!
//! v0: KIP-664, flexible from the start.
//!
//! Source: `DescribeTransactionsRequest.json` and `DescribeTransactionsResponse.json` of Apache
//! Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Describes transactions.
    pub struct DescribeTransactionsRequest<'a>: versions 0..=0, flexible 0 {
        /// The transactional ids to describe.
        transactional_ids: Vec<&'a str> = Vec::new(), since(0);
    }
}

message! {
    /// Answers [`DescribeTransactionsRequest`].
    pub struct DescribeTransactionsResponse<'a>: versions 0..=0, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Transactions, one entry each.
        transaction_states: Vec<TransactionState<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribeTransactionsResponse::transaction_states`].
    pub struct TransactionState<'a> {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Name of the transactional producer.
        transactional_id: &'a str = "", since(0);
        /// State of the transaction, as text.
        transaction_state: &'a str = "", since(0);
        /// How long a transaction may be idle before it is aborted, in ms.
        transaction_timeout_ms: i32 = 0, since(0);
        /// Start of the transaction in ms since the epoch.
        transaction_start_time_ms: i64 = 0, since(0);
        /// Id of the producer; -1 if none.
        producer_id: i64 = 0, since(0);
        /// Epoch of the producer id.
        producer_epoch: i16 = 0, since(0);
        /// Topics, one entry each.
        topics: Vec<TopicData<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`TransactionState::topics`].
    pub struct TopicData<'a> {
        /// Name of the topic.
        topic: &'a str = "", since(0);
        /// Partitions, one entry each.
        partitions: Vec<i32> = Vec::new(), since(0);
    }
}
