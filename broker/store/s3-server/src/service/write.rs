//! Write: PUT, COPY, DELETE and multipart, under the server's kind of conditions.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use hyper::StatusCode;
use s3s::dto::{
    Checksum, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CopyObjectInput,
    CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput, DeleteObjectsInput,
    DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, Error as DeleteError,
    MetadataDirective, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, TrailingHeaders, s3_error};

use super::Service;
use super::digest::Claim;
use crate::options::{Conditional, RACY_GAP_MS};
use crate::store::{Attributes, Completed, Condition, Object, Part, hex};

/// Keys that one DeleteObjects may name; the S3 API's own bound.
const MAX_DELETES: usize = 1000;

impl Service {
    pub(super) async fn write(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<PutObjectOutput> {
        let input = request.input;
        let claim = Claim {
            content_md5: input.content_md5,
            algorithm: input.checksum_algorithm,
            checksum: Checksum {
                checksum_crc32: input.checksum_crc32,
                checksum_crc32c: input.checksum_crc32c,
                checksum_crc64nvme: input.checksum_crc64nvme,
                checksum_sha1: input.checksum_sha1,
                checksum_sha256: input.checksum_sha256,
                ..Default::default()
            },
        };
        let (bytes, md5, checksum) = take(input.body, claim, request.trailing_headers).await?;
        let condition = Condition {
            if_none_match: input.if_none_match,
            if_match: input.if_match,
        };
        let condition = self.condition(&input.bucket, &input.key, condition).await?;
        let etag = hex(&md5);
        let object = Object {
            bytes,
            etag: etag.clone(),
            modified: SystemTime::now(),
            checksum: checksum.clone(),
            attributes: Attributes {
                content_type: input.content_type,
                metadata: input.metadata,
            },
        };
        self.store
            .put(&input.bucket, &input.key, object, &condition)?;
        Ok(PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            ..Default::default()
        })
    }

    /// The condition that is left for the write itself, by the kind of server this is.
    async fn condition(&self, bucket: &str, key: &str, asked: Condition) -> S3Result<Condition> {
        match self.conditional {
            Conditional::Atomic => Ok(asked),
            Conditional::Ignored => Ok(Condition::default()),
            Conditional::Refused if !asked.is_none() => Err(s3_error!(
                NotImplemented,
                "A header you provided implies functionality that is not implemented."
            )),
            Conditional::CreateOnly if asked.if_match.is_some() => {
                Err(s3_error!(PreconditionFailed))
            }
            Conditional::Refused | Conditional::CreateOnly => Ok(asked),
            Conditional::Racy => {
                if !asked.is_none() {
                    self.store.check(bucket, key, &asked)?;
                    tokio::time::sleep(Duration::from_millis(RACY_GAP_MS)).await;
                }
                Ok(Condition::default())
            }
        }
    }

