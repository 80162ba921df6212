//! What an S3 store is told at its start: plain values, read from nowhere.
//!
//! Invariant: nothing here prints a secret ([`Secret`] has no `Display` and a blind `Debug`).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

const MIB: u64 = 1024 * 1024;

/// Smallest part of a multipart upload but the last, in bytes: S3's bound.
pub const PART_BYTES_MIN: u64 = 5 * MIB;
/// Most parts of one multipart upload: S3's bound.
pub const PARTS_MAX: u64 = 10_000;
/// Largest object of one PUT, in bytes: S3's bound; above it an upload is always multipart.
pub const PUT_BYTES_MAX: u64 = 5 * 1024 * MIB;
/// Parts of one upload that are on their way at the same time, at most.
pub const PARTS_IN_FLIGHT_MAX: usize = 4;

/// How to reach a bucket and how to use it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Name of the bucket.
    pub bucket: String,
    /// Region of the bucket. `None`: `us-east-1` with an endpoint of one's own, else what the
    /// SDK's chain finds (environment, profile, instance metadata).
    pub region: Option<String>,
    /// Base URL of an S3-compatible server (`http://` or `https://`); `None` for AWS.
    pub endpoint: Option<String>,
    /// PEM file with the authorities that certificates of `https` endpoints are checked against; `None` for those of the
    /// system. Nobody else is trusted then.
    pub ca_file: Option<PathBuf>,
    /// Whether the bucket is part of the path (`http://host/bucket/key`) and not of the host name.
    pub path_style: bool,
    /// Static credentials; `None` for the SDK's chain: environment, profile, web identity (IRSA),
    /// container and instance role.
    pub credentials: Option<StaticCredentials>,
    /// Encryption that every new object asks for.
    pub sse: Sse,
    /// When a PUT carries a checksum that the caller did not state.
    pub request_checksums: RequestChecksums,
    /// Bodies above this many bytes are sent in parts.
    pub multipart_threshold: u64,
    /// Bytes of a part; raised where the object would have more than [`PARTS_MAX`] parts.
    pub part_size: u64,
    /// Most parts of one upload in flight: 1 to [`PARTS_IN_FLIGHT_MAX`].
    pub parts_in_flight: usize,
    /// Longest wait for an answer, and between two pieces of a body that is read. A body that is
    /// sent gets one second more for each MiB.
    pub attempt_timeout: Duration,
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// A GET without a first answer after this long is sent once more; `None` = never.
    pub hedge_after: Option<Duration>,
    /// A second bucket that GET and HEAD try first.
    pub read_replica: Option<ReadReplica>,
}

impl S3Options {
    /// The defaults for a bucket: AWS, the SDK's credentials, no encryption setting, no hedging.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            region: None,
            endpoint: None,
            ca_file: None,
            path_style: false,
            credentials: None,
            sse: Sse::None,
            request_checksums: RequestChecksums::WhenSupported,
            multipart_threshold: 64 * MIB,
            part_size: 16 * MIB,
            parts_in_flight: PARTS_IN_FLIGHT_MAX,
            attempt_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(3),
            hedge_after: None,
            read_replica: None,
        }
    }

    /// Checks what can be checked without the network.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] names the setting and its bounds.
    pub(super) fn check(&self) -> Result<(), ConnectError> {
        let replica = self.read_replica.as_ref();
        check_bucket(&self.bucket, "KAFSCALE_S3_BUCKET")?;
        check_endpoint(self.endpoint.as_deref(), "KAFSCALE_S3_ENDPOINT")?;
        if let Some(replica) = replica {
            check_bucket(&replica.bucket, "KAFSCALE_S3_READ_BUCKET")?;
            check_endpoint(replica.endpoint.as_deref(), "KAFSCALE_S3_READ_ENDPOINT")?;
        }
        if let Some(credentials) = &self.credentials
            && (credentials.access_key.is_empty() || credentials.secret_key.0.is_empty())
        {
            return Err(ConnectError::Credentials);
        }
        if !(PART_BYTES_MIN..=PUT_BYTES_MAX).contains(&self.part_size) {
            let value = self.part_size;
            return Err(ConnectError::PartSize { value });
        }
        if !(1..=PARTS_IN_FLIGHT_MAX).contains(&self.parts_in_flight) {
            let value = self.parts_in_flight;
            return Err(ConnectError::PartsInFlight { value });
        }
        if self.attempt_timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(ConnectError::Timeout);
        }
        Ok(())
    }
}

/// An access key with its secret.
#[derive(Debug, Clone)]
pub struct StaticCredentials {
    /// Access key id.
    pub access_key: String,
    /// Secret key.
    pub secret_key: Secret,
    /// Session token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Encryption at rest that a PUT asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Sse {
    /// No header: the bucket's default.
    #[default]
    None,
    /// SSE-S3 (`AES256`).
    Aes256,
    /// SSE-KMS.
    Kms {
        /// Id or ARN of the KMS key.
        key_id: String,
    },
}

/// When a PUT carries a CRC-32 that its caller did not state. A stated one is always sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestChecksums {
    /// Always: it is computed where it was not stated.
    #[default]
    WhenSupported,
    /// Only where S3 demands one: for stores that refuse the checksum headers.
    WhenRequired,
}

