//! SaslHandshake (key 17), versions 0-1 (KIP-43, KIP-152).
//!
//! - Chooses a mechanism of those that are offered. v0: the messages of the exchange follow without requests around
//!   them; v1: in SaslAuthenticate requests.
//! - UNSUPPORTED_SASL_MECHANISM with the mechanisms that are offered, and the connection ends; ILLEGAL_SASL_STATE where
//!   clients need not authenticate, or in the middle of an exchange. Who authenticates again (KIP-368) must choose the
//!   mechanism of before.

use wire::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext, error};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 1 };

pub(crate) async fn handle(cx: &RequestContext, request: SaslHandshakeRequest<'_>) -> Reply {
    let chosen = cx.identity.choose(request.mechanism, cx.version);
    let error_code = chosen.map_or_else(|refused| error::sasl_code(&refused), |()| ErrorCode::NONE);
    if !error_code.is_none() {
        cx.failed(error_code);
    }
    let mechanisms = cx.identity.mechanisms().iter();
    cx.reply(&SaslHandshakeResponse {
        error_code,
        mechanisms: mechanisms.map(|mechanism| mechanism.name()).collect(),
    })
}
