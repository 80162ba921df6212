//! Fetch as a client sees it: limits, long polls, sessions, epochs, topic ids, order of replies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{
    Connection, Fetch, Fetched, LocalBroker, PRODUCE_TIMEOUT, PRODUCE_VERSION, Produced, Topic,
    Wanted, batch, batches, numbered, produce_request, produced,
};
use wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::produce::{PartitionProduceData, TopicProduceData};
use wire::messages::{
    ApiVersionsRequest, DeleteRecordsRequest, ListOffsetsRequest, ProduceRequest,
};
use wire::{ErrorCode, Records, Uuid};

/// A wait that no test sits out.
const LONG: Duration = Duration::from_secs(15);
/// What "at once" means where other work goes on on the machine.
const SOON: Duration = Duration::from_secs(4);
/// A wait during which nothing is expected.
const QUIET: Duration = Duration::from_millis(250);

/// Whether no reply comes for a while.
fn stays_quiet(connection: &Connection) -> bool {
    let stream = &connection.stream;
    stream.set_read_timeout(Some(QUIET)).unwrap();
    let quiet = stream.peek(&mut [0; 1]).is_err();
    stream
        .set_read_timeout(Some(common::REPLY_TIMEOUT))
        .unwrap();
    quiet
}

/// Reads the reply to a fetch that was sent before.
fn receive(connection: &mut Connection, fetch: &Fetch) -> Fetched {
    Fetched::decode(&connection.receive().1, fetch.version)
}

#[test]
fn at_least_one_whole_batch_is_returned_whatever_the_limits_and_no_second_one() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("t", 4);
    let (small, large) = (numbered(1, 100), numbered(2, 20_000));
    for index in [0, 0, 1] {
        client.produce(&topic, index, &large).offset();
    }
    client.produce(&topic, 2, &small).offset();
    let want = |index, offset| Wanted::new(&topic, index, offset);
    let limited = Fetch::of(vec![want(0, 0).max_bytes(1)]);
    let whole = client.fetch(&limited);
    assert_eq!(
        whole.only().bases(),
        [0],
        "larger than its partition's limit"
    );
    assert_eq!(whole.only().records.len(), large.len());
    for limit in [0, 1, large.len() as i32 - 1, 2 * large.len() as i32 - 1] {
        let fetch = Fetch::of(vec![want(0, 0), want(1, 0), want(2, 0)]);
        let found = client.fetch(&fetch.max_bytes(limit));
        let bases: Vec<_> = found.partitions.iter().map(|it| it.bases()).collect();
        let small_fits = limit >= (large.len() + small.len()) as i32;
        let last = if small_fits { vec![0] } else { vec![] };
        assert_eq!(bases, [vec![0], vec![], last], "limit {limit}");
        assert_eq!(found.partitions[1].high_watermark, 1);
    }
    let fetch = Fetch::of(vec![want(3, 0), want(0, 2), want(1, 0), want(2, 0)]);
    let found = client.fetch(&fetch.max_bytes(1));
    let bases: Vec<_> = found.partitions.iter().map(|it| it.bases()).collect();
    assert_eq!(
        bases,
        [vec![], vec![], vec![0], vec![]],
        "the first batch that there is, not the first partition's"
    );
    let exact = Fetch::of(vec![want(0, 0).max_bytes(2 * large.len() as i32)]);
    assert_eq!(client.fetch(&exact).only().bases(), [0, 1]);
    let both = Fetch::of(vec![want(0, 0).max_bytes(1), want(1, 0).max_bytes(1)]);
    let found = client.fetch(&both);
    assert_eq!(found.partitions[0].bases(), [0]);
    assert_eq!(found.partitions[1].bases(), [0; 0], "only the first one");
    broker.stop();
}

