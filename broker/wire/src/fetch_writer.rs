//! [`FetchResponseWriter`]: a Fetch response written partition by partition, as they are found.
//!
//! It makes the same bytes as encoding a whole `FetchResponse`, without a vector per topic and
//! partition. The numbers of topics and partitions must be known when their list begins.

use crate::api::{ApiKey, response_header_version};
use crate::encode::{Encoder, Frame};
use crate::error::EncodeError;
use crate::field::{Field, Shape};
use crate::header::ResponseHeader;
use crate::message::{Message, shape_of};
use crate::messages::fetch::{FetchResponse, FetchableTopicResponse, NodeEndpoint, PartitionData};

/// Room for a topic with one partition, without its records: some 20 bytes of topic and 50 of
/// partition, and a little for the name.
const TOPIC_BYTES: usize = 96;
/// Bounds of the first block that [`FetchResponseWriter::new`] reserves for all topics.
const BLOCK_BYTES_MIN: usize = 256;
const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// A topic with one partition makes a part of small values and one of records.
const PARTS_PER_TOPIC: usize = 2;
/// Bounds of the parts that [`FetchResponseWriter::new`] reserves.
const PARTS_MIN: usize = 4;
const PARTS_MAX: usize = 1024;

/// Writes one Fetch response: [`new`](Self::new), then for each topic [`topic`](Self::topic) and
/// for each of its partitions [`partition`](Self::partition), then [`finish`](Self::finish).
#[derive(Debug)]
pub struct FetchResponseWriter {
    encoder: Encoder,
    shape: Shape,
    topics_left: usize,
    partitions_left: usize,
    topic_open: bool,
}

impl FetchResponseWriter {
    /// Begins a response to a request of `version` with `topics` topics. Of `head` only the
    /// fields in front of the topics are used: throttle time, error code and session id.
    pub fn new(
        correlation_id: i32,
        version: i16,
        head: &FetchResponse<'_>,
        topics: usize,
    ) -> Result<Self, EncodeError> {
        let encoder = Encoder::with_capacity(
            topics
                .saturating_mul(TOPIC_BYTES)
                .clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX),
            topics
                .saturating_mul(PARTS_PER_TOPIC)
                .clamp(PARTS_MIN, PARTS_MAX),
        );
        Self::with_encoder(encoder, correlation_id, version, head, topics)
    }

    /// As [`new`](Self::new), into an encoder that was made with the right capacity.
    pub fn with_encoder(
        mut encoder: Encoder,
        correlation_id: i32,
        version: i16,
        head: &FetchResponse<'_>,
        topics: usize,
    ) -> Result<Self, EncodeError> {
        let Some(shape) = shape_of::<FetchResponse<'_>>(version) else {
            return Err(EncodeError::UnsupportedVersion {
                message: FetchResponse::NAME,
                version,
            });
        };
        let header = ResponseHeader { correlation_id };
        header.encode(
            &mut encoder,
            response_header_version(ApiKey::Fetch, version),
        )?;
        encoder.i32(head.throttle_time_ms);
        // Sessions, and with them these two fields, came with v7.
        if version >= 7 {
            encoder.i16(head.error_code.as_i16());
            encoder.i32(head.session_id);
        }
        encoder.long_length(Some(topics), shape.flexible)?;
        Ok(Self {
            encoder,
            shape,
            topics_left: topics,
            partitions_left: 0,
            topic_open: false,
        })
    }

    /// Begins the next topic, which has `partitions` partitions. Of `topic` only the name (up to
    /// v12) or the id (from v13) is used.
    pub fn topic(
        &mut self,
        topic: &FetchableTopicResponse<'_>,
        partitions: usize,
    ) -> Result<(), EncodeError> {
        self.close_topic()?;
        self.topics_left = self.topics_left.checked_sub(1).ok_or(EncodeError::Count)?;
        if self.shape.version >= 13 {
            topic.topic_id.write(&mut self.encoder, self.shape)?;
        } else {
            topic.topic.write(&mut self.encoder, self.shape)?;
        }
        self.encoder
            .long_length(Some(partitions), self.shape.flexible)?;
        self.partitions_left = partitions;
        self.topic_open = true;
        Ok(())
    }

    /// Writes the next partition of the topic. Records given as `Records::Slices` are passed on
    /// without a copy; the slice can be the caller's, refilled for each partition.
    pub fn partition(&mut self, partition: &PartitionData<'_>) -> Result<(), EncodeError> {
        self.partitions_left = self
            .partitions_left
            .checked_sub(1)
            .ok_or(EncodeError::Count)?;
        partition.write(&mut self.encoder, self.shape)
    }

    /// Bytes written so far, length prefix included.
    pub fn len(&self) -> usize {
        self.encoder.len()
    }

    /// Whether nothing was written: never, a writer begins with its header.
    pub fn is_empty(&self) -> bool {
        self.encoder.is_empty()
    }

    fn close_topic(&mut self) -> Result<(), EncodeError> {
        if self.partitions_left != 0 {
            return Err(EncodeError::Count);
        }
        if self.topic_open && self.shape.flexible {
            self.encoder.uvarint(0);
        }
        self.topic_open = false;
        Ok(())
    }

    /// Ends the response. `node_endpoints` are the addresses of the leaders that partitions named
    /// (KIP-951); versions before 16 cannot carry them, and drop them.
    pub fn finish(mut self, node_endpoints: &[NodeEndpoint<'_>]) -> Result<Frame, EncodeError> {
        self.close_topic()?;
        if self.topics_left != 0 {
            return Err(EncodeError::Count);
        }
        if self.shape.flexible {
            let carried = self.shape.version >= 16 && !node_endpoints.is_empty();
            self.encoder.uvarint(u32::from(carried));
            if carried {
                let shape = self.shape;
                self.encoder.tagged_field(0, |e| {
                    e.long_length(Some(node_endpoints.len()), shape.flexible)?;
                    node_endpoints
                        .iter()
                        .try_for_each(|endpoint| endpoint.write(e, shape))
                })?;
            }
        }
        self.encoder.finish()
    }
}
