//! A question to the half of the console that belongs to the broker's session, and its answer.

use std::net::IpAddr;

use futures_channel::oneshot;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use security::secret::Secret;
use serde::Serialize;
use serde_json::json;

use super::access::Login;

/// Whether somebody knows a password of Kafka's.
pub(crate) struct Verify {
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) reply: oneshot::Sender<Option<Login>>,
}

/// What is asked.
pub(crate) struct Ask {
    pub(super) method: Method,
    /// Not decoded yet.
    pub(super) path: String,
    /// Not decoded yet.
    pub(super) query: String,
    /// JSON, or nothing.
    pub(super) body: Bytes,
    pub(super) login: Option<Login>,
    pub(super) from: IpAddr,
    pub(super) is_tls: bool,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// A question.
pub(crate) enum Call {
    /// See [`Verify`].
    Verify(Verify),
    /// See [`Ask`].
    Ask(Ask),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    /// JSON.
    pub(super) body: Vec<u8>,
}

/// Why something is not answered. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    /// What is asked is not possible.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// It is not there, or not to be seen.
    pub(super) fn unknown(what: &str, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what} {name}"))
    }

    /// Somebody may not.
    pub(super) fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    /// Not now.
    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        Self {
            status: refused.status,
            body: json!({ "error": refused.text }).to_string().into_bytes(),
        }
    }
}

impl Answer {
    /// All is well.
    pub(super) fn ok(body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self {
                status: StatusCode::OK,
                body,
            },
            Err(error) => Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into(),
        }
    }
}
