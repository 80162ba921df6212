//! What a full read gives, batch by batch, appended to the independent model of a log: it takes each as new, at the offset at
//! which it stands, or the log holds what Kafka would not have taken.

use std::collections::BTreeMap;

use check::{Batch, Identity, Log, Taken, Value};
use segment::batch::Batches;

/// The models of the partitions of one topic.
#[derive(Default)]
pub(crate) struct Replay {
    logs: BTreeMap<i32, Log>,
}

impl Replay {
    /// Appends the whole batches that a reader at `position` was given.
    ///
    /// # Errors
    /// What the model does not take.
    pub(crate) fn take(
        &mut self,
        partition: i32,
        position: i64,
        bytes: &[u8],
    ) -> Result<(), String> {
        let log = self.logs.entry(partition);
        let log = log.or_insert_with(|| Log::beginning_at(position));
        for batch in Batches::until_truncated(bytes) {
            let header = batch.map_err(|error| error.to_string())?.header;
            let base = header.base_offset.get();
            if base < log.end() {
                // Its first records were deleted.
                if log.start() == log.end() {
                    *log = Log::beginning_at(header.next_offset().get());
                }
                continue;
            }
            let identity = header.is_idempotent().then_some(Identity {
                id: header.producer_id.get(),
                epoch: header.producer_epoch.get(),
                sequence: header.base_sequence.get(),
            });
            let values = (base..header.next_offset().get()).map(|at| Value(at.unsigned_abs()));
            let batch = Batch {
                identity,
                values: values.collect(),
            };
            let taken = log.append(batch);
            if taken != Ok(Taken::Appended(base)) {
                return Err(format!(
                    "a batch of {identity:?} stands at {base}; one log would say {taken:?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use segment::batch;
    use segment::record::{NewRecord, RecordBatchBuilder};
    use segment::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

    use super::Replay;

    fn batch(base: i64, sequence: i32) -> Vec<u8> {
        let mut builder = RecordBatchBuilder::new().producer(
            ProducerId::new(9),
            ProducerEpoch::ZERO,
            Sequence::new(sequence),
        );
        for _ in 0..2 {
            let record = NewRecord {
                timestamp: TimestampMs::new(1),
                key: None,
                value: Some(b"value"),
                headers: &[],
            };
            builder.push(record).expect("a small record");
        }
        let mut bytes = bytes::BytesMut::from(&builder.build().expect("a small batch")[..]);
        batch::assign(&mut bytes, Offset::new(base), LeaderEpoch::ZERO);
        bytes.to_vec()
    }

    #[test]
    fn a_log_as_one_machine_would_hold_it_is_taken_and_a_batch_that_stands_twice_is_not() {
        let mut replay = Replay::default();
        let two = [batch(5, 0), batch(7, 2)].concat();
        assert_eq!(replay.take(0, 6, &two), Ok(()), "one began before");
        let mut replay = Replay::default();
        assert_eq!(replay.take(0, 5, &two), Ok(()));
        assert!(replay.take(0, 9, &batch(9, 2)).is_err(), "again");
        let mut replay = Replay::default();
        assert_eq!(replay.take(0, 5, &batch(5, 0)), Ok(()));
        assert!(replay.take(0, 7, &batch(7, 4)).is_err(), "one is missing");
        let mut replay = Replay::default();
        assert_eq!(replay.take(0, 5, &batch(5, 0)), Ok(()));
        assert!(replay.take(0, 7, &batch(8, 2)).is_err(), "a gap");
    }
}
