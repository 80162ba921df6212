//! What has happened to this broker: moves, faults and what ended them, for the console.
//!
//! Control thread; the lock makes it fit for what outlives a session. Bounded: the oldest are forgotten. What is here
//! is in the log as well, with more detail.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use segment::TimestampMs;
use serde::Serialize;

use super::context::wall_clock;

/// Events that are remembered.
const EVENTS_MAX: usize = 512;
/// Characters of a text.
const TEXT_MAX: usize = 300;

/// What kind of thing has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A session of this broker has begun, or is over.
    Session,
    /// Partitions were taken over.
    Takeover,
    /// Partitions were given away.
    Release,
    /// The object store is in another state.
    Store,
    /// Produce is refused, or accepted again.
    Produce,
    /// A segment is damaged.
    Damage,
    /// Partitions cannot be served.
    Partition,
    /// A consumer group has a new generation.
    Rebalance,
    /// Somebody has logged in to the console, or changed something through it.
    Console,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Info,
    /// To be looked at.
    Warning,
    /// Something does not work.
    Error,
}

/// One event. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Rises by one with each event of this process.
    pub id: u64,
    /// When.
    pub at_ms: i64,
    /// What kind.
    pub kind: EventKind,
    /// How bad.
    pub severity: Severity,
    /// In words.
    pub text: String,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    next: u64,
}

/// The last events.
#[derive(Debug, Default)]
pub struct Events(Mutex<Ring>);

impl Events {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Nothing in here is left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event.
    pub fn note(&self, kind: EventKind, severity: Severity, text: impl Into<String>) {
        self.note_at(wall_clock(), kind, severity, text);
    }

    fn note_at(
        &self,
        at: TimestampMs,
        kind: EventKind,
        severity: Severity,
        text: impl Into<String>,
    ) {
        let mut text: String = text.into();
        if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
            text.truncate(end);
            text.push('…');
        }
        let mut ring = self.lock();
        if ring.events.len() == EVENTS_MAX {
            ring.events.pop_front();
        }
        ring.next += 1;
        let event = Event {
            id: ring.next,
            at_ms: at.get(),
            kind,
            severity,
            text,
        };
        ring.events.push_back(event);
    }

    /// Number of the last event; 0 before the first.
    pub fn last(&self) -> u64 {
        self.lock().next
    }

    /// The events that are remembered, oldest first.
    pub fn all(&self) -> Vec<Event> {
        self.lock().events.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_remembered_and_long_ones_are_cut() {
        let events = Events::default();
        for number in 0..EVENTS_MAX + 10 {
            events.note_at(
                TimestampMs::new(7),
                EventKind::Store,
                Severity::Info,
                format!("{number}"),
            );
        }
        events.note(EventKind::Damage, Severity::Error, "ä".repeat(2 * TEXT_MAX));
        let all = events.all();
        assert_eq!((all.len(), events.last()), (EVENTS_MAX, 523));
        assert_eq!((all[0].id, all[0].text.as_str()), (12, "11"));
        assert_eq!(all[EVENTS_MAX - 1].text.chars().count(), TEXT_MAX + 1);
    }
}
