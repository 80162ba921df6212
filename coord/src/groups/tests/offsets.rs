//! Committing, fetching, deleting and expiring offsets.

use super::world::*;
use crate::groups::*;
use segment::{TimestampMs, TopicId};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

#[test]
fn an_offset_is_shown_once_it_is_durable() {
    let mut w = World::new();
    let at = partition(1, 0);
    assert_eq!(w.fetch(at), -1, "an unknown group has no offsets");
    w.auto = false;
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.offsets = vec![offset(at, 42)];
    let token = w.send_commit(request);
    assert!(w.is_parked(token));
    assert_eq!(w.fetch(at), -1);
    w.finish_write(Persisted::Done);
    assert_eq!(w.committed(token), [Ok(())]);
    assert_eq!(w.fetch(at), 42);
    assert_eq!(w.fetch(partition(1, 1)), -1);
    assert_eq!(
        w.fetch(partition(2, 0)),
        -1,
        "another incarnation has its own offsets"
    );
}

#[test]
fn a_failed_commit_is_answered_and_not_shown() {
    let mut w = World::new();
    let at = partition(1, 0);
    w.commit(&nobody(), Generation::NONE, at, 7).unwrap();
    w.auto = false;
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.offsets = vec![offset(at, 9)];
    let token = w.send_commit(request);
    w.finish_write(Persisted::Failed);
    assert_eq!(
        w.committed(token),
        [Err(GroupError::CoordinatorNotAvailable)]
    );
    assert_eq!(w.fetch(at), 7);
}

#[test]
fn a_group_whose_first_commit_fails_is_forgotten() {
    let mut w = World::new();
    w.auto = false;
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.offsets = vec![offset(partition(1, 0), 9)];
    let token = w.send_commit(request);
    w.finish_write(Persisted::Failed);
    w.committed(token);
    assert_eq!(w.coordinator.group_count(), 0);
    assert_eq!(w.coordinator.memory_bytes(), 0);
}

#[test]
fn commits_may_go_back_and_the_last_one_holds() {
    let mut w = World::new();
    let at = partition(1, 0);
    for value in [10, 20, 5] {
        w.commit(&nobody(), Generation::NONE, at, value).unwrap();
    }
    assert_eq!(w.fetch(at), 5);
    w.restart();
    assert_eq!(w.fetch(at), 5);
}

#[test]
fn commits_are_checked_against_the_group() {
    let mut w = World::new();
    let at = partition(1, 0);
    let mut request = commit_request(&"m".into(), Generation::new(1));
    request.offsets = vec![offset(at, 1)];
    let token = w.send_commit(request.clone());
    assert_eq!(w.committed(token), [Err(GroupError::GroupIdNotFound)]);
    request.group_not_found_supported = false;
    let token = w.send_commit(request);
    assert_eq!(w.committed(token), [Err(GroupError::IllegalGeneration)]);

    let (members, generation) = w.stable(2);
    let older = Generation::new(generation.get() - 1);
    let cases = [
        (&members[0], generation, Ok(())),
        (&members[0], older, Err(GroupError::IllegalGeneration)),
        (
            &members[0],
            Generation::NONE,
            Err(GroupError::IllegalGeneration),
        ),
        (
            &nobody(),
            Generation::NONE,
            Err(GroupError::UnknownMemberId),
        ),
        (&"x".into(), generation, Err(GroupError::UnknownMemberId)),
    ];
    for (member, generation, result) in cases {
        assert_eq!(w.commit(member, generation, at, 1), result);
    }
    // While the group rebalances members commit what they have read.
    let a = w.rejoin(&members[0]);
    assert_eq!(w.commit(&members[1], generation, at, 2), Ok(()));
    let b = w.rejoin(&members[1]);
    let next = w.joined(a).generation;
    w.joined(b);
    let busy = Err(GroupError::RebalanceInProgress);
    assert_eq!(w.commit(&members[0], next, at, 3), busy);
    assert_eq!(
        w.commit(&members[0], generation, at, 3),
        Err(GroupError::IllegalGeneration)
    );
    w.leave(&[(&members[0], None), (&members[1], None)])
        .unwrap();
    assert_eq!(w.state(), Some(GroupState::Empty));
    assert_eq!(w.commit(&nobody(), Generation::NONE, at, 4), Ok(()));
    assert_eq!(w.fetch(at), 4);
}

#[test]
fn commits_keep_the_session() {
    let mut w = World::new();
    let (members, generation) = w.stable(1);
    for value in 0..10 {
        w.pass(6_000);
        assert_eq!(
            w.commit(&members[0], generation, partition(1, 0), value),
            Ok(())
        );
    }
    assert_eq!(w.state(), Some(GroupState::Stable));
}

#[test]
fn metadata_is_bounded_in_utf16_units() {
    let mut w = World::new();
    let with = |text: String| {
        let mut request = commit_request(&nobody(), Generation::NONE);
        let mut first = offset(partition(1, 0), 1);
        first.metadata = Some(text.into());
        request.offsets = vec![first, offset(partition(1, 1), 1)];
        request
    };
    let too_large = Err(GroupError::OffsetMetadataTooLarge);
    for (text, result) in [
        ("x".repeat(4_096), Ok(())),
        ("x".repeat(4_097), too_large),
        ("ü".repeat(4_096), Ok(())),
        ("😀".repeat(2_048), Ok(())),
        ("😀".repeat(2_049), too_large),
    ] {
        let token = w.send_commit(with(text));
        assert_eq!(w.committed(token), [result, Ok(())]);
    }
}

