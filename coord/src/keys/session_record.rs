//! `session-records/{session}`: that a session was. Never deleted: WAL objects of a
//! session that has no such record are reported, never swept.

use segment::{BrokerId, SessionId, TimestampMs};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::{KeyError, Keyspace, parse_exact};
use crate::kv::{Key, Span};

const FOLDER: &str = "session-records/";

/// One life of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHistoryRecord {
    /// Its broker id.
    #[serde(with = "codec::number")]
    pub broker: BrokerId,
    /// When it began, by its own clock: for people only.
    #[serde(with = "codec::number")]
    pub started_ms: TimestampMs,
}

impl Record for SessionHistoryRecord {
    const NAME: &'static str = "session record";
}

/// The key for a session.
pub fn key(space: &Keyspace, session: SessionId) -> Key {
    space.key(format_args!("{FOLDER}{session}"))
}

/// All of them.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The session in such a key.
///
/// # Errors
/// [`KeyError`] if it is not a key of this type.
pub fn parse(space: &Keyspace, key: &Key) -> Result<SessionId, KeyError> {
    let expected = "session record";
    let rest = space.rest(key, FOLDER, expected)?;
    parse_exact(rest).ok_or_else(|| KeyError {
        key: key.clone(),
        expected,
    })
}
