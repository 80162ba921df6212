//! Errors of each operation: what was attempted, on which key, and what the caller may do.

use std::time::Duration;

use thiserror::Error;

use crate::key::ObjectKey;

/// Why a PUT failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PutError {
    /// The key exists and the condition was `IfAbsent` (412). The object there is durable.
    #[error("put {key}: the object already exists")]
    AlreadyExists {
        /// The key of the PUT.
        key: ObjectKey,
    },
    /// The object's ETag is not the one of `IfMatch` (412).
    #[error("put {key}: the object has another etag than the one to replace")]
    Mismatch {
        /// The key of the PUT.
        key: ObjectKey,
    },
    /// `IfMatch` on a key that does not exist (404), or the bucket does not exist.
    #[error("put {key}: no such object to replace")]
    NotFound {
        /// The key of the PUT.
        key: ObjectKey,
    },
    /// Another conditional request on the key was running (409): try again, same bytes.
    #[error("put {key}: conflicts with another request on the key")]
    Conflict {
        /// The key of the PUT.
        key: ObjectKey,
    },
    /// No space, or a quota is used up. Retriable: space may return.
    #[error("put {key}: no space left in the store: {reason}")]
    Full {
        /// The key of the PUT.
        key: ObjectKey,
        /// What was attempted and what was answered.
        reason: String,
        /// Whether the object may exist nevertheless.
        outcome_unknown: bool,
    },
    /// The store asks to slow down (503 SlowDown, 429). Nothing was written.
    #[error("put {key}: throttled by the store")]
    Throttled {
        /// The key of the PUT.
        key: ObjectKey,
        /// How long the store asks to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// The store failed or could not be reached. Retriable.
    #[error("put {key}: store unavailable: {reason}")]
    Unavailable {
        /// The key of the PUT.
        key: ObjectKey,
        /// What was attempted and what was answered.
        reason: String,
        /// Whether the PUT may have taken effect.
        outcome_unknown: bool,
    },
    /// A permanent refusal: permissions, a read-only or broken disk, a key that cannot exist.
    #[error("put {key}: refused: {reason}")]
    Denied {
        /// The key of the PUT.
        key: ObjectKey,
        /// What was attempted and what was answered.
        reason: String,
    },
    /// The body did not match its checksum. Nothing was written.
    #[error("put {key}: body is corrupt: {reason}")]
    Corrupt {
        /// The key of the PUT.
        key: ObjectKey,
        /// Which checksum was expected and which found.
        reason: String,
    },
}

impl PutError {
    /// Whether the same PUT (same key, same bytes) may succeed later.
    pub fn retriable(&self) -> bool {
        match self {
            Self::Conflict { .. }
            | Self::Full { .. }
            | Self::Throttled { .. }
            | Self::Unavailable { .. } => true,
            Self::AlreadyExists { .. }
            | Self::Mismatch { .. }
            | Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Corrupt { .. } => false,
        }
    }

    /// Whether the PUT may have taken effect although it failed.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Full {
                outcome_unknown, ..
            }
            | Self::Unavailable {
                outcome_unknown, ..
            } => *outcome_unknown,
            Self::AlreadyExists { .. }
            | Self::Mismatch { .. }
            | Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Throttled { .. }
            | Self::Denied { .. }
            | Self::Corrupt { .. } => false,
        }
    }

    /// The key of the PUT.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::AlreadyExists { key }
            | Self::Mismatch { key }
            | Self::NotFound { key }
            | Self::Conflict { key }
            | Self::Full { key, .. }
            | Self::Throttled { key, .. }
            | Self::Unavailable { key, .. }
            | Self::Denied { key, .. }
            | Self::Corrupt { key, .. } => key,
        }
    }
}

