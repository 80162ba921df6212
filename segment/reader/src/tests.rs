//! Readers against histories that are made object by object.

mod histories;
mod moments;
mod world;
