//! `partitions/{topic id}/{partition, 10 digits}`: who owns a partition and where its log lies.
//! Absent means epoch -1 and no owner; created by the first takeover, deleted by the sweep of its
//! topic.

use segment::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, SessionId, TimestampMs, TopicId, TopicPartition,
    WalSequence,
};
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::{KeyError, Keyspace, parse_exact, parse_ten_digits};
use crate::kv::{Key, Span};

const FOLDER: &str = "partitions/";

const _: () = assert!(
    LeaderEpoch::NONE.get() + 1 == LeaderEpoch::ZERO.get(),
    "the first to take a partition has epoch 0"
);

/// One life of a broker, as the owner of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its session.
    #[serde(with = "codec::text")]
    pub session: SessionId,
    /// Its broker id.
    #[serde(with = "codec::number")]
    pub broker: BrokerId,
}

/// A run of WAL objects of one session that may hold batches of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The session, whose prefix the objects have.
    #[serde(with = "codec::text")]
    pub session: SessionId,
    /// Its broker id, which is part of the prefix.
    #[serde(with = "codec::number")]
    pub broker: BrokerId,
    /// The first sequence that may hold batches not yet compacted.
    #[serde(with = "codec::number")]
    pub first_sequence: WalSequence,
    /// The sequence after the last; none while it is open, so that a taker must fence it.
    #[serde(with = "codec::number_option", default)]
    pub end_sequence: Option<WalSequence>,
}

impl Source {
    /// Whether it has no recorded end.
    pub fn is_open(&self) -> bool {
        self.end_sequence.is_none()
    }

    /// Whether it is closed and holds nothing.
    pub fn is_empty(&self) -> bool {
        self.end_sequence
            .is_some_and(|end| end <= self.first_sequence)
    }

    /// Whether the object of that session with that sequence lies in it, open or closed.
    pub fn contains(&self, session: SessionId, sequence: WalSequence) -> bool {
        let holds = self.session == session
            && sequence >= self.first_sequence
            && self.end_sequence.is_none_or(|end| sequence < end);
        assert!(!holds || !self.is_empty(), "an empty source holds nothing");
        holds
    }
}

/// Where a leader epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStart {
    /// The epoch.
    #[serde(with = "codec::number")]
    pub epoch: LeaderEpoch,
    /// The log end offset when it began: the offset of its first record, if it wrote one.
    #[serde(with = "codec::number")]
    pub start: Offset,
}

/// How the segment of an intent comes to its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum IntentKind {
    /// A new segment, created if absent.
    Append,
    /// An existing base is extended (segments are merged): PUT only over the object with this ETag.
    Extend {
        /// ETag of the object that it replaces.
        etag: String,
    },
    /// A range is rewritten by log compaction: PUT only over the object with this ETag.
    Rewrite {
        /// ETag of the object that it replaces.
        etag: String,
    },
}

/// The decided range and header of the next segment: every writer of its key PUTs the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Base offset, which names the object.
    #[serde(with = "codec::number")]
    pub base: Offset,
    /// The offset after its last record.
    #[serde(with = "codec::number")]
    pub end: Offset,
    /// Creation time in its header.
    #[serde(with = "codec::number")]
    pub created_ms: TimestampMs,
    /// How it comes to its key.
    #[serde(flatten)]
    pub kind: IntentKind,
    /// Size of the object, where it is known when the intent is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_bytes: Option<u64>,
    /// CRC-32C of the object, where it is known when the intent is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_crc32c: Option<u32>,
}

