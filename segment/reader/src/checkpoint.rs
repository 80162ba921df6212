//! Where a processor goes on after a stop. By topic id, so that the checkpoint of a topic that was
//! deleted and created again is not used for the new one.

mod file;
mod metadata;

use std::path::PathBuf;

use coord::keys::CodecError;
use coord::kv::KvError;
use segment::{Offset, TopicPartition};

pub use file::FileCheckpoints;
pub use metadata::EtcdCheckpoints;

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// Another process has the file.
    #[error("{} is in use by another processor", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The file is not a checkpoint, or of a newer version.
    #[error("{} is no checkpoint that can be read: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The checkpoint is of another cluster.
    #[error("{} is the checkpoint of cluster {found}, not of {expected}", path.display())]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// The cluster that it names.
        found: String,
        /// The cluster that is read.
        expected: String,
    },
    /// Another processor of the same name has saved meanwhile: whoever is told so stops, or loads
    /// again.
    #[error("processor {name}: another one has saved {id} at offset {found:?} meanwhile")]
    Overtaken {
        /// The processor's name.
        name: String,
        /// The partition.
        id: TopicPartition,
        /// What is saved now; none if it was deleted.
        found: Option<Offset>,
    },
    /// The metadata store failed, after a few tries. The checkpoint may have been saved all the same.
    #[error("save or load a checkpoint: {0}")]
    Kv(#[from] KvError),
    /// The record in the metadata store cannot be read.
    #[error("load a checkpoint: {0}")]
    Codec(#[from] CodecError),
}
