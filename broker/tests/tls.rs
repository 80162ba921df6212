//! TLS on the Kafka listener: who gets in, as whom, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "tls/admin.rs"]
mod admin;
#[path = "common/authority.rs"]
mod authority;
mod common;
#[path = "tls/proxied.rs"]
mod proxied;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use authority::Authority;
use broker::config::Config;
use client::{
    Client, ClientError, ClientSettings, ClientTls, Fetcher, FetcherSettings, NewTopic, Producer,
    ProducerSettings, SaslCredentials, TlsFiles, TopicPartition,
};
use common::{LocalBroker, REPLY_TIMEOUT, eventually};
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd,
};
use security::Mechanism;
use security::scram::ScramHash;
use security::secret::Secret;
use segment::record::NewRecord;
use segment::{Offset, PartitionIndex, TimestampMs};
use wire::ErrorCode;
use wire::messages::DescribeDelegationTokenRequest;

fn start(authority: &Authority, settings: &[(&str, &str)]) -> LocalBroker {
    authority.issue("broker", |_| {});
    let (cert, key) = (authority.text("broker.pem"), authority.text("broker.key"));
    let tls = [
        ("tls.cert_file", cert.as_str()),
        ("tls.key_file", key.as_str()),
    ];
    LocalBroker::start(&[&tls[..], settings].concat())
}

fn settings(broker: &LocalBroker, ca: PathBuf, own: Option<(PathBuf, PathBuf)>) -> ClientSettings {
    ClientSettings {
        tls: Some(ClientTls::new(&TlsFiles { ca: Some(ca), own }).unwrap()),
        retry_timeout: Duration::from_millis(500),
        request_timeout: Duration::from_secs(10),
        ..ClientSettings::with_bootstrap(&broker.kafka.to_string())
    }
}

fn connect(
    broker: &LocalBroker,
    authority: &Authority,
    own: Option<(PathBuf, PathBuf)>,
) -> Result<Client, ClientError> {
    Client::connect(settings(broker, authority.ca(), own))
}

/// Sends records and reads them back.
fn round_trip(client: Client, values: &[Vec<u8>]) {
    let mut producer = Producer::new(client, ProducerSettings::default()).unwrap();
    for value in values {
        let record = NewRecord {
            timestamp: TimestampMs::new(1),
            key: None,
            value: Some(value),
            headers: &[],
        };
        producer
            .send("t", Some(PartitionIndex::ZERO), record)
            .unwrap();
    }
    producer.flush().unwrap();
    let mut client = producer.into_client();
    let mut fetcher = Fetcher::new(FetcherSettings::default());
    fetcher.assign([(TopicPartition::new("t", PartitionIndex::ZERO), Offset::ZERO)]);
    let (mut found, end) = (Vec::new(), Instant::now() + REPLY_TIMEOUT);
    while found.len() < values.len() && Instant::now() < end {
        let Some(fetched) = fetcher.poll(&mut client, Duration::from_secs(1)).unwrap() else {
            continue;
        };
        let visited = fetched.for_each(|record| {
            found.push(record.value.unwrap_or_default().to_vec());
            std::ops::ControlFlow::<()>::Continue(())
        });
        assert!(visited.unwrap().is_continue());
    }
    assert!(
        found == values,
        "{} of {} records",
        found.len(),
        values.len()
    );
}

/// A client may see its connection closed a moment before the broker has counted why.
fn wait_for_failures(broker: &LocalBroker, wanted: f64) {
    eventually("the failures are counted", REPLY_TIMEOUT, || {
        broker.metric("kafscale_tls_handshakes_total{result=\"failed\"}") >= wanted
    });
}

fn create(client: &mut Client) {
    let topic = NewTopic {
        name: "t".to_owned(),
        ..NewTopic::default()
    };
    client.create_topic(&topic).unwrap();
}

#[test]
fn records_of_any_size_go_through_tls_whole() {
    let authority = Authority::new();
    let broker = start(&authority, &[]);
    let mut client = connect(&broker, &authority, None).unwrap();
    create(&mut client);
    let sizes = [0_usize, 1, 16_383, 16_384, 16_385, 300_000, 900_000, 3];
    let value = |size: usize| (0..size).map(|at| (at % 251) as u8).collect();
    let values: Vec<Vec<u8>> = sizes.into_iter().map(value).collect();
    round_trip(client, &values);
    assert_eq!(
        broker.metric("kafscale_tls_handshakes_total{result=\"failed\"}"),
        0.0
    );
}

#[test]
fn who_shows_no_certificate_or_a_bad_one_is_refused_where_one_is_wanted() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.issue("alice", |_| {});
    let revoked = SerialNumber::from(7_u64);
    authority.issue("mallory", |params| {
        params.serial_number = Some(revoked.clone())
    });
    authority.issue("old", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    stranger.issue("eve", |_| {});
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2100, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: revoked,
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&authority.issuer).unwrap();
    std::fs::write(authority.file("crl.pem"), list.pem().unwrap()).unwrap();
    let (ca, crl) = (authority.text("ca.pem"), authority.text("crl.pem"));
    let broker = start(
        &authority,
        &[
            ("tls.client_ca_file", &ca),
            ("tls.crl_file", &crl),
            ("security.authorizer", "off"),
        ],
    );
    create(&mut connect(&broker, &authority, authority.own("alice")).unwrap());
    let refused = [
        ("none", None),
        ("revoked", authority.own("mallory")),
        ("expired", authority.own("old")),
        ("of another authority", stranger.own("eve")),
    ];
    for (what, own) in refused {
        assert!(connect(&broker, &authority, own).is_err(), "{what}");
    }
    wait_for_failures(&broker, 4.0);
}

