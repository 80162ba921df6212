//! The object store is out of reach, asks to slow down, or the metadata store is: what a broker
//! does with its session, its retries and its flushes.

use std::pin::pin;

use super::cluster::{eventually, set_drain};
use super::*;
use crate::control::compactor::Compactor;
use coord::keys::seen;
use coord::keys::session::{self, SessionRecord};
use store::GetRange;

/// Thresholds at which these tests need not wait for long.
const QUICK: [(&str, &str); 2] = [
    ("health.latency_warn_ms", "150"),
    ("health.latency_crit_ms", "300"),
];
const OPERATIONS: [Operation; 5] = [
    Operation::Get,
    Operation::Put,
    Operation::Head,
    Operation::List,
    Operation::Delete,
];

/// For what takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A way to the store of a world that can be cut while others go on.
fn own_way(world: &World) -> Arc<FaultyStore<MemoryStore>> {
    Arc::new(FaultyStore::without_clock(world.memory.clone(), 11))
}

fn cut(way: &FaultyStore<MemoryStore>, fault: &Fault) {
    for operation in OPERATIONS {
        way.add_rule(Rule::always(operation, fault.clone()));
    }
}

async fn published(rig: &Rig) -> SessionState {
    let key = session::key(&rig.context.space, rig.context.session.id);
    let found = rig.context.kv.get(key).await.unwrap();
    let record = seen::<SessionRecord>(found.as_ref()).unwrap().unwrap();
    record.record.state
}

/// DESIGN §4: a broker that is cut from the store, and others are not, lets them take over, whether
/// its requests fail or get no answer, and though it has one batch only to notice it by.
#[test]
fn a_broker_that_is_cut_from_the_store_ends_its_session_and_another_takes_over() {
    for fault in [Fault::ErrorBefore, Fault::HangBefore] {
        test(async move {
            let world = World::new();
            let way = own_way(&world);
            let one = world.start_on(Some(1), way.clone(), &QUICK).await;
            let id = one.create("orders", 1).await;
            let bases = one.produce_many(id, 5).await;
            let two = world.start_as(Some(2)).await;
            set_drain(&world, &two, true).await;
            eventually("the first broker has it", || one.owns(id.topic) == 1).await;
            set_drain(&world, &two, false).await;
            cut(&way, &fault);
            let began = Instant::now();
            let bytes = batch(0, 1);
            let ending = tokio::select! {
                produced = one.produce(id, &bytes) => panic!("{fault:?}: {produced:?}"),
                ending = one.context.failure.wait() => ending,
                () = tokio::time::sleep(PATIENCE) => panic!("{fault:?}: it does not give up"),
            };
            assert_session_over(&ending, "out of reach for this broker and not for others");
            let least = one.context.config.broker.session_ttl * 2;
            assert!(began.elapsed() >= least, "{fault:?}: {:?}", began.elapsed());
            assert!(one.context.refusal.reason().is_some());
            let refused = one.produce(id, &batch(0, 1)).await;
            assert_eq!(refused.unwrap_err(), ProduceError::Unavailable);
            one.crash().await;
            eventually("the other takes it", || two.owns(id.topic) == 1).await;
            assert_eq!(two.scan(id, 0).await, bases);
            two.finish().await;
        });
    }
}

/// An acknowledgment needs no read of the store: while reads alone fail, and the store counts as
/// unavailable for it, batches are taken.
#[test]
fn reads_that_fail_refuse_no_produce() {
    test(async {
        let world = World::new();
        let rig = world.start_on(Some(1), world.faulty.clone(), &QUICK).await;
        let id = rig.create("orders", 1).await;
        let mut bases = rig.produce_many(id, 2).await;
        for operation in [Operation::Get, Operation::List] {
            world
                .faulty
                .add_rule(Rule::always(operation, Fault::ErrorBefore));
        }
        let state = || rig.context.metrics.health_state.get();
        for _ in 0..10 {
            let _ = rig.context.objects.get("t/x", GetRange::Full).await;
        }
        eventually("the store is unavailable", || state() == 2).await;
        bases.extend(rig.produce_many(id, 3).await);
        assert_eq!((state(), rig.context.refusal.reason()), (2, None));
        let put = Rule::always(Operation::Put, Fault::ErrorBefore);
        world.faulty.add_rule(put);
        let bytes = batch(0, 1);
        let waiting = rig.produce(id, &bytes);
        let refused = eventually("writes fail, too", || {
            rig.context.refusal.reason().is_some()
        });
        tokio::select! {
            produced = waiting => panic!("{produced:?}"),
            () = refused => {}
        }
        world.faulty.clear();
        eventually("it is accepted again", || {
            rig.context.refusal.reason().is_none()
        })
        .await;
        rig.crash().await;
    });
}

