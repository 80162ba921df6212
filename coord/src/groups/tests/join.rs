//! JoinGroup, heartbeats and leaving.

use std::sync::Arc;

use super::world::*;
use crate::groups::*;

#[test]
fn a_dynamic_member_gets_its_id_first_and_joins_with_it() {
    let mut w = World::new();
    let (id, token) = w.enter(|_| {});
    assert!(id.as_str().starts_with("client-"), "{id}");
    assert_eq!(id.len(), "client-".len() + 36);
    assert_eq!(
        &id.as_str()["client-".len() + 14..][..1],
        "4",
        "a version 4 uuid"
    );
    assert!(w.is_parked(token));
    w.pass(100);
    let joined = w.joined(token);
    assert_eq!(joined.generation, Generation::new(1));
    assert_eq!(joined.leader, id);
    assert_eq!(joined.members.len(), 1);
    assert_eq!(&*joined.protocol_name, "range");
}

#[test]
fn an_old_client_joins_without_an_id() {
    let mut w = World::new();
    let mut request = join_request(&nobody());
    request.member_id_required = false;
    let token = w.send_join(request);
    w.pass(100);
    assert!(!w.joined(token).member.is_empty());
}

#[test]
fn requests_that_break_the_rules_are_refused_and_leave_nothing() {
    let mut w = World::new();
    type Change = fn(&mut JoinRequest);
    let cases: [(GroupError, Change); 7] = [
        (GroupError::InvalidGroupId, |r| r.group = "".into()),
        (GroupError::InvalidSessionTimeout, |r| {
            r.session_timeout_ms = 5_999
        }),
        (GroupError::InvalidSessionTimeout, |r| {
            r.session_timeout_ms = 1_800_001
        }),
        (GroupError::InvalidSessionTimeout, |r| {
            r.session_timeout_ms = -1
        }),
        (GroupError::UnknownMemberId, |r| {
            r.member = "client-1".into()
        }),
        (GroupError::InconsistentGroupProtocol, |r| {
            r.protocols.clear()
        }),
        (GroupError::InconsistentGroupProtocol, |r| {
            r.protocol_type = "".into()
        }),
    ];
    for (error, change) in cases {
        let mut request = join_request(&nobody());
        change(&mut request);
        let token = w.send_join(request);
        assert_eq!(w.join_error(token), error);
        assert_eq!(w.coordinator.group_count(), 0);
    }
}

#[test]
fn a_pending_member_id_lapses_with_its_session_timeout() {
    let mut w = World::new();
    let token = w.send_join(join_request(&nobody()));
    let Reply::Join(Err(refused)) = w.answer(token) else {
        panic!()
    };
    w.pass(SESSION_MS as u64);
    assert_eq!(
        w.coordinator.group_count(),
        0,
        "a group that nobody joined is forgotten"
    );
    let token = w.rejoin(&refused.member);
    assert_eq!(w.join_error(token), GroupError::UnknownMemberId);
}

#[test]
fn a_rebalance_waits_for_pending_member_ids() {
    let mut w = World::new();
    let (members, _) = w.stable(1);
    let pending = w.send_join(join_request(&nobody()));
    w.answer(pending);
    let token = w.rejoin(&members[0]);
    assert!(w.is_parked(token));
    w.pass(SESSION_MS as u64 - 1);
    assert!(w.is_parked(token));
    w.pass(1);
    w.joined(token);
}

#[test]
fn the_first_rebalance_waits_longer_while_members_come() {
    let mut w = World::new();
    let (_, first) = w.enter(|_| {});
    w.pass(60);
    let (_, second) = w.enter(|_| {});
    w.pass(50);
    assert!(w.is_parked(first), "the wait was put off");
    w.pass(90);
    let (first, second) = (w.joined(first), w.joined(second));
    assert_eq!(first.generation, second.generation);
    assert_eq!(
        first.members.len() + second.members.len(),
        2,
        "one leader sees both"
    );
}

