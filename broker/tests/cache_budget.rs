//! What the cache holds stays within its budget, whatever is written and read: many times the budget
//! comes in, in batches of all sizes, and readers catch up over all of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Fetch, LocalBroker, Wanted, numbered};

const BUDGET: &str = "16MiB";
const BUDGET_BYTES: f64 = (16 << 20) as f64;
/// What it may hold at most, of the budget.
const SHARE_MAX: f64 = 1.05;
/// Bytes of batches, and how many of each: 36 MB in all.
const SHAPES: [(usize, usize); 4] = [(100, 800), (5_000, 400), (20_000, 300), (700_000, 40)];
/// So many that every shard owns some of them.
const PARTITIONS: i32 = 16;

#[test]
fn what_the_cache_holds_is_within_its_budget() {
    let broker = LocalBroker::start(&[
        ("memory.cache_bytes", BUDGET),
        ("log.flush_interval_ms", "1"),
    ]);
    let mut client = broker.connect();
    let topic = client.create("t", PARTITIONS);
    let mut most: f64 = 0.0;
    let mut look = || {
        let held = broker.metric("kafscale_cache_bytes{");
        most = most.max(held);
        assert!(held <= SHARE_MAX * BUDGET_BYTES, "{held} bytes of {BUDGET}");
    };
    let mut ends = vec![0; PARTITIONS as usize];
    for (bytes, count) in SHAPES {
        let batch = numbered(1, bytes);
        for number in 0..count {
            let partition = number % ends.len();
            client.produce(&topic, partition as i32, &batch).offset();
            ends[partition] += 1;
            if number % 20 == 0 {
                look();
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        look();
    }
    for (partition, end) in (0..).zip(ends) {
        let mut next = 0;
        while next < end {
            let wanted = Wanted::new(&topic, partition, next).max_bytes(1 << 20);
            let found = client.fetch(&Fetch::of(vec![wanted]));
            next = found.only().bases().last().unwrap() + 1;
            look();
        }
    }
    assert!(most > BUDGET_BYTES / 2.0, "the budget is used: {most}");
    broker.stop();
}
