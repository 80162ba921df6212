//! What went wrong with a request, as far as the wire tells: the SDK's errors read into plain data.
//!
//! Invariant: a request counts as "not sent" only where that is certain (no connection, no
//! credentials, nothing built). Everything else without an answer may have taken effect.

use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};

/// Longest rest that a store may ask for with `Retry-After`: acknowledgements wait for it, and a
/// store that asks for more is asked again after this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// Causes of an error that are told, and most characters of the text of an answer.
const CAUSES_MAX: usize = 6;
const TEXT_CHARS_MAX: usize = 400;

/// A request that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The store answered with an error.
    Answered(Answer),
    /// Nothing was sent: no connection, no route, not built.
    NotSent(String),
    /// Nothing was sent: there are no credentials. `permanent`: none are configured.
    Credentials { reason: String, permanent: bool },
    /// No answer that can be read: it may have taken effect.
    Unknown(String),
}

/// An error as the store answered it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// S3's error code; absent where the answer has no body (HEAD) or is no S3 answer.
    pub(super) code: Option<String>,
    /// S3's text.
    pub(super) message: String,
    /// How long the store asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// Length of the object from `Content-Range: bytes */n`.
    pub(super) object_len: Option<u64>,
    /// The region that the store names for the bucket.
    pub(super) region: Option<String>,
    /// The store's clock and ours, as text.
    pub(super) clocks: Option<(String, String)>,
}

/// Sends a request and waits at most `limit` for its answer.
pub(super) async fn send<T, E>(
    limit: Duration,
    request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, Failure>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    // Boxed: the SDK's futures are tens of kilobytes.
    match tokio::time::timeout(limit, Box::pin(request)).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(read(&error)),
        Err(_) => Err(Failure::Unknown(format!("no answer within {limit:?}"))),
    }
}

fn read<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(context) => Failure::Answered(answer(context.err(), context.raw())),
        SdkError::ResponseError(context) => {
            let status = context.raw().status().as_u16();
            Failure::Unknown(format!(
                "the answer (status {status}) cannot be read: {}",
                causes(error)
            ))
        }
        SdkError::ConstructionFailure(_) => not_sent(error),
        SdkError::DispatchFailure(_) if never_connected(error) => not_sent(error),
        SdkError::DispatchFailure(_) if find::<CredentialsError>(error).is_some() => {
            not_sent(error)
        }
        _ => Failure::Unknown(format!("no answer: {}", causes(error))),
    }
}

fn not_sent<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> Failure {
    match find::<CredentialsError>(error) {
        Some(cause) => Failure::Credentials {
            reason: causes(cause),
            permanent: matches!(
                cause,
                CredentialsError::CredentialsNotLoaded(_)
                    | CredentialsError::InvalidConfiguration(_)
            ),
        },
        None => Failure::NotSent(causes(error)),
    }
}

fn never_connected(error: &(dyn Error + 'static)) -> bool {
    find::<hyper_util::client::legacy::Error>(error).is_some_and(|error| error.is_connect())
}

fn answer<E>(error: &E, response: &HttpResponse) -> Answer
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let header = |name: &str| response.headers().get(name);
    // Without a code it may be an answer that could not be read: the cause tells more.
    let message = match (error.code(), error.message()) {
        (None, None) => causes(error),
        (_, message) => shorten(message.unwrap_or_default()),
    };
    Answer {
        status: response.status().as_u16(),
        code: error.code().map(shorten),
        message,
        retry_after: header("retry-after").and_then(retry_after),
        object_len: header("content-range").and_then(unsatisfied_len),
        region: header("x-amz-bucket-region").map(shorten),
        clocks: header("date").map(|theirs| (shorten(theirs), now_text())),
    }
}

fn now_text() -> String {
    DateTime::from(SystemTime::now())
        .fmt(DateTimeFormat::HttpDate)
        .unwrap_or_default()
}

/// `Retry-After` in its form of seconds; a date is not used: it needs clocks that agree.
fn retry_after(value: &str) -> Option<Duration> {
    let seconds: u64 = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// The length in `bytes */1234`.
fn unsatisfied_len(value: &str) -> Option<u64> {
    value.trim().strip_prefix("bytes */")?.trim().parse().ok()
}

/// An error and what caused it, in one line of bounded length.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(cause) = next else { break };
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    shorten(&text)
}

/// The first error of type `E` among an error and its causes.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn shorten(text: &str) -> String {
    text.chars()
        .take(TEXT_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_and_bounded() {
        assert_eq!(retry_after("3"), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("999999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(retry_after("-1"), None);
    }

    #[test]
    fn the_length_of_an_object_is_read_from_a_refused_range() {
        assert_eq!(unsatisfied_len("bytes */10"), Some(10));
        assert_eq!(unsatisfied_len("bytes 0-3/10"), None);
        assert_eq!(unsatisfied_len("bytes */*"), None);
    }

    #[test]
    fn texts_of_a_peer_are_bounded_and_on_one_line() {
        let hostile = format!("a\r\nb{}", "x".repeat(10_000));
        let text = shorten(&hostile);
        assert_eq!(text.chars().count(), TEXT_CHARS_MAX);
        assert!(text.starts_with("a  b"));
    }
}
