//! What is published: JSON, markdown rows, a table on the terminal, a picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::floor::FLOOR_NAME;
use crate::latency::Summary;
use crate::machine::Machine;
use crate::page;
use crate::plot::{self, Series, unit};
use crate::run::Measured;

/// Version of the JSON; goes up with every change that a reader must know.
pub const SCHEMA: u32 = 2;
/// Header of the markdown rows.
pub const MARKDOWN_HEADER: &str = "\
| date | broker, commit | run | rate | p50 | p90 | p99 | p99.9 | p99.99 | max | samples, errors \
| CPU broker, meter | machine | command |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// Where results come from. Every result carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Version of this layout.
    pub schema: u32,
    /// The command that made it.
    pub command: String,
    /// What was measured: a broker's name.
    pub broker: String,
    /// Commit of the broker, as far as it is known.
    pub commit: String,
    /// When the run began, UTC.
    pub date: String,
    /// Where.
    pub machine: Machine,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
    /// Its name, unique in a file.
    pub name: String,
    /// What was set.
    pub parameters: BTreeMap<String, String>,
    /// Seconds measured, warm-up excluded.
    pub seconds: f64,
    /// Requests answered in them.
    pub requests: u64,
    /// Requests a second.
    pub requests_per_s: f64,
    /// Records a second.
    pub records_per_s: f64,
    /// Bytes of batches a second, in 10^6.
    pub mb_per_s: f64,
    /// Requests that failed.
    pub errors: u64,
    /// The first failure.
    pub first_error: Option<String>,
    /// Latency; in the open loop from the intended send time.
    pub latency: Summary,
    /// Open loop only: latency from the actual send.
    pub latency_from_send: Option<Summary>,
    /// Percentile and latency in us.
    pub curve: Vec<(f64, f64)>,
    /// Processor seconds of this meter in the window.
    pub meter_cpu_s: f64,
    /// Processor seconds of the broker in the window, if its process is known.
    pub broker_cpu_s: Option<f64>,
    /// The same for each 10^9 bytes of batches.
    pub broker_cpu_s_per_gb: Option<f64>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Puts a measurement into its published form.
    pub fn new(
        origin: &Origin,
        name: &str,
        parameters: &[(&str, String)],
        measured: &Measured,
    ) -> Self {
        let tally = &measured.tally;
        let per_second = |count: u64| count as f64 / measured.seconds.max(1e-9);
        let parameters = parameters
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()));
        Self {
            origin: origin.clone(),
            name: name.to_owned(),
            parameters: parameters.collect(),
            seconds: measured.seconds,
            requests: tally.requests,
            requests_per_s: per_second(tally.requests),
            records_per_s: per_second(tally.records),
            mb_per_s: per_second(tally.bytes) / 1e6,
            errors: tally.errors,
            first_error: tally.first_error.clone(),
            latency: tally.latency.summary(),
            latency_from_send: tally.service.as_ref().map(|service| service.summary()),
            curve: tally.latency.curve(),
            meter_cpu_s: measured.cpu.meter_s,
            broker_cpu_s: measured.cpu.broker_s,
            broker_cpu_s_per_gb: (measured.cpu.broker_s)
                .filter(|_| tally.bytes > 0)
                .map(|seconds| seconds / (tally.bytes as f64 / 1e9)),
            notes: tally.notes.clone(),
        }
    }

    /// Share of one core that the seconds of processor time are.
    fn share(&self, cpu_s: f64) -> String {
        format!("{:.0} %", 100.0 * cpu_s / self.seconds.max(1e-9))
    }

    /// The markdown row; see [`MARKDOWN_HEADER`].
    pub fn markdown_row(&self) -> String {
        let latency = &self.latency;
        let broker_cpu = self.broker_cpu_s.map_or("?".to_owned(), |s| self.share(s));
        let parameters: Vec<String> = self
            .parameters
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mut errors = self.errors.to_string();
        if let Some(first) = &self.first_error {
            let _ = write!(errors, " ({first})");
        }
        let cells = [
            self.origin.date.clone(),
            format!("{} {}", self.origin.broker, self.origin.commit),
            format!("**{}** {}", self.name, parameters.join(" ")),
            format!("{:.0}/s, {:.1} MB/s", self.requests_per_s, self.mb_per_s),
            unit(latency.p50_us),
            unit(latency.p90_us),
            unit(latency.p99_us),
            unit(latency.p999_us),
            unit(latency.p9999_us),
            unit(latency.max_us),
            format!("{}, {errors}", latency.count),
            format!("{broker_cpu}, {}", self.share(self.meter_cpu_s)),
            self.origin.machine.to_string(),
            format!("`{}`", self.origin.command),
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        format!("| {} |", cells.join(" | "))
    }

    /// The line on the terminal.
    fn line(&self) -> String {
        let latency = &self.latency;
        let Self {
            name,
            requests_per_s,
            mb_per_s,
            errors,
            ..
        } = self;
        let columns = [
            latency.p50_us,
            latency.p90_us,
            latency.p99_us,
            latency.p999_us,
        ];
        let columns: String = columns
            .iter()
            .map(|us| format!("{:>10}", unit(*us)))
            .collect();
        let max = unit(latency.max_us);
        let cpu = self.broker_cpu_s_per_gb;
        let cpu = cpu.map_or_else(|| "?".to_owned(), |cpu| format!("{cpu:.2}"));
        format!(
            "{name:24}{requests_per_s:>9.0}{mb_per_s:>9.1}{columns}{max:>10}{cpu:>9}{errors:>7}"
        )
    }
}

