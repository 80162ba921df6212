//! Processor time of the threads of this process, as the kernel counts it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::process::cpu_time;

/// Threads that are looked at; a process has one a shard and few others.
const THREADS_MAX: usize = 1024;
/// What the names of shards' threads begin with; the number follows.
const SHARD: &str = "shard-";

/// Processor time since their start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Threads {
    /// The control thread's: the first of the process.
    pub(super) control: Duration,
    /// Those of the shards, by number; of several brokers in one process together.
    pub(super) shards: BTreeMap<usize, Duration>,
}

impl Threads {
    /// Asks the kernel; a thread that it says nothing of is left out.
    pub(super) fn read() -> Self {
        let main = std::process::id().to_string();
        let mut threads = Self::default();
        let Ok(entries) = fs::read_dir("/proc/self/task") else {
            return threads;
        };
        for entry in entries.flatten().take(THREADS_MAX) {
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            let Some((head, _)) = stat.rsplit_once(')') else {
                continue;
            };
            let name = head.split_once('(').map_or("", |(_, name)| name);
            match name.strip_prefix(SHARD).map(str::parse) {
                Some(Ok(shard)) => *threads.shards.entry(shard).or_default() += cpu_time(&stat),
                _ if entry.file_name().to_str() == Some(main.as_str()) => {
                    threads.control = cpu_time(&stat);
                }
                _ => {}
            }
        }
        threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_shard_is_told_from_an_idle_one() {
        let (stop, told) = std::sync::mpsc::channel::<()>();
        let named = |number: u32| std::thread::Builder::new().name(format!("{SHARD}{number}"));
        let idle = named(900).spawn(move || told.recv().is_ok()).unwrap();
        let until = std::time::Instant::now() + Duration::from_millis(300);
        let busy = named(901).spawn(move || {
            let mut turns = 0u64;
            while std::time::Instant::now() < until {
                turns = std::hint::black_box(turns + 1);
            }
            let threads = Threads::read();
            (threads.shards[&900], threads.shards[&901])
        });
        let (of_idle, of_busy) = busy.unwrap().join().unwrap();
        drop(stop);
        idle.join().unwrap();
        assert!(
            of_busy >= of_idle + Duration::from_millis(20),
            "{of_busy:?} {of_idle:?}"
        );
    }
}
