//! Where the keys come from that tokens are signed with: a file, or a URL of whoever makes them.
//!
//! Control thread. Bounds: [`SET_BYTES_MAX`] of an answer, [`TIMEOUT`] for all of it. Redirections are not followed, and
//! no proxy is used. Trust is read anew with each request, so that an authority is replaced without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use security::oauth::{KeySetError, SET_BYTES_MAX};

use super::pool;
use crate::config::Config;

/// Longest wait for the whole answer of a URL.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("read oauth.jwks_file {path}: {reason}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The URL does not answer as it should.
    #[error("read oauth.jwks_url {url}: {reason}")]
    Url {
        /// The URL.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The authorities cannot be read.
    #[error("read the authorities of oauth.jwks_url ({place}): {reason}")]
    Trust {
        /// The file, or the system.
        place: String,
        /// Why not.
        reason: String,
    },
    /// What is there cannot be used.
    #[error("the keys of {place} cannot be used: {source}")]
    Content {
        /// The file or the URL.
        place: String,
        /// Why not.
        source: KeySetError,
    },
}

/// Where the keys come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A file.
    File(PathBuf),
    /// A URL, with the file of the authorities that its certificate is checked against.
    Url(String, Option<PathBuf>),
}

impl Source {
    /// As the settings say; none where they name none.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let settings = &config.oauth;
        let file = settings.jwks_file.clone().map(Self::File);
        let url = || {
            let url = settings.jwks_url.clone()?;
            Some(Self::Url(url, settings.ca_file.clone()))
        };
        file.or_else(url)
    }

    /// Its name, for messages.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url, _) => url.clone(),
        }
    }

    /// Reads it, whatever it holds.
    ///
    /// # Errors
    /// [`KeysError`].
    pub(super) async fn read(&self) -> Result<Vec<u8>, KeysError> {
        match self {
            Self::File(path) => {
                let (file, failed) = (path.clone(), path.clone());
                let read = pool::run(move || read_file(&file)).await;
                let read = read.map_err(|_| "the pool has ended".to_owned());
                read.flatten().map_err(|reason| KeysError::File {
                    path: failed,
                    reason,
                })
            }
            Self::Url(url, authorities) => {
                let authorities = authorities.clone();
                let client = pool::run(move || client(authorities.as_deref())).await;
                let failed = |reason: String| KeysError::Url {
                    url: url.clone(),
                    reason,
                };
                let client = client.map_err(|_| failed("the pool has ended".to_owned()))??;
                let asked = tokio::time::timeout(TIMEOUT, ask(&client, url));
                let late = |_| format!("no answer in {} s", TIMEOUT.as_secs());
                asked.await.map_err(late).flatten().map_err(failed)
            }
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if bytes > SET_BYTES_MAX as u64 {
        return Err(format!("it has {bytes} bytes, more than {SET_BYTES_MAX}"));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

type Web = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

fn client(authorities: Option<&Path>) -> Result<Web, KeysError> {
    let place = || match authorities {
        Some(path) => path.display().to_string(),
        None => "those of the system; oauth.ca_file names others".to_owned(),
    };
    let failed = |error: &dyn std::fmt::Display| KeysError::Trust {
        place: place(),
        reason: error.to_string(),
    };
    let provider = ring::default_provider();
    let builder = match authorities {
        None => HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|error| failed(&error))?,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
            for root in found {
                let root = root.map_err(|error| failed(&error))?;
                roots.add(root).map_err(|error| failed(&error))?;
            }
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_safe_default_protocol_versions()
                .map_err(|error| failed(&error))?
                .with_root_certificates(roots)
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
    };
    let connector = builder.https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector))
}

async fn ask(client: &Web, url: &str) -> Result<Vec<u8>, String> {
    let told = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        text
    };
    let uri: Uri = url.parse().map_err(|_| "this is no URL".to_owned())?;
    let request = Request::get(uri)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("kafscale/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let answer = client
        .request(request)
        .await
        .map_err(|error| told(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it answers {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), SET_BYTES_MAX).collect();
    let body = body
        .await
        .map_err(|error| format!("its answer cannot be read: {error}"))?;
    Ok(body.to_bytes().to_vec())
}
