//! The conformance suite on every store of this crate.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;

use std::sync::Arc;

use conformance::run;
use store::faulty::FaultyStore;
use store::local::{LocalOptions, LocalStore};
use store::memory::MemoryStore;

#[test]
fn memory() {
    run(Arc::new(MemoryStore::new()), "p/");
}

#[test]
fn local() {
    let root = tempfile::tempdir().unwrap();
    let store = LocalStore::open(root.path(), LocalOptions::default()).unwrap();
    run(Arc::new(store), "p/");
}

#[test]
fn local_with_one_thread_and_a_short_queue() {
    let root = tempfile::tempdir().unwrap();
    let (writers, readers, queue_max) = (1, 1, 1);
    let options = LocalOptions {
        writers,
        readers,
        queue_max,
        verify_crc32: true,
        ..LocalOptions::default()
    };
    run(
        Arc::new(LocalStore::open(root.path(), options).unwrap()),
        "p/q/",
    );
}

#[test]
fn faulty_without_faults() {
    run(
        Arc::new(FaultyStore::without_clock(MemoryStore::new(), 1)),
        "p/",
    );
}
