//! What reading can come to instead of records.

use coord::keys::CodecError;
use coord::kv::KvError;
use segment::record::RecordError;
use segment::{Offset, PartitionIndex};
use store::{GetError, ListError};

/// Why a partition cannot be read on. The position is as it was: the same call may be made again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The object store failed, after a few tries.
    #[error(transparent)]
    Get(#[from] GetError),
    /// The object store failed, after a few tries.
    #[error(transparent)]
    List(#[from] ListError),
    /// The metadata store failed, after a few tries.
    #[error("read the metadata: {0}")]
    Kv(#[from] KvError),
    /// A record in the metadata store cannot be read.
    #[error("read the metadata: {0}")]
    Metadata(#[from] CodecError),
    /// The metadata store holds no cluster of this name.
    #[error("there is no cluster under {prefix} in the metadata store")]
    NoCluster {
        /// What its keys would begin with.
        prefix: String,
    },
    /// The topic was deleted; one of its name that exists now is another.
    #[error("topic {name} was deleted, or deleted and created again")]
    TopicGone {
        /// Its name.
        name: String,
    },
    /// The topic has fewer partitions.
    #[error("topic {name} has no partition {partition}")]
    NoPartition {
        /// Its name.
        name: String,
        /// The partition asked for.
        partition: PartitionIndex,
    },
    /// Records at the position are gone by retention, DeleteRecords or a lifecycle rule. Seek to the
    /// new start to go on without them.
    #[error("the log starts at offset {log_start} now; records from offset {position} on are gone")]
    LogStartPassed {
        /// Where the reader was.
        position: Offset,
        /// The first offset that can be read.
        log_start: Offset,
    },
    /// The position lies behind the end of the log: it is of another log.
    #[error("offset {position} lies behind the end of the log, {end}")]
    BeyondEnd {
        /// Where the reader is.
        position: Offset,
        /// The offset of the next record.
        end: Offset,
    },
    /// An object is not what was written.
    #[error("{key} is damaged: {reason}")]
    Damaged {
        /// Its key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// An object that the metadata still names is not there, however often it is looked for.
    #[error("{key} is missing, though the log needs it from offset {from} on")]
    Missing {
        /// Its key.
        key: String,
        /// The offset at which reading stopped.
        from: Offset,
    },
    /// The offsets of the WAL do not follow each other, however often the metadata is read.
    #[error("{key} continues at offset {found}, expected {expected}")]
    Gap {
        /// The object.
        key: String,
        /// The offset that should follow.
        expected: Offset,
        /// The offset that follows.
        found: Offset,
    },
    /// Metadata or an object changes faster than it can be read.
    #[error("{what} changes faster than it can be read")]
    Unsteady {
        /// What changes.
        what: String,
    },
    /// The records of a batch cannot be decoded. Its CRC is right: its producer wrote it so.
    #[error("batch at offset {offset} of {key}: {source}")]
    Records {
        /// The object that holds the batch.
        key: String,
        /// The first offset of the batch.
        offset: Offset,
        /// What is wrong.
        source: RecordError,
    },
}

impl ReadError {
    pub(crate) fn damaged(key: &str, reason: impl ToString) -> Self {
        Self::Damaged {
            key: key.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Whether the same reading may succeed once the metadata is read again: what was read belongs
    /// to an earlier state, as far as can be told.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. } | Self::Gap { .. } | Self::Unsteady { .. }
        )
    }
}
