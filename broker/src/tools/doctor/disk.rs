//! The data directory of a broker that is alone.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Check, spread};

/// Writes whose time is taken.
const WRITES: usize = 16;
/// Bytes of each.
const WRITE_BYTES: usize = 4096;
/// A synced write that takes longer is slow.
const SLOW: Duration = Duration::from_millis(25);
/// Less free space than this is too little to go on for long.
const FREE_MIN: u64 = 1 << 30;
/// `f_type` of file systems that keep nothing, or promise little: statfs(2).
const TMPFS: i64 = 0x0102_1994;
const NFS: i64 = 0x6969;

pub(super) fn checks(directory: &Path) -> Vec<Check> {
    // Where it is not there yet, what counts is the disk that it will be on.
    let nearest = directory.ancestors().find(|it| it.is_dir());
    let nearest = match nearest {
        Some(path) if path.as_os_str().is_empty() => Path::new("."),
        Some(path) => path,
        None => Path::new("."),
    };
    vec![space(directory, nearest), writes(nearest)]
}

fn space(directory: &Path, nearest: &Path) -> Check {
    const NAME: &str = "disk space";
    let (stat, kind) = match (rustix::fs::statvfs(nearest), rustix::fs::statfs(nearest)) {
        (Ok(stat), Ok(fs)) => (stat, fs.f_type),
        (Err(error), _) | (_, Err(error)) => {
            let remedy = "choose another directory with KAFSCALE_DATA_DIR";
            return Check::problem(NAME, format!("{}: {error}", nearest.display()), remedy);
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let found = format!("{} MiB free for {}", free >> 20, directory.display());
    match kind {
        TMPFS => Check::warning(
            NAME,
            format!("{found}, which lies in memory"),
            "what is in a tmpfs is lost when the machine restarts: choose another directory with KAFSCALE_DATA_DIR",
        ),
        NFS => Check::warning(
            NAME,
            format!("{found}, which is on NFS"),
            "a lock on NFS may not keep a second broker out: use a local disk, or S3 and etcd",
        ),
        _ if free < FREE_MIN => Check::warning(
            NAME,
            found,
            "produce is refused when the disk is full: make room, lower retention.ms or retention.bytes, or choose \
             another disk with KAFSCALE_DATA_DIR",
        ),
        _ => Check::good(NAME, found),
    }
}

fn writes(directory: &Path) -> Check {
    const NAME: &str = "disk writes";
    match timed_writes(directory) {
        Err(error) => Check::problem(
            NAME,
            format!("{} cannot be written: {error}", directory.display()),
            format!(
                "let user {} write there, or choose another directory with KAFSCALE_DATA_DIR",
                user()
            ),
        ),
        Ok(mut times) => {
            let found = format!(
                "a synced write of {WRITE_BYTES} bytes takes {}",
                spread(&mut times)
            );
            match times[times.len() / 2] > SLOW {
                true => Check::warning(
                    NAME,
                    found,
                    "each acknowledgement waits for one: use a disk with a write cache that survives power loss",
                ),
                false => Check::good(NAME, found),
            }
        }
    }
}

fn user() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uid = uid.and_then(|uid| uid.split_whitespace().nth(1));
    uid.unwrap_or("of the broker").to_owned()
}

/// Writes and syncs a file, which is removed again.
fn timed_writes(directory: &Path) -> std::io::Result<Vec<Duration>> {
    let path = directory.join(format!(".kafscale-doctor-{}", std::process::id()));
    let outcome = (|| {
        let mut file = fs::File::create_new(&path)?;
        let mut times = Vec::with_capacity(WRITES);
        for _ in 0..WRITES {
            let began = Instant::now();
            file.write_all(&[0x5a; WRITE_BYTES])?;
            file.sync_all()?;
            times.push(began.elapsed());
        }
        Ok(times)
    })();
    // One that was never made need not be removed.
    let _ = fs::remove_file(&path);
    outcome
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_is_judged_by_where_it_will_be_and_nothing_is_left() {
        let place = tempfile::tempdir().unwrap();
        let checks = checks(&place.path().join("not/there"));
        assert!(
            checks.iter().all(|check| check.verdict < Verdict::Problem),
            "{checks:?}"
        );
        assert!(checks[1].found.contains("4096 bytes"), "{checks:?}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_a_problem() {
        let check = writes(Path::new("/proc/self"));
        assert_eq!(check.verdict, Verdict::Problem);
        assert!(check.remedy.unwrap().contains("KAFSCALE_DATA_DIR"));
    }
}
