//! ExpireDelegationToken (key 40), versions 1-2 (KIP-48).
//!
//! As a Kafka broker on a connection without authentication: DELEGATION_TOKEN_REQUEST_NOT_ALLOWED. Kafka says so before
//! it looks whether tokens are configured at all (DELEGATION_TOKEN_AUTH_DISABLED).

use wire::messages::expire_delegation_token::{
    ExpireDelegationTokenRequest, ExpireDelegationTokenResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 2 };

pub(crate) async fn handle(cx: &RequestContext, _: ExpireDelegationTokenRequest<'_>) -> Reply {
    let error_code = ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED;
    cx.failed(error_code);
    cx.reply(&ExpireDelegationTokenResponse {
        error_code,
        expiry_timestamp_ms: -1,
        ..ExpireDelegationTokenResponse::default()
    })
}
