//! The backup of a cluster's metadata: its keys at one revision.
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | magic `KBAK` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 8 | revision of the metadata store, above 0 |
//! | 16 | 8 | when it was made, ms since 1970 |
//! | 24 | 4 + n | cluster id, UTF-8, after its length |
//! | | 4 + n | name of the cluster, the same way |
//! | | 4 | entry count |
//! | | | entries, by rising key: key after its length (4), value after its length (4) |
//! | end-4 | 4 | CRC-32 (IEEE) of all before it |
//!
//! Keys are those of the metadata store, whole. What is bound to a lease (sessions, claims of broker
//! ids) is not in it: it is over when the backup is read.

use bytes::Bytes;

use crate::calendar::{civil, days_of};
use crate::cursor::{Cursor, Ended};
use crate::ids::TimestampMs;

const MAGIC: [u8; 4] = *b"KBAK";
const VERSION: u16 = 1;
const ENTRY_BYTES: usize = 8;
const CRC_BYTES: usize = 4;
/// Magic, version, reserved, revision and time.
const HEADER_BYTES: usize = 24;

const _: () = assert!(ENTRY_BYTES == 2 * size_of::<u32>());

/// Why bytes are not a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackupFormatError {
    /// Fewer bytes than the lengths ask for.
    #[error("the backup is cut off at {len} bytes")]
    Truncated {
        /// Bytes present.
        len: usize,
    },
    /// More bytes than the lengths ask for.
    #[error("the backup has {extra} bytes after its end")]
    TrailingBytes {
        /// Bytes past the end.
        extra: usize,
    },
    /// Another magic.
    #[error("the backup has magic {found:02x?}")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A version that this code does not know.
    #[error("the backup has version {version}, expected 1: a newer KafScale wrote it")]
    Version {
        /// Version found.
        version: u16,
    },
    /// The CRC-32 does not match.
    #[error("the backup has CRC {stored:08x}, its bytes give {computed:08x}")]
    Crc {
        /// CRC stored.
        stored: u32,
        /// CRC of the bytes.
        computed: u32,
    },
    /// A field is out of range or out of order.
    #[error("the backup is wrong: {what}")]
    Content {
        /// The rule that does not hold.
        what: &'static str,
    },
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupEntry {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// The keys of a cluster at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Id of the cluster.
    pub cluster_id: String,
    /// Its name, which its keys begin with.
    pub cluster: String,
    /// Revision of the metadata store.
    pub revision: u64,
    /// When it was made.
    pub made: TimestampMs,
    /// By rising key.
    pub entries: Vec<BackupEntry>,
}

impl Backup {
    /// Decodes a backup; every byte of it is checked. Keys and values are slices of `bytes`.
    ///
    /// # Errors
    /// Anything but exactly what `encode` writes.
    pub fn parse(bytes: &Bytes) -> Result<Self, BackupFormatError> {
        let truncated = BackupFormatError::Truncated { len: bytes.len() };
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(truncated)?;
        let mut cursor = Cursor::new(body);
        read_magic(&mut cursor).unwrap_or(Err(truncated))?;
        let (stored, computed) = (u32::from_be_bytes(*crc), crc32fast::hash(body));
        if stored != computed {
            return Err(BackupFormatError::Crc { stored, computed });
        }
        let backup = Self::read(bytes, &mut cursor).map_err(|Ended| truncated)??;
        if cursor.remaining() != 0 {
            return Err(BackupFormatError::TrailingBytes {
                extra: cursor.remaining(),
            });
        }
        match backup.fault() {
            Some(what) => Err(BackupFormatError::Content { what }),
            None => Ok(backup),
        }
    }

    fn read(
        bytes: &Bytes,
        cursor: &mut Cursor<'_>,
    ) -> Result<Result<Self, BackupFormatError>, Ended> {
        assert!(
            cursor.position() + cursor.remaining() + CRC_BYTES == bytes.len(),
            "the cursor walks these bytes, up to the CRC"
        );
        let revision = cursor.u64()?;
        let made = TimestampMs::new(cursor.i64()?);
        let cluster_id = read_bytes(bytes, cursor)?;
        let cluster = read_bytes(bytes, cursor)?;
        let count = cursor.count(ENTRY_BYTES)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let key = read_bytes(bytes, cursor)?;
            let value = read_bytes(bytes, cursor)?;
            entries.push(BackupEntry { key, value });
        }
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec());
        let (Ok(cluster_id), Ok(cluster)) = (text(cluster_id), text(cluster)) else {
            let what = "a name is not UTF-8";
            return Ok(Err(BackupFormatError::Content { what }));
        };
        Ok(Ok(Self {
            cluster_id,
            cluster,
            revision,
            made,
            entries,
        }))
    }

    /// The object's bytes.
    ///
    /// # Panics
    /// When the content breaks a rule of the format: it is our own.
    pub fn encode(&self) -> Bytes {
        let fault = self.fault();
        assert!(
            fault.is_none(),
            "a backup of our own is sound: {}",
            fault.unwrap_or_default()
        );
        let entries = self.entries.iter();
        let size: usize = entries
            .map(|entry| ENTRY_BYTES + entry.key.len() + entry.value.len())
            .sum();
        let mut out = Vec::with_capacity(size + 64 + self.cluster_id.len() + self.cluster.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.revision.to_be_bytes());
        out.extend_from_slice(&self.made.get().to_be_bytes());
        put_bytes(&mut out, self.cluster_id.as_bytes());
        put_bytes(&mut out, self.cluster.as_bytes());
        put_len(&mut out, self.entries.len());
        for entry in &self.entries {
            put_bytes(&mut out, &entry.key);
            put_bytes(&mut out, &entry.value);
        }
        let names = self.cluster_id.len() + self.cluster.len();
        assert!(
            out.len() == HEADER_BYTES + 3 * 4 + names + size,
            "each length stands before its bytes"
        );
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out.into()
    }

    /// The rule that the content breaks, if any.
    fn fault(&self) -> Option<&'static str> {
        let rules = [
            (self.revision > 0, "the revision is 0"),
            (self.made >= TimestampMs::ZERO, "it was made before 1970"),
            (!self.cluster_id.is_empty(), "the cluster id is empty"),
            (!self.cluster.is_empty(), "the name of the cluster is empty"),
            (
                self.entries.is_sorted_by(|a, b| a.key < b.key),
                "keys are out of order",
            ),
            (
                self.entries
                    .first()
                    .is_none_or(|entry| !entry.key.is_empty()),
                "a key is empty",
            ),
        ];
        rules
            .iter()
            .find(|(holds, _)| !holds)
            .map(|(_, what)| *what)
    }
}

