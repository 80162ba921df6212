//! Times `broker::partition::view`: what a fetch that hits does, from the snapshot to the slices.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;
use std::sync::Arc;

use benches::batch;
use broker::partition::epochs::EpochHistory;
use broker::partition::producers::Producers;
use broker::partition::{
    Append, PartitionHandle, PartitionImage, PartitionLog, TailRead, WalLocation,
};
use broker::shard::ShardId;
use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use segment::batch::BatchHeader;
use segment::{
    LeaderEpoch, Offset, PartitionIndex, SessionId, TimestampMs, TopicId, TopicPartition,
    WalSequence,
};

/// Flushes in memory.
const RUNS: u64 = 1_000;
/// Batches of each.
const BATCHES: u64 = 4;
/// Offsets are taken in a stride that is prime to their number.
const STRIDE: u64 = 7_919;

/// The log must live as long as its snapshot is read.
fn filled() -> (PartitionLog, Arc<PartitionHandle>, u64) {
    let id = TopicPartition::new(TopicId::new([1; 16]), PartitionIndex::ZERO);
    let handle = Arc::new(PartitionHandle::new(id, ShardId(0)));
    let mut log = PartitionLog::open(PartitionImage {
        handle: handle.clone(),
        leader_epoch: LeaderEpoch::ZERO,
        log_start: Offset::ZERO,
        compacted_end: Offset::ZERO,
        epochs: EpochHistory::new(vec![(LeaderEpoch::ZERO, Offset::ZERO)]),
        segments: Vec::new(),
        slots: Vec::new(),
        producers: Producers::default(),
    });
    let bytes = batch(16 << 10, None);
    let header = BatchHeader::parse(&bytes).expect("a built batch");
    for run in 1..=RUNS {
        for _ in 0..BATCHES {
            let bytes = BytesMut::from(&bytes[..]);
            let now = TimestampMs::new(1_000);
            let append = Append {
                bytes,
                header,
                ticket: None,
                now,
            };
            log.append(append).expect("an open log");
        }
        let sequence = WalSequence::new(run);
        let section = log.seal().expect("something to seal");
        let location = WalLocation {
            key: "wal".into(),
            session: SessionId::ZERO,
            sequence,
            range: 0..section.run.bytes(),
        };
        log.acknowledge(section.run.first(), location, 1);
    }
    (log, handle, RUNS * BATCHES * u64::from(header.record_count))
}

fn read(c: &mut Criterion) {
    let (_log, handle, records) = filled();
    let mut group = c.benchmark_group("partition_view/read_hit");
    for budget in [16_u64 << 10, 256 << 10] {
        let mut offset = 0;
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(budget), |b| {
            b.iter(|| {
                offset = (offset + STRIDE) % records;
                out.clear();
                let snapshot = handle.snapshot().expect("published");
                let offset = Offset::new(offset as i64);
                let read = snapshot.read(black_box(offset), budget, true, &mut out);
                assert!(read != TailRead::Cold);
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(all, read);
criterion_main!(all);
