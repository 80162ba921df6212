//! `kafscale segment`: looks into the objects of the log, without a broker.

mod report;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::error::CliError;
use super::output::Output;
use super::progress::Progress;
use report::{Kind, Report};

const AFTER_HELP: &str = "\
Examples:
  kafscale segment inspect kafscale-data/kafscale/default/orders/0/segment-00000000000000000000.kfs
  kafscale segment inspect --batches --json segment.kfs
  find kafscale-data -name '*.wal' -o -name '*.kfs' | xargs kafscale segment verify

The kind of a file is told by its first bytes, not by its name. An .index is also compared with the
.kfs beside it, where there is one. - is standard input.";

/// Look into .wal, .kfs and .index files
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct SegmentArgs {
    #[command(subcommand)]
    command: SegmentCommand,
}

#[derive(Debug, Subcommand)]
enum SegmentCommand {
    Inspect(InspectArgs),
    Verify(VerifyArgs),
}

/// Show what files hold
#[derive(Debug, Args)]
struct InspectArgs {
    /// Files to look into
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// List every batch, or every entry of an index
    #[arg(long)]
    batches: bool,
    /// Print JSON, one document for all files
    #[arg(long)]
    json: bool,
}

/// Check every checksum, offset and count; list each fault; end with code 1 if there is any
#[derive(Debug, Args)]
struct VerifyArgs {
    /// Files to check
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print JSON, one document for all files
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SegmentArgs) -> Result<(), CliError> {
    match &args.command {
        SegmentCommand::Inspect(args) => inspect(args),
        SegmentCommand::Verify(args) => verify(args),
    }
}

/// Reads a file, or standard input for `-`.
fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes);
        let failed = |cause| CliError::Read {
            name: "standard input".to_owned(),
            cause,
        };
        return read.map(|_| bytes).map_err(failed);
    }
    std::fs::read(path).map_err(CliError::read(path))
}

fn inspect(args: &InspectArgs) -> Result<(), CliError> {
    let mut out = Output::stdout();
    let mut documents = Vec::new();
    let mut damaged = 0;
    for path in &args.files {
        let bytes = read(path)?;
        let report = Report::new(path, &bytes);
        damaged += usize::from(!report.is_sound());
        if args.json {
            let mut document = report.document();
            if args.batches
                && let Some(fields) = document.as_object_mut()
            {
                fields.insert("batches".to_owned(), report.batches(&bytes));
            }
            documents.push(document);
        } else {
            report.show(&mut out)?;
            if args.batches {
                show_batches(&mut out, &report.batches(&bytes))?;
            }
        }
    }
    finish(out, args.json, documents, damaged, args.files.len())
}

fn verify(args: &VerifyArgs) -> Result<(), CliError> {
    let mut out = Output::stdout();
    let mut documents = Vec::new();
    let mut damaged = 0;
    let progress = match args.files.len() {
        0 | 1 => Progress::none(),
        count => Progress::count("verify", count as u64),
    };
    for path in &args.files {
        let report = match read(path) {
            Ok(bytes) => Report::new(path, &bytes),
            // One file that cannot be read must not hide the state of the others.
            Err(error) if args.files.len() > 1 => Report::unreadable(path, &error.to_string()),
            Err(error) => return Err(error),
        };
        damaged += usize::from(!report.is_sound());
        if args.json {
            documents.push(report.document());
        } else {
            verdict(&mut out, &report)?;
        }
        progress.add(1);
    }
    drop(progress);
    finish(out, args.json, documents, damaged, args.files.len())
}

fn verdict(out: &mut Output, report: &Report) -> Result<(), CliError> {
    let name = report.path.display();
    if report.is_sound() {
        return out.line(&format!("{name}: ok, {}", report.summary));
    }
    out.line(&format!("{name}: DAMAGED"))?;
    report
        .faults
        .iter()
        .try_for_each(|fault| out.line(&format!("  {fault}")))
}

fn show_batches(out: &mut Output, batches: &Value) -> Result<(), CliError> {
    for batch in batches.as_array().into_iter().flatten() {
        let fields = batch.as_object().into_iter().flatten();
        let fields: Vec<String> = fields
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        out.line(&format!("  {}", fields.join(" ")))?;
    }
    Ok(())
}

fn finish(
    mut out: Output,
    json: bool,
    documents: Vec<Value>,
    damaged: usize,
    total: usize,
) -> Result<(), CliError> {
    if json {
        out.json(&json!(documents))?;
    }
    out.flush()?;
    match damaged {
        0 => Ok(()),
        damaged => Err(CliError::Damaged { damaged, total }),
    }
}

/// What a file is, told by its first bytes.
fn kind_of(bytes: &[u8]) -> Option<Kind> {
    match bytes.first_chunk::<4>()? {
        b"KAFS" => Some(Kind::Segment),
        b"KWAL" => Some(Kind::Wal),
        b"IDX\0" => Some(Kind::Index),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_magic() {
        assert_eq!(kind_of(b"KAFS...."), Some(Kind::Segment));
        assert_eq!(kind_of(b"KWAL"), Some(Kind::Wal));
        assert_eq!(kind_of(b"IDX\0"), Some(Kind::Index));
        assert_eq!(kind_of(b"IDX"), None);
        assert_eq!(kind_of(b"PK\x03\x04"), None);
    }
}
