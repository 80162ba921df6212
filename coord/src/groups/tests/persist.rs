//! Restarts, takeovers and giving up a slot.

use super::world::*;
use crate::groups::*;

#[test]
fn members_survive_a_restart_with_fresh_sessions() {
    let mut w = World::new();
    let (members, generation) = w.stable(2);
    w.commit(&members[0], generation, partition(1, 0), 5)
        .unwrap();
    w.pass(3_000);
    w.restart();
    assert_eq!(w.state(), Some(GroupState::Stable));
    assert_eq!(w.fetch(partition(1, 0)), 5);
    w.pass(9_000);
    for member in &members {
        assert_eq!(w.heartbeat(member, generation), Ok(()));
    }
    let token = w.send_sync(&members[1], generation, &[]);
    assert_eq!(w.synced(token), "a1");
    let token = w.rejoin(&members[1]);
    assert_eq!(
        w.joined(token).generation,
        generation,
        "an unchanged follower is recognized"
    );
    w.restart();
    w.pass(10_000);
    assert_eq!(w.state(), Some(GroupState::Empty), "silent members go");
}

#[test]
fn a_restart_during_a_rebalance_goes_back_to_the_last_assignment() {
    let mut w = World::new();
    let (members, generation) = w.stable(1);
    let token = w.rejoin(&members[0]);
    let next = w.joined(token).generation;
    w.restart();
    let token = w.send_sync(&members[0], next, &[]);
    assert_eq!(w.sync_error(token), GroupError::IllegalGeneration);
    assert_eq!(w.heartbeat(&members[0], generation), Ok(()));
    let token = w.rejoin(&members[0]);
    assert_eq!(w.joined(token).generation, next);
}

#[test]
fn the_generation_of_an_empty_group_survives_a_restart() {
    let mut w = World::new();
    let (members, generation) = w.stable(1);
    w.leave(&[(&members[0], None)]).unwrap();
    w.restart();
    assert_eq!(w.generation(), Generation::new(generation.get() + 1));
    let (_, token) = w.enter(|_| {});
    w.pass(100);
    assert_eq!(
        w.joined(token).generation,
        Generation::new(generation.get() + 2)
    );
}

#[test]
fn giving_up_the_slot_answers_everything() {
    let mut w = World::new();
    w.auto = false;
    let (_, join) = w.enter(|_| {});
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.group = "other".into();
    request.offsets = vec![offset(partition(1, 0), 1)];
    let commit = w.send_commit(request);
    let token = w.token();
    let fetch = FetchRequest {
        group: "other".into(),
        partitions: None,
        require_stable: true,
    };
    let mut out = Effects::new();
    w.coordinator.fetch_offsets(fetch, token, &mut out);
    assert!(out.is_empty());
    let now = w.now();
    let coordinator = std::mem::replace(&mut w.coordinator, Coordinator::new(w.config.clone()));
    coordinator.unload(now, &mut out);
    w.absorb(out);
    assert_eq!(w.join_error(join), GroupError::NotCoordinator);
    assert_eq!(w.committed(commit), [Err(GroupError::NotCoordinator)]);
    assert_eq!(
        w.answer(token.0),
        Reply::Fetch(Err(GroupError::NotCoordinator))
    );
}

#[test]
fn contradictory_records_are_refused() {
    let mut w = World::new();
    w.stable(2);
    let good = w.store.group("g").unwrap();
    let mut no_leader = good.clone();
    no_leader.leader = Some("x".into());
    let mut unsorted = good.clone();
    unsorted.members.reverse();
    let mut negative = good.clone();
    negative.generation = Generation::new(-1);
    let mut twins = good.clone();
    twins
        .members
        .iter_mut()
        .for_each(|member| member.instance = Some("i".into()));
    for bad in [no_leader, unsorted, negative, twins] {
        let mut fresh = Coordinator::new(GroupConfig::default());
        let result = fresh.restore([bad], [], w.now());
        assert!(
            matches!(result, Err(RestoreError::Invalid { .. })),
            "{result:?}"
        );
    }
    let mut fresh = Coordinator::new(GroupConfig::default());
    let result = fresh.restore([good.clone(), good], [], w.now());
    assert_eq!(result, Err(RestoreError::Twice("g".into())));
}

#[test]
fn errors_say_whether_to_retry() {
    assert!(GroupError::CoordinatorNotAvailable.is_retriable());
    assert!(GroupError::NotCoordinator.is_retriable());
    assert!(!GroupError::FencedInstanceId.is_retriable());
}

#[test]
fn a_group_above_a_bound_that_was_lowered_rebalances_after_a_restart() {
    let mut w = World::new();
    let (members, generation) = w.stable(3);
    w.config.members_max = 2;
    w.restart();
    assert_eq!(w.state(), Some(GroupState::PreparingRebalance));
    assert_eq!(
        w.heartbeat(&members[0], generation),
        Err(GroupError::RebalanceInProgress)
    );
    let at = partition(1, 0);
    assert_eq!(w.commit(&members[2], generation, at, 7), Ok(()));
    let tokens: Vec<u64> = members.iter().map(|id| w.rejoin(id)).collect();
    assert_eq!(w.join_error(tokens[2]), GroupError::GroupMaxSizeReached);
    w.pass(REBALANCE_MS as u64);
    assert_eq!(w.joined(tokens[0]).generation.get(), generation.get() + 1);
    w.joined(tokens[1]);
}
