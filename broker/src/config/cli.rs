//! The command line and the environment of the process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use super::SETTINGS;
use super::declaration::SECTIONS;
use super::error::Problem;
use super::layered::CONFIG_ENV;
use super::setting::{Allowed, Setting};

/// Id and flag of the settings file.
const CONFIG_FLAG: &str = "config";

/// The command `broker` with a flag for each setting.
pub fn command() -> Command {
    Command::new("broker")
        .about("Run a broker")
        .long_about(
            "Run a broker. A flag goes before its environment variable, that before the key in \
             the settings file, that before the default. Without any setting the log is kept in \
             ./kafscale-data and served on 127.0.0.1:9092.",
        )
        .args(args())
}

/// A flag for each setting, and `--config`.
pub fn args() -> Vec<Arg> {
    let file = Arg::new(CONFIG_FLAG)
        .long(CONFIG_FLAG)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(format!("TOML file with settings [env: {CONFIG_ENV}]"));
    std::iter::once(file)
        .chain(SETTINGS.iter().filter_map(arg))
        .collect()
}

fn arg(setting: &'static Setting) -> Option<Arg> {
    let flag = setting.flag?;
    let arg = Arg::new(setting.key)
        .long(flag)
        .value_name(setting.unit)
        .allow_negative_numbers(true)
        .help_heading(heading(setting.key))
        .help(help(setting));
    Some(match setting.unit {
        "boolean" => arg.num_args(0..=1).default_missing_value("true"),
        _ => arg,
    })
}

fn help(setting: &Setting) -> String {
    let default = setting.default_text().replace('`', "");
    let allowed = match setting.allowed {
        Allowed::Any => String::new(),
        allowed => format!(" [allowed: {}]", allowed.to_string().replace('`', "")),
    };
    let (about, env) = (setting.about.replace('`', ""), setting.env.join(", "));
    format!("{about} [default: {default}]{allowed} [env: {env}]")
}

/// What the section of a key is about, as a heading.
fn heading(key: &str) -> &'static str {
    let section = key.split('.').next().unwrap_or_default();
    let found = SECTIONS.iter().find(|(name, _)| *name == section);
    found.map_or("Options", |(_, about)| about.trim().trim_end_matches('.'))
}

/// The settings that the command line gives.
pub(super) fn flags(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let given = |setting: &Setting| {
        let value = matches.try_get_one::<String>(setting.key).ok().flatten()?;
        Some((setting.key, value.clone()))
    };
    SETTINGS.iter().filter_map(given).collect()
}

/// The file that `--config` names.
pub(super) fn file_flag(matches: &ArgMatches) -> Option<PathBuf> {
    matches
        .try_get_one::<PathBuf>(CONFIG_FLAG)
        .ok()
        .flatten()
        .cloned()
}

/// The process's `KAFSCALE_*` variables. One that is not text becomes a problem.
pub(super) fn environment(problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("KAFSCALE_")) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                env.insert(name.to_owned(), value.trim().to_owned());
            }
            Err(_) => {
                let text = format!("environment variable {name} is not UTF-8");
                problems.push(Problem::Conflict(text));
            }
        }
    }
    env
}
