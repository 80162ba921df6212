//! Authentication over the wire: nobody is served who has not shown who it is, and nothing is given away meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "authentication/tokens.rs"]
mod tokens;

mod common;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use client::{Client, ClientSettings, FailureKind, SaslCredentials};
use common::{Connection, LocalBroker, batch};
use security::Mechanism;
use security::scram::{ScramClient, ScramHash};
use security::secret::Secret;
use wire::messages::alter_user_scram_credentials::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use wire::messages::{
    AlterUserScramCredentialsRequest, ApiVersionsRequest, DescribeUserScramCredentialsRequest,
    HeartbeatRequest, MetadataRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use wire::{ErrorCode, Request};

const ALL: &str = "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN";
const SETTINGS: [(&str, &str); 2] = [
    ("security.sasl_mechanisms", ALL),
    ("security.admin_password", "hunter2"),
];
const SCRAM_256: Mechanism = Mechanism::Scram(ScramHash::Sha256);
const SCRAM_512: Mechanism = Mechanism::Scram(ScramHash::Sha512);
const MECHANISMS: [Mechanism; 3] = [SCRAM_256, SCRAM_512, Mechanism::Plain];

fn secured() -> LocalBroker {
    LocalBroker::start(&SETTINGS)
}

fn settings(
    broker: &LocalBroker,
    mechanism: Mechanism,
    user: &str,
    password: &str,
) -> ClientSettings {
    ClientSettings {
        sasl: Some(SaslCredentials {
            mechanism,
            user: user.to_owned(),
            password: Secret::new(password),
        }),
        retry_timeout: Duration::from_secs(1),
        ..ClientSettings::with_bootstrap(&broker.kafka.to_string())
    }
}

fn admin(broker: &LocalBroker) -> Client {
    Client::connect(settings(broker, SCRAM_256, "admin", "hunter2")).unwrap()
}

fn refused(broker: &LocalBroker, mechanism: Mechanism, user: &str, password: &str) -> ErrorCode {
    let failed = Client::connect(settings(broker, mechanism, user, password)).unwrap_err();
    assert_eq!(failed.kind(), FailureKind::Failed, "{failed}");
    failed.code().unwrap()
}

fn handshake(connection: &mut Connection, mechanism: &str) -> (ErrorCode, Vec<String>) {
    let body = connection.call(1, &SaslHandshakeRequest { mechanism });
    let (_, response) = wire::decode_response::<SaslHandshakeRequest<'_>>(&body, 1).unwrap();
    let offered = response.mechanisms.iter().map(|it| (*it).to_owned());
    (response.error_code, offered.collect())
}

/// The code, the words and the bytes of an answer, and how long it holds.
fn say(connection: &mut Connection, auth_bytes: &[u8]) -> (ErrorCode, String, Vec<u8>, i64) {
    let body = connection.call(2, &SaslAuthenticateRequest { auth_bytes });
    let (_, response) = wire::decode_response::<SaslAuthenticateRequest<'_>>(&body, 2).unwrap();
    let words = response.error_message.unwrap_or_default().to_owned();
    let lifetime = response.session_lifetime_ms;
    (
        response.error_code,
        words,
        response.auth_bytes.to_vec(),
        lifetime,
    )
}

fn plain(connection: &mut Connection, user: &str, password: &str) -> (ErrorCode, i64) {
    let chosen = handshake(connection, "PLAIN");
    assert_eq!(chosen.0, ErrorCode::NONE);
    let (code, .., lifetime) = say(connection, format!("\0{user}\0{password}").as_bytes());
    (code, lifetime)
}

#[test]
fn the_administrator_makes_users_and_each_gets_in_with_its_own_password_only() {
    let broker = secured();
    let mut admin = admin(&broker);
    assert_eq!(admin.users().unwrap(), []);
    admin
        .set_password("alice", &Secret::new("wonder,land="))
        .unwrap();
    let stored = admin.users().unwrap();
    assert_eq!(stored[0].user, "alice");
    assert_eq!(
        stored[0].hashes,
        [(ScramHash::Sha256, 4096), (ScramHash::Sha512, 4096)]
    );
    for mechanism in MECHANISMS {
        let mut alice =
            Client::connect(settings(&broker, mechanism, "alice", "wonder,land=")).unwrap();
        let denied = alice.users().unwrap_err();
        let code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        assert_eq!(
            denied.code(),
            Some(code),
            "she is served, and may not do that"
        );
        for (user, password) in [
            ("alice", "hunter2"),
            ("alice", "x"),
            ("bob", "wonder,land="),
            ("admin", "x"),
        ] {
            let code = refused(&broker, mechanism, user, password);
            assert_eq!(
                code,
                ErrorCode::SASL_AUTHENTICATION_FAILED,
                "{mechanism} {user}"
            );
        }
    }
    // The password changes, and the user goes.
    admin.set_password("alice", &Secret::new("new")).unwrap();
    drop(Client::connect(settings(&broker, SCRAM_512, "alice", "new")).unwrap());
    refused(&broker, SCRAM_512, "alice", "wonder,land=");
    admin.delete_user("alice").unwrap();
    refused(&broker, SCRAM_512, "alice", "new");
    let unknown = admin.delete_user("alice").unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::RESOURCE_NOT_FOUND));
    let settings = admin
        .set_password("admin", &Secret::new("taken"))
        .unwrap_err();
    assert_eq!(settings.code(), Some(ErrorCode::UNACCEPTABLE_CREDENTIAL));
    assert!(broker.metric("kafscale_authentications_total{result=\"failed\"}") >= 14.0);
    assert!(broker.metric("kafscale_authentications_total{result=\"succeeded\"}") >= 5.0);
}

