mod model;

use std::sync::Arc;

use bytes::BytesMut;
use segment::batch::BatchHeader;
use segment::keys::{KeySpace, PartitionDir, TopicDir};
use segment::manifest::ManifestSegment;
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::{
    LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, SessionId,
    TimestampMs, TopicId, TopicName, TopicPartition, WalSequence,
};

use super::*;
use crate::partition::FetchWaiter;
use crate::partition::producers::Producers;
use crate::partition::view::TailRead;
use crate::shard::ShardId;

const NOW: TimestampMs = TimestampMs::new(1_000_000);

fn open() -> PartitionLog {
    let id = TopicPartition::new(TopicId::new([1; 16]), PartitionIndex::ZERO);
    PartitionLog::open(PartitionImage {
        handle: Arc::new(PartitionHandle::new(id, ShardId(0))),
        leader_epoch: LeaderEpoch::new(3),
        log_start: Offset::ZERO,
        compacted_end: Offset::ZERO,
        epochs: EpochHistory::new(vec![(LeaderEpoch::new(3), Offset::ZERO)]),
        segments: Vec::new(),
        slots: Vec::new(),
        producers: Producers::default(),
    })
}

fn batch(records: u32, producer: Option<i32>) -> (BytesMut, BatchHeader) {
    let mut builder = RecordBatchBuilder::new();
    if let Some(sequence) = producer {
        let sequence = Sequence::new(sequence);
        builder = builder.producer(ProducerId::new(9), ProducerEpoch::ZERO, sequence);
    }
    for i in 0..records {
        let record = NewRecord {
            timestamp: TimestampMs::new(100 + i64::from(i)),
            key: None,
            value: Some(b"value"),
            headers: &[],
        };
        builder.push(record).expect("a small record");
    }
    let bytes = builder.build().expect("a small batch");
    let header = BatchHeader::parse(&bytes).expect("a built batch");
    (BytesMut::from(&bytes[..]), header)
}

fn append(log: &mut PartitionLog, records: u32, ticket: u64) -> Result<Appended, AppendError> {
    let (bytes, header) = batch(records, None);
    log.append(Append {
        memory: bytes.len() as u64,
        bytes,
        header,
        ticket: Some(Ticket(ticket)),
        now: NOW,
    })
}

fn append_idempotent(
    log: &mut PartitionLog,
    sequence: i32,
    ticket: u64,
) -> Result<Appended, AppendError> {
    let (bytes, header) = batch(1, Some(sequence));
    log.append(Append {
        memory: bytes.len() as u64,
        bytes,
        header,
        ticket: Some(Ticket(ticket)),
        now: NOW,
    })
}

fn location(sequence: u64, bytes: u64) -> WalLocation {
    WalLocation {
        key: "wal".into(),
        session: SessionId::ZERO,
        sequence: WalSequence::new(sequence),
        range: 64..64 + bytes,
    }
}

fn flush(log: &mut PartitionLog, sequence: u64) -> Vec<Completion> {
    let section = log.seal().expect("something to seal");
    log.acknowledge(
        section.run.first(),
        location(sequence, section.run.bytes()),
        sequence,
    )
    .completions
}

fn dir() -> PartitionDir {
    let dir = TopicDir::new(TopicName::new("orders").unwrap(), 0);
    KeySpace::default().partition_dir(&dir, PartitionIndex::ZERO)
}

/// The segment that a plan comes to.
fn stored(plan: &SegmentPlan) -> ManifestSegment {
    ManifestSegment {
        base: plan.base,
        end: plan.end,
        bytes: plan.bytes + 48,
        crc32: 0,
        created: TimestampMs::ZERO,
        max_timestamp: plan.max_timestamp,
        max_timestamp_offset: None,
        time_points: Vec::new(),
    }
}

fn visible(log: &PartitionLog) -> i64 {
    log.handle
        .snapshot()
        .expect("published")
        .high_watermark
        .get()
}

