//! `scripts/perf-compare` as a whole, with the floor server in two roles: as itself, and behind a stand-in for
//! the broker's command line.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Answers `--version` and `/readyz` as the broker does, and serves Kafka's protocol as the floor does.
const STAND_IN: &str = r#"#!/usr/bin/env python3
import http.server, os, sys
if "--version" in sys.argv:
    print("kafscale 9.9.9")
    sys.exit(0)
parent = os.getpid()
if os.fork() == 0:
    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/readyz" else 404)
            self.end_headers()
    host, port = os.environ["KAFSCALE_METRICS_ADDR"].split(":")
    server = http.server.HTTPServer((host, int(port)), Ready)
    server.timeout = 0.2
    while os.getppid() == parent:
        server.handle_request()
    os._exit(0)
assert os.environ["KAFSCALE_SHARDS"] == "1", "one shard a core"
os.execv(PERF, [PERF, "floor", "--serve", os.environ["KAFSCALE_BROKER_ADDR"]])
"#;

fn script() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("scripts/perf-compare")
}

fn compare(kafscale: &Path, words: &[&str]) -> Output {
    let perf = env!("CARGO_BIN_EXE_kafscale-perf");
    let mut command = Command::new("python3");
    command.arg(script()).arg("--kafscale").arg(kafscale);
    command.args(["--perf", perf]).args(words);
    command.output().expect("python3 runs")
}

fn stand_in(directory: &Path) -> PathBuf {
    let path = directory.join("kafscale");
    let perf = format!("{:?}", env!("CARGO_BIN_EXE_kafscale-perf"));
    std::fs::write(&path, STAND_IN.replace("PERF", &perf)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_section_is_replaced_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let kafscale = stand_in(directory.path());
    let results = directory.path().join("RESULTS.md");
    let (begin, end) = ("<!-- perf-compare: begin -->", "<!-- perf-compare: end -->");
    std::fs::write(
        &results,
        format!("# Before\n\n{begin}\nold\n{end}\n\n# Behind\n"),
    )
    .unwrap();
    let words = [
        "--systems",
        "ours,floor",
        "--cores",
        "1",
        "--rounds",
        "2",
        "--seconds",
        "0.2",
        "--warmup",
        "0.1",
        "--sizes",
        "1KiB",
        "--connections",
        "2",
        "--results",
    ];
    let mut words: Vec<&str> = words.to_vec();
    words.push(results.to_str().unwrap());
    for _ in 0..2 {
        let output = compare(&kafscale, &words);
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{complained}");
        // One round is thrown away, then A B A B.
        let order: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("1KiB, 2 connections ") && line.starts_with("round"))
            .map(|line| if line.contains("KafScale") { "A" } else { "B" })
            .collect();
        assert_eq!(order.concat(), "ABABAB", "{said}");
    }
    let text = std::fs::read_to_string(&results).unwrap();
    assert!(
        text.starts_with(&format!("# Before\n\n{begin}\n")),
        "{text}"
    );
    assert!(text.ends_with(&format!("{end}\n\n# Behind\n")), "{text}");
    assert!(
        !text.contains("\nold\n") && !text.contains("failed"),
        "{text}"
    );
    assert_eq!(
        (text.matches(begin).count(), text.matches(end).count()),
        (1, 1)
    );
    for shown in [
        "kafscale 9.9.9, commit ",
        "KafScale / floor",
        "records/s a core used",
        "2 rounds of 0.2 s, interleaved, medians",
        "scripts/perf-compare --systems ours,floor --cores 1",
    ] {
        assert!(text.contains(shown), "{shown} is missing:\n{text}");
    }
    // The same server on both sides: a ratio that is of this order, in the last column of the first table.
    let row = text
        .lines()
        .find(|line| line.starts_with("| 1KiB, 2"))
        .unwrap();
    let ratio = row.split('|').rev().nth(1).unwrap().trim();
    let ratio: f64 = ratio.parse().unwrap();
    assert!((0.1..10.0).contains(&ratio), "{row}");
}

#[test]
fn nonsense_is_refused_and_a_system_that_does_not_start_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let kafscale = stand_in(directory.path());
    for words in [
        &["--systems", "rabbit"][..],
        &["--rounds", "0"],
        &["--cores", "1000"],
        &["--nothing"],
    ] {
        let output = compare(&kafscale, words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
    let broken = directory.path().join("broken");
    std::fs::write(&broken, "#!/bin/sh\necho no disk\nexit 3\n").unwrap();
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    let words = [
        "--systems",
        "ours,floor",
        "--cores",
        "1",
        "--rounds",
        "1",
        "--seconds",
        "0.1",
        "--warmup",
        "0",
        "--sizes",
        "1KiB",
        "--connections",
        "1",
        "--results",
        "-",
    ];
    let output = compare(&broken, &words);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("KafScale: not measured: ours stopped while it started: exit 3"),
        "{said}"
    );
    assert!(said.contains("no disk"), "{said}");
}