#[test]
fn limits_mean_the_same_for_what_is_read_from_the_store() {
    let broker = LocalBroker::start(&[("memory.cache_bytes", "1MiB")]);
    let mut client = broker.connect();
    let topic = client.create("t", 1);
    let one = numbered(1, 100_000);
    for offset in 0..20 {
        assert_eq!(client.produce(&topic, 0, &one).offset(), offset);
    }
    let misses = "kafscale_cache_misses_total{tier=\"tail\"";
    let before = broker.metric(misses);
    let want = |offset, bytes| Fetch::of(vec![Wanted::new(&topic, 0, offset).max_bytes(bytes)]);
    assert_eq!(client.fetch(&want(0, 1)).only().bases(), [0]);
    assert_eq!(client.fetch(&want(3, 250_000)).only().bases(), [3, 4]);
    assert!(broker.metric(misses) >= before + 2.0, "they are cold");
    let (mut next, mut seen) = (0, Vec::new());
    while next < 20 {
        let found = client.fetch(&want(next, 150_000));
        seen.extend(found.only().bases());
        next = seen.last().unwrap() + 1;
    }
    assert_eq!(seen, (0..20).collect::<Vec<i64>>());
    broker.stop();
}

#[test]
fn a_fetch_waits_for_min_bytes_and_is_answered_when_they_are_there() {
    let broker = LocalBroker::start(&[]);
    let (mut reader, mut writer) = (broker.connect(), broker.connect());
    let topic = writer.create("t", 1);
    let one = numbered(1, 1_000);
    let length = one.len() as i32;
    writer.produce(&topic, 0, &one).offset();
    for (missing, exactly) in [(2, 0), (3, 1)] {
        let from = if exactly == 0 { 0 } else { 1 };
        let base = Fetch::of(vec![Wanted::new(&topic, 0, from)]);
        // The bytes of two batches; then one byte more, which takes a third.
        let fetch = base.wait(2 * length + exactly, LONG);
        reader.send(fetch.version, &fetch.request());
        assert!(stays_quiet(&reader), "{missing}: one batch is not enough");
        if exactly == 1 {
            writer.produce(&topic, 0, &one).offset();
            assert!(stays_quiet(&reader), "a byte is missing");
        }
        let began = Instant::now();
        writer.produce(&topic, 0, &one).offset();
        let found = receive(&mut reader, &fetch);
        assert!(began.elapsed() < SOON, "woken at once");
        assert_eq!(found.only().bases().len(), missing);
    }
    broker.stop();
}

#[test]
fn a_long_poll_adds_up_partitions_of_several_shards() {
    let broker = LocalBroker::start(&[]);
    let (mut reader, mut writer) = (broker.connect(), broker.connect());
    let topic = writer.create("t", 8);
    let one = numbered(1, 1_000);
    let wanted = (0..8).map(|index| Wanted::new(&topic, index, 0)).collect();
    let fetch = Fetch::of(wanted).wait(8 * one.len() as i32, LONG);
    reader.send(fetch.version, &fetch.request());
    for index in 0..7 {
        writer.produce(&topic, index, &one).offset();
    }
    assert!(stays_quiet(&reader));
    let began = Instant::now();
    writer.produce(&topic, 7, &one).offset();
    let found = receive(&mut reader, &fetch);
    assert!(began.elapsed() < SOON);
    assert!(found.partitions.iter().all(|it| it.bases() == [0]));
    broker.stop();
}

#[test]
fn a_fetch_that_waits_in_vain_is_answered_after_max_wait_with_what_there_is() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("t", 2);
    client.produce(&topic, 0, &numbered(1, 100)).offset();
    let want = |index, offset| Fetch::of(vec![Wanted::new(&topic, index, offset)]);
    for (index, offset, bases) in [(0, 0, vec![0]), (0, 1, vec![]), (1, 0, vec![])] {
        let began = Instant::now();
        let wait = Duration::from_millis(300);
        let found = client.fetch(&want(index, offset).wait(1_000_000, wait));
        let took = began.elapsed();
        assert!(took >= wait && took < wait + SOON, "{took:?}");
        assert_eq!(found.only().bases(), bases);
    }
    broker.stop();
}

#[test]
fn a_fetch_that_nothing_can_improve_is_answered_at_once() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("t", 1);
    let one = numbered(1, 1_000);
    client.produce(&topic, 0, &one).offset();
    let want = |index, offset| Wanted::new(&topic, index, offset);
    let waits = |wanted, min_bytes| Fetch::of(wanted).wait(min_bytes, LONG);
    let cases = [
        ("nothing is wanted", waits(vec![], 1)),
        ("no bytes are needed", waits(vec![want(0, 1)], 0)),
        ("they are there", waits(vec![want(0, 0)], one.len() as i32)),
        (
            "a partition is unknown",
            waits(vec![want(0, 1), want(9, 0)], 1),
        ),
        ("an offset is out of range", waits(vec![want(0, 5)], 1)),
        (
            "more than max_bytes cannot come",
            waits(vec![want(0, 0)], 1 << 20).max_bytes(one.len() as i32),
        ),
    ];
    for (why, fetch) in cases {
        let began = Instant::now();
        client.fetch(&fetch);
        assert!(began.elapsed() < SOON, "{why}");
    }
    broker.stop();
}

