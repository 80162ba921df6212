//! Stored bytes of KafScale: record batches, segments, indexes, WAL objects and object keys.
//!
//! This crate owns every byte layout that reaches the object store. It is pure: bytes and values
//! in, bytes and values out. It does no I/O, reads no clock and takes no randomness, so the broker,
//! the simulator, the command line and the fuzzers run the same code.
//!
//! Two rules hold everywhere:
//! - Bytes from outside (a client or the store) are never asserted. They decode or give an error,
//!   and no count read from them reserves more memory than the bytes that are left can pay for.
//! - Our own invariants are asserted, in release builds too.
//!
//! The layouts are tabulated in `README.md` and pinned by the files in `testdata/`.

#![forbid(unsafe_code)]

pub mod backup;
pub mod batch;
pub mod calendar;
pub mod ids;
pub mod index;
pub mod keys;
pub mod kfs;
pub mod manifest;
pub mod producer_snapshot;
pub mod record;
pub mod survey;
pub mod topic_name;
pub mod wal;

mod cursor;
#[cfg(test)]
mod samples;

pub use ids::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, SessionId,
    TimestampMs, TopicId, TopicPartition, WalSequence,
};
pub use topic_name::TopicName;
