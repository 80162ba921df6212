//! CreateAcls (key 30), versions 1-3.
//!
//! - Adds rules, each for itself; one that is there already is no error. In force on every broker once its watch has told
//!   of it, on this one when this is answered.
//! - INVALID_REQUEST for a code, name, principal or host that no rule can have, and beyond the bound on rules of a cluster;
//!   REQUEST_TIMED_OUT where the metadata store does not answer: the rule may have been added.
//! - Needs ALTER on the cluster: CLUSTER_AUTHORIZATION_FAILED for each. SECURITY_DISABLED where no rules decide
//!   (`security.authorizer`).

use security::acl::{AclBinding, Operation, RawBinding};
use wire::messages::create_acls::{AclCreation, AclCreationResult};
use wire::messages::{CreateAclsRequest, CreateAclsResponse};
use wire::{ErrorCode, VersionRange};

use super::create_topics::{Refusal, timed_out};
use super::{Reply, RequestContext, alter_configs, error};
use crate::control::{AclsMsg, ControlMsg};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };
/// What Kafka says to whoever changes access control lists that nothing looks at.
const DISABLED: &str = "No Authorizer is configured.";

pub(crate) async fn handle(cx: &RequestContext, request: CreateAclsRequest<'_>) -> Reply {
    let outcomes = match may_alter(cx) {
        Ok(()) => create(cx, &request.creations).await,
        Err(refusal) => vec![Err(refusal); request.creations.len()],
    };
    let results = outcomes.iter().map(|outcome| {
        let (error_code, error_message) = alter_configs::outcome_fields(cx, outcome);
        AclCreationResult {
            error_code,
            error_message,
        }
    });
    cx.reply(&CreateAclsResponse {
        results: results.collect(),
        ..CreateAclsResponse::default()
    })
}

/// Whether its client may change rules, and there is a use for them.
pub(super) fn may_alter(cx: &RequestContext) -> Result<(), Refusal> {
    if cx.shard.shared.security.authorizer().is_none() {
        return Err((ErrorCode::SECURITY_DISABLED, DISABLED.to_owned()));
    }
    let denied = |(code, text): (ErrorCode, &str)| (code, text.to_owned());
    cx.authorize_cluster(Operation::Alter).map_err(denied)
}

async fn create(cx: &RequestContext, creations: &[AclCreation<'_>]) -> Vec<Result<(), Refusal>> {
    let checked: Vec<Result<AclBinding, Refusal>> = creations.iter().map(check).collect();
    let rules = checked.iter().filter_map(|it| it.as_ref().ok().cloned());
    let rules: Vec<AclBinding> = rules.collect();
    let by = cx.identity.principal();
    let control = &cx.shard.shared.control;
    let asked = control.ask(|reply| ControlMsg::Acls(AclsMsg::Create(rules, by, reply)));
    let created = cx.shard.at_most(alter_configs::WAIT, asked).await;
    let mut created = created.and_then(Result::ok).map(Vec::into_iter);
    let outcomes = checked.into_iter().map(|checked| {
        checked?;
        match created.as_mut().and_then(Iterator::next) {
            Some(outcome) => outcome.map_err(|error| (error::acl_code(&error), error.to_string())),
            None => Err(timed_out()),
        }
    });
    outcomes.collect()
}

fn check(creation: &AclCreation<'_>) -> Result<AclBinding, Refusal> {
    let raw = RawBinding {
        resource: creation.resource_type,
        name: creation.resource_name,
        pattern: creation.resource_pattern_type,
        principal: creation.principal,
        host: creation.host,
        operation: creation.operation,
        permission: creation.permission_type,
    };
    let invalid = |error: security::acl::AclError| (ErrorCode::INVALID_REQUEST, error.to_string());
    raw.check().map_err(invalid)
}
