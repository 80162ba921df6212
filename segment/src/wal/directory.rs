//! The end of a WAL object: trailer and directory.

use std::ops::Range;

use super::section::{ENTRY_BYTES, SectionPlace, WalEntry};
use super::{WAL_HEADER_BYTES, WAL_TRAILER_BYTES, WalError, WalHeader, WalKind, WalPart, sort_key};
use crate::cursor::{Cursor, Ended};
use crate::ids::TopicPartition;

const END_MAGIC: [u8; 4] = *b"LAWK";

const _: () = assert!(WAL_TRAILER_BYTES == WAL_HEADER_BYTES + 8 + 8 + 4 + 4 + 4 + 4);

/// The last 96 bytes of a WAL object: its header again and where the directory lies. Two objects
/// with equal trailers have equal bytes, up to CRC collisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalTrailer {
    /// The header, repeated.
    pub header: WalHeader,
    /// First byte of the directory in the object.
    pub directory_position: u64,
    /// Bytes of the directory.
    pub directory_len: u32,
    /// CRC-32 (IEEE) of the directory.
    pub directory_crc: u32,
    /// Bytes of the object.
    pub object_len: u64,
}

impl WalTrailer {
    /// Decodes the trailer from the last 96 bytes of `tail`, which is the object or any end of it.
    ///
    /// # Errors
    /// Too few bytes, a wrong magic or CRC, an unsound header, or positions that do not add up.
    pub fn parse(tail: &[u8]) -> Result<Self, WalError> {
        let truncated = WalError::Truncated {
            part: WalPart::Trailer,
            len: tail.len(),
        };
        let trailer = tail.last_chunk::<WAL_TRAILER_BYTES>().ok_or(truncated)?;
        Self::read(trailer).unwrap_or(Err(truncated))
    }

    fn read(bytes: &[u8; WAL_TRAILER_BYTES]) -> Result<Result<Self, WalError>, Ended> {
        let mut cursor = Cursor::new(bytes);
        let header = cursor.array::<WAL_HEADER_BYTES>()?;
        let directory_position = cursor.u64()?;
        let object_len = cursor.u64()?;
        let directory_len = cursor.u32()?;
        let directory_crc = cursor.u32()?;
        let covered = cursor.position();
        let stored = cursor.u32()?;
        let found = cursor.array::<4>()?;
        assert!(
            cursor.remaining() == 0,
            "the trailer's fields have 96 bytes"
        );
        if found != END_MAGIC {
            return Ok(Err(WalError::Magic {
                part: WalPart::Trailer,
                found,
            }));
        }
        let computed = crc32fast::hash(&bytes[..covered]);
        if stored != computed {
            return Ok(Err(WalError::Crc {
                part: WalPart::Trailer,
                stored,
                computed,
            }));
        }
        let header = match WalHeader::parse(&header) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        let trailer = Self {
            header,
            directory_position,
            directory_len,
            directory_crc,
            object_len,
        };
        Ok(trailer.check().map(|()| trailer))
    }

    fn check(&self) -> Result<(), WalError> {
        let end = self
            .directory_position
            .checked_add(u64::from(self.directory_len))
            .and_then(|end| end.checked_add(WAL_TRAILER_BYTES as u64));
        if end == Some(self.object_len) && self.directory_position >= WAL_HEADER_BYTES as u64 {
            return Ok(());
        }
        Err(WalError::Layout {
            position: self.directory_position,
            len: self.directory_len,
            object_len: self.object_len,
        })
    }

    pub(super) fn encode(&self) -> [u8; WAL_TRAILER_BYTES] {
        assert!(
            self.check().is_ok(),
            "the positions of our own trailer add up"
        );
        let mut out = Vec::with_capacity(WAL_TRAILER_BYTES);
        out.extend_from_slice(&self.header.encode());
        out.extend_from_slice(&self.directory_position.to_be_bytes());
        out.extend_from_slice(&self.object_len.to_be_bytes());
        out.extend_from_slice(&self.directory_len.to_be_bytes());
        out.extend_from_slice(&self.directory_crc.to_be_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out.extend_from_slice(&END_MAGIC);
        out.try_into().expect("the fields add up to 96 bytes")
    }

    /// Byte range of the directory in the object.
    pub fn directory_range(&self) -> Range<u64> {
        self.directory_position..self.directory_position + u64::from(self.directory_len)
    }

    /// The directory's bytes, where `tail` (an end of the object) contains them all.
    pub fn directory_in<'a>(&self, tail: &'a [u8]) -> Option<&'a [u8]> {
        let end = tail.len().checked_sub(WAL_TRAILER_BYTES)?;
        let start = end.checked_sub(usize::try_from(self.directory_len).ok()?)?;
        tail.get(start..end)
    }
}

/// What an end of a WAL object gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalTail {
    /// The whole directory was in it.
    Directory(WalDirectory),
    /// The directory begins before it: read `WalTrailer::directory_range` and parse that.
    Fetch(WalTrailer),
}

