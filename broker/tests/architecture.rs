//! The dependency rules of the design, checked from `cargo metadata` and the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file before its tests.
const FILE_LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

/// Normal dependencies of every workspace crate.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &serde_json::Value| value["name"].as_str().expect("a name").to_owned();
    let normal = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().expect("dependencies");
        all.iter()
            .filter(|d| d["kind"].is_null())
            .map(name)
            .collect()
    };
    packages
        .iter()
        .map(|package| (name(package), normal(package)))
        .collect()
}

fn sources(under: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    while let Some(path) = folders.pop() {
        if path.is_dir() {
            if path.ends_with("target") {
                continue;
            }
            let entries = std::fs::read_dir(&path).expect("a readable folder");
            folders.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            found.push((path, text));
        }
    }
    assert!(!found.is_empty(), "no sources under {under}");
    found
}

/// The code of a file: without comments, and without its tests at the end.
fn code(text: &str) -> String {
    let product = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
    let lines = product
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn assert_absent(under: &str, words: &[&str]) {
    for (path, text) in sources(under) {
        let code = code(&text);
        for word in words {
            assert!(!code.contains(word), "{} names `{word}`", path.display());
        }
    }
}

#[test]
fn pure_crates_depend_on_no_runtime_and_no_io() {
    let all = dependencies();
    for name in ["segment", "cache", "wire", "export"] {
        for forbidden in [
            "tokio", "monoio", "flume", "redb", "store", "coord", "hyper",
        ] {
            assert!(
                !all[name].contains(forbidden),
                "{name} depends on {forbidden}"
            );
        }
    }
}

#[test]
fn wire_and_segment_know_nothing_of_each_other() {
    let all = dependencies();
    assert!(!all["wire"].contains("segment"));
    assert!(!all["segment"].contains("wire"));
    assert!(!all["coord"].contains("wire"));
    assert!(!all["store"].contains("wire"));
}

/// Whoever reads the bucket needs no broker, and brings no runtime of its own.
#[test]
fn the_reader_knows_the_stores_and_nothing_of_brokers() {
    let all = dependencies();
    for forbidden in ["broker", "wire", "client", "cache", "tokio", "monoio"] {
        assert!(
            !all["reader"].contains(forbidden),
            "reader depends on {forbidden}"
        );
    }
    for name in ["segment", "coord", "store"] {
        assert!(!all[name].contains("reader"), "{name} depends on reader");
    }
    assert_absent("segment/reader/src", &["tokio::", "modified_ms"]);
}

#[test]
fn only_the_runtime_names_monoio() {
    for (name, normal) in dependencies() {
        let named = normal.contains("monoio");
        assert_eq!(named, name == "runtime", "{name} depends on monoio");
    }
}

#[test]
fn tokio_appears_only_where_the_control_thread_runs() {
    for folder in ["api", "net", "partition", "shard", "wal", "cli", "metrics"] {
        assert_absent(&format!("broker/src/{folder}"), &["tokio::"]);
    }
    let all = dependencies();
    for name in ["segment", "cache", "wire", "client", "export", "runtime"] {
        assert!(!all[name].contains("tokio"), "{name} depends on tokio");
    }
    // Of coord, only the etcd side has a runtime.
    for (path, text) in sources("coord/src") {
        let etcd_side = path.starts_with(root().join("coord/src/kv/etcd"));
        for word in ["tokio::", "tonic::", "etcd_client::"] {
            let named = code(&text).contains(word);
            assert!(etcd_side || !named, "{} names `{word}`", path.display());
        }
    }
}

#[test]
fn the_partition_core_names_no_kafka_error_code_and_no_io() {
    assert_absent(
        "broker/src/partition",
        &["wire::", "ErrorCode", "store::", "runtime::", "Instant::"],
    );
    assert_absent(
        "broker/src/wal",
        &["wire::", "runtime::", "Instant::now", "SystemTime"],
    );
}

#[test]
fn handlers_touch_no_runtime_and_no_store() {
    assert_absent("broker/src/api", &["runtime::", "store::", "coord::kv"]);
}

#[test]
fn there_is_no_lock_on_the_data_path_and_no_queue_without_a_bound() {
    for folder in ["api", "net", "partition", "shard"] {
        assert_absent(&format!("broker/src/{folder}"), &["Mutex<", "RwLock<"]);
    }
    for folder in ["broker/src", "coord/src", "broker/store/src"] {
        assert_absent(
            folder,
            &["flume::unbounded", "unbounded_channel", "mpsc::unbounded"],
        );
    }
}

/// The names of the rules of the log protocol.
fn protocol_rules() -> Vec<String> {
    let path = root().join("coord/src/rules.rs");
    let text = std::fs::read_to_string(path).expect("the rules");
    let body = text.split("pub enum Rule {").nth(1).expect("the rules");
    let body = body.split('}').next().unwrap_or_default();
    let lines = body.lines().map(str::trim);
    let names = lines.filter_map(|line| line.strip_suffix(','));
    names
        .filter(|name| name.chars().all(char::is_alphanumeric))
        .map(str::to_owned)
        .collect()
}

/// Every rule lives in the code, has a test that takes it out, and is in the table.
#[test]
fn every_rule_of_the_log_protocol_has_a_test_that_takes_it_out() {
    let rules = protocol_rules();
    assert!(rules.len() > 50, "{rules:?}");
    let tests = root().join("broker/src/control/log_protocol");
    let (mut code, mut taken_out) = (String::new(), String::new());
    for folder in ["broker/src", "coord/src"] {
        for (path, text) in sources(folder) {
            match path.starts_with(&tests) {
                true => taken_out.push_str(&text),
                false => code.push_str(&text),
            }
        }
    }
    let table = std::fs::read_to_string(root().join("docs/log-protocol-tests.md"));
    let table = table.expect("the table of rules and tests");
    for rule in &rules {
        let named = |text: &str, before: &str, after: &str| {
            text.contains(&format!("{before}{rule}{after}"))
        };
        assert!(
            named(&code, "holds(Rule::", ")") || named(&code, "rule(Rule::", ","),
            "{rule} lives nowhere"
        );
        assert!(
            named(&taken_out, "Rule::", ",\n"),
            "no test takes {rule} out"
        );
        assert!(named(&table, "`", "`"), "{rule} is not in the table");
    }
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let tests = rows.filter_map(|row| row.split('`').nth(1));
    let tests: Vec<String> = tests.map(|test| format!("fn {test}(")).collect();
    assert!(tests.len() >= rules.len());
    for test in tests {
        assert!(taken_out.contains(&test), "the table names {test}");
    }
}

/// The switch that takes a rule out is for tests: nothing that is shipped may have it.
#[test]
fn no_product_can_switch_a_rule_of_the_log_protocol_off() {
    let features = |edges: &str| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--locked", "--prefix", "none"])
            .args(["-f", "{p} {f}", "-p", "broker", "-e", edges])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        assert!(found.contains("coord v"), "the broker needs coord: {found}");
        found
    };
    let (shipped, tested) = (features("normal,build"), features("normal,build,dev"));
    assert!(!shipped.contains("switchable-rules"), "{shipped}");
    assert!(tested.contains("switchable-rules"), "{tested}");
}

/// Clocks are not compared: when an object was written decides nothing (log-protocol H21).
#[test]
fn no_object_is_judged_by_its_age() {
    assert_absent("broker/src", &["modified_ms"]);
}

#[test]
fn files_stay_short_and_have_names_that_say_something() {
    for folder in ["segment", "cache", "coord", "broker", "perf", "benches"] {
        for (path, text) in sources(folder) {
            let stem = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            let vague = ["utils", "util", "common", "helpers", "misc"].contains(&stem);
            assert!(!vague, "{}: a name that says nothing", path.display());
            // What declares the settings or the metrics is a table.
            let tests = stem.contains("tests")
                || stem == "declaration"
                || path.iter().any(|part| part == "tests");
            let lines = text
                .split("\n#[cfg(test)]\n")
                .next()
                .unwrap_or_default()
                .lines()
                .count();
            assert!(
                tests || lines <= FILE_LINES_MAX,
                "{}: {lines} lines",
                path.display()
            );
        }
    }
}
