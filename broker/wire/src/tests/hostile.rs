//! Hostile bytes: no panic, no read outside the frame, no memory beyond the budget.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Rng, arbitrary, body};
use crate::api::{for_each_api, supported_versions};
use crate::field::Field;
use crate::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, DeleteTopicsRequest, FetchRequest,
    HeartbeatRequest, MetadataRequest, ProduceRequest,
};
use crate::{
    ApiKey, DecodeErrorKind, Decoder, Message, REQUEST_ELEMENTS_MAX, RequestHeader,
    UNKNOWN_TAGS_MAX, decode_request, request_budget_bytes,
};

/// A sink of bytes that a test writes a frame into by hand.
#[derive(Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn i16(self, value: i16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn i32(self, value: i32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn i64(self, value: i64) -> Self {
        self.raw(&value.to_be_bytes())
    }
}

fn kind_of<'a, M: Message<'a> + Debug>(bytes: &'a [u8], version: i16) -> DecodeErrorKind {
    M::decode(&mut Decoder::new(bytes), version)
        .unwrap_err()
        .kind
}

/// Decodes `bytes`; what comes out must be paid for.
fn decode_within_budget<M: Message<'static> + Field<'static>>(bytes: Vec<u8>, version: i16) {
    let frame: &'static [u8] = Box::leak(bytes.into_boxed_slice());
    let mut decoder = Decoder::new(frame);
    let budget = decoder.budget_left();
    if let Ok(message) = M::decode(&mut decoder, version) {
        assert_eq!(message.heap_bytes(), budget - decoder.budget_left());
        assert!(message.heap_bytes() <= request_budget_bytes(frame.len()));
    } else {
        // Once bad, it stays bad.
        assert_eq!(decoder.remaining(), 0);
        assert!(decoder.i8().is_err());
        assert!(decoder.take(0).is_err());
    }
}

fn attack<M: Message<'static> + Field<'static>>(version: i16) {
    // The shortest of a few messages, so that each of its prefixes can be tried.
    let message = (0..8).map(|case| arbitrary::<M>(version, case));
    let bytes = message
        .map(|message| body(&message, version))
        .min_by_key(|b| b.len())
        .unwrap();
    for cut in 0..bytes.len() {
        let frame: &'static [u8] = Box::leak(bytes[..cut].to_vec().into_boxed_slice());
        let result = M::decode(&mut Decoder::new(frame), version);
        assert!(result.is_err(), "{} v{version} cut at {cut}", M::NAME);
    }
    let mut rng = Rng::new(version as u64);
    for case in 0..64 {
        let mut mutated = body(&arbitrary::<M>(version, case), version).to_vec();
        for _ in 0..4 {
            let place = rng.below(mutated.len().max(1));
            if let Some(byte) = mutated.get_mut(place) {
                *byte = [0, 1, 2, 0x7f, 0x80, 0xff, rng.next() as u8][rng.below(7)];
            }
        }
        decode_within_budget::<M>(mutated, version);
        let length = rng.below(200);
        let noise: Vec<u8> = (0..length).map(|_| rng.next() as u8).collect();
        decode_within_budget::<M>(noise, version);
        decode_within_budget::<M>(vec![case as u8; length], version);
    }
}

macro_rules! attack_apis {
    ($(
        $name:ident = $key:literal, $module:ident:
            $request:ident $(<$a:lifetime>)? => $response:ident $(<$r:lifetime>)?;
    )*) => {
        /// Decodes `bytes` as the request or the response of `api`.
        fn decode_any(api: ApiKey, version: i16, bytes: Vec<u8>, response: bool) {
            match (api, response) {
                $(
                    (ApiKey::$name, false) => {
                        decode_within_budget::<crate::messages::$module::$request>(bytes, version)
                    }
                    (ApiKey::$name, true) => {
                        decode_within_budget::<crate::messages::$module::$response>(bytes, version)
                    }
                )*
            }
        }

        #[test]
        fn truncated_and_random_bytes_are_errors() {
            $( for version in supported_versions(ApiKey::$name).iter() {
                attack::<crate::messages::$module::$request>(version);
                attack::<crate::messages::$module::$response>(version);
            } )*
        }
    };
}