#[test]
fn users_are_there_after_a_restart() {
    let broker = secured();
    admin(&broker)
        .set_password("alice", &Secret::new("a"))
        .unwrap();
    let broker = broker.restart();
    drop(Client::connect(settings(&broker, SCRAM_256, "alice", "a")).unwrap());
    refused(&broker, SCRAM_256, "alice", "b");
}

fn is_closed_by<'q, R: Request<'q>>(broker: &LocalBroker, version: i16, request: &R) {
    let mut connection = broker.connect();
    connection.send(version, request);
    assert!(connection.is_closed(), "{}", R::KEY.name());
}

#[test]
fn a_stranger_is_told_versions_and_nothing_else() {
    let broker = secured();
    let mut stranger = broker.connect();
    let asked = ApiVersionsRequest {
        client_software_name: "x",
        client_software_version: "1",
        ..ApiVersionsRequest::default()
    };
    stranger.call(3, &asked);
    stranger.send(12, &MetadataRequest::default());
    assert!(stranger.is_closed());
    is_closed_by(&broker, 4, &HeartbeatRequest::default());
    is_closed_by(&broker, 0, &DescribeUserScramCredentialsRequest::default());
    is_closed_by(&broker, 0, &AlterUserScramCredentialsRequest::default());
    let mut producing = broker.connect();
    let topic = common::Topic {
        name: "t".to_owned(),
        id: wire::Uuid::ZERO,
    };
    let batch = batch(&[b"x"]);
    producing.send(
        9,
        &common::produce_request(&topic, 0, &batch, common::PRODUCE_TIMEOUT),
    );
    assert!(producing.is_closed());
    // Not in the middle of an exchange either.
    let mut between = broker.connect();
    assert_eq!(handshake(&mut between, "PLAIN").0, ErrorCode::NONE);
    between.send(12, &MetadataRequest::default());
    assert!(between.is_closed());
}

#[test]
fn a_mechanism_that_is_not_offered_is_refused_with_those_that_are() {
    let broker = LocalBroker::start(&[("security.sasl_mechanisms", "SCRAM-SHA-512"), SETTINGS[1]]);
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "GSSAPI", "OAUTHBEARER", ""] {
        let mut connection = broker.connect();
        let (code, offered) = handshake(&mut connection, mechanism);
        assert_eq!(code, ErrorCode::UNSUPPORTED_SASL_MECHANISM);
        assert_eq!(offered, ["SCRAM-SHA-512"]);
        assert!(connection.is_closed());
    }
}

#[test]
fn who_need_not_authenticate_is_told_so() {
    let broker = LocalBroker::start(&[]);
    let mut connection = broker.connect();
    assert_eq!(
        handshake(&mut connection, "PLAIN"),
        (ErrorCode::ILLEGAL_SASL_STATE, vec![])
    );
    assert_eq!(
        say(&mut connection, b"\0a\0b").0,
        ErrorCode::ILLEGAL_SASL_STATE
    );
    connection.create("t", 1);
}

