//! Service: the S3 operations on the store, as the S3 library calls them.

pub(crate) mod digest;
mod read;
mod write;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::*;
use s3s::validation::NameValidation;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use crate::options::Conditional;
use crate::store::{Attributes, Store, hex};

/// Set on a LIST request that is to show the past.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StaleBy(pub(crate) Duration);

pub(crate) struct Service {
    store: Arc<Store>,
    conditional: Conditional,
}

impl Service {
    pub(crate) fn new(store: Arc<Store>, conditional: Conditional) -> Self {
        Self { store, conditional }
    }
}

/// Takes any bucket name: tests like short ones, and what exists is what was made.
pub(crate) struct AnyName;

impl NameValidation for AnyName {
    fn validate_bucket_name(&self, name: &str) -> bool {
        !name.is_empty()
    }
}

/// The one pair of keys that is known.
pub(crate) struct KeyPair {
    access: String,
    secret: SecretKey,
}

impl KeyPair {
    pub(crate) fn new(access: &str, secret: &str) -> Self {
        Self {
            access: access.to_owned(),
            secret: SecretKey::from(secret),
        }
    }
}

#[async_trait]
impl S3Auth for KeyPair {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match access_key == self.access {
            true => Ok(self.secret.clone()),
            false => Err(s3_error!(InvalidAccessKeyId)),
        }
    }
}

/// Lengths and counts as the S3 API has them.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn reply<T>(output: T) -> S3Result<S3Response<T>> {
    Ok(S3Response::new(output))
}

#[async_trait]
impl S3 for Service {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.store.create_bucket(&req.input.bucket)?;
        let location = Some(format!("/{}", req.input.bucket));
        reply(CreateBucketOutput { location })
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.store.head_bucket(&req.input.bucket)?;
        reply(HeadBucketOutput::default())
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.store.head_bucket(&req.input.bucket)?;
        reply(GetBucketLocationOutput::default())
    }

    async fn list_buckets(
        &self,
        _: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let buckets = self
            .store
            .buckets()
            .into_iter()
            .map(|(name, created)| Bucket {
                name: Some(name),
                creation_date: Some(Timestamp::from(created)),
                bucket_region: None,
            });
        reply(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            ..Default::default()
        })
    }

    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        reply(self.write(req).await?)
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        reply(self.read(&req.input)?)
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        reply(self.head(&req.input)?)
    }

    async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        reply(self.copy(req.input)?)
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.delete(&req.input)?;
        reply(DeleteObjectOutput::default())
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        reply(self.delete_all(req.input)?)
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let stale = req.extensions.get::<StaleBy>().copied();
        let marker = req.input.marker.clone();
        let listing = self.list(req.input.into(), stale)?;
        let last = listing
            .contents
            .iter()
            .flatten()
            .filter_map(|object| object.key.clone());
        let prefixes = listing.common_prefixes.iter().flatten();
        let last = last
            .chain(prefixes.filter_map(|prefix| prefix.prefix.clone()))
            .max();
        reply(ListObjectsOutput {
            next_marker: last.filter(|_| listing.is_truncated == Some(true)),
            marker,
            contents: listing.contents,
            common_prefixes: listing.common_prefixes,
            delimiter: listing.delimiter,
            encoding_type: listing.encoding_type,
            is_truncated: listing.is_truncated,
            max_keys: listing.max_keys,
            name: listing.name,
            prefix: listing.prefix,
            ..Default::default()
        })
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let stale = req.extensions.get::<StaleBy>().copied();
        reply(self.list(req.input, stale)?)
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let CreateMultipartUploadInput {
            bucket,
            key,
            content_type,
            metadata,
            ..
        } = req.input;
        let attributes = Attributes {
            content_type,
            metadata,
        };
        let upload_id = Some(self.store.create_upload(&bucket, &key, attributes)?);
        let (bucket, key) = (Some(bucket), Some(key));
        reply(CreateMultipartUploadOutput {
            bucket,
            key,
            upload_id,
            ..Default::default()
        })
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        reply(self.write_part(req).await?)
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        reply(self.complete(req.input).await?)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.store
            .abort_upload(&req.input.bucket, &req.input.key, &req.input.upload_id)?;
        reply(AbortMultipartUploadOutput::default())
    }

    async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = req.input;
        let limit = read::page_limit(input.max_parts, 1000)?;
        let upload = self
            .store
            .upload(&input.bucket, &input.key, &input.upload_id)?;
        let from = input
            .part_number_marker
            .unwrap_or(0)
            .saturating_add(1)
            .max(1);
        let rest = upload.parts.range(from..);
        let parts = rest
            .clone()
            .take(limit)
            .map(|(number, part)| s3s::dto::Part {
                part_number: Some(*number),
                size: Some(int(part.bytes.len() as u64)),
                e_tag: Some(ETag::Strong(hex(&part.md5))),
                last_modified: Some(Timestamp::from(part.modified)),
                ..Default::default()
            });
        let parts: Vec<_> = parts.collect();
        let more = rest.count() > parts.len();
        let last = parts.last().and_then(|part| part.part_number);
        reply(ListPartsOutput {
            is_truncated: Some(more),
            next_part_number_marker: last.filter(|_| more),
            max_parts: i32::try_from(limit).ok(),
            parts: Some(parts),
            part_number_marker: input.part_number_marker,
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            ..Default::default()
        })
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        if input
            .delimiter
            .as_ref()
            .is_some_and(|delimiter| !delimiter.is_empty())
        {
            return Err(s3_error!(NotImplemented, "uploads cannot be rolled up"));
        }
        let limit = read::page_limit(input.max_uploads, 1000)?;
        let marker = input.key_marker.clone().filter(|marker| !marker.is_empty());
        let after = marker.map(|key| (key, input.upload_id_marker.clone().unwrap_or_default()));
        let prefix = input.prefix.as_deref().unwrap_or("");
        let page = self.store.uploads(&input.bucket, prefix, after, limit)?;
        let last = page.uploads.last().filter(|_| page.more).cloned();
        let (next_key, next_id) = last.map(|(key, id, _)| (key, id)).unzip();
        let uploads = page
            .uploads
            .into_iter()
            .map(|(key, id, initiated)| MultipartUpload {
                key: Some(key),
                upload_id: Some(id),
                initiated: Some(Timestamp::from(initiated)),
                ..Default::default()
            });
        reply(ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            is_truncated: Some(page.more),
            next_key_marker: next_key,
            next_upload_id_marker: next_id,
            max_uploads: i32::try_from(limit).ok(),
            bucket: Some(input.bucket),
            prefix: input.prefix,
            key_marker: input.key_marker,
            upload_id_marker: input.upload_id_marker,
            ..Default::default()
        })
    }

    async fn put_bucket_lifecycle_configuration(
        &self,
        req: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
        let configuration = req.input.lifecycle_configuration;
        let configuration = configuration.ok_or_else(|| s3_error!(MalformedXML))?;
        self.store
            .set_lifecycle(&req.input.bucket, Some(configuration))?;
        reply(PutBucketLifecycleConfigurationOutput::default())
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        let rules = Some(self.store.lifecycle(&req.input.bucket)?);
        reply(GetBucketLifecycleConfigurationOutput {
            rules,
            ..Default::default()
        })
    }

    async fn delete_bucket_lifecycle(
        &self,
        req: S3Request<DeleteBucketLifecycleInput>,
    ) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
        self.store.set_lifecycle(&req.input.bucket, None)?;
        reply(DeleteBucketLifecycleOutput::default())
    }
}
