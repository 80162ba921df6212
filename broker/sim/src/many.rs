//! Many seeds, or all crash points of one: each in a process of its own, so that a run depends on nothing but its seed, and
//! one that hangs or aborts is found like any other.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coord::marks::Mark;

use crate::crash::CrashPoint;
use crate::fault::Fault;
use crate::run::Outcome;

/// Longest real time of one seed, which takes some seconds on a machine without other work; one that takes longer hangs.
const SEED_TIMEOUT: Duration = Duration::from_secs(600);
/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What is run once for each number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// The seed of that number.
    Seed,
    /// This seed, with a crash at the point of that number.
    CrashPointOf(u64),
}

/// Which seeds to run, and how.
#[derive(Debug, Clone)]
pub struct Many {
    /// The program that runs one seed.
    pub program: PathBuf,
    /// The seeds, or crash points.
    pub numbers: Range<u64>,
    /// The next number is so many further on.
    pub step: u64,
    /// Which of both.
    pub each: Each,
    /// Processes at a time.
    pub jobs: usize,
    /// No run is begun after this real time.
    pub time: Option<Duration>,
    /// A defect to plant, by name.
    pub planted: Option<String>,
    /// Whether to end with the first run that breaks a promise.
    pub stops_at_first: bool,
}

/// What many seeds came to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Batches acknowledged.
    pub acknowledged: u64,
    /// Records read.
    pub read: u64,
    /// Brokers that died at a request.
    pub crashed: u64,
    /// Numbers whose runs broke promises, and which.
    pub failed: BTreeMap<u64, Vec<String>>,
    faults: BTreeMap<String, u64>,
    marks: BTreeMap<String, u64>,
}

impl Summary {
    fn add(&mut self, number: u64, outcome: Result<Outcome, String>) {
        self.seeds += 1;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(why) => {
                self.failed.insert(number, vec![why]);
                return;
            }
        };
        self.simulated_ms += outcome.simulated_ms;
        self.acknowledged += outcome.acknowledged;
        self.read += outcome.read;
        let at_request = [Fault::CrashAtRequest, Fault::CrashAtTransaction];
        let crashes = at_request.map(|fault| outcome.faults.get(&format!("{fault:?}")).copied());
        self.crashed += crashes.into_iter().flatten().sum::<u64>();
        for (fault, count) in outcome.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        for (mark, count) in outcome.marks {
            *self.marks.entry(mark).or_default() += count;
        }
        if !outcome.violations.is_empty() {
            self.failed.insert(number, outcome.violations);
        }
    }

    /// Simulated hours.
    pub fn hours(&self) -> f64 {
        self.simulated_ms as f64 / 3_600_000.0
    }

    /// Kinds of faults that were injected at least once.
    pub fn fault_kinds(&self) -> usize {
        self.faults.len()
    }

    /// Kinds of faults that were never injected.
    pub fn faults_never_injected(&self) -> Vec<String> {
        let names = Fault::ALL.iter().map(|fault| format!("{fault:?}"));
        names
            .filter(|name| !self.faults.contains_key(name))
            .collect()
    }

    /// Marks that no seed has hit.
    pub fn marks_never_hit(&self) -> Vec<String> {
        let names = Mark::ALL.iter().map(|mark| format!("{mark:?}"));
        names
            .filter(|name| !self.marks.contains_key(name))
            .collect()
    }
}

/// Runs all of them. `told` is called after each with its number and what there is so far.
pub fn run(many: &Many, told: impl Fn(u64, &Summary) + Sync) -> Summary {
    let (next, ends) = (AtomicU64::new(many.numbers.start), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..many.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let late = many.time.is_some_and(|time| began.elapsed() >= time);
                    if late || ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let number = next.fetch_add(many.step.max(1), Ordering::Relaxed);
                    if number >= many.numbers.end {
                        return;
                    }
                    let (seed, point) = match many.each {
                        Each::Seed => (number, None),
                        Each::CrashPointOf(seed) => (seed, Some(CrashPoint(number))),
                    };
                    let outcome = one(&many.program, seed, point, many.planted.as_deref());
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.add(number, outcome);
                    if many.stops_at_first && !summary.failed.is_empty() {
                        ends.store(true, Ordering::Relaxed);
                    }
                    told(number, &summary);
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one seed in a process.
///
/// # Errors
/// Why it gave no outcome: it hung, or died.
pub fn one(
    program: &Path,
    seed: u64,
    crash_at: Option<CrashPoint>,
    planted: Option<&str>,
) -> Result<Outcome, String> {
    let mut command = Command::new(program);
    command.args(["--seed", &seed.to_string(), "--quiet"]);
    if let Some(point) = crash_at {
        command.args(["--crash-point", &point.0.to_string()]);
    }
    if let Some(planted) = planted {
        command.args(["--planted", planted]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = command
        .spawn()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let Some(mut output) = process.stdout.take() else {
        return Err("it has no output".to_owned());
    };
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let began = Instant::now();
    let status = loop {
        match process.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() > SEED_TIMEOUT => {
                let _ = process.kill();
                let _ = process.wait();
                return Err(format!("it hangs: no end after {SEED_TIMEOUT:?}"));
            }
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            Err(error) => return Err(format!("it cannot be waited for: {error}")),
        }
    };
    let text = reading.join().ok().and_then(Result::ok).unwrap_or_default();
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|error| format!("it ended with {status}: {error}"))
}
