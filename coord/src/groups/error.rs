//! Errors: of the group protocol towards clients, and of stored bytes towards the owner.

use super::ids::GroupId;

/// Why a request is refused. Each variant is one Kafka error code; the map is the owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum GroupError {
    /// INVALID_GROUP_ID (24): the group id is empty where a name is needed.
    #[error("the group id is empty")]
    InvalidGroupId,
    /// INVALID_SESSION_TIMEOUT (26): outside the configured bounds.
    #[error("the session timeout is outside the configured bounds")]
    InvalidSessionTimeout,
    /// MEMBER_ID_REQUIRED (79, KIP-394): join again with the id that comes with the refusal.
    #[error("join again with the member id given")]
    MemberIdRequired,
    /// UNKNOWN_MEMBER_ID (25): the group has no such member; join anew.
    #[error("the group has no such member")]
    UnknownMemberId,
    /// FENCED_INSTANCE_ID (82, KIP-345): another member has taken over this instance id.
    #[error("another member has taken over the instance id")]
    FencedInstanceId,
    /// ILLEGAL_GENERATION (22): the request is from another generation.
    #[error("the request is from another generation")]
    IllegalGeneration,
    /// INCONSISTENT_GROUP_PROTOCOL (23): no protocol in common with the group.
    #[error("no protocol in common with the group")]
    InconsistentGroupProtocol,
    /// REBALANCE_IN_PROGRESS (27): rejoin.
    #[error("the group rebalances")]
    RebalanceInProgress,
    /// GROUP_MAX_SIZE_REACHED (81): the group is full, in members or in bytes.
    #[error("the group is full")]
    GroupMaxSizeReached,
    /// POLICY_VIOLATION (44): the cluster has as many groups as it may.
    #[error("the cluster has as many groups as it may")]
    TooManyGroups,
    /// COORDINATOR_NOT_AVAILABLE (15): a write failed, the group is being deleted, or the slot is
    /// at one of its bounds. Retriable.
    #[error("the coordinator cannot serve this now")]
    CoordinatorNotAvailable,
    /// NOT_COORDINATOR (16): the slot was given up while the request was parked. Retriable
    /// elsewhere.
    #[error("the slot has another coordinator")]
    NotCoordinator,
    /// GROUP_ID_NOT_FOUND (69).
    #[error("the group does not exist")]
    GroupIdNotFound,
    /// NON_EMPTY_GROUP (68): the group has members.
    #[error("the group has members")]
    NonEmptyGroup,
    /// GROUP_SUBSCRIBED_TO_TOPIC (86): the group uses the topic whose offsets should be deleted.
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    /// OFFSET_METADATA_TOO_LARGE (12).
    #[error("the offset's metadata is too long")]
    OffsetMetadataTooLarge,
    /// UNSTABLE_OFFSET_COMMIT (88, KIP-447): a commit of this partition is under way. Retriable.
    #[error("a commit of this partition is under way")]
    UnstableOffsetCommit,
    /// UNKNOWN_SERVER_ERROR (-1): the group's persisted form would be too large, or the request is
    /// one that no client makes.
    #[error("the request cannot be served")]
    UnknownServerError,
}

impl GroupError {
    /// Whether the same request can succeed later, here or at another broker.
    pub const fn is_retriable(self) -> bool {
        match self {
            Self::CoordinatorNotAvailable
            | Self::NotCoordinator
            | Self::RebalanceInProgress
            | Self::UnstableOffsetCommit => true,
            Self::InvalidGroupId
            | Self::InvalidSessionTimeout
            | Self::MemberIdRequired
            | Self::UnknownMemberId
            | Self::FencedInstanceId
            | Self::IllegalGeneration
            | Self::InconsistentGroupProtocol
            | Self::GroupMaxSizeReached
            | Self::TooManyGroups
            | Self::GroupIdNotFound
            | Self::NonEmptyGroup
            | Self::GroupSubscribedToTopic
            | Self::OffsetMetadataTooLarge
            | Self::UnknownServerError => false,
        }
    }
}

/// Why stored bytes are not a group or a committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a later version of this code.
    #[error("decode stored value: unknown version {0}")]
    Version(u8),
    /// The bytes end inside a field, or a length points past the end.
    #[error("decode stored value: truncated")]
    Truncated,
    /// Bytes follow the last field.
    #[error("decode stored value: trailing bytes")]
    Trailing,
    /// A string is not UTF-8.
    #[error("decode stored value: text is not utf-8")]
    Text,
    /// A field has a value that the writer never writes.
    #[error("decode stored value: {0}")]
    Value(&'static str),
}

/// Why stored state cannot be taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Two records name the same group.
    #[error("restore group {0}: it is there twice")]
    Twice(GroupId),
    /// The record contradicts itself.
    #[error("restore group {group}: {reason}")]
    Invalid {
        /// The group.
        group: GroupId,
        /// What is wrong.
        reason: &'static str,
    },
}
