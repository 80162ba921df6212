//! Records as Parquet files and as JSON lines.
//!
//! Rows in, bytes out: the only I/O is [`std::io::Write`], on the thread of the caller. What decides
//! which rows go where, and under which name a file is kept, is the caller's.
//!
//! Invariants:
//! - Memory is bounded whatever comes: [`ParquetFile`] holds at most one row group
//!   ([`ROW_GROUP_ROWS`], [`ROW_GROUP_BYTES`], or one row that is larger), [`JsonLines`] one row.
//! - Nothing is changed on the way: bytes come out as they are or not at all. Two things that are
//!   not bytes are translated: a timestamp of -1 ("none") becomes null, and the key of a header,
//!   which Kafka defines as UTF-8, has U+FFFD where it is not, as Kafka's own client shows it.
//! - After an error an encoder is of no use, and what it has written is no whole file.

#![forbid(unsafe_code)]

mod columns;
mod json;
mod parquet_file;

use std::io;

use segment::batch::TimestampType;
use segment::record::Record;
use segment::{Offset, PartitionIndex, TimestampMs, TopicId, TopicName};

pub use json::{JsonEncoding, JsonLines, write_json};
pub use parquet_file::{
    ParquetCompression, ParquetFile, ParquetOptions, ROW_GROUP_BYTES, ROW_GROUP_ROWS, meta,
};

/// One record on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The partition that it was read from.
    pub partition: PartitionIndex,
    /// Whether its timestamp is the producer's or the broker's.
    pub timestamp_type: TimestampType,
    /// Everything else.
    pub record: &'a Record<'a>,
}

impl Row<'_> {
    /// Milliseconds since 1970, or none.
    fn timestamp(&self) -> Option<i64> {
        Some(self.record.timestamp)
            .filter(|timestamp| *timestamp != TimestampMs::NONE)
            .map(TimestampMs::get)
    }

    /// Kafka's name of the timestamp's type.
    fn timestamp_type(&self) -> &'static str {
        match self.timestamp_type {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        }
    }

    /// Bytes of key, value and headers, and a little for each thing that has none.
    fn bytes(&self) -> usize {
        let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = self.record.headers.clone();
        let headers = headers.map(|(key, value)| ITEM_BYTES + key.len() + len(value));
        ITEM_BYTES + len(self.record.key) + len(self.record.value) + headers.sum::<usize>()
    }
}

/// What a row and each of its headers take in memory beside their bytes, at most.
const ITEM_BYTES: usize = 64;

/// Where the rows of a file come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Id of the cluster.
    pub cluster: String,
    /// The topic.
    pub topic: TopicName,
    /// Its id: a topic of the same name that is made later has another.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
}

/// A part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

/// Why a row cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Text was asked for, and this is none.
    #[error("the {part} of partition {partition}, offset {offset} is not UTF-8")]
    NotText {
        /// The partition.
        partition: PartitionIndex,
        /// The record.
        offset: Offset,
        /// Which part of it.
        part: Part,
    },
    /// The writer below failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Parquet cannot hold it.
    #[error("encode Parquet: {0}")]
    Parquet(parquet::errors::ParquetError),
}

impl From<parquet::errors::ParquetError> for EncodeError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        use parquet::errors::ParquetError;
        match error {
            // A full disk is told as what it is.
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(error) => Self::Io(*error),
                Err(cause) => Self::Parquet(ParquetError::External(cause)),
            },
            error => Self::Parquet(error),
        }
    }
}

#[cfg(test)]
mod samples;
