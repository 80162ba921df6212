//! Defects that other Kafka listeners are known for: see the table of the suite.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use segment::TimestampMs;
use segment::batch::Codec;
use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
use wire::messages::fetch::ReplicaState;
use wire::messages::{DescribeConfigsRequest, FetchRequest};
use wire::{ApiKey, ErrorCode};

use crate::common::{
    Connection, Fetch, PRODUCE_VERSION, Topic, Wanted, batch, produce_request, produced,
};
use crate::victim::{Answer, GROWTH_MAX, MEMORY_BYTES, Victim, ask, prefixed, request};

const MIB: usize = 1 << 20;

#[test]
fn lengths() {
    let victim = Victim::alone(&[]);
    let frame = |length: i32, rest: &[u8]| [&length.to_be_bytes(), rest].concat();
    for length in [0, -1, i32::MIN, i32::MAX, i32::MAX - 1, (1 << 30) + 1] {
        let answer = ask(victim.raw(), &frame(length, &[0; 64]));
        assert_eq!(answer, Answer::Closed, "{length}");
    }
    // Lengths inside: strings, bytes, records and arrays that are longer than the frame, or negative.
    for length in [i32::MAX, i32::MIN, -2, 1 << 30] {
        let array = request(3, 1, false, &length.to_be_bytes());
        assert_eq!(
            ask(victim.raw(), &array),
            Answer::Closed,
            "an array of {length}"
        );
        let head = [&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, b't'][..]];
        let one = [
            &head.concat()[..],
            &[0, 0, 0, 1, 0, 0, 0, 0],
            &length.to_be_bytes(),
        ];
        let records = request(0, 3, false, &one.concat());
        assert_eq!(
            ask(victim.raw(), &records),
            Answer::Closed,
            "records of {length}"
        );
    }
    for length in [i16::MAX, -2, i16::MIN] {
        let name = [&1_i32.to_be_bytes()[..], &length.to_be_bytes(), b"abc"].concat();
        let bytes = request(3, 1, false, &name);
        assert_eq!(
            ask(victim.raw(), &bytes),
            Answer::Closed,
            "a name of {length}"
        );
    }
    // Five bytes of a varint that say 4 GiB: an array, a string, a tagged field.
    for at in 0..3 {
        let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
        let body = [&[2_u8, 2, b'a'][..at.min(1) * at], &huge].concat();
        let bytes = request(3, 9, true, &body);
        assert_eq!(ask(victim.raw(), &bytes), Answer::Closed);
    }
    victim.is_well(64 << 20);
}

/// Connections that promise 60 MiB each, 30 GiB in all, and send a few bytes: memory is taken from the budget, in
/// steps, and follows the bytes.
#[test]
fn promises() {
    let victim = Victim::alone(&[]);
    let promise = [&(60_i32 << 20).to_be_bytes()[..], &[0, 0, 0, 3, 0, 0, 0, 1]].concat();
    let mut held = Vec::new();
    for _ in 0..500 {
        let mut stream = victim.raw();
        stream.write_all(&promise).unwrap();
        held.push(stream);
    }
    victim.is_well(GROWTH_MAX);
    drop(held);
}

/// The cheapest elements of the largest structs: topics without a name, two bytes each, in frames as large as any but
/// Produce may be, and as Produce in a larger one.
pub(crate) fn large_arrays() -> [Vec<u8>; 3] {
    let metadata = |elements: i32| {
        let mut body = elements.to_be_bytes().to_vec();
        body.resize(4 + 2 * elements as usize, 0);
        request(3, 1, false, &body)
    };
    let elements: i32 = 24 << 20;
    let mut body = vec![0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1];
    body.extend_from_slice(&elements.to_be_bytes());
    body.resize(body.len() + 2 * elements as usize, 0);
    [
        metadata(100_000),
        metadata(4 << 20),
        request(0, 3, false, &body),
    ]
}

#[test]
fn array_counts() {
    let victim = Victim::alone(&[]);
    let answers = large_arrays().map(|frame| ask(victim.raw(), &frame));
    assert_eq!(answers[2], Answer::Closed);
    victim.is_well(GROWTH_MAX);
}

/// A few bytes that name the same thing again and again, where each mention would be kilobytes of the reply.
#[test]
fn names_again_and_again() {
    let victim = Victim::alone(&[]);
    let count = 20_000;
    let mut body = DescribeConfigsRequest::default();
    let topic = wire::messages::describe_configs::DescribeConfigsResource {
        resource_type: 2,
        resource_name: &victim.topic.name,
        configuration_keys: None,
    };
    body.resources = vec![topic; count];
    (body.include_synonyms, body.include_documentation) = (true, true);
    let mut client = victim.connect();
    let reply = client.call(4, &body);
    assert!(reply.len() < 64 << 10, "{} bytes of settings", reply.len());

    let mut names = ((count + 1) as u32).to_be_bytes().to_vec();
    for _ in 0..=count {
        names.extend_from_slice(&[0, 4]);
        names.extend_from_slice(b"good");
    }
    // Metadata and DescribeGroups: an array of names.
    for (key, version) in [(3, 1), (15, 0)] {
        let Answer::Frame(reply) = ask(victim.raw(), &request(key, version, false, &names)) else {
            panic!("key {key} is answered");
        };
        assert!(reply.len() < 4_096, "key {key}: {} bytes", reply.len());
    }
    // FindCoordinator: each name is a row, and not more than that.
    let mut keys = vec![0, 0x81, 0xf1, 0x04];
    keys.resize(keys.len() + 2 * 80_000, 2);
    keys.push(0);
    let answer = ask(victim.raw(), &request(10, 4, true, &keys));
    assert!(matches!(answer, Answer::Frame(_)));
    victim.is_well(GROWTH_MAX);
}

