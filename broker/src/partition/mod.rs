//! The log of one partition, as a state machine without I/O, clock or runtime.
//!
//! Owned by exactly one shard. Appends get their offsets here; batches become visible only when the WAL
//! object that holds them is acknowledged, strictly in sequence.
//!
//! Invariants, asserted in release builds too:
//! - `log_start <= compacted_end.max(log_start) <= high_watermark <= log_end`;
//! - the high watermark and the log start never fall;
//! - sealed sections are acknowledged in the order in which they were sealed;
//! - nothing above the high watermark is in the published snapshot.

pub mod cleaning;
mod contents;
pub mod epochs;
pub mod live;
pub mod log;
pub mod map;
mod outcome;
pub mod producers;
pub mod run;
pub mod segments;
pub mod view;
pub mod waiters;

pub use log::figures::LogFigures;
pub use log::{
    Acknowledged, Append, AppendError, Appended, Completion, LARGE_SECTION_BYTES, PartitionImage,
    PartitionLog, Piece, SealedSection, SegmentPlan, Ticket,
};
pub use map::{Neighbor, PartitionMap, RowMap};
pub use segments::{ChunkSpan, ColdPlace, RunSlot, SegmentRef, WalLocation};
pub use view::{Leader, PartitionHandle, ReadSnapshot, TailRead};
pub use waiters::FetchWaiter;
