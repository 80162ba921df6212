//! Several brokers on one pair of stores: who serves what, and what a zombie may do.

use super::*;
use crate::control::compactor::Compactor;
use crate::control::policy::Backlog;
use crate::shard::CompactionCandidate;
use coord::keys::drain::{self, DrainRecord};
use coord::keys::partition::{self, PartitionRecord};
use coord::keys::seen;
use coord::kv::{Op, Txn};
use segment::TopicId;

/// How long brokers may take to agree.
const AGREE: Duration = Duration::from_secs(20);

impl Rig {
    pub(super) fn owns(&self, topic: TopicId) -> usize {
        let owned = self.context.owned.borrow();
        let of_topic = owned.iter().filter(|(id, _)| id.topic == topic);
        of_topic
            .filter(|(_, owned)| owned.handle.snapshot().is_some())
            .count()
    }

    fn slots(&self) -> usize {
        let own = self.context.node.id;
        let metadata = self.context.metadata.load_full();
        (0..shard::SLOTS)
            .filter(|slot| metadata.coordinator(*slot) == Some(own))
            .count()
    }

    /// Partitions of the topic for which this broker names a leader among `of`.
    fn led_by(&self, name: &str, of: &[&Rig]) -> usize {
        let metadata = self.context.metadata.load_full();
        let Some(topic) = metadata.topic(name) else {
            return 0;
        };
        let leaders = topic
            .partitions
            .iter()
            .filter_map(|handle| metadata.leader(handle));
        leaders
            .filter(|leader| of.iter().any(|rig| rig.context.node.id == leader.broker))
            .count()
    }
}

pub(super) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(AGREE, wait).await.is_ok(),
        "not in time: {what}"
    );
}

#[test]
fn partitions_and_slots_are_shared_out_and_every_broker_names_the_same_leaders() {
    test(async {
        let world = World::new();
        let one = world.start_as(Some(1)).await;
        let id = one.create("orders", 12).await;
        assert_eq!((one.owns(id.topic), one.slots()), (12, 64));
        let two = world.start_as(Some(2)).await;
        eventually("two brokers share", || {
            (one.owns(id.topic), two.owns(id.topic)) == (6, 6)
                && (one.slots(), two.slots()) == (32, 32)
        })
        .await;
        let three = world.start_as(Some(3)).await;
        let all = [&one, &two, &three];
        eventually("three brokers share", || {
            all.iter()
                .all(|rig| rig.owns(id.topic) == 4 && (21..=22).contains(&rig.slots()))
        })
        .await;
        eventually("leaders are known everywhere", || {
            all.iter()
                .all(|rig| rig.led_by("orders", &all) == 12 && rig.led_by("orders", &[rig]) == 4)
        })
        .await;
        // A topic made by one broker is served by all.
        let other = three.create("more", 30).await;
        eventually("a new topic is spread", || {
            all.iter().all(|rig| rig.owns(other.topic) == 10)
        })
        .await;
        two.finish().await;
        eventually("a broker that leaves gives everything away", || {
            one.owns(id.topic) + three.owns(id.topic) == 12
                && one.led_by("orders", &[&one, &three]) == 12
        })
        .await;
        one.served.catalog.delete(id.topic).await.unwrap();
        eventually("a deleted topic is gone everywhere", || {
            three.context.metadata.load().topic("orders").is_none() && three.owns(id.topic) == 0
        })
        .await;
        one.finish().await;
        three.finish().await;
    });
}

#[test]
fn brokers_that_begin_a_cluster_at_the_same_moment_all_start() {
    test(async {
        let world = World::new();
        // The first has seen that the cluster's object is not there, and has not looked for sessions yet.
        let mut gate = world.readings.stop(0);
        let second = async {
            gate.reached().await;
            let second = world.start_as(Some(2)).await;
            gate.open();
            second
        };
        let (first, second) = tokio::join!(world.try_start_as(Some(1)), second);
        let first = first.unwrap_or_else(|error| panic!("{error}"));
        for rig in [first, second] {
            rig.finish().await;
        }
    });
}

