//! What the threads of a run count, the progress they show, and the processor time they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::{Window, sleep_until};
use crate::latency::Latencies;
use crate::machine::cpu_seconds;

/// How often the progress line is redrawn, where there is a terminal.
const REDRAW_EVERY: Duration = Duration::from_millis(500);

/// What one thread, or a whole run, has counted in the measured window.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Latency: from the intended send time in the open loop, else from the send.
    pub latency: Latencies,
    /// Latency from the moment of the send; differs from `latency` in the open loop only.
    pub service: Option<Latencies>,
    /// Requests answered.
    pub requests: u64,
    /// Records acknowledged or read.
    pub records: u64,
    /// Bytes of batches acknowledged or read.
    pub bytes: u64,
    /// Records acknowledged or read in the whole run, warm-up included.
    pub records_in_all: u64,
    /// Requests answered with an error, or not at all.
    pub errors: u64,
    /// The first error.
    pub first_error: Option<String>,
    /// What a reader of the numbers must know.
    pub notes: Vec<String>,
}

impl Tally {
    /// Adds what another thread has counted.
    pub fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        match (&mut self.service, &other.service) {
            (Some(mine), Some(theirs)) => mine.add(theirs),
            (None, Some(theirs)) => self.service = Some(theirs.clone()),
            (_, None) => {}
        }
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
        self.records_in_all += other.records_in_all;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        other.notes.iter().for_each(|note| self.note(note));
    }

    /// Adds what a reader must know, once.
    pub fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }

    /// Counts a failure.
    pub fn fail(&mut self, count: u64, error: impl ToString) {
        self.errors += count;
        if count > 0 && self.first_error.is_none() {
            self.first_error = Some(error.to_string());
        }
    }
}

/// What a thread has done so far, for the progress line. Each thread has its own, so that they do
/// not share a cache line that one of them writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counter {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    /// Counts one request.
    pub fn count(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Processor time taken in the measured window, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuUse {
    /// By this process.
    pub meter_s: f64,
    /// By the broker, if its process is known.
    pub broker_s: Option<f64>,
}

/// Waits until the window is over, shows progress meanwhile, and measures processor time.
pub fn watch(
    title: &str,
    window: Window,
    counters: &[Arc<Counter>],
    broker: Option<u32>,
) -> CpuUse {
    let length_ms = u64::try_from(window.length().as_millis()).unwrap_or(u64::MAX);
    let bar = ProgressBar::with_draw_target(Some(length_ms), ProgressDrawTarget::stderr());
    let style = "{prefix:24} {wide_bar} {percent:>3} % {msg} eta {eta}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.set_prefix(title.to_owned());
    show_until(&bar, window, window.from, counters);
    let me = std::process::id();
    let before = (cpu_seconds(me), broker.map(cpu_seconds));
    show_until(&bar, window, window.to, counters);
    let after = (cpu_seconds(me), broker.map(cpu_seconds));
    bar.finish_and_clear();
    CpuUse {
        meter_s: after.0.unwrap_or(0.0) - before.0.unwrap_or(0.0),
        broker_s: match (before.1.flatten(), after.1.flatten()) {
            (Some(before), Some(after)) => Some(after - before),
            _ => None,
        },
    }
}

fn show_until(bar: &ProgressBar, window: Window, until: Instant, counters: &[Arc<Counter>]) {
    if bar.is_hidden() {
        sleep_until(until);
        return;
    }
    let mut last = (Instant::now(), sum(counters));
    while Instant::now() < until {
        sleep_until(until.min(Instant::now() + REDRAW_EVERY));
        let now = (Instant::now(), sum(counters));
        let seconds = now.0.duration_since(last.0).as_secs_f64().max(1e-3);
        let requests = (now.1.0 - last.1.0) as f64 / seconds;
        let mb = (now.1.1 - last.1.1) as f64 / seconds / 1e6;
        let phase = if now.0 < window.from {
            "warm-up"
        } else {
            "measure"
        };
        bar.set_message(format!("{phase} {requests:.0} req/s {mb:.1} MB/s"));
        let done = now.0.saturating_duration_since(window.start).as_millis();
        bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
        last = now;
    }
}

fn sum(counters: &[Arc<Counter>]) -> (u64, u64) {
    counters.iter().fold((0, 0), |(requests, bytes), counter| {
        let own = counter.requests.load(Ordering::Relaxed);
        (
            requests + own,
            bytes + counter.bytes.load(Ordering::Relaxed),
        )
    })
}
