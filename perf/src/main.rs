//! `kafscale-perf`: see the crate's documentation and `perf/README.md`.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use kafscale_perf::cli::{Cli, Command};
use kafscale_perf::clock::use_precise_sleeps;
use kafscale_perf::floor::{FloorServer, LISTENING};
use kafscale_perf::plan::Plan;
use kafscale_perf::{report, scenario};

/// As the broker's, so that the floor server allocates as it does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done where standard error is closed.
            let _ = writeln!(std::io::stderr(), "kafscale-perf: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    use_precise_sleeps();
    if let Command::Floor(args) = &cli.command
        && let Some(address) = &args.serve
    {
        let server = FloorServer::start(address, &args.options())?;
        let (address, on) = (server.address(), server.on());
        writeln!(std::io::stdout(), "{LISTENING}{address} {on}")?;
        server.serve();
        return Ok(());
    }
    let plans = scenario::plans(&cli.command)?;
    if let Command::Scenario(args) = &cli.command
        && args.list
    {
        for Plan { name, case, .. } in &plans {
            writeln!(std::io::stdout(), "{name:16} {case:?}")?;
        }
        return Ok(());
    }
    let outcomes = scenario::measure_all(cli, &plans)?;
    report::print_table(&outcomes)?;
    if let Some(directory) = &cli.common.out {
        let kind = match &cli.command {
            Command::Produce(_) => "produce",
            Command::Fetch(_) => "fetch",
            Command::E2e(_) => "e2e",
            Command::Join(_) => "join",
            Command::Floor(_) => "floor",
            Command::Scenario(_) => "scenario",
        };
        let date = outcomes
            .first()
            .map_or("", |outcome| outcome.origin.date.as_str());
        let date = date.replace([':', '-'], "");
        let broker = cli
            .common
            .broker
            .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let stem = format!("{kind}-{broker}-{date}");
        let path = report::write_files(directory, &stem, &outcomes)?;
        writeln!(
            std::io::stdout(),
            "wrote {} (.html, .md, .svg)",
            path.display()
        )?;
    }
    match &cli.command {
        Command::Scenario(args) if args.check => scenario::check_bounds(&plans, &outcomes),
        _ => Ok(()),
    }
}
