//! Answers to fetches, prepared before they are asked for.

use anyhow::{Context, Result};
use bytes::Bytes;
use segment::batch::assign;
use segment::{LeaderEpoch, Offset};
use wire::messages::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use wire::{ApiKey, Records, decode_request, encode_response};

use super::answers::HEAD_BYTES;
use crate::payload::{Shape, wall_clock};

/// Batches of an answer are not larger than this.
const BATCH_BYTES_MAX: usize = 16 * 1024;
/// Answers that are prepared for a partition, at least.
const ANSWERS_MIN: u64 = 8;
/// Bytes of an answer, at most: each is prepared several times.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Kinds of fetches that one connection may ask for; the oldest is forgotten.
const KINDS_MAX: usize = 64;
/// The only fetch session that there is.
const SESSION_ID: i32 = 1;

/// What a fetch asks for, but for its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    partition: i32,
    bytes_max: i32,
    version: i16,
}

/// The answers that walk through one partition.
#[derive(Debug)]
struct Walk {
    kind: Kind,
    /// Records of each answer.
    records: i64,
    /// Whole frames, the length and a correlation id of 0 included.
    answers: Vec<Bytes>,
}

/// The walks of one connection.
#[derive(Debug, Default)]
pub(super) struct Walks {
    known: Vec<Walk>,
    /// The walk and the offset of the fetch before: a session repeats what has not changed.
    last: (usize, i64),
}

impl Walks {
    /// The whole frame that answers a fetch, with a correlation id of 0.
    pub(super) fn answer(&mut self, frame: &[u8], data_bytes: u64) -> Result<&Bytes> {
        let (header, request) = decode_request::<FetchRequest<'_>>(frame)?;
        let listed = request.topics.first();
        let asked = listed.and_then(|topic| topic.partitions.first().map(|p| (topic.topic, p)));
        if let Some((topic, asked)) = asked {
            let kind = Kind {
                partition: asked.partition,
                bytes_max: asked.partition_max_bytes,
                version: header.api_version,
            };
            let known = self.known.iter().position(|walk| walk.kind == kind);
            let index = match known {
                Some(index) => index,
                None => self.prepare(topic, kind, data_bytes)?,
            };
            self.last = (index, asked.fetch_offset);
        }
        let (index, offset) = self.last;
        let walk = self.known.get(index).context("a fetch of nothing")?;
        let number = usize::try_from(offset / walk.records).unwrap_or(0) % walk.answers.len();
        Ok(&walk.answers[number])
    }

    fn prepare(&mut self, topic: &str, kind: Kind, data_bytes: u64) -> Result<usize> {
        if self.known.len() == KINDS_MAX {
            self.known.remove(0);
        }
        self.known.push(Walk::prepare(topic, kind, data_bytes)?);
        Ok(self.known.len() - 1)
    }
}

impl Walk {
    fn prepare(topic: &str, kind: Kind, data_bytes: u64) -> Result<Self> {
        let bytes = usize::try_from(kind.bytes_max)?.min(ANSWER_BYTES_MAX);
        let batch_bytes = bytes.min(BATCH_BYTES_MAX);
        let shape = Shape {
            batch_bytes,
            record_bytes: 1024.min(batch_bytes),
        };
        let payload = shape.build(wall_clock(), None)?;
        let batches = i64::try_from(bytes / payload.bytes.len().max(1))?;
        let batch_records = i64::try_from(payload.records)?;
        let records = batch_records * batches;
        let count = (data_bytes / bytes.max(1) as u64).max(ANSWERS_MIN);
        let count = i64::try_from(count)?;
        let answer = |number: i64| {
            let mut whole = Vec::with_capacity(bytes);
            for batch in 0..batches {
                let at = whole.len();
                whole.extend_from_slice(&payload.bytes);
                let offset = Offset::new(number * records + batch * batch_records);
                assign(&mut whole[at..], offset, LeaderEpoch::ZERO);
            }
            encode(topic, kind, records * count, whole)
        };
        Ok(Self {
            kind,
            records: records.max(1),
            answers: (0..count).map(answer).collect::<Result<_>>()?,
        })
    }
}

fn encode(topic: &str, kind: Kind, end: i64, batches: Vec<u8>) -> Result<Bytes> {
    let data = PartitionData {
        partition_index: kind.partition,
        high_watermark: end,
        last_stable_offset: end,
        log_start_offset: 0,
        records: Records::Chunks(vec![Bytes::from(batches)]),
        ..Default::default()
    };
    let response = FetchResponse {
        session_id: SESSION_ID,
        responses: vec![FetchableTopicResponse {
            topic,
            partitions: vec![data],
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = encode_response(0, ApiKey::Fetch, kind.version, &response)?.to_bytes();
    anyhow::ensure!(frame.len() > HEAD_BYTES, "an answer has a body");
    Ok(frame)
}
