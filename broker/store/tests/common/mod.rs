//! A real S3 server for the tests over the wire, and a runtime for the stores under test.
//!
//! The server is `s3-server`, in this process. `KAFSCALE_TEST_S3_ENDPOINT` names another one, and
//! `KAFSCALE_TEST_S3_UNSAFE_ENDPOINT` one that ignores conditions: a URL each, with the
//! bucket and the keys below (`scripts/with-minio`, `scripts/with-garage`); `KAFSCALE_TEST_S3_CA_FILE` the authorities of
//! the first (`scripts/with-minio --tls`).

#![allow(dead_code, reason = "each test binary uses a part of this module")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod script;

use std::path::PathBuf;
use std::sync::OnceLock;

pub(crate) use s3_server::Conditional;
use store::s3::{S3Options, S3Store, Secret, StaticCredentials};
use tokio::runtime::{Builder, Handle};

const BUCKET: &str = "kafscale-test";
/// Of the form that Garage takes, which is the strictest.
pub(crate) const ACCESS_KEY: &str = "GK6b61667363616c6574657374";
pub(crate) const SECRET_KEY: &str =
    "6b61667363616c656b61667363616c656b61667363616c656b61667363616c65";

/// A server with an empty bucket.
pub(crate) struct Server {
    endpoint: String,
    inside: Option<s3_server::Server>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(Conditional::Atomic)
    }

    /// With conditions that are kept or not.
    pub(crate) fn start_with(conditional: Conditional) -> Self {
        let named = match conditional {
            Conditional::Atomic => std::env::var("KAFSCALE_TEST_S3_ENDPOINT").ok(),
            Conditional::Ignored => std::env::var("KAFSCALE_TEST_S3_UNSAFE_ENDPOINT").ok(),
            Conditional::Racy | Conditional::Refused | Conditional::CreateOnly => None,
        };
        if let Some(endpoint) = named {
            return Self {
                endpoint,
                inside: None,
            };
        }
        let options = s3_server::Options {
            buckets: vec![BUCKET.to_owned()],
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            conditional,
            ..s3_server::Options::default()
        };
        let server = s3_server::Server::start(options).unwrap();
        Self {
            endpoint: server.endpoint(),
            inside: Some(server),
        }
    }

    /// Whether the environment named it.
    pub(crate) fn is_named(&self) -> bool {
        self.inside.is_none()
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(crate) fn bucket(&self) -> &'static str {
        BUCKET
    }

    pub(crate) fn options(&self) -> S3Options {
        let named = std::env::var_os("KAFSCALE_TEST_S3_CA_FILE").map(PathBuf::from);
        S3Options {
            ca_file: named.filter(|_| self.is_named()),
            ..options(&self.endpoint(), self.bucket())
        }
    }
}

/// Options for a server of these tests.
pub(crate) fn options(endpoint: &str, bucket: &str) -> S3Options {
    S3Options {
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        credentials: Some(StaticCredentials {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: Secret::new(SECRET_KEY),
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
