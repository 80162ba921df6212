//! The machines of the run: etcd, an S3 server in this process, brokers, and the links between.
//!
//! Each broker reaches each member of etcd, and S3, through a proxy of its own. What a scenario breaks,
//! [`Cluster::heal`] mends, whatever state it was left in. Started from the main thread only.

use std::net::SocketAddr;
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

use super::disk::Disk;
use super::ensemble::Ensemble;
use super::firewall::Firewall;
use super::process::{Process, Usage};
use super::promises::S3_TIMEOUT_MS;
use super::proxy::{Link, Network, Proxy};
use super::{Ground, Interrupt, Options, RunError, local, page, url};

/// Name of the cluster, which is part of its keys.
const CLUSTER: &str = "faults";
/// Longest wait for a broker to serve.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Longest wait for a broker that was asked to end.
const EXIT_LIMIT: Duration = Duration::from_secs(30);
/// The line of the metrics page that says how the store is.
const HEALTH: &str = "kafscale_s3_health_state ";
/// Brokers have two ports each from here on above the first one; below are etcd's.
const PORT_BROKERS: u16 = 10;
/// Lines that `kafscale fsck` says at most that are shown.
const FSCK_LINES: usize = 20;

/// One broker with its links.
#[derive(Debug)]
pub(super) struct Node {
    /// Broker id.
    pub(super) id: i32,
    /// Where clients reach it.
    pub(super) kafka: SocketAddr,
    admin: SocketAddr,
    /// Links to the members of etcd.
    etcd: Vec<Proxy>,
    /// Link to S3.
    pub(super) s3: Proxy,
    process: Option<Process>,
    log: PathBuf,
}

impl Node {
    /// What becomes of its links to etcd.
    pub(super) fn set_etcd(&self, link: Link) {
        for proxy in &self.etcd {
            proxy.set(link);
        }
    }

    /// Ports of its Kafka listener and of the proxies that it uses.
    pub(super) fn ports(&self) -> Vec<u16> {
        let proxies = self.etcd.iter().chain([&self.s3]);
        let proxies = proxies.map(|proxy| proxy.address().port());
        proxies.chain([self.kafka.port()]).collect()
    }

    /// What its process holds; none if it does not run.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.process.as_ref()?.usage()
    }

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
    ground: Ground,
    /// The S3 server with its faults.
    pub(super) s3: Server,
    /// The brokers, by rising id from 1.
    pub(super) nodes: Vec<Node>,
    /// The members of etcd; none of the embedded default.
    pub(super) etcd: Ensemble,
    /// The disk of the embedded default.
    pub(super) disk: Option<Disk>,
    /// Packets that are lost.
    pub(super) firewall: Firewall,
    interrupt: Interrupt,
    // Last: proxies end with the network, and the disk lies in the directory.
    network: Network,
    _data: tempfile::TempDir,
}

impl Cluster {
    /// Starts everything and waits until all brokers take requests.
    ///
    /// # Errors
    /// [`RunError`]: something does not start in time.
    pub(super) fn start(
        options: &Options,
        ground: Ground,
        interrupt: Interrupt,
    ) -> Result<Self, RunError> {
        let setup = |what: &'static str| move |error: std::io::Error| RunError::setup(what, error);
        let s3 = Server::start(s3_server::Options {
            seed: options.seed,
            ..s3_server::Options::default()
        });
        let s3 = s3.map_err(|error| RunError::setup("start the S3 server", error))?;
        let network = Network::start().map_err(setup("start the proxies"))?;
        let data = tempfile::tempdir().map_err(setup("make a directory"))?;
        let logs = options.logs.join(ground.name());
        std::fs::create_dir_all(&logs).map_err(setup("make the directory for logs"))?;
        let members = ground.etcd_members();
        let etcd = Ensemble::new(options, members, data.path(), &logs, interrupt.clone());
        let disk = match ground {
            Ground::Embedded => Some(Disk::mount(data.path().join("disk"))?),
            Ground::Cluster | Ground::Quorum => None,
        };
        let firewall = Firewall::new(options.nft.clone());
        firewall.clear()?;
        let mut cluster = Self {
            nodes: Vec::new(),
            options: options.clone(),
            ground,
            s3,
            etcd,
            disk,
            firewall,
            interrupt,
            network,
            _data: data,
        };
        for id in 1..=ground.brokers() {
            let node = cluster
                .node_for(id, &logs)
                .map_err(setup("start a proxy"))?;
            cluster.nodes.push(node);
        }
        cluster.etcd.start()?;
        cluster.start_all()?;
        Ok(cluster)
    }

    fn node_for(&self, id: i32, logs: &Path) -> std::io::Result<Node> {
        let port = self.options.port + PORT_BROKERS + 2 * u16::try_from(id).unwrap_or(0);
        let members = self.etcd.addresses().into_iter();
        let etcd = members.map(|address| self.network.proxy(address));
        Ok(Node {
            id,
            kafka: local(port),
            admin: local(port + 1),
            etcd: etcd.collect::<std::io::Result<_>>()?,
            s3: self.network.proxy(self.s3.addr())?,
            process: None,
            log: logs.join(format!("broker-{id}.log")),
        })
    }

    /// Starts the brokers that do not run, and waits until all take requests.
    ///
    /// # Errors
    /// [`RunError`]: one does not start in time.
    pub(super) fn start_all(&mut self) -> Result<(), RunError> {
        for id in self.ids() {
            let process = &mut self.node_mut(id)?.process;
            if process.as_mut().is_none_or(|process| !process.is_running()) {
                self.start_broker(id)?;
            }
        }
        for id in self.ids() {
            self.wait_ready(id)?;
        }
        Ok(())
    }

