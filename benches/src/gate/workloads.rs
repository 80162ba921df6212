//! What is counted: one entry for each piece of pure code on the paths of produce, fetch and groups.

use std::hint::black_box;

use broker::partition::TailRead;
use broker::shard::{ShardHandle, ShardId, ShardMsg};
use segment::batch::{BatchHeader, BatchLimits, assign};
use segment::{LeaderEpoch, Offset, TimestampMs};
use wire::messages::{FetchRequest, ProduceRequest};
use wire::{Request, decode_request};

use crate::{batch, cache_entries, group, partition, requests, wal};

/// One piece of code with its input.
pub struct Workload {
    /// `module/what`, as in the benchmarks.
    pub name: &'static str,
    /// How often it is called; a multiple of five, so that a fifth can be planted.
    pub calls: u32,
    /// Makes the input for so many calls, and what one call does.
    pub make: fn(u32) -> Work,
}

/// One call of a workload.
pub type Work = Box<dyn FnMut()>;

/// All of them.
pub const WORKLOADS: &[Workload] = &[
    workload("wire_decode/fetch_1p", 100, |_| decode_fetch(1)),
    workload("wire_decode/fetch_100p", 20, |_| decode_fetch(100)),
    workload("wire_decode/produce_1p_16k", 100, |_| decode_produce(1)),
    workload("wire_decode/produce_100p_16k", 20, |_| decode_produce(100)),
    workload("wire_fetch_writer/respond_1p", 100, |_| respond(1)),
    workload("wire_fetch_writer/respond_100p", 20, |_| respond(100)),
    workload("segment_batch/validate_1k", 100, |_| validate(1 << 10)),
    workload("segment_batch/validate_16k", 20, |_| validate(16 << 10)),
    workload("segment_batch/assign", 1_000, |_| assign_in_place()),
    workload("segment_wal/encode_100_sections", 10, encode_wal),
    workload("partition_log/append_64_of_1k", 10, append),
    workload("partition_log/seal_64_of_1k", 10, |calls| {
        seal(calls, 1 << 10)
    }),
    workload("partition_log/seal_64_of_16k", 10, |calls| {
        seal(calls, 16 << 10)
    }),
    workload("partition_view/read_hit_16k", 1_000, |_| read_hit()),
    workload("partition_view/available", 1_000, |_| available()),
    workload("partition_producers/check", 1_000, |_| check_producer()),
    workload("partition_producers/record", 1_000, |_| record_producer()),
    workload("cache_s3_fifo/get_hit", 2_000, |_| cache_hit()),
    workload("cache_s3_fifo/insert_evicts", 2_000, |_| cache_insert()),
    workload("coord_groups/heartbeat", 1_000, |_| heartbeat()),
    workload("shard_handle/send_and_receive", 1_000, |_| mailbox()),
];

const fn workload(name: &'static str, calls: u32, make: fn(u32) -> Work) -> Workload {
    assert!(calls.is_multiple_of(5), "a fifth can be planted");
    Workload { name, calls, make }
}

