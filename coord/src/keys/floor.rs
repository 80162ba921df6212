//! `floors/{session}`: below which all WAL objects of a session are known to be committed, and only
//! they may have been deleted. Has no lease: it is where a taker starts to fence. Absent: 0.

use segment::{SessionId, WalSequence};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::{KeyError, Keyspace, parse_exact};
use crate::kv::{Key, Span};

const FOLDER: &str = "floors/";

/// The floor of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorRecord {
    /// Every sequence below it is committed.
    #[serde(with = "codec::number")]
    pub floor: WalSequence,
}

impl Record for FloorRecord {
    const NAME: &'static str = "floor";
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
    let expected = "floor";
    let rest = space.rest(key, FOLDER, expected)?;
    parse_exact(rest).ok_or_else(|| KeyError {
        key: key.clone(),
        expected,
    })
}
