//! [`CliError`]: why a command did not succeed, and the exit code that says so.

use std::io;
use std::path::{Path, PathBuf};

use client::{ClientError, FailureKind};

use crate::config::ConfigError;
use crate::control::backups::BackupError;
use crate::control::operator::OperatorError;
use crate::logging::LoggingError;
use crate::start::StartError;
use crate::tools::ToolError;
use crate::tools::adopt::AdoptError;
use crate::tools::backup::RecoverError;
use crate::tools::export::ExportError;
use crate::tools::restore::RestoreError;

const CODE_FAILED: u8 = 1;
const CODE_USAGE: u8 = 2;
const CODE_UNREACHABLE: u8 = 3;
const CODE_TIMED_OUT: u8 = 4;
/// What a shell reports for a program that Ctrl-C has ended.
pub(super) const CODE_INTERRUPTED: u8 = 130;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The cluster, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Settings of a broker.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logging of a broker.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// The metadata of a cluster.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// A broker that did not start, or did not go on.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What a tool works on cannot be opened.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A topic that was not restored.
    #[error(transparent)]
    Restore(Box<RestoreError>),
    /// Topics that were not adopted.
    #[error(transparent)]
    Adopt(Box<AdoptError>),
    /// There is no backup of the metadata.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Metadata that was not written back.
    #[error(transparent)]
    Recover(Box<RecoverError>),
    /// A topic cannot be exported.
    #[error(transparent)]
    Export(Box<ExportError>),
    /// Agents are not served.
    #[error(transparent)]
    Mcp(#[from] ::mcp::McpError),
    /// An option or an argument.
    #[error("{0}; see --help")]
    Usage(String),
    /// A file or standard input cannot be read.
    #[error("cannot read {name}: {cause}")]
    Read {
        /// What was read.
        name: String,
        /// Why not.
        cause: io::Error,
    },
    /// Output cannot be written.
    #[error("cannot write {name}: {cause}")]
    Write {
        /// What was written.
        name: String,
        /// Why not.
        cause: io::Error,
    },
    /// Files are damaged; each fault has been listed.
    #[error("{damaged} of {total} {} damaged", if *.total == 1 { "file is" } else { "files are" })]
    Damaged {
        /// Files with faults.
        damaged: usize,
        /// Files looked at.
        total: usize,
    },
    /// A check has found something that was not repaired; each finding has been listed.
    #[error("{errors} errors and {warnings} warnings were found")]
    Findings {
        /// Records cannot be read, or partitions not be served.
        errors: u64,
        /// Nothing is lost.
        warnings: u64,
    },
    /// A check that was not finished.
    #[error(transparent)]
    Fsck(#[from] crate::tools::fsck::FsckError),
    /// Input that cannot be used, for example a line without its separator.
    #[error("{0}")]
    Input(String),
    /// The time was over.
    #[error("{0}")]
    TimedOut(String),
    /// A signal asked the command to end, which it did in good order; what it has done until then.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// The handlers of signals cannot be set.
    #[error("cannot listen to signals: {0}")]
    Signals(io::Error),
}

impl From<RestoreError> for CliError {
    fn from(error: RestoreError) -> Self {
        Self::Restore(Box::new(error))
    }
}

impl From<RecoverError> for CliError {
    fn from(error: RecoverError) -> Self {
        Self::Recover(Box::new(error))
    }
}

impl From<AdoptError> for CliError {
    fn from(error: AdoptError) -> Self {
        Self::Adopt(Box::new(error))
    }
}

impl CliError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path: PathBuf = path.to_owned();
        move |cause| Self::Read {
            name: path.display().to_string(),
            cause,
        }
    }

    pub(super) fn write(name: &str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Write {
            name: name.to_owned(),
            cause,
        }
    }

    /// Whether the reader of our output has gone, who wants to know nothing more.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self, Self::Write { cause, .. } if cause.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The code that the process ends with; `--help` lists them.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            _ if self.is_quiet() => 0,
            Self::Client(error) => match error.kind() {
                FailureKind::Unreachable => CODE_UNREACHABLE,
                FailureKind::TimedOut => CODE_TIMED_OUT,
                FailureKind::Usage => CODE_USAGE,
                FailureKind::Failed => CODE_FAILED,
            },
            Self::Usage(_)
            | Self::Config(_)
            | Self::Logging(_)
            | Self::Mcp(::mcp::McpError::Unsafe(_)) => CODE_USAGE,
            Self::TimedOut(_) => CODE_TIMED_OUT,
            Self::Interrupted(_) => CODE_INTERRUPTED,
            Self::Operator(OperatorError::Connect(_)) => CODE_UNREACHABLE,
            Self::Operator(_)
            | Self::Start(_)
            | Self::Restore(_)
            | Self::Adopt(_)
            | Self::Tool(_)
            | Self::Export(_)
            | Self::Backup(_)
            | Self::Recover(_)
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Damaged { .. }
            | Self::Findings { .. }
            | Self::Fsck(_)
            | Self::Mcp(_)
            | Self::Signals(_)
            | Self::Input(_) => CODE_FAILED,
        }
    }
}
