//! Packets that are lost: rules of nftables in the network namespace of the run.
//!
//! Only where the run has a namespace of its own, as `scripts/faults/run` sees to: a rule must never
//! hit anybody else.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::RunError;

/// The table of the run.
const TABLE: &str = "inet kafscale_faults";

/// Which way packets go, as seen from the port of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the server.
    To,
    /// From the server.
    From,
}

/// The rules that are in force. Dropping it takes them away.
#[derive(Debug)]
pub(super) struct Firewall {
    /// The program `nft`.
    program: Option<PathBuf>,
}

impl Firewall {
    /// `program` is `nft`; without it nothing can be lost.
    pub(super) fn new(program: Option<PathBuf>) -> Self {
        Self { program }
    }

    /// Whether packets can be lost here.
    pub(super) fn is_usable(&self) -> bool {
        self.program.is_some()
    }

    /// Loses `percent` of the packets to or from these ports, as well as what is lost already.
    ///
    /// # Errors
    /// [`RunError`]: the kernel does not take the rules.
    pub(super) fn lose(&self, ports: &[u16], ways: &[Way], percent: u8) -> Result<(), RunError> {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let ports = ports.join(", ");
        let mut script = format!(
            "add table {TABLE}\n\
             add chain {TABLE} arriving {{ type filter hook input priority 0; }}\n"
        );
        for way in ways {
            let field = match way {
                Way::To => "dport",
                Way::From => "sport",
            };
            let chance = match percent {
                100.. => String::new(),
                _ => format!("numgen random mod 100 < {percent} "),
            };
            script +=
                &format!("add rule {TABLE} arriving tcp {field} {{ {ports} }} {chance}drop\n");
        }
        self.apply(&script)
    }

    /// Nothing is lost any more.
    ///
    /// # Errors
    /// [`RunError`]: the kernel does not take the rules.
    pub(super) fn clear(&self) -> Result<(), RunError> {
        match self.program {
            // Adding it makes the deletion right whether it was there or not.
            Some(_) => self.apply(&format!("add table {TABLE}\ndelete table {TABLE}\n")),
            None => Ok(()),
        }
    }

    fn apply(&self, script: &str) -> Result<(), RunError> {
        let setup = |error: std::io::Error| RunError::setup("run nft", error);
        let Some(program) = &self.program else {
            return Err(RunError::setup("lose packets", "there is no nft"));
        };
        let mut command = Command::new(program);
        command.args(["-f", "-"]).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(setup)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(script.as_bytes()).map_err(setup)?;
        }
        let output = child.wait_with_output().map_err(setup)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(RunError::setup(
                "set rules for packets",
                String::from_utf8_lossy(&output.stderr).trim(),
            )),
        }
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        // The namespace ends with the run.
        let _ = self.clear();
    }
}
