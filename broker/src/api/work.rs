//! Memory that a request takes beside its frame while it is carried out.
//!
//! What most requests take is bounded by the size of their frames. A fetch or a lookup of offsets may name a hundred thousand
//! partitions: each is some 30 bytes of the frame and hundreds in the lists that the answer is made from, for as
//! long as a fetch waits. So much is reserved in the budget of the shard's requests, as the frame is.

use wire::ApiKey;

use crate::net::BUFFER_BYTES;

/// A partition of a fetch: decoded 56 bytes, in a session up to 256, 90 for what is found of it, 80 for its place in
/// the list of those that wait, and some in the reply.
const FETCHED_BYTES: usize = 512;
/// A partition whose offset is looked up: decoded, answered, and remembered so that none is named twice.
const LOOKED_UP_BYTES: usize = 192;

/// Bytes to reserve for a request, at most. Nothing for one that is so small that it does not wait for the memory
/// of its frame either. A fetch of more than `partitions_max` is refused before it takes so much.
pub(super) fn memory(
    api: ApiKey,
    version: i16,
    frame_bytes: usize,
    partitions_max: usize,
) -> usize {
    if frame_bytes <= BUFFER_BYTES {
        return 0;
    }
    match api {
        ApiKey::Fetch => {
            let partitions = frame_bytes / fetched_on_the_wire(version);
            partitions.min(partitions_max) * FETCHED_BYTES
        }
        ApiKey::ListOffsets => frame_bytes / looked_up_on_the_wire(version) * LOOKED_UP_BYTES,
        _ => 0,
    }
}

/// Bytes of one partition in a fetch, at least.
const fn fetched_on_the_wire(version: i16) -> usize {
    match version {
        ..=4 => 16,
        5..=8 => 24,
        9..=11 => 28,
        _ => 33,
    }
}

/// The same for a lookup of offsets.
const fn looked_up_on_the_wire(version: i16) -> usize {
    match version {
        ..=3 => 12,
        4..=5 => 16,
        _ => 17,
    }
}

#[cfg(test)]
mod tests {
    use wire::messages::fetch::{FetchPartition, FetchTopic};
    use wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
    use wire::messages::{FetchRequest, ListOffsetsRequest};
    use wire::{Request, RequestHeader};

    use super::*;
    use crate::api::{fetch, list_offsets};

    const PARTITIONS: usize = 100_000;

    fn frame<'a, R: Request<'a>>(version: i16, request: &R) -> Vec<u8> {
        let header = RequestHeader {
            api_key: R::KEY.as_i16(),
            api_version: version,
            correlation_id: 1,
            client_id: None,
        };
        let bytes = wire::encode_request(&header, request).expect("it is valid");
        bytes.to_bytes()[wire::LENGTH_PREFIX_BYTES..].to_vec()
    }

    #[test]
    fn so_many_partitions_can_be_decoded_and_are_paid_for_in_every_version() {
        let fetch = FetchRequest {
            topics: vec![FetchTopic {
                topic: "t",
                partitions: vec![FetchPartition::default(); PARTITIONS],
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        for version in fetch::VERSIONS.min..=fetch::VERSIONS.max {
            let frame = frame(version, &fetch);
            wire::decode_request::<FetchRequest<'_>>(&frame).expect("within its budget");
            let memory = |max| memory(ApiKey::Fetch, version, frame.len(), max);
            let whole = PARTITIONS * FETCHED_BYTES;
            assert_eq!(memory(PARTITIONS), whole, "version {version}");
            assert_eq!(memory(7), 7 * FETCHED_BYTES);
        }
        let lookup = ListOffsetsRequest {
            topics: vec![ListOffsetsTopic {
                name: "t",
                partitions: vec![ListOffsetsPartition::default(); PARTITIONS],
            }],
            ..ListOffsetsRequest::default()
        };
        for version in list_offsets::VERSIONS.min..=list_offsets::VERSIONS.max {
            let frame = frame(version, &lookup);
            wire::decode_request::<ListOffsetsRequest<'_>>(&frame).expect("within its budget");
            let memory = memory(ApiKey::ListOffsets, version, frame.len(), 1);
            let whole = PARTITIONS * LOOKED_UP_BYTES;
            assert!(
                (whole..whole + whole / 100).contains(&memory),
                "version {version}: {memory}"
            );
        }
    }

    #[test]
    fn small_requests_and_others_reserve_nothing() {
        assert_eq!(memory(ApiKey::Fetch, 12, BUFFER_BYTES, 1_000), 0);
        assert_eq!(memory(ApiKey::Produce, 9, 1 << 20, 1_000), 0);
        assert_eq!(memory(ApiKey::JoinGroup, 9, 1 << 20, 1_000), 0);
    }
}
