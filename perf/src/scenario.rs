//! The runs behind the subcommands, and the fixed list of them that is compared over time.

use anyhow::{Context, Result, ensure};

use crate::cli::{Cli, Command, ScenarioArgs};
use crate::e2e::EndToEndRun;
use crate::fetch::FetchRun;
use crate::floor::{self, FLOOR_NAME, FloorProcess};
use crate::join::JoinRun;
use crate::machine::{Machine, commit, date};
use crate::payload::Shape;
use crate::produce::{Pace, ProduceRun};
use crate::report::{Origin, Outcome, SCHEMA};
use crate::run::{Measured, Setting};

/// Promised bound of the fetch-hit p99, in us.
const FETCH_P99_MAX_US: f64 = 1_000.0;
/// Promised bound of the produce p99 at 20 MB/s, in us.
const PRODUCE_P99_MAX_US: f64 = 20_000.0;
/// The run that the produce bound is promised for.
const PRODUCE_BOUND_RUN: &str = "produce-20mb";
/// The runs that the fetch bound is promised for.
const FETCH_BOUND_RUNS: &str = "fetch-";
/// Promised bounds of p50 and p99 of joining a group, in us.
const JOIN_MAX_US: (f64, f64) = (200_000.0, 500_000.0);
/// The runs that the join bounds are promised for.
const JOIN_BOUND_RUNS: &str = "join";
/// Sizes of answers that are compared.
const FETCH_SIZES: [usize; 4] = [1 << 10, 16 << 10, 64 << 10, 256 << 10];
/// Bytes loaded for a fetch run.
const DATA_BYTES: u64 = 32 << 20;
/// Records of 1 KiB in batches of 16 KiB, where a run says nothing else.
const SHAPE: Shape = Shape {
    batch_bytes: 16 << 10,
    record_bytes: 1 << 10,
};

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
            Self::Fetch(run) | Self::Floor(run, _) => vec![
                ("connections", run.connections.to_string()),
                ("fetch_bytes", run.fetch_bytes.to_string()),
                (
                    "batch_bytes",
                    run.shape.batch_bytes.min(run.fetch_bytes).to_string(),
                ),
            ],
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
                    (format!("{name}-ack"), acknowledged),
                ]
            }
            Self::Join(run) => {
                let (new, further) = run.run(setting, name)?;
                vec![(name.to_owned(), new), (format!("{name}-further"), further)]
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
        Command::Scenario(args) => {
            let mut all = fixed();
            let wanted = |name: &str| args.only.iter().any(|part| name.contains(part.as_str()));
            all.retain(|(name, _)| args.only.is_empty() || wanted(name));
            ensure!(
                !all.is_empty(),
                "no run has such a name; see scenario --list"
            );
            all
        }
    })
}

fn fetch_name(kind: &str, bytes: usize) -> String {
    if bytes.is_multiple_of(1024) {
        format!("{kind}-{}k", bytes / 1024)
    } else {
        format!("{kind}-{bytes}")
    }
}

