//! SaslHandshake: API key 17, versions 0-1. Chooses the SASL mechanism.
//!
//! v0: raw SASL tokens follow. v1: SaslAuthenticate requests follow (KIP-152). Never flexible.
//!
//! Source: `SaslHandshakeRequest.json` and `SaslHandshakeResponse.json` of Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::message;
use crate::field::since;

message! {
    /// Chooses the SASL mechanism.
    pub struct SaslHandshakeRequest<'a>: versions 0..=1, flexible none {
        /// Name of the SASL mechanism.
        mechanism: &'a str = "", since(0);
    }
}

message! {
    /// Answers [`SaslHandshakeRequest`].
    pub struct SaslHandshakeResponse<'a>: versions 0..=1, flexible none {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// SASL mechanisms that the broker offers.
        mechanisms: Vec<&'a str> = Vec::new(), since(0);
    }
}
