//! Why a group rebalances, for the log.

/// What made the members of a group join again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A member that nobody knew has joined.
    MemberJoined,
    /// A member has come back with other subscriptions or protocols, or the leader asks for a new assignment.
    MemberRejoined,
    /// A static member has come back with another id, and the leader may have been told of the former one.
    StaticMemberReplaced,
    /// A member has left.
    MemberLeft,
    /// The session of a member has ended without a word of it.
    MemberExpired,
    /// A member did not ask for its assignment in time.
    MemberDidNotSync,
    /// The assignment could not be stored.
    AssignmentNotStored,
    /// The bound of members is lower than when the group was stored.
    TooManyMembers,
}

impl Reason {
    /// In words.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::MemberJoined => "a member joined",
            Self::MemberRejoined => "a member joined again, with changes or as leader",
            Self::StaticMemberReplaced => "a static member came back with another id",
            Self::MemberLeft => "a member left",
            Self::MemberExpired => "the session of a member ended",
            Self::MemberDidNotSync => "a member did not ask for its assignment in time",
            Self::AssignmentNotStored => "the assignment was not stored",
            Self::TooManyMembers => "the group has more members than group.max.size",
        }
    }
}