/// Twenty million tagged fields: in the header of Produce, which is the one request that may be so large; in its body; and
/// in another request, of which so many are not even read.
pub(crate) fn tagged_fields() -> [Vec<u8>; 3] {
    let tags = |mut bytes: Vec<u8>| {
        bytes.extend_from_slice(&[0x80, 0xda, 0xc4, 0x09]);
        bytes.resize(bytes.len() + 40_000_000, 0);
        prefixed(&bytes)
    };
    let header = [0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff].to_vec();
    let body = [&header[..], &[0, 0, 0xff, 0xff, 0, 0, 0, 1, 1]].concat();
    let other = [0, 12, 0, 4, 0, 0, 0, 1, 0xff, 0xff].to_vec();
    [header, body, other].map(tags)
}

#[test]
fn twenty_million_tagged_fields() {
    let victim = Victim::alone(&[]);
    let began = Instant::now();
    for frame in tagged_fields() {
        assert_eq!(ask(victim.raw(), &frame), Answer::Closed);
    }
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    victim.is_well(GROWTH_MAX);
}

/// What the process may grow by where batches are decompressed: an eighth of the budget is for them, and an allocator keeps
/// for a moment what was given back.
pub(crate) const BOMBS_MAX: u64 = MEMORY_BYTES;

/// A batch whose records are `zeros` bytes of nothing, compressed.
pub(crate) fn bomb(codec: Codec, zeros: usize) -> Bytes {
    let value = vec![0; zeros];
    let mut builder = RecordBatchBuilder::new().codec(codec);
    let record = NewRecord {
        timestamp: TimestampMs::new(1_700_000_000_000),
        key: Some(b"k"),
        value: Some(&value),
        headers: &[],
    };
    builder.push(record).unwrap();
    builder.build().unwrap()
}

/// Topics whose batches are looked into: they decompress what comes, within bounds.
#[test]
fn decompression_bombs() {
    let victim = Victim::alone(&[]);
    let mut client = victim.connect();
    let compacted = client.create_with("compacted", 1, &[("cleanup.policy", "compact")]);
    let recoded = client.create_with("recoded", 1, &[("compression.type", "lz4")]);
    // An eighth of the memory is what all batches together may come to: 32 MiB here.
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4] {
        let bytes = bomb(codec, 200 * MIB);
        assert!(bytes.len() < 2 * MIB, "{codec:?}: {} bytes", bytes.len());
        for topic in [&compacted, &recoded] {
            if codec == Codec::Lz4 && topic.name == recoded.name {
                // In the codec of its topic already: it is not looked into.
                continue;
            }
            let found = client.produce(topic, 0, &bytes);
            assert_ne!(found.error, ErrorCode::NONE, "{codec:?} {}", topic.name);
        }
        victim.is_well(BOMBS_MAX);
    }
    // From several at a time.
    let bytes = bomb(Codec::Gzip, 200 * MIB);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let found = victim.connect().produce(&compacted, 0, &bytes);
                assert_eq!(found.error, ErrorCode::MESSAGE_TOO_LARGE);
            });
        }
    });
    victim.is_well(BOMBS_MAX);
    // Snappy is bounded by its format; its word for the length is not believed.
    let mut lie = batch(&[b"x"]).to_vec();
    lie.truncate(61);
    lie.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
    let length = (lie.len() - 12) as u32;
    lie[8..12].copy_from_slice(&length.to_be_bytes());
    lie[22] = 2;
    let crc = crc32c(&lie[21..]);
    lie[17..21].copy_from_slice(&crc.to_be_bytes());
    for topic in [&compacted, &recoded] {
        let found = client.produce(topic, 0, &Bytes::from(lie.clone()));
        assert_ne!(found.error, ErrorCode::NONE);
    }
    let modest = bomb(Codec::Zstd, MIB);
    client.produce(&recoded, 0, &modest).offset();
    victim.is_well(BOMBS_MAX);
}

/// CRC-32C, bit by bit: the suite has no other use for it.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, byte)
}

