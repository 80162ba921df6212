//! Reads the records of a KafScale cluster from its bucket and its metadata. No broker is asked,
//! told or needed: any number of processors read as fast as the object store gives.
//!
//! [`Bucket`] names a cluster's bucket and metadata and lists topics. A [`PartitionReader`] gives the
//! records of one partition as [`Run`]s of whole, CRC-checked batches in offset order: first from
//! the segments, then, above the compacted end, from the WAL objects. [`FileCheckpoints`] and
//! [`EtcdCheckpoints`] keep where a processor goes on.
//!
//! # Why what a reader shows is final
//!
//! A record is shown only when no takeover can discard it any more:
//! - **Segments** below the compacted end hold only acknowledged data: a segment's key receives
//!   nothing else, and the compacted end moves, by a guarded transaction, only after the object is
//!   whole.
//! - **Closed sources** have ended where the record says; whatever lies below that end belongs to the
//!   log of every later owner. What lies behind it (objects that came late, behind a fence) is never
//!   looked at.
//! - **An open source, conditional mode.** WAL objects of a session are created if absent, numbered
//!   without gaps. A reader begins at the source's first sequence or the session's floor, below
//!   which everything is acknowledged, and takes an object only after it has seen every object
//!   before it, and no fence among them. From then on no fence can be created at or below that
//!   object: those keys are taken, and an object goes only below a floor that a transaction has
//!   confirmed, where nobody fences. A taker fences the first sequence that it finds empty, so the
//!   end that it records lies above the object: the record is part of the log for ever, also if the
//!   broker that wrote it died before it could answer the producer. The object after a missing one
//!   is not shown; nor is anything behind a fence, which ends its session.
//! - **An open source, guarded mode.** Nothing is fenced there; an object counts once `committed/`
//!   names a sequence above it, in a transaction that needs the live session. A taker ends the
//!   source exactly there.
//! - **The next source** begins only where the one before it has ended for good: at its recorded
//!   end, at its fence, or (guarded mode) at its committed end, which cannot move any more because
//!   whoever took over has seen the session's key gone.
//!
//! So a reader may show a record a moment before the broker's own high watermark passes it, and
//! never one that consumers will not see.
//!
//! # Invariants
//!
//! - Offsets rise strictly: no record twice, whatever brokers do meanwhile.
//! - An offset is passed over only if a segment that covers it holds no record for it (log
//!   compaction), or it lies below the log start; then [`ReadError::LogStartPassed`] says so.
//! - Record, floors and committed sequences that are used together were read at one revision. What
//!   was read from objects is believed only while it fits: a missing object, another ETag or length,
//!   or an offset that does not follow makes the reader look at the metadata again and go on at the
//!   same offset, a bounded number of times.
//! - Memory is bounded by the bytes of a run, whatever the size of an object; a single batch that
//!   is larger comes whole. All readers of a bucket share some 10 MiB of directories.
//!
//! Futures here need no runtime of their own, but those of S3 and etcd need tokio's.

#![forbid(unsafe_code)]

mod bucket;
mod checkpoint;
mod directory;
mod error;
mod held;
mod look;
mod objects;
mod partition;
mod pause;
mod run;
mod scan;
mod segments;
mod stretch;

pub use bucket::{Bucket, OpenError, Topic};
pub use checkpoint::{CheckpointError, EtcdCheckpoints, FileCheckpoints};
pub use error::ReadError;
pub use partition::{Bounds, PartitionReader, ReaderOptions};
pub use run::{Record, Records, Run, RunBatch};

#[cfg(test)]
mod tests;