/// A write whose reply was lost meets its own copy, and nobody knows whose it is while reads fail: all acknowledgments wait
/// behind it, so produce is refused until it can be read.
#[test]
fn a_write_that_meets_what_cannot_be_read_refuses_produce() {
    test(async {
        let world = World::new();
        let rig = world.start_on(Some(1), world.faulty.clone(), &QUICK).await;
        let id = rig.create("orders", 1).await;
        let mut bases = rig.produce_many(id, 2).await;
        let lost = Rule::always(Operation::Put, Fault::ErrorAfter);
        world.faulty.add_rule(lost.prefix("kafscale-wal/").times(1));
        let unread = Rule::always(Operation::Get, Fault::ErrorBefore);
        world.faulty.add_rule(unread);
        let bytes = batch(0, 1);
        {
            let mut waiting = pin!(rig.produce(id, &bytes));
            let refused = eventually("produce is refused", || {
                rig.context.refusal.reason().is_some()
            });
            tokio::select! {
                produced = &mut waiting => panic!("{produced:?}"),
                () = refused => {}
            }
            world.faulty.clear();
            bases.push(waiting.await.unwrap().base_offset.get());
        }
        assert_eq!(rig.context.refusal.reason(), None);
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.crash().await;
    });
}

/// Where everybody has trouble, or nobody else is there, giving up would help nobody.
#[test]
fn a_broker_that_is_not_alone_in_its_trouble_keeps_its_session() {
    test(async {
        let world = World::new();
        let rig = world.start_on(Some(1), world.faulty.clone(), &QUICK).await;
        let id = rig.create("orders", 1).await;
        let mut bases = rig.produce_many(id, 2).await;
        cut(&world.faulty, &Fault::ErrorBefore);
        let bytes = batch(0, 5);
        let waits = async {
            eventually("it is unavailable", || {
                rig.context.metrics.health_state.get() == 2
            })
            .await;
            let ttl = rig.context.config.broker.session_ttl;
            tokio::time::sleep(ttl * 3).await;
            world.faulty.clear();
        };
        let (produced, ()) = tokio::select! {
            both = async { tokio::join!(rig.produce(id, &bytes), waits) } => both,
            ending = rig.context.failure.wait() => panic!("{ending:?}"),
        };
        bases.push(produced.unwrap().base_offset.get());
        eventually("it has recovered", || {
            rig.context.refusal.reason().is_none()
        })
        .await;
        bases.extend(rig.produce_many(id, 2).await);
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.finish().await;
    });
}

/// A broker that has nothing to write does not know that the store is gone: that it says it is well must not make the
/// others give up.
#[test]
fn a_quiet_broker_finds_out_that_the_store_is_gone_for_all() {
    test(async {
        let world = World::new();
        let one = world.start_on(Some(1), world.faulty.clone(), &QUICK).await;
        let id = one.create("orders", 1).await;
        let mut bases = one.produce_many(id, 2).await;
        let two = world.start_on(Some(2), world.faulty.clone(), &QUICK).await;
        set_drain(&world, &two, true).await;
        eventually("the first broker has it", || one.owns(id.topic) == 1).await;
        cut(&world.faulty, &Fault::ErrorBefore);
        let bytes = batch(0, 5);
        let waits = async {
            eventually("both are unavailable", || {
                let state = |rig: &Rig| rig.context.metrics.health_state.get();
                (state(&one), state(&two)) == (2, 2)
            })
            .await;
            tokio::time::sleep(Duration::from_secs(8)).await;
            world.faulty.clear();
        };
        let (produced, ()) = tokio::select! {
            both = async { tokio::join!(one.produce(id, &bytes), waits) } => both,
            ending = one.context.failure.wait() => panic!("{ending:?}"),
            ending = two.context.failure.wait() => panic!("{ending:?}"),
        };
        bases.push(produced.unwrap().base_offset.get());
        assert_eq!(one.scan(id, 0).await, bases);
        two.finish().await;
        one.finish().await;
    });
}

