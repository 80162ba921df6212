//! ListTransactions: API key 66, versions 0-2. Lists the transactions that a broker coordinates.
//!
//! v0: KIP-664, flexible from the start. v1: by duration (KIP-994). v2: by pattern (KIP-1152).
//!
//! Source: `ListTransactionsRequest.json` and `ListTransactionsResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Lists the transactions that a broker coordinates.
    pub struct ListTransactionsRequest<'a>: versions 0..=2, flexible 0 {
        /// Only transactions in these states; empty for all.
        state_filters: Vec<&'a str> = Vec::new(), since(0);
        /// Only transactions of these producer ids; empty for all.
        producer_id_filters: Vec<i64> = Vec::new(), since(0);
        /// Only transactions that run longer than this, in ms; negative for all. Since v1.
        duration_filter: i64 = -1, since(1);
        /// Only transactional ids that match this RE2/J expression; null for all (KIP-1152). Since
        /// v2.
        transactional_id_pattern: Option<&'a str> = None, since(2).nullable(2);
    }
}

message! {
    /// Answers [`ListTransactionsRequest`].
    pub struct ListTransactionsResponse<'a>: versions 0..=2, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Filters of the request that name no state.
        unknown_state_filters: Vec<&'a str> = Vec::new(), since(0);
        /// Transactions, one entry each.
        transaction_states: Vec<TransactionState<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`ListTransactionsResponse::transaction_states`].
    pub struct TransactionState<'a> {
        /// Name of the transactional producer.
        transactional_id: &'a str = "", since(0);
        /// Id of the producer; -1 if none.
        producer_id: i64 = 0, since(0);
        /// State of the transaction, as text.
        transaction_state: &'a str = "", since(0);
    }
}
