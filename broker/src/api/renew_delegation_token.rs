//! RenewDelegationToken (key 39), versions 1-2 (KIP-48).
//!
//! As a Kafka broker on a connection without authentication: DELEGATION_TOKEN_REQUEST_NOT_ALLOWED. Kafka says so before
//! it looks whether tokens are configured at all (DELEGATION_TOKEN_AUTH_DISABLED).

use wire::messages::renew_delegation_token::{
    RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 2 };

pub(crate) async fn handle(cx: &RequestContext, _: RenewDelegationTokenRequest<'_>) -> Reply {
    let error_code = ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED;
    cx.failed(error_code);
    cx.reply(&RenewDelegationTokenResponse {
        error_code,
        expiry_timestamp_ms: -1,
        ..RenewDelegationTokenResponse::default()
    })
}
