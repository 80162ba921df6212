//! Single flight of misses: many readers of one key wait for one read of the store.

use std::collections::HashMap;
use std::hash::Hash;

use std::error::Error;
use std::fmt;

/// What is being read, and who waits for it. Owned by one thread.
///
/// Invariants: at most `flights_max` keys and `waiters_max` waiters in all.
#[derive(Debug)]
pub struct Flights<K, W> {
    flights: HashMap<K, Vec<W>>,
    waiters: usize,
    flights_max: usize,
    waiters_max: usize,
}

/// What a reader has to do after it joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// It is the first: it starts the read.
    First,
    /// A read is under way: it only waits.
    Joined,
}

/// Why a reader could not join; carries its waiter back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full<W> {
    /// As many reads are under way as allowed.
    Flights(W),
    /// As many waiters wait as allowed.
    Waiters(W),
}

impl<W> Full<W> {
    /// The waiter that was refused.
    pub fn into_waiter(self) -> W {
        match self {
            Self::Flights(waiter) | Self::Waiters(waiter) => waiter,
        }
    }
}

impl<W> fmt::Display for Full<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flights(_) => "join a read: too many reads are under way",
            Self::Waiters(_) => "join a read: too many readers wait",
        })
    }
}

impl<W: fmt::Debug> Error for Full<W> {}

impl<K: Hash + Eq, W> Flights<K, W> {
    /// No flights; at most `flights_max` keys at once and `waiters_max` waiters in all.
    pub fn new(flights_max: usize, waiters_max: usize) -> Self {
        Self {
            flights: HashMap::new(),
            waiters: 0,
            flights_max,
            waiters_max,
        }
    }

    /// Adds a waiter for `key`.
    ///
    /// # Errors
    ///
    /// [`Full`] hands the waiter back where a bound is reached: answer it with what there is, or
    /// let it try again.
    pub fn join(&mut self, key: K, waiter: W) -> Result<Join, Full<W>> {
        if self.waiters >= self.waiters_max {
            return Err(Full::Waiters(waiter));
        }
        if let Some(waiting) = self.flights.get_mut(&key) {
            waiting.push(waiter);
            self.waiters += 1;
            return Ok(Join::Joined);
        }
        if self.flights.len() >= self.flights_max {
            return Err(Full::Flights(waiter));
        }
        self.flights.insert(key, vec![waiter]);
        self.waiters += 1;
        Ok(Join::First)
    }

    /// Starts a read that nobody waits for yet (read-ahead): true if the caller shall read. Bound
    /// by `flights_max` like any other.
    pub fn start(&mut self, key: K) -> bool {
        if self.flights.len() >= self.flights_max || self.flights.contains_key(&key) {
            return false;
        }
        self.flights.insert(key, Vec::new());
        true
    }

    /// Ends the flight of `key`, by success or failure: its waiters, in order of arrival.
    pub fn complete(&mut self, key: &K) -> Vec<W> {
        let waiting = self.flights.remove(key).unwrap_or_default();
        assert!(waiting.len() <= self.waiters, "waiters are counted exactly");
        self.waiters -= waiting.len();
        waiting
    }

    /// Drops the waiters of `key` for which `keep` is false (their clients left). The flight goes
    /// on: its bytes are still cached when they come.
    pub fn retain(&mut self, key: &K, keep: impl FnMut(&W) -> bool) {
        let Some(waiting) = self.flights.get_mut(key) else {
            return;
        };
        let before = waiting.len();
        waiting.retain(keep);
        self.waiters -= before - waiting.len();
    }

    /// Whether `key` is being read.
    pub fn contains(&self, key: &K) -> bool {
        self.flights.contains_key(key)
    }

    /// Number of reads under way.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether no read is under way.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Number of waiters in all.
    pub fn waiters(&self) -> usize {
        self.waiters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_answers_all_in_order() {
        let mut flights = Flights::new(2, 10);
        assert_eq!(flights.join("a", 1), Ok(Join::First));
        assert_eq!(flights.join("a", 2), Ok(Join::Joined));
        assert_eq!(flights.join("b", 3), Ok(Join::First));
        assert_eq!(flights.complete(&"a"), vec![1, 2]);
        assert_eq!(flights.complete(&"a"), Vec::<i32>::new());
        assert_eq!((flights.len(), flights.waiters()), (1, 1));
        assert_eq!(flights.join("a", 4), Ok(Join::First));
    }

    #[test]
    fn bounds_hand_the_waiter_back() {
        let mut flights = Flights::new(1, 2);
        assert_eq!(flights.join("a", 1), Ok(Join::First));
        assert_eq!(flights.join("b", 2), Err(Full::Flights(2)));
        assert_eq!(flights.join("a", 2), Ok(Join::Joined));
        assert_eq!(flights.join("a", 3), Err(Full::Waiters(3)));
        flights.retain(&"a", |waiter| *waiter != 1);
        assert_eq!(flights.join("a", 3), Ok(Join::Joined));
        assert_eq!(flights.complete(&"a"), vec![2, 3]);
        assert!(flights.is_empty());
    }

    #[test]
    fn a_started_read_is_joined() {
        let mut flights = Flights::new(1, 2);
        assert!(flights.start("a"));
        assert!(!flights.start("a"));
        assert!(!flights.start("b"));
        assert_eq!(flights.join("a", 1), Ok(Join::Joined));
        assert_eq!(flights.complete(&"a"), vec![1]);
    }
}
