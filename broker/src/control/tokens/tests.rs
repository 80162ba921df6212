use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;

use super::*;

const SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn config(place: (&str, &str), more: &[(&str, &str)]) -> Config {
    let on = [
        ("security.sasl_mechanisms", "OAUTHBEARER,PLAIN"),
        ("security.admin_password", "p"),
        ("oauth.expected_audience", "kafka"),
        place,
    ];
    Config::with(&[&on[..], more].concat()).unwrap()
}

async fn opened(config: &Config) -> Result<Option<Arc<Tokens>>, String> {
    let opened = Tokens::open(config, Arc::default()).await;
    opened.map_err(|error| error.to_string())
}

#[tokio::test]
async fn without_keys_there_is_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    let config = config(("oauth.jwks_file", file.to_str().unwrap()), &[]);
    let text = opened(&config).await.unwrap_err();
    assert!(
        text.contains("oauth.jwks_file") && text.contains("No such file"),
        "{text}"
    );
    for (content, expected) in [
        ("{", "no JSON Web Key Set"),
        ("{\"keys\":[]}", "none of the 0 keys"),
        (
            "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
            "none of the 1 keys",
        ),
    ] {
        std::fs::write(&file, content).unwrap();
        let text = opened(&config).await.unwrap_err();
        assert!(text.contains(expected), "{text}");
    }
    std::fs::write(&file, vec![b' '; 300_000]).unwrap();
    assert!(opened(&config).await.unwrap_err().contains("300000 bytes"));
    std::fs::write(&file, SET).unwrap();
    assert_eq!(opened(&config).await.unwrap().unwrap().keys.load().len(), 1);
    assert!(opened(&Config::with(&[]).unwrap()).await.unwrap().is_none());
}

#[tokio::test]
async fn keys_that_cannot_be_used_count_as_failures_until_they_are_mended() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    std::fs::write(&file, SET).unwrap();
    let config = config(("oauth.jwks_file", file.to_str().unwrap()), &[]);
    let metrics = Arc::<ControlMetrics>::default();
    let tokens = Tokens::open(&config, metrics.clone()).await.unwrap();
    let tokens = tokens.unwrap();
    let counted = || {
        let (read, failed) = (&metrics.token_keys_read, &metrics.token_keys_failed);
        (read.get(), failed.get())
    };
    assert_eq!(tokens.reload().await, Ok(false));
    assert_eq!(counted(), (2, 0));
    std::fs::write(&file, "{\"keys\":[]}").unwrap();
    for failures in 1..4 {
        assert_eq!(tokens.reload().await, Err(()));
        assert_eq!(counted(), (2, failures));
        assert!(tokens.is_failing.load(Ordering::Relaxed), "told of once");
        assert_eq!(tokens.keys.load().len(), 1, "those from before");
    }
    // As it was before, and then with another key.
    std::fs::write(&file, SET).unwrap();
    assert_eq!(tokens.reload().await, Ok(false));
    std::fs::write(&file, SET.replace("\"a\"", "\"b\"")).unwrap();
    assert_eq!(tokens.reload().await, Ok(true));
    assert_eq!(counted(), (4, 3));
    assert!(!tokens.is_failing.load(Ordering::Relaxed));
}

/// A web server that gives this answer to everybody, over TLS where it has a certificate.
fn server(answer: String, tls: Option<Arc<rustls::ServerConfig>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            match &tls {
                None => {
                    let _ = stream.read(&mut request);
                    let _ = stream.write_all(answer.as_bytes());
                }
                Some(tls) => {
                    let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
                    let mut stream = rustls::StreamOwned::new(connection, stream);
                    if stream.read(&mut request).is_ok() {
                        let _ = stream.write_all(answer.as_bytes());
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                }
            }
        }
    });
    port
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// All at once: each is tried three times.
#[tokio::test]
async fn a_url_that_does_not_give_keys_is_named_with_the_reason() {
    let fails = async |port: u16, expected: &str| {
        let url = format!("http://127.0.0.1:{port}/keys");
        let text = opened(&config(("oauth.jwks_url", &url), &[]))
            .await
            .unwrap_err();
        assert!(text.contains(&url) && text.contains(expected), "{text}");
    };
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let elsewhere =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n";
    let long = answer("200 OK", &" ".repeat(300_000));
    futures_util::join!(
        fails(free, "Connection refused"),
        fails(server(elsewhere.to_owned(), None), "answers 302"),
        fails(server(answer("500 Oh", SET), None), "answers 500"),
        fails(server(long, None), "length limit exceeded"),
        fails(
            server(answer("200 OK", "<html>"), None),
            "no JSON Web Key Set"
        ),
        fails(
            server("garbage garbage garbage".to_owned(), None),
            "invalid HTTP"
        ),
    );
}

#[tokio::test]
async fn a_url_is_asked_over_tls_with_the_authorities_of_the_settings() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, tls) = authority(&directory, "ca.pem");
    let (other, _) = authority(&directory, "other.pem");
    let port = server(answer("200 OK", SET), Some(tls));
    let url = format!("https://127.0.0.1:{port}/keys");
    let with = |ca: PathBuf| {
        config(
            ("oauth.jwks_url", &url),
            &[("oauth.ca_file", ca.to_str().unwrap())],
        )
    };
    assert_eq!(
        opened(&with(ca)).await.unwrap().unwrap().keys.load().len(),
        1
    );
    let text = opened(&with(other)).await.unwrap_err();
    assert!(text.contains("certificate"), "{text}");
    let text = opened(&with(directory.path().join("none.pem")))
        .await
        .unwrap_err();
    assert!(text.contains("none.pem"), "{text}");
}

fn authority(directory: &TempDir, name: &str) -> (PathBuf, Arc<rustls::ServerConfig>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let file = directory.path().join(name);
    std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&own, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(own.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    (file, Arc::new(config.unwrap()))
}
