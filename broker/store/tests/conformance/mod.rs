//! What every store must do, as one suite over the trait: run it against each side.
//!
//! Keys are made below a prefix of the caller's, so that it can run against a shared bucket.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use bytes::Bytes;
use store::{
    Body, DeleteResults, ETag, GetError, GetOutcome, GetRange, HeadError, ListPage, ListRequest,
    ObjectKey, ObjectStore, PutCondition, PutError,
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread: the smallest runtime there is.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => thread::park(),
        }
    }
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

/// A store with blocking calls below one prefix.
pub(crate) struct Subject {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: String,
}

impl Subject {
    pub(crate) fn key(&self, name: &str) -> ObjectKey {
        key(&format!("{}{name}", self.prefix))
    }

    pub(crate) fn put(
        &self,
        name: &str,
        body: &str,
        condition: PutCondition,
    ) -> Result<ETag, PutError> {
        let body = Body::from(Bytes::copy_from_slice(body.as_bytes()));
        wait(self.store.put(self.key(name), body, condition)).map(|outcome| outcome.etag)
    }

    pub(crate) fn get(&self, name: &str, range: GetRange) -> Result<GetOutcome, GetError> {
        wait(self.store.get(self.key(name), range))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.get(name, GetRange::Full).unwrap().bytes.to_vec()).unwrap()
    }

    pub(crate) fn delete(&self, names: &[&str]) -> DeleteResults {
        wait(
            self.store
                .delete(names.iter().map(|name| self.key(name)).collect()),
        )
    }

    pub(crate) fn page(&self, request: ListRequest) -> ListPage {
        let request = ListRequest {
            prefix: format!("{}{}", self.prefix, request.prefix),
            ..request
        };
        wait(self.store.list(request)).unwrap()
    }

    /// All names below a prefix, page by page.
    pub(crate) fn names(&self, prefix: &str, limit: usize) -> Vec<String> {
        let mut request = ListRequest::new(format!("{}{prefix}", self.prefix)).limit(limit);
        let mut names = Vec::new();
        for _ in 0..10_000 {
            let page = wait(self.store.list(request.clone())).unwrap();
            assert!(page.objects.len() <= limit);
            names.extend(
                page.objects
                    .iter()
                    .map(|meta| meta.key.as_str()[self.prefix.len()..].into()),
            );
            match request.next(&page) {
                Some(next) => request = next,
                None => return names,
            }
        }
        panic!("a LIST that never ends");
    }
}

/// The whole suite.
pub(crate) fn run(store: Arc<dyn ObjectStore>, prefix: &str) {
    let subject = |name: &str| Subject {
        store: Arc::clone(&store),
        prefix: format!("{prefix}{name}/"),
    };
    one_of_many_creations_wins(&subject("race"));
    creation_shows_at_once(&subject("create"));
    ranges(&subject("ranges"));
    chunked_bodies(&subject("chunks"));
    if_match(&subject("match"));
    one_of_many_replacements_wins(&subject("replace"));
    deletion(&subject("delete"));
    listing(&subject("list"));
    paging(&subject("pages"));
    hostile_prefixes(&subject("hostile"));
}

fn one_of_many_creations_wins(subject: &Subject) {
    const RIVALS: usize = 16;
    for round in 0..4 {
        let name = format!("k{round}");
        let barrier = Barrier::new(RIVALS);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let rival = |number: usize| {
                let (name, barrier) = (&name, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let outcome =
                        subject.put(name, &format!("by {number}"), PutCondition::IfAbsent);
                    let listed = subject.names(name, 1000).len();
                    (number, outcome, listed)
                })
            };
            let threads: Vec<_> = (0..RIVALS).map(rival).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let winners: Vec<_> = outcomes
            .iter()
            .filter(|(_, outcome, _)| outcome.is_ok())
            .collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert_eq!(subject.text(&name), format!("by {}", winners[0].0));
        for (_, outcome, listed) in &outcomes {
            assert_eq!(*listed, 1, "LIST sees the object once any PUT has answered");
            if let Err(error) = outcome {
                assert!(matches!(error, PutError::AlreadyExists { .. }), "{error}");
                assert!(!error.retriable() && !error.outcome_unknown());
            }
        }
    }
}

