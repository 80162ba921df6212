//! SaslAuthenticate (key 36), versions 0-2 (KIP-152, KIP-368).
//!
//! - One message of the exchange that SaslHandshake has begun: PLAIN (RFC 4616), SCRAM-SHA-256 and SCRAM-SHA-512
//!   (RFC 5802, RFC 7677), OAUTHBEARER (RFC 7628).
//! - SASL_AUTHENTICATION_FAILED with a text that tells no more than Kafka's, a tenth of a second later
//!   (`connection.failed.authentication.delay.ms`), and the connection ends. ILLEGAL_SASL_STATE where no exchange is
//!   under way.
//! - v1: how long the authentication holds, where `security.max_reauth_ms` or the end of a token bounds it. A request
//!   after that ends the connection.

use wire::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 2 };

pub(crate) async fn handle(cx: &RequestContext, request: SaslAuthenticateRequest<'_>) -> Reply {
    match cx.identity.advance(&cx.shard, request.auth_bytes).await {
        Ok(auth_bytes) => cx.reply(&SaslAuthenticateResponse {
            error_code: ErrorCode::NONE,
            auth_bytes: &auth_bytes,
            session_lifetime_ms: cx.identity.lifetime_ms(),
            ..SaslAuthenticateResponse::default()
        }),
        Err(refused) => {
            let error_code = error::sasl_code(&refused);
            cx.failed(error_code);
            cx.reply(&SaslAuthenticateResponse {
                error_code,
                error_message: Some(&refused.to_string()),
                ..SaslAuthenticateResponse::default()
            })
        }
    }
}
