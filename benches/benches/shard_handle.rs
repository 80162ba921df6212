//! Times `broker::shard` handles: what it takes to reach another shard.
//!
//! `send_and_receive` is the mailbox alone, on one thread: a lock and a queue, some 50 ns. `hop_parked` is there
//! and back to a thread that is parked whenever nothing comes, as an idle shard is. Near: two wakes of a parked
//! core, about 20 us each on the machine of `perf/RESULTS.md`; this is why a hit must not hop.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use broker::shard::{ShardHandle, ShardId, ShardMsg};
use criterion::{Criterion, criterion_group, criterion_main};

fn mailbox(c: &mut Criterion) {
    let (handle, mailbox) = ShardHandle::new(ShardId(0));
    c.bench_function("shard_handle/send_and_receive", |b| {
        b.iter(|| {
            let message = ShardMsg::Acknowledge(Vec::new());
            assert!(handle.try_send(black_box(message)).is_ok(), "there is room");
            mailbox.try_recv().is_ok()
        });
    });
}

fn hop(c: &mut Criterion) {
    let (there, there_mailbox) = ShardHandle::new(ShardId(0));
    let (back, back_mailbox) = ShardHandle::new(ShardId(1));
    let echo = std::thread::spawn(move || {
        while let Ok(message) = there_mailbox.recv() {
            if matches!(message, ShardMsg::Shutdown) || back.try_send(message).is_err() {
                break;
            }
        }
    });
    c.bench_function("shard_handle/hop_parked", |b| {
        b.iter(|| {
            let message = ShardMsg::Acknowledge(Vec::new());
            assert!(there.try_send(message).is_ok(), "there is room");
            back_mailbox.recv().is_ok()
        });
    });
    assert!(there.try_send(ShardMsg::Shutdown).is_ok(), "there is room");
    echo.join().expect("the other thread ends");
}

criterion_group!(all, mailbox, hop);
criterion_main!(all);