fn creation_shows_at_once(subject: &Subject) {
    let absent = subject.get("a", GetRange::Full).unwrap_err();
    assert!(matches!(absent, GetError::NotFound { .. }), "{absent}");
    assert!(matches!(
        wait(subject.store.head(subject.key("a"))),
        Err(HeadError::NotFound { .. })
    ));
    let etag = subject.put("a", "one", PutCondition::IfAbsent).unwrap();
    let head = wait(subject.store.head(subject.key("a"))).unwrap();
    assert_eq!(
        (head.len, &head.etag, &head.key),
        (3, &etag, &subject.key("a"))
    );
    let listed = subject.page(ListRequest::new(""));
    assert_eq!(listed.objects, vec![head]);
    assert_eq!(listed.next_start_after, None);
    let found = subject.get("a", GetRange::Full).unwrap();
    assert_eq!(
        (&found.bytes[..], found.object_len, &found.etag),
        (&b"one"[..], 3, &etag)
    );
    let replaced = subject.put("a", "two", PutCondition::None).unwrap();
    assert_ne!(replaced, etag, "another content, another etag");
    assert_eq!(subject.text("a"), "two");
    assert!(subject.put("a", "three", PutCondition::IfAbsent).is_err());
    subject
        .put("deep/er/and/deeper/x", "x", PutCondition::IfAbsent)
        .unwrap();
    assert_eq!(subject.names("", 1000), vec!["a", "deep/er/and/deeper/x"]);
}

fn ranges(subject: &Subject) {
    subject.put("r", "0123456789", PutCondition::None).unwrap();
    let read = |range| {
        subject.get("r", range).map(|found| {
            assert_eq!(found.object_len, 10);
            String::from_utf8(found.bytes.to_vec()).unwrap()
        })
    };
    assert_eq!(read(GetRange::Range(0..4)).unwrap(), "0123");
    assert_eq!(read(GetRange::Range(4..10)).unwrap(), "456789");
    assert_eq!(read(GetRange::Range(8..99)).unwrap(), "89");
    assert_eq!(read(GetRange::Range(9..u64::MAX)).unwrap(), "9");
    assert_eq!(read(GetRange::Suffix(3)).unwrap(), "789");
    assert_eq!(read(GetRange::Suffix(99)).unwrap(), "0123456789");
    let inverted = GetRange::Range(std::ops::Range { start: 5, end: 2 });
    for range in [
        GetRange::Range(10..12),
        GetRange::Range(3..3),
        inverted,
        GetRange::Suffix(0),
    ] {
        let error = read(range.clone()).unwrap_err();
        let refused = matches!(error, GetError::RangeNotSatisfiable { .. });
        assert!(refused && !error.retriable(), "{range:?}: {error}");
    }
    subject.put("empty", "", PutCondition::IfAbsent).unwrap();
    assert_eq!(subject.text("empty"), "");
    assert!(subject.get("empty", GetRange::Suffix(1)).is_err());
}

fn chunked_bodies(subject: &Subject) {
    let mut chunks = vec![Bytes::new()];
    chunks.extend((0..3000_u32).map(|n| Bytes::from(n.to_le_bytes()[..(n % 4) as usize].to_vec())));
    chunks.push(Bytes::from(vec![7; 300_000]));
    let body = Body::new(chunks);
    let whole = body.to_bytes();
    assert_eq!(whole.len() as u64, body.len());
    let body = body.clone().with_crc32(body.compute_crc32());
    wait(
        subject
            .store
            .put(subject.key("c"), body, PutCondition::IfAbsent),
    )
    .unwrap();
    let found = subject.get("c", GetRange::Full).unwrap();
    assert!(found.bytes == whole, "chunks arrive whole and in order");
}

fn if_match(subject: &Subject) {
    let stale = ETag::new("\"0\"");
    let absent = subject
        .put("m", "x", PutCondition::IfMatch(stale))
        .unwrap_err();
    assert!(matches!(absent, PutError::NotFound { .. }), "{absent}");
    let first = subject.put("m", "one", PutCondition::IfAbsent).unwrap();
    let second = subject
        .put("m", "two", PutCondition::IfMatch(first.clone()))
        .unwrap();
    let refused = subject
        .put("m", "six", PutCondition::IfMatch(first))
        .unwrap_err();
    assert!(matches!(refused, PutError::Mismatch { .. }), "{refused}");
    assert_eq!(subject.text("m"), "two");
    subject
        .put("m", "two", PutCondition::IfMatch(second))
        .unwrap();
}

