//! H11: a broker that others may have replaced answers no reads, and resets no consumer.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use segment::{Offset, PartitionIndex};
use wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::{ApiKey, ErrorCode, Records, RequestHeader};

use super::*;
use crate::api;
use crate::config::ListenerId;
use crate::net::{Reply, Slot};
use crate::security::identity::Identity;
use crate::shard::ReadError;
use crate::start::tests::idempotent;

/// An idle owner is cut off from everything, so that it meets no fence. Its time to live is over,
/// others have taken over and gone on: its high watermark stands still for ever.
#[test]
fn h11_a_session_without_proof_answers_no_reads() {
    closes(
        Rule::ProofExpires,
        async || {
            let (world, old, id) = orders(Some(1), 2).await;
            old.lose_lease().await;
            let new = world.start_as(Some(2)).await;
            new.produce_many(id, 1).await;
            old.context.proof.run_out();
            let read = old.context.shard_of(id).call(move |shard| {
                let metadata = shard.metadata();
                let topic = metadata.topic_by_id(id.topic)?;
                shard.snapshot(topic.partition(id.partition)?).map(|_| ())
            });
            match read.await.unwrap() {
                None => has_all(&new, id, 15).await,
                Some(()) => Err(Violation::StaleRead),
            }
        },
        Violation::StaleRead,
    );
}

/// A lease is revoked before its time, and a proof that was sent before is answered after the owner
/// has been told. Others have taken over and gone on.
#[test]
fn h11_a_session_that_is_gone_answers_no_reads() {
    closes(
        Rule::GoneSessionsAreUnproven,
        async || {
            let (world, old, id) = orders(Some(1), 2).await;
            let sent = Instant::now();
            old.lose_lease().await;
            let new = world.start_as(Some(2)).await;
            new.produce_many(id, 1).await;
            let us = old.context.session.id;
            while old.context.view.lives(us) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            // Whoever waits for changes of the view on this thread has seen this one.
            tokio::time::sleep(10 * LOOK_EVERY).await;
            old.context.proof.prove(sent);
            match fetch(&old, id, 0).await {
                ErrorCode::NOT_LEADER_OR_FOLLOWER => has_all(&new, id, 15).await,
                ErrorCode::NONE => Err(Violation::StaleRead),
                other => panic!("{other:?}"),
            }
        },
        Violation::StaleRead,
    );
}

/// Failed keep-alives after which an owner that is cut off has had every chance to learn that it was
/// replaced: it sends three in a time to live, and an object every half of it.
const CHANCES: u64 = 8;

