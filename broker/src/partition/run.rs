//! A run: the record batches that one flush made durable for one partition.
//!
//! Invariants: batches are contiguous in offsets and in bytes; every chunk holds whole batches; a run
//! never changes once it is built.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use coord::planted::{self, Bug};
use segment::batch::{BatchError, BatchHeader, Batches};
use segment::{LeaderEpoch, Offset, TimestampMs};

use super::epochs::EpochHistory;
use super::live::Room;

/// Batches smaller than this are copied into one buffer of their section when the run is built: a reply of many
/// batches is then read, by the kernel, from one place, and receive buffers are free again (decision 0010).
pub const GATHER_BELOW_BYTES: usize = 64 * 1024;
/// The same for the only batch of a section: it would gain nothing, but must not keep a large receive buffer alive.
pub const GATHER_ALONE_BELOW_BYTES: usize = 4 * 1024;

/// Memory of a run beside its batches, about: itself, its places in the tail, the headers of its buffers.
const OVERHEAD_BYTES: u64 = 256;

/// Where one batch lies inside its run. Immutable, shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRef {
    /// First offset of the batch.
    pub base: Offset,
    /// Last offset of the batch.
    pub last: Offset,
    /// Largest record timestamp.
    pub max_timestamp: TimestampMs,
    /// First byte, counted from the start of the run.
    pub start: u64,
    /// Bytes of the batch, header included.
    pub len: u32,
}

impl BatchRef {
    fn end(&self) -> u64 {
        self.start + u64::from(self.len)
    }
}

/// Contiguous record batches of one partition in memory. Immutable, shared.
#[derive(Debug)]
pub struct Run {
    batches: Box<[BatchRef]>,
    chunks: Box<[(u64, Bytes)]>,
    bytes: u64,
    memory: u64,
    max_timestamp: TimestampMs,
}

impl Run {
    /// First offset of the run.
    pub fn first(&self) -> Offset {
        self.batches[0].base
    }

    /// Last offset of the run.
    pub fn last(&self) -> Offset {
        self.batches[self.batches.len() - 1].last
    }

    /// Bytes of all batches.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory that it takes: all of every buffer that it keeps alive, its list of batches, itself.
    pub fn memory_bytes(&self) -> u64 {
        let list = size_of_val(&*self.batches) + size_of_val(&*self.chunks);
        self.memory + list as u64 + OVERHEAD_BYTES
    }

    /// Largest record timestamp in the run.
    pub fn max_timestamp(&self) -> TimestampMs {
        self.max_timestamp
    }

    /// The batches, in offset order.
    pub fn batches(&self) -> &[BatchRef] {
        &self.batches
    }

    /// The bytes of the run, in order, as they are stored.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.chunks.iter().map(|(_, bytes)| bytes)
    }

    /// Index of the batch that holds `offset`, or of the first one after it.
    pub fn batch_index(&self, offset: Offset) -> usize {
        self.batches.partition_point(|batch| batch.last < offset)
    }

    /// Bytes from the batch that holds `offset` to the end of the run.
    pub fn bytes_from(&self, offset: Offset) -> u64 {
        match self.batches.get(self.batch_index(offset)) {
            Some(batch) => {
                assert!(batch.start < self.bytes, "a batch lies inside its run");
                self.bytes - batch.start
            }
            None => 0,
        }
    }

    /// The bytes of one batch. Copies nothing.
    pub fn batch_bytes(&self, batch: &BatchRef) -> Bytes {
        let index = self
            .chunks
            .partition_point(|(start, _)| *start <= batch.start)
            - 1;
        let (start, bytes) = &self.chunks[index];
        let from = (batch.start - start) as usize;
        assert!(
            from + batch.len as usize <= bytes.len(),
            "a chunk holds whole batches"
        );
        bytes.slice(from..from + batch.len as usize)
    }

    /// Appends whole batches from the one that holds `offset` on to `out`, as slices, until `budget` bytes
    /// are used up. With `at_least_one` the first batch goes out whatever its size (KIP-74).
    /// Gives the bytes appended and whether the end of the run was reached.
    pub fn read(
        &self,
        offset: Offset,
        budget: u64,
        at_least_one: bool,
        out: &mut Vec<Bytes>,
    ) -> (u64, bool) {
        let from = self.batch_index(offset);
        let Some(first) = self.batches.get(from) else {
            return (0, true);
        };
        let start = first.start;
        let fits = self.batches[from..].partition_point(|batch| batch.end() - start <= budget);
        let count = if fits == 0 && at_least_one { 1 } else { fits };
        if count == 0 {
            return (0, false);
        }
        let end = self.batches[from + count - 1].end();
        assert!(
            start < end && end <= self.bytes,
            "what is read lies inside the run"
        );
        self.slice(start, end, out);
        (end - start, from + count == self.batches.len())
    }

    /// The same, as [`parse`] gives it, its buffer counted in `room` from now on.
    ///
    /// # Panics
    /// If it lies in several buffers, or in a larger one.
    pub fn held(self, room: Room) -> Self {
        let Ok([(at, bytes)]) = <[(u64, Bytes); 1]>::try_from(self.chunks.into_vec()) else {
            panic!("what was read from the store lies in one buffer");
        };
        Self {
            chunks: [(at, room.hold(bytes))].into(),
            ..self
        }
    }

    fn slice(&self, start: u64, end: u64, out: &mut Vec<Bytes>) {
        let first = self.chunks.partition_point(|(at, _)| *at <= start) - 1;
        for (at, bytes) in &self.chunks[first..] {
            if *at >= end {
                break;
            }
            let from = start.saturating_sub(*at) as usize;
            let to = ((end - at) as usize).min(bytes.len());
            out.push(bytes.slice(from..to));
        }
    }
}

