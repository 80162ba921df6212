//! The tail budget: which acknowledged bytes leave memory, oldest first over all partitions.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Accounts for the tail bytes of many partitions in the order in which they were appended.
/// Shard-owned.
///
/// The caller pushes each run of bytes that it keeps, then takes [`TailBudget::evict`] until it
/// answers `None`, dropping from the front of the named partition exactly the bytes named. Per
/// partition the order is that of its pushes.
///
/// Invariants: once `evict` has answered `None`, `used_bytes() <= budget_bytes()` and at most
/// `entries_max` runs are held; `used_bytes()` is the exact sum of what was pushed and neither
/// evicted, released nor forgotten.
#[derive(Debug)]
pub struct TailBudget<P> {
    order: VecDeque<Run<P>>,
    owners: HashMap<P, Owner>,
    used_bytes: u64,
    /// Number of incarnations begun so far, over all partitions.
    next_life: u64,
    budget_bytes: u64,
    entries_max: usize,
}

/// Bytes that must leave memory: the oldest ones of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction<P> {
    /// The partition.
    pub owner: P,
    /// How many bytes from the front of its tail.
    pub bytes: u64,
}

#[derive(Debug)]
struct Run<P> {
    owner: P,
    life: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Owner {
    /// Which incarnation: runs of an earlier one (before `forget`) are void.
    life: u64,
    used_bytes: u64,
    /// Bytes released by the partition itself whose runs are still in `order`.
    released_bytes: u64,
}

impl<P: Hash + Eq + Clone> TailBudget<P> {
    /// An empty tail of at most `budget_bytes` in at most `entries_max` runs.
    pub fn new(budget_bytes: u64, entries_max: usize) -> Self {
        Self {
            order: VecDeque::new(),
            owners: HashMap::new(),
            used_bytes: 0,
            next_life: 0,
            budget_bytes,
            entries_max,
        }
    }

    /// Accounts for `bytes` appended to the end of the partition's tail.
    pub fn push(&mut self, owner: P, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let next_life = &mut self.next_life;
        let state = self.owners.entry(owner.clone()).or_insert_with(|| {
            *next_life += 1;
            Owner {
                life: *next_life,
                used_bytes: 0,
                released_bytes: 0,
            }
        });
        state.used_bytes += bytes;
        self.used_bytes += bytes;
        self.order.push_back(Run {
            owner,
            life: state.life,
            bytes,
        });
    }

    /// What has to leave memory next; `None` once the tail is within its bounds. The bytes named
    /// are no longer accounted for: the caller drops them.
    pub fn evict(&mut self) -> Option<Eviction<P>> {
        while self.used_bytes > self.budget_bytes || self.order.len() > self.entries_max {
            let run = self.order.pop_front()?;
            let bytes = self.settle(&run);
            if bytes > 0 {
                return Some(Eviction {
                    owner: run.owner,
                    bytes,
                });
            }
        }
        None
    }

    /// The partition itself dropped `bytes` from the front of its tail (compaction, retention). A
    /// number above what it holds counts as all it holds.
    pub fn release(&mut self, owner: &P, bytes: u64) {
        let Some(state) = self.owners.get_mut(owner) else {
            return;
        };
        let bytes = bytes.min(state.used_bytes);
        state.used_bytes -= bytes;
        state.released_bytes += bytes;
        self.used_bytes -= bytes;
        if state.used_bytes == 0 {
            self.owners.remove(owner);
        }
    }

    /// The partition left (fenced, released, deleted): returns the bytes that it held.
    pub fn forget(&mut self, owner: &P) -> u64 {
        let Some(state) = self.owners.remove(owner) else {
            return 0;
        };
        self.used_bytes -= state.used_bytes;
        state.used_bytes
    }

    /// Changes the budget; `evict` then names what no longer fits.
    pub fn set_budget_bytes(&mut self, budget_bytes: u64) {
        self.budget_bytes = budget_bytes;
    }

    /// Bytes accounted for.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Bytes accounted for one partition.
    pub fn owner_bytes(&self, owner: &P) -> u64 {
        self.owners.get(owner).map_or(0, |state| state.used_bytes)
    }

    /// The budget, in bytes.
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// Takes a run that left the order off its partition's account: the bytes still held of it.
    fn settle(&mut self, run: &Run<P>) -> u64 {
        let Some(state) = self.owners.get_mut(&run.owner) else {
            return 0;
        };
        if state.life != run.life {
            return 0;
        }
        let released = state.released_bytes.min(run.bytes);
        state.released_bytes -= released;
        let bytes = run.bytes - released;
        assert!(bytes <= state.used_bytes, "a run is accounted for once");
        state.used_bytes -= bytes;
        self.used_bytes -= bytes;
        if state.used_bytes == 0 {
            self.owners.remove(&run.owner);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(tail: &mut TailBudget<char>) -> Vec<(char, u64)> {
        std::iter::from_fn(|| tail.evict())
            .map(|e| (e.owner, e.bytes))
            .collect()
    }

    #[test]
    fn the_oldest_leave_first_over_all_partitions() {
        let mut tail = TailBudget::new(10, 100);
        for (owner, bytes) in [('a', 4), ('b', 4), ('a', 4), ('c', 3)] {
            tail.push(owner, bytes);
        }
        assert_eq!(drain(&mut tail), vec![('a', 4), ('b', 4)]);
        assert_eq!((tail.used_bytes(), tail.owner_bytes(&'a')), (7, 4));
        tail.set_budget_bytes(0);
        assert_eq!(drain(&mut tail), vec![('a', 4), ('c', 3)]);
        assert_eq!(tail.used_bytes(), 0);
    }

    #[test]
    fn released_and_forgotten_bytes_are_not_evicted_again() {
        let mut tail = TailBudget::new(100, 100);
        tail.push('a', 4);
        tail.push('a', 4);
        tail.push('b', 2);
        tail.release(&'a', 6);
        assert_eq!(tail.used_bytes(), 4);
        assert_eq!(tail.forget(&'b'), 2);
        tail.push('b', 5);
        tail.set_budget_bytes(0);
        assert_eq!(drain(&mut tail), vec![('a', 2), ('b', 5)]);
    }

    #[test]
    fn a_partition_that_released_all_starts_anew() {
        let mut tail = TailBudget::new(100, 100);
        tail.push('a', 4);
        tail.release(&'a', 99);
        tail.push('a', 3);
        tail.set_budget_bytes(0);
        assert_eq!(drain(&mut tail), vec![('a', 3)]);
    }

    #[test]
    fn the_number_of_runs_is_bounded() {
        let mut tail = TailBudget::new(1000, 2);
        for _ in 0..5 {
            tail.push('a', 1);
        }
        assert_eq!(drain(&mut tail), vec![('a', 1); 3]);
        for round in 0..100 {
            tail.push('b', 1);
            tail.forget(&'b');
            drain(&mut tail);
            assert!(tail.order.len() <= 2, "round {round}");
        }
    }
}
