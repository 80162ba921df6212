//! The program `kafscale-check`: judges histories that were written before.
//!
//! Exit codes: 0 nothing was found, 1 something was, 2 a file cannot be read.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use check::{Anomaly, Event, check, read, timeline};
use clap::Parser;

const CODE_FOUND: u8 = 1;
const CODE_UNREADABLE: u8 = 2;

/// Judges histories of clients, one JSON event a line.
#[derive(Debug, Parser)]
#[command(name = "kafscale-check", version)]
struct Arguments {
    /// Histories
    #[arg(required_unless_present = "list")]
    files: Vec<PathBuf>,
    /// Lists what can be found
    #[arg(long)]
    list: bool,
    /// Draws throughput over time into this file (SVG)
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for anomaly in Anomaly::ALL {
            say(&format!("{:<22} {}", anomaly.name(), anomaly.sentence()));
        }
        return ExitCode::SUCCESS;
    }
    let mut histories = Vec::new();
    let mut is_clean = true;
    for file in &arguments.files {
        let events = match history(file) {
            Ok(events) => events,
            Err(error) => return unreadable(file, &error),
        };
        let report = check(&events);
        is_clean &= report.is_clean();
        say(&format!(
            "{}: {} events, {} values sent, {} acknowledged, {} reads: {} found",
            file.display(),
            events.len(),
            report.sent,
            report.acknowledged,
            report.reads,
            report.violation_count
        ));
        for violation in &report.violations {
            say(&format!("  {}: {}", violation.anomaly, violation.what));
        }
        let name = file.file_stem().unwrap_or_default();
        histories.push((name.to_string_lossy().into_owned(), events));
    }
    if let Some(picture) = &arguments.picture {
        let rows = histories
            .iter()
            .map(|(name, events)| (name.as_str(), events.as_slice()));
        if let Err(error) = std::fs::write(picture, timeline(rows)) {
            return unreadable(picture, &error);
        }
    }
    match is_clean {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(CODE_FOUND),
    }
}

fn history(file: &Path) -> std::io::Result<Vec<Event>> {
    read(BufReader::new(File::open(file)?))
}

fn unreadable(file: &Path, error: &std::io::Error) -> ExitCode {
    eprintln!("{}: {error}", file.display());
    ExitCode::from(CODE_UNREADABLE)
}

fn say(text: &str) {
    // Without a reader there is nothing to tell.
    let _ = writeln!(std::io::stdout(), "{text}");
}
