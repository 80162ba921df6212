//! The ports, and where clients are told to connect.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use super::Check;
use crate::config::{Config, UNNAMED};
use crate::security::tls::Tls;

/// Longest wait for a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    for listener in config.kafka_listeners() {
        let what = match listener.name.as_str() {
            UNNAMED => "Kafka clients".to_owned(),
            name => format!("Kafka clients of listener {name}"),
        };
        checks.push(
            port(
                listener.addr,
                &what,
                "KAFSCALE_BROKER_ADDR or KAFSCALE_LISTENERS",
            )
            .await,
        );
        let advertised = config.advertised(&listener, listener.addr, &[]);
        checks.push(host(&advertised.host, advertised.port).await);
        if let Some(tls) = listener.tls {
            checks.push(certificate(&what, Tls::new(tls).map(drop)));
        }
    }
    checks.push(
        port(
            config.admin.addr,
            "metrics and health",
            "KAFSCALE_METRICS_ADDR",
        )
        .await,
    );
    if let Some(tls) = config.admin_tls() {
        checks.push(certificate("metrics and health", Tls::new(tls).map(drop)));
    }
    checks
}

async fn port(addr: SocketAddr, what: &str, setting: &str) -> Check {
    const NAME: &str = "port";
    match TcpListener::bind(addr).await {
        Ok(_) => Check::good(NAME, format!("{addr} is free for {what}")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Check::note(
            NAME,
            format!(
                "{addr} for {what} is in use: by a broker that runs, or choose another with {setting}"
            ),
        ),
        Err(error) => Check::problem(
            NAME,
            format!("{addr} cannot be listened on for {what}: {error}"),
            format!("choose an address of this machine and a port from 1024 up with {setting}"),
        ),
    }
}

/// Clients must be able to resolve what they are told; that this machine can is a hint.
async fn host(name: &str, port: u16) -> Check {
    const NAME: &str = "advertised";
    let lookup = tokio::net::lookup_host((name, port));
    let found = match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(mut addresses)) => addresses.next(),
        Ok(Err(_)) | Err(_) => None,
    };
    match found {
        Some(address) => Check::good(
            NAME,
            format!("clients are told {name}:{port}, which is {address} here"),
        ),
        None => Check::warning(
            NAME,
            format!("clients are told {name}:{port}, a name that cannot be resolved here"),
            "set KAFSCALE_BROKER_HOST (or KAFSCALE_ADVERTISED_LISTENERS) to a name or address that clients reach",
        ),
    }
}

fn certificate(what: &str, outcome: Result<(), crate::security::tls::TlsError>) -> Check {
    const NAME: &str = "certificate";
    match outcome {
        Ok(()) => Check::good(NAME, format!("that of {what} can be used")),
        Err(error) => {
            let remedy = "see docs/security.md, \"Certificates\"";
            Check::problem(
                NAME,
                format!("that of {what} cannot be used: {error}"),
                remedy,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_and_one_that_cannot_be_had_are_told_apart() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = taken.local_addr().unwrap();
        assert_eq!(port(addr, "x", "S").await.verdict, Verdict::Note);
        drop(taken);
        assert_eq!(port(addr, "x", "S").await.verdict, Verdict::Good);
        let foreign = "192.0.2.1:9092".parse().unwrap();
        assert_eq!(port(foreign, "x", "S").await.verdict, Verdict::Problem);
    }

    #[tokio::test]
    async fn a_host_that_nobody_knows_is_told() {
        assert_eq!(host("127.0.0.1", 9092).await.verdict, Verdict::Good);
        let unknown = host("no-such-host.invalid", 9092).await;
        assert_eq!(unknown.verdict, Verdict::Warning);
        assert!(unknown.remedy.unwrap().contains("KAFSCALE_BROKER_HOST"));
    }
}