#[test]
fn nothing_is_visible_before_it_is_acknowledged() {
    let mut log = open();
    assert_eq!(append(&mut log, 3, 1), Ok(Appended::Pending));
    assert_eq!(visible(&log), 0);
    let section = log.seal().expect("something to seal");
    assert_eq!(visible(&log), 0);
    assert_eq!(section.record_count, 3);
    let done = log
        .acknowledge(section.run.first(), location(1, section.run.bytes()), 0)
        .completions;
    assert_eq!(
        done,
        [Completion {
            ticket: Ticket(1),
            base_offset: Offset::ZERO
        }]
    );
    assert_eq!(visible(&log), 3);
}

#[test]
fn offsets_and_epoch_are_patched_in_place_and_the_bytes_stay_valid() {
    let mut log = open();
    append(&mut log, 2, 1).expect("appended");
    append(&mut log, 2, 2).expect("appended");
    flush(&mut log, 1);
    let mut out = Vec::new();
    let snapshot = log.handle.snapshot().expect("published");
    let read = snapshot.read(Offset::ZERO, u64::MAX, true, &mut out);
    assert!(matches!(read, TailRead::Bytes(bytes) if bytes > 0));
    let flat: Vec<u8> = out.concat();
    let batches: Vec<_> = segment::batch::Batches::strict(&flat)
        .map(|b| b.expect("a whole batch"))
        .collect();
    let bases: Vec<_> = batches.iter().map(|b| b.header.base_offset.get()).collect();
    assert_eq!(bases, [0, 2]);
    for batch in batches {
        assert_eq!(batch.header.leader_epoch, LeaderEpoch::new(3));
        assert!(batch.verify_crc().is_ok());
    }
}

#[test]
#[should_panic(expected = "acknowledged strictly in sequence")]
fn an_acknowledgement_out_of_sequence_is_our_defect() {
    let mut log = open();
    append(&mut log, 1, 1).expect("appended");
    log.seal();
    append(&mut log, 1, 2).expect("appended");
    let second = log.seal().expect("something to seal");
    log.acknowledge(second.run.first(), location(2, second.run.bytes()), 0);
}

#[test]
fn a_retry_in_flight_joins_and_one_of_a_durable_batch_is_answered_at_once() {
    let mut log = open();
    assert_eq!(append_idempotent(&mut log, 0, 1), Ok(Appended::Pending));
    assert_eq!(
        append_idempotent(&mut log, 0, 2),
        Ok(Appended::Joined),
        "while it is open"
    );
    let section = log.seal().expect("something to seal");
    assert_eq!(
        append_idempotent(&mut log, 0, 3),
        Ok(Appended::Joined),
        "while it is uploaded"
    );
    let done = log
        .acknowledge(section.run.first(), location(1, section.run.bytes()), 0)
        .completions;
    let tickets: Vec<_> = done
        .iter()
        .map(|c| (c.ticket.0, c.base_offset.get()))
        .collect();
    assert_eq!(tickets, [(1, 0), (2, 0), (3, 0)]);
    let durable = Appended::Durable {
        base_offset: Offset::ZERO,
    };
    assert_eq!(append_idempotent(&mut log, 0, 4), Ok(durable));
    assert_eq!(log.log_end(), Offset::new(1), "the retries took no offsets");
}

#[test]
fn long_polls_are_credited_with_what_becomes_visible_since_they_looked() {
    let mut log = open();
    let seen = log.handle.snapshot().expect("published");
    append(&mut log, 1, 1).expect("appended");
    let waiter = FetchWaiter::new(1);
    log.handle.wait(&waiter, &seen);
    assert!(!waiter.is_done());
    flush(&mut log, 1);
    assert!(waiter.is_done());
    let late = FetchWaiter::new(1);
    log.handle.wait(&late, &seen);
    assert!(
        late.is_done(),
        "what became visible before it was registered counts"
    );
}

