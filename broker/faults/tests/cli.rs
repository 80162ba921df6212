//! The program: what it refuses, and how it ends. `cargo test` builds it for this, so that whoever
//! has run the tests can start it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kafscale-faults"));
    command.args(arguments).output().unwrap()
}

#[test]
fn an_unknown_scenario_is_refused_and_the_known_ones_are_named() {
    let refused = run(&["--broker", "b", "--etcd", "e", "--only", "flood"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("kill-owner") && said.contains("forced-moves"),
        "{said}"
    );
}

#[test]
fn a_run_that_cannot_be_made_says_why_and_how_to_try_again() {
    let logs = tempfile::tempdir().unwrap();
    let at = logs.path().to_str().unwrap();
    let missing = format!("{at}/none");
    let arguments = [
        "--broker", &missing, "--etcd", &missing, "--seed", "7", "--logs", at,
    ];
    let failed = run(&arguments);
    assert_eq!(failed.status.code(), Some(2));
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(said.contains("cannot start etcd"), "{said}");
    assert!(said.contains(at) && said.contains("--seed 7"), "{said}");
}
