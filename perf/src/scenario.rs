//! The runs behind the subcommands and scenarios, and the bounds that they are held to.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::{Cli, Command};
use crate::e2e::EndToEndRun;
use crate::fetch::FetchRun;
use crate::floor::{self, FLOOR_NAME, FloorProcess};
use crate::join::JoinRun;
use crate::machine::{Machine, commit, date};
use crate::payload::Shape;
use crate::plan::{self, Bounds, Plan, Times};
use crate::produce::{Pace, ProduceRun};
use crate::report::{Origin, Outcome, SCHEMA};
use crate::run::{Measured, Setting};

/// Behind the name of an end-to-end run: its acknowledgements.
const ACKNOWLEDGED: &str = "-ack";
/// Behind the name of a run of joins: those of one more member.
const FURTHER: &str = "-further";

/// Something to measure.
#[derive(Debug, Clone)]
pub enum Case {
    /// Produce.
    Produce(ProduceRun),
    /// Fetch from the broker.
    Fetch(FetchRun),
    /// Fetch from the floor server.
    Floor(FetchRun, floor::Options),
    /// End to end.
    EndToEnd(EndToEndRun),
    /// Joins of consumer groups.
    Join(JoinRun),
}

impl Case {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Produce(run) => {
                let (pace, value) = match run.pace {
                    Pace::InFlight(count) => ("in_flight", count.to_string()),
                    Pace::PerSecond(rate) => ("batches_per_s", format!("{rate:.1}")),
                };
                let mut all = shape(&run.shape);
                all.extend([
                    ("connections", run.connections.to_string()),
                    ("partitions", run.partitions.to_string()),
                    (
                        "acks",
                        if run.acks < 0 {
                            "all".to_owned()
                        } else {
                            run.acks.to_string()
                        },
                    ),
                    (pace, value),
                ]);
                all
            }
            Self::Fetch(run) | Self::Floor(run, _) => {
                let mut all = vec![
                    ("connections", run.connections.to_string()),
                    ("fetch_bytes", run.fetch_bytes.to_string()),
                    (
                        "batch_bytes",
                        run.shape.batch_bytes.min(run.fetch_bytes).to_string(),
                    ),
                ];
                if let Some(rate) = run.per_second {
                    all.push(("fetches_per_s", format!("{rate:.1}")));
                }
                if let Self::Floor(_, options) = self {
                    all.push(("shards", options.shards.to_string()));
                }
                all
            }
            Self::EndToEnd(run) => {
                let mut all = shape(&run.shape);
                all.extend([
                    ("producers", run.producers.to_string()),
                    ("consumers", run.consumers.to_string()),
                    ("partitions", run.partitions.to_string()),
                    ("batches_per_s", format!("{:.1}", run.per_second)),
                ]);
                all
            }
            Self::Join(run) => vec![
                ("groups", run.groups.to_string()),
                ("members", run.members.to_string()),
            ],
        }
    }

    /// Measures; one outcome, or two where there is more to tell.
    ///
    /// # Errors
    /// The broker refuses, or a connection fails.
    pub fn measure(&self, name: &str, setting: &Setting, origin: &Origin) -> Result<Vec<Outcome>> {
        let mut origin = origin.clone();
        origin.date = date();
        origin.machine = Machine::here();
        let parameters = self.parameters();
        let measured = match self {
            Self::Produce(run) => vec![(name.to_owned(), run.run(setting, name)?)],
            Self::Fetch(run) => vec![(name.to_owned(), run.run(setting, name)?)],
            Self::Floor(run, options) => {
                let server = FloorProcess::start(options)?;
                let mut setting = setting.clone();
                setting.bootstrap = server.address().to_owned();
                setting.broker_pid = Some(server.pid());
                origin.broker = FLOOR_NAME.to_owned();
                origin.commit = format!("{} on {}", env!("CARGO_PKG_VERSION"), server.on());
                vec![(name.to_owned(), run.run(&setting, name)?)]
            }
            Self::EndToEnd(run) => {
                let (end_to_end, acknowledged) = run.run(setting, name)?;
                vec![
                    (name.to_owned(), end_to_end),
                    (format!("{name}{ACKNOWLEDGED}"), acknowledged),
                ]
            }
            Self::Join(run) => {
                let (new, further) = run.run(setting, name)?;
                vec![
                    (name.to_owned(), new),
                    (format!("{name}{FURTHER}"), further),
                ]
            }
        };
        let outcome = |(name, measured): (String, Measured)| {
            Outcome::new(&origin, &name, &parameters, &measured)
        };
        Ok(measured.into_iter().map(outcome).collect())
    }
}

fn shape(shape: &Shape) -> Vec<(&'static str, String)> {
    vec![
        ("batch_bytes", shape.batch_bytes.to_string()),
        ("record_bytes", shape.record_bytes.to_string()),
    ]
}

/// The cases of a command line.
///
/// # Errors
/// Options that make no sense together.
pub fn cases(command: &Command) -> Result<Vec<(String, Case)>> {
    Ok(match command {
        Command::Produce(args) => vec![("produce".to_owned(), Case::Produce(args.run()?))],
        Command::E2e(args) => vec![("e2e".to_owned(), Case::EndToEnd(args.run()?))],
        Command::Join(args) => vec![("join".to_owned(), Case::Join(args.run()))],
        Command::Fetch(args) => {
            let case = |size: &usize| (fetch_name("fetch", *size), Case::Fetch(args.run(*size)));
            args.sizes.iter().map(case).collect()
        }
        Command::Floor(args) => {
            let (fetch, options) = (&args.fetch, args.options());
            let case = |size: &usize| {
                let case = Case::Floor(fetch.run(*size), options.clone());
                (fetch_name("floor", *size), case)
            };
            fetch.sizes.iter().map(case).collect()
        }
        Command::Scenario(_) => bail!("a scenario in a scenario"),
    })
}

