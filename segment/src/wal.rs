//! The WAL object: what one broker flushed at once, for all of its partitions.
//!
//! ```text
//! header (64) | inline sections, each a run of record batches | directory | trailer (96)
//! ```
//!
//! A reader needs only the end of the object: the trailer repeats the header and says where the
//! directory lies, and both nearly always fit one ranged GET of the last 64 KiB. Layouts, byte by
//! byte, are in the crate's README.
//!
//! Invariants:
//! - Sections are sorted by (topic, partition, first offset); those of one partition follow each
//!   other without a gap. Inline sections lie in that order, without space between.
//! - `Open` has sequence 0. Only `Data` has sections. Only `Fence` names a fencing session.
//! - Every byte is covered by a CRC-32, and the object's own is combined from them, so that
//!   encoding never touches the bytes of a section.

mod bundle;
mod directory;
mod encode;
mod section;
mod verify;

pub use bundle::{WalBundleError, encode_directories, parse_directories};
pub use directory::{WalDirectory, WalTail, WalTrailer};
pub use encode::{WalObject, encode};
pub use section::{
    ProducerBatch, ProducerBatchKind, SectionBody, SectionPlace, WalEntry, WalSection,
    WalSectionBuilder,
};
pub use verify::{WalFault, WalReport, verify, verify_section};

use crate::cursor::{Cursor, Ended};
use crate::ids::{BrokerId, SessionId, TopicPartition, WalSequence};

/// Bytes of the header.
pub const WAL_HEADER_BYTES: usize = 64;
/// Bytes of the trailer.
pub const WAL_TRAILER_BYTES: usize = 96;
/// Bytes to read from the end of an object: nearly always the whole directory.
pub const WAL_TAIL_BYTES: u64 = 64 * 1024;

const MAGIC: [u8; 4] = *b"KWAL";
const VERSION: u16 = 1;
const NO_SEQUENCE: u64 = u64::MAX;

const _: () = assert!(WAL_HEADER_BYTES == 4 + 2 + 1 + 1 + 16 + 8 + 8 + 16 + 4 + 4);
const _: () = assert!(WAL_TAIL_BYTES >= WAL_TRAILER_BYTES as u64);

/// Why bytes are not (part of) a WAL object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// Fewer bytes than the part has.
    #[error("WAL {part} is cut off at {len} bytes")]
    Truncated {
        /// The part being read.
        part: WalPart,
        /// Bytes present.
        len: usize,
    },
    /// More bytes than the part has.
    #[error("WAL {part} has {extra} bytes after its end")]
    TrailingBytes {
        /// The part being read.
        part: WalPart,
        /// Bytes past the end.
        extra: usize,
    },
    /// Another magic.
    #[error("WAL {part} has magic {found:02x?}")]
    Magic {
        /// The part being read.
        part: WalPart,
        /// The four bytes found.
        found: [u8; 4],
    },
    /// A version that this code does not know.
    #[error("WAL object has version {version}, expected 1")]
    Version {
        /// Version found.
        version: u16,
    },
    /// The CRC-32 does not match.
    #[error("WAL {part} has CRC {stored:08x}, its bytes give {computed:08x}")]
    Crc {
        /// The part being read.
        part: WalPart,
        /// CRC stored.
        stored: u32,
        /// CRC of the bytes.
        computed: u32,
    },
    /// A kind that this code does not know.
    #[error("WAL object has kind {kind}")]
    Kind {
        /// The kind byte.
        kind: u8,
    },
    /// The header's fields contradict each other.
    #[error("WAL header contradicts itself: {what}")]
    Header {
        /// The rule that does not hold.
        what: &'static str,
    },
    /// The trailer's positions do not add up.
    #[error("WAL trailer states directory {position}+{len} in an object of {object_len} bytes")]
    Layout {
        /// Start of the directory.
        position: u64,
        /// Bytes of the directory.
        len: u32,
        /// Bytes of the object.
        object_len: u64,
    },
    /// A section's entry contradicts itself or its neighbors.
    #[error("WAL section {section} is wrong: {what}")]
    Section {
        /// Number of the section.
        section: usize,
        /// The rule that does not hold.
        what: &'static str,
    },
}