fn decode_fetch(partitions: usize) -> Work {
    let frame = requests::fetch_frame(partitions);
    Box::new(move || decode::<FetchRequest<'_>>(&frame))
}

fn decode_produce(partitions: usize) -> Work {
    let frame = requests::produce_frame(partitions, &batch(16 << 10, None));
    Box::new(move || decode::<ProduceRequest<'_>>(&frame))
}

fn decode<'a, R: Request<'a>>(frame: &'a [u8]) {
    let request = decode_request::<R>(black_box(frame));
    black_box(&request.expect("a sound request").1);
}

fn respond(partitions: usize) -> Work {
    let slices = [batch(16 << 10, None)];
    Box::new(move || {
        black_box(requests::fetch_response(partitions, black_box(&slices)));
    })
}

fn validate(bytes: usize) -> Work {
    let (bytes, limits) = (batch(bytes, None), BatchLimits::default());
    Box::new(move || {
        let header = BatchHeader::validate(black_box(&bytes), &limits);
        black_box(header.expect("a sound batch"));
    })
}

fn assign_in_place() -> Work {
    let mut bytes = batch(16 << 10, None).to_vec();
    Box::new(move || assign(black_box(&mut bytes), Offset::new(42), LeaderEpoch::new(3)))
}

fn encode_wal(calls: u32) -> Work {
    let bytes = batch(1 << 10, Some(0));
    let sections = || (0..100).map(|index| wal::section(index, 2, &bytes));
    let mut inputs: Vec<Vec<_>> = (0..=calls).map(|_| sections().collect()).collect();
    Box::new(move || {
        let sections = inputs.pop().expect("one input a call");
        // The bytes are freed by whoever PUTs the object, not by who encodes it.
        std::mem::forget(black_box(segment::wal::encode(wal::header(), sections)));
    })
}

fn append(calls: u32) -> Work {
    let bytes = batch(1 << 10, None);
    let input = || {
        (
            partition::open(),
            partition::appends(partition::APPENDS, &bytes),
        )
    };
    let mut inputs: Vec<_> = (0..=calls).map(|_| input()).collect();
    let mut done = Vec::with_capacity(inputs.len());
    Box::new(move || {
        let ((mut log, handle), appends) = inputs.pop().expect("one input a call");
        partition::append_all(&mut log, appends);
        done.push((log, handle));
    })
}

fn seal(calls: u32, bytes: usize) -> Work {
    let bytes = batch(bytes, None);
    let input = || {
        let (mut log, handle) = partition::open();
        partition::append_all(&mut log, partition::appends(partition::APPENDS, &bytes));
        (log, handle)
    };
    let mut inputs: Vec<_> = (0..=calls).map(|_| input()).collect();
    let mut done = Vec::with_capacity(inputs.len());
    Box::new(move || {
        let (mut log, handle) = inputs.pop().expect("one input a call");
        let section = partition::seal_and_acknowledge(&mut log, 1);
        done.push((log, handle, section));
    })
}

fn read_hit() -> Work {
    let (log, handle, records) = partition::filled();
    // The first slice of a buffer that is nobody else's takes memory for the count of its references.
    let snapshot = handle.snapshot().expect("published");
    snapshot.read(Offset::ZERO, u64::MAX, true, &mut Vec::new());
    let (mut offset, mut out) = (0, Vec::with_capacity(64));
    Box::new(move || {
        black_box(&log);
        offset = (offset + partition::OFFSET_STRIDE) % records;
        out.clear();
        let from = black_box(Offset::new(offset as i64));
        let read = handle.with_snapshot(|snapshot| {
            let snapshot = snapshot.expect("published");
            snapshot.read(from, 16 << 10, true, &mut out)
        });
        assert!(read != TailRead::Cold);
        black_box(&out);
    })
}

fn available() -> Work {
    let (log, handle, records) = partition::filled();
    let mut offset = 0;
    Box::new(move || {
        black_box(&log);
        offset = (offset + partition::OFFSET_STRIDE) % records;
        let snapshot = handle.snapshot().expect("published");
        black_box(snapshot.available(black_box(Offset::new(offset as i64)), 64 << 10));
    })
}

fn check_producer() -> Work {
    let producers = partition::producers();
    let mut producer = 0;
    Box::new(move || {
        producer = (producer + partition::PRODUCER_STRIDE) % partition::PRODUCERS;
        let new = partition::producer_batch(producer, 5);
        black_box(producers.check(black_box(&new))).expect("a new batch");
    })
}

fn record_producer() -> Work {
    let mut producers = partition::producers();
    let (mut producer, mut round) = (0, 5 * partition::PRODUCERS as i32);
    Box::new(move || {
        producer = (producer + partition::PRODUCER_STRIDE) % partition::PRODUCERS;
        let new = partition::producer_batch(producer, round / partition::PRODUCERS as i32);
        producers.record(black_box(new), TimestampMs::new(1_000));
        round += 1;
    })
}

fn cache_hit() -> Work {
    let mut cache = cache_entries::full();
    let mut number = 0;
    Box::new(move || {
        number = (number + cache_entries::STRIDE) % cache_entries::ENTRIES;
        black_box(cache.get(black_box(&(1, number))).copied()).expect("all of it fits");
    })
}

fn cache_insert() -> Work {
    let mut cache = cache_entries::full();
    let mut number = 0;
    Box::new(move || {
        number += 1;
        let evicted = cache.insert(black_box((3, number)), number, cache_entries::CHUNK_BYTES);
        black_box(evicted);
    })
}

fn heartbeat() -> Work {
    let (mut slot, heartbeats) = (group::slot(), group::heartbeats());
    let (mut out, mut turn) = (Vec::with_capacity(4), 0);
    Box::new(move || {
        turn += 1;
        out.clear();
        let request = heartbeats[turn % heartbeats.len()].clone();
        let token = coord::groups::ReplyToken(turn as u64);
        slot.heartbeat(request, token, group::now(turn as u64), &mut out);
        assert!(
            black_box(&out).len() == 1,
            "a heartbeat is answered at once"
        );
    })
}

fn mailbox() -> Work {
    let (handle, mailbox) = ShardHandle::new(ShardId(0));
    Box::new(move || {
        let message = ShardMsg::Acknowledge(Vec::new());
        assert!(handle.try_send(black_box(message)).is_ok(), "there is room");
        drop(black_box(mailbox.try_recv().expect("a message")));
    })
}
