//! The policy against least recently used, over the traces of `docs/performance.md`.

mod simulation;

use simulation::{compare, traces};

/// How much better than LRU where scans are mixed with reads that come again.
const BETTER_BY: f64 = 0.05;
/// How much worse than LRU at most, everywhere.
const WORSE_BY: f64 = 0.03;
/// The optimum is one for equal sizes only.
const BOUND_SLACK: f64 = 0.01;

#[test]
fn scans_cost_less_than_with_lru_and_nothing_costs_much_more() {
    for trace in traces() {
        let found = compare(&trace);
        let least = match trace.mixed_with_scans {
            true => found.lru + BETTER_BY,
            false => found.lru - WORSE_BY,
        };
        let name = trace.name;
        assert!(found.ours >= least, "{name}: {found:?}");
        assert!(found.ours <= found.bound + BOUND_SLACK, "{name}: {found:?}");
    }
}
