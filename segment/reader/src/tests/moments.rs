//! Single moments of a history, each with what a reader must say.

use bytes::Bytes;
use coord::keys::cluster::CommitMode;
use coord::kv::simulated::Fault;
use coord::kv::wait;
use segment::batch::{Batches, Codec};
use segment::kfs::KfsObject;
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::{Offset, TimestampMs, TopicId};
use store::PutCondition;

use super::world::{Log, World, read_all, time_of};
use crate::{CheckpointError, EtcdCheckpoints, ReadError};

const FEW: &[(usize, Codec)] = &[(3, Codec::None), (2, Codec::Zstd), (3, Codec::None)];

/// Keys of objects that are there and end so.
fn keys(world: &World, end: &str) -> Vec<String> {
    let all = world.store.objects().into_iter();
    let all = all.map(|(key, _)| key.as_str().to_owned());
    all.filter(|key| key.ends_with(end)).collect()
}

/// Reads with one bit of an object turned, for each byte of it, from `from` on.
fn with_each_byte_damaged(
    world: &World,
    key: &str,
    from: i64,
    mut check: impl FnMut(usize, Result<Log, ReadError>),
) {
    let whole = world.bytes(key);
    for at in 0..whole.len() {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 1 << (at % 8);
        world.put(key, vec![damaged.into()], PutCondition::None);
        let mut reader = world.reader(1 << 20);
        reader.seek(Offset::new(from));
        check(at, read_all(&mut reader));
    }
    world.put(key, vec![whole], PutCondition::None);
}

#[test]
fn an_empty_partition_ends_at_its_start() {
    let world = World::new(CommitMode::Conditional);
    let mut reader = world.reader(1_000);
    assert_eq!(read_all(&mut reader).unwrap(), world.live);
    let bounds = wait(reader.bounds()).unwrap();
    assert_eq!((bounds.log_start, bounds.end), (Offset::ZERO, Offset::ZERO));
}

#[test]
fn segments_then_the_wal_then_what_comes() {
    for mode in [CommitMode::Conditional, CommitMode::Guarded] {
        let mut world = World::new(mode);
        for codec in Codec::ALL {
            world.flush(&[(4, codec), (200, codec)], codec == Codec::Lz4);
        }
        world.compact(2);
        world.compact(1);
        let mut reader = world.reader(700);
        assert_eq!(read_all(&mut reader).unwrap(), world.live, "{mode:?}");
        assert_eq!(world.live.len(), 5 * 204);
        let before = world.live.len();
        world.flush(FEW, false);
        let more = read_all(&mut reader).unwrap();
        assert_eq!(more, world.live.clone().into_iter().skip(before).collect());
        let bounds = wait(reader.bounds()).unwrap();
        assert_eq!(bounds.compacted_end, Offset::new(612));
        assert_eq!(bounds.end, world.end);
    }
}

/// A reader far behind is told by few bundles what lies in many objects.
#[test]
fn many_objects_are_read_through_bundles_and_without_them() {
    let mut world = World::new(CommitMode::Conditional);
    for number in 0..150 {
        match number % 3 {
            0 => world.flush(&[(1, Codec::None)], false),
            _ => world.flush(&[], false),
        }
    }
    assert_eq!(read_all(&mut world.reader(1 << 20)).unwrap(), world.live);
    world.bundle();
    world.take_begin(false);
    world.fence();
    world.take_end(false);
    assert!(keys(&world, ".dir").len() >= 30);
    assert_eq!(read_all(&mut world.reader(1 << 20)).unwrap(), world.live);
    for key in keys(&world, ".dir") {
        world.put(&key, vec![Bytes::from_static(b"KDIRx")], PutCondition::None);
    }
    assert_eq!(read_all(&mut world.reader(1 << 20)).unwrap(), world.live);
}

#[test]
fn damage_of_a_segment_is_an_error_that_names_it() {
    let mut world = World::new(CommitMode::Conditional);
    world.flush(FEW, false);
    world.compact(1);
    let key = keys(&world, ".kfs").remove(0);
    let mut refused = 0;
    with_each_byte_damaged(&world, &key, 0, |at, outcome| match outcome {
        Err(ReadError::Damaged { key: named, .. }) => {
            assert_eq!(named, key);
            refused += 1;
        }
        // Nothing hangs on the header and the footer, nor on leader epochs.
        Ok(log) => assert_eq!(log, world.live, "byte {at}"),
        Err(error) => panic!("byte {at}: {error}"),
    });
    let body = world.bytes(&key).len() - 48;
    assert_eq!(refused, body - 3 * 4, "all but three leader epochs");
}

