//! What every side of the key-value seam must do. Written over the trait; run for each side below.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use coord::kv::embedded::Embedded;
use coord::kv::etcd::EtcdOptions;
use coord::kv::simulated::{Simulated, SimulatedConfig};
use coord::kv::{
    Compare, CompareOp, CompareTarget, Key, Kv, KvError, Op, OpReply, Range, Revision, Span, Txn,
    TxnReply, Value, Watch, WatchBatch, WatchError, WatchEvent, range_all, wait,
};

use etcd_process::EtcdProcess;

mod etcd_process;

/// Queue of a watcher in these tests: short, so that it overflows.
const WATCH_QUEUE: usize = 4;

/// What a store over a network may take until its watchers are told.
const SETTLE: Duration = Duration::from_millis(500);

const TTL: Duration = Duration::from_secs(10);

/// A side under test, empty, and what keeps it alive.
struct Side {
    kv: Arc<dyn Kv>,
    _directory: Option<tempfile::TempDir>,
    _etcd: Option<EtcdProcess>,
}

fn embedded() -> Side {
    let directory = tempfile::tempdir().unwrap();
    let kv = Embedded::open_with(directory.path(), WATCH_QUEUE).unwrap();
    Side {
        kv: Arc::new(kv),
        _directory: Some(directory),
        _etcd: None,
    }
}

fn simulated() -> Side {
    let config = SimulatedConfig {
        watch_queue_batches: WATCH_QUEUE,
        ..Default::default()
    };
    Side {
        kv: Arc::new(Simulated::with(config)),
        _directory: None,
        _etcd: None,
    }
}

/// A process of its own: the end of another test's session would raise the revision.
fn etcd() -> Side {
    let process = EtcdProcess::start();
    let options = EtcdOptions {
        watch_queue_batches: WATCH_QUEUE,
        ..EtcdOptions::new([process.endpoint()])
    };
    let kv = etcd_process::connect(options).unwrap();
    Side {
        kv: Arc::new(kv),
        _directory: None,
        _etcd: Some(process),
    }
}

fn key(text: &str) -> Key {
    Key::from(text)
}

fn value(text: &str) -> Value {
    Value::from(text)
}

fn put(kv: &Arc<dyn Kv>, name: &str, text: &str) -> Revision {
    let reply = wait(kv.txn(Txn::new().and_then(Op::put(key(name), value(text))))).unwrap();
    assert!(reply.succeeded);
    reply.revision
}

fn run(kv: &Arc<dyn Kv>, txn: Txn) -> TxnReply {
    wait(kv.txn(txn)).unwrap()
}

fn names(entries: &[coord::kv::KeyValue]) -> Vec<String> {
    entries.iter().map(|entry| entry.key.to_string()).collect()
}

fn revisions_count_changes(kv: Arc<dyn Kv>) {
    let empty = wait(kv.range(Range::prefix("/"))).unwrap();
    let start = empty.revision;
    assert!(empty.entries.is_empty());
    let first = put(&kv, "/a", "1");
    assert_eq!(first, start.next());
    let second = put(&kv, "/a", "2");
    assert_eq!(second, first.next());
    let stored = wait(kv.get(key("/a"))).unwrap().unwrap();
    assert_eq!(
        (stored.create_revision, stored.mod_revision),
        (first, second)
    );
    assert_eq!(stored.value, value("2"));
    let nothing = run(&kv, Txn::new().and_then(Op::Delete(key("/none"))));
    assert_eq!(nothing.revision, second, "deleting nothing is no change");
    assert_eq!(nothing.responses, [OpReply::Deleted { count: 0 }]);
    let gone = run(&kv, Txn::new().and_then(Op::Delete(key("/a"))));
    assert_eq!(gone.revision, second.next());
    assert!(wait(kv.get(key("/a"))).unwrap().is_none());
    let again = put(&kv, "/a", "3");
    let stored = wait(kv.get(key("/a"))).unwrap().unwrap();
    assert_eq!(stored.create_revision, again, "a re-created key is another");
}

