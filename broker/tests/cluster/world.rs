//! What the tests of a cluster share: a real etcd, an S3 server, brokers as processes, and the
//! command line as an operator uses it.
//!
//! The S3 server is `s3-server`, in this process. For tests that need no fault of it, and do not look
//! into it, `KAFSCALE_TEST_S3_ENDPOINT` names another one, and `KAFSCALE_TEST_S3_UNSAFE_ENDPOINT`
//! one that ignores conditions, as in the tests of `store` (`scripts/with-minio`,
//! `scripts/with-garage`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::{Client, ClientSettings};
use s3_server::{Conditional, Server};

pub(crate) use crate::common::ports::free;
use crate::common::quiet::assert_quiet;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kafscale");
/// What etcd says, in its directory.
const ETCD_LOG: &str = "etcd.log";
pub(crate) const BUCKET: &str = "kafscale-test";
/// Where backups go in tests that want them apart.
pub(crate) const BACKUPS: &str = "kafscale-backups";
/// Of the form that Garage takes, which is the strictest.
pub(crate) const ACCESS_KEY: &str = "GK6b61667363616c6574657374";
pub(crate) const SECRET_KEY: &str =
    "6b61667363616c656b61667363616c656b61667363616c656b61667363616c65";
/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Time to live of a session: how long a dead broker's partitions are without a leader.
pub(crate) const TTL_MS: &str = "1000";

/// Asks again and again until it holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells the threads of a test that it is over, also when it fails: else they would keep it alive.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A real etcd, alone, in a directory of its own.
pub(crate) struct Etcd {
    child: Child,
    scheme: &'static str,
    pub(crate) client: SocketAddr,
    directory: tempfile::TempDir,
}

impl Etcd {
    fn start() -> Self {
        Self::start_with("http", &[])
    }

    /// One that serves TLS, and whose clients show certificates: files of its certificate, key and authority.
    fn start_tls([cert, key, ca]: [&str; 3]) -> Self {
        let files = [
            "--cert-file",
            cert,
            "--key-file",
            key,
            "--trusted-ca-file",
            ca,
        ];
        Self::start_with("https", &[&files[..], &["--client-cert-auth"]].concat())
    }

    fn start_with(scheme: &'static str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (client, peer) = (free(), free());
        let url = |address: SocketAddr| format!("http://{address}");
        let client_url = format!("{scheme}://{client}");
        let child = Command::new(etcd_program())
            .args(["--name", "one", "--log-level", "warn", "--logger", "zap"])
            .arg("--data-dir")
            .arg(directory.path())
            .args([
                "--listen-client-urls",
                &client_url,
                "--advertise-client-urls",
                &client_url,
            ])
            .args(arguments)
            .args([
                "--listen-peer-urls",
                &url(peer),
                "--initial-advertise-peer-urls",
                &url(peer),
            ])
            .args(["--initial-cluster", &format!("one={}", url(peer))])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path().join(ETCD_LOG)).unwrap())
            .spawn()
            .unwrap();
        let mut etcd = Self {
            child,
            scheme,
            client,
            directory,
        };
        eventually("etcd listens", || {
            assert!(etcd.runs(), "etcd ended");
            TcpStream::connect(client).is_ok()
        });
        etcd
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Runs etcdctl against it.
    pub(crate) fn ctl(&self, arguments: &[&str]) {
        let output = Command::new(etcd_program().with_file_name("etcdctl"))
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &format!("http://{}", self.client)])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join(ETCD_LOG));
            eprintln!("etcd runs: {}; it says: {log:?}", self.runs());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `KAFSCALE_TEST_ETCD`, else what `scripts/install-etcd` has installed, or installs now.
