//! Puts a WAL object together without copying or hashing the sections' bytes.

use bytes::Bytes;

use super::directory::{WalDirectory, WalTrailer};
use super::section::{ENTRY_BYTES, PRODUCER_BATCH_BYTES, SectionBody, WalEntry, WalSection};
use super::{WAL_HEADER_BYTES, WAL_TRAILER_BYTES, WalHeader};

/// A WAL object ready to be PUT.
#[derive(Debug, Clone)]
pub struct WalObject {
    /// Header, sections, and directory with trailer: the object is their concatenation.
    pub chunks: Vec<Bytes>,
    /// Bytes of the object.
    pub len: u64,
    /// CRC-32 (IEEE) of the whole object, for the store's checksum.
    pub crc32: u32,
    /// What a reader of the object's end will decode: where each section lies, and the header.
    pub directory: WalDirectory,
}

impl WalObject {
    /// Directory and trailer: the end of the object, as `encode_directories` takes it.
    pub fn tail(&self) -> Bytes {
        let tail = self.chunks.last().cloned();
        let tail = tail.expect("an object ends with its directory and trailer");
        assert!(
            tail.len() == self.directory.trailer.directory_len as usize + WAL_TRAILER_BYTES,
            "nothing else is in its last chunk"
        );
        tail
    }

    /// The object in one piece (a copy), for tests and small objects.
    pub fn to_vec(&self) -> Vec<u8> {
        self.chunks.concat()
    }
}

/// Encodes a WAL object. The sections may come in any order; each brings its length and CRC, which
/// are combined with those of header, directory and trailer.
///
/// # Panics
/// When a section breaks a rule of the format, has chunks of another length than it states, or does
/// not fit the header's kind: sections are built by us, from validated batches.
pub fn encode(header: WalHeader, mut sections: Vec<WalSection>) -> WalObject {
    sections.sort_by_key(|section| (section.topic_partition(), section.first_offset));
    let head = Bytes::copy_from_slice(&header.encode());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head);
    let mut chunks = vec![head];
    let mut position = WAL_HEADER_BYTES as u64;
    let mut entries = Vec::with_capacity(sections.len());
    for section in sections {
        assert_body(&section);
        let (entry, body) = section.into_entry(position);
        let checked = entry.check();
        assert!(
            checked.is_ok(),
            "a section of our own is sound: {checked:?}"
        );
        if let Some(range) = entry.inline_range() {
            sum.combine(&crc32fast::Hasher::new_with_initial_len(
                entry.crc, entry.len,
            ));
            position = range.end;
        }
        chunks.extend(body);
        entries.push(entry);
    }
    let rows = encode_entries(&entries);
    let directory_len = u32::try_from(rows.len()).expect("a flush is bounded far below 4 GiB");
    let trailer = WalTrailer {
        header,
        directory_position: position,
        directory_len,
        directory_crc: crc32fast::hash(&rows),
        object_len: position + u64::from(directory_len) + WAL_TRAILER_BYTES as u64,
    };
    let directory = WalDirectory { trailer, entries };
    let checked = directory.check();
    assert!(
        checked.is_ok(),
        "a directory of our own is sound: {checked:?}"
    );
    let mut tail = rows;
    tail.extend_from_slice(&trailer.encode());
    sum.update(&tail);
    chunks.push(tail.into());
    let bytes: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    assert!(
        bytes == trailer.object_len,
        "the trailer states the object's length"
    );
    WalObject {
        chunks,
        len: trailer.object_len,
        crc32: sum.finalize(),
        directory,
    }
}

fn assert_body(section: &WalSection) {
    if let SectionBody::Inline(chunks) = &section.body {
        let bytes: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        assert!(
            bytes == section.len,
            "a section states the length of its chunks"
        );
    }
}

fn encode_entries(entries: &[WalEntry]) -> Vec<u8> {
    let count = u32::try_from(entries.len()).expect("a flush is bounded");
    let mut out = Vec::with_capacity(4 + entries.len() * ENTRY_BYTES + WAL_TRAILER_BYTES);
    out.extend_from_slice(&count.to_be_bytes());
    entries.iter().for_each(|entry| entry.encode(&mut out));
    let batches: usize = entries.iter().map(|entry| entry.producers.len()).sum();
    assert!(
        out.len() == 4 + entries.len() * ENTRY_BYTES + batches * PRODUCER_BATCH_BYTES,
        "each row stands once in it"
    );
    out
}
