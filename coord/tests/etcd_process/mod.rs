//! Real etcd processes for tests: found or installed, on free loopback ports, killed when dropped.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test binary uses a part")]

#[path = "../../../broker/tests/common/ports.rs"]
mod ports;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use coord::kv::etcd::{ConnectError, Etcd, EtcdOptions};
use coord::kv::wait;
use tokio::runtime::{Builder, Handle};

pub(crate) mod proxy;

/// How long an etcd may take until it answers, on a busy machine.
const READY_MAX: Duration = Duration::from_secs(60);

/// Starts tried when somebody else takes the ports that were free.
const STARTS_MAX: usize = 5;

/// The runtime that all clients of a test binary run on: one thread, as in the broker.
pub(crate) fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    })
}

/// Connects; waits on the thread of the test, which belongs to no runtime.
pub(crate) fn connect(options: EtcdOptions) -> Result<Etcd, ConnectError> {
    wait(Etcd::connect_on(runtime().clone(), options))
}

/// Runs a future of the plain library to its end.
pub(crate) fn on_runtime<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    wait(runtime().spawn(future)).unwrap()
}

/// The etcd to run: `KAFSCALE_TEST_ETCD`, else the one that `scripts/install-etcd` has put into the
/// cache, else the one in PATH, else the script installs one now. A test never goes without.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("KAFSCALE_TEST_ETCD") {
            let given = PathBuf::from(given);
            assert!(
                given.is_file(),
                "KAFSCALE_TEST_ETCD={}: no such file",
                given.display()
            );
            return given;
        }
        // It prints the folder at once if etcd is there; else it looks in PATH, then downloads.
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install-etcd");
        let output = Command::new("sh").arg(&script).output().unwrap();
        assert!(
            output.status.success(),
            "the tests of the etcd side need etcd, which could not be installed: run \
             scripts/install-etcd where there is a network, or apt-get install etcd-server, or set \
             KAFSCALE_TEST_ETCD to its path\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let folder = String::from_utf8(output.stdout).unwrap();
        PathBuf::from(folder.trim()).join("etcd")
    })
}

fn free_port() -> u16 {
    ports::free().port()
}

/// The settings of one member.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    /// `http` or `https`, of clients.
    scheme: &'static str,
    client_port: u16,
    peer_port: u16,
    /// `name=peer URL` of all members.
    cluster: String,
    arguments: Vec<String>,
}

/// One etcd; its data lives as long as it does.
pub(crate) struct EtcdProcess {
    member: Member,
    data: tempfile::TempDir,
    child: Option<Child>,
}

impl EtcdProcess {
    /// A cluster of one, ready.
    pub(crate) fn start() -> Self {
        Self::start_with("http", &[])
    }

    /// A cluster of one with further arguments. With `https` it is running, but whether it is
    /// ready only a client with certificates can tell.
    pub(crate) fn start_with(scheme: &'static str, arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        for _ in 0..STARTS_MAX {
            let (client_port, peer_port) = (free_port(), free_port());
            let member = Member {
                name: "one".to_owned(),
                scheme,
                client_port,
                peer_port,
                cluster: format!("one=http://127.0.0.1:{peer_port}"),
                arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            };
            let child = spawn(&member, data.path());
            let mut started = Self {
                member,
                data: tempfile::tempdir().unwrap(),
                child: Some(child),
            };
            if started.wait_ready() {
                started.data = data;
                return started;
            }
            started.kill();
            let _ = std::fs::remove_dir_all(data.path().join("etcd"));
        }
        panic!("etcd did not start {STARTS_MAX} times: is it broken? Run it by hand");
    }

    /// A cluster of three, ready.
    pub(crate) fn start_three() -> Vec<Self> {
        let names = ["one", "two", "three"];
        let ports: Vec<(u16, u16)> = names.iter().map(|_| (free_port(), free_port())).collect();
        let urls = names.iter().zip(&ports);
        let urls: Vec<String> = urls
            .map(|(name, (_, peer))| format!("{name}=http://127.0.0.1:{peer}"))
            .collect();
        let members = names.iter().zip(&ports).map(|(name, ports)| Member {
            name: (*name).to_owned(),
            scheme: "http",
            client_port: ports.0,
            peer_port: ports.1,
            cluster: urls.join(","),
            arguments: Vec::new(),
        });
        let mut all: Vec<Self> = members
            .map(|member| {
                let data = tempfile::tempdir().unwrap();
                let child = Some(spawn(&member, data.path()));
                Self {
                    member,
                    data,
                    child,
                }
            })
            .collect();
        for process in &mut all {
            assert!(process.wait_ready(), "a member of three did not start");
        }
        all
    }

    /// The URL for clients.
    pub(crate) fn endpoint(&self) -> String {
        let Member {
            scheme,
            client_port,
            ..
        } = &self.member;
        format!("{scheme}://127.0.0.1:{client_port}")
    }

    /// The port for clients.
    pub(crate) fn port(&self) -> u16 {
        self.member.client_port
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on its data, and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "kill it first");
        self.child = Some(spawn(&self.member, self.data.path()));
        assert!(self.wait_ready(), "etcd did not start again");
    }

    /// Waits until it answers; false if it ended instead.
    fn wait_ready(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < READY_MAX {
            if let Some(child) = &mut self.child
                && child.try_wait().unwrap().is_some()
            {
                return false;
            }
            let ready = if self.member.scheme == "http" {
                match connect(EtcdOptions::new([self.endpoint()])) {
                    // It answers, if only that it wants a password.
                    Ok(_) | Err(ConnectError::Login { .. }) => true,
                    Err(ConnectError::Unreachable { .. }) => false,
                    Err(error) => panic!("{error}"),
                }
            } else {
                std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port())).is_ok()
            };
            if ready {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("etcd did not answer within {READY_MAX:?}");
    }

    /// A client of the plain library, for what the seam does not do.
    pub(crate) fn admin(&self) -> etcd_client::Client {
        let endpoint = self.endpoint();
        on_runtime(async move { etcd_client::Client::connect([endpoint], None).await }).unwrap()
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(member: &Member, data: &Path) -> Child {
    let clients = format!("{}://127.0.0.1:{}", member.scheme, member.client_port);
    let peers = format!("http://127.0.0.1:{}", member.peer_port);
    Command::new(program())
        .args(["--name", &member.name, "--logger", "zap"])
        .args(["--log-level", "error", "--initial-cluster-state", "new"])
        .arg("--data-dir")
        .arg(data.join("etcd"))
        .args(["--listen-client-urls", &clients])
        .args(["--advertise-client-urls", &clients])
        .args(["--listen-peer-urls", &peers])
        .args(["--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &member.cluster])
        .args(&member.arguments)
        .env_remove("ETCDCTL_API")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program().display()))
}