/// One batch on its way into a run.
#[derive(Debug)]
pub struct RunPart {
    /// First offset of the batch.
    pub base: Offset,
    /// Last offset of the batch.
    pub last: Offset,
    /// Largest record timestamp.
    pub max_timestamp: TimestampMs,
    /// The whole batch.
    pub bytes: Bytes,
    /// Memory that its bytes keep: its share of a buffer of which other parts are gone, else its length.
    pub memory: u64,
}

/// Builds a run from batches in offset order; those below [`GATHER_BELOW_BYTES`] are gathered, one that is alone below
/// [`GATHER_ALONE_BELOW_BYTES`].
///
/// # Panics
/// If there is no batch, or a batch does not follow the one before it.
pub fn build(parts: Vec<RunPart>) -> Run {
    assert!(!parts.is_empty(), "a run has at least one batch");
    let mut batches: Vec<BatchRef> = Vec::with_capacity(parts.len());
    let mut chunks: Vec<(u64, Bytes)> = Vec::new();
    let (mut position, mut memory) = (0_u64, 0_u64);
    let mut max_timestamp = TimestampMs::NONE;
    let mut gathered = BytesMut::new();
    let mut gathered_at = 0_u64;
    let gather_below = match parts.len() {
        1 => GATHER_ALONE_BELOW_BYTES,
        _ => GATHER_BELOW_BYTES,
    };
    let mut small_left: usize = parts
        .iter()
        .map(|p| p.bytes.len())
        .filter(|len| *len < gather_below)
        .sum();
    for part in parts {
        if let Some(previous) = batches.last() {
            assert!(
                previous.last.next() == Some(part.base),
                "batches of a run are contiguous"
            );
        }
        assert!(part.base <= part.last, "a batch has records");
        let len = part.bytes.len();
        batches.push(BatchRef {
            base: part.base,
            last: part.last,
            max_timestamp: part.max_timestamp,
            start: position,
            len: u32::try_from(len).expect("a batch is at most 2 GiB"),
        });
        max_timestamp = max_timestamp.max(part.max_timestamp);
        if len < gather_below {
            if gathered.is_empty() {
                gathered_at = position;
                gathered.reserve(small_left);
            }
            gathered.extend_from_slice(&part.bytes);
            small_left -= len;
            memory += len as u64;
        } else {
            if !gathered.is_empty() {
                chunks.push((gathered_at, gathered.split().freeze()));
            }
            chunks.push((position, part.bytes));
            memory += part.memory;
        }
        position += len as u64;
    }
    if !gathered.is_empty() {
        chunks.push((gathered_at, gathered.freeze()));
    }
    assert!(small_left == 0, "every small batch was gathered");
    assert!(
        chunks
            .last()
            .is_some_and(|(at, bytes)| at + bytes.len() as u64 == position),
        "the chunks cover the run"
    );
    Run {
        batches: batches.into(),
        chunks: chunks.into(),
        bytes: position,
        memory,
        max_timestamp,
    }
}