#[test]
fn a_message_without_an_exchange_and_one_that_is_too_large_are_refused() {
    let broker = secured();
    let mut early = broker.connect();
    assert_eq!(
        say(&mut early, b"\0admin\0hunter2").0,
        ErrorCode::ILLEGAL_SASL_STATE
    );
    assert_eq!(
        plain(&mut early, "admin", "hunter2").0,
        ErrorCode::NONE,
        "it may still begin"
    );
    let mut large = broker.connect();
    handshake(&mut large, "PLAIN");
    large.send(
        2,
        &SaslAuthenticateRequest {
            auth_bytes: &vec![b'x'; 70_000],
        },
    );
    assert!(large.is_closed());
    // A stranger's frame is refused by its length, before its bytes are there.
    let mut claims = broker.connect();
    claims
        .stream
        .write_all(&1_000_000_i32.to_be_bytes())
        .unwrap();
    assert!(claims.is_closed());
}

#[test]
fn a_failure_takes_a_while_says_nothing_and_ends_the_connection() {
    let broker = secured();
    admin(&broker)
        .set_password("alice", &Secret::new("a"))
        .unwrap();
    let fails = |user: &str| {
        let mut connection = broker.connect();
        handshake(&mut connection, "PLAIN");
        let began = Instant::now();
        let (code, words, bytes, _) = say(&mut connection, format!("\0{user}\0wrong").as_bytes());
        assert!(began.elapsed() >= Duration::from_millis(100));
        assert_eq!(
            (code, bytes),
            (ErrorCode::SASL_AUTHENTICATION_FAILED, vec![])
        );
        assert!(connection.is_closed());
        words
    };
    assert_eq!(fails("alice"), fails("nobody"));
    // By SCRAM, both are asked for a proof, and an unknown user always has the same salt.
    let challenge = |user: &str| {
        let mut connection = broker.connect();
        handshake(&mut connection, "SCRAM-SHA-256");
        let first = format!("n,,n={user},r=abc");
        let (code, _, challenge, _) = say(&mut connection, first.as_bytes());
        assert_eq!(code, ErrorCode::NONE);
        let text = String::from_utf8(challenge).unwrap();
        text.split_once(",s=").unwrap().1.to_owned()
    };
    assert_eq!(challenge("nobody"), challenge("nobody"));
    assert_ne!(challenge("nobody"), challenge("noone"));
    let lengths = ["nobody", "alice"].map(|user| challenge(user).len());
    assert!(
        lengths.iter().all(|length| (40..=45).contains(length)),
        "{lengths:?}"
    );
}

/// Penetration: what a client may not do in an exchange (CVE-2017-12610, CVE-2024-56128, RFC 5802 section 6).
#[test]
fn nobody_gets_in_as_another_or_with_a_proof_of_another_exchange() {
    let broker = secured();
    let mut admin = admin(&broker);
    admin.set_password("alice", &Secret::new("a")).unwrap();
    admin.set_password("bob", &Secret::new("b")).unwrap();
    let attempt = |mechanism: &str, first: &str| {
        let mut connection = broker.connect();
        handshake(&mut connection, mechanism);
        let (code, ..) = say(&mut connection, first.as_bytes());
        assert!(code.is_none() || connection.is_closed());
        code
    };
    let failed = ErrorCode::SASL_AUTHENTICATION_FAILED;
    assert_eq!(
        attempt("PLAIN", "alice\0bob\0b"),
        failed,
        "as alice with bob's password"
    );
    assert_eq!(attempt("PLAIN", "bob\0bob\0b"), ErrorCode::NONE);
    assert_eq!(attempt("SCRAM-SHA-256", "n,a=alice,n=bob,r=abc"), failed);
    assert_eq!(
        attempt("SCRAM-SHA-256", "p=tls-unique,,n=bob,r=abc"),
        failed,
        "channel binding"
    );
    assert_eq!(
        attempt("SCRAM-SHA-256", "n,,m=1,n=bob,r=abc"),
        failed,
        "an extension"
    );
    // What is said last: with the right proof it is let in, with any part of another exchange it is not.
    let ends = |change: &dyn Fn(String) -> String| {
        let mut connection = broker.connect();
        handshake(&mut connection, "SCRAM-SHA-256");
        let password = Secret::new("b");
        let nonce = security::nonce().unwrap();
        let (client, first) = ScramClient::begin(ScramHash::Sha256, "bob", password, nonce);
        let (_, _, challenge, _) = say(&mut connection, &first);
        let (_, last) = client.prove(&challenge).unwrap();
        let last = change(String::from_utf8(last).unwrap());
        say(&mut connection, last.as_bytes()).0
    };
    assert_eq!(ends(&|last| last), ErrorCode::NONE);
    assert_eq!(
        ends(&|last| last.replace("c=biws", "c=eSws")),
        failed,
        "another channel binding"
    );
    assert_eq!(
        ends(&|last| last.replacen(",r=", ",r=x", 1)),
        failed,
        "another nonce"
    );
    let cut = |last: String| {
        let (start, proof) = last.split_once(",p=").unwrap();
        let (c, r) = start.split_once(",r=").unwrap();
        format!("{c},r={},p={proof}", &r[..r.len() - 1])
    };
    assert_eq!(ends(&cut), failed, "a beginning of the nonce");
    assert_eq!(
        ends(&|last| last.split(",p=").next().unwrap().to_owned() + ",p="),
        failed
    );
}

