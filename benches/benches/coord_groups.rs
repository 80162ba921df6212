//! Times `coord::groups`: the heartbeat of a member, in a slot with 100 groups of 100 members.
//!
//! Near: three cache misses (group, member, timer) of 50 to 100 ns when the slot is cold, a few string
//! comparisons when it is not. Memory only: no write follows.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use benches::group::{heartbeats, now, slot};
use coord::groups::ReplyToken;
use criterion::{Criterion, criterion_group, criterion_main};

fn heartbeat(c: &mut Criterion) {
    let (mut slot, heartbeats) = (slot(), heartbeats());
    let (mut out, mut turn) = (Vec::with_capacity(4), 0);
    c.bench_function("coord_groups/heartbeat", |b| {
        b.iter(|| {
            turn += 1;
            out.clear();
            let request = black_box(&heartbeats[turn % heartbeats.len()]).clone();
            slot.heartbeat(request, ReplyToken(0), now(turn as u64), &mut out);
            out.len()
        });
    });
}

criterion_group!(all, heartbeat);
criterion_main!(all);