#[test]
fn a_client_that_dies_in_a_long_poll_does_not_keep_its_place_for_ever() {
    let settings = [("request.idle_timeout_ms", "1000")];
    let broker = LocalBroker::start(&settings);
    let topic = broker.connect().create("t", 1);
    for _ in 0..5 {
        let mut client = broker.connect();
        let day = Duration::from_secs(24 * 3600);
        let fetch = Fetch::of(vec![Wanted::new(&topic, 0, 0)]).wait(1, day);
        client.send(fetch.version, &fetch.request());
    }
    common::eventually("no connection is left", LONG, || {
        broker.metric("kafscale_connections{") == 0.0
    });
    broker.stop();
}

#[test]
fn every_version_gives_the_same_records() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("t", 2);
    let one = batch(&[b"a", b"b", b"c"]);
    client.produce(&topic, 1, &one).offset();
    let mut found = Vec::new();
    for version in 4..=17 {
        let fetch = Fetch::of(vec![Wanted::new(&topic, 0, 0), Wanted::new(&topic, 1, 1)]);
        let fetched = client.fetch(&fetch.version(version));
        assert_eq!(fetched.indexes(), [0, 1], "version {version}");
        let second = &fetched.partitions[1];
        assert_eq!(second.high_watermark, 3);
        if version >= 13 {
            assert_eq!((second.topic_id, second.topic.as_str()), (topic.id, ""));
        } else {
            assert_eq!(second.topic, "t");
        }
        assert_eq!(second.bases(), [0], "the batch that holds the offset");
        found.push(second.records.clone());
    }
    assert!(found.iter().all(|records| *records == found[0]));
    broker.stop();
}

#[test]
fn an_incremental_session_returns_only_what_changed() {
    let broker = LocalBroker::start(&[]);
    let (mut client, mut writer) = (broker.connect(), broker.connect());
    let topic = writer.create("t", 4);
    let one = numbered(1, 100);
    let want = |index, offset| Wanted::new(&topic, index, offset);
    let first = Fetch::of((0..4).map(|index| want(index, 0)).collect()).session(0, 0);
    let full = client.fetch(&first);
    let id = full.session_id;
    assert!(id > 0);
    assert_eq!(
        full.indexes(),
        [0, 1, 2, 3],
        "a new session tells everything"
    );
    let next = |epoch, wanted| Fetch::of(wanted).session(id, epoch);
    let nothing = client.fetch(&next(1, vec![]));
    assert_eq!((nothing.session_id, nothing.indexes()), (id, vec![]));
    writer.produce(&topic, 2, &one).offset();
    let news = client.fetch(&next(2, vec![]).wait(1, LONG));
    assert_eq!((news.indexes(), news.only().bases()), (vec![2], vec![0]));
    let again = client.fetch(&next(3, vec![]));
    assert_eq!(again.only().bases(), [0], "its offset has not moved");
    let moved = client.fetch(&next(4, vec![want(2, 1)]));
    assert_eq!(moved.indexes(), [0; 0], "read to the end");
    // Partition 2 is forgotten, 3 is wanted from elsewhere, 1 is as it was.
    for index in [1, 2, 3] {
        writer.produce(&topic, index, &one).offset();
    }
    let mut changed = next(5, vec![want(3, 1)]);
    changed.forgotten = vec![(topic.clone(), 2)];
    let found = client.fetch(&changed);
    let mut indexes = found.indexes();
    indexes.sort_unstable();
    assert_eq!(indexes, [1, 3], "1 has records, 3 another high watermark");
    let moved = next(6, vec![want(1, 1)]);
    assert_eq!(client.fetch(&moved).indexes(), [0; 0]);
    writer.produce(&topic, 2, &one).offset();
    assert_eq!(
        client.fetch(&next(7, vec![])).indexes(),
        [0; 0],
        "what is forgotten stays so"
    );
    let errors = next(8, vec![want(0, 99)]);
    let found = client.fetch(&errors);
    assert_eq!(found.only().error, ErrorCode::OFFSET_OUT_OF_RANGE);
    let found = client.fetch(&next(9, vec![]));
    assert_eq!(
        found.only().error,
        ErrorCode::OFFSET_OUT_OF_RANGE,
        "an error is told until it is mended"
    );
    broker.stop();
}

