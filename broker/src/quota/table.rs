//! Which quota holds for whom: Kafka's order of precedence.

use std::collections::BTreeMap;

use coord::keys::quota::{QuotaEntity, QuotaName, QuotaRecord};

use super::{QuotaKind, Rate, Window};

/// Whose budget it is: clients with the same key share it. The rate is a part of it, so that a changed
/// quota begins with a budget of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketKey {
    kind: QuotaKind,
    user: Option<String>,
    client: Option<String>,
    per_second: u64,
}

/// The quotas of users and clients.
#[derive(Debug, Default)]
pub struct QuotaTable {
    entities: BTreeMap<QuotaEntity, QuotaRecord>,
}

impl QuotaTable {
    /// The quotas of those entities that are users or clients.
    pub fn new(all: &BTreeMap<QuotaEntity, QuotaRecord>) -> Self {
        let is_ip = |entity: &QuotaEntity| matches!(entity, QuotaEntity::Ip(_));
        let entities = all.iter().filter(|(entity, _)| !is_ip(entity));
        Self {
            entities: entities
                .map(|(entity, record)| (entity.clone(), record.clone()))
                .collect(),
        }
    }

    /// Whether nobody has a quota.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// What limits a client, and whose budget it uses. The most specific entity that has the quota counts.
    pub fn find(
        &self,
        kind: QuotaKind,
        user: &str,
        client: &str,
        window: &Window,
    ) -> Option<(BucketKey, Rate)> {
        let entity = candidates(user, client)
            .into_iter()
            .find(|entity| self.value(entity, kind).is_some())?;
        let per_second = kind.per_second(self.value(&entity, kind)?);
        // A user's budget is shared by all its clients, that of a client id by all users, also where the
        // quota is a default.
        let (user, client) = match entity {
            QuotaEntity::UserClient(..) => (Some(user), Some(client)),
            QuotaEntity::User(_) => (Some(user), None),
            QuotaEntity::Client(_) | QuotaEntity::Ip(_) => (None, Some(client)),
        };
        let key = BucketKey {
            kind,
            user: user.map(str::to_owned),
            client: client.map(str::to_owned),
            per_second: per_second.to_bits(),
        };
        Some((key, Rate::new(per_second, window.burst(kind))))
    }

    fn value(&self, entity: &QuotaEntity, kind: QuotaKind) -> Option<f64> {
        let value = *self.entities.get(entity)?.values.get(kind.name())?;
        // Others are refused before they are stored.
        (value > 0.0).then_some(value)
    }
}

