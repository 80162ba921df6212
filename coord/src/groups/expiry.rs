//! Offsets that go on their own: expired ones, and those of deleted topics.

use std::collections::BTreeSet;
use std::ops::Bound;

use segment::{TimestampMs, TopicId, TopicPartition};

use super::coordinator::Coordinator;
use super::effect::{Effects, WriteOp};
use super::group::{Group, GroupState};
use super::ids::{GroupId, Now, OffsetKey};
use super::request::TopicName;
use super::stored::CommittedOffset;
use super::writes::{Context, Purpose};

impl Coordinator {
    /// One bounded step of expiry: offsets past their retention, and empty groups without offsets.
    /// Gives true when a pass over the slot is complete; until then it is called again soon. Kafka
    /// makes a pass every 10 minutes (`offsets.retention.check.interval.ms`).
    ///
    /// Offsets expire `offsets_retention_ms` after the group became empty, or, in a group that
    /// never had members and for topics that a stable consumer group no longer subscribes to, after
    /// their commit (KIP-211). An expiry time that the client asked for takes precedence.
    pub fn expire_offsets(
        &mut self,
        topic_name: TopicName<'_>,
        now: Now,
        out: &mut Effects,
    ) -> bool {
        let from = match self.expiry_cursor.take() {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let step = self
            .groups
            .range((from, Bound::Unbounded))
            .map(|(id, _)| id.clone());
        let step: Vec<GroupId> = step.take(self.config.expiry_groups_max).collect();
        for id in &step {
            if self.writes.is_full(&self.config) {
                // The store is behind: leave the rest for the next pass.
                return true;
            }
            self.with_group(id, now, out, |group, ctx| group.expire(topic_name, ctx));
        }
        assert!(
            step.len() <= self.config.expiry_groups_max,
            "a step is bounded"
        );
        if step.len() < self.config.expiry_groups_max {
            return true;
        }
        self.expiry_cursor = step.into_iter().last();
        false
    }

    /// Deletes the offsets of topics that are gone. Their ids never come back.
    pub fn on_topics_deleted(&mut self, topics: &[TopicId], now: Now, out: &mut Effects) {
        let topics: BTreeSet<TopicId> = topics.iter().copied().collect();
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in &ids {
            self.with_group(id, now, out, |group, ctx| group.delete_topics(&topics, ctx));
        }
    }
}

impl Group {
    fn expire(&mut self, topic_name: TopicName<'_>, ctx: &mut Context<'_>) {
        if self.writes > 0 || self.is(GroupState::Dead) {
            // What is under way may change the outcome: the next pass comes.
            return;
        }
        let retention_ms = i64::try_from(ctx.config.offsets_retention_ms).unwrap_or(i64::MAX);
        let expired = self.offsets.iter().filter(|(partition, offset)| {
            let is_used = || {
                let name = topic_name(partition.topic);
                name.is_some_and(|name| self.is_subscribed(&name))
            };
            self.is_expired(offset, ctx.now.wall, retention_ms) && !is_used()
        });
        let expired: Vec<TopicPartition> = expired.map(|(partition, _)| *partition).collect();
        let is_unused = self.is(GroupState::Empty) && self.pending_joins.is_empty();
        if is_unused && expired.len() == self.offsets.len() {
            tracing::info!(group = %self.id, "group has expired");
            assert!(
                self.members.is_empty(),
                "a group with members does not expire"
            );
            self.delete(None, ctx);
        } else {
            self.delete_silently(expired, ctx);
        }
    }

    fn is_expired(&self, offset: &CommittedOffset, wall: TimestampMs, retention_ms: i64) -> bool {
        let base = match self.state {
            GroupState::Empty if self.protocol_type.is_some() => self.state_timestamp,
            GroupState::Empty => offset.commit_timestamp,
            GroupState::Stable if self.subscribed.is_some() => offset.commit_timestamp,
            GroupState::Stable
            | GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Dead => return false,
        };
        match offset.expire_timestamp {
            Some(at) => wall >= at,
            None => wall.get().saturating_sub(base.get()) >= retention_ms,
        }
    }

    fn delete_topics(&mut self, topics: &BTreeSet<TopicId>, ctx: &mut Context<'_>) {
        let gone = self.offset_partitions().into_iter();
        let gone = gone
            .filter(|partition| topics.contains(&partition.topic))
            .collect();
        self.delete_silently(gone, ctx);
    }

    fn delete_silently(&mut self, partitions: Vec<TopicPartition>, ctx: &mut Context<'_>) {
        let ops = partitions.into_iter().map(|partition| {
            let key = OffsetKey {
                group: self.id.clone(),
                partition,
            };
            (0, WriteOp::DeleteOffset(key))
        });
        let ops = ops.collect();
        self.persist_portions(ops, ctx, |_| Purpose::Silent);
    }
}
