//! AlterClientQuotas (key 49), versions 0-1 (KIP-546).
//!
//! - Sets and removes quotas of users, client ids, both together, and IP addresses; a null name is the default.
//!   They are kept in the metadata store and hold on every broker once its watch has told of them; on this one
//!   when this is answered. Validation only is honored.
//! - INVALID_REQUEST for an entity that is empty, of an unknown type, with an empty name, that combines `ip` with
//!   another type or is named twice, for a quota that is unknown for its entity, named twice, not above 0, or too
//!   large or a fraction where Kafka wants a whole number, and for a host that cannot be looked up. The other
//!   entities of the request are changed all the same. REQUEST_TIMED_OUT where the metadata store cannot be
//!   reached: the change may have been made.
//! - Needs ALTER_CONFIGS on the cluster: CLUSTER_AUTHORIZATION_FAILED.
//! - Quotas are enforced by each broker for itself, as in Kafka; see [`crate::quota`].

use std::collections::{BTreeMap, HashSet};

use coord::keys::quota::{QuotaEntity, QuotaName};
use security::acl::Operation;
use wire::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, EntityData, RequestEntryData,
    ResponseEntryData,
};
use wire::{ErrorCode, VersionRange};

use super::create_topics::{Refusal, timed_out};
use super::describe_client_quotas::{CLIENT_ID, IP, USER};
use super::{Reply, RequestContext, alter_configs, error};
use crate::control::{ControlMsg, QuotaChange};
use crate::quota::{CONNECTION_RATE, QuotaKind};

/// Versions served.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 0, max: 1 };

/// How far a number may be from a whole one and still count as it.
const FRACTION_MAX: f64 = 1e-6;

/// Which numbers a quota takes, beside being above 0.
#[derive(Clone, Copy)]
enum Numbers {
    /// Any.
    Double,
    /// Whole ones up to this, Kafka's name of the type.
    Whole(f64, &'static str),
}

pub(crate) async fn handle(cx: &RequestContext, request: AlterClientQuotasRequest<'_>) -> Reply {
    if let Err((error_code, text)) = cx.authorize_cluster(Operation::AlterConfigs) {
        cx.failed(error_code);
        let entries = request.entries.iter().map(|entry| ResponseEntryData {
            error_code,
            error_message: Some(text),
            entity: entry.entity.clone(),
        });
        return cx.reply(&AlterClientQuotasResponse {
            entries: entries.collect(),
            ..AlterClientQuotasResponse::default()
        });
    }
    let checked = check(&request.entries);
    let changes = checked.iter().filter_map(|it| it.as_ref().ok().cloned());
    let changes: Vec<QuotaChange> = changes.collect();
    let validate_only = request.validate_only;
    let control = &cx.shard.shared.control;
    let asked = control.ask(|reply| ControlMsg::AlterQuotas {
        changes,
        validate_only,
        reply,
    });
    let altered = cx.shard.at_most(alter_configs::WAIT, asked).await;
    let mut altered = altered.and_then(Result::ok).map(Vec::into_iter);
    let outcomes: Vec<Result<(), Refusal>> = checked
        .into_iter()
        .map(|checked| {
            checked?;
            match altered.as_mut().and_then(Iterator::next) {
                Some(outcome) => {
                    outcome.map_err(|error| (error::quota_code(&error), error.to_string()))
                }
                None => Err(timed_out()),
            }
        })
        .collect();
    let entries = request.entries.iter().zip(&outcomes);
    let entries = entries.map(|(entry, outcome)| {
        let (error_code, error_message) = alter_configs::outcome_fields(cx, outcome);
        ResponseEntryData {
            error_code,
            error_message,
            entity: entry.entity.clone(),
        }
    });
    cx.reply(&AlterClientQuotasResponse {
        entries: entries.collect(),
        ..AlterClientQuotasResponse::default()
    })
}

fn invalid<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err((ErrorCode::INVALID_REQUEST, text.into()))
}

