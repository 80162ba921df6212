//! DescribeGroups, ListGroups, DeleteGroups, OffsetDelete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::coordinator::{Coordinator, reply};
use super::effect::{Effects, WriteOp};
use super::error::GroupError;
use super::group::{Group, GroupState};
use super::ids::{GroupId, Now, OffsetKey, ReplyToken};
use super::member::Member;
use super::reply::{DeleteOffsetsReply, GroupDescription, GroupSummary, MemberDescription, Reply};
use super::request::DeleteOffsetsRequest;
use super::writes::{Answer, Context, Purpose, WaitId};

/// The only type of group here, as ListGroups names it (KIP-848).
const GROUP_TYPE: &str = "classic";

impl Coordinator {
    /// A group for DescribeGroups; `None` for one that does not exist: state `Dead` without an
    /// error up to version 5, GROUP_ID_NOT_FOUND from version 6 (KIP-1043).
    pub fn describe(&self, group: &str) -> Option<GroupDescription> {
        self.groups.get(group).map(Group::describe)
    }

    /// The groups for ListGroups, by name. States and types filter where they are not empty,
    /// without regard to case; names that do not exist match nothing (KIP-518, KIP-848).
    pub fn list(&self, states: &[&str], types: &[&str]) -> Vec<GroupSummary> {
        let is_type = |name: &&str| name.trim().eq_ignore_ascii_case(GROUP_TYPE);
        if !types.is_empty() && !types.iter().any(is_type) {
            return Vec::new();
        }
        let is_listed = |group: &&Group| {
            let name = group.state.as_str();
            states.is_empty()
                || states
                    .iter()
                    .any(|state| state.trim().eq_ignore_ascii_case(name))
        };
        self.groups
            .values()
            .filter(is_listed)
            .map(Group::summary)
            .collect()
    }

    /// DeleteGroups: groups without members go with all their offsets. The answer comes when that
    /// is durable; until then the group is `Dead` and refuses requests with
    /// COORDINATOR_NOT_AVAILABLE.
    ///
    /// Refusals of a group: GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, COORDINATOR_NOT_AVAILABLE.
    pub fn delete_groups(
        &mut self,
        groups: Vec<GroupId>,
        token: ReplyToken,
        now: Now,
        out: &mut Effects,
    ) {
        let wait = self.writes.reserve_wait();
        let mut results = Vec::with_capacity(groups.len());
        let mut writes = 0;
        for (entry, id) in groups.into_iter().enumerate() {
            let is_full = self.writes.is_full(&self.config);
            let deleted = self.with_group(&id, now, out, |group, ctx| {
                group.validate_delete()?;
                if is_full {
                    return Err(GroupError::CoordinatorNotAvailable);
                }
                Ok(group.delete(Some((wait, entry)), ctx))
            });
            let result = deleted.unwrap_or(Err(GroupError::GroupIdNotFound));
            writes += result.unwrap_or(0);
            results.push((id, result.map(drop)));
        }
        assert!(
            writes == 0 || results.iter().any(|(_, result)| result.is_ok()),
            "only deletions are waited for"
        );
        self.writes
            .wait(wait, token, Answer::DeleteGroups(results), writes, out);
    }

    /// OffsetDelete (KIP-496). The answer comes when the offsets are gone durably.
    ///
    /// Refusals: INVALID_GROUP_ID, GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP (the group has members that
    /// are not consumers), COORDINATOR_NOT_AVAILABLE; of an entry: GROUP_SUBSCRIBED_TO_TOPIC.
    pub fn delete_offsets(
        &mut self,
        request: DeleteOffsetsRequest,
        token: ReplyToken,
        now: Now,
        out: &mut Effects,
    ) {
        let is_full = self.writes.is_full(&self.config);
        let refusal = match self.groups.get(&request.group) {
            _ if request.group.is_empty() => Some(GroupError::InvalidGroupId),
            None => Some(GroupError::GroupIdNotFound),
            Some(group) => group.validate_delete_offsets().err(),
        };
        let refusal = refusal.or(is_full.then_some(GroupError::CoordinatorNotAvailable));
        if let Some(error) = refusal {
            reply(out, token, Reply::DeleteOffsets(Err(error)));
            return;
        }
        let id = request.group.clone();
        let found = self.with_group(&id, now, out, |group, ctx| {
            group.delete_offsets(request, token, ctx);
        });
        assert!(found.is_some(), "the group has been validated");
    }
}

