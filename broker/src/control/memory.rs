//! Gives memory that is free back to the system.
//!
//! Control thread. What taking partitions, a backup or a pass of the garbage collector takes for a while is
//! freed, but the allocator looks for memory that has been free for long only while it allocates, which an
//! idle broker does not.

use std::time::Duration;

// The allocator of the program, in whose library the function below is.
use mimalloc as _;

/// How often the allocator is told to look: as long as it keeps free memory at hand.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[expect(unsafe_code, reason = "the crate has no safe function for it")]
unsafe extern "C" {
    /// Frees what this thread no longer needs, and gives back what has been free for a second, of whichever
    /// thread; with `force` all of it. Without effect where another allocator is in use.
    safe fn mi_collect(force: bool);
}

/// Runs for ever.
pub async fn run() {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        mi_collect(false);
    }
}
