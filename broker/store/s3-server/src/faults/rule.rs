//! Rule: what fault befalls which requests, how often and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::operation::{Operation, Target};

/// Longest delay that a rule may ask for, in milliseconds.
pub const MAX_DELAY_MS: u64 = 600_000;

/// An error reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the codes of the S3 API")]
pub enum ErrorCode {
    /// 403
    AccessDenied,
    /// 409
    ConditionalRequestConflict,
    /// 400
    ExpiredToken,
    /// 500
    InternalError,
    /// 403
    InvalidAccessKeyId,
    /// 404
    NoSuchKey,
    /// 412
    PreconditionFailed,
    /// 400
    RequestTimeout,
    /// 403
    RequestTimeTooSkewed,
    /// 503
    ServiceUnavailable,
    /// 403
    SignatureDoesNotMatch,
    /// 503
    SlowDown,
}

/// What happens to a request.
///
/// "Before" is after the whole body of the request has arrived and before anything changes;
/// "after" is when the operation has taken effect, whatever its own answer would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An error instead of the effect.
    Error {
        /// Which one.
        code: ErrorCode,
        /// Value of the `Retry-After` header; `SlowDown` has 1 when not given.
        #[serde(default)]
        retry_after_seconds: Option<u32>,
    },
    /// An error instead of the reply, after the effect.
    ErrorAfter {
        /// Which one.
        code: ErrorCode,
        /// Value of the `Retry-After` header; `SlowDown` has 1 when not given.
        #[serde(default)]
        retry_after_seconds: Option<u32>,
    },
    /// A wait before the effect, drawn evenly from `lo_ms..=hi_ms`.
    Delay {
        /// Shortest wait.
        lo_ms: u64,
        /// Longest wait; equal to the shortest when not given.
        #[serde(default)]
        hi_ms: Option<u64>,
    },
    /// A wait after the effect, before the reply.
    DelayAfter {
        /// Shortest wait.
        lo_ms: u64,
        /// Longest wait; equal to the shortest when not given.
        #[serde(default)]
        hi_ms: Option<u64>,
    },
    /// The connection is reset before the effect.
    Reset,
    /// The connection is reset after the effect: the reply is lost.
    ResetAfter,
    /// The body of a GetObject reply ends after `keep_bytes` (half of it when not given) and the
    /// connection closes; `Content-Length` promises all.
    Truncate {
        /// Bytes that still come.
        #[serde(default)]
        keep_bytes: Option<u64>,
    },
    /// Bodies of requests and replies of all requests under this rule share this many bytes a
    /// second.
    Bandwidth {
        /// Bytes a second, at least 1.
        bytes_per_second: u64,
    },
    /// A LIST shows what it would have shown so long ago.
    StaleList {
        /// Age of the state shown.
        age_ms: u64,
    },
    /// The request waits before its effect until the gate is released. It goes on then even
    /// if its client has gone.
    Hold {
        /// Name of the gate.
        gate: String,
    },
    /// The request waits after its effect, before its reply, until the gate is released.
    HoldAfter {
        /// Name of the gate.
        gate: String,
    },
    /// The server's clock is off: a signed request whose time is more than 15 minutes away from
    /// it answers `RequestTimeTooSkewed`, and the `Date` header shows that clock.
    ClockSkew {
        /// How far ahead the server's clock is; negative for behind.
        seconds: i64,
    },
}

/// A fault and the requests that it befalls. Built with the methods or read from JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Operations; empty for all.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// The bucket; none for all.
    #[serde(default)]
    pub bucket: Option<String>,
    /// What the key (for the LIST operations the prefix asked for) begins with.
    #[serde(default)]
    pub key_prefix: String,
    /// What it ends with.
    #[serde(default)]
    pub key_suffix: String,
    /// The first so many requests that match go free.
    #[serde(default)]
    pub skip: u64,
    /// How many requests are hit at most; none for no limit.
    #[serde(default)]
    pub count: Option<u64>,
    /// Part of the matching requests that is hit, in 0.0..=1.0.
    #[serde(default = "always")]
    pub probability: f64,
    /// The rule ends so long after it was added; none for never.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// What happens.
    pub fault: Fault,
}

fn always() -> f64 {
    1.0
}

impl Rule {
    /// A rule that hits each request.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            operations: Vec::new(),
            bucket: None,
            key_prefix: String::new(),
            key_suffix: String::new(),
            skip: 0,
            count: None,
            probability: always(),
            for_ms: None,
            fault,
        }
    }

    /// Only this operation (and those named before).
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Only this bucket.
    #[must_use]
    pub fn bucket(mut self, bucket: &str) -> Self {
        self.bucket = Some(bucket.to_owned());
        self
    }

    /// Only keys that begin so.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.key_prefix);
        self
    }

    /// Only keys that end so.
    #[must_use]
    pub fn suffix(mut self, suffix: &str) -> Self {
        suffix.clone_into(&mut self.key_suffix);
        self
    }

    /// At most `count` requests.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Not the first `count` requests that match.
    #[must_use]
    pub fn after_first(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// Only this part of the requests, in 0.0..=1.0.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// Only so long after the rule is added.
    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Self {
        self.for_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Whether the request is one of those that the rule is about.
    pub(crate) fn matches(&self, target: &Target) -> bool {
        let operation = self.operations.is_empty() || self.operations.contains(&target.operation);
        let bucket = self
            .bucket
            .as_ref()
            .is_none_or(|bucket| *bucket == target.bucket);
        let fitting = match self.fault {
            Fault::Truncate { .. } => target.operation == Operation::GetObject,
            Fault::StaleList { .. } => {
                matches!(
                    target.operation,
                    Operation::ListObjects | Operation::ListObjectsV2
                )
            }
            _ => true,
        };
        operation
            && bucket
            && fitting
            && target.key.starts_with(&self.key_prefix)
            && target.key.ends_with(&self.key_suffix)
    }

    /// Checks the numbers.
    pub(crate) fn check(&self) -> Result<(), RuleError> {
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(RuleError::Probability(self.probability));
        }
        match &self.fault {
            Fault::Delay { lo_ms, hi_ms } | Fault::DelayAfter { lo_ms, hi_ms } => {
                let hi_ms = hi_ms.unwrap_or(*lo_ms);
                if *lo_ms > hi_ms || hi_ms > MAX_DELAY_MS {
                    return Err(RuleError::Delay {
                        lo_ms: *lo_ms,
                        hi_ms,
                    });
                }
            }
            Fault::Bandwidth {
                bytes_per_second: 0,
            } => return Err(RuleError::Bandwidth),
            _ => {}
        }
        Ok(())
    }
}

/// Why a rule is not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// The probability is no probability.
    #[error("the probability {0} is not in 0..=1")]
    Probability(f64),
    /// The range of the delay is empty or too long.
    #[error("the delay {lo_ms}..={hi_ms} ms is empty or above {MAX_DELAY_MS} ms")]
    Delay {
        /// Shortest.
        lo_ms: u64,
        /// Longest.
        hi_ms: u64,
    },
    /// No bytes a second.
    #[error("the bandwidth must be at least 1 byte a second")]
    Bandwidth,
    /// Too many rules.
    #[error("there are {0} rules already")]
    TooMany(usize),
}
