//! Scenarios: lists of runs in TOML, and the one that is built in.
//!
//! A run names a subcommand (`kind`) and gives its options as keys, with `_` for `-`: they are read by the
//! declaration of the command line itself, so that a scenario can say whatever the command line can, with
//! the same defaults and the same refusals. `name`, times and bounds come on top.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{CommandFactory, Parser};
use toml::{Table, Value};

use crate::cli::{Cli, duration};
use crate::scenario::{Case, cases};

/// The list that is run where no file is given.
pub const BUILT_IN: &str = include_str!("../scenarios/default.toml");
/// Kinds of runs: the subcommands that measure one thing.
const KINDS: [&str; 5] = ["produce", "fetch", "floor", "e2e", "join"];
/// Keys of every run, besides the options of its kind.
const OWN_KEYS: [&str; 7] = [
    "name", "kind", "warmup", "duration", "patience", "p50_max", "p99_max",
];
/// Options that make no sense in a list.
const NOT_HERE: [&str; 2] = ["serve", "help"];
/// Runs of a scenario, at most.
const RUNS_MAX: usize = 1000;

/// How long a run takes, where that is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Time before anything is recorded.
    pub warmup: Option<Duration>,
    /// Time that is recorded.
    pub duration: Option<Duration>,
    /// How long replies are awaited afterwards.
    pub patience: Option<Duration>,
}

impl Times {
    /// These, and where they say nothing, `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            warmup: self.warmup.or(other.warmup),
            duration: self.duration.or(other.duration),
            patience: self.patience.or(other.patience),
        }
    }

    fn take(table: &mut Table) -> Result<Self> {
        Ok(Self {
            warmup: time(table, "warmup")?,
            duration: time(table, "duration")?,
            patience: time(table, "patience")?,
        })
    }
}

/// What a run promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The median stays below it.
    pub p50_max: Option<Duration>,
    /// 99 % stay below it.
    pub p99_max: Option<Duration>,
}

/// One run of a list.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// What is measured.
    pub case: Case,
    /// How long.
    pub times: Times,
    /// What it is held to.
    pub bounds: Bounds,
}

/// Reads a scenario file.
///
/// # Errors
/// It cannot be read, or says something that is not understood: the message names the run and the key.
pub fn read(path: &Path) -> Result<Vec<Plan>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("read {shown}"))?;
    parse(&text).with_context(|| format!("scenario {shown}"))
}

/// Reads a scenario.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &str) -> Result<Vec<Plan>> {
    let mut top: Table = text.parse()?;
    let mut defaults = match top.remove("defaults") {
        None => Table::new(),
        Some(Value::Table(defaults)) => defaults,
        Some(_) => bail!("defaults is no table"),
    };
    let times = Times::take(&mut defaults).context("defaults")?;
    refuse(&defaults, "defaults", "warmup, duration, patience")?;
    let runs = match top.remove("run") {
        Some(Value::Array(runs)) if !runs.is_empty() => runs,
        _ => bail!("there is no [[run]]"),
    };
    refuse(&top, "the file", "defaults, run")?;
    ensure!(runs.len() <= RUNS_MAX, "more than {RUNS_MAX} runs");
    let mut plans = Vec::new();
    let mut names = BTreeSet::new();
    for (number, run) in runs.into_iter().enumerate() {
        let Value::Table(run) = run else {
            bail!("run {} is no table", number + 1);
        };
        let name = match run.get("name") {
            Some(Value::String(name)) if !name.is_empty() => name.clone(),
            _ => bail!("run {} has no name", number + 1),
        };
        for plan in plans_of(&name, run, times).with_context(|| format!("run {name}"))? {
            ensure!(names.insert(plan.name.clone()), "two runs are named {name}");
            plans.push(plan);
        }
    }
    Ok(plans)
}

/// The runs of one table: one for each size of answers.
fn plans_of(name: &str, mut run: Table, defaults: Times) -> Result<Vec<Plan>> {
    let kind = match run.remove("kind") {
        Some(Value::String(kind)) if KINDS.contains(&kind.as_str()) => kind,
        _ => bail!("kind is one of {}", KINDS.join(", ")),
    };
    run.remove("name");
    let times = Times::take(&mut run)?.or(defaults);
    let bounds = Bounds {
        p50_max: time(&mut run, "p50_max")?,
        p99_max: time(&mut run, "p99_max")?,
    };
    let cli = command_line(&kind, &run)?;
    let found = cases(&cli.command)?;
    let several = found.len() > 1;
    let plan = |(own, case): (String, Case)| {
        let size = own.split_once('-').map_or("", |(_, size)| size);
        Plan {
            name: if several {
                format!("{name}-{size}")
            } else {
                name.to_owned()
            },
            case,
            times,
            bounds,
        }
    };
    Ok(found.into_iter().map(plan).collect())
}