    fn if_match<'a>(&self, asked: Option<&'a ETagCondition>) -> Option<&'a ETagCondition> {
        asked.filter(|_| self.conditional != Conditional::Ignored)
    }

    pub(super) fn copy(&self, input: CopyObjectInput) -> S3Result<CopyObjectOutput> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id: None,
        } = &input.copy_source
        else {
            return Err(s3_error!(
                NotImplemented,
                "only bucket/key can be copied from"
            ));
        };
        let source = self.store.get(bucket, key)?;
        let is = |wanted: &ETagCondition| match wanted {
            ETagCondition::Any => true,
            ETagCondition::ETag(wanted) => wanted.value() == source.etag,
        };
        let refused = input
            .copy_source_if_match
            .as_ref()
            .is_some_and(|wanted| !is(wanted))
            || input.copy_source_if_none_match.as_ref().is_some_and(is);
        if refused {
            return Err(s3_error!(PreconditionFailed));
        }
        let directive = input
            .metadata_directive
            .as_ref()
            .map(MetadataDirective::as_str);
        let attributes = match directive {
            Some(MetadataDirective::REPLACE) => Attributes {
                content_type: input.content_type,
                metadata: input.metadata,
            },
            _ => source.attributes.clone(),
        };
        let modified = SystemTime::now();
        let object = Object {
            modified,
            attributes,
            ..Object::clone(&source)
        };
        self.store
            .put(&input.bucket, &input.key, object, &Condition::default())?;
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(source.etag.clone())),
            last_modified: Some(Timestamp::from(modified)),
            ..Default::default()
        };
        Ok(CopyObjectOutput {
            copy_object_result: Some(result),
            ..Default::default()
        })
    }

    pub(super) fn delete(&self, input: &DeleteObjectInput) -> S3Result<()> {
        let wanted = self.if_match(input.if_match.as_ref());
        self.store
            .delete(&input.bucket, &input.key, wanted)
            .map(|_| ())
    }

    pub(super) fn delete_all(&self, input: DeleteObjectsInput) -> S3Result<DeleteObjectsOutput> {
        self.store.head_bucket(&input.bucket)?;
        if input.delete.objects.len() > MAX_DELETES {
            return Err(s3_error!(MalformedXML, "at most {MAX_DELETES} keys"));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            let wanted = object.e_tag.map(ETagCondition::ETag);
            let wanted = self.if_match(wanted.as_ref());
            match self.store.delete(&input.bucket, &object.key, wanted) {
                Ok(_) => {
                    deleted.push(DeletedObject {
                        key: Some(object.key),
                        ..Default::default()
                    });
                }
                Err(error) => errors.push(DeleteError {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        Ok(DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: Some(errors),
            ..Default::default()
        })
    }

    pub(super) async fn write_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<UploadPartOutput> {
        let input = request.input;
        let claim = Claim {
            content_md5: input.content_md5,
            algorithm: input.checksum_algorithm,
            checksum: Checksum {
                checksum_crc32: input.checksum_crc32,
                checksum_crc32c: input.checksum_crc32c,
                checksum_crc64nvme: input.checksum_crc64nvme,
                checksum_sha1: input.checksum_sha1,
                checksum_sha256: input.checksum_sha256,
                ..Default::default()
            },
        };
        let (bytes, md5, checksum) = take(input.body, claim, request.trailing_headers).await?;
        let part = Part {
            bytes,
            md5,
            modified: SystemTime::now(),
            checksum: checksum.clone(),
        };
        let (bucket, key) = (&input.bucket, &input.key);
        self.store
            .put_part(bucket, key, &input.upload_id, input.part_number, part)?;
        Ok(UploadPartOutput {
            e_tag: Some(ETag::Strong(hex(&md5))),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            ..Default::default()
        })
    }

    pub(super) async fn complete(
        &self,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let named = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let parts = named.into_iter().map(|part| {
            let number = part.part_number.ok_or_else(|| s3_error!(MalformedXML))?;
            let checksum = Checksum {
                checksum_crc32: part.checksum_crc32,
                checksum_crc32c: part.checksum_crc32c,
                checksum_crc64nvme: part.checksum_crc64nvme,
                checksum_sha1: part.checksum_sha1,
                checksum_sha256: part.checksum_sha256,
                ..Default::default()
            };
            Ok(Completed {
                number,
                etag: part.e_tag.map(ETag::into_value),
                checksum,
            })
        });
        let parts = parts.collect::<S3Result<Vec<_>>>()?;
        // A checksum of checksums ends in "-N"; only one of the whole bytes is compared.
        let whole = |sum: Option<String>| sum.filter(|sum| !sum.contains('-'));
        let claim = Claim {
            checksum: Checksum {
                checksum_crc32: whole(input.checksum_crc32),
                checksum_crc32c: whole(input.checksum_crc32c),
                checksum_crc64nvme: whole(input.checksum_crc64nvme),
                checksum_sha1: whole(input.checksum_sha1),
                checksum_sha256: whole(input.checksum_sha256),
                ..Default::default()
            },
            ..Default::default()
        };
        let condition = Condition {
            if_none_match: input.if_none_match,
            if_match: input.if_match,
        };
        let (bucket, key, id) = (&input.bucket, &input.key, &input.upload_id);
        let condition = self.condition(bucket, key, condition).await?;
        let chosen = self.store.choose_parts(bucket, key, id, &parts)?;
        // On another thread: the requests of others do not wait for a large object.
        let assembled = tokio::task::spawn_blocking(move || {
            let (bytes, etag) = chosen.assemble();
            let checksum = claim.verify_checksums(&bytes)?;
            Ok::<_, s3s::S3Error>((bytes, etag, checksum))
        });
        let (bytes, etag, checksum) = assembled
            .await
            .map_err(|error| s3_error!(InternalError, "{error}"))??;
        let object = (bytes, etag.clone(), checksum);
        self.store
            .complete_upload(bucket, key, id, object, &condition)?;
        Ok(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            ..Default::default()
        })
    }
}

/// Takes a body whole and checks it against all that the client says about it.
async fn take(
    body: Option<StreamingBlob>,
    mut claim: Claim,
    trailers: Option<TrailingHeaders>,
) -> S3Result<(Bytes, [u8; 16], Checksum)> {
    let bytes = match body {
        Some(body) => whole(body).await?,
        None => Bytes::new(),
    };
    if let Some(trailers) = trailers {
        trailers.read(|trailers| claim.add_trailers(trailers));
    }
    let (md5, checksum) = claim.verify(&bytes)?;
    Ok((bytes, md5, checksum))
}

/// Joins a body's pieces; a body of one piece is not copied.
async fn whole(mut body: StreamingBlob) -> S3Result<Bytes> {
    let mut first: Option<Bytes> = None;
    let mut rest = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| body_error(&error.to_string()))?;
        match first {
            None => first = Some(piece),
            Some(_) => rest.push(piece),
        }
    }
    let first = first.unwrap_or_default();
    if rest.is_empty() {
        return Ok(first);
    }
    let size = first.len() + rest.iter().map(Bytes::len).sum::<usize>();
    let mut joined = BytesMut::with_capacity(size);
    joined.extend_from_slice(&first);
    for piece in rest {
        joined.extend_from_slice(&piece);
    }
    Ok(joined.freeze())
}

/// The S3 layer's own errors on a body are known by their text alone: their types are not public.
fn body_error(text: &str) -> S3Error {
    if text.contains("Sha256Mismatch") {
        let code = S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into());
        let message = "The provided 'x-amz-content-sha256' header is not that of the body.";
        let mut error = S3Error::with_message(code, message);
        error.set_status_code(StatusCode::BAD_REQUEST);
        return error;
    }
    if text.contains("SignatureMismatch") {
        return s3_error!(SignatureDoesNotMatch);
    }
    s3_error!(IncompleteBody)
}
