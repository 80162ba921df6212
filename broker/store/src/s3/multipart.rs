//! Multipart uploads: large objects in parts, the condition on the completion.
//!
//! Invariants: no object exists before the completion was sent, so a failure before it has a known
//! outcome; at most `parts_in_flight` parts are on their way; an upload that is not completed is
//! aborted once (best effort: a bucket should have a lifecycle rule for incomplete uploads).

use std::sync::Arc;

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use futures_util::{StreamExt, TryStreamExt};

use super::failure::{Failure, send};
use super::options::{PARTS_MAX, RequestChecksums};
use super::put::{PERMISSION, encryption, headers, outcome};
use super::verdict::{Asked, put_error};
use super::{Shared, body};
use crate::error::PutError;
use crate::key::ObjectKey;
use crate::object::{Body, PutCondition, PutOutcome};

/// Writes one object in parts.
pub(super) async fn put(
    shared: &Arc<Shared>,
    key: ObjectKey,
    body: Body,
    condition: PutCondition,
) -> Result<PutOutcome, PutError> {
    let part_bytes = part_bytes(body.len(), shared.options.part_size);
    let parts = body::parts(&body, part_bytes);
    let sums = checksums(shared, &key, &body, &parts)?;
    let upload = create(shared, &key, sums.is_some())
        .await
        .map_err(|failure| before_completion(shared, &key, "CreateMultipartUpload", failure))?;
    let completed = send_parts(shared, &upload, parts, sums)
        .await
        .map_err(|failure| before_completion(shared, &key, "UploadPart", failure))?;
    let (if_none_match, if_match) = headers(&condition);
    let request = shared
        .main
        .client
        .complete_multipart_upload()
        .bucket(&shared.main.name)
        .key(key.as_str())
        .upload_id(&upload.id)
        .set_if_none_match(if_none_match)
        .set_if_match(if_match)
        .multipart_upload(completed);
    shared.counters.puts.increment();
    // Putting parts together takes the store longer than taking a body of one part.
    match send(shared.limit(body.len()), request.send()).await {
        Ok(output) => {
            upload.completed();
            outcome(key, output.e_tag)
        }
        Err(failure) => {
            let asked = asked(shared, "CompleteMultipartUpload");
            Err(put_error(key, &condition, failure, asked))
        }
    }
}

/// An upload that is aborted when dropped, unless it was completed.
struct Upload {
    shared: Arc<Shared>,
    key: ObjectKey,
    id: String,
    done: bool,
}

impl Upload {
    fn completed(mut self) {
        self.done = true;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (shared, key) = (Arc::clone(&self.shared), self.key.clone());
        let id = std::mem::take(&mut self.id);
        self.shared.runtime.spawn(async move {
            shared.counters.uploads_aborted.increment();
            let request = shared
                .main
                .client
                .abort_multipart_upload()
                .bucket(&shared.main.name)
                .key(key.as_str())
                .upload_id(id);
            if let Err(failure) = send(shared.limit(0), request.send()).await {
                tracing::debug!(%key, ?failure, "a multipart upload could not be aborted");
            }
        });
    }
}

async fn create(shared: &Arc<Shared>, key: &ObjectKey, summed: bool) -> Result<Upload, Failure> {
    let (sse, kms_key) = encryption(&shared.options.sse);
    let request = shared
        .main
        .client
        .create_multipart_upload()
        .bucket(&shared.main.name)
        .key(key.as_str())
        .set_checksum_algorithm(summed.then_some(ChecksumAlgorithm::Crc32))
        .set_server_side_encryption(sse)
        .set_ssekms_key_id(kms_key);
    let output = send(shared.limit(0), request.send()).await?;
    let id = output
        .upload_id
        .ok_or_else(|| Failure::Unknown("the store told no upload id".to_owned()))?;
    Ok(Upload {
        shared: Arc::clone(shared),
        key: key.clone(),
        id,
        done: false,
    })
}

