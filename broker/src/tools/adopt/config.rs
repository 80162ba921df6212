//! The original's `TopicConfig`, a protobuf message, and what of it is taken over.
//!
//! The original stores retention and never carries it out: its objects go by lifecycle rules of the
//! bucket, or never. A broker here does carry it out. So that adoption deletes nothing, what deletes
//! records is set to "never" unless it is asked for.

use std::collections::BTreeMap;

use crate::topic_config::TopicConfig;

const RETENTION_MS: (u32, &str) = (4, "retention.ms");
const RETENTION_BYTES: (u32, &str) = (5, "retention.bytes");
const SEGMENT_BYTES: (u32, &str) = (6, "segment.bytes");
const CONFIG: u32 = 8;
/// Settings by which a broker deletes records.
const DELETING: [&str; 3] = ["cleanup.policy", RETENTION_BYTES.1, RETENTION_MS.1];

/// What was set, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredConfig {
    /// Names and values.
    pub settings: BTreeMap<String, String>,
}

/// What is taken over of it, and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdoptedConfig {
    /// Settings of the topic.
    pub settings: BTreeMap<String, String>,
    /// What was stored and is not taken over, and why.
    pub left_out: Vec<String>,
}

impl StoredConfig {
    /// What a topic here gets; with `deletes`, also what makes brokers delete records.
    pub fn adopted(&self, deletes: bool) -> AdoptedConfig {
        let mut adopted = AdoptedConfig::default();
        if !deletes {
            for name in [RETENTION_BYTES.1, RETENTION_MS.1] {
                adopted.settings.insert(name.to_owned(), "-1".to_owned());
            }
        }
        for (name, value) in &self.settings {
            let setting = format!("{name}={value}");
            let alone = BTreeMap::from([(name.clone(), value.clone())]);
            if !deletes && DELETING.contains(&name.as_str()) {
                let why = "the original never carried it out; see --with-retention";
                adopted.left_out.push(format!("{setting}: {why}"));
            } else if let Err(error) = TopicConfig::from_overrides(alone) {
                adopted.left_out.push(format!("{setting}: {error}"));
            } else {
                adopted.settings.insert(name.clone(), value.clone());
            }
        }
        adopted
    }
}

/// A field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Reads a `TopicConfig`.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn read(bytes: &[u8]) -> Result<StoredConfig, String> {
    let mut settings = BTreeMap::new();
    let mut given = Vec::new();
    let mut left = bytes;
    while !left.is_empty() {
        match field(&mut left)? {
            (CONFIG, Field::Bytes(entry)) => given.push(map_entry(entry)?),
            (number, Field::Number(value)) => {
                let named = [RETENTION_MS, RETENTION_BYTES, SEGMENT_BYTES];
                let named = named.into_iter().find(|(known, _)| *known == number);
                if let Some((_, name)) = named {
                    // Negative numbers are stored as 64 bits, two's complement.
                    settings.insert(name.to_owned(), value.cast_signed().to_string());
                }
            }
            _ => {}
        }
    }
    settings.extend(given);
    Ok(StoredConfig { settings })
}

fn map_entry(mut left: &[u8]) -> Result<(String, String), String> {
    let (mut key, mut value) = (String::new(), String::new());
    while !left.is_empty() {
        let (number, field) = field(&mut left)?;
        let Field::Bytes(text) = field else { continue };
        let text = String::from_utf8(text.to_vec()).map_err(|_| "a text is not UTF-8")?;
        match number {
            1 => key = text,
            2 => value = text,
            _ => {}
        }
    }
    Ok((key, value))
}

fn field<'a>(left: &mut &'a [u8]) -> Result<(u32, Field<'a>), String> {
    let tag = varint(left)?;
    let number = u32::try_from(tag >> 3).map_err(|_| "a field number is too large")?;
    let mut skip = |bytes: usize| take(left, bytes).map(|_| Field::Other);
    let field = match tag & 7 {
        0 => Field::Number(varint(left)?),
        1 => skip(8)?,
        2 => {
            let len = usize::try_from(varint(left)?).map_err(|_| "a length is too large")?;
            Field::Bytes(take(left, len)?)
        }
        5 => skip(4)?,
        kind => return Err(format!("wire type {kind}")),
    };
    Ok((number, field))
}

fn take<'a>(left: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], String> {
    let (head, tail) = left
        .split_at_checked(bytes)
        .ok_or("it ends inside a field")?;
    *left = tail;
    Ok(head)
}

fn varint(left: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(left, 1)?.first().expect("one was taken");
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number has more than 64 bits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
        let row = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        rows.iter().map(row).collect()
    }

    /// `name: "t", partitions: 3, retention_ms: 86400000, retention_bytes: -1, segment_bytes: 1048576,
    /// created_at: "x", config: {"retention.ms": "5"}`, as protobuf's encoder writes it.
    const BYTES: &[u8] = b"\x0a\x01t\x10\x03\x20\x80\xb8\x99\x29\
        \x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x30\x80\x80\x40\x3a\x01x\
        \x42\x11\x0a\x0cretention.ms\x12\x015";

    #[test]
    fn a_message_is_read() {
        let read = read(BYTES).unwrap();
        let expected = settings(&[
            ("retention.bytes", "-1"),
            ("retention.ms", "5"),
            ("segment.bytes", "1048576"),
        ]);
        assert_eq!(read.settings, expected, "the map was set last");
    }

    #[test]
    fn bytes_that_are_no_message_are_errors() {
        for cut in 1..BYTES.len() {
            // Where a field ends the message may end.
            let _ = read(&BYTES[..cut]);
        }
        for bytes in [&b"\x0a\x05t"[..], b"\x20\xff", b"\x07", b"\x42\x02\x0a\x05"] {
            assert!(read(bytes).is_err(), "{bytes:x?}");
        }
        assert!(read(&[0xff; 12]).is_err());
    }

    #[test]
    fn nothing_that_deletes_is_taken_over_unless_it_is_asked_for() {
        let stored = StoredConfig {
            settings: settings(&[
                ("cleanup.policy", "compact"),
                ("max.message.bytes", "1000"),
                ("no.such.setting", "1"),
                ("retention.ms", "5"),
            ]),
        };
        let safe = stored.adopted(false);
        let expected = settings(&[
            ("max.message.bytes", "1000"),
            ("retention.bytes", "-1"),
            ("retention.ms", "-1"),
        ]);
        assert_eq!(safe.settings, expected);
        assert_eq!(safe.left_out.len(), 3, "{:?}", safe.left_out);
        let all = stored.adopted(true);
        assert_eq!(all.settings["retention.ms"], "5");
        assert_eq!(all.settings["cleanup.policy"], "compact");
        assert_eq!(all.left_out.len(), 1);
        assert_eq!(StoredConfig::default().adopted(true).settings.len(), 0);
    }
}
