//! Writes under way, in order, and the requests that wait for them.

use std::collections::{BTreeMap, VecDeque};

use super::config::GroupConfig;
use super::effect::{Effect, Effects, GroupWrite, Persisted, WriteOp};
use super::error::GroupError;
use super::ids::{Generation, GroupId, MemberId, Now, OffsetKey, ReplyToken, WriteId};
use super::member::Member;
use super::reply::{CommitReply, DeleteOffsetsReply, Reply};
use super::request::FetchRequest;

/// What every transition of a group needs besides the group.
pub(super) struct Context<'a> {
    pub(super) config: &'a GroupConfig,
    pub(super) now: Now,
    pub(super) writes: &'a mut Writes,
    pub(super) out: &'a mut Effects,
    /// The slot is at its bound of bytes: nothing that grows it is accepted.
    pub(super) slot_full: bool,
}

impl Context<'_> {
    pub(super) fn reply(&mut self, token: ReplyToken, reply: Reply) {
        self.out.push(Effect::Reply { token, reply });
    }

    /// Starts a write. All its operations concern `group`.
    pub(super) fn persist(
        &mut self,
        group: &GroupId,
        ops: Vec<WriteOp>,
        purpose: Purpose,
    ) -> WriteId {
        self.writes.push(group.clone(), ops, purpose, self.out)
    }
}

/// Why a write is made: what happens with its outcome.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Nothing waits: an empty group, expired offsets, offsets of deleted topics.
    Silent,
    /// The leader's assignment.
    Assignment,
    /// A static member that replaced its predecessor without a rebalance.
    StaticJoin(Box<StaticJoin>),
    /// Entries of a request that waits.
    Entries {
        /// The request.
        wait: WaitId,
        /// Which of its entries fail with the write.
        entries: Vec<usize>,
    },
}

/// What is needed to answer, or to undo, the replacement of a static member.
#[derive(Debug)]
pub(super) struct StaticJoin {
    pub(super) member: MemberId,
    pub(super) generation: Generation,
    /// The replaced member, without parked requests.
    pub(super) previous: Member,
    /// Leader before the replacement.
    pub(super) leader_before: Option<MemberId>,
    pub(super) skip_assignment_supported: bool,
}

/// A request that waits for several writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaitId(u64);

/// The answer under construction: entries turn into errors as writes fail.
#[derive(Debug)]
pub(super) enum Answer {
    Commit(Vec<CommitReply>),
    DeleteGroups(Vec<(GroupId, Result<(), GroupError>)>),
    DeleteOffsets(Vec<DeleteOffsetsReply>),
}

impl Answer {
    fn fail(&mut self, entry: usize, error: GroupError) {
        match self {
            Self::Commit(entries) => entries[entry].result = Err(error),
            Self::DeleteGroups(entries) => entries[entry].1 = Err(error),
            Self::DeleteOffsets(entries) => entries[entry].result = Err(error),
        }
    }

    fn fail_all(&mut self, error: GroupError) {
        let count = match self {
            Self::Commit(entries) => entries.len(),
            Self::DeleteGroups(entries) => entries.len(),
            Self::DeleteOffsets(entries) => entries.len(),
        };
        (0..count).for_each(|entry| self.fail(entry, error));
    }

    pub(super) fn into_reply(self) -> Reply {
        match self {
            Self::Commit(entries) => Reply::Commit(entries),
            Self::DeleteGroups(entries) => Reply::DeleteGroups(entries),
            Self::DeleteOffsets(entries) => Reply::DeleteOffsets(Ok(entries)),
        }
    }
}

#[derive(Debug)]
struct Wait {
    token: ReplyToken,
    answer: Answer,
    writes_left: usize,
}

/// A write whose outcome is not known yet.
#[derive(Debug)]
pub(super) struct PendingWrite {
    pub(super) id: WriteId,
    pub(super) group: GroupId,
    pub(super) ops: Vec<WriteOp>,
    pub(super) purpose: Purpose,
    /// Fetches that wait for this write, which was the group's last when they came.
    pub(super) fetches: Vec<(ReplyToken, FetchRequest)>,
    bytes: usize,
}

/// The queue of writes of a slot.
#[derive(Debug, Default)]
pub(super) struct Writes {
    next_write: u64,
    next_wait: u64,
    queue: VecDeque<PendingWrite>,
    waits: BTreeMap<WaitId, Wait>,
    bytes: usize,
    parked_fetches: usize,
}

impl Writes {
    /// Bytes of all writes under way.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether requests that need a write have to be refused.
    pub(super) fn is_full(&self, config: &GroupConfig) -> bool {
        self.queue.len() >= config.writes_max || self.bytes >= config.write_bytes_max
    }

