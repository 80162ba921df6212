//! DescribeDelegationToken: API key 41, versions 1-3. Lists delegation tokens (KIP-48).
//!
//! v2: flexible. v3: who asked for a token (KIP-373).
//!
//! Source: `DescribeDelegationTokenRequest.json` and `DescribeDelegationTokenResponse.json` of
//! Apache Kafka.

use crate::codes::ErrorCode;
use crate::declare::{message, part};
use crate::field::since;

message! {
    /// Lists delegation tokens.
    pub struct DescribeDelegationTokenRequest<'a>: versions 1..=3, flexible 2 {
        /// Whose tokens; null for all.
        owners: Option<Vec<DescribeDelegationTokenOwner<'a>>> = None, since(0).nullable(0);
    }
}

part! {
    /// One entry of [`DescribeDelegationTokenRequest::owners`].
    pub struct DescribeDelegationTokenOwner<'a> {
        /// Type of the principal.
        principal_type: &'a str = "", since(0);
        /// Name of the principal.
        principal_name: &'a str = "", since(0);
    }
}

message! {
    /// Answers [`DescribeDelegationTokenRequest`].
    pub struct DescribeDelegationTokenResponse<'a>: versions 1..=3, flexible 2 {
        /// Outcome; 0 is success.
        error_code: ErrorCode = ErrorCode::NONE, since(0);
        /// Tokens, one entry each.
        tokens: Vec<DescribedDelegationToken<'a>> = Vec::new(), since(0);
        /// How long the client should pause because of a quota, in ms; 0 for none.
        throttle_time_ms: i32 = 0, since(0);
    }
}

part! {
    /// One entry of [`DescribeDelegationTokenResponse::tokens`].
    pub struct DescribedDelegationToken<'a> {
        /// Type of the principal that owns the token.
        principal_type: &'a str = "", since(0);
        /// Name of that principal.
        principal_name: &'a str = "", since(0);
        /// Type of the principal that asked for it. Since v3.
        token_requester_principal_type: &'a str = "", since(3);
        /// Name of that principal. Since v3.
        token_requester_principal_name: &'a str = "", since(3);
        /// When the token was made, in ms since the epoch.
        issue_timestamp: i64 = 0, since(0);
        /// When it expires, in ms since the epoch.
        expiry_timestamp: i64 = 0, since(0);
        /// Until when it can be renewed, in ms since the epoch.
        max_timestamp: i64 = 0, since(0);
        /// Id of the token.
        token_id: &'a str = "", since(0);
        /// Its secret.
        hmac: &'a [u8] = &[], since(0);
        /// Who may renew it.
        renewers: Vec<DescribedDelegationTokenRenewer<'a>> = Vec::new(), since(0);
    }
}

part! {
    /// One entry of [`DescribedDelegationToken::renewers`].
    pub struct DescribedDelegationTokenRenewer<'a> {
        /// Type of the principal.
        principal_type: &'a str = "", since(0);
        /// Name of the principal.
        principal_name: &'a str = "", since(0);
    }
}
