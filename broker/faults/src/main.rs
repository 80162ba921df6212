//! The program `kafscale-faults`: the run of faults from the command line.
//!
//! Exit codes: 0 every promise was kept, 1 one was broken or a scenario failed, 2 the run could
//! not be made, 130 it was interrupted.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use faults::run::{Interrupt, Options, Outcome, RunError, Scenario, Table, run};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

const CODE_BROKEN: u8 = 1;
const CODE_SETUP: u8 = 2;
const CODE_INTERRUPTED: u8 = 130;

/// Runs brokers with clients through crashes, cuts, lost packets, slow stores and full disks, and checks
/// that nothing acknowledged is lost, doubled, reordered or hidden.
#[derive(Debug, Parser)]
#[command(name = "kafscale-faults", version)]
struct Arguments {
    /// The form for continuous integration: session TTL 2 s, short faults, a part of the scenarios
    #[arg(long)]
    short: bool,
    /// With --short: all scenarios
    #[arg(long)]
    all: bool,
    /// Lists the scenarios
    #[arg(long)]
    list: bool,
    /// Only this scenario (may be given several times)
    #[arg(
        long,
        value_name = "NAME",
        value_parser = PossibleValuesParser::new(Scenario::ALL.iter().map(|s| s.name()))
    )]
    only: Vec<String>,
    /// Runs the list so many times
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeat: u16,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keeps logs and histories here; else in a new temporary directory, kept after a failure
    #[arg(long)]
    logs: Option<PathBuf>,
    /// The program nft, where the run has a network namespace of its own: packets are lost by its rules
    #[arg(long, env = "KAFSCALE_FAULTS_NFT")]
    nft: Option<PathBuf>,
    /// First of 20 ports of the loopback address that are used
    #[arg(long, default_value_t = 13_500, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    port: u16,
    /// The program kafscale
    #[arg(long, env = "KAFSCALE_BIN", default_value = "kafscale")]
    broker: PathBuf,
    /// The program etcd (scripts/install-etcd installs one)
    #[arg(long, env = "KAFSCALE_TEST_ETCD", default_value = "etcd")]
    etcd: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    let interrupt = Interrupt::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The first signal finds the flag unset and sets it; the second ends the process, and the
        // kernel ends its children.
        let code = i32::from(CODE_INTERRUPTED);
        let registered =
            signal_hook::flag::register_conditional_shutdown(signal, code, interrupt.flag())
                .and_then(|_| signal_hook::flag::register(signal, interrupt.flag()));
        if let Err(error) = registered {
            eprintln!("cannot handle signals: {error}");
            return ExitCode::from(CODE_SETUP);
        }
    }
    let (logs, temporary) = match &arguments.logs {
        Some(logs) => (logs.clone(), None),
        None => match tempfile::tempdir() {
            Ok(made) => (made.path().to_owned(), Some(made)),
            Err(error) => {
                eprintln!("cannot make a directory: {error}");
                return ExitCode::from(CODE_SETUP);
            }
        },
    };
    let (short, seed) = (arguments.short, arguments.seed);

    let mut outcomes = Vec::new();
    let ended = run(
        &options(arguments, logs.clone()),
        &interrupt,
        &mut |outcome| {
            say(&outcome.to_string());
            outcomes.push(outcome);
        },
    );
    say(&format!("\n{}", Table(&outcomes)));
    let failed: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| !outcome.is_good())
        .collect();
    if failed.is_empty() && ended.is_ok() {
        say(&format!("all promises were kept, seed {seed}"));
        return ExitCode::SUCCESS;
    }
    if let Some(temporary) = temporary {
        drop(temporary.keep());
    }
    let form = if short { " --short" } else { "" };
    let names = failed
        .iter()
        .map(|outcome| outcome.name.trim_end_matches("-again"))
        .filter(|name| Scenario::ALL.iter().any(|of| of.name() == *name));
    let names: Vec<String> = names.map(|name| format!(" --only {name}")).collect();
    eprintln!(
        "logs of the brokers and histories: {}\nagain: scripts/faults/run{form} --seed {seed}{}",
        logs.display(),
        names.concat()
    );
    match ended {
        Ok(()) => ExitCode::from(CODE_BROKEN),
        Err(RunError::Interrupted) => {
            eprintln!("interrupted");
            ExitCode::from(CODE_INTERRUPTED)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(CODE_SETUP)
        }
    }
}

fn say(text: &str) {
    // Without a reader there is nothing to tell.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn list() {
    for scenario in Scenario::ALL {
        say(&format!(
            "{:<16} {:<9} {:<6} {}",
            scenario.name(),
            scenario.ground().name(),
            if scenario.is_in_short() { "short" } else { "" },
            scenario.sentence()
        ));
    }
}

fn options(arguments: Arguments, logs: PathBuf) -> Options {
    let all = Scenario::ALL.iter().copied();
    let named = |scenario: &Scenario| {
        let name = scenario.name();
        match arguments.only.is_empty() {
            true => !arguments.short || arguments.all || scenario.is_in_short(),
            false => arguments.only.iter().any(|wanted| wanted == name),
        }
    };
    let once: Vec<Scenario> = all.filter(named).collect();
    Options {
        broker: arguments.broker,
        etcd: arguments.etcd,
        nft: arguments.nft,
        port: arguments.port,
        seed: arguments.seed,
        is_short: arguments.short,
        logs,
        scenarios: once.repeat(usize::from(arguments.repeat)),
    }
}
