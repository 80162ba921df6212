//! CreateDelegationToken (key 38), versions 1-3 (KIP-48, KIP-373).
//!
//! No tokens are made here: this answers as a Kafka broker without `delegation.token.secret.key`, in its order
//! (`KafkaApis.handleCreateTokenRequest`, `DelegationTokenControlManager`):
//! - DELEGATION_TOKEN_REQUEST_NOT_ALLOWED where who asks has not authenticated: by a plain listener, or by TLS without a
//!   certificate;
//! - DELEGATION_TOKEN_AUTHORIZATION_FAILED for a token of somebody else (v3) without CREATE_TOKENS on that user;
//! - INVALID_PRINCIPAL_TYPE for a renewer that is no user;
//! - DELEGATION_TOKEN_AUTH_DISABLED.

use security::acl::{Operation, ResourceType};
use security::principal::USER;
use wire::messages::create_delegation_token::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse,
};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };
/// First version that names who asked.
const REQUESTER_FROM: i16 = 3;
/// What stands in place of a time where the broker refuses before it asks the controller.
const NO_TIME: i64 = -1;

pub(crate) async fn handle(
    cx: &RequestContext,
    request: CreateDelegationTokenRequest<'_>,
) -> Reply {
    let requester = cx.identity.principal();
    let asked = request.owner_principal_name.filter(|name| !name.is_empty());
    let owner = match asked {
        Some(name) => (request.owner_principal_type.unwrap_or_default(), name),
        None => (requester.kind(), requester.name()),
    };
    let error_code = refusal(cx, &request, owner);
    let time = match error_code {
        ErrorCode::DELEGATION_TOKEN_AUTH_DISABLED => 0,
        _ => NO_TIME,
    };
    let told = |text| {
        if cx.version >= REQUESTER_FROM {
            text
        } else {
            ""
        }
    };
    cx.failed(error_code);
    cx.reply(&CreateDelegationTokenResponse {
        error_code,
        principal_type: owner.0,
        principal_name: owner.1,
        token_requester_principal_type: told(requester.kind()),
        token_requester_principal_name: told(requester.name()),
        issue_timestamp_ms: time,
        expiry_timestamp_ms: time,
        max_timestamp_ms: time,
        ..CreateDelegationTokenResponse::default()
    })
}

fn refusal(
    cx: &RequestContext,
    request: &CreateDelegationTokenRequest<'_>,
    owner: (&str, &str),
) -> ErrorCode {
    if let Some(code) = cx.refuses_tokens() {
        return code;
    }
    let requester = cx.identity.principal();
    if owner != (requester.kind(), requester.name()) {
        let name = format!("{}:{}", owner.0, owner.1);
        if let Err(code) = cx.authorize(Operation::CreateTokens, ResourceType::User, &name) {
            return code;
        }
    }
    let mut renewers = request.renewers.iter();
    if renewers.any(|renewer| renewer.principal_type != USER) {
        return ErrorCode::INVALID_PRINCIPAL_TYPE;
    }
    ErrorCode::DELEGATION_TOKEN_AUTH_DISABLED
}
