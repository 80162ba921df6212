//! SyncGroup.

use super::world::*;
use crate::groups::*;

/// Two members that have joined and not synced: leader, follower, generation.
fn joined_pair(w: &mut World) -> (MemberId, MemberId, Generation) {
    let (a, ta) = w.enter(|_| {});
    let (b, tb) = w.enter(|_| {});
    w.pass(1_000);
    let (ja, _) = (w.joined(ta), w.joined(tb));
    let follower = if ja.leader == a { b } else { a };
    (ja.leader, follower, ja.generation)
}

#[test]
fn followers_wait_for_the_leader_and_all_for_the_store() {
    let mut w = World::new();
    let (leader, follower, generation) = joined_pair(&mut w);
    w.auto = false;
    let f = w.send_sync(&follower, generation, &[]);
    assert!(w.is_parked(f));
    let l = w.send_sync(&leader, generation, &[(&leader, "L"), (&follower, "F")]);
    assert!(w.is_parked(l) && w.is_parked(f), "not durable yet");
    assert_eq!(w.state(), Some(GroupState::CompletingRebalance));
    w.finish_write(Persisted::Done);
    assert_eq!((w.synced(l), w.synced(f)), ("L".to_owned(), "F".to_owned()));
    let stored = w.store.group("g").unwrap();
    assert_eq!(stored.generation, generation);
    let kept: Vec<&[u8]> = stored
        .members
        .iter()
        .map(|member| &*member.assignment)
        .collect();
    assert!(kept.contains(&&b"L"[..]) && kept.contains(&&b"F"[..]));
}

#[test]
fn members_left_out_of_the_assignment_get_an_empty_one() {
    let mut w = World::new();
    let (leader, follower, generation) = joined_pair(&mut w);
    let l = w.send_sync(
        &leader,
        generation,
        &[(&leader, "L"), (&"stranger".into(), "S")],
    );
    let f = w.send_sync(&follower, generation, &[]);
    assert_eq!((w.synced(l), w.synced(f)), ("L".to_owned(), String::new()));
}

#[test]
fn a_failed_write_answers_all_and_starts_a_rebalance() {
    let mut w = World::new();
    let (leader, follower, generation) = joined_pair(&mut w);
    w.auto = false;
    let f = w.send_sync(&follower, generation, &[]);
    let l = w.send_sync(&leader, generation, &[(&leader, "L")]);
    w.finish_write(Persisted::Failed);
    assert_eq!(w.sync_error(l), GroupError::CoordinatorNotAvailable);
    assert_eq!(w.sync_error(f), GroupError::CoordinatorNotAvailable);
    assert_eq!(w.state(), Some(GroupState::PreparingRebalance));
    assert!(w.store.group("g").is_none());
}

#[test]
fn a_rebalance_that_begins_during_the_write_wins() {
    let mut w = World::new();
    let (leader, follower, generation) = joined_pair(&mut w);
    w.auto = false;
    let l = w.send_sync(&leader, generation, &[(&leader, "L")]);
    w.leave(&[(&follower, None)]).unwrap();
    assert_eq!(w.sync_error(l), GroupError::RebalanceInProgress);
    w.finish_write(Persisted::Done);
    assert_eq!(w.state(), Some(GroupState::PreparingRebalance));
    let token = w.rejoin(&leader);
    assert_eq!(
        w.joined(token).generation,
        Generation::new(generation.get() + 1)
    );
}

#[test]
fn a_leader_that_retries_sync_makes_one_write() {
    let mut w = World::new();
    let (leader, _, generation) = joined_pair(&mut w);
    w.auto = false;
    let first = w.send_sync(&leader, generation, &[(&leader, "L")]);
    let second = w.send_sync(&leader, generation, &[(&leader, "other")]);
    assert_eq!(w.queue.len(), 1);
    assert_eq!(w.sync_error(first), GroupError::RebalanceInProgress);
    w.finish_write(Persisted::Done);
    assert_eq!(w.synced(second), "L");
}

