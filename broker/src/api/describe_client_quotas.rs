//! DescribeClientQuotas (key 48), versions 0-1 (KIP-546).
//!
//! - Entities whose types match all components: by name, by being the default, or by having the type at all. A
//!   strict filter leaves out entities with other types; an empty one that is not strict matches all.
//! - INVALID_REQUEST for an empty type, one that is named twice, a match that does not fit its kind, an unknown
//!   kind, and `ip` beside `user` or `client-id`; UNSUPPORTED_VERSION for an unknown type, as in Kafka.
//! - Needs DESCRIBE_CONFIGS on the cluster: CLUSTER_AUTHORIZATION_FAILED.
//! - What is answered is what this broker has been told of by the metadata store.

use std::collections::BTreeMap;

use coord::keys::quota::{QuotaEntity, QuotaName, QuotaRecord};
use security::acl::Operation;
use wire::messages::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse, EntityData,
    EntryData, ValueData,
};
use wire::{ErrorCode, Float64, VersionRange};

use super::create_topics::{Refusal, timed_out};
use super::{Reply, RequestContext};
use crate::control::ControlMsg;

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 1 };

/// Types of entities.
pub(super) const USER: &str = "user";
pub(super) const CLIENT_ID: &str = "client-id";
pub(super) const IP: &str = "ip";

/// Kinds of match.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

/// What an entity must match: by type, a name, or any.
type Filter<'a> = BTreeMap<&'a str, Option<QuotaName>>;

pub(crate) async fn handle(cx: &RequestContext, request: DescribeClientQuotasRequest<'_>) -> Reply {
    let found = find(cx, &request).await;
    let found = match &found {
        Ok(found) => found,
        Err((error_code, text)) => {
            cx.failed(*error_code);
            return cx.reply(&DescribeClientQuotasResponse {
                error_code: *error_code,
                error_message: Some(text),
                ..DescribeClientQuotasResponse::default()
            });
        }
    };
    let entries = found.iter().map(|(entity, record)| EntryData {
        entity: types(entity)
            .into_iter()
            .map(|(entity_type, name)| EntityData {
                entity_type,
                entity_name: text(name),
            })
            .collect(),
        values: record
            .values
            .iter()
            .map(|(key, value)| ValueData {
                key,
                value: Float64::new(*value),
            })
            .collect(),
    });
    cx.reply(&DescribeClientQuotasResponse {
        entries: Some(entries.collect()),
        ..DescribeClientQuotasResponse::default()
    })
}

async fn find(
    cx: &RequestContext,
    request: &DescribeClientQuotasRequest<'_>,
) -> Result<Vec<(QuotaEntity, QuotaRecord)>, Refusal> {
    let denied = |(code, text): (ErrorCode, &str)| (code, text.to_owned());
    cx.authorize_cluster(Operation::DescribeConfigs)
        .map_err(denied)?;
    let filter = filter(&request.components)?;
    let all = cx.shard.shared.control.ask(ControlMsg::Quotas).await;
    let mut all = all.map_err(|_| timed_out())?;
    all.retain(|(entity, _)| matches(entity, &filter, request.strict));
    Ok(all)
}

fn filter<'a>(components: &[ComponentData<'a>]) -> Result<Filter<'a>, Refusal> {
    let invalid = |text: String| Err((ErrorCode::INVALID_REQUEST, text));
    let mut filter = Filter::new();
    for component in components {
        let (kind, name) = (component.entity_type, component.match_name);
        if kind.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        if filter.contains_key(kind) {
            let text = format!("Entity type {kind} cannot appear more than once in the filter.");
            return invalid(text);
        }
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            let text = format!("Unsupported entity type {kind}");
            return Err((ErrorCode::UNSUPPORTED_VERSION, text));
        }
        let also = |kind: &str| {
            invalid(format!(
                "Request specified {kind}, but also specified a match string."
            ))
        };
        let wanted = match (component.match_type, name) {
            (EXACT, Some(name)) => Some(QuotaName::Named(name.to_owned())),
            (EXACT, None) => {
                let text = "Request specified MATCH_TYPE_EXACT, but set match string to null.";
                return invalid(text.to_owned());
            }
            (DEFAULT, None) => Some(QuotaName::Default),
            (DEFAULT, Some(_)) => return also("MATCH_TYPE_DEFAULT"),
            (SPECIFIED, None) => None,
            (SPECIFIED, Some(_)) => return also("MATCH_TYPE_SPECIFIED"),
            (other, _) => return invalid(format!("Unknown match type {other}")),
        };
        filter.insert(kind, wanted);
    }
    if filter.contains_key(IP) && filter.len() > 1 {
        let text = "Invalid entity filter component combination. IP filter component should not be \
                    used with user or clientId filter component.";
        return invalid(text.to_owned());
    }
    Ok(filter)
}