/// Others place by what is published, so it is published in the end, whatever comes between.
#[test]
fn the_state_of_the_store_is_published_until_it_is_known() {
    test(async {
        let world = World::new();
        let way = own_way(&world);
        let rig = world.start_on(Some(1), way.clone(), &QUICK).await;
        let id = rig.create("orders", 1).await;
        world.kv.set_reachable(false);
        cut(&way, &Fault::ErrorBefore);
        let bytes = batch(0, 1);
        let produced = rig.produce(id, &bytes);
        let watched = async {
            eventually("it is unavailable", || {
                rig.context.metrics.health_state.get() == 2
            })
            .await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            world.kv.set_reachable(true);
            for state in [SessionState::Unavailable, SessionState::Healthy] {
                let told = async {
                    while published(&rig).await != state {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                };
                let told = tokio::time::timeout(Duration::from_secs(20), told).await;
                assert!(told.is_ok(), "{state:?} is not published");
                way.clear();
            }
        };
        let (produced, ()) = tokio::join!(produced, watched);
        produced.unwrap();
        rig.finish().await;
    });
}

/// A PUT that gets no answer holds up all acknowledgements: it is sent again beside the first as
/// soon as another write, sent later, has got through.
#[test]
fn a_flush_that_hangs_is_sent_again_when_the_store_answers_others() {
    test(async {
        let world = World::new();
        let rig = world.start_on(None, world.faulty.clone(), &QUICK).await;
        let id = rig.create("orders", 1).await;
        let mut bases = rig.produce_many(id, 1).await;
        world.faulty.add_scripted(Scripted {
            operation: Operation::Put,
            prefix: "kafscale-wal/default/0/".to_owned(),
            skip: 0,
            fault: Fault::HangBefore,
        });
        let (first, second) = (batch(0, 5), batch(0, 5));
        let later = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            rig.produce(id, &second).await
        };
        let both = async { tokio::join!(rig.produce(id, &first), later) };
        let (first, second) = tokio::time::timeout(PATIENCE, both).await.unwrap();
        bases.extend([first, second].map(|produced| produced.unwrap().base_offset.get()));
        assert_eq!(rig.scan(id, 0).await, bases);
        assert_eq!(bases, [0, 5, 10]);
        rig.finish().await;
    });
}

/// Who cannot tell whether an object is his own drops what was not acknowledged and begins anew;
/// the process goes on.
#[test]
fn an_own_object_that_may_not_be_read_ends_the_session() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let (prefix, skip) = ("kafscale-wal/default/0/".to_owned(), 0);
        for (operation, fault) in [
            (Operation::Put, Fault::ErrorAfter),
            (Operation::Get, Fault::Denied),
        ] {
            world.faulty.add_scripted(Scripted {
                operation,
                prefix: prefix.clone(),
                skip,
                fault,
            });
        }
        let bytes = batch(0, 1);
        tokio::select! {
            _ = rig.produce(id, &bytes) => panic!("it is not acknowledged"),
            ending = rig.context.failure.wait() => assert_session_over(&ending, "whose it is"),
        }
        rig.crash().await;
    });
}

/// The budget of retries ends those of reads, and slows a flush down that it cannot end.
#[test]
fn a_flush_is_tried_again_when_the_budget_of_retries_is_used_up() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let objects = &rig.context.objects;
        let retries = || rig.context.metrics.store_retries.get();
        world
            .faulty
            .add_rule(Rule::always(Operation::Get, Fault::ErrorBefore));
        let read = || objects.get("t/none", GetRange::Full);
        while {
            let before = retries();
            futures_util::future::join_all((0..20).map(|_| read())).await;
            retries() > before
        } {}
        let failing = 3;
        let wal =
            Rule::always(Operation::Put, Fault::ErrorBefore).prefix("kafscale-wal/default/0/");
        world.faulty.add_rule(wal.times(failing));
        let (began, before) = (Instant::now(), retries());
        let produced = rig.produce(id, &batch(0, 5)).await;
        assert_eq!(produced.unwrap().base_offset, Offset::ZERO);
        assert!(retries() - before >= failing);
        assert!(
            began.elapsed() >= Duration::from_secs(failing),
            "each pause is one second or two: {:?}",
            began.elapsed()
        );
        world.faulty.clear();
        rig.finish().await;
    });
}

