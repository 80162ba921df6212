//! The batches of one partition: the open one, and the closed ones until they are acknowledged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use segment::batch::Codec;
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::{ProducerEpoch, ProducerId, Sequence};
use wire::Uuid;

use crate::error::ClientError;
use crate::metadata::TopicPartition;

/// Bytes of a record beyond its key, value and headers, as far as they matter for sizes.
const RECORD_OVERHEAD_BYTES: usize = 24;
/// Most records of a batch, so that its deltas and its index entries stay small.
const BATCH_RECORDS_MAX: u32 = 500_000;

/// Where a closed batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Sent,
}

/// A closed batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) bytes: Bytes,
    pub(super) records: u32,
    /// Bytes of keys, values and headers.
    pub(super) payload: u64,
    /// What it takes of the producer's buffer.
    pub(super) cost: usize,
    pub(super) since: Instant,
    state: State,
}

#[derive(Debug)]
struct OpenBatch {
    builder: RecordBatchBuilder,
    bytes: usize,
    payload: u64,
    since: Instant,
}

/// The batches of one partition, in order.
///
/// Invariant: while `held`, nothing that waits is sent; it ends when none is on the way any more
/// and the wait is over.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) partition: TopicPartition,
    pub(super) topic_id: Uuid,
    open: Option<OpenBatch>,
    batches: VecDeque<Batch>,
    sent: usize,
    next_number: u64,
    next_sequence: Sequence,
    held: Option<Instant>,
    attempts: u32,
    /// Why the last attempt failed.
    pub(super) last_failure: Option<String>,
}

impl Queue {
    pub(super) fn new(partition: TopicPartition, topic_id: Uuid) -> Self {
        Self {
            partition,
            topic_id,
            open: None,
            batches: VecDeque::new(),
            sent: 0,
            next_number: 0,
            next_sequence: Sequence::ZERO,
            held: None,
            attempts: 0,
            last_failure: None,
        }
    }

    /// Whether no closed batch is left.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Size of the open batch.
    pub(super) fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.bytes)
    }

    /// When the open batch got its first record.
    pub(super) fn open_since(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.since)
    }

    /// Whether the open batch has no room for this record.
    pub(super) fn must_close_before(&self, record: &NewRecord<'_>, batch_bytes: usize) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.bytes + payload(record) + RECORD_OVERHEAD_BYTES > batch_bytes
                || open.builder.record_count() >= BATCH_RECORDS_MAX
        })
    }

    /// Adds a record to the open batch.
    pub(super) fn push(&mut self, record: &NewRecord<'_>, now: Instant) -> Result<(), ClientError> {
        let open = self.open.get_or_insert_with(|| OpenBatch {
            builder: RecordBatchBuilder::new(),
            bytes: 0,
            payload: 0,
            since: now,
        });
        open.builder.push(*record)?;
        let payload = payload(record);
        open.bytes += payload + RECORD_OVERHEAD_BYTES;
        open.payload += payload as u64;
        Ok(())
    }

    /// Closes the open batch, if there is one, and gives it its sequence.
    pub(super) fn close(
        &mut self,
        (id, epoch): (ProducerId, ProducerEpoch),
        codec: Codec,
    ) -> Result<(), ClientError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let mut builder = open.builder.codec(codec);
        let records = builder.record_count();
        if id.is_some() {
            builder = builder.producer(id, epoch, self.next_sequence);
            self.next_sequence = self.next_sequence.next(records);
        }
        self.batches.push_back(Batch {
            number: self.next_number,
            bytes: builder.build()?,
            records,
            payload: open.payload,
            cost: open.bytes,
            since: open.since,
            state: State::Waiting,
        });
        self.next_number += 1;
        Ok(())
    }

    /// The next batch to send, if one may be sent now.
    pub(super) fn next_to_send(&self, in_flight_max: usize, now: Instant) -> Option<&Batch> {
        if let Some(until) = self.held
            && (self.sent > 0 || now < until)
        {
            return None;
        }
        if self.sent >= in_flight_max {
            return None;
        }
        self.batches
            .iter()
            .find(|batch| batch.state == State::Waiting)
    }

    /// Notes that a batch is on the way.
    pub(super) fn mark_sent(&mut self, number: u64) {
        if let Some(batch) = self.batch_mut(number)
            && batch.state == State::Waiting
        {
            batch.state = State::Sent;
            self.sent += 1;
            self.held = None;
        }
    }

    /// Takes a batch out, because it is acknowledged or given up.
    pub(super) fn remove(&mut self, number: u64) -> Option<Batch> {
        let place = self
            .batches
            .iter()
            .position(|batch| batch.number == number)?;
        let batch = self.batches.remove(place)?;
        if batch.state == State::Sent {
            self.sent -= 1;
        }
        if self.held.is_none() {
            self.attempts = 0;
            self.last_failure = None;
        }
        Some(batch)
    }

    /// Puts a batch back, to be sent again after a wait that `wait_before` gives by attempts.
    pub(super) fn put_back(
        &mut self,
        number: u64,
        now: Instant,
        failure: String,
        wait_before: impl FnOnce(u32) -> Duration,
    ) {
        let Some(batch) = self.batch_mut(number) else {
            return;
        };
        if batch.state != State::Sent {
            return;
        }
        batch.state = State::Waiting;
        self.sent -= 1;
        if self.held.is_none() {
            self.held = Some(now + wait_before(self.attempts));
            self.attempts = self.attempts.saturating_add(1);
            self.last_failure = Some(failure);
        }
    }

    /// Whether a batch before this one failed and is not acknowledged yet: what follows it must
    /// fail too.
    pub(super) fn follows_a_failure(&self, number: u64) -> bool {
        self.held.is_some()
            || self
                .batches
                .front()
                .is_some_and(|front| front.number < number)
    }

    /// When the oldest batch got its first record.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.batches.front().map(|batch| batch.since)
    }

    /// When a batch that is held back may go.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held.filter(|_| self.sent == 0)
    }

    /// The closed batch of that number.
    pub(super) fn batch(&self, number: u64) -> Option<&Batch> {
        self.batches.iter().find(|batch| batch.number == number)
    }

    fn batch_mut(&mut self, number: u64) -> Option<&mut Batch> {
        self.batches.iter_mut().find(|batch| batch.number == number)
    }
}

