//! ExpireDelegationToken: API key 40, versions 1-2. Ends a delegation token (KIP-48).
//!
//! v2: flexible.
//!
//! Source: `ExpireDelegationTokenRequest.json` and `ExpireDelegationTokenResponse.json` of Apache
//! Kafka.

use crate::codes::ErrorCode;
use crate::declare::message;
use crate::field::since;

message! {
    /// Ends a delegation token.
    pub struct ExpireDelegationTokenRequest<'a>: versions 1..=2, flexible 2 {
        /// Secret of the token.
        hmac: &'a [u8] = &[], since(0);
        /// When it is to end, in ms from now; negative for at once.
        expiry_time_period_ms: i64 = 0, since(0);
    }
}

message! {
    /// Answers [`ExpireDelegationTokenRequest`].
    pub struct ExpireDelegationTokenResponse: versions 1..=2, flexible 2 {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// When it expires, in ms since the epoch.
        expiry_timestamp_ms: i64 = 0, since(0);
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
    }
}
