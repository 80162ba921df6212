//! Log compaction (`cleanup.policy=compact`) as pure functions: the map of latest offsets, and what a
//! segment becomes by it.
//!
//! Invariants:
//! - a record goes only where a later one of its key is known, so a map that is too small for all
//!   keys removes less and never too much;
//! - offsets stay covered: batches that lose all their records become empty ones, neighbors one
//!   together, so that a reader never finds a gap;
//! - a batch that cannot be read is kept as it is.

use std::collections::HashMap;

use bytes::Bytes;
use md5::{Digest, Md5};
use segment::Offset;
use segment::batch::{BatchError, BatchHeader, Batches};
use segment::record::{Cleaned, DecodeLimits, RecordSet, Tombstones, clean_batch, empty_batch};

/// Keys from which on no other segment is added to a map: about 128 MiB. More keys take more passes.
pub const KEYS_MAX: usize = 3 << 20;

/// The latest offset of each key, by the key's MD5 as in Kafka.
#[derive(Debug, Default)]
pub struct KeyMap {
    latest: HashMap<[u8; 16], Offset>,
}

impl KeyMap {
    fn insert(&mut self, key: &[u8], offset: Offset) {
        let latest = self.latest.entry(Md5::digest(key).into()).or_insert(offset);
        *latest = (*latest).max(offset);
    }

    /// Whether a later record with this key is known.
    pub fn is_superseded(&self, key: &[u8], offset: Offset) -> bool {
        let latest = self.latest.get(&<[u8; 16]>::from(Md5::digest(key)));
        latest.is_some_and(|latest| *latest > offset)
    }

    /// Whether no other segment is to be added: the last one may have gone beyond the bound, so that
    /// every tombstone in it has taken its earlier records along before its own time begins.
    pub fn is_full(&self) -> bool {
        self.latest.len() >= KEYS_MAX
    }

    /// Adds the records of a segment's body.
    ///
    /// # Errors
    /// The body is not whole batches.
    pub fn add_body(&mut self, body: &Bytes) -> Result<(), BatchError> {
        for batch in Batches::strict(body) {
            let batch = batch?;
            if batch.header.attributes.is_control() {
                continue;
            }
            let Ok(records) = RecordSet::decode(batch.bytes, &DecodeLimits::default()) else {
                continue;
            };
            for record in records.iter().map_while(Result::ok) {
                if let Some(key) = record.key {
                    self.insert(key, record.offset);
                }
            }
        }
        Ok(())
    }
}

/// What is left of a segment's body; `None` if all of it is.
///
/// # Errors
/// The body is not whole batches.
pub fn clean_body(
    body: &Bytes,
    keys: &KeyMap,
    tombstones: Tombstones,
) -> Result<Option<Vec<Bytes>>, BatchError> {
    let mut left = Left::default();
    for batch in Batches::strict(body) {
        let batch = batch?;
        if batch.header.record_count == 0 {
            left.lose(&batch.header);
            continue;
        }
        let cleaned = clean_batch(
            batch.bytes,
            &DecodeLimits::default(),
            tombstones,
            |key, offset| keys.is_superseded(key, offset),
        );
        match cleaned {
            Ok(Cleaned::Whole) => left.keep(body.slice_ref(batch.bytes)),
            Ok(Cleaned::Rewritten(bytes)) => {
                left.is_changed = true;
                left.keep(bytes);
            }
            Ok(Cleaned::Nothing) => {
                left.is_changed = true;
                left.lose(&batch.header);
            }
            Err(error) => {
                tracing::debug!(offset = %batch.header.base_offset, %error,
                    "a batch is left out of log compaction");
                left.keep(body.slice_ref(batch.bytes));
            }
        }
    }
    left.close_hole();
    assert!(left.hole.is_none(), "offsets stay covered to the end");
    assert!(
        !left.is_changed || !left.chunks.is_empty(),
        "what lost records keeps its offsets"
    );
    Ok(left.is_changed.then_some(left.chunks))
}

/// What is left of a body so far.
#[derive(Debug, Default)]
struct Left {
    chunks: Vec<Bytes>,
    /// The batch that takes the place of those that are gone.
    hole: Option<BatchHeader>,
    is_changed: bool,
}

impl Left {
    fn keep(&mut self, bytes: Bytes) {
        self.close_hole();
        assert!(!bytes.is_empty(), "what is kept is a batch");
        self.chunks.push(bytes);
    }