/// The runs of a command line, in order.
///
/// # Errors
/// Options or a scenario that make no sense.
pub fn plans(command: &Command) -> Result<Vec<Plan>> {
    let Command::Scenario(args) = command else {
        let plan = |(name, case)| Plan {
            name,
            case,
            times: Times::default(),
            bounds: Bounds::default(),
        };
        return Ok(cases(command)?.into_iter().map(plan).collect());
    };
    let mut all = match &args.file {
        Some(path) => plan::read(path)?,
        None => plan::parse(plan::BUILT_IN).context("the built-in scenario")?,
    };
    let wanted = |name: &str| args.only.iter().any(|part| name.contains(part.as_str()));
    all.retain(|plan| args.only.is_empty() || wanted(&plan.name));
    ensure!(
        !all.is_empty(),
        "no run has such a name; see scenario --list"
    );
    Ok(all)
}

fn fetch_name(kind: &str, bytes: usize) -> String {
    if bytes.is_multiple_of(1024) {
        format!("{kind}-{}k", bytes / 1024)
    } else {
        format!("{kind}-{bytes}")
    }
}

/// Where the results of this command line come from.
pub fn origin(cli: &Cli) -> Origin {
    let arguments: Vec<String> = std::env::args().skip(1).map(quote).collect();
    Origin {
        schema: SCHEMA,
        command: format!("kafscale-perf {}", arguments.join(" ")),
        broker: cli.common.broker.clone(),
        commit: cli.common.commit.clone().unwrap_or_else(commit),
        date: date(),
        machine: Machine::here(),
    }
}

/// As a shell takes it.
fn quote(argument: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument;
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

/// Measures all in turn.
///
/// # Errors
/// The first that fails.
pub fn measure_all(cli: &Cli, plans: &[Plan]) -> Result<Vec<Outcome>> {
    let origin = origin(cli);
    let mut outcomes = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        let mut setting = cli.common.setting(plan.times)?;
        setting.progress = format!("{}/{} ", number + 1, plans.len());
        let measured = plan.case.measure(&plan.name, &setting, &origin);
        outcomes.extend(measured.with_context(|| format!("run {}", plan.name))?);
    }
    Ok(outcomes)
}

/// Checks the bounds that are promised.
///
/// # Errors
/// One does not hold, a request failed, or no run was there to be checked.
pub fn check_bounds(plans: &[Plan], outcomes: &[Outcome]) -> Result<()> {
    let mut checked = 0;
    for plan in plans {
        let bounds = [("p50", plan.bounds.p50_max), ("p99", plan.bounds.p99_max)];
        let of_plan = |outcome: &&Outcome| {
            let behind = outcome.name.strip_prefix(plan.name.as_str());
            behind.is_some_and(|rest| rest.is_empty() || rest == FURTHER || rest == ACKNOWLEDGED)
        };
        for outcome in outcomes.iter().filter(of_plan) {
            for (what, bound) in bounds {
                let Some(bound) = bound else { continue };
                check(outcome, what, bound)?;
                checked += 1;
            }
        }
    }
    ensure!(checked > 0, "no run with a promised bound was made");
    Ok(())
}

fn check(outcome: &Outcome, what: &str, bound: Duration) -> Result<()> {
    let Outcome { name, errors, .. } = outcome;
    ensure!(*errors == 0, "{name}: {errors} requests failed");
    let found = match what {
        "p50" => outcome.latency.p50_us,
        _ => outcome.latency.p99_us,
    };
    let bound = bound.as_secs_f64() * 1e6;
    ensure!(
        found < bound,
        "{name}: {what} is {found:.0} us, promised is less than {bound:.0} us"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{CpuUse, Tally};

    fn outcome(name: &str, ms: u64, errors: u64) -> Outcome {
        let origin = Origin {
            schema: SCHEMA,
            command: String::new(),
            broker: "b".to_owned(),
            commit: "c".to_owned(),
            date: date(),
            machine: Machine::here(),
        };
        let mut tally = Tally::default();
        tally.latency.record_duration(Duration::from_millis(ms), 10);
        tally.fail(errors, "refused");
        let measured = Measured {
            tally,
            seconds: 1.0,
            cpu: CpuUse::default(),
        };
        Outcome::new(&origin, name, &[], &measured)
    }

    #[test]
    fn bounds_hold_every_outcome_of_their_run_and_none_of_others() {
        let text = "[[run]]\nname = 'join'\nkind = 'join'\np99_max = '20ms'\n\
            [[run]]\nname = 'join-many'\nkind = 'join'\n";
        let plans = plan::parse(text).unwrap();
        let refused = |outcomes: &[Outcome]| {
            let checked = check_bounds(&plans, outcomes);
            checked.err().map(|error| error.to_string())
        };
        let good = outcome("join", 10, 0);
        let free = outcome("join-many", 999, 0);
        assert_eq!(refused(&[good.clone(), free.clone()]), None);
        let further = outcome("join-further", 30, 0);
        let said = refused(&[good, further]).unwrap();
        assert!(said.starts_with("join-further: p99 is 30"), "{said}");
        let said = refused(&[outcome("join", 10, 1)]).unwrap();
        assert_eq!(said, "join: 1 requests failed");
        let said = refused(&[free]).unwrap();
        assert!(said.starts_with("no run with a promised bound"), "{said}");
    }

    #[test]
    fn the_command_can_be_pasted() {
        assert_eq!(quote("--rate-mb=20".to_owned()), "--rate-mb=20");
        assert_eq!(quote("Apache Kafka".to_owned()), "'Apache Kafka'");
        assert_eq!(quote("it's".to_owned()), "'it'\\''s'");
    }
}
