//! `topics/{name}`: a topic. Written by whoever serves CreateTopics; gone once deletion begins.

use std::collections::BTreeMap;

use segment::{TimestampMs, TopicId, TopicName};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::{KeyError, Keyspace};
use crate::kv::{Key, Span};

const FOLDER: &str = "topics/";

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRecord {
    /// Random id; a re-created topic has another.
    #[serde(with = "codec::text")]
    pub topic_id: TopicId,
    /// 0 for the first topic of the name; names the object prefix.
    pub generation: u32,
    /// Partitions `0..partition_count`, at least 1.
    pub partition_count: i32,
    /// Configurations that were set, as Kafka names them.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
    /// When it was created.
    #[serde(with = "codec::number")]
    pub created_ms: TimestampMs,
}

impl Record for TopicRecord {
    const NAME: &'static str = "topic";

    fn check(&self) -> Result<(), String> {
        if self.partition_count < 1 {
            return Err(format!("{} partitions", self.partition_count));
        }
        if self.topic_id.is_zero() {
            return Err("topic id is zero".to_string());
        }
        Ok(())
    }
}

/// The key of a topic.
pub fn key(space: &Keyspace, name: &TopicName) -> Key {
    space.key(format_args!("{FOLDER}{}", name.as_str()))
}

/// All topics.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The name in a topic key.
///
/// # Errors
/// [`KeyError`] if it is not a topic key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<TopicName, KeyError> {
    let rest = space.rest(key, FOLDER, "topic")?;
    TopicName::new(rest).map_err(|_| KeyError {
        key: key.clone(),
        expected: "topic",
    })
}
