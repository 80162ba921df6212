//! EndTxn: API key 26, versions 0-5. Commits or aborts a transaction.
//!
//! v0: KIP-98. v3: flexible. v4: TRANSACTION_ABORTABLE. v5: the response bumps the epoch
//! (KIP-890).
//!
//! Source: `EndTxnRequest.json` and `EndTxnResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::message;
use crate::field::since;

message! {
    /// Commits or aborts a transaction.
    pub struct EndTxnRequest<'a>: versions 0..=5, flexible 3 {
        /// Name of the transactional producer.
        transactional_id: &'a str = "", since(0);
        /// Id of the producer; -1 if none.
        producer_id: i64 = 0, since(0);
        /// Epoch of the producer id.
        producer_epoch: i16 = 0, since(0);
        /// True to commit, false to abort.
        committed: bool = false, since(0);
    }
}

message! {
    /// Answers [`EndTxnRequest`].
    pub struct EndTxnResponse: versions 0..=5, flexible 3 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Id of the producer; -1 if none. Since v5.
        producer_id: i64 = -1, since(5).ignorable();
        /// Epoch of the producer id. Since v5.
        producer_epoch: i16 = -1, since(5).ignorable();
    }
}