    fn push(
        &mut self,
        group: GroupId,
        ops: Vec<WriteOp>,
        purpose: Purpose,
        out: &mut Effects,
    ) -> WriteId {
        assert!(!ops.is_empty(), "a write does something");
        let id = WriteId(self.next_write);
        self.next_write += 1;
        assert!(
            self.queue.back().is_none_or(|last| last.id < id),
            "writes are in order"
        );
        let bytes = ops.iter().map(op_bytes).sum();
        self.bytes += bytes;
        out.push(Effect::Persist {
            id,
            write: GroupWrite {
                ops: ops.clone(),
                bytes,
            },
        });
        self.queue.push_back(PendingWrite {
            id,
            group,
            ops,
            purpose,
            fetches: Vec::new(),
            bytes,
        });
        id
    }

    /// Takes the oldest write, which must be `id`.
    pub(super) fn take(&mut self, id: WriteId) -> PendingWrite {
        let write = self
            .queue
            .pop_front()
            .expect("only writes under way have an outcome");
        assert_eq!(write.id, id, "outcomes come in the order of the writes");
        assert!(self.bytes >= write.bytes, "each write is counted once");
        self.bytes -= write.bytes;
        assert!(
            self.parked_fetches >= write.fetches.len(),
            "each parked fetch is counted once"
        );
        self.parked_fetches -= write.fetches.len();
        write
    }

    /// Parks a fetch until a write under way has an outcome. Gives it back when there is no room.
    pub(super) fn park_fetch(
        &mut self,
        write: WriteId,
        token: ReplyToken,
        request: FetchRequest,
        config: &GroupConfig,
    ) -> Result<(), FetchRequest> {
        let first = self
            .queue
            .front()
            .map_or(self.next_write, |front| front.id.0);
        let index = write
            .0
            .checked_sub(first)
            .and_then(|index| usize::try_from(index).ok());
        let pending = index.and_then(|index| self.queue.get_mut(index));
        match pending {
            Some(pending) if self.parked_fetches < config.parked_fetches_max => {
                assert_eq!(pending.id, write, "write ids have no gaps");
                pending.fetches.push((token, request));
                self.parked_fetches += 1;
                Ok(())
            }
            _ => Err(request),
        }
    }

    /// The id that the next `wait` gets.
    pub(super) fn reserve_wait(&mut self) -> WaitId {
        let id = WaitId(self.next_wait);
        self.next_wait += 1;
        id
    }

    /// Parks a request until `writes_left` writes have an outcome; answers at once if there are
    /// none.
    pub(super) fn wait(
        &mut self,
        id: WaitId,
        token: ReplyToken,
        answer: Answer,
        writes_left: usize,
        out: &mut Effects,
    ) {
        assert!(id.0 < self.next_wait, "the id has been reserved");
        assert!(
            writes_left <= self.queue.len(),
            "only writes under way are waited for"
        );
        if writes_left == 0 {
            out.push(Effect::Reply {
                token,
                reply: answer.into_reply(),
            });
            return;
        }
        let former = self.waits.insert(
            id,
            Wait {
                token,
                answer,
                writes_left,
            },
        );
        assert!(former.is_none(), "wait ids are used once");
    }

    /// Notes the outcome of a write for the request that waits for it.
    pub(super) fn resolve(
        &mut self,
        id: WaitId,
        entries: &[usize],
        outcome: Persisted,
        out: &mut Effects,
    ) {
        let wait = self
            .waits
            .get_mut(&id)
            .expect("a request waits until all its writes end");
        if outcome == Persisted::Failed {
            for &entry in entries {
                wait.answer.fail(entry, GroupError::CoordinatorNotAvailable);
            }
        }
        assert!(wait.writes_left > 0, "a request is answered once");
        wait.writes_left -= 1;
        if wait.writes_left == 0 {
            let wait = self.waits.remove(&id).expect("it was there just now");
            out.push(Effect::Reply {
                token: wait.token,
                reply: wait.answer.into_reply(),
            });
        }
    }

    /// Answers everything that waits with an error.
    pub(super) fn unload(self, out: &mut Effects) {
        for mut wait in self.waits.into_values() {
            wait.answer.fail_all(GroupError::NotCoordinator);
            out.push(Effect::Reply {
                token: wait.token,
                reply: wait.answer.into_reply(),
            });
        }
        for (token, _) in self.queue.into_iter().flat_map(|write| write.fetches) {
            let reply = Reply::Fetch(Err(GroupError::NotCoordinator));
            out.push(Effect::Reply { token, reply });
        }
    }

    /// Writes under way, for checks.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is under way and nothing waits.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.waits.is_empty()
            && self.bytes == 0
            && self.parked_fetches == 0
    }
}

/// About how many bytes an operation takes in a transaction.
fn op_bytes(op: &WriteOp) -> usize {
    const KEY_BYTES: usize = 96;
    let key = |key: &OffsetKey| KEY_BYTES + key.group.len();
    match op {
        WriteOp::PutGroup(group) => KEY_BYTES + group.group.len() + group.encoded_len(),
        WriteOp::DeleteGroup(group) => KEY_BYTES + group.len(),
        WriteOp::PutOffset(at, offset) => key(at) + offset.encoded_len(),
        WriteOp::DeleteOffset(at) => key(at),
    }
}
