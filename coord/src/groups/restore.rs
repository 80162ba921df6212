//! Taking up what is stored, after a restart or a takeover.

use super::coordinator::Coordinator;
use super::effect::Effects;
use super::error::RestoreError;
use super::group::{Group, GroupState};
use super::ids::{MemberId, Now, OffsetKey};
use super::member::Member;
use super::reason::Reason;
use super::stored::{CommittedOffset, StoredGroup};
use super::writes::Context;

impl Coordinator {
    /// Takes up the groups and offsets of the slot. Members get fresh session timers: they have a
    /// full session timeout to be heard. Offsets without a group record make a group of their own,
    /// as for consumers that assign themselves. The slot's bounds do not apply.
    ///
    /// On an error the coordinator must not be used: the slot cannot be served from these records.
    ///
    /// # Panics
    /// If the coordinator has been used before.
    pub fn restore(
        &mut self,
        groups: impl IntoIterator<Item = StoredGroup>,
        offsets: impl IntoIterator<Item = (OffsetKey, CommittedOffset)>,
        now: Now,
    ) -> Result<(), RestoreError> {
        assert!(
            self.groups.is_empty(),
            "a slot is restored once, before its first request"
        );
        for stored in groups {
            let id = stored.group.clone();
            stored.check().map_err(|reason| RestoreError::Invalid {
                group: id.clone(),
                reason,
            })?;
            if self
                .groups
                .insert(id.clone(), Group::restored(stored, now))
                .is_some()
            {
                return Err(RestoreError::Twice(id));
            }
        }
        for (key, offset) in offsets {
            let OffsetKey {
                group: id,
                partition,
            } = key;
            let group = self
                .groups
                .entry(id)
                .or_insert_with_key(|id| Group::new(id.clone(), now.wall));
            group.put_offset(partition, offset);
        }
        self.places.take_all(self.groups.len());
        self.rebalance_large_groups(now);
        for (id, group) in &mut self.groups {
            self.timers.set(id, None, group.due);
            group.armed = group.due;
            group.accounted = group.bytes();
            self.bytes += group.accounted;
        }
        Ok(())
    }

    /// Groups above the bound of members, which has been lowered since they were stored, have their
    /// members join again: those that come last are refused (Kafka's `onLoaded`).
    fn rebalance_large_groups(&mut self, now: Now) {
        let mut out = Effects::new();
        let mut ctx = Context {
            config: &self.config,
            now,
            writes: &mut self.writes,
            out: &mut out,
            slot_full: false,
        };
        for group in self.groups.values_mut() {
            if group.members.len() > ctx.config.members_max {
                group.prepare_rebalance(Reason::TooManyMembers, &mut ctx);
            }
        }
        assert!(out.is_empty(), "nobody waits in a slot that is restored");
    }
}

impl Group {
    fn restored(stored: StoredGroup, now: Now) -> Self {
        let mut group = Self::new(stored.group, stored.state_timestamp);
        group.generation = stored.generation;
        group.protocol_type = stored.protocol_type;
        group.protocol_name = stored.protocol_name;
        group.leader = stored.leader;
        group.is_durable = true;
        if let Some(protocol) = group.protocol_name.clone() {
            for member in stored.members {
                group.insert_member(Member::restored(member, &protocol));
            }
            // Not a transition: the group was stable when its record was written.
            group.state = GroupState::Stable;
        }
        let ids: Vec<MemberId> = group.members.keys().cloned().collect();
        for id in &ids {
            group.start_session(id, now.monotonic);
        }
        group.note_subscriptions();
        assert!(
            group.due.is_some() != group.members.is_empty(),
            "a member that is not heard again goes"
        );
        group.assert_consistent();
        group
    }
}