/// What is known of stored batches before they are read. The CRC of a batch covers neither its offset nor its leader
/// epoch: bytes that arrived with a bit flipped there look sound.
#[derive(Debug, Clone)]
pub struct Told {
    /// The offsets between which all of them lie.
    pub offsets: Range<Offset>,
    /// Where leader epochs began.
    pub epochs: EpochHistory,
}

impl Told {
    /// Nothing is known.
    pub fn nothing() -> Self {
        Self {
            offsets: Offset::ZERO..Offset::new(i64::MAX),
            epochs: EpochHistory::default(),
        }
    }

    /// A batch lies where it should, and is of the epoch that its offset belongs to. One of no epoch comes from a log
    /// that another system wrote.
    fn check(&self, header: &BatchHeader) -> Result<(), ParseRunError> {
        let (offset, found) = (header.base_offset, header.leader_epoch);
        let Range { start, end } = self.offsets;
        if offset < start || header.next_offset() > end {
            return Err(ParseRunError::Outside { offset, start, end });
        }
        match self.epochs.epoch_at(offset) {
            Some(expected) if found != expected && found != LeaderEpoch::NONE => {
                Err(ParseRunError::Epoch {
                    offset,
                    expected,
                    found,
                })
            }
            _ => Ok(()),
        }
    }
}

/// Why bytes from the store are not a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseRunError {
    /// A batch is damaged.
    #[error("read batches: {0}")]
    Batch(#[from] BatchError),
    /// A batch does not come after the one before it.
    #[error("read batches: offset {found} where {expected} or later was expected")]
    Order {
        /// Least offset that may come next.
        expected: Offset,
        /// Offset found.
        found: Offset,
    },
    /// A batch has other offsets than are stored there.
    #[error("read batches: a batch at offset {offset} where {start} to {end} are stored")]
    Outside {
        /// Base offset of the batch.
        offset: Offset,
        /// First offset that is stored there.
        start: Offset,
        /// Offset after the last.
        end: Offset,
    },
    /// A batch is of another leader epoch than its offset.
    #[error("read batches: the batch at offset {offset} is of epoch {found}, not of {expected}")]
    Epoch {
        /// Base offset of the batch.
        offset: Offset,
        /// Epoch in which the log says that it was written.
        expected: LeaderEpoch,
        /// Epoch found.
        found: LeaderEpoch,
    },
    /// There is no batch.
    #[error("read batches: no batch in the range")]
    Empty,
}

