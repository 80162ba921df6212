//! Who is logged in, and what there is to log in to.

use serde::Serialize;

use super::Question;

/// Answer of `GET /api/v1/session`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Session {
    user: Option<String>,
    is_admin: bool,
    /// Whether nothing is shown without a login.
    needs_login: bool,
    /// Whether there is anything to log in to.
    has_login: bool,
    /// Whether what is typed is encrypted on its way.
    is_tls: bool,
    broker: i32,
    cluster: String,
}

pub(in crate::console) fn show(question: &Question<'_>, is_tls: bool) -> Session {
    let service = question.service;
    let access = &service.access;
    Session {
        user: question.viewer.name().map(str::to_owned),
        is_admin: access.is_admin(question.viewer),
        needs_login: access.needs_login,
        has_login: access.has_login(),
        is_tls,
        broker: service.context.node.id.get(),
        cluster: service.context.config.broker.cluster.clone(),
    }
}
