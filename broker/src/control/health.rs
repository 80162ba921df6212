//! How the object store is: Healthy, Degraded or Unavailable (DESIGN §8), and what follows.
//!
//! [`Health`] is a state machine without I/O or clock. Reads and writes are judged apart, so that
//! fast reads never hide writes that fail; the worse of the two is the state, and produce is refused
//! for the state of writes alone. A request counts when
//! it ends, or when it is older than the critical latency, whichever comes first, and once. What its
//! bytes may take on their way is no latency, so that large messages are no outage.
//! [`watch`] looks at it, probes the store while it is not healthy, so that it recovers without
//! traffic, and while it is under suspicion, so that a quiet broker finds out. While all is well an
//! idle broker sends nothing.

mod track;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::retry::RequestKind;
use track::{Sums, Track};
pub use watch::watch;

/// Slowest line, in bytes a second, on which the bytes of a request say nothing of the store: the
/// time that they may take does not count as latency.
const LINE_BYTES_PER_SECOND: u64 = 8 << 20;

/// The time that so many bytes may take on their way.
pub fn transfer_time(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1_000) / LINE_BYTES_PER_SECOND)
}

/// How the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    /// All is well.
    Healthy,
    /// Slow, or some requests fail: everything is accepted, and there is a warning.
    Degraded,
    /// Very slow, or many requests fail. Where writes are, produce is refused.
    Unavailable,
}

/// The thresholds.
#[derive(Debug, Clone, Copy)]
pub struct HealthConfig {
    /// Time that is looked at.
    pub window: Duration,
    /// Mean latency from which it is Degraded, and Unavailable.
    pub latency: (Duration, Duration),
    /// Fraction of failures above which it is Degraded, and Unavailable.
    pub errors: (f64, f64),
}

/// A request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(u64);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The store has answered.
    Answered,
    /// It has failed.
    Failed,
    /// Nobody waits for its answer any more.
    GivenUp,
}

#[derive(Debug)]
struct Request {
    kind: RequestKind,
    began: Duration,
    /// Bytes that it sends or has asked for.
    bytes: u64,
    /// The part of the window in which it was counted as slow, before it has ended.
    counted: Option<u64>,
}

impl Request {
    /// How long it has taken, beside the time for its bytes.
    fn latency(&self, now: Duration) -> Duration {
        let taken = now.saturating_sub(self.began);
        taken.saturating_sub(transfer_time(self.bytes))
    }
}

/// The state machine. Times are those of one monotonic clock.
#[derive(Debug)]
pub struct Health {
    config: HealthConfig,
    reads: Track,
    writes: Track,
    /// As many as there are requests under way, which their senders bound.
    under_way: BTreeMap<RequestId, Request>,
    next: u64,
    /// When the last of the writes began that have been answered.
    answered_write_began: Option<Duration>,
    state: HealthState,
    since: Duration,
}

impl Health {
    /// Healthy until something else is seen.
    pub fn new(config: HealthConfig) -> Self {
        Self {
            config,
            reads: Track::new(),
            writes: Track::new(),
            under_way: BTreeMap::new(),
            next: 0,
            answered_write_began: None,
            state: HealthState::Healthy,
            since: Duration::ZERO,
        }
    }

    /// The state, and since when.
    pub fn state(&self) -> (HealthState, Duration) {
        (self.state, self.since)
    }

    fn track(&mut self, kind: RequestKind) -> (&mut Track, &HealthConfig) {
        let track = match kind {
            RequestKind::Read => &mut self.reads,
            RequestKind::Write => &mut self.writes,
        };
        (track, &self.config)
    }

    /// A request is sent, with so many bytes, or asking for so many as far as that is known.
    pub fn begin(&mut self, now: Duration, kind: RequestKind, bytes: u64) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        let request = Request {
            kind,
            began: now,
            bytes,
            counted: None,
        };
        self.under_way.insert(id, request);
        id
    }

    /// A request has ended, with so many bytes. One that was given up counts as slow if it was, else
    /// for nothing.
    ///
    /// # Panics
    /// If that request is not under way.
    pub fn end(&mut self, now: Duration, id: RequestId, end: End, bytes: u64) {
        let request = self.under_way.remove(&id);
        let mut request = request.expect("only what is under way ends, once");
        request.bytes = request.bytes.max(bytes);
        let latency = request.latency(now);
        let is_overdue = latency >= self.config.latency.1;
        if (request.kind, end) == (RequestKind::Write, End::Answered) {
            self.answered_write_began = self.answered_write_began.max(Some(request.began));
        }
        let (track, config) = self.track(request.kind);
        if end != End::GivenUp {
            track.ended(now);
        }
        match (request.counted, end) {
            (Some(part), End::Failed) => track.failed_late(part),
            (Some(_), End::Answered | End::GivenUp) => {}
            (None, End::GivenUp) if !is_overdue => {}
            (None, end) => {
                track.record(config, now, latency, end != End::Failed);
            }
        }
    }

    /// Looks at the samples; gives the new state when it changes.
    pub fn step(&mut self, now: Duration) -> Option<HealthState> {
        self.count_overdue(now);
        self.reads.step(&self.config, now);
        self.writes.step(&self.config, now);
        let state = self.reads.state().max(self.writes.state());
        if state == self.state {
            return None;
        }
        (self.state, self.since) = (state, now);
        Some(state)
    }

    /// What has been under way for longer than the critical latency is slow, whatever comes of it.
    fn count_overdue(&mut self, now: Duration) {
        for request in self.under_way.values_mut() {
            let latency = request.latency(now);
            if request.counted.is_some() || latency < self.config.latency.1 {
                continue;
            }
            let track = match request.kind {
                RequestKind::Read => &mut self.reads,
                RequestKind::Write => &mut self.writes,
            };
            request.counted = Some(track.record(&self.config, now, latency, true));
        }
    }

    /// Whether a request of that kind should be sent for its answer alone: the kind is not healthy,
    /// or under suspicion, and nothing has been answered for `pause`.
    pub fn wants_probe(&self, now: Duration, kind: RequestKind, pause: Duration) -> bool {
        let track = match kind {
            RequestKind::Read => &self.reads,
            RequestKind::Write => &self.writes,
        };
        let is_asked = track.state() > HealthState::Healthy || track.is_suspect(&self.config, now);
        let is_quiet = track.answered().is_none_or(|at| now >= at + pause);
        is_asked && is_quiet
    }

    /// Sums over the window, of reads and writes together.
    fn window(&self) -> Sums {
        let mut all = self.reads.window();
        all.add(self.writes.window());
        all
    }
}

