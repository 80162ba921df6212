//! Counters and constants of the whole cluster: producer ids, the cluster key.

use segment::{ProducerId, SessionId};

use super::{PlanError, Planned, guarded};
use crate::keys::cluster::{self, ClusterRecord};
use crate::keys::codec::{Seen, encode};
use crate::keys::producer_block::{self, PRODUCER_BLOCK_IDS, ProducerBlockRecord};
use crate::keys::recovery;
use crate::keys::space::Keyspace;
use crate::kv::{Compare, Op, Revision, Txn};

/// Producer ids that a broker may give out once the transaction that took them has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBlock {
    /// The first id.
    pub first: ProducerId,
    /// The id after the last.
    pub end: ProducerId,
}

/// Takes the next block of 1,000 producer ids, from `at_least` on if the counter is below it (the
/// highest id seen in loaded state + 1). The counter is as it was read, our session lives.
///
/// After an unknown outcome the block is **not** used, whatever a reading shows: plan anew. Ids are
/// plenty, and another broker's block can look like ours.
///
/// # Errors
/// [`PlanError::Exhausted`] at the end of the numbers.
pub fn take_producer_block(
    space: &Keyspace,
    writer: SessionId,
    seen: Option<&Seen<ProducerBlockRecord>>,
    at_least: ProducerId,
) -> Result<(Planned<ProducerBlockRecord>, ProducerBlock), PlanError> {
    let counter = seen.map_or(ProducerId::ZERO, |seen| seen.record.next);
    let first = counter.max(at_least);
    let next = first.get().checked_add(PRODUCER_BLOCK_IDS);
    let next = next.ok_or(PlanError::Exhausted {
        what: "producer ids",
    })?;
    let end = ProducerId::new(next);
    assert!(first < end, "a block has ids");
    assert!(first >= counter, "no id is given out twice");
    let record = ProducerBlockRecord { next: end };
    let planned = guarded(space, writer, producer_block::key(space), seen, record);
    Ok((planned, ProducerBlock { first, end }))
}

/// Creates the cluster key if it is absent and is not being written back from a backup; else reads it
/// (the first response either way tells).
pub fn create_cluster(space: &Keyspace, record: ClusterRecord) -> Planned<ClusterRecord> {
    let key = cluster::key(space);
    let txn = Txn::new()
        .when(Compare::absent(key.clone()))
        .when(Compare::absent(recovery::key(space)))
        .and_then(Op::put(key.clone(), encode(&record)))
        .or_else(Op::Get(key));
    Planned {
        txn,
        record,
        planned_on: Revision::ZERO,
    }
}