#[test]
fn the_first_rebalance_ends_with_the_rebalance_timeout() {
    let mut w = World::new();
    let (_, first) = w.enter(|r| r.rebalance_timeout_ms = 250);
    for _ in 0..5 {
        w.pass(50);
        w.enter(|r| r.rebalance_timeout_ms = 250);
    }
    assert!(w.is_parked(first) || w.now_ms <= 1_250);
    w.pass(50);
    assert!(!w.is_parked(first), "250 ms and one last delay have passed");
}

#[test]
fn the_protocol_is_the_one_all_support_and_most_prefer() {
    let mut w = World::new();
    let prefer = |names: &'static [&'static str]| {
        move |r: &mut JoinRequest| {
            r.protocols = names
                .iter()
                .map(|name| protocol(name, name.as_bytes()))
                .collect();
        }
    };
    let (_, a) = w.enter(prefer(&["sticky", "range", "own"]));
    let (_, b) = w.enter(prefer(&["range", "sticky"]));
    let (_, c) = w.enter(prefer(&["range", "sticky"]));
    w.pass(1_000);
    let all: Vec<JoinedGroup> = [a, b, c].map(|token| w.joined(token)).to_vec();
    assert!(all.iter().all(|joined| &*joined.protocol_name == "range"));
    let leader = all
        .iter()
        .find(|joined| joined.member == joined.leader)
        .unwrap();
    assert!(
        leader
            .members
            .iter()
            .all(|member| &*member.metadata == b"range")
    );
}

#[test]
fn a_member_without_a_shared_protocol_is_refused() {
    let mut w = World::new();
    w.stable(1);
    for change in [
        (|r: &mut JoinRequest| r.protocols = vec![protocol("other", b"")]) as fn(&mut JoinRequest),
        |r| r.protocol_type = "connect".into(),
    ] {
        let mut request = join_request(&nobody());
        change(&mut request);
        let token = w.send_join(request);
        assert_eq!(w.join_error(token), GroupError::InconsistentGroupProtocol);
    }
    assert_eq!(w.state(), Some(GroupState::Stable));
}

#[test]
fn a_new_member_starts_a_rebalance_that_waits_for_the_others() {
    let mut w = World::new();
    let (members, generation) = w.stable(2);
    let (_, token) = w.enter(|_| {});
    assert_eq!(w.state(), Some(GroupState::PreparingRebalance));
    assert_eq!(
        w.heartbeat(&members[0], generation),
        Err(GroupError::RebalanceInProgress)
    );
    let a = w.rejoin(&members[0]);
    assert!(w.is_parked(token) && w.is_parked(a));
    let b = w.rejoin(&members[1]);
    for token in [token, a, b] {
        assert_eq!(w.joined(token).generation, Generation::new(2));
    }
}

#[test]
fn members_that_do_not_rejoin_in_time_are_removed() {
    let mut w = World::new();
    let (members, generation) = w.stable(2);
    let token = w.rejoin(&members[0]);
    for _ in 0..REBALANCE_MS / 5_000 {
        assert!(w.is_parked(token));
        let beat = w.heartbeat(&members[1], generation);
        assert_eq!(beat, Err(GroupError::RebalanceInProgress));
        w.pass(5_000);
    }
    let joined = w.joined(token);
    assert_eq!(joined.members.len(), 1);
    assert_eq!(
        w.heartbeat(&members[1], joined.generation),
        Err(GroupError::UnknownMemberId)
    );
}

#[test]
fn another_leader_is_elected_when_the_leader_does_not_rejoin() {
    let mut w = World::new();
    let (members, _) = w.stable(2);
    let mut request = join_request(&members[1]);
    request.protocols[0].metadata = "changed".into();
    let token = w.send_join(request);
    w.pass(REBALANCE_MS as u64);
    assert_eq!(w.joined(token).leader, members[1]);
}

