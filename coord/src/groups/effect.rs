//! What the owner of a coordinator has to do.

use super::ids::{GroupId, OffsetKey, ReplyToken, WriteId};
use super::reply::Reply;
use super::stored::{CommittedOffset, StoredGroup};

/// Something to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Answer a request. Answers to closed connections are dropped by the owner.
    Reply {
        /// The request.
        token: ReplyToken,
        /// The answer.
        reply: Reply,
    },
    /// Make a write durable, then call [`Coordinator::on_persisted`](super::Coordinator).
    Persist {
        /// Its number; writes are carried out and reported in this order.
        id: WriteId,
        /// What to write.
        write: GroupWrite,
    },
}

/// Effects in the order in which they arose.
pub type Effects = Vec<Effect>;

/// Operations that take effect together. Not empty, and at most
/// [`write_ops_max`](super::GroupConfig::write_ops_max) of them. Several writes that wait may be
/// joined into one transaction by appending their operations in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupWrite {
    /// Operations in order; the last one on a key wins.
    pub ops: Vec<WriteOp>,
    /// About how many bytes the keys and values take, so that transactions can be bounded.
    pub bytes: usize,
}

/// A put or delete of one whole key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOp {
    /// Replace the group's record.
    PutGroup(StoredGroup),
    /// Delete the group's record.
    DeleteGroup(GroupId),
    /// Replace a committed offset.
    PutOffset(OffsetKey, CommittedOffset),
    /// Delete a committed offset.
    DeleteOffset(OffsetKey),
}

/// Outcome of a write, definite: an ambiguous one is read back first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persisted {
    /// All operations are durable.
    Done,
    /// None of them took effect, and none will.
    Failed,
}
