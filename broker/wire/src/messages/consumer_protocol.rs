//! The consumer protocol: the blobs that consumers put into JoinGroup and SyncGroup, versions
//! 0-3. A coordinator never reads them; tools and consumers do.
//!
//! A blob is its version as `i16`, then the message. v1: partitions owned so far (KIP-429).
//! v2: generation (KIP-792). v3: rack (KIP-881). A blob of a newer version is read as the newest
//! known one, because versions may only append.
//!
//! Source: `ConsumerProtocolSubscription.json` and `ConsumerProtocolAssignment.json` of Apache
//! Kafka.

use bytes::{Buf, Bytes};

use crate::api::VersionRange;
use crate::declare::{message, part};
use crate::decode::Decoder;
use crate::encode::{Encoder, LENGTH_PREFIX_BYTES};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::field::since;
use crate::message::Message;

message! {
    /// What a member wants to consume, sent with JoinGroup.
    pub struct ConsumerProtocolSubscription<'a>: versions 0..=3, flexible none {
        /// Names of the topics.
        topics: Vec<&'a str> = Vec::new(), since(0);
        /// Bytes for the assignor.
        user_data: Option<&'a [u8]> = None, since(0).nullable(0);
        /// Partitions that the member owns (KIP-429). Since v1.
        owned_partitions: Vec<TopicPartitions<'a>> = Vec::new(), since(1).ignorable();
        /// Generation in which it came to own them (KIP-792). Since v2.
        generation_id: i32 = -1, since(2).ignorable();
        /// Rack of the member (KIP-881). Since v3.
        rack_id: Option<&'a str> = None, since(3).nullable(3).ignorable();
    }
}

message! {
    /// What a member shall consume, sent with SyncGroup.
    pub struct ConsumerProtocolAssignment<'a>: versions 0..=3, flexible none {
        /// The partitions, topic by topic.
        assigned_partitions: Vec<TopicPartitions<'a>> = Vec::new(), since(0);
        /// Bytes from the assignor.
        user_data: Option<&'a [u8]> = None, since(0).nullable(0);
    }
}

part! {
    /// Partitions of one topic.
    pub struct TopicPartitions<'a> {
        /// Name of the topic.
        topic: &'a str = "", since(0);
        /// Indexes of the partitions.
        partitions: Vec<i32> = Vec::new(), since(0);
    }
}

impl<'a> ConsumerProtocolSubscription<'a> {
    /// Reads a blob: version and message. Gives the version that the blob names.
    pub fn from_blob(blob: &'a [u8]) -> Result<(i16, Self), DecodeError> {
        read_blob(blob)
    }

    /// Encodes the blob in `version`.
    pub fn to_blob(&self, version: i16) -> Result<Bytes, EncodeError> {
        write_blob(self, version)
    }
}

impl<'a> ConsumerProtocolAssignment<'a> {
    /// Reads a blob: version and message. Gives the version that the blob names.
    pub fn from_blob(blob: &'a [u8]) -> Result<(i16, Self), DecodeError> {
        read_blob(blob)
    }

    /// Encodes the blob in `version`.
    pub fn to_blob(&self, version: i16) -> Result<Bytes, EncodeError> {
        write_blob(self, version)
    }
}

fn read_blob<'a, M: Message<'a>>(blob: &'a [u8]) -> Result<(i16, M), DecodeError> {
    let mut decoder = Decoder::new(blob);
    let version = decoder.i16()?;
    let VersionRange { min, max } = M::VERSIONS;
    if version < min {
        return Err(decoder.fail(DecodeErrorKind::UnsupportedVersion(version)));
    }
    let message = M::decode(&mut decoder, version.min(max))?;
    Ok((version, message))
}

fn write_blob<'a, M: Message<'a>>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut encoder = Encoder::new();
    encoder.i16(version);
    message.encode(&mut encoder, version)?;
    let mut blob = encoder.finish()?.to_bytes();
    // A blob stands inside a message, and has no length prefix of its own.
    blob.advance(LENGTH_PREFIX_BYTES.min(blob.len()));
    Ok(blob)
}
