//! LeaveGroup.

use super::coordinator::Coordinator;
use super::effect::{Effect, Effects};
use super::error::GroupError;
use super::group::{Group, GroupState};
use super::ids::{MemberId, Now, ReplyToken};
use super::reason::Reason;
use super::reply::{LeaveReply, Reply};
use super::request::{LeaveMember, LeaveRequest};
use super::writes::Context;

impl Coordinator {
    /// LeaveGroup, answered at once: a member that leaves is forgotten, durable or not, as a
    /// restart that finds it again only waits for its session to end. At most one rebalance
    /// follows.
    ///
    /// Refusals of the request: INVALID_GROUP_ID, COORDINATOR_NOT_AVAILABLE; of a member:
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
    pub fn leave(&mut self, request: LeaveRequest, token: ReplyToken, now: Now, out: &mut Effects) {
        let LeaveRequest { group, members } = request;
        let result = if group.is_empty() {
            Err(GroupError::InvalidGroupId)
        } else {
            let unknown = || {
                members
                    .iter()
                    .map(|member| leave_reply(member, UNKNOWN))
                    .collect()
            };
            self.with_group(&group, now, out, |group, ctx| group.leave(&members, ctx))
                .unwrap_or_else(|| Ok(unknown()))
        };
        out.push(Effect::Reply {
            token,
            reply: Reply::Leave(result),
        });
    }
}

const UNKNOWN: Result<(), GroupError> = Err(GroupError::UnknownMemberId);

impl Group {
    fn leave(
        &mut self,
        members: &[LeaveMember],
        ctx: &mut Context<'_>,
    ) -> Result<Vec<LeaveReply>, GroupError> {
        if self.is(GroupState::Dead) {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let replies: Vec<LeaveReply> = members
            .iter()
            .map(|member| leave_reply(member, self.leave_one(member, ctx)))
            .collect();
        assert!(replies.len() == members.len(), "each is told");
        if replies.iter().any(|reply| reply.result.is_ok()) {
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance => {
                    self.prepare_rebalance(Reason::MemberLeft, ctx);
                }
                GroupState::PreparingRebalance => self.maybe_complete_join(ctx),
                GroupState::Empty | GroupState::Dead => {}
            }
        }
        Ok(replies)
    }

    fn leave_one(&mut self, leaver: &LeaveMember, ctx: &mut Context<'_>) -> Result<(), GroupError> {
        let id = self.leaver_id(leaver)?;
        assert!(
            self.members.contains_key(&id) || self.pending_joins.contains_key(&id),
            "only who is there leaves"
        );
        let reason = leaver.reason.as_deref().unwrap_or("not provided");
        tracing::info!(group = %self.id, member = %id, reason, "member leaves");
        self.remove_member(&id, ctx);
        assert!(!self.members.contains_key(&id), "who has left is no member");
        Ok(())
    }

    /// Whom the entry names: a static member by its instance id alone (an administrator removes
    /// it), an id that was given out, or a member.
    fn leaver_id(&self, leaver: &LeaveMember) -> Result<MemberId, GroupError> {
        if leaver.member.is_empty() {
            let named = leaver
                .instance
                .as_ref()
                .and_then(|own| self.static_members.get(own));
            return named.cloned().ok_or(GroupError::UnknownMemberId);
        }
        if !self.pending_joins.contains_key(&leaver.member) {
            self.validate_member(&leaver.member, leaver.instance.as_ref())?;
        }
        Ok(leaver.member.clone())
    }
}

fn leave_reply(leaver: &LeaveMember, result: Result<(), GroupError>) -> LeaveReply {
    LeaveReply {
        member: leaver.member.clone(),
        instance: leaver.instance.clone(),
        result,
    }
}
