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
    /// Advertised host; of several listeners that of the first, for brokers that know of one only.
    pub host: String,
    /// Advertised port, of the same.
    pub port: u16,
    /// Its rack, if set.
    #[serde(default)]
    pub rack: Option<String>,
    /// Ports of its shards, in order, where direct routing is on; of the same.
    #[serde(default)]
    pub shard_ports: Vec<u16>,
    /// All listeners, the first included. None where the broker has but one, without a name of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerRecord>,
    /// How it is.
    pub state: SessionState,
}

/// One of a broker's listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRecord {
    /// Its name, the same on all brokers.
    pub name: String,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
    /// Ports of the shards, in order, where direct routing is on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shard_ports: Vec<u16>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::codec::{decode, encode};
    use crate::kv::Value;

    /// As it was written before brokers had several listeners.
    const BEFORE: &str = r#"{"v":1,"broker":3,"host":"h","port":9092,"rack":null,"shard_ports":[1],"state":"healthy"}"#;

    #[derive(Debug, Serialize, Deserialize)]
    struct RecordBefore {
        #[serde(with = "codec::number")]
        broker: BrokerId,
        host: String,
        port: u16,
        #[serde(default)]
        rack: Option<String>,
        #[serde(default)]
        shard_ports: Vec<u16>,
        state: SessionState,
    }

    impl Record for RecordBefore {
        const NAME: &'static str = "session";
    }

    #[test]
    fn brokers_of_before_listeners_had_names_are_read_and_one_without_names_is_written_the_same() {
        let value = Value::from(BEFORE);
        let record: SessionRecord = decode(&value).unwrap();
        assert_eq!((record.host.as_str(), record.port), ("h", 9092));
        assert_eq!(record.listeners, []);
        assert_eq!(encode(&record).as_bytes(), BEFORE.as_bytes());
    }

    #[test]
    fn brokers_of_before_read_the_first_listener_of_one_that_has_several() {
        let mut record: SessionRecord = decode(&Value::from(BEFORE)).unwrap();
        record.listeners = vec![ListenerRecord {
            name: "EXTERNAL".to_owned(),
            host: "x".to_owned(),
            port: 1,
            shard_ports: Vec::new(),
        }];
        let read: RecordBefore = decode(&encode(&record)).unwrap();
        assert_eq!((read.host.as_str(), read.port), ("h", 9092));
        assert_eq!((read.broker, read.rack), (BrokerId::new(3), None));
        assert_eq!(
            (read.shard_ports, read.state),
            (vec![1], SessionState::Healthy)
        );
        assert_eq!(decode::<SessionRecord>(&encode(&record)).unwrap(), record);
    }
}