    fn lose(&mut self, header: &BatchHeader) {
        let Some(hole) = &mut self.hole else {
            self.hole = Some(*header);
            return;
        };
        let delta = header.last_offset().get() - hole.base_offset.get();
        match u32::try_from(delta)
            .ok()
            .filter(|delta| i32::try_from(*delta).is_ok())
        {
            Some(delta) => {
                self.is_changed = true;
                hole.last_offset_delta = delta;
                hole.max_timestamp = hole.max_timestamp.max(header.max_timestamp);
            }
            None => {
                self.close_hole();
                self.hole = Some(*header);
            }
        }
    }

    fn close_hole(&mut self) {
        if let Some(hole) = self.hole.take() {
            self.chunks.push(empty_batch(&hole));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use segment::TimestampMs;
    use segment::record::{NewRecord, RecordBatchBuilder};

    const FOR_EVER: Tombstones = Tombstones {
        now: TimestampMs::new(1_000),
        retention_ms: i64::MAX,
    };

    fn body(batches: &[&[(u8, Option<u8>)]]) -> Bytes {
        let mut base = 0;
        let mut out = Vec::new();
        for rows in batches {
            let mut builder = RecordBatchBuilder::new().base_offset(Offset::new(base));
            for (key, value) in *rows {
                let value = value.map(|value| [value]);
                let record = NewRecord {
                    timestamp: TimestampMs::new(5),
                    key: Some(&[*key]),
                    value: value.as_ref().map(<[u8; 1]>::as_slice),
                    headers: &[],
                };
                builder.push(record).unwrap();
                base += 1;
            }
            out.extend_from_slice(&builder.build().unwrap());
        }
        out.into()
    }

    fn rows(body: &Bytes) -> Vec<(i64, u8)> {
        let mut rows = Vec::new();
        let mut next = 0;
        for batch in Batches::strict(body) {
            let batch = batch.unwrap();
            assert_eq!(batch.header.base_offset.get(), next, "no gap");
            next = batch.header.last_offset().get() + 1;
            let records = RecordSet::decode(batch.bytes, &DecodeLimits::default()).unwrap();
            rows.extend(records.iter().map(|record| {
                let record = record.unwrap();
                (record.offset.get(), record.key.unwrap()[0])
            }));
        }
        rows
    }

    fn cleaned(body: &Bytes) -> Option<Bytes> {
        let mut keys = KeyMap::default();
        keys.add_body(body).unwrap();
        let left = clean_body(body, &keys, FOR_EVER).unwrap()?;
        Some(left.concat().into())
    }

    #[test]
    fn batches_that_lose_everything_become_one_empty_batch_and_no_gap() {
        let all = body(&[
            &[(1, Some(1))],
            &[(2, Some(1)), (1, Some(2))],
            &[(2, Some(2))],
            &[(1, Some(3)), (2, Some(3))],
            &[(3, Some(1))],
        ]);
        let left = cleaned(&all).unwrap();
        assert_eq!(rows(&left), [(4, 1), (5, 2), (6, 3)]);
        let empty: Vec<u32> = Batches::strict(&left)
            .map(|batch| batch.unwrap().header.record_count)
            .collect();
        assert_eq!(empty, [0, 2, 1]);
        assert_eq!(
            cleaned(&left),
            None,
            "the second time there is nothing to do"
        );
    }

    #[test]
    fn a_map_of_a_part_removes_less_and_never_too_much() {
        let part: &[(u8, Option<u8>)] = &[(1, Some(1)), (2, Some(1)), (1, Some(2))];
        let mut keys = KeyMap::default();
        keys.add_body(&body(&[part])).unwrap();
        let all = body(&[part, &[(2, Some(2))]]);
        let left: Bytes = clean_body(&all, &keys, FOR_EVER)
            .unwrap()
            .unwrap()
            .concat()
            .into();
        assert_eq!(rows(&left), [(1, 2), (2, 1), (3, 2)]);
    }

    #[test]
    fn damaged_bytes_are_an_error_and_not_a_loss() {
        let mut bytes = body(&[&[(1, Some(1))], &[(1, Some(2))]]).to_vec();
        bytes.truncate(bytes.len() - 3);
        assert!(clean_body(&bytes.into(), &KeyMap::default(), FOR_EVER).is_err());
    }

    proptest! {
        #[test]
        fn the_latest_record_of_each_key_stays_and_nothing_else(
            batches in prop::collection::vec(
                prop::collection::vec((0_u8..5, any::<Option<u8>>()), 1..5), 1..12),
        ) {
            let given: Vec<&[(u8, Option<u8>)]> = batches.iter().map(Vec::as_slice).collect();
            let all = body(&given);
            let before = rows(&all);
            let expected: Vec<(i64, u8)> = before
                .iter()
                .filter(|row| before.iter().all(|other| other.1 != row.1 || other.0 <= row.0))
                .copied()
                .collect();
            let left = cleaned(&all).unwrap_or(all);
            prop_assert_eq!(rows(&left), expected);
        }
    }
}
