//! OffsetCommit and OffsetFetch.

use std::collections::BTreeSet;

use segment::{TimestampMs, TopicPartition};

use super::config::GroupConfig;
use super::coordinator::{Coordinator, reply};
use super::effect::{Effects, WriteOp};
use super::error::GroupError;
use super::group::{Group, GroupState};
use super::ids::{Generation, Now, OffsetKey, ReplyToken};
use super::reply::{CommitReply, FetchedOffset, Reply};
use super::request::{CommitOffset, CommitRequest, FetchRequest};
use super::stored::CommittedOffset;
use super::writes::{Answer, Context, Purpose};
use crate::planted::{self, Bug};

impl Coordinator {
    /// OffsetCommit. The answer comes when the offsets are durable. A commit of more than
    /// `write_ops_max` offsets takes several writes and may succeed in part, as its entries tell.
    ///
    /// A consumer that is not a member (no member id, generation -1) may commit while the group is
    /// empty; a group that does not exist is made. Refusals: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID,
    /// ILLEGAL_GENERATION, GROUP_ID_NOT_FOUND, REBALANCE_IN_PROGRESS (the assignment is awaited),
    /// POLICY_VIOLATION, COORDINATOR_NOT_AVAILABLE; of an entry: OFFSET_METADATA_TOO_LARGE.
    pub fn commit(
        &mut self,
        request: CommitRequest,
        token: ReplyToken,
        now: Now,
        out: &mut Effects,
    ) {
        if let Err(error) = self.admit_commit(&request, now) {
            let entries = request.offsets.iter();
            let entries = entries.map(|entry| CommitReply {
                partition: entry.partition,
                result: Err(error),
            });
            reply(out, token, Reply::Commit(entries.collect()));
            return;
        }
        let id = request.group.clone();
        let found = self.with_group(&id, now, out, |group, ctx| {
            group.commit(request, token, ctx)
        });
        assert!(found.is_some(), "an admitted commit has a group");
    }

    fn admit_commit(&mut self, request: &CommitRequest, now: Now) -> Result<(), GroupError> {
        let is_full = self.writes.is_full(&self.config);
        match self.groups.get(&request.group) {
            Some(group) => {
                group.validate_commit(request)?;
                if self.is_full() && group.grows_by(request) {
                    return Err(GroupError::CoordinatorNotAvailable);
                }
            }
            None if request.generation >= Generation::ZERO => {
                return Err(if request.group_not_found_supported {
                    GroupError::GroupIdNotFound
                } else {
                    GroupError::IllegalGeneration
                });
            }
            None if is_full => return Err(GroupError::CoordinatorNotAvailable),
            None => self.create_group(&request.group, now)?,
        }
        if is_full {
            Err(GroupError::CoordinatorNotAvailable)
        } else {
            Ok(())
        }
    }

    /// OffsetFetch: what is durable. With `require_stable` it waits for the group's writes under
    /// way, as far as they concern these offsets (KIP-447).
    pub fn fetch_offsets(&mut self, request: FetchRequest, token: ReplyToken, out: &mut Effects) {
        let Some(group) = self.groups.get(&request.group) else {
            let none = |partition: &TopicPartition| FetchedOffset {
                partition: *partition,
                result: Ok(None),
            };
            let entries = request.partitions.iter().flatten().map(none).collect();
            reply(out, token, Reply::Fetch(Ok(entries)));
            return;
        };
        let mut request = request;
        if request.require_stable && group.is_unstable(request.partitions.as_deref()) {
            let write = group
                .last_write
                .expect("an operation under way is in a write");
            match self.writes.park_fetch(write, token, request, &self.config) {
                Ok(()) => return,
                Err(unparked) => request = unparked,
            }
        }
        let mut entries = group.fetch(&request);
        let asked = request.partitions.as_ref().map(Vec::len);
        assert!(
            asked.is_none_or(|asked| asked == entries.len()),
            "each partition asked for has an entry"
        );
        if request.require_stable {
            for entry in &mut entries {
                if group.pending_offsets.contains_key(&entry.partition) {
                    entry.result = Err(GroupError::UnstableOffsetCommit);
                }
            }
        }
        reply(out, token, Reply::Fetch(Ok(entries)));
    }
}

