//! `producer-ids`: the next producer id that was never given out. One key a cluster.

use segment::ProducerId;
use serde::{Deserialize, Serialize};

use super::codec::{self, Record};
use super::space::Keyspace;
use crate::kv::Key;

/// Producer ids taken at once.
pub const PRODUCER_BLOCK_IDS: i64 = 1_000;

const _: () = assert!(PRODUCER_BLOCK_IDS > 0, "the counter rises with each block");

/// The counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerBlockRecord {
    /// The lowest id in no block.
    #[serde(with = "codec::number")]
    pub next: ProducerId,
}

impl Record for ProducerBlockRecord {
    const NAME: &'static str = "producer id";

    fn check(&self) -> Result<(), String> {
        if self.next.get() < 0 {
            Err("a negative id".to_string())
        } else {
            Ok(())
        }
    }
}

/// The key of the counter.
pub fn key(space: &Keyspace) -> Key {
    space.key("producer-ids")
}
