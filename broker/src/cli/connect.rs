//! How client commands find their cluster.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use client::{Client, ClientSettings, ClientTls, SaslCredentials, TlsFiles};
use security::Mechanism;
use security::secret::Secret;
use zeroize::Zeroizing;

use super::error::CliError;
use super::time::parse_duration;

/// Options that every client command has.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// Brokers to connect to, as host:port,host:port; one that answers is enough
    #[arg(
        short = 'b',
        long,
        alias = "bootstrap",
        global = true,
        value_name = "HOST:PORT,...",
        env = "KAFSCALE_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        help_heading = "Connection"
    )]
    bootstrap_server: String,
    /// Longest wait for one answer of a broker, and for trying again (500ms, 30s, 2m)
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        default_value = "30s",
        value_parser = parse_duration,
        help_heading = "Connection"
    )]
    request_timeout: Duration,
    /// User to authenticate as, where the brokers ask for one
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "KAFSCALE_USER",
        help_heading = "Connection"
    )]
    user: Option<String>,
    /// File with that user's password in one line; - for standard input. Else KAFSCALE_PASSWORD is taken
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "KAFSCALE_PASSWORD_FILE",
        help_heading = "Connection"
    )]
    password_file: Option<String>,
    /// SASL mechanism
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "SCRAM-SHA-256",
        value_parser = ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"],
        help_heading = "Connection"
    )]
    sasl_mechanism: String,
    /// Speak TLS; the listener's certificate is checked against the authorities of the system, or --ca-file
    #[arg(long, global = true, env = "KAFSCALE_TLS", help_heading = "Connection")]
    tls: bool,
    /// PEM file with the authorities of the brokers' certificates; implies --tls
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "KAFSCALE_CA_FILE",
        help_heading = "Connection"
    )]
    ca_file: Option<PathBuf>,
    /// PEM file with the certificate to show to brokers
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "KAFSCALE_CERT_FILE",
        requires = "key_file",
        help_heading = "Connection"
    )]
    cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "KAFSCALE_KEY_FILE",
        requires = "cert_file",
        help_heading = "Connection"
    )]
    key_file: Option<PathBuf>,
}

/// Where a password may be that no file holds.
const PASSWORD_ENV: &str = "KAFSCALE_PASSWORD";
/// Bytes of a password at most.
const PASSWORD_BYTES_MAX: u64 = 4096;

impl ConnectArgs {
    pub(super) fn connect(&self) -> Result<Client, CliError> {
        Ok(Client::connect(self.settings("kafscale-cli")?)?)
    }

    /// How to connect, for clients that call themselves `client_id`.
    pub(super) fn settings(&self, client_id: &str) -> Result<ClientSettings, CliError> {
        Ok(ClientSettings {
            client_id: client_id.to_owned(),
            sasl: self.sasl()?,
            tls: self.tls()?,
            request_timeout: self.request_timeout,
            retry_timeout: self.request_timeout,
            ..ClientSettings::with_bootstrap(&self.bootstrap_server)
        })
    }

    /// Whether the password comes from standard input.
    pub(super) fn reads_standard_input(&self) -> bool {
        self.password_file.as_deref() == Some("-")
    }

    /// The authorities of the brokers' certificates, where they are not those of the system.
    pub(super) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    fn tls(&self) -> Result<Option<ClientTls>, CliError> {
        let own = self.cert_file.clone().zip(self.key_file.clone());
        if !self.tls && self.ca_file.is_none() && own.is_none() {
            return Ok(None);
        }
        let ca = self.ca_file.clone();
        let tls = ClientTls::new(&TlsFiles { ca, own });
        tls.map(Some).map_err(CliError::Usage)
    }

    fn sasl(&self) -> Result<Option<SaslCredentials>, CliError> {
        let Some(user) = &self.user else {
            return match &self.password_file {
                None => Ok(None),
                Some(_) => Err(CliError::Usage("--password-file needs --user".to_owned())),
            };
        };
        let password = match (&self.password_file, std::env::var(PASSWORD_ENV)) {
            (Some(file), _) => read_password(file)?,
            (None, Ok(password)) if !password.is_empty() => Secret::new(password),
            (None, _) => {
                let text = format!("--user needs --password-file, or a password in {PASSWORD_ENV}");
                return Err(CliError::Usage(text));
            }
        };
        let mechanism = Mechanism::of_name(&self.sasl_mechanism);
        Ok(Some(SaslCredentials {
            mechanism: mechanism.expect("the command line takes no other"),
            user: user.clone(),
            password,
        }))
    }
}

/// Reads a password: one line of a file, or of standard input for `-`.
pub(super) fn read_password(file: &str) -> Result<Secret, CliError> {
    let failed = |error: std::io::Error| CliError::Usage(format!("read {file}: {error}"));
    let mut text = Zeroizing::new(String::new());
    match file {
        "-" => std::io::stdin()
            .take(PASSWORD_BYTES_MAX)
            .read_to_string(&mut text),
        path => {
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(PASSWORD_BYTES_MAX).read_to_string(&mut text)
        }
    }
    .map_err(failed)?;
    let line = text.trim_end_matches(['\n', '\r']);
    if line.is_empty() || line.chars().any(char::is_control) {
        let text = format!("{file} holds no password: it must be one line");
        return Err(CliError::Usage(text));
    }
    Ok(Secret::new(line))
}

/// Reads `name=value`.
pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
