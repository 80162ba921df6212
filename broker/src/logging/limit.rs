//! A bound on log lines, so that one thing that goes wrong for every request neither fills a disk nor hides the rest.
//!
//! *Process-wide.* Each place in the code may log a number of lines at once, which grows again with time. What is above
//! that is counted, and [`Limit::take_left_out`] tells of it. Lines of DEBUG and TRACE are for who asks for them, and are
//! not bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// Seconds' worth of lines that may come at once.
const BURST_SECONDS: u32 = 5;

/// What one place in the code may still log.
#[derive(Debug)]
struct Place {
    metadata: &'static Metadata<'static>,
    /// Lines that it may log now.
    left: f64,
    at: Instant,
    left_out: u64,
}

/// Lines that were left out, of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Module and line.
    pub place: String,
    /// How many.
    pub lines: u64,
}

/// The bound; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    lines_a_second: u32,
    /// One entry for each place that has logged: no more than there are in the program.
    places: Arc<Mutex<HashMap<Identifier, Place>>>,
}

impl Limit {
    /// Each place may log so many lines a second, and five times as many at once; 0 is no bound.
    pub(super) fn new(lines_a_second: u32) -> Self {
        Self {
            lines_a_second,
            places: Arc::default(),
        }
    }

    /// Whether a place may log a line now.
    fn admits(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        if self.lines_a_second == 0 || *metadata.level() > Level::INFO {
            return true;
        }
        let rate = f64::from(self.lines_a_second);
        let burst = rate * f64::from(BURST_SECONDS);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(metadata.callsite()).or_insert(Place {
            metadata,
            left: burst,
            at: now,
            left_out: 0,
        });
        let elapsed = now.saturating_duration_since(place.at).as_secs_f64();
        place.left = (place.left + elapsed * rate).min(burst);
        place.at = now;
        let is_admitted = place.left >= 1.0;
        match is_admitted {
            true => place.left -= 1.0,
            false => place.left_out += 1,
        }
        is_admitted
    }

    /// What was left out since the last call.
    pub(super) fn take_left_out(&self) -> Vec<LeftOut> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let silenced = places.values_mut().filter(|place| place.left_out > 0);
        let told = silenced.map(|place| LeftOut {
            place: format!(
                "{}:{}",
                place.metadata.target(),
                place.metadata.line().unwrap_or(0)
            ),
            lines: std::mem::take(&mut place.left_out),
        });
        told.collect()
    }
}

impl<S> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(event.metadata(), Instant::now())
    }
}

/// How often [`Limit::take_left_out`] should be asked.
pub const TELL_EVERY: Duration = Duration::from_secs(10);
