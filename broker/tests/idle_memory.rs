//! Memory of a partition that nobody uses: at most a kibibyte.
//!
//! The allocator of this program counts the bytes that are taken and not given back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use common::LocalBroker;

/// Bytes that an idle partition may take.
const PARTITION_BYTES: i64 = 1024;
/// Partitions of each of two equal topics. What the first takes beside its partitions (pages of the metadata
/// store, recent changes) is there when the second comes.
const PARTITIONS: i32 = 2_000;
/// How long memory is watched for less of it.
const SETTLE: Duration = Duration::from_secs(3);

static LIVE: AtomicI64 = AtomicI64::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn add(bytes: usize) {
    LIVE.fetch_add(bytes as i64, Ordering::Relaxed);
}

fn subtract(bytes: usize) {
    LIVE.fetch_sub(bytes as i64, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        add(new);
        subtract(layout.size());
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(old, layout, new) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        subtract(layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(old, layout) }
    }
}

/// The least that is taken for a while: what comes and goes is not counted.
fn settled() -> i64 {
    let until = Instant::now() + SETTLE;
    let mut least = i64::MAX;
    while Instant::now() < until {
        least = least.min(LIVE.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_millis(5));
    }
    least
}

#[test]
fn an_idle_partition_takes_a_kibibyte_at_most() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    client.create("first", PARTITIONS);
    let before = settled();
    client.create("second", PARTITIONS);
    let each = (settled() - before) / i64::from(PARTITIONS);
    println!("{each} bytes for an idle partition");
    assert!(
        each <= PARTITION_BYTES,
        "{each} bytes for an idle partition"
    );
    assert!(each > 0, "nothing was counted");
}