#[test]
fn damage_of_a_wal_object_is_an_error_that_names_it() {
    let mut world = World::new(CommitMode::Conditional);
    world.flush(FEW, false);
    world.flush(FEW, true);
    let mut named = keys(&world, "01.wal");
    named.extend(keys(&world, ".kfs"));
    assert_eq!(named.len(), 2);
    for key in named {
        let untold = if key.ends_with(".wal") { 64 } else { 32 + 16 };
        let mut refused = 0;
        with_each_byte_damaged(&world, &key, 0, |at, outcome| match outcome {
            Err(ReadError::Damaged { key: named, .. }) => {
                assert_eq!(named, key);
                refused += 1;
            }
            Ok(log) => assert_eq!(log, world.live, "byte {at}"),
            Err(error) => panic!("byte {at}: {error}"),
        });
        let len = world.bytes(&key).len();
        assert_eq!(
            refused,
            len - untold,
            "all but the header (and the footer) of {key}"
        );
    }
}

/// What is derived, or only a help, may be wrong or missing.
#[test]
fn damage_of_an_index_or_a_manifest_costs_reads_only() {
    let mut world = World::new(CommitMode::Conditional);
    for _ in 0..5 {
        world.flush(&[(40, Codec::None), (40, Codec::Gzip)], false);
    }
    world.compact(3);
    world.compact(2);
    for from in [85, 300, 399] {
        let expected: Log = world.live.clone().split_off(&from);
        let mut derived = keys(&world, ".index");
        derived.extend(keys(&world, ".kfm"));
        assert_eq!(derived.len(), 3);
        for key in derived {
            with_each_byte_damaged(&world, &key, from, |at, outcome| {
                assert_eq!(outcome.unwrap(), expected, "byte {at} of {key}");
            });
            let whole = world.bytes(&key);
            world.delete(&key);
            let mut reader = world.reader(500);
            reader.seek(Offset::new(from));
            assert_eq!(read_all(&mut reader).unwrap(), expected, "without {key}");
            world.put(&key, vec![whole], PutCondition::None);
        }
    }
}

#[test]
fn an_object_that_stays_away_is_an_error_in_the_end() {
    let mut world = World::new(CommitMode::Conditional);
    world.flush(FEW, false);
    world.flush(FEW, false);
    world.release(false);
    let key = keys(&world, "01.wal").remove(0);
    let whole = world.bytes(&key);
    world.delete(&key);
    let mut reader = world.reader(1_000);
    match wait(reader.next()) {
        Err(ReadError::Missing { key: named, .. }) => assert_eq!(named, key),
        other => panic!("{other:?}"),
    }
    world.put(&key, vec![whole], PutCondition::None);
    assert_eq!(read_all(&mut reader).unwrap(), world.live, "and it goes on");
}

#[test]
fn a_topic_that_was_created_again_is_another() {
    let mut world = World::new(CommitMode::Conditional);
    world.flush(FEW, false);
    let mut reader = world.reader(1_000);
    let mut checkpoints = EtcdCheckpoints::new(&world.bucket(), "p");
    wait(checkpoints.save(world.id, Offset::new(3))).unwrap();
    world.put_topic(TopicId::new([8; 16]));
    let gone = wait(reader.next()).unwrap_err();
    assert_eq!(
        gone,
        ReadError::TopicGone {
            name: "orders".to_owned()
        }
    );
    let again = world.topic().partition(world.id.partition);
    assert_eq!(wait(checkpoints.load(again)).unwrap(), None);
    assert_eq!(
        wait(checkpoints.load(world.id)).unwrap(),
        Some(Offset::new(3))
    );
}

