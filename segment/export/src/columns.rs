//! The columns of a row group, gathered row by row.
//!
//! Values lie behind one another in one buffer a column, which is handed to the encoder as slices of
//! it, without a copy and without an allocation a value.

use bytes::Bytes;
use parquet::data_type::ByteArray;

use crate::{EncodeError, Part, Row};

/// Values of a column of bytes.
#[derive(Debug, Default)]
struct Blobs {
    bytes: Vec<u8>,
    /// Where each value ends.
    ends: Vec<usize>,
}

impl Blobs {
    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }

    fn take(&mut self) -> Vec<ByteArray> {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let mut start = 0;
        let ends = std::mem::take(&mut self.ends);
        let values = ends.into_iter().map(|end| {
            let value = bytes.slice(start..end);
            start = end;
            ByteArray::from(value)
        });
        values.collect()
    }
}

/// A column of bytes with its levels (which say where there is a value, and where a list begins).
#[derive(Debug, Default)]
struct Levelled {
    values: Blobs,
    definition: Vec<i16>,
}

impl Levelled {
    /// A value or null. `defined` is the level of a value; null is one below it.
    fn push(&mut self, value: Option<&[u8]>, defined: i16) {
        if let Some(value) = value {
            self.values.push(value);
        }
        self.definition.push(defined - i16::from(value.is_none()));
    }

    fn take(&mut self) -> (Vec<ByteArray>, Vec<i16>) {
        (self.values.take(), std::mem::take(&mut self.definition))
    }
}

/// Level of a header in its list.
const IN_LIST: i16 = 1;
/// Repetition level of what continues a list.
const CONTINUES: i16 = 1;

/// The rows of a row group so far.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) partitions: Vec<i32>,
    pub(crate) offsets: Vec<i64>,
    timestamps: Vec<i64>,
    timestamp_levels: Vec<i16>,
    timestamp_types: Vec<&'static str>,
    keys: Levelled,
    values: Levelled,
    header_keys: Levelled,
    header_values: Levelled,
    /// Of both columns of headers.
    header_repetition: Vec<i16>,
    bytes: usize,
}

/// Values and definition levels of a column.
pub(crate) type Column<T> = (Vec<T>, Vec<i16>);

impl Columns {
    pub(crate) fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// About the memory that the rows take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, row: &Row<'_>, text: bool) -> Result<(), EncodeError> {
        let record = row.record;
        if text {
            for (part, bytes) in [(Part::Key, record.key), (Part::Value, record.value)] {
                if bytes.is_some_and(|bytes| std::str::from_utf8(bytes).is_err()) {
                    return Err(EncodeError::NotText {
                        partition: row.partition,
                        offset: record.offset,
                        part,
                    });
                }
            }
        }
        self.partitions.push(row.partition.get());
        self.offsets.push(record.offset.get());
        let timestamp = row.timestamp();
        self.timestamps.extend(timestamp);
        self.timestamp_levels.push(i16::from(timestamp.is_some()));
        self.timestamp_types.push(row.timestamp_type());
        self.keys.push(record.key, 1);
        self.values.push(record.value, 1);
        self.push_headers(row);
        self.bytes += row.bytes();
        Ok(())
    }

    fn push_headers(&mut self, row: &Row<'_>) {
        let headers = row.record.headers.clone();
        if headers.is_empty() {
            self.header_keys.definition.push(0);
            self.header_values.definition.push(0);
            self.header_repetition.push(0);
        }
        for (place, (key, value)) in headers.enumerate() {
            let key = String::from_utf8_lossy(key);
            self.header_keys.push(Some(key.as_bytes()), IN_LIST);
            self.header_values.push(value, IN_LIST + 1);
            let repetition = if place == 0 { 0 } else { CONTINUES };
            self.header_repetition.push(repetition);
        }
    }

    pub(crate) fn take_timestamps(&mut self) -> Column<i64> {
        let levels = std::mem::take(&mut self.timestamp_levels);
        (std::mem::take(&mut self.timestamps), levels)
    }

    pub(crate) fn take_timestamp_types(&mut self) -> Vec<ByteArray> {
        let types = std::mem::take(&mut self.timestamp_types);
        let types = types.into_iter();
        types
            .map(|name| ByteArray::from(Bytes::from_static(name.as_bytes())))
            .collect()
    }

    pub(crate) fn take_keys(&mut self) -> Column<ByteArray> {
        self.keys.take()
    }

    pub(crate) fn take_values(&mut self) -> Column<ByteArray> {
        self.values.take()
    }

    pub(crate) fn take_header_keys(&mut self) -> Column<ByteArray> {
        self.header_keys.take()
    }

    pub(crate) fn take_header_values(&mut self) -> Column<ByteArray> {
        self.header_values.take()
    }

    pub(crate) fn header_repetition(&self) -> &[i16] {
        &self.header_repetition
    }
}
