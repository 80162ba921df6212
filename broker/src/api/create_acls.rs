//! CreateAcls (key 30), versions 1-3.
//!
//! As a Kafka broker without an authorizer: SECURITY_DISABLED for each entry. There are no access control
//! lists.

use wire::messages::create_acls::AclCreationResult;
use wire::messages::{CreateAclsRequest, CreateAclsResponse};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };
/// What Kafka says to whoever changes access control lists that nothing looks at.
pub(super) const MESSAGE: &str = "No Authorizer is configured.";

pub(crate) async fn handle(cx: &RequestContext, request: CreateAclsRequest<'_>) -> Reply {
    let results = request.creations.iter().map(|_| {
        cx.failed(ErrorCode::SECURITY_DISABLED);
        AclCreationResult {
            error_code: ErrorCode::SECURITY_DISABLED,
            error_message: Some(MESSAGE),
        }
    });
    cx.reply(&CreateAclsResponse {
        results: results.collect(),
        ..CreateAclsResponse::default()
    })
}