/// The entities that a client belongs to, the most specific first. One without a client id belongs to
/// none of client ids, not even to the default.
fn candidates(user: &str, client: &str) -> Vec<QuotaEntity> {
    let user = || QuotaName::Named(user.to_owned());
    if client.is_empty() {
        return vec![
            QuotaEntity::User(user()),
            QuotaEntity::User(QuotaName::Default),
        ];
    }
    let client = || QuotaName::Named(client.to_owned());
    vec![
        QuotaEntity::UserClient(user(), client()),
        QuotaEntity::UserClient(user(), QuotaName::Default),
        QuotaEntity::User(user()),
        QuotaEntity::UserClient(QuotaName::Default, client()),
        QuotaEntity::UserClient(QuotaName::Default, QuotaName::Default),
        QuotaEntity::User(QuotaName::Default),
        QuotaEntity::Client(client()),
        QuotaEntity::Client(QuotaName::Default),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WINDOW: Window = Window {
        samples: 11,
        sample: Duration::from_secs(1),
    };

    /// Every entity that can have a quota for user `u` and client `c`, by how it is stored: user and client,
    /// each absent, named or the default.
    const ENTITIES: [(Option<&str>, Option<&str>); 8] = [
        (Some("u"), Some("c")),
        (Some("u"), Some("")),
        (Some("u"), None),
        (Some(""), Some("c")),
        (Some(""), Some("")),
        (Some(""), None),
        (None, Some("c")),
        (None, Some("")),
    ];

    fn name(text: &str) -> QuotaName {
        match text {
            "" => QuotaName::Default,
            text => QuotaName::Named(text.to_owned()),
        }
    }

    fn entity(user: Option<&str>, client: Option<&str>) -> QuotaEntity {
        match (user, client) {
            (Some(user), Some(client)) => QuotaEntity::UserClient(name(user), name(client)),
            (Some(user), None) => QuotaEntity::User(name(user)),
            (None, Some(client)) => QuotaEntity::Client(name(client)),
            (None, None) => unreachable!("an entity has a type"),
        }
    }

    fn table(set: &[(usize, f64)]) -> QuotaTable {
        let rows = set.iter().map(|(index, value)| {
            let (user, client) = ENTITIES[*index];
            let values = [(QuotaKind::Produce.name().to_owned(), *value)];
            let values = values.into();
            (entity(user, client), QuotaRecord { values })
        });
        QuotaTable::new(&rows.collect())
    }

    /// The order, worked out from how alike entity and client are: a named user before the default one before
    /// none, then a named client before the default one before none. It is the order of Kafka's documentation.
    fn oracle(set: &[(usize, f64)], user: &str, client: &str) -> Option<(usize, f64)> {
        let grade = |of: Option<&str>, it: &str, none: u8| match of {
            Some("") => Some(1),
            Some(named) if named == it => Some(2),
            Some(_) => None,
            None => Some(none),
        };
        let graded = set.iter().filter_map(|(index, value)| {
            let (of_user, of_client) = ENTITIES[*index];
            if client.is_empty() && of_client.is_some() {
                return None;
            }
            let rank = (grade(of_user, user, 0)?, grade(of_client, client, 0)?);
            Some((rank, (*index, *value)))
        });
        graded.max_by_key(|(rank, _)| *rank).map(|(_, found)| found)
    }

    #[test]
    fn the_most_specific_quota_counts_in_every_combination() {
        for mask in 0..256_u32 {
            let set: Vec<(usize, f64)> = (0..8)
                .filter(|bit| mask >> bit & 1 == 1)
                .map(|bit| (bit, 1.0 + bit as f64))
                .collect();
            let table = table(&set);
            assert_eq!(table.is_empty(), mask == 0);
            for (user, client) in [
                ("u", "c"),
                ("u", "d"),
                ("v", "c"),
                ("v", "d"),
                ("u", ""),
                ("v", ""),
            ] {
                let found = table.find(QuotaKind::Produce, user, client, &WINDOW);
                let expected = oracle(&set, user, client);
                let value = expected.map(|(_, value)| value);
                let rate = found.as_ref().map(|(_, rate)| rate.per_second);
                assert_eq!(rate, value, "{set:?} {user} {client}");
                // Who shares the budget.
                let shared = expected.map(|(index, _)| {
                    let (of_user, of_client) = ENTITIES[index];
                    (of_user.map(|_| user), of_client.map(|_| client))
                });
                let found = found
                    .as_ref()
                    .map(|(key, _)| (key.user.as_deref(), key.client.as_deref()));
                assert_eq!(found, shared, "{set:?} {user} {client}");
                assert_eq!(table.find(QuotaKind::Fetch, user, client, &WINDOW), None);
            }
        }
    }

    #[test]
    fn each_quota_is_looked_up_by_itself_and_in_its_own_unit() {
        let values = |pairs: &[(QuotaKind, f64)]| QuotaRecord {
            values: pairs
                .iter()
                .map(|(kind, value)| (kind.name().to_owned(), *value))
                .collect(),
        };
        let all = BTreeMap::from([
            (
                entity(Some("u"), None),
                values(&[(QuotaKind::Request, 25.0)]),
            ),
            (
                entity(None, Some("")),
                values(&[(QuotaKind::Request, 1.0), (QuotaKind::Mutation, 2.0)]),
            ),
            (QuotaEntity::Ip(QuotaName::Default), values(&[])),
        ]);
        let table = QuotaTable::new(&all);
        let find = |kind| table.find(kind, "u", "c", &WINDOW).map(|(_, rate)| rate);
        let request = find(QuotaKind::Request).unwrap();
        assert_eq!(request.per_second, 250e6, "a quarter of a thread, in ns");
        assert_eq!(request.burst(), 2.5e9);
        let mutation = find(QuotaKind::Mutation).unwrap();
        assert_eq!((mutation.per_second, mutation.burst()), (2.0, 22.0));
        assert_eq!(find(QuotaKind::Produce), None);
        assert!(
            QuotaTable::new(&BTreeMap::from([(
                QuotaEntity::Ip(QuotaName::Default),
                values(&[])
            )]))
            .is_empty()
        );
    }
}