/// What was seen at one look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The state.
    pub state: HealthState,
    /// How writes are: all that produce needs of the store.
    pub writes: HealthState,
    /// Whether the state has just changed.
    pub changed: bool,
    /// How long it has lasted.
    pub lasted: Duration,
    /// Mean latency over the window.
    pub latency: Duration,
    /// Fraction of failures over the window.
    pub error_rate: f64,
    /// Whether a read should be sent for its answer alone.
    pub wants_read: bool,
    /// Whether a write should be.
    pub wants_write: bool,
}

/// A clock and a state machine, as the store's requests share them.
#[derive(Debug)]
pub struct SharedHealth {
    origin: Instant,
    /// Failures that are older say nothing of the state.
    window: Duration,
    health: Mutex<Health>,
    /// When the last request failed, and of what.
    last_failure: Mutex<Option<(Duration, String)>>,
}

impl SharedHealth {
    /// Healthy, from now on.
    pub fn new(config: HealthConfig) -> Self {
        Self {
            origin: Instant::now(),
            window: config.window,
            health: Mutex::new(Health::new(config)),
            last_failure: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is sent; it is given up when the guard is dropped. See [`Health::begin`].
    pub fn begin(this: &Arc<Self>, kind: RequestKind, bytes: u64) -> Watched {
        let began = this.origin.elapsed();
        Watched {
            id: Some(this.lock().begin(began, kind, bytes)),
            began,
            health: this.clone(),
        }
    }

    /// Whether a write has been answered that was sent after `sent`.
    pub fn has_answered_write_since(&self, sent: Instant) -> bool {
        let sent = sent.saturating_duration_since(self.origin);
        let began = self.lock().answered_write_began;
        began.is_some_and(|began| began > sent)
    }

    /// What the last request failed of, if that was within the window: what an operator wants to
    /// read beside the state.
    pub fn last_failure(&self) -> Option<String> {
        let now = self.origin.elapsed();
        let last = self.last_failure.lock();
        let last = last.unwrap_or_else(PoisonError::into_inner);
        let (at, failure) = last.as_ref()?;
        (now.saturating_sub(*at) <= self.window).then(|| failure.clone())
    }

    /// One look. Probes are wanted where nothing has been answered for `pause`.
    pub fn step(&self, pause: Duration) -> Look {
        let now = self.origin.elapsed();
        let mut health = self.lock();
        let changed = health.step(now).is_some();
        let (state, since) = health.state();
        let window = health.window();
        Look {
            state,
            writes: health.writes.state(),
            changed,
            lasted: now.saturating_sub(since),
            latency: window.mean(),
            error_rate: window.error_rate(),
            wants_read: health.wants_probe(now, RequestKind::Read, pause),
            wants_write: health.wants_probe(now, RequestKind::Write, pause),
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Watched {
    health: Arc<SharedHealth>,
    id: Option<RequestId>,
    began: Duration,
}

impl Watched {
    /// It has been answered, with so many bytes; gives how long it took in all.
    pub fn answered(mut self, bytes: u64) -> Duration {
        self.ended(End::Answered, bytes)
    }

    /// It has failed; gives how long it took in all.
    pub fn failed(mut self, failure: String) -> Duration {
        let at = self.health.origin.elapsed();
        let last = self.health.last_failure.lock();
        *last.unwrap_or_else(PoisonError::into_inner) = Some((at, failure));
        self.ended(End::Failed, 0)
    }

    fn ended(&mut self, end: End, bytes: u64) -> Duration {
        let now = self.health.origin.elapsed();
        if let Some(id) = self.id.take() {
            self.health.lock().end(now, id, end, bytes);
        }
        now.saturating_sub(self.began)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.ended(End::GivenUp, 0);
    }
}

#[cfg(test)]
mod tests;
