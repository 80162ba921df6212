//! Operation: which S3 operation a request asks for, told from its method, path and query alone.
//!
//! Faults and the request log work with it. The S3 layer below does its own parsing; what the
//! two could see differently is limited to requests that are no S3 requests at all.

use hyper::{HeaderMap, Method, Uri};
use serde::{Deserialize, Serialize};

/// An S3 operation, named as in the S3 API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the S3 API")]
pub enum Operation {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CopyObject,
    CreateBucket,
    CreateMultipartUpload,
    DeleteBucketLifecycle,
    DeleteObject,
    DeleteObjects,
    GetBucketLifecycleConfiguration,
    GetBucketLocation,
    GetObject,
    HeadBucket,
    HeadObject,
    ListBuckets,
    ListMultipartUploads,
    ListObjects,
    ListObjectsV2,
    ListParts,
    PutBucketLifecycleConfiguration,
    PutObject,
    UploadPart,
    /// Any other request.
    Other,
}

/// What a request is about.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) operation: Operation,
    /// Empty for an operation on no bucket.
    pub(crate) bucket: String,
    /// The object's key; for the LIST operations the prefix asked for; otherwise empty.
    pub(crate) key: String,
}

/// Tells what a request asks for. Only path-style addresses are known.
pub(crate) fn classify(method: &Method, uri: &Uri, headers: &HeaderMap) -> Target {
    let path = percent_decode(uri.path().trim_start_matches('/'), false);
    let query = Query::parse(uri.query().unwrap_or(""));
    let (bucket, key) = match path.split_once('/') {
        Some((bucket, key)) => (bucket.to_owned(), key.to_owned()),
        None => (path, String::new()),
    };
    let operation = if bucket.is_empty() {
        match *method {
            Method::GET => Operation::ListBuckets,
            _ => Operation::Other,
        }
    } else if key.is_empty() {
        bucket_operation(method, &query)
    } else {
        object_operation(method, &query, headers)
    };
    let key = match operation {
        Operation::ListObjects | Operation::ListObjectsV2 | Operation::ListMultipartUploads => {
            query.get("prefix").unwrap_or_default().to_owned()
        }
        _ => key,
    };
    Target {
        operation,
        bucket,
        key,
    }
}

fn bucket_operation(method: &Method, query: &Query) -> Operation {
    match *method {
        Method::PUT if query.has("lifecycle") => Operation::PutBucketLifecycleConfiguration,
        Method::PUT if query.is_empty() => Operation::CreateBucket,
        Method::HEAD => Operation::HeadBucket,
        Method::DELETE if query.has("lifecycle") => Operation::DeleteBucketLifecycle,
        Method::POST if query.has("delete") => Operation::DeleteObjects,
        Method::GET if query.has("lifecycle") => Operation::GetBucketLifecycleConfiguration,
        Method::GET if query.has("location") => Operation::GetBucketLocation,
        Method::GET if query.has("uploads") => Operation::ListMultipartUploads,
        Method::GET if query.get("list-type") == Some("2") => Operation::ListObjectsV2,
        Method::GET => Operation::ListObjects,
        _ => Operation::Other,
    }
}

fn object_operation(method: &Method, query: &Query, headers: &HeaderMap) -> Operation {
    match *method {
        Method::PUT if query.has("uploadId") => Operation::UploadPart,
        Method::PUT if headers.contains_key("x-amz-copy-source") => Operation::CopyObject,
        Method::PUT => Operation::PutObject,
        Method::GET if query.has("uploadId") => Operation::ListParts,
        Method::GET => Operation::GetObject,
        Method::HEAD => Operation::HeadObject,
        Method::DELETE if query.has("uploadId") => Operation::AbortMultipartUpload,
        Method::DELETE => Operation::DeleteObject,
        Method::POST if query.has("uploads") => Operation::CreateMultipartUpload,
        Method::POST if query.has("uploadId") => Operation::CompleteMultipartUpload,
        _ => Operation::Other,
    }
}

/// The pairs of a query string, decoded.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name, true), percent_decode(value, true))
        });
        Self(pairs.filter(|(name, _)| name != "x-id").collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Undoes percent encoding; what is not well encoded stays as it is.
fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|two| std::str::from_utf8(two).ok());
        let decoded = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (byte, decoded) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
                continue;
            }
            (b'+', _) if plus_is_space => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
