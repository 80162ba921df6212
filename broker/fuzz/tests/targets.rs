//! What has failed once is replayed, and every target runs for a moment.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use fuzz::driver::{Run, execute, inputs};
use fuzz::targets::planted;
use fuzz::{TARGETS, Target, memory, recorded, targets};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// How long each target runs, in seconds: `KAFSCALE_FUZZ_SECONDS`, or two.
fn moment() -> Duration {
    let seconds = std::env::var("KAFSCALE_FUZZ_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

#[test]
fn what_has_failed_once_does_not_fail_again() {
    let directory = recorded::testdata().join("regressions");
    let entries = std::fs::read_dir(&directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.is_dir()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let target = targets::find(&name).unwrap_or_else(|| panic!("{name} is a target"));
        for input in inputs(&directory.join(&name)).unwrap() {
            assert_eq!(execute(target, &input), None, "{name} on {input:02x?}");
        }
    }
}

#[test]
fn every_target_runs_for_a_moment_without_a_finding() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let seed = u64::from(std::process::id());
        let mut run = Run::new(target, seed, Vec::new());
        let report = run.run_for(moment(), |_| {});
        eprintln!(
            "{}: {} runs, {} seen, seed {seed}",
            target.name, report.executions, report.seen
        );
        assert!(report.executions > 50, "{} hardly runs", target.name);
        for finding in &report.findings {
            failed.push(format!(
                "{}: {:02x?} {}",
                target.name, finding.input, finding.message
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn targets_are_listed_once_and_in_order() {
    assert!(TARGETS.is_sorted_by(|a, b| a.name < b.name));
    assert!(TARGETS.len() >= 12);
}

#[test]
fn recorded_frames_are_there_and_small() {
    let frames = recorded::frames();
    let requests = frames.iter().filter(|frame| !frame.is_response);
    let mut keys: Vec<i16> = requests.map(|frame| frame.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.len() >= 15, "keys of real clients: {keys:?}");
    let size: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
    assert!(size <= 1 << 20, "{size} bytes");
}

/// A driver that finds no planted defect finds no other.
fn is_found(target: &Target, message: &str) {
    let mut run = Run::new(target, 1, Vec::new());
    for _ in 0..40 {
        let report = run.run_for(Duration::from_secs(1), |_| {});
        if let Some(finding) = report.findings.first() {
            assert!(finding.message.contains(message), "{}", finding.message);
            assert!(execute(target, &finding.input).is_some(), "it fails again");
            return;
        }
    }
    panic!("{} is not found", target.name);
}

#[test]
fn planted_defects_are_found() {
    is_found(&planted::MAGIC, "the planted defect");
    is_found(&planted::BLIND, "a flipped bit is detected");
    is_found(&planted::GREEDY, "bytes for an input of");
}