fn etcd_program() -> PathBuf {
    if let Some(named) = std::env::var_os("KAFSCALE_TEST_ETCD") {
        return named.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install-etcd");
    let output = Command::new(&script).output().unwrap();
    assert!(
        output.status.success(),
        "{} found no way to install etcd: {}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Path::new(String::from_utf8(output.stdout).unwrap().trim()).join("etcd")
}

/// The S3 server of the brokers.
enum S3 {
    /// In this process.
    Own(Box<Server>),
    /// Another one, where this test has a namespace of its own.
    Named { endpoint: String, namespace: String },
}

impl S3 {
    fn start(conditional: Conditional) -> Self {
        let options = s3_server::Options {
            buckets: vec![BUCKET.to_owned(), BACKUPS.to_owned()],
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            conditional,
            ..s3_server::Options::default()
        };
        Self::Own(Box::new(Server::start(options).unwrap()))
    }

    fn named(conditional: Conditional, namespace: String) -> Option<Self> {
        let variable = match conditional {
            Conditional::Atomic => "KAFSCALE_TEST_S3_ENDPOINT",
            Conditional::Ignored => "KAFSCALE_TEST_S3_UNSAFE_ENDPOINT",
            Conditional::Racy | Conditional::Refused | Conditional::CreateOnly => return None,
        };
        let endpoint = std::env::var(variable).ok()?;
        Some(Self::Named {
            endpoint,
            namespace,
        })
    }

    /// Its URL, and the namespace.
    fn place(&self) -> (String, &str) {
        match self {
            Self::Own(server) => (server.endpoint(), "default"),
            Self::Named {
                endpoint,
                namespace,
            } => (endpoint.clone(), namespace),
        }
    }
}

/// What brokers share.
pub(crate) struct World {
    pub(crate) etcd: Etcd,
    s3: S3,
    pub(crate) logs: tempfile::TempDir,
}

impl World {
    /// With the S3 server of this process.
    pub(crate) fn start(conditional: Conditional) -> Self {
        Self {
            etcd: Etcd::start(),
            s3: S3::start(conditional),
            logs: tempfile::tempdir().unwrap(),
        }
    }

    /// The same with an etcd that has a certificate, and asks its clients for one: files of its certificate, key and
    /// authority.
    pub(crate) fn start_with_etcd_tls(conditional: Conditional, files: [&str; 3]) -> Self {
        Self {
            etcd: Etcd::start_tls(files),
            s3: S3::start(conditional),
            logs: tempfile::tempdir().unwrap(),
        }
    }

    /// With the S3 server that the environment names, if it does; for tests that ask nothing of it.
    pub(crate) fn start_named(conditional: Conditional) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let name = logs.path().file_name().unwrap().to_str().unwrap();
        let namespace = name.trim_start_matches('.').to_owned();
        let named = S3::named(conditional, namespace);
        Self {
            etcd: Etcd::start(),
            s3: named.unwrap_or_else(|| S3::start(conditional)),
            logs,
        }
    }

    /// The S3 server of this process.
    pub(crate) fn s3(&self) -> &Server {
        match &self.s3 {
            S3::Own(server) => server,
            S3::Named { .. } => panic!("this test needs World::start"),
        }
    }

    /// A command that works on bucket and metadata.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KAFSCALE_") {
                command.env_remove(name);
            }
        }
        let etcd = format!("{}://{}", self.etcd.scheme, self.etcd.client);
        let (endpoint, namespace) = self.s3.place();
        command
            .args(arguments)
            .env("KAFSCALE_S3_BUCKET", BUCKET)
            .env("KAFSCALE_S3_REGION", "us-east-1")
            .env("KAFSCALE_S3_ENDPOINT", endpoint)
            .env("KAFSCALE_S3_NAMESPACE", namespace)
            .env("KAFSCALE_S3_ACCESS_KEY", ACCESS_KEY)
            .env("KAFSCALE_S3_SECRET_KEY", SECRET_KEY)
            .env("KAFSCALE_ETCD_ENDPOINTS", etcd);
        command
    }

    /// A broker with the usual settings, of which some are replaced.
    pub(crate) fn command(
        &self,
        id: &str,
        kafka: SocketAddr,
        settings: &[(&str, &str)],
    ) -> Command {
        let mut command = self.tool(&["broker"]);
        command
            .env("KAFSCALE_SESSION_TTL_MS", TTL_MS)
            .env("KAFSCALE_FLUSH_INTERVAL_MS", "20")
            .env("KAFSCALE_SHARDS", "2")
            .env("KAFSCALE_S3_HEALTH_WINDOW_SEC", "12")
            .env("KAFSCALE_PIN", "false")
            .env("KAFSCALE_MEMORY_BYTES", "64MiB")
            .env("KAFSCALE_CACHE_SIZE", "64MiB")
            .env("KAFSCALE_BROKER_ID", id)
            .env("KAFSCALE_BROKER_ADDR", kafka.to_string())
            .env("KAFSCALE_METRICS_ADDR", free().to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn node(&self, id: &str) -> Node {
        self.node_with(id, &[])
    }

    /// A broker that serves, of which some settings are replaced.
    pub(crate) fn node_with(&self, id: &str, settings: &[(&str, &str)]) -> Node {
        self.node_at(id, free(), settings)
    }

    /// The same, on an address that the settings may name too.
    pub(crate) fn node_at(&self, id: &str, kafka: SocketAddr, settings: &[(&str, &str)]) -> Node {
        let admin = free();
        let log = self.logs.path().join(format!("{id}-{}.log", kafka.port()));
        let file = std::fs::File::create(&log).unwrap();
        let child = self
            .command(id, kafka, settings)
            .env("KAFSCALE_METRICS_ADDR", admin.to_string())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut node = Node {
            id: id.to_owned(),
            child,
            kafka,
            admin,
            log,
        };
        eventually("the broker is ready", || {
            let ended = node.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}:\n{}", node.log());
            node.log().contains(" is ready")
        });
        node
    }

    /// What an operator is told.
    pub(crate) fn operate(&self, arguments: &[&str]) -> String {
        let output = self.command_line(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command of an operator, and how it ends.
    pub(crate) fn command_line(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .arg("cluster")
            .args(arguments)
            .env(
                "KAFSCALE_ETCD_ENDPOINTS",
                format!("http://{}", self.etcd.client),
            )
            .output()
            .unwrap()
    }

    /// What a start that is refused says.
    pub(crate) fn refusal(&self, settings: &[(&str, &str)]) -> String {
        self.refused(settings).said
    }

    /// A start that is refused: it ends by itself, and leaves nothing where it was started.
    pub(crate) fn refused(&self, settings: &[(&str, &str)]) -> Refused {
        let began = Instant::now();
        let place = tempfile::tempdir().unwrap();
        let mut child = self
            .command("7", free(), settings)
            .current_dir(place.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > PATIENCE {
                let _ = child.kill();
                let output = child.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                panic!("it was not refused: {settings:?}: {said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let took = began.elapsed();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{settings:?}: {said}");
        assert!(output.stdout.is_empty(), "it never served: {settings:?}");
        let left = std::fs::read_dir(place.path()).unwrap().count();
        assert_eq!(left, 0, "it left something behind: {settings:?}");
        let code = output.status.code();
        Refused { code, said, took }
    }
}

/// How a start was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Exit code.
    pub(crate) code: Option<i32>,
    /// Everything on standard error.
    pub(crate) said: String,
    /// How long it took.
    pub(crate) took: Duration,
}

pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) child: Child,
    pub(crate) kafka: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: PathBuf,
}

impl Node {
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A client of the cluster, by this broker.
    pub(crate) fn client(&self) -> Client {
        Client::connect(ClientSettings::with_bootstrap(&self.kafka.to_string())).unwrap()
    }

    /// The sum of all samples of the metrics whose name, with labels, begins so; 0 where there are
    /// none.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let samples = page.lines().filter(|line| line.starts_with(name));
        let values = samples.map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .args(["-b", &self.kafka.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{arguments:?}: {said}\n{}",
            self.log()
        );
        output
    }

    pub(crate) fn produce(&self, topic: &str, numbers: std::ops::Range<u32>) {
        let lines: Vec<String> = numbers.map(|number| number.to_string()).collect();
        self.run(&["produce", topic], &format!("{}\n", lines.join("\n")));
    }

    /// Everything in a topic, in order of number.
    pub(crate) fn read(&self, topic: &str) -> Vec<u32> {
        let output = self.run(&["consume", topic, "--from-beginning", "--exit-at-end"], "");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status:?}\n{}", self.log());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("broker {} says:\n{}", self.id, self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        assert_quiet(&format!("broker {}", self.id), &self.log());
    }
}
