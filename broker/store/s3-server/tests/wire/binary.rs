//! The binary and its control listener, driven as a script would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

struct Running {
    child: Child,
    s3: String,
    control: String,
}

impl Running {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kafscale-s3-server"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--control",
                "127.0.0.1:0",
                "--bucket",
                "b",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |name: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(name).unwrap().to_owned()
        };
        let (s3, control) = (address("s3 "), address("control "));
        Self { child, s3, control }
    }

    fn control(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = call(&self.control, method, path, body);
        (status, serde_json::from_str(&body).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn call(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let length = body.len();
    stream
        .write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes())
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

#[test]
fn rules_come_and_go_through_the_control_listener() {
    let server = Running::start();
    let rule = json!({
        "operations": ["GetObject"], "key_prefix": "wal/", "count": 1,
        "fault": {"kind": "error", "code": "slow_down"},
    });
    let (status, added) = server.control("POST", "/faults", &rule.to_string());
    assert_eq!((status, &added), (200, &json!({"id": 1})));
    assert_eq!(call(&server.s3, "GET", "/b/wal/1", "").0, 503);
    assert_eq!(call(&server.s3, "GET", "/b/wal/1", "").0, 403);
    let (_, listed) = server.control("GET", "/faults", "");
    assert_eq!(
        (&listed[0]["fired"], &listed[0]["rule"]["count"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(server.control("DELETE", "/faults/1", "").0, 200);
    assert_eq!(server.control("DELETE", "/faults/1", "").0, 404);
    let (status, refused) = server.control("POST", "/faults", r#"{"fault":{"kind":"nonsense"}}"#);
    assert_eq!(status, 400);
    assert!(
        refused["error"].as_str().unwrap().contains("nonsense"),
        "{refused}"
    );
    assert_eq!(
        server
            .control("POST", "/faults", r#"{"fault":{"kind":"reset"},"x":1}"#)
            .0,
        400
    );
    let query = "/requests?operation=GetObject&prefix=wal/&last_ms=60000&entries=1";
    let (_, seen) = server.control("GET", query, "");
    assert_eq!(seen["matching"], 2);
    assert_eq!(seen["outcomes"], json!({"503": 1, "403": 1}));
    assert_eq!(seen["entries"][0]["key"], "wal/1");
    assert_eq!(seen["counts"], json!({"GetObject": 2}));
    server.control("DELETE", "/requests", "");
    assert_eq!(server.control("GET", "/requests", "").1["matching"], 0);
    assert_eq!(server.control("GET", "/nowhere", "").0, 404);
    assert_eq!(server.control("GET", "/requests?last_ms=soon", "").0, 400);
}

#[test]
fn gates_objects_and_lifecycle_are_reached_through_the_control_listener() {
    let server = Running::start();
    server.control("POST", "/faults", r#"{"fault":{"kind":"hold","gate":"g"}}"#);
    let s3 = server.s3.clone();
    let held = std::thread::spawn(move || call(&s3, "GET", "/b/k", ""));
    let mut looks = 0;
    while server.control("GET", "/gates", "").1 != json!({"g": 1}) {
        looks += 1;
        assert!(looks < 1000);
        std::thread::sleep(Duration::from_millis(5));
    }
    let (_, released) = server.control("POST", "/gates/g/release", "");
    assert_eq!(released, json!({"released": 1}));
    assert_eq!(held.join().unwrap().0, 403);
    assert_eq!(server.control("GET", "/objects?prefix=a", "").1, json!([]));
    let none = json!({"objects": [], "uploads": []});
    assert_eq!(server.control("POST", "/expire?days=3", "").1, none);
    assert_eq!(
        server
            .control("POST", "/objects/corrupt?key=k&offset=1", "")
            .0,
        404
    );
    assert_eq!(server.control("DELETE", "/faults", "").0, 200);
}
