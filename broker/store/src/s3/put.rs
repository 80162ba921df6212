//! PutObject: one request, the condition in a header, the body streamed chunk by chunk.

use std::sync::Arc;

use aws_sdk_s3::types::ServerSideEncryption;

use super::failure::send;
use super::options::{PUT_BYTES_MAX, RequestChecksums, Sse};
use super::verdict::{Asked, put_error};
use super::{Shared, body, multipart};
use crate::error::PutError;
use crate::key::ObjectKey;
use crate::object::{Body, ETag, PutCondition, PutOutcome};

/// What every way to write asks for.
pub(super) const PERMISSION: &str = "s3:PutObject";

/// Writes one object, in parts if it is large.
pub(super) async fn put(
    shared: &Arc<Shared>,
    key: ObjectKey,
    body: Body,
    condition: PutCondition,
) -> Result<PutOutcome, PutError> {
    let threshold = shared.options.multipart_threshold.min(PUT_BYTES_MAX);
    if body.len() > threshold {
        return multipart::put(shared, key, body, condition).await;
    }
    let asked = Asked {
        operation: "PutObject",
        permission: PERMISSION,
        bucket: &shared.main.name,
    };
    let (if_none_match, if_match) = headers(&condition);
    let (sse, kms_key) = encryption(&shared.options.sse);
    let request = shared
        .main
        .client
        .put_object()
        .bucket(&shared.main.name)
        .key(key.as_str())
        .content_length(i64::try_from(body.len()).unwrap_or(i64::MAX))
        .set_if_none_match(if_none_match)
        .set_if_match(if_match)
        .set_checksum_crc32(checksum(shared, &body))
        .set_server_side_encryption(sse)
        .set_ssekms_key_id(kms_key)
        .body(body::stream(&body));
    shared.counters.puts.increment();
    shared.counters.bytes_out.add(body.len());
    match send(shared.limit(body.len()), request.send()).await {
        Ok(output) => outcome(key, output.e_tag),
        Err(failure) => Err(put_error(key, &condition, failure, asked)),
    }
}

/// The headers `If-None-Match` and `If-Match` of a condition.
pub(super) fn headers(condition: &PutCondition) -> (Option<String>, Option<String>) {
    match condition {
        PutCondition::None => (None, None),
        PutCondition::IfAbsent => (Some("*".to_owned()), None),
        PutCondition::IfMatch(etag) => (None, Some(etag.as_str().to_owned())),
    }
}

/// The headers of the encryption setting.
pub(super) fn encryption(sse: &Sse) -> (Option<ServerSideEncryption>, Option<String>) {
    match sse {
        Sse::None => (None, None),
        Sse::Aes256 => (Some(ServerSideEncryption::Aes256), None),
        Sse::Kms { key_id } => (Some(ServerSideEncryption::AwsKms), Some(key_id.clone())),
    }
}

/// The checksum of the request; where it is sent, the SDK adds none of its own as a trailer, which
/// some stores refuse.
fn checksum(shared: &Shared, body: &Body) -> Option<String> {
    let crc32 = match (body.crc32(), shared.options.request_checksums) {
        (Some(stated), _) => stated,
        (None, RequestChecksums::WhenSupported) => body.compute_crc32(),
        (None, RequestChecksums::WhenRequired) => return None,
    };
    Some(body::crc32_base64(crc32))
}

/// The outcome of a write that the store accepted.
pub(super) fn outcome(key: ObjectKey, etag: Option<String>) -> Result<PutOutcome, PutError> {
    match etag {
        Some(etag) => Ok(PutOutcome {
            etag: ETag::new(etag),
        }),
        None => Err(PutError::Unavailable {
            key,
            reason: "the store accepted the object but told no ETag".to_owned(),
            outcome_unknown: true,
        }),
    }
}
