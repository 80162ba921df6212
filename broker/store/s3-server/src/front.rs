//! Front: takes each request off the wire, applies what the rules have for it, and hands it to
//! the S3 layer.
//!
//! Invariant: once its body is whole, a request runs in a task of its own. Its effect comes even
//! if its client has gone, as on a real store.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::DATE;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use s3s::service::S3Service;
use s3s::{Body, S3Error, S3ErrorCode};

use crate::clock;
use crate::faults::{ErrorCode, Faults, Plan, Step, error_reply, into_reply};
use crate::operation::{Target, classify};
use crate::requests::{InFlight, Outcome, Record, Requests};
use crate::service::StaleBy;
use crate::socket::ResetMark;
use crate::transfer::{self, Budget, ReceiveError, Received};

/// What all connections share.
pub(crate) struct Front {
    pub(crate) s3: S3Service,
    pub(crate) faults: Faults,
    pub(crate) requests: Requests,
    pub(crate) budget: Budget,
    pub(crate) body_bytes: u64,
}

/// The service's failure that makes hyper give the connection up.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset")]
pub(crate) struct Reset;

/// A request on its way.
struct Running {
    target: Target,
    arrived: Instant,
    received: u64,
    _in_flight: InFlight,
}

impl Front {
    /// Answers a request; [`Reset`] to end its connection without a reply.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        mark: ResetMark,
    ) -> Result<Response<Body>, Reset> {
        let (head, body) = request.into_parts();
        let target = classify(&head.method, &head.uri, &head.headers);
        let plan = self.faults.plan(&target);
        let _in_flight = self.requests.enter();
        let mut running = Running {
            target,
            arrived: Instant::now(),
            received: 0,
            _in_flight,
        };
        let received = transfer::receive(body, self.body_bytes, &self.budget, &plan.pacers).await;
        let answer = match received {
            Ok(received) => {
                running.received = received.chunks.len();
                let task = tokio::spawn(self.run(head, received, plan, running));
                // The task ends early only with the server itself.
                task.await.unwrap_or(Err(Reset))
            }
            Err(error) => self.refuse(&error, &running),
        };
        if answer.is_err() {
            mark.set();
        }
        answer
    }

    fn refuse(&self, error: &ReceiveError, running: &Running) -> Result<Response<Body>, Reset> {
        let code = match error {
            ReceiveError::TooLarge => S3ErrorCode::EntityTooLarge,
            ReceiveError::NoRoom => S3ErrorCode::SlowDown,
            ReceiveError::Slow => S3ErrorCode::RequestTimeout,
            ReceiveError::Broken(_) => {
                self.record(running, Outcome::Reset);
                return Err(Reset);
            }
        };
        let reply = into_reply(S3Error::new(code));
        self.record(running, Outcome::Status(reply.status().as_u16()));
        Ok(reply)
    }

    async fn run(
        self: Arc<Self>,
        head: Parts,
        received: Received,
        mut plan: Plan,
        running: Running,
    ) -> Result<Response<Body>, Reset> {
        let (before, after) = (
            std::mem::take(&mut plan.before),
            std::mem::take(&mut plan.after),
        );
        let reply = match self.walk(before).await {
            Ok(None) => {
                let reply = self.effect(head, received, &plan).await;
                match self.walk(after).await {
                    Ok(None) => reply,
                    Ok(Some(instead)) => Ok(instead),
                    Err(reset) => Err(reset),
                }
            }
            Ok(Some(instead)) => Ok(instead),
            Err(reset) => Err(reset),
        };
        let Ok(reply) = reply else {
            self.record(&running, Outcome::Reset);
            return Err(Reset);
        };
        let (mut reply, truncated) = match plan.truncate {
            Some(cut) => transfer::truncate(reply, cut),
            None => (reply, false),
        };
        if let Some(date) = clock::date_header(plan.clock_ahead).filter(|_| plan.clock_ahead != 0) {
            reply.headers_mut().insert(DATE, date);
        }
        let status = Outcome::Status(reply.status().as_u16());
        self.record(
            &running,
            if truncated {
                Outcome::Truncated
            } else {
                status
            },
        );
        Ok(transfer::pace(reply, plan.pacers))
    }

    /// Goes through the steps; the reply of the one that gives one.
    async fn walk(&self, steps: Vec<Step>) -> Result<Option<Response<Body>>, Reset> {
        for step in steps {
            match step {
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Hold(gate) => {
                    if !self.faults.pass_gate(&gate).await {
                        return Err(Reset);
                    }
                }
                Step::Reply {
                    code,
                    retry_after_seconds,
                } => {
                    return Ok(Some(error_reply(code, retry_after_seconds)));
                }
                Step::Reset => return Err(Reset),
            }
        }
        Ok(None)
    }

    async fn effect(
        &self,
        head: Parts,
        received: Received,
        plan: &Plan,
    ) -> Result<Response<Body>, Reset> {
        if clock::is_skewed(&head.headers, plan.clock_ahead) {
            return Ok(error_reply(ErrorCode::RequestTimeTooSkewed, None));
        }
        let Received { chunks, share } = received;
        let mut request = Request::from_parts(head, chunks.into_body());
        if let Some(age) = plan.stale {
            request.extensions_mut().insert(StaleBy(age));
        }
        let reply = self.s3.call(request).await.map_err(|_| Reset);
        drop(share);
        reply
    }

    fn record(&self, running: &Running, outcome: Outcome) {
        let Running {
            target,
            arrived,
            received,
            ..
        } = running;
        self.requests.record(Record {
            arrived: *arrived,
            took: arrived.elapsed(),
            operation: target.operation,
            bucket: target.bucket.clone(),
            key: target.key.clone(),
            received: *received,
            outcome,
        });
    }
}