/// What the command line would be.
fn command_line(kind: &str, run: &Table) -> Result<Cli> {
    let command = Cli::command();
    let subcommand = command
        .find_subcommand(kind)
        .context("the subcommand of a kind")?;
    let options = subcommand.get_arguments().filter(|a| !a.is_global_set());
    let options: BTreeSet<String> = options
        .filter_map(|option| option.get_long())
        .filter(|long| !NOT_HERE.contains(long))
        .map(|long| long.replace('-', "_"))
        .collect();
    let mut words = vec!["kafscale-perf".to_owned(), kind.to_owned()];
    for (key, value) in run {
        ensure!(
            options.contains(key),
            "unknown key `{key}`; {kind} knows {}, {}",
            OWN_KEYS.join(", "),
            options.iter().cloned().collect::<Vec<_>>().join(", ")
        );
        let option = format!("--{}", key.replace('_', "-"));
        match value {
            Value::Boolean(true) => words.push(option),
            Value::Boolean(false) => {}
            value => words.push(format!("{option}={}", word(key, value)?)),
        }
    }
    Cli::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        anyhow!("{}", first.trim_start_matches("error: ").to_owned())
    })
}

/// A value as the command line takes it.
fn word(key: &str, value: &Value) -> Result<String> {
    Ok(match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Array(values) => {
            let words: Result<Vec<String>> = values.iter().map(|value| word(key, value)).collect();
            words?.join(",")
        }
        _ => bail!("`{key}` is a text, a number, a truth value or a list"),
    })
}

/// Takes a duration out of a table: a text as on the command line, or seconds.
fn time(table: &mut Table, key: &str) -> Result<Option<Duration>> {
    let Some(value) = table.remove(key) else {
        return Ok(None);
    };
    let text = word(key, &value)?;
    let read = duration(&text).map_err(|error| anyhow!("`{key}`: {error}"))?;
    Ok(Some(read))
}

fn refuse(left: &Table, whose: &str, known: &str) -> Result<()> {
    match left.keys().next() {
        None => Ok(()),
        Some(key) => bail!("unknown key `{key}` in {whose}, which knows {known}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::produce::Pace;

    fn refusal(text: &str) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    #[test]
    fn the_built_in_list_is_sound_and_holds_what_is_promised() {
        let plans = parse(BUILT_IN).unwrap();
        assert!(plans.len() > 15);
        let bounds = |name: &str| plans.iter().find(|p| p.name == name).unwrap().bounds;
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(bounds("fetch-16k").p99_max, ms(1));
        assert_eq!(bounds("produce-20mb").p99_max, ms(20));
        let join = bounds("join");
        assert_eq!((join.p50_max, join.p99_max), (ms(200), ms(500)));
        let open = plans.iter().find(|p| p.name == "fetch-16k-2000").unwrap();
        assert!(matches!(&open.case, Case::Fetch(run) if run.per_second == Some(2000.0)));
    }

    #[test]
    fn a_run_says_what_the_command_line_says() {
        let text = "[defaults]\nwarmup = 1\nduration = '2s'\n\
            [[run]]\nname = 'a'\nkind = 'produce'\nconnections = 3\nrate_mb = 1.5\nbatch_bytes = '15kB'\nacks = 1\n\
            duration = '500ms'\n\
            [[run]]\nname = 'b'\nkind = 'floor'\nsizes = ['1KiB', 2048]\npin = true\nshards = 2\n";
        let plans = parse(text).unwrap();
        let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(names, ["a", "b-1k", "b-2k"]);
        let Case::Produce(run) = &plans[0].case else {
            panic!("{:?}", plans[0].case)
        };
        assert_eq!((run.connections, run.acks), (3, 1));
        assert_eq!(run.pace, Pace::PerSecond(100.0));
        assert_eq!(plans[0].times.warmup, Some(Duration::from_secs(1)));
        assert_eq!(plans[0].times.duration, Some(Duration::from_millis(500)));
        assert_eq!(plans[1].times.duration, Some(Duration::from_secs(2)));
        let Case::Floor(run, options) = &plans[2].case else {
            panic!("{:?}", plans[2].case)
        };
        assert_eq!(
            (run.fetch_bytes, options.shards, options.pin),
            (2048, 2, true)
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_by_its_name() {
        let run = |rest: &str| format!("[[run]]\nname = 'a'\nkind = 'fetch'\n{rest}\n");
        for (text, named) in [
            (
                run("conections = 2"),
                "run a: unknown key `conections`; fetch knows",
            ),
            (run("rate_mb = 2"), "unknown key `rate_mb`"),
            (run("serve = 'x'"), "unknown key `serve`"),
            (run("bootstrap = 'x'"), "unknown key `bootstrap`"),
            (run("connections = 0"), "--connections"),
            (run("connections = {}"), "`connections`"),
            (run("p99_max = 'soon'"), "`p99_max`: unknown unit soon"),
            ("[[run]]\nkind = 'fetch'".to_owned(), "run 1 has no name"),
            (
                "[[run]]\nname = 'a'\nkind = 'x'".to_owned(),
                "kind is one of",
            ),
            (
                "[defaults]\nspeed = 1\n".to_owned() + &run(""),
                "unknown key `speed` in defaults",
            ),
            (
                "speed = 1\n".to_owned() + &run(""),
                "unknown key `speed` in the file",
            ),
            (run("") + &run(""), "two runs are named a"),
            ("a = 1".to_owned(), "no [[run]]"),
            ("[[run]".to_owned(), "TOML"),
        ] {
            let found = refusal(&text);
            assert!(found.contains(named), "{text}: {found}");
        }
    }
}
