//! Gauges of a shard, set about once a second: what is counted by looking, not by events.

use coord::groups::GroupState;

use super::Shard;
use crate::partition::RunSlot;

/// Memory of the place of a section that no segment holds, about: itself, and its share of the object's key.
const PLACE_BYTES: u64 = size_of::<RunSlot>() as u64 + 32;

impl Shard {
    /// Sets the gauges.
    pub(crate) fn sample(&self) {
        let (cells, config) = (&self.metrics, &self.shared.config);
        cells
            .requests_in_flight
            .set_count(self.connections.unanswered());
        cells.fetch_sessions.set_count(self.fetch_sessions.len());
        let evicted = self.fetch_sessions.evicted();
        cells
            .fetch_sessions_evicted
            .add(evicted - cells.fetch_sessions_evicted.get());
        cells
            .memory_requests
            .set(signed(self.connections.memory.used()));
        let waits = self.connections.memory.waits();
        cells.memory_waits.add(waits - cells.memory_waits.get());
        cells
            .memory_unacknowledged
            .set(signed(self.produce.unacknowledged()));
        cells
            .memory_unsent
            .set(signed(self.connections.unsent.bytes()));
        cells
            .memory_budget
            .set(signed(config.memory_bytes_per_shard()));
        cells
            .cache_budget
            .set(signed(config.cache_bytes_per_shard()));
        self.sample_cache();
        let partitions = self.partitions.borrow();
        cells.partitions.set_count(partitions.len());
        cells
            .producers
            .set_count(partitions.values().map(|log| log.producer_count()).sum());
        drop(partitions);
        self.sample_groups();
    }

    /// Also fits the tails to what is left to them.
    fn sample_cache(&self) {
        let partitions = self.partitions.borrow();
        let slots: usize = partitions.values().map(|log| log.slot_count()).sum();
        drop(partitions);
        let places = slots as u64 * PLACE_BYTES;
        self.fit_tails(places);
        let cells = &self.metrics;
        let tails = self.tail.borrow().used_bytes();
        cells.tail_bytes.set(signed(tails));
        cells.place_bytes.set(signed(places));
        cells.chunk_bytes.set(signed(self.cold.held_bytes()));
        let counts = self.cold.take_counts();
        cells.chunk_evictions.add(counts.evicted);
        cells.unreached_evictions.add(counts.unreached);
    }

    fn sample_groups(&self) {
        let (mut states, mut members) = ([0_usize; 5], 0);
        self.groups.for_each(|state, count| {
            let place = match state {
                GroupState::Empty => 0,
                GroupState::PreparingRebalance => 1,
                GroupState::CompletingRebalance => 2,
                GroupState::Stable => 3,
                GroupState::Dead => 4,
            };
            states[place] += 1;
            members += count;
        });
        let cells = &self.metrics;
        cells.groups_empty.set_count(states[0]);
        cells.groups_preparing.set_count(states[1]);
        cells.groups_completing.set_count(states[2]);
        cells.groups_stable.set_count(states[3]);
        cells.groups_dead.set_count(states[4]);
        cells.group_members.set_count(members);
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
