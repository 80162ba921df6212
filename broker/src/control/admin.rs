//! The admin listener: metrics, health, readiness and the console over HTTP/1.1, through TLS where the settings say so.
//!
//! *Control thread.* It knows nothing of the broker: what it shows comes through [`Pages`]. Of its own pages it
//! takes `GET` and `HEAD` only and reads no body; what else is asked for goes to [`Pages::more`]. It bounds what a client can hold: the number of
//! connections, the time to shake hands and to send a header, the size of the header, the life of a connection.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::metrics::Exposition;
use crate::security::tls::Tls;

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// Longest wait for the handshake of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the header of a request, a kept-alive connection's next one included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest life of a connection; a scraper opens another.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(600);
/// Bytes that the header of a request may take; hyper asks for at least 8 KiB.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Header fields that a request may have.
const HEADER_FIELDS_MAX: usize = 64;
/// Pause after an accept that failed, as it does when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a shutdown waits for replies that are being written.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

const TEXT: &str = "text/plain; charset=utf-8";
const INDEX: &str = "KafScale broker\n\n\
                     /console/ the console, for people\n\
                     /metrics  metrics in the Prometheus text format or OpenMetrics\n\
                     /livez    200 while the process lives\n\
                     /healthz  200 while the process serves, with its state\n\
                     /readyz   200 if it takes requests, else 503 with the reasons\n";

/// A request for what the listener does not know itself.
pub struct Asked {
    /// The request; its body has not been read.
    pub request: Request<Incoming>,
    /// From where it comes.
    pub from: IpAddr,
    /// Whether it comes through TLS.
    pub is_tls: bool,
}

/// What comes of it.
pub type Answering = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// What the admin listener shows.
pub trait Pages: Send + Sync + 'static {
    /// All metrics.
    fn metrics(&self, exposition: Exposition) -> String;
    /// The state of the broker, for a reader; shown while the process serves at all.
    fn health(&self) -> String;
    /// A line for a reader if the broker takes requests, else the reasons why not.
    fn ready(&self) -> Result<String, String>;
    /// Whether there is more than these, at that path.
    fn has_more(&self, _path: &str) -> bool {
        false
    }
    /// What is there.
    fn more(&self, _asked: Asked) -> Answering {
        let nothing = page(StatusCode::NOT_FOUND, TEXT, "no such page\n".to_owned());
        Box::pin(std::future::ready(nothing))
    }
}

/// Pages out of three closures.
pub struct Closures<M, H, R> {
    /// See [`Pages::metrics`].
    pub metrics: M,
    /// See [`Pages::health`].
    pub health: H,
    /// See [`Pages::ready`].
    pub ready: R,
}

impl<M, H, R> Pages for Closures<M, H, R>
where
    M: Fn(Exposition) -> String + Send + Sync + 'static,
    H: Fn() -> String + Send + Sync + 'static,
    R: Fn() -> Result<String, String> + Send + Sync + 'static,
{
    fn metrics(&self, exposition: Exposition) -> String {
        (self.metrics)(exposition)
    }
    fn health(&self) -> String {
        (self.health)()
    }
    fn ready(&self) -> Result<String, String> {
        (self.ready)()
    }
}

/// Why the admin listener does not listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {addr} for metrics and health (admin.metrics_addr, KAFSCALE_METRICS_ADDR): \
     {cause}"
)]
pub struct BindError {
    /// The address that was asked for.
    pub addr: SocketAddr,
    /// What the kernel said.
    pub cause: io::Error,
}

/// The admin listener, bound and not yet serving.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    addr: SocketAddr,
    header_timeout: Duration,
    tls: Option<Arc<Tls>>,
}

