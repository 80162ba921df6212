//! Processors that read the bucket, beside a live cluster: the example of `docs/processors.md`, and
//! that the page shows it as it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    dead_code,
    reason = "the world of the cluster tests has more than is needed here"
)]

mod common {
    pub(crate) mod ports;
    pub(crate) mod quiet;
}
#[path = "../../segment/reader/examples/word_count.rs"]
mod word_count;
#[path = "cluster/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use s3_server::Conditional;
use world::{Node, World, eventually};

/// Names the topic and the file to the process of the example.
const ARGUMENTS: [&str; 2] = ["WORD_COUNT_TOPIC", "WORD_COUNT_FILE"];

/// The example as a process of its own, which can be killed: this test program, started again for
/// this one "test", which does nothing without its environment variables.
#[test]
fn the_process_of_the_example() {
    let [Ok(topic), Ok(file)] = ARGUMENTS.map(std::env::var) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let counted = runtime.block_on(async {
        let bucket = word_count::open().await?;
        word_count::count(&bucket, &topic, &file).await
    });
    panic!("it counts for ever: {counted:?}");
}

/// A running example. Killed when dropped.
struct Processor {
    child: Child,
    log: PathBuf,
}

impl Processor {
    fn start(world: &World, topic: &str, file: &Path) -> Self {
        // The environment is that of a broker.
        let broker = world.command("0", world::free(), &[]);
        let settings = broker.get_envs();
        let settings = settings.filter_map(|(name, value)| Some((name, value?)));
        let log = file.with_extension("log");
        let output = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_of_the_example"])
            .arg("--nocapture")
            .envs(settings)
            .env(ARGUMENTS[0], topic)
            .env(ARGUMENTS[1], file)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Waits until it has counted so many words.
    fn has_counted(&mut self, file: &Path, words: u64) {
        eventually("the words are counted", || {
            let ended = self.child.try_wait().unwrap();
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(ended.is_none(), "it ended with {ended:?}:\n{log}");
            counts(file).values().sum::<u64>() >= words
        });
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the file says now.
fn counts(file: &Path) -> BTreeMap<String, u64> {
    let Ok(bytes) = std::fs::read(file) else {
        return BTreeMap::new();
    };
    let stored: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    serde_json::from_value(stored["state"].clone()).unwrap()
}

/// What a consumer sees, counted.
fn consumed(node: &Node, topic: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for number in node.read(topic) {
        *all.entry(number.to_string()).or_default() += 1;
    }
    all
}

fn counts_each_record_once(conditional: Conditional) {
    let settings = [
        ("KAFSCALE_COMPACTION_INTERVAL_MS", "1000"),
        ("KAFSCALE_SEGMENT_BYTES", "64KiB"),
    ];
    let world = World::start(conditional);
    let one = world.node_with("1", &settings);
    let mut two = world.node_with("2", &settings);
    one.run(&["topic", "create", "words", "--partitions", "4"], "");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("words.json");
    let mut processor = Processor::start(&world, "words", &file);
    for round in 0..4_u32 {
        let node = if round == 3 { &one } else { &two };
        node.produce("words", round * 1_000..round * 1_000 + 500);
        processor.has_counted(&file, u64::from(round) * 1_000 + 1);
        // In the middle of its work, as likely as not.
        processor.kill();
        node.produce("words", round * 1_000 + 500..round * 1_000 + 1_000);
        processor = Processor::start(&world, "words", &file);
        if round == 2 {
            two.kill();
        }
    }
    processor.has_counted(&file, 4_000);
    eventually("segments are written", || {
        one.metric("kafscale_compactions_total{result=\"ok\"") > 0.0
    });
    one.produce("words", 4_000..4_100);
    processor.has_counted(&file, 4_100);
    // Time for a record that is counted twice to show.
    std::thread::sleep(Duration::from_millis(500));
    processor.kill();
    let expected = consumed(&one, "words");
    assert_eq!(counts(&file), expected);
    assert_eq!(expected.len(), 4_100);
    // One that begins anew, when nearly everything is in segments, comes to the same.
    let again = folder.path().join("again.json");
    let mut processor = Processor::start(&world, "words", &again);
    processor.has_counted(&again, 4_100);
    processor.kill();
    assert_eq!(counts(&again), expected);
}

#[test]
fn a_processor_counts_each_record_once_beside_dying_brokers_and_compaction() {
    counts_each_record_once(Conditional::Atomic);
}

#[test]
fn so_it_does_where_commits_are_guarded() {
    counts_each_record_once(Conditional::Ignored);
}

#[test]
fn the_page_on_processors_shows_the_example_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let example = read("segment/reader/examples/word_count.rs");
    let page = read("docs/processors.md");
    assert!(
        page.contains(&format!("```rust\n{example}```\n")),
        "docs/processors.md and segment/reader/examples/word_count.rs differ"
    );
}
