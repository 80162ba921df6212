//! What the process may use: processors, memory, files.

use std::path::Path;

use super::{Check, read};
use crate::config::Config;

/// Files beside connections: the store's connections, the log, the ring, the listeners.
const OTHER_FILES: u64 = 1024;
/// Fewest open files that a broker does anything useful with.
const FILES_MIN: u64 = 2048;
/// Locked memory of a shard's ring, where the kernel counts it.
const RING_BYTES: u64 = 110 << 10;
const MIB: u64 = 1 << 20;

pub(super) fn checks(config: &Config, root: &Path) -> Vec<Check> {
    let limits = read(root, "proc/self/limits").unwrap_or_default();
    let shards = config.shards() as u64;
    vec![
        cpus(config),
        memory(config),
        files(&limits, shards * config.shard.connections_max as u64),
        locked(&limits, shards),
    ]
}

fn cpus(config: &Config) -> Check {
    const NAME: &str = "processors";
    let (machine, shards) = (config.machine(), config.shards());
    let (allowed, time) = (machine.cpus.len(), machine.parallelism);
    let found = format!("{allowed} allowed, time for {time}; {shards} shards");
    if shards > time {
        return Check::warning(
            NAME,
            found,
            format!(
                "set KAFSCALE_SHARDS to {time}, or allow the process more: shards that share a core wait for each other"
            ),
        );
    }
    if time < allowed {
        return Check::warning(
            NAME,
            format!("{found}; a quota of the control group is below the number of processors"),
            "a shard that has used up the quota stands still for up to 100 ms: give the process whole processors \
             (cpuset; the static CPU manager of Kubernetes) and no quota",
        );
    }
    Check::good(NAME, found)
}

fn memory(config: &Config) -> Check {
    const NAME: &str = "memory";
    let all = config.machine().memory_bytes;
    let (budget, cache) = (config.memory_bytes(), config.cache_bytes());
    let found = format!(
        "{} MiB allowed; {} MiB for requests and {} MiB for the cache",
        all / MIB,
        budget / MIB,
        cache / MIB
    );
    // A sixteenth is left for everything that no budget counts.
    if budget.saturating_add(cache) > all - all / 16 {
        return Check::warning(
            NAME,
            found,
            "set KAFSCALE_MEMORY_BYTES and KAFSCALE_CACHE_SIZE to less together, or the kernel may end the broker",
        );
    }
    Check::good(NAME, found)
}

/// Soft and hard limit by the name of its line in `/proc/self/limits`; none is no limit.
fn limit(limits: &str, name: &str) -> Option<(Option<u64>, Option<u64>)> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = line.split_whitespace().map(|word| word.parse().ok());
    Some((words.next()?, words.next()?))
}

fn files(limits: &str, connections: u64) -> Check {
    const NAME: &str = "open files";
    // The broker raises its soft limit to the hard one.
    let Some((_, hard)) = limit(limits, "Max open files") else {
        return Check::note(NAME, "their limit cannot be read");
    };
    let wanted = connections + OTHER_FILES;
    let Some(hard) = hard.filter(|hard| *hard < wanted) else {
        return Check::good(NAME, format!("enough for {connections} connections"));
    };
    let found = format!("at most {hard}; {connections} connections need {wanted}");
    let remedy = "raise the hard limit: LimitNOFILE=1048576 in the unit, ulimit -Hn, or --ulimit nofile of a container";
    match hard < FILES_MIN {
        true => Check::problem(NAME, found, remedy),
        false => Check::warning(NAME, found, remedy),
    }
}

fn locked(limits: &str, shards: u64) -> Check {
    const NAME: &str = "locked memory";
    let wanted = shards * RING_BYTES;
    match limit(limits, "Max locked memory") {
        None => Check::note(NAME, "its limit cannot be read"),
        Some((Some(soft), _)) if soft < wanted => Check::warning(
            NAME,
            format!(
                "{soft} bytes; the rings of {shards} shards take {wanted} where the kernel counts them"
            ),
            "LimitMEMLOCK=infinity in the unit, ulimit -l unlimited, or --ulimit memlock=-1 of a container",
        ),
        Some(_) => Check::good(NAME, format!("enough for the rings of {shards} shards")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::config::Machine;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max open files            1024                 524288               files     \n\
                          Max locked memory         65536                65536                bytes     \n";

    #[test]
    fn limits_of_files_and_locked_memory_are_compared_with_what_is_needed() {
        assert_eq!(files(LIMITS, 20_000).verdict, Verdict::Good);
        assert_eq!(files(LIMITS, 600_000).verdict, Verdict::Warning);
        let small = LIMITS.replace("524288", "1024  ");
        assert_eq!(files(&small, 20_000).verdict, Verdict::Problem);
        let none = LIMITS.replace("524288", "unlimited");
        assert_eq!(files(&none, 600_000).verdict, Verdict::Good);
        assert_eq!(files("", 1).verdict, Verdict::Note);
        assert_eq!(locked(LIMITS, 4).verdict, Verdict::Warning);
        let unlimited = LIMITS.replace("65536", "unlimited");
        assert_eq!(locked(&unlimited, 64).verdict, Verdict::Good);
    }

    #[test]
    fn more_shards_than_processor_time_and_a_quota_are_told() {
        let machine = |cpus: usize, parallelism| Machine {
            memory_bytes: 8 << 30,
            cpus: (0..cpus).collect(),
            parallelism,
            host_name: "h".to_owned(),
            pod_name: None,
            pod_namespace: None,
        };
        let config = |shards: &str, cpus, time| {
            let settings = [("shard.count", shards)];
            Config::with_machine(&settings, machine(cpus, time)).unwrap()
        };
        assert_eq!(cpus(&config("4", 4, 4)).verdict, Verdict::Good);
        assert_eq!(cpus(&config("8", 4, 4)).verdict, Verdict::Warning);
        let quota = cpus(&config("2", 4, 2));
        assert!(quota.found.contains("quota"), "{quota:?}");
        assert_eq!(memory(&config("2", 4, 4)).verdict, Verdict::Good);
        let settings = [
            ("memory.budget_bytes", "7GiB"),
            ("memory.cache_bytes", "2GiB"),
        ];
        let greedy = Config::with_machine(&settings, machine(2, 2)).unwrap();
        assert_eq!(memory(&greedy).verdict, Verdict::Warning);
    }
}