fn read_magic(cursor: &mut Cursor<'_>) -> Result<Result<(), BackupFormatError>, Ended> {
    let found = cursor.array::<4>()?;
    if found != MAGIC {
        return Ok(Err(BackupFormatError::Magic { found }));
    }
    let version = cursor.u16()?;
    if version != VERSION {
        return Ok(Err(BackupFormatError::Version { version }));
    }
    if cursor.u16()? != 0 {
        let what = "a reserved byte is set";
        return Ok(Err(BackupFormatError::Content { what }));
    }
    Ok(Ok(()))
}

fn read_bytes(bytes: &Bytes, cursor: &mut Cursor<'_>) -> Result<Bytes, Ended> {
    let len = cursor.count(1)?;
    let start = cursor.position();
    cursor.take(len)?;
    Ok(bytes.slice(start..start + len))
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("keys, values and their number have 32 bits");
    out.extend_from_slice(&len.to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// A moment as it stands in the key of a backup: `YYYYMMDDThhmmssZ`, UTC; the milliseconds are dropped.
pub(crate) fn stamp(moment: TimestampMs) -> String {
    let seconds = moment.get().max(0) / 1_000;
    let (year, month, day) = civil(seconds / DAY);
    let of_day = seconds % DAY;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    assert!(hour < 24, "a day has 24 hours");
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The moment of a stamp; none if [`stamp`] never writes it.
pub(crate) fn parse_stamp(text: &str) -> Option<TimestampMs> {
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        let plain = part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse().ok()).flatten()
    };
    if text.len() != 16 {
        return None;
    }
    let days = days_of(digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let of_day = digits(9..11)? * 3_600 + digits(11..13)? * 60 + digits(13..15)?;
    let moment = TimestampMs::new((days * DAY + of_day) * 1_000);
    (stamp(moment) == text).then_some(moment)
}

const DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(key: &str, value: &str) -> BackupEntry {
        BackupEntry {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
        }
    }

    fn backup() -> Backup {
        Backup {
            cluster_id: "an id".to_owned(),
            cluster: "kafscale".to_owned(),
            revision: 42,
            made: TimestampMs::new(1_700_000_000_123),
            entries: vec![entry("/a", "1"), entry("/b", "")],
        }
    }

    #[test]
    fn every_bit_is_covered() {
        let bytes = backup().encode();
        assert_eq!(Backup::parse(&bytes), Ok(backup()));
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(Backup::parse(&damaged.into()).is_err(), "bit {at}");
        }
        for len in 0..bytes.len() {
            assert!(Backup::parse(&bytes.slice(..len)).is_err(), "{len} bytes");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(Backup::parse(&longer.into()).is_err());
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        let mut wrong = backup();
        wrong.entries.swap(0, 1);
        assert!(wrong.fault().is_some());
        wrong.entries[1] = wrong.entries[0].clone();
        assert!(wrong.fault().is_some(), "a key is there once");
    }

    #[test]
    fn stamps_are_what_a_calendar_says() {
        for (ms, text) in [
            (0, "19700101T000000Z"),
            (1_700_000_000_999, "20231114T221320Z"),
            (1_709_164_800_000, "20240229T000000Z"),
            (4_107_542_399_000, "21000228T235959Z"),
        ] {
            assert_eq!(stamp(TimestampMs::new(ms)), text);
            assert_eq!(
                parse_stamp(text),
                Some(TimestampMs::new(ms / 1_000 * 1_000))
            );
        }
        for text in [
            "20230229T000000Z",
            "20231301T000000Z",
            "20231114T240000Z",
            "x",
            "",
        ] {
            assert_eq!(parse_stamp(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn stamps_round_trip(seconds in 0..253_402_300_800_i64) {
            let moment = TimestampMs::new(seconds * 1_000);
            prop_assert_eq!(parse_stamp(&stamp(moment)), Some(moment));
        }

        #[test]
        fn any_bytes_parse_or_not(bytes: Vec<u8>) {
            let _ = Backup::parse(&bytes.into());
        }
    }
}
