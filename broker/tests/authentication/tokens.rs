//! OAUTHBEARER over the wire: whom a token lets in, for how long, and what is refused.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64_simd::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// Who makes tokens: a key with a name.
struct Issuer {
    key: KeyPair,
    name: &'static str,
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes.as_ref())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

impl Issuer {
    fn new(name: &'static str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        Self { key, name }
    }

    /// The key set with the keys of these.
    fn set(of: &[&Self]) -> String {
        let keys = of.iter().map(|issuer| {
            json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": issuer.name,
                "x": base64(issuer.key.der_bytes())})
        });
        json!({ "keys": keys.collect::<Vec<Value>>() }).to_string()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            base64(header.to_string()),
            base64(claims.to_string())
        );
        let signature = self.key.sign(message.as_bytes()).unwrap();
        format!("{message}.{}", base64(signature))
    }

    /// A token for a subject that expires in some seconds.
    fn token(&self, subject: &str, seconds: u64) -> String {
        let now = now();
        let claims = json!({"sub": subject, "aud": "kafka", "iss": "https://issuer", "iat": now, "exp": now + seconds});
        self.sign(&json!({"alg": "EdDSA", "kid": self.name}), &claims)
    }
}

fn message(token: &str) -> Vec<u8> {
    format!("n,,\u{1}auth=Bearer {token}\u{1}traceId=7\u{1}\u{1}").into_bytes()
}

/// The code and the lifetime that a token comes to.
fn bearer(connection: &mut Connection, token: &str) -> (ErrorCode, i64) {
    let (code, _) = handshake(connection, "OAUTHBEARER");
    assert_eq!(code, ErrorCode::NONE);
    let (code, _, told, lifetime) = say(connection, &message(token));
    if told.is_empty() {
        return (code, lifetime);
    }
    assert_eq!(
        (code, told.as_slice()),
        (ErrorCode::NONE, REFUSED.as_bytes())
    );
    let (code, words, told, _) = say(connection, b"\x01");
    assert_eq!((words.as_str(), told), (REFUSED, vec![]));
    assert!(connection.is_closed());
    (code, 0)
}

const REFUSED: &str = r#"{"status":"invalid_token"}"#;
const FAILED: (ErrorCode, i64) = (ErrorCode::SASL_AUTHENTICATION_FAILED, 0);

/// A broker whose keys are in a file.
struct World {
    broker: LocalBroker,
    file: PathBuf,
    _directory: TempDir,
}

impl World {
    fn new(issuers: &[&Issuer], settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys.json");
        std::fs::write(&file, Issuer::set(issuers)).unwrap();
        let place = ("oauth.jwks_file", file.to_str().unwrap());
        let broker = LocalBroker::start(&[&on()[..], &[place], settings].concat());
        Self {
            broker,
            file,
            _directory: directory,
        }
    }
}

fn on() -> [(&'static str, &'static str); 6] {
    [
        (
            "security.sasl_mechanisms",
            "OAUTHBEARER,SCRAM-SHA-256,PLAIN",
        ),
        ("security.admin_password", "hunter2"),
        ("security.super_users", "User:alice"),
        ("oauth.expected_audience", "kafka"),
        ("oauth.expected_issuer", "https://issuer"),
        ("oauth.clock_skew_ms", "0"),
    ]
}

