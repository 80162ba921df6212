//! S3-FIFO with a byte budget and a small queue that learns its size: a small queue, a main queue, and the
//! keys that each of them evicted (its ghost).
//!
//! A new entry enters the small queue (at first a tenth of the budget). When room is needed, the oldest
//! entry of the small queue moves to the main queue if it was read again, else it is evicted and only its
//! key is remembered; such a key that comes back enters the main queue at once. The main queue gives an
//! entry one more round for each mark it has. A single pass over much data so washes through the small
//! queue and leaves the main queue alone.
//!
//! S3-FIFO with a small queue of fixed size finds nothing for a reader that follows another at more than
//! that distance, where LRU finds all. So the small queue grows when a key comes back that a larger one
//! would still hold, and shrinks when the main queue evicted too early (the idea of ARC).
//! `tests/policies.rs` holds it against LRU.
//!
//! A chunk is often read many times in one pass (a reader takes it in slices). Such a reader shall
//! use [`Cache::peek`], which sets no mark, else each chunk of its pass looks popular.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Most marks of an entry: how many rounds of the main queue it survives unread.
pub const MARKS_MAX: u8 = 3;
/// Least and largest share of the budget for the small queue, in percent.
pub const SMALL_PERCENT: (u64, u64) = (10, 90);
/// Reads in the small queue that move an entry to the main queue.
const MARKS_TO_PROMOTE: u8 = 1;
/// End of a linked list.
const NONE: u32 = u32::MAX;

/// A byte-budgeted, scan-resistant cache. Owned by one thread.
///
/// Invariants: `used_bytes() <= budget_bytes()` and `len() <= entries_max()` after every call;
/// `used_bytes()` is the exact sum of the weights held. Each of the two ghosts holds at most
/// `entries_max` keys whose weights sum to at most the budget.
#[derive(Debug)]
pub struct Cache<K, V> {
    index: HashMap<K, u32>,
    nodes: Vec<Node<K, V>>,
    free: u32,
    small: Queue,
    main: Queue,
    /// Keys evicted from the small queue.
    small_ghost: Ghost<K>,
    /// Keys evicted from the main queue.
    main_ghost: Ghost<K>,
    /// What the small queue may have, before it is held within its bounds.
    small_wanted: u64,
    budget_bytes: u64,
    entries_max: usize,
}

/// An entry that left the cache, handed back so that the caller can account for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evicted<K, V> {
    /// Its key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// Its weight, in bytes.
    pub weight_bytes: u64,
    /// Why it left.
    pub cause: Cause,
}

/// Why an entry left the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Room was needed.
    Capacity,
    /// The same key was inserted again.
    Replaced,
    /// It is heavier than the whole budget and was never held.
    TooLarge,
}

impl<K: Hash + Eq + Clone, V> Cache<K, V> {
    /// An empty cache of at most `budget_bytes` of weight and `entries_max` entries.
    ///
    /// # Panics
    ///
    /// If `entries_max` is 0 or does not fit 31 bits.
    pub fn new(budget_bytes: u64, entries_max: usize) -> Self {
        assert!(entries_max > 0, "a cache holds at least one entry");
        assert!(entries_max < (1 << 31), "at most 2^31 - 1 entries");
        Self {
            index: HashMap::new(),
            nodes: Vec::new(),
            free: NONE,
            small: Queue::EMPTY,
            main: Queue::EMPTY,
            small_ghost: Ghost::new(),
            main_ghost: Ghost::new(),
            small_wanted: budget_bytes / 100 * SMALL_PERCENT.0,
            budget_bytes,
            entries_max,
        }
    }