/// An idle owner is cut off from etcd and flushes nothing, so it would never meet the fence.
#[test]
fn h11_an_owner_that_is_cut_off_meets_the_fence() {
    closes(
        Rule::CutOffSessionsMeetTheFence,
        async || {
            let (world, old, id) = orders(Some(1), 2).await;
            old.is_cut_off().await;
            let new = world.start_as(Some(2)).await;
            let tries = &old.context.metrics.keep_alive_errors;
            let from = tries.get();
            while !old.flusher_has_ended() {
                if tries.get() >= from + CHANCES {
                    return Err(Violation::SessionGoesOn);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            has_all(&new, id, 10).await
        },
        Violation::SessionGoesOn,
    );
}

/// A new owner has compacted the partition and its WAL is gone. An old one, which does not know
/// that it was replaced, reads there: it learns who owns the partition, and nothing is moved.
#[test]
fn h11_a_wal_object_that_is_gone_re_reads_the_record() {
    closes(
        Rule::MissingObjectsAreLookedInto,
        async || {
            let (world, first, id) = orders(Some(1), 2).await;
            first.crash().await;
            // What it has taken is not in its memory.
            let mut old = world.start_as(Some(1)).await;
            old.hears_nothing();
            old.lose_lease().await;
            let new = world.start_as(Some(2)).await;
            new.compact_all(id).await;
            new.collect().await;
            old.context.proof.prove(Instant::now());
            let read = old
                .context
                .shard_of(id)
                .call_task(move |shard| shard.read(id, Offset::ZERO, 1, true));
            let read = read.await.unwrap();
            has_all(&new, id, 10).await?;
            match read {
                Err(ReadError::NotServed) => Ok(()),
                Err(_) => Err(Violation::ReadFails),
                Ok(_) => panic!("the object is gone"),
            }
        },
        Violation::ReadFails,
    );
}

const VERSION: i16 = 12;
const PRODUCE_VERSION: i16 = 9;

/// A fetch at `offset` of partition 0 of "orders", as a client sends it.
fn fetch_frame(offset: i64) -> BytesMut {
    let header = RequestHeader {
        api_key: ApiKey::Fetch.as_i16(),
        api_version: VERSION,
        correlation_id: 1,
        client_id: None,
    };
    let partition = FetchPartition {
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let request = FetchRequest {
        topics: vec![FetchTopic {
            topic: "orders",
            partitions: vec![partition],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let frame = wire::encode_request(&header, &request).unwrap();
    BytesMut::from(&frame.body()[..])
}

/// What a broker answers to it.
async fn fetch(rig: &Rig, id: TopicPartition, offset: i64) -> ErrorCode {
    let frame = fetch_frame(offset);
    let reply = rig.context.shard_of(id).call_task(move |shard| async move {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let reserved = shard.connections.memory.start();
        let identity = Identity::new(
            shard.shared.security.clone(),
            ListenerId::FIRST,
            peer.ip(),
            None,
        );
        let quota = Default::default();
        match api::dispatch(&shard, frame, reserved, peer, &quota, &identity).await {
            Slot::Ready(Reply::Frame(parts, _)) => parts.concat(),
            _ => panic!("a fetch is answered"),
        }
    });
    let reply = reply.await.unwrap();
    let body = &reply[wire::LENGTH_PREFIX_BYTES..];
    let (_, reply) = wire::decode_response::<FetchRequest>(body, VERSION).unwrap();
    let partition = &reply.responses[0].partitions[0];
    assert_eq!(partition.partition_index, PartitionIndex::ZERO.get());
    partition.error_code
}

/// What a broker answers to a batch for partition 0 of "orders".
async fn produce(rig: &Rig, id: TopicPartition, batch: Bytes) -> ErrorCode {
    let header = RequestHeader {
        api_key: ApiKey::Produce.as_i16(),
        api_version: PRODUCE_VERSION,
        correlation_id: 1,
        client_id: None,
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 20_000,
        topic_data: vec![TopicProduceData {
            name: "orders",
            partition_data: vec![PartitionProduceData {
                index: PartitionIndex::ZERO.get(),
                records: Records::Chunks(vec![batch]),
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let frame = wire::encode_request(&header, &request).unwrap();
    let frame = BytesMut::from(&frame.body()[..]);
    let reply = rig.context.shard_of(id).call_task(move |shard| async move {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let reserved = shard.connections.memory.start();
        let identity = Identity::new(
            shard.shared.security.clone(),
            ListenerId::FIRST,
            peer.ip(),
            None,
        );
        let quota = Default::default();
        let slot = api::dispatch(&shard, frame, reserved, peer, &quota, &identity).await;
        let reply = match slot {
            Slot::Ready(reply) => reply,
            Slot::Pending(reply) => reply.await,
        };
        match reply {
            Reply::Frame(parts, _) => parts.concat(),
            _ => panic!("a batch is answered"),
        }
    });
    let reply = reply.await.unwrap();
    let body = &reply[wire::LENGTH_PREFIX_BYTES..];
    let (_, reply) = wire::decode_response::<ProduceRequest>(body, PRODUCE_VERSION).unwrap();
    reply.responses[0].partition_responses[0].error_code
}

/// A producer has gone on at the new owner and comes back to the old one, which is proven by what it sent before its
/// lease was lost and does not know the latest batch.
#[test]
fn h11_a_producer_is_not_refused_by_a_zombie() {
    closes(
        Rule::OutOfOrderNeedsProof,
        async || {
            let (world, mut old, id) = orders(Some(1), 2).await;
            old.hears_nothing();
            assert_eq!(produce(&old, id, idempotent(0)).await, ErrorCode::NONE);
            let refused = produce(&old, id, idempotent(2)).await;
            assert_eq!(refused, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
            old.lose_lease().await;
            let new = world.start_as(Some(2)).await;
            assert_eq!(produce(&new, id, idempotent(1)).await, ErrorCode::NONE);
            let before = Instant::now() - Duration::from_millis(20);
            old.context.proof.prove(before);
            match produce(&old, id, idempotent(2)).await {
                ErrorCode::NOT_LEADER_OR_FOLLOWER => Ok(()),
                ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => Err(Violation::ProducerReset),
                other => panic!("{other:?}"),
            }
        },
        Violation::ProducerReset,
    );
}

/// A consumer has read up to 15 at the new owner and asks the old one, which is proven by what it
/// sent before its lease was lost and whose log ends at 10.
#[test]
fn h11_a_consumer_is_not_reset_by_a_zombie() {
    closes(
        Rule::OutOfRangeNeedsProof,
        async || {
            let (world, mut old, id) = orders(Some(1), 2).await;
            old.hears_nothing();
            assert_eq!(fetch(&old, id, 99).await, ErrorCode::OFFSET_OUT_OF_RANGE);
            old.lose_lease().await;
            let new = world.start_as(Some(2)).await;
            new.produce_many(id, 1).await;
            assert_eq!(fetch(&new, id, 15).await, ErrorCode::NONE);
            let before = Instant::now() - Duration::from_millis(20);
            old.context.proof.prove(before);
            match fetch(&old, id, 15).await {
                ErrorCode::NOT_LEADER_OR_FOLLOWER => Ok(()),
                ErrorCode::OFFSET_OUT_OF_RANGE => Err(Violation::ConsumerReset),
                other => panic!("{other:?}"),
            }
        },
        Violation::ConsumerReset,
    );
}
