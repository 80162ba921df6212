//! `kafscale doctor`: looks at the machine, the disk, etcd and the bucket before a broker does.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;

use super::error::CliError;
use super::output::Output;
use crate::config::{self, Config, LogLevel};
use crate::logging;
use crate::tools::block_on;
use crate::tools::doctor::{Check, Verdict, examine};

const AFTER_HELP: &str = "\
Examples:
  kafscale doctor                                   with the settings of this environment
  kafscale doctor --config /etc/kafscale/kafscale.toml
  kafscale doctor --s3-bucket logs --etcd-endpoints http://etcd:2379

It takes the settings of `kafscale broker`. One line for each thing that was looked at, and what to do where it is not
as it should be; the exit code is 1 if a broker would not start or not for long. It can run beside a broker; in the bucket
it writes a few objects below the WAL prefix and deletes them again.";

/// Id of the flag for JSON.
const JSON: &str = "json";

/// The command, with a flag for each setting of a broker.
pub(super) fn command() -> Command {
    let json = Arg::new(JSON)
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print JSON, one document");
    Command::new("doctor")
        .about("Look whether this machine is fit for a broker, and reaches what its settings name")
        .arg(json)
        .args(config::args())
        .after_help(AFTER_HELP)
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let loaded = Config::load(matches)?;
    logging::init(LogLevel::Error, loaded.config.admin.log_format)?;
    let checks = block_on(examine(&loaded.config))?;
    let mut out = Output::stdout();
    let warnings = loaded.warnings.iter().map(ToString::to_string);
    match matches.get_flag(JSON) {
        true => out.json(&document(&checks, warnings.collect()))?,
        false => {
            for check in &checks {
                print(&mut out, check)?;
            }
            for warning in warnings {
                out.line(&format!(
                    "{:<8} {:<14} {warning}",
                    Verdict::Warning.word(),
                    "settings"
                ))?;
            }
        }
    }
    out.flush()?;
    let count = |verdict| {
        checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count() as u64
    };
    match count(Verdict::Problem) {
        0 => Ok(()),
        errors => Err(CliError::Findings {
            errors,
            warnings: count(Verdict::Warning),
        }),
    }
}

fn print(out: &mut Output, check: &Check) -> Result<(), CliError> {
    out.line(&format!(
        "{:<8} {:<14} {}",
        check.verdict.word(),
        check.name,
        check.found
    ))?;
    match &check.remedy {
        Some(remedy) => out.line(&format!("{:<8} {:<14} -> {remedy}", "", "")),
        None => Ok(()),
    }
}

fn document(checks: &[Check], warnings: Vec<String>) -> serde_json::Value {
    let check = |check: &Check| {
        json!({
            "name": check.name,
            "verdict": check.verdict.word(),
            "found": check.found,
            "remedy": check.remedy,
        })
    };
    json!({
        "checks": checks.iter().map(check).collect::<Vec<_>>(),
        "settings": warnings,
    })
}
