//! Choosing the owner of a partition.

use segment::{BrokerId, SessionId, TopicName, TopicPartition};

use super::{Planned, guarded};
use crate::keys::codec::Seen;
use crate::keys::pin::{self, PinRecord};
use crate::keys::space::Keyspace;
use crate::keys::topic;
use crate::kv::{Compare, Revision};

/// Chooses the broker that is to own a partition, or takes the choice back: the pin is as it was read,
/// our session lives, its topic is the one that was read, so that no pin outlives the sweep of a topic.
pub fn pin_partition(
    space: &Keyspace,
    writer: SessionId,
    topic: (&TopicName, Revision),
    partition: TopicPartition,
    seen: Option<&Seen<PinRecord>>,
    broker: Option<BrokerId>,
) -> Planned<PinRecord> {
    let (name, created) = topic;
    let key = pin::key(space, partition);
    let planned = guarded(space, writer, key, seen, PinRecord { broker });
    let same_topic = Compare::create_revision(topic::key(space, name), created);
    Planned {
        txn: planned.txn.when(same_topic),
        ..planned
    }
}
