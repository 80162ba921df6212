//! Checks a whole WAL object, for the command line and for readers of sections.

use super::directory::{WalDirectory, WalTrailer};
use super::section::{ProducerBatch, WalEntry};
use super::{WalError, WalHeader};
use crate::batch::{Batch, BatchError, Batches};
use crate::ids::{LeaderEpoch, Offset, TimestampMs};
use crate::record::RecordError;

/// Most faults that `verify` lists.
const FAULTS_MAX: usize = 64;

/// What is wrong with a WAL object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalFault {
    /// Header, trailer or directory cannot be read.
    #[error(transparent)]
    Object(#[from] WalError),
    /// The trailer's copy of the header differs from the header.
    #[error("WAL trailer repeats another header")]
    HeaderCopy,
    /// The object has another length than its trailer states.
    #[error("WAL object has {len} bytes, its trailer states {stated}")]
    Length {
        /// Bytes present.
        len: u64,
        /// Length in the trailer.
        stated: u64,
    },
    /// The bytes of a section are not all there.
    #[error("WAL section of {partition}: {len} bytes, its row states {stated}")]
    SectionLength {
        /// Partition, as topic id and index.
        partition: String,
        /// Bytes present.
        len: u64,
        /// Length in the row.
        stated: u64,
    },
    /// The CRC-32 of a section does not match.
    #[error("WAL section of {partition}: CRC {stored:08x}, its bytes give {computed:08x}")]
    SectionCrc {
        /// Partition, as topic id and index.
        partition: String,
        /// CRC in the row.
        stored: u32,
        /// CRC of the bytes.
        computed: u32,
    },
    /// A batch of a section cannot be read or is damaged.
    #[error("WAL section of {partition}: batch at {position}: {source}")]
    Batch {
        /// Partition, as topic id and index.
        partition: String,
        /// Where the batch starts in the section.
        position: usize,
        /// What is wrong with it.
        source: BatchError,
    },
    /// A marker of a section cannot be read.
    #[error("WAL section of {partition}: marker at {position}: {source}")]
    Marker {
        /// Partition, as topic id and index.
        partition: String,
        /// Where the batch starts in the section.
        position: usize,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A batch does not follow the one before it.
    #[error("WAL section of {partition}: base offset {found}, expected {expected}")]
    Offset {
        /// Partition, as topic id and index.
        partition: String,
        /// Offset after the batch before it.
        expected: Offset,
        /// Base offset of the batch.
        found: Offset,
    },
    /// A batch has another leader epoch than the section.
    #[error("WAL section of {partition}: leader epoch {found}, its row states {stated}")]
    LeaderEpoch {
        /// Partition, as topic id and index.
        partition: String,
        /// Epoch in the row.
        stated: LeaderEpoch,
        /// Epoch in the batch.
        found: LeaderEpoch,
    },
    /// The row's sums are not the batches'.
    #[error("WAL section of {partition}: its row and its batches differ in {what}")]
    Row {
        /// Partition, as topic id and index.
        partition: String,
        /// The field that differs.
        what: &'static str,
    },
}

/// What `verify` found. The object is sound when `faults` is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalReport {
    /// The header, where it can be read.
    pub header: Option<WalHeader>,
    /// The directory with the trailer, where they can be read.
    pub directory: Option<WalDirectory>,
    /// Sections that lie in this object.
    pub inline_count: usize,
    /// Sections that lie in objects of their own, which this report says nothing about.
    pub own_count: usize,
    /// Batches of the inline sections without fault.
    pub batch_count: u64,
    /// What is wrong, at most 64.
    pub faults: Vec<WalFault>,
}

impl WalReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, fault: impl Into<WalFault>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault.into());
        }
    }
}

/// Checks a whole WAL object: header, trailer, directory, and every inline section with its
/// batches.
pub fn verify(bytes: &[u8]) -> WalReport {
    let mut report = WalReport {
        header: None,
        directory: None,
        inline_count: 0,
        own_count: 0,
        batch_count: 0,
        faults: Vec::new(),
    };
    match WalHeader::parse(bytes) {
        Ok(header) => report.header = Some(header),
        Err(error) => report.fault(error),
    }
    let trailer = match WalTrailer::parse(bytes) {
        Ok(trailer) => trailer,
        Err(error) => {
            report.fault(error);
            return report;
        }
    };
    if report.header.is_some_and(|header| header != trailer.header) {
        report.fault(WalFault::HeaderCopy);
    }
    let (len, stated) = (bytes.len() as u64, trailer.object_len);
    if len != stated {
        report.fault(WalFault::Length { len, stated });
        return report;
    }
    let directory = WalDirectory::parse(&trailer, trailer.directory_in(bytes).unwrap_or_default());
    match directory {
        Ok(directory) => verify_sections(bytes, directory, &mut report),
        Err(error) => report.fault(error),
    }
    assert!(
        !report.is_sound() || report.header.is_some() && report.directory.is_some(),
        "what cannot be read is a fault"
    );
    report
}

