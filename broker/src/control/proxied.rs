//! Connections that a proxy has opened for a client: its PROXY header is read before the connection is admitted, so that
//! quotas, limits, rules and logs are about the client.
//!
//! Control thread. Invariant: no byte behind the header is read; the shard gets the connection as if the client had
//! opened it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use security::proxy::{Header, ProxyError, parse};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Connections of proxies that have not said for whom they come, at most; more are closed at once.
pub(super) const NAMELESS_MAX: usize = 1_024;
/// How long a proxy may take to send its header.
const HEADER_WITHIN: Duration = Duration::from_secs(10);

/// Why a connection of a proxy is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Nameless {
    /// It has sent something else.
    #[error(transparent)]
    Header(#[from] ProxyError),
    /// It went away, or failed.
    #[error("read a PROXY header: {0}")]
    Io(#[from] io::Error),
    /// It has sent nothing, or too little.
    #[error("no PROXY header within 10 s")]
    Late,
    /// Too many others have not sent theirs.
    #[error("{NAMELESS_MAX} other connections have sent no PROXY header yet")]
    Crowded,
}

/// Reads the header of a proxy's connection: gives the connection, and the address of its client.
pub(super) async fn receive(
    mut stream: TcpStream,
    proxy: SocketAddr,
) -> Result<(TcpStream, SocketAddr), (SocketAddr, Nameless)> {
    let read = tokio::time::timeout(HEADER_WITHIN, read(&mut stream));
    match read.await {
        Ok(Ok(client)) => Ok((stream, client.unwrap_or(proxy))),
        Ok(Err(why)) => Err((proxy, why)),
        Err(_late) => Err((proxy, Nameless::Late)),
    }
}

async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Nameless> {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes)? {
            Header::Done(client) => return Ok(client),
            Header::Needs(more) => {
                let start = bytes.len();
                bytes.resize(start + more, 0);
                stream.read_exact(&mut bytes[start..]).await?;
            }
        }
    }
}