#[test]
fn a_long_commit_takes_several_writes_and_fails_only_where_they_do() {
    let mut w = World::new();
    w.auto = false;
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.offsets = (0..70)
        .map(|index| offset(partition(1, index), 5))
        .collect();
    let token = w.send_commit(request);
    assert_eq!(w.queue.len(), 3);
    w.finish_write(Persisted::Done);
    w.finish_write(Persisted::Failed);
    assert!(w.is_parked(token));
    w.finish_write(Persisted::Done);
    let results = w.committed(token);
    let failed: Vec<usize> = (0..70).filter(|index| results[*index].is_err()).collect();
    assert_eq!(failed, (32..64).collect::<Vec<usize>>());
    assert_eq!(
        (w.fetch(partition(1, 0)), w.fetch(partition(1, 40))),
        (5, -1)
    );
}

#[test]
fn a_stable_fetch_waits_for_commits_under_way() {
    let mut w = World::new();
    let at = partition(1, 0);
    w.commit(&nobody(), Generation::NONE, at, 1).unwrap();
    w.auto = false;
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.offsets = vec![offset(at, 2)];
    w.send_commit(request);
    let other = w.send_fetch(Some(vec![partition(1, 1)]), true);
    assert!(!w.is_parked(other), "no commit of it is under way");
    let one = w.send_fetch(Some(vec![at]), true);
    let all = w.send_fetch(None, true);
    assert!(w.is_parked(one) && w.is_parked(all));
    w.finish_write(Persisted::Done);
    for token in [one, all] {
        let Reply::Fetch(Ok(entries)) = w.answer(token) else {
            panic!()
        };
        assert_eq!(
            entries[0]
                .result
                .as_ref()
                .unwrap()
                .as_ref()
                .unwrap()
                .offset
                .get(),
            2
        );
    }
}

#[test]
fn stable_fetches_above_the_bound_are_told_to_retry() {
    let mut w = World::with(GroupConfig {
        parked_fetches_max: 1,
        ..GroupConfig::default()
    });
    let at = partition(1, 0);
    w.auto = false;
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.offsets = vec![offset(at, 2)];
    w.send_commit(request);
    w.send_fetch(Some(vec![at]), true);
    let token = w.send_fetch(Some(vec![at]), true);
    let Reply::Fetch(Ok(entries)) = w.answer(token) else {
        panic!()
    };
    assert_eq!(entries[0].result, Err(GroupError::UnstableOffsetCommit));
}

#[test]
fn all_offsets_are_fetched_with_what_was_committed() {
    let mut w = World::new();
    w.commit(&nobody(), Generation::NONE, partition(2, 1), 7)
        .unwrap();
    w.commit(&nobody(), Generation::NONE, partition(1, 0), 8)
        .unwrap();
    let token = w.send_fetch(None, false);
    let Reply::Fetch(Ok(entries)) = w.answer(token) else {
        panic!()
    };
    assert_eq!(entries.len(), 2);
    let offset = entries[0].result.clone().unwrap().unwrap();
    assert_eq!(entries[0].partition, partition(1, 0));
    assert_eq!((offset.offset.get(), offset.leader_epoch.get()), (8, 3));
    assert_eq!(&*offset.metadata, "note");
    assert_eq!(offset.commit_timestamp, w.now().wall);
}

#[test]
fn the_empty_group_name_can_commit_and_fetch() {
    let mut w = World::new();
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.group = "".into();
    request.offsets = vec![offset(partition(1, 0), 1)];
    let token = w.send_commit(request);
    assert_eq!(w.committed(token), [Ok(())]);
    assert!(w.coordinator.describe("").is_some());
}

#[test]
fn too_many_writes_under_way_refuse_commits_and_keep_memory_bounded() {
    let mut w = World::with(GroupConfig {
        writes_max: 3,
        ..GroupConfig::default()
    });
    w.auto = false;
    let mut refused = 0;
    for value in 0..50 {
        let mut request = commit_request(&nobody(), Generation::NONE);
        request.offsets = vec![offset(partition(1, 0), value)];
        let token = w.send_commit(request);
        refused += usize::from(!w.is_parked(token));
    }
    assert_eq!((refused, w.queue.len()), (47, 3));
}

#[test]
fn a_full_slot_still_takes_commits_that_do_not_grow_it() {
    let mut w = World::with(GroupConfig {
        slot_bytes_max: 5_000,
        ..GroupConfig::default()
    });
    let mut index = 0;
    while w
        .commit(&nobody(), Generation::NONE, partition(1, index), 1)
        .is_ok()
    {
        index += 1;
    }
    assert!((5..100).contains(&index), "{index}");
    assert_eq!(
        w.commit(&nobody(), Generation::NONE, partition(1, 0), 2),
        Ok(())
    );
    assert_eq!(w.fetch(partition(1, 0)), 2);
}

