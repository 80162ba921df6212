//! What a key-value operation can answer instead of a result.

use super::types::{Revision, SessionLease};

/// Why an operation of the key-value store has no result.
///
/// The one distinction that decides what a caller may do: [`KvError::Ambiguous`] means the
/// change *may have been applied*, now or later; it is resolved by reading, never by assuming
/// and never by sending it again unread. Every other variant means that nothing was applied and
/// nothing will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The request broke a rule of the seam: an empty key, a key written twice. Nothing applied.
    #[error("invalid key-value request: {reason}")]
    Invalid {
        /// The rule and where it was broken.
        reason: String,
    },
    /// The request is larger than this store takes in one transaction. Nothing applied.
    #[error("key-value request too large: {size} {unit}, at most {limit}")]
    TooLarge {
        /// What was counted: `operations` or `bytes`.
        unit: &'static str,
        /// How many the request has.
        size: usize,
        /// How many the store takes.
        limit: usize,
    },
    /// The session lease does not live: expired, revoked or never granted. Nothing applied.
    #[error("session lease {lease} does not live")]
    SessionGone {
        /// The lease named in the request.
        lease: SessionLease,
    },
    /// The revision asked for is no longer kept: read again at the current one.
    #[error("revision {asked} is no longer kept, the store is at {current}")]
    Compacted {
        /// The revision asked for.
        asked: Revision,
        /// The current revision.
        current: Revision,
    },
    /// The operation failed before it took effect. Nothing applied; may be tried again.
    #[error("key-value operation failed, nothing applied: {reason}")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// The outcome is unknown: applied, not applied, or to be applied later. Read to find out.
    #[error("key-value outcome unknown, resolve by reading: {reason}")]
    Ambiguous {
        /// What was lost.
        reason: String,
    },
    /// What the store holds is not what it wrote. Nothing applied; trying again does not help.
    #[error("metadata store is corrupt: {reason}")]
    Corrupt {
        /// What was found, and what to do next.
        reason: String,
    },
    /// The store was closed before the operation reached it. Nothing applied.
    #[error("key-value store is closed")]
    Closed,
}

impl KvError {
    /// Whether the change may have been applied all the same.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, KvError::Ambiguous { .. })
    }

    /// Whether the same request may be sent again unchanged. An ambiguous one may not, except
    /// a read, which changes nothing.
    pub fn is_retriable(&self) -> bool {
        match self {
            KvError::Failed { .. } => true,
            KvError::Invalid { .. }
            | KvError::TooLarge { .. }
            | KvError::SessionGone { .. }
            | KvError::Compacted { .. }
            | KvError::Ambiguous { .. }
            | KvError::Corrupt { .. }
            | KvError::Closed => false,
        }
    }

    pub(crate) fn failed(reason: impl std::fmt::Display) -> Self {
        KvError::Failed {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn ambiguous(reason: impl std::fmt::Display) -> Self {
        KvError::Ambiguous {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn invalid(reason: impl std::fmt::Display) -> Self {
        KvError::Invalid {
            reason: reason.to_string(),
        }
    }
}
