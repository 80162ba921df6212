//! `restores/{name}`: a topic that `kafscale restore` is writing. It names what must be cleaned up if
//! that is interrupted: the generation, whose prefix nothing else uses, and the topic id of the
//! partition records. It goes with the transaction that makes the topic.

use segment::{TimestampMs, TopicId, TopicName};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::{KeyError, Keyspace};
use crate::kv::Key;

const FOLDER: &str = "restores/";

/// A topic to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRecord {
    /// The id that it will have; its partition records come first.
    #[serde(with = "codec::text")]
    pub topic_id: TopicId,
    /// Its generation: names the object prefix.
    pub generation: u32,
    /// The topic that it is a copy of.
    pub source: String,
    /// The moment up to which it is a copy.
    #[serde(with = "codec::number")]
    pub until_ms: TimestampMs,
    /// When it was begun.
    #[serde(with = "codec::number")]
    pub begun_ms: TimestampMs,
}

impl Record for RestoreRecord {
    const NAME: &'static str = "restore";

    fn check(&self) -> Result<(), String> {
        match self.topic_id.is_zero() {
            true => Err("topic id is zero".to_string()),
            false => Ok(()),
        }
    }
}

/// The key of a topic to be.
pub fn key(space: &Keyspace, name: &TopicName) -> Key {
    space.key(format_args!("{FOLDER}{}", name.as_str()))
}

/// The name in such a key.
///
/// # Errors
/// [`KeyError`] if it is not such a key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<TopicName, KeyError> {
    let expected = "restore";
    let rest = space.rest(key, FOLDER, expected)?;
    TopicName::new(rest).map_err(|_| KeyError {
        key: key.clone(),
        expected,
    })
}
