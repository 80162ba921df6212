//! How connections to brokers are opened: as the bytes are or through TLS, and as whom.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use client::{ClientSettings, ClientTls, SaslCredentials, TlsFiles};
use security::Mechanism;
use security::secret::Secret;

use crate::connection::{CLIENT_ID, Connection, REPLY_TIMEOUT};

/// Where a password may be that no file holds.
const PASSWORD_ENV: &str = "KAFSCALE_PASSWORD";

/// The options of the same names as those of `kafscale`.
#[derive(Debug, Clone, Default, Args)]
pub struct AccessArgs {
    /// Speak TLS; the broker's certificate is checked against the authorities of the system, or --ca-file.
    #[arg(long, global = true)]
    pub tls: bool,
    /// PEM file with the authorities of the brokers' certificates; implies --tls.
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate to show to brokers.
    #[arg(long, global = true, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    #[arg(long, global = true, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// User to authenticate as.
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// File with that user's password in its first line; else KAFSCALE_PASSWORD is taken.
    #[arg(long, global = true, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// SASL mechanism: SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN.
    #[arg(long, global = true, value_name = "NAME", default_value = "SCRAM-SHA-256",
          value_parser = ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])]
    pub sasl_mechanism: String,
}

/// How connections are opened. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Access {
    tls: Option<ClientTls>,
    sasl: Option<SaslCredentials>,
}

impl AccessArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read, or there is no password.
    pub fn access(&self) -> Result<Access> {
        let own = self.cert_file.clone().zip(self.key_file.clone());
        let speaks_tls = self.tls || self.ca_file.is_some() || own.is_some();
        let ca = self.ca_file.clone();
        let tls = speaks_tls.then(|| ClientTls::new(&TlsFiles { ca, own }));
        let tls = tls.transpose().map_err(|reason| anyhow!(reason))?;
        let sasl = self.user.as_ref().map(|user| self.credentials(user));
        let sasl = sasl.transpose()?;
        Ok(Access { tls, sasl })
    }

    fn credentials(&self, user: &str) -> Result<SaslCredentials> {
        let password = match &self.password_file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("read the password in {}", file.display()))?,
            None => std::env::var(PASSWORD_ENV)
                .context("--user needs --password-file, or a password in KAFSCALE_PASSWORD")?,
        };
        let password = password.lines().next().unwrap_or_default();
        ensure!(!password.is_empty(), "the password is empty");
        let mechanism = Mechanism::of_name(&self.sasl_mechanism).context("no such mechanism")?;
        Ok(SaslCredentials {
            mechanism,
            user: user.to_owned(),
            password: Secret::new(password),
        })
    }
}

impl Access {
    /// Connects to `address`, says who it is, and asks which versions the broker serves.
    ///
    /// # Errors
    /// Nobody answers there, or the client is not let in, or the answer makes no sense.
    pub fn open(&self, address: &str) -> Result<Connection> {
        let settings = ClientSettings {
            client_id: CLIENT_ID.to_owned(),
            tls: self.tls.clone(),
            sasl: self.sasl.clone(),
            request_timeout: REPLY_TIMEOUT,
            ..ClientSettings::default()
        };
        let opened = client::Connection::open(address, &settings)?;
        Connection::over(opened.into_stream()).with_context(|| format!("negotiate with {address}"))
    }
}
