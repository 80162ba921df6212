//! Tests of who is let in over HTTP.

use client::ClientSettings;
use hyper::header::{ACCEPT, HOST, ORIGIN};
use serde_json::{Value, json};

use super::*;
use crate::admin::AdminPages;
use crate::desk::Desk;

const TOKEN: &str = "0123456789abcdef";

fn settings(listen: &str) -> HttpSettings {
    HttpSettings {
        listen: listen.parse().unwrap(),
        token: None,
        hosts: Vec::new(),
    }
}

fn front(settings: &HttpSettings) -> Front {
    let tools = crate::tools::toolbox(&AdminPages::none(), false);
    let client = ClientSettings::with_bootstrap("127.0.0.1:1");
    let server = Server::new(Desk::new(client, AdminPages::none()), tools);
    let (_, stopped) = watch::channel(false);
    Front::new(server, settings, stopped)
}

/// The code of the answer to a request for the tools, with these header fields.
async fn asked(front: &Front, fields: &[(hyper::header::HeaderName, &str)], body: Value) -> u16 {
    let mut request = Request::post("/mcp")
        .header(ACCEPT, "application/json, text/event-stream")
        .header(CONTENT_TYPE, "application/json");
    for (name, value) in fields {
        request = request.header(name, *value);
    }
    let body = Full::new(Bytes::from(body.to_string()));
    let response = front.answer(request.body(body).unwrap()).await;
    response.status().as_u16()
}

fn list() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} })
}

#[test]
fn beyond_loopback_a_token_and_names_are_needed() {
    let refused = |settings: &HttpSettings| settings.check().unwrap_err().to_string();
    assert!(settings("127.0.0.1:0").check().is_ok() && settings("[::1]:0").check().is_ok());
    assert!(refused(&settings("192.0.2.1:80")).contains("--token-file"));
    let mut open = settings("192.0.2.1:80");
    open.token = Some(Token::of(TOKEN));
    assert!(open.check().is_ok());
    assert!(open.allowed_hosts().contains(&"192.0.2.1".to_owned()));
    open.listen = "0.0.0.0:80".parse().unwrap();
    assert!(refused(&open).contains("--allow-host"));
    open.hosts.push("mcp.example".to_owned());
    assert!(open.check().is_ok());
    assert!(!open.allowed_hosts().contains(&"0.0.0.0".to_owned()));
}

#[tokio::test]
async fn foreign_hosts_and_pages_of_browsers_are_refused() {
    let mut settings = settings("127.0.0.1:0");
    settings.hosts.push("mcp.example".to_owned());
    let front = front(&settings);
    for host in ["127.0.0.1:8000", "localhost", "[::1]:9", "mcp.example:443"] {
        assert_eq!(asked(&front, &[(HOST, host)], list()).await, 200, "{host}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
    ] {
        let code = asked(&front, &[(HOST, host)], list()).await;
        assert!(code == 403 || code == 400, "{host}: {code}");
    }
    for origin in ["https://evil.example", "http://localhost:1", "null"] {
        let fields = [(HOST, "localhost"), (ORIGIN, origin)];
        assert_eq!(asked(&front, &fields, list()).await, 403, "{origin}");
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_told() {
    let mut settings = settings("127.0.0.1:0");
    settings.token = Some(Token::of(TOKEN));
    let front = front(&settings);
    let right = format!("Bearer {TOKEN}");
    let fields = [(HOST, "localhost"), (AUTHORIZATION, right.as_str())];
    assert_eq!(asked(&front, &fields, list()).await, 200);
    assert_eq!(asked(&front, &fields[..1], list()).await, 401);
    let fields = [
        (HOST, "localhost"),
        (AUTHORIZATION, "Bearer 0123456789abcdeX"),
    ];
    assert_eq!(asked(&front, &fields, list()).await, 401);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let front = front(&settings("127.0.0.1:0"));
    let mut body = list();
    body["params"]["cursor"] = "x".repeat(REQUEST_BYTES_MAX).into();
    assert_eq!(asked(&front, &[(HOST, "localhost")], body).await, 413);
}
