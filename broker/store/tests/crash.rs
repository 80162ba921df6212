//! What is acknowledged survives kill -9, and a full disk harms nothing: with real processes.
//!
//! Each test runs this binary again as a child; the functions named `child_*` are those children
//! and do nothing without their environment variable.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use conformance::{Subject, key, wait};
use store::local::{LocalOptions, LocalStore};
use store::{Body, GetRange, ListRequest, ObjectStore, PutCondition, PutError};

const ROOT: &str = "STORE_TEST_ROOT";

fn child(name: &str, root: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROOT, root);
    command
}

/// A body that can be checked alone: the number, then bytes that follow from it.
fn body(number: u64) -> Body {
    let len = (number * 7919) % 100_000;
    let tail: Vec<u8> = (0..len)
        .map(|at| (number.wrapping_mul(31) + at) as u8)
        .collect();
    Body::new(vec![
        Bytes::copy_from_slice(&number.to_le_bytes()),
        tail.into(),
    ])
}

#[test]
fn child_puts_until_killed() {
    let Some(root) = env::var_os(ROOT) else {
        return;
    };
    let store = Arc::new(LocalStore::open(Path::new(&root), LocalOptions::default()).unwrap());
    let start = wait(store.list(ListRequest::new("wal/")))
        .unwrap()
        .objects
        .len() as u64;
    for thread in 0..4 {
        let store = Arc::clone(&store);
        thread::spawn(move || {
            for round in 0.. {
                let number = start * 1000 + round * 4 + thread;
                let key = key(&format!("wal/{thread}/{number:020}.wal"));
                if wait(store.put(key, body(number), PutCondition::IfAbsent)).is_ok() {
                    println!("ACKNOWLEDGED {thread} {number}");
                }
            }
        });
    }
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn everything_acknowledged_survives_kill_9_and_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for kill_after in [1, 17, 60] {
        let mut child = child("child_puts_until_killed", root.path());
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            // The test harness may have written the start of the line.
            let Some((_, names)) = line.split_once("ACKNOWLEDGED ") else {
                continue;
            };
            let (thread, number) = names.split_once(' ').unwrap();
            acknowledged.push((thread.to_owned(), number.parse::<u64>().unwrap()));
            seen += 1;
            if seen == kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let opening = Instant::now();
        let store = LocalStore::open(root.path(), LocalOptions::default()).unwrap();
        assert!(
            opening.elapsed() < Duration::from_secs(2),
            "the lock is free at once"
        );
        assert!(seen >= kill_after);
        check_all(&Arc::new(store), &acknowledged);
    }
}

fn check_all(store: &Arc<LocalStore>, acknowledged: &[(String, u64)]) {
    for (thread, number) in acknowledged {
        let key = key(&format!("wal/{thread}/{number:020}.wal"));
        let found = wait(store.get(key, GetRange::Full)).unwrap();
        assert!(
            found.bytes == body(*number).to_bytes(),
            "object {number} is whole"
        );
    }
    let mut request = Some(ListRequest::new("wal/"));
    while let Some(current) = request {
        let page = wait(store.list(current.clone())).unwrap();
        for meta in &page.objects {
            let found = wait(store.get(meta.key.clone(), GetRange::Full)).unwrap();
            let number = u64::from_le_bytes(found.bytes[..8].try_into().unwrap());
            assert!(
                found.bytes == body(number).to_bytes(),
                "{} is whole",
                meta.key
            );
        }
        request = current.next(&page);
    }
}

#[test]
fn child_fills_the_disk() {
    let Some(root) = env::var_os(ROOT) else {
        return;
    };
    let root = Path::new(&root);
    let store = Arc::new(LocalStore::open(root, LocalOptions::default()).unwrap());
    let subject = Subject {
        store,
        prefix: "wal/".to_owned(),
    };
    let large = "x".repeat(300_000);
    let mut whole = 0;
    let error = loop {
        match subject.put(&format!("{whole:04}"), &large, PutCondition::IfAbsent) {
            Ok(_) => whole += 1,
            Err(error) => break error,
        }
        assert!(whole < 100, "the file system is not bounded");
    };
    assert!(
        matches!(
            error,
            PutError::Full {
                outcome_unknown: false,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.retriable());
    let temporaries = || std::fs::read_dir(root.join(".tmp")).unwrap().count();
    assert_eq!(temporaries(), 0, "the part written is removed");
    assert_eq!(
        subject.names("", 1000).len(),
        whole,
        "nothing torn is visible"
    );
    assert!((0..whole).all(|number| subject.text(&format!("{number:04}")) == large));
    let again = subject.put(&format!("{whole:04}"), &large, PutCondition::IfAbsent);
    assert!(matches!(again, Err(PutError::Full { .. })), "{again:?}");
    assert!(subject.delete(&["0000"])[0].1.is_ok(), "space can be made");
    subject
        .put(&format!("{whole:04}"), &large, PutCondition::IfAbsent)
        .unwrap();
    assert_eq!(subject.names("", 1000).len(), whole);
    println!("FILLED {whole}");
}

/// A small tmpfs in a mount namespace of the child: nothing is left mounted. Needs root or user
/// namespaces; where both are refused the test fails and says how to leave it out.
#[test]
fn a_full_disk_is_told_and_space_may_return() {
    if env::var("STORE_TEST_FULL_DISK").is_ok_and(|choice| choice == "skip") {
        eprintln!("SKIPPED by STORE_TEST_FULL_DISK=skip: the full disk on a real file system");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=2m none \"$STORE_TEST_ROOT\" && exec \"$@\"";
    let child = child("child_fills_the_disk", root.path());
    let run = |flags: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", script, "sh"]);
        command
            .arg(child.get_program())
            .args(child.get_args())
            .env(ROOT, root.path());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success() && text.contains("FILLED"), output)
    };
    let (passed, output) = run(&["-m"]);
    let refused = String::from_utf8_lossy(&output.stderr).contains("unshare");
    let (passed, output) = if refused {
        run(&["-r", "-m"])
    } else {
        (passed, output)
    };
    assert!(
        passed,
        "{}\n{}\nwhere mounts are refused set STORE_TEST_FULL_DISK=skip",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
