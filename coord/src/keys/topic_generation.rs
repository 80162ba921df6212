//! `topic-generations/{name}`: the generation that the next topic of a name takes at least. It
//! outlives the topic, so no object prefix is ever used by two topics.

use segment::TopicName;
use serde::{Deserialize, Serialize};

use super::codec::Record;
use super::space::{KeyError, Keyspace};
use crate::kv::Key;

const FOLDER: &str = "topic-generations/";

/// The counter of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicGenerationRecord {
    /// The lowest generation that was never used.
    pub next: u32,
}

impl Record for TopicGenerationRecord {
    const NAME: &'static str = "topic generation";
}

/// The key of a name's counter.
pub fn key(space: &Keyspace, name: &TopicName) -> Key {
    space.key(format_args!("{FOLDER}{}", name.as_str()))
}

/// The name in a counter's key.
///
/// # Errors
/// [`KeyError`] if it is not such a key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<TopicName, KeyError> {
    let expected = "topic generation";
    let rest = space.rest(key, FOLDER, expected)?;
    TopicName::new(rest).map_err(|_| KeyError {
        key: key.clone(),
        expected,
    })
}
