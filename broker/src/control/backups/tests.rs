use super::*;
use crate::start::tests::{Rig, World, test};
use store::faulty::{Fault, Operation, Rule};

const MINUTE: i64 = 60_000;
const NOON: i64 = 1_700_000_000_000;

fn at(minutes: i64) -> TimestampMs {
    TimestampMs::new(NOON + minutes * MINUTE)
}

fn schedule(rig: &Rig) -> Schedule {
    Schedule::new(rig.context.clone()).unwrap()
}

fn names(world: &World) -> Vec<String> {
    world.keys("/backups/")
}

fn backups(rig: &Rig) -> Backups<'_> {
    Backups {
        objects: &rig.context.objects,
        keys: &rig.context.keys,
    }
}

#[test]
fn one_broker_makes_a_backup_each_interval_and_restarts_neither_skip_nor_repeat_one() {
    test(async {
        let world = World::new();
        let (one, two) = (world.start_as(Some(1)).await, world.start_as(Some(2)).await);
        two.context.view.nodes();
        let mut other = schedule(&two);
        other.step(at(0)).await;
        assert_eq!(names(&world).len(), 0, "broker 1 is the first");
        let mut first = schedule(&one);
        for minute in 0..60 {
            first.step(at(minute)).await;
        }
        assert_eq!(names(&world).len(), 1);
        assert_eq!(one.context.metrics.backup_age.get(), 59 * 60);
        assert_eq!(one.context.metrics.backups.get(), 1);
        one.crash().await;
        let one = world.start_as(Some(1)).await;
        let mut first = schedule(&one);
        first.step(at(59)).await;
        assert_eq!(names(&world).len(), 1, "the one in the bucket counts");
        assert_eq!(one.context.metrics.backup_age.get(), 59 * 60);
        first.step(at(60)).await;
        assert_eq!(names(&world).len(), 2);
        one.finish().await;
        two.finish().await;
    });
}

#[test]
fn a_listing_that_fails_is_no_empty_bucket_and_is_tried_again() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let prefix = rig.context.keys.backups_prefix();
        let rule = Rule::always(Operation::List, Fault::Denied).prefix(&prefix);
        world.faulty.add_rule(rule);
        let mut schedule = schedule(&rig);
        schedule.step(at(0)).await;
        assert_eq!(names(&world).len(), 0);
        assert_eq!(rig.context.metrics.backup_errors.get(), 1);
        world.faulty.clear();
        schedule.step(at(0)).await;
        assert_eq!(names(&world).len(), 0, "not at once");
        schedule.step(at(1)).await;
        assert_eq!(names(&world).len(), 1);
        rig.crash().await;
    });
}

#[test]
fn the_newest_sound_ones_are_kept_and_leases_are_in_none() {
    test(async {
        let world = World::new();
        let rig = world.start_as(Some(1)).await;
        let mut schedule = schedule(&rig);
        for hour in 0..5 {
            schedule.step(at(hour * 60)).await;
        }
        let all = backups(&rig).list().await.unwrap();
        assert_eq!(all.len(), 5);
        assert!(all.is_sorted_by(|a, b| a.made > b.made), "the newest first");
        let id = rig.context.cluster_id.clone();
        let read = backups(&rig).read(&all[0], Some(&id)).await.unwrap();
        let keys = read.entries.iter();
        let keys: Vec<String> = keys
            .map(|entry| String::from_utf8(entry.key.to_vec()).unwrap())
            .collect();
        assert!(keys.iter().any(|key| key.ends_with("/cluster")));
        let bound = |key: &String| key.contains("/sessions/") || key.contains("/brokers/");
        assert!(!keys.iter().any(bound), "{keys:?}");
        let other = backups(&rig).read(&all[0], Some("another cluster")).await;
        assert!(matches!(other, Err(ReadBackupError::Other { .. })));
        // The newest is damaged, the next is under another's name.
        let (newest, next) = (&all[0].key, &all[1].key);
        let put = async |key: &str, bytes: Vec<u8>| {
            let put = rig
                .context
                .objects
                .put(key, Body::from(bytes), PutCondition::None);
            put.await.unwrap();
        };
        put(newest, b"KBAK".to_vec()).await;
        put(next, read.encode().to_vec()).await;
        let pruned = backups(&rig).prune(2, &id).await.unwrap();
        assert_eq!(pruned.damaged.len(), 2, "{pruned:?}");
        assert_eq!(pruned.kept, all[2..4]);
        assert_eq!(pruned.deleted, all[4..]);
        assert_eq!(names(&world).len(), 4);
        assert!(
            backups(&rig)
                .prune(9, &id)
                .await
                .unwrap()
                .deleted
                .is_empty()
        );
        rig.crash().await;
    });
}
