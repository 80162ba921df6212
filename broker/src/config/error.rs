//! What is wrong with a setting, said so that it can be mended without reading the code.

use std::fmt;
use std::path::PathBuf;

use super::secret::MASK;
use super::setting::{Allowed, Setting};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A command-line flag.
    Flag(&'static str),
    /// An environment variable.
    Env(&'static str),
    /// A TOML file.
    File(PathBuf),
    /// The declaration.
    Default,
    /// The program itself, through [`Config::with`](super::Config::with).
    Program,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
            Self::Program => f.write_str("program"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    /// A value of a known key is refused.
    #[error("{key} = {value} ({origin}): {reason}; allowed: {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value, or the mask of a secret.
        value: String,
        /// Where it came from.
        origin: Source,
        /// What is wrong with it.
        reason: String,
        /// What would be right, with the unit.
        allowed: String,
    },
    /// A key of the TOML file is not a setting.
    #[error("{key} (file {file}): no such setting{hint}", file = .file.display())]
    UnknownKey {
        /// The key as written.
        key: String,
        /// The file.
        file: PathBuf,
        /// `; did you mean ...?`, or nothing.
        hint: String,
    },
    /// Two settings contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// A variable asks for something that would be unsafe to ignore.
    #[error("environment variable {name} = {value}: {reason}")]
    Refused {
        /// The variable.
        name: String,
        /// Its value.
        value: String,
        /// Why it cannot be ignored.
        reason: &'static str,
    },
}

impl Problem {
    pub(super) fn value(setting: &Setting, text: &str, origin: Source, reason: String) -> Self {
        let value = if setting.secret {
            MASK.to_owned()
        } else {
            format!("{text:?}")
        };
        let allowed = match setting.allowed {
            Allowed::Any => setting.unit.to_owned(),
            Allowed::Count(..) | Allowed::Bytes(..) | Allowed::Millis(..) | Allowed::Ratio(..) => {
                format!("{} ({})", setting.allowed, setting.unit)
            }
            allowed => allowed.to_string(),
        };
        Self::Value {
            key: setting.key,
            value,
            origin,
            reason,
            allowed,
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named by `--config` or `KAFSCALE_CONFIG` could not be read.
    #[error("cannot read the settings file {path}: {cause}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// That file is not TOML.
    #[error("the settings file {path} is not valid TOML: line {line}: {reason}",
        path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong; never the line itself, which may hold a secret.
        reason: String,
    },
    /// Settings are refused; every one of them is listed.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    match problems {
        [only] => format!("setting refused: {only}"),
        many => {
            let lines = many.iter().map(|problem| format!("\n  {problem}"));
            format!(
                "{} settings refused:{}",
                many.len(),
                lines.collect::<String>()
            )
        }
    }
}

/// Something in the settings that a reader of the log should know, and that is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub(super) String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
