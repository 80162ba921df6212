//! What the kernel says about this process.

use std::fs;
use std::time::{Duration, Instant};

/// Ticks of `/proc/self/stat` are hundredths of a second on every Linux that we run on.
const TICK: Duration = Duration::from_millis(10);

/// Memory and threads of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) resident_bytes: u64,
    pub(super) anonymous_bytes: u64,
    pub(super) threads: u64,
    pub(super) cpu_time: Duration,
}

impl Process {
    /// Asks the kernel; what it does not say is 0.
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self::parse(&status, &stat)
    }

    fn parse(status: &str, stat: &str) -> Self {
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':')
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        };
        Self {
            resident_bytes: number("VmRSS").unwrap_or(0) * 1024,
            anonymous_bytes: number("RssAnon").unwrap_or(0) * 1024,
            threads: number("Threads").unwrap_or(0),
            cpu_time: cpu_time(stat),
        }
    }
}

/// Processor time by the line of a process or thread in `/proc`.
pub(super) fn cpu_time(stat: &str) -> Duration {
    // The second field is the name in parentheses and may hold spaces; user and system time are fields 14 and 15.
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// Processor time between two looks.
#[derive(Debug)]
pub(super) struct CpuMeter {
    at: Instant,
    used: Duration,
}

impl CpuMeter {
    /// A meter that starts now.
    pub(super) fn new(now: Instant, used: Duration) -> Self {
        Self { at: now, used }
    }

    /// Percent of one CPU since the look before.
    pub(super) fn percent(&mut self, now: Instant, used: Duration) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        let spent = used.saturating_sub(self.used).as_secs_f64();
        (self.at, self.used) = (now, used);
        if elapsed > 0.0 {
            100.0 * spent / elapsed
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_parsed() {
        let status = "Name:\tkafscale\nVmRSS:\t    2048 kB\nRssAnon:\t  1024 kB\nThreads:\t9\n";
        let stat = "7 (a (b) c) S 1 1 1 0 -1 4 5 6 7 8 150 50 0 0 20 0 9 0";
        let process = Process::parse(status, stat);
        assert_eq!(process.resident_bytes, 2 << 20);
        assert_eq!(process.anonymous_bytes, 1 << 20);
        assert_eq!(process.threads, 9);
        assert_eq!(process.cpu_time, Duration::from_secs(2));
        assert_eq!(Process::parse("", ""), Process::default());
        assert!(Process::read().resident_bytes > 0);
    }

    #[test]
    fn percent_is_of_one_cpu_since_the_look_before() {
        let start = Instant::now();
        let mut meter = CpuMeter::new(start, Duration::ZERO);
        let later = start + Duration::from_secs(2);
        assert_eq!(meter.percent(later, Duration::from_secs(3)), 150.0);
        assert_eq!(meter.percent(later, Duration::from_secs(4)), 0.0);
    }
}