/// A part of a WAL object, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalPart {
    /// The first 64 bytes.
    Header,
    /// The directory.
    Directory,
    /// The last 96 bytes.
    Trailer,
}

impl std::fmt::Display for WalPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Directory => "directory",
            Self::Trailer => "trailer",
        })
    }
}

/// What a WAL object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WalKind {
    /// Sequence 0 of a session: proves that its prefix is new.
    Open,
    /// Sections of record batches.
    Data,
    /// No sections: proof of life while etcd cannot be reached.
    Empty,
    /// Ends a session: another one created it where the session would have gone on.
    Fence,
}

impl WalKind {
    const fn number(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Data => 2,
            Self::Empty => 3,
            Self::Fence => 4,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Open),
            2 => Some(Self::Data),
            3 => Some(Self::Empty),
            4 => Some(Self::Fence),
            _ => None,
        }
    }
}

/// The first 64 bytes, repeated in the trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalHeader {
    /// What the object is for.
    pub kind: WalKind,
    /// Broker of the session in whose prefix the object lies.
    pub broker: BrokerId,
    /// Session in whose prefix the object lies.
    pub session: SessionId,
    /// Number of the object in that session.
    pub sequence: WalSequence,
    /// Highest sequence of the session that was acknowledged when the object was built, if any. A
    /// taker may start its search there.
    pub acknowledged: Option<WalSequence>,
    /// The session that fenced: set for `Fence` only.
    pub fenced_by: Option<SessionId>,
}

impl WalHeader {
    /// Header of a session's first object.
    pub fn open(broker: BrokerId, session: SessionId) -> Self {
        let header = Self {
            kind: WalKind::Open,
            broker,
            session,
            sequence: WalSequence::ZERO,
            acknowledged: None,
            fenced_by: None,
        };
        header.assert_sound();
        header
    }

    /// Header of an object with sections.
    pub fn data(
        broker: BrokerId,
        session: SessionId,
        sequence: WalSequence,
        acknowledged: Option<WalSequence>,
    ) -> Self {
        let kind = WalKind::Data;
        let header = Self {
            kind,
            broker,
            session,
            sequence,
            acknowledged,
            fenced_by: None,
        };
        header.assert_sound();
        header
    }

    /// Header of an object that proves life only.
    pub fn empty(
        broker: BrokerId,
        session: SessionId,
        sequence: WalSequence,
        acknowledged: Option<WalSequence>,
    ) -> Self {
        let kind = WalKind::Empty;
        let header = Self {
            kind,
            broker,
            session,
            sequence,
            acknowledged,
            fenced_by: None,
        };
        header.assert_sound();
        header
    }

    /// Header of the object by which `fenced_by` ends `session` at `sequence`.
    ///
    /// # Panics
    /// When `fenced_by` is zero, which stands for none.
    pub fn fence(
        broker: BrokerId,
        session: SessionId,
        sequence: WalSequence,
        fenced_by: SessionId,
    ) -> Self {
        assert!(!fenced_by.is_zero(), "who fences has a session");
        let header = Self {
            kind: WalKind::Fence,
            broker,
            session,
            sequence,
            acknowledged: None,
            fenced_by: Some(fenced_by),
        };
        header.assert_sound();
        header
    }

    /// Decodes the header at the front of `bytes`.
    ///
    /// # Errors
    /// Too few bytes, wrong magic, version, CRC or kind, or fields that contradict each other.
    pub fn parse(bytes: &[u8]) -> Result<Self, WalError> {
        let len = bytes.len();
        let truncated = WalError::Truncated {
            part: WalPart::Header,
            len,
        };
        let header = bytes.first_chunk::<WAL_HEADER_BYTES>().ok_or(truncated)?;
        Self::read(header).unwrap_or(Err(truncated))
    }

