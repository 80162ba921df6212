//! TLS to the stores: an S3 server and a real etcd with certificates of an authority of one's own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3_server::Conditional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::world::World;

/// Takes TLS off connections and hands on what is in them, until the test ends.
fn terminate(authority: &Authority, name: &str, to: SocketAddr) -> SocketAddr {
    let chain =
        vec![CertificateDer::from_pem_file(authority.file(&format!("{name}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(authority.file(&format!("{name}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // One that does not trust us ends here.
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let mut server = TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    });
    address
}

fn address_of(url: &str) -> SocketAddr {
    url.trim_start_matches("http://")
        .trim_end_matches('/')
        .parse()
        .unwrap()
}

#[test]
fn a_cluster_lives_on_stores_with_certificates_of_an_authority_of_its_own() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue("etcd", |_| {});
    let files = ["etcd.pem", "etcd.key", "ca.pem"].map(|name| authority.text(name));
    let files = files.each_ref().map(String::as_str);
    let world = World::start_with_etcd_tls(Conditional::Atomic, files);
    authority.issue("s3", |_| {});
    authority.issue("client", |_| {});
    let s3 = terminate(&authority, "s3", address_of(&world.s3().endpoint()));
    let s3 = format!("https://{s3}");
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| authority.text(name));
    let settings = [
        ("KAFSCALE_S3_ENDPOINT", s3.as_str()),
        ("KAFSCALE_S3_CA_FILE", &ca),
        ("KAFSCALE_ETCD_CA_FILE", &ca),
        ("KAFSCALE_ETCD_CERT_FILE", &cert),
        ("KAFSCALE_ETCD_KEY_FILE", &key),
    ];
    let [one, two] = ["1", "2"].map(|id| world.node_with(id, &settings));
    one.run(&["topic", "create", "t", "--partitions", "4"], "");
    one.produce("t", 0..200);
    let all: Vec<u32> = (0..200).collect();
    assert_eq!(two.read("t"), all);
    // What cannot be: told at the start, with what to do.
    let refused = |key: &str, value: &str| {
        let change = settings.map(|(name, was)| (name, if name == key { value } else { was }));
        world.refusal(&change)
    };
    let strange = other.text("ca.pem");
    let said = refused("KAFSCALE_S3_CA_FILE", &strange);
    let has = |parts: &[&str]| parts.iter().all(|part| said.contains(part));
    assert!(has(&["certificate", "KAFSCALE_S3_CA_FILE"]), "{said}");
    let said = refused("KAFSCALE_S3_CA_FILE", &authority.text("client.key"));
    assert!(said.contains("there is no certificate in it"), "{said}");
    let missing = Path::new("/nowhere/ca.pem").to_str().unwrap();
    let said = refused("KAFSCALE_S3_CA_FILE", missing);
    assert!(
        said.contains("KAFSCALE_S3_CA_FILE=/nowhere/ca.pem"),
        "{said}"
    );
    let said = refused("KAFSCALE_S3_CA_FILE", "");
    assert!(
        said.contains("KAFSCALE_S3_CA_FILE"),
        "the system's authorities: {said}"
    );
    let said = refused("KAFSCALE_ETCD_CA_FILE", &strange);
    assert!(said.contains("KAFSCALE_ETCD_CA_FILE"), "{said}");
}
