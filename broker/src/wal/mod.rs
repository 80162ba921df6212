//! The write-ahead log of one session, as far as it needs no I/O: when to flush, and in which order
//! to acknowledge. The shell is `control::flusher`.

pub mod scheduler;

pub use scheduler::{Scheduler, SchedulerConfig, Sealed, Step};
