//! Records as JSON, one object a line.
//!
//! ```json
//! {"topic":"orders","partition":0,"offset":41,"timestamp":1714564800000,"timestamp_type":"CreateTime",
//!  "key":"k1","value":"text","headers":[{"key":"trace","value":"abc"}]}
//! ```
//! (on one line). All fields are always there, in this order. A key or value is null (as in the
//! record: a tombstone is `"value":null` and nothing else is), a string where it is UTF-8, else
//! `{"base64":"..."}`; [`JsonEncoding`] changes that. The timestamp is in milliseconds since 1970, or
//! null.

use std::io::{self, Write};

use segment::TopicName;

use crate::{EncodeError, Row};

/// How bytes stand in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonEncoding {
    /// Strings where they are UTF-8, else `{"base64":"..."}`.
    #[default]
    Auto,
    /// Keys, values and values of headers are always strings of base64 (RFC 4648, padded).
    Base64,
    /// As `Auto`, but a value that is a JSON document stands as what it is, not as a string of it.
    Json,
}

/// Lines that are being written, compressed or not.
#[derive(Debug)]
pub struct JsonLines<W: Write> {
    out: Sink<W>,
    topic: TopicName,
    encoding: JsonEncoding,
    rows: u64,
}

impl<W: Write> JsonLines<W> {
    /// Begins; as a Zstandard frame (level 3) if `compressed`.
    ///
    /// # Errors
    /// [`EncodeError::Io`].
    pub fn create(
        out: W,
        topic: TopicName,
        encoding: JsonEncoding,
        compressed: bool,
    ) -> Result<Self, EncodeError> {
        let out = Counted { out, bytes: 0 };
        let out = match compressed {
            true => Sink::Zstd(zstd::Encoder::new(out, ZSTD_LEVEL)?),
            false => Sink::Plain(out),
        };
        Ok(Self {
            out,
            topic,
            encoding,
            rows: 0,
        })
    }

    /// Writes a line.
    ///
    /// # Errors
    /// [`EncodeError::Io`].
    pub fn push(&mut self, row: &Row<'_>) -> Result<(), EncodeError> {
        write_json(&mut self.out, self.topic.as_str(), row, self.encoding)?;
        self.rows += 1;
        Ok(())
    }

    /// Bytes that have been handed on so far.
    pub fn bytes(&self) -> u64 {
        match &self.out {
            Sink::Plain(out) => out.bytes,
            Sink::Zstd(encoder) => encoder.get_ref().bytes,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the frame, if there is one.
    ///
    /// # Errors
    /// [`EncodeError::Io`].
    pub fn finish(self) -> Result<W, EncodeError> {
        let counted = match self.out {
            Sink::Plain(out) => out,
            Sink::Zstd(encoder) => encoder.finish()?,
        };
        Ok(counted.out)
    }
}

const ZSTD_LEVEL: i32 = 3;

#[derive(Debug)]
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

enum Sink<W: Write> {
    Plain(Counted<W>),
    Zstd(zstd::Encoder<'static, Counted<W>>),
}

impl<W: Write> std::fmt::Debug for Sink<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Writes one record as a line.
///
/// # Errors
/// As the writer below.
pub fn write_json(
    out: &mut (impl Write + ?Sized),
    topic: &str,
    row: &Row<'_>,
    encoding: JsonEncoding,
) -> io::Result<()> {
    let record = row.record;
    // Neither a topic's name nor what follows has anything to escape.
    write!(
        out,
        r#"{{"topic":"{topic}","partition":{},"offset":{},"timestamp":"#,
        row.partition, record.offset
    )?;
    match row.timestamp() {
        Some(timestamp) => write!(out, "{timestamp}")?,
        None => out.write_all(b"null")?,
    }
    write!(
        out,
        r#","timestamp_type":"{}","key":"#,
        row.timestamp_type()
    )?;
    write_bytes(out, record.key, encoding)?;
    out.write_all(br#","value":"#)?;
    match record.value {
        Some(value) if encoding == JsonEncoding::Json && is_json(value) => {
            write_document(out, value)?;
        }
        value => write_bytes(out, value, encoding)?,
    }
    out.write_all(br#","headers":["#)?;
    for (place, (key, value)) in record.headers.clone().enumerate() {
        let start: &[u8] = if place == 0 {
            br#"{"key":"#
        } else {
            br#",{"key":"#
        };
        out.write_all(start)?;
        serde_json::to_writer(&mut *out, &String::from_utf8_lossy(key))?;
        out.write_all(br#","value":"#)?;
        write_bytes(out, value, encoding)?;
        out.write_all(b"}")?;
    }
    out.write_all(b"]}\n")
}

fn write_bytes(
    out: &mut (impl Write + ?Sized),
    bytes: Option<&[u8]>,
    encoding: JsonEncoding,
) -> io::Result<()> {
    let Some(bytes) = bytes else {
        return out.write_all(b"null");
    };
    let base64 = || base64_simd::STANDARD.encode_to_string(bytes);
    if encoding == JsonEncoding::Base64 {
        return write!(out, r#""{}""#, base64());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(serde_json::to_writer(out, text)?),
        Err(_) => write!(out, r#"{{"base64":"{}"}}"#, base64()),
    }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok()
}

/// Writes a JSON document as it is, on one line: outside of strings, where JSON has none, the end of
/// a line is white space.
fn write_document(out: &mut (impl Write + ?Sized), document: &[u8]) -> io::Result<()> {
    for (place, line) in document
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .enumerate()
    {
        if place > 0 {
            out.write_all(b" ")?;
        }
        out.write_all(line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
