//! `committed/{session}`: the sequence up to which a session has committed, in the
//! guarded commit mode only, where it takes the place of fences. Absent: 0.

use segment::{SessionId, WalSequence};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::{KeyError, Keyspace, parse_exact};
use crate::kv::{Key, Span};

const FOLDER: &str = "committed/";

/// What a session has committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedRecord {
    /// The sequence after the last that is committed.
    #[serde(with = "codec::number")]
    pub end: WalSequence,
}

impl Record for CommittedRecord {
    const NAME: &'static str = "committed sequence";
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
    let expected = "committed sequence";
    let rest = space.rest(key, FOLDER, expected)?;
    parse_exact(rest).ok_or_else(|| KeyError {
        key: key.clone(),
        expected,
    })
}