#[test]
fn a_leader_that_rejoins_starts_a_rebalance_and_an_unchanged_follower_does_not() {
    let mut w = World::new();
    let (members, generation) = w.stable(2);
    let token = w.rejoin(&members[1]);
    let joined = w.joined(token);
    assert_eq!((joined.generation, joined.members.len()), (generation, 0));
    assert_eq!(w.state(), Some(GroupState::Stable));
    let token = w.send_sync(&members[1], generation, &[]);
    assert_eq!(w.synced(token), "a1");
    let token = w.rejoin(&members[0]);
    assert!(w.is_parked(token));
    assert_eq!(w.state(), Some(GroupState::PreparingRebalance));
}

#[test]
fn a_retried_join_answers_the_parked_one() {
    let mut w = World::new();
    let (members, _) = w.stable(2);
    let first = w.rejoin(&members[0]);
    let second = w.rejoin(&members[0]);
    assert_eq!(w.join_error(first), GroupError::RebalanceInProgress);
    assert!(w.is_parked(second));
}

#[test]
fn a_join_repeated_before_sync_gets_the_same_generation() {
    let mut w = World::new();
    let (id, token) = w.enter(|_| {});
    w.pass(100);
    let first = w.joined(token);
    let token = w.rejoin(&id);
    assert_eq!(w.joined(token), first);
}

#[test]
fn a_silent_member_is_removed_and_heartbeats_keep_it() {
    let mut w = World::new();
    let (members, generation) = w.stable(2);
    for _ in 0..10 {
        w.pass(4_000);
        let _ = w.heartbeat(&members[0], generation);
    }
    assert_eq!(w.state(), Some(GroupState::PreparingRebalance));
    assert_eq!(
        w.heartbeat(&members[1], generation),
        Err(GroupError::UnknownMemberId)
    );
    let token = w.rejoin(&members[0]);
    assert_eq!(w.joined(token).members.len(), 1);
}

#[test]
fn a_new_member_whose_client_is_gone_is_dropped_after_five_minutes() {
    let mut w = World::new();
    let (members, generation) = w.stable(1);
    let (_, token) = w.enter(|r| r.rebalance_timeout_ms = 1_000_000);
    for _ in 0..60 {
        let _ = w.heartbeat(&members[0], generation);
        w.pass(5_000);
    }
    assert_eq!(w.join_error(token), GroupError::UnknownMemberId);
}

#[test]
fn heartbeats_of_other_generations_and_members_are_refused() {
    let mut w = World::new();
    assert_eq!(
        w.heartbeat(&nobody(), Generation::ZERO),
        Err(GroupError::UnknownMemberId)
    );
    let (members, generation) = w.stable(1);
    assert_eq!(w.heartbeat(&members[0], generation), Ok(()));
    assert_eq!(
        w.heartbeat(&members[0], Generation::new(0)),
        Err(GroupError::IllegalGeneration)
    );
    assert_eq!(
        w.heartbeat(&"x".into(), generation),
        Err(GroupError::UnknownMemberId)
    );
}

#[test]
fn members_leave_in_a_batch_with_a_result_each() {
    let mut w = World::new();
    let (members, generation) = w.stable(3);
    let result = w.leave(&[
        (&members[0], None),
        (&"x".into(), None),
        (&members[1], None),
    ]);
    let unknown = Err(GroupError::UnknownMemberId);
    assert_eq!(result, Ok(vec![Ok(()), unknown, Ok(())]));
    assert_eq!(
        w.heartbeat(&members[2], generation),
        Err(GroupError::RebalanceInProgress)
    );
    assert_eq!(w.leave(&[(&members[2], None)]), Ok(vec![Ok(())]));
    assert_eq!(w.state(), Some(GroupState::Empty));
    assert_eq!(
        w.generation(),
        Generation::new(2),
        "the empty generation counts"
    );
    let stored = w.store.group("g").unwrap();
    assert_eq!(
        (stored.generation, stored.members.len()),
        (Generation::new(2), 0)
    );
    assert_eq!(w.leave(&[(&members[2], None)]), Ok(vec![unknown]));
}

