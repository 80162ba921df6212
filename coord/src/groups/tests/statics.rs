//! Static members (KIP-345) and skipped assignments (KIP-814).

use super::world::*;
use crate::groups::*;

fn static_request(instance: &str, member: &MemberId) -> JoinRequest {
    let mut request = join_request(member);
    request.instance = Some(instance.into());
    request
}

/// A stable group of static members `i0`, `i1`, ..., the leader first.
fn stable_statics(w: &mut World, count: usize) -> (Vec<(String, MemberId)>, Generation) {
    let names: Vec<String> = (0..count).map(|index| format!("i{index}")).collect();
    let tokens: Vec<u64> = names
        .iter()
        .map(|name| w.send_join(static_request(name, &nobody())))
        .collect();
    w.pass(1_000);
    let joined: Vec<JoinedGroup> = tokens.into_iter().map(|token| w.joined(token)).collect();
    let leader = joined[0].leader.clone();
    let generation = joined[0].generation;
    let mut members: Vec<(String, MemberId)> = names
        .into_iter()
        .zip(joined.into_iter().map(|joined| joined.member))
        .collect();
    members.sort_by_key(|(_, id)| *id != leader);
    let plan: Vec<(&MemberId, &str)> = members
        .iter()
        .map(|(name, id)| (id, name.as_str()))
        .collect();
    for (name, id) in &members {
        let plan = if *id == leader { &plan[..] } else { &[] };
        let token = w.send_sync(id, generation, plan);
        if *id == leader {
            assert_eq!(w.synced(token), *name);
        }
    }
    (members, generation)
}

#[test]
fn a_static_member_joins_at_once_under_its_instance_id() {
    let mut w = World::new();
    let (members, _) = stable_statics(&mut w, 1);
    assert!(members[0].1.as_str().starts_with("i0-"));
}

#[test]
fn a_restarted_follower_takes_its_place_without_a_rebalance() {
    let mut w = World::new();
    let (members, generation) = stable_statics(&mut w, 2);
    let (name, old) = &members[1];
    w.auto = false;
    let token = w.send_join(static_request(name, &nobody()));
    assert!(w.is_parked(token), "the new id is not durable yet");
    w.finish_write(Persisted::Done);
    let joined = w.joined(token);
    assert_ne!(joined.member, *old);
    assert_eq!(
        (joined.generation, joined.skip_assignment),
        (generation, false)
    );
    assert!(joined.members.is_empty());
    assert_eq!(w.state(), Some(GroupState::Stable));
    let token = w.send_sync(&joined.member, generation, &[]);
    assert_eq!(w.synced(token), *name, "it keeps the assignment");
    let fenced = Err(GroupError::FencedInstanceId);
    assert_eq!(w.heartbeat_as(old, Some(name), generation), fenced);
    assert_eq!(
        w.heartbeat(old, generation),
        Err(GroupError::UnknownMemberId)
    );
    assert_eq!(
        w.heartbeat_as(&joined.member, Some(name), generation),
        Ok(())
    );
    w.restart();
    assert_eq!(
        w.heartbeat_as(&joined.member, Some(name), generation),
        Ok(())
    );
}

#[test]
fn a_restarted_leader_is_told_to_skip_the_assignment() {
    let mut w = World::new();
    let (members, generation) = stable_statics(&mut w, 2);
    let token = w.send_join(static_request(&members[0].0, &nobody()));
    let joined = w.joined(token);
    assert_eq!(joined.leader, joined.member);
    assert!(joined.skip_assignment);
    assert_eq!((joined.members.len(), joined.generation), (2, generation));
}

#[test]
fn a_restarted_leader_of_an_older_version_does_not_learn_that_it_leads() {
    let mut w = World::new();
    let (members, _) = stable_statics(&mut w, 2);
    let mut request = static_request(&members[0].0, &nobody());
    request.skip_assignment_supported = false;
    let token = w.send_join(request);
    let joined = w.joined(token);
    assert_eq!(joined.leader, members[0].1, "the former id");
    assert!(!joined.skip_assignment && joined.members.is_empty());
}

#[test]
fn a_failed_replacement_is_undone() {
    let mut w = World::new();
    let (members, generation) = stable_statics(&mut w, 2);
    w.auto = false;
    for (name, old) in &members {
        let token = w.send_join(static_request(name, &nobody()));
        w.finish_write(Persisted::Failed);
        assert_eq!(w.join_error(token), GroupError::CoordinatorNotAvailable);
        assert_eq!(w.heartbeat_as(old, Some(name), generation), Ok(()));
    }
    let token = w.send_sync(&members[1].1, generation, &[]);
    assert_eq!(w.synced(token), members[1].0);
}

#[test]
fn a_replacement_is_answered_by_a_rebalance_that_begins_first() {
    let mut w = World::new();
    let (members, generation) = stable_statics(&mut w, 2);
    w.auto = false;
    let replaced = w.send_join(static_request(&members[1].0, &nobody()));
    let leader = w.send_join(static_request(&members[0].0, &members[0].1));
    assert_eq!(
        w.joined(replaced).generation,
        Generation::new(generation.get() + 1)
    );
    w.joined(leader);
    w.finish_write(Persisted::Failed);
    assert_eq!(w.state(), Some(GroupState::CompletingRebalance));
}

