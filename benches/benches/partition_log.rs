//! Times `broker::partition::log`: appends, then one seal and its acknowledgement.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::sync::Arc;

use benches::batch;
use broker::partition::epochs::EpochHistory;
use broker::partition::producers::Producers;
use broker::partition::{
    Append, PartitionHandle, PartitionImage, PartitionLog, Ticket, WalLocation,
};
use broker::shard::ShardId;
use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use segment::batch::BatchHeader;
use segment::{
    LeaderEpoch, Offset, PartitionIndex, SessionId, TimestampMs, TopicId, TopicPartition,
    WalSequence,
};

/// Batches of one flush.
const APPENDS: usize = 64;

fn open() -> PartitionLog {
    let id = TopicPartition::new(TopicId::new([1; 16]), PartitionIndex::ZERO);
    PartitionLog::open(PartitionImage {
        handle: Arc::new(PartitionHandle::new(id, ShardId(0))),
        leader_epoch: LeaderEpoch::ZERO,
        log_start: Offset::ZERO,
        compacted_end: Offset::ZERO,
        epochs: EpochHistory::new(vec![(LeaderEpoch::ZERO, Offset::ZERO)]),
        segments: Vec::new(),
        slots: Vec::new(),
        producers: Producers::default(),
    })
}

fn appends(bytes: &Bytes) -> Vec<Append> {
    let header = BatchHeader::parse(bytes).expect("a built batch");
    let append = |number: usize| Append {
        bytes: BytesMut::from(&bytes[..]),
        header,
        ticket: Some(Ticket(number as u64)),
        now: TimestampMs::new(1_000),
    };
    (0..APPENDS).map(append).collect()
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("partition_log/append_64");
    for size in [1 << 10, 16 << 10] {
        let bytes = batch(size, None);
        group.throughput(Throughput::Elements(APPENDS as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched(
                || (open(), appends(&bytes)),
                |(mut log, appends)| {
                    for append in appends {
                        log.append(append).expect("an open log");
                    }
                    log
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn seal_and_acknowledge(c: &mut Criterion) {
    let mut group = c.benchmark_group("partition_log/seal_and_acknowledge_64");
    for size in [1 << 10, 16 << 10] {
        let bytes = batch(size, None);
        let filled = || {
            let mut log = open();
            for append in appends(&bytes) {
                log.append(append).expect("an open log");
            }
            log
        };
        group.throughput(Throughput::Bytes((APPENDS * bytes.len()) as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched(
                filled,
                |mut log| {
                    let sequence = WalSequence::new(1);
                    let section = log.seal().expect("something to seal");
                    let location = WalLocation {
                        key: "wal".into(),
                        session: SessionId::ZERO,
                        sequence,
                        range: 0..section.run.bytes(),
                    };
                    let acknowledged = log.acknowledge(section.run.first(), location, 1);
                    (log, section, acknowledged)
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(all, append, seal_and_acknowledge);
criterion_main!(all);
