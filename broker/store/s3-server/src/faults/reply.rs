//! Reply: the error replies that faults give, as the S3 API has them.

use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use s3s::{Body, S3Error, S3ErrorCode};

use super::ErrorCode;

/// The reply of `code`. A `SlowDown` always has a `Retry-After`, others when given.
pub(crate) fn error_reply(code: ErrorCode, retry_after_seconds: Option<u32>) -> Response<Body> {
    let (name, retry) = match code {
        ErrorCode::AccessDenied => (S3ErrorCode::AccessDenied, None),
        ErrorCode::ConditionalRequestConflict => (S3ErrorCode::ConditionalRequestConflict, None),
        ErrorCode::ExpiredToken => (S3ErrorCode::ExpiredToken, None),
        ErrorCode::InternalError => (S3ErrorCode::InternalError, None),
        ErrorCode::InvalidAccessKeyId => (S3ErrorCode::InvalidAccessKeyId, None),
        ErrorCode::NoSuchKey => (S3ErrorCode::NoSuchKey, None),
        ErrorCode::PreconditionFailed => (S3ErrorCode::PreconditionFailed, None),
        ErrorCode::RequestTimeout => (S3ErrorCode::RequestTimeout, None),
        ErrorCode::RequestTimeTooSkewed => (S3ErrorCode::RequestTimeTooSkewed, None),
        ErrorCode::ServiceUnavailable => (S3ErrorCode::ServiceUnavailable, None),
        ErrorCode::SignatureDoesNotMatch => (S3ErrorCode::SignatureDoesNotMatch, None),
        ErrorCode::SlowDown => (S3ErrorCode::SlowDown, Some(1)),
    };
    let mut error = S3Error::with_message(name, "Injected by a fault rule.");
    if let Some(seconds) = retry_after_seconds.or(retry) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        error.set_headers(headers);
    }
    into_reply(error)
}

/// An S3 error as a reply.
pub(crate) fn into_reply(error: S3Error) -> Response<Body> {
    // Serializing a code and a short message does not fail; the bare status says enough if it did.
    let status = error
        .status_code()
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    error.to_http_response().unwrap_or_else(|_| {
        let mut reply = Response::new(Body::empty());
        *reply.status_mut() = status;
        reply
    })
}
