//! UnregisterBroker: API key 64, version 0. Makes the cluster forget a broker that has gone
//! (KIP-631).
//!
//! Source: `UnregisterBrokerRequest.json` and `UnregisterBrokerResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::message;
use crate::field::since;

message! {
    /// Makes the cluster forget a broker that has gone.
    pub struct UnregisterBrokerRequest: versions 0..=0, flexible 0 {
        /// Id of the broker.
        broker_id: i32 = 0, since(0);
    }
}

message! {
    /// Answers [`UnregisterBrokerRequest`].
    pub struct UnregisterBrokerResponse<'a>: versions 0..=0, flexible 0 {
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
    }
}
