//! The cluster under test: etcd, an S3 server in this process, brokers, and the links between.
//!
//! Each broker reaches etcd and S3 through two proxies of its own. What a scenario breaks,
//! [`Cluster::heal`] mends, whatever state it was left in. Started from the main thread only.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coord::keys::drain::{self, DrainRecord};
use coord::keys::session::{self, SessionRecord};
use coord::keys::{Keyspace, decode, encode};
use coord::kv::etcd::{Etcd, EtcdOptions};
use coord::kv::{Kv, Op, Txn, range_all, wait};
use s3_server::Server;
use segment::{BrokerId, TimestampMs};

use super::process::Process;
use super::promises::S3_TIMEOUT_MS;
use super::proxy::{Link, Network, Proxy};
use super::{Interrupt, Options, RunError};

/// Brokers of the cluster.
pub(super) const BROKERS: i32 = 3;
/// Name of the cluster, which is part of its keys.
const CLUSTER: &str = "faults";
/// Longest wait for etcd or a broker to serve.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Keeps etcd (3.5 and later) from waiting for the disk. A disk that others keep busy stops it for
/// seconds (5.5 s were seen), in which every lease ends; and what it has written survives the death
/// of its process, which is all that the run does to it.
const SKIP_SYNC: &str = "--unsafe-no-fsync";
/// Longest wait for one page of a broker.
const PAGE_TIMEOUT: Duration = Duration::from_secs(1);
/// The line of the metrics page that says how the store is.
const HEALTH: &str = "kafscale_s3_health_state ";
/// Ports above the first one: etcd's two, then two for each broker.
const PORT_ETCD: u16 = 0;
const PORT_PEER: u16 = 1;
const PORT_BROKERS: u16 = 10;

/// One broker with its links.
#[derive(Debug)]
pub(super) struct Node {
    /// Broker id.
    pub(super) id: i32,
    /// Where clients reach it.
    pub(super) kafka: SocketAddr,
    admin: SocketAddr,
    /// Link to etcd.
    pub(super) etcd: Proxy,
    /// Link to S3.
    pub(super) s3: Proxy,
    process: Option<Process>,
    log: PathBuf,
}

impl Node {
    /// How the broker finds the store: 0 healthy, 1 degraded, 2 unavailable; none if it does not
    /// say.
    pub(super) fn health(&self) -> Option<u8> {
        let page = page(self.admin, "/metrics")?;
        let mut lines = page.lines();
        lines.find_map(|line| line.strip_prefix(HEALTH)?.trim().parse().ok())
    }
}

/// All of it. Dropping it kills every process.
pub(super) struct Cluster {
    options: Options,
    /// The S3 server with its faults.
    pub(super) s3: Server,
    /// The brokers, by rising id from 1.
    pub(super) nodes: Vec<Node>,
    etcd: Option<Process>,
    etcd_address: SocketAddr,
    data: tempfile::TempDir,
    logs: PathBuf,
    interrupt: Interrupt,
    // Last: proxies end with it.
    network: Network,
}

impl Cluster {
    /// Starts everything and waits until all brokers take requests.
    ///
    /// # Errors
    /// [`RunError`]: something does not start in time.
    pub(super) fn start(
        options: &Options,
        logs: &Path,
        interrupt: Interrupt,
    ) -> Result<Self, RunError> {
        let setup = |what: &'static str| move |error: std::io::Error| RunError::setup(what, error);
        let s3 = Server::start(s3_server::Options {
            seed: options.seed,
            ..s3_server::Options::default()
        });
        let s3 = s3.map_err(|error| RunError::setup("start the S3 server", error))?;
        let network = Network::start().map_err(setup("start the proxies"))?;
        let etcd_address = local(options.port + PORT_ETCD);
        let mut nodes = Vec::new();
        for id in 1..=BROKERS {
            let port = options.port + PORT_BROKERS + 2 * u16::try_from(id).unwrap_or(0);
            nodes.push(Node {
                id,
                kafka: local(port),
                admin: local(port + 1),
                etcd: network
                    .proxy(etcd_address)
                    .map_err(setup("start a proxy"))?,
                s3: network.proxy(s3.addr()).map_err(setup("start a proxy"))?,
                process: None,
                log: logs.join(format!("broker-{id}.log")),
            });
        }
        let data = tempfile::tempdir().map_err(setup("make a directory"))?;
        let mut cluster = Self {
            options: options.clone(),
            s3,
            nodes,
            etcd: None,
            etcd_address,
            data,
            logs: logs.to_owned(),
            interrupt,
            network,
        };
        cluster.start_etcd()?;
        for id in 1..=BROKERS {
            cluster.start_broker(id)?;
        }
        for id in 1..=BROKERS {
            cluster.wait_ready(id)?;
        }
        Ok(cluster)
    }