/// The fixed list. Names stay; a changed run gets a new one.
pub fn fixed() -> Vec<(String, Case)> {
    let fetch = |connections, fetch_bytes| FetchRun {
        connections,
        fetch_bytes,
        shape: SHAPE,
        data_bytes: DATA_BYTES,
        threads: 1,
        per_second: None,
    };
    let floor = |connections, fetch_bytes| {
        Case::Floor(fetch(connections, fetch_bytes), floor::Options::default())
    };
    let mut all: Vec<(String, Case)> = Vec::new();
    for size in FETCH_SIZES {
        all.push((fetch_name("floor", size), floor(1, size)));
        all.push((fetch_name("fetch", size), Case::Fetch(fetch(1, size))));
    }
    all.push(("floor-16k-8c".to_owned(), floor(8, 16 << 10)));
    all.push(("fetch-16k-8c".to_owned(), Case::Fetch(fetch(8, 16 << 10))));
    let produce = |connections, partitions, pace, shape| {
        Case::Produce(ProduceRun {
            connections,
            partitions,
            shape,
            acks: -1,
            pace,
        })
    };
    let rate = |mb: f64, shape: Shape| Pace::PerSecond(mb * 1e6 / shape.batch_bytes as f64);
    let large = Shape {
        batch_bytes: 256 << 10,
        record_bytes: 1 << 10,
    };
    let small = Shape {
        batch_bytes: 1 << 10,
        record_bytes: 100,
    };
    let e2e = |partitions, per_second, shape| {
        Case::EndToEnd(EndToEndRun {
            producers: 2,
            consumers: 2,
            partitions,
            shape,
            per_second,
        })
    };
    for (name, case) in [
        ("produce-alone", produce(1, 1, Pace::InFlight(1), SHAPE)),
        ("produce-20mb", produce(4, 8, rate(20.0, SHAPE), SHAPE)),
        ("produce-100p", produce(4, 100, rate(5.0, SHAPE), SHAPE)),
        (
            "produce-small",
            produce(4, 8, Pace::PerSecond(2_000.0), small),
        ),
        ("produce-max", produce(4, 8, Pace::InFlight(16), large)),
        ("e2e-100", e2e(1, 100.0, small)),
        ("e2e-5mb", e2e(4, 5e6 / SHAPE.batch_bytes as f64, SHAPE)),
        (
            "join",
            Case::Join(JoinRun {
                groups: 2,
                members: 1,
            }),
        ),
    ] {
        all.push((name.to_owned(), case));
    }
    all
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

/// Measures all cases in turn.
///
/// # Errors
/// The first that fails.
pub fn measure_all(cli: &Cli, cases: &[(String, Case)]) -> Result<Vec<Outcome>> {
    let origin = origin(cli);
    let setting = cli.common.setting();
    let mut outcomes = Vec::new();
    for (name, case) in cases {
        let measured = case.measure(name, &setting, &origin);
        outcomes.extend(measured.with_context(|| format!("run {name}"))?);
    }
    Ok(outcomes)
}

/// Checks the bounds that are promised.
///
/// # Errors
/// One does not hold, a request failed, or no run was there to be checked.
pub fn check_bounds(args: &ScenarioArgs, outcomes: &[Outcome]) -> Result<()> {
    if !args.check {
        return Ok(());
    }
    let mut checked = 0;
    for outcome in outcomes {
        let name = &outcome.name;
        let (p50_max, bound) = match name.as_str() {
            PRODUCE_BOUND_RUN => (PRODUCE_P99_MAX_US, PRODUCE_P99_MAX_US),
            name if name.starts_with(FETCH_BOUND_RUNS) => (FETCH_P99_MAX_US, FETCH_P99_MAX_US),
            name if name.starts_with(JOIN_BOUND_RUNS) => JOIN_MAX_US,
            _ => continue,
        };
        let (p50, p99) = (outcome.latency.p50_us, outcome.latency.p99_us);
        ensure!(
            outcome.errors == 0,
            "{name}: {} requests failed",
            outcome.errors
        );
        ensure!(
            p99 < bound,
            "{name}: p99 is {p99:.0} us, promised is less than {bound:.0} us"
        );
        ensure!(
            p50 < p50_max,
            "{name}: p50 is {p50:.0} us, promised is less than {p50_max:.0} us"
        );
        checked += 1;
    }
    ensure!(checked > 0, "no run with a promised bound was made");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted() {
        assert_eq!(quote("--rate-mb=20".to_owned()), "--rate-mb=20");
        assert_eq!(quote("Apache Kafka".to_owned()), "'Apache Kafka'");
        assert_eq!(quote("it's".to_owned()), "'it'\\''s'");
    }

    #[test]
    fn the_names_of_the_fixed_list_are_unique_and_the_bounds_are_in_it() {
        let mut names: Vec<String> = fixed().into_iter().map(|(name, _)| name).collect();
        assert!(names.iter().any(|name| name == PRODUCE_BOUND_RUN));
        assert!(names.iter().any(|name| name.starts_with(FETCH_BOUND_RUNS)));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