#[test]
fn a_session_ends_when_its_client_says_so_and_wrong_ones_are_refused() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("t", 1);
    client.produce(&topic, 0, &numbered(1, 100)).offset();
    let all = || vec![Wanted::new(&topic, 0, 0)];
    let begin = Fetch::of(all()).session(0, 0);
    let id = client.fetch(&begin).session_id;
    for version in [7, 12, 17] {
        let of = |id, epoch| Fetch::of(vec![]).session(id, epoch).version(version);
        let error = |fetched: Fetched| (fetched.error, fetched.partitions.len());
        let wrong = client.fetch(&of(id, 5));
        assert_eq!(
            error(wrong),
            (ErrorCode::INVALID_FETCH_SESSION_EPOCH, 0),
            "version {version}"
        );
        let unknown = client.fetch(&of(id + 1_000, 1));
        assert_eq!(error(unknown), (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0));
    }
    let right = Fetch::of(vec![]).session(id, 1);
    assert_eq!(
        client.fetch(&right).error,
        ErrorCode::NONE,
        "a wrong epoch does no harm"
    );
    assert_eq!(
        client.fetch(&right).error,
        ErrorCode::INVALID_FETCH_SESSION_EPOCH,
        "an epoch is used once"
    );
    let last = client.fetch(&Fetch::of(all()).session(id, -1));
    assert_eq!((last.session_id, last.only().bases()), (0, vec![0]));
    assert_eq!(
        client.fetch(&Fetch::of(vec![]).session(id, 2)).error,
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
    let anew = client.fetch(&Fetch::of(all()).session(id, 0));
    assert_eq!(anew.only().bases(), [0]);
    assert!(anew.session_id != id && anew.session_id > 0);
    broker.stop();
}

#[test]
fn a_session_in_a_long_poll_is_not_the_first_to_make_room() {
    let settings = [("shard.count", "1"), ("shard.fetch_sessions_max", "2")];
    let broker = LocalBroker::start(&settings);
    let (mut idle, mut polling) = (broker.connect(), broker.connect());
    let topic = idle.create("t", 1);
    let begin = Fetch::of(vec![Wanted::new(&topic, 0, 0)]).session(0, 0);
    let unused = idle.fetch(&begin).session_id;
    let used = polling.fetch(&begin).session_id;
    let poll = Fetch::of(vec![]).session(used, 1).wait(1, LONG);
    polling.send(poll.version, &poll.request());
    assert!(stays_quiet(&polling));
    let third = broker.connect().fetch(&begin);
    assert!(third.session_id > 0);
    idle.produce(&topic, 0, &numbered(1, 100)).offset();
    assert_eq!(receive(&mut polling, &poll).only().bases(), [0]);
    let next = polling.fetch(&Fetch::of(vec![]).session(used, 2));
    assert_eq!(next.error, ErrorCode::NONE, "it was used last");
    let gone = idle.fetch(&Fetch::of(vec![]).session(unused, 1));
    assert_eq!(gone.error, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    broker.stop();
}

#[test]
fn isolation_levels_differ_only_in_the_list_of_aborted_transactions() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("t", 1);
    client.produce(&topic, 0, &batch(&[b"a", b"b"])).offset();
    for (isolation_level, aborted) in [(0, None), (1, Some(0))] {
        let mut fetch = Fetch::of(vec![Wanted::new(&topic, 0, 0)]);
        fetch.isolation_level = isolation_level;
        let found = client.fetch(&fetch);
        let only = found.only();
        assert_eq!((only.aborted, only.bases()), (aborted, vec![0]));
        assert_eq!((only.high_watermark, only.last_stable), (2, 2));
    }
    broker.stop();
}

