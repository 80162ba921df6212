//! How client commands find their cluster.

use std::time::Duration;

use clap::Args;
use client::{Client, ClientSettings};

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
}

impl ConnectArgs {
    pub(super) fn connect(&self) -> Result<Client, CliError> {
        let settings = ClientSettings {
            client_id: "kafscale-cli".to_owned(),
            request_timeout: self.request_timeout,
            retry_timeout: self.request_timeout,
            ..ClientSettings::with_bootstrap(&self.bootstrap_server)
        };
        Ok(Client::connect(settings)?)
    }
}

/// Reads `name=value`.
pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