#[test]
fn a_replacement_with_another_protocol_rebalances() {
    let mut w = World::new();
    let two = |mut request: JoinRequest, first: &str, second: &str| {
        request.protocols = vec![protocol(first, b""), protocol(second, b"")];
        request
    };
    let a = w.send_join(two(static_request("a", &nobody()), "p", "q"));
    w.pass(1_000);
    let joined = w.joined(a);
    let token = w.send_sync(&joined.member, joined.generation, &[]);
    w.synced(token);
    let token = w.send_join(two(static_request("a", &nobody()), "q", "p"));
    let again = w.joined(token);
    assert_eq!(
        again.generation,
        Generation::new(joined.generation.get() + 1)
    );
    assert_eq!(&*again.protocol_name, "q");
}

#[test]
fn a_replacement_before_the_assignment_rebalances_and_fences() {
    let mut w = World::new();
    let tokens = ["a", "b"].map(|name| w.send_join(static_request(name, &nobody())));
    w.pass(1_000);
    let joined = tokens.map(|token| w.joined(token));
    let follower = usize::from(joined[0].member == joined[0].leader);
    let name = ["a", "b"][follower];
    let parked = w.send_sync(&joined[follower].member, joined[0].generation, &[]);
    w.send_join(static_request(name, &nobody()));
    assert_eq!(w.sync_error(parked), GroupError::FencedInstanceId);
    assert_eq!(w.state(), Some(GroupState::PreparingRebalance));
}

#[test]
fn a_replacement_answers_the_parked_join_of_its_predecessor() {
    let mut w = World::new();
    let first = w.send_join(static_request("a", &nobody()));
    let second = w.send_join(static_request("a", &nobody()));
    assert_eq!(w.join_error(first), GroupError::FencedInstanceId);
    w.pass(1_000);
    assert_eq!(w.joined(second).members.len(), 1);
}

#[test]
fn a_fenced_member_can_do_nothing() {
    let mut w = World::new();
    let (members, generation) = stable_statics(&mut w, 1);
    let (name, old) = &members[0];
    let token = w.send_join(static_request(name, &nobody()));
    w.joined(token);
    let token = w.send_join(static_request(name, old));
    assert_eq!(w.join_error(token), GroupError::FencedInstanceId);
    let mut commit = commit_request(old, generation);
    commit.instance = Some(name.as_str().into());
    commit.offsets = vec![offset(partition(1, 0), 4)];
    let token = w.send_commit(commit);
    assert_eq!(w.committed(token), [Err(GroupError::FencedInstanceId)]);
    let result = w.leave(&[(old, Some(name))]);
    assert_eq!(result, Ok(vec![Err(GroupError::FencedInstanceId)]));
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let mut w = World::new();
    let (members, _) = stable_statics(&mut w, 2);
    let result = w.leave(&[
        (&nobody(), Some("i0")),
        (&nobody(), Some("none")),
        (&nobody(), None),
    ]);
    let unknown = Err(GroupError::UnknownMemberId);
    assert_eq!(result, Ok(vec![Ok(()), unknown, unknown]));
    let left = w.coordinator.describe("g").unwrap().members;
    assert_eq!(left.len(), 1);
    assert_eq!(members.len(), 2);
}

#[test]
fn an_absent_static_member_keeps_its_place_in_a_rebalance() {
    let mut w = World::new();
    let (members, _) = stable_statics(&mut w, 2);
    let mut request = static_request(&members[0].0, &members[0].1);
    request.session_timeout_ms = 120_000;
    let token = w.send_join(request);
    for _ in 0..12 {
        assert!(w.is_parked(token));
        let generation = w.generation();
        let _ = w.heartbeat(&members[1].1, generation);
        w.pass(5_000);
    }
    assert_eq!(
        w.joined(token).members.len(),
        2,
        "only its session's end removes it"
    );
}

#[test]
fn a_rebalance_without_any_joined_member_waits_for_the_static_ones() {
    let mut w = World::new();
    let (statics, generation) = stable_statics(&mut w, 1);
    let (_, token) = w.enter(|_| {});
    let (name, id) = &statics[0];
    assert!(w.is_parked(token));
    let entered = w.coordinator.describe("g").unwrap().members;
    let newcomer = entered
        .iter()
        .find(|member| member.instance.is_none())
        .unwrap();
    w.leave(&[(&newcomer.member.clone(), None)]).unwrap();
    for _ in 0..20 {
        let _ = w.heartbeat_as(id, Some(name), generation);
        w.pass(5_000);
    }
    assert_eq!(w.state(), Some(GroupState::PreparingRebalance));
    let token = w.send_join(static_request(name, id));
    assert_eq!(w.joined(token).members.len(), 1);
}

#[test]
fn a_pending_id_with_an_instance_id_is_refused() {
    let mut w = World::new();
    let token = w.send_join(join_request(&nobody()));
    let Reply::Join(Err(refused)) = w.answer(token) else {
        panic!()
    };
    let token = w.send_join(static_request("a", &refused.member));
    assert_eq!(w.join_error(token), GroupError::UnknownServerError);
}
