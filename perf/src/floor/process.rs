//! The floor server in a process of its own, so that its processor time is told from the meter's.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::Options;

/// What the server writes once it listens, before its address.
pub const LISTENING: &str = "listening on ";

/// A running server; it is killed when this is dropped.
#[derive(Debug)]
pub struct FloorProcess {
    child: Child,
    address: String,
    on: String,
}

impl FloorProcess {
    /// Starts this program again, as a server on any free port.
    ///
    /// # Errors
    /// It does not start; its reason is on standard error.
    pub fn start(options: &Options) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let child = Command::new(program)
            .args(["floor", "--serve", "127.0.0.1:0"])
            .args(options.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the floor server")?;
        // From here on it is killed whatever fails.
        let mut process = Self {
            child,
            address: String::new(),
            on: String::new(),
        };
        let output = process.child.stdout.take().context("its output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let said = line.trim().strip_prefix(LISTENING);
        let said = said.and_then(|said| said.split_once(' '));
        let (address, on) = said.context("the floor server did not start")?;
        (process.address, process.on) = (address.to_owned(), on.to_owned());
        Ok(process)
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it runs on.
    pub fn on(&self) -> &str {
        &self.on
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for FloorProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
