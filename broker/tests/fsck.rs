//! `kafscale fsck` as a user meets it: on the directory of a broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::child::ChildBroker;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kafscale");
const LINES: usize = 4_000;

fn run(words: &[&str], input: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KAFSCALE_") {
            command.env_remove(name);
        }
    }
    command.args(words).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Runs fsck on a directory, which ends with this code; gives its output.
fn fsck(directory: &Path, options: &[&str], code: i32) -> String {
    let directory = directory.to_str().unwrap();
    let words = [&["fsck", "--data-dir", directory][..], options].concat();
    let output = run(&words, "");
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{options:?}: {text}{errors}"
    );
    text + &errors
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory.join("kafscale/default/lines/0")) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "kfs"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn a_directory_is_checked_repaired_and_served_again() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let flags = [
        "--segment-bytes",
        "64KiB",
        "--compaction-interval-ms",
        "1000",
    ];
    let broker = ChildBroker::start(&data, &log, &flags);
    let server = broker.kafka.to_string();
    let line = "x".repeat(96);
    let lines: String = (0..LINES)
        .map(|number| format!("{number} {line}\n"))
        .collect();
    for words in [
        &["topic", "create", "lines", "-b", &server][..],
        &["produce", "lines", "-b", &server],
    ] {
        let output = run(words, &lines);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while segments(&data).is_empty() {
        assert!(Instant::now() < deadline, "no segment:\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    // What comes now is too little for a segment, and stays in the WAL.
    run(&["produce", "lines", "-b", &server], "the last line\n");
    let text = fsck(&data, &[], 1);
    assert!(text.contains("lock"), "a running broker refuses: {text}");
    drop(broker);

    // The kill may have come before a compaction had deleted what it replaced.
    fsck(&data, &["--repair"], 0);
    let text = fsck(&data, &["--deep"], 0);
    assert!(text.contains("0 errors, 0 warnings"), "{text}");
    let victim = segments(&data).remove(0);
    let bytes = std::fs::read(&victim).unwrap();
    std::fs::write(&victim, &bytes[..bytes.len() / 2]).unwrap();
    let text = fsck(&data, &[], 1);
    assert!(
        text.contains("error segment-damaged kafscale/default/lines/0/segment-"),
        "{text}"
    );
    assert!(
        text.contains("To do: ") && text.contains("1 errors"),
        "{text}"
    );
    let document: Value = {
        let text = fsck(&data, &["--json"], 1);
        let end = text.rfind('}').unwrap();
        serde_json::from_str(&text[..=end]).unwrap()
    };
    let first = &document["findings"][0];
    assert_eq!(first["code"], "segment-damaged");
    assert_eq!(first["severity"], "error");
    let text = fsck(&data, &["--repair"], 0);
    assert!(text.contains("  repaired: "), "{text}");
    let text = fsck(&data, &["--deep"], 0);
    assert!(
        text.contains("note quarantined kafscale-wal/default/quarantine/lines/0/"),
        "{text}"
    );
    let text = fsck(&data, &["--garbage"], 0);
    assert!(text.contains("are garbage"), "{text}");

    let broker = ChildBroker::start(&data, &log, &flags);
    let server = broker.kafka.to_string();
    let words = [
        "consume",
        "lines",
        "-b",
        &server,
        "--from-beginning",
        "--exit-at-end",
    ];
    let output = run(&words, "");
    let text = String::from_utf8(output.stdout).unwrap();
    let left = text.lines().count();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(left <= LINES, "{left}: {errors}");
    assert!(text.ends_with("the last line\n"), "{left}: {errors}");
}