#[test]
fn a_watch_that_is_faster_than_the_answer_of_its_transaction_leaves_one_set_of_partitions() {
    test(async {
        let world = World::new();
        let one = world.start().await;
        let rigs = [&one];
        let mut answer = one.reached.stop_answer();
        let watched = async {
            answer.reached().await;
            eventually("the topic of which the watch tells is served", || {
                one.led_by("orders", &rigs) == 2
            })
            .await;
            answer.open();
        };
        let (id, ()) = tokio::join!(one.create("orders", 2), watched);
        assert_eq!(one.led_by("orders", &rigs), 2, "those that are open");
        let mut answer = one.reached.stop_answer();
        let watched = async {
            answer.reached().await;
            eventually("the new partitions are served", || {
                one.led_by("orders", &rigs) == 5
            })
            .await;
            answer.open();
        };
        let raised = one.served.catalog.create_partitions(id.topic, 5);
        let (raised, ()) = tokio::join!(raised, watched);
        assert_eq!(raised.unwrap().partitions.len(), 5);
        assert_eq!(one.led_by("orders", &rigs), 5, "those that are open");
        // The same for a deletion.
        let mut answer = one.reached.stop_answer();
        let deleted = one.served.catalog.delete(id.topic);
        let watched = async {
            answer.reached().await;
            eventually("the watch tells of the deletion", || {
                one.context.metadata.load().topic("orders").is_none()
            })
            .await;
            answer.open();
        };
        let (deleted, ()) = tokio::join!(deleted, watched);
        deleted.unwrap();
        let again = one.create("orders", 1).await;
        assert!(again.topic != id.topic && one.led_by("orders", &rigs) == 1);
        one.finish().await;
    });
}

#[test]
fn what_was_acknowledged_moves_with_the_partition_and_nothing_is_served_twice() {
    test(async {
        let world = World::new();
        let one = world.start_as(Some(1)).await;
        let id = one.create("orders", 1).await;
        let mut bases = one.produce_many(id, 20).await;
        let two = world.start_as(Some(2)).await;
        let mut fences = world.kinds(WalKind::Fence);
        // Ten graceful moves there and back, by drains.
        for round in 0..10 {
            let (from, to) = if round % 2 == 0 {
                (&one, &two)
            } else {
                (&two, &one)
            };
            set_drain(&world, to, false).await;
            set_drain(&world, from, true).await;
            eventually("the drained broker gives it away", || {
                from.owns(id.topic) == 0 && to.owns(id.topic) == 1
            })
            .await;
            let late = from.produce(id, &batch(0, 1)).await;
            assert_eq!(late.unwrap_err(), ProduceError::NotOwner);
            assert_eq!(to.scan(id, 0).await, bases, "round {round}");
            bases.extend(to.produce_many(id, 3).await);
            if round == 4 {
                to.compact_all(id).await;
            }
        }
        assert_eq!(
            world.kinds(WalKind::Fence),
            fences,
            "a graceful move fences nobody"
        );
        set_drain(&world, &one, false).await;
        set_drain(&world, &two, false).await;
        // Ten forced moves: the owner dies, with or without a zombie left behind.
        let mut rigs = vec![one, two];
        for round in 0..10 {
            let at = rigs.iter().position(|rig| rig.owns(id.topic) == 1).unwrap();
            let owner = rigs.swap_remove(at);
            owner.crash().await;
            let heir = &rigs[0];
            eventually("the heir takes it", || heir.owns(id.topic) == 1).await;
            fences += 1;
            assert_eq!(world.kinds(WalKind::Fence), fences);
            assert_eq!(heir.scan(id, 0).await, bases, "round {round}");
            bases.extend(heir.produce_many(id, 2).await);
            rigs.push(world.start_as(Some(10 + round)).await);
        }
        for rig in rigs {
            rig.finish().await;
        }
    });
}

pub(super) async fn set_drain(world: &World, rig: &Rig, on: bool) {
    let key = drain::key(&rig.context.space, rig.context.node.id);
    let record = DrainRecord {
        since_ms: TimestampMs::ZERO,
    };
    let op = match on {
        true => Op::put(key, coord::keys::encode(&record)),
        false => Op::Delete(key),
    };
    world.kv.txn(Txn::new().and_then(op)).await.unwrap();
}