    /// Starts etcd on the data that it had, and waits until it answers.
    ///
    /// # Errors
    /// [`RunError`]: it does not start in time.
    pub(super) fn start_etcd(&mut self) -> Result<(), RunError> {
        let client = format!("http://{}", self.etcd_address);
        let peer = format!("http://{}", local(self.options.port + PORT_PEER));
        let mut command = Command::new(&self.options.etcd);
        command.args(["--name", "n1", "--data-dir"]);
        command.arg(self.data.path().join("etcd"));
        command.args(["--listen-client-urls", &client]);
        command.args(["--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("n1={peer}")]);
        command.args(["--log-level", "warn", "--logger", "zap"]);
        if can_skip_sync(&self.options.etcd) {
            command.arg(SKIP_SYNC);
        }
        let started = Process::start(&mut command, &self.logs.join("etcd.log"));
        self.etcd = Some(started.map_err(|error| RunError::setup("start etcd", error))?);
        let health = self.etcd_address;
        self.interrupt.until("etcd serves", READY_LIMIT, || {
            page(health, "/health").is_some_and(|page| page.contains("true"))
        })
    }

    /// As `kill -9`.
    pub(super) fn kill_etcd(&mut self) {
        self.etcd = None;
    }

    /// The broker of that id.
    ///
    /// # Errors
    /// [`RunError::NoBroker`].
    pub(super) fn node(&self, id: i32) -> Result<&Node, RunError> {
        let found = self.nodes.iter().find(|node| node.id == id);
        found.ok_or(RunError::NoBroker { id })
    }

    fn node_mut(&mut self, id: i32) -> Result<&mut Node, RunError> {
        let found = self.nodes.iter_mut().find(|node| node.id == id);
        found.ok_or(RunError::NoBroker { id })
    }

    /// Starts a broker, without waiting for it.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(super) fn start_broker(&mut self, id: i32) -> Result<(), RunError> {
        let mut command = Command::new(&self.options.broker);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["KAFSCALE_", "AWS_"].iter().any(|of| text.starts_with(of)) {
                command.env_remove(name);
            }
        }
        let node = self.node(id)?;
        let ttl = self.options.ttl().as_millis().to_string();
        command
            .arg("broker")
            .env("KAFSCALE_BROKER_ID", id.to_string())
            .env("KAFSCALE_BROKER_ADDR", node.kafka.to_string())
            .env("KAFSCALE_METRICS_ADDR", node.admin.to_string())
            .env("KAFSCALE_CLUSTER", CLUSTER)
            .env("KAFSCALE_ETCD_ENDPOINTS", url(node.etcd.address()))
            .env("KAFSCALE_S3_ENDPOINT", url(node.s3.address()))
            .env("KAFSCALE_S3_BUCKET", self.s3.bucket())
            .env("KAFSCALE_S3_REGION", "us-east-1")
            .env("KAFSCALE_S3_ACCESS_KEY", self.s3.access_key())
            .env("KAFSCALE_S3_SECRET_KEY", self.s3.secret_key())
            .env("KAFSCALE_S3_REQUEST_TIMEOUT_MS", S3_TIMEOUT_MS.to_string())
            .env("KAFSCALE_S3_HEALTH_WINDOW_SEC", "5")
            .env("KAFSCALE_SESSION_TTL_MS", ttl)
            .env("KAFSCALE_FLUSH_INTERVAL_MS", "50")
            .env("KAFSCALE_SEGMENT_BYTES", "128KiB")
            .env("KAFSCALE_SHARDS", "1")
            .env("KAFSCALE_PIN", "false")
            .env("KAFSCALE_MEMORY_BYTES", "128MiB")
            .env("KAFSCALE_CACHE_BYTES", "16MiB");
        let started = Process::start(&mut command, &node.log);
        let started = started.map_err(|error| RunError::setup("start a broker", error))?;
        self.node_mut(id)?.process = Some(started);
        Ok(())
    }

