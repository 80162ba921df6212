//! A broker as a process of its own, which can be killed.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ports::free;
use super::quiet::assert_quiet;
use super::{Connection, page};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kafscale");
/// Longest wait for a broker to take requests.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A broker on free ports, with its data in a directory that the caller gives. Killed when it is
/// dropped.
pub(crate) struct ChildBroker {
    child: Child,
    pub(crate) kafka: SocketAddr,
    pub(crate) admin: SocketAddr,
    data: PathBuf,
    log: PathBuf,
    flags: Vec<String>,
}

impl ChildBroker {
    /// Starts a broker with some flags beside the usual ones; its log goes to the file `log`.
    pub(crate) fn start(data: &Path, log: &Path, flags: &[&str]) -> Self {
        let (kafka, admin) = (free(), free());
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (data, log) = (data.to_owned(), log.to_owned());
        let child = spawn(kafka, admin, &data, &log, &flags);
        let mut broker = Self {
            child,
            kafka,
            admin,
            data,
            log,
            flags,
        };
        broker.wait_until_it_serves();
        broker
    }

    fn wait_until_it_serves(&mut self) {
        let deadline = Instant::now() + READY_TIMEOUT;
        while !page(self.admin, "/healthz").is_ok_and(|page| page.starts_with("HTTP/1.1 200")) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As `kill -9`, then a start on the same directory and ports.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.kafka, self.admin, &self.data, &self.log, &self.flags);
        self.wait_until_it_serves();
    }

    /// Bytes of memory that the process has now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most bytes of memory that it had at any time.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, which: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(which));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() << 10
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        super::metric(self.admin, name)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.kafka)
    }

    /// Whether it answers the readiness page with success.
    pub(crate) fn is_ready(&self) -> bool {
        page(self.admin, "/readyz").is_ok_and(|page| page.starts_with("HTTP/1.1 200"))
    }
}

fn spawn(kafka: SocketAddr, admin: SocketAddr, data: &Path, log: &Path, flags: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KAFSCALE_") {
            command.env_remove(name);
        }
    }
    command
        .args(["broker", "--broker-addr", &kafka.to_string()])
        .args(["--metrics-addr", &admin.to_string()])
        .args(["--shards", "2", "--pin", "false", "--log-level", "info"])
        .arg("--data-dir")
        .arg(data)
        .args(flags);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(log).spawn().unwrap()
}

impl Drop for ChildBroker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        assert_quiet("the broker", &self.log());
    }
}
