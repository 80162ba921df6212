//! What KafScale brokers agree on: topics, partition ownership, consumer groups, producer ids,
//! and the key-value seam that keeps them.

pub mod groups;
pub mod keys;
pub mod kv;
pub mod marks;
pub mod placement;
pub mod planted;
pub mod rules;