for_each_api!(attack_apis);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_decode_within_the_budget(
        api in select(ApiKey::ALL),
        version in -1i16..20,
        response in any::<bool>(),
        bytes in vec(prop_oneof![Just(0u8), Just(1), Just(2), any::<u8>()], 0..400),
    ) {
        decode_any(api, version, bytes, response);
    }

    #[test]
    fn varints_round_trip(value in any::<u32>()) {
        let mut encoder = crate::Encoder::new();
        encoder.uvarint(value);
        let bytes = encoder.finish().unwrap().body();
        let mut decoder = Decoder::new(&bytes);
        prop_assert_eq!(decoder.uvarint(), Ok(value));
        prop_assert_eq!(decoder.remaining(), 0);
    }
}

#[test]
fn truncated_and_random_blobs_are_errors() {
    for version in 0..=3 {
        attack::<ConsumerProtocolSubscription<'_>>(version);
        attack::<ConsumerProtocolAssignment<'_>>(version);
    }
}

#[test]
fn random_headers_never_panic() {
    let mut rng = Rng::new(3);
    for _ in 0..20_000 {
        let length = rng.below(40);
        let mut frame: Vec<u8> = (0..length).map(|_| rng.next() as u8).collect();
        if let Some(place) = frame.first_chunk_mut::<4>() {
            *place = [0, rng.below(80) as u8, 0, rng.below(20) as u8];
        }
        let _ = RequestHeader::peek(&frame);
        let _ = RequestHeader::decode(&mut Decoder::new(&frame));
    }
}

#[test]
fn negative_and_huge_counts_are_errors() {
    let metadata = |count: i32| Wire::default().i32(count).0;
    assert_eq!(
        MetadataRequest::decode(&mut Decoder::new(&metadata(-1)), 1)
            .unwrap()
            .topics,
        None
    );
    let nullable = kind_of::<MetadataRequest<'_>>(&metadata(-1), 0);
    assert_eq!(nullable, DecodeErrorKind::UnexpectedNull);
    for count in [-2, i32::MIN] {
        let kind = kind_of::<MetadataRequest<'_>>(&metadata(count), 1);
        assert_eq!(kind, DecodeErrorKind::NegativeLength);
    }
    for count in [1, 1 << 20, i32::MAX] {
        let kind = kind_of::<MetadataRequest<'_>>(&metadata(count), 1);
        assert_eq!(kind, DecodeErrorKind::Count);
    }
    // The same as a compact count: 2^31 - 1, and the largest varint.
    for count in [
        [0x80, 0x80, 0x80, 0x80, 0x08],
        [0xff, 0xff, 0xff, 0xff, 0x0f],
    ] {
        let kind = kind_of::<MetadataRequest<'_>>(&count, 9);
        assert_eq!(kind, DecodeErrorKind::Count);
    }
}

#[test]
fn negative_and_huge_lengths_are_errors() {
    let produce = |length: i32| {
        let head = Wire::default().i16(-1).i16(-1).i32(1000);
        head.i32(1).i16(1).raw(b"t").i32(1).i32(0).i32(length).0
    };
    let frame = produce(-1);
    let request = ProduceRequest::decode(&mut Decoder::new(&frame), 3).unwrap();
    assert!(request.topic_data[0].partition_data[0].records.is_null());
    for length in [-2, i32::MIN] {
        let kind = kind_of::<ProduceRequest<'_>>(&produce(length), 3);
        assert_eq!(kind, DecodeErrorKind::NegativeLength);
    }
    for length in [1, i32::MAX] {
        let kind = kind_of::<ProduceRequest<'_>>(&produce(length), 3);
        assert_eq!(kind, DecodeErrorKind::Truncated);
    }
    let group_id = |length: i16| Wire::default().i16(length).raw(&[0; 8]).0;
    let kind = kind_of::<HeartbeatRequest<'_>>(&group_id(-2), 0);
    assert_eq!(kind, DecodeErrorKind::NegativeLength);
    let kind = kind_of::<HeartbeatRequest<'_>>(&group_id(-1), 0);
    assert_eq!(kind, DecodeErrorKind::UnexpectedNull);
    let kind = kind_of::<HeartbeatRequest<'_>>(&group_id(i16::MAX), 0);
    assert_eq!(kind, DecodeErrorKind::Truncated);
}

