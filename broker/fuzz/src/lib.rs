//! Fuzz targets: every decoder that meets bytes of clients, of the object store or of the metadata store, as a plain
//! function of bytes ([`targets`]), so that any engine can call it; and the driver that does so here ([`driver`]).
//!
//! A target panics where a promise is broken: a decoder that panics, takes more memory than it may ([`memory`]),
//! accepts what is cut off, or decodes something that does not encode to what it was. Whatever it says in
//! [`feedback`] leads the driver to inputs that behave differently.
//!
//! docs/fuzzing.md says how it is used and why the driver is our own.

pub mod driver;
pub mod feedback;
pub mod memory;
pub mod mutate;
pub mod recorded;
pub mod targets;

pub use targets::{TARGETS, Target};