    fn read(bytes: &[u8; WAL_HEADER_BYTES]) -> Result<Result<Self, WalError>, Ended> {
        let mut cursor = Cursor::new(bytes);
        let found = cursor.array::<4>()?;
        if found != MAGIC {
            return Ok(Err(WalError::Magic {
                part: WalPart::Header,
                found,
            }));
        }
        let version = cursor.u16()?;
        if version != VERSION {
            return Ok(Err(WalError::Version { version }));
        }
        let kind = cursor.u8()?;
        let reserved = cursor.u8()?;
        let session = SessionId::new(cursor.array()?);
        let sequence = WalSequence::new(cursor.u64()?);
        let acknowledged = cursor.u64()?;
        let fenced_by = SessionId::new(cursor.array()?);
        let broker = BrokerId::new(cursor.i32()?);
        let covered = cursor.position();
        let stored = cursor.u32()?;
        assert!(cursor.remaining() == 0, "the header's fields have 64 bytes");
        let computed = crc32fast::hash(&bytes[..covered]);
        if stored != computed {
            return Ok(Err(WalError::Crc {
                part: WalPart::Header,
                stored,
                computed,
            }));
        }
        let Some(kind) = WalKind::from_number(kind) else {
            return Ok(Err(WalError::Kind { kind }));
        };
        let header = Self {
            kind,
            broker,
            session,
            sequence,
            acknowledged: (acknowledged != NO_SEQUENCE).then(|| WalSequence::new(acknowledged)),
            fenced_by: (!fenced_by.is_zero()).then_some(fenced_by),
        };
        if reserved != 0 {
            return Ok(Err(WalError::Header {
                what: "a reserved byte is set",
            }));
        }
        Ok(header.check().map(|()| header))
    }

    /// The 64 bytes.
    pub fn encode(&self) -> [u8; WAL_HEADER_BYTES] {
        self.assert_sound();
        let acknowledged = self.acknowledged.map_or(NO_SEQUENCE, WalSequence::get);
        let mut out = Vec::with_capacity(WAL_HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[self.kind.number(), 0]);
        out.extend_from_slice(&self.session.get());
        out.extend_from_slice(&self.sequence.get().to_be_bytes());
        out.extend_from_slice(&acknowledged.to_be_bytes());
        out.extend_from_slice(&self.fenced_by.unwrap_or(SessionId::ZERO).get());
        out.extend_from_slice(&self.broker.get().to_be_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        let out: [u8; WAL_HEADER_BYTES] = out.try_into().expect("the fields add up to 64 bytes");
        assert!(
            Self::parse(&out) == Ok(*self),
            "a header is read as it was written"
        );
        out
    }

    fn check(&self) -> Result<(), WalError> {
        let rules = [
            (self.broker.get() >= 0, "the broker id is negative"),
            (!self.session.is_zero(), "the session id is zero"),
            (
                self.sequence.get() != NO_SEQUENCE,
                "the sequence is the one that means none",
            ),
            (
                self.kind != WalKind::Open || self.sequence == WalSequence::ZERO,
                "an open object has another sequence than 0",
            ),
            (
                (self.kind == WalKind::Fence) == self.fenced_by.is_some(),
                "a fence and nothing else names who fenced",
            ),
            (
                self.acknowledged
                    .is_none_or(|acknowledged| acknowledged < self.sequence),
                "an object that is not older is acknowledged",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(WalError::Header { what }),
            None => Ok(()),
        }
    }

    fn assert_sound(&self) {
        let checked = self.check();
        assert!(
            checked.is_ok(),
            "a WAL header of our own is sound: {checked:?}"
        );
    }
}

pub(crate) fn sort_key(entry: &WalEntry) -> (TopicPartition, crate::ids::Offset) {
    (entry.topic_partition(), entry.first_offset)
}

#[cfg(test)]
mod tests;