impl Admin {
    /// Binds the listener, so that a start fails before anything else does.
    pub async fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let failed = |cause| BindError { addr, cause };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            addr,
            header_timeout: HEADER_TIMEOUT,
            tls: None,
        })
    }

    /// Serves through TLS.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// The address that the listener is bound to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown` turns true or its sender is gone; then takes no connection, lets
    /// replies in flight go out for a short time, and returns.
    pub async fn serve(self, pages: Arc<dyn Pages>, mut shutdown: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let stream = tokio::select! {
                biased;
                () = told_to_stop(&mut shutdown) => break,
                next = next_connection(&self.listener, &permits) => next,
            };
            match stream {
                Ok((stream, from, permit)) => {
                    let server = Server {
                        pages: Arc::clone(&pages),
                        from,
                        is_tls: self.tls.is_some(),
                        timeout: self.header_timeout,
                        permit,
                        shutdown: shutdown.clone(),
                    };
                    match &self.tls {
                        None => tokio::spawn(server.serve(stream)),
                        Some(tls) => tokio::spawn(server.serve_tls(stream, tls.current())),
                    };
                }
                Err(cause) => {
                    tracing::warn!(%cause, "admin listener could not accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        // Every connection gives its permit back when it ends.
        let all = permits.acquire_many(CONNECTIONS_MAX as u32);
        if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_err() {
            tracing::debug!("admin connections were cut at shutdown");
        }
    }
}

async fn told_to_stop(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a shutdown too.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Waits for room, then for a connection.
async fn next_connection(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, from) = listener.accept().await?;
    Ok((stream, from.ip().to_canonical(), permit))
}

/// What one connection needs of the listener.
struct Server {
    pages: Arc<dyn Pages>,
    from: IpAddr,
    is_tls: bool,
    timeout: Duration,
    /// Held until the connection ends, its handshake included.
    permit: OwnedSemaphorePermit,
    shutdown: watch::Receiver<bool>,
}

impl Server {
    async fn serve_tls(mut self, stream: TcpStream, tls: Arc<ServerConfig>) {
        let shaken = TlsAcceptor::from(tls).accept(stream);
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken) => shaken,
            () = told_to_stop(&mut self.shutdown) => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(cause)) => {
                tracing::debug!(%cause, "an admin client has failed its TLS handshake")
            }
            Err(_) => tracing::debug!("an admin client has not ended its TLS handshake in time"),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let (pages, permit, mut shutdown) = (self.pages, self.permit, self.shutdown);
        let (from, is_tls) = (self.from, self.is_tls);
        let service = service_fn(move |request: Request<Incoming>| {
            let reply = match pages.has_more(request.uri().path()) {
                false => Err(reply(&request, pages.as_ref())),
                true => Ok(pages.more(Asked {
                    request,
                    from,
                    is_tls,
                })),
            };
            async move {
                Ok::<_, Infallible>(match reply {
                    Ok(answering) => answering.await,
                    Err(reply) => reply,
                })
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeout)
            .max_headers(HEADER_FIELDS_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let life = tokio::time::sleep(CONNECTION_LIFE_MAX);
        tokio::pin!(life);
        let mut stopping = false;
        loop {
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = told_to_stop(&mut shutdown), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                    life.as_mut().reset(tokio::time::Instant::now() + DRAIN_TIMEOUT);
                    continue;
                }
                () = life.as_mut() => break,
            };
            if let Err(cause) = ended {
                tracing::debug!(%cause, "admin connection ended early");
            }
            break;
        }
        drop(permit);
    }
}

fn reply(request: &Request<Incoming>, pages: &dyn Pages) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n".to_owned());
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/" => {
            let mut index = page(StatusCode::FOUND, TEXT, INDEX.to_owned());
            let console = HeaderValue::from_static("/console/");
            index.headers_mut().insert(LOCATION, console);
            index
        }
        "/livez" => page(StatusCode::OK, TEXT, line("ok".to_owned())),
        "/metrics" => {
            let accept = request
                .headers()
                .get(ACCEPT)
                .and_then(|value| value.to_str().ok());
            let exposition = Exposition::accepted(accept);
            let text = pages.metrics(exposition);
            page(StatusCode::OK, exposition.content_type(), text)
        }
        "/healthz" => page(StatusCode::OK, TEXT, line(pages.health())),
        "/readyz" => match pages.ready() {
            Ok(text) => page(StatusCode::OK, TEXT, line(text)),
            Err(reasons) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, line(reasons)),
        },
        _ => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "no such page; see /\n".to_owned(),
        ),
    }
}

