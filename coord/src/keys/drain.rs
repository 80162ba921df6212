//! `drains/{broker id, 10 digits}`: an operator's wish that a broker gives everything away. Not
//! bound to a session: it holds across restarts of the broker, until it is taken back.

use segment::{BrokerId, TimestampMs};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::{KeyError, Keyspace, parse_ten_digits};
use crate::kv::{Key, Span};

const FOLDER: &str = "drains/";

/// A wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// When it was made.
    #[serde(with = "codec::number")]
    pub since_ms: TimestampMs,
}

impl Record for DrainRecord {
    const NAME: &'static str = "drain";
}

/// The key of a broker's drain.
///
/// # Panics
/// When the id is negative: settings and flags are checked before.
pub fn key(space: &Keyspace, broker: BrokerId) -> Key {
    let id = broker.get();
    assert!(id >= 0, "broker id {id} is negative");
    space.key(format_args!("{FOLDER}{id:010}"))
}

/// All of them.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The broker id in a drain key.
///
/// # Errors
/// [`KeyError`] if it is not a drain key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<BrokerId, KeyError> {
    let rest = space.rest(key, FOLDER, "drain")?;
    let id = parse_ten_digits(rest);
    id.map(BrokerId::new).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "drain",
    })
}