fn one_of_many_replacements_wins(subject: &Subject) {
    let mut etag = subject.put("m", "start", PutCondition::IfAbsent).unwrap();
    for round in 0..8 {
        let outcomes: Vec<_> = thread::scope(|scope| {
            let rival = |number: usize| {
                let condition = PutCondition::IfMatch(etag.clone());
                // Never the same content twice: in S3 it has the same ETag.
                let body = format!("{round} {number}");
                scope.spawn(move || subject.put("m", &body, condition))
            };
            let threads: Vec<_> = (0..4).map(rival).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut winners = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok());
        let winner = winners.next().expect("one wins").clone();
        assert!(winners.next().is_none(), "{outcomes:?}");
        assert_ne!(winner, etag);
        assert_eq!(subject.get("m", GetRange::Full).unwrap().etag, winner);
        etag = winner;
    }
}

fn deletion(subject: &Subject) {
    for name in ["a", "b/c", "b/d"] {
        subject.put(name, "x", PutCondition::IfAbsent).unwrap();
    }
    let results = subject.delete(&["b/c", "never", "a"]);
    let keys: Vec<_> = results.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(
        keys,
        vec![subject.key("b/c"), subject.key("never"), subject.key("a")]
    );
    assert!(
        results.iter().all(|(_, result)| result.is_ok()),
        "{results:?}"
    );
    assert_eq!(subject.names("", 1000), vec!["b/d"]);
    assert!(
        subject
            .delete(&["b/c", "b/d"])
            .iter()
            .all(|(_, result)| result.is_ok())
    );
    assert!(subject.names("", 1000).is_empty());
    subject.put("b/c", "again", PutCondition::IfAbsent).unwrap();
    assert_eq!(subject.text("b/c"), "again");
    assert!(subject.delete(&[]).is_empty());
}

/// Names whose order by bytes differs from a walk of directories.
const NAMES: [&str; 9] = [
    "a-b/x", "a.b", "a/x", "a/y/z", "a0", "a@1/x", "ab/x", "b", "\u{e4}/x",
];

fn listing(subject: &Subject) {
    for name in NAMES.iter().rev() {
        subject.put(name, "x", PutCondition::IfAbsent).unwrap();
    }
    let mut sorted = NAMES.to_vec();
    sorted.sort_unstable();
    for limit in [1, 2, 3, 1000] {
        assert_eq!(subject.names("", limit), sorted);
    }
    assert_eq!(subject.names("a/", 10), vec!["a/x", "a/y/z"]);
    assert_eq!(subject.names("a/y", 10), vec!["a/y/z"]);
    assert_eq!(subject.names("a", 2).len(), 7);
    assert!(subject.names("c", 10).is_empty());
    for after in sorted
        .iter()
        .copied()
        .chain(["", "a", "a/", "a/y", "a/zz", "a/y/zz", "zzz"])
    {
        let request = ListRequest::new("").start_after(subject.prefix.clone() + after);
        let page = subject.page(request);
        let expected = sorted.iter().filter(|name| **name > after).count();
        assert_eq!(page.objects.len(), expected, "after {after:?}");
    }
    let early = subject.page(ListRequest::new("a/").start_after("!"));
    assert_eq!(early.objects.len(), 2, "a start before the prefix");
}

fn paging(subject: &Subject) {
    let names: Vec<String> = (0..25).map(|n| format!("{n:020}.wal")).collect();
    for name in &names {
        subject.put(name, "x", PutCondition::IfAbsent).unwrap();
    }
    assert_eq!(subject.names("", 5), names, "the last page is full");
    assert_eq!(subject.names("", 7), names);
    let page = subject.page(ListRequest::new("").limit(25));
    assert_eq!((page.objects.len(), page.next_start_after), (25, None));
    let page = subject.page(ListRequest::new("").limit(0));
    assert_eq!(page.objects.len(), 1, "a limit is at least 1");
}

/// Nothing is found; a store may refuse what it does not take for a key (MinIO, `..`).
fn hostile_prefixes(subject: &Subject) {
    subject.put("x", "x", PutCondition::IfAbsent).unwrap();
    for prefix in [
        "../", "..", "/", "//", "./", ".tmp/", "/etc/", "a/../", "\0/", "lock",
    ] {
        match wait(subject.store.list(ListRequest::new(prefix))) {
            Ok(page) => assert!(page.objects.is_empty(), "{prefix:?}: {page:?}"),
            Err(error) => assert!(!error.retriable(), "{prefix:?}: {error}"),
        }
    }
}
