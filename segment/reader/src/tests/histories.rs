//! Random histories against an oracle: readers that begin anywhere, readers that go on while the
//! history does, and readers under which it goes on between any two of their requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use coord::keys::cluster::CommitMode;
use coord::kv::wait;
use proptest::prelude::*;
use segment::batch::Codec;
use segment::{Offset, TimestampMs};
use store::{
    Body, DeleteResults, GetError, GetOutcome, GetRange, HeadError, ListError, ListPage,
    ListRequest, ObjectKey, ObjectMeta, ObjectStore, PutCondition, PutError, PutOutcome,
    StoreFuture,
};

use super::world::{World, read_all, time_of};
use crate::{Bucket, PartitionReader, ReadError, ReaderOptions, Run};

/// Something that brokers do: each is one step that a reader may see.
#[derive(Debug, Clone)]
enum Step {
    Flush(Vec<(usize, Codec)>, bool),
    OutOfOrder(u64),
    FlushAndDie,
    Release(bool),
    TakeBegin(bool),
    Fence,
    TakeEnd(bool),
    Compact(usize),
    Collect,
    Bundle,
    Merge(usize, usize, bool),
    Rewrite(usize, i64, bool),
    RaiseLogStart(usize, bool),
    Expire,
    Manifests(bool),
}

fn step(world: &mut World, step: &Step) {
    match step {
        Step::Flush(batches, own) => world.flush(batches, *own),
        Step::OutOfOrder(count) => world.flush_out_of_order(*count),
        Step::FlushAndDie => world.flush_and_die(),
        Step::Release(narrows) => world.release(*narrows),
        Step::TakeBegin(again) => world.take_begin(*again),
        Step::Fence => world.fence(),
        Step::TakeEnd(narrows) => world.take_end(*narrows),
        Step::Compact(sections) => world.compact(*sections),
        Step::Collect => world.collect(),
        Step::Bundle => world.bundle(),
        Step::Merge(from, count, index) => world.merge(*from, *count, *index),
        Step::Rewrite(at, drops, index) => world.rewrite(*at, *drops, *index),
        Step::RaiseLogStart(part, sweeps) => {
            let to = world.end.get() * *part as i64 / 10;
            world.raise_log_start(Offset::new(to), *sweeps);
        }
        Step::Expire => world.expire(),
        Step::Manifests(has) => world.has_manifest = *has,
    }
}

fn batches() -> impl Strategy<Value = Vec<(usize, Codec)>> {
    let codec = proptest::sample::select(Codec::ALL.to_vec());
    proptest::collection::vec((1..6_usize, codec), 1..4)
}

/// What goes together, in order.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flush =
        (batches(), any::<bool>()).prop_map(|(batches, own)| vec![Step::Flush(batches, own)]);
    let others = (1..4_usize).prop_map(|count| vec![Step::Flush(Vec::new(), false); count]);
    let flags = (any::<bool>(), any::<bool>(), 0..4_u64);
    let taken = flags.prop_map(|(narrows, flushes, ahead)| {
        let mut steps = Vec::new();
        if flushes {
            steps.push(Step::FlushAndDie);
        }
        if ahead > 0 && !flushes {
            steps.push(Step::OutOfOrder(ahead));
        }
        steps.extend([Step::TakeBegin(false), Step::Fence, Step::TakeEnd(narrows)]);
        steps
    });
    let crashes = any::<bool>().prop_map(|narrows| {
        // The taker dies, too, before it has closed anything.
        let again = [Step::TakeBegin(false), Step::Fence, Step::TakeEnd(narrows)];
        let mut steps = vec![Step::TakeBegin(false)];
        steps.extend(again);
        steps
    });
    let released = (any::<bool>(), any::<bool>()).prop_map(|(narrows, again)| {
        vec![
            Step::Release(narrows),
            Step::TakeBegin(again),
            Step::TakeEnd(narrows),
        ]
    });
    let merge = (0..4_usize, 0..3_usize, any::<bool>());
    let rewrite = (0..4_usize, 2..5_i64, any::<bool>());
    prop_oneof![
        6 => flush,
        1 => others,
        2 => taken,
        1 => crashes,
        2 => released,
        4 => (1..5_usize).prop_map(|sections| vec![Step::Compact(sections)]),
        2 => Just(vec![Step::Collect]),
        1 => Just(vec![Step::Bundle]),
        1 => merge.prop_map(|(from, count, index)| vec![Step::Merge(from, count, index)]),
        1 => rewrite.prop_map(|(at, drops, index)| vec![Step::Rewrite(at, drops, index)]),
        1 => (0..10_usize, any::<bool>())
            .prop_map(|(part, sweeps)| vec![Step::RaiseLogStart(part, sweeps)]),
        1 => Just(vec![Step::Expire]),
        1 => any::<bool>().prop_map(|has| vec![Step::Manifests(has)]),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(steps(), 1..30).prop_map(|steps| steps.concat())
}