/// H5, H11: the lease is gone, another broker owns everything, and the old owner still runs.
/// It has nothing to release, and the metadata store may answer none of what it asks for.
#[test]
fn a_graceful_end_ends_with_its_session() {
    test(async {
        let world = World::new();
        let one = world.start().await;
        let id = one.create("orders", 1).await;
        one.produce_many(id, 3).await;
        let mut answer = one.reached.stop_answer();
        let meanwhile = async {
            answer.reached().await;
            one.context.failure.end_session("it is over".to_owned());
        };
        let (ended, ()) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(5), one.end()),
            meanwhile
        );
        let error = ended.expect("it does not wait for ever").unwrap_err();
        assert!(error.may_pass(), "{error}");
        answer.open();
        one.crash().await;
    });
}

#[test]
fn a_zombie_acknowledges_nothing_and_ends_its_session_at_the_fence() {
    for mode in [CommitMode::Conditional, CommitMode::Guarded] {
        test(async move {
            let world = World {
                mode,
                ..World::new()
            };
            let zombie = world.start_as(Some(1)).await;
            let id = zombie.create("orders", 1).await;
            let bases = zombie.produce_many(id, 10).await;
            let heir = world.start_as(Some(2)).await;
            set_drain(&world, &heir, true).await;
            eventually("the first broker has it", || zombie.owns(id.topic) == 1).await;
            set_drain(&world, &heir, false).await;
            zombie.lose_lease().await;
            eventually("the heir takes it", || heir.owns(id.topic) == 1).await;
            let first = heir.produce_many(id, 1).await;
            let bytes = batch(0, 1);
            tokio::select! {
                produced = zombie.produce(id, &bytes) => {
                    assert!(produced.is_err(), "{mode:?}: two values at one offset: {produced:?}");
                }
                ending = zombie.context.failure.wait() => {
                    assert!(matches!(ending, Ending::Session(_)), "{ending:?}");
                }
            }
            let ending = zombie.context.failure.wait().await;
            assert!(matches!(ending, Ending::Session(_)), "{ending:?}");
            let expected: Vec<i64> = bases.into_iter().chain(first).collect();
            assert_eq!(heir.scan(id, 0).await, expected);
            stop_shards(&zombie.context.shards, &zombie.ended).await;
            heir.finish().await;
        });
    }
}

/// Bundles go with the objects that they tell of, those of a dead session too.
#[test]
fn bundles_of_directories_go_with_their_objects() {
    test(async {
        let world = World::new();
        let one = world.start_as(Some(1)).await;
        let id = one.create("orders", 1).await;
        let mut bases = one.produce_many(id, 150).await;
        eventually("they are bundled", || world.keys(".dir").len() == 2).await;
        one.compact_all(id).await;
        one.collect().await;
        assert_eq!(world.keys(".dir").len(), 0);
        bases.extend(one.produce_many(id, 150).await);
        eventually("they are bundled", || world.keys(".dir").len() == 2).await;
        one.crash().await;
        let two = world.start_as(Some(2)).await;
        assert_eq!(two.scan(id, 0).await, bases);
        eventually("what was read one by one is bundled", || {
            world.keys(".dir").len() == 3
        })
        .await;
        two.compact_all(id).await;
        two.collect().await;
        assert!(world.keys(".dir").is_empty(), "{:?}", world.keys(".dir"));
        assert_eq!(two.scan(id, 0).await, bases);
        two.finish().await;
    });
}

