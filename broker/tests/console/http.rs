//! Requests to the admin listener, as a browser or a script sends them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::common::{LocalBroker, REPLY_TIMEOUT};

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// What a view shows.
    pub(crate) fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["data"].clone()
    }

    /// The token that was set.
    pub(crate) fn cookie(&self) -> String {
        let set = self.header("set-cookie").expect("a cookie");
        set.split(';').next().unwrap().to_owned()
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Ask {
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn new(method: &'static str, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: vec![("host".to_owned(), "localhost".to_owned())],
            body: String::new(),
        }
    }

    pub(crate) fn post(path: &str, body: &Value) -> Self {
        let this = Self::new("POST", path).header("content-type", "application/json");
        Self {
            body: body.to_string(),
            ..this
        }
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    /// Sets a header; the last one of a name counts.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As the browser of somebody who is logged in.
    pub(crate) fn cookie(self, cookie: &str) -> Self {
        self.header("cookie", cookie)
            .header("origin", "http://localhost")
            .header("sec-fetch-site", "same-origin")
    }

    /// As a script.
    pub(crate) fn basic(self, user: &str, password: &str) -> Self {
        let text = base64_simd::STANDARD.encode_to_string(format!("{user}:{password}"));
        self.header("authorization", &format!("Basic {text}"))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nconnection: close\r\n",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }

    pub(crate) fn of(&self, broker: &LocalBroker) -> Answer {
        self.at(broker.admin())
    }

    pub(crate) fn at(&self, admin: SocketAddr) -> Answer {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
        // What is refused early is answered before all of it is read.
        let _ = stream.write_all(&self.bytes());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        parse(&bytes)
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    }
}

/// Asks a view and gives what it shows.
pub(crate) fn view(broker: &LocalBroker, path: &str) -> Value {
    Ask::get(&format!("/api/v1/{path}")).of(broker).data()
}
