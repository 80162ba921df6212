//! Who should own what: a pure function of what every broker can see.
//!
//! Each broker computes it for itself from the live sessions and the present owners, and acts on
//! its own part only: it takes what is assigned to it and gives away what it has too much of. Two
//! brokers that see different states may want the same item; the guarded transactions let only one
//! of them through.
//!
//! Rules:
//! - sticky: what has a live owner stays there, unless the counts of those that take differ by more
//!   than one;
//! - what has no owner goes to the broker with the fewest items of those that take, ties by rendezvous
//!   hash, so that brokers that see the same state choose alike;
//! - what an operator has pinned to a broker that takes goes there, and stays there whatever the counts
//!   are; only other items even them out. While that broker does not take, the item is like any other;
//! - a broker that drains gives everything away, as long as there is somebody to take it;
//! - a broker that cannot write keeps what it has and takes nothing while another takes: where the
//!   store fails for all, they find out one after the other, and nothing must move from one that
//!   reads from memory to one that is about to find out. Where it fails for one only, that one ends
//!   its session after a while. Where nobody takes, what has no owner goes to those that keep: one that
//!   cannot write is better than none;
//! - an item that is owned by a session that is gone has no owner.

use std::collections::{BTreeMap, BTreeSet};

use segment::{BrokerId, SessionId, TopicPartition};

/// A live session, as placement sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The session.
    pub session: SessionId,
    /// What its broker hashes with: it survives restarts of the broker, unlike the session.
    pub broker: BrokerId,
    /// What may become of what it has, and whether it gets more.
    pub standing: Standing,
}

/// What placement asks of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be given anything.
    Takes,
    /// It cannot write now: it keeps what it has.
    Keeps,
    /// It gives everything away.
    Gives,
}

/// Something that has one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// A stable hash of its identity.
    pub hash: u64,
    /// Whose it is by its record, live or not.
    pub owner: Option<SessionId>,
    /// The broker that an operator has chosen for it.
    pub pin: Option<BrokerId>,
}

/// What one session should do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duties {
    /// Items without a live owner that it should take, by index.
    pub take: Vec<usize>,
    /// Items of its own that it should give away, by index, the most pressing first.
    pub give: Vec<usize>,
}

/// A stable hash of an item's identity.
pub fn hash(bytes: &[u8]) -> u64 {
    // FNV-1a, then a finalizer: the same on every broker and in every release.
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(folded)
}

/// The hash of a partition.
pub fn hash_of_partition(id: TopicPartition) -> u64 {
    let mut identity = [0; 20];
    identity[..16].copy_from_slice(&id.topic.get());
    identity[16..].copy_from_slice(&id.partition.get().to_be_bytes());
    hash(&identity)
}

/// The hash of a coordinator slot.
pub fn hash_of_slot(slot: u16) -> u64 {
    hash(format!("slot {slot}").as_bytes())
}

