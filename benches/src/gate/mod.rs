//! The gate against regressions: instruction counts of pure code under callgrind, compared with a
//! baseline that lies in the repository.
//!
//! Times on a shared machine differ by half from run to run; the number of instructions of the same
//! program on the same input does not. What is counted, and why it does not depend on the machine:
//! - `instructions`: those of our own program, without the C library's, whose copy loops and allocator
//!   differ between machines and versions;
//! - `calls out`: calls into other libraries, that is allocations, their release and copies. One more copy on
//!   a path is one more call, however the C library copies;
//! - `allocations`: those of these calls that take memory.
//!
//! Code chosen by the processor's features (CRC) is the same everywhere, since valgrind shows one
//! processor to the program; [`processor`] checks that it has what the baseline was made with.
//! The order of hash maps differs from run to run, by less than the tolerance.

mod baseline;
mod callgrind;
mod run;
mod workloads;

pub use baseline::{Baseline, Verdict};
pub use callgrind::{Counts, ProfileError, parse};
pub use run::{count, run};
pub use workloads::{WORKLOADS, Work, Workload};

/// The share by which a planted slowdown raises the work of every workload, in percent.
pub const PLANTED_PERCENT: u32 = 20;

/// Checks that valgrind shows the program a processor with the instructions that the baseline counts on.
///
/// # Errors
/// The one that is missing.
pub fn processor() -> Result<(), &'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        for (has, name) in [
            (is_x86_feature_detected!("sse4.2"), "SSE4.2 (CRC-32C)"),
            (is_x86_feature_detected!("pclmulqdq"), "PCLMULQDQ (CRC-32)"),
        ] {
            if !has {
                return Err(name);
            }
        }
    }
    Ok(())
}