/// Why a GET failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GetError {
    /// No such object (404).
    #[error("get {key}: no such object")]
    NotFound {
        /// The key of the GET.
        key: ObjectKey,
    },
    /// The range selects no byte of the object (416).
    #[error("get {key}: the range selects no byte of {object_len}")]
    RangeNotSatisfiable {
        /// The key of the GET.
        key: ObjectKey,
        /// Length of the object, in bytes; 0 where the store did not say.
        object_len: u64,
    },
    /// The store asks to slow down.
    #[error("get {key}: throttled by the store")]
    Throttled {
        /// The key of the GET.
        key: ObjectKey,
        /// How long the store asks to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// The store failed or could not be reached. Retriable.
    #[error("get {key}: store unavailable: {reason}")]
    Unavailable {
        /// The key of the GET.
        key: ObjectKey,
        /// What was attempted and what was answered.
        reason: String,
    },
    /// A permanent refusal: permissions, a symbolic link in a local directory.
    #[error("get {key}: refused: {reason}")]
    Denied {
        /// The key of the GET.
        key: ObjectKey,
        /// What was attempted and what was answered.
        reason: String,
    },
    /// The object is shorter than the store said, or fails the store's own checksum.
    #[error("get {key}: object is corrupt: {reason}")]
    Corrupt {
        /// The key of the GET.
        key: ObjectKey,
        /// What was expected and what found.
        reason: String,
    },
}

impl GetError {
    /// Whether the same GET may succeed later.
    pub fn retriable(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Unavailable { .. } => true,
            Self::NotFound { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::Denied { .. }
            | Self::Corrupt { .. } => false,
        }
    }

    /// The key of the GET.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::NotFound { key }
            | Self::RangeNotSatisfiable { key, .. }
            | Self::Throttled { key, .. }
            | Self::Unavailable { key, .. }
            | Self::Denied { key, .. }
            | Self::Corrupt { key, .. } => key,
        }
    }
}

/// Why a HEAD failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeadError {
    /// No such object (404).
    #[error("head {key}: no such object")]
    NotFound {
        /// The key of the HEAD.
        key: ObjectKey,
    },
    /// The store asks to slow down.
    #[error("head {key}: throttled by the store")]
    Throttled {
        /// The key of the HEAD.
        key: ObjectKey,
        /// How long the store asks to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// The store failed or could not be reached. Retriable.
    #[error("head {key}: store unavailable: {reason}")]
    Unavailable {
        /// The key of the HEAD.
        key: ObjectKey,
        /// What was attempted and what was answered.
        reason: String,
    },
    /// A permanent refusal.
    #[error("head {key}: refused: {reason}")]
    Denied {
        /// The key of the HEAD.
        key: ObjectKey,
        /// What was attempted and what was answered.
        reason: String,
    },
}

impl HeadError {
    /// Whether the same HEAD may succeed later.
    pub fn retriable(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable { .. })
    }
}

/// Why a LIST failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ListError {
    /// The store asks to slow down.
    #[error("list {prefix:?}: throttled by the store")]
    Throttled {
        /// The prefix asked for.
        prefix: String,
        /// How long the store asks to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// The store failed or could not be reached. Retriable.
    #[error("list {prefix:?}: store unavailable: {reason}")]
    Unavailable {
        /// The prefix asked for.
        prefix: String,
        /// What was attempted and what was answered.
        reason: String,
    },
    /// A permanent refusal; also a bucket that does not exist.
    #[error("list {prefix:?}: refused: {reason}")]
    Denied {
        /// The prefix asked for.
        prefix: String,
        /// What was attempted and what was answered.
        reason: String,
    },
}

impl ListError {
    /// Whether the same LIST may succeed later.
    pub fn retriable(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable { .. })
    }
}

/// Why one key of a DELETE failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeleteError {
    /// The store asks to slow down. Nothing was deleted.
    #[error("delete {key}: throttled by the store")]
    Throttled {
        /// The key to delete.
        key: ObjectKey,
        /// How long the store asks to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// The store failed or could not be reached. Retriable.
    #[error("delete {key}: store unavailable: {reason}")]
    Unavailable {
        /// The key to delete.
        key: ObjectKey,
        /// What was attempted and what was answered.
        reason: String,
        /// Whether the object may be gone.
        outcome_unknown: bool,
    },
    /// A permanent refusal.
    #[error("delete {key}: refused: {reason}")]
    Denied {
        /// The key to delete.
        key: ObjectKey,
        /// What was attempted and what was answered.
        reason: String,
    },
}

impl DeleteError {
    /// Whether the same DELETE may succeed later.
    pub fn retriable(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable { .. })
    }

    /// Whether the object may be gone although the DELETE failed.
    pub fn outcome_unknown(&self) -> bool {
        matches!(
            self,
            Self::Unavailable {
                outcome_unknown: true,
                ..
            }
        )
    }
}
