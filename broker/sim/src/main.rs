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
use sim::many::{self, Many, Summary};

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
    if arguments.command.is_some() {
        sim::bug::ALL
            .iter()
            .for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
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

fn run_many(seeds: Range<u64>, arguments: &Arguments) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            println!("this program cannot be found: {error}");
            return ExitCode::FAILURE;
        }
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let many = Many {
        program,
        seeds: seeds.clone(),
        jobs: if arguments.jobs == 0 {
            cpus
        } else {
            arguments.jobs
        },
        time: arguments
            .minutes
            .map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        planted: arguments.planted.clone(),
        stops_at_first: arguments.planted.is_some(),
    };
    let began = Instant::now();
    let told_at = Mutex::new(began);
    let total = seeds.end - seeds.start;
    let summary = many::run(&many, |seed, summary| {
        if let Some(violations) = summary.failed.get(&seed) {
            let first = violations.first().map_or("", String::as_str);
            println!(
                "seed {seed}: {} broken promises, first: {first}",
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
        "{} of {total} seeds, {rate:.1}/s, {left:.0} s left; {:.2} simulated hours ({times:.0} times real time), \
         {} batches acknowledged, {} records read, {} seeds failed",
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
