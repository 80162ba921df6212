//! SaslAuthenticate: API key 36, versions 0-2. Carries one step of a SASL exchange.
//!
//! v0: KIP-152. v1: session lifetime (KIP-368). v2: flexible.
//!
//! Source: `SaslAuthenticateRequest.json` and `SaslAuthenticateResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::message;
use crate::field::since;

message! {
    /// Carries one step of a SASL exchange.
    pub struct SaslAuthenticateRequest<'a>: versions 0..=2, flexible 2 {
        /// Bytes of the SASL exchange; the mechanism defines them.
        auth_bytes: &'a [u8] = &[], since(0);
    }
}

message! {
    /// Answers [`SaslAuthenticateRequest`].
    pub struct SaslAuthenticateResponse<'a>: versions 0..=2, flexible 2 {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// What went wrong, for people; null if nothing did.
        error_message: Option<&'a str> = None, since(0).nullable(0);
        /// Bytes of the SASL exchange; the mechanism defines them.
        auth_bytes: &'a [u8] = &[], since(0);
        /// Time until the client must authenticate again, in ms; 0 for never (KIP-368). Since v1.
        session_lifetime_ms: i64 = 0, since(1).ignorable();
    }
}
