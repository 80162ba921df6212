//! Command line of the test S3 server: serves until it is interrupted.

use std::error::Error;
use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use s3_server::{Conditional, Options, Server};

/// A test S3 server: objects in memory, atomic conditional writes, faults on command.
#[derive(Debug, Parser)]
#[command(name = "kafscale-s3-server", version)]
struct Arguments {
    /// Address of the S3 listener.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Address of the control listener; none when not given.
    #[arg(long)]
    control: Option<SocketAddr>,
    /// A bucket that exists from the start; can be given more than once.
    #[arg(long = "bucket", default_value = "test")]
    buckets: Vec<String>,
    /// The access key that is known.
    #[arg(long, default_value = "test-access")]
    access_key: String,
    /// The secret key that belongs to it.
    #[arg(long, default_value = "test-secret")]
    secret_key: String,
    /// How If-None-Match and If-Match of writes are treated.
    #[arg(long, value_enum, default_value = "atomic")]
    conditional: Kind,
    /// Bytes that all objects and parts may have together.
    #[arg(long, default_value_t = Options::default().memory_bytes)]
    memory_bytes: u64,
    /// Bytes that each part but the last of a multipart upload must have.
    #[arg(long, default_value_t = Options::default().min_part_bytes)]
    min_part_bytes: u64,
    /// Seed of the random numbers of the fault rules.
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// One winner of any number of writers.
    Atomic,
    /// Conditions are silently ignored.
    Ignored,
    /// A gap between the check and the write.
    Racy,
    /// Conditions are answered with 501.
    Refused,
    /// If-None-Match is kept, If-Match always answered with 412.
    CreateOnly,
}

#[allow(clippy::print_stdout, reason = "scripts read the addresses")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let server = Server::start(Options {
        listen: arguments.listen,
        control: arguments.control,
        buckets: arguments.buckets,
        access_key: arguments.access_key,
        secret_key: arguments.secret_key,
        conditional: match arguments.conditional {
            Kind::Atomic => Conditional::Atomic,
            Kind::Ignored => Conditional::Ignored,
            Kind::Racy => Conditional::Racy,
            Kind::Refused => Conditional::Refused,
            Kind::CreateOnly => Conditional::CreateOnly,
        },
        memory_bytes: arguments.memory_bytes,
        min_part_bytes: arguments.min_part_bytes,
        seed: arguments.seed,
        ..Options::default()
    })?;
    println!("s3 {}", server.addr());
    if let Some(control) = server.control_addr() {
        println!("control {control}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(until_told())?;
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
async fn until_told() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}