fn verify_sections(bytes: &[u8], directory: WalDirectory, report: &mut WalReport) {
    for entry in &directory.entries {
        let Some(range) = entry.inline_range() else {
            report.own_count += 1;
            continue;
        };
        report.inline_count += 1;
        let start = usize::try_from(range.start).unwrap_or(usize::MAX);
        let end = usize::try_from(range.end).unwrap_or(usize::MAX);
        match verify_section(entry, bytes.get(start..end).unwrap_or_default()) {
            Ok(batch_count) => report.batch_count += batch_count,
            Err(fault) => report.fault(fault),
        }
    }
    assert!(
        report.inline_count + report.own_count == directory.entries.len(),
        "each section is looked at"
    );
    report.directory = Some(directory);
}

/// Checks the bytes of one section, inline or of its own, against its row: length, CRC, every
/// batch's CRC, offsets, epoch, and the sums in the row. Gives the number of batches.
///
/// # Errors
/// The first fault.
pub fn verify_section(entry: &WalEntry, bytes: &[u8]) -> Result<u64, WalFault> {
    let partition = || entry.topic_partition().to_string();
    let (len, stated) = (bytes.len() as u64, entry.len);
    if len != stated {
        return Err(WalFault::SectionLength {
            partition: partition(),
            len,
            stated,
        });
    }
    let (stored, computed) = (entry.crc, crc32fast::hash(bytes));
    if stored != computed {
        return Err(WalFault::SectionCrc {
            partition: partition(),
            stored,
            computed,
        });
    }
    let mut walk = SectionWalk {
        entry,
        expected: entry.first_offset,
        max_timestamp: None,
        producers: Vec::new(),
        batch_count: 0,
    };
    let mut batches = Batches::strict(bytes);
    loop {
        let position = batches.position();
        let Some(batch) = batches.next() else { break };
        let source = |source| WalFault::Batch {
            partition: partition(),
            position,
            source,
        };
        let batch = batch.map_err(source)?;
        batch.verify_crc().map_err(source)?;
        walk.batch(&batch)?;
    }
    assert!(
        batches.position() == bytes.len(),
        "the batches fill the section"
    );
    walk.finish()
}

struct SectionWalk<'a> {
    entry: &'a WalEntry,
    expected: Offset,
    max_timestamp: Option<TimestampMs>,
    producers: Vec<ProducerBatch>,
    batch_count: u64,
}

impl SectionWalk<'_> {
    fn partition(&self) -> String {
        self.entry.topic_partition().to_string()
    }

    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), WalFault> {
        let header = &batch.header;
        let (expected, found) = (self.expected, header.base_offset);
        if expected != found {
            return Err(WalFault::Offset {
                partition: self.partition(),
                expected,
                found,
            });
        }
        let (stated, found) = (self.entry.leader_epoch, header.leader_epoch);
        if stated != found {
            return Err(WalFault::LeaderEpoch {
                partition: self.partition(),
                stated,
                found,
            });
        }
        let producer = ProducerBatch::from_batch(batch).map_err(|source| WalFault::Marker {
            partition: self.partition(),
            position: batch.position,
            source,
        })?;
        self.producers.extend(producer);
        self.expected = header.next_offset();
        self.max_timestamp = self.max_timestamp.max(Some(header.max_timestamp));
        self.batch_count += 1;
        Ok(())
    }

    fn finish(self) -> Result<u64, WalFault> {
        let rules = [
            (
                Some(self.expected) == self.entry.last_offset.next(),
                "last offset",
            ),
            (
                self.max_timestamp == Some(self.entry.max_timestamp),
                "max timestamp",
            ),
            (self.producers == self.entry.producers, "producer batches"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(WalFault::Row {
                partition: self.partition(),
                what,
            }),
            None => {
                assert!(self.batch_count > 0, "a batch has the max timestamp");
                Ok(self.batch_count)
            }
        }
    }
}
