//! The physical floor: a server that frames like Kafka and does nothing else.
//!
//! It runs on the broker's own runtime (crate `runtime`: the same ring, driver and vectored writes), with the
//! broker's threads: one a shard, pinned in the same way, and one acceptor that deals sockets to the
//! shard with the fewest. A fetch is answered with bytes that were prepared before, in one vectored write.
//! What a broker takes beyond this server's latency and processor time, with the same client on the same
//! machine, is the broker's own. It speaks just enough of the protocol to serve the runs of this crate.
//!
//! Owned here: the acceptor and the life of the threads. [`answers`] knows the protocol and no socket,
//! [`shard`] the sockets and no protocol. The prepared bytes of a topic are as many as a fetch run loads
//! ([`Options::data_bytes`]), so that the processor's caches help this server no more than a broker.

mod answers;
mod fetch;
#[cfg(feature = "glommio")]
mod glommio;
mod groups;
mod process;
mod shard;

pub use process::{FloorProcess, LISTENING};

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use runtime::Driver;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::machine::allowed_cpus;
use answers::Shared;

/// Name of this server in results.
pub const FLOOR_NAME: &str = "floor";
/// How often the acceptor looks whether it should stop.
const ACCEPT_POLL: Duration = Duration::from_millis(20);
/// Sockets that may wait for a shard to take them over.
const MAILBOX_SOCKETS: usize = 1024;
/// Data of a topic, over all partitions, where nothing else is said: what a fetch run loads.
pub const DATA_BYTES: u64 = 32 << 20;

/// A pause that the server makes once on each connection.
#[derive(Debug, Clone, Copy)]
pub struct Stall {
    /// Produce requests that are answered before it.
    pub after_requests: u64,
    /// Its length.
    pub pause: Duration,
}

/// What the shards run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FloorRuntime {
    /// The broker's.
    #[default]
    Monoio,
    /// For comparison; in builds with the feature of that name.
    Glommio,
}

/// How the server runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that serve.
    pub shards: usize,
    /// Whether shard n is pinned to the n-th allowed CPU, as the broker's are.
    pub pin: bool,
    /// The broker's runtime, or another.
    pub runtime: FloorRuntime,
    /// Kernel interface; none is io_uring where it works, else epoll, as the broker chooses.
    pub driver: Option<Driver>,
    /// Bytes of a topic, over all partitions, that fetches walk through.
    pub data_bytes: u64,
    /// Certificate and key, PEM files: the server then speaks TLS, as the broker does.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// A pause, for tests.
    pub stall: Option<Stall>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 1,
            pin: false,
            runtime: FloorRuntime::Monoio,
            driver: None,
            data_bytes: DATA_BYTES,
            tls: None,
            stall: None,
        }
    }
}

