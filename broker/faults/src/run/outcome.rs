//! What came of each scenario, in lines and as a table, and the verdict.

use std::fmt;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use check::{Gap, Progress, Report, check};

use super::recorder::Recorder;
use super::{Ground, RunError};

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
    /// Why it was left out.
    pub skipped: Option<&'static str>,
}

impl Outcome {
    /// One that could not be played here.
    pub(super) fn skipped(name: &str, why: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            report: Report::default(),
            limits: Vec::new(),
            error: None,
            skipped: Some(why),
        }
    }

    /// That of reading bucket and metadata of a ground and of verifying them.
    pub(super) fn verified(ground: Ground, error: Option<RunError>) -> Self {
        Self {
            name: format!("fsck-{}", ground.name()),
            report: Report::default(),
            limits: Vec::new(),
            error,
            skipped: None,
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.is_good(), self.skipped) {
            (_, Some(_)) => "SKIPPED",
            (true, None) => "ok",
            (false, None) => "FAILED",
        }
    }

    /// How far a consumer was behind, beside what is allowed, in seconds.
    fn lag(&self) -> String {
        let lag = self.report.lags.first().map(|(_, lag)| lag.length);
        lag.map_or_else(|| "-".to_owned(), |lag| format!("{:.1}", lag as f64 / 1e6))
    }

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
        if let Some(why) = self.skipped {
            return write!(f, "  SKIPPED: {why}");
        }
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
            "{:<22} {ack:>14} {read:>14} {commit:>14} {:>6}  verdict",
            "scenario", "lag"
        )?;
        for outcome in self.0 {
            let [ack, read, commit] = Progress::ALL.map(|progress| outcome.gap(progress));
            let (name, lag, verdict) = (&outcome.name, outcome.lag(), outcome.verdict());
            writeln!(
                f,
                "{name:<22} {ack:>14} {read:>14} {commit:>14} {lag:>6}  {verdict}"
            )?;
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
        skipped: None,
    }
}

/// Keeps the history in `logs`, and says what is wrong.
pub(super) fn explain(outcome: &Outcome, recorder: &Recorder, logs: &Path) {
    let name = &outcome.name;
    let file = logs.join(format!("{name}.jsonl"));
    let written = File::create(&file)
        .and_then(|to| recorder.with(|events| check::write(BufWriter::new(to), events)));
    if let Err(error) = written {
        eprintln!("    cannot write the history: {error}");
    }
    if !outcome.is_good() {
        eprintln!("    the history is in {}", file.display());
    }
    for violation in &outcome.report.violations {
        eprintln!("    {}: {}", violation.anomaly, violation.what);
    }
}
