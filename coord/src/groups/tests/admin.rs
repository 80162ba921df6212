//! DescribeGroups, ListGroups, DeleteGroups, OffsetDelete.

use super::world::*;
use crate::groups::*;

fn delete_offsets(w: &mut World, offsets: &[(u8, i32)]) -> u64 {
    let offsets = offsets.iter().map(|(topic, index)| OffsetToDelete {
        partition: partition(*topic, *index),
        topic_name: topic_name(partition(*topic, 0).topic).into(),
    });
    let request = DeleteOffsetsRequest {
        group: "g".into(),
        offsets: offsets.collect(),
    };
    let token = w.token();
    let mut out = Effects::new();
    w.coordinator
        .delete_offsets(request, token, w.now(), &mut out);
    w.absorb(out);
    token.0
}

fn offsets_deleted(w: &mut World, token: u64) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    match w.answer(token) {
        Reply::DeleteOffsets(result) => {
            result.map(|all| all.into_iter().map(|entry| entry.result).collect())
        }
        other => panic!("not a deletion: {other:?}"),
    }
}

#[test]
fn a_stable_group_is_described_in_full_and_others_without_metadata() {
    let mut w = World::new();
    assert_eq!(w.coordinator.describe("g"), None);
    let (members, _) = w.stable(2);
    let group = w.coordinator.describe("g").unwrap();
    assert_eq!(
        (group.state, &*group.protocol_name),
        (GroupState::Stable, "range")
    );
    assert_eq!(&*group.protocol_type, "consumer");
    let leader = group
        .members
        .iter()
        .find(|member| member.member == members[0])
        .unwrap();
    assert_eq!(
        (&*leader.client_id, &*leader.client_host),
        ("client", "/10.0.0.7")
    );
    assert_eq!(&*leader.assignment, b"a0");
    assert_eq!(&leader.metadata[..], &subscription(&["t"])[..]);
    w.rejoin(&members[0]);
    let group = w.coordinator.describe("g").unwrap();
    assert_eq!(
        (group.state, &*group.protocol_name),
        (GroupState::PreparingRebalance, "")
    );
    assert!(
        group
            .members
            .iter()
            .all(|member| member.metadata.is_empty())
    );
    assert!(
        group
            .members
            .iter()
            .all(|member| !member.assignment.is_empty())
    );
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut w = World::new();
    w.stable(1);
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.group = "simple".into();
    request.offsets = vec![offset(partition(1, 0), 1)];
    let token = w.send_commit(request);
    w.committed(token);
    let list = |states: &[&str], types: &[&str]| {
        let all = w.coordinator.list(states, types);
        all.iter()
            .map(|group| group.group.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&[], &[]), ["g", "simple"]);
    assert_eq!(list(&["stable"], &[]), ["g"]);
    assert_eq!(list(&[" EMPTY ", "Dead"], &["Classic"]), ["simple"]);
    assert_eq!(list(&["nonsense"], &[]), [""; 0]);
    assert_eq!(list(&[], &["consumer", "share", "nonsense"]), [""; 0]);
    assert_eq!(list(&[], &["consumer", "classic"]), ["g", "simple"]);
    let types: Vec<_> = w.coordinator.list(&[], &[]);
    assert_eq!(
        (&*types[0].protocol_type, &*types[1].protocol_type),
        ("consumer", "")
    );
}

#[test]
fn only_groups_without_members_are_deleted_and_their_offsets_with_them() {
    let mut w = World::new();
    let (members, generation) = w.stable(1);
    for index in 0..40 {
        w.commit(&members[0], generation, partition(1, index), 1)
            .unwrap();
    }
    let token = w.delete_groups(&["g", "none"]);
    let not_found = Err(GroupError::GroupIdNotFound);
    assert_eq!(
        w.deleted(token),
        [Err(GroupError::NonEmptyGroup), not_found]
    );
    w.leave(&[(&members[0], None)]).unwrap();
    w.auto = false;
    let token = w.delete_groups(&["g"]);
    assert!(w.is_parked(token));
    assert_eq!(w.state(), Some(GroupState::Dead));
    let unavailable = Err(GroupError::CoordinatorNotAvailable);
    assert_eq!(
        w.commit(&nobody(), Generation::NONE, partition(1, 0), 2),
        unavailable
    );
    let join = w.send_join(join_request(&nobody()));
    assert_eq!(w.join_error(join), GroupError::CoordinatorNotAvailable);
    assert_eq!(w.heartbeat(&members[0], generation), unavailable);
    assert_eq!(w.leave(&[]), Err(GroupError::CoordinatorNotAvailable));
    let again = w.delete_groups(&["g"]);
    assert_eq!(w.deleted(again), [not_found]);
    assert_eq!(w.queue.len(), 2);
    w.finish_write(Persisted::Done);
    w.finish_write(Persisted::Done);
    assert_eq!(w.deleted(token), [Ok(())]);
    assert_eq!(w.coordinator.group_count(), 0);
    assert!(w.store.groups.is_empty() && w.store.offsets.is_empty());
}

