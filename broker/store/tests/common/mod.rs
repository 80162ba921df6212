//! A real S3 server for the tests over the wire, and a runtime for the stores under test.
//!
//! `KAFSCALE_TEST_S3_ENDPOINT` names the server: the URL of one that runs, or a command that starts
//! one, where `{port}` stands for the port to listen on.

#![allow(dead_code, reason = "each test binary uses a part of this module")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod script;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use store::s3::{S3Options, S3Store, Secret, StaticCredentials};
use tokio::runtime::{Builder, Handle};

/// A server with an empty bucket.
pub(crate) struct Server {
    address: String,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let named = std::env::var("KAFSCALE_TEST_S3_ENDPOINT").expect(
            "set KAFSCALE_TEST_S3_ENDPOINT to a URL, or to a command such as \
             'kafscale-s3-server --listen 127.0.0.1:{port} --bucket kafscale-test --access-key ak \
             --secret-key sksksksk'",
        );
        let server = match named.strip_prefix("http://") {
            Some(address) => Self {
                address: address.trim_end_matches('/').to_owned(),
                child: None,
            },
            None => Self::launch(&named),
        };
        server.create_bucket();
        server
    }

    fn launch(command: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let command = command.replace("{port}", &address.port().to_string());
        let mut words = command.split_whitespace();
        let child = Command::new(words.next().unwrap())
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            address: address.to_string(),
            child: Some(child),
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&server.address).is_err() {
            assert!(Instant::now() < deadline, "{command} does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn create_bucket(&self) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let bucket = self.bucket();
        let head = format!(
            "PUT /{bucket} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=ak/20260101/us-east-1/s3/aws4_request\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        // Other answers: the server was started with the bucket.
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn bucket(&self) -> &'static str {
        "kafscale-test"
    }

    pub(crate) fn options(&self) -> S3Options {
        options(&self.endpoint(), self.bucket())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// Options for a server of these tests.
pub(crate) fn options(endpoint: &str, bucket: &str) -> S3Options {
    S3Options {
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        credentials: Some(StaticCredentials {
            access_key: "ak".to_owned(),
            secret_key: Secret::new("sksksksk"),
            session_token: None,
        }),
        ..S3Options::new(bucket)
    }
}

/// The runtime of all stores: one thread, as the control thread of a broker.
pub(crate) fn runtime() -> &'static Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    })
}

/// A store whose requests run on [`runtime`].
pub(crate) fn connect(options: S3Options) -> S3Store {
    let (sender, receiver) = std::sync::mpsc::channel();
    runtime().spawn(async move { sender.send(S3Store::connect(options).await) });
    receiver.recv().unwrap().unwrap()
}
