//! InitProducerId: API key 22, versions 0-5. Gets a producer id and epoch.
//!
//! v0: KIP-98. v2: flexible. v3: an epoch can be bumped (KIP-360). v4: PRODUCER_FENCED (KIP-588).
//! v5: TRANSACTION_ABORTABLE (KIP-890).
//!
//! Source: `InitProducerIdRequest.json` and `InitProducerIdResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::message;
use crate::field::since;

message! {
    /// Gets a producer id and epoch.
    pub struct InitProducerIdRequest<'a>: versions 0..=5, flexible 2 {
        /// Name of the transactional producer; null for one that is only idempotent.
        transactional_id: Option<&'a str> = None, since(0).nullable(0);
        /// How long a transaction may be idle before it is aborted, in ms.
        transaction_timeout_ms: i32 = 0, since(0);
        /// Id of the producer; -1 if none. Since v3.
        producer_id: i64 = -1, since(3);
        /// Epoch of the producer id. Since v3.
        producer_epoch: i16 = -1, since(3);
    }
}

message! {
    /// Answers [`InitProducerIdRequest`].
    pub struct InitProducerIdResponse: versions 0..=5, flexible 2 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0).ignorable();
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Id of the producer; -1 if none.
        producer_id: i64 = -1, since(0);
        /// Epoch of the producer id.
        producer_epoch: i16 = 0, since(0);
    }
}