fn payload(record: &NewRecord<'_>) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + length(*value));
    length(record.key) + length(record.value) + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use segment::PartitionIndex;
    use segment::batch::BatchHeader;

    use super::*;

    const WAIT: Duration = Duration::from_millis(10);

    fn queue(batches: usize) -> (Queue, Instant) {
        let partition = TopicPartition::new("t", PartitionIndex::ZERO);
        let mut queue = Queue::new(partition, Uuid::ZERO);
        let now = Instant::now();
        for _ in 0..batches {
            let record = NewRecord {
                value: Some(b"value"),
                ..NewRecord::default()
            };
            queue.push(&record, now).unwrap();
            queue.push(&record, now).unwrap();
            let identity = (ProducerId::new(7), ProducerEpoch::ZERO);
            queue.close(identity, Codec::None).unwrap();
        }
        (queue, now)
    }

    fn send(queue: &mut Queue, now: Instant) -> Option<u64> {
        let number = queue.next_to_send(5, now)?.number;
        queue.mark_sent(number);
        Some(number)
    }

    #[test]
    fn sequences_follow_each_other() {
        let (queue, _) = queue(3);
        let bases = queue.batches.iter().map(|batch| {
            let header = BatchHeader::parse_whole(&batch.bytes).unwrap();
            (header.base_sequence.get(), header.producer_id.get())
        });
        assert_eq!(bases.collect::<Vec<_>>(), [(0, 7), (2, 7), (4, 7)]);
    }

    #[test]
    fn a_failure_holds_back_all_that_follows_until_none_is_on_the_way() {
        let (mut queue, now) = queue(7);
        for expected in 0..5 {
            assert_eq!(send(&mut queue, now), Some(expected));
        }
        assert_eq!(send(&mut queue, now), None, "five are in flight");
        assert!(queue.remove(0).is_some());
        queue.put_back(1, now, "broke".to_owned(), |_| WAIT);
        let later = now + WAIT;
        assert_eq!(send(&mut queue, later), None, "2, 3 and 4 are on the way");
        for number in 2..5 {
            assert!(queue.follows_a_failure(number));
            queue.put_back(number, later, "order".to_owned(), |_| WAIT);
        }
        assert_eq!(queue.held_until(), Some(later));
        assert_eq!(send(&mut queue, now), None, "the wait is not over");
        for expected in 1..6 {
            assert_eq!(send(&mut queue, later), Some(expected));
        }
    }

    #[test]
    fn a_batch_is_closed_before_a_record_that_does_not_fit() {
        let (mut queue, now) = queue(0);
        let record = NewRecord {
            value: Some(&[0; 600]),
            ..NewRecord::default()
        };
        assert!(
            !queue.must_close_before(&record, 1_000),
            "an empty batch takes any record"
        );
        queue.push(&record, now).unwrap();
        assert!(queue.must_close_before(&record, 1_000));
        assert_eq!(queue.open_since(), Some(now));
    }
}
