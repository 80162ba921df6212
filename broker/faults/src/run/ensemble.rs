//! etcd: its members, which are killed, frozen and started again on their data.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::Process;
use super::{Interrupt, Options, RunError, local, page, url};

/// Longest wait for etcd to serve.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Keeps etcd (3.5 and later) from waiting for the disk. A disk that others keep busy stops it for
/// seconds (5.5 s were seen), in which every lease ends; and what it has written survives the death
/// of its process, which is all that the run does to it.
const SKIP_SYNC: &str = "--unsafe-no-fsync";
/// The line of the metrics page of the member that leads.
const LEADS: &str = "etcd_server_is_leader 1";

#[derive(Debug)]
struct Member {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    process: Option<Process>,
}

/// The members. Dropping them kills them.
#[derive(Debug)]
pub(super) struct Ensemble {
    program: PathBuf,
    members: Vec<Member>,
    data: PathBuf,
    logs: PathBuf,
    interrupt: Interrupt,
}

impl Ensemble {
    /// `count` members on two ports each from the first port of the run on, none of them started.
    pub(super) fn new(
        options: &Options,
        count: u16,
        data: &Path,
        logs: &Path,
        interrupt: Interrupt,
    ) -> Self {
        let member = |number: u16| Member {
            name: format!("n{}", number + 1),
            client: local(options.port + 2 * number),
            peer: local(options.port + 2 * number + 1),
            process: None,
        };
        Self {
            program: options.etcd.clone(),
            members: (0..count).map(member).collect(),
            data: data.to_owned(),
            logs: logs.to_owned(),
            interrupt,
        }
    }

    /// Where clients reach the members.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// Starts the members that do not run, and waits until all answer.
    ///
    /// # Errors
    /// [`RunError`]: they do not start in time.
    pub(super) fn start(&mut self) -> Result<(), RunError> {
        let peers = self.members.iter();
        let peers = peers.map(|member| format!("{}={}", member.name, url(member.peer)));
        let all = peers.collect::<Vec<_>>().join(",");
        for number in 0..self.members.len() {
            self.start_member(number, &all)?;
        }
        let addresses = self.addresses();
        self.interrupt.until("etcd serves", READY_LIMIT, || {
            addresses.iter().all(|address| {
                page(*address, "/health").is_some_and(|page| page.contains("\"true\""))
            })
        })
    }

    fn start_member(&mut self, number: usize, all: &str) -> Result<(), RunError> {
        let Some(member) = self.members.get_mut(number) else {
            return Ok(());
        };
        let running = member.process.as_mut();
        if running.is_some_and(|process| process.is_running()) {
            return Ok(());
        }
        let (client, peer) = (url(member.client), url(member.peer));
        let mut command = Command::new(&self.program);
        command.args(["--name", &member.name, "--data-dir"]);
        command.arg(self.data.join(&member.name));
        command.args(["--listen-client-urls", &client]);
        command.args(["--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", all]);
        command.args(["--log-level", "warn", "--logger", "zap"]);
        if can_skip_sync(&self.program) {
            command.arg(SKIP_SYNC);
        }
        let log = self.logs.join(format!("etcd-{}.log", member.name));
        let started = Process::start(&mut command, &log);
        member.process = Some(started.map_err(|error| RunError::setup("start etcd", error))?);
        Ok(())
    }

    /// As `kill -9` of all members.
    pub(super) fn kill(&mut self) {
        for member in &mut self.members {
            member.process = None;
        }
    }

    /// As `kill -9` of so many members, the one that leads among them.
    pub(super) fn kill_leader_and(&mut self, others: usize) {
        let leads = self.leader();
        let rest = (0..self.members.len()).filter(|number| *number != leads);
        let doomed: Vec<usize> = [leads].into_iter().chain(rest.take(others)).collect();
        for number in doomed {
            if let Some(member) = self.members.get_mut(number) {
                member.process = None;
            }
        }
    }

    /// The member that leads; the first one where none says so.
    fn leader(&self) -> usize {
        let mut members = self.members.iter();
        let leads = members.position(|member| {
            page(member.client, "/metrics").is_some_and(|page| page.contains(LEADS))
        });
        leads.unwrap_or(0)
    }

    /// SIGSTOP or SIGCONT to all members.
    ///
    /// # Errors
    /// [`RunError`]: one does not run.
    pub(super) fn freeze(&mut self, freeze: bool) -> Result<(), RunError> {
        for process in self
            .members
            .iter_mut()
            .flat_map(|member| &mut member.process)
        {
            let done = process.freeze(freeze);
            done.map_err(|error| RunError::setup("signal etcd", error))?;
        }
        Ok(())
    }

    /// Lets frozen members go on, and starts those that do not run.
    ///
    /// # Errors
    /// [`RunError`]: they do not start in time.
    pub(super) fn heal(&mut self) -> Result<(), RunError> {
        for process in self
            .members
            .iter_mut()
            .flat_map(|member| &mut member.process)
        {
            if process.is_frozen() {
                let done = process.freeze(false);
                done.map_err(|error| RunError::setup("signal etcd", error))?;
            }
        }
        self.start()
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