#[test]
fn who_shows_a_token_is_its_subject_with_its_rights_and_no_longer_than_it_holds() {
    let issuer = Issuer::new("one");
    let world = World::new(&[&issuer], &[]);
    let mut alice = world.broker.connect();
    let (code, lifetime) = bearer(&mut alice, &issuer.token("alice", 600));
    assert_eq!(code, ErrorCode::NONE);
    assert!((595_000..=600_000).contains(&lifetime), "{lifetime}");
    alice.create("t", 1);
    let mut bob = world.broker.connect();
    assert_eq!(
        bearer(&mut bob, &issuer.token("bob", 600)).0,
        ErrorCode::NONE
    );
    let asked = DescribeUserScramCredentialsRequest::default();
    let code = |connection: &mut Connection| {
        let body = connection.call(0, &asked);
        let (_, response) =
            wire::decode_response::<DescribeUserScramCredentialsRequest<'_>>(&body, 0).unwrap();
        response.error_code
    };
    assert_eq!(code(&mut bob), ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    assert_eq!(code(&mut alice), ErrorCode::NONE);
    // Other mechanisms are served beside it.
    assert_eq!(
        plain(&mut world.broker.connect(), "admin", "hunter2").0,
        ErrorCode::NONE
    );
    // As whom it wants to act must be who it is.
    for (wanted, expected) in [("bob", ErrorCode::NONE), ("alice", FAILED.0)] {
        let mut connection = world.broker.connect();
        handshake(&mut connection, "OAUTHBEARER");
        let text = format!(
            "n,a={wanted},\u{1}auth=Bearer {}\u{1}\u{1}",
            issuer.token("bob", 60)
        );
        assert_eq!(say(&mut connection, text.as_bytes()).0, expected);
    }
    assert_eq!(world.broker.metric("kafscale_token_keys"), 1.0);
}

#[test]
fn a_token_that_is_not_right_is_refused_with_the_challenge_of_kafka() {
    let (issuer, stranger) = (Issuer::new("one"), Issuer::new("one"));
    let world = World::new(&[&issuer], &[]);
    let head = json!({"alg": "EdDSA", "kid": "one"});
    let time = now();
    let good = json!({"sub": "alice", "aud": "kafka", "iss": "https://issuer", "iat": time, "exp": time + 600});
    let with = |claim: &str, value: Value| {
        let mut claims = good.clone();
        claims[claim] = value;
        issuer.sign(&head, &claims)
    };
    let unsigned = format!(
        "{}.{}.",
        base64(r#"{"alg":"none"}"#),
        base64(good.to_string())
    );
    let signed = issuer.sign(&head, &good);
    let stripped = format!("{}.", signed.rsplit_once('.').unwrap().0);
    for (what, token) in [
        ("unsigned", unsigned),
        ("its signature cut off", stripped),
        (
            "signed by another key of that name",
            stranger.sign(&head, &good),
        ),
        (
            "of another algorithm",
            issuer.sign(&json!({"alg": "HS256", "kid": "one"}), &good),
        ),
        (
            "of an unknown key",
            issuer.sign(&json!({"alg": "EdDSA", "kid": "two"}), &good),
        ),
        ("expired", with("exp", json!(time - 1))),
        ("without an end", with("exp", Value::Null)),
        ("not yet valid", with("nbf", json!(time + 60))),
        ("made in the future", with("iat", json!(time + 60))),
        ("for another audience", with("aud", json!("others"))),
        ("of another issuer", with("iss", json!("https://evil"))),
        ("without a subject", with("sub", Value::Null)),
        ("for the administrator", with("sub", json!("admin"))),
        ("garbage", "garbage".to_owned()),
        ("large", with("more", json!("x".repeat(30_000)))),
    ] {
        let mut connection = world.broker.connect();
        assert_eq!(bearer(&mut connection, &token), FAILED, "{what}");
    }
    // What is no message of OAUTHBEARER fails at once, and nothing helps after a challenge.
    for bad in [
        b"".as_slice(),
        b"\x01",
        b"n,,\x01auth=Basic x\x01\x01",
        b"\0alice\0x",
    ] {
        let mut connection = world.broker.connect();
        handshake(&mut connection, "OAUTHBEARER");
        let (code, words, told, _) = say(&mut connection, bad);
        assert_eq!((code, told), (FAILED.0, vec![]));
        assert!(
            words.ends_with("with SASL mechanism OAUTHBEARER"),
            "{words}"
        );
        assert!(connection.is_closed());
    }
    let mut again = world.broker.connect();
    handshake(&mut again, "OAUTHBEARER");
    assert_eq!(say(&mut again, &message("garbage")).2, REFUSED.as_bytes());
    assert_eq!(say(&mut again, &message(&signed)).0, FAILED.0);
    assert!(again.is_closed());
    assert_eq!(
        bearer(&mut world.broker.connect(), &signed).0,
        ErrorCode::NONE
    );
}

#[test]
fn a_token_must_have_the_scopes_of_the_settings() {
    let issuer = Issuer::new("one");
    let world = World::new(
        &[&issuer],
        &[
            ("oauth.required_scopes", "logs"),
            ("oauth.sub_claim_name", "client_id"),
        ],
    );
    let time = now();
    let token = |scope: &str| {
        let claims = json!({"client_id": "svc", "aud": "kafka", "iss": "https://issuer", "iat": time,
            "exp": time + 60, "scope": scope});
        issuer.sign(&json!({"alg": "EdDSA"}), &claims)
    };
    let mut connection = world.broker.connect();
    assert_eq!(bearer(&mut connection, &token("a logs")).0, ErrorCode::NONE);
    let mut connection = world.broker.connect();
    handshake(&mut connection, "OAUTHBEARER");
    let (_, _, told, _) = say(&mut connection, &message(&token("a")));
    assert_eq!(told, br#"{"scope":"logs","status":"insufficient_scope"}"#);
    assert_eq!(say(&mut connection, b"\x01").0, FAILED.0);
}

#[test]
fn a_session_ends_with_its_token_unless_another_is_shown_in_time() {
    let issuer = Issuer::new("one");
    let world = World::new(&[&issuer], &[("security.max_reauth_ms", "60000")]);
    let mut long = world.broker.connect();
    let (_, lifetime) = bearer(&mut long, &issuer.token("alice", 600));
    assert_eq!(
        lifetime, 60_000,
        "the settings hold where a token holds longer"
    );
    let (mut late, mut same) = (world.broker.connect(), world.broker.connect());
    for connection in [&mut late, &mut same] {
        let (_, lifetime) = bearer(connection, &issuer.token("alice", 3));
        assert!((1..=3000).contains(&lifetime), "{lifetime}");
        connection.call(12, &MetadataRequest::default());
    }
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        assert_eq!(
            bearer(&mut same, &issuer.token("alice", 3)).0,
            ErrorCode::NONE
        );
        same.call(12, &MetadataRequest::default());
        std::thread::sleep(Duration::from_millis(400));
    }
    late.send(12, &MetadataRequest::default());
    assert!(late.is_closed());
    // As somebody else it may not go on.
    handshake(&mut same, "OAUTHBEARER");
    assert_eq!(
        say(&mut same, &message(&issuer.token("bob", 60))).0,
        FAILED.0
    );
    assert!(same.is_closed());
    // One that is refused when it shows itself again is closed too, although what it showed before still holds.
    assert_eq!(bearer(&mut long, "garbage"), FAILED);
}

#[test]
fn messages_without_requests_around_them_are_challenged_and_closed() {
    let issuer = Issuer::new("one");
    let world = World::new(&[&issuer], &[]);
    let raw = |token: &str| {
        let mut connection = world.broker.connect();
        connection.call(
            0,
            &SaslHandshakeRequest {
                mechanism: "OAUTHBEARER",
            },
        );
        let bytes = message(token);
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        connection
            .stream
            .write_all(&[&length, bytes.as_slice()].concat())
            .unwrap();
        let mut length = [0; 4];
        connection.stream.read_exact(&mut length).unwrap();
        let mut told = vec![0; u32::from_be_bytes(length) as usize];
        connection.stream.read_exact(&mut told).unwrap();
        (connection, told)
    };
    let (mut connection, told) = raw(&issuer.token("alice", 60));
    assert!(told.is_empty());
    connection.create("t", 1);
    let (mut connection, told) = raw("garbage");
    assert_eq!(told, REFUSED.as_bytes());
    connection.stream.write_all(&[0, 0, 0, 1, 1]).unwrap();
    assert!(connection.is_closed());
}

#[test]
fn keys_are_rotated_in_the_file_without_a_restart() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let world = World::new(&[&old], &[]);
    let admitted = |issuer: &Issuer| {
        bearer(&mut world.broker.connect(), &issuer.token("alice", 60))
            .0
            .is_none()
    };
    assert!(admitted(&old));
    std::fs::write(&world.file, Issuer::set(&[&old, &new])).unwrap();
    assert!(
        admitted(&new),
        "the first token of a new key is not refused"
    );
    assert!(admitted(&old));
    std::fs::write(&world.file, "{").unwrap();
    let failed = "kafscale_token_key_reads_total{result=\"failed\"}";
    common::eventually("the damage is seen", Duration::from_secs(20), || {
        world.broker.metric(failed) >= 1.0
    });
    assert!(
        admitted(&old) && admitted(&new),
        "what cannot be used replaces nothing"
    );
    std::fs::write(&world.file, Issuer::set(&[&new])).unwrap();
    common::eventually("the old key goes", Duration::from_secs(20), || {
        !admitted(&old)
    });
    assert!(admitted(&new));
}

/// Answers every request with what `body` holds, and counts.
fn serve(body: Arc<Mutex<String>>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            count.fetch_add(1, Ordering::Relaxed);
            let body = body.lock().unwrap().clone();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, asked)
}

#[test]
fn a_url_is_asked_for_an_unknown_key_and_not_again_for_the_next() {
    let (old, new, stranger) = (
        Issuer::new("old"),
        Issuer::new("new"),
        Issuer::new("stranger"),
    );
    let body = Arc::new(Mutex::new(Issuer::set(&[&old])));
    let (address, asked) = serve(body.clone());
    let url = format!("http://{address}/keys");
    let broker = LocalBroker::start(&[&on()[..], &[("oauth.jwks_url", url.as_str())]].concat());
    let code = |issuer: &Issuer| bearer(&mut broker.connect(), &issuer.token("alice", 60)).0;
    assert!(code(&old).is_none());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    body.lock().unwrap().clone_from(&Issuer::set(&[&new]));
    assert!(code(&new).is_none());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!(code(&old), FAILED.0);
    for _ in 0..5 {
        assert_eq!(code(&stranger), FAILED.0);
    }
    assert_eq!(
        asked.load(Ordering::Relaxed),
        2,
        "whoever makes tokens is left in peace"
    );
}
