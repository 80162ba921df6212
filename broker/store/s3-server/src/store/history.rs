//! History: what a bucket's keys were before each of its last changes, for a LIST of the past.
//!
//! It has what a LIST shows, not the bytes, and is bounded: a state older than its oldest entry is
//! shown as of that entry.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::Summary;

#[derive(Debug)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    key: String,
    before: Option<Summary>,
}

impl History {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            capacity,
        }
    }

    /// Notes that `key` has just changed and what it was before.
    pub(super) fn changed(&mut self, key: &str, before: Option<Summary>) {
        if self.capacity == 0 {
            return;
        }
        if self.entries.len() >= self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            at: Instant::now(),
            key: key.to_owned(),
            before,
        });
    }

    /// Takes `keys`, those that begin with `prefix` now, back to what they were `age` ago.
    pub(super) fn rewind(
        &self,
        mut keys: BTreeMap<String, Summary>,
        prefix: &str,
        age: Duration,
    ) -> BTreeMap<String, Summary> {
        let since = self
            .entries
            .iter()
            .rev()
            .take_while(|entry| entry.at.elapsed() < age);
        for entry in since.filter(|entry| entry.key.starts_with(prefix)) {
            match &entry.before {
                Some(before) => keys.insert(entry.key.clone(), before.clone()),
                None => keys.remove(&entry.key),
            };
        }
        keys
    }
}