/// The finalizer of splitmix64.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The rendezvous score of an item on a broker.
fn score(item: u64, broker: BrokerId) -> u64 {
    mix(item ^ mix(u64::from(broker.get().unsigned_abs()).wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

/// The broker that an item falls to among `members`, whoever owns it: for work that anybody may do
/// and one should. `None` without members.
pub fn rendezvous(item: u64, members: &[Member]) -> Option<Member> {
    members
        .iter()
        .copied()
        .max_by_key(|member| (score(item, member.broker), member.session))
}

/// What `me` should take, and at most `give_max` of what it should give away.
pub fn duties(members: &[Member], items: &[Item], me: SessionId, give_max: usize) -> Duties {
    let standing = |session: SessionId| {
        let mut members = members.iter();
        let member = members.find(|member| member.session == session);
        member.map(|member| member.standing)
    };
    let all = |standing: Standing| -> Vec<Member> {
        let all = members.iter().copied();
        all.filter(|member| member.standing == standing).collect()
    };
    let takers = all(Standing::Takes);
    let nobody_takes = takers.is_empty();
    let takers = if nobody_takes {
        all(Standing::Keeps)
    } else {
        takers
    };
    let target = |item: &Item| {
        let pin = item.pin.filter(|_| !nobody_takes)?;
        let target = takers.iter().find(|member| member.broker == pin)?;
        Some(target.session)
    };
    let none = |member: &Member| (member.session, Load::default());
    let mut loads: BTreeMap<SessionId, Load> = takers.iter().map(none).collect();
    let mut orphans = Vec::new();
    let mut misplaced = Vec::new();
    let mut duties = Duties::default();
    for (index, item) in items.iter().enumerate() {
        let owner = item.owner.and_then(|owner| Some((owner, standing(owner)?)));
        match (owner, target(item)) {
            (owner, Some(target)) => {
                loads.entry(target).or_default().pinned += 1;
                match owner {
                    None if target == me => duties.take.push(index),
                    Some((owner, its)) if owner != target && its != Standing::Keeps => {
                        misplaced.push(index);
                    }
                    None | Some(_) => {}
                }
            }
            (None, None) => orphans.push(index),
            (Some((_, Standing::Gives)), None) => misplaced.push(index),
            (Some((owner, _)), None) => {
                loads.entry(owner).and_modify(|load| load.free += 1);
            }
        }
    }
    orphans.sort_by_key(|index| (items[*index].hash, *index));
    for index in orphans {
        let Some(member) = least_loaded(&takers, &loads, items[index].hash) else {
            break;
        };
        loads.entry(member.session).or_default().free += 1;
        if member.session == me {
            duties.take.push(index);
        }
    }
    assert!(
        duties
            .take
            .iter()
            .all(|index| items[*index].owner != Some(me)),
        "nobody takes what it has"
    );
    if nobody_takes {
        return duties;
    }
    let mine = |index: &usize| items[*index].owner == Some(me);
    duties.give = misplaced.into_iter().filter(mine).take(give_max).collect();
    if duties.give.is_empty() {
        let is_free = |index: &usize| mine(index) && target(&items[*index]).is_none();
        let free = (0..items.len()).filter(is_free).collect();
        duties.give = surplus(&takers, items, &mut loads, (me, free), give_max);
    }
    assert!(
        duties.give.len() <= give_max,
        "items move at a bounded rate"
    );
    assert!(
        duties
            .give
            .iter()
            .all(|index| items[*index].owner == Some(me)),
        "nobody gives away what it does not have"
    );
    duties
}

/// What a session has, or is about to get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    /// Items that are pinned to its broker.
    pinned: usize,
    /// Items that may go elsewhere.
    free: usize,
}

impl Load {
    fn count(self) -> usize {
        self.pinned + self.free
    }
}

/// A change of owner to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// What moves, by index.
    pub item: usize,
    /// The live session that has it now.
    pub from: Option<SessionId>,
    /// The session that gets it.
    pub to: SessionId,
}

/// What will move until placement comes to rest, when every member carries out its duties, gives at
/// most `give_max` at a time, and nothing else changes. In order of item.
pub fn moves(members: &[Member], items: &[Item], give_max: usize) -> Vec<Move> {
    let live: BTreeSet<SessionId> = members.iter().map(|member| member.session).collect();
    let owner_of = |item: &Item| item.owner.filter(|owner| live.contains(owner));
    let mut after = items.to_vec();
    // Each round but the last moves something, and nothing moves twice.
    for _ in 0..=2 * items.len() {
        let all: Vec<(SessionId, Duties)> = members
            .iter()
            .map(|member| {
                (
                    member.session,
                    duties(members, &after, member.session, give_max),
                )
            })
            .collect();
        if all.iter().all(|(_, duties)| *duties == Duties::default()) {
            break;
        }
        for (session, duties) in all {
            duties
                .take
                .iter()
                .for_each(|item| after[*item].owner = Some(session));
            duties
                .give
                .iter()
                .for_each(|item| after[*item].owner = None);
        }
    }
    let pairs = items.iter().zip(&after).enumerate();
    let moved = pairs.filter_map(|(item, (before, after))| {
        let (from, to) = (owner_of(before), owner_of(after)?);
        (from != Some(to)).then_some(Move { item, from, to })
    });
    moved.collect()
}

fn least_loaded(takers: &[Member], loads: &BTreeMap<SessionId, Load>, item: u64) -> Option<Member> {
    let count = |member: &Member| loads.get(&member.session).map(|load| load.count());
    let fewest = loads.values().map(|load| load.count()).min()?;
    let candidates = takers.iter().filter(|it| count(it) == Some(fewest));
    candidates
        .copied()
        .max_by_key(|member| (score(item, member.broker), member.session))
}

/// What `me`, which may give its items `mine`, has too much of, when counts differ by more than one: one
/// after the other from the fullest that may give anything to the emptiest broker; of those of `me` the
/// ones that the receiver scores best for.
fn surplus(
    takers: &[Member],
    items: &[Item],
    loads: &mut BTreeMap<SessionId, Load>,
    (me, mut mine): (SessionId, Vec<usize>),
    give_max: usize,
) -> Vec<usize> {
    let mut give = Vec::new();
    while give.len() < give_max {
        let givers = loads.iter().filter(|(_, load)| load.free > 0);
        let fullest = givers.max_by_key(|(session, load)| (load.count(), **session));
        let emptiest = loads
            .iter()
            .min_by_key(|(session, load)| (load.count(), **session));
        let (Some((from, most)), Some((to, fewest))) = (fullest, emptiest) else {
            return give;
        };
        if most.count() <= fewest.count() + 1 {
            return give;
        }
        let (from, to) = (*from, *to);
        if from == me {
            let Some(receiver) = takers.iter().find(|member| member.session == to) else {
                return give;
            };
            let best = (0..mine.len())
                .max_by_key(|place| score(items[mine[*place]].hash, receiver.broker));
            let Some(best) = best else { return give };
            give.push(mine.swap_remove(best));
        }
        assert!(
            most.free > 0,
            "only what is not pinned evens the counts out"
        );
        loads.entry(from).and_modify(|load| load.free -= 1);
        loads.entry(to).and_modify(|load| load.free += 1);
    }
    give
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(number: u8) -> SessionId {
        SessionId::new([number; 16])
    }

    fn members(count: u8) -> Vec<Member> {
        let member = |number| Member {
            session: session(number),
            broker: BrokerId::new(i32::from(number)),
            standing: Standing::Takes,
        };
        (1..=count).map(member).collect()
    }

    fn items(owners: impl IntoIterator<Item = Option<u8>>) -> Vec<Item> {
        let item = |(index, owner): (usize, Option<u8>)| Item {
            hash: hash(&index.to_be_bytes()),
            owner: owner.map(session),
            pin: None,
        };
        owners.into_iter().enumerate().map(item).collect()
    }

    /// Everybody carries out its duties until nobody has any; gives how many items moved.
    fn settle(members: &[Member], items: &mut [Item]) -> usize {
        let mut moved = 0;
        for _ in 0..1_000 {
            let all: Vec<(SessionId, Duties)> = members
                .iter()
                .map(|member| (member.session, duties(members, items, member.session, 7)))
                .collect();
            if all.iter().all(|(_, duties)| *duties == Duties::default()) {
                return moved;
            }
            let mut taken = std::collections::BTreeSet::new();
            for (session, duties) in all {
                for index in duties.take {
                    assert!(taken.insert(index), "two brokers would take item {index}");
                    items[index].owner = Some(session);
                }
                for index in duties.give {
                    assert_eq!(
                        items[index].owner,
                        Some(session),
                        "gives what is not its own"
                    );
                    items[index].owner = None;
                    moved += 1;
                }
            }
        }
        panic!("placement does not come to rest");
    }

    fn counts(members: &[Member], items: &[Item]) -> Vec<usize> {
        let of = |member: &Member| {
            let mine = items
                .iter()
                .filter(|item| item.owner == Some(member.session));
            mine.count()
        };
        members.iter().map(of).collect()
    }

    #[test]
    fn what_nobody_owns_is_spread_evenly_and_each_item_is_taken_once() {
        let members = members(3);
        let mut items = items(std::iter::repeat_n(None, 100));
        assert_eq!(settle(&members, &mut items), 0);
        let counts = counts(&members, &items);
        assert!(
            counts.iter().all(|count| (33..=34).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn one_broker_takes_everything_and_gives_nothing() {
        let alone = members(1);
        let items = items([None, Some(1), Some(9)]);
        let duties = duties(&alone, &items, session(1), 7);
        assert_eq!((duties.take.len(), duties.give.len()), (2, 0));
    }

    #[test]
    fn no_more_is_given_at_once_than_allowed() {
        let everybody = members(2);
        let items = items(std::iter::repeat_n(Some(1), 100));
        assert_eq!(duties(&everybody, &items, session(1), 7).give.len(), 7);
        assert_eq!(duties(&everybody, &items, session(1), 99).give.len(), 50);
        let mut all = everybody;
        all[0].standing = Standing::Gives;
        assert_eq!(duties(&all, &items, session(1), 7).give.len(), 7);
    }

    #[test]
    fn a_broker_that_joins_gets_its_share_and_no_more_moves_than_that() {
        let mut items = items((0..90_u8).map(|index| Some(index % 2 + 1)));
        let members = members(3);
        assert_eq!(settle(&members, &mut items), 30);
        assert_eq!(counts(&members, &items), [30, 30, 30]);
    }

    #[test]
    fn what_a_dead_broker_had_is_spread_and_nothing_else_moves() {
        let mut items = items((0..90_u8).map(|index| Some(index % 3 + 1)));
        let left = &members(3)[..2];
        assert_eq!(settle(left, &mut items), 0);
        assert_eq!(counts(left, &items), [45, 45]);
    }

    #[test]
    fn a_broker_that_drains_gives_everything_while_there_is_somebody_to_take_it() {
        let mut all = members(3);
        all[0].standing = Standing::Gives;
        let mut items = items((0..30_u8).map(|index| Some(index % 3 + 1)));
        assert_eq!(settle(&all, &mut items), 10);
        assert_eq!(counts(&all, &items), [0, 15, 15]);
        all.iter_mut()
            .for_each(|member| member.standing = Standing::Gives);
        assert_eq!(settle(&all, &mut items), 0);
    }

    /// A store that fails for all is found out by one broker after the other.
    #[test]
    fn where_the_store_fails_nothing_moves_and_what_has_no_owner_still_gets_one() {
        let mut all = members(3);
        let mut items = items((0..30_u8).map(|index| Some(index % 3 + 1)));
        for member in 0..3 {
            all[member].standing = Standing::Keeps;
            assert_eq!(settle(&all, &mut items), 0, "{member}");
            assert_eq!(counts(&all, &items), [10, 10, 10], "{member}");
        }
        items.iter_mut().take(6).for_each(|item| item.owner = None);
        assert_eq!(settle(&all, &mut items), 0);
        assert_eq!(counts(&all, &items), [10, 10, 10]);
        // One that drains keeps what it has while nobody can write.
        all[0].standing = Standing::Gives;
        assert_eq!(settle(&all, &mut items), 0);
        all[1].standing = Standing::Takes;
        assert_eq!(settle(&all, &mut items), 10);
        assert_eq!(counts(&all, &items), [0, 20, 10], "one keeps what it has");
    }

    fn pin(items: &mut [Item], index: usize, broker: i32) {
        items[index].pin = Some(BrokerId::new(broker));
    }

    #[test]
    fn a_pinned_item_goes_to_its_broker_and_stays_there_whatever_the_counts_are() {
        let all = members(3);
        let mut state = items((0..9_u8).map(|index| Some(index % 3 + 1)));
        (0..6).for_each(|index| pin(&mut state, index, 2));
        let told = moves(&all, &state, 7);
        settle(&all, &mut state);
        let owner = |index: usize| state[index].owner;
        assert!((0..6).all(|index| owner(index) == Some(session(2))));
        assert_eq!(counts(&all, &state).iter().sum::<usize>(), 9);
        let mut others = counts(&all, &state);
        others.remove(1);
        others.sort_unstable();
        assert_eq!(others, [1, 2], "the others are shared by the others");
        for one in told {
            assert_eq!(owner(one.item), Some(one.to));
        }
        assert_eq!(moves(&all, &state, 7), [], "it is at rest");
    }

    #[test]
    fn an_item_without_owner_goes_to_the_broker_that_it_is_pinned_to() {
        let all = members(3);
        let mut state = items([None, Some(9), None]);
        (0..3).for_each(|index| pin(&mut state, index, 3));
        assert_eq!(duties(&all, &state, session(3), 7).take, [0, 1, 2]);
        assert_eq!(duties(&all, &state, session(1), 7), Duties::default());
    }

    #[test]
    fn while_its_broker_does_not_take_a_pinned_item_is_like_any_other() {
        let mut all = members(3);
        let mut state = items((0..9_u8).map(|index| Some(index % 3 + 1)));
        pin(&mut state, 1, 2);
        pin(&mut state, 0, 7);
        assert_eq!(
            settle(&all, &mut state),
            0,
            "it is there, and the other is not known"
        );
        all[1].standing = Standing::Gives;
        assert_eq!(settle(&all, &mut state), 3);
        assert_ne!(state[1].owner, Some(session(2)));
        all[1].standing = Standing::Takes;
        settle(&all, &mut state);
        assert_eq!(state[1].owner, Some(session(2)), "it comes back");
        all[1].standing = Standing::Keeps;
        assert_eq!(settle(&all, &mut state), 0);
        assert_eq!(state[1].owner, Some(session(2)));
        let left = [all[0], all[2]];
        settle(&left, &mut state);
        assert!(
            left.iter()
                .any(|member| state[1].owner == Some(member.session))
        );
    }

    #[test]
    fn stored_hashes_never_change() {
        assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b);
        let everybody = members(5);
        let chosen = rendezvous(hash(b"orders"), &everybody).unwrap();
        assert_eq!(rendezvous(hash(b"orders"), &everybody), Some(chosen));
    }

    #[test]
    fn moves_are_told_before_they_happen() {
        let all = members(3);
        let mut state = items((0..90_u8).map(|index| Some(index % 2 + 1)));
        let told = moves(&all, &state, 7);
        assert_eq!(told.len(), 30);
        assert!(
            told.iter()
                .all(|it| it.to == session(3) && it.from.is_some())
        );
        settle(&all, &mut state);
        for one in &told {
            assert_eq!(state[one.item].owner, Some(one.to), "{one:?}");
        }
        assert_eq!(moves(&all, &state, 7), []);
        let orphans = items([Some(9), None, Some(1)]);
        let told = moves(&all, &orphans, 7);
        assert!(
            told.len() == 2 && told.iter().all(|it| it.from.is_none()),
            "{told:?}"
        );
    }

    proptest! {
        /// What is told is what makes it balanced, and no more.
        #[test]
        fn moves_lead_to_rest(
            owners in proptest::collection::vec(proptest::option::of(1_u8..8), 0..60),
            live in 1_u8..6,
            give_max in 1_usize..40,
        ) {
            let members = members(live);
            let mut items = items(owners);
            for Move { item, to, .. } in moves(&members, &items, give_max) {
                items[item].owner = Some(to);
            }
            let counts = counts(&members, &items);
            let (most, fewest) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            prop_assert!(most - fewest <= 1, "{:?}", counts);
            prop_assert_eq!(moves(&members, &items, give_max), []);
        }

        /// Whatever is pinned: it comes to rest there, and of what is not pinned nobody has much more
        /// than another.
        #[test]
        fn every_state_settles_with_what_is_pinned_in_its_place(
            rows in proptest::collection::vec(
                (proptest::option::of(1_u8..8), proptest::option::of(1_i32..8)), 0..80,
            ),
            live in 1_u8..6,
        ) {
            let members = members(live);
            let mut items = items(rows.iter().map(|(owner, _)| *owner));
            for (item, (_, pin)) in items.iter_mut().zip(&rows) {
                item.pin = pin.map(BrokerId::new);
            }
            settle(&members, &mut items);
            let is_live = |pin: BrokerId| pin.get() <= i32::from(live);
            for item in &items {
                if let Some(pin) = item.pin.filter(|pin| is_live(*pin)) {
                    prop_assert_eq!(item.owner, Some(session(pin.get() as u8)));
                }
            }
            let counts = counts(&members, &items);
            let fewest = *counts.iter().min().unwrap();
            for (member, count) in members.iter().zip(&counts) {
                let mut free = items.iter().filter(|item| {
                    item.owner == Some(member.session) && !item.pin.is_some_and(is_live)
                });
                prop_assert!(free.next().is_none() || *count <= fewest + 1, "{:?}", counts);
            }
            prop_assert_eq!(moves(&members, &items, 7), []);
        }

        /// Whatever the state: it comes to rest, balanced, and only the surplus moves.
        #[test]
        fn every_state_settles_balanced(
            owners in proptest::collection::vec(proptest::option::of(1_u8..8), 0..120),
            live in 1_u8..6,
            lame in 0_u8..6,
            standing in prop_oneof![
                Just(Standing::Takes), Just(Standing::Keeps), Just(Standing::Gives),
            ],
        ) {
            let mut members = members(live);
            if let Some(member) = members.get_mut(usize::from(lame)) {
                member.standing = if live == 1 { Standing::Takes } else { standing };
            }
            let mut items = items(owners);
            let kept = items.iter().filter(|item| {
                let mut keepers = members.iter().filter(|m| m.standing == Standing::Keeps);
                keepers.any(|keeper| item.owner == Some(keeper.session))
            });
            let kept = kept.count();
            settle(&members, &mut items);
            let mut takers = members.clone();
            takers.retain(|member| member.standing == Standing::Takes);
            let counts = counts(&takers, &items);
            let (most, fewest) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            prop_assert!(most - fewest <= 1, "{:?}", counts);
            prop_assert_eq!(counts.iter().sum::<usize>() + kept, items.len());
        }
    }
}
