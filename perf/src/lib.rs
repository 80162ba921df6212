//! Load generator and latency meter for KafScale, and for any broker that speaks Kafka's protocol.
//!
//! Why it exists: latency that is published must be reproducible by one command, and must not hide
//! the time in which nothing was sent. Every number here comes from an HDR histogram of every
//! request of the measured window; the open loop counts from the time at which a request should
//! have been sent ([`clock::Schedule`]), so that a stall of the broker is seen by every request
//! that it delayed, not by one.
//!
//! **Threads and sockets.** Closed-loop fetches, of which one thread can drive many connections, run on the
//! broker's own runtime ([`drive`]): the meter shares the machine with the broker, so what counts is
//! how little it runs. Produce and everything open loop has a std thread per connection with blocking calls,
//! two (a sender and a receiver) where the open loop needs both at once, because there the schedule rules:
//! the runtime's timer is about 1 ms coarse. Nothing spins: a spinning meter would take the core
//! whose latency it measures.
//!
//! Invariants: requests are encoded before their clock starts and responses are decoded after it
//! stops; the warm-up is never recorded; a response with an error is counted as an error and its
//! latency is left out; responses are matched to requests by order, checked by correlation id.

#![forbid(unsafe_code)]

pub mod access;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod connection;
pub mod consumer;
pub mod drive;
pub mod e2e;
pub mod fetch;
pub mod floor;
pub mod join;
pub mod latency;
pub mod machine;
pub mod meter;
pub mod page;
pub mod payload;
pub mod plan;
pub mod plot;
pub mod produce;
pub mod report;
pub mod run;
pub mod scenario;
