//! What only the embedded side promises: durability, group commit, clear refusals.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use coord::kv::embedded::{Embedded, METADATA_FILE, OpenError};
use coord::kv::{Compare, Key, Kv, KvError, Op, Range, Revision, Txn, Value, wait};

fn put(name: &str) -> Txn {
    Txn::new().and_then(Op::put(Key::from(name), Value::from("x")))
}

#[test]
fn what_was_answered_is_there_after_reopening_and_sessions_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let kv = Embedded::open(directory.path()).unwrap();
    let session = wait(kv.grant_session(Duration::from_secs(1))).unwrap();
    wait(kv.txn(put("/kept"))).unwrap();
    let bound = Op::put_bound("/session".into(), "x".into(), session);
    let last = wait(kv.txn(Txn::new().and_then(bound))).unwrap().revision;
    wait(kv.close()).unwrap();
    assert_eq!(wait(kv.get("/kept".into())), Err(KvError::Closed));
    assert_eq!(wait(kv.txn(put("/late"))), Err(KvError::Closed));

    let kv = Embedded::open(directory.path()).unwrap();
    let read = wait(kv.range(Range::prefix("/"))).unwrap();
    assert_eq!(
        read.revision,
        last.next(),
        "the end of the sessions is a change"
    );
    assert_eq!(read.entries.len(), 1);
    assert_eq!(read.entries[0].create_revision, Revision(1));
    let early = wait(kv.watch(coord::kv::Span::prefix("/"), last));
    assert!(matches!(early, Err(KvError::Compacted { .. })), "{early:?}");
    let gone = wait(kv.keep_alive(session));
    assert_eq!(gone, Err(KvError::SessionGone { lease: session }));
}

#[test]
fn a_file_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let kv = Embedded::open(directory.path()).unwrap();
    let error = Embedded::open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    wait(kv.close()).unwrap();
    Embedded::open(directory.path()).unwrap();
}

#[test]
fn a_missing_directory_is_named() {
    let error = Embedded::open(std::path::Path::new("/nonexistent/kafscale")).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }));
    assert!(
        error
            .to_string()
            .contains("/nonexistent/kafscale/metadata.redb"),
        "{error}"
    );
}

#[test]
fn a_file_of_something_else_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(METADATA_FILE);
    for bytes in [b"not a database".to_vec(), vec![0; 100_000], vec![0xff; 3]] {
        std::fs::write(&path, &bytes).unwrap();
        let error = Embedded::open(directory.path()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        assert!(
            error.to_string().contains("restore it from a backup"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_damaged_file_is_refused_or_reads_right_but_never_panics() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(METADATA_FILE);
    let kv = Embedded::open(directory.path()).unwrap();
    for number in 0..50 {
        let value = Value::from(vec![b'v'; 500]);
        let op = Op::put(Key::from(format!("/k/{number:03}")), value);
        wait(kv.txn(Txn::new().and_then(op))).unwrap();
    }
    wait(kv.close()).unwrap();
    let good = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for step in 0..40 {
        let mut bytes = good.clone();
        let position = step * good.len() / 40 + 7;
        for byte in &mut bytes[position..position + 64] {
            *byte ^= 0x5a;
        }
        std::fs::write(&path, &bytes).unwrap();
        let Ok(kv) = Embedded::open(directory.path()) else {
            refused += 1;
            continue;
        };
        if let Ok(read) = wait(kv.range(Range::prefix("/k/"))) {
            assert!(
                read.entries
                    .iter()
                    .all(|entry| entry.value.as_bytes() == [b'v'; 500])
            );
        }
        let _ = wait(kv.close());
    }
    assert!(refused > 0, "no damage was found");
}

#[test]
fn waiting_transactions_share_commits_and_keep_their_own_compares() {
    let directory = tempfile::tempdir().unwrap();
    let kv: Arc<dyn Kv> = Arc::new(Embedded::open(directory.path()).unwrap());
    let create = |number: usize| {
        let key = Key::from(format!("/k/{}", number % 300));
        Txn::new()
            .when(Compare::absent(key.clone()))
            .and_then(Op::put(key, Value::from("x")))
    };
    let all = (0..600).map(|number| kv.txn(create(number)));
    let replies = wait(futures_util::future::join_all(all));
    let created = replies
        .iter()
        .filter(|reply| reply.as_ref().unwrap().succeeded)
        .count();
    assert_eq!(created, 300, "each key is created once");
    let read = wait(kv.range(Range::prefix("/k/"))).unwrap();
    assert_eq!(
        read.revision,
        Revision(300),
        "each transaction has its own revision"
    );
    let mut revisions: Vec<i64> = read
        .entries
        .iter()
        .map(|entry| entry.mod_revision.0)
        .collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=300).collect::<Vec<i64>>());
}

#[test]
fn a_transaction_takes_any_number_of_keys() {
    let directory = tempfile::tempdir().unwrap();
    let kv = Embedded::open(directory.path()).unwrap();
    let puts = (0..5_000).map(|n| Op::put(Key::from(format!("/n/{n}")), Value::from("x")));
    wait(kv.txn(Txn {
        then: puts.collect(),
        ..Txn::new()
    }))
    .unwrap();
    let read = wait(kv.range(Range::prefix("/n/"))).unwrap();
    assert_eq!((read.entries.len(), read.revision), (5_000, Revision(1)));
}

#[test]
fn a_dropped_future_that_was_not_polled_sends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let kv = Embedded::open(directory.path()).unwrap();
    drop(kv.txn(put("/never")));
    assert!(wait(kv.get("/never".into())).unwrap().is_none());
}