#[test]
fn long_polls_are_woken_by_the_end_of_the_ownership_that_they_have_seen() {
    let log = open();
    let handle = log.handle.clone();
    let seen = handle.snapshot().expect("published");
    let (early, late) = (FetchWaiter::new(1), FetchWaiter::new(1));
    handle.wait(&early, &seen);
    assert!(!early.is_done());
    log.close();
    assert!(early.is_done());
    handle.wait(&late, &seen);
    assert!(late.is_done(), "it had gone before it was registered");
    let other = ReadSnapshot {
        leader_epoch: seen.leader_epoch.next().expect("in range"),
        ..ReadSnapshot::clone(&seen)
    };
    handle.publish(other);
    let later = FetchWaiter::new(1);
    handle.wait(&later, &seen);
    assert!(
        later.is_done(),
        "positions of two ownerships are not compared"
    );
}

#[test]
fn a_long_poll_that_registers_while_its_bytes_are_published_is_woken() {
    for _ in 0..2_000 {
        let mut log = open();
        let handle = log.handle.clone();
        let seen = handle.snapshot().expect("published");
        append(&mut log, 1, 1).expect("appended");
        let waiter = FetchWaiter::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| handle.wait(&waiter, &seen));
            flush(&mut log, 1);
        });
        assert!(waiter.is_done());
    }
}

#[test]
fn an_evicted_run_is_found_in_its_wal_section() {
    let mut log = open();
    append(&mut log, 2, 1).expect("appended");
    flush(&mut log, 1);
    append(&mut log, 2, 2).expect("appended");
    flush(&mut log, 2);
    assert!(log.evict() > 0);
    let snapshot = log.handle.snapshot().expect("published");
    assert_eq!(
        snapshot.read(Offset::new(1), 1, true, &mut Vec::new()),
        TailRead::Cold
    );
    let Some(ColdPlace::Chunk { first, .. }) = log.place(Offset::new(1)) else {
        panic!("a section of a WAL object");
    };
    assert_eq!(first, Offset::ZERO);
    assert!(log.run_in_memory(Offset::new(2)).is_some());
    assert!(log.place(Offset::new(4)).is_none(), "the end is nowhere");
}

#[test]
fn a_segment_replaces_the_sections_that_it_was_planned_from() {
    let mut log = open();
    for sequence in 1..=3 {
        append(&mut log, 2, sequence).expect("appended");
        flush(&mut log, sequence);
    }
    let one = log.oldest_slot().expect("a section").bytes();
    let plan = log.plan_segment(one * 2).expect("a plan");
    assert_eq!(
        (plan.base, plan.end, plan.parts.len()),
        (Offset::ZERO, Offset::new(4), 2)
    );
    assert!(
        plan.parts.iter().all(|(_, run)| run.is_some()),
        "the bytes are still in memory"
    );
    assert!(log.plan_segment(one).is_none(), "one plan at a time");
    let segment = stored(&plan);
    log.compacted(SegmentRef::new(dir(), &segment));
    assert_eq!(log.uncompacted_bytes(), one);
    assert!(matches!(
        log.place(Offset::new(3)),
        Some(ColdPlace::Index { .. })
    ));
    assert!(matches!(
        log.place(Offset::new(4)),
        Some(ColdPlace::Chunk { .. })
    ));
    assert_eq!(
        log.first_with_timestamp(TimestampMs::new(0), Offset::ZERO),
        Some((Offset::ZERO, Some(Offset::ZERO)))
    );
}

#[test]
fn the_log_start_never_falls_and_never_passes_the_high_watermark() {
    let mut log = open();
    append(&mut log, 5, 1).expect("appended");
    flush(&mut log, 1);
    log.raise_log_start(Offset::new(3));
    log.raise_log_start(Offset::new(2));
    assert_eq!(log.log_start(), Offset::new(3));
    log.raise_log_start(Offset::new(99));
    assert_eq!(log.log_start(), Offset::new(5));
}

#[test]
fn closing_withdraws_the_snapshot_and_gives_everyone_who_waits() {
    let mut log = open();
    append(&mut log, 1, 1).expect("appended");
    log.seal();
    append(&mut log, 1, 2).expect("appended");
    log.release();
    assert_eq!(append(&mut log, 1, 3), Err(AppendError::Released));
    let handle = log.handle.clone();
    assert_eq!(log.close(), [Ticket(1), Ticket(2)]);
    assert!(handle.snapshot().is_none());
}