#[test]
fn two_processors_of_one_name_do_not_overwrite_each_other() {
    let world = World::new(CommitMode::Conditional);
    let bucket = world.bucket();
    let mut one = EtcdCheckpoints::new(&bucket, "a/b");
    let mut two = EtcdCheckpoints::new(&bucket, "a/b");
    assert_eq!(wait(one.load(world.id)).unwrap(), None);
    assert_eq!(wait(two.load(world.id)).unwrap(), None);
    wait(one.save(world.id, Offset::new(5))).unwrap();
    wait(one.save(world.id, Offset::new(9))).unwrap();
    let overtaken = wait(two.save(world.id, Offset::new(2))).unwrap_err();
    let found = Some(Offset::new(9));
    assert!(
        matches!(&overtaken, CheckpointError::Overtaken { found: told, .. } if *told == found),
        "{overtaken}"
    );
    assert_eq!(wait(two.load(world.id)).unwrap(), found);
    wait(two.save(world.id, Offset::new(11))).unwrap();
    assert!(wait(one.save(world.id, Offset::new(10))).is_err());
    let mut other = EtcdCheckpoints::new(&bucket, "a");
    assert_eq!(wait(other.load(world.id)).unwrap(), None, "another name");
}

#[test]
fn an_unknown_outcome_of_a_save_is_found_out() {
    let world = World::new(CommitMode::Conditional);
    let mut checkpoints = EtcdCheckpoints::new(&world.bucket(), "p");
    for (index, fault) in [
        Fault::AppliedReplyLost,
        Fault::RequestLost,
        Fault::Failed,
        Fault::Delayed,
    ]
    .into_iter()
    .enumerate()
    {
        let next = Offset::new(index as i64 + 1);
        world.kv.inject(fault);
        wait(checkpoints.save(world.id, next)).unwrap();
        world.kv.land_delayed();
        assert_eq!(
            wait(checkpoints.load(world.id)).unwrap(),
            Some(next),
            "{fault:?}"
        );
    }
}

#[test]
fn a_metadata_store_that_fails_once_is_asked_again() {
    let mut world = World::new(CommitMode::Conditional);
    world.flush(FEW, false);
    for fault in [Fault::Failed, Fault::RequestLost, Fault::AppliedReplyLost] {
        let mut reader = world.reader(1_000);
        world.kv.inject(fault);
        assert_eq!(read_all(&mut reader).unwrap(), world.live, "{fault:?}");
    }
}

/// A rewrite may leave the length as it was: the ETag tells.
#[test]
fn a_segment_that_is_replaced_by_one_of_its_length_is_not_read_as_the_one_before() {
    let mut world = World::new(CommitMode::Conditional);
    world.flush(
        &[(1, Codec::None), (1, Codec::None), (1, Codec::None)],
        false,
    );
    world.compact(1);
    let key = keys(&world, ".kfs").remove(0);
    let mut reader = world.reader(1);
    let first = wait(reader.next()).unwrap().unwrap();
    assert_eq!(first.next, Offset::new(1));
    let batch = |offset: i64, value: &str| {
        let mut batch = RecordBatchBuilder::new().base_offset(Offset::new(offset));
        batch
            .push(NewRecord {
                timestamp: time_of(offset),
                key: Some(format!("k{offset}").as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[("h", Some(b"1"))],
            })
            .unwrap();
        batch.build().unwrap()
    };
    let chunks = vec![batch(0, "v0x"), batch(1, "v1"), batch(2, "v2xx")];
    let kfs = KfsObject::build(Offset::ZERO, TimestampMs::ZERO, chunks).unwrap();
    assert_eq!(kfs.len, world.bytes(&key).len() as u64);
    world.put(&key, kfs.chunks, PutCondition::None);
    let rest = read_all(&mut reader).unwrap();
    let expected = Log::from([(1, "v1".to_owned()), (2, "v2xx".to_owned())]);
    assert_eq!(rest, expected);
}

/// A session that gave the partition up and has it again: what lies between is another's.
#[test]
fn objects_of_a_session_do_not_follow_each_other_over_another_owner() {
    let mut world = World::new(CommitMode::Conditional);
    world.flush(FEW, false);
    let mut reader = world.reader(1_000);
    let before = read_all(&mut reader).unwrap();
    for again in [false, true] {
        world.release(false);
        world.take_begin(again);
        world.take_end(false);
        world.flush(FEW, false);
    }
    let mut all = read_all(&mut reader).unwrap();
    all.extend(before);
    assert_eq!(all, world.live);
}

#[test]
fn a_log_start_that_was_raised_is_told_at_the_next_segment_at_the_latest() {
    let mut world = World::new(CommitMode::Conditional);
    for _ in 0..3 {
        world.flush(FEW, false);
        world.compact(1);
    }
    let mut reader = world.reader(1);
    wait(reader.next()).unwrap().unwrap();
    let log_start = Offset::new(17);
    world.raise_log_start(log_start, false);
    let passed = loop {
        match wait(reader.next()) {
            Ok(run) => assert!(run.unwrap().next <= Offset::new(8)),
            Err(error) => break error,
        }
    };
    let position = Offset::new(8);
    assert_eq!(
        passed,
        ReadError::LogStartPassed {
            position,
            log_start
        }
    );
    reader.seek(log_start);
    assert_eq!(read_all(&mut reader).unwrap(), world.live);
}

/// Processors run on whatever runtime they like.
#[test]
fn a_reader_can_be_moved_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let world = World::new(CommitMode::Conditional);
    let mut reader = world.reader(1);
    is_send(&reader.next());
    is_send(&reader.bounds());
    is_send(&reader.seek_to_time(TimestampMs::ZERO));
    let mut checkpoints = EtcdCheckpoints::new(&world.bucket(), "p");
    is_send(&checkpoints.save(world.id, Offset::ZERO));
}

