//! `pins/{topic id}/{partition, 10 digits}`: the broker that is to own a partition, chosen by an
//! operator (Kafka's AlterPartitionReassignments). Absent means that placement chooses. Not bound to
//! a session: it holds across restarts of the broker, until another is chosen or the topic goes.

use segment::{BrokerId, TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::partition::parse_pair;
use super::space::{KeyError, Keyspace};
use crate::kv::{Key, Span};

const FOLDER: &str = "pins/";

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRecord {
    /// The broker; none where the choice was taken back: placement chooses again.
    #[serde(with = "codec::number_option")]
    pub broker: Option<BrokerId>,
}

impl Record for PinRecord {
    const NAME: &'static str = "pin";
}

/// The key of a partition's pin.
///
/// # Panics
/// When the partition index is negative: no client's number comes here unchecked.
pub fn key(space: &Keyspace, partition: TopicPartition) -> Key {
    let index = partition.partition.get();
    assert!(index >= 0, "partition index {index} is negative");
    space.key(format_args!("{FOLDER}{}/{index:010}", partition.topic))
}

/// The pins of all topics.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// The pins of a topic.
pub fn topic_span(space: &Keyspace, topic: TopicId) -> Span {
    Span::prefix(space.key(format_args!("{FOLDER}{topic}/")))
}

/// The partition in the key of a pin.
///
/// # Errors
/// [`KeyError`] if it is not the key of a pin.
pub fn parse(space: &Keyspace, key: &Key) -> Result<TopicPartition, KeyError> {
    let rest = space.rest(key, FOLDER, "pin")?;
    parse_pair(rest).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "pin",
    })
}