#[test]
fn who_must_authenticate_again_does_so_as_the_same_or_is_closed() {
    let broker =
        LocalBroker::start(&[&SETTINGS[..], &[("security.max_reauth_ms", "2000")]].concat());
    admin(&broker)
        .set_password("alice", &Secret::new("a"))
        .unwrap();
    let mut late = broker.connect();
    let mut same = broker.connect();
    let mut other = broker.connect();
    for connection in [&mut late, &mut same, &mut other] {
        assert_eq!(
            plain(connection, "admin", "hunter2"),
            (ErrorCode::NONE, 2000)
        );
        connection.call(12, &MetadataRequest::default());
    }
    assert_eq!(plain(&mut same, "admin", "hunter2").0, ErrorCode::NONE);
    assert_eq!(
        plain(&mut other, "alice", "a").0,
        ErrorCode::SASL_AUTHENTICATION_FAILED
    );
    assert!(other.is_closed());
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        assert_eq!(plain(&mut same, "admin", "hunter2").0, ErrorCode::NONE);
        same.call(12, &MetadataRequest::default());
        std::thread::sleep(Duration::from_millis(500));
    }
    late.send(12, &MetadataRequest::default());
    assert!(late.is_closed());
    // By another mechanism it may not.
    assert_eq!(
        handshake(&mut same, "SCRAM-SHA-256").0,
        ErrorCode::UNSUPPORTED_SASL_MECHANISM
    );
}

#[test]
fn a_stranger_that_says_nothing_is_closed_in_ten_seconds() {
    let broker = secured();
    let mut silent = broker.connect();
    handshake(&mut silent, "PLAIN");
    let began = Instant::now();
    assert!(silent.is_closed());
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_secs(8) && waited < Duration::from_secs(15),
        "{waited:?}"
    );
}

#[test]
fn messages_without_requests_around_them_are_taken_after_the_oldest_handshake() {
    let broker = secured();
    let raw = |password: &str| {
        let mut connection = broker.connect();
        connection.call(0, &SaslHandshakeRequest { mechanism: "PLAIN" });
        let token = format!("\0admin\0{password}");
        let length = u32::try_from(token.len()).unwrap().to_be_bytes();
        connection.stream.write_all(&length).unwrap();
        connection.stream.write_all(token.as_bytes()).unwrap();
        connection
    };
    let mut connection = raw("hunter2");
    let mut answer = [9; 4];
    connection.stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0; 4], "an empty answer");
    connection.create("t", 1);
    assert!(raw("x").is_closed());
}

#[test]
fn what_is_asked_of_a_user_is_done_whole_or_not_at_all() {
    let broker = secured();
    let mut connection = broker.connect();
    assert_eq!(
        plain(&mut connection, "admin", "hunter2").0,
        ErrorCode::NONE
    );
    let set = |mechanism: i8| ScramCredentialUpsertion {
        name: "alice",
        mechanism,
        iterations: 4096,
        salt: b"salt",
        salted_password: &[7; 32],
    };
    let mut alter = |deletions: Vec<ScramCredentialDeletion<'static>>, upsertions| {
        let request = AlterUserScramCredentialsRequest {
            deletions,
            upsertions,
        };
        let body = connection.call(0, &request);
        let (_, response) =
            wire::decode_response::<AlterUserScramCredentialsRequest<'_>>(&body, 0).unwrap();
        assert_eq!(response.results.len(), 1);
        response.results[0].error_code
    };
    let delete = |mechanism: i8| ScramCredentialDeletion {
        name: "alice",
        mechanism,
    };
    assert_eq!(
        alter(vec![delete(2)], vec![set(1)]),
        ErrorCode::RESOURCE_NOT_FOUND
    );
    assert!(
        admin(&broker).users().unwrap().is_empty(),
        "nothing was set"
    );
    assert_eq!(alter(vec![], vec![set(1)]), ErrorCode::NONE);
    assert_eq!(alter(vec![delete(1)], vec![]), ErrorCode::NONE);
    assert!(admin(&broker).users().unwrap().is_empty());
}
