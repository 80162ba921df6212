//! Watches the store of a context: metrics, probes, refusal of produce, what others are told, and
//! the way out for a broker that is cut off.

use std::rc::Rc;
use std::time::{Duration, Instant};

use coord::keys::session::SessionState;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use store::{Body, GetRange, PutCondition};

use super::super::context::Context;
use super::super::events::{EventKind, Severity};
use super::super::retry::RequestKind;
use super::super::session::publish_state;
use super::{HealthState, Look};

/// How often the state is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while it is not healthy or under suspicion, and the shortest time between an answer of
/// the store and a probe.
const LOOK_SOON: Duration = Duration::from_millis(500);
/// Probes of one kind that are under way at a time: a store that hangs is asked again before it has
/// answered, so that it is seen when it answers again.
const PROBES_MAX: usize = 4;
/// What a write for its answer alone writes, always.
const PROBE_BODY: &[u8] = b"written while the health of this store is in doubt\n";
/// Shortest time for which another must have been well before this broker is cut off and not all: a quiet one needs it to
/// be told, to ask five times, and to tell that it is not well either.
const ALONE_MIN: Duration = Duration::from_secs(5);
/// How long others may take to be told of the state, before it is tried again.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Watches the store of a context, for ever, or until this broker is cut off from it.
pub async fn watch(context: Rc<Context>) {
    let watch = Watch {
        context,
        probes: FuturesUnordered::new(),
        reads: 0,
        writes: 0,
        published: SessionState::Healthy,
        publishing: None,
        alone_since: None,
    };
    watch.run().await;
}