impl Group {
    fn validate_commit(&self, request: &CommitRequest) -> Result<(), GroupError> {
        if self.is(GroupState::Dead) {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let has_generation = request.generation >= Generation::ZERO;
        if !has_generation && self.is(GroupState::Empty) {
            return Ok(());
        }
        if has_generation || !request.member.is_empty() || request.instance.is_some() {
            self.validate_member(&request.member, request.instance.as_ref())?;
            let is_over = request.generation != self.generation;
            if is_over && !planted::is_planted(Bug::DeadGenerationCommits) {
                crate::mark!(IllegalGeneration);
                return Err(GroupError::IllegalGeneration);
            }
        } else {
            // The group has members: a consumer that assigns itself must not interfere.
            return Err(GroupError::UnknownMemberId);
        }
        if self.is(GroupState::CompletingRebalance) {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether the commit takes more memory than what it replaces.
    fn grows_by(&self, request: &CommitRequest) -> bool {
        request.offsets.iter().any(|offset| {
            let bytes = offset.metadata.as_deref().map_or(0, str::len);
            let former = self.offsets.get(&offset.partition);
            former.is_none_or(|former| former.metadata.len() < bytes)
        })
    }

    fn commit(&mut self, request: CommitRequest, token: ReplyToken, ctx: &mut Context<'_>) {
        if self.is(GroupState::Stable) || self.is(GroupState::PreparingRebalance) {
            self.start_session(&request.member, ctx.now.monotonic);
        }
        let mut answers = Vec::with_capacity(request.offsets.len());
        let mut puts = Vec::with_capacity(request.offsets.len());
        for (entry, offset) in request.offsets.into_iter().enumerate() {
            let is_too_large = is_metadata_too_large(&offset, ctx.config);
            let result = if is_too_large {
                Err(GroupError::OffsetMetadataTooLarge)
            } else {
                Ok(())
            };
            answers.push(CommitReply {
                partition: offset.partition,
                result,
            });
            if !is_too_large {
                let key = OffsetKey {
                    group: self.id.clone(),
                    partition: offset.partition,
                };
                let committed = committed(offset, request.retention_ms, ctx.now.wall);
                puts.push((entry, WriteOp::PutOffset(key, committed)));
            }
        }
        assert!(puts.len() <= answers.len(), "each offset has an answer");
        self.persist_entries(puts, Answer::Commit(answers), token, ctx);
    }

    /// Writes operations, each for an entry of a request, in portions; the request waits for all.
    pub(super) fn persist_entries(
        &mut self,
        ops: Vec<(usize, WriteOp)>,
        answer: Answer,
        token: ReplyToken,
        ctx: &mut Context<'_>,
    ) {
        let wait = ctx.writes.reserve_wait();
        let writes = self.persist_portions(ops, ctx, |entries| Purpose::Entries { wait, entries });
        ctx.writes.wait(wait, token, answer, writes, ctx.out);
    }

    /// Writes operations in portions of `write_ops_max`; gives the number of writes.
    pub(super) fn persist_portions(
        &mut self,
        ops: Vec<(usize, WriteOp)>,
        ctx: &mut Context<'_>,
        purpose: impl Fn(Vec<usize>) -> Purpose,
    ) -> usize {
        let (mut writes, expected) = (0, ops.len().div_ceil(ctx.config.write_ops_max));
        let mut rest = ops.into_iter().peekable();
        while rest.peek().is_some() {
            let portion = rest.by_ref().take(ctx.config.write_ops_max);
            let (entries, ops) = portion.unzip();
            self.persist(ops, purpose(entries), ctx);
            writes += 1;
        }
        assert!(writes == expected, "each portion but the last is full");
        writes
    }

    /// Whether writes under way concern the partitions, or any where none are named.
    fn is_unstable(&self, partitions: Option<&[TopicPartition]>) -> bool {
        match partitions {
            None => !self.pending_offsets.is_empty(),
            Some(partitions) => partitions
                .iter()
                .any(|partition| self.pending_offsets.contains_key(partition)),
        }
    }

    /// What is durable for the partitions asked for.
    pub(super) fn fetch(&self, request: &FetchRequest) -> Vec<FetchedOffset> {
        let found = |partition: &TopicPartition, offset: Option<&CommittedOffset>| FetchedOffset {
            partition: *partition,
            result: Ok(offset.cloned()),
        };
        match &request.partitions {
            None => self
                .offsets
                .iter()
                .map(|(at, offset)| found(at, Some(offset)))
                .collect(),
            Some(asked) => asked
                .iter()
                .map(|at| found(at, self.offsets.get(at)))
                .collect(),
        }
    }

    /// All offsets that are durable or may become so.
    pub(super) fn offset_partitions(&self) -> BTreeSet<TopicPartition> {
        let durable = self.offsets.keys().copied();
        durable
            .chain(self.pending_offsets.keys().copied())
            .collect()
    }
}

/// Kafka counts a Java string's length: UTF-16 code units, which are never more than the bytes.
fn is_metadata_too_large(offset: &CommitOffset, config: &GroupConfig) -> bool {
    offset.metadata.as_deref().is_some_and(|text| {
        text.len() > config.offset_metadata_max
            && text.chars().map(char::len_utf16).sum::<usize>() > config.offset_metadata_max
    })
}

fn committed(
    offset: CommitOffset,
    retention_ms: Option<i64>,
    wall: TimestampMs,
) -> CommittedOffset {
    let expire = retention_ms.map(|ms| TimestampMs::new(wall.get().saturating_add(ms)));
    CommittedOffset {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.unwrap_or_default(),
        commit_timestamp: offset.timestamp.unwrap_or(wall),
        expire_timestamp: expire,
    }
}