fn line(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Running {
        addr: SocketAddr,
        stop: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
    }

    async fn start(ready: Result<String, String>) -> Running {
        start_with(ready, HEADER_TIMEOUT).await
    }

    async fn start_with(ready: Result<String, String>, header_timeout: Duration) -> Running {
        let pages = Closures {
            metrics: |_| "kafscale_test 1\n".to_owned(),
            health: || "degraded".to_owned(),
            ready: move || ready.clone(),
        };
        let mut admin = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        admin.header_timeout = header_timeout;
        let (stop, shutdown) = watch::channel(false);
        let addr = admin.addr();
        let task = tokio::spawn(admin.serve(Arc::new(pages), shutdown));
        Running { addr, stop, task }
    }

    async fn ask(addr: SocketAddr, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn every_page_answers_with_its_status() {
        let server = start(Err("the store is unavailable".to_owned())).await;
        for (method, path, status, part) in [
            ("GET", "/", "302", "location: /console/"),
            ("GET", "/", "302", "/metrics"),
            ("GET", "/livez", "200", "ok\n"),
            ("GET", "/metrics", "200", "kafscale_test 1\n"),
            ("GET", "/metrics", "200", "version=0.0.4"),
            ("GET", "/healthz", "200", "degraded\n"),
            (
                "GET",
                "/readyz?verbose",
                "503",
                "the store is unavailable\n",
            ),
            ("GET", "/nothing", "404", "no such page"),
            ("POST", "/metrics", "405", "GET, HEAD"),
            ("HEAD", "/metrics", "200", "content-length: 16"),
        ] {
            let text = ask(server.addr, method, path).await;
            assert!(
                text.starts_with(&format!("HTTP/1.1 {status} ")),
                "{path}: {text}"
            );
            assert!(text.contains(part), "{path}: {text}");
        }
        let server = start(Ok("ready".to_owned())).await;
        assert!(
            ask(server.addr, "GET", "/readyz")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_with_its_setting() {
        let server = start(Ok(String::new())).await;
        let error = Admin::bind(server.addr).await.unwrap_err().to_string();
        assert!(error.contains(&server.addr.to_string()), "{error}");
        assert!(error.contains("KAFSCALE_METRICS_ADDR"), "{error}");
    }

    #[tokio::test]
    async fn connections_above_the_bound_wait_until_one_ends() {
        let server = start(Ok(String::new())).await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            held.push(TcpStream::connect(server.addr).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let blocked = ask(server.addr, "GET", "/");
        tokio::pin!(blocked);
        let early = tokio::time::timeout(Duration::from_millis(200), blocked.as_mut()).await;
        assert!(early.is_err(), "served above the bound");
        held.pop();
        let text = tokio::time::timeout(Duration::from_secs(5), blocked)
            .await
            .unwrap();
        assert!(text.starts_with("HTTP/1.1 302 "), "{text}");
    }

    #[tokio::test]
    async fn a_header_that_does_not_end_is_cut() {
        let server = start_with(Ok(String::new()), Duration::from_millis(100)).await;
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(!text.contains("200"), "{text}");
    }

    #[tokio::test]
    async fn a_header_that_is_too_large_is_refused() {
        let server = start(Ok(String::new())).await;
        let path = format!("/{}", "a".repeat(2 * HEADER_BYTES_MAX));
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // The reply may be cut by a reset, as unread bytes remain.
        let _ = stream.read_to_end(&mut bytes).await;
        assert!(!bytes.starts_with(b"HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_shutdown_ends_idle_connections_and_stops_listening() {
        let server = start(Ok(String::new())).await;
        let _idle = TcpStream::connect(server.addr).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.stop.send(true).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), server.task).await;
        assert!(ended.is_ok_and(|joined| joined.is_ok()));
        assert!(TcpStream::connect(server.addr).await.is_err());
    }
}
