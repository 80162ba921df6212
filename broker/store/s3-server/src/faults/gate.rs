//! Gates: named places where requests wait until they are let through, in order of arrival.
//!
//! Invariant: a request waits at most [`LONGEST_HOLD`], at most [`MAX_WAITING`] wait at a gate.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

/// How long a request waits at a gate at most; it goes on without an effect then.
pub const LONGEST_HOLD: Duration = Duration::from_secs(600);
/// Requests that wait at one gate at most; more are not held.
pub const MAX_WAITING: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Gates(BTreeMap<String, VecDeque<oneshot::Sender<()>>>);

impl Gates {
    /// Puts a request in line. None if the gate is full.
    pub(super) fn enter(&mut self, gate: &str) -> Option<oneshot::Receiver<()>> {
        let line = self.0.entry(gate.to_owned()).or_default();
        line.retain(|waiter| !waiter.is_closed());
        if line.len() >= MAX_WAITING {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        line.push_back(sender);
        Some(receiver)
    }

    /// Lets the first `count` through; says how many there were.
    pub(super) fn release(&mut self, gate: &str, count: usize) -> usize {
        let Some(line) = self.0.get_mut(gate) else {
            return 0;
        };
        let mut released = 0;
        while released < count {
            let Some(waiter) = line.pop_front() else {
                break;
            };
            released += usize::from(waiter.send(()).is_ok());
        }
        if line.is_empty() {
            self.0.remove(gate);
        }
        released
    }

    /// Lets all through at all gates.
    pub(super) fn release_all(&mut self) {
        for waiter in std::mem::take(&mut self.0).into_values().flatten() {
            // A waiter that has given up needs no word.
            let _ = waiter.send(());
        }
    }

    pub(super) fn waiting(&self, gate: &str) -> usize {
        let line = self.0.get(gate);
        line.map_or(0, |line| {
            line.iter().filter(|waiter| !waiter.is_closed()).count()
        })
    }

    pub(super) fn all(&self) -> BTreeMap<String, usize> {
        self.0
            .keys()
            .map(|gate| (gate.clone(), self.waiting(gate)))
            .collect()
    }
}