/// Reads a run out of bytes that come from the store. Every CRC is checked, and what no CRC covers against what is
/// told; nothing is copied. Offsets may have gaps, where log compaction took records out.
///
/// # Errors
/// The first batch that is damaged, out of order, or not what was told.
pub fn parse(bytes: &Bytes, told: &Told) -> Result<Run, ParseRunError> {
    let mut batches: Vec<BatchRef> = Vec::new();
    let mut max_timestamp = TimestampMs::NONE;
    let mut expected = Offset::ZERO;
    for batch in Batches::strict(bytes) {
        let batch = batch?;
        if !planted::is_planted(Bug::ChecksumNotVerified) {
            batch.verify_crc()?;
        }
        let header = &batch.header;
        if header.base_offset < expected {
            return Err(ParseRunError::Order {
                expected,
                found: header.base_offset,
            });
        }
        told.check(header)?;
        assert!(
            header.next_offset() > expected,
            "a batch whose header is sound takes offsets"
        );
        expected = header.next_offset();
        max_timestamp = max_timestamp.max(header.max_timestamp);
        batches.push(BatchRef {
            base: header.base_offset,
            last: header.last_offset(),
            max_timestamp: header.max_timestamp,
            start: batch.position as u64,
            len: u32::try_from(header.total_bytes()).expect("a batch is at most 2 GiB"),
        });
    }
    if batches.is_empty() {
        return Err(ParseRunError::Empty);
    }
    Ok(Run {
        batches: batches.into(),
        bytes: bytes.len() as u64,
        memory: bytes.len() as u64,
        chunks: [(0, bytes.clone())].into(),
        max_timestamp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(base: i64, count: i64, len: usize) -> RunPart {
        RunPart {
            base: Offset::new(base),
            last: Offset::new(base + count - 1),
            max_timestamp: TimestampMs::new(base),
            bytes: Bytes::from(vec![base as u8; len]),
            memory: len as u64,
        }
    }

    fn read(run: &Run, offset: i64, budget: u64, one: bool) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let (bytes, end) = run.read(Offset::new(offset), budget, one, &mut out);
        let flat: Vec<u8> = out.iter().flat_map(|b| b.iter().copied()).collect();
        assert_eq!(flat.len() as u64, bytes);
        (flat, end)
    }

    #[test]
    fn small_batches_share_one_buffer_and_large_ones_are_not_copied() {
        let large = Bytes::from(vec![9; GATHER_BELOW_BYTES]);
        let address = large.as_ptr();
        let run = build(vec![
            part(0, 1, 10),
            part(1, 2, 20),
            RunPart {
                base: Offset::new(3),
                last: Offset::new(3),
                max_timestamp: TimestampMs::new(99),
                bytes: large,
                memory: GATHER_BELOW_BYTES as u64,
            },
            part(4, 1, 30),
        ]);
        assert_eq!(run.chunks().count(), 3);
        assert_eq!(run.chunks().nth(1).map(|c| c.as_ptr()), Some(address));
        assert_eq!(run.max_timestamp(), TimestampMs::new(99));
        assert_eq!(run.bytes(), 60 + GATHER_BELOW_BYTES as u64);
        assert_eq!(run.bytes_from(Offset::new(4)), 30);
    }

    #[test]
    fn a_batch_that_is_alone_is_copied_only_if_it_is_small() {
        let alone = |len| build(vec![part(0, 1, len)]);
        let large = part(0, 1, GATHER_ALONE_BELOW_BYTES);
        let address = large.bytes.as_ptr();
        let run = build(vec![large]);
        assert_eq!(run.chunks().next().map(|c| c.as_ptr()), Some(address));
        assert_eq!(alone(10).memory, 10);
        let pair = build(vec![part(0, 1, 5000), part(1, 1, 5000)]);
        assert_eq!(pair.chunks().count(), 1, "two are read from one place");
    }

    #[test]
    fn a_read_gives_whole_batches_within_the_budget() {
        let run = build((0..10).map(|i| part(i * 2, 2, 100)).collect());
        assert_eq!(read(&run, 0, 250, false).0.len(), 200);
        assert_eq!(
            read(&run, 3, 250, false).0[0],
            2,
            "starts at the batch that holds the offset"
        );
        assert_eq!(read(&run, 0, 50, true).0.len(), 100, "at least one batch");
        assert_eq!(read(&run, 0, 50, false).0.len(), 0);
        let (bytes, end) = read(&run, 18, 1000, false);
        assert_eq!((bytes.len(), end), (100, true));
        assert!(!read(&run, 0, 250, false).1);
    }

    #[test]
    fn one_batch_can_be_taken_alone() {
        let run = build(vec![part(0, 1, 10), part(1, 1, 5000), part(2, 1, 7)]);
        for batch in run.batches() {
            let bytes = run.batch_bytes(batch);
            assert_eq!(bytes.len(), batch.len as usize);
            assert_eq!(bytes[0], batch.base.get() as u8);
        }
    }

    #[test]
    fn no_bit_of_what_a_crc_does_not_cover_can_flip_unseen() {
        let chunk: Vec<u8> = (0..3)
            .flat_map(|i| crate::control::testing::batch(i * 10, 10).to_vec())
            .collect();
        let one = chunk.len() / 3;
        let told = Told {
            offsets: Offset::ZERO..Offset::new(30),
            epochs: EpochHistory::new(vec![(LeaderEpoch::ZERO, Offset::ZERO)]),
        };
        assert!(parse(&chunk.clone().into(), &told).is_ok());
        let mut believed = 0;
        for bit in 0..17 * 8 {
            for number in 0..3 {
                let mut flipped = chunk.clone();
                flipped[number * one + bit / 8] ^= 1 << (bit % 8);
                let flipped = Bytes::from(flipped);
                assert!(
                    parse(&flipped, &told).is_err(),
                    "bit {bit} of batch {number}"
                );
                believed += usize::from(parse(&flipped, &Told::nothing()).is_ok());
            }
        }
        assert!(
            believed > 0,
            "the check of the batches alone does not find it"
        );
    }
}