fn mode() -> impl Strategy<Value = CommitMode> {
    prop_oneof![
        3 => Just(CommitMode::Conditional),
        1 => Just(CommitMode::Guarded),
    ]
}

/// Checks a run against the oracle as it is now.
fn check_run(world: &World, run: &Run) {
    let range = run.position.get()..run.next.get();
    assert!(!range.is_empty());
    let mut next = range.start;
    let mut live = world.live.range(range.clone()).peekable();
    for record in run.records() {
        let record = record.unwrap();
        let offset = record.offset.get();
        assert!(
            next <= offset && offset < range.end,
            "{offset} of {range:?}"
        );
        next = offset + 1;
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        assert_eq!(
            world.ever.get(&offset),
            Some(&value),
            "offset {offset} never was that"
        );
        assert_eq!(record.timestamp, time_of(offset));
        if live.peek().is_some_and(|(live, _)| **live == offset) {
            live.next();
        }
        assert!(
            live.peek().is_none_or(|(live, _)| **live > offset),
            "passed {:?}, read {offset}",
            live.peek()
        );
    }
    assert_eq!(live.next(), None, "the rest of {range:?} was passed over");
}

/// Reads one run, or is told that records are gone, or that there is no more.
fn read_once(world: &World, reader: &mut PartitionReader) -> bool {
    read_outcome(world, wait(reader.next()), reader)
}

fn read_outcome(
    world: &World,
    outcome: Result<Option<Run>, ReadError>,
    reader: &mut PartitionReader,
) -> bool {
    match outcome {
        Ok(Some(run)) => {
            check_run(world, &run);
            assert_eq!(reader.position(), Some(run.next));
            true
        }
        Ok(None) => false,
        Err(ReadError::LogStartPassed {
            position,
            log_start,
        }) => {
            assert_eq!(reader.position(), Some(position));
            assert!(position < log_start && log_start <= world.log_start());
            reader.seek(log_start);
            true
        }
        Err(error) => panic!("{error}"),
    }
}

/// Everything that can be asked of the history as it is now.
fn check_all(world: &World, run_bytes: u64) {
    let bounds = wait(world.reader(run_bytes).bounds()).unwrap();
    assert_eq!(bounds.log_start, world.log_start());
    assert_eq!(bounds.end, world.end);
    assert_eq!(bounds.compacted_end, world.record.compacted_end);
    assert_eq!(read_all(&mut world.reader(run_bytes)).unwrap(), world.live);
    let mut reader = world.reader(run_bytes);
    for from in world.log_start().get()..=world.end.get() {
        reader.seek(Offset::new(from));
        let expected = world.live.range(from..);
        let expected = expected
            .map(|(offset, value)| (*offset, value.clone()))
            .collect();
        assert_eq!(read_all(&mut reader).unwrap(), expected, "from {from}");
    }
    if world.log_start() > Offset::ZERO {
        let mut reader = world.reader(run_bytes);
        reader.seek(Offset::new(world.log_start().get() - 1));
        let passed = wait(reader.next()).unwrap_err();
        let log_start = world.log_start();
        let position = Offset::new(log_start.get() - 1);
        assert_eq!(
            passed,
            ReadError::LogStartPassed {
                position,
                log_start
            }
        );
    }
    let mut reader = world.reader(run_bytes);
    reader.seek(world.end.next().unwrap());
    let beyond = wait(reader.next()).unwrap_err();
    assert!(matches!(beyond, ReadError::BeyondEnd { .. }), "{beyond}");
    for part in 0..8 {
        let since = TimestampMs::new(990 + world.end.get() * 10 * part / 6);
        let mut expected = world
            .live
            .keys()
            .filter(|offset| time_of(**offset) >= since);
        let expected = expected.next().map(|offset| Offset::new(*offset));
        let mut reader = world.reader(run_bytes);
        assert_eq!(
            wait(reader.seek_to_time(since)).unwrap(),
            expected,
            "{since}"
        );
        let at = expected.unwrap_or(world.end);
        assert_eq!(reader.position(), Some(at), "{since}");
    }
}

