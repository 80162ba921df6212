//! `produce_record`: a tool that writes.

use std::cell::Cell;
use std::rc::Rc;

use client::{ClientError, Producer, ProducerSettings};
use schemars::JsonSchema;
use segment::record::NewRecord;
use segment::{Offset, PartitionIndex, TimestampMs};
use serde::{Deserialize, Serialize};

use super::{PartitionNumber, TopicName, number};
use crate::bounds::{List, Text};
use crate::desk::Visit;
use crate::tool::{Effect, Tool, ToolError};

/// Headers of a record.
const HEADERS_MAX: usize = 32;
/// Bytes of a value, as text or as base64.
const VALUE_BYTES_MAX: usize = 524_288;
/// Bytes of a key.
const KEY_BYTES_MAX: usize = 8_192;

/// See [`Tool::NAME`].
pub(super) struct ProduceRecord;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Arguments {
    /// Name of a topic that exists
    topic: TopicName,
    /// The partition; if left out, that of the key, or any
    #[serde(default)]
    partition: Option<PartitionNumber>,
    /// The key as text
    #[serde(default)]
    key: Option<Text<0, KEY_BYTES_MAX>>,
    /// The value as text. Without `value` and `value_base64` the record is a tombstone, which deletes its key from a
    /// compacted topic
    #[serde(default)]
    value: Option<Text<0, VALUE_BYTES_MAX>>,
    /// The value as base64, instead of `value`
    #[serde(default)]
    value_base64: Option<Text<0, VALUE_BYTES_MAX>>,
    /// Headers
    #[serde(default)]
    headers: Option<List<Header, HEADERS_MAX>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Header {
    name: Text<1, 1_024>,
    value: Text<0, KEY_BYTES_MAX>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answer {
    topic: String,
    partition: i32,
    /// Null where the broker had the record already from an attempt whose answer was lost
    offset: Option<i64>,
}

/// Where the broker has put the record.
#[derive(Debug, Clone, Copy)]
struct Place {
    partition: i32,
    offset: Option<i64>,
}

impl Tool for ProduceRecord {
    type Arguments = Arguments;
    type Answer = Answer;

    const NAME: &'static str = "produce_record";
    const TITLE: &'static str = "Write a record";
    const DESCRIPTION: &'static str = "Append one record to a topic that exists, and wait until it is durable. What consumers \
        of the topic do with it cannot be undone.";
    const EFFECT: Effect = Effect::Writes;

    fn run(visit: &mut Visit, arguments: Arguments) -> Result<Answer, ToolError> {
        let value = arguments.value()?;
        let topic = arguments.topic.as_str();
        // Asked for first, so that a name with an error in it does not make a topic.
        visit.client()?.topic(topic)?;
        let settings = ProducerSettings {
            delivery_timeout: visit.settings().request_timeout,
            ..ProducerSettings::default()
        };
        let mut producer = Producer::new(visit.take_client()?, settings)?;
        let place: Rc<Cell<Option<Place>>> = Rc::default();
        let told = Rc::clone(&place);
        producer.on_acknowledged(move |batch| {
            told.set(Some(Place {
                partition: batch.partition.partition.get(),
                offset: batch.base_offset.map(Offset::get),
            }));
        });
        let sent = arguments.send(&mut producer, value.as_deref());
        visit.keep(producer.into_client());
        sent?;
        let place = place.get().ok_or_else(|| {
            let text = format!(
                "it is not known whether the record is in {topic}: look before it is sent again"
            );
            ToolError::Arguments(text)
        })?;
        Ok(Answer {
            topic: topic.to_owned(),
            partition: place.partition,
            offset: place.offset,
        })
    }
}

impl Arguments {
    fn value(&self) -> Result<Option<Vec<u8>>, ToolError> {
        match (&self.value, &self.value_base64) {
            (Some(_), Some(_)) => {
                let text = "give only one of `value` and `value_base64`";
                Err(ToolError::Arguments(text.to_owned()))
            }
            (Some(text), None) => Ok(Some(text.as_str().as_bytes().to_vec())),
            (None, Some(text)) => {
                let bytes = base64_simd::STANDARD.decode_to_vec(text.as_str());
                let refuse = |_| {
                    let text = "argument `value_base64`: this is no base64 with padding";
                    ToolError::Arguments(text.to_owned())
                };
                bytes.map(Some).map_err(refuse)
            }
            (None, None) => Ok(None),
        }
    }

    fn send(&self, producer: &mut Producer, value: Option<&[u8]>) -> Result<(), ClientError> {
        let headers = self.headers.as_ref().map_or(&[][..], List::as_slice);
        let headers: Vec<(&str, Option<&[u8]>)> = headers
            .iter()
            .map(|it| (it.name.as_str(), Some(it.value.as_str().as_bytes())))
            .collect();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
        let record = NewRecord {
            timestamp: TimestampMs::new(now),
            key: self.key.as_ref().map(|key| key.as_str().as_bytes()),
            value,
            headers: &headers,
        };
        let partition = self.partition.map(|it| PartitionIndex::new(number(it)));
        producer.send(self.topic.as_str(), partition, record)?;
        producer.flush()
    }
}