#[test]
fn a_client_cannot_pose_as_a_replica() {
    let victim = Victim::alone(&[]);
    let mut client = victim.connect();
    let plain = Fetch::of(vec![Wanted::new(&victim.topic, 0, 0)]);
    for version in 4..=17 {
        for id in [0, 1, i32::MAX] {
            let fetch = plain.clone().version(version);
            let mut request: FetchRequest<'_> = fetch.request();
            if version < 15 {
                request.replica_id = id;
            } else {
                request.replica_state = ReplicaState {
                    replica_id: id,
                    ..ReplicaState::default()
                };
            }
            let body = client.call(version, &request);
            let reply = wire::decode_response::<FetchRequest<'_>>(&body, version);
            let reply = reply.unwrap().1;
            // Below v7 there is no error for the whole reply: nothing is given.
            let refused = version < 7 || reply.error_code == ErrorCode::INVALID_REQUEST;
            assert!(refused && reply.responses.is_empty(), "v{version} as {id}");
        }
    }
    // -2 is Kafka's debugging consumer, which is a consumer.
    assert!(!client.fetch(&plain).only().records.is_empty());
    victim.is_well(64 << 20);
}

const WRITERS: usize = 16;
const ROUNDS: usize = 40;

/// Batches that name their topic, sent in bursts on connections of which every other dies at once; no topic ever holds
/// what was sent to another, and what is acknowledged is there.
#[test]
fn buffers_are_not_used_again_too_early() {
    let victim = Victim::alone(&[]);
    let mut client = victim.connect();
    let topics: Vec<Topic> = (0..4).map(|n| client.create(&format!("t{n}"), 1)).collect();
    let acknowledged = std::thread::scope(|scope| {
        let writers = (0..WRITERS).map(|writer| {
            let (victim, topics) = (&victim, &topics);
            scope.spawn(move || write(victim, topics, writer))
        });
        let writers: Vec<_> = writers.collect();
        let counts = writers.into_iter().map(|writer| writer.join().unwrap());
        counts.sum::<usize>()
    });
    assert!(acknowledged > 0);
    let mut found = 0;
    for topic in &topics {
        found += read_own(&mut client, topic);
    }
    assert!(found >= acknowledged, "{found} of {acknowledged}");
    victim.is_well(GROWTH_MAX);
}

/// Gives how many batches were acknowledged.
fn write(victim: &Victim, topics: &[Topic], writer: usize) -> usize {
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut client = victim.connect();
        let mut sent = 0;
        for (index, topic) in topics.iter().enumerate() {
            // Some in the connection's buffer, some in frames of their own.
            let size = [40, 3_000, 20_000, 200_000][(index + round + writer) % 4];
            let value = topic.name.repeat(size / 2);
            let bytes = batch(&[value.as_bytes()]);
            let request = produce_request(topic, 0, &bytes, Duration::from_secs(15));
            client.send(PRODUCE_VERSION, &request);
            sent += 1;
        }
        if (round + writer).is_multiple_of(2) {
            for _ in 0..sent {
                let (_, body) = client.receive();
                acknowledged += usize::from(produced(&body).error.is_none());
            }
        }
    }
    acknowledged
}

/// Reads a topic to its end; gives its batches, each of which holds the topic's name and nothing else.
fn read_own(client: &mut Connection, topic: &Topic) -> usize {
    let (mut offset, mut count) = (0, 0);
    loop {
        let fetched = client.fetch(&Fetch::of(vec![
            Wanted::new(topic, 0, offset).max_bytes(8 << 20),
        ]));
        let partition = fetched.only();
        let mut bytes = &partition.records[..];
        if bytes.is_empty() {
            assert_eq!(offset, partition.high_watermark);
            return count;
        }
        while !bytes.is_empty() {
            let length = 12 + i32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
            let (one, rest) = bytes.split_at(length);
            let records = RecordSet::decode(one, &DecodeLimits::default()).unwrap();
            records.header().verify_crc(one).unwrap();
            for record in records.iter() {
                let record = record.unwrap();
                let mut names = record.value.unwrap().chunks(topic.name.len());
                assert!(
                    names.all(|name| name == topic.name.as_bytes()),
                    "{}",
                    topic.name
                );
                offset = record.offset.get() + 1;
            }
            count += 1;
            bytes = rest;
        }
    }
}

/// Only Produce may be larger than 16 MiB: anything else is refused by its first bytes.
#[test]
fn only_produce_is_large() {
    let victim = Victim::alone(&[]);
    let promise = |key: ApiKey| {
        let prefix = (17_i32 << 20).to_be_bytes();
        [
            &prefix[..],
            &key.as_i16().to_be_bytes(),
            &[0, 1, 0, 0, 0, 1],
        ]
        .concat()
    };
    for key in ApiKey::ALL.iter().filter(|key| **key != ApiKey::Produce) {
        assert_eq!(ask(victim.raw(), &promise(*key)), Answer::Closed);
    }
    let refused = victim.metric("kafscale_frames_rejected_total{reason=\"too_large\"");
    assert_eq!(refused as usize, ApiKey::ALL.len() - 1);
    victim.is_well(64 << 20);
}
