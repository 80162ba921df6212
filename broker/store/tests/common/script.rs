//! A server that answers as a test says: for what real servers do only when they break.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// S3's name of what is asked.
    pub(crate) fn is(&self, method: &str, text: &str) -> bool {
        self.method == method && self.target.contains(text)
    }
}

/// What to do with a request.
pub(crate) enum Reply {
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The head and a part of the body; then the connection closes.
    CutOff(Vec<(&'static str, String)>, u64, Vec<u8>),
    /// The head and a part of the body; then nothing.
    Stall(Vec<(&'static str, String)>, u64, Vec<u8>),
    /// No answer; the connection closes.
    Close,
    /// First a pause.
    Late(Duration, Box<Reply>),
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, vec![], vec![])
    }

    /// An error as S3 writes it.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        let xml = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>"
        );
        Self::Answer(status, vec![], xml.into_bytes())
    }

    pub(crate) fn xml(xml: &str) -> Self {
        Self::Answer(200, vec![], xml.as_bytes().to_vec())
    }

    /// An object.
    pub(crate) fn object(body: &str) -> Self {
        Self::Answer(200, etag(), body.as_bytes().to_vec())
    }

    pub(crate) fn after(self, pause_ms: u64) -> Self {
        Self::Late(Duration::from_millis(pause_ms), Box::new(self))
    }

    pub(crate) fn with(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Answer(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Self::Answer(status, headers, body)
            }
            other => other,
        }
    }
}

pub(crate) fn etag() -> Vec<(&'static str, String)> {
    vec![("ETag", "\"e\"".to_owned())]
}

type Handler = dyn Fn(&Request, usize) -> Reply + Send + Sync;

/// The server. Its threads end with the test process.
pub(crate) struct Script {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Script {
    /// Starts it; `handler` gets each request and how many there were before.
    pub(crate) fn start(
        handler: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handler, log): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                thread::spawn(move || serve(&stream.unwrap(), &*handler, &log));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, method: &str, text: &str) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.is(method, text))
            .count()
    }

    /// Waits until a request like this was seen.
    pub(crate) fn wait_for(&self, method: &str, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.count(method, text) == 0 {
            assert!(
                Instant::now() < deadline,
                "no {method} {text}: {:?}",
                self.seen()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn serve(stream: &TcpStream, handler: &Handler, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let before = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        if !answer(stream, &request, handler(&request, before)) {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = body.into();
    Some(Request {
        method,
        target,
        headers,
        body,
    })
}

/// Sends a reply; false where the connection ends with it.
fn answer(mut stream: &TcpStream, request: &Request, reply: Reply) -> bool {
    let mut head = |status: u16, headers: &[(&str, String)], length: u64| {
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).is_ok()
    };
    match reply {
        Reply::Answer(status, headers, body) => {
            let length = headers.iter().find(|(name, _)| *name == "Length");
            let length = length.map_or(body.len() as u64, |(_, length)| length.parse().unwrap());
            let sent = head(status, &headers, length);
            sent && (request.method == "HEAD" || stream.write_all(&body).is_ok())
        }
        Reply::CutOff(headers, announced, body) => {
            head(200, &headers, announced);
            stream.write_all(&body).unwrap();
            false
        }
        Reply::Stall(headers, announced, body) => {
            head(200, &headers, announced);
            stream.write_all(&body).unwrap();
            thread::sleep(Duration::from_secs(20));
            false
        }
        Reply::Close => false,
        Reply::Late(pause, reply) => {
            thread::sleep(pause);
            answer(stream, request, *reply)
        }
    }
}
