//! Sections of one flush, hashed, as the shards hand them to the control thread.

use bytes::Bytes;
use segment::batch::{BatchHeader, assign};
use segment::wal::{WalHeader, WalSection, WalSectionBuilder};
use segment::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, SessionId, TopicId, TopicPartition, WalSequence,
};

/// Header of an object with sections.
pub fn header() -> WalHeader {
    let (session, acknowledged) = (SessionId::new([9; 16]), WalSequence::new(41));
    WalHeader::data(
        BrokerId::new(1),
        session,
        WalSequence::new(42),
        Some(acknowledged),
    )
}

/// The section of partition `index`: `batches` times `batch`.
///
/// # Panics
/// Never: the batches are sound.
pub fn section(index: usize, batches: usize, batch: &Bytes) -> WalSection {
    let id = TopicPartition::new(TopicId::new([1; 16]), PartitionIndex::new(index as i32));
    let mut builder = WalSectionBuilder::new(id, LeaderEpoch::ZERO, Offset::ZERO);
    for _ in 0..batches {
        let mut bytes = batch.to_vec();
        assign(&mut bytes, builder.next_offset(), LeaderEpoch::ZERO);
        let header = BatchHeader::parse(&bytes).expect("a built batch");
        builder
            .push(&header, bytes.into())
            .expect("no control batch");
    }
    builder.finish()
}
