//! How `consume` prints a record.

use std::io::{self, Write};

use client::TopicPartition;
use segment::record::Record;
use serde::Serialize;

use super::time::show_timestamp;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What of a record is printed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecordFormat {
    /// The value on a line, after what else is asked for.
    Text(TextFormat),
    /// One JSON object a line.
    Json,
}

/// What stands on a line of text. The parts are in this order, separated by `separator`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TextFormat {
    pub(super) timestamp: bool,
    pub(super) partition: bool,
    pub(super) offset: bool,
    pub(super) headers: bool,
    pub(super) key: bool,
    pub(super) separator: String,
    /// What a null key or value looks like.
    pub(super) null: String,
}

impl RecordFormat {
    pub(super) fn write(
        &self,
        out: &mut dyn Write,
        partition: &TopicPartition,
        record: &Record<'_>,
    ) -> io::Result<()> {
        match self {
            Self::Text(format) => format.write(out, partition, record),
            Self::Json => write_json(out, partition, record),
        }
    }
}

impl TextFormat {
    fn write(
        &self,
        out: &mut dyn Write,
        partition: &TopicPartition,
        record: &Record<'_>,
    ) -> io::Result<()> {
        let separator = self.separator.as_bytes();
        if self.timestamp {
            out.write_all(show_timestamp(record.timestamp).as_bytes())?;
            out.write_all(separator)?;
        }
        if self.partition {
            write!(out, "{}", partition.partition)?;
            out.write_all(separator)?;
        }
        if self.offset {
            write!(out, "{}", record.offset)?;
            out.write_all(separator)?;
        }
        if self.headers {
            self.write_headers(out, record)?;
            out.write_all(separator)?;
        }
        if self.key {
            self.write_nullable(out, record.key)?;
            out.write_all(separator)?;
        }
        self.write_nullable(out, record.value)?;
        out.write_all(b"\n")
    }

    fn write_headers(&self, out: &mut dyn Write, record: &Record<'_>) -> io::Result<()> {
        for (place, (name, value)) in record.headers.clone().enumerate() {
            if place > 0 {
                out.write_all(b",")?;
            }
            out.write_all(name)?;
            out.write_all(b"=")?;
            self.write_nullable(out, value)?;
        }
        Ok(())
    }

    fn write_nullable(&self, out: &mut dyn Write, bytes: Option<&[u8]>) -> io::Result<()> {
        out.write_all(bytes.unwrap_or(self.null.as_bytes()))
    }
}

/// A record as JSON. What is not text is given as base64 under another name.
#[derive(Serialize)]
struct JsonRecord<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    #[serde(skip_serializing_if = "JsonBytes::is_binary")]
    key: JsonBytes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "JsonBytes::is_binary")]
    value: JsonBytes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Serialize)]
struct JsonHeader<'a> {
    name: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "JsonBytes::is_binary")]
    value: JsonBytes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum JsonBytes<'a> {
    Null,
    Text(&'a str),
    Binary,
}

impl<'a> JsonBytes<'a> {
    /// The text, or else its base64.
    fn split(bytes: Option<&'a [u8]>) -> (Self, Option<String>) {
        let Some(bytes) = bytes else {
            return (Self::Null, None);
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => (Self::Text(text), None),
            Err(_) => (Self::Binary, Some(base64(bytes))),
        }
    }

    fn is_binary(&self) -> bool {
        matches!(self, Self::Binary)
    }
}

fn write_json(
    out: &mut dyn Write,
    partition: &TopicPartition,
    record: &Record<'_>,
) -> io::Result<()> {
    let (key, key_base64) = JsonBytes::split(record.key);
    let (value, value_base64) = JsonBytes::split(record.value);
    let headers = record.headers.clone().map(|(name, value)| {
        let name = String::from_utf8_lossy(name);
        let (value, value_base64) = JsonBytes::split(value);
        JsonHeader {
            name,
            value,
            value_base64,
        }
    });
    let document = JsonRecord {
        topic: &partition.topic,
        partition: partition.partition.get(),
        offset: record.offset.get(),
        timestamp: record.timestamp.get(),
        key,
        key_base64,
        value,
        value_base64,
        headers: headers.collect(),
    };
    serde_json::to_writer(&mut *out, &document)?;
    out.write_all(b"\n")
}

/// Base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0, |bits: u32, byte| (bits << 8) | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4_usize {
            let digit = (bits >> (18 - 6 * place)) & 0x3f;
            let letter = usize::try_from(digit)
                .ok()
                .and_then(|digit| BASE64.get(digit));
            let padded = if place <= group.len() { letter } else { None };
            text.push(padded.map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
    use segment::{Offset, PartitionIndex, TimestampMs};

    use super::*;

    fn printed(format: &RecordFormat, record: NewRecord<'_>) -> String {
        let mut builder = RecordBatchBuilder::new().base_offset(Offset::new(41));
        builder.push(record).unwrap();
        let batch = builder.build().unwrap();
        let set = RecordSet::decode(&batch, &DecodeLimits::default()).unwrap();
        let partition = TopicPartition::new("t", PartitionIndex::new(3));
        let mut out = Vec::new();
        for record in &set {
            format
                .write(&mut out, &partition, &record.unwrap())
                .unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn record() -> NewRecord<'static> {
        NewRecord {
            timestamp: TimestampMs::new(1_000),
            key: Some(b"k"),
            value: Some(b"v \"1\""),
            headers: &[("h", Some(b"x")), ("i", None)],
        }
    }

    #[test]
    fn text_is_the_value_unless_more_is_asked_for() {
        let plain = RecordFormat::Text(TextFormat::default());
        assert_eq!(printed(&plain, record()), "v \"1\"\n");
        let all = RecordFormat::Text(TextFormat {
            timestamp: true,
            partition: true,
            offset: true,
            headers: true,
            key: true,
            separator: "|".to_owned(),
            null: "null".to_owned(),
        });
        let expected = "1970-01-01T00:00:01.000Z|3|41|h=x,i=null|k|v \"1\"\n";
        assert_eq!(printed(&all, record()), expected);
        let tombstone = NewRecord {
            value: None,
            headers: &[],
            ..record()
        };
        assert_eq!(
            printed(&all, tombstone),
            "1970-01-01T00:00:01.000Z|3|41||k|null\n"
        );
    }

    #[test]
    fn json_keeps_what_is_not_text() {
        let line = printed(&RecordFormat::Json, record());
        let expected = concat!(
            r#"{"topic":"t","partition":3,"offset":41,"timestamp":1000,"key":"k","#,
            r#""value":"v \"1\"","headers":[{"name":"h","value":"x"},{"name":"i","value":null}]}"#,
            "\n"
        );
        assert_eq!(line, expected);
        let binary = NewRecord {
            key: None,
            value: Some(&[0xff, 0]),
            headers: &[],
            ..record()
        };
        let line = printed(&RecordFormat::Json, binary);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["value_base64"], "/wA=");
        assert_eq!(value["key"], serde_json::Value::Null);
        assert!(value.get("value").is_none());
    }

    #[test]
    fn base64_is_padded() {
        // From RFC 4648.
        let known = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ];
        for (text, encoded) in known {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
