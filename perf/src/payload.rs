//! Record batches of an exact size, and the requests that carry them.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rand::RngCore;
use segment::TimestampMs;
use segment::batch::BATCH_HEADER_BYTES;
use segment::record::{NewRecord, RecordBatchBuilder};
use wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::{Records, Uuid};

use crate::connection::Template;

/// Smallest value of a record: room for the mark and the time that end-to-end records carry.
pub const RECORD_BYTES_MIN: usize = 16;
/// Smallest batch: a header and one record of the smallest size.
pub const BATCH_BYTES_MIN: usize = BATCH_HEADER_BYTES + RECORD_BYTES_MIN + RECORD_OVERHEAD_BYTES;
/// Bytes of a record besides its value, at most: lengths, deltas, attributes, no key, no headers.
const RECORD_OVERHEAD_BYTES: usize = 16;
/// Rounds in which the size of the last record is fitted; varints change it by a byte or two.
const FIT_ROUNDS: usize = 8;

/// A batch to send: its bytes and how many records it holds.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The encoded batch.
    pub bytes: Bytes,
    /// Records in it.
    pub records: u64,
}

/// What the batches of a run look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of a batch, header included.
    pub batch_bytes: usize,
    /// Bytes of a record's value; the last record of a batch takes what is left.
    pub record_bytes: usize,
}

impl Shape {
    /// Records that fit: all of `record_bytes` but the last, which takes what is left.
    fn records(&self) -> usize {
        let mut room = self.batch_bytes.saturating_sub(BATCH_HEADER_BYTES);
        let mut count = 0;
        loop {
            let record = encoded_bytes(count, self.record_bytes);
            if room < record {
                return count.max(1);
            }
            room -= record;
            count += 1;
        }
    }

    /// Builds a batch of random bytes, which no codec and no store can shrink. `mark` is written
    /// to the front of every value, if there is one.
    ///
    /// # Errors
    /// The batch is too small for a record.
    pub fn build(&self, now: TimestampMs, mark: Option<[u8; RECORD_BYTES_MIN]>) -> Result<Payload> {
        ensure!(
            self.batch_bytes >= BATCH_BYTES_MIN && self.record_bytes >= RECORD_BYTES_MIN,
            "a batch has at least {BATCH_BYTES_MIN} bytes, a record {RECORD_BYTES_MIN}"
        );
        let mut noise = vec![0; self.batch_bytes];
        rand::rng().fill_bytes(&mut noise);
        self.build_from(&mut noise, now, mark)
    }

    /// As [`Shape::build`], with values cut from `noise`, so that no time goes into randomness.
    ///
    /// # Errors
    /// The batch cannot be built.
    pub fn build_from(
        &self,
        noise: &mut [u8],
        now: TimestampMs,
        mark: Option<[u8; RECORD_BYTES_MIN]>,
    ) -> Result<Payload> {
        if let Some(mark) = mark
            && let Some(front) = noise.first_chunk_mut()
        {
            *front = mark;
        }
        let count = self.records();
        let usual = self.record_bytes.min(noise.len());
        let mut last = if count > 1 {
            usual
        } else {
            usual.min(self.batch_bytes)
        };
        let mut bytes = Bytes::new();
        for _ in 0..FIT_ROUNDS {
            bytes = encode(noise, now, count, usual, last)?;
            let missing = self.batch_bytes as i64 - bytes.len() as i64;
            if missing == 0 {
                break;
            }
            let fitted = (last as i64 + missing).max(RECORD_BYTES_MIN as i64) as usize;
            last = fitted.min(noise.len());
        }
        Ok(Payload {
            bytes,
            records: count as u64,
        })
    }
}

/// Bytes of a record in its batch: lengths, attributes, deltas, a null key, a value, no headers.
fn encoded_bytes(offset_delta: usize, value_bytes: usize) -> usize {
    let body = 1 + 1 + varint_bytes(offset_delta) + 1 + varint_bytes(value_bytes) + value_bytes + 1;
    varint_bytes(body) + body
}

/// Bytes of a zigzag varint that is not negative.
fn varint_bytes(value: usize) -> usize {
    let bits = usize::BITS - (value * 2).leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

fn encode(
    noise: &[u8],
    now: TimestampMs,
    count: usize,
    usual: usize,
    last: usize,
) -> Result<Bytes> {
    let mut builder = RecordBatchBuilder::new();
    for number in 1..=count {
        let size = if number == count { last } else { usual };
        builder.push(NewRecord {
            timestamp: now,
            key: None,
            value: noise.get(..size),
            headers: &[],
        })?;
    }
    builder.build().context("build a batch")
}

/// Where a batch goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// Topic name, for versions up to 12.
    pub topic: String,
    /// Topic id, for version 13.
    pub topic_id: Uuid,
    /// The partition.
    pub partition: i32,
}

/// The request that carries `payload` to `target`.
///
/// # Errors
/// The version cannot carry it.
pub fn produce_request(
    target: &Target,
    payload: &Payload,
    version: i16,
    acks: i16,
) -> Result<Template> {
    let partition = PartitionProduceData {
        index: target.partition,
        records: Records::Chunks(vec![payload.bytes.clone()]),
    };
    let request = ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: &target.topic,
            topic_id: target.topic_id,
            partition_data: vec![partition],
        }],
    };
    Template::new(version, &request)
}

/// The wall clock in ms since the epoch.
pub fn wall_clock() -> TimestampMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    TimestampMs::new(since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }))
}

#[cfg(test)]
mod tests {
    use segment::batch::{BatchHeader, BatchLimits};

    use super::*;

    #[test]
    fn batches_have_the_size_asked_for_and_are_valid() {
        for batch_bytes in [128, 1024, 4096, 16 * 1024, 64 * 1024, 1 << 20] {
            for record_bytes in [16, 100, 1024, 10_000, 1 << 20] {
                let shape = Shape {
                    batch_bytes,
                    record_bytes,
                };
                let payload = shape.build(TimestampMs::new(5), None).unwrap();
                let header =
                    BatchHeader::validate(&payload.bytes, &BatchLimits::default()).unwrap();
                assert_eq!(u64::from(header.record_count), payload.records);
                let off = payload.bytes.len().abs_diff(batch_bytes);
                assert!(off <= 2, "{shape:?} is off by {off}");
            }
        }
    }

    #[test]
    fn too_small_is_refused() {
        let shape = Shape {
            batch_bytes: 60,
            record_bytes: 16,
        };
        assert!(shape.build(TimestampMs::new(5), None).is_err());
    }
}
