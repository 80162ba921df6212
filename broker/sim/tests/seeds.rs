//! Seeds that every change must pass, and planted defects that the simulator must find.

use sim::{Bug, run};

/// Seeds of the short form; `KAFSCALE_SIM_SEEDS` raises it.
const SEEDS: u64 = 500;
const STEPS: usize = 400;

fn seeds() -> u64 {
    std::env::var("KAFSCALE_SIM_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SEEDS)
}

#[test]
fn acknowledged_batches_survive_every_seed() {
    let (mut acknowledged, mut crashes) = (0, 0);
    for seed in 0..seeds() {
        let outcome = run(seed, STEPS, Bug::None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        acknowledged += outcome.acknowledged;
        crashes += outcome.crashes;
    }
    assert!(
        acknowledged > 10_000 && crashes > 1_000,
        "{acknowledged} batches, {crashes} crashes"
    );
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in 0..20 {
        assert_eq!(
            run(seed, STEPS, Bug::None),
            run(seed, STEPS, Bug::None),
            "seed {seed}"
        );
    }
}

#[test]
fn every_planted_defect_is_found() {
    for bug in [
        Bug::AcknowledgeOutOfSequence,
        Bug::ForgetProducers,
        Bug::NoFence,
    ] {
        let found = (0..1_000).find(|seed| run(*seed, STEPS, bug).violation.is_some());
        assert!(found.is_some(), "{bug:?} went unnoticed for 1,000 seeds");
    }
}
