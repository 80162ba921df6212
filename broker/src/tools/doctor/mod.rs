//! `kafscale doctor`: is this machine fit for a broker, and can it reach what its settings name?
//!
//! Reads `/proc` and `/sys`, tries io_uring, the disk, the ports, etcd and the bucket, and says of each what was found
//! and, where it is not as it should be, what to do. Below the WAL prefix of the bucket it writes a few objects, which it
//! deletes again; nothing else is changed. It can run beside a broker.

mod disk;
mod kernel;
mod limits;
mod remote;
mod sockets;

use std::path::Path;
use std::time::Duration;

use crate::config::{Config, Mode};

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// A broker works, less well than it could.
    Warning,
    /// A broker does not start, or not for long.
    Problem,
}

impl Verdict {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is.
    pub name: &'static str,
    /// How good it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, unless it is good.
    pub remedy: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Good,
            found: found.into(),
            remedy: None,
        }
    }

    fn note(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Note,
            ..Self::good(name, found)
        }
    }

    fn warning(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            remedy: Some(remedy.into()),
            ..Self::good(name, found)
        }
    }

    fn problem(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Problem,
            remedy: Some(remedy.into()),
            ..Self::good(name, found)
        }
    }
}

/// Looks at everything, in the order of the list.
pub async fn examine(config: &Config) -> Vec<Check> {
    let root = Path::new("/");
    let mut checks = kernel::checks(config, root);
    checks.extend(limits::checks(config, root));
    checks.extend(sockets::checks(config).await);
    match config.mode() {
        Mode::Embedded => checks.extend(disk::checks(&config.log.data_dir)),
        Mode::Cluster => checks.extend(remote::checks(config).await),
    }
    checks
}

/// A file below `root`, without its last line's end; none where it cannot be read.
fn read(root: &Path, path: &str) -> Option<String> {
    let text = std::fs::read_to_string(root.join(path)).ok()?;
    Some(text.trim_end().to_owned())
}

/// The middle and the longest of some times, in words.
fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let (middle, longest) = (times.get(times.len() / 2), times.last());
    format!(
        "{:.1} ms in the middle, {:.1} ms at most",
        ms(middle),
        ms(longest)
    )
}

#[cfg(test)]
mod tests;
