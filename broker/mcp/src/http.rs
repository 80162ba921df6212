//! The server over streamable HTTP, at `/mcp`.
//!
//! There are no sessions: every request stands for itself, so nothing is kept of an agent between two of them. Against
//! pages of other sites that a browser beside the server may show: a `Host` that is not one of ours is refused (DNS
//! rebinding), and so is any `Origin`. Beyond loopback a token is needed. What a client can hold is bounded: the number
//! of connections, the time to send a header and a request, the size of both, the life of a connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::McpError;
use crate::server::Server;
use crate::token::Token;

/// Where the tools are.
const PATH: &str = "/mcp";
/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// Longest wait for the header of a request, a kept-alive connection's next one included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the body of a request, beyond that of the call.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest life of a connection; an agent opens another.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(3_600);
/// Bytes that the header of a request may take.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Header fields that a request may have.
const HEADER_FIELDS_MAX: usize = 64;
/// Bytes of a request at most.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Pause after an accept that failed, as it does when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a shutdown waits for answers that are being written.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

type Body = BoxBody<Bytes, Infallible>;
type Service = StreamableHttpService<Server, NeverSessionManager>;

/// Where the server listens, and whom it lets in.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The address; port 0 for any.
    pub listen: SocketAddr,
    /// What a client must know; needed beyond loopback.
    pub token: Option<Token>,
    /// Names by which the server is reached, beside loopback and the address: what `Host` may say.
    pub hosts: Vec<String>,
}

impl HttpSettings {
    /// # Errors
    /// Whoever reaches the address would be let in, or nobody.
    fn check(&self) -> Result<(), McpError> {
        let ip = self.listen.ip();
        let refuse = |text: String| Err(McpError::Unsafe(text));
        if !ip.is_loopback() && self.token.is_none() {
            return refuse(format!(
                "--listen {}: beyond loopback, whoever reaches the address could use the tools; give --token-file",
                self.listen
            ));
        }
        if ip.is_unspecified() && self.hosts.is_empty() {
            return refuse(format!(
                "--listen {}: give --allow-host NAME for each name or address by which agents reach this server",
                self.listen
            ));
        }
        Ok(())
    }

    /// What `Host` may say, in the form of URLs.
    fn allowed_hosts(&self) -> Vec<String> {
        let loopback = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let own = self.listen.ip();
        let own = (!own.is_unspecified()).then(|| own.to_string());
        let all = loopback.into_iter().chain(own);
        all.chain(self.hosts.iter().cloned()).collect()
    }
}

/// Serves until told to stop; then lets answers in flight go out for a short time.
pub(crate) async fn serve(
    server: Server,
    settings: HttpSettings,
    told_to_stop: impl Future<Output = ()>,
) -> Result<(), McpError> {
    settings.check()?;
    let addr = settings.listen;
    let failed = |cause| McpError::Bind { addr, cause };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!("MCP server listening on http://{bound}{PATH}");
    let (stop, stopped) = watch::channel(false);
    let front = Front::new(server, &settings, stopped);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::pin!(told_to_stop);
    loop {
        let next = tokio::select! {
            biased;
            () = told_to_stop.as_mut() => break,
            next = next_connection(&listener, &permits) => next,
        };
        match next {
            Ok((stream, permit)) => drop(tokio::spawn(front.clone().serve(stream, permit))),
            Err(cause) => {
                tracing::warn!(%cause, "the MCP listener could not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Connections that have all ended hear it no more.
    let _ = stop.send(true);
    let all = permits.acquire_many(CONNECTIONS_MAX as u32);
    if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_err() {
        tracing::debug!("MCP connections were cut at shutdown");
    }
    Ok(())
}

/// Waits for room, then for a connection.
async fn next_connection(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned();
    let permit = permit.await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// What a connection needs of the listener.
#[derive(Clone)]
struct Front {
    service: Service,
    token: Option<Token>,
    request_timeout: Duration,
    stopped: watch::Receiver<bool>,
}

impl Front {
    fn new(server: Server, settings: &HttpSettings, stopped: watch::Receiver<bool>) -> Self {
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_allowed_hosts(settings.allowed_hosts())
            .enforce_origin_validation()
            .with_max_request_body_bytes(REQUEST_BYTES_MAX);
        let request_timeout = server.desk().call_timeout() + BODY_TIMEOUT;
        let make = move || Ok(server.clone());
        Self {
            service: StreamableHttpService::new(make, Arc::default(), config),
            token: settings.token.clone(),
            request_timeout,
            stopped,
        }
    }

    async fn serve(self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Answers are small, and whole when they are written.
        let _ = stream.set_nodelay(true);
        let mut stopped = self.stopped.clone();
        let front = Arc::new(self);
        let service = service_fn(move |request| {
            let front = Arc::clone(&front);
            async move { Ok::<_, Infallible>(front.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(HEADER_FIELDS_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let life = tokio::time::sleep(CONNECTION_LIFE_MAX);
        tokio::pin!(life);
        let mut ending = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(cause) = ended {
                        tracing::debug!(%cause, "an MCP connection ended early");
                    }
                    break;
                }
                // An error means that the sender has gone, which is a shutdown too.
                _ = stopped.wait_for(|stop| *stop), if !ending => (),
                () = life.as_mut() => {
                    if ending {
                        break;
                    }
                }
            }
            ending = true;
            connection.as_mut().graceful_shutdown();
            life.as_mut()
                .reset(tokio::time::Instant::now() + DRAIN_TIMEOUT);
        }
        drop(permit);
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body + Send + 'static,
        B::Error: std::fmt::Display,
    {
        if let Some(token) = &self.token {
            let given = request.headers().get(AUTHORIZATION);
            if !given.is_some_and(|given| token.is_in(given.as_bytes())) {
                let text =
                    "this server needs its token: send it as `Authorization: Bearer TOKEN`\n";
                let mut refused = page(StatusCode::UNAUTHORIZED, text);
                let scheme = HeaderValue::from_static("Bearer");
                refused.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                return refused;
            }
        }
        if request.uri().path() != PATH {
            return page(StatusCode::NOT_FOUND, "the MCP server is at /mcp\n");
        }
        let answered = self.service.handle(request);
        match tokio::time::timeout(self.request_timeout, answered).await {
            Ok(response) => response,
            Err(_) => page(StatusCode::REQUEST_TIMEOUT, "the request took too long\n"),
        }
    }
}

fn page(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
