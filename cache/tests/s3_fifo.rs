//! S3-FIFO against a model, and its promise: a scan does not wash out the hot set.

use std::collections::HashMap;

use cache::s3_fifo::{Cache, Cause};
use proptest::prelude::*;

#[test]
fn a_scan_of_ten_times_the_capacity_keeps_the_hot_set() {
    let mut cache = Cache::new(1000, 10_000);
    let hot = 0..50_u64;
    for key in hot.clone() {
        cache.insert(key, (), 10);
        cache.get(&key);
        cache.get(&key);
    }
    for key in 1_000..2_000_u64 {
        cache.insert(key, (), 10);
        if key % 100 == 0 {
            for hot_key in hot.clone() {
                cache.get(&hot_key);
            }
        }
    }
    let kept = hot.filter(|key| cache.contains(key)).count();
    assert_eq!(kept, 50);
}

#[test]
fn an_unread_hot_set_survives_one_scan() {
    let mut cache = Cache::new(1000, 10_000);
    for key in 0..50_u64 {
        cache.insert(key, (), 10);
        cache.get(&key);
    }
    for key in 1_000..2_000_u64 {
        cache.insert(key, (), 10);
    }
    let kept = (0..50).filter(|key| cache.contains(key)).count();
    assert_eq!(kept, 50);
}

#[test]
fn a_key_that_comes_back_enters_the_main_queue() {
    let mut cache = Cache::new(100, 100);
    for key in 0..11_u64 {
        cache.insert(key, (), 10);
    }
    assert!(!cache.contains(&0));
    cache.insert(0, (), 10);
    for key in 100..200 {
        cache.insert(key, (), 10);
    }
    assert!(cache.contains(&0));
}

#[test]
fn what_does_not_fit_comes_back() {
    let mut cache = Cache::new(10, 2);
    let back = cache.insert('a', 1, 11);
    assert_eq!((back[0].value, back[0].cause), (1, Cause::TooLarge));
    assert!(cache.insert('a', 2, 10).is_empty());
    let back = cache.insert('a', 3, 10);
    assert_eq!(
        (back.len(), back[0].value, back[0].cause),
        (1, 2, Cause::Replaced)
    );
    let back = cache.resize(9);
    assert_eq!((back[0].value, back[0].cause), (3, Cause::Capacity));
    assert!(cache.is_empty());
    for key in ['x', 'y', 'z'] {
        cache.insert(key, 0, 0);
    }
    assert_eq!(
        cache.len(),
        2,
        "entries without weight are bounded by number"
    );
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u8, u64),
    Get(u8),
    Remove(u8),
    Resize(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<u8>(), 0..40_u64).prop_map(|(key, weight)| Step::Insert(key % 64, weight)),
        6 => any::<u8>().prop_map(|key| Step::Get(key % 64)),
        1 => any::<u8>().prop_map(|key| Step::Remove(key % 64)),
        1 => (0..300_u64).prop_map(Step::Resize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The cache holds exactly what was inserted and not handed back, within its bounds.
    #[test]
    fn agrees_with_a_model(steps in prop::collection::vec(step(), 1..400)) {
        let entries_max = 24;
        let mut cache = Cache::new(200, entries_max);
        let mut model: HashMap<u8, (usize, u64)> = HashMap::new();
        for (serial, step) in steps.into_iter().enumerate() {
            let mut gone = Vec::new();
            match step {
                Step::Insert(key, weight) => {
                    let old = model.insert(key, (serial, weight));
                    gone = cache.insert(key, serial, weight);
                    if let Some((value, weight)) = old {
                        let first = gone.remove(0);
                        prop_assert_eq!((first.value, first.weight_bytes), (value, weight));
                        prop_assert_eq!(first.cause, Cause::Replaced);
                    }
                }
                Step::Get(key) => {
                    prop_assert_eq!(cache.get(&key), model.get(&key).map(|(value, _)| value));
                }
                Step::Remove(key) => {
                    prop_assert_eq!(cache.remove(&key), model.remove(&key));
                }
                Step::Resize(budget) => gone = cache.resize(budget),
            }
            for entry in gone {
                let expected = Some((entry.value, entry.weight_bytes));
                prop_assert_eq!(model.remove(&entry.key), expected);
            }
            prop_assert!(cache.used_bytes() <= cache.budget_bytes());
            prop_assert!(cache.len() <= entries_max && cache.ghost_len() <= 2 * entries_max);
            prop_assert_eq!(cache.len(), model.len());
            prop_assert_eq!(cache.used_bytes(), model.values().map(|(_, w)| w).sum::<u64>());
            for (key, (value, _)) in &model {
                prop_assert_eq!(cache.peek(key), Some(value));
            }
        }
    }
}
