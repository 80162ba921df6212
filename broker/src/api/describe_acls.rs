//! DescribeAcls (key 29), versions 1-3.
//!
//! - The rules that a filter means, as this broker has been told of them, by resource.
//! - INVALID_REQUEST for a code that there is not, or a principal that cannot be read.
//! - Needs DESCRIBE on the cluster: CLUSTER_AUTHORIZATION_FAILED. SECURITY_DISABLED where no rules decide
//!   (`security.authorizer`).

use security::acl::{AclBinding, AclFilter, Operation, RawFilter};
use wire::messages::describe_acls::{AclDescription, DescribeAclsResource};
use wire::messages::{DescribeAclsRequest, DescribeAclsResponse};
use wire::{ErrorCode, VersionRange};

use super::create_topics::{Refusal, timed_out};
use super::{Reply, RequestContext};
use crate::control::{AclsMsg, ControlMsg};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };

const DISABLED: &str = "No Authorizer is configured on the broker";

pub(crate) async fn handle(cx: &RequestContext, request: DescribeAclsRequest<'_>) -> Reply {
    let found = match find(cx, &request).await {
        Ok(found) => found,
        Err((error_code, text)) => {
            cx.failed(error_code);
            return cx.reply(&DescribeAclsResponse {
                error_code,
                error_message: Some(&text),
                ..DescribeAclsResponse::default()
            });
        }
    };
    let principals: Vec<String> = found
        .iter()
        .map(|rule| rule.principal.to_string())
        .collect();
    let rows: Vec<(&AclBinding, &str)> = found
        .iter()
        .zip(principals.iter().map(String::as_str))
        .collect();
    let of_one = |(a, _): &(&AclBinding, &str), (b, _): &(&AclBinding, &str)| {
        (a.resource, a.pattern, &a.name) == (b.resource, b.pattern, &b.name)
    };
    let resources = rows.chunk_by(of_one).map(|rows| {
        let (first, _) = rows[0];
        DescribeAclsResource {
            resource_type: first.resource.code(),
            resource_name: &first.name,
            pattern_type: first.pattern.code(),
            acls: rows.iter().map(description).collect(),
        }
    });
    cx.reply(&DescribeAclsResponse {
        error_message: None,
        resources: resources.collect(),
        ..DescribeAclsResponse::default()
    })
}

/// The rules, those of one resource beside each other.
async fn find(
    cx: &RequestContext,
    request: &DescribeAclsRequest<'_>,
) -> Result<Vec<AclBinding>, Refusal> {
    if cx.shard.shared.security.authorizer().is_none() {
        return Err((ErrorCode::SECURITY_DISABLED, DISABLED.to_owned()));
    }
    let denied = |(code, text): (ErrorCode, &str)| (code, text.to_owned());
    cx.authorize_cluster(Operation::Describe).map_err(denied)?;
    let raw = RawFilter {
        resource: request.resource_type_filter,
        name: request.resource_name_filter,
        pattern: request.pattern_type_filter,
        principal: request.principal_filter,
        host: request.host_filter,
        operation: request.operation,
        permission: request.permission_type,
    };
    let filter = AclFilter::of_raw(&raw);
    let filter = filter.map_err(|error| (ErrorCode::INVALID_REQUEST, error.to_string()))?;
    let control = &cx.shard.shared.control;
    let asked = control.ask(|reply| ControlMsg::Acls(AclsMsg::Find(filter, reply)));
    asked.await.map_err(|_| timed_out())
}

fn description<'a>((rule, principal): &(&'a AclBinding, &'a str)) -> AclDescription<'a> {
    AclDescription {
        principal,
        host: &rule.host,
        operation: rule.operation.code(),
        permission_type: rule.permission.code(),
    }
}
