//! `sessions/{session}`: a live session. Bound to its lease: its absence is the proof that
//! others may take what it owned.

use segment::{BrokerId, SessionId};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::{KeyError, Keyspace, parse_exact};
use crate::kv::{Key, Span};
use crate::placement::Standing;

const FOLDER: &str = "sessions/";

/// What a broker publishes of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Accepts partitions.
    Healthy,
    /// Accepts partitions, slowly.
    Degraded,
    /// Cut from the store: placement gives it nothing, and it keeps what it has.
    Unavailable,
    /// Gives its partitions away and accepts none.
    Draining,
}

impl SessionState {
    /// What placement asks of a broker in this state, which is drained or not.
    pub fn standing(self, is_drained: bool) -> Standing {
        match self {
            _ if is_drained => Standing::Gives,
            Self::Draining => Standing::Gives,
            Self::Unavailable => Standing::Keeps,
            Self::Healthy | Self::Degraded => Standing::Takes,
        }
    }
}

/// A live session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its broker id.
    #[serde(with = "codec::number")]
    pub broker: BrokerId,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
    /// Its rack, if set.
    #[serde(default)]
    pub rack: Option<String>,
    /// Ports of its shards, in order, where direct routing is on.
    #[serde(default)]
    pub shard_ports: Vec<u16>,
    /// How it is.
    pub state: SessionState,
}

impl Record for SessionRecord {
    const NAME: &'static str = "session";
}

/// The key of a live session.
pub fn key(space: &Keyspace, session: SessionId) -> Key {
    space.key(format_args!("{FOLDER}{session}"))
}

/// All live sessions.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The session in a session key.
///
/// # Errors
/// [`KeyError`] if it is not a session key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<SessionId, KeyError> {
    let rest = space.rest(key, FOLDER, "session")?;
    parse_exact(rest).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "session",
    })
}
