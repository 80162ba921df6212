//! What a failure means: one table from S3's codes and HTTP statuses to verdicts, and from verdicts
//! to the error of each operation.
//!
//! Invariants: a code decides before the status; `outcome_unknown` is false only where the store
//! said that it refused or nothing was sent; every refusal says what to mend.

use std::time::Duration;

use super::failure::{Answer, Failure};
use crate::error::{DeleteError, GetError, HeadError, ListError, PutError};
use crate::key::ObjectKey;
use crate::object::PutCondition;

/// What was asked, for the texts of errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// S3's name of the operation.
    pub(super) operation: &'static str,
    /// The permission that it needs.
    pub(super) permission: &'static str,
    /// The bucket.
    pub(super) bucket: &'a str,
}

/// What a failure means, whatever was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A condition did not hold (412).
    ConditionFailed,
    /// Another request on the key was running (409).
    Conflict,
    /// No such key (404).
    Missing,
    /// No byte in the range (416).
    NoSuchRange { object_len: u64 },
    /// Slow down. `certain`: the store itself said so, so nothing was done.
    Throttled {
        retry_after: Option<Duration>,
        certain: bool,
    },
    /// No space, or a quota.
    Full(String),
    /// The body did not arrive as it was sent.
    Corrupt(String),
    /// The store does not know this operation or one of its headers.
    NotImplemented(String),
    /// A refusal that lasts until someone acts.
    Denied(String),
    /// A failure that may pass.
    Unavailable { reason: String, unknown: bool },
}

/// The table.
pub(super) fn verdict(failure: Failure, asked: Asked<'_>) -> Verdict {
    let Asked {
        operation, bucket, ..
    } = asked;
    match failure {
        Failure::Answered(answer) => answered(&answer, asked),
        Failure::NotSent(reason) => Verdict::Unavailable {
            reason: not_sent(&reason, asked),
            unknown: false,
        },
        Failure::Credentials { reason, permanent } => {
            let reason = format!(
                "{operation} on bucket {bucket} was not sent, there are no credentials: {reason}; \
                 set KAFSCALE_S3_ACCESS_KEY and KAFSCALE_S3_SECRET_KEY, or give the process a role \
                 (IRSA, instance role)"
            );
            let unknown = false;
            match permanent {
                true => Verdict::Denied(reason),
                false => Verdict::Unavailable { reason, unknown },
            }
        }
        Failure::Unknown(reason) => Verdict::Unavailable {
            reason: format!("{operation} on bucket {bucket}: {reason}"),
            unknown: true,
        },
    }
}

fn not_sent(reason: &str, asked: Asked<'_>) -> String {
    let mend = match reason.contains("certificate") {
        true => {
            "; name the file of the authority that has issued the store's certificate in KAFSCALE_S3_CA_FILE, \
             and check that KAFSCALE_S3_ENDPOINT has a host name that the certificate is for"
        }
        false => "",
    };
    let Asked {
        operation, bucket, ..
    } = asked;
    format!("{operation} on bucket {bucket} was not sent: {reason}{mend}")
}

fn answered(answer: &Answer, asked: Asked<'_>) -> Verdict {
    match answer.code.as_deref() {
        Some(code) => by_code(code, answer, asked).unwrap_or_else(|| by_status(answer, asked)),
        None => by_status(answer, asked),
    }
}

fn by_code(code: &str, answer: &Answer, asked: Asked<'_>) -> Option<Verdict> {
    let told = || told(answer, asked);
    Some(match code {
        "PreconditionFailed" => Verdict::ConditionFailed,
        "ConditionalRequestConflict" | "OperationAborted" => Verdict::Conflict,
        "NoSuchKey" | "NotFound" => Verdict::Missing,
        "InvalidRange" => no_such_range(answer),
        "ServiceUnavailable"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "BandwidthLimitExceeded" => throttled(answer, true),
        _ if code.starts_with("SlowDown") || code.starts_with("Throttl") => throttled(answer, true),
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "ChecksumMismatch" => Verdict::Corrupt(told()),
        // The body broke off on its way: the store made no object of it.
        "IncompleteBody" => Verdict::Unavailable {
            reason: told(),
            unknown: false,
        },
        "QuotaExceeded"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "StorageFull"
        | "InsufficientCapacity" => Verdict::Full(told()),
        "NotImplemented" | "MethodNotAllowed" | "MissingContentMD5" => {
            Verdict::NotImplemented(told())
        }
        // Nothing was done, and it passes once somebody acts or a role renews itself: a broker that
        // runs must outlive it.
        "RequestTimeTooSkewed" | "RequestExpired" | "ExpiredToken" | "TokenRefreshRequired" => {
            Verdict::Unavailable {
                reason: format!("{}; {}", told(), mend(code, answer, asked)?),
                unknown: false,
            }
        }
        // What became of the upload is not known: an earlier answer may have been lost.
        "NoSuchUpload" | "RequestTimeout" | "TemporaryRedirect" | "InternalError" => {
            Verdict::Unavailable {
                reason: told(),
                unknown: true,
            }
        }
        _ => Verdict::Denied(format!("{}; {}", told(), mend(code, answer, asked)?)),
    })
}

