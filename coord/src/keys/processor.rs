//! `processors/{escaped name}/{topic id}/{partition, 10 digits}`: how far a processor that reads the
//! bucket has come in a partition. By topic id, so that a re-created topic does not inherit it.

use segment::{Offset, TopicPartition};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::partition::parse_pair;
use super::space::{KeyError, Keyspace, escape, unescape};
use crate::kv::{Key, Span};

const FOLDER: &str = "processors/";

/// A checkpoint of a processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorRecord {
    /// The next offset to process.
    #[serde(with = "codec::number")]
    pub offset: Offset,
    /// Which of the processors of this name has saved it: another text in each life of each.
    pub writer: String,
}

impl Record for ProcessorRecord {
    const NAME: &'static str = "processor checkpoint";

    fn check(&self) -> Result<(), String> {
        match self.offset.is_valid() {
            true => Ok(()),
            false => Err("a negative offset".to_string()),
        }
    }
}

/// The key of a processor's checkpoint in a partition.
///
/// # Panics
/// When the partition index is negative: the caller's mistake.
pub fn key(space: &Keyspace, name: &str, partition: TopicPartition) -> Key {
    let index = partition.partition.get();
    assert!(index >= 0, "partition index {index} is negative");
    space.key(format_args!(
        "{FOLDER}{}/{}/{index:010}",
        escape(name),
        partition.topic
    ))
}

/// All checkpoints of a processor.
pub fn processor_span(space: &Keyspace, name: &str) -> Span {
    Span::prefix(space.key(format_args!("{FOLDER}{}/", escape(name))))
}

/// Processor and partition in a checkpoint's key.
///
/// # Errors
/// [`KeyError`] if it is not such a key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<(String, TopicPartition), KeyError> {
    let expected = "processor checkpoint";
    let rest = space.rest(key, FOLDER, expected)?;
    let pair = || {
        let (name, partition) = rest.split_once('/')?;
        Some((unescape(name)?, parse_pair(partition)?))
    };
    pair().ok_or_else(|| KeyError {
        key: key.clone(),
        expected,
    })
}
