//! ExpireDelegationToken (key 40), versions 1-2 (KIP-48).
//!
//! As a Kafka broker without `delegation.token.secret.key`: DELEGATION_TOKEN_REQUEST_NOT_ALLOWED where who asks has not
//! authenticated, else DELEGATION_TOKEN_AUTH_DISABLED, whatever token is named.

use wire::messages::expire_delegation_token::{
    ExpireDelegationTokenRequest, ExpireDelegationTokenResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 2 };

pub(crate) async fn handle(cx: &RequestContext, _: ExpireDelegationTokenRequest<'_>) -> Reply {
    let (error_code, expiry_timestamp_ms) = match cx.refuses_tokens() {
        Some(code) => (code, -1),
        None => (ErrorCode::DELEGATION_TOKEN_AUTH_DISABLED, 0),
    };
    cx.failed(error_code);
    cx.reply(&ExpireDelegationTokenResponse {
        error_code,
        expiry_timestamp_ms,
        ..ExpireDelegationTokenResponse::default()
    })
}
