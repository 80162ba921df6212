//! Answers of an S3 store to ListObjectsV2: through the client of the SDK, from a server that says what the input says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use store::s3::{S3Options, S3Store, Secret, StaticCredentials};
use store::{ListPage, ListRequest, ObjectStore};
use tokio::runtime::{Builder, Runtime};

use super::Target;
use crate::feedback;

const PREFIX: &str = "kafscale-wal/";
const LIMIT: usize = 10;
/// Nothing on this machine takes longer.
const TIMEOUT: Duration = Duration::from_secs(9);

/// Bodies of answers.
pub const LIST: Target = Target {
    name: "s3-list",
    about: "an S3 list answer: names ascend, lie under the prefix, and the listing ends",
    run: list,
    seeds: || {
        let entry = |key: &str| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>\
                 <ETag>\"0123\"</ETag><Size>7</Size></Contents>"
            )
        };
        let page = |inside: &str, more: bool| {
            format!(
                "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>{more}</IsTruncated>{inside}\
                 <EncodingType>url</EncodingType><Name>b</Name></ListBucketResult>"
            )
        };
        let two = [entry("kafscale-wal/a"), entry("kafscale-wal/b%2Bc")].concat();
        let pages = [
            page("", false),
            page(&two, false),
            page(
                &format!("{two}<NextContinuationToken>t</NextContinuationToken>"),
                true,
            ),
            "<Error><Code>NoSuchBucket</Code></Error>".to_owned(),
        ];
        pages.into_iter().map(String::into_bytes).collect()
    },
    words: &[
        b"<Contents>",
        b"</Contents>",
        b"<Key>",
        b"</Key>",
        b"kafscale-wal/",
        b"%2F",
        b"%",
        b"&amp;",
        b"&#x0;",
        b"<Size>-1</Size>",
        b"<IsTruncated>true</IsTruncated>",
        b"<ETag>",
        b"<![CDATA[",
        b"]]>",
        b"<!--",
    ],
};

/// A server whose next answers have this body.
struct Server {
    body: Arc<Mutex<Vec<u8>>>,
    address: SocketAddr,
}

impl Server {
    fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let body = Arc::<Mutex<Vec<u8>>>::default();
        let answers = body.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answers = answers.clone();
                std::thread::spawn(move || serve(&stream, &answers));
            }
        });
        Ok(Self { body, address })
    }
}

/// Answers the requests of a connection, which have no bodies.
fn serve(stream: &TcpStream, body: &Mutex<Vec<u8>>) -> Option<()> {
    let mut lines = BufReader::new(stream);
    let mut out = stream;
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
        }
        let body = body.lock().ok()?.clone();
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\r\n"
        );
        out.write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}

struct Fixture {
    server: Server,
    runtime: Runtime,
    store: S3Store,
}

thread_local! {
    static FIXTURE: Fixture = Fixture::new();
}

impl Fixture {
    fn new() -> Self {
        let server = Server::start().expect("a port on loopback");
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let options = S3Options {
            endpoint: Some(format!("http://{}", server.address)),
            path_style: true,
            credentials: Some(StaticCredentials {
                access_key: "key".to_owned(),
                secret_key: Secret::new("secret"),
                session_token: None,
            }),
            ..S3Options::new("bucket")
        };
        let store = runtime.block_on(S3Store::connect(options));
        let store = store.expect("the options are complete");
        Self {
            server,
            runtime,
            store,
        }
    }

    fn list(&self, body: &[u8]) -> Option<ListPage> {
        if let Ok(mut place) = self.server.body.lock() {
            place.clear();
            place.extend_from_slice(body);
        }
        let request = ListRequest {
            prefix: PREFIX.to_owned(),
            start_after: None,
            limit: LIMIT,
        };
        let listed = self.store.list(request);
        let listed = self
            .runtime
            .block_on(async { tokio::time::timeout(TIMEOUT, listed).await });
        let listed = listed.expect("a listing ends");
        feedback::note_result("list", &listed);
        listed.ok()
    }
}

fn list(input: &[u8]) {
    let Some(page) = FIXTURE.with(|fixture| fixture.list(input)) else {
        return;
    };
    let names = page.objects.iter().map(|object| object.key.as_str());
    let names: Vec<&str> = names.collect();
    feedback::note((names.len().min(4), page.next_start_after.is_some()));
    assert!(
        names.len() <= LIMIT,
        "a page has at most what was asked for"
    );
    assert!(
        names.iter().all(|name| name.starts_with(PREFIX)),
        "{names:?}"
    );
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    if let Some(next) = &page.next_start_after {
        assert!(!next.is_empty(), "a listing that goes on gets further");
        assert!(names.last().is_none_or(|last| *last <= next.as_str()));
    }
}
