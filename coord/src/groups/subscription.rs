//! Topics of a consumer's subscription (Kafka's ConsumerProtocolSubscription), the only part of a
//! member's metadata that the coordinator reads.

use bytes::Bytes;
use std::collections::BTreeSet;

use super::error::DecodeError;
use super::fields::Reader;

/// Protocol type of consumers.
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Adds the topics of a subscription of any version: later versions only append fields.
pub(super) fn collect_topics(
    metadata: Bytes,
    topics: &mut BTreeSet<String>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(metadata);
    let version = reader.i16()?;
    if version < 0 {
        return Err(DecodeError::Value("the subscription's version is negative"));
    }
    let count = reader.i32()?;
    for _ in 0..count {
        let len = usize::try_from(reader.i16()?).map_err(|_| DecodeError::Truncated)?;
        let name = reader.take(len)?;
        topics.insert(
            std::str::from_utf8(&name)
                .map_err(|_| DecodeError::Text)?
                .to_owned(),
        );
    }
    Ok(())
}