/// What to do about a refusal.
fn mend(code: &str, answer: &Answer, asked: Asked<'_>) -> Option<String> {
    let bucket = asked.bucket;
    Some(match code {
        "NoSuchBucket" | "InvalidBucketName" => format!(
            "create the bucket {bucket}, or mend KAFSCALE_S3_BUCKET (or KAFSCALE_S3_ENDPOINT and \
             KAFSCALE_S3_PATH_STYLE, if it is there under this name)"
        ),
        "RequestTimeTooSkewed" | "RequestExpired" => match &answer.clocks {
            Some((theirs, ours)) => format!(
                "the clock of this machine says {ours}, the store's says {theirs}: set the clock \
                 (NTP)"
            ),
            None => "the clock of this machine differs from the store's: set it (NTP)".to_owned(),
        },
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
            "the session token is not valid any more: renew KAFSCALE_S3_SESSION_TOKEN with its \
             keys and start again, or use a role (IRSA, instance role), which renews itself"
                .to_owned()
        }
        "InvalidAccessKeyId" => {
            "the store does not know the access key: check KAFSCALE_S3_ACCESS_KEY and that \
             KAFSCALE_S3_ENDPOINT is the store that it belongs to"
                .to_owned()
        }
        "SignatureDoesNotMatch" => {
            "the secret key does not belong to the access key, or a proxy changes requests: check \
             KAFSCALE_S3_SECRET_KEY and KAFSCALE_S3_REGION"
                .to_owned()
        }
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "IllegalLocationConstraintException" => wrong_region(answer),
        "AccessDenied" | "Forbidden" | "AllAccessDisabled" | "AccountProblem" => permission(asked),
        _ if code.starts_with("KMS.") => {
            "the KMS key cannot be used: check KAFSCALE_S3_KMS_ARN, that the key is enabled and \
             that kms:GenerateDataKey and kms:Decrypt are granted"
                .to_owned()
        }
        _ => return None,
    })
}

fn wrong_region(answer: &Answer) -> String {
    match &answer.region {
        Some(region) => format!("the bucket is in {region}: set KAFSCALE_S3_REGION to it"),
        None => "set KAFSCALE_S3_REGION to the region of the bucket".to_owned(),
    }
}

fn permission(asked: Asked<'_>) -> String {
    let Asked {
        permission, bucket, ..
    } = asked;
    let target = match permission {
        "s3:ListBucket" | "s3:GetLifecycleConfiguration" => format!("arn:aws:s3:::{bucket}"),
        _ => format!("arn:aws:s3:::{bucket}/*"),
    };
    let hint = match permission {
        "s3:GetObject" => {
            " and s3:ListBucket on the bucket (without it an object that does not exist is denied)"
        }
        _ => "",
    };
    format!("grant {permission} on {target}{hint}")
}

fn by_status(answer: &Answer, asked: Asked<'_>) -> Verdict {
    let told = told(answer, asked);
    match answer.status {
        404 => Verdict::Missing,
        409 => Verdict::Conflict,
        412 => Verdict::ConditionFailed,
        416 => no_such_range(answer),
        429 => throttled(answer, true),
        // Without S3's code it may be a proxy whose connection broke after the request was done.
        503 => throttled(answer, answer.code.is_some()),
        507 => Verdict::Full(told),
        405 | 501 => Verdict::NotImplemented(told),
        301 | 307 => Verdict::Denied(format!("{told}; {}", wrong_region(answer))),
        401 | 403 => Verdict::Denied(format!("{told}; {}", permission(asked))),
        408 => Verdict::Unavailable {
            reason: told,
            unknown: true,
        },
        300..=499 => Verdict::Denied(told),
        // Also an error inside of a 200 answer.
        _ => Verdict::Unavailable {
            reason: told,
            unknown: true,
        },
    }
}

fn throttled(answer: &Answer, certain: bool) -> Verdict {
    Verdict::Throttled {
        retry_after: answer.retry_after,
        certain,
    }
}

fn no_such_range(answer: &Answer) -> Verdict {
    Verdict::NoSuchRange {
        object_len: answer.object_len.unwrap_or(0),
    }
}

fn told(answer: &Answer, asked: Asked<'_>) -> String {
    let code = answer.code.as_deref().unwrap_or("no code");
    let mut text = format!(
        "{} on bucket {}: status {}, {code}",
        asked.operation, asked.bucket, answer.status
    );
    if !answer.message.is_empty() {
        text.push_str(" (");
        text.push_str(&answer.message);
        text.push(')');
    }
    text
}