#[test]
fn a_deletion_covers_commits_under_way() {
    let mut w = World::new();
    w.auto = false;
    let mut request = commit_request(&nobody(), Generation::NONE);
    request.offsets = vec![offset(partition(1, 0), 1)];
    w.send_commit(request);
    let token = w.delete_groups(&["g"]);
    w.finish_write(Persisted::Done);
    w.finish_write(Persisted::Done);
    assert_eq!(w.deleted(token), [Ok(())]);
    assert!(w.store.offsets.is_empty());
    assert_eq!(w.fetch(partition(1, 0)), -1);
}

#[test]
fn a_failed_deletion_leaves_a_group() {
    let mut w = World::new();
    let (members, _) = w.stable(1);
    w.leave(&[(&members[0], None)]).unwrap();
    w.auto = false;
    let token = w.delete_groups(&["g"]);
    w.finish_write(Persisted::Failed);
    assert_eq!(w.deleted(token), [Err(GroupError::CoordinatorNotAvailable)]);
    assert_eq!(w.state(), Some(GroupState::Empty));
    assert_eq!(w.generation(), Generation::new(2));
    w.auto = true;
    let token = w.delete_groups(&["g"]);
    assert_eq!(w.deleted(token), [Ok(())]);
}

#[test]
fn offsets_of_subscribed_topics_are_not_deleted() {
    let mut w = World::new();
    let token = delete_offsets(&mut w, &[(1, 0)]);
    assert_eq!(
        offsets_deleted(&mut w, token),
        Err(GroupError::GroupIdNotFound)
    );
    let (members, generation) = w.stable(1);
    for topic in [1, 2] {
        w.commit(&members[0], generation, partition(topic, 0), 1)
            .unwrap();
    }
    let token = delete_offsets(&mut w, &[(1, 0), (2, 0), (2, 9)]);
    let used = Err(GroupError::GroupSubscribedToTopic);
    assert_eq!(
        offsets_deleted(&mut w, token),
        Ok(vec![used, Ok(()), Ok(())])
    );
    assert_eq!(
        [w.fetch(partition(1, 0)), w.fetch(partition(2, 0))],
        [1, -1]
    );
    w.restart();
    let token = delete_offsets(&mut w, &[(1, 0)]);
    assert_eq!(
        offsets_deleted(&mut w, token),
        Ok(vec![used]),
        "the subscription is restored"
    );
    w.leave(&[(&members[0], None)]).unwrap();
    let token = delete_offsets(&mut w, &[(1, 0)]);
    assert_eq!(offsets_deleted(&mut w, token), Ok(vec![Ok(())]));
}

#[test]
fn offsets_of_groups_that_are_not_consumers_stay_while_they_have_members() {
    let mut w = World::new();
    let (_, token) = w.enter(|r| r.protocol_type = "connect".into());
    w.pass(100);
    w.joined(token);
    let token = delete_offsets(&mut w, &[(1, 0)]);
    assert_eq!(
        offsets_deleted(&mut w, token),
        Err(GroupError::NonEmptyGroup)
    );
}

#[test]
fn a_subscription_that_cannot_be_read_protects_all_topics() {
    let mut w = World::new();
    let (_, token) = w.enter(|r| r.protocols = vec![protocol("range", &[0, 1, 0])]);
    w.pass(100);
    w.joined(token);
    let token = delete_offsets(&mut w, &[(9, 0)]);
    let used = Err(GroupError::GroupSubscribedToTopic);
    assert_eq!(offsets_deleted(&mut w, token), Ok(vec![used]));
}
