//! CreateDelegationToken (key 38), versions 1-3 (KIP-48).
//!
//! As a Kafka broker on a connection without authentication: DELEGATION_TOKEN_REQUEST_NOT_ALLOWED. Kafka says so before
//! it looks whether tokens are configured at all (DELEGATION_TOKEN_AUTH_DISABLED).

use wire::messages::create_delegation_token::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};
use crate::quota::ANONYMOUS;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };
/// First version that names who asked.
const REQUESTER_FROM: i16 = 3;
/// Type of all principals.
const USER: &str = "User";

pub(crate) async fn handle(cx: &RequestContext, _: CreateDelegationTokenRequest<'_>) -> Reply {
    let error_code = ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED;
    cx.failed(error_code);
    cx.reply(&CreateDelegationTokenResponse {
        error_code,
        principal_type: USER,
        principal_name: ANONYMOUS,
        token_requester_principal_type: if cx.version >= REQUESTER_FROM {
            USER
        } else {
            ""
        },
        token_requester_principal_name: if cx.version >= REQUESTER_FROM {
            ANONYMOUS
        } else {
            ""
        },
        issue_timestamp_ms: -1,
        expiry_timestamp_ms: -1,
        max_timestamp_ms: -1,
        ..CreateDelegationTokenResponse::default()
    })
}
