//! What the etcd side is told: endpoints, login, certificates, time limits; and why it cannot begin.
//!
//! Invariants: a password is never shown; every message names the setting to change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use super::super::watch::WATCH_QUEUE_BATCHES;

/// Endpoints at most: a cluster has at most seven members, each may have a few names.
pub const ENDPOINTS_MAX: usize = 32;

/// The shortest time between keep-alive pings: etcd closes connections that ping more often
/// (its `--grpc-keepalive-min-time`).
pub const KEEP_ALIVE_INTERVAL_MIN: Duration = Duration::from_secs(5);

/// A password; its text is shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// A password of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

/// The certificates of a connection by TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdTls {
    /// PEM file with the authorities that etcd's certificate is checked against; without one,
    /// those of the operating system.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate shown to etcd; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate; needs `cert_file`.
    pub key_file: Option<PathBuf>,
    /// The name that etcd's certificate must have; without one, the host of the endpoint.
    pub server_name: Option<String>,
}

/// How etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdOptions {
    /// URLs of the cluster's members, `http://host:2379` or `https://host:2379`; at least 1, at
    /// most [`ENDPOINTS_MAX`]. Without a scheme: `https` if `tls` is given, else `http`.
    pub endpoints: Vec<String>,
    /// The user; needs `password`.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Password>,
    /// Certificates, for `https` endpoints.
    pub tls: Option<EtcdTls>,
    /// Limit of establishing one connection.
    pub connect_timeout: Duration,
    /// Limit of one operation, whatever it takes. Longer than `connect_timeout`, or a member that
    /// swallows packets makes transactions ambiguous that were never sent.
    pub request_timeout: Duration,
    /// Time without a sign of life after which a connection in use is pinged; it is closed when
    /// the ping is not answered in the same time. At least [`KEEP_ALIVE_INTERVAL_MIN`].
    pub keep_alive_interval: Duration,
    /// Batches that wait for one watcher before it must read again; at least 1.
    pub watch_queue_batches: usize,
}

impl EtcdOptions {
    /// With TLS by these files, where any is given or an endpoint is `https`.
    #[must_use]
    pub fn with_tls_files(
        mut self,
        ca_file: Option<PathBuf>,
        cert_file: Option<PathBuf>,
        key_file: Option<PathBuf>,
    ) -> Self {
        let has_files = ca_file.is_some() || cert_file.is_some() || key_file.is_some();
        let is_https = self.endpoints.iter().any(|url| url.starts_with("https://"));
        self.tls = (has_files || is_https).then_some(EtcdTls {
            ca_file,
            cert_file,
            key_file,
            server_name: None,
        });
        self
    }

    /// These endpoints, without login and certificates, with the default limits.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            username: None,
            password: None,
            tls: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            keep_alive_interval: Duration::from_secs(10),
            watch_queue_batches: WATCH_QUEUE_BATCHES,
        }
    }

    /// The login, if there is one.
    pub(super) fn login(&self) -> Result<Option<(String, Password)>, ConnectError> {
        match (&self.username, &self.password) {
            (None, None) => Ok(None),
            (Some(user), Some(password)) => Ok(Some((user.clone(), password.clone()))),
            _ => Err(ConnectError::HalfLogin),
        }
    }

    /// The endpoints as URLs, checked.
    pub(super) fn urls(&self) -> Result<Vec<String>, ConnectError> {
        let count = self.endpoints.len();
        if count == 0 || count > ENDPOINTS_MAX {
            return Err(ConnectError::EndpointCount { count });
        }
        self.endpoints.iter().map(|given| self.url(given)).collect()
    }

    fn url(&self, given: &str) -> Result<String, ConnectError> {
        let given = given.trim().trim_end_matches('/');
        let refuse = |reason| ConnectError::Endpoint {
            endpoint: given.to_owned(),
            reason,
        };
        let url = match given.split_once("://") {
            None if self.tls.is_some() => format!("https://{given}"),
            None => format!("http://{given}"),
            Some(("http", _)) if self.tls.is_some() => {
                return Err(refuse("certificates are given, so it must begin https://"));
            }
            Some(("http" | "https", _)) => given.to_owned(),
            Some(_) => return Err(refuse("it must begin http:// or https://")),
        };
        assert!(
            self.tls.is_none() || url.starts_with("https://"),
            "where certificates are given nothing is sent in clear text"
        );
        match url.split_once("://") {
            Some((_, rest)) if !rest.is_empty() && !rest.contains(['/', '@', ' ', ',']) => Ok(url),
            _ => Err(refuse("it must be http://host:port or https://host:port")),
        }
    }

    /// The client's options for one endpoint. The login is not among them: a member that is down
    /// must not keep the others from being used.
    pub(super) fn client(&self, url: &str) -> Result<ConnectOptions, ConnectError> {
        let keep_alive = self.keep_alive_interval.max(KEEP_ALIVE_INTERVAL_MIN);
        let options = ConnectOptions::new()
            .with_connect_timeout(self.connect_timeout)
            .with_keep_alive(keep_alive, keep_alive)
            // etcd counts pings on a connection without streams as an attack.
            .with_keep_alive_while_idle(false)
            // A member cut off from the leader says so, instead of a silent watch.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if !url.starts_with("https://") {
            return Ok(options);
        }
        let tls = self.tls.clone().unwrap_or_default();
        Ok(options.with_tls(tls_options(&tls)?))
    }
}

