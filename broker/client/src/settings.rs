//! [`ClientSettings`]: how a client connects and how long it waits.

use std::time::Duration;

use crate::sasl::SaslCredentials;
use crate::stream::ClientTls;

/// How a client connects and how long it waits.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Addresses as `host:port`, tried in order until one answers. One is enough.
    pub bootstrap: Vec<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// How it speaks TLS; none where the listener does not.
    pub tls: Option<ClientTls>,
    /// Who the client is; none where the broker does not ask.
    pub sasl: Option<SaslCredentials>,
    /// Longest wait for one connection.
    pub connect_timeout: Duration,
    /// Longest wait for one answer.
    pub request_timeout: Duration,
    /// Longest time during which an operation is tried again.
    pub retry_timeout: Duration,
    /// Wait before the first retry; doubles with each, up to `retry_wait_max`.
    pub retry_wait: Duration,
    /// Longest wait before a retry.
    pub retry_wait_max: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            bootstrap: vec!["127.0.0.1:9092".to_owned()],
            client_id: "kafscale-client".to_owned(),
            tls: None,
            sasl: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry_timeout: Duration::from_secs(30),
            retry_wait: Duration::from_millis(50),
            retry_wait_max: Duration::from_secs(1),
        }
    }
}

impl ClientSettings {
    /// Defaults with another bootstrap list, given as `host:port,host:port`. A host without a port
    /// gets 9092.
    pub fn with_bootstrap(list: &str) -> Self {
        let bootstrap = list
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty())
            .map(with_port)
            .collect();
        Self {
            bootstrap,
            ..Self::default()
        }
    }

    /// Wait before retry number `attempt`, from 0.
    pub(crate) fn wait_before(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt.min(16)).unwrap_or(u32::MAX);
        self.retry_wait
            .saturating_mul(factor)
            .min(self.retry_wait_max)
    }
}

fn with_port(address: &str) -> String {
    let bracketed = address.starts_with('[');
    let has_port = match address.rsplit_once(':') {
        Some((host, _)) if bracketed => host.ends_with(']'),
        // More than one colon without brackets is an IPv6 address.
        Some((host, _)) => !host.contains(':'),
        None => false,
    };
    match (has_port, bracketed) {
        (true, _) => address.to_owned(),
        (false, false) if address.contains(':') => format!("[{address}]:9092"),
        (false, _) => format!("{address}:9092"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_port_is_kafkas() {
        let settings = ClientSettings::with_bootstrap("a, b:1,,[::1],::1,[::1]:7");
        let expected = ["a:9092", "b:1", "[::1]:9092", "[::1]:9092", "[::1]:7"];
        assert_eq!(settings.bootstrap, expected);
    }

    #[test]
    fn waits_double_up_to_the_limit() {
        let settings = ClientSettings::default();
        assert_eq!(settings.wait_before(0), Duration::from_millis(50));
        assert_eq!(settings.wait_before(2), Duration::from_millis(200));
        assert_eq!(settings.wait_before(60), Duration::from_secs(1));
    }
}