    /// Waits until a broker takes requests; one that ends meanwhile is started again, since a
    /// broker id may be in use for a moment.
    ///
    /// # Errors
    /// [`RunError`]: not in time.
    pub(super) fn wait_ready(&mut self, id: i32) -> Result<(), RunError> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            self.interrupt.pause(Duration::from_millis(30))?;
            let node = self.node_mut(id)?;
            if page(node.admin, "/readyz").is_some_and(|page| page.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            let ended = node
                .process
                .as_mut()
                .is_none_or(|process| !process.is_running());
            if ended || Instant::now() > deadline {
                return Err(RunError::NotReady {
                    id,
                    ended,
                    log: node.log.clone(),
                });
            }
        }
    }

    /// As `kill -9`.
    ///
    /// # Errors
    /// [`RunError::NoBroker`].
    pub(super) fn kill_broker(&mut self, id: i32) -> Result<(), RunError> {
        self.node_mut(id)?.process = None;
        Ok(())
    }

    /// SIGSTOP or SIGCONT.
    ///
    /// # Errors
    /// It does not run.
    pub(super) fn freeze(&mut self, id: i32, freeze: bool) -> Result<(), RunError> {
        let process = &mut self.node_mut(id)?.process;
        let process = process.as_mut().ok_or(RunError::NoBroker { id })?;
        let done = process.freeze(freeze);
        done.map_err(|error| RunError::setup("signal a broker", error))
    }

    /// Brokers that have been started and have not been killed.
    pub(super) fn running(&self) -> Vec<i32> {
        let running = self.nodes.iter().filter(|node| node.process.is_some());
        running.map(|node| node.id).collect()
    }

    /// Brokers that ended by themselves.
    pub(super) fn ended(&mut self) -> Vec<i32> {
        let mut ended = Vec::new();
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process
                && !process.is_running()
            {
                ended.push(node.id);
            }
        }
        ended
    }

    /// Mends everything: links, faults of the store, drains, etcd, brokers.
    ///
    /// # Errors
    /// [`RunError`]: something does not come back in time.
    pub(super) fn heal(&mut self) -> Result<(), RunError> {
        self.s3.faults().clear();
        for node in &mut self.nodes {
            node.etcd.set(Link::Up);
            node.s3.set(Link::Up);
            if let Some(process) = &mut node.process
                && process.is_frozen()
            {
                let thawed = process.freeze(false);
                thawed.map_err(|error| RunError::setup("signal a broker", error))?;
            }
        }
        if self.etcd.is_none() {
            self.start_etcd()?;
        }
        for id in 1..=BROKERS {
            let process = &mut self.node_mut(id)?.process;
            if process.as_mut().is_none_or(|process| !process.is_running()) {
                self.start_broker(id)?;
            }
        }
        for id in 1..=BROKERS {
            self.wait_ready(id)?;
        }
        Ok(())
    }

    fn kv(&self) -> Result<Arc<dyn Kv>, RunError> {
        let options = EtcdOptions::new([url(self.etcd_address)]);
        let connected = wait(Etcd::connect_on(self.network.handle(), options));
        let kv = connected.map_err(|error| RunError::setup("connect to etcd", error))?;
        Ok(Arc::new(kv))
    }

    /// Asks a broker to give everything away, or takes that back.
    ///
    /// # Errors
    /// [`RunError`]: etcd does not take it.
    pub(super) fn drain(&self, id: i32, on: bool) -> Result<(), RunError> {
        let key = drain::key(&space()?, BrokerId::new(id));
        let record = DrainRecord {
            since_ms: TimestampMs::ZERO,
        };
        let op = match on {
            true => Op::put(key, encode(&record)),
            false => Op::Delete(key),
        };
        let done = wait(self.kv()?.txn(Txn::new().and_then(op)));
        done.map(|_| ())
            .map_err(|error| RunError::setup("write a drain", error))
    }

    /// Ends the lease of a broker, which is not told; says whether it had one.
    ///
    /// # Errors
    /// [`RunError`]: etcd does not answer.
    pub(super) fn revoke(&self, id: i32) -> Result<bool, RunError> {
        let kv = self.kv()?;
        let found = wait(range_all(&kv, session::span(&space()?)));
        let found = found.map_err(|error| RunError::setup("read the sessions", error))?;
        for session in &found.entries {
            let record = decode::<SessionRecord>(&session.value);
            let record = record.map_err(|error| RunError::setup("read a session", error))?;
            if let (true, Some(lease)) = (record.broker.get() == id, session.session) {
                let done = wait(kv.revoke(lease));
                done.map_err(|error| RunError::setup("revoke a lease", error))?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether this etcd knows [`SKIP_SYNC`].
fn can_skip_sync(etcd: &Path) -> bool {
    let help = Command::new(etcd).arg("--help").output();
    help.is_ok_and(|help| {
        let all = [help.stdout, help.stderr].concat();
        String::from_utf8_lossy(&all).contains(SKIP_SYNC)
    })
}

fn space() -> Result<Keyspace, RunError> {
    Keyspace::new(CLUSTER).map_err(|error| RunError::setup("name the cluster", error))
}

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
    // A page is small; more than this is none of ours.
    let read = stream.take(1 << 20).read_to_string(&mut page);
    read.ok().map(|_| page)
}