/// What each entry wants.
fn check(entries: &[RequestEntryData<'_>]) -> Vec<Result<QuotaChange, Refusal>> {
    let mut seen = HashSet::new();
    let check = |entry: &RequestEntryData<'_>| {
        let change = change(entry)?;
        if !seen.insert(change.entity.clone()) {
            return invalid(format!("Ignoring duplicate entity {}", change.entity));
        }
        Ok(change)
    };
    entries.iter().map(check).collect()
}

fn change(entry: &RequestEntryData<'_>) -> Result<QuotaChange, Refusal> {
    let entity = entity(&entry.entity)?;
    let mut values = BTreeMap::new();
    for op in &entry.ops {
        let value = (!op.remove).then(|| op.value.get());
        if values.insert(op.key.to_owned(), value).is_some() {
            return invalid(format!(
                "Duplicate quota key {} not updating quota for this entity {entity}",
                op.key
            ));
        }
    }
    for (name, value) in &values {
        if let Some(value) = value {
            check_value(&entity, name, *value)?;
        }
    }
    // What was never taken cannot be there to be removed.
    values.retain(|name, value| value.is_some() || numbers(&entity, name).is_some());
    Ok(QuotaChange { entity, values })
}

fn entity(parts: &[EntityData<'_>]) -> Result<QuotaEntity, Refusal> {
    let (mut user, mut client, mut ip) = (None, None, None);
    for part in parts {
        let place = match part.entity_type {
            USER => &mut user,
            CLIENT_ID => &mut client,
            IP => &mut ip,
            other => return invalid(format!("Unhandled client quota entity type: {other}")),
        };
        let name = match part.entity_name {
            None => QuotaName::Default,
            Some("") => return invalid(format!("Empty {} not supported", part.entity_type)),
            Some(name) => QuotaName::Named(name.to_owned()),
        };
        if place.replace(name).is_some() {
            return invalid(format!(
                "Invalid client quota entity, duplicate entity entry {}",
                part.entity_type
            ));
        }
    }
    match (user, client, ip) {
        (None, None, None) => invalid("Invalid empty client quota entity"),
        (None, None, Some(ip)) => Ok(QuotaEntity::Ip(ip)),
        (_, _, Some(_)) => invalid(
            "Invalid quota entity combination, IP entity should not be combined with User or ClientId",
        ),
        (Some(user), None, None) => Ok(QuotaEntity::User(user)),
        (None, Some(client), None) => Ok(QuotaEntity::Client(client)),
        (Some(user), Some(client), None) => Ok(QuotaEntity::UserClient(user, client)),
    }
}

/// What numbers a quota takes; none if entities of this kind have no such quota.
fn numbers(entity: &QuotaEntity, name: &str) -> Option<Numbers> {
    if let QuotaEntity::Ip(_) = entity {
        return (name == CONNECTION_RATE).then_some(Numbers::Whole(f64::from(i32::MAX), "an INT"));
    }
    let kind = QuotaKind::OF_CLIENTS
        .into_iter()
        .find(|kind| kind.name() == name)?;
    Some(match kind {
        QuotaKind::Produce
        | QuotaKind::Fetch
        | QuotaKind::NamespaceProduce
        | QuotaKind::NamespaceFetch => Numbers::Whole(i64::MAX as f64, "a LONG"),
        QuotaKind::Request | QuotaKind::Mutation => Numbers::Double,
    })
}

fn check_value(entity: &QuotaEntity, name: &str, value: f64) -> Result<(), Refusal> {
    let Some(numbers) = numbers(entity, name) else {
        return invalid(format!("Invalid configuration key {name}"));
    };
    // Kafka takes what is not a number and what has no end; neither can be enforced.
    if value <= 0.0 || !value.is_finite() {
        return invalid(format!("Quota {name} must be greater than 0"));
    }
    match numbers {
        Numbers::Whole(max, kind) if value > max => invalid(format!(
            "Proposed value for {name} is too large for {kind}."
        )),
        Numbers::Whole(..) if value.fract() > FRACTION_MAX => {
            invalid(format!("{name} cannot be a fractional value."))
        }
        Numbers::Whole(..) | Numbers::Double => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use wire::Float64;
    use wire::messages::alter_client_quotas::OpData;

    use super::*;

    type Part = (&'static str, Option<&'static str>);

    fn entry(entity: &[Part], ops: &[(&'static str, Option<f64>)]) -> RequestEntryData<'static> {
        let part = |(entity_type, entity_name): &Part| EntityData {
            entity_type,
            entity_name: *entity_name,
        };
        let op = |(key, value): &(&'static str, Option<f64>)| OpData {
            key,
            value: Float64::new(value.unwrap_or_default()),
            remove: value.is_none(),
        };
        RequestEntryData {
            entity: entity.iter().map(part).collect(),
            ops: ops.iter().map(op).collect(),
        }
    }

    fn refused(entity: &[Part], ops: &[(&'static str, Option<f64>)]) -> String {
        let (code, text) = change(&entry(entity, ops)).unwrap_err();
        assert_eq!(code, ErrorCode::INVALID_REQUEST);
        text
    }

    const U: Part = (USER, Some("u"));
    const C: Part = (CLIENT_ID, None);
    const A: Part = (IP, Some("10.0.0.1"));

    #[test]
    fn entities_are_those_of_kafka() {
        let taken = |parts: &[Part]| change(&entry(parts, &[])).unwrap().entity.to_string();
        assert_eq!(taken(&[U]), "user=u");
        assert_eq!(taken(&[C]), "client-id=<default>");
        assert_eq!(taken(&[C, U]), "user=u/client-id=<default>");
        assert_eq!(taken(&[A]), "ip=10.0.0.1");
        assert!(refused(&[], &[]).contains("empty client quota entity"));
        assert!(refused(&[("host", None)], &[]).contains("Unhandled"));
        assert!(refused(&[(USER, Some(""))], &[]).contains("Empty user"));
        assert!(refused(&[U, U], &[]).contains("duplicate entity entry user"));
        assert!(refused(&[A, U], &[]).contains("should not be combined"));
    }

    #[test]
    fn values_are_those_of_kafka() {
        let produce = "producer_byte_rate";
        let change = change(&entry(
            &[U],
            &[(produce, Some(5.0)), ("request_percentage", None)],
        ));
        let values: Vec<_> = change.unwrap().values.into_iter().collect();
        let expected = [
            (produce.to_owned(), Some(5.0)),
            ("request_percentage".to_owned(), None),
        ];
        assert_eq!(values, expected);
        let says = |ops: &[(&'static str, Option<f64>)], text: &str| {
            let found = refused(&[U], ops);
            assert!(found.contains(text), "{found}");
        };
        says(&[("x", Some(1.0))], "Invalid configuration key x");
        says(&[(CONNECTION_RATE, Some(1.0))], "Invalid configuration key");
        says(&[(produce, Some(0.0))], "greater than 0");
        says(&[(produce, Some(f64::NAN))], "greater than 0");
        says(&[(produce, Some(1.5))], "fractional");
        says(&[(produce, Some(1e19))], "too large for a LONG");
        says(
            &[(produce, Some(1.0)), (produce, None)],
            "Duplicate quota key",
        );
        assert!(refused(&[A], &[(CONNECTION_RATE, Some(3e9))]).contains("too large for an INT"));
        assert!(refused(&[A], &[(produce, Some(1.0))]).contains("Invalid configuration key"));
    }

    #[test]
    fn an_entity_that_is_named_twice_is_changed_once() {
        let twice = [entry(&[U], &[]), entry(&[U], &[]), entry(&[C], &[])];
        let outcomes: Vec<bool> = check(&twice).iter().map(Result::is_ok).collect();
        assert_eq!(outcomes, [true, false, true]);
    }
}
