//! Control: a small HTTP and JSON listener that drives the server from scripts.
//!
//! Answers are JSON; an error is `{"error": "..."}` with a 4xx status. It has no authentication:
//! listen on loopback only.

use std::collections::BTreeMap;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::faults::{Faults, Rule, RuleId};
use crate::objects::Objects;
use crate::operation::{Operation, Query};
use crate::requests::{Record, Requests};

/// Bytes of a control request's body at most.
const MAX_BODY: usize = 64 * 1024;
/// Entries of the log that an answer shows at most.
const MAX_SHOWN: usize = 10_000;

/// What the listener works on.
pub(crate) struct Panel {
    pub(crate) faults: Faults,
    pub(crate) requests: Requests,
    pub(crate) objects: Objects,
}

/// Why a control request was refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("there is no {0}")]
    NotFound(String),
    #[error("{0}")]
    Bad(String),
}

impl Refused {
    fn bad(error: impl std::fmt::Display) -> Self {
        Self::Bad(error.to_string())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Bad(_) => StatusCode::BAD_REQUEST,
        }
    }
}

pub(crate) async fn serve(listener: StdListener, panel: Arc<Panel>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let panel = panel.clone();
        let service = service_fn(move |request| {
            let panel = panel.clone();
            async move { Ok::<_, std::convert::Infallible>(panel.answer(request).await) }
        });
        tokio::spawn(async move {
            // How a connection ends is its client's business.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Panel {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let query = Query::parse(head.uri.query().unwrap_or(""));
        let answer = match body {
            Ok(body) => self.act(&head.method, head.uri.path(), &query, &body.to_bytes()),
            Err(error) => Err(Refused::bad(error)),
        };
        let (status, value) = match answer {
            Ok(value) => (StatusCode::OK, value),
            Err(refused) => (refused.status(), json!({ "error": refused.to_string() })),
        };
        let mut reply = Response::new(Full::new(Bytes::from(format!("{value}\n"))));
        *reply.status_mut() = status;
        reply
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        reply
    }

    fn act(
        &self,
        method: &Method,
        path: &str,
        query: &Query,
        body: &[u8],
    ) -> Result<Value, Refused> {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["requests"]) => self.show_requests(query),
            ("DELETE", ["requests"]) => {
                self.requests.clear();
                Ok(json!({}))
            }
            ("GET", ["faults"]) => serde_json::to_value(self.faults.list()).map_err(Refused::bad),
            ("POST", ["faults"]) => {
                let rule: Rule = serde_json::from_slice(body).map_err(Refused::bad)?;
                let id = self.faults.add(rule).map_err(Refused::bad)?;
                Ok(json!({ "id": id }))
            }
            ("DELETE", ["faults"]) => {
                self.faults.clear();
                Ok(json!({}))
            }
            ("DELETE", ["faults", id]) => {
                let known = id.parse::<RuleId>().is_ok_and(|id| self.faults.remove(id));
                known
                    .then(|| json!({}))
                    .ok_or_else(|| Refused::NotFound(format!("rule {id}")))
            }
            ("GET", ["gates"]) => serde_json::to_value(self.faults.gates()).map_err(Refused::bad),
            ("POST", ["gates", gate, "release"]) => {
                let count = number(query, "count")?.unwrap_or(usize::MAX);
                Ok(json!({ "released": self.faults.release_next(gate, count) }))
            }
            ("POST", ["expire"]) => {
                let (objects, uploads) = self.objects(query).expire(number(query, "days")?);
                Ok(json!({ "objects": objects, "uploads": uploads }))
            }
            ("GET", ["objects"]) => {
                let list = self.objects(query).list(query.get("prefix").unwrap_or(""));
                serde_json::to_value(list).map_err(Refused::bad)
            }
            ("POST", ["objects", "corrupt"]) => {
                let key = query.get("key").unwrap_or("");
                let offset = number(query, "offset")?.unwrap_or(0);
                let done = self.objects(query).corrupt(key, offset);
                let missing = || Refused::NotFound(format!("byte {offset} of {key:?}"));
                done.then(|| json!({})).ok_or_else(missing)
            }
            _ => Err(Refused::NotFound(format!("{method} {path}"))),
        }
    }

    /// The bucket that the query names, or the first one.
    fn objects(&self, query: &Query) -> Objects {
        match query.get("bucket") {
            Some(bucket) => self.objects.in_bucket(bucket),
            None => self.objects.clone(),
        }
    }

    fn show_requests(&self, query: &Query) -> Result<Value, Refused> {
        let operation = query.get("operation").map(|name| {
            serde_json::from_value::<Operation>(Value::from(name)).map_err(Refused::bad)
        });
        let operation = operation.transpose()?;
        let prefix = query.get("prefix").unwrap_or("");
        let last = number::<u64>(query, "last_ms")?.map(Duration::from_millis);
        let since = last.and_then(|last| Instant::now().checked_sub(last));
        let wanted = |record: &Record| {
            operation.is_none_or(|operation| operation == record.operation)
                && record.key.starts_with(prefix)
                && since.is_none_or(|since| record.arrived >= since)
        };
        let mut outcomes = BTreeMap::<String, u64>::new();
        let matching = self.requests.count_where(|record| {
            let wanted = wanted(record);
            if wanted {
                *outcomes.entry(outcome_name(record)).or_default() += 1;
            }
            wanted
        });
        let shown = number(query, "entries")?.unwrap_or(0).min(MAX_SHOWN);
        let mut entries = Vec::new();
        if shown > 0 {
            let log = self.requests.log();
            entries.extend(
                log.iter()
                    .rev()
                    .filter(|record| wanted(record))
                    .take(shown)
                    .map(show),
            );
            entries.reverse();
        }
        Ok(json!({
            "counts": self.requests.counts(),
            "in_flight": self.requests.in_flight(),
            "matching": matching,
            "outcomes": outcomes,
            "entries": entries,
        }))
    }
}

fn outcome_name(record: &Record) -> String {
    match record.outcome {
        crate::Outcome::Status(status) => status.to_string(),
        crate::Outcome::Truncated => "truncated".to_owned(),
        crate::Outcome::Reset => "reset".to_owned(),
    }
}

fn show(record: &Record) -> Value {
    json!({
        "age_ms": record.arrived.elapsed().as_secs_f64() * 1e3,
        "took_ms": record.took.as_secs_f64() * 1e3,
        "operation": record.operation,
        "bucket": record.bucket,
        "key": record.key,
        "received": record.received,
        "outcome": outcome_name(record),
    })
}

fn number<T: std::str::FromStr>(query: &Query, name: &str) -> Result<Option<T>, Refused> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    let parsed = text.parse().map(Some);
    parsed.map_err(|_| Refused::Bad(format!("{name} is not a number in range: {text:?}")))
}
