//! Model Context Protocol server over a Kafka cluster: tools for agents that reason over the log.
//!
//! [`serve`] offers the tools over standard input and output, or over streamable HTTP. It is a client of the cluster like
//! any other, so what its user may do is what the rules of the cluster say. Without [`McpSettings::allow_writes`] there
//! is no tool that changes anything.
//!
//! Invariants: every argument has bounds, which its schema tells; every answer has bounds, and tells what was left out;
//! everything waits at most for a stated time; calls, connections and requests are bounded in number and size. The
//! protocol itself is `rmcp`'s.

#![forbid(unsafe_code)]

mod admin;
mod bounds;
mod desk;
mod http;
mod server;
mod stdio;
mod token;
mod tool;
mod tools;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use client::ClientSettings;
use tokio::signal::unix::{SignalKind, signal};

pub use admin::AdminPages;
pub use http::HttpSettings;
pub use token::{Token, TokenError};

use desk::{CALLS_MAX, Desk};
use server::Server;

/// How long the end waits for what blocks.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// What is offered, and of which cluster.
#[derive(Debug)]
pub struct McpSettings {
    /// How to connect to the cluster.
    pub client: ClientSettings,
    /// The admin listeners of its brokers.
    pub admin: AdminPages,
    /// Whether tools that change the cluster are offered.
    pub allow_writes: bool,
}

/// How agents reach the server.
#[derive(Debug)]
pub enum Transport {
    /// Over standard input and output: one agent, which starts the server and ends it.
    Stdio,
    /// Over streamable HTTP.
    Http(HttpSettings),
}

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {cause}; give another address with --listen")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// Settings that would let anybody in.
    #[error("{0}")]
    Unsafe(String),
    /// The system gives no threads, or no signals.
    #[error("cannot start: {0}")]
    System(io::Error),
    /// The agent does not speak the protocol.
    #[error("the conversation over standard input and output failed: {0}")]
    Stdio(String),
}

/// Offers the tools until the agent has gone (standard input and output) or SIGINT or SIGTERM has come.
///
/// # Errors
/// [`McpError`].
pub fn serve(settings: McpSettings, transport: Transport) -> Result<(), McpError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Calls, and the threads on which standard input and output block.
        .max_blocking_threads(CALLS_MAX + 4)
        .thread_name("mcp")
        .build()
        .map_err(McpError::System)?;
    let tools = tools::toolbox(&settings.admin, settings.allow_writes);
    let server = Server::new(Desk::new(settings.client, settings.admin), tools);
    let served = runtime.block_on(async {
        let told = told_to_stop().map_err(McpError::System)?;
        match transport {
            Transport::Stdio => stdio::serve(server, told).await,
            Transport::Http(http) => http::serve(server, http, told).await,
        }
    });
    // A call that still waits for a broker is left alone.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    served
}

/// Listens to the signals now; the future ends with the first.
fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    })
}
