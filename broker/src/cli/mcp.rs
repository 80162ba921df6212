//! `kafscale mcp`: tools over a cluster for agents, by the Model Context Protocol.

use std::net::SocketAddr;
use std::path::PathBuf;

use ::mcp::{AdminPages, HttpSettings, McpSettings, Token, Transport};
use clap::Args;

use super::connect::ConnectArgs;
use super::error::CliError;
use crate::config::{LogFormat, LogLevel};
use crate::logging;

const AFTER_HELP: &str = "\
Examples:
  kafscale mcp                                       over standard input and output, as agents start it
  kafscale mcp -b broker:9092 --admin http://broker:9093
  kafscale mcp --user agent --password-file agent.password --tls
  kafscale mcp --listen 127.0.0.1:8765               over streamable HTTP, at http://127.0.0.1:8765/mcp
  kafscale mcp --listen 10.0.0.5:8765 --token-file mcp.token
  kafscale mcp --allow-writes                        also tools that change the cluster

It connects as any client does, with the rights of its user. Without --allow-writes there is no tool
that changes anything. docs/mcp.md tells how agents are set up, and what to look out for.";

/// Serve tools for agents (Model Context Protocol): topics, records, groups, health
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct McpArgs {
    /// Serve over HTTP at this address, path /mcp [default: standard input and output]
    #[arg(long, value_name = "IP:PORT", env = "KAFSCALE_MCP_LISTEN")]
    listen: Option<SocketAddr>,
    /// File with the token that clients must send as `Authorization: Bearer`; needed beyond loopback
    #[arg(long, value_name = "FILE", requires = "listen")]
    token_file: Option<PathBuf>,
    /// A name by which the server is reached, beside loopback and the address: what Host may say; may
    /// be repeated
    #[arg(long = "allow-host", value_name = "NAME", requires = "listen")]
    hosts: Vec<String>,
    /// Also offer tools that change the cluster: write a record, create a topic, reset offsets
    #[arg(long)]
    allow_writes: bool,
    /// Admin listener of a broker, for health and metrics, as http://host:9093; may be repeated
    #[arg(
        long,
        value_name = "URL",
        env = "KAFSCALE_MCP_ADMIN",
        value_delimiter = ','
    )]
    admin: Vec<String>,
    /// PEM file with the authorities of the admin listeners' certificates [default: --ca-file]
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_ca_file: Option<PathBuf>,
}

pub(super) fn run(connect: &ConnectArgs, args: &McpArgs) -> Result<(), CliError> {
    if args.listen.is_none() && connect.reads_standard_input() {
        let text = "--password-file - and agents both need standard input: name a file";
        return Err(CliError::Usage(text.to_owned()));
    }
    let authorities = args.admin_ca_file.as_deref().or(connect.ca_file());
    let admin = AdminPages::new(&args.admin, authorities).map_err(CliError::Usage)?;
    let settings = McpSettings {
        client: connect.settings("kafscale-mcp")?,
        admin,
        allow_writes: args.allow_writes,
    };
    let transport = match args.listen {
        None => Transport::Stdio,
        Some(listen) => {
            let token = args.token_file.as_deref().map(Token::read).transpose();
            Transport::Http(HttpSettings {
                listen,
                token: token.map_err(|error| CliError::Usage(error.to_string()))?,
                hosts: args.hosts.clone(),
            })
        }
    };
    // Standard output is the agent's; the log goes to standard error. Where agents start the server, nobody reads it
    // while all is well.
    let level = match transport {
        Transport::Stdio => LogLevel::Warn,
        Transport::Http(_) => LogLevel::Info,
    };
    logging::init(level, LogFormat::Text)?;
    ::mcp::serve(settings, transport)?;
    Ok(())
}
