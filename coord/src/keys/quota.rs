//! `quotas/{entity}`: the quotas of an entity (Kafka's AlterClientQuotas). An entity is a user, a client
//! id, both, or an IP address: `user={name}`, `client-id={name}`, `user={name}/client-id={name}`,
//! `ip={address}`. A name is escaped, `<default>` stands for every name that has no quotas of its own.
//! Absent means that there are none.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use super::codec::Record;
use super::space::{KeyError, Keyspace, escape, unescape};
use crate::kv::{Key, Span};

const FOLDER: &str = "quotas/";
/// How the default is written in a key: no escaped name has such characters.
const DEFAULT: &str = "<default>";

/// A name of an entity, or the default.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaName {
    /// Whoever has no quotas of their own.
    Default,
    /// Who has this name.
    Named(String),
}

/// What has quotas.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaEntity {
    /// All clients of a user.
    User(QuotaName),
    /// All clients with a client id, whoever uses it.
    Client(QuotaName),
    /// The clients of a user with a client id.
    UserClient(QuotaName, QuotaName),
    /// An IP address.
    Ip(QuotaName),
}

/// The quotas of an entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaRecord {
    /// Values by name, as Kafka names them. As text: a JSON number is not read back to the last bit.
    #[serde(with = "values")]
    pub values: BTreeMap<String, f64>,
}

impl Record for QuotaRecord {
    const NAME: &'static str = "quota";

    fn check(&self) -> Result<(), String> {
        match self.values.iter().find(|(_, value)| !value.is_finite()) {
            Some((name, value)) => Err(format!("{name} is {value}")),
            None => Ok(()),
        }
    }
}

mod values {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        values: &BTreeMap<String, f64>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(values.iter().map(|(name, value)| (name, value.to_string())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, f64>, D::Error> {
        let texts = BTreeMap::<String, String>::deserialize(from)?;
        let parse = |(name, text): (String, String)| Ok((name, text.parse()?));
        let values: Result<_, std::num::ParseFloatError> = texts.into_iter().map(parse).collect();
        values.map_err(D::Error::custom)
    }
}

impl Display for QuotaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str(DEFAULT),
            Self::Named(name) => f.write_str(&escape(name)),
        }
    }
}

/// As in its key.
impl Display for QuotaEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user={user}"),
            Self::Client(client) => write!(f, "client-id={client}"),
            Self::UserClient(user, client) => write!(f, "user={user}/client-id={client}"),
            Self::Ip(ip) => write!(f, "ip={ip}"),
        }
    }
}

/// The key of an entity's quotas.
pub fn key(space: &Keyspace, entity: &QuotaEntity) -> Key {
    space.key(format_args!("{FOLDER}{entity}"))
}

/// The quotas of all entities.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The entity in the key of quotas.
///
/// # Errors
/// [`KeyError`] if it is not the key of quotas.
pub fn parse(space: &Keyspace, key: &Key) -> Result<QuotaEntity, KeyError> {
    let rest = space.rest(key, FOLDER, "quota")?;
    parse_entity(rest).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "quota",
    })
}

fn parse_entity(text: &str) -> Option<QuotaEntity> {
    let name = |part: &str, kind: &str| {
        let text = part.strip_prefix(kind)?.strip_prefix('=')?;
        match text {
            DEFAULT => Some(QuotaName::Default),
            text => unescape(text).map(QuotaName::Named),
        }
    };
    if let Some((user, client)) = text.split_once('/') {
        let (user, client) = (name(user, "user")?, name(client, "client-id")?);
        return Some(QuotaEntity::UserClient(user, client));
    }
    name(text, "user")
        .map(QuotaEntity::User)
        .or_else(|| name(text, "client-id").map(QuotaEntity::Client))
        .or_else(|| name(text, "ip").map(QuotaEntity::Ip))
}
