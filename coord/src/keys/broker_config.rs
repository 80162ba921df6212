//! `broker-configs/{broker id, 10 digits}`: settings of a broker that were changed while it ran (Kafka's
//! IncrementalAlterConfigs); `broker-configs/default`: those of every broker that has none of its own. Absent or
//! empty means that there are none. Not bound to a session: they hold across restarts.

use std::collections::BTreeMap;

use segment::BrokerId;
use serde::{Deserialize, Serialize};

use super::codec::Record;
use super::space::{KeyError, Keyspace, parse_ten_digits};
use crate::kv::{Key, Span};

const FOLDER: &str = "broker-configs/";
const DEFAULT: &str = "default";

/// Settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerConfigRecord {
    /// Values by name, as Kafka names them.
    pub values: BTreeMap<String, String>,
}

impl Record for BrokerConfigRecord {
    const NAME: &'static str = "broker config";
}

/// The key of a broker's settings, or of those of all.
///
/// # Panics
/// When the id is negative: it is that of a broker that lives.
pub fn key(space: &Keyspace, broker: Option<BrokerId>) -> Key {
    let Some(broker) = broker else {
        return space.key(format_args!("{FOLDER}{DEFAULT}"));
    };
    let id = broker.get();
    assert!(id >= 0, "broker id {id} is negative");
    space.key(format_args!("{FOLDER}{id:010}"))
}

/// All of them.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The broker in the key of settings; none for those of all.
///
/// # Errors
/// [`KeyError`] if it is not such a key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<Option<BrokerId>, KeyError> {
    let rest = space.rest(key, FOLDER, "broker config")?;
    if rest == DEFAULT {
        return Ok(None);
    }
    let id = parse_ten_digits(rest).map(BrokerId::new);
    id.map(Some).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "broker config",
    })
}
