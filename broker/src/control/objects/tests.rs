use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use store::DeleteResults;
use store::faulty::{Fault, FaultyStore, Operation, Rule};
use store::memory::MemoryStore;

use super::*;

const HEALTH: HealthConfig = HealthConfig {
    window: Duration::from_secs(60),
    latency: (Duration::from_millis(500), Duration::from_secs(2)),
    errors: (0.01, 0.05),
};

fn objects(store: impl ObjectStore) -> Objects {
    Objects::new(Arc::new(store), Arc::default(), 4, HEALTH)
}

fn faulty() -> FaultyStore<MemoryStore> {
    FaultyStore::without_clock(MemoryStore::new(), 1)
}

/// A store that asks for rests as scripted, and notes when it was asked. Clones share that.
#[derive(Debug, Clone, Default)]
struct Scripted {
    rests: Arc<Mutex<VecDeque<Duration>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Scripted {
    fn ask(&self) -> Option<Duration> {
        self.asked.lock().unwrap().push(Instant::now());
        self.rests.lock().unwrap().pop_front()
    }
}

impl ObjectStore for Scripted {
    fn put(
        &self,
        _: ObjectKey,
        _: Body,
        _: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        unreachable!("nothing is written")
    }

    fn get(&self, key: ObjectKey, _: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        let this = self.clone();
        Box::pin(async move {
            Err(match this.ask() {
                None => GetError::NotFound { key },
                retry_after => GetError::Throttled { key, retry_after },
            })
        })
    }

    fn head(&self, _: ObjectKey) -> StoreFuture<Result<ObjectMeta, store::HeadError>> {
        unreachable!("nothing is looked up")
    }

    fn list(&self, _: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        let this = self.clone();
        Box::pin(async move {
            this.ask();
            Ok(ListPage::default())
        })
    }

    fn delete(&self, _: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        unreachable!("nothing is deleted")
    }
}

#[tokio::test]
async fn one_budget_ends_the_retries_of_all_whose_callers_wait() {
    let faulty = faulty();
    faulty.add_rule(Rule::always(Operation::Get, Fault::ErrorBefore));
    faulty.add_rule(Rule::always(Operation::List, Fault::ErrorBefore));
    faulty.add_rule(Rule::always(Operation::Put, Fault::ErrorBefore));
    faulty.add_rule(Rule::always(Operation::Delete, Fault::ErrorBefore));
    let objects = objects(faulty.clone());
    let (body, none, d) = (Body::from(vec![1]), PutCondition::None, ["t/d".to_owned()]);
    // A hundred retries are paid for; each of these takes up to five.
    for _ in 0..10 {
        let (a, b, c, failed) = tokio::join!(
            objects.get("t/a", GetRange::Full),
            objects.list("t/b", None),
            objects.put("t/c", body.clone(), none.clone()),
            objects.delete(&d),
        );
        assert!(a.is_err() && b.is_err() && c.is_err() && failed == 1);
    }
    assert_eq!(objects.metrics.store_retries.get(), 100);
    assert_eq!(faulty.injected(), 4 * 10 + 100);
    // What succeeds brings retries back.
    faulty.clear();
    for _ in 0..5 {
        objects
            .put("t/c", body.clone(), none.clone())
            .await
            .unwrap();
    }
    faulty.add_rule(Rule::always(Operation::Get, Fault::ErrorBefore));
    assert!(objects.get("t/c", GetRange::Full).await.is_err());
    assert_eq!(objects.metrics.store_retries.get(), 101);
}

#[tokio::test]
async fn deletes_are_tried_again_for_what_is_left() {
    let faulty = faulty();
    let objects = objects(faulty.clone());
    let keys: Vec<String> = (0..4).map(|n| format!("t/k{n}")).collect();
    for key in &keys {
        let body = Body::from(vec![1]);
        objects.put(key, body, PutCondition::None).await.unwrap();
    }
    faulty.add_rule(
        Rule::always(Operation::Delete, Fault::ErrorBefore)
            .times(2)
            .prefix("t/k1"),
    );
    faulty.add_rule(Rule::always(Operation::Delete, Fault::Denied).prefix("t/k2"));
    assert_eq!(
        objects.delete(&keys).await,
        1,
        "the one that is refused for good"
    );
    assert_eq!(faulty.inner().objects().len(), 1);
    assert_eq!(objects.metrics.delete_errors.get(), 3);
}

/// While half of all reads fail, many are read all the same, and none of them twice.
#[tokio::test]
async fn many_reads_keep_what_they_have_while_others_fail() {
    let faulty = faulty();
    let objects = objects(faulty.clone());
    let keys: Vec<String> = (0..300).map(|n| format!("t/k{n}")).collect();
    for key in &keys {
        let body = Body::from(key.clone().into_bytes());
        objects.put(key, body, PutCondition::None).await.unwrap();
    }
    let half = Rule::always(Operation::Get, Fault::ErrorBefore).rate_ppm(500_000);
    faulty.add_rule(half);
    let (asked, objects) = (Mutex::new(0), &objects);
    let read = |key: String| {
        *asked.lock().unwrap() += 1;
        async move {
            objects
                .get(&key, GetRange::Full)
                .await
                .map(|found| found.bytes)
        }
    };
    let mut found = objects.read_all(keys.clone(), read).await.unwrap();
    found.sort();
    let mut expected = keys.clone();
    expected.sort();
    assert_eq!(found, expected);
    assert!(*asked.lock().unwrap() < 2 * keys.len(), "{asked:?}");
    // A store that gives nothing ends it, and so does a refusal.
    for fault in [Fault::ErrorBefore, Fault::Denied] {
        faulty.clear();
        faulty.add_rule(Rule::always(Operation::Get, fault));
        *asked.lock().unwrap() = 0;
        let all = objects.read_all(keys[..3].to_vec(), read).await;
        assert!(all.is_err());
        assert!(*asked.lock().unwrap() <= 3 * FRUITLESS_ROUNDS_MAX as usize);
    }
}

/// A 503 SlowDown holds for all: what comes later waits as long as the store has asked for.
#[tokio::test]
async fn when_one_is_told_to_slow_down_the_others_wait_as_well() {
    let store = Scripted::default();
    let rest = Duration::from_millis(700);
    store.rests.lock().unwrap().push_back(rest);
    let objects = objects(store.clone());
    let read = objects.get("t/a", GetRange::Full);
    let list = async {
        tokio::task::yield_now().await;
        objects.list("t/b", None).await.unwrap();
    };
    let (read, ()) = tokio::join!(read, list);
    assert!(
        matches!(read, Err(GetError::NotFound { .. })),
        "it was asked again: {read:?}"
    );
    let asked = store.asked.lock().unwrap().clone();
    let waited: Vec<Duration> = asked.iter().map(|at| *at - asked[0]).collect();
    assert_eq!(waited.len(), 3, "{waited:?}");
    assert!(
        waited[1..].iter().all(|waited| *waited >= rest),
        "{waited:?}"
    );
}