impl Options {
    /// The words of the command line that say the same; a stall has none.
    fn arguments(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--shards".into(), self.shards.to_string().into()];
        if self.pin {
            words.push("--pin".into());
        }
        if self.runtime == FloorRuntime::Glommio {
            words.extend(["--runtime".into(), "glommio".into()]);
        }
        if let Some(driver) = self.driver {
            words.extend(["--driver".into(), driver.name().into()]);
        }
        if let Some((cert, key)) = &self.tls {
            words.extend(["--tls-cert-file".into(), cert.into()]);
            words.extend(["--tls-key-file".into(), key.into()]);
        }
        words
    }
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct FloorServer {
    address: SocketAddr,
    on: &'static str,
    open: Vec<Arc<AtomicUsize>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Where the acceptor sends the sockets of one shard.
struct Mailbox {
    sockets: flume::Sender<TcpStream>,
    /// Sockets that the shard has, or is about to have.
    open: Arc<AtomicUsize>,
}

/// What a shard's thread is started with.
struct ShardStart {
    cpu: Option<usize>,
    sockets: flume::Receiver<TcpStream>,
    open: Arc<AtomicUsize>,
    shared: Shared,
    /// Told whether the shard runs, or why it does not.
    started: flume::Sender<Result<(), String>>,
}

impl FloorServer {
    /// Listens on `address`, which may have port 0, and starts the shards.
    ///
    /// # Errors
    /// The address is taken, the runtime is not in this build, or the kernel refuses it.
    pub fn start(address: &str, options: &Options) -> Result<Self> {
        ensure!(options.shards > 0, "a server has a shard");
        let listener =
            TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (run, on) = program(options)?;
        let stop = Arc::new(AtomicBool::new(false));
        let tls = options.tls.as_ref().map(|(cert, key)| tls(cert, key));
        let shared = Shared::new(address, options, tls.transpose()?);
        let (mut mailboxes, mut threads) = (Vec::new(), Vec::new());
        for number in 0..options.shards {
            let (mailbox, thread) = start_shard(number, options, shared.clone(), run)?;
            mailboxes.push(mailbox);
            threads.push(thread);
        }
        let open = mailboxes.iter().map(|mailbox| mailbox.open.clone());
        let open = open.collect();
        let acceptor = std::thread::Builder::new().name("floor-accept".to_owned());
        let told = stop.clone();
        threads.push(acceptor.spawn(move || accept(&listener, &mailboxes, &told))?);
        Ok(Self {
            address,
            on,
            open,
            stop,
            threads,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it runs on: a runtime and a kernel interface.
    pub fn on(&self) -> &'static str {
        self.on
    }

    /// Connections of each shard.
    pub fn connections(&self) -> Vec<usize> {
        let open = self.open.iter();
        open.map(|open| open.load(Ordering::Relaxed)).collect()
    }

    /// Serves until the process ends.
    pub fn serve(mut self) {
        for thread in self.threads.drain(..) {
            // A panic there has printed its message.
            let _ = thread.join();
        }
    }
}

impl Drop for FloorServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // See `serve`.
            let _ = thread.join();
        }
    }
}

/// TLS with a certificate and its key, and nothing of the client.
fn tls(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let read = |file: &Path| format!("read {}", file.display());
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> = chain.with_context(|| read(cert))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| read(key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// The main function of a shard's thread.
type ShardMain = fn(ShardStart, Driver);

/// What the shards run, with its driver, and the name of both.
fn program(options: &Options) -> Result<((ShardMain, Driver), &'static str)> {
    if options.runtime == FloorRuntime::Glommio {
        ensure!(options.tls.is_none(), "TLS needs the broker's runtime");
        #[cfg(feature = "glommio")]
        return Ok(((glommio::run, Driver::IoUring), "glommio, io_uring"));
        #[cfg(not(feature = "glommio"))]
        anyhow::bail!("this build has no glommio: build with --features glommio");
    }
    let driver = match options.driver {
        Some(driver) => driver,
        None if Driver::probe_io_uring().is_ok() => Driver::IoUring,
        None => Driver::Epoll,
    };
    let on = match driver {
        Driver::IoUring => "monoio, io_uring",
        Driver::Epoll => "monoio, epoll",
    };
    Ok(((shard::run, driver), on))
}

/// Starts one shard and waits until it runs.
fn start_shard(
    number: usize,
    options: &Options,
    shared: Shared,
    (main, driver): (ShardMain, Driver),
) -> Result<(Mailbox, JoinHandle<()>)> {
    let cpus = allowed_cpus();
    let cpu = (options.pin && !cpus.is_empty()).then(|| cpus[number % cpus.len()]);
    let (sender, sockets) = flume::bounded(MAILBOX_SOCKETS);
    let (started, outcome) = flume::bounded(1);
    let open = Arc::new(AtomicUsize::new(0));
    let start = ShardStart {
        cpu,
        sockets,
        open: open.clone(),
        shared,
        started,
    };
    let thread = std::thread::Builder::new().name(format!("floor-{number}"));
    let thread = thread.spawn(move || main(start, driver))?;
    let outcome = outcome.recv().context("a shard ended while it started")?;
    outcome.map_err(|reason| anyhow::anyhow!("start shard {number}: {reason}"))?;
    let mailbox = Mailbox {
        sockets: sender,
        open,
    };
    Ok((mailbox, thread))
}

/// Deals sockets to the shard that has the fewest. The shards end when the mailboxes go.
fn accept(listener: &TcpListener, mailboxes: &[Mailbox], stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let least = |mailbox: &&Mailbox| mailbox.open.load(Ordering::Relaxed);
                let Some(mailbox) = mailboxes.iter().min_by_key(least) else {
                    return;
                };
                mailbox.open.fetch_add(1, Ordering::Relaxed);
                if mailbox.sockets.send(stream).is_err() {
                    return;
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(ACCEPT_POLL),
            Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}
