//! Settings files.

use std::cell::RefCell;

use broker::config::{Config, Machine};
use tempfile::NamedTempFile;

use super::Target;
use crate::feedback;

/// TOML files of settings.
pub const CONFIG: Target = Target {
    name: "config-file",
    about: "a settings file; a refusal names what is wrong",
    run: config,
    seeds: || {
        let files = [
            "[broker]\naddr = \"127.0.0.1:9092\"\nid = 3\n",
            "[shard]\ncount = 2\npin = false\nconnections_max = 10000\n",
            "[memory]\nbudget_bytes = \"64MiB\"\n[log]\nflush_interval_ms = 5\n",
            "[s3]\nbucket = \"b\"\n[etcd]\nendpoints = [\"http://127.0.0.1:2379\"]\n",
            "[health]\nerror_rate_warn = 0.5\n[topic]\nauto_create = true\n",
        ];
        files.iter().map(|file| file.as_bytes().to_vec()).collect()
    },
    words: &[
        b"[shard]\n",
        b"[memory]\n",
        b"[log]\n",
        b"[s3]\n",
        b" = ",
        b"\"",
        b"MiB",
        b"\n",
        b"true",
        b"-1",
        b"99999999999999999999",
        b"1e999",
        b"nan",
        b"[[",
        b"]]",
        b"'''",
        b"\\u0000",
        b"::1",
    ],
};

thread_local! {
    static FILE: RefCell<Option<NamedTempFile>> = const { RefCell::new(None) };
}

fn config(input: &[u8]) {
    FILE.with_borrow_mut(|file| {
        let file = file.get_or_insert_with(|| NamedTempFile::new().expect("a temporary file"));
        std::fs::write(file.path(), input).expect("a temporary file can be written");
        let machine = Machine {
            memory_bytes: 8 << 30,
            cpus: vec![0, 1],
            parallelism: 2,
            host_name: "host".to_owned(),
            pod_name: None,
            pod_namespace: None,
        };
        let loaded = Config::with_file(file.path(), machine);
        feedback::note_result("config", &loaded);
        match loaded {
            Ok(loaded) => assert!((1..=256).contains(&loaded.config.shards())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}