/// DESIGN §4: while the metadata store is out of reach nothing can be compacted; from half of the
/// bound on there is one object a second.
#[test]
fn the_flush_interval_stretches_while_objects_pile_up_without_the_metadata_store() {
    test(async {
        let world = World::new();
        // Objects that prove the session are rare, else they would take the batches along.
        let settings = [
            ("log.wal_backlog_objects", "64"),
            ("broker.session_ttl_ms", "8000"),
        ];
        let rig = world
            .start_on(Some(1), world.faulty.clone(), &settings)
            .await;
        let mut compacting = Tasks::new(&rig.context);
        compacting.spawn("compactor", Compactor::new(rig.context.clone()).run());
        let id = rig.create("orders", 1).await;
        world.kv.set_reachable(false);
        let began = Instant::now();
        rig.produce_many(id, 33).await;
        assert!(began.elapsed() < Duration::from_secs(5), "not yet");
        eventually("they pile up", || rig.context.backlog_grows()).await;
        let began = Instant::now();
        rig.produce_many(id, 4).await;
        // The first may go at once.
        let least = Duration::from_millis(2_500);
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());
        world.kv.set_reachable(true);
        eventually("they are compacted", || !rig.context.backlog_is_high.get()).await;
        let began = Instant::now();
        rig.produce_many(id, 4).await;
        assert!(began.elapsed() < least, "{:?}", began.elapsed());
        drop(compacting);
        rig.finish().await;
    });
}

/// A partition is being released: its shard has batches to compact, and the compactor does not own it any more. It
/// used to be asked again and again, without a pause.
#[test]
fn a_partition_that_is_being_released_does_not_keep_the_compactor_busy() {
    test(async {
        let world = World::new();
        let settings = [("log.wal_backlog_objects", "64")];
        let rig = world
            .start_on(Some(1), world.faulty.clone(), &settings)
            .await;
        let id = rig.create("orders", 1).await;
        rig.produce_many(id, 40).await;
        let owned = rig.context.owned.borrow_mut().remove(id);
        let mut compacting = pin!(Compactor::new(rig.context.clone()).run());
        let mut turns = 0;
        let counted = std::future::poll_fn(|cx| {
            turns += 1;
            compacting.as_mut().poll(cx)
        });
        let ended = tokio::time::timeout(Duration::from_millis(500), counted).await;
        assert!(ended.is_err(), "it runs for ever");
        assert!(turns < 100, "{turns} turns in half a second");
        drop(owned);
        rig.crash().await;
    });
}

/// The metadata store hears a broker that hears nothing of it: after a time to live it renews its lease no more, so that
/// others take over, and when it hears again it goes on.
#[test]
fn a_broker_that_hears_nothing_of_the_metadata_store_lets_its_lease_run_out() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let ttl = rig.context.config.broker.session_ttl;
        rig.reached.deafen(true);
        tokio::time::sleep(ttl * 2).await;
        let renewed = rig.reached.keep_alives();
        assert!(renewed >= 3, "{renewed}");
        tokio::time::sleep(ttl * 2).await;
        assert_eq!(rig.reached.keep_alives(), renewed);
        // It serves until its log is fenced: empty WAL objects prove that it is not.
        assert!(rig.context.proof.holds());
        rig.reached.deafen(false);
        eventually("it renews its lease again", || {
            rig.reached.keep_alives() > renewed
        })
        .await;
        rig.crash().await;
    });
}

/// A store that fails while a partition is opened keeps it from being served for as long as that
/// lasts, and not for the half minute that damage is given.
#[test]
fn a_partition_that_the_store_failed_to_open_is_opened_soon_after() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        let bases = rig.produce_many(id, 3).await;
        rig.compact_all(id).await;
        rig.crash().await;
        let rule = Rule::always(Operation::List, Fault::ErrorBefore);
        world
            .faulty
            .add_rule(rule.prefix("kafscale/default/orders/"));
        let rig = world.start().await;
        assert_eq!(rig.high_watermark(id), None, "it cannot be opened");
        world.faulty.clear();
        let began = Instant::now();
        eventually("it is opened", || rig.high_watermark(id).is_some()).await;
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(rig.scan(id, 0).await, bases);
        rig.crash().await;
    });
}
