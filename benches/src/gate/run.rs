//! Runs workloads: in this process, or under callgrind in another one.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::{Counts, PLANTED_PERCENT, WORKLOADS, Workload, parse, processor};

/// Runs a workload by name; `planted` makes it work so much more. Only what [`measured`] does is counted.
///
/// # Errors
/// There is no such workload, or the processor lacks what the baseline counts on.
pub fn run(name: &str, planted: bool) -> anyhow::Result<()> {
    let workload = WORKLOADS.iter().find(|it| it.name == name);
    let workload = workload.with_context(|| format!("there is no workload {name}"))?;
    if let Err(feature) = processor() {
        bail!("counts do not compare: no {feature} in the processor that valgrind shows");
    }
    let more = if planted { PLANTED_PERCENT } else { 0 };
    let calls = workload.calls * (100 + more) / 100;
    let mut work = (workload.make)(calls);
    // What is done once in a process (which CRC is there, first growth of a vector) is not counted.
    work();
    measured(calls, &mut *work);
    Ok(())
}

/// Callgrind counts from the entry of this function to its end, and finds it by its name.
#[inline(never)]
fn measured(calls: u32, work: &mut dyn FnMut()) {
    for _ in 0..calls {
        work();
    }
}

/// Counts one workload: this program is started again under `valgrind`.
///
/// # Errors
/// Valgrind cannot be run, the workload fails, or its profile cannot be read.
pub fn count(valgrind: &Path, workload: &Workload, planted: bool) -> anyhow::Result<Counts> {
    let program = std::env::current_exe().context("find this program")?;
    let folder = tempfile::tempdir().context("make a folder for the profile")?;
    let profile = folder.path().join("profile");
    let mut command = Command::new(valgrind);
    command
        .args(["--tool=callgrind", "--quiet"])
        .args(["--compress-strings=no", "--compress-pos=no"])
        // Two patterns for one function: callgrind forgets the first option where both are the same. Not
        // `--toggle-collect`: it counts calls outside too.
        .arg("--zero-before=*gate::run::measured*")
        .arg("--dump-after=*run::measured*")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(&program)
        .args(["run", workload.name]);
    if planted {
        command.arg("--planted");
    }
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("start {}", valgrind.display()))?;
    if !status.success() {
        bail!("{}: {status}", workload.name);
    }
    // The first dump; the file without a number is what followed.
    let text = std::fs::read_to_string(profile.with_extension("1"));
    let text =
        text.context("read the profile that callgrind writes behind the measured function")?;
    let counts = parse(&text, &program.display().to_string());
    counts.with_context(|| format!("{}: read the profile", workload.name))
}