/// A state that is being published; gives whether it was.
type Publishing = (SessionState, LocalBoxFuture<'static, bool>);

struct Watch {
    context: Rc<Context>,
    probes: FuturesUnordered<LocalBoxFuture<'static, RequestKind>>,
    /// Probes under way.
    reads: usize,
    writes: usize,
    /// What others know.
    published: SessionState,
    publishing: Option<Publishing>,
    /// Since when we are unavailable and another is healthy.
    alone_since: Option<Instant>,
}

impl Watch {
    async fn run(mut self) {
        loop {
            let look = self.context.objects.step_health(LOOK_SOON);
            self.show(&look);
            if self.is_cut(&look) {
                self.context.failure.end_session(
                    "the object store is out of reach for this broker and not for others: they \
                     take over"
                        .to_owned(),
                );
                return;
            }
            self.probe(&look);
            self.publish(look.state);
            let is_calm =
                look.state == HealthState::Healthy && self.probes.is_empty() && !self.is_asked();
            let next = tokio::time::sleep(if is_calm { LOOK_EVERY } else { LOOK_SOON });
            let mut next = std::pin::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    Some(kind) = self.probes.next(), if !self.probes.is_empty() => {
                        *self.under_way(kind) -= 1;
                    }
                    was_told = told(&mut self.publishing), if self.publishing.is_some() => {
                        let state = self.publishing.take().map(|(state, _)| state);
                        if let Some(state) = state.filter(|_| was_told) {
                            self.published = state;
                        }
                    }
                }
            }
        }
    }

    fn under_way(&mut self, kind: RequestKind) -> &mut usize {
        match kind {
            RequestKind::Read => &mut self.reads,
            RequestKind::Write => &mut self.writes,
        }
    }

    fn show(&self, look: &Look) {
        self.show_state(look);
        // After the lines of the state: who is refused finds the reason in the log. An acknowledgment needs no read of
        // the store, but for a PUT that meets its own copy, and that one refuses produce by itself while it cannot be
        // read. What cannot be compacted is bounded by the WAL backlog.
        self.context
            .refusal
            .store_takes_no_writes(look.writes == HealthState::Unavailable);
    }

    fn show_state(&self, look: &Look) {
        let context = &self.context;
        let (metrics, state) = (&context.metrics, look.state);
        metrics.health_state.set(state as i64);
        metrics
            .health_latency_ms
            .set(look.latency.as_secs_f64() * 1e3);
        metrics.health_error_rate.set(look.error_rate);
        metrics.health_state_seconds.set(look.lasted.as_secs_f64());
        if !look.changed {
            return;
        }
        metrics.health_transitions.increment();
        let last_failure = context.objects.last_failure();
        let last_failure = last_failure.as_deref().unwrap_or("none: it is slow");
        let (latency_ms, error_rate) = (look.latency.as_millis() as u64, look.error_rate);
        let (severity, text) = match state {
            HealthState::Healthy => (Severity::Info, "the object store has recovered".to_owned()),
            HealthState::Degraded => {
                let text =
                    format!("the object store is slow or fails; last failure: {last_failure}");
                (Severity::Warning, text)
            }
            HealthState::Unavailable => {
                let text = format!("the object store is unavailable; last failure: {last_failure}");
                (Severity::Error, text)
            }
        };
        context.events.note(EventKind::Store, severity, text);
        match state {
            HealthState::Healthy => {
                tracing::info!(latency_ms, error_rate, "the object store has recovered");
            }
            HealthState::Degraded => {
                tracing::warn!(
                    latency_ms,
                    error_rate,
                    last_failure,
                    "the object store is slow or fails"
                );
            }
            HealthState::Unavailable => tracing::error!(
                latency_ms,
                error_rate,
                writes = ?look.writes,
                last_failure,
                "the object store is unavailable: reads from memory go on"
            ),
        }
    }

    /// Cut off: unavailable for longer than twice the time to live of a session, and [`ALONE_MIN`], and somebody else
    /// without trouble all that time (DESIGN §4). Brokers recover one after the other from an outage
    /// of all: the last one must not give up because the first one is well.
    fn is_cut(&mut self, look: &Look) -> bool {
        let context = &self.context;
        let alone = look.state == HealthState::Unavailable
            && context.view.another_is_healthy(context.session.id);
        if !alone {
            self.alone_since = None;
            return false;
        }
        let since = *self.alone_since.get_or_insert_with(Instant::now);
        since.elapsed() > (context.config.broker.session_ttl * 2).max(ALONE_MIN)
    }

    /// A broker that has nothing to read or write knows nothing of the store. While another says that it is cut off, it
    /// looks, so that its being well means something: else an outage of all would end the session of each broker that
    /// notices it while a quiet one does not.
    fn probe(&mut self, look: &Look) {
        let is_asked = self.is_asked();
        for (kind, is_wanted) in [
            (RequestKind::Read, look.wants_read || is_asked),
            (RequestKind::Write, look.wants_write || is_asked),
        ] {
            if is_wanted && *self.under_way(kind) < PROBES_MAX {
                *self.under_way(kind) += 1;
                self.probes
                    .push(probe(self.context.clone(), kind).boxed_local());
            }
        }
    }

    fn is_asked(&self) -> bool {
        let (view, us) = (&self.context.view, self.context.session.id);
        view.another_is_unavailable(us)
    }

    /// Tells others of the state, again and again until it has been told.
    fn publish(&mut self, state: HealthState) {
        let state = match state {
            HealthState::Healthy => SessionState::Healthy,
            HealthState::Degraded => SessionState::Degraded,
            HealthState::Unavailable => SessionState::Unavailable,
        };
        if self.publishing.is_none() && self.published != state {
            let published = publish(self.context.clone(), state);
            self.publishing = Some((state, published.boxed_local()));
        }
    }
}

async fn told(publishing: &mut Option<Publishing>) -> bool {
    match publishing {
        Some((_, published)) => published.await,
        None => std::future::pending().await,
    }
}

async fn publish(context: Rc<Context>, state: SessionState) -> bool {
    match tokio::time::timeout(PUBLISH_TIMEOUT, publish_state(&context, state)).await {
        Ok(Ok(())) => return true,
        // That the metadata store does not answer is told elsewhere; it is tried again.
        Ok(Err(error)) => tracing::debug!(%error, "the state of the store was not published"),
        Err(_) => tracing::debug!("the state of the store was not published in time"),
    }
    false
}

/// Sends one small request, whose answer is a sample. It is given up at the critical latency, from
/// when on it counts as slow: a probe that never ends would be the last.
async fn probe(context: Rc<Context>, kind: RequestKind) -> RequestKind {
    let (objects, keys) = (&context.objects, &context.keys);
    let limit = context.config.health.latency_crit;
    let answered = async {
        match kind {
            RequestKind::Read => {
                let _ = objects.get_once(&keys.cluster(), GetRange::Full).await;
            }
            RequestKind::Write => {
                let key = keys.health_probe(context.session.broker);
                let body = Body::from(PROBE_BODY.to_vec());
                let _ = objects.put_once(&key, body, PutCondition::None).await;
            }
        }
    };
    // An answer that comes too late is none.
    let _ = tokio::time::timeout(limit, answered).await;
    kind
}
