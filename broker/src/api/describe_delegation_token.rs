//! DescribeDelegationToken (key 41), versions 1-3 (KIP-48).
//!
//! As a Kafka broker on a connection without authentication: DELEGATION_TOKEN_REQUEST_NOT_ALLOWED. Kafka says so before
//! it looks whether tokens are configured at all (DELEGATION_TOKEN_AUTH_DISABLED).

use wire::messages::describe_delegation_token::{
    DescribeDelegationTokenRequest, DescribeDelegationTokenResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };

pub(crate) async fn handle(cx: &RequestContext, _: DescribeDelegationTokenRequest<'_>) -> Reply {
    let error_code = ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED;
    cx.failed(error_code);
    cx.reply(&DescribeDelegationTokenResponse {
        error_code,
        ..DescribeDelegationTokenResponse::default()
    })
}