#[test]
fn another_leader_epoch_than_ours_is_refused() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("t", 1);
    client.produce(&topic, 0, &numbered(1, 100)).offset();
    let broker = broker.restart();
    let mut client = broker.connect();
    client.produce(&topic, 0, &numbered(2, 100)).offset();
    let want = || Wanted::new(&topic, 0, 0);
    let found = client.fetch(&Fetch::of(vec![want()]));
    let written: Vec<i32> = batches(&found.only().records)
        .iter()
        .map(|header| header.leader_epoch.get())
        .collect();
    let (old, current) = (written[0], written[1]);
    assert!(old < current, "a new owner has a new epoch");
    let cases = [
        (-1, ErrorCode::NONE),
        (old, ErrorCode::FENCED_LEADER_EPOCH),
        (current, ErrorCode::NONE),
        (current + 1, ErrorCode::UNKNOWN_LEADER_EPOCH),
    ];
    for (epoch, code) in cases {
        for version in [9, 12, 13] {
            let wanted = vec![want().leader_epoch(epoch)];
            let fetch = Fetch::of(wanted).version(version).wait(1, LONG);
            let found = client.fetch(&fetch);
            assert_eq!(found.only().error, code, "epoch {epoch} v{version}");
            let count = if code.is_none() { 2 } else { 0 };
            assert_eq!(found.only().bases().len(), count);
        }
    }
    broker.stop();
}

