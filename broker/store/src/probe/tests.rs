//! The probe on stores that are sound, that fail, and that lie.

use futures_util::FutureExt;

use super::*;
use crate::faulty::{Fault, FaultyStore, Operation, Rule};
use crate::memory::MemoryStore;
use crate::object::{GetOutcome, ListPage, ObjectMeta, PutOutcome};
use crate::{DeleteResults, StoreFuture};

fn run(store: impl ObjectStore) -> Result<ProbeReport, ProbeError> {
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    probe(&store, "kafscale-wal/default/", "7f3a")
        .now_or_never()
        .expect("stores in memory are always ready")
}

const SOUND: ProbeReport = ProbeReport {
    conditional: true,
    if_match: true,
    list_is_consistent: true,
    problems: Vec::new(),
};

/// Which promise a store breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    IgnoresIfAbsent,
    IgnoresIfMatch,
    RefusesIfMatch,
    TwoWinners,
    RefusesIfAbsent,
    ListsNothing,
    ListsTheDeleted,
    AnotherBody,
}

#[derive(Debug, Clone)]
struct Liar {
    inner: MemoryStore,
    lie: Lie,
    /// Objects when they were first listed: what a cached listing goes on to show.
    shown: Arc<std::sync::Mutex<Vec<ObjectMeta>>>,
}

impl Liar {
    fn new(lie: Lie) -> Self {
        Self {
            inner: MemoryStore::new(),
            lie,
            shown: Arc::default(),
        }
    }
}

impl ObjectStore for Liar {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        let second = body.to_bytes().ends_with(b"rival 9");
        let condition = match (condition, self.lie) {
            (PutCondition::IfAbsent, Lie::IgnoresIfAbsent) => PutCondition::None,
            (PutCondition::IfAbsent, Lie::TwoWinners) if second => PutCondition::None,
            (PutCondition::IfMatch(_), Lie::IgnoresIfMatch) => PutCondition::None,
            (PutCondition::IfMatch(_), Lie::RefusesIfMatch) => {
                return Box::pin(async { Err(PutError::Mismatch { key }) });
            }
            (PutCondition::IfAbsent, Lie::RefusesIfAbsent) => {
                let reason = "status 501, NotImplemented".to_owned();
                return Box::pin(async { Err(PutError::Denied { key, reason }) });
            }
            (condition, _) => condition,
        };
        self.inner.put(key, body, condition)
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        let get = self.inner.get(key, range);
        let lies = self.lie == Lie::AnotherBody;
        Box::pin(async move {
            let mut found = get.await?;
            if lies {
                found.bytes = found.bytes.slice(1..);
            }
            Ok(found)
        })
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        self.inner.head(key)
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        let list = self.inner.list(request);
        let (lie, shown) = (self.lie, Arc::clone(&self.shown));
        Box::pin(async move {
            let mut page = list.await?;
            let mut shown = shown.lock().unwrap();
            match lie {
                Lie::ListsNothing => page.objects.clear(),
                Lie::ListsTheDeleted if page.objects.is_empty() => page.objects = shown.clone(),
                _ => *shown = page.objects.clone(),
            }
            Ok(page)
        })
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        self.inner.delete(keys)
    }
}

#[test]
fn a_sound_store_passes_and_nothing_is_left() {
    let store = MemoryStore::new();
    assert_eq!(run(store.clone()), Ok(SOUND));
    assert!(store.objects().is_empty());
    assert_eq!(run(FaultyStore::without_clock(store, 1)), Ok(SOUND));
}

#[test]
fn other_objects_are_left_alone() {
    let store = MemoryStore::new();
    let key = ObjectKey::new("kafscale-wal/default/0/x.wal").unwrap();
    let put = store.put(key.clone(), Body::from(vec![1]), PutCondition::None);
    put.now_or_never().unwrap().unwrap();
    assert_eq!(run(store.clone()), Ok(SOUND));
    assert_eq!(store.objects().len(), 1);
}

#[test]
fn stores_that_break_a_promise_are_caught() {
    for (lie, expected, text) in [
        (
            Lie::IgnoresIfAbsent,
            (false, true, true),
            "16 of 16 creations",
        ),
        (Lie::TwoWinners, (false, true, true), "2 of 16 creations"),
        (Lie::RefusesIfAbsent, (false, true, true), "NotImplemented"),
        (Lie::IgnoresIfMatch, (true, false, true), "wrong ETag"),
        (Lie::RefusesIfMatch, (true, false, true), "right ETag"),
        (Lie::ListsNothing, (true, true, false), "does not show"),
        (Lie::ListsTheDeleted, (true, true, false), "deletion"),
    ] {
        let store = Liar::new(lie);
        let report = run(store.clone()).unwrap();
        let found = (
            report.conditional,
            report.if_match,
            report.list_is_consistent,
        );
        assert_eq!(found, expected, "{lie:?}: {report:?}");
        let problems = report.problems.join("\n");
        assert!(problems.contains(text), "{lie:?}: {problems}");
        assert!(store.inner.objects().is_empty(), "{lie:?} leaves objects");
    }
    let error = run(Liar::new(Lie::AnotherBody)).unwrap_err();
    assert!(matches!(error, ProbeError::Differs { .. }), "{error}");
}

#[test]
fn a_refusal_names_the_permission_and_the_setting() {
    for (operation, permission) in [
        (Operation::List, "s3:ListBucket"),
        (Operation::Put, "s3:PutObject"),
        (Operation::Get, "s3:GetObject"),
        (Operation::Head, "s3:GetObject"),
        (Operation::Delete, "s3:DeleteObject"),
    ] {
        let memory = MemoryStore::new();
        let store = FaultyStore::without_clock(memory.clone(), 1);
        store.add_rule(Rule::always(operation, Fault::Denied));
        let error = run(store).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(permission), "{operation:?}: {text}");
        assert!(text.contains("KAFSCALE_S3_BUCKET"), "{operation:?}: {text}");
        assert!(!error.retriable(), "{text}");
        let left = memory.objects().len();
        assert!(left == 0 || operation == Operation::Delete, "{operation:?}");
    }
}

#[test]
fn what_may_pass_is_not_taken_for_a_broken_promise() {
    for operation in [
        Operation::List,
        Operation::Put,
        Operation::Get,
        Operation::Delete,
    ] {
        let store = FaultyStore::without_clock(MemoryStore::new(), 1);
        store.add_rule(Rule::always(operation, Fault::UnknownBefore));
        let error = run(store).unwrap_err();
        assert!(error.retriable(), "{operation:?}: {error}");
    }
}

#[test]
fn a_prefix_that_makes_no_key_is_refused() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    for (prefix, token) in [("../", "x"), ("a//", "x"), ("a/", "x\n")] {
        let error = probe(&store, prefix, token).now_or_never().unwrap();
        assert!(matches!(error, Err(ProbeError::Key { .. })), "{prefix:?}");
    }
}
