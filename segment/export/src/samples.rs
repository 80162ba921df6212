//! Rows for tests, made as they come: from record batches.

use bytes::Bytes;
use segment::batch::{BatchHeader, TimestampType};
use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
use segment::{Offset, PartitionIndex, TimestampMs, TopicId, TopicName};

use crate::{Origin, Row};

/// A record that owns its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sample {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A batch of them.
pub(crate) fn batch(base: i64, samples: &[Sample], append_time: Option<i64>) -> Bytes {
    let mut builder = RecordBatchBuilder::new().base_offset(Offset::new(base));
    for sample in samples {
        let headers: Vec<(&str, Option<&[u8]>)> = sample
            .headers
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        let record = NewRecord {
            timestamp: TimestampMs::new(sample.timestamp),
            key: sample.key.as_deref(),
            value: sample.value.as_deref(),
            headers: &headers,
        };
        builder.push(record).unwrap();
    }
    if let Some(time) = append_time {
        builder = builder.log_append_time(TimestampMs::new(time));
    }
    builder.build().unwrap()
}

/// Hands each record of a batch over as a row of partition 3.
pub(crate) fn for_each_row(batch: &[u8], mut take: impl FnMut(&Row<'_>)) {
    let header = BatchHeader::parse_whole(batch).unwrap();
    let timestamp_type: TimestampType = header.attributes.timestamp_type();
    let set = RecordSet::decode(batch, &DecodeLimits::default()).unwrap();
    for record in &set {
        take(&Row {
            partition: PartitionIndex::new(3),
            timestamp_type,
            record: &record.unwrap(),
        });
    }
}

pub(crate) fn origin() -> Origin {
    Origin {
        cluster: "c1".to_owned(),
        topic: TopicName::new("orders").unwrap(),
        topic_id: TopicId::new([7; 16]),
        partition: PartitionIndex::new(3),
    }
}
