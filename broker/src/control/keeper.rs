//! Keeps our session alive, and proves it (DESIGN §4).
//!
//! Control thread. A keep-alive goes out three times in the session's time to live. Where the
//! metadata store cannot be reached, an empty WAL object every half of that time proves as much:
//! whoever wants to take over has to fence our WAL prefix first, and then that object meets the
//! fence. A session that the metadata store says is gone ends this life of the broker.
//!
//! A keep-alive whose answer never comes keeps the lease all the same. Who has heard nothing for a time to live sends no more of
//! them before a question is answered, so that the lease runs out and others take over: a broker that is not told of
//! anything serves its partitions, but its groups cannot commit.

use std::rc::Rc;
use std::time::{Duration, Instant};

use coord::keys::session;
use coord::kv::KvError;
use coord::mark;
use coord::planted::{self, Bug};
use coord::rules::{self, Rule};
use futures_channel::oneshot;

use super::context::Context;

/// Keep-alives in one time to live.
const KEEP_ALIVES: u32 = 3;
/// Requests for a proof that wait at a time.
pub const PROOFS: usize = 1_024;

/// Asks for a proof now; answered when it has been tried.
pub type ProofRequest = oneshot::Sender<()>;

/// Keeps the session of a context.
pub struct Keeper {
    context: Rc<Context>,
    requests: flume::Receiver<ProofRequest>,
    ttl: Duration,
    reached: Instant,
}

impl Keeper {
    /// A keeper that also proves on request.
    pub fn new(context: Rc<Context>, requests: flume::Receiver<ProofRequest>) -> Self {
        let ttl = context.config.broker.session_ttl;
        Self {
            context,
            requests,
            ttl,
            reached: Instant::now(),
        }
    }

    /// Runs until the session is gone.
    pub async fn run(mut self) {
        let mut proven_by_object = Instant::now();
        let mut waiting: Vec<ProofRequest> = Vec::new();
        loop {
            let asked = Instant::now();
            if !self.keep_alive().await {
                return;
            }
            for request in waiting.drain(..) {
                // Whoever asked may have given up.
                let _ = request.send(());
            }
            let cut = self.reached.elapsed() >= self.ttl / 2;
            let cut = cut && rules::holds(Rule::CutOffSessionsMeetTheFence);
            if cut && proven_by_object.elapsed() >= self.ttl / 2 {
                proven_by_object = Instant::now();
                self.context.heartbeat.notify_one();
            }
            let next = asked + self.ttl / KEEP_ALIVES;
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                Ok(request) = self.requests.recv_async() => {
                    waiting.push(request);
                    waiting.extend(self.requests.try_iter().take(PROOFS));
                }
            }
        }
    }

    /// One keep-alive; false when the session is gone.
    async fn keep_alive(&mut self) -> bool {
        let context = &self.context;
        let sent = Instant::now();
        let is_deaf = self.reached.elapsed() >= self.ttl;
        let asked = async {
            if is_deaf {
                let own = session::key(&context.space, context.session.id);
                context.kv.get(own).await?;
            }
            context.kv.keep_alive(context.session.lease).await
        };
        let time = match is_deaf {
            false => self.ttl / KEEP_ALIVES,
            // Two answers, one after the other.
            true => self.ttl / 2,
        };
        match tokio::time::timeout(time, asked).await {
            Ok(Ok(_)) => {
                context.proof.prove(sent);
                self.reached = sent;
                if context.metadata_is_lost.replace(false) {
                    tracing::info!("the metadata store answers again");
                }
                true
            }
            Ok(Err(KvError::SessionGone { .. })) => {
                mark!(SessionGone);
                if planted::is_planted(Bug::LeaseRenewedAfterExpiry) {
                    context.proof.prove(sent);
                    self.reached = sent;
                    return true;
                }
                if rules::holds(Rule::GoneSessionsAreUnproven) {
                    context.proof.end();
                }
                context.failure.end_session(
                    "the metadata store has ended our session: nothing proved it alive in time"
                        .to_owned(),
                );
                false
            }
            Ok(Err(error)) => {
                self.lost(&error.to_string());
                // An answer that comes at once must not be asked for at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
                true
            }
            Err(_) => {
                self.lost("no answer in time");
                true
            }
        }
    }

    fn lost(&self, reason: &str) {
        self.context.metrics.keep_alive_errors.increment();
        if !self.context.metadata_is_lost.replace(true) {
            tracing::warn!(
                reason,
                "the metadata store does not answer; produce and reads go on, what changes \
                 metadata has to wait"
            );
        }
    }
}