#[test]
fn compact_lengths_of_zero_and_one() {
    // Array of zero is null, of one is empty.
    let decode = |bytes: &'static [u8]| MetadataRequest::decode(&mut Decoder::new(bytes), 9);
    assert_eq!(decode(&[0, 0, 0, 0, 0]).unwrap().topics, None);
    assert_eq!(decode(&[1, 0, 0, 0, 0]).unwrap().topics, Some(Vec::new()));
    assert_eq!(
        decode(&[2, 0, 0, 0, 0]).unwrap_err().kind,
        DecodeErrorKind::UnexpectedNull
    );
    let one = decode(&[2, 1, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(one.topics.unwrap()[0].name, Some(""));
    // Where null is not allowed, zero is an error.
    let kind = kind_of::<DeleteTopicsRequest<'_>>(&[0, 0, 0, 0, 0, 0], 5);
    assert_eq!(kind, DecodeErrorKind::UnexpectedNull);
}

#[test]
fn overlong_varints_are_errors() {
    let decode = |bytes: &[u8]| Decoder::new(bytes).uvarint().map_err(|error| error.kind);
    assert_eq!(decode(&[0x7f]), Ok(127));
    assert_eq!(decode(&[0x80, 0x01]), Ok(128));
    assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
    // Padded with zeros: not canonical, but Kafka takes it.
    assert_eq!(decode(&[0x81, 0x80, 0x80, 0x80, 0x00]), Ok(1));
    assert_eq!(
        decode(&[0xff, 0xff, 0xff, 0xff, 0x10]),
        Err(DecodeErrorKind::Varint)
    );
    assert_eq!(
        decode(&[0xff, 0xff, 0xff, 0xff, 0x7f]),
        Err(DecodeErrorKind::Varint)
    );
    assert_eq!(
        decode(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
        Err(DecodeErrorKind::Varint)
    );
    assert_eq!(decode(&[0xff; 16]), Err(DecodeErrorKind::Varint));
    assert_eq!(decode(&[0x80, 0x80]), Err(DecodeErrorKind::Truncated));
}

/// Tagged fields `first`, `first + 1`, ... of no content.
fn tags(first: u8, count: u8) -> Vec<u8> {
    let fields = (first..first + count).flat_map(|tag| [tag, 0]);
    std::iter::once(count).chain(fields).collect()
}

#[test]
fn at_most_64_unknown_tagged_fields() {
    let heartbeat = |tags: &[u8]| {
        let wire = Wire::default().raw(&[1]).i32(0).raw(&[1, 0]);
        wire.raw(tags).0
    };
    let most = UNKNOWN_TAGS_MAX as u8;
    let frame = heartbeat(&tags(10, most));
    HeartbeatRequest::decode(&mut Decoder::new(&frame), 4).unwrap();
    let frame = heartbeat(&tags(10, most + 1));
    assert_eq!(
        kind_of::<HeartbeatRequest<'_>>(&frame, 4),
        DecodeErrorKind::TaggedFields
    );
    // Known tags do not widen the bound for unknown ones.
    let fetch = Wire::default()
        .i32(0)
        .i32(0)
        .i32(0)
        .raw(&[0])
        .i32(0)
        .i32(0)
        .raw(&[1, 1, 1])
        .0;
    let frame = Wire::default().raw(&fetch).raw(&tags(10, most + 1)).0;
    assert_eq!(
        kind_of::<FetchRequest<'_>>(&frame, 15),
        DecodeErrorKind::TaggedFields
    );
    // Content is skipped.
    let frame = heartbeat(&[1, 10, 3, 1, 2, 3]);
    HeartbeatRequest::decode(&mut Decoder::new(&frame), 4).unwrap();
    let frame = heartbeat(&[1, 10, 4, 1, 2, 3]);
    assert_eq!(
        kind_of::<HeartbeatRequest<'_>>(&frame, 4),
        DecodeErrorKind::Truncated
    );
}

#[test]
fn twenty_million_unknown_tags_in_a_header_cost_nothing() {
    let mut frame = Wire::default().i16(12).i16(4).i32(1).i16(-1).0;
    // 20,000,000 as a varint, then as many fields of two bytes.
    frame.extend_from_slice(&[0x80, 0xda, 0xc4, 0x09]);
    frame.resize(frame.len() + 40_000_000, 0);
    let error = decode_request::<HeartbeatRequest<'_>>(&frame).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::TaggedFields);
    assert_eq!(error.at, 14);
}

#[test]
fn tagged_fields_must_have_the_size_they_say() {
    let fetch = Wire::default()
        .i32(0)
        .i32(0)
        .i32(0)
        .raw(&[0])
        .i32(0)
        .i32(0)
        .raw(&[1, 1, 1])
        .0;
    // Tag 1 is the replica state: id, epoch, no tagged fields; 13 bytes.
    let state = |size: u8, extra: &[u8]| {
        let wire = Wire::default().raw(&fetch).raw(&[1, 1, size]);
        wire.i32(4).i64(5).raw(&[0]).raw(extra).0
    };
    let frame = state(13, &[]);
    let request = FetchRequest::decode(&mut Decoder::new(&frame), 15).unwrap();
    assert_eq!(
        (
            request.replica_state.replica_id,
            request.replica_state.replica_epoch
        ),
        (4, 5)
    );
    let kind = kind_of::<FetchRequest<'_>>(&state(12, &[]), 15);
    assert_eq!(kind, DecodeErrorKind::Truncated);
    let kind = kind_of::<FetchRequest<'_>>(&state(14, &[0]), 15);
    assert_eq!(kind, DecodeErrorKind::TaggedFieldSize);
    // v12 has no replica state yet: the tag is unknown there, and skipped.
    let v12 = Wire::default().i32(-1).raw(&state(13, &[])).0;
    FetchRequest::decode(&mut Decoder::new(&v12), 12).unwrap();
}

#[test]
fn array_counts_cannot_amplify() {
    // The cheapest elements there are: topics without a name, two bytes each, 40 in memory.
    let frame = |elements: usize| {
        let mut frame = Wire::default().i32(elements as i32).0;
        frame.resize(frame.len() + 2 * elements, 0);
        frame
    };
    assert_eq!(
        kind_of::<MetadataRequest<'_>>(&frame(200_000), 1),
        DecodeErrorKind::Budget
    );
    // However much memory there is, each is a step.
    for (elements, may) in [
        (REQUEST_ELEMENTS_MAX, DecodeErrorKind::Budget),
        (REQUEST_ELEMENTS_MAX + 1, DecodeErrorKind::Elements),
        (4 << 20, DecodeErrorKind::Elements),
    ] {
        let kind = kind_of::<MetadataRequest<'_>>(&frame(elements), 1);
        assert_eq!(kind, may, "{elements}");
    }
    // Honest small frames are served, however dense.
    let elements: usize = 2000;
    let mut frame = Wire::default().i32(elements as i32).0;
    frame.resize(frame.len() + 2 * elements, 0);
    let request = MetadataRequest::decode(&mut Decoder::new(&frame), 1).unwrap();
    assert_eq!(request.topics.unwrap().len(), elements);
}

#[test]
fn the_budget_of_large_frames_tends_to_twice_their_size() {
    assert_eq!(request_budget_bytes(0), 64 << 10);
    assert_eq!(request_budget_bytes(100 << 10), (800 + 64) << 10);
    let large: usize = 100 << 20;
    assert_eq!(
        request_budget_bytes(large),
        2 * large + (4 << 20) + (64 << 10)
    );
    assert_eq!(request_budget_bytes(usize::MAX), usize::MAX);
}

#[test]
fn a_budget_of_nothing_refuses_any_element() {
    let frame = Wire::default().i32(1).i16(1).raw(b"t").0;
    let mut decoder = Decoder::with_budget(&frame, 0);
    let error = MetadataRequest::decode(&mut decoder, 1).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::Budget);
    assert_eq!(decoder.i32().unwrap_err(), error);
}

#[test]
fn strings_must_be_utf8() {
    let frame = Wire::default().i32(1).i16(2).raw(&[0xc3, 0x28]).0;
    assert_eq!(
        kind_of::<MetadataRequest<'_>>(&frame, 1),
        DecodeErrorKind::Utf8
    );
}

#[test]
fn versions_outside_the_range_are_errors() {
    for version in [-1, 14, i16::MIN, i16::MAX] {
        let kind = kind_of::<ProduceRequest<'_>>(&[0; 64], version);
        assert_eq!(kind, DecodeErrorKind::UnsupportedVersion(version));
        let error = ProduceRequest::default().encode(&mut crate::Encoder::new(), version);
        assert!(error.is_err());
    }
}
