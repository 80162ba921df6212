//! A server, a client without retries, and raw requests.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Config, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use s3_server::{Conditional, Options, Server};

pub(crate) const BUCKET: &str = "test";

pub(crate) fn start() -> Server {
    start_with(Options::default())
}

pub(crate) fn start_with(options: Options) -> Server {
    Server::start(options).unwrap()
}

pub(crate) fn conditional(conditional: Conditional) -> Server {
    start_with(Options {
        conditional,
        ..Options::default()
    })
}

pub(crate) fn settings(server: &Server) -> aws_sdk_s3::config::Builder {
    let keys = Credentials::new(server.access_key(), server.secret_key(), None, None, "test");
    Config::builder()
        .behavior_version_latest()
        .region(Region::new("us-east-1"))
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .credentials_provider(keys)
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
}

pub(crate) fn client(server: &Server) -> Client {
    Client::from_conf(settings(server).build())
}

/// A client that sends bodies plainly, with a signed SHA-256 and no trailers.
pub(crate) fn plain_client(server: &Server) -> Client {
    let when = RequestChecksumCalculation::WhenRequired;
    Client::from_conf(settings(server).request_checksum_calculation(when).build())
}

pub(crate) fn put(client: &Client, key: &str, body: &[u8]) -> PutObjectFluentBuilder {
    client
        .put_object()
        .bucket(BUCKET)
        .key(key)
        .body(ByteStream::from(body.to_vec()))
}

pub(crate) async fn get(client: &Client, key: &str) -> Vec<u8> {
    let reply = client
        .get_object()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .unwrap();
    reply.body.collect().await.unwrap().to_vec()
}

pub(crate) async fn list(client: &Client, prefix: &str) -> Vec<String> {
    let page = client
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix(prefix)
        .send()
        .await
        .unwrap();
    page.contents()
        .iter()
        .map(|object| object.key().unwrap().to_owned())
        .collect()
}

/// Status and code of an error reply; status 0 for none.
pub(crate) fn refusal<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> (u16, String)
where
    E: ProvideErrorMetadata,
{
    let Err(error) = result else {
        panic!("the request was not refused")
    };
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    (status, error.code().unwrap_or("").to_owned())
}

pub(crate) async fn presigned_get(client: &Client, key: &str) -> String {
    let expires = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let request = client
        .get_object()
        .bucket(BUCKET)
        .key(key)
        .presigned(expires)
        .await
        .unwrap();
    let (_, rest) = request.uri().split_once("://").unwrap();
    let (_, path) = rest.split_once('/').unwrap();
    format!("/{path}")
}

pub(crate) fn send_raw(server: &Server, method: &str, path: &str, body: &str) -> TcpStream {
    let (host, length) = (server.addr(), body.len());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n");
    send_bytes(server, format!("{head}\r\n{body}").as_bytes())
}

pub(crate) fn send_bytes(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let patience = Duration::from_secs(20);
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// All that comes until the connection ends, and how it ends.
pub(crate) fn read_raw(mut stream: TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut seen = Vec::new();
    let end = stream.read_to_end(&mut seen);
    (seen, end.map(|_| ()))
}

/// One reply with a `Content-Length`, as head and body.
pub(crate) fn read_reply(stream: &mut TcpStream) -> (String, String) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        seen.extend_from_slice(&byte);
    }
    let head = String::from_utf8(seen).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}
