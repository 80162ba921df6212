//! `cluster`: what a cluster is. Written once, before its object in the store; never changed.

use segment::TimestampMs;
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::Keyspace;
use crate::kv::Key;

/// How WAL objects are committed. A broker whose probe of the store disagrees refuses to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitMode {
    /// By conditional creation in the store.
    Conditional,
    /// By a guarded transaction for each flush.
    Guarded,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Its id, as Kafka clients see it and as the store's `cluster` object names it.
    pub cluster_id: String,
    /// How WAL objects are committed.
    pub commit_mode: CommitMode,
    /// When it first started.
    #[serde(with = "codec::number")]
    pub created_ms: TimestampMs,
}

impl Record for ClusterRecord {
    const NAME: &'static str = "cluster";

    fn check(&self) -> Result<(), String> {
        if self.cluster_id.is_empty() {
            Err("an empty cluster id".to_string())
        } else {
            Ok(())
        }
    }
}

/// The key of the cluster.
pub fn key(space: &Keyspace) -> Key {
    space.key("cluster")
}
