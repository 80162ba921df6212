//! H20: a read snapshot is never behind an answer, and never outlives its ownership.

use std::sync::Arc;

use bytes::BytesMut;
use segment::batch::BatchHeader;
use segment::{LeaderEpoch, Offset, PartitionIndex, SessionId, TimestampMs, TopicId, WalSequence};

use super::*;
use crate::partition::epochs::EpochHistory;
use crate::partition::producers::Producers;
use crate::partition::{
    Append, PartitionHandle, PartitionImage, PartitionLog, Ticket, WalLocation,
};
use crate::shard::ShardId;

/// A partition that is open, and its handle, which every shard has.
fn open() -> (PartitionLog, Arc<PartitionHandle>) {
    let id = TopicPartition::new(TopicId::new([1; 16]), PartitionIndex::ZERO);
    let handle = Arc::new(PartitionHandle::new(id, ShardId(0)));
    let log = PartitionLog::open(PartitionImage {
        handle: handle.clone(),
        leader_epoch: LeaderEpoch::ZERO,
        log_start: Offset::ZERO,
        compacted_end: Offset::ZERO,
        epochs: EpochHistory::default(),
        segments: Vec::new(),
        slots: Vec::new(),
        producers: Producers::default(),
    });
    (log, handle)
}

/// A client is answered; the next moment it fetches on another core.
#[test]
fn h20_what_is_answered_is_visible_everywhere() {
    closes(
        Rule::PublishBeforeAnswering,
        async || {
            let (mut log, handle) = open();
            let bytes = batch(0, 5);
            let append = Append {
                header: BatchHeader::parse_whole(&bytes).unwrap(),
                memory: bytes.len() as u64,
                bytes: BytesMut::from(&bytes[..]),
                ticket: Some(Ticket(1)),
                now: TimestampMs::ZERO,
            };
            log.append(append).unwrap();
            let section = log.seal().unwrap();
            let location = WalLocation {
                key: "wal".into(),
                session: SessionId::new([1; 16]),
                sequence: WalSequence::new(1),
                range: 0..section.run.bytes(),
            };
            let answered = log
                .acknowledge(section.run.first(), location, 0)
                .completions;
            assert_eq!(answered.len(), 1);
            let snapshot = handle.snapshot().expect("the partition is open");
            match snapshot.high_watermark > answered[0].base_offset {
                true => Ok(()),
                false => Err(Violation::AnsweredBeforeVisible),
            }
        },
        Violation::AnsweredBeforeVisible,
    );
}

/// A partition is fenced, released or deleted: every core stops reading it at once.
#[test]
fn h20_a_closed_partition_is_read_by_nobody() {
    closes(
        Rule::ClosedIsWithdrawn,
        async || {
            let (log, handle) = open();
            log.close();
            match handle.snapshot() {
                None => Ok(()),
                Some(_) => Err(Violation::StaleRead),
            }
        },
        Violation::StaleRead,
    );
}