fn compares_decide(kv: Arc<dyn Kv>) {
    let created = put(&kv, "/k", "1");
    let modified = put(&kv, "/k", "2");
    let holds = |compare: Compare| run(&kv, Txn::new().when(compare)).succeeded;
    assert!(holds(Compare::mod_revision(key("/k"), modified)));
    assert!(!holds(Compare::mod_revision(key("/k"), created)));
    assert!(holds(Compare::create_revision(key("/k"), created)));
    assert!(holds(Compare::exists(key("/k"))) && !holds(Compare::exists(key("/x"))));
    assert!(holds(Compare::absent(key("/x"))) && !holds(Compare::absent(key("/k"))));
    assert!(holds(Compare::mod_revision(key("/x"), Revision::ZERO)));
    assert!(holds(Compare::value(key("/k"), value("2"))));
    assert!(!holds(Compare::value(key("/k"), value("1"))));
    assert!(
        !holds(Compare::value(key("/x"), value(""))),
        "an absent key has no value"
    );
    let ordered = |op| Compare {
        key: key("/k"),
        target: CompareTarget::ModRevision(created),
        op,
    };
    assert!(holds(ordered(CompareOp::Greater)) && holds(ordered(CompareOp::NotEqual)));
    assert!(!holds(ordered(CompareOp::Less)) && !holds(ordered(CompareOp::Equal)));
}

fn a_branch_applies_as_a_whole(kv: Arc<dyn Kv>) {
    let txn = Txn::new()
        .when(Compare::absent(key("/a")))
        .and_then(Op::put(key("/a"), value("1")))
        .and_then(Op::Get(key("/a")))
        .and_then(Op::put(key("/b"), value("2")))
        .and_then(Op::GetRange {
            span: Span::prefix("/"),
            limit: 1,
        })
        .or_else(Op::Get(key("/b")));
    let reply = run(&kv, txn.clone());
    assert!(reply.succeeded);
    assert_eq!(
        reply.get(1).unwrap().value,
        value("1"),
        "a read sees the writes before it"
    );
    let OpReply::Range { entries, more } = &reply.responses[3] else {
        panic!("a range")
    };
    assert_eq!((names(entries), *more), (vec!["/a".to_string()], true));
    let both = wait(kv.range(Range::prefix("/"))).unwrap().entries;
    assert!(
        both.iter()
            .all(|stored| stored.mod_revision == reply.revision)
    );
    let second = run(&kv, txn);
    assert!(!second.succeeded);
    assert_eq!(
        second.revision, reply.revision,
        "a branch of reads is no change"
    );
    assert_eq!(second.get(0).unwrap().value, value("2"));
}

fn a_batch_is_atomic_one_by_one(kv: Arc<dyn Kv>) {
    put(&kv, "/taken", "x");
    let create = |name: &str| {
        Txn::new()
            .when(Compare::absent(key(name)))
            .and_then(Op::put(key(name), value("new")))
            .or_else(Op::Get(key(name)))
    };
    let reply = run(
        &kv,
        Txn::batch([create("/one"), create("/taken"), create("/two")]),
    );
    let nested: Vec<bool> = (0..3)
        .map(|index| reply.nested(index).unwrap().succeeded)
        .collect();
    assert_eq!(nested, [true, false, true]);
    assert_eq!(reply.nested(1).unwrap().get(0).unwrap().value, value("x"));
    let one = wait(kv.get(key("/one"))).unwrap().unwrap();
    let two = wait(kv.get(key("/two"))).unwrap().unwrap();
    assert_eq!(
        one.mod_revision, two.mod_revision,
        "one request, one revision"
    );
    // Compares see the state before the request, those of nested transactions too.
    let first = Txn::new().and_then(Op::put(key("/x"), value("1")));
    let second = Txn::new().when(Compare::exists(key("/x")));
    let reply = run(&kv, Txn::batch([first, second]));
    assert!(!reply.nested(1).unwrap().succeeded);
}

fn bad_requests_do_nothing(kv: Arc<dyn Kv>) {
    let before = wait(kv.range(Range::prefix("/"))).unwrap().revision;
    let a = || Op::put(key("/a"), value("1"));
    let bad = [
        Txn::new().and_then(a()).and_then(a()),
        Txn::new().and_then(a()).and_then(Op::Delete(key("/a"))),
        Txn::new().and_then(Op::delete_prefix("/")).and_then(a()),
        Txn::new().and_then(Op::put(key(""), value("1"))),
        Txn::new().when(Compare::exists(key(""))),
        Txn::batch([Txn::new().and_then(a()), Txn::new().and_then(a())]),
        Txn::batch([Txn::batch([Txn::new()])]),
    ];
    for txn in bad {
        let error = wait(kv.txn(txn.clone())).unwrap_err();
        assert!(
            matches!(error, KvError::Invalid { .. }),
            "{error} for {txn:?}"
        );
        assert!(!error.is_ambiguous() && !error.is_retriable());
    }
    let limits = kv.limits();
    if limits.operations_max < usize::MAX {
        let many = (0..=limits.operations_max).map(|n| Op::put(key(&format!("/{n}")), value("")));
        let txn = Txn {
            then: many.collect(),
            ..Txn::new()
        };
        assert!(matches!(
            wait(kv.txn(txn)),
            Err(KvError::TooLarge {
                unit: "operations",
                ..
            })
        ));
        let large = Value::from(vec![0; limits.bytes_max]);
        let txn = Txn::new().and_then(Op::put(key("/a"), large));
        assert!(matches!(
            wait(kv.txn(txn)),
            Err(KvError::TooLarge { unit: "bytes", .. })
        ));
    }
    assert_eq!(wait(kv.range(Range::prefix("/"))).unwrap().revision, before);
}

