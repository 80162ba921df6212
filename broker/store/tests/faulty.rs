//! Each fault does what it says, and a seed repeats itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conformance::{key, wait};
use store::faulty::{Fault, FaultyStore, Operation, Rule, Scripted};
use store::memory::MemoryStore;
use store::{Body, GetRange, ListRequest, ObjectStore, PutCondition, PutError, PutOutcome};

type Faulty = FaultyStore<MemoryStore>;

fn put(store: &Faulty, name: &str) -> Result<PutOutcome, PutError> {
    let body = Body::from(Bytes::from_static(b"body"));
    wait(store.put(key(name), body, PutCondition::IfAbsent))
}

fn get(store: &Faulty, name: &str) -> Bytes {
    wait(store.get(key(name), GetRange::Full)).unwrap().bytes
}

fn once(fault: Fault) -> Faulty {
    let store = FaultyStore::without_clock(MemoryStore::new(), 7);
    store.add_rule(Rule::always(Operation::Put, fault).times(1));
    store
}

#[test]
fn errors_before_the_effect_leave_nothing() {
    let faults = [
        (Fault::ErrorBefore, false),
        (Fault::UnknownBefore, true),
        (Fault::Throttled, false),
        (Fault::Full, false),
        (Fault::Conflict, false),
    ];
    for (fault, unknown) in faults {
        let store = once(fault);
        let error = put(&store, "a/b").unwrap_err();
        assert!(error.retriable(), "{error}");
        assert_eq!(error.outcome_unknown(), unknown, "{error}");
        assert!(store.inner().objects().is_empty());
        put(&store, "a/b").unwrap();
        assert_eq!(store.injected(), 1);
    }
    assert!(!put(&once(Fault::Denied), "a/b").unwrap_err().retriable());
}

#[test]
fn a_lost_reply_has_taken_effect() {
    let store = once(Fault::ErrorAfter);
    let error = put(&store, "a/b").unwrap_err();
    assert!(error.retriable() && error.outcome_unknown());
    assert!(matches!(
        put(&store, "a/b"),
        Err(PutError::AlreadyExists { .. })
    ));
    assert_eq!(get(&store, "a/b"), "body");
}

#[test]
fn damaged_bodies_are_stored_unless_they_state_a_checksum() {
    for fault in [Fault::Truncate, Fault::FlipBit] {
        let store = once(fault.clone());
        put(&store, "a/b").unwrap();
        assert_ne!(get(&store, "a/b"), "body");
        let store = once(fault.clone());
        let body = Body::from(Bytes::from_static(b"body"));
        let body = body.clone().with_crc32(body.compute_crc32());
        let refused = wait(store.put(key("a/b"), body, PutCondition::None)).unwrap_err();
        assert!(matches!(refused, PutError::Corrupt { .. }));
        assert!(store.inner().objects().is_empty());
        put(&store, "a/b").unwrap();
        store.add_rule(Rule::always(Operation::Get, fault).times(1));
        assert_ne!(get(&store, "a/b"), "body");
        assert_eq!(get(&store, "a/b"), "body");
    }
}

#[test]
fn scripts_hit_the_call_that_they_name() {
    let store = FaultyStore::without_clock(MemoryStore::new(), 7);
    let (operation, prefix) = (Operation::Put, "wal/".to_owned());
    store.add_scripted(Scripted {
        operation,
        prefix,
        skip: 2,
        fault: Fault::ErrorBefore,
    });
    let names = ["wal/0", "seg/0", "wal/1", "seg/1", "wal/2", "wal/3"];
    let failed: Vec<_> = names
        .iter()
        .filter(|name| put(&store, name).is_err())
        .collect();
    assert_eq!(failed, vec![&"wal/2"]);
}

#[test]
fn delays_go_through_the_callers_clock() {
    let clock = Arc::new(AtomicU64::new(0));
    let hook = Arc::clone(&clock);
    let sleep = Arc::new(move |delay: Duration| {
        hook.fetch_add(delay.as_millis() as u64, Ordering::Relaxed);
        Box::pin(async {}) as futures_util::future::BoxFuture<'static, ()>
    });
    let store = FaultyStore::new(MemoryStore::new(), 7, sleep);
    store.add_rule(Rule::always(
        Operation::Put,
        Fault::DelayBefore(Duration::from_millis(250)),
    ));
    store.add_rule(Rule::always(
        Operation::Put,
        Fault::DelayAfter(Duration::from_millis(50)),
    ));
    put(&store, "a/b").unwrap();
    assert_eq!(clock.load(Ordering::Relaxed), 300);
    store.clear();
    put(&store, "a/c").unwrap();
    assert_eq!(clock.load(Ordering::Relaxed), 300);
}

#[test]
fn a_hanging_call_never_answers() {
    for (fault, stored) in [(Fault::HangBefore, 0), (Fault::HangAfter, 1)] {
        let store = once(fault);
        let body = Body::from(Bytes::from_static(b"body"));
        let mut hanging = store.put(key("a/b"), body, PutCondition::None);
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(hanging.as_mut().poll(&mut context).is_pending());
        assert_eq!(store.inner().objects().len(), stored);
    }
}

#[test]
fn a_stale_list_misses_recent_keys_only() {
    let store = FaultyStore::without_clock(MemoryStore::new(), 7);
    for number in 0..50 {
        put(&store, &format!("a/{number:02}")).unwrap();
    }
    store.add_rule(Rule::always(Operation::List, Fault::StaleList(20)));
    let page = wait(store.list(ListRequest::new("a/"))).unwrap();
    assert!(
        (30..50).contains(&page.objects.len()),
        "{}",
        page.objects.len()
    );
    assert!(
        page.objects[..30]
            .iter()
            .zip(0..)
            .all(|(o, n)| *o.key.as_str() == format!("a/{n:02}"))
    );
    store.clear();
    assert_eq!(
        wait(store.list(ListRequest::new("a/")))
            .unwrap()
            .objects
            .len(),
        50
    );
}

#[test]
fn a_seed_repeats_itself() {
    let run = |seed| {
        let store = FaultyStore::without_clock(MemoryStore::new(), seed);
        store.add_rule(Rule::always(Operation::Put, Fault::ErrorBefore).rate_ppm(300_000));
        store.add_rule(Rule::always(Operation::Put, Fault::ErrorAfter).rate_ppm(100_000));
        let outcomes = (0..200).map(|n| put(&store, &format!("a/{n}")).is_ok());
        outcomes.collect::<Vec<bool>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let failed = run(3).iter().filter(|ok| !**ok).count();
    assert!(
        (40..110).contains(&failed),
        "{failed} of 200 at a rate of 0.37"
    );
}
