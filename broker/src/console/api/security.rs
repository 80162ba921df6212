//! Who may connect and who may do what: listeners, users, rules. For those who may DESCRIBE the cluster.

use serde::Serialize;

use super::{Paging, Question};
use crate::config::UNNAMED;
use crate::console::call::Refused;

/// Users that are shown.
const USERS_MAX: usize = 2_000;

/// Answer of `GET /api/v1/security`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Shown {
    listeners: Vec<Listener>,
    /// Whether clients of any listener must show who they are.
    is_on: bool,
    /// Whether rules decide what clients may do.
    has_authorizer: bool,
    super_users: Vec<String>,
    users: Vec<User>,
    users_total: usize,
    rules: Vec<Rule>,
    rules_total: usize,
    page: usize,
    per: usize,
}

#[derive(Debug, Serialize)]
struct Listener {
    name: Option<String>,
    address: String,
    protocol: &'static str,
    mechanisms: Vec<String>,
}

#[derive(Debug, Serialize)]
struct User {
    name: String,
    credentials: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Rule {
    principal: String,
    permission: &'static str,
    operation: &'static str,
    resource: &'static str,
    name: String,
    pattern: &'static str,
    host: String,
}

pub(in crate::console) fn show(question: &Question<'_>) -> Result<Shown, Refused> {
    let service = question.service;
    if !service.access.may_describe_cluster(question.viewer) {
        return Err(Refused::forbidden("this needs DESCRIBE on the cluster"));
    }
    let paging = Paging::of(question.query)?;
    let (context, config) = (&service.context, &service.context.config);
    let listeners = config.kafka_listeners();
    let security = context.users.security();
    let credentials = security.credentials();
    let users = credentials.users();
    let all = context.acls.all();
    let settings = &config.security;
    let has_admin = settings.admin_password.is_some() || settings.admin_password_file.is_some();
    let admin = has_admin.then(|| format!("User:{}", settings.admin_user));
    Ok(Shown {
        is_on: listeners.iter().any(|it| it.authenticates()),
        has_authorizer: security.authorizer().is_some(),
        super_users: admin
            .into_iter()
            .chain(settings.super_users.clone())
            .collect(),
        users_total: users.len(),
        users: users
            .iter()
            .take(USERS_MAX)
            .map(|(name, verifiers)| User {
                name: (*name).to_owned(),
                credentials: verifiers.iter().map(|it| credential(it)).collect(),
            })
            .collect(),
        rules_total: all.len(),
        rules: paging.cut(all).into_iter().map(rule).collect(),
        page: paging.page,
        per: paging.per,
        listeners: listeners
            .into_iter()
            .map(|it| Listener {
                protocol: it.protocol.kafka_name(),
                address: it.addr.to_string(),
                mechanisms: it.mechanisms.iter().map(ToString::to_string).collect(),
                name: (it.name != UNNAMED).then_some(it.name),
            })
            .collect(),
    })
}

fn credential(verifier: &security::scram::Verifier) -> String {
    let mechanism = security::Mechanism::Scram(verifier.hash());
    format!("{mechanism}, {} iterations", verifier.iterations())
}

fn rule(rule: security::acl::AclBinding) -> Rule {
    Rule {
        principal: rule.principal.to_string(),
        permission: rule.permission.word(),
        operation: rule.operation.word(),
        resource: rule.resource.word(),
        name: rule.name,
        pattern: rule.pattern.word(),
        host: rule.host,
    }
}