#[test]
fn offsets_of_an_empty_group_expire_with_the_group() {
    let mut w = World::new();
    let (members, generation) = w.stable(1);
    let at = partition(1, 0);
    w.commit(&members[0], generation, at, 1).unwrap();
    let committed_ms = w.now_ms;
    w.leave(&[(&members[0], None)]).unwrap();
    w.now_ms = committed_ms + 7 * DAY_MS - 1;
    w.expire();
    assert_eq!(w.fetch(at), 1);
    w.now_ms += 10_000;
    w.expire();
    assert_eq!(w.fetch(at), -1);
    assert_eq!(w.coordinator.group_count(), 0);
    assert!(w.store.groups.is_empty() && w.store.offsets.is_empty());
}

#[test]
fn offsets_of_a_group_with_members_stay_unless_it_no_longer_subscribes() {
    let mut w = World::new();
    let (members, generation) = w.stable(1);
    let (used, unused, gone) = (partition(1, 0), partition(2, 0), partition(200, 0));
    for at in [used, unused, gone] {
        w.commit(&members[0], generation, at, 1).unwrap();
    }
    w.now_ms += 8 * DAY_MS;
    w.expire();
    assert_eq!([w.fetch(used), w.fetch(unused), w.fetch(gone)], [1, -1, -1]);
    assert_eq!(w.state(), Some(GroupState::Stable));
}

#[test]
fn offsets_of_a_simple_group_expire_from_their_commit() {
    let mut w = World::new();
    w.commit(&nobody(), Generation::NONE, partition(1, 0), 1)
        .unwrap();
    w.now_ms += 4 * DAY_MS;
    w.commit(&nobody(), Generation::NONE, partition(1, 1), 1)
        .unwrap();
    w.now_ms += 4 * DAY_MS;
    w.restart();
    w.expire();
    assert_eq!(
        [w.fetch(partition(1, 0)), w.fetch(partition(1, 1))],
        [-1, 1]
    );
}

#[test]
fn a_retention_that_the_client_asks_for_takes_precedence() {
    let mut w = World::new();
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.retention_ms = Some(1_000);
    request.offsets = vec![offset(partition(1, 0), 1)];
    let token = w.send_commit(request);
    w.committed(token);
    let stored = w.store.offsets.values().next().unwrap().clone();
    let expire = CommittedOffset::decode(stored).unwrap().expire_timestamp;
    assert_eq!(expire, Some(TimestampMs::new(w.now().wall.get() + 1_000)));
    w.now_ms += 999;
    w.expire();
    assert_eq!(w.fetch(partition(1, 0)), 1);
    w.now_ms += 1;
    w.expire();
    assert_eq!(w.fetch(partition(1, 0)), -1);
}

#[test]
fn a_failed_expiry_leaves_the_group_as_it_was() {
    let mut w = World::new();
    w.commit(&nobody(), Generation::NONE, partition(1, 0), 1)
        .unwrap();
    w.now_ms += 8 * DAY_MS;
    w.auto = false;
    w.expire();
    assert_eq!(w.state(), Some(GroupState::Dead));
    assert_eq!(
        w.fetch(partition(1, 0)),
        1,
        "it is there until it is gone durably"
    );
    w.finish_write(Persisted::Failed);
    assert_eq!(w.state(), Some(GroupState::Empty));
    assert_eq!(w.fetch(partition(1, 0)), 1);
    w.auto = true;
    w.expire();
    assert_eq!(w.coordinator.group_count(), 0);
}

#[test]
fn expiry_goes_through_the_slot_in_bounded_steps() {
    let mut w = World::with(GroupConfig {
        expiry_groups_max: 3,
        ..GroupConfig::default()
    });
    for index in 0..10 {
        let mut request = commit_request(&nobody(), Generation::NONE);
        request.group = format!("g{index}").into();
        request.offsets = vec![offset(partition(1, 0), 1)];
        let token = w.send_commit(request);
        w.committed(token);
    }
    w.now_ms += 8 * DAY_MS;
    let mut out = Effects::new();
    let mut steps = 1;
    while !w.coordinator.expire_offsets(&|_| None, w.now(), &mut out) {
        steps += 1;
    }
    assert_eq!((steps, out.len()), (4, 10));
    w.absorb(out);
    assert_eq!(w.coordinator.group_count(), 0);
}

#[test]
fn offsets_of_deleted_topics_go() {
    let mut w = World::new();
    for at in [partition(1, 0), partition(2, 0), partition(2, 1)] {
        w.commit(&nobody(), Generation::NONE, at, 1).unwrap();
    }
    w.auto = false;
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.offsets = vec![offset(partition(2, 2), 1)];
    w.send_commit(request);
    let mut out = Effects::new();
    w.coordinator
        .on_topics_deleted(&[TopicId::new([2; 16])], w.now(), &mut out);
    w.auto = true;
    w.absorb(out);
    assert_eq!(
        w.store.offsets.len(),
        1,
        "also the one whose commit was under way"
    );
    assert_eq!(w.fetch(partition(1, 0)), 1);
}