impl Group {
    fn describe(&self) -> GroupDescription {
        let is_stable = self.is(GroupState::Stable);
        let protocol = self.protocol_name.as_ref().filter(|_| is_stable);
        let describe = |member: &Member| MemberDescription {
            member: member.id.clone(),
            instance: member.instance.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            metadata: protocol.map_or_else(Bytes::new, |name| member.metadata(Some(name))),
            assignment: member.assignment.clone(),
        };
        GroupDescription {
            group: self.id.clone(),
            state: self.state,
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name: protocol.cloned().unwrap_or_default(),
            members: self.members.values().map(describe).collect(),
        }
    }

    fn summary(&self) -> GroupSummary {
        GroupSummary {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state,
        }
    }

    fn validate_delete(&self) -> Result<(), GroupError> {
        match self.state {
            GroupState::Empty => Ok(()),
            // Its deletion is under way: the same answer as just after it.
            GroupState::Dead => Err(GroupError::GroupIdNotFound),
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => Err(GroupError::NonEmptyGroup),
        }
    }

    /// Starts the deletion of an empty group, for an entry of a request or on its own. The record
    /// goes in the last write, so that an interrupted deletion leaves a group. Gives the number of
    /// writes.
    pub(super) fn delete(
        &mut self,
        request: Option<(WaitId, usize)>,
        ctx: &mut Context<'_>,
    ) -> usize {
        assert!(self.is(GroupState::Empty), "only an empty group is deleted");
        let entry = request.map_or(0, |(_, entry)| entry);
        let offsets = self.offset_partitions().into_iter().map(|partition| {
            let key = OffsetKey {
                group: self.id.clone(),
                partition,
            };
            (entry, WriteOp::DeleteOffset(key))
        });
        let mut ops: Vec<(usize, WriteOp)> = offsets.collect();
        if self.is_durable {
            ops.push((entry, WriteOp::DeleteGroup(self.id.clone())));
        }
        self.pending_joins.clear();
        // If the deletion fails the group has been empty since the same time as before.
        self.set_state(GroupState::Dead, self.state_timestamp);
        let writes = self.persist_portions(ops, ctx, |_| match request {
            Some((wait, entry)) => Purpose::Entries {
                wait,
                entries: vec![entry],
            },
            None => Purpose::Silent,
        });
        assert!(
            writes > 0 || self.offsets.is_empty() && !self.is_durable,
            "what is stored is deleted by a write"
        );
        writes
    }

    fn validate_delete_offsets(&self) -> Result<(), GroupError> {
        match self.state {
            GroupState::Empty => Ok(()),
            GroupState::Dead => Err(GroupError::GroupIdNotFound),
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => {
                let is_readable = self.uses_consumer_protocol();
                if is_readable {
                    Ok(())
                } else {
                    Err(GroupError::NonEmptyGroup)
                }
            }
        }
    }

    fn delete_offsets(
        &mut self,
        request: DeleteOffsetsRequest,
        token: ReplyToken,
        ctx: &mut Context<'_>,
    ) {
        let existing: BTreeSet<_> = self.offset_partitions();
        let mut subscribed: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        let mut answers = Vec::with_capacity(request.offsets.len());
        let mut ops = Vec::new();
        for (entry, offset) in request.offsets.into_iter().enumerate() {
            let topic = offset.topic_name;
            let is_used = *subscribed
                .entry(topic)
                .or_insert_with_key(|topic| self.is_subscribed(topic));
            let result = if is_used {
                Err(GroupError::GroupSubscribedToTopic)
            } else {
                Ok(())
            };
            answers.push(DeleteOffsetsReply {
                partition: offset.partition,
                result,
            });
            if !is_used && existing.contains(&offset.partition) {
                let key = OffsetKey {
                    group: self.id.clone(),
                    partition: offset.partition,
                };
                ops.push((entry, WriteOp::DeleteOffset(key)));
            }
        }
        assert!(ops.len() <= answers.len(), "each offset has an answer");
        self.persist_entries(ops, Answer::DeleteOffsets(answers), token, ctx);
    }
}
