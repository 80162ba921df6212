//! The KafScale broker: a Kafka-protocol server whose log lives in object storage.
//!
//! Threads: shards ([`shard`]) own partitions, groups and connections and run on a pinned core each; one
//! control thread ([`control`]) owns the object store and the metadata store. The cores
//! ([`partition`], [`wal`], `coord`, `cache`, `segment`) are state machines without I/O; the shells
//! ([`runtime`], [`net`], [`control`]) do the I/O.

#![deny(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
mod console;
pub mod control;
mod hash;
pub mod logging;
pub mod metadata;
pub mod metrics;
pub mod namespace;
pub mod net;
pub mod node;
pub mod partition;
pub mod proof;
pub mod quota;
pub mod security;
pub mod shard;
pub mod start;
pub mod tools;
pub mod topic_config;
pub mod wal;

pub use runtime;
