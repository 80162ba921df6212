//! What came of each scenario, in lines and as a table, and the verdict.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::RunError;
use super::recorder::Recorder;
use crate::checker::{Event, Gap, Progress, Report, check};

/// The expectations that a scenario's limits are; they reach from before the fault to the end.
pub(super) const ALL_THE_TIME: &str = "all the time";

/// What came of one scenario.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What the checker found.
    pub report: Report,
    /// How long a partition may be without progress; empty if that was not looked at.
    pub limits: Vec<(Progress, Duration)>,
    /// Why it could not be carried out.
    pub error: Option<RunError>,
}

impl Outcome {
    /// Whether it was carried out and every promise was kept.
    pub fn is_good(&self) -> bool {
        self.error.is_none() && self.report.is_clean()
    }

    /// The longest time without progress from the fault to the end.
    pub(super) fn longest(&self, progress: Progress) -> Option<Gap> {
        let mut gaps = self.report.gaps.iter();
        let found = gaps.find(|(name, of, _)| name == ALL_THE_TIME && *of == progress);
        found.map(|(_, _, gap)| *gap)
    }

    /// The longest time without progress beside what is allowed, in seconds.
    fn gap(&self, progress: Progress) -> String {
        let limit = self.limits.iter().find(|(of, _)| *of == progress);
        match (self.longest(progress), limit) {
            (Some(gap), Some((_, limit))) => format!(
                "{:.1} of {:.1}",
                gap.length as f64 / 1e6,
                limit.as_secs_f64()
            ),
            _ => "-".to_owned(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        write!(
            f,
            "{:<15} acked {:>6}  unknown {:>3}  reads {:>7}  full reads {:>3}",
            self.name, report.acknowledged, report.unknown, report.reads, report.full_reads
        )?;
        match &self.error {
            Some(error) => write!(f, "  FAILED: {error}"),
            None if !report.is_clean() => write!(f, "  VIOLATIONS: {}", report.violation_count),
            None => write!(f, "  ok"),
        }
    }
}

/// All outcomes of a run, as a table of the longest times without progress.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Outcome]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["acknowledgment", "read", "commit"];
        writeln!(
            f,
            "longest time of a partition without, in seconds, and what is allowed:"
        )?;
        let [ack, read, commit] = head;
        writeln!(
            f,
            "{:<22} {ack:>14} {read:>14} {commit:>14}  verdict",
            "scenario"
        )?;
        for outcome in self.0 {
            let [ack, read, commit] = Progress::ALL.map(|progress| outcome.gap(progress));
            let verdict = if outcome.is_good() { "ok" } else { "FAILED" };
            let name = &outcome.name;
            writeln!(f, "{name:<22} {ack:>14} {read:>14} {commit:>14}  {verdict}")?;
        }
        Ok(())
    }
}

/// Checks a history.
pub(super) fn judge(
    name: &str,
    recorder: &Recorder,
    limits: Vec<(Progress, Duration)>,
    error: Option<RunError>,
) -> Outcome {
    Outcome {
        name: name.to_owned(),
        report: recorder.with(check),
        limits,
        error,
    }
}

/// Says what is wrong, and keeps the history in `logs`.
pub(super) fn explain(outcome: &Outcome, recorder: &Recorder, logs: &Path) {
    let name = &outcome.name;
    let file = logs.join(format!("{name}.jsonl"));
    match recorder.with(|events| write_history(&file, events)) {
        Ok(()) => eprintln!("    the history is in {}", file.display()),
        Err(error) => eprintln!("    cannot write the history: {error}"),
    }
    for violation in &outcome.report.violations {
        eprintln!("    {:?}: {}", violation.kind, violation.what);
    }
}

fn write_history(file: &Path, events: &[Event]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(file)?);
    for event in events {
        serde_json::to_writer(&mut file, event)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
