//! One Parquet file of one partition, in row groups of bounded size.
//!
//! | column | type | |
//! |---|---|---|
//! | partition | int32 | |
//! | offset | int64 | rises from row to row; not dense in a compacted topic |
//! | timestamp | timestamp, milliseconds, UTC | null where the record has none |
//! | timestamp_type | string | `CreateTime` or `LogAppendTime` |
//! | key, value | binary, or string with [`ParquetOptions::text`] | null as in the record |
//! | headers | list of (key string, value binary) | empty where there is none; values may be null |
//!
//! The file's own metadata tells where it comes from, under the names in [`meta`].

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use segment::Offset;

use crate::columns::Columns;
use crate::{EncodeError, Origin, Row};

/// Most rows of a row group: what DuckDB's own writer makes of one, so that its threads share the
/// work evenly.
pub const ROW_GROUP_ROWS: usize = 122_880;
/// About the most bytes of keys, values and headers that a row group has before it is encoded, and
/// so the memory of a file that is being written. A larger row has a group of its own.
pub const ROW_GROUP_BYTES: usize = 64 << 20;

/// Names in the metadata of a file.
pub mod meta {
    /// Id of the cluster.
    pub const CLUSTER: &str = "kafscale.cluster_id";
    /// Name of the topic.
    pub const TOPIC: &str = "kafscale.topic";
    /// Id of the topic.
    pub const TOPIC_ID: &str = "kafscale.topic_id";
    /// Number of the partition.
    pub const PARTITION: &str = "kafscale.partition";
    /// Offset of the first row; absent where there is none.
    pub const FIRST_OFFSET: &str = "kafscale.first_offset";
    /// Offset of the last row; absent where there is none.
    pub const LAST_OFFSET: &str = "kafscale.last_offset";
}

/// How the pages of a file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParquetCompression {
    /// As they are.
    None,
    /// Snappy: quick.
    Snappy,
    /// Zstandard at its level 1: nearly as quick, and smaller.
    #[default]
    Zstd,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct ParquetOptions {
    /// How pages are compressed.
    pub compression: ParquetCompression,
    /// Keys and values are strings; a record where one is not UTF-8 is an error.
    pub text: bool,
    /// Most bytes of a row group, if fewer than [`ROW_GROUP_BYTES`].
    pub row_group_bytes: Option<usize>,
}

/// A file that is being written.
pub struct ParquetFile<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Columns,
    text: bool,
    row_group_bytes: usize,
    rows: u64,
    first: Option<Offset>,
    last: Option<Offset>,
}