#[test]
fn members_that_do_not_sync_in_time_are_removed() {
    let mut w = World::new();
    let (leader, follower, generation) = joined_pair(&mut w);
    let l = w.send_sync(&leader, generation, &[]);
    w.synced(l);
    for _ in 0..REBALANCE_MS / 5_000 {
        assert_eq!(w.heartbeat(&leader, generation), Ok(()));
        assert_eq!(w.heartbeat(&follower, generation), Ok(()));
        w.pass(5_000);
    }
    assert_eq!(
        w.heartbeat(&follower, generation),
        Err(GroupError::UnknownMemberId)
    );
    assert_eq!(
        w.heartbeat(&leader, generation),
        Err(GroupError::RebalanceInProgress)
    );
}

#[test]
fn a_leader_that_never_syncs_is_removed_and_the_followers_told() {
    let mut w = World::new();
    let (leader, follower, generation) = joined_pair(&mut w);
    let f = w.send_sync(&follower, generation, &[]);
    w.pass(SESSION_MS as u64);
    assert_eq!(w.sync_error(f), GroupError::RebalanceInProgress);
    assert_eq!(
        w.heartbeat(&leader, generation),
        Err(GroupError::UnknownMemberId)
    );
    let token = w.rejoin(&follower);
    assert_eq!(w.joined(token).leader, follower);
}

#[test]
fn sync_is_checked() {
    let mut w = World::new();
    let token = w.send_sync(&nobody(), Generation::ZERO, &[]);
    assert_eq!(w.sync_error(token), GroupError::UnknownMemberId);
    let (leader, _, generation) = joined_pair(&mut w);
    let request = |change: fn(&mut SyncRequest)| {
        let mut request = SyncRequest {
            group: "g".into(),
            member: leader.clone(),
            instance: None,
            generation,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: Vec::new(),
        };
        change(&mut request);
        request
    };
    type Change = fn(&mut SyncRequest);
    let cases: [(GroupError, Change); 6] = [
        (GroupError::InvalidGroupId, |r| r.group = "".into()),
        (GroupError::UnknownMemberId, |r| r.member = "x".into()),
        (GroupError::UnknownMemberId, |r| {
            r.instance = Some("x".into())
        }),
        (GroupError::IllegalGeneration, |r| {
            r.generation = Generation::new(9)
        }),
        (GroupError::InconsistentGroupProtocol, |r| {
            r.protocol_type = Some("connect".into())
        }),
        (GroupError::InconsistentGroupProtocol, |r| {
            r.protocol_name = Some("sticky".into())
        }),
    ];
    for (error, change) in cases {
        let token = w.send_sync_request(request(change));
        assert_eq!(w.sync_error(token), error);
    }
    let token = w.send_sync_request(request(|_| {}));
    assert_eq!(w.synced(token), "");
}

#[test]
fn an_assignment_above_the_bound_is_refused() {
    let mut w = World::new();
    let (leader, _, generation) = joined_pair(&mut w);
    let huge = "x".repeat(1 << 20);
    let token = w.send_sync(&leader, generation, &[(&leader, &huge)]);
    assert_eq!(w.sync_error(token), GroupError::UnknownServerError);
    assert_eq!(w.state(), Some(GroupState::PreparingRebalance));
}

#[test]
fn nobody_syncs_in_a_group_without_a_name_that_has_offsets() {
    let mut w = World::new();
    let mut commit = commit_request(&nobody(), Generation::NONE);
    commit.group = "".into();
    commit.offsets = vec![offset(partition(1, 0), 5)];
    let token = w.send_commit(commit);
    assert_eq!(w.committed(token), [Ok(())]);
    let request = SyncRequest {
        group: "".into(),
        member: "x".into(),
        instance: None,
        generation: Generation::ZERO,
        protocol_type: None,
        protocol_name: None,
        assignments: Vec::new(),
    };
    let token = w.send_sync_request(request);
    assert_eq!(w.sync_error(token), GroupError::InvalidGroupId);
}
