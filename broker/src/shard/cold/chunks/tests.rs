//! Chunks without a store: what is held stays within the budget, whoever reads, in whatever order.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::partition::run::parse;

const CHUNK: u64 = 4_096;

/// Chunk `number`, of about [`CHUNK`] bytes of small batches.
fn filled() -> Bytes {
    let mut bytes = BytesMut::new();
    let mut offset = 0;
    while (bytes.len() as u64) < CHUNK - 100 {
        let batch = crate::control::testing::batch(offset, 1);
        bytes.extend_from_slice(&batch);
        offset += 1;
    }
    bytes.freeze()
}

fn key(number: u64, bytes: &Bytes) -> ChunkKey {
    ChunkKey {
        object: "object".into(),
        range: number << 20..(number << 20) + bytes.len() as u64,
        offsets: Offset::ZERO..Offset::new(1_000),
    }
}

fn load(room: Room, bytes: &Bytes) -> Arc<Run> {
    Arc::new(parse(&room.hold(Bytes::copy_from_slice(bytes)), &Told::nothing()).unwrap())
}

/// Reads a chunk to its end, as a reader that waits does.
fn read(chunks: &mut Chunks<u64>, number: u64, bytes: &Bytes) -> Arc<Run> {
    let key = key(number, bytes);
    if let Some(run) = chunks.find(&key, Visit::Enters) {
        return run;
    }
    chunks.join(key.clone(), Told::nothing(), number).unwrap();
    let (started, _, room) = chunks.start().unwrap();
    assert_eq!(started, key);
    let run = load(room, bytes);
    assert_eq!(chunks.finish(&key, Some(&run), 0), vec![number]);
    run
}

#[test]
fn a_pass_leaves_no_mark_and_a_second_one_does() {
    let bytes = filled();
    let mut chunks: Chunks<u64> = Chunks::new(20 * CHUNK);
    // Two passes over five chunks, then a long pass in many slices.
    for _ in 0..2 {
        for number in 0..5 {
            read(&mut chunks, number, &bytes);
        }
    }
    for number in 100..200 {
        read(&mut chunks, number, &bytes);
        for _ in 0..4 {
            assert!(chunks.find(&key(number, &bytes), Visit::Stays).is_some());
        }
    }
    let kept = (0..5).filter(|number| chunks.is_ready(&key(*number, &bytes)));
    assert_eq!(kept.count(), 5, "one long pass pushes out nothing popular");
    assert!(chunks.take_counts().evicted > 80);
}

#[test]
fn what_is_read_ahead_stays_until_it_is_reached() {
    let bytes = filled();
    let mut chunks: Chunks<u64> = Chunks::new(20 * CHUNK);
    for number in 0..4 {
        let key = key(number, &bytes);
        let room = chunks.start_ahead(&key, 0).unwrap();
        assert!(chunks.holds(&key) && !chunks.is_ready(&key));
        assert!(chunks.start_ahead(&key, 0).is_none(), "once");
        assert!(chunks.finish(&key, Some(&load(room, &bytes)), 0).is_empty());
    }
    for number in 100..150 {
        read(&mut chunks, number, &bytes);
        assert!(chunks.held_bytes() <= 20 * CHUNK);
    }
    for number in 0..4 {
        assert!(chunks.find(&key(number, &bytes), Visit::Enters).is_some());
    }
    assert_eq!(chunks.take_counts().unreached, 0);
}

#[test]
fn read_ahead_takes_half_of_the_budget_and_what_nobody_reached_makes_room() {
    let bytes = filled();
    let mut chunks: Chunks<u64> = Chunks::new(20 * CHUNK);
    let ahead = |chunks: &mut Chunks<u64>, number, now_ms| {
        let key = key(number, &bytes);
        let room = chunks.start_ahead(&key, now_ms)?;
        chunks.finish(&key, Some(&load(room, &bytes)), now_ms);
        Some(())
    };
    let begun = (0..20).filter(|number| ahead(&mut chunks, *number, 0).is_some());
    let begun = begun.count();
    assert!((4..=10).contains(&begun), "{begun}");
    assert_eq!(ahead(&mut chunks, 50, UNREACHED_MAX_MS), None);
    assert_eq!(ahead(&mut chunks, 50, UNREACHED_MAX_MS + 1), Some(()));
    assert!(chunks.take_counts().unreached > 0);
    assert!(!chunks.is_ready(&key(0, &bytes)), "the oldest went");
}

