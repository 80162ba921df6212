//! `kafscale broker`: settings, logging, then the broker itself.

use clap::{Arg, ArgAction, ArgMatches};

use super::error::CliError;
use super::output::Output;
use crate::config::{Config, Loaded};
use crate::security::tls::Tls;
use crate::security::{Security, SetupError};
use crate::start::StartError;
use crate::{logging, start};

/// Id of the flag that only looks at the settings.
const CHECK_CONFIG: &str = "check-config";

pub(super) const AFTER_HELP: &str = "\
Examples:
  kafscale broker                                        loopback, log in ./kafscale-data
  kafscale broker --data-dir /var/lib/kafscale --broker-addr 10.0.0.5:9092 --allow-insecure true
  KAFSCALE_LOG_LEVEL=debug kafscale broker
  kafscale broker --config kafscale.toml --check-config   look at the settings and start nothing

Stop it with Ctrl-C or SIGTERM: it flushes, acknowledges and lets go of its partitions.
Every setting is described in docs/settings.md.";

/// The flag that only looks at the settings.
pub(super) fn check_config() -> Arg {
    Arg::new(CHECK_CONFIG)
        .long(CHECK_CONFIG)
        .action(ArgAction::SetTrue)
        .help("Read the settings and the files that they name, say whether they can be used, and exit")
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let loaded = Config::load(matches)?;
    if matches.get_flag(CHECK_CONFIG) {
        return check(&loaded);
    }
    let traces = logging::init_with(&loaded.config.log_settings())?;
    let outcome = start::run(loaded.warn());
    if let Some(traces) = traces {
        traces.finish();
    }
    Ok(outcome?)
}

/// Reads what the settings name, as a start would; nothing is connected to or listened on.
fn check(loaded: &Loaded) -> Result<(), CliError> {
    let config = &loaded.config;
    start::key_space(config)?;
    let setup = |error: SetupError| CliError::from(StartError::from(error));
    Security::new(config, "no cluster", None).map_err(setup)?;
    let admin = config.admin_tls().map(Tls::new).transpose();
    admin.map_err(|error| setup(error.into()))?;
    let mut out = Output::stdout();
    for warning in &loaded.warnings {
        out.line(&format!("warning: {warning}"))?;
    }
    out.line("the settings can be used")?;
    out.flush()
}