/// The error of a PUT.
pub(super) fn put_error(
    key: ObjectKey,
    condition: &PutCondition,
    failure: Failure,
    asked: Asked<'_>,
) -> PutError {
    let nothing_done = |key, reason| PutError::Unavailable {
        key,
        reason,
        outcome_unknown: false,
    };
    match (verdict(failure, asked), condition) {
        (Verdict::ConditionFailed, PutCondition::IfAbsent) => PutError::AlreadyExists { key },
        (Verdict::ConditionFailed, PutCondition::IfMatch(_)) => PutError::Mismatch { key },
        (Verdict::Missing, PutCondition::IfMatch(_)) => PutError::NotFound { key },
        (Verdict::Conflict, _) => PutError::Conflict { key },
        (Verdict::ConditionFailed, PutCondition::None) => PutError::Denied {
            key,
            reason: "412 without a condition: check the bucket's policy".to_owned(),
        },
        (Verdict::Missing, _) => PutError::Denied {
            key,
            reason: format!(
                "404 on bucket {}: check KAFSCALE_S3_BUCKET and KAFSCALE_S3_ENDPOINT",
                asked.bucket
            ),
        },
        (Verdict::NoSuchRange { .. }, _) => nothing_done(key, "416 to a PUT".to_owned()),
        (
            Verdict::Throttled {
                retry_after,
                certain: true,
            },
            _,
        ) => PutError::Throttled { key, retry_after },
        (Verdict::Throttled { certain: false, .. }, _) => PutError::Unavailable {
            key,
            reason: format!("{}: status 503 without a code", asked.operation),
            outcome_unknown: true,
        },
        (Verdict::Full(reason), _) => PutError::Full {
            key,
            reason,
            outcome_unknown: false,
        },
        (Verdict::Corrupt(reason), _) => PutError::Corrupt { key, reason },
        (Verdict::NotImplemented(reason) | Verdict::Denied(reason), _) => {
            PutError::Denied { key, reason }
        }
        (Verdict::Unavailable { reason, unknown }, _) => PutError::Unavailable {
            key,
            reason,
            outcome_unknown: unknown,
        },
    }
}

/// The error of a GET.
pub(super) fn get_error(key: ObjectKey, failure: Failure, asked: Asked<'_>) -> GetError {
    match verdict(failure, asked) {
        Verdict::Missing => GetError::NotFound { key },
        Verdict::NoSuchRange { object_len } => GetError::RangeNotSatisfiable { key, object_len },
        Verdict::Throttled { retry_after, .. } => GetError::Throttled { key, retry_after },
        Verdict::Denied(reason) | Verdict::NotImplemented(reason) => {
            GetError::Denied { key, reason }
        }
        Verdict::Corrupt(reason) => GetError::Corrupt { key, reason },
        other => GetError::Unavailable {
            key,
            reason: other.into_reason(),
        },
    }
}

/// The error of a HEAD.
pub(super) fn head_error(key: ObjectKey, failure: Failure, asked: Asked<'_>) -> HeadError {
    match verdict(failure, asked) {
        Verdict::Missing => HeadError::NotFound { key },
        Verdict::Throttled { retry_after, .. } => HeadError::Throttled { key, retry_after },
        Verdict::Denied(reason) | Verdict::NotImplemented(reason) => {
            HeadError::Denied { key, reason }
        }
        other => HeadError::Unavailable {
            key,
            reason: other.into_reason(),
        },
    }
}

/// The error of a LIST.
pub(super) fn list_error(prefix: String, failure: Failure, asked: Asked<'_>) -> ListError {
    match verdict(failure, asked) {
        Verdict::Throttled { retry_after, .. } => ListError::Throttled {
            prefix,
            retry_after,
        },
        Verdict::Denied(reason) | Verdict::NotImplemented(reason) => {
            ListError::Denied { prefix, reason }
        }
        Verdict::Missing => ListError::Denied {
            prefix,
            reason: format!(
                "404 on bucket {}: check KAFSCALE_S3_BUCKET and KAFSCALE_S3_ENDPOINT",
                asked.bucket
            ),
        },
        other => ListError::Unavailable {
            prefix,
            reason: other.into_reason(),
        },
    }
}

/// The result of deleting one key: a key that is not there is a success.
pub(super) fn delete_result(
    key: &ObjectKey,
    failure: Failure,
    asked: Asked<'_>,
) -> Result<(), DeleteError> {
    let key = key.clone();
    Err(match verdict(failure, asked) {
        Verdict::Missing => return Ok(()),
        Verdict::Throttled {
            retry_after,
            certain: true,
        } => DeleteError::Throttled { key, retry_after },
        Verdict::Denied(reason) | Verdict::NotImplemented(reason) => {
            DeleteError::Denied { key, reason }
        }
        Verdict::Unavailable { reason, unknown } => DeleteError::Unavailable {
            key,
            reason,
            outcome_unknown: unknown,
        },
        Verdict::Throttled { certain: false, .. } => DeleteError::Unavailable {
            key,
            reason: "status 503 without a code".to_owned(),
            outcome_unknown: true,
        },
        other => DeleteError::Unavailable {
            key,
            reason: other.into_reason(),
            outcome_unknown: false,
        },
    })
}

impl Verdict {
    /// The text of a verdict that an operation has no error of its own for.
    fn into_reason(self) -> String {
        match self {
            Self::Full(reason)
            | Self::Corrupt(reason)
            | Self::NotImplemented(reason)
            | Self::Denied(reason)
            | Self::Unavailable { reason, .. } => reason,
            other => format!("unexpected answer: {other:?}"),
        }
    }
}

#[cfg(test)]
#[path = "verdict/tests.rs"]
mod tests;
