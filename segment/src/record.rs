//! The records inside a batch: reading (with decompression under caps), building, lookup by time.
//!
//! The hot path never comes here: batches are stored and fetched whole. Time lookups, log
//! compaction, transaction markers, topics with a codec of their own and the command line do.

mod builder;
mod clean;
mod codec;
mod cut;
mod lookup;
mod marker;
mod reader;
mod recode;

pub use builder::{BuildError, NewRecord, RecordBatchBuilder};
pub use clean::{CleanError, Cleaned, Tombstones, clean_batch, empty_batch};
pub use codec::{CodecError, Compression, DecodeLimits, compress, decompress};
pub use cut::cut_batch;
pub use lookup::{find_timestamp, max_timestamp_offset};
pub use marker::{ControlMarker, MarkerKind};
pub use reader::{Record, RecordHeaders, RecordSet, Records};
pub use recode::{RecodeError, recode_batch};

use crate::batch::BatchError;

/// Why the records of a batch cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The batch around the records cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records cannot be decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The records end inside a record, or a length inside it is wrong.
    #[error("record {record} is malformed at byte {position} of the records")]
    Malformed {
        /// Number of the record in the batch.
        record: u32,
        /// Where reading it began, in the decompressed records.
        position: usize,
    },
    /// Bytes follow the last record.
    #[error("{extra} bytes follow the last record")]
    TrailingBytes {
        /// Bytes left over.
        extra: usize,
    },
    /// A record's offset lies outside the batch, or not after the record before it.
    #[error("record {record} has offset delta {offset_delta}")]
    Offset {
        /// Number of the record in the batch.
        record: u32,
        /// Its offset delta.
        offset_delta: i32,
    },
    /// A record's timestamp overflows.
    #[error("record {record} has timestamp delta {timestamp_delta}")]
    Timestamp {
        /// Number of the record in the batch.
        record: u32,
        /// Its timestamp delta.
        timestamp_delta: i64,
    },
    /// A control batch without a marker that this version knows.
    #[error("control batch holds no transaction marker")]
    Marker,
}

#[cfg(test)]
mod tests;