impl<W: Write + Send> std::fmt::Debug for ParquetFile<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFile")
            .field("rows", &self.rows)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl<W: Write + Send> ParquetFile<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// [`EncodeError::Io`].
    pub fn create(out: W, origin: &Origin, options: &ParquetOptions) -> Result<Self, EncodeError> {
        let schema = Arc::new(parse_message_type(&schema(options.text))?);
        let properties = Arc::new(properties(origin, options.compression)?);
        let asked = options.row_group_bytes.unwrap_or(ROW_GROUP_BYTES);
        Ok(Self {
            file: SerializedFileWriter::new(out, schema, properties)?,
            columns: Columns::default(),
            text: options.text,
            row_group_bytes: asked.clamp(1, ROW_GROUP_BYTES),
            rows: 0,
            first: None,
            last: None,
        })
    }

    /// Adds a row, whose offset is above that of the row before it.
    ///
    /// # Errors
    /// [`EncodeError`]: the file cannot be gone on with.
    ///
    /// # Panics
    /// If the offset is not above the one before.
    pub fn push(&mut self, row: &Row<'_>) -> Result<(), EncodeError> {
        let offset = row.record.offset;
        assert!(
            self.last < Some(offset),
            "{offset} comes after {:?}",
            self.last
        );
        let full = self.columns.bytes() + row.bytes() > self.row_group_bytes;
        if self.columns.rows() >= ROW_GROUP_ROWS || (full && self.columns.rows() > 0) {
            self.write_row_group()?;
        }
        self.columns.push(row, self.text)?;
        self.first = self.first.or(Some(offset));
        self.last = Some(offset);
        self.rows += 1;
        Ok(())
    }

    /// Bytes written so far: without the rows that still wait for their row group.
    pub fn bytes(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes what is left and the footer. Only now it is a file.
    ///
    /// # Errors
    /// [`EncodeError::Io`].
    pub fn finish(mut self) -> Result<W, EncodeError> {
        if self.columns.rows() > 0 {
            self.write_row_group()?;
        }
        let ends = [
            (meta::FIRST_OFFSET, self.first),
            (meta::LAST_OFFSET, self.last),
        ];
        for (name, offset) in ends {
            if let Some(offset) = offset {
                self.file.append_key_value_metadata(entry(name, offset));
            }
        }
        Ok(self.file.into_inner()?)
    }

    /// Encodes the gathered rows column by column, each freed when it is written.
    fn write_row_group(&mut self) -> Result<(), EncodeError> {
        let mut columns = std::mem::take(&mut self.columns);
        let mut group = self.file.next_row_group()?;
        let partitions = std::mem::take(&mut columns.partitions);
        put::<Int32Type, W>(&mut group, &partitions, None, None)?;
        put::<Int64Type, W>(&mut group, &columns.offsets, None, None)?;
        let (timestamps, levels) = columns.take_timestamps();
        put::<Int64Type, W>(&mut group, &timestamps, Some(&levels), None)?;
        let types = columns.take_timestamp_types();
        put::<ByteArrayType, W>(&mut group, &types, None, None)?;
        let (keys, levels) = columns.take_keys();
        put::<ByteArrayType, W>(&mut group, &keys, Some(&levels), None)?;
        drop(keys);
        let (values, levels) = columns.take_values();
        put::<ByteArrayType, W>(&mut group, &values, Some(&levels), None)?;
        drop(values);
        let (keys, levels) = columns.take_header_keys();
        let repetition = Some(columns.header_repetition());
        put::<ByteArrayType, W>(&mut group, &keys, Some(&levels), repetition)?;
        let (values, levels) = columns.take_header_values();
        let repetition = Some(columns.header_repetition());
        put::<ByteArrayType, W>(&mut group, &values, Some(&levels), repetition)?;
        group.close()?;
        Ok(())
    }
}

/// Writes the next column of a row group.
fn put<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    definition: Option<&[i16]>,
    repetition: Option<&[i16]>,
) -> Result<(), EncodeError> {
    let column = group.next_column()?;
    let mut column = column.expect("the schema has as many columns as are written");
    column
        .typed::<T>()
        .write_batch(values, definition, repetition)?;
    column.close()?;
    Ok(())
}

fn schema(text: bool) -> String {
    let string = if text { "(STRING)" } else { "" };
    format!(
        "message record {{
            required int32 partition;
            required int64 offset;
            optional int64 timestamp (TIMESTAMP(MILLIS,true));
            required binary timestamp_type (STRING);
            optional binary key {string};
            optional binary value {string};
            required group headers (LIST) {{
                repeated group list {{
                    required group element {{
                        required binary key (STRING);
                        optional binary value;
                    }}
                }}
            }}
        }}"
    )
}

fn properties(
    origin: &Origin,
    compression: ParquetCompression,
) -> Result<WriterProperties, EncodeError> {
    let column = |parts: &[&str]| {
        let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        ColumnPath::new(parts)
    };
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("kafscale {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![
            entry(meta::CLUSTER, &origin.cluster),
            entry(meta::TOPIC, &origin.topic),
            entry(meta::TOPIC_ID, origin.topic_id),
            entry(meta::PARTITION, origin.partition),
        ]))
        .set_compression(match compression {
            ParquetCompression::None => Compression::UNCOMPRESSED,
            ParquetCompression::Snappy => Compression::SNAPPY,
            ParquetCompression::Zstd => Compression::ZSTD(ZstdLevel::try_new(1)?),
        });
    // Both rise nearly evenly: differences take a few bits.
    for name in ["offset", "timestamp"] {
        builder = builder
            .set_column_dictionary_enabled(column(&[name]), false)
            .set_column_encoding(column(&[name]), Encoding::DELTA_BINARY_PACKED);
    }
    // Values seldom repeat and are never looked up by range.
    builder = builder
        .set_column_dictionary_enabled(column(&["value"]), false)
        .set_column_statistics_enabled(column(&["value"]), EnabledStatistics::None)
        .set_column_statistics_enabled(
            column(&["headers", "list", "element", "value"]),
            EnabledStatistics::None,
        );
    Ok(builder.build())
}

fn entry(name: &str, value: impl std::fmt::Display) -> KeyValue {
    KeyValue::new(name.to_owned(), value.to_string())
}

#[cfg(test)]
mod tests;
