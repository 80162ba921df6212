//! `group-offsets/{escaped group}/{topic id}/{partition, 10 digits}`: a committed offset. By
//! topic id, so that a re-created topic does not inherit it.

use segment::{LeaderEpoch, Offset, TimestampMs, TopicPartition};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::partition::parse_pair;
use super::space::{KeyError, Keyspace, escape, unescape};
use crate::kv::{Key, Span};

const FOLDER: &str = "group-offsets/";

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOffsetRecord {
    /// The next offset to read.
    #[serde(with = "codec::number")]
    pub offset: Offset,
    /// Leader epoch of the last record read; -1 where the client gave none.
    #[serde(with = "codec::number")]
    pub leader_epoch: LeaderEpoch,
    /// What the client attached.
    #[serde(default)]
    pub metadata: String,
    /// When it was committed.
    #[serde(with = "codec::number")]
    pub commit_ms: TimestampMs,
    /// When it expires, where the client (version 1 of the request) said so.
    #[serde(with = "codec::number_option", default)]
    pub expire_ms: Option<TimestampMs>,
}

impl Record for GroupOffsetRecord {
    const NAME: &'static str = "group offset";
}

/// The key of a group's offset in a partition.
///
/// # Panics
/// When the partition index is negative: no client's number comes here unchecked.
pub fn key(space: &Keyspace, group: &str, partition: TopicPartition) -> Key {
    let index = partition.partition.get();
    assert!(index >= 0, "partition index {index} is negative");
    space.key(format_args!(
        "{FOLDER}{}/{}/{index:010}",
        escape(group),
        partition.topic
    ))
}

/// All committed offsets.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// All committed offsets of a group.
pub fn group_span(space: &Keyspace, group: &str) -> Span {
    Span::prefix(space.key(format_args!("{FOLDER}{}/", escape(group))))
}

/// Group and partition in an offset's key.
///
/// # Errors
/// [`KeyError`] if it is not such a key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<(String, TopicPartition), KeyError> {
    let expected = "group offset";
    let rest = space.rest(key, FOLDER, expected)?;
    let pair = || {
        let (group, partition) = rest.split_once('/')?;
        Some((unescape(group)?, parse_pair(partition)?))
    };
    pair().ok_or_else(|| KeyError {
        key: key.clone(),
        expected,
    })
}