fn spans_delete_and_page(kv: Arc<dyn Kv>) {
    for number in 0..25 {
        put(&kv, &format!("/p/{number:02}"), "x");
    }
    put(&kv, "/q", "x");
    let mut range = Range::prefix("/p/").limit(10);
    let mut page = wait(kv.range(range.clone())).unwrap();
    let revision = page.revision;
    let mut seen = names(&page.entries);
    put(&kv, "/p/05x", "late");
    run(&kv, Txn::new().and_then(Op::Delete(key("/p/24"))));
    while let Some(next) = page.next(&range) {
        range = next;
        page = wait(kv.range(range.clone())).unwrap();
        assert_eq!(page.revision, revision, "all pages are of one state");
        seen.extend(names(&page.entries));
    }
    let expected: Vec<String> = (0..25).map(|number| format!("/p/{number:02}")).collect();
    assert_eq!(seen, expected);
    let now = wait(range_all(&kv, Span::prefix("/p/"))).unwrap();
    assert_eq!((now.entries.len(), now.more), (25, false));
    let span = Span::between(key("/p/10"), key("/p/20"));
    let reply = run(&kv, Txn::new().and_then(Op::DeleteSpan(span)));
    assert_eq!(reply.responses, [OpReply::Deleted { count: 10 }]);
    run(&kv, Txn::new().and_then(Op::delete_prefix("/p/")));
    assert_eq!(
        names(&wait(kv.range(Range::prefix("/"))).unwrap().entries),
        ["/q"]
    );
    let backward = Range {
        span: Span::between(key("/z"), key("/a")),
        limit: 0,
        at: None,
    };
    assert!(wait(kv.range(backward)).unwrap().entries.is_empty());
    let never = Range {
        at: Some(Revision(9_999)),
        ..Range::prefix("/")
    };
    assert!(matches!(
        wait(kv.range(never)),
        Err(KvError::Compacted { .. })
    ));
}

fn session_keys_go_with_their_session(kv: Arc<dyn Kv>) {
    let session = wait(kv.grant_session(TTL)).unwrap();
    let other = wait(kv.grant_session(TTL)).unwrap();
    assert_ne!(session, other);
    let bound = |name: &str| Op::put_bound(key(name), value("s"), session);
    run(
        &kv,
        Txn::new()
            .and_then(bound("/s/1"))
            .and_then(bound("/s/2"))
            .and_then(bound("/s/3")),
    );
    run(
        &kv,
        Txn::new().and_then(Op::put_bound(key("/o"), value("o"), other)),
    );
    assert_eq!(
        wait(kv.get(key("/s/1"))).unwrap().unwrap().session,
        Some(session)
    );
    // A put without the session sets the key free.
    let free = put(&kv, "/s/3", "free");
    assert!(wait(kv.keep_alive(session)).unwrap() >= TTL);
    wait(kv.revoke(session)).unwrap();
    let left = wait(kv.range(Range::prefix("/"))).unwrap();
    assert_eq!(names(&left.entries), ["/o", "/s/3"]);
    assert_eq!(
        left.revision,
        free.next(),
        "the end of a session is one change"
    );
    let gone = KvError::SessionGone { lease: session };
    assert_eq!(wait(kv.keep_alive(session)), Err(gone.clone()));
    let late = Txn::new()
        .and_then(Op::put(key("/x"), value("x")))
        .and_then(bound("/s/1"));
    assert_eq!(
        wait(kv.txn(late)),
        Err(gone),
        "a dead session writes nothing at all"
    );
    assert!(wait(kv.get(key("/x"))).unwrap().is_none());
    wait(kv.revoke(session)).unwrap();
    let unused = Txn::new()
        .when(Compare::exists(key("/none")))
        .and_then(bound("/s/1"));
    assert!(
        !run(&kv, unused).succeeded,
        "only the branch that runs needs its session"
    );
}

