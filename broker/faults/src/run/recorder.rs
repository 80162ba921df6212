//! The history while it is being made: one list that all clients append to, and its clock.
//!
//! Bounded by [`EVENTS_MAX`]; beyond it nothing is recorded and the run fails, because a verdict
//! on a part of a history would be none.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use check::{At, Event, SendId, Value};

/// Events that one history may have.
pub(super) const EVENTS_MAX: usize = 4_000_000;

/// A history that is being made.
#[derive(Debug)]
pub(super) struct Recorder {
    began: Instant,
    began_wall: SystemTime,
    events: Mutex<Vec<Event>>,
    values: AtomicU64,
    sends: AtomicU64,
    full: AtomicBool,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            began_wall: SystemTime::now(),
            events: Mutex::default(),
            values: AtomicU64::new(1),
            sends: AtomicU64::new(1),
            full: AtomicBool::new(false),
        }
    }
}

impl Recorder {
    /// Now, on the clock of the history.
    pub(super) fn now(&self) -> At {
        At(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// When that was by the wall clock, which the logs of the brokers follow.
    pub(super) fn wall_clock(&self, at: At) -> SystemTime {
        self.began_wall + Duration::from_micros(at.0)
    }

    /// A value that no other write has.
    pub(super) fn value(&self) -> Value {
        Value(self.values.fetch_add(1, Ordering::Relaxed))
    }

    /// A batch that no other is.
    pub(super) fn send(&self) -> SendId {
        SendId(self.sends.fetch_add(1, Ordering::Relaxed))
    }

    /// Appends an event.
    pub(super) fn add(&self, event: Event) {
        self.extend([event]);
    }

    /// Appends events that stay together.
    pub(super) fn extend(&self, new: impl IntoIterator<Item = Event>) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        for event in new {
            if events.len() >= EVENTS_MAX {
                self.full.store(true, Ordering::Relaxed);
                return;
            }
            events.push(event);
        }
    }

    /// Whether events were dropped.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// What `judge` makes of the history so far.
    pub(super) fn with<T>(&self, judge: impl FnOnce(&[Event]) -> T) -> T {
        judge(&self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
