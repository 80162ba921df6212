//! [`RowMap`]: a value for each of many keys that have neighbors, at the cost of little more than the value.
//!
//! Invariant: every row has a value. Values of neighbors lie in one row, so that neither the id of a topic nor
//! the slack of a hash table is paid for each of them; no index, however large, takes more than one row.

use std::collections::HashMap;
use std::hash::Hash;

use segment::{PartitionIndex, TopicId, TopicPartition};

use crate::hash::RandomState;

/// Keys of one row.
const ROW: usize = 16;

/// The values of neighbors.
type Row<T> = Box<[Option<T>; ROW]>;

/// A key that has neighbors.
pub trait Neighbor: Copy {
    /// What tells the row of a key from others.
    type Row: Copy + Eq + Hash + std::fmt::Debug;

    /// The row of a key, and its place there: below [`ROW`].
    fn split(self) -> (Self::Row, usize);

    /// The key at a place of a row.
    fn join(row: Self::Row, place: usize) -> Self;
}

impl Neighbor for TopicPartition {
    type Row = (TopicId, i32);

    fn split(self) -> (Self::Row, usize) {
        let index = self.partition.get();
        let place = index.rem_euclid(ROW as i32) as usize;
        assert!(place < ROW, "a place lies in its row");
        ((self.topic, index.div_euclid(ROW as i32)), place)
    }

    fn join((topic, row): Self::Row, place: usize) -> Self {
        assert!(place < ROW, "a place lies in its row");
        TopicPartition::new(topic, PartitionIndex::new(row * ROW as i32 + place as i32))
    }
}

impl Neighbor for u16 {
    type Row = u16;

    fn split(self) -> (Self::Row, usize) {
        (self / ROW as u16, usize::from(self) % ROW)
    }

    fn join(row: Self::Row, place: usize) -> Self {
        row * ROW as u16 + place as u16
    }
}

/// Values by partition.
pub type PartitionMap<T> = RowMap<TopicPartition, T>;

/// Values by key.
#[derive(Debug)]
pub struct RowMap<K: Neighbor, T> {
    rows: HashMap<K::Row, Row<T>, RandomState>,
    len: usize,
}

impl<K: Neighbor, T> Default for RowMap<K, T> {
    fn default() -> Self {
        Self {
            rows: HashMap::default(),
            len: 0,
        }
    }
}

impl<K: Neighbor, T> RowMap<K, T> {
    /// The value of a key.
    pub fn get(&self, id: K) -> Option<&T> {
        let (row, at) = id.split();
        self.rows.get(&row)?[at].as_ref()
    }

    /// The value of a key.
    pub fn get_mut(&mut self, id: K) -> Option<&mut T> {
        let (row, at) = id.split();
        self.rows.get_mut(&row)?[at].as_mut()
    }

    /// Whether a key has a value.
    pub fn contains(&self, id: K) -> bool {
        self.get(id).is_some()
    }

    /// Gives a key a value; gives back the one that it had.
    pub fn insert(&mut self, id: K, value: T) -> Option<T> {
        let (row, at) = id.split();
        let row = self.rows.entry(row).or_insert_with(empty_row);
        let before = row[at].replace(value);
        self.len += usize::from(before.is_none());
        assert!(self.rows.len() <= self.len, "every row has a value");
        before
    }

    /// Takes the value of a key.
    pub fn remove(&mut self, id: K) -> Option<T> {
        let (key, at) = id.split();
        let row = self.rows.get_mut(&key)?;
        let value = row[at].take()?;
        self.len -= 1;
        if row.iter().all(Option::is_none) {
            self.rows.remove(&key);
        }
        assert!(self.rows.len() <= self.len, "every row has a value");
        Some(value)
    }

    /// Keeps the values that `keeps` says so of.
    pub fn retain(&mut self, mut keeps: impl FnMut(K, &mut T) -> bool) {
        let mut len = 0;
        self.rows.retain(|key, row| {
            let before = len;
            for (at, slot) in row.iter_mut().enumerate() {
                if slot
                    .as_mut()
                    .is_some_and(|value| !keeps(K::join(*key, at), value))
                {
                    *slot = None;
                }
                len += usize::from(slot.is_some());
            }
            len > before
        });
        assert!(
            len <= self.len,
            "a choice of values is no more than they were"
        );
        self.len = len;
        assert!(self.rows.len() <= self.len, "every row has a value");
    }

    /// Keys with a value.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no key has a value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.rows.iter().flat_map(|(key, row)| {
            let values = row.iter().enumerate();
            values.filter_map(|(at, value)| Some((K::join(*key, at), value.as_ref()?)))
        })
    }

    /// The keys with a value, in no order.
    pub fn ids(&self) -> impl Iterator<Item = K> {
        self.iter().map(|(id, _)| id)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }

    /// All values, in no order.
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.rows
            .into_values()
            .flat_map(|row| row.into_iter().flatten())
    }
}

fn empty_row<T>() -> Row<T> {
    Box::new([const { None }; ROW])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn id(topic: u8, index: i32) -> TopicPartition {
        TopicPartition::new(TopicId::new([topic; 16]), PartitionIndex::new(index))
    }

    #[test]
    fn it_holds_what_a_map_by_whole_ids_holds() {
        let (mut map, mut model) = (PartitionMap::default(), BTreeMap::new());
        let indexes = [0, 1, 15, 16, 17, 4_711, i32::MAX, -1];
        let ids = || (0..3).flat_map(|topic| indexes.map(|index| id(topic, index)));
        for (value, at) in ids().chain(ids().step_by(2)).enumerate() {
            assert_eq!(map.insert(at, value), model.insert(at, value));
        }
        for at in ids().step_by(3).chain(ids().step_by(3)) {
            assert_eq!(map.remove(at), model.remove(&at));
            assert!(!map.contains(at));
        }
        assert_eq!(map.len(), model.len());
        assert!(ids().all(|at| map.get(at) == model.get(&at)));
        assert_eq!(map.get(id(9, 0)), None);
        let all: BTreeMap<_, _> = map.iter().map(|(at, value)| (at, *value)).collect();
        assert_eq!(all, model);
        map.retain(|at, value| at.partition.get() % 2 == 0 && *value % 3 != 0);
        model.retain(|at, value| at.partition.get() % 2 == 0 && *value % 3 != 0);
        assert_eq!(map.len(), model.len());
        assert!(ids().all(|at| map.get(at) == model.get(&at)));
        let values: std::collections::BTreeSet<_> = map.into_values().collect();
        assert_eq!(values, model.into_values().collect());
    }

    #[test]
    fn a_row_goes_with_its_last_value() {
        let mut map = PartitionMap::default();
        map.insert(id(1, 3), ());
        map.insert(id(1, 4), ());
        map.remove(id(1, 3));
        assert_eq!((map.rows.len(), map.len()), (1, 1));
        map.remove(id(1, 4));
        assert!(map.rows.is_empty() && map.is_empty());
    }
}
