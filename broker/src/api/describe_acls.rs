//! DescribeAcls (key 29), versions 1-3.
//!
//! As a Kafka broker without an authorizer: SECURITY_DISABLED. There are no access control lists.

use wire::messages::{DescribeAclsRequest, DescribeAclsResponse};
use wire::{ErrorCode, VersionRange};

use super::{Reply, RequestContext};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };

const MESSAGE: &str = "No Authorizer is configured on the broker";

pub(crate) async fn handle(cx: &RequestContext, _: DescribeAclsRequest<'_>) -> Reply {
    cx.failed(ErrorCode::SECURITY_DISABLED);
    cx.reply(&DescribeAclsResponse {
        error_code: ErrorCode::SECURITY_DISABLED,
        error_message: Some(MESSAGE),
        ..DescribeAclsResponse::default()
    })
}
