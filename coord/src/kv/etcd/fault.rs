//! What an error of the etcd client means: was the request applied, and may another member do better?
//!
//! Invariant: a write counts as "not applied" only when it provably never left, or when etcd itself
//! refused it with an answer that it gives before it applies anything. All else is unknown.

use std::error::Error as _;

use etcd_client::Error;
use tonic::{Code, ConnectError, Status};

/// What is known of the request's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It was not applied and never will be.
    None,
    /// It may have been applied, or may be later.
    Unknown,
}

/// What the answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The revision asked for is compacted.
    Compacted,
    /// The revision asked for has not been reached.
    Future,
    /// No such lease.
    LeaseGone,
    /// The request can never be accepted.
    Invalid,
    /// The request is larger than this etcd takes.
    TooLarge,
    /// The login is missing, wrong or stale; a new token may help.
    Token,
    /// The login itself, or what it may do, is refused.
    Denied,
    /// etcd says that its data is damaged.
    Corrupt,
    /// The answer is larger than this side takes.
    ReplyTooLarge,
    /// The member cannot serve now: another one, or the same one later.
    Member,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) effect: Effect,
    pub(super) kind: Kind,
    pub(super) reason: String,
}

impl Fault {
    /// Nothing was sent.
    pub(super) fn unsent(reason: impl Into<String>) -> Self {
        Self {
            effect: Effect::None,
            kind: Kind::Member,
            reason: reason.into(),
        }
    }

    /// It was sent; no answer came, or none that can be understood.
    pub(super) fn unanswered(reason: impl Into<String>) -> Self {
        Self {
            effect: Effect::Unknown,
            kind: Kind::Member,
            reason: reason.into(),
        }
    }

    /// The same, for a request that changes nothing by itself (a login).
    pub(super) fn without_effect(mut self) -> Self {
        self.effect = Effect::None;
        self
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::GRpcStatus(status) => from_status(&status),
            Error::LeaseKeepAliveError(reason) if reason == "lease not found" => Fault {
                effect: Effect::None,
                kind: Kind::LeaseGone,
                reason,
            },
            Error::InvalidArgs(_)
            | Error::InvalidUri(_)
            | Error::InvalidMetadataValue(_)
            | Error::EndpointError(_)
            | Error::EndpointsNotManaged => Fault::unsent(error.to_string()),
            Error::IoError(_)
            | Error::TransportError(_)
            | Error::WatchError(_)
            | Error::Utf8Error(_)
            | Error::LeaseKeepAliveError(_)
            | Error::ElectError(_)
            | Error::Internal(_) => Fault::unanswered(error.to_string()),
        }
    }
}

fn from_status(status: &Status) -> Fault {
    if let Some(reason) = never_connected(status) {
        return Fault::unsent(reason);
    }
    let message = status.message();
    let (effect, kind) = match refusal(status.code(), message) {
        Some(kind) => (Effect::None, kind),
        None if message.contains("decoded message length too large") => {
            (Effect::Unknown, Kind::ReplyTooLarge)
        }
        None => (Effect::Unknown, Kind::Member),
    };
    let reason = format!("{message} ({:?})", status.code());
    Fault {
        effect,
        kind,
        reason,
    }
}

/// The reason, if the request failed because its connection was never established.
fn never_connected(status: &Status) -> Option<String> {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(connect) = error.downcast_ref::<ConnectError>() {
            let mut reason = format!("cannot connect: {connect}");
            let mut cause = connect.source();
            while let Some(error) = cause {
                reason = format!("{reason}: {error}");
                cause = error.source();
            }
            return Some(reason);
        }
        source = error.source();
    }
    None
}

/// What kind of refusal an answer is, if etcd gives it only before it applies anything.
///
/// Codes alone prove nothing: the transport makes some of them up after the request has been sent.
/// So the message must be one of etcd's. Deliberately not here: "mvcc: database space exceeded",
/// which etcd also answers when it *has* applied the change (its quota is checked around the
/// application), every timeout, "leader changed" and "server stopped".
fn refusal(code: Code, message: &str) -> Option<Kind> {
    match code {
        // Refused by the framing, before the request is even read.
        Code::ResourceExhausted if message.starts_with("grpc: received message larger than") => {
            return Some(Kind::TooLarge);
        }
        Code::Unimplemented => return Some(Kind::Member),
        _ => {}
    }
    let text = message.strip_prefix("etcdserver: ")?;
    match code {
        Code::OutOfRange if text == "mvcc: required revision has been compacted" => {
            Some(Kind::Compacted)
        }
        Code::OutOfRange if text == "mvcc: required revision is a future revision" => {
            Some(Kind::Future)
        }
        Code::NotFound if text == "requested lease not found" => Some(Kind::LeaseGone),
        Code::Unauthenticated => Some(Kind::Token),
        Code::InvalidArgument => Some(match text {
            "user name is empty" | "revision of auth store is old" => Kind::Token,
            "authentication failed, invalid user ID or password" => Kind::Denied,
            "request is too large" | "too many operations in txn request" => Kind::TooLarge,
            _ => Kind::Invalid,
        }),
        Code::FailedPrecondition if text == "authentication is not enabled" => Some(Kind::Denied),
        Code::PermissionDenied => Some(Kind::Denied),
        Code::OutOfRange | Code::FailedPrecondition | Code::NotFound => Some(Kind::Invalid),
        Code::ResourceExhausted if text == "too many requests" => Some(Kind::Member),
        Code::Unavailable if matches!(text, "no leader" | "not capable") => Some(Kind::Member),
        Code::DataLoss if text == "corrupt cluster" => Some(Kind::Corrupt),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: Code, message: &str) -> (Effect, Kind) {
        let fault = Fault::from(Error::GRpcStatus(Status::new(code, message)));
        (fault.effect, fault.kind)
    }

    #[test]
    fn only_answers_that_etcd_gives_before_it_applies_are_certain() {
        let certain = [
            (
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
                Kind::Invalid,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                Kind::TooLarge,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Kind::Compacted,
            ),
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                Kind::LeaseGone,
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                Kind::Token,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                Kind::Denied,
            ),
            (Code::Unavailable, "etcdserver: no leader", Kind::Member),
        ];
        for (code, message, kind) in certain {
            assert_eq!(fault(code, message), (Effect::None, kind), "{message}");
        }
    }

    #[test]
    fn what_may_have_been_applied_is_unknown() {
        let unknown = [
            // The transport's own words for a request that was sent.
            (Code::PermissionDenied, "h2 protocol error: http2 error"),
            (Code::Unavailable, "transport is closing"),
            (Code::Cancelled, "Timeout expired"),
            (Code::Internal, "unexpected end of stream"),
            (Code::Unknown, "raft proposal dropped"),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes",
            ),
            // etcd's words that it also says after the proposal, or after applying it.
            (Code::Unavailable, "etcdserver: request timed out"),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
            ),
            (Code::DeadlineExceeded, "context deadline exceeded"),
        ];
        for (code, message) in unknown {
            assert_eq!(fault(code, message).0, Effect::Unknown, "{message}");
        }
    }
}
