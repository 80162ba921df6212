//! The run: brokers with clients, through a list of scenarios, on the ground that each wants.
//!
//! Each scenario has a topic and a history of its own: clients start, a fault befalls the cluster,
//! it is mended, the clients stop, everything is read from every broker's point of view, and the
//! history is checked. At the end of a ground all its topics are read and checked once more, and the
//! bucket is verified. Every wait is bounded, and ends early when the run is interrupted.

mod acts;
mod cluster;
mod directory;
mod disk;
mod ensemble;
mod firewall;
mod ground;
mod kafka;
mod load;
mod outcome;
mod process;
mod producers;
mod promises;
mod proxy;
mod readers;
mod recorder;
mod scenario;
mod stage;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use ground::Ground;
pub use outcome::{Outcome, Table};
pub use scenario::Scenario;
pub use stage::run;

/// What a run is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program `kafscale`.
    pub broker: PathBuf,
    /// The program `etcd`.
    pub etcd: PathBuf,
    /// The program `nft`, where the run has a network namespace of its own.
    pub nft: Option<PathBuf>,
    /// First of 20 ports of the loopback address.
    pub port: u16,
    /// Seed of all random choices.
    pub seed: u64,
    /// The form for continuous integration: short leases and short faults.
    pub is_short: bool,
    /// Where logs and histories go.
    pub logs: PathBuf,
    /// What is run, in order.
    pub scenarios: Vec<Scenario>,
}

impl Options {
    /// Time to live of a broker's session.
    pub fn ttl(&self) -> Duration {
        match self.is_short {
            true => Duration::from_secs(2),
            false => Duration::from_secs(5),
        }
    }
}

/// Why a run ended without a verdict.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// Something could not be set up or reached.
    #[error("cannot {what}: {cause}")]
    Setup {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        cause: String,
    },
    /// There is no such broker.
    #[error("there is no broker {id} that runs")]
    NoBroker {
        /// Its id.
        id: i32,
    },
    /// A broker did not become ready.
    #[error(
        "broker {id} {} (its log is {})",
        if *.ended { "ended by itself" } else { "was not ready in time" },
        .log.display()
    )]
    NotReady {
        /// Its id.
        id: i32,
        /// Whether its process had ended.
        ended: bool,
        /// Its log.
        log: PathBuf,
    },
    /// Something that a scenario waits for did not happen.
    #[error("not within {:.1} s: {what}", .limit.as_secs_f64())]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
    /// The cluster does what it must not do, as a scenario sees it.
    #[error("{0}")]
    Wrong(String),
    /// A full read was not possible in time.
    #[error("partition {partition} could not be read by way of broker {broker}: {last}")]
    Unread {
        /// The broker that was asked for the leader.
        broker: i32,
        /// The partition.
        partition: i32,
        /// How the last attempt failed.
        last: String,
    },
}

impl RunError {
    fn setup(what: &'static str, cause: impl std::fmt::Display) -> Self {
        Self::Setup {
            what,
            cause: cause.to_string(),
        }
    }
}

/// Whether the run has been told to end; every wait of the main thread looks at it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// The flag, for a signal handler.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    fn check(&self) -> Result<(), RunError> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(RunError::Interrupted),
            false => Ok(()),
        }
    }

    fn pause(&self, time: Duration) -> Result<(), RunError> {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    fn until(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> Result<(), RunError> {
        let deadline = Instant::now() + limit;
        while !holds() {
            if Instant::now() > deadline {
                let what = what.to_owned();
                return Err(RunError::Late { what, limit });
            }
            self.pause(Duration::from_millis(20))?;
        }
        Ok(())
    }
}

/// Longest wait for one page of a broker or of etcd.
const PAGE_TIMEOUT: Duration = Duration::from_secs(1);
/// A page is small, etcd's metrics the largest; more than this is none of ours.
const PAGE_BYTES_MAX: u64 = 1 << 20;

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A page, head included; none if it does not come in time.
fn page(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, PAGE_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(PAGE_TIMEOUT)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut page = String::new();
    let read = stream.take(PAGE_BYTES_MAX).read_to_string(&mut page);
    read.ok().map(|_| page)
}