#[test]
fn reads_that_somebody_waits_for_begin_in_turn_and_before_read_ahead() {
    let bytes = filled();
    let mut chunks: Chunks<u64> = Chunks::new(6 * CHUNK);
    for number in 0..10 {
        let key = key(number, &bytes);
        chunks.join(key, Told::nothing(), number).unwrap();
    }
    let mut started: Vec<(ChunkKey, Told, Room)> = std::iter::from_fn(|| chunks.start()).collect();
    assert_eq!(started.len(), 3, "half of the budget");
    assert!(chunks.start_ahead(&key(99, &bytes), 0).is_none());
    let mut done = 0;
    while let Some((key, _, room)) = started.pop() {
        // Failed: its room is free again, and whoever waits is told.
        drop(room);
        assert_eq!(chunks.finish(&key, None, 0).len(), 1);
        done += 1;
        started.extend(chunks.start());
    }
    assert_eq!((done, chunks.held_bytes()), (10, 0));
}

#[test]
fn a_chunk_larger_than_the_budget_is_read_alone_and_not_kept() {
    let bytes = filled();
    let mut chunks: Chunks<u64> = Chunks::new(CHUNK / 2);
    let run = read(&mut chunks, 1, &bytes);
    assert!(chunks.held_bytes() >= run.bytes(), "a reply has it");
    drop(run);
    assert_eq!(chunks.held_bytes(), 0);
}

#[test]
fn what_others_want_stays_whatever_replies_keep() {
    let bytes = filled();
    let mut chunks: Chunks<u64> = Chunks::new(20 * CHUNK);
    read(&mut chunks, 0, &bytes);
    read(&mut chunks, 0, &bytes);
    // As much again as the budget, in replies that nobody takes.
    let kept: Vec<_> = (1..40)
        .map(|number| read(&mut chunks, number, &bytes))
        .collect();
    assert!(chunks.beside_cache() >= 20 * CHUNK);
    assert!(chunks.is_ready(&key(0, &bytes)));
    // Something new finds a place as well.
    read(&mut chunks, 99, &bytes);
    assert!(chunks.is_ready(&key(99, &bytes)));
    assert!(chunks.held_bytes() <= (kept.len() as u64 + 6) * (CHUNK + ENTRY_OVERHEAD_BYTES));
}

#[derive(Debug, Clone)]
enum Act {
    Read(u64),
    Ahead(u64),
    Finish(usize, bool),
    Reply(u64),
    Sent(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..60_u64).prop_map(Act::Read),
        4 => (0..60_u64).prop_map(Act::Ahead),
        6 => (any::<usize>(), prop::bool::weighted(0.9)).prop_map(|(at, ok)| Act::Finish(at, ok)),
        3 => (0..60_u64).prop_map(Act::Reply),
        3 => any::<usize>().prop_map(Act::Sent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What is held is within the budget but for one read and what replies keep, and is counted
    /// exactly: in the end, when all is gone, nothing is.
    #[test]
    fn what_is_held_is_bounded_and_counted(acts in prop::collection::vec(act(), 1..300)) {
        let bytes = filled();
        let budget = 12 * CHUNK;
        let mut chunks: Chunks<u64> = Chunks::new(budget);
        let mut loading: Vec<(ChunkKey, Room)> = Vec::new();
        let mut replies: Vec<Bytes> = Vec::new();
        for act in acts {
            match act {
                Act::Read(number) => {
                    let key = key(number, &bytes);
                    if chunks.find(&key, Visit::Enters).is_none() {
                        chunks.join(key, Told::nothing(), number).unwrap();
                    }
                }
                Act::Ahead(number) => {
                    let key = key(number, &bytes);
                    if !chunks.holds(&key)
                        && let Some(room) = chunks.start_ahead(&key, 0)
                    {
                        loading.push((key, room));
                    }
                }
                Act::Finish(at, works) if !loading.is_empty() => {
                    let (key, room) = loading.swap_remove(at % loading.len());
                    let run = works.then(|| load(room, &bytes));
                    chunks.finish(&key, run.as_ref(), 0);
                }
                Act::Reply(number) => {
                    let found = chunks.find(&key(number, &bytes), Visit::Stays);
                    replies.extend(found.map(|run| run.chunks().next().unwrap().slice(..10)));
                }
                Act::Sent(at) if !replies.is_empty() => {
                    replies.swap_remove(at % replies.len());
                }
                Act::Finish(..) | Act::Sent(_) => {}
            }
            let started = std::iter::from_fn(|| chunks.start());
            loading.extend(started.map(|(key, _, room)| (key, room)));
            let one = bytes.len() as u64;
            let kept = replies.len() as u64 * one;
            prop_assert!(chunks.held_bytes() <= budget + one + kept);
            if replies.is_empty() {
                prop_assert!(chunks.held_bytes() <= budget.max(one) + one);
            }
        }
        for (key, room) in loading {
            drop(room);
            chunks.finish(&key, None, 0);
        }
        drop(replies);
        let live = chunks.live.clone();
        prop_assert_eq!(live.bytes(), chunks.resident_bytes);
        drop(chunks);
        prop_assert_eq!(live.bytes(), 0);
    }
}
