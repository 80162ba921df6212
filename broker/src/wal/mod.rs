//! The write-ahead log of one session, as far as it needs no I/O: when to flush, what goes into which
//! object, and in which order to acknowledge. The shell is `control::flusher`.

pub mod lanes;
pub mod scheduler;

pub use lanes::{Lanes, OwnCounter, Ready, Section};
pub use scheduler::{Scheduler, SchedulerConfig, Sealed, Step, UploadWindow};