/// Names the producer snapshot object of exactly the compacted end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerSnapshotRef {
    /// The offset at which it was taken.
    #[serde(with = "codec::number")]
    pub end: Offset,
    /// The leader epoch of its writer.
    #[serde(with = "codec::number")]
    pub epoch: LeaderEpoch,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// The owner; none after a release.
    #[serde(default)]
    pub owner: Option<Owner>,
    /// Rises by one with each takeover.
    #[serde(with = "codec::number")]
    pub leader_epoch: LeaderEpoch,
    /// Where batches above the compacted end lie, oldest first.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// All offsets below it are in segments. Never falls.
    #[serde(with = "codec::number")]
    pub compacted_end: Offset,
    /// The first offset that may be read. Never falls.
    #[serde(with = "codec::number")]
    pub log_start: Offset,
    /// Where leader epochs began, in order; pruned only below the log start.
    #[serde(default)]
    pub epochs: Vec<EpochStart>,
    /// The segment that is being written, to be finished before another is begun.
    #[serde(default)]
    pub intent: Option<Box<Intent>>,
    /// The producer snapshot at the compacted end; none without idempotent producers.
    #[serde(default)]
    pub producer_snapshot: Option<ProducerSnapshotRef>,
}

impl PartitionRecord {
    /// What an absent key means.
    pub fn absent() -> Self {
        Self {
            owner: None,
            leader_epoch: LeaderEpoch::NONE,
            sources: Vec::new(),
            compacted_end: Offset::ZERO,
            log_start: Offset::ZERO,
            epochs: Vec::new(),
            intent: None,
            producer_snapshot: None,
        }
    }

    /// Whether that session owns it.
    pub fn is_owned_by(&self, session: SessionId) -> bool {
        self.owner.is_some_and(|owner| owner.session == session)
    }

    /// Whether the object of that session with that sequence may still be needed.
    pub fn needs(&self, session: SessionId, sequence: WalSequence) -> bool {
        self.sources
            .iter()
            .any(|source| source.contains(session, sequence))
    }

    fn check_epochs(&self) -> Result<(), String> {
        let rises =
            |pair: &[EpochStart]| pair[0].epoch < pair[1].epoch && pair[0].start <= pair[1].start;
        if !self.epochs.windows(2).all(rises) {
            return Err("leader epochs do not rise".to_string());
        }
        if self
            .epochs
            .last()
            .is_some_and(|last| last.epoch > self.leader_epoch)
        {
            return Err("an epoch above the leader epoch".to_string());
        }
        Ok(())
    }
}

impl Record for PartitionRecord {
    const NAME: &'static str = "partition";

    fn check(&self) -> Result<(), String> {
        if self.compacted_end < Offset::ZERO || self.log_start < Offset::ZERO {
            return Err("a negative offset".to_string());
        }
        if self.leader_epoch < LeaderEpoch::ZERO {
            return Err("a negative leader epoch".to_string());
        }
        if let Some(intent) = &self.intent
            && (intent.base < Offset::ZERO || intent.end <= intent.base)
        {
            return Err("an intent without a range".to_string());
        }
        self.check_epochs()
    }
}

/// The key of a partition.
///
/// # Panics
/// When the partition index is negative: no client's number comes here unchecked.
pub fn key(space: &Keyspace, partition: TopicPartition) -> Key {
    let index = partition.partition.get();
    assert!(index >= 0, "partition index {index} is negative");
    space.key(format_args!("{FOLDER}{}/{index:010}", partition.topic))
}

/// All partitions of all topics.
pub fn span(space: &Keyspace) -> Span {
    Span::prefix(space.key(FOLDER))
}

/// All partitions of a topic.
pub fn topic_span(space: &Keyspace, topic: TopicId) -> Span {
    Span::prefix(space.key(format_args!("{FOLDER}{topic}/")))
}

/// The partition in a partition key.
///
/// # Errors
/// [`KeyError`] if it is not a partition key.
pub fn parse(space: &Keyspace, key: &Key) -> Result<TopicPartition, KeyError> {
    let rest = space.rest(key, FOLDER, "partition")?;
    parse_pair(rest).ok_or_else(|| KeyError {
        key: key.clone(),
        expected: "partition",
    })
}

/// `{topic id}/{partition, 10 digits}`.
pub(super) fn parse_pair(text: &str) -> Option<TopicPartition> {
    let (topic, index) = text.split_once('/')?;
    let index = PartitionIndex::new(parse_ten_digits(index)?);
    Some(TopicPartition::new(parse_exact(topic)?, index))
}
