//! Where a tool works: the settings of the brokers, without their flags.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command};

use super::error::CliError;
use crate::config::{self, Config, LogLevel};
use crate::logging;
use crate::tools::{Ground, block_on, open};

/// Where bucket and metadata are: the KAFSCALE_* environment of the brokers, or their settings file.
#[derive(Debug, Args)]
pub(super) struct GroundArgs {
    /// TOML file with the settings of the brokers
    #[arg(long, value_name = "FILE", global = true, help_heading = "Where")]
    config: Option<PathBuf>,
    /// Data directory of a broker that is alone, and stopped
    #[arg(long, value_name = "DIR", global = true, help_heading = "Where")]
    data_dir: Option<PathBuf>,
}

impl GroundArgs {
    /// Opens the stores and works on them, on this thread.
    pub(super) fn run<T>(
        &self,
        work: impl AsyncFnOnce(Ground, &Config) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let config = self.load()?;
        // What the tool has to say it prints; the log is for what goes wrong below it.
        logging::init(LogLevel::Warn, config.admin.log_format)?;
        block_on(async {
            let ground = open(&config).await?;
            work(ground, &config).await
        })?
    }

    fn load(&self) -> Result<Config, CliError> {
        let mut flags: Vec<OsString> = Vec::new();
        for (flag, value) in [("--config", &self.config), ("--data-dir", &self.data_dir)] {
            flags.extend(value.iter().flat_map(|value| [flag.into(), value.into()]));
        }
        let command = Command::new("kafscale").no_binary_name(true);
        let matches = command.args(config::args()).try_get_matches_from(flags);
        let matches = matches.map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(Config::load(&matches)?.config)
    }
}
