//! Child processes: none outlives the run, however it ends.
//!
//! Dropping a [`Process`] kills it. Where nothing is dropped any more (a kill -9 of the run) the
//! kernel kills it, as the death signal that it was given says; that is bound to the thread that
//! started it, so processes are started by the main thread only.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Resident.
    pub(super) memory_bytes: u64,
    /// Files and sockets.
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

/// A child process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    is_stopped: bool,
}

impl Process {
    /// Starts a program; what it prints is appended to the file `log`.
    ///
    /// # Errors
    /// The program or the file cannot be opened.
    pub(super) fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // SAFETY: prctl is async-signal-safe and touches no memory of this process.
        unsafe {
            command.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            );
        }
        Ok(Self {
            child: command.spawn()?,
            is_stopped: false,
        })
    }

    /// Whether it has not ended.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Freezes it, or lets it go on.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn freeze(&mut self, freeze: bool) -> io::Result<()> {
        self.send(if freeze { libc::SIGSTOP } else { libc::SIGCONT })?;
        self.is_stopped = freeze;
        Ok(())
    }

    /// Whether it is frozen.
    pub(super) fn is_frozen(&self) -> bool {
        self.is_stopped
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn terminate(&mut self) -> io::Result<()> {
        self.send(libc::SIGTERM)
    }

    /// What it holds; none where the system does not say.
    pub(super) fn usage(&self) -> Option<Usage> {
        let of = Path::new("/proc").join(self.child.id().to_string());
        let status = std::fs::read_to_string(of.join("status")).ok()?;
        let field = |name: &str| {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let descriptors = std::fs::read_dir(of.join("fd")).ok()?.count();
        Some(Usage {
            memory_bytes: field("VmRSS:")? * 1024,
            descriptors: u64::try_from(descriptors).unwrap_or(u64::MAX),
            threads: field("Threads:")?,
        })
    }

    fn send(&mut self, signal: libc::c_int) -> io::Result<()> {
        if !self.is_running() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"));
        }
        let id = libc::pid_t::try_from(self.child.id()).map_err(io::Error::other)?;
        // SAFETY: the child has not been waited for, so that its id is still its own.
        match unsafe { libc::kill(id, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
