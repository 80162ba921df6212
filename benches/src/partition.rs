//! Logs, snapshots and producers of a partition, empty or filled.

use std::sync::Arc;

use broker::partition::epochs::EpochHistory;
use broker::partition::producers::{ProducerBatch, Producers};
use broker::partition::{
    Append, PartitionHandle, PartitionImage, PartitionLog, SealedSection, Ticket, WalLocation,
};
use broker::shard::ShardId;
use bytes::{Bytes, BytesMut};
use segment::batch::BatchHeader;
use segment::{
    LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, SessionId,
    TimestampMs, TopicId, TopicPartition, WalSequence,
};

/// Batches of one flush, where appends are timed.
pub const APPENDS: usize = 64;
/// Flushes that [`filled`] keeps in memory.
pub const RUNS: u64 = 1_000;
/// Batches of each.
const BATCHES: usize = 4;
/// Offsets are taken in a stride that is prime to their number.
pub const OFFSET_STRIDE: u64 = 7_919;
/// Producers of [`producers`].
pub const PRODUCERS: i64 = 1_000;
/// Producers are taken in a stride that is prime to their number.
pub const PRODUCER_STRIDE: i64 = 619;
/// The time of all appends.
const NOW: TimestampMs = TimestampMs::new(1_000);

/// An empty log, and the handle in which it publishes.
pub fn open() -> (PartitionLog, Arc<PartitionHandle>) {
    let id = TopicPartition::new(TopicId::new([1; 16]), PartitionIndex::ZERO);
    let handle = Arc::new(PartitionHandle::new(id, ShardId(0)));
    let log = PartitionLog::open(PartitionImage {
        handle: handle.clone(),
        leader_epoch: LeaderEpoch::ZERO,
        log_start: Offset::ZERO,
        compacted_end: Offset::ZERO,
        epochs: EpochHistory::new(vec![(LeaderEpoch::ZERO, Offset::ZERO)]),
        segments: Vec::new(),
        slots: Vec::new(),
        producers: Producers::default(),
    });
    (log, handle)
}

/// `count` appends of a batch, each in a buffer of its own.
///
/// # Panics
/// If `bytes` is not a batch.
pub fn appends(count: usize, bytes: &Bytes) -> Vec<Append> {
    let header = BatchHeader::parse(bytes).expect("a built batch");
    let append = |number: usize| Append {
        bytes: BytesMut::from(&bytes[..]),
        memory: bytes.len() as u64,
        header,
        ticket: Some(Ticket(number as u64)),
        now: NOW,
    };
    (0..count).map(append).collect()
}

/// Appends all.
///
/// # Panics
/// Never: the log is open.
pub fn append_all(log: &mut PartitionLog, appends: Vec<Append>) {
    for append in appends {
        log.append(append).expect("an open log");
    }
}

/// Seals what was appended and acknowledges it as WAL object `sequence`.
///
/// # Panics
/// If nothing was appended.
pub fn seal_and_acknowledge(log: &mut PartitionLog, sequence: u64) -> SealedSection {
    let section = log.seal().expect("something to seal");
    let location = WalLocation {
        key: "wal".into(),
        session: SessionId::ZERO,
        sequence: WalSequence::new(sequence),
        range: 0..section.run.bytes(),
    };
    let _ = log.acknowledge(section.run.first(), location, 1);
    section
}

/// A log with [`RUNS`] flushes of 16 KiB batches in memory, its handle, and how many records it holds. The log
/// must live as long as its snapshot is read.
///
/// # Panics
/// Never: the log is open.
pub fn filled() -> (PartitionLog, Arc<PartitionHandle>, u64) {
    let (mut log, handle) = open();
    let bytes = crate::batch(16 << 10, None);
    let header = BatchHeader::parse(&bytes).expect("a built batch");
    for run in 1..=RUNS {
        append_all(&mut log, appends(BATCHES, &bytes));
        seal_and_acknowledge(&mut log, run);
    }
    let records = RUNS * BATCHES as u64 * u64::from(header.record_count);
    (log, handle, records)
}

/// A batch of an idempotent producer with one record.
pub fn producer_batch(producer: i64, sequence: i32) -> ProducerBatch {
    ProducerBatch {
        producer_id: ProducerId::new(producer),
        epoch: ProducerEpoch::ZERO,
        base_sequence: Sequence::new(sequence),
        count: 1,
        base_offset: Offset::new(producer * 5 + i64::from(sequence)),
        max_timestamp: NOW,
    }
}

/// [`PRODUCERS`] producers with five batches each, of sequences 0 to 4.
pub fn producers() -> Producers {
    let mut producers = Producers::default();
    for producer in 0..PRODUCERS {
        for sequence in 0..5 {
            producers.record(producer_batch(producer, sequence), NOW);
        }
    }
    producers
}