fn matches(entity: &QuotaEntity, filter: &Filter<'_>, strict: bool) -> bool {
    let types = types(entity);
    let has = |(kind, wanted): (&&str, &Option<QuotaName>)| {
        let found = types.iter().find(|(own, _)| own == kind);
        found.is_some_and(|(_, name)| wanted.as_ref().is_none_or(|wanted| wanted == *name))
    };
    (!strict || types.len() == filter.len()) && filter.iter().all(has)
}

/// The types of an entity, with its name of each.
fn types(entity: &QuotaEntity) -> Vec<(&'static str, &QuotaName)> {
    match entity {
        QuotaEntity::User(user) => vec![(USER, user)],
        QuotaEntity::Client(client) => vec![(CLIENT_ID, client)],
        QuotaEntity::UserClient(user, client) => vec![(USER, user), (CLIENT_ID, client)],
        QuotaEntity::Ip(ip) => vec![(IP, ip)],
    }
}

/// A name on the wire: null is the default.
fn text(name: &QuotaName) -> Option<&str> {
    match name {
        QuotaName::Default => None,
        QuotaName::Named(name) => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component<'a>(kind: &'a str, match_type: i8, name: Option<&'a str>) -> ComponentData<'a> {
        ComponentData {
            entity_type: kind,
            match_type,
            match_name: name,
        }
    }

    fn named(name: &str) -> QuotaName {
        QuotaName::Named(name.to_owned())
    }

    #[test]
    fn a_filter_matches_what_has_all_its_types_and_a_strict_one_nothing_else() {
        let user = QuotaEntity::User(named("u"));
        let both = QuotaEntity::UserClient(named("u"), QuotaName::Default);
        let client = QuotaEntity::Client(named("c"));
        let ip = QuotaEntity::Ip(named("10.0.0.1"));
        let all = [&user, &both, &client, &ip];
        let found = |components: &[ComponentData<'_>], strict| -> Vec<usize> {
            let filter = filter(components).unwrap();
            let of = all.iter().enumerate();
            of.filter(|(_, entity)| matches(entity, &filter, strict))
                .map(|(index, _)| index)
                .collect()
        };
        assert_eq!(found(&[], false), [0, 1, 2, 3]);
        assert_eq!(found(&[], true), [] as [usize; 0]);
        assert_eq!(found(&[component(USER, EXACT, Some("u"))], false), [0, 1]);
        assert_eq!(found(&[component(USER, EXACT, Some("u"))], true), [0]);
        assert_eq!(
            found(&[component(USER, EXACT, Some("v"))], false),
            [] as [usize; 0]
        );
        assert_eq!(
            found(&[component(USER, DEFAULT, None)], false),
            [] as [usize; 0]
        );
        assert_eq!(
            found(&[component(CLIENT_ID, SPECIFIED, None)], false),
            [1, 2]
        );
        assert_eq!(found(&[component(CLIENT_ID, DEFAULT, None)], false), [1]);
        let pair = [
            component(USER, SPECIFIED, None),
            component(CLIENT_ID, SPECIFIED, None),
        ];
        assert_eq!(found(&pair, true), [1]);
        assert_eq!(found(&[component(IP, SPECIFIED, None)], true), [3]);
    }

    #[test]
    fn filters_that_kafka_refuses_are_refused() {
        let code = |components: &[ComponentData<'_>]| filter(components).unwrap_err().0;
        for refused in [
            vec![component("", EXACT, Some("x"))],
            vec![component(USER, EXACT, None)],
            vec![component(USER, DEFAULT, Some("x"))],
            vec![component(USER, SPECIFIED, Some("x"))],
            vec![component(USER, 3, None)],
            vec![
                component(USER, DEFAULT, None),
                component(USER, DEFAULT, None),
            ],
            vec![component(IP, DEFAULT, None), component(USER, DEFAULT, None)],
        ] {
            assert_eq!(code(&refused), ErrorCode::INVALID_REQUEST, "{refused:?}");
        }
        assert_eq!(
            code(&[component("host", DEFAULT, None)]),
            ErrorCode::UNSUPPORTED_VERSION
        );
    }
}