    /// The ids of all brokers.
    pub(super) fn ids(&self) -> Vec<i32> {
        self.nodes.iter().map(|node| node.id).collect()
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

    /// The program, with the settings that a broker of that id has.
    fn command(&self, node: &Node) -> Command {
        let mut command = Command::new(&self.options.broker);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["KAFSCALE_", "AWS_"].iter().any(|of| text.starts_with(of)) {
                command.env_remove(name);
            }
        }
        match &self.disk {
            Some(disk) => {
                command.env("KAFSCALE_DATA_DIR", disk.path().join("data"));
            }
            None => self.stores(node, &mut command),
        }
        let ttl = self.options.ttl().as_millis().to_string();
        command
            .env("KAFSCALE_BROKER_ID", node.id.to_string())
            .env("KAFSCALE_BROKER_ADDR", node.kafka.to_string())
            .env("KAFSCALE_ALLOW_INSECURE", "true")
            .env("KAFSCALE_METRICS_ADDR", node.admin.to_string())
            .env("KAFSCALE_S3_HEALTH_WINDOW_SEC", "5")
            .env("KAFSCALE_SESSION_TTL_MS", ttl)
            .env("KAFSCALE_FLUSH_INTERVAL_MS", "50")
            .env("KAFSCALE_SEGMENT_BYTES", "128KiB")
            .env("KAFSCALE_SHARDS", "1")
            .env("KAFSCALE_PIN", "false")
            .env("KAFSCALE_MEMORY_BYTES", "128MiB")
            .env("KAFSCALE_CACHE_BYTES", "16MiB");
        command
    }

    fn stores(&self, node: &Node, command: &mut Command) {
        let etcd = node.etcd.iter().map(|proxy| url(proxy.address()));
        command
            .env("KAFSCALE_CLUSTER", CLUSTER)
            .env(
                "KAFSCALE_ETCD_ENDPOINTS",
                etcd.collect::<Vec<_>>().join(","),
            )
            .env("KAFSCALE_S3_ENDPOINT", url(node.s3.address()))
            .env("KAFSCALE_S3_BUCKET", self.s3.bucket())
            .env("KAFSCALE_S3_REGION", "us-east-1")
            .env("KAFSCALE_S3_ACCESS_KEY", self.s3.access_key())
            .env("KAFSCALE_S3_SECRET_KEY", self.s3.secret_key())
            .env("KAFSCALE_S3_REQUEST_TIMEOUT_MS", S3_TIMEOUT_MS.to_string());
    }

    /// Starts a broker, without waiting for it.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(super) fn start_broker(&mut self, id: i32) -> Result<(), RunError> {
        let node = self.node(id)?;
        let started = Process::start(self.command(node).arg("broker"), &node.log);
        let started = started.map_err(|error| RunError::setup("start a broker", error))?;
        self.node_mut(id)?.process = Some(started);
        Ok(())
    }

    /// Reads bucket and metadata with `kafscale fsck --deep` and judges what it finds: every byte of
    /// every object, every chain of offsets. The broker of an embedded default is stopped for it.
    ///
    /// # Errors
    /// [`RunError::Wrong`] with what was found.
    pub(super) fn verify(&mut self) -> Result<(), RunError> {
        if self.disk.is_some() {
            for id in self.ids() {
                self.stop_broker(id)?;
            }
        }
        let Some(node) = self.nodes.first() else {
            return Ok(());
        };
        let output = self.command(node).args(["fsck", "--deep"]).output();
        let output = output.map_err(|error| RunError::setup("run fsck", error))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        if output.status.success() {
            return Ok(());
        }
        let lines: Vec<&str> = text.lines().take(FSCK_LINES).collect();
        let log = self
            .options
            .logs
            .join(format!("fsck-{}.txt", self.ground.name()));
        // What matters is said here too.
        let _ = std::fs::write(log, text.as_bytes());
        Err(RunError::Wrong(format!("fsck: {}", lines.join("\n      "))))
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

    /// Asks a broker to end, as `kill` does, and waits until it has.
    ///
    /// # Errors
    /// [`RunError`]: it does not run, or does not end in time.
    pub(super) fn stop_broker(&mut self, id: i32) -> Result<(), RunError> {
        let interrupt = self.interrupt.clone();
        let process = &mut self.node_mut(id)?.process;
        let mut process = process.take().ok_or(RunError::NoBroker { id })?;
        let asked = process.terminate();
        asked.map_err(|error| RunError::setup("signal a broker", error))?;
        let what = format!("broker {id} ends");
        interrupt.until(&what, EXIT_LIMIT, || !process.is_running())
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

    /// Mends everything: links, packets, the disk, faults of the store, drains, etcd, brokers.
    ///
    /// # Errors
    /// [`RunError`]: something does not come back in time.
    pub(super) fn heal(&mut self) -> Result<(), RunError> {
        self.s3.faults().clear();
        self.firewall.clear()?;
        if let Some(disk) = &self.disk {
            disk.clear();
        }
        for node in &mut self.nodes {
            node.set_etcd(Link::Up);
            node.s3.set(Link::Up);
            if let Some(process) = &mut node.process
                && process.is_frozen()
            {
                let thawed = process.freeze(false);
                thawed.map_err(|error| RunError::setup("signal a broker", error))?;
            }
        }
        self.etcd.heal()?;
        self.start_all()
    }

    fn kv(&self) -> Result<Arc<dyn Kv>, RunError> {
        let options = EtcdOptions::new(self.etcd.addresses().into_iter().map(url));
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

fn space() -> Result<Keyspace, RunError> {
    Keyspace::new(CLUSTER).map_err(|error| RunError::setup("name the cluster", error))
}
