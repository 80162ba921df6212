//! `recovery`: that the metadata is being written back from a backup, and is not whole. While it is
//! there no broker begins the cluster anew; it goes with the transaction that writes `cluster`.

use segment::TimestampMs;
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::Keyspace;
use crate::kv::Key;

/// A recovery that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRecord {
    /// The key of the backup in the object store.
    pub backup: String,
    /// When it was begun.
    #[serde(with = "codec::number")]
    pub begun_ms: TimestampMs,
}

impl Record for RecoveryRecord {
    const NAME: &'static str = "recovery";
}

/// The key of a recovery.
pub fn key(space: &Keyspace) -> Key {
    space.key("recovery")
}
