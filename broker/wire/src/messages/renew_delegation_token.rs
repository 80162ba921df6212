//! RenewDelegationToken: API key 39, versions 1-2. Renews a delegation token (KIP-48).
//!
//! v2: flexible.
//!
//! Source: `RenewDelegationTokenRequest.json` and `RenewDelegationTokenResponse.json` of Apache
//! Kafka.

use crate::codes::ErrorCode;
use crate::declare::message;
use crate::field::since;

message! {
    /// Renews a delegation token.
    pub struct RenewDelegationTokenRequest<'a>: versions 1..=2, flexible 2 {
        /// Secret of the token.
        hmac: &'a [u8] = &[], since(0);
        /// By how much to put off its end, in ms; -1 for the broker's period.
        renew_period_ms: i64 = 0, since(0);
    }
}

message! {
    /// Answers [`RenewDelegationTokenRequest`].
    pub struct RenewDelegationTokenResponse: versions 1..=2, flexible 2 {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// When it expires, in ms since the epoch.
        expiry_timestamp_ms: i64 = 0, since(0);
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
    }
}