async fn send_parts(
    shared: &Arc<Shared>,
    upload: &Upload,
    parts: Vec<Body>,
    sums: Option<Vec<u32>>,
) -> Result<CompletedMultipartUpload, Failure> {
    let numbered = (1_i32..).zip(parts).enumerate();
    let sends = numbered.map(|(index, (number, part))| {
        let sum = sums
            .as_ref()
            .and_then(|sums| sums.get(index))
            .map(|crc32| body::crc32_base64(*crc32));
        send_part(shared, upload, number, part, sum)
    });
    // In order of their numbers, as the completion wants them.
    let parts: Vec<CompletedPart> = futures_util::stream::iter(sends)
        .buffered(shared.options.parts_in_flight)
        .try_collect()
        .await?;
    Ok(CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build())
}

async fn send_part(
    shared: &Shared,
    upload: &Upload,
    number: i32,
    part: Body,
    sum: Option<String>,
) -> Result<CompletedPart, Failure> {
    let request = shared
        .main
        .client
        .upload_part()
        .bucket(&shared.main.name)
        .key(upload.key.as_str())
        .upload_id(&upload.id)
        .part_number(number)
        .content_length(i64::try_from(part.len()).unwrap_or(i64::MAX))
        .set_checksum_crc32(sum.clone())
        .body(body::stream(&part));
    shared.counters.parts.increment();
    shared.counters.bytes_out.add(part.len());
    let output = send(shared.limit(part.len()), request.send()).await?;
    let etag = output
        .e_tag
        .ok_or_else(|| Failure::Unknown(format!("the store told no ETag of part {number}")))?;
    Ok(CompletedPart::builder()
        .part_number(number)
        .e_tag(etag)
        .set_checksum_crc32(sum)
        .build())
}

/// The CRC-32 of each part; a stated sum of the whole body is verified with them, because a
/// multipart upload has no place for it.
fn checksums(
    shared: &Shared,
    key: &ObjectKey,
    body: &Body,
    parts: &[Body],
) -> Result<Option<Vec<u32>>, PutError> {
    let when_required = shared.options.request_checksums == RequestChecksums::WhenRequired;
    if when_required && body.crc32().is_none() {
        return Ok(None);
    }
    let mut whole = crc32fast::Hasher::new();
    let mut sums = Vec::with_capacity(parts.len());
    for part in parts {
        let sum = part.compute_crc32();
        whole.combine(&crc32fast::Hasher::new_with_initial_len(sum, part.len()));
        sums.push(sum);
    }
    let found = whole.finalize();
    match body.crc32() {
        Some(stated) if stated != found => Err(PutError::Corrupt {
            key: key.clone(),
            reason: format!("crc32 {found:08x}, stated {stated:08x}"),
        }),
        Some(_) | None => Ok((!when_required).then_some(sums)),
    }
}

/// The size of a part so that there are at most [`PARTS_MAX`].
fn part_bytes(body_bytes: u64, part_size: u64) -> u64 {
    part_size.max(body_bytes.div_ceil(PARTS_MAX))
}

fn asked<'a>(shared: &'a Shared, operation: &'static str) -> Asked<'a> {
    Asked {
        operation,
        permission: PERMISSION,
        bucket: &shared.main.name,
    }
}

/// The error of a step before the completion: there is no object yet, whatever was lost.
fn before_completion(
    shared: &Shared,
    key: &ObjectKey,
    operation: &'static str,
    failure: Failure,
) -> PutError {
    let asked = asked(shared, operation);
    match put_error(key.clone(), &PutCondition::None, failure, asked) {
        PutError::Unavailable { key, reason, .. } => PutError::Unavailable {
            key,
            reason,
            outcome_unknown: false,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_with_the_object() {
        let mib = 1024 * 1024;
        assert_eq!(part_bytes(100 * mib, 16 * mib), 16 * mib);
        let huge = 5 * 1024 * 1024 * mib;
        let part = part_bytes(huge, 16 * mib);
        assert!(huge.div_ceil(part) <= PARTS_MAX && part < 525 * mib);
    }
}
