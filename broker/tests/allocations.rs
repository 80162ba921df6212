//! Allocations of a fetch that hits: none per partition.
//!
//! The allocator of this program counts what threads of shards take, while it is told to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Connection, Fetch, LocalBroker, Topic, Wanted, numbered};

/// Partitions of the larger fetch.
const PARTITIONS: i32 = 100;
/// Bytes of a batch: too many to be gathered with others in one buffer.
const BATCH_BYTES: usize = 5_000;
/// Fetches that come before those that are counted.
const WARM_UP: usize = 20;
/// Fetches of which the one with the fewest allocations counts: a new receive buffer, which is due by bytes, or
/// the sweeper of the shard falls into others.
const FETCHES: usize = 40;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    if COUNTING.load(Ordering::Relaxed) && is_shard() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether the calling thread is a shard's. It must not allocate, so it asks the kernel for the name.
fn is_shard() -> bool {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes to the given address.
    let result = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    result == 0 && name.starts_with(b"shard-")
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(old, layout, new) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(old, layout) }
    }
}

/// How a consumer asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Without a session: everything is in the request.
    Sessionless,
    /// In a session, with a new offset for every partition: a consumer that keeps up.
    Session,
    /// In a session, with nothing changed.
    Unchanged,
}

fn wanted(topic: &Topic, partitions: i32) -> Vec<Wanted> {
    let all = 0..partitions;
    all.map(|index| Wanted::new(topic, index, 0)).collect()
}

/// Fewest allocations of one fetch of so many partitions, each of which gives one batch.
fn allocations(
    broker: &LocalBroker,
    topic: &Topic,
    version: i16,
    form: Form,
    partitions: i32,
) -> u64 {
    let mut client = broker.connect();
    let whole = || Fetch::of(wanted(topic, partitions)).version(version);
    let (mut session, mut epoch) = (0, -1);
    if form != Form::Sessionless {
        session = client.fetch(&whole().session(0, 0)).session_id;
        epoch = 0;
    }
    let mut fewest = u64::MAX;
    for turn in 0..WARM_UP + FETCHES {
        let mut fetch = whole();
        if form != Form::Sessionless {
            epoch += 1;
            fetch = fetch.session(session, epoch);
        }
        if form == Form::Unchanged {
            fetch.wanted.clear();
        }
        let (taken, replied) = count_one(&mut client, &fetch);
        assert_eq!(replied, partitions as usize, "every partition has data");
        if turn >= WARM_UP {
            fewest = fewest.min(taken);
        }
    }
    fewest
}

/// Allocations of the shard while it answers, and how many partitions gave records.
fn count_one(client: &mut Connection, fetch: &Fetch) -> (u64, usize) {
    ALLOCATIONS.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    let fetched = client.fetch(fetch);
    COUNTING.store(false, Ordering::Relaxed);
    let partitions = fetched.partitions.iter();
    let with_records = partitions.filter(|it| !it.records.is_empty()).count();
    (ALLOCATIONS.load(Ordering::Relaxed), with_records)
}

/// Held by the test that counts: what others do would be counted too.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_fetch_that_hits_allocates_as_often_for_a_hundred_partitions_as_for_one() {
    let _alone = ALONE.lock();
    let broker = LocalBroker::start(&[("shard.count", "1")]);
    let mut client = broker.connect();
    let topic = client.create("t", PARTITIONS);
    for index in 0..PARTITIONS {
        client
            .produce(&topic, index, &numbered(1, BATCH_BYTES))
            .offset();
    }
    for version in [12, 17] {
        for form in [Form::Sessionless, Form::Session, Form::Unchanged] {
            let of = |partitions| allocations(&broker, &topic, version, form, partitions);
            let (one, many) = (of(1), of(PARTITIONS));
            println!("v{version} {form:?}: {one} for 1 partition, {many} for {PARTITIONS}");
            assert!(
                many <= one,
                "v{version} {form:?}: {one} allocations for 1 partition, {many} for {PARTITIONS}"
            );
        }
    }
}

#[test]
fn rules_that_a_fetch_is_measured_by_take_no_memory() {
    let _alone = ALONE.lock();
    let of = |settings: &[(&str, &str)]| {
        let broker = LocalBroker::start(&[&[("shard.count", "1")], settings].concat());
        let mut client = broker.connect();
        let topic = client.create("t", 1);
        client
            .produce(&topic, 0, &numbered(1, BATCH_BYTES))
            .offset();
        let each = [12, 17].into_iter().flat_map(|version| {
            let forms = [Form::Sessionless, Form::Session, Form::Unchanged];
            forms.map(|form| (version, form))
        });
        each.map(|(version, form)| allocations(&broker, &topic, version, form, 1))
            .collect::<Vec<_>>()
    };
    let on = [
        ("security.authorizer", "on"),
        ("security.allow_everyone_if_no_acl", "true"),
    ];
    assert_eq!(of(&on), of(&[]));
}