    /// Reads an entry and marks it as used.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let slot = *self.index.get(key)?;
        let node = &mut self.nodes[slot as usize];
        node.marks = (node.marks + 1).min(MARKS_MAX);
        node.entry.as_ref().map(|entry| &entry.value)
    }

    /// Reads an entry without a mark: for sequential readers and statistics.
    pub fn peek(&self, key: &K) -> Option<&V> {
        let slot = *self.index.get(key)?;
        self.nodes[slot as usize]
            .entry
            .as_ref()
            .map(|entry| &entry.value)
    }

    /// Whether the key is held; sets no mark.
    pub fn contains(&self, key: &K) -> bool {
        self.index.contains_key(key)
    }

    /// Inserts an entry of `weight_bytes` (the caller includes its own overhead) and returns what
    /// left the cache for it: the former value of the key, what was evicted, or the entry itself
    /// where it is heavier than the budget.
    pub fn insert(&mut self, key: K, value: V, weight_bytes: u64) -> Vec<Evicted<K, V>> {
        let mut evicted = Vec::new();
        if let Some((value, weight_bytes)) = self.remove(&key) {
            let cause = Cause::Replaced;
            evicted.push(Evicted {
                key: key.clone(),
                value,
                weight_bytes,
                cause,
            });
        }
        if weight_bytes > self.budget_bytes {
            evicted.push(Evicted {
                key,
                value,
                weight_bytes,
                cause: Cause::TooLarge,
            });
            return evicted;
        }
        let known = self.recall(&key, weight_bytes);
        self.make_room(
            self.budget_bytes - weight_bytes,
            self.entries_max - 1,
            &mut evicted,
        );
        let home = if known { Home::Main } else { Home::Small };
        let slot = self.allocate(Entry {
            key: key.clone(),
            value,
            weight_bytes,
        });
        self.push_back(home, slot);
        self.index.insert(key, slot);
        assert!(
            self.used_bytes() <= self.budget_bytes,
            "the cache is within its budget"
        );
        evicted
    }

    /// Removes an entry: its value and weight in bytes. Leaves no ghost.
    pub fn remove(&mut self, key: &K) -> Option<(V, u64)> {
        let slot = self.index.remove(key)?;
        self.unlink(slot);
        let entry = self.release(slot);
        Some((entry.value, entry.weight_bytes))
    }

    /// Changes the budget and returns what no longer fits.
    pub fn resize(&mut self, budget_bytes: u64) -> Vec<Evicted<K, V>> {
        let mut evicted = Vec::new();
        self.budget_bytes = budget_bytes;
        self.make_room(budget_bytes, self.entries_max, &mut evicted);
        self.small_ghost.trim(self.budget_bytes, self.entries_max);
        self.main_ghost.trim(self.budget_bytes, self.entries_max);
        evicted
    }

    /// Sum of the weights held, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.small.bytes + self.main.bytes
    }

    /// The budget, in bytes.
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// Most entries that are held at once.
    pub fn entries_max(&self) -> usize {
        self.entries_max
    }

    /// Number of entries held.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Number of keys in both ghosts.
    pub fn ghost_len(&self) -> usize {
        self.small_ghost.queue.len() + self.main_ghost.queue.len()
    }

    /// The bytes that the small queue may have.
    fn small_bytes_max(&self) -> u64 {
        let percent = |percent| self.budget_bytes / 100 * percent;
        self.small_wanted
            .clamp(percent(SMALL_PERCENT.0), percent(SMALL_PERCENT.1))
    }

    /// Learns from a key that comes back after its eviction: the queue that it left was too small.
    /// Gives whether it goes to the main queue now.
    fn recall(&mut self, key: &K, weight_bytes: u64) -> bool {
        let now = self.small_bytes_max();
        if let Some(since) = self.small_ghost.take(key) {
            // More room helps only where the key would still be there.
            if since + now <= self.budget_bytes / 100 * SMALL_PERCENT.1 {
                self.small_wanted = now + weight_bytes;
            }
            return true;
        }
        if self.main_ghost.take(key).is_some() {
            self.small_wanted = now.saturating_sub(weight_bytes);
        }
        // What had its time in the main queue has to prove itself again: else a loop that is longer than
        // that queue would wash through it.
        false
    }

    fn make_room(&mut self, bytes_max: u64, count_max: usize, out: &mut Vec<Evicted<K, V>>) {
        // Each turn evicts, promotes (once per entry) or spends a mark, so the loop ends.
        while self.used_bytes() > bytes_max || self.index.len() > count_max {
            let from_small = self.small.bytes > self.small_bytes_max() || self.main.head == NONE;
            if from_small && self.small.head != NONE {
                self.step_small(out);
            } else {
                self.step_main(out);
            }
        }
    }

    fn step_small(&mut self, out: &mut Vec<Evicted<K, V>>) {
        let slot = self.small.head;
        assert!(slot != NONE, "the small queue has an entry");
        self.unlink(slot);
        if self.nodes[slot as usize].marks >= MARKS_TO_PROMOTE {
            self.nodes[slot as usize].marks = 0;
            self.push_back(Home::Main, slot);
            return;
        }
        let entry = self.release(slot);
        self.index.remove(&entry.key);
        self.small_ghost.push(entry.key.clone(), entry.weight_bytes);
        self.small_ghost.trim(self.budget_bytes, self.entries_max);
        out.push(entry.evicted());
    }

    fn step_main(&mut self, out: &mut Vec<Evicted<K, V>>) {
        let slot = self.main.head;
        assert!(slot != NONE, "the main queue has an entry");
        self.unlink(slot);
        if self.nodes[slot as usize].marks > 0 {
            self.nodes[slot as usize].marks -= 1;
            self.push_back(Home::Main, slot);
            return;
        }
        let entry = self.release(slot);
        self.index.remove(&entry.key);
        self.main_ghost.push(entry.key.clone(), entry.weight_bytes);
        self.main_ghost.trim(self.budget_bytes, self.entries_max);
        out.push(entry.evicted());
    }

    fn allocate(&mut self, entry: Entry<K, V>) -> u32 {
        let node = Node {
            entry: Some(entry),
            prev: NONE,
            next: NONE,
            marks: 0,
            home: Home::Small,
        };
        if self.free == NONE {
            let slot = u32::try_from(self.nodes.len()).expect("entries_max bounds the slots");
            self.nodes.push(node);
            return slot;
        }
        let slot = self.free;
        self.free = self.nodes[slot as usize].next;
        self.nodes[slot as usize] = node;
        slot
    }

    fn release(&mut self, slot: u32) -> Entry<K, V> {
        let node = &mut self.nodes[slot as usize];
        let entry = node.entry.take().expect("a linked slot holds an entry");
        node.next = self.free;
        self.free = slot;
        entry
    }

    fn push_back(&mut self, home: Home, slot: u32) {
        let tail = self.queue(home).tail;
        let node = &mut self.nodes[slot as usize];
        (node.prev, node.next, node.home) = (tail, NONE, home);
        let weight_bytes = node.weight_bytes();
        if tail != NONE {
            self.nodes[tail as usize].next = slot;
        }
        let queue = self.queue(home);
        if tail == NONE {
            queue.head = slot;
        }
        queue.tail = slot;
        queue.bytes += weight_bytes;
    }

    fn unlink(&mut self, slot: u32) {
        let node = &self.nodes[slot as usize];
        let (prev, next, home) = (node.prev, node.next, node.home);
        let weight_bytes = node.weight_bytes();
        if prev != NONE {
            self.nodes[prev as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        let queue = self.queue(home);
        if prev == NONE {
            queue.head = next;
        }
        if next == NONE {
            queue.tail = prev;
        }
        queue.bytes -= weight_bytes;
    }

    fn queue(&mut self, home: Home) -> &mut Queue {
        match home {
            Home::Small => &mut self.small,
            Home::Main => &mut self.main,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Home {
    Small,
    Main,
}

#[derive(Debug)]
struct Queue {
    head: u32,
    tail: u32,
    bytes: u64,
}

impl Queue {
    const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        bytes: 0,
    };
}

#[derive(Debug)]
struct Node<K, V> {
    entry: Option<Entry<K, V>>,
    prev: u32,
    next: u32,
    marks: u8,
    home: Home,
}

impl<K, V> Node<K, V> {
    fn weight_bytes(&self) -> u64 {
        self.entry.as_ref().map_or(0, |entry| entry.weight_bytes)
    }
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    weight_bytes: u64,
}

impl<K, V> Entry<K, V> {
    fn evicted(self) -> Evicted<K, V> {
        let Self {
            key,
            value,
            weight_bytes,
        } = self;
        Evicted {
            key,
            value,
            weight_bytes,
            cause: Cause::Capacity,
        }
    }
}

/// Keys evicted from one queue, oldest first. A key taken out stays in the queue as a stale element (its
/// stamp no longer matches) until it reaches the front.
#[derive(Debug)]
struct Ghost<K> {
    /// Where each key is: the sum of all weights ever pushed, its own included.
    stamps: HashMap<K, u64>,
    queue: VecDeque<(K, u64, u64)>,
    bytes: u64,
    pushed_bytes: u64,
}

impl<K: Hash + Eq + Clone> Ghost<K> {
    fn new() -> Self {
        Self {
            stamps: HashMap::new(),
            queue: VecDeque::new(),
            bytes: 0,
            pushed_bytes: 0,
        }
    }

    fn push(&mut self, key: K, weight_bytes: u64) {
        // At least 1: stamps are unique.
        self.pushed_bytes += weight_bytes.max(1);
        let stamp = self.pushed_bytes;
        self.stamps.insert(key.clone(), stamp);
        self.queue.push_back((key, stamp, weight_bytes));
        self.bytes += weight_bytes;
    }

    /// Forgets the key, if it is known: the weights that were pushed since.
    fn take(&mut self, key: &K) -> Option<u64> {
        let stamp = self.stamps.remove(key)?;
        Some(self.pushed_bytes - stamp)
    }

    fn trim(&mut self, bytes_max: u64, count_max: usize) {
        while self.bytes > bytes_max || self.queue.len() > count_max {
            let Some((key, stamp, weight_bytes)) = self.queue.pop_front() else {
                return;
            };
            self.bytes -= weight_bytes;
            if self.stamps.get(&key) == Some(&stamp) {
                self.stamps.remove(&key);
            }
        }
    }
}
