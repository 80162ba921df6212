//! Heartbeat. Memory only.

use super::coordinator::Coordinator;
use super::effect::{Effect, Effects};
use super::error::GroupError;
use super::group::{Group, GroupState};
use super::ids::{Now, ReplyToken};
use super::reply::Reply;
use super::request::HeartbeatRequest;

impl Coordinator {
    /// Heartbeat, answered at once. It keeps the session in every state, also where the answer is
    /// REBALANCE_IN_PROGRESS.
    ///
    /// Refusals: INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION,
    /// REBALANCE_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE.
    pub fn heartbeat(
        &mut self,
        request: HeartbeatRequest,
        token: ReplyToken,
        now: Now,
        out: &mut Effects,
    ) {
        let result = if request.group.is_empty() {
            Err(GroupError::InvalidGroupId)
        } else {
            self.touch_group(&request.group, now, out, |group, ctx| {
                group.heartbeat(&request, ctx.now)
            })
            .unwrap_or(Err(GroupError::UnknownMemberId))
        };
        out.push(Effect::Reply {
            token,
            reply: Reply::Heartbeat(result),
        });
    }
}

impl Group {
    fn heartbeat(&mut self, request: &HeartbeatRequest, now: Now) -> Result<(), GroupError> {
        if self.is(GroupState::Dead) {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.validate_member(&request.member, request.instance.as_ref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.start_session(&request.member, now.monotonic);
        match self.state {
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMemberId),
        }
    }
}