/// The directory of an object is read once for all partitions in it.
#[test]
fn readers_of_one_bucket_share_what_objects_tell() {
    let mut world = World::new(CommitMode::Conditional);
    world.flush(FEW, false);
    let bucket = world.bucket();
    let reader = || bucket.reader(&world.topic(), world.id.partition).unwrap();
    assert_eq!(read_all(&mut reader()).unwrap(), world.live);
    let key = keys(&world, "01.wal").remove(0);
    let mut damaged = world.bytes(&key).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    world.put(&key, vec![damaged.into()], PutCondition::None);
    assert_eq!(read_all(&mut reader()).unwrap(), world.live);
    let error = read_all(&mut world.reader(1_000)).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
}

/// An index that is older than its segment may point at a batch, and at the wrong one.
#[test]
fn an_index_of_the_segment_before_is_found_out() {
    let mut world = World::new(CommitMode::Conditional);
    world.has_manifest = false;
    world.flush(
        &[(120, Codec::None), (120, Codec::None), (120, Codec::None)],
        false,
    );
    world.compact(1);
    let key = keys(&world, ".kfs").remove(0);
    let whole = world.bytes(&key);
    let body = whole.slice(32..whole.len() - 16);
    let old: Vec<Bytes> = Batches::strict(&body)
        .map(|batch| body.slice_ref(batch.unwrap().bytes))
        .collect();
    // Log compaction leaves one record in each of the first two batches, which together are as long
    // as the first was.
    let left = |base: i64, len: usize| {
        let mut batch = RecordBatchBuilder::new()
            .base_offset(Offset::new(base))
            .last_offset_delta(119);
        let record = NewRecord {
            timestamp: time_of(base),
            key: None,
            value: Some(&vec![b'x'; len]),
            headers: &[("h", None)],
        };
        batch.push(record).unwrap();
        batch.build().unwrap()
    };
    let first = left(0, 1);
    let lens = 1..old[0].len();
    let second = lens
        .map(|len| left(120, len))
        .find(|second| first.len() + second.len() == old[0].len())
        .unwrap();
    let chunks = vec![first, second, old[2].clone()];
    let kfs = KfsObject::build(Offset::ZERO, TimestampMs::ZERO, chunks).unwrap();
    world.put(&key, kfs.chunks, PutCondition::None);
    let mut reader = world.reader(1 << 20);
    reader.seek(Offset::new(120));
    let log = read_all(&mut reader).unwrap();
    assert_eq!(log.first_key_value().unwrap().0, &120);
    assert_eq!(log.len(), 121);
}

#[test]
fn a_segment_that_lacks_its_last_batch_is_damaged() {
    let mut world = World::new(CommitMode::Conditional);
    world.has_manifest = false;
    world.flush(FEW, false);
    world.compact(1);
    let key = keys(&world, ".kfs").remove(0);
    let whole = world.bytes(&key);
    let body = whole.slice(32..whole.len() - 16);
    let last = Batches::strict(&body).last().unwrap().unwrap().position;
    let cut = [&whole[..32 + last], &whole[whole.len() - 16..]].concat();
    world.put(&key, vec![cut.into()], PutCondition::None);
    let mut reader = world.reader(1 << 20);
    let error = read_all(&mut reader).unwrap_err();
    assert!(
        matches!(&error, ReadError::Damaged { key: named, .. } if *named == key),
        "{error}"
    );
}
