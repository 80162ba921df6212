//! `tombstones/{topic id}`: a deleted topic whose objects and records are still being swept.
//!
//! It has a key of its own, so that the topic key is really gone: takeovers compare the create
//! revision of the topic key, and the name is free for a new topic (of the next generation, with
//! another object prefix) while the old one is swept.

use segment::{TimestampMs, TopicId};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::{KeyError, Keyspace, parse_exact};
use crate::kv::{Key, Span};

const FOLDER: &str = "tombstones/";

/// What the sweep of a deleted topic must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// The name that it had.
    pub name: String,
    /// Its generation, which names its object prefix.
    pub generation: u32,
    /// Its partitions `0..partition_count`.
    pub partition_count: i32,
    /// When it was deleted.
    #[serde(with = "codec::number")]
    pub deleted_ms: TimestampMs,
}

impl Record for TombstoneRecord {
    const NAME: &'static str = "tombstone";
}

/// The key of a deleted topic.
pub fn key(space: &Keyspace, topic_id: TopicId) -> Key {
    space.key(format_args!("{FOLDER}{topic_id}"))
}

/// All deleted topics.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The topic id in a tombstone key.
///
/// # Errors
/// [`KeyError`] if it is not a tombstone key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<TopicId, KeyError> {
    let rest = space.rest(key, FOLDER, "tombstone")?;
    parse_exact(rest).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "tombstone",
    })
}