/// A bucket with copies of the objects, kept by the store's own replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadReplica {
    /// Name of the bucket.
    pub bucket: String,
    /// Its region; `None` = that of the main bucket.
    pub region: Option<String>,
    /// Its endpoint; `None` = that of the main bucket.
    pub endpoint: Option<String>,
}

/// Why a store could not be set up. Nothing was sent to the bucket yet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// A bucket name that S3 does not allow.
    #[error(
        "{setting}: {bucket:?} is no bucket name: 3 to 63 of a-z, 0-9, '.', '-' and '_'; \
         give the name alone, without s3:// and without a prefix"
    )]
    Bucket {
        /// The setting to mend.
        setting: &'static str,
        /// Its value.
        bucket: String,
    },
    /// An endpoint that is no URL of a server.
    #[error("{setting}: {endpoint:?} is no endpoint: give http://host:port or https://host:port")]
    Endpoint {
        /// The setting to mend.
        setting: &'static str,
        /// Its value.
        endpoint: String,
    },
    /// The file of authorities cannot be used.
    #[error(
        "KAFSCALE_S3_CA_FILE={}: {reason}; name a PEM file with the certificate of the authority that has issued the \
         store's", path.display()
    )]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No region is set and none can be found.
    #[error(
        "the region of the bucket is unknown: set KAFSCALE_S3_REGION (or KAFSCALE_S3_ENDPOINT for \
         a store that is not AWS)"
    )]
    Region,
    /// Half of a pair of credentials.
    #[error(
        "KAFSCALE_S3_ACCESS_KEY and KAFSCALE_S3_SECRET_KEY must both be set, or neither: without \
         them the SDK's chain is used (environment, profile, IRSA, instance role)"
    )]
    Credentials,
    /// A part size outside of its bounds.
    #[error("part size of {value} bytes: allowed are {PART_BYTES_MIN} to {PUT_BYTES_MAX}")]
    PartSize {
        /// The refused size, in bytes.
        value: u64,
    },
    /// A number of parts outside of its bounds.
    #[error("{value} parts in flight: allowed are 1 to {PARTS_IN_FLIGHT_MAX}")]
    PartsInFlight {
        /// The refused number.
        value: usize,
    },
    /// A time limit of zero.
    #[error("the time limits of requests and connections must be longer than zero")]
    Timeout,
}

fn check_bucket(bucket: &str, setting: &'static str) -> Result<(), ConnectError> {
    let legal =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if (3..=63).contains(&bucket.len()) && bucket.chars().all(legal) {
        return Ok(());
    }
    let bucket = bucket.to_owned();
    Err(ConnectError::Bucket { setting, bucket })
}

fn check_endpoint(endpoint: Option<&str>, setting: &'static str) -> Result<(), ConnectError> {
    let Some(endpoint) = endpoint else {
        return Ok(());
    };
    let host = endpoint
        .strip_prefix("http://")
        .or_else(|| endpoint.strip_prefix("https://"));
    let whole = |host: &str| {
        let host = host.strip_suffix('/').unwrap_or(host);
        !host.is_empty() && !host.contains([' ', '@', '?', '#'])
    };
    if host.is_some_and(whole) {
        return Ok(());
    }
    let endpoint = endpoint.to_owned();
    Err(ConnectError::Endpoint { setting, endpoint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let options = S3Options {
            credentials: Some(StaticCredentials {
                access_key: "ak".into(),
                secret_key: Secret::new("very-hidden"),
                session_token: Some(Secret::new("also-hidden")),
            }),
            ..S3Options::new("bucket")
        };
        let printed = format!("{options:?}");
        assert!(
            !printed.contains("very") && !printed.contains("also"),
            "{printed}"
        );
        assert!(options.check().is_ok());
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let with = |change: fn(&mut S3Options)| {
            let mut options = S3Options::new("bucket");
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(with(|o| o.bucket = "s3://b".into()).contains("KAFSCALE_S3_BUCKET"));
        assert!(with(|o| o.bucket = String::new()).contains("KAFSCALE_S3_BUCKET"));
        for endpoint in [
            "minio:9000",
            "http://",
            "https:///",
            "http://a b",
            "ftp://x",
        ] {
            let options = S3Options {
                endpoint: Some(endpoint.into()),
                ..S3Options::new("bucket")
            };
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains("KAFSCALE_S3_ENDPOINT"), "{error}");
        }
        assert!(with(|o| o.part_size = 1).contains("part size"));
        assert!(with(|o| o.parts_in_flight = 5).contains("parts in flight"));
        assert!(with(|o| o.attempt_timeout = Duration::ZERO).contains("longer than zero"));
        let half = with(|o| {
            o.credentials = Some(StaticCredentials {
                access_key: "ak".into(),
                secret_key: Secret::new(""),
                session_token: None,
            });
        });
        assert!(half.contains("KAFSCALE_S3_SECRET_KEY"), "{half}");
        let replica = with(|o| {
            o.read_replica = Some(ReadReplica {
                bucket: "x".into(),
                region: None,
                endpoint: None,
            });
        });
        assert!(replica.contains("KAFSCALE_S3_READ_BUCKET"), "{replica}");
    }
}
