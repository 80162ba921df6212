//! Load generator and latency meter for KafScale, and for any broker that speaks Kafka's protocol.
//!
//! Why it exists: latency that is published must be reproducible by one command, and must not hide
//! the time in which nothing was sent. Every number here comes from an HDR histogram of every
//! request of the measured window; the open loop counts from the time at which a request should
//! have been sent ([`clock::Schedule`]), so that a stall of the broker is seen by every request
//! that it delayed, not by one.
//!
//! **Threads and sockets.** One std thread per connection with blocking calls; two (a sender and
//! a receiver) where the open loop needs both at once. On a machine with 2 cores the meter shares
//! them with the broker, so what counts is how little it runs: a blocking receive is one system
//! call and one wake per response, where an event loop makes two (wait, then receive) and puts
//! its own timer, about 1 ms coarse in tokio, between the schedule and the socket. Nothing spins:
//! a spinning meter would take the core whose latency it measures. The price is a thread per
//! connection, so use some dozens of connections, not thousands.
//!
//! Invariants: requests are encoded before their clock starts and responses are decoded after it
//! stops; the warm-up is never recorded; a response with an error is counted as an error and its
//! latency is left out; responses are matched to requests by order, checked by correlation id.

#![forbid(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod connection;
pub mod consumer;
pub mod e2e;
pub mod fetch;
pub mod floor;
pub mod join;
pub mod latency;
pub mod machine;
pub mod meter;
pub mod payload;
pub mod plot;
pub mod produce;
pub mod report;
pub mod run;
pub mod scenario;