fn tls_options(tls: &EtcdTls) -> Result<TlsOptions, ConnectError> {
    let mut options = TlsOptions::new();
    options = match &tls.ca_file {
        None => options.with_native_roots(),
        Some(path) => {
            let pem = read_pem(path, "KAFSCALE_ETCD_CA_FILE")?;
            options.ca_certificate(Certificate::from_pem(pem))
        }
    };
    options = match (&tls.cert_file, &tls.key_file) {
        (None, None) => options,
        (Some(cert), Some(key)) => {
            let cert = read_pem(cert, "KAFSCALE_ETCD_CERT_FILE")?;
            let key = read_pem(key, "KAFSCALE_ETCD_KEY_FILE")?;
            options.identity(Identity::from_pem(cert, key))
        }
        _ => return Err(ConnectError::HalfCertificate),
    };
    if let Some(name) = &tls.server_name {
        options = options.domain_name(name);
    }
    Ok(options)
}

fn read_pem(path: &Path, setting: &'static str) -> Result<Vec<u8>, ConnectError> {
    let refuse = |reason: String| ConnectError::File {
        setting,
        path: path.to_owned(),
        reason,
    };
    let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let marker = b"-----BEGIN ";
    if !bytes.windows(marker.len()).any(|window| window == marker) {
        return Err(refuse("no PEM in it".to_owned()));
    }
    Ok(bytes)
}

/// Why etcd cannot be used. Each message says which setting or command mends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No endpoint, or too many.
    #[error("{count} etcd endpoints: set KAFSCALE_ETCD_ENDPOINTS to 1 to {ENDPOINTS_MAX} URLs")]
    EndpointCount {
        /// How many were given.
        count: usize,
    },
    /// An endpoint is no URL of etcd.
    #[error("etcd endpoint {endpoint:?}: {reason}; correct KAFSCALE_ETCD_ENDPOINTS")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A user without a password, or the other way round.
    #[error("set both KAFSCALE_ETCD_USERNAME and KAFSCALE_ETCD_PASSWORD, or neither")]
    HalfLogin,
    /// A certificate without its key, or the other way round.
    #[error("set both KAFSCALE_ETCD_CERT_FILE and KAFSCALE_ETCD_KEY_FILE, or neither")]
    HalfCertificate,
    /// A file of certificates cannot be used.
    #[error("{setting}={}: {reason}", path.display())]
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The client cannot be made of these settings.
    #[error(
        "etcd endpoint {endpoint}: {reason}; check KAFSCALE_ETCD_ENDPOINTS, KAFSCALE_ETCD_CA_FILE, \
         KAFSCALE_ETCD_CERT_FILE and KAFSCALE_ETCD_KEY_FILE"
    )]
    Settings {
        /// The endpoint.
        endpoint: String,
        /// What the client says.
        reason: String,
    },
    /// etcd refuses the user or the password, or has no logins at all.
    #[error(
        "etcd refuses the login: {reason}; check KAFSCALE_ETCD_USERNAME and KAFSCALE_ETCD_PASSWORD \
         (set both where etcd's authentication is on, neither where it is off)"
    )]
    Login {
        /// Which member answered what.
        reason: String,
    },
    /// No member answered.
    #[error(
        "no etcd member can be used: {answers}; is etcd running, and does KAFSCALE_ETCD_ENDPOINTS \
         name it (https:// if etcd serves TLS, with KAFSCALE_ETCD_CA_FILE)?"
    )]
    Unreachable {
        /// What came back from each endpoint.
        answers: String,
    },
    /// A member is too old.
    #[error("etcd at {endpoint} is version {version:?}; KafScale needs 3.4 or later: upgrade etcd")]
    TooOld {
        /// The member.
        endpoint: String,
        /// What it says it is.
        version: String,
    },
    /// The endpoints are not of one cluster.
    #[error(
        "{first} and {second} belong to different etcd clusters: name the members of one cluster in \
         KAFSCALE_ETCD_ENDPOINTS"
    )]
    DifferentClusters {
        /// A member.
        first: String,
        /// A member of another cluster.
        second: String,
    },
    /// There is no tokio runtime to run requests on, or it has stopped.
    #[error("the etcd client needs a running tokio runtime")]
    NoRuntime,
}
