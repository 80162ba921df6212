//! AddOffsetsToTxn: API key 25, versions 0-4. Adds a group's offsets to a transaction.
//!
//! v0: KIP-98. v3: flexible. v4: TRANSACTION_ABORTABLE (KIP-890).
//!
//! Source: `AddOffsetsToTxnRequest.json` and `AddOffsetsToTxnResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::message;
use crate::field::since;

message! {
    /// Adds a group's offsets to a transaction.
    pub struct AddOffsetsToTxnRequest<'a>: versions 0..=4, flexible 3 {
        /// Name of the transactional producer.
        transactional_id: &'a str = "", since(0);
        /// Id of the producer; -1 if none.
        producer_id: i64 = 0, since(0);
        /// Epoch of the producer id.
        producer_epoch: i16 = 0, since(0);
        /// The group.
        group_id: &'a str = "", since(0);
    }
}

message! {
    /// Answers [`AddOffsetsToTxnRequest`].
    pub struct AddOffsetsToTxnResponse: versions 0..=4, flexible 3 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
    }
}