fn next(watch: &mut Watch) -> WatchBatch {
    wait(watch.next()).unwrap()
}

fn watches_deliver_in_order(kv: Arc<dyn Kv>) {
    let before = put(&kv, "/w/0", "early");
    put(&kv, "/w/1", "replayed");
    let mut watch = wait(kv.watch(Span::prefix("/w/"), before.next())).unwrap();
    put(&kv, "/else", "unseen");
    let session = wait(kv.grant_session(TTL)).unwrap();
    let two = Txn::new()
        .and_then(Op::put_bound(key("/w/2"), value("s"), session))
        .and_then(Op::Delete(key("/w/0")))
        .and_then(Op::put(key("/else"), value("unseen")));
    let revision = run(&kv, two).revision;
    wait(kv.revoke(session)).unwrap();
    let replayed = next(&mut watch);
    assert_eq!(
        (replayed.revision, replayed.events.len()),
        (before.next(), 1)
    );
    let both = next(&mut watch);
    assert_eq!(both.revision, revision);
    let WatchEvent::Put(stored) = &both.events[0] else {
        panic!("a put: {both:?}")
    };
    assert_eq!(
        (stored.mod_revision, stored.session),
        (revision, Some(session))
    );
    assert_eq!(both.events[1], WatchEvent::Delete { key: key("/w/0") });
    let ended = next(&mut watch);
    assert_eq!(ended.events, [WatchEvent::Delete { key: key("/w/2") }]);
    assert_eq!(watch.try_next(), Ok(None));
}

fn a_slow_watcher_must_read_again(kv: Arc<dyn Kv>) {
    let start = put(&kv, "/w/0", "x");
    let mut slow = wait(kv.watch(Span::prefix("/w/"), start.next())).unwrap();
    for number in 0..WATCH_QUEUE + 3 {
        put(&kv, &format!("/w/{number}"), "x");
    }
    // The queue overflows only if the changes arrive before the first is read.
    std::thread::sleep(SETTLE);
    for _ in 0..WATCH_QUEUE {
        next(&mut slow);
    }
    let missed = Revision(start.0 + WATCH_QUEUE as i64 + 1);
    let compacted = WatchError::Compacted { revision: missed };
    assert_eq!(wait(slow.next()), Err(compacted.clone()));
    assert_eq!(slow.try_next(), Err(compacted), "it never goes on");
    let read = wait(kv.range(Range::prefix("/w/"))).unwrap();
    let mut again = wait(kv.watch(Span::prefix("/w/"), read.revision.next())).unwrap();
    let late = put(&kv, "/w/z", "late");
    assert_eq!(next(&mut again).revision, late);
}

fn racing_writers_lose_no_update(kv: Arc<dyn Kv>) {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let add_one = |kv: &Arc<dyn Kv>| loop {
        let stored = wait(kv.get(key("/n"))).unwrap();
        let (count, revision) = stored.map_or((0, Revision::ZERO), |stored| {
            let text = std::str::from_utf8(stored.value.as_bytes())
                .unwrap()
                .to_string();
            (text.parse::<usize>().unwrap(), stored.mod_revision)
        });
        let txn = Txn::new()
            .when(Compare::mod_revision(key("/n"), revision))
            .and_then(Op::put(key("/n"), value(&(count + 1).to_string())));
        if run(kv, txn).succeeded {
            break;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| (0..EACH).for_each(|_| add_one(&kv)));
        }
    });
    let stored = wait(kv.get(key("/n"))).unwrap().unwrap();
    assert_eq!(stored.value, value(&(WRITERS * EACH).to_string()));
    assert_eq!(
        stored.mod_revision.0 - stored.create_revision.0 + 1,
        (WRITERS * EACH) as i64
    );
}

/// Runs every check on a side of its own.
macro_rules! conforms {
    ($side:ident: $($check:ident),* $(,)?) => {
        mod $side {
            $(#[test]
            fn $check() {
                let side = super::$side();
                super::$check(std::sync::Arc::clone(&side.kv));
            })*
        }
    };
}

macro_rules! conform {
    ($($side:ident),*) => {
        $(conforms! { $side:
            revisions_count_changes, compares_decide, a_branch_applies_as_a_whole,
            a_batch_is_atomic_one_by_one, bad_requests_do_nothing, spans_delete_and_page,
            session_keys_go_with_their_session, watches_deliver_in_order,
            a_slow_watcher_must_read_again, racing_writers_lose_no_update,
        })*
    };
}

conform!(embedded, simulated, etcd);
