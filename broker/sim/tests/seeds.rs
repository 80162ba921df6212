//! The short form: seeds without a broken promise, the same twice, and planted defects that are found.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sim::CrashPoint;
use sim::many::{self, Each, Many, Summary};

/// Seeds of the short form, and the longest time that they may take.
const SEEDS: u64 = 500;
const TIME: Duration = Duration::from_secs(300);
/// Seeds in which a planted defect has to be found.
const FOUND_WITHIN: u64 = 1_000;
/// Seeds beyond those that have broken a promise, of the product or of the model: run each time. What a seed does changes
/// with the workload, so what it found has a test of its own beside the code that had it.
const ONCE_BROKEN: [u64; 6] = [4_150, 6_938, 8_352, 13_703, 16_568, 20_903];
/// Seeds of which each run takes one, by the day, and crashes a broker at some of the places at which it can make a
/// difference: with groups, compaction, merging, takeovers, fences, and other faults; the first without any.
const CRASHED: [u64; 8] = [39, 54, 7, 103, 117, 13, 65, 28];
/// How many of its places, and the longest time that they may take.
const CRASHES: u64 = 40;
const CRASH_TIME: Duration = Duration::from_secs(20);
/// Planted defects that one run of the short form looks at; they take turns by the day.
const ROTATING: usize = 3;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kafscale-sim"))
}

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Which rare branches no seed has taken, for whoever reads the output of `.ci/run`.
fn report(summary: &Summary) {
    let told = format!(
        "{} seeds, {:.1} simulated hours, {} failed; faults never injected: {:?}; marks never hit: {:?}\n",
        summary.seeds,
        summary.hours(),
        summary.failed.len(),
        summary.faults_never_injected(),
        summary.marks_never_hit(),
    );
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeds.txt");
    std::fs::write(path, told).expect("the folder of the tests");
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in [1, 2, 3, 4, 5] {
        let [first, second] =
            [(); 2].map(|()| many::one(program(), seed, None, None).expect("an outcome"));
        let key = |it: &sim::Outcome| {
            (
                it.trace_hash,
                it.events,
                it.store_hash,
                it.revision,
                it.next_bits,
            )
        };
        assert_eq!(key(&first), key(&second), "seed {seed}");
        assert!(first.events > 100, "seed {seed} does something");
    }
}

#[test]
fn seeds_keep_every_promise() {
    let many = Many {
        program: program().to_owned(),
        numbers: 0..SEEDS,
        step: 1,
        each: Each::Seed,
        jobs: jobs(),
        time: Some(TIME),
        planted: None,
        stops_at_first: false,
    };
    let summary = many::run(&many, |_, _| ());
    report(&summary);
    assert!(summary.failed.is_empty(), "{:#?}", summary.failed);
    assert!(summary.acknowledged > 10 * summary.seeds, "{summary:?}");
    assert!(
        summary.fault_kinds() >= 24,
        "{:?}",
        summary.faults_never_injected()
    );
}

#[test]
fn seeds_that_once_broke_a_promise_keep_it() {
    for seed in ONCE_BROKEN {
        let outcome = many::one(program(), seed, None, None).expect("an outcome");
        assert!(
            outcome.violations.is_empty(),
            "{seed}: {:#?}",
            outcome.violations
        );
    }
}

fn day() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a date after 1970").as_secs() / 86_400
}

#[test]
fn a_crash_before_and_after_an_effect_breaks_no_promise() {
    let seed = CRASHED[(day() % CRASHED.len() as u64) as usize];
    let whole = many::one(program(), seed, None, None).expect("an outcome");
    let points = CrashPoint::count(whole.effects);
    assert!(points > CRASHES, "seed {seed} does something");
    // An odd step meets both those before and those after an effect; others on other days.
    let step = points.div_ceil(CRASHES) | 1;
    let many = Many {
        program: program().to_owned(),
        numbers: day() % step..points,
        step,
        each: Each::CrashPointOf(seed),
        jobs: jobs(),
        time: Some(CRASH_TIME),
        planted: None,
        stops_at_first: false,
    };
    let summary = many::run(&many, |_, _| ());
    assert!(summary.failed.is_empty(), "{seed}: {:#?}", summary.failed);
    assert!(summary.seeds >= 10, "{summary:?}");
    assert!(summary.crashed >= summary.seeds, "each has its crash");
}

#[test]
fn planted_defects_are_found() {
    let day = day() as usize;
    for step in 0..ROTATING {
        let (name, _) = sim::bug::ALL[(day * ROTATING + step) % sim::bug::ALL.len()];
        let many = Many {
            program: program().to_owned(),
            numbers: 0..FOUND_WITHIN,
            step: 1,
            each: Each::Seed,
            jobs: jobs(),
            time: None,
            planted: Some(name.to_owned()),
            stops_at_first: true,
        };
        let summary = many::run(&many, |_, _| ());
        // A seed that hangs, or whose process could not be run, has found nothing.
        let finds = |why: &String| !why.starts_with("it hangs") && !why.starts_with("it cannot");
        assert!(
            summary.failed.values().flatten().any(finds),
            "{name} is not found within {FOUND_WITHIN} seeds: {:?}",
            summary.failed
        );
    }
}
