//! DeleteAcls (key 31), versions 1-3.
//!
//! - Removes the rules that each filter means and tells which they were; it is no error if there are none. Not in force any
//!   more on every broker once its watch has told of it, on this one when this is answered.
//! - INVALID_REQUEST for a filter with a code that there is not, or a principal that cannot be read; REQUEST_TIMED_OUT for
//!   all where the metadata store does not answer: some may have been removed.
//! - Needs ALTER on the cluster: CLUSTER_AUTHORIZATION_FAILED for each. SECURITY_DISABLED where no rules decide
//!   (`security.authorizer`).

use security::acl::{AclBinding, AclFilter, RawFilter};
use wire::messages::delete_acls::{
    DeleteAclsFilter, DeleteAclsFilterResult, DeleteAclsMatchingAcl,
};
use wire::messages::{DeleteAclsRequest, DeleteAclsResponse};
use wire::{ErrorCode, VersionRange};

use super::create_acls::may_alter;
use super::create_topics::{Refusal, timed_out};
use super::{Reply, RequestContext, alter_configs, error};
use crate::control::{AclsMsg, ControlMsg};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };

/// A rule with its principal as text.
type Shown = (AclBinding, String);

pub(crate) async fn handle(cx: &RequestContext, request: DeleteAclsRequest<'_>) -> Reply {
    let outcomes = match may_alter(cx) {
        Ok(()) => delete(cx, &request.filters).await,
        Err(refusal) => vec![Err(refusal); request.filters.len()],
    };
    let results = outcomes.iter().map(|outcome| match outcome {
        Ok(rules) => DeleteAclsFilterResult {
            error_message: None,
            matching_acls: rules.iter().map(matching).collect(),
            ..DeleteAclsFilterResult::default()
        },
        Err((error_code, text)) => {
            cx.failed(*error_code);
            DeleteAclsFilterResult {
                error_code: *error_code,
                error_message: Some(text),
                ..DeleteAclsFilterResult::default()
            }
        }
    });
    cx.reply(&DeleteAclsResponse {
        filter_results: results.collect(),
        ..DeleteAclsResponse::default()
    })
}

async fn delete(
    cx: &RequestContext,
    filters: &[DeleteAclsFilter<'_>],
) -> Vec<Result<Vec<Shown>, Refusal>> {
    let checked: Vec<Result<AclFilter, Refusal>> = filters.iter().map(check).collect();
    let wanted = checked.iter().filter_map(|it| it.as_ref().ok().cloned());
    let wanted: Vec<AclFilter> = wanted.collect();
    let control = &cx.shard.shared.control;
    let asked = control.ask(|reply| ControlMsg::Acls(AclsMsg::Delete(wanted, reply)));
    let deleted = cx.shard.at_most(alter_configs::WAIT, asked).await;
    let deleted = match deleted {
        Some(Ok(deleted)) => deleted.map_err(|error| (error::acl_code(&error), error.to_string())),
        None | Some(Err(_)) => Err(timed_out()),
    };
    let mut deleted = deleted.map(Vec::into_iter);
    let outcomes = checked.into_iter().map(|checked| {
        checked?;
        let rules = deleted.as_mut().map_err(|refusal| refusal.clone())?.next();
        let rules = rules.unwrap_or_default().into_iter();
        Ok(rules
            .map(|rule| {
                let principal = rule.principal.to_string();
                (rule, principal)
            })
            .collect())
    });
    outcomes.collect()
}

fn check(filter: &DeleteAclsFilter<'_>) -> Result<AclFilter, Refusal> {
    let raw = RawFilter {
        resource: filter.resource_type_filter,
        name: filter.resource_name_filter,
        pattern: filter.pattern_type_filter,
        principal: filter.principal_filter,
        host: filter.host_filter,
        operation: filter.operation,
        permission: filter.permission_type,
    };
    let invalid = |error: security::acl::AclError| (ErrorCode::INVALID_REQUEST, error.to_string());
    AclFilter::of_raw(&raw).map_err(invalid)
}

fn matching((rule, principal): &Shown) -> DeleteAclsMatchingAcl<'_> {
    DeleteAclsMatchingAcl {
        error_code: ErrorCode::NONE,
        error_message: None,
        resource_type: rule.resource.code(),
        resource_name: &rule.name,
        pattern_type: rule.pattern.code(),
        principal,
        host: &rule.host,
        operation: rule.operation.code(),
        permission_type: rule.permission.code(),
    }
}
