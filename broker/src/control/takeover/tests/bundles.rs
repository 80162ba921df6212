//! What a takeover costs: bundles of directories, narrow sources; and fences against a session that
//! outruns them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::super::directories::{BUNDLE_OBJECTS, Bundler};
use super::super::super::testing::HEALTH;
use super::*;
use crate::metrics::ControlMetrics;
use store::{
    DeleteResults, GetError, GetOutcome, GetRange, HeadError, ListError, ListPage, ListRequest,
    ObjectKey, ObjectMeta, ObjectStore, PutOutcome, StoreFuture,
};

/// Partition 0 has one record in each of `count` objects, partition 1 in the fifth alone.
async fn flushed(world: &World, session: Session, count: u64, bundled: bool) {
    let owner = Owner {
        session: session.id,
        broker: session.broker,
    };
    let mut bundler = Bundler::new(owner, world.keys.clone());
    for sequence in 1..=count {
        let mut sections = vec![(0, sequence as i64 - 1, 1)];
        sections.extend((sequence == 5).then_some((1, 0, 1)));
        let tail = world.flush_with_tail(session, sequence, &sections).await;
        if let Some(bundle) = bundler.add(WalSequence::new(sequence), tail)
            && bundled
        {
            assert!(bundle.write(&world.objects).await);
        }
    }
}

fn gets(world: &World) -> u64 {
    world.metrics.gets.get()
}

#[tokio::test]
async fn a_taker_reads_bundles_and_only_the_rest_one_by_one() {
    for (bundled, most) in [(false, 210), (true, 3 + 200 - 3 * BUNDLE_OBJECTS + 5)] {
        let world = World::new().await;
        let old = world.session(0).await;
        world.take(old, &[0, 1]).await;
        flushed(&world, old, 200, bundled).await;
        world.die(old).await;
        let new = world.session(1).await;
        let before = gets(&world);
        assert_eq!(
            ends(&world.take(new, &[0, 1]).await),
            [(0, 200), (1, 1)],
            "bundled: {bundled}"
        );
        let read = gets(&world) - before;
        assert!(read <= most, "{read} reads, bundled: {bundled}");
        assert_eq!(world.fences(), [(old.id, 201)]);
    }
}

#[tokio::test]
async fn what_a_taker_read_one_by_one_it_leaves_bundled_for_the_next() {
    let world = World::new().await;
    let old = world.session(0).await;
    world.take(old, &[0]).await;
    flushed(&world, old, 200, false).await;
    world.die(old).await;
    let middle = world.session(1).await;
    for bundle in world.take(middle, &[0]).await.bundles {
        assert!(bundle.write(&world.objects).await);
    }
    world.die(middle).await;
    let new = world.session(2).await;
    let before = gets(&world);
    assert_eq!(ends(&world.take(new, &[0]).await), [(0, 200)]);
    let read = gets(&world) - before;
    assert!(read < 20, "{read} reads");
}

#[tokio::test]
async fn a_lost_or_damaged_object_is_noticed_behind_a_bundle_and_a_damaged_bundle_is_no_loss() {
    let world = World::new().await;
    let old = world.session(0).await;
    world.take(old, &[0]).await;
    flushed(&world, old, 130, true).await;
    let [first, second] = [(1, 64), (65, 128)].map(|(first, last)| {
        let (first, last) = (WalSequence::new(first), WalSequence::new(last));
        world.keys.wal_directories(old.broker, old.id, first, last)
    });
    let damaged = Body::from(Bytes::from_static(b"KDIR"));
    let put = world.objects.put(&first, damaged, PutCondition::None);
    put.await.unwrap();
    world.die(old).await;
    let middle = world.session(1).await;
    assert_eq!(ends(&world.take(middle, &[0]).await), [(0, 130)]);
    let lost = world.keys.wal(old.broker, old.id, WalSequence::new(100));
    assert_eq!(world.objects.delete(std::slice::from_ref(&lost)).await, 0);
    let kept = world.store.objects();
    assert!(kept.iter().any(|(key, _)| key.as_str() == second));
    world.die(middle).await;
    let new = world.session(2).await;
    let takeover = world.take(new, &[0]).await;
    assert!(takeover.taken.is_empty());
    let (_, error) = &takeover.refused[0];
    assert!(error.to_string().contains("100"), "{error}");
}

