//! DescribeDelegationToken (key 41), versions 1-3 (KIP-48).
//!
//! As a Kafka broker without `delegation.token.secret.key`: DELEGATION_TOKEN_REQUEST_NOT_ALLOWED where who asks has not
//! authenticated, else DELEGATION_TOKEN_AUTH_DISABLED, whoever's tokens are asked for.

use wire::messages::describe_delegation_token::{
    DescribeDelegationTokenRequest, DescribeDelegationTokenResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };

pub(crate) async fn handle(cx: &RequestContext, _: DescribeDelegationTokenRequest<'_>) -> Reply {
    let disabled = ErrorCode::DELEGATION_TOKEN_AUTH_DISABLED;
    let error_code = cx.refuses_tokens().unwrap_or(disabled);
    cx.failed(error_code);
    cx.reply(&DescribeDelegationTokenResponse {
        error_code,
        ..DescribeDelegationTokenResponse::default()
    })
}
