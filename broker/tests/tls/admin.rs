//! TLS on the admin listener: who may scrape, and what is refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::authority::Authority;
use crate::common::{LocalBroker, REPLY_TIMEOUT, eventually, page};

fn broker(authority: &Authority, settings: &[(&str, &str)]) -> LocalBroker {
    authority.issue("admin", |_| {});
    let (cert, key) = (authority.text("admin.pem"), authority.text("admin.key"));
    let own = [
        ("admin.tls_cert_file", cert.as_str()),
        ("admin.tls_key_file", key.as_str()),
    ];
    LocalBroker::start(&[&own[..], settings].concat())
}

/// A page, as a scraper that trusts an authority gets it.
fn scrape(
    admin: SocketAddr,
    ca: PathBuf,
    own: Option<(PathBuf, PathBuf)>,
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(admin)?;
    tcp.set_read_timeout(Some(REPLY_TIMEOUT))?;
    let mut stream = StreamOwned::new(session, tcp);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn is_served(admin: SocketAddr, ca: PathBuf, own: Option<(PathBuf, PathBuf)>) -> bool {
    scrape(admin, ca, own).is_ok_and(|text| {
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        text.contains("kafscale_")
    })
}

#[test]
fn metrics_go_through_tls_to_who_trusts_the_certificate_and_to_nobody_else() {
    let (authority, other) = (Authority::new(), Authority::new());
    let broker = broker(&authority, &[]);
    let admin = broker.admin();
    assert!(is_served(admin, authority.ca(), None));
    assert!(!is_served(admin, other.ca(), None), "of another authority");
    // Who speaks no TLS is told nothing.
    let plain = page(admin, "/metrics").unwrap_or_default();
    assert!(
        !plain.contains("HTTP/1.1 200") && !plain.contains("kafscale_"),
        "{plain}"
    );
    // The Kafka listener is as it was: without TLS.
    broker.connect().create("t", 1);
}

#[test]
fn the_admin_listener_may_have_the_certificate_of_the_kafka_listener() {
    let authority = Authority::new();
    let broker = crate::start(&authority, &[("admin.tls", "true")]);
    assert!(is_served(broker.admin(), authority.ca(), None));
}

#[test]
fn scrapers_show_a_certificate_where_one_is_wanted() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue("scraper", |_| {});
    other.issue("eve", |_| {});
    let ca = authority.text("ca.pem");
    let broker = broker(&authority, &[("admin.tls_client_ca_file", &ca)]);
    let admin = broker.admin();
    assert!(is_served(admin, authority.ca(), authority.own("scraper")));
    assert!(!is_served(admin, authority.ca(), None), "none");
    assert!(
        !is_served(admin, authority.ca(), other.own("eve")),
        "of another authority"
    );
}

#[test]
fn the_certificate_of_the_admin_listener_is_replaced_without_a_restart() {
    let (authority, renewed) = (Authority::new(), Authority::new());
    let broker = broker(&authority, &[]);
    let admin = broker.admin();
    assert!(is_served(admin, authority.ca(), None));
    std::fs::write(authority.file("admin.pem"), "nothing").unwrap();
    std::thread::sleep(Duration::from_secs(6));
    assert!(
        is_served(admin, authority.ca(), None),
        "what was read before stays in use"
    );
    renewed.issue("admin", |_| {});
    for file in ["admin.key", "admin.pem"] {
        std::fs::copy(renewed.file(file), authority.file(file)).unwrap();
    }
    eventually("the new one is in use", Duration::from_secs(30), || {
        is_served(admin, renewed.ca(), None)
    });
    assert!(!is_served(admin, authority.ca(), None));
}

#[test]
fn who_does_not_shake_hands_is_let_go_and_keeps_others_waiting_no_longer() {
    let authority = Authority::new();
    let broker = broker(&authority, &[]);
    let admin = broker.admin();
    // As many as are served at once.
    let began = Instant::now();
    let mut silent: Vec<TcpStream> = (0..64)
        .map(|_| TcpStream::connect(admin).unwrap())
        .collect();
    assert!(is_served(admin, authority.ca(), None));
    let waited = began.elapsed();
    assert!(
        waited > Duration::from_secs(5),
        "they hold their places: {waited:?}"
    );
    assert!(waited < Duration::from_secs(19), "for a time: {waited:?}");
    silent[0].set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
    assert_eq!(silent[0].read(&mut [0; 1]).unwrap_or(0), 0, "closed");
}