#[tokio::test]
async fn sources_are_narrowed_to_the_objects_that_hold_something() {
    let world = World::new().await;
    let old = world.session(0).await;
    world.take(old, &[0, 1]).await;
    flushed(&world, old, 200, true).await;
    world.die(old).await;
    let new = world.session(1).await;
    world.take(new, &[0, 1]).await;
    let records = world.records().await;
    let spans = |index| {
        let sources = &records[&world.id(index)].record.sources;
        let span = |source: &Source| {
            let end = source.end_sequence.map(WalSequence::get);
            (source.session, source.first_sequence.get(), end)
        };
        sources.iter().map(span).collect::<Vec<_>>()
    };
    let ours = (new.id, 1, None);
    assert_eq!(spans(0), [(old.id, 1, Some(201)), ours]);
    assert_eq!(spans(1), [(old.id, 5, Some(6)), ours]);
    world.die(new).await;
    let last = world.session(2).await;
    let before = gets(&world);
    assert_eq!(ends(&world.take(last, &[1]).await), [(1, 1)]);
    let read = gets(&world) - before;
    assert!(read <= 4, "{read} reads for one section");
}

/// A store in which a zombie writes its next object whenever somebody is about to fence it there,
/// until it meets a fence.
#[derive(Debug, Clone)]
struct Outrunning {
    inner: MemoryStore,
    keys: KeySpace,
    zombie: Session,
    next: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

impl ObjectStore for Outrunning {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        let this = self.clone();
        Box::pin(async move {
            let sequence = WalSequence::new(this.next.load(Ordering::Relaxed));
            let (broker, id) = (this.zombie.broker, this.zombie.id);
            if key.as_str() == this.keys.wal(broker, id, sequence) {
                let object = encode(WalHeader::empty(broker, id, sequence, None), Vec::new());
                let put = this
                    .inner
                    .put(key.clone(), Body::new(object.chunks), condition.clone());
                if put.await.is_ok() {
                    this.lost.fetch_add(1, Ordering::Relaxed);
                    // Its next flush takes a moment: what is PUT at the same time comes first.
                    tokio::task::yield_now().await;
                    this.next.fetch_add(1, Ordering::Relaxed);
                }
            }
            this.inner.put(key, body, condition).await
        })
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        self.inner.get(key, range)
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        self.inner.head(key)
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        self.inner.list(request)
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        self.inner.delete(keys)
    }
}

/// H19: one fence at a time would lose every race; several at once end it, at the lowest.
#[tokio::test]
async fn h19_a_session_that_outruns_a_fence_is_ended_by_several_at_once() {
    let world = World::new().await;
    let old = world.session(0).await;
    world.take(old, &[0]).await;
    world.flush(old, 1, &[(0, 0, 1)]).await.unwrap();
    world.die(old).await;
    let new = world.session(1).await;
    let lost = Arc::new(AtomicU64::new(0));
    let racing = Outrunning {
        inner: world.store.clone(),
        keys: world.keys.clone(),
        zombie: old,
        next: Arc::new(AtomicU64::new(2)),
        lost: lost.clone(),
    };
    let metrics: Arc<ControlMetrics> = Arc::default();
    let world = World {
        objects: Objects::new(Arc::new(racing), metrics.clone(), 64, HEALTH),
        metrics,
        ..world
    };
    let took = tokio::time::timeout(std::time::Duration::from_secs(20), world.take(new, &[0]));
    assert_eq!(ends(&took.await.expect("it is ended")), [(0, 1)]);
    assert!(
        (1..64).contains(&lost.load(Ordering::Relaxed)),
        "the zombie won {} races",
        lost.load(Ordering::Relaxed)
    );
    let lowest = world.fences().into_iter().map(|(_, at)| at).min();
    let written = world.store.objects().into_iter();
    let written = written.filter_map(|(_, bytes)| WalTrailer::parse(&bytes).ok());
    let empty = written.filter(|trailer| trailer.header.kind == WalKind::Empty);
    let highest = empty.map(|trailer| trailer.header.sequence.get()).max();
    assert!(
        lowest > highest,
        "nothing of the zombie lies behind the lowest fence"
    );
}
