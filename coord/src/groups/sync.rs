//! SyncGroup: the leader hands in the assignment, everybody gets theirs once it is durable.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::coordinator::Coordinator;
use super::effect::{Effect, Effects, Persisted, WriteOp};
use super::error::GroupError;
use super::group::{Assigning, Group, GroupState};
use super::ids::{MemberId, Now, ReplyToken, WriteId};
use super::reason::Reason;
use super::reply::Reply;
use super::request::{MemberAssignment, SyncRequest};
use super::writes::{Context, Purpose};

impl Coordinator {
    /// SyncGroup. The answer comes when the leader's assignment is durable, at once in a stable
    /// group.
    ///
    /// Refusals: INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION,
    /// INCONSISTENT_GROUP_PROTOCOL, REBALANCE_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE (the write
    /// failed; a new rebalance has begun), UNKNOWN_SERVER_ERROR (the assignment is too large).
    pub fn sync(&mut self, request: SyncRequest, token: ReplyToken, now: Now, out: &mut Effects) {
        // A group without a name may exist, for offsets; nobody joins it.
        let error = if request.group.is_empty() {
            GroupError::InvalidGroupId
        } else if self.groups.contains_key(&request.group) {
            let id = request.group.clone();
            self.with_group(&id, now, out, |group, ctx| group.sync(request, token, ctx));
            return;
        } else {
            GroupError::UnknownMemberId
        };
        out.push(Effect::Reply {
            token,
            reply: Reply::Sync(Err(error)),
        });
    }
}

impl Group {
    fn sync(&mut self, request: SyncRequest, token: ReplyToken, ctx: &mut Context<'_>) {
        if let Err(error) = self.validate_sync(&request) {
            ctx.reply(token, Reply::Sync(Err(error)));
            return;
        }
        match self.state {
            GroupState::Stable => {
                self.note_sync(&request.member);
                let synced = self.synced(&request.member);
                ctx.reply(token, Reply::Sync(Ok(synced)));
            }
            GroupState::CompletingRebalance => self.park_sync(request, token, ctx),
            GroupState::Empty | GroupState::PreparingRebalance | GroupState::Dead => {
                unreachable!("refused by validate_sync")
            }
        }
    }

    fn validate_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        match self.state {
            GroupState::Empty => return Err(GroupError::UnknownMemberId),
            GroupState::Dead => return Err(GroupError::CoordinatorNotAvailable),
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => {}
        }
        self.validate_member(&request.member, request.instance.as_ref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs =
            |asked: &Option<_>, own: &Option<_>| asked.is_some() && own.is_some() && asked != own;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        if self.is(GroupState::PreparingRebalance) {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    fn park_sync(&mut self, request: SyncRequest, token: ReplyToken, ctx: &mut Context<'_>) {
        assert!(
            self.is(GroupState::CompletingRebalance),
            "only there a member waits for its assignment"
        );
        let is_leader = self.is_leader(&request.member);
        // While the assignment is written a leader that tries again only waits: what is written
        // holds.
        let hands_in = is_leader && self.assigning.is_none();
        let bytes: usize = request
            .assignments
            .iter()
            .map(|entry| entry.assignment.len())
            .sum();
        let is_refused =
            ctx.writes.is_full(ctx.config) || ctx.slot_full && bytes > self.assignment_bytes;
        if hands_in && is_refused {
            ctx.reply(token, Reply::Sync(Err(GroupError::CoordinatorNotAvailable)));
            return;
        }
        let member = self
            .members
            .get_mut(&request.member)
            .expect("it has been validated");
        if let Some(former) = member.awaiting_sync.replace(token) {
            // A retry replaces it. Kafka leaves it without an answer.
            ctx.reply(former, Reply::Sync(Err(GroupError::RebalanceInProgress)));
        }
        self.note_sync(&request.member);
        if hands_in {
            self.persist_assignment(request.assignments, ctx);
        }
    }

    fn persist_assignment(&mut self, handed_in: Vec<MemberAssignment>, ctx: &mut Context<'_>) {
        // Members that the leader leaves out get an empty assignment; others it names are ignored.
        let known = handed_in
            .into_iter()
            .filter(|entry| self.members.contains_key(&entry.member));
        let assignments: BTreeMap<MemberId, Bytes> = known
            .map(|entry| (entry.member, Bytes::copy_from_slice(&entry.assignment)))
            .collect();
        assert!(self.assigning.is_none(), "one assignment is under way");
        assert!(
            assignments.len() <= self.members.len(),
            "only members are assigned to"
        );
        let mut stored =
            self.to_stored(|member| assignments.get(&member.id).cloned().unwrap_or_default());
        stored.state_timestamp = ctx.now.wall;
        if stored.encoded_len() > ctx.config.group_bytes_max {
            let bytes = stored.encoded_len();
            tracing::warn!(group = %self.id, bytes, "assignment is too large");
            self.fail_assignment(GroupError::UnknownServerError, ctx);
            return;
        }
        let write = self.persist(vec![WriteOp::PutGroup(stored)], Purpose::Assignment, ctx);
        self.assigning = Some(Assigning { write, assignments });
    }

    /// The outcome of that write. Without effect if a rebalance has begun since.
    pub(super) fn on_assignment(
        &mut self,
        write: WriteId,
        outcome: Persisted,
        ctx: &mut Context<'_>,
    ) {
        if self
            .assigning
            .as_ref()
            .is_none_or(|assigning| assigning.write != write)
        {
            return;
        }
        match outcome {
            Persisted::Done => self.complete_sync(ctx),
            Persisted::Failed => self.fail_assignment(GroupError::CoordinatorNotAvailable, ctx),
        }
    }

    fn fail_assignment(&mut self, error: GroupError, ctx: &mut Context<'_>) {
        assert!(
            self.is(GroupState::CompletingRebalance),
            "an assignment fails while it is awaited"
        );
        self.assigning = None;
        self.reset_assignment(error, ctx);
        self.prepare_rebalance(Reason::AssignmentNotStored, ctx);
    }
}