/// H11: without a proof of life nothing is read, and a consumer is never reset.
#[test]
fn an_unproven_session_reads_nothing() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let id = rig.create("orders", 1).await;
        rig.produce_many(id, 3).await;
        let proven = |rig: &Rig| {
            let shard = rig.context.shard_of(id).clone();
            async move {
                shard
                    .call(move |shard| {
                        let metadata = shard.metadata();
                        let handle = metadata
                            .topic_by_id(id.topic)?
                            .partition(id.partition)?
                            .clone();
                        shard.snapshot(&handle).map(|_| ())
                    })
                    .await
                    .unwrap()
            }
        };
        assert!(proven(&rig).await.is_some());
        // The metadata store is out of reach: objects prove the session. The object store too:
        // the proof runs out, and nothing else has changed.
        world.kv.set_reachable(false);
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert!(world.kinds(WalKind::Empty) > 1 && proven(&rig).await.is_some());
        world
            .faulty
            .add_rule(Rule::always(Operation::Put, Fault::ErrorBefore).prefix("kafscale-wal/"));
        let wait = async {
            while proven(&rig).await.is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(AGREE, wait)
            .await
            .expect("the proof runs out");
        world.kv.set_reachable(true);
        world.faulty.clear();
        let wait = async {
            while proven(&rig).await.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(AGREE, wait)
            .await
            .expect("a keep-alive proves it again");
        rig.finish().await;
    });
}

/// The metadata store is out of reach: an empty WAL object proves the session, and it meets the
/// fence of whoever has taken over.
#[test]
fn a_proof_by_object_goes_out_and_counts() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let id = rig.create("orders", 1).await;
        let before = Instant::now();
        rig.context.heartbeat.notify_one();
        eventually("it is proven", || rig.context.proof.holds_since(before)).await;
        assert_eq!(world.kinds(WalKind::Empty), 1);
        let bases = rig.produce_many(id, 2).await;
        rig.crash().await;
        let rig = world.start_as(Some(1)).await;
        assert_eq!(rig.scan(id, 0).await, bases, "an empty object is no gap");
        rig.compact_all(id).await;
        rig.collect().await;
        assert_eq!(
            world.kinds(WalKind::Empty),
            0,
            "what proves nothing more goes"
        );
        assert_eq!(world.kinds(WalKind::Fence), 1);
        rig.finish().await;
    });
}

/// A source that a release has closed covers the objects that hold something, not the session.
#[test]
fn what_is_released_names_only_the_objects_that_hold_something() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let first = rig.create("orders", 2).await;
        let second = TopicPartition::new(first.topic, PartitionIndex::new(1));
        // Objects 1 to 7, one for each flush.
        rig.produce_many(first, 3).await;
        rig.compact_all(first).await;
        rig.produce_many(second, 1).await;
        rig.produce_many(first, 1).await;
        rig.produce_many(second, 2).await;
        let (kv, space) = (rig.context.kv.clone(), rig.context.space.clone());
        let session = rig.context.session.id;
        rig.finish().await;
        for (id, expected) in [(first, (5, 6)), (second, (4, 8))] {
            let found = kv.get(partition::key(&space, id)).await.unwrap();
            let seen = seen::<PartitionRecord>(found.as_ref()).unwrap().unwrap();
            let spans = seen.record.sources.iter().map(|source| {
                assert_eq!(source.session, session);
                let end = source.end_sequence.unwrap();
                (source.first_sequence.get(), end.get())
            });
            assert_eq!(spans.collect::<Vec<_>>(), [expected], "{id}");
        }
    });
}

/// H23: the compactor asks the budget before it compacts what is small.
#[test]
fn h23_small_compactions_wait_for_their_budget() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let id = rig.create("orders", 1).await;
        let candidate = CompactionCandidate {
            id,
            bytes: 100,
            segment_bytes: 64 << 20,
            oldest: (rig.context.session.id, WalSequence::new(1)),
            age_ms: 0,
        };
        let large = CompactionCandidate {
            bytes: 64 << 20,
            ..candidate
        };
        let backlog = Backlog {
            session: rig.context.session.id,
            first: WalSequence::new(1),
            end: WalSequence::new(2),
            inherited: 0,
        };
        let compactor = Compactor::new(rig.context.clone());
        let asked = (0..100).filter(|_| compactor.is_affordable(&candidate, &backlog));
        assert!(asked.count() < 20, "a minute's worth at most");
        assert!(compactor.is_affordable(&large, &backlog), "has no budget");
        rig.finish().await;
    });
}
