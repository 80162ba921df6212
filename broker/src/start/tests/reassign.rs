//! Owners that an operator has chosen: where partitions go, and what brings them back.

use super::cluster::{eventually, set_drain};
use super::*;
use crate::control::reassign::{Reassignment, reassign, under_way};
use crate::control::{Moving, ReassignError};
use coord::keys::pin;
use coord::kv::{range_all, wait};

const PARTITIONS: u32 = 6;

impl Rig {
    /// Chooses one broker, or none, for partitions of one topic; gives the outcomes.
    async fn choose(
        &self,
        ids: &[TopicPartition],
        to: Option<i32>,
    ) -> Vec<Result<(), ReassignError>> {
        let to = to.map(BrokerId::new);
        let wanted = ids.iter().map(|id| Reassignment { id: *id, to });
        reassign(&self.context, &self.served.catalog, wanted.collect()).await
    }

    fn moving(&self) -> Vec<Moving> {
        under_way(&self.context)
    }

    fn has(&self, id: TopicPartition) -> bool {
        let owned = self.context.owned.borrow();
        owned
            .get(id)
            .is_some_and(|it| it.handle.snapshot().is_some())
    }
}

/// All partitions of a topic.
fn all_of(id: TopicPartition) -> Vec<TopicPartition> {
    let indexes = 0..i32::try_from(PARTITIONS).unwrap();
    let partition = |index| TopicPartition::new(id.topic, PartitionIndex::new(index));
    indexes.map(partition).collect()
}

#[test]
fn partitions_move_to_the_broker_that_was_chosen_with_what_was_acknowledged() {
    test(async {
        let world = World::new();
        let one = world.start_as(Some(1)).await;
        let id = one.create("orders", PARTITIONS).await;
        let bases = one.produce_many(id, 20).await;
        let two = world.start_as(Some(2)).await;
        let three = world.start_as(Some(3)).await;
        let topic = id.topic;
        let rigs = [&one, &two, &three];
        eventually("they share", || rigs.iter().all(|rig| rig.owns(topic) == 2)).await;
        let fences = world.kinds(WalKind::Fence);
        let ids = all_of(id);
        assert_eq!(two.choose(&ids, Some(3)).await, vec![Ok(()); 6]);
        eventually("all are where they were chosen to be", || {
            three.owns(topic) == 6
        })
        .await;
        eventually("nothing is under way", || {
            rigs.iter().all(|rig| rig.moving().is_empty())
        })
        .await;
        assert_eq!(three.scan(id, 0).await, bases);
        assert_eq!(
            world.kinds(WalKind::Fence),
            fences,
            "the moves were graceful"
        );
        let again = three.produce_many(id, 3).await;
        // Another broker comes: what was chosen stays, whatever the counts are.
        let four = world.start_as(Some(4)).await;
        let other = four.create("other", 9).await;
        eventually("the others share the other topic", || {
            let counts = [
                one.owns(other.topic),
                two.owns(other.topic),
                four.owns(other.topic),
            ];
            counts == [3, 3, 3] && three.owns(topic) == 6
        })
        .await;
        assert_eq!(one.choose(&ids[..1], Some(1)).await, [Ok(())]);
        eventually("one moves on", || one.has(id) && three.owns(topic) == 5).await;
        let expected: Vec<i64> = bases.into_iter().chain(again).collect();
        assert_eq!(one.scan(id, 0).await, expected);
        for rig in [one, two, three, four] {
            rig.finish().await;
        }
    });
}

#[test]
fn a_choice_outlives_drains_and_deaths_of_its_broker_and_can_be_taken_back() {
    test(async {
        let world = World::new();
        let one = world.start_as(Some(1)).await;
        let id = one.create("orders", PARTITIONS).await;
        let (topic, ids) = (id.topic, all_of(id));
        let two = world.start_as(Some(2)).await;
        eventually("they share", || two.owns(topic) == 3).await;
        assert_eq!(one.choose(&ids, Some(2)).await, vec![Ok(()); 6]);
        eventually("all are on the second broker", || two.owns(topic) == 6).await;
        set_drain(&world, &two, true).await;
        eventually("a drain moves them away", || one.owns(topic) == 6).await;
        let expected = |moving: &Moving| {
            (moving.from, moving.to) == (Some(BrokerId::new(1)), BrokerId::new(2))
        };
        let moving = one.moving();
        assert!(
            moving.len() == 6 && moving.iter().all(expected),
            "{moving:?}"
        );
        set_drain(&world, &two, false).await;
        eventually("they come back", || {
            two.owns(topic) == 6 && one.moving().is_empty()
        })
        .await;
        two.crash().await;
        eventually("the heir serves them", || one.owns(topic) == 6).await;
        assert_eq!(
            one.choose(&ids[..1], None).await,
            [Ok(())],
            "one is taken back"
        );
        assert_eq!(one.moving().len(), 5);
        let two = world.start_as(Some(2)).await;
        eventually("the others come back", || {
            two.owns(topic) == 5 && one.has(id) && one.moving().is_empty()
        })
        .await;
        for rig in [one, two] {
            rig.finish().await;
        }
    });
}

#[test]
fn what_cannot_be_chosen_is_refused_and_deleted_topics_leave_no_choice() {
    test(async {
        let world = World::new();
        let one = world.start_as(Some(1)).await;
        let id = one.create("orders", PARTITIONS).await;
        let two = world.start_as(Some(2)).await;
        eventually("they share", || two.owns(id.topic) == 3).await;
        let ids = all_of(id);
        let missing = BrokerId::new(9);
        let refused = one.choose(&ids[..1], Some(9)).await;
        assert_eq!(refused, [Err(ReassignError::NoBroker(missing))]);
        set_drain(&world, &two, true).await;
        eventually("it is drained", || two.owns(id.topic) == 0).await;
        let refused = one.choose(&ids[..1], Some(2)).await;
        assert_eq!(refused, [Err(ReassignError::Drained(BrokerId::new(2)))]);
        set_drain(&world, &two, false).await;
        let refused = one.choose(&ids[..2], None).await;
        assert_eq!(refused, vec![Err(ReassignError::NoneUnderWay); 2]);
        assert_eq!(one.choose(&ids, Some(1)).await, vec![Ok(()); 6]);
        eventually("nothing is under way", || one.moving().is_empty()).await;
        assert_eq!(
            one.choose(&ids[..1], None).await,
            [Ok(())],
            "a choice that was carried out can be taken back, once"
        );
        assert_eq!(
            one.choose(&ids[..1], None).await,
            [Err(ReassignError::NoneUnderWay)]
        );
        eventually("it may move again, so that counts are even", || {
            (one.owns(id.topic), two.owns(id.topic)) == (5, 1) && one.moving().is_empty()
        })
        .await;
        // The metadata store is away: nothing is chosen.
        world.kv.set_reachable(false);
        let refused = one.choose(&ids[..1], Some(2)).await;
        assert!(
            matches!(refused[0], Err(ReassignError::Unavailable(_))),
            "{refused:?}"
        );
        world.kv.set_reachable(true);
        let kv: Arc<dyn Kv> = Arc::new(world.kv.clone());
        let pins = || {
            let found = wait(range_all(&kv, pin::span(&one.context.space))).unwrap();
            found.entries.len()
        };
        assert_eq!(pins(), 6);
        one.served.catalog.delete(id.topic).await.unwrap();
        let refused = one.choose(&ids[..1], Some(1)).await;
        assert_eq!(refused, [Err(ReassignError::Unknown)]);
        eventually("the sweep takes the pins with it", || pins() == 0).await;
        for rig in [one, two] {
            rig.finish().await;
        }
    });
}
