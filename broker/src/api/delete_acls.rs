//! DeleteAcls (key 31), versions 1-3.
//!
//! As a Kafka broker without an authorizer: SECURITY_DISABLED for each filter. There are no access control
//! lists.

use wire::messages::delete_acls::DeleteAclsFilterResult;
use wire::messages::{DeleteAclsRequest, DeleteAclsResponse};
use wire::{ErrorCode, VersionRange};

use super::create_acls::MESSAGE;
use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };

pub(crate) async fn handle(cx: &RequestContext, request: DeleteAclsRequest<'_>) -> Reply {
    let results = request.filters.iter().map(|_| {
        cx.failed(ErrorCode::SECURITY_DISABLED);
        DeleteAclsFilterResult {
            error_code: ErrorCode::SECURITY_DISABLED,
            error_message: Some(MESSAGE),
            ..DeleteAclsFilterResult::default()
        }
    });
    cx.reply(&DeleteAclsResponse {
        filter_results: results.collect(),
        ..DeleteAclsResponse::default()
    })
}