#[test]
fn a_broker_that_is_not_whom_it_should_be_is_left() {
    let (authority, other) = (Authority::new(), Authority::new());
    let broker = start(&authority, &[]);
    let settings = settings(&broker, other.ca(), None);
    assert!(Client::connect(settings).is_err());
}

#[test]
fn what_is_no_tls_or_too_old_a_version_is_refused_at_once() {
    let authority = Authority::new();
    let broker = start(&authority, &[("tls.min_version", "tlsv1.3")]);
    let closed = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(broker.kafka).unwrap();
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        // At most an alert: 7 bytes.
        assert!(answer.len() <= 7, "{answer:?}");
    };
    // ApiVersions without TLS, a record of an unknown type, and a handshake record that is too long.
    closed(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255]);
    closed(b"GET / HTTP/1.1\r\n\r\n");
    closed(&[22, 3, 1, 255, 255, 1, 0, 0, 0, 0]);
    // A ClientHello of TLS 1.2 without any extension.
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    closed(&hello);
    wait_for_failures(&broker, 4.0);
    // Who says nothing is not waited for.
    let mut silent = TcpStream::connect(broker.kafka).unwrap();
    silent.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
    let began = Instant::now();
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0);
    assert!(began.elapsed() < Duration::from_secs(15));
    connect(&broker, &authority, None).unwrap();
}

#[test]
fn a_certificate_is_replaced_without_a_restart_and_a_broken_one_is_not_taken() {
    let authority = Authority::new();
    let broker = start(&authority, &[]);
    let renewed = Authority::new();
    let old = || Client::connect(settings(&broker, authority.ca(), None));
    let new = || Client::connect(settings(&broker, renewed.ca(), None));
    assert!(old().is_ok() && new().is_err());
    std::fs::write(authority.file("broker.pem"), "nothing").unwrap();
    std::thread::sleep(Duration::from_secs(6));
    assert!(old().is_ok(), "what was read before stays in use");
    renewed.issue("broker", |_| {});
    for file in ["broker.key", "broker.pem"] {
        std::fs::copy(renewed.file(file), authority.file(file)).unwrap();
    }
    eventually(
        "the new certificate is in use",
        Duration::from_secs(30),
        || new().is_ok(),
    );
    assert!(old().is_err());
}

#[test]
fn who_has_shown_a_certificate_may_ask_about_delegation_tokens_and_nobody_else() {
    let authority = Authority::new();
    authority.issue("client", |_| {});
    let ca = authority.text("ca.pem");
    let broker = start(
        &authority,
        &[
            ("tls.client_ca_file", ca.as_str()),
            ("tls.client_auth", "requested"),
        ],
    );
    let ask = |own| {
        let mut client = connect(&broker, &authority, own).unwrap();
        let reply = client.call_any(&DescribeDelegationTokenRequest::default());
        let reply = reply.unwrap();
        reply.decode().unwrap().error_code
    };
    let refused = ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED;
    assert_eq!(ask(None), refused);
    let disabled = ErrorCode::DELEGATION_TOKEN_AUTH_DISABLED;
    assert_eq!(ask(authority.own("client")), disabled);
}

#[test]
fn sasl_goes_through_tls_and_says_who_a_client_is() {
    let authority = Authority::new();
    let broker = start(
        &authority,
        &[
            ("security.sasl_mechanisms", "PLAIN,SCRAM-SHA-512"),
            ("security.admin_password", "hunter2"),
        ],
    );
    let as_admin = |mechanism, password: &str| {
        let mut settings = settings(&broker, authority.ca(), None);
        settings.sasl = Some(SaslCredentials {
            mechanism,
            user: "admin".to_owned(),
            password: Secret::new(password),
        });
        Client::connect(settings)
    };
    create(&mut as_admin(Mechanism::Plain, "hunter2").unwrap());
    let client = as_admin(Mechanism::Scram(ScramHash::Sha512), "hunter2").unwrap();
    round_trip(client, &[b"x".to_vec()]);
    assert!(as_admin(Mechanism::Plain, "x").is_err());
    let mut none = connect(&broker, &authority, None).unwrap_err().to_string();
    none.truncate(200);
    assert!(
        none.contains("closed") || none.contains("connect"),
        "{none}"
    );
}

#[test]
fn settings_of_tls_that_cannot_be_used_are_refused_with_the_file_and_the_reason() {
    let authority = Authority::new();
    authority.issue("broker", |_| {});
    authority.issue("other", |_| {});
    let refused = |cert: &str, key: &str| {
        let (cert, key) = (authority.text(cert), authority.text(key));
        let config = Config::with(&[("tls.cert_file", &cert), ("tls.key_file", &key)]).unwrap();
        let tls = config.kafka_listeners().remove(0).tls.unwrap();
        broker::security::tls::Tls::new(tls)
            .unwrap_err()
            .to_string()
    };
    assert!(refused("none.pem", "broker.key").contains("none.pem"));
    assert!(refused("broker.pem", "broker.pem").contains("a private key"));
    assert!(refused("broker.key", "broker.key").contains("there is none in it"));
    assert!(refused("broker.pem", "other.key").contains("the key must be that of"));
}
