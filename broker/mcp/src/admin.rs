//! [`AdminPages`]: what brokers tell on their admin listeners: `/healthz`, `/readyz`, `/metrics`.
//!
//! Bounds: [`PAGE_BYTES_MAX`] of a page, [`TIMEOUT`] for all of it, [`ADDRESSES_MAX`] listeners. Redirections are not
//! followed, and no proxy is used.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::USER_AGENT;
use hyper::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Longest wait for a page.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a page at most.
const PAGE_BYTES_MAX: usize = 32 << 20;
/// Listeners that may be named.
const ADDRESSES_MAX: usize = 64;

type Web = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// The admin listeners of brokers. To be used on threads of a runtime that may block.
#[derive(Debug, Clone)]
pub struct AdminPages {
    addresses: Vec<String>,
    web: Option<Web>,
}

/// A page that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// Code of the answer.
    pub(crate) status: u16,
    /// The answer.
    pub(crate) text: String,
}

impl AdminPages {
    /// No listener.
    pub fn none() -> Self {
        Self {
            addresses: Vec::new(),
            web: None,
        }
    }

    /// Those at `addresses` (`http://host:port` or `https://host:port`), whose certificates are checked against the
    /// authorities in the PEM file, or else those of the system.
    ///
    /// # Errors
    /// An address that is none, or authorities that cannot be read; for a reader.
    pub fn new(addresses: &[String], authorities: Option<&Path>) -> Result<Self, String> {
        if addresses.is_empty() {
            return Ok(Self::none());
        }
        if addresses.len() > ADDRESSES_MAX {
            return Err(format!("more than {ADDRESSES_MAX} admin listeners"));
        }
        let mut checked = Vec::new();
        for address in addresses {
            let address = address.trim_end_matches('/');
            let uri: Uri = address
                .parse()
                .map_err(|_| format!("{address} is no URL such as http://127.0.0.1:9093"))?;
            let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
            if !matches!(uri.scheme_str(), Some("http" | "https")) || !plain {
                return Err(format!("{address} is no URL such as http://127.0.0.1:9093"));
            }
            checked.push(address.to_owned());
        }
        let secure = checked.iter().any(|address| address.starts_with("https:"));
        let trust = match (secure, authorities) {
            (_, Some(file)) => Trust::File(file),
            (true, None) => Trust::System,
            (false, None) => Trust::Nobody,
        };
        Ok(Self {
            addresses: checked,
            web: Some(web(trust)?),
        })
    }

    /// Their addresses.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Reads a page of each of them at once; blocks. In the order of the addresses.
    pub(crate) fn read(&self, path: &str) -> Vec<(String, Result<Page, String>)> {
        let Some(web) = &self.web else {
            return Vec::new();
        };
        let runtime = tokio::runtime::Handle::current();
        let asked = self.addresses.iter().map(|address| {
            let (web, url) = (web.clone(), format!("{address}{path}"));
            let asked = runtime.spawn(async move {
                let asked = tokio::time::timeout(TIMEOUT, ask(&web, &url)).await;
                let late = |_| Err(format!("no answer in {} s", TIMEOUT.as_secs()));
                let page = asked.unwrap_or_else(late);
                page.map_err(|reason| format!("read {url}: {reason}"))
            });
            (address.clone(), asked)
        });
        let asked: Vec<_> = asked.collect();
        let page = |asked| match runtime.block_on(asked) {
            Ok(page) => page,
            Err(_) => Err("the request failed inside the server".to_owned()),
        };
        let pages = asked.into_iter();
        pages
            .map(|(address, asked)| (address, page(asked)))
            .collect()
    }
}

/// Whose certificates are believed.
#[derive(Debug, Clone, Copy)]
enum Trust<'a> {
    /// Nobody's: no address needs it.
    Nobody,
    /// The authorities of the system.
    System,
    /// Those in a PEM file.
    File(&'a Path),
}

fn web(trust: Trust<'_>) -> Result<Web, String> {
    let provider = ring::default_provider();
    let builder = match trust {
        Trust::System => HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|error| format!("read the authorities of the system: {error}"))?,
        Trust::Nobody | Trust::File(_) => {
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots(trust)?)
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
    };
    let connector = builder.https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector))
}

fn roots(trust: Trust<'_>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Trust::File(path) = trust {
        let unread = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        for root in CertificateDer::pem_file_iter(path).map_err(|error| unread(&error))? {
            let root = root.map_err(|error| unread(&error))?;
            roots.add(root).map_err(|error| unread(&error))?;
        }
    }
    Ok(roots)
}

async fn ask(web: &Web, url: &str) -> Result<Page, String> {
    let told = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        text
    };
    let request = Request::get(url)
        .header(USER_AGENT, concat!("kafscale/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let answer = web.request(request).await.map_err(|error| told(&error))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), PAGE_BYTES_MAX).collect();
    let body = body
        .await
        .map_err(|error| format!("its answer cannot be read: {error}"))?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok(Page { status, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roots_of_web_servers_are_taken() {
        let new = |address: &str| AdminPages::new(&[address.to_owned()], None);
        for address in [
            "http://127.0.0.1:9093",
            "http://[::1]:9093/",
            "http://broker:9093",
        ] {
            assert!(new(address).is_ok(), "{address}");
        }
        for address in [
            "127.0.0.1:9093",
            "ftp://a",
            "http://a/metrics",
            "http://a?b",
            "",
        ] {
            assert!(
                new(address).unwrap_err().contains("http://127.0.0.1:9093"),
                "{address}"
            );
        }
        assert!(AdminPages::new(&[], None).unwrap().addresses().is_empty());
    }
}
