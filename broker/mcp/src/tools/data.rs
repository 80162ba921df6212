//! How keys, values and headers are shown: as text where they are UTF-8, as JSON on request, else as base64; cut to a
//! number of bytes, which is told.

use schemars::JsonSchema;
use segment::calendar::show_timestamp;
use segment::record::Record;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Headers of a record that are shown.
const HEADERS_MAX: usize = 32;
/// Bytes of the name of a header that are shown, and of its value, whatever the caller allows for values.
const HEADER_BYTES_MAX: usize = 1_024;

/// How bytes are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Encoding {
    /// As text where they are UTF-8, else as base64.
    #[default]
    Auto,
    /// As JSON where they are JSON (numbers beyond 64 bits lose digits), else as with auto.
    Json,
    /// As base64 always.
    Base64,
}

/// Bytes: one of text, json and base64.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct Data {
    /// The bytes as UTF-8 text
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The bytes read as JSON
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
    /// The bytes as base64
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Bytes in all, where only the first are shown
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_from_bytes: Option<usize>,
}

impl Data {
    /// Shows at most `most` of the bytes.
    pub(super) fn new(bytes: &[u8], encoding: Encoding, most: usize) -> Self {
        let cut = bytes.len() > most;
        let mut data = Self {
            text: None,
            json: None,
            base64: None,
            cut_from_bytes: cut.then_some(bytes.len()),
        };
        if encoding == Encoding::Json && !cut {
            data.json = serde_json::from_slice(bytes).ok();
            if data.json.is_some() {
                return data;
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if encoding != Encoding::Base64 => {
                data.text = Some(text[..text.floor_char_boundary(most)].to_owned());
            }
            _ => {
                let shown = &bytes[..most.min(bytes.len())];
                data.base64 = Some(base64_simd::STANDARD.encode_to_string(shown));
            }
        }
        data
    }
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct ShownHeader {
    name: String,
    value: Option<Data>,
}

/// A record of a topic.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct ShownRecord {
    partition: i32,
    offset: i64,
    /// Its timestamp in milliseconds since 1970; -1 if it has none
    timestamp_ms: i64,
    /// The same time, in UTC
    time: String,
    /// Null if it has none
    key: Option<Data>,
    /// Null if it has none: in a compacted topic that deletes the key
    value: Option<Data>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<ShownHeader>,
    /// Headers that are not shown
    #[serde(skip_serializing_if = "is_zero")]
    headers_left_out: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl ShownRecord {
    /// Shows at most `most` bytes of the key and of the value.
    pub(super) fn new(
        partition: i32,
        record: &Record<'_>,
        encoding: Encoding,
        most: usize,
    ) -> Self {
        let data = |bytes: Option<&[u8]>| bytes.map(|bytes| Data::new(bytes, encoding, most));
        let header_most = most.min(HEADER_BYTES_MAX);
        let headers = record.headers.clone().take(HEADERS_MAX);
        let headers = headers.map(|(name, value)| ShownHeader {
            name: String::from_utf8_lossy(&name[..name.len().min(HEADER_BYTES_MAX)]).into_owned(),
            value: value.map(|value| Data::new(value, encoding, header_most)),
        });
        Self {
            partition,
            offset: record.offset.get(),
            timestamp_ms: record.timestamp.get(),
            time: show_timestamp(record.timestamp),
            key: data(record.key),
            value: data(record.value),
            headers: headers.collect(),
            headers_left_out: record.headers.len().saturating_sub(HEADERS_MAX),
        }
    }

    /// Bytes that it takes as JSON.
    pub(super) fn json_bytes(&self) -> usize {
        serde_json::to_string(self).map_or(usize::MAX, |text| text.len())
    }
}

#[cfg(test)]
mod tests {
    use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
    use segment::{Offset, TimestampMs};
    use serde_json::json;

    use super::*;

    fn shown(bytes: &[u8], encoding: Encoding, most: usize) -> Value {
        serde_json::to_value(Data::new(bytes, encoding, most)).unwrap()
    }

    #[test]
    fn bytes_are_shown_as_what_they_are() {
        let auto = |bytes: &[u8]| shown(bytes, Encoding::Auto, 100);
        assert_eq!(auto("gr\u{fc}n".as_bytes()), json!({ "text": "gr\u{fc}n" }));
        assert_eq!(auto(b""), json!({ "text": "" }));
        assert_eq!(auto(&[0xff, 0]), json!({ "base64": "/wA=" }));
        assert_eq!(auto(b"{\"a\":1}"), json!({ "text": "{\"a\":1}" }));
        let as_json = |bytes: &[u8]| shown(bytes, Encoding::Json, 100);
        assert_eq!(as_json(b"{\"a\":1}"), json!({ "json": { "a": 1 } }));
        assert_eq!(as_json(b"null"), json!({ "json": null }));
        assert_eq!(as_json(b"{\"a\":"), json!({ "text": "{\"a\":" }));
        assert_eq!(as_json(&[0xff, 0]), json!({ "base64": "/wA=" }));
        assert_eq!(
            shown(b"foo", Encoding::Base64, 9),
            json!({ "base64": "Zm9v" })
        );
    }

    #[test]
    fn what_is_cut_is_told() {
        let cut = shown("aa\u{fc}b".as_bytes(), Encoding::Auto, 3);
        assert_eq!(
            cut,
            json!({ "text": "aa", "cut_from_bytes": 5 }),
            "no half of a character"
        );
        let cut = shown(b"{\"a\":1}", Encoding::Json, 3);
        assert_eq!(cut, json!({ "text": "{\"a", "cut_from_bytes": 7 }));
        let cut = shown(&[0xff, 0, 1], Encoding::Auto, 2);
        assert_eq!(cut, json!({ "base64": "/wA=", "cut_from_bytes": 3 }));
        let none = shown(b"abc", Encoding::Auto, 0);
        assert_eq!(none, json!({ "text": "", "cut_from_bytes": 3 }));
    }

    #[test]
    fn a_record_is_shown_with_its_headers_up_to_a_number() {
        let header: (&str, Option<&[u8]>) = ("h", Some(b"x"));
        let headers = vec![header; HEADERS_MAX + 2];
        let mut builder = RecordBatchBuilder::new().base_offset(Offset::new(41));
        let record = NewRecord {
            timestamp: TimestampMs::new(1_000),
            key: None,
            value: Some(&[0xff]),
            headers: &headers,
        };
        builder.push(record).unwrap();
        let batch = builder.build().unwrap();
        let set = RecordSet::decode(&batch, &DecodeLimits::default()).unwrap();
        let record = set.into_iter().next().unwrap().unwrap();
        let shown = ShownRecord::new(3, &record, Encoding::Auto, 10);
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(
            (&json["partition"], &json["offset"]),
            (&json!(3), &json!(41))
        );
        assert_eq!(json["time"], "1970-01-01T00:00:01.000Z");
        assert_eq!(
            (&json["key"], &json["value"]),
            (&Value::Null, &json!({ "base64": "/w==" }))
        );
        assert_eq!(json["headers"].as_array().unwrap().len(), HEADERS_MAX);
        assert_eq!(
            json["headers"][0],
            json!({ "name": "h", "value": { "text": "x" } })
        );
        assert_eq!(json["headers_left_out"], 2);
        assert_eq!(shown.json_bytes(), json.to_string().len());
    }
}
