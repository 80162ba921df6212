//! Tests of the coordinator against a store in memory.

mod admin;
mod codec;
mod join;
mod model;
mod offsets;
mod persist;
mod reference;
mod sequences;
mod statics;
mod sync;
mod world;