/// Where the results come from, but for those of the floor server.
pub fn main_origin(outcomes: &[Outcome]) -> Option<&Origin> {
    let measured = outcomes
        .iter()
        .find(|outcome| outcome.origin.broker != FLOOR_NAME);
    measured.or(outcomes.first()).map(|outcome| &outcome.origin)
}

/// Prints the table on standard output.
///
/// # Errors
/// Standard output is closed.
pub fn print_table(outcomes: &[Outcome]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if let Some(origin) = main_origin(outcomes) {
        writeln!(
            out,
            "{} {}, {}, {}",
            origin.broker, origin.commit, origin.date, origin.machine
        )?;
        writeln!(out, "{}", origin.command)?;
    }
    writeln!(
        out,
        "{:24}{:>9}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}{:>9}{:>7}",
        "run", "req/s", "MB/s", "p50", "p90", "p99", "p99.9", "max", "CPU s/GB", "errors"
    )?;
    for outcome in outcomes {
        writeln!(out, "{}", outcome.line())?;
        if let Some(error) = &outcome.first_error {
            writeln!(out, "    first error: {error}")?;
        }
        for note in &outcome.notes {
            writeln!(out, "    {note}")?;
        }
    }
    Ok(())
}

/// The latency curves.
pub fn series(outcomes: &[Outcome]) -> Vec<Series> {
    let one = |outcome: &Outcome| Series {
        name: outcome.name.clone(),
        points: outcome.curve.clone(),
    };
    outcomes.iter().map(one).collect()
}

/// Writes `{stem}.json`, `{stem}.md`, `{stem}.html` and `{stem}.svg` into `directory`. Gives the path of the JSON.
///
/// # Errors
/// A file cannot be written.
pub fn write_files(directory: &Path, stem: &str, outcomes: &[Outcome]) -> Result<PathBuf> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("create {}", directory.display()))?;
    let write = |extension: &str, content: String| {
        let path = directory.join(format!("{stem}.{extension}"));
        std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok::<PathBuf, anyhow::Error>(path)
    };
    let rows: Vec<String> = outcomes.iter().map(Outcome::markdown_row).collect();
    write("md", format!("{MARKDOWN_HEADER}\n{}\n", rows.join("\n")))?;
    let title = main_origin(outcomes).map_or(String::new(), |origin| {
        format!("{} {}, {}", origin.broker, origin.commit, origin.date)
    });
    write("svg", plot::draw(&title, &series(outcomes)))?;
    write("html", page::draw(outcomes))?;
    write("json", serde_json::to_string_pretty(outcomes)? + "\n")
}
