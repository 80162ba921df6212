//! `kafscale fsck`: checks bucket and metadata against each other, and repairs what can be.

use std::cell::RefCell;

use clap::Args;
use segment::TopicName;
use serde_json::{Value, json};

use super::error::CliError;
use super::ground::GroundArgs;
use super::output::Output;
use super::progress::Progress;
use crate::tools::Ground;
use crate::tools::fsck::{Code, Finding, Fsck, Options, Outcome, Report, Severity, Step};

const AFTER_HELP: &str = "\
Examples:
  kafscale fsck                         check a cluster, whether its brokers run or not
  kafscale fsck --deep --topic orders   read every byte of a topic
  kafscale fsck --repair                repair what can be without losing anything
  kafscale fsck --garbage               list what the brokers would delete now, and why
  kafscale fsck --data-dir ./kafscale-data   check a stopped broker's directory

One line for each finding: severity, code, object or key, what is wrong, what to do. Notes are as it
should be for now; the exit code is 1 if there is anything else that was not repaired.";

/// Check bucket and metadata against each other
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct FsckArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// Read every byte of segments and WAL objects
    #[arg(long)]
    deep: bool,
    /// Repair what can be; a damaged segment is copied before it is replaced
    #[arg(long)]
    repair: bool,
    /// With --repair: also what makes a loss final (log starts, producer state)
    #[arg(long, requires = "repair")]
    accept_loss: bool,
    /// Look at this topic only
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// List only what the collector of garbage would delete now
    #[arg(long, conflicts_with_all = ["deep", "topic"])]
    garbage: bool,
    /// Print JSON, one document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &FsckArgs) -> Result<(), CliError> {
    let topic = args.topic.as_deref().map(TopicName::new).transpose();
    let topic = topic.map_err(|error| CliError::Usage(error.to_string()))?;
    let options = Options {
        deep: args.deep,
        topic,
        garbage: args.garbage,
    };
    args.ground
        .run(async |ground, _| check(args, options, &ground).await)
}

async fn check(args: &FsckArgs, options: Options, ground: &Ground) -> Result<(), CliError> {
    let bar = RefCell::new(Progress::none());
    let tell = |step| match step {
        Step::Total(total) => drop(bar.replace(Progress::count("fsck", total))),
        Step::Done => bar.borrow().add(1),
    };
    let report = Fsck::new(ground, options, &tell).run().await?;
    bar.replace(Progress::none());
    let mut out = Output::stdout();
    let (mut documents, mut left) = (Vec::new(), Left::default());
    left.add_more(report.more);
    for finding in &report.findings {
        let outcome = match args.repair {
            true => repair(args, finding, ground).await?,
            false => None,
        };
        left.add(finding, outcome.as_ref());
        if args.json {
            documents.push(document(finding, outcome.as_ref()));
            continue;
        }
        out.line(&finding.to_string())?;
        match outcome {
            Some(Outcome::Done(what)) => out.line(&format!("  repaired: {what}"))?,
            Some(Outcome::Refused(why)) => out.line(&format!("  not repaired: {why}"))?,
            None => {}
        }
    }
    if args.json {
        out.json(&json!({
            "place": ground.place,
            "partitions": report.partitions,
            "objects": report.objects,
            "findings": documents,
            "more": report.more,
            "left": { "errors": left.errors, "warnings": left.warnings },
        }))?;
    } else {
        out.line(&summary(args, &report, &left))?;
    }
    out.flush()?;
    match left.errors + left.warnings {
        0 => Ok(()),
        _ => Err(CliError::Findings {
            errors: left.errors,
            warnings: left.warnings,
        }),
    }
}

/// Carries out the repairs of a finding, where there are any that were asked for.
async fn repair(
    args: &FsckArgs,
    finding: &Finding,
    ground: &Ground,
) -> Result<Option<Outcome>, CliError> {
    if finding.accepts_loss() && !args.accept_loss {
        let why = "it would make a loss final: --accept-loss".to_owned();
        return Ok(Some(Outcome::Refused(why)));
    }
    let mut outcome: Option<Outcome> = None;
    for repair in &finding.repairs {
        let next = repair.carry_out(ground).await?;
        outcome = Some(match outcome {
            Some(before) => before.and(next),
            None => next,
        });
    }
    Ok(outcome)
}

/// What is left after repairs.
#[derive(Debug, Default)]
struct Left {
    errors: u64,
    warnings: u64,
}

impl Left {
    fn add(&mut self, finding: &Finding, outcome: Option<&Outcome>) {
        if matches!(outcome, Some(Outcome::Done(_))) {
            return;
        }
        match finding.code.severity() {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
            Severity::Note => {}
        }
    }

    fn add_more(&mut self, more: u64) {
        self.warnings += more;
    }
}

fn document(finding: &Finding, outcome: Option<&Outcome>) -> Value {
    let (repaired, why_not) = match outcome {
        Some(Outcome::Done(what)) => (Some(what), None),
        Some(Outcome::Refused(why)) => (None, Some(why)),
        None => (None, None),
    };
    json!({
        "code": finding.code.name(),
        "severity": finding.code.severity().to_string(),
        "subject": finding.subject,
        "detail": finding.detail,
        "bytes": finding.bytes,
        "todo": finding.code.todo(),
        "repairable": !finding.repairs.is_empty(),
        "repaired": repaired,
        "not_repaired": why_not,
    })
}

fn summary(args: &FsckArgs, report: &Report, left: &Left) -> String {
    if args.garbage {
        let garbage = report
            .findings
            .iter()
            .filter(|f| f.code == Code::WalGarbage);
        let (count, bytes) = garbage.fold((0_u64, 0_u64), |(count, bytes), finding| {
            (count + 1, bytes + finding.bytes.unwrap_or(0))
        });
        return format!("{count} objects of {bytes} bytes are garbage");
    }
    let Report {
        partitions,
        objects,
        more,
        ..
    } = report;
    let (errors, warnings) = (left.errors, left.warnings);
    let more = match more {
        0 => String::new(),
        more => format!(" ({more} of them are not shown)"),
    };
    format!(
        "{partitions} partitions, {objects} objects: {errors} errors, {warnings} warnings{more}"
    )
}
