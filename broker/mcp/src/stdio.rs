//! The server over standard input and output: a message a line. Standard output carries nothing else.

use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::stdio_pipes;

use crate::McpError;
use crate::server::Server;

/// Bytes of a message at most.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Serves until the agent closes standard input, or until told to stop.
pub(crate) async fn serve(
    server: Server,
    told_to_stop: impl Future<Output = ()>,
) -> Result<(), McpError> {
    let (input, output) = stdio_pipes();
    let transport = AsyncRwTransport::new(input, output).with_max_line_length(MESSAGE_BYTES_MAX);
    let conversation = async {
        let running = match server.serve(transport).await {
            Ok(running) => running,
            // The agent has gone before it said anything.
            Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(McpError::Stdio(error.to_string())),
        };
        let ended = running.waiting().await;
        ended
            .map(drop)
            .map_err(|error| McpError::Stdio(error.to_string()))
    };
    tokio::select! {
        ended = conversation => ended,
        () = told_to_stop => Ok(()),
    }
}