#[test]
fn what_is_not_there_gets_the_error_that_clients_act_on() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("t", 1);
    for number in 0..4 {
        client.produce(&topic, 0, &numbered(number, 100)).offset();
    }
    let delete = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t",
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset: 2,
            }],
        }],
        timeout_ms: 10_000,
    };
    client.call(2, &delete);
    let stranger = Topic {
        name: "nobody".to_owned(),
        id: Uuid([9; 16]),
    };
    let cases = [
        (12, &topic, 0, 1, ErrorCode::OFFSET_OUT_OF_RANGE),
        (12, &topic, 0, 2, ErrorCode::NONE),
        (12, &topic, 0, 4, ErrorCode::NONE),
        (12, &topic, 0, 5, ErrorCode::OFFSET_OUT_OF_RANGE),
        (12, &topic, 0, -1, ErrorCode::OFFSET_OUT_OF_RANGE),
        (12, &topic, 1, 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (13, &topic, 1, 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (12, &stranger, 0, 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (13, &stranger, 0, 0, ErrorCode::UNKNOWN_TOPIC_ID),
        (17, &stranger, 0, 0, ErrorCode::UNKNOWN_TOPIC_ID),
    ];
    for (version, topic, index, offset, code) in cases {
        let fetch = Fetch::of(vec![Wanted::new(topic, index, offset)]);
        let found = client.fetch(&fetch.version(version));
        let only = found.only();
        assert_eq!(only.error, code, "v{version} {index} {offset}");
        if code == ErrorCode::OFFSET_OUT_OF_RANGE {
            assert_eq!((only.log_start, only.high_watermark), (2, 4));
        }
    }
    let request = produce_request(&stranger, 0, &numbered(1, 10), PRODUCE_TIMEOUT);
    let body = client.call(13, &request);
    let (_, reply) =
        wire::decode_response::<wire::messages::ProduceRequest<'_>>(&body, 13).unwrap();
    let partition = &reply.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    broker.stop();
}

#[test]
fn replies_come_in_the_order_of_requests_and_a_fetch_sees_the_produce_before_it() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("t", 3);
    let mut sent = Vec::new();
    for round in 0..40 {
        let index = round % 3;
        let offset = i64::from(round / 3);
        let one = numbered(round as u64, 500);
        let request = produce_request(&topic, index, &one, PRODUCE_TIMEOUT);
        sent.push((client.send(PRODUCE_VERSION, &request), "produce", offset));
        let fetch = Fetch::of(vec![Wanted::new(&topic, index, offset)]).wait(1, LONG);
        let id = client.send(fetch.version, &fetch.request());
        sent.push((id, "fetch", offset));
        let id = client.send(0, &ApiVersionsRequest::default());
        sent.push((id, "versions", 0));
    }
    for (id, kind, offset) in sent {
        let (found, body) = client.receive();
        assert_eq!(found, id, "in order");
        match kind {
            "produce" => assert_eq!(
                produced(&body),
                Produced {
                    error: ErrorCode::NONE,
                    base_offset: offset
                }
            ),
            "fetch" => assert_eq!(Fetched::decode(&body, 12).only().bases(), [offset]),
            _ => {}
        }
    }
    broker.stop();
}

/// Kafka takes as many as a frame holds.
const MANY: i32 = 5_000;

fn produce_to_all(client: &mut Connection, topic: &Topic, count: i32) -> Vec<ErrorCode> {
    let sent = numbered(1, 10);
    let partition = |index| PartitionProduceData {
        index,
        records: Records::Chunks(vec![sent.clone()]),
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: PRODUCE_TIMEOUT.as_millis() as i32,
        topic_data: vec![TopicProduceData {
            name: &topic.name,
            topic_id: topic.id,
            partition_data: (0..count).map(partition).collect(),
        }],
        ..ProduceRequest::default()
    };
    let body = client.call(PRODUCE_VERSION, &request);
    let (_, told) = wire::decode_response::<ProduceRequest<'_>>(&body, PRODUCE_VERSION).unwrap();
    let rows = told.responses[0].partition_responses.iter();
    rows.map(|row| row.error_code).collect()
}

#[test]
fn thousands_of_partitions_are_produced_to_looked_up_and_fetched_in_one_request() {
    let broker = LocalBroker::start(&[]);
    let mut client = broker.connect();
    let topic = client.create("many", MANY);
    let codes = produce_to_all(&mut client, &topic, MANY);
    assert_eq!(codes, vec![ErrorCode::NONE; MANY as usize]);

    let lookup = |partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: -1,
        ..ListOffsetsPartition::default()
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: &topic.name,
            partitions: (0..MANY).map(lookup).collect(),
        }],
        ..ListOffsetsRequest::default()
    };
    let body = client.call(6, &request);
    let (_, told) = wire::decode_response::<ListOffsetsRequest<'_>>(&body, 6).unwrap();
    let rows = told.topics[0].partitions.iter();
    let ends: Vec<_> = rows.map(|row| (row.error_code, row.offset)).collect();
    assert_eq!(ends, vec![(ErrorCode::NONE, 1); MANY as usize]);

    let all = |offset| {
        (0..MANY)
            .map(|index| Wanted::new(&topic, index, offset))
            .collect()
    };
    for version in [4, 12, 18] {
        let found = client.fetch(&Fetch::of(all(0)).version(version));
        assert_eq!(found.indexes(), Vec::from_iter(0..MANY));
        assert!(
            found.partitions.iter().all(|it| it.bases() == [0]),
            "version {version}"
        );
    }
    // In a session they are named once; one that names so many without one is answered early.
    let begun = client.fetch(&Fetch::of(all(1)).session(0, 0));
    assert_eq!(begun.partitions.len(), MANY as usize);
    assert_ne!(begun.session_id, 0);
    let began = Instant::now();
    let found = client.fetch(&Fetch::of(all(1)).wait(1, common::REPLY_TIMEOUT));
    assert!(found.partitions.iter().all(|it| it.records.is_empty()));
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    let next = Fetch::of(vec![]).session(begun.session_id, 1).wait(1, LONG);
    client.send(next.version, &next.request());
    broker
        .connect()
        .produce(&topic, MANY - 1, &numbered(2, 10))
        .offset();
    let found = receive(&mut client, &next);
    assert_eq!(found.only().index, MANY - 1);
    broker.stop();
}

#[test]
fn a_request_of_more_partitions_than_the_settings_allow_is_refused() {
    let broker = LocalBroker::start(&[("request.partitions_max", "3")]);
    let mut client = broker.connect();
    let topic = client.create("t", 4);
    let none = ErrorCode::NONE;
    assert_eq!(produce_to_all(&mut client, &topic, 3), [none; 3]);
    let invalid = ErrorCode::INVALID_REQUEST;
    assert_eq!(produce_to_all(&mut client, &topic, 4), [invalid; 4]);
    let fetch = |count| Fetch::of((0..count).map(|it| Wanted::new(&topic, it, 0)).collect());
    assert_eq!(client.fetch(&fetch(3)).indexes(), [0, 1, 2]);
    assert_eq!(client.fetch(&fetch(4)).error, invalid);
    broker.stop();
}
