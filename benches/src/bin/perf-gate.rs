//! Counts the instructions of pure code and compares them with the baseline: see `docs/performance.md`.
//! `scripts/perf-gate` runs it.

#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use benches::gate::{Baseline, Counts, PLANTED_PERCENT, Verdict, WORKLOADS, count, run};

const USAGE: &str = "perf-gate check | planted | renew | run WORKLOAD [--planted]";
/// Workloads that are counted at a time, at most.
const AT_A_TIME: usize = 8;

fn main() -> ExitCode {
    match carry_out() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("perf-gate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out() -> anyhow::Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["run", name] => run(name, false).map(|()| true),
        ["run", name, "--planted"] => run(name, true).map(|()| true),
        ["check"] => check(),
        ["planted"] => planted(),
        ["renew"] => renew(),
        _ => bail!("usage: {USAGE}"),
    }
}

/// The baseline for this kind of processor.
fn file() -> PathBuf {
    let name = format!("{}.tsv", std::env::consts::ARCH);
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("baseline")
        .join(name)
}

fn baseline() -> anyhow::Result<Baseline> {
    let file = file();
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "read {}: `scripts/perf-gate renew` makes a baseline",
            file.display()
        )
    })?;
    Baseline::parse(&text).with_context(|| format!("read {}", file.display()))
}

fn compiler() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let output = output.context("run rustc --version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Counts all workloads, a few at a time: other load does not change what is counted.
fn count_all(planted: bool) -> anyhow::Result<Vec<(&'static str, Counts)>> {
    let valgrind = std::env::var_os("VALGRIND").unwrap_or_else(|| "valgrind".into());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..cores.min(AT_A_TIME) {
            scope.spawn(|| {
                while let Some(workload) = WORKLOADS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let counts = count(Path::new(&valgrind), workload, planted);
                    let mut results = results.lock().expect("no thread panics with it");
                    results.push(counts.map(|counts| (workload.name, counts)));
                }
            });
        }
    });
    results
        .into_inner()
        .expect("no thread panics with it")
        .into_iter()
        .collect()
}

fn check() -> anyhow::Result<bool> {
    let (baseline, compiler) = (baseline()?, compiler()?);
    let tolerance = baseline.tolerance_percent(&compiler);
    if compiler != baseline.compiler {
        println!(
            "NOTE: the baseline is of {}, this is {compiler}: {tolerance} % are allowed until it is \
             renewed (scripts/perf-gate renew)",
            baseline.compiler
        );
    }
    let mut counted = count_all(false)?;
    counted.sort_unstable_by_key(|(name, _)| *name);
    let mut passed = true;
    for (name, found) in &counted {
        let verdict = baseline.compare(name, *found, tolerance);
        passed &= matches!(verdict, Verdict::Same | Verdict::Less);
        report(&baseline, name, *found, &verdict);
    }
    for name in baseline.counts.keys() {
        if !WORKLOADS.iter().any(|workload| workload.name == name) {
            println!("FAIL {name}: in the baseline, but there is no such workload: renew it");
            passed = false;
        }
    }
    println!("{}", if passed { "pass" } else { "FAIL" });
    Ok(passed)
}

fn report(baseline: &Baseline, name: &str, found: Counts, verdict: &Verdict) {
    let allowed = baseline.counts.get(name).copied().unwrap_or_default();
    let word = match verdict {
        Verdict::Same => "ok  ".to_owned(),
        Verdict::Less => "less".to_owned(),
        Verdict::More(what) => format!("FAIL ({})", what.join(", ")),
        Verdict::Unknown => "FAIL (not in the baseline: renew it)".to_owned(),
    };
    let share = found.instructions as f64 / allowed.instructions.max(1) as f64 * 100.0 - 100.0;
    println!(
        "{word} {name}: instructions {} ({share:+.1} %), calls out {} (was {}), allocations {} (was {})",
        found.instructions,
        found.calls_out,
        allowed.calls_out,
        found.allocations,
        allowed.allocations
    );
}

/// Shows that the gate sees a slowdown: with a fifth more work every workload must be refused, for its
/// instructions alone. Compared with what this program takes, whatever the baseline says.
fn planted() -> anyhow::Result<bool> {
    let compiler = compiler()?;
    let baseline = Baseline {
        counts: by_name(count_all(false)?),
        compiler: compiler.clone(),
    };
    let tolerance = baseline.tolerance_percent(&compiler);
    let mut passed = true;
    for (name, found) in count_all(true)? {
        let verdict = baseline.compare(name, found, tolerance);
        let seen = matches!(&verdict, Verdict::More(what) if what.contains(&"instructions"));
        if !seen {
            println!("FAIL {name}: {PLANTED_PERCENT} % more work came to {verdict:?}");
            passed = false;
        }
    }
    if passed {
        let count = WORKLOADS.len();
        println!("pass: {PLANTED_PERCENT} % more work is refused for each of {count} workloads");
    }
    Ok(passed)
}

fn by_name(counted: Vec<(&'static str, Counts)>) -> BTreeMap<String, Counts> {
    let named = counted.into_iter();
    named
        .map(|(name, counts)| (name.to_owned(), counts))
        .collect()
}

fn renew() -> anyhow::Result<bool> {
    let baseline = Baseline {
        compiler: compiler()?,
        counts: by_name(count_all(false)?),
    };
    let file = file();
    std::fs::write(&file, baseline.to_text())
        .with_context(|| format!("write {}", file.display()))?;
    println!("wrote {}", file.display());
    Ok(true)
}