#[test]
fn leaving_answers_what_the_member_has_parked() {
    let mut w = World::new();
    let (members, _) = w.stable(2);
    let parked = w.rejoin(&members[0]);
    assert_eq!(w.leave(&[(&members[0], None)]), Ok(vec![Ok(())]));
    assert_eq!(w.join_error(parked), GroupError::UnknownMemberId);
}

#[test]
fn a_full_group_refuses_members() {
    let config = GroupConfig {
        members_max: 2,
        ..GroupConfig::default()
    };
    let mut w = World::with(config);
    let (members, _) = w.stable(2);
    let token = w.send_join(join_request(&nobody()));
    assert_eq!(w.join_error(token), GroupError::GroupMaxSizeReached);
    let token = w.rejoin(&members[1]);
    w.joined(token);
}

#[test]
fn a_slot_without_room_refuses_new_groups_in_each_of_its_tenures() {
    let mut w = World::new();
    w.room = Arc::new(GroupRoom::new(Some(1), 1));
    w.restart();
    let (members, _) = w.stable(1);
    let mut other = join_request(&nobody());
    other.group = "other".into();
    for tenure in 0..3 {
        let token = w.send_join(other.clone());
        let error = w.join_error(token);
        assert_eq!(error, GroupError::TooManyGroups, "tenure {tenure}");
        let token = w.rejoin(&members[0]);
        w.joined(token);
        w.coordinator.check();
        w.restart();
    }
}

#[test]
fn pending_member_ids_are_bounded() {
    let config = GroupConfig {
        members_max: 5,
        ..GroupConfig::default()
    };
    let mut w = World::with(config);
    let mut errors = Vec::new();
    for _ in 0..20 {
        let token = w.send_join(join_request(&nobody()));
        errors.push(w.join_error(token));
    }
    assert_eq!(errors[4], GroupError::MemberIdRequired);
    assert!(
        errors[5..]
            .iter()
            .all(|error| *error == GroupError::GroupMaxSizeReached)
    );
}

#[test]
fn metadata_of_a_group_and_of_a_slot_is_bounded() {
    let mut w = World::new();
    let big = vec![7; 600 << 10];
    let token = w.send_join(join_request(&nobody()));
    let Reply::Join(Err(first)) = w.answer(token) else {
        panic!()
    };
    let with_metadata = |id: &MemberId| {
        let mut request = join_request(id);
        request.protocols = vec![protocol("range", &big)];
        request
    };
    let token = w.send_join(with_metadata(&first.member));
    let pending = w.send_join(join_request(&nobody()));
    let Reply::Join(Err(second)) = w.answer(pending) else {
        panic!()
    };
    let refused = w.send_join(with_metadata(&second.member));
    assert_eq!(w.join_error(refused), GroupError::GroupMaxSizeReached);
    assert!(w.is_parked(token));
    assert!(w.coordinator.memory_bytes() < 1 << 20);

    let mut w = World::with(GroupConfig {
        slot_bytes_max: 10_000,
        ..GroupConfig::default()
    });
    let mut refusals = 0;
    for index in 0..100 {
        let mut request = join_request(&nobody());
        request.group = format!("g{index}").into();
        let token = w.send_join(request);
        refusals += usize::from(w.join_error(token) == GroupError::CoordinatorNotAvailable);
    }
    assert!(refusals > 80, "{refusals}");
    assert!(w.coordinator.memory_bytes() < 20_000);
}

#[test]
fn a_rebalance_timeout_of_zero_does_not_spin() {
    let mut w = World::new();
    let (a, token) = w.enter(|r| r.rebalance_timeout_ms = 0);
    w.pass(200);
    let generation = w.joined(token).generation;
    let _ = w.send_sync(&a, generation, &[]);
    w.pass(120_000);
    assert_eq!(w.state(), Some(GroupState::Empty));
}
