//! TLS of a listener: certificate, key and trust from files, taken anew when the files change.
//!
//! Shared by all threads. Invariants: what cannot be used never replaces what is in use; a connection keeps what it
//! began with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use security::Principal;
use security::mapping::{MappingError, MappingRules};

use super::subject;
use crate::config::{ClientAuth, ServerTls, TlsVersion};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of its kind.
    #[error("read {what} from {path}: {reason}", path = .path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Certificate, key and trust do not go together.
    #[error("set up TLS: {0}; the key must be that of the first certificate, in PEM")]
    Setup(String),
    /// The rules that make names of subjects.
    #[error("tls.principal_mapping_rules: {0}")]
    Rules(#[from] MappingError),
}

/// TLS of a listener.
#[derive(Debug)]
pub struct Tls {
    settings: ServerTls,
    current: ArcSwap<ServerConfig>,
    rules: MappingRules,
    /// What was read, to tell whether it has changed.
    read: std::sync::Mutex<Vec<Vec<u8>>>,
}

impl Tls {
    /// As the settings say.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(settings: ServerTls) -> Result<Self, TlsError> {
        let read = contents(&settings);
        Ok(Self {
            current: ArcSwap::new(build(&settings)?),
            rules: MappingRules::parse(&settings.principal_mapping_rules)?,
            read: std::sync::Mutex::new(read),
            settings,
        })
    }

    /// What a connection begins with now.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// The name of whom a certificate is for; none where no rule fits its subject.
    pub(crate) fn principal(&self, certificate: &CertificateDer<'_>) -> Option<Principal> {
        let subject = subject::of(certificate)?;
        self.rules.name(&subject).map(|name| Principal::user(&name))
    }

    /// Takes the files anew where they have changed; whether they had. Reads files: not on a shard.
    ///
    /// # Errors
    /// What is there now cannot be used; what was there before stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let now = contents(&self.settings);
        let mut read = self
            .read
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *read == now {
            return Ok(false);
        }
        // Not looked at again before it changes again, be it of use or not.
        *read = now;
        self.current.store(build(&self.settings)?);
        Ok(true)
    }
}

/// All bytes of all files; those that cannot be read are empty.
fn contents(tls: &ServerTls) -> Vec<Vec<u8>> {
    let files = [
        Some(&tls.cert_file),
        Some(&tls.key_file),
        tls.client_ca_file.as_ref(),
        tls.crl_file.as_ref(),
    ];
    let read = |file: Option<&PathBuf>| {
        let bytes = file.and_then(|file| std::fs::read(file).ok());
        bytes.unwrap_or_default()
    };
    files.map(read).to_vec()
}

fn build(tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let (cert_file, key_file) = (&tls.cert_file, &tls.key_file);
    let chain: Vec<CertificateDer<'static>> = all("certificates", cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| unread("a private key", key_file, &error))?;
    let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
    let provider = Arc::new(ring::default_provider());
    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let built = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(setup)?
        .with_client_cert_verifier(client_verifier(tls)?)
        .with_single_cert(chain, key)
        .map_err(setup)?;
    Ok(Arc::new(built))
}

fn client_verifier(tls: &ServerTls) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(ca_file) = &tls.client_ca_file else {
        return Ok(Arc::new(NoClientAuth));
    };
    let setup = |error: String| TlsError::Setup(format!("trust of client certificates: {error}"));
    let mut roots = RootCertStore::empty();
    for root in all::<CertificateDer<'static>>("certificates", ca_file)? {
        roots.add(root).map_err(|error| setup(error.to_string()))?;
    }
    let provider = Arc::new(ring::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(crl_file) = &tls.crl_file {
        let lists: Vec<CertificateRevocationListDer<'static>> = all("revocation lists", crl_file)?;
        // A list is for the certificates of its issuer; of an issuer without a list nothing is revoked.
        builder = builder.with_crls(lists).allow_unknown_revocation_status();
    }
    if tls.client_auth == ClientAuth::Requested {
        builder = builder.allow_unauthenticated();
    }
    match tls.client_auth {
        ClientAuth::None => Ok(Arc::new(NoClientAuth)),
        ClientAuth::Requested | ClientAuth::Required => {
            Ok(builder.build().map_err(|error| setup(error.to_string()))?)
        }
    }
}

fn unread(what: &'static str, path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::File {
        what,
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// All objects of a kind in a file, at least one.
fn all<T: PemObject>(what: &'static str, path: &Path) -> Result<Vec<T>, TlsError> {
    let found = T::pem_file_iter(path).map_err(|error| unread(what, path, &error))?;
    let found: Result<Vec<T>, _> = found.collect();
    let found = found.map_err(|error| unread(what, path, &error))?;
    if found.is_empty() {
        return Err(unread(what, path, &"there is none in it"));
    }
    Ok(found)
}