/// A store in which the history goes on under the reader: a step before every so many requests.
#[derive(Clone)]
struct Moving {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    world: World,
    steps: VecDeque<Step>,
    every: usize,
    requests: usize,
}

impl std::fmt::Debug for Moving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Moving")
    }
}

impl Moving {
    fn tick(&self) -> store::memory::MemoryStore {
        let mut shared = self.shared.lock().unwrap();
        shared.requests += 1;
        if shared.requests.is_multiple_of(shared.every)
            && let Some(next) = shared.steps.pop_front()
        {
            step(&mut shared.world, &next);
        }
        shared.world.store.clone()
    }
}

impl ObjectStore for Moving {
    fn put(
        &self,
        key: ObjectKey,
        _: Body,
        _: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        panic!("a reader writes {key}");
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        let moving = self.clone();
        Box::pin(async move { moving.tick().get(key, range).await })
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        self.tick().head(key)
    }

    fn list(&self, mut request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        // Pages are small, so that the history goes on between them.
        request.limit = 3;
        let moving = self.clone();
        Box::pin(async move { moving.tick().list(request).await })
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        panic!("a reader deletes {keys:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_reader_gives_exactly_what_is_committed_from_every_offset(
        mode in mode(),
        history in history(),
        run_bytes in prop_oneof![Just(1_u64), 100..2_000_u64, Just(1 << 20)],
    ) {
        let mut world = World::new(mode);
        let mut early = world.reader(run_bytes);
        for next in &history {
            step(&mut world, next);
            read_once(&world, &mut early);
        }
        while read_once(&world, &mut early) {}
        prop_assert_eq!(early.position(), Some(world.end));
        check_all(&world, run_bytes);
    }

    #[test]
    fn a_reader_goes_on_while_brokers_do(
        mode in mode(),
        before in history(),
        during in history(),
        run_bytes in prop_oneof![Just(1_u64), 100..2_000_u64, Just(1 << 20)],
        every in 1..6_usize,
    ) {
        let mut world = World::new(mode);
        before.iter().for_each(|next| step(&mut world, next));
        let topic = world.topic();
        let (keys, space, kv) = (world.keys.clone(), world.space.clone(), world.kv.clone());
        let partition = world.id.partition;
        let steps = during.into();
        let shared = Shared { world, steps, every, requests: 0 };
        let moving = Moving { shared: Arc::new(Mutex::new(shared)) };
        let bucket = Bucket::new(Arc::new(moving.clone()), Arc::new(kv), keys, space);
        let options = ReaderOptions { run_bytes };
        let mut reader = bucket.reader_with(&topic, partition, options).unwrap();
        loop {
            let outcome = wait(reader.next());
            let mut shared = moving.shared.lock().unwrap();
            if !read_outcome(&shared.world, outcome, &mut reader) {
                let Some(next) = shared.steps.pop_front() else { break };
                step(&mut shared.world, &next);
            }
        }
        let shared = moving.shared.lock().unwrap();
        prop_assert_eq!(reader.position(), Some(shared.world.end));
    }
}
