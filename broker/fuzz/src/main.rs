//! `kafscale-fuzz`: runs targets for as long as wanted.
//!
//! ```text
//! cargo run -p kafscale-fuzz --release -- --seconds 60                     every target for a minute
//! cargo run -p kafscale-fuzz --release -- --target wal --target index --seconds 3600
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fuzz::driver::{Report, Run, inputs, keep, quiet_panics};
use fuzz::{TARGETS, Target, feedback, memory, recorded, targets};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Runs fuzz targets; what fails is kept as a file that the tests replay.
#[derive(Debug, Parser)]
struct Options {
    /// A target; may be given several times. All of them if none is given.
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What the run follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where inputs are kept from run to run, one folder a target; by default nowhere.
    #[arg(long, value_name = "DIRECTORY")]
    corpus: Option<PathBuf>,
    /// Where inputs that fail are kept.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = recorded::testdata().join("regressions"))]
    regressions: PathBuf,
    /// Lists the targets.
    #[arg(long)]
    list: bool,
}

#[expect(clippy::print_stdout, reason = "a program's output")]
fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for target in TARGETS {
            println!("{:18} {}", target.name, target.about);
        }
        return ExitCode::SUCCESS;
    }
    let mut chosen = Vec::new();
    for name in &options.targets {
        let Some(target) = targets::find(name) else {
            eprintln!("there is no target {name}; --list names them");
            return ExitCode::from(2);
        };
        chosen.push(target);
    }
    if chosen.is_empty() {
        chosen.extend(TARGETS);
    }
    quiet_panics();
    let how = if feedback::is_instrumented() {
        "edges and outcomes"
    } else {
        "outcomes"
    };
    println!("seed {}, guided by {how}", options.seed);
    let mut failed = false;
    for target in chosen {
        match run(target, &options) {
            Ok(is_sound) => failed |= !is_sound,
            Err(error) => {
                eprintln!("{}: {error}", target.name);
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

/// Gives whether nothing failed.
#[expect(clippy::print_stdout, reason = "a program's output")]
fn run(target: &'static Target, options: &Options) -> std::io::Result<bool> {
    let directory = options
        .corpus
        .as_ref()
        .map(|corpus| corpus.join(target.name));
    let more = directory.as_deref().map_or(Ok(Vec::new()), inputs)?;
    let mut run = Run::new(target, options.seed, more);
    let progress = |report: &Report| println!("{}", line(target, report));
    let report = run.run_for(Duration::from_secs(options.seconds), progress);
    println!("{} done", line(target, report));
    for finding in &report.findings {
        let path = keep(&options.regressions, target, finding)?;
        println!(
            "{}: {}\n  kept in {}",
            target.name,
            finding.message,
            path.display()
        );
    }
    let is_sound = report.findings.is_empty();
    if let Some(directory) = directory {
        std::fs::create_dir_all(&directory)?;
        for input in run.corpus() {
            let name = format!("{:08x}-{}", crc32fast::hash(input), input.len());
            std::fs::write(directory.join(name), input)?;
        }
    }
    Ok(is_sound)
}

fn line(target: &Target, report: &Report) -> String {
    let seconds = report.took.as_secs_f64().max(0.001);
    format!(
        "{:18} {:>11} runs {:>8.0}/s  kept {:>6}  seen {:>6}  longest {:>8}  peak {:>6} KiB  failed {}",
        target.name,
        report.executions,
        report.executions as f64 / seconds,
        report.kept,
        report.seen,
        report.longest,
        report.peak_bytes >> 10,
        report.findings.len(),
    )
}