/// The directory of a WAL object with its trailer. Immutable, shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalDirectory {
    /// The trailer, with the object's header.
    pub trailer: WalTrailer,
    /// One row a section, sorted by (topic, partition, first offset).
    pub entries: Vec<WalEntry>,
}

impl WalDirectory {
    /// Decodes as much as an end of the object allows, for example its last 64 KiB.
    ///
    /// # Errors
    /// As `WalTrailer::parse` and `parse`.
    pub fn from_tail(tail: &[u8]) -> Result<WalTail, WalError> {
        let trailer = WalTrailer::parse(tail)?;
        match trailer.directory_in(tail) {
            Some(bytes) => Ok(WalTail::Directory(Self::parse(&trailer, bytes)?)),
            None => Ok(WalTail::Fetch(trailer)),
        }
    }

    /// Decodes the directory; `bytes` is the trailer's `directory_range` of the object.
    ///
    /// # Errors
    /// Another length or CRC than the trailer states, or a row that breaks a rule.
    pub fn parse(trailer: &WalTrailer, bytes: &[u8]) -> Result<Self, WalError> {
        let part = WalPart::Directory;
        let expected = usize::try_from(trailer.directory_len).unwrap_or(usize::MAX);
        if bytes.len() < expected {
            return Err(WalError::Truncated {
                part,
                len: bytes.len(),
            });
        }
        if bytes.len() > expected {
            return Err(WalError::TrailingBytes {
                part,
                extra: bytes.len() - expected,
            });
        }
        let (stored, computed) = (trailer.directory_crc, crc32fast::hash(bytes));
        if stored != computed {
            return Err(WalError::Crc {
                part,
                stored,
                computed,
            });
        }
        let mut cursor = Cursor::new(bytes);
        let truncated = WalError::Truncated {
            part,
            len: bytes.len(),
        };
        let entries = read_entries(&mut cursor).unwrap_or(Err(truncated))?;
        if cursor.remaining() != 0 {
            return Err(WalError::TrailingBytes {
                part,
                extra: cursor.remaining(),
            });
        }
        let directory = Self {
            trailer: *trailer,
            entries,
        };
        directory.check()?;
        Ok(directory)
    }

    /// The object's header.
    pub fn header(&self) -> &WalHeader {
        &self.trailer.header
    }

    /// The rows of one partition, in offset order.
    pub fn entries_of(&self, partition: TopicPartition) -> &[WalEntry] {
        let start = self
            .entries
            .partition_point(|entry| entry.topic_partition() < partition);
        let end = self
            .entries
            .partition_point(|entry| entry.topic_partition() <= partition);
        assert!(start <= end, "rows are in order of their partitions");
        self.entries.get(start..end).unwrap_or_default()
    }

    /// Each partition that has a row, once, in order.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.entries
            .chunk_by(|a, b| a.topic_partition() == b.topic_partition())
            .filter_map(|rows| rows.first())
            .map(WalEntry::topic_partition)
    }

    pub(super) fn check(&self) -> Result<(), WalError> {
        let is_data = self.trailer.header.kind == WalKind::Data;
        if is_data == self.entries.is_empty() {
            let what = "a data object and nothing else has sections";
            return Err(WalError::Header { what });
        }
        let mut position = WAL_HEADER_BYTES as u64;
        let mut previous: Option<&WalEntry> = None;
        for (section, entry) in self.entries.iter().enumerate() {
            if let Some(what) = order_fault(previous, entry) {
                return Err(WalError::Section { section, what });
            }
            position = next_position(entry, position).ok_or(WalError::Section {
                section,
                what: "it is not where its place says",
            })?;
            previous = Some(entry);
        }
        if position == self.trailer.directory_position {
            return Ok(());
        }
        Err(WalError::Layout {
            position: self.trailer.directory_position,
            len: self.trailer.directory_len,
            object_len: self.trailer.object_len,
        })
    }
}

fn order_fault(previous: Option<&WalEntry>, entry: &WalEntry) -> Option<&'static str> {
    let previous = previous?;
    if sort_key(previous) >= sort_key(entry) {
        return Some("sections are out of order");
    }
    let same = previous.topic_partition() == entry.topic_partition();
    let follows = previous.last_offset.next() == Some(entry.first_offset);
    (same && !follows).then_some("it does not follow the section before it")
}

/// Where the next inline section lies, if this one lies at `position`.
fn next_position(entry: &WalEntry, position: u64) -> Option<u64> {
    match entry.place {
        SectionPlace::Inline { position: stated } if stated == position => {
            position.checked_add(entry.len)
        }
        SectionPlace::Inline { .. } => None,
        SectionPlace::Own { .. } => Some(position),
    }
}

fn read_entries(cursor: &mut Cursor<'_>) -> Result<Result<Vec<WalEntry>, WalError>, Ended> {
    let count = cursor.count(ENTRY_BYTES)?;
    let mut entries = Vec::with_capacity(count);
    for section in 0..count {
        match WalEntry::read(cursor)? {
            Ok(entry) => entries.push(entry),
            Err(what) => return Ok(Err(WalError::Section { section, what })),
        }
    }
    Ok(Ok(entries))
}
