//! Directories of consecutive WAL objects in one object, so that a taker reads few.
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | magic `KDIR` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 4 | count |
//! | 12 | | per object: u32 length, then its directory and trailer, verbatim |
//! | end-4 | 4 | CRC-32 of all before it |

use bytes::Bytes;

use super::directory::{WalDirectory, WalTail};
use super::{WAL_TRAILER_BYTES, WalError};
use crate::cursor::{Cursor, Ended};

const MAGIC: [u8; 4] = *b"KDIR";
const VERSION: u16 = 1;
const CRC_BYTES: usize = 4;

/// Why bytes are not a bundle of directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalBundleError {
    /// Fewer bytes than the fields ask for, or bytes left over.
    #[error("directory bundle of {len} bytes has another length than it states")]
    Length {
        /// Bytes present.
        len: usize,
    },
    /// Another magic, version or reserved field.
    #[error("directory bundle has another magic or version")]
    Format,
    /// The CRC-32 does not match.
    #[error("directory bundle has CRC {stored:08x}, its bytes give {computed:08x}")]
    Crc {
        /// CRC stored.
        stored: u32,
        /// CRC of the bytes.
        computed: u32,
    },
    /// A directory inside cannot be read.
    #[error("directory bundle, directory {number}: {source}")]
    Directory {
        /// Number of the directory in the bundle.
        number: usize,
        /// What is wrong with it.
        source: WalError,
    },
    /// Directories of different sessions, or with a gap between their sequences.
    #[error("directory bundle, directory {number}: does not follow the one before it")]
    Order {
        /// Number of the directory in the bundle.
        number: usize,
    },
}

/// Encodes the ends (`WalObject::tail`) of consecutive WAL objects of one session.
pub fn encode_directories(tails: &[Bytes]) -> Bytes {
    let count = u32::try_from(tails.len()).expect("a bundle is bounded");
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&count.to_be_bytes());
    for tail in tails {
        let len = u32::try_from(tail.len()).expect("a directory is bounded");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(tail);
    }
    let bytes: usize = tails.iter().map(|tail| 4 + tail.len()).sum();
    assert!(out.len() == 12 + bytes, "each directory stands once in it");
    assert!(
        tails.iter().all(|tail| tail.len() >= WAL_TRAILER_BYTES),
        "a directory has a trailer"
    );
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out.into()
}

/// Decodes a bundle: directories of one session with consecutive sequences.
///
/// # Errors
/// Anything but exactly what `encode_directories` writes.
pub fn parse_directories(bytes: &[u8]) -> Result<Vec<WalDirectory>, WalBundleError> {
    let length = WalBundleError::Length { len: bytes.len() };
    let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(length)?;
    let (stored, computed) = (u32::from_be_bytes(*crc), crc32fast::hash(body));
    if stored != computed {
        return Err(WalBundleError::Crc { stored, computed });
    }
    read(body).unwrap_or(Err(length))
}

fn read(body: &[u8]) -> Result<Result<Vec<WalDirectory>, WalBundleError>, Ended> {
    let mut cursor = Cursor::new(body);
    if cursor.array::<4>()? != MAGIC || cursor.u16()? != VERSION || cursor.u16()? != 0 {
        return Ok(Err(WalBundleError::Format));
    }
    let count = cursor.count(4 + WAL_TRAILER_BYTES)?;
    let mut directories: Vec<WalDirectory> = Vec::with_capacity(count);
    for number in 0..count {
        let len = usize::try_from(cursor.u32()?).map_err(|_| Ended)?;
        let directory = match WalDirectory::from_tail(cursor.take(len)?) {
            Ok(WalTail::Directory(directory)) => directory,
            Ok(WalTail::Fetch(_)) => return Err(Ended),
            Err(source) => return Ok(Err(WalBundleError::Directory { number, source })),
        };
        let whole = directory.trailer.directory_len as usize + WAL_TRAILER_BYTES;
        if whole != len {
            return Err(Ended);
        }
        if directories
            .last()
            .is_some_and(|last| !follows(last, &directory))
        {
            return Ok(Err(WalBundleError::Order { number }));
        }
        directories.push(directory);
    }
    if cursor.remaining() != 0 {
        return Err(Ended);
    }
    Ok(Ok(directories))
}

fn follows(last: &WalDirectory, next: &WalDirectory) -> bool {
    let (last, next) = (last.header(), next.header());
    last.session == next.session && last.sequence.next() == Some(next.sequence)
}
