//! `kafscale broker`: settings, logging, then the broker itself.

use clap::ArgMatches;

use super::error::CliError;
use crate::config::Config;
use crate::{logging, start};

pub(super) const AFTER_HELP: &str = "\
Examples:
  kafscale broker                                        loopback, log in ./kafscale-data
  kafscale broker --data-dir /var/lib/kafscale --broker-addr 10.0.0.5:9092 --allow-insecure true
  KAFSCALE_LOG_LEVEL=debug kafscale broker

Stop it with Ctrl-C or SIGTERM: it flushes, acknowledges and lets go of its partitions.
Every setting is described in docs/settings.md.";

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let loaded = Config::load(matches)?;
    logging::init(
        loaded.config.admin.log_level,
        loaded.config.admin.log_format,
    )?;
    start::run(loaded.warn())?;
    Ok(())
}
