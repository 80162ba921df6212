//! Builds the SDK's client of a bucket.
//!
//! Invariants: the SDK retries nothing (callers own retries), has no time limit but that for
//! connections, and reads no environment but through its chains for credentials and region.

use std::path::Path;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Credentials, IdentityCache, Region, RequestChecksumCalculation,
    SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Bucket;
use super::options::{ConnectError, RequestChecksums, S3Options, StaticCredentials};

/// The region of stores that have none.
const REGION_OF_OTHERS: &str = "us-east-1";
/// Connections that idle longer than this are closed: S3 closes them itself after about 20 s, and
/// a request on one that was just closed fails.
const POOL_IDLE: Duration = Duration::from_secs(15);

/// The main bucket and the replica, if there is one.
pub(super) async fn buckets(options: &S3Options) -> Result<(Bucket, Option<Bucket>), ConnectError> {
    options.check()?;
    let http = http_client(options)?;
    let region = region(options, &http).await?;
    let credentials = credentials(options, &http, &region).await;
    let main = bucket(
        options,
        &options.bucket,
        region.clone(),
        options.endpoint.as_deref(),
        &http,
        &credentials,
    );
    let replica = options.read_replica.as_ref().map(|replica| {
        bucket(
            options,
            &replica.bucket,
            replica.region.clone().map_or(region, Region::new),
            replica.endpoint.as_deref().or(options.endpoint.as_deref()),
            &http,
            &credentials,
        )
    });
    Ok((main, replica))
}

fn http_client(options: &S3Options) -> Result<SharedHttpClient, ConnectError> {
    let endpoints = [
        options.endpoint.as_deref(),
        options
            .read_replica
            .as_ref()
            .and_then(|replica| replica.endpoint.as_deref())
            .or(options.endpoint.as_deref()),
    ];
    let plain = |endpoint: &Option<&str>| endpoint.is_some_and(|url| url.starts_with("http://"));
    let builder = Builder::new().pool_idle_timeout(POOL_IDLE);
    // Without TLS no root certificates are needed: minimal images have none.
    if endpoints.iter().all(plain) && options.credentials.is_some() {
        return Ok(builder.build_http());
    }
    let builder = builder.tls_provider(Provider::Rustls(CryptoMode::Ring));
    Ok(match &options.ca_file {
        None => builder.build_https(),
        Some(path) => builder.tls_context(trust(path)?).build_https(),
    })
}

/// Trust in the authorities of a file, and in no other. The SDK panics on what is no certificate: it is looked at here.
fn trust(path: &Path) -> Result<TlsContext, ConnectError> {
    let refused = |reason: String| ConnectError::CaFile {
        path: path.to_owned(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("there is no certificate in it".to_owned()));
    }
    let store = TrustStore::empty().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(store).build();
    context.map_err(|error| refused(error.to_string()))
}

async fn region(options: &S3Options, http: &SharedHttpClient) -> Result<Region, ConnectError> {
    if let Some(region) = &options.region {
        return Ok(Region::new(region.clone()));
    }
    if options.endpoint.is_some() {
        return Ok(Region::new(REGION_OF_OTHERS));
    }
    let found = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http.clone())
        .no_credentials()
        .load()
        .await;
    found.region().cloned().ok_or(ConnectError::Region)
}

async fn credentials(
    options: &S3Options,
    http: &SharedHttpClient,
    region: &Region,
) -> SharedCredentialsProvider {
    if let Some(credentials) = &options.credentials {
        let StaticCredentials {
            access_key,
            secret_key,
            session_token,
        } = credentials;
        let token = session_token
            .as_ref()
            .map(|token| token.reveal().to_owned());
        let (key, secret) = (access_key.clone(), secret_key.reveal());
        let credentials = Credentials::new(key, secret, token, None, "kafscale settings");
        return SharedCredentialsProvider::new(credentials);
    }
    let config = ProviderConfig::without_region()
        .with_http_client(http.clone())
        .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
        .with_region(Some(region.clone()));
    let chain = DefaultCredentialsChain::builder()
        .configure(config)
        .region(region.clone())
        .build()
        .await;
    SharedCredentialsProvider::new(chain)
}

fn bucket(
    options: &S3Options,
    name: &str,
    region: Region,
    endpoint: Option<&str>,
    http: &SharedHttpClient,
    credentials: &SharedCredentialsProvider,
) -> Bucket {
    let checksums = match options.request_checksums {
        RequestChecksums::WhenSupported => RequestChecksumCalculation::WhenSupported,
        RequestChecksums::WhenRequired => RequestChecksumCalculation::WhenRequired,
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(options.connect_timeout)
        .build();
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(region)
        .http_client(http.clone())
        .credentials_provider(credentials.clone())
        .identity_cache(IdentityCache::lazy().build())
        .force_path_style(options.path_style)
        .request_checksum_calculation(checksums)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    Bucket {
        client: Client::from_conf(config.build()),
        name: name.to_owned(),
    }
}
