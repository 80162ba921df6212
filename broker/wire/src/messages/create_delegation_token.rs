//! CreateDelegationToken: API key 38, versions 1-3. Creates a delegation token (KIP-48).
//!
//! v2: flexible. v3: a token for another principal (KIP-373).
//!
//! Source: `CreateDelegationTokenRequest.json` and `CreateDelegationTokenResponse.json` of Apache
//! Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Creates a delegation token.
    pub struct CreateDelegationTokenRequest<'a>: versions 1..=3, flexible 2 {
        /// Type of the principal that is to own the token; null for who asks. Since v3.
        owner_principal_type: Option<&'a str> = None, since(3).nullable(3);
        /// Name of that principal. Since v3.
        owner_principal_name: Option<&'a str> = None, since(3).nullable(3);
        /// Who may renew it.
        renewers: Vec<CreatableRenewers<'a>> = Vec::new(), since(0);
        /// Longest life of the token, in ms; -1 for the broker's.
        max_lifetime_ms: i64 = 0, since(0);
    }
}

part! {
    /// One entry of [`CreateDelegationTokenRequest::renewers`].
    pub struct CreatableRenewers<'a> {
        /// Type of the principal.
        principal_type: &'a str = "", since(0);
        /// Name of the principal.
        principal_name: &'a str = "", since(0);
    }
}

message! {
    /// Answers [`CreateDelegationTokenRequest`].
    pub struct CreateDelegationTokenResponse<'a>: versions 1..=3, flexible 2 {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Type of the principal that owns the token.
        principal_type: &'a str = "", since(0);
        /// Name of that principal.
        principal_name: &'a str = "", since(0);
        /// Type of the principal that asked. Since v3.
        token_requester_principal_type: &'a str = "", since(3);
        /// Name of that principal. Since v3.
        token_requester_principal_name: &'a str = "", since(3);
        /// When the token was made, in ms since the epoch.
        issue_timestamp_ms: i64 = 0, since(0);
        /// When it expires, in ms since the epoch.
        expiry_timestamp_ms: i64 = 0, since(0);
        /// Until when it can be renewed, in ms since the epoch.
        max_timestamp_ms: i64 = 0, since(0);
        /// Id of the token.
        token_id: &'a str = "", since(0);
        /// Its secret.
        hmac: &'a [u8] = &[], since(0);
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
    }
}
