//! Runs one target: mutates what it has, keeps what brings news, and keeps what fails.
//!
//! A run follows from its seed, as long as the target does nothing but compute.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::mutate::mutate;
use crate::targets::Target;
use crate::{feedback, memory};

/// A single input that takes longer hangs: none here has a reason to, on the slowest machine.
const SLOW: Duration = Duration::from_secs(10);
/// Findings after which a run ends.
const FINDINGS_MAX: usize = 8;
/// Tries to make a finding smaller.
const SHRINKS_MAX: usize = 2_000;
/// Inputs that are kept; beyond it a new one takes the place of another.
const KEPT_MAX: usize = 20_000;
/// Inputs larger than this are not kept: small ones go faster.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// An input that fails.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The smallest input that was found.
    pub input: Vec<u8>,
    /// What it failed with.
    pub message: String,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Inputs that were run.
    pub executions: u64,
    /// Inputs that are kept.
    pub kept: usize,
    /// Different things that were seen.
    pub seen: usize,
    /// The largest input.
    pub longest: usize,
    /// The most memory that one input took, whatever its own bounds.
    pub peak_bytes: usize,
    /// How long it ran.
    pub took: Duration,
    /// Inputs that failed, one for each message.
    pub findings: Vec<Finding>,
}

/// A run of one target.
pub struct Run<'a> {
    target: &'a Target,
    rng: StdRng,
    corpus: Vec<Vec<u8>>,
    seen: HashSet<u64>,
    report: Report,
}

/// What the last panic said: hooks are for the whole process.
static MESSAGE: Mutex<String> = Mutex::new(String::new());

/// Keeps panics from the terminal: they are findings, and reported as such. For the whole process.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut message) = MESSAGE.lock() {
            *message = panic.to_string();
        }
    }));
}

/// Runs a target on one input; gives what it failed with.
pub fn execute(target: &Target, input: &[u8]) -> Option<String> {
    if let Ok(mut message) = MESSAGE.lock() {
        message.clear();
    }
    let began = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    match result {
        Err(panic) => {
            let said = MESSAGE
                .lock()
                .map(|message| message.clone())
                .unwrap_or_default();
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            Some(if said.is_empty() {
                text.unwrap_or_default()
            } else {
                said
            })
        }
        Ok(()) if began.elapsed() > SLOW => Some(format!("it took more than {SLOW:?}")),
        Ok(()) => None,
    }
}

impl<'a> Run<'a> {
    /// A run that begins with the target's seeds, and with `more`.
    pub fn new(target: &'a Target, seed: u64, more: Vec<Vec<u8>>) -> Self {
        let mut run = Self {
            target,
            rng: StdRng::seed_from_u64(seed),
            corpus: Vec::new(),
            seen: HashSet::new(),
            report: Report::default(),
        };
        feedback::take();
        for input in (target.seeds)().into_iter().chain(more) {
            run.try_input(input, true);
        }
        if run.corpus.is_empty() {
            run.corpus.push(Vec::new());
        }
        run
    }

    /// Goes on for `time`, and tells `progress` now and then.
    pub fn run_for(&mut self, time: Duration, progress: impl Fn(&Report)) -> &Report {
        const PROGRESS_EVERY: Duration = Duration::from_secs(10);
        let (began, before) = (Instant::now(), self.report.took);
        let mut told = began;
        while began.elapsed() < time && self.report.findings.len() < FINDINGS_MAX {
            for _ in 0..16 {
                let input = self.next_input();
                self.try_input(input, false);
            }
            self.report.took = before + began.elapsed();
            if told.elapsed() > PROGRESS_EVERY {
                told = Instant::now();
                progress(&self.report);
            }
        }
        &self.report
    }

    /// The inputs that are kept.
    pub fn corpus(&self) -> &[Vec<u8>] {
        &self.corpus
    }

    fn next_input(&mut self) -> Vec<u8> {
        let count = self.corpus.len();
        // What came last is what has been looked at least.
        let first = if self.rng.random_range(0..3) == 0 {
            count * 3 / 4
        } else {
            0
        };
        let mut input = self.corpus[self.rng.random_range(first..count)].clone();
        let other = self.rng.random_range(0..count);
        mutate(
            &mut self.rng,
            &mut input,
            &self.corpus[other],
            self.target.words,
        );
        input
    }

    fn try_input(&mut self, input: Vec<u8>, is_seed: bool) {
        let (failed, peak) = memory::peak_of(|| execute(self.target, &input));
        self.report.executions += 1;
        self.report.longest = self.report.longest.max(input.len());
        self.report.peak_bytes = self.report.peak_bytes.max(peak);
        if let Some(message) = failed {
            feedback::take();
            self.found(input, message);
            return;
        }
        let mut has_news = is_seed;
        for news in feedback::take() {
            has_news |= self.seen.insert(news);
        }
        self.report.seen = self.seen.len();
        if has_news && input.len() <= KEPT_BYTES_MAX {
            if self.corpus.len() < KEPT_MAX {
                self.corpus.push(input);
            } else {
                let at = self.rng.random_range(0..KEPT_MAX);
                self.corpus[at] = input;
            }
        }
        self.report.kept = self.corpus.len();
    }

    /// Keeps one input for each place that fails, as small as it gets.
    fn found(&mut self, input: Vec<u8>, message: String) {
        let place = place_of(&message);
        if self
            .report
            .findings
            .iter()
            .any(|it| place_of(&it.message) == place)
        {
            return;
        }
        let input = self.shrink(input, &place);
        self.report.findings.push(Finding { input, message });
    }

    fn shrink(&mut self, mut input: Vec<u8>, place: &str) -> Vec<u8> {
        let mut step = input.len() / 2;
        let mut tries = 0;
        while step > 0 && tries < SHRINKS_MAX {
            let mut at = 0;
            while at < input.len() && tries < SHRINKS_MAX {
                let mut shorter = input.clone();
                shorter.drain(at..(at + step).min(input.len()));
                tries += 1;
                match execute(self.target, &shorter) {
                    Some(message) if place_of(&message) == place => input = shorter,
                    _ => at += step,
                }
                feedback::take();
            }
            step /= 2;
        }
        input
    }
}

/// The first line of a panic names its place in the sources.
fn place_of(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

/// Writes a finding where the tests replay it; gives the file.
///
/// # Errors
/// The file cannot be written.
pub fn keep(directory: &Path, target: &Target, finding: &Finding) -> std::io::Result<PathBuf> {
    let directory = directory.join(target.name);
    std::fs::create_dir_all(&directory)?;
    let name = format!("{:08x}", crc32fast::hash(&finding.input));
    let path = directory.join(name);
    std::fs::write(&path, &finding.input)?;
    Ok(path)
}

/// The inputs in the files of a directory, in order of name; none where it is not there.
///
/// # Errors
/// A file cannot be read.
pub fn inputs(directory: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(Vec::new());
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.into_iter().map(std::fs::read).collect()
}
