//! Prints the hit ratios of the production policy, LRU and an optimum over generated traces, as the
//! table of `docs/performance.md`: `cargo run --release -p cache --example policies`.

#![expect(
    clippy::print_stdout,
    reason = "a tool that reports on standard output"
)]

#[allow(dead_code, reason = "the test uses all of it")]
#[path = "../tests/simulation/mod.rs"]
mod simulation;

fn main() {
    println!("| trace | ours | LRU | optimum |\n|---|---|---|---|");
    for trace in simulation::traces() {
        let found = simulation::compare(&trace);
        let percent = |ratio: f64| format!("{:.1} %", ratio * 100.0);
        println!(
            "| {} | {} | {} | {} |",
            trace.name,
            percent(found.ours),
            percent(found.lru),
            percent(found.bound)
        );
    }
}
