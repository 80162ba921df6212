//! `kafscale-sim`: replays one seed, or runs many.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use sim::CrashPoint;
use sim::many::{self, Each, Many, Summary};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Simulates whole clusters from seeds.
#[derive(Debug, Parser)]
#[command(name = "kafscale-sim")]
struct Arguments {
    /// Replays this seed, with a trace of what happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs these seeds, `A..B`.
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    /// With `--seed`: a broker dies at this crash point.
    #[arg(long)]
    crash_point: Option<u64>,
    /// Processes at a time; 0: one for each CPU.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Begins no seed after so many minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// Plants this defect, and stops at the first seed that finds it.
    #[arg(long)]
    planted: Option<String>,
    /// With `--seed`: only the outcome, as JSON.
    #[arg(long)]
    quiet: bool,
    /// With `--seed`: also what the brokers log.
    #[arg(long)]
    log: bool,
    /// With `--seeds`: appends a line to this file.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// With `--ledger`: the commit that this program was built from, if it is not that of the present directory.
    #[arg(long)]
    commit: Option<String>,
    #[command(subcommand)]
    command: Option<Order>,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Names the defects that can be planted.
    Defects,
    /// Runs a seed again and again, each time with a crash at another place: before and after everything that changes the
    /// store or the metadata.
    CrashPoints {
        /// The seed.
        seed: u64,
        /// Only so many of its points, evenly spread.
        #[arg(long)]
        most: Option<u64>,
        /// Processes at a time; 0: one for each CPU.
        #[arg(long, default_value_t = 0)]
        jobs: usize,
    },
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| {
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (from < to).then_some(from..to)
    });
    parsed.ok_or_else(|| "a range of seeds is A..B with A below B".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Order::Defects) => {
            let names = sim::bug::ALL.iter().map(|(name, _)| name);
            names.for_each(|name| println!("{name}"));
            return ExitCode::SUCCESS;
        }
        Some(Order::CrashPoints { seed, most, jobs }) => return crash_points(seed, most, jobs),
        None => (),
    }
    if let Some(name) = &arguments.planted
        && sim::bug::named(name).is_none()
    {
        println!("no defect is named {name}; `kafscale-sim defects` names them");
        return ExitCode::FAILURE;
    }
    match (arguments.seed, arguments.seeds.clone()) {
        (Some(seed), None) => replay(seed, &arguments),
        (None, Some(seeds)) => run_many(seeds, &arguments),
        _ => {
            println!("give either --seed N or --seeds A..B");
            ExitCode::FAILURE
        }
    }
}

fn replay(seed: u64, arguments: &Arguments) -> ExitCode {
    if arguments.log {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
        log.with_ansi(false).init();
    }
    let options = sim::Options {
        is_printed: !arguments.quiet,
        planted: arguments.planted.as_deref().and_then(sim::bug::named),
        crash_at: arguments.crash_point.map(CrashPoint),
    };
    let outcome = sim::run(seed, options);
    if !arguments.quiet {
        for violation in &outcome.violations {
            println!("VIOLATION {violation}");
        }
    }
    let json = serde_json::to_string(&outcome);
    println!("{}", json.unwrap_or_else(|error| error.to_string()));
    match outcome.violations.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(2),
    }
}

fn this_program() -> Option<PathBuf> {
    let program = std::env::current_exe();
    program
        .inspect_err(|error| println!("this program cannot be found: {error}"))
        .ok()
}

fn jobs_or_cpus(jobs: usize) -> usize {
    match jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    }
}

fn run_many(seeds: Range<u64>, arguments: &Arguments) -> ExitCode {
    let Some(program) = this_program() else {
        return ExitCode::FAILURE;
    };
    let many = Many {
        program,
        numbers: seeds.clone(),
        step: 1,
        each: Each::Seed,
        jobs: jobs_or_cpus(arguments.jobs),
        time: arguments
            .minutes
            .map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        planted: arguments.planted.clone(),
        stops_at_first: arguments.planted.is_some(),
    };
    let summary = run_and_tell(&many, seeds.end - seeds.start, "seed");
    println!(
        "faults injected: {} kinds; never: {:?}",
        summary.fault_kinds(),
        summary.faults_never_injected()
    );
    println!("marks never hit: {:?}", summary.marks_never_hit());
    if let Some(path) = &arguments.ledger {
        let commit = arguments.commit.clone().unwrap_or_else(present_commit);
        if let Err(error) = append(path, &commit, seeds.start, &summary) {
            println!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    verdict(&summary)
}

fn crash_points(seed: u64, most: Option<u64>, jobs: usize) -> ExitCode {
    let Some(program) = this_program() else {
        return ExitCode::FAILURE;
    };
    let effects = match many::one(&program, seed, None, None) {
        Ok(outcome) => outcome.effects,
        Err(why) => {
            println!("seed {seed}: {why}");
            return ExitCode::FAILURE;
        }
    };
    let points = CrashPoint::count(effects);
    // An odd step meets both those before and those after an effect.
    let step = most.map_or(1, |most| points.div_ceil(most.max(1)) | 1);
    println!("seed {seed}: {effects} effects, {points} crash points, one in {step} of them");
    let many = Many {
        program,
        numbers: 0..points,
        step,
        each: Each::CrashPointOf(seed),
        jobs: jobs_or_cpus(jobs),
        time: None,
        planted: None,
        stops_at_first: false,
    };
    let summary = run_and_tell(&many, points.div_ceil(step), "crash point");
    verdict(&summary)
}

fn run_and_tell(many: &Many, total: u64, each: &str) -> Summary {
    let began = Instant::now();
    let told_at = Mutex::new(began);
    let summary = many::run(many, |number, summary| {
        if let Some(violations) = summary.failed.get(&number) {
            let first = violations.first().map_or("", String::as_str);
            println!(
                "{each} {number}: {} broken promises, first: {first}",
                violations.len()
            );
        }
        let mut last = told_at.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= TELL_EVERY {
            *last = Instant::now();
            tell(summary, total, began.elapsed());
        }
    });
    tell(&summary, total, began.elapsed());
    summary
}

fn verdict(summary: &Summary) -> ExitCode {
    match summary.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(2),
    }
}

fn tell(summary: &Summary, total: u64, took: Duration) {
    let rate = summary.seeds as f64 / took.as_secs_f64().max(0.001);
    let left = total.saturating_sub(summary.seeds) as f64 / rate.max(0.001);
    let times = summary.simulated_ms as f64 / 1000.0 / took.as_secs_f64().max(0.001);
    println!(
        "{} of {total} runs, {rate:.1}/s, {left:.0} s left; {:.2} simulated hours ({times:.0} times real time), \
         {} batches acknowledged, {} records read, {} failed",
        summary.seeds,
        summary.hours(),
        summary.acknowledged,
        summary.read,
        summary.failed.len(),
    );
}

fn present_commit() -> String {
    let commit = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output();
    commit.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// Appends what was done to the ledger: commit, first seed, seeds, simulated hours, seeds that found something; what
/// was mended is written there by hand.
fn append(path: &Path, commit: &str, first: u64, summary: &Summary) -> std::io::Result<()> {
    let is_new = !path.exists();
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    if is_new {
        writeln!(file, "commit,first,seeds,hours,found,fixed")?;
    }
    let (seeds, hours, found) = (summary.seeds, summary.hours(), summary.failed.len());
    writeln!(file, "{commit},{first},{seeds},{hours:.2},{found},0")
}
