use proptest::prelude::*;

use super::*;
use crate::samples;

fn state(id: i64, base: i64, batches: u8) -> ProducerState {
    let batches = (0..i64::from(batches))
        .map(|turn| SnapshotBatch {
            base_sequence: Sequence::new(i32::MAX).next(u32::try_from(turn).unwrap() * 2),
            last_sequence: Sequence::new(i32::MAX).next(u32::try_from(turn).unwrap() * 2 + 1),
            base_offset: Offset::new(base + 2 * turn),
            last_offset: Offset::new(base + 2 * turn + 1),
            timestamp: TimestampMs::new(turn),
        })
        .collect();
    ProducerState {
        producer_id: ProducerId::new(id),
        epoch: ProducerEpoch::new(2),
        coordinator_epoch: -1,
        last_timestamp: TimestampMs::new(5),
        transaction_first_offset: (id % 2 == 0).then_some(Offset::new(base)),
        batches,
    }
}

fn snapshot() -> ProducerSnapshot {
    ProducerSnapshot {
        partition: samples::partition(1),
        end_offset: Offset::new(1_000),
        producers: vec![state(1, 10, 5), state(4, 500, 1), state(9, 700, 0)],
        aborted: vec![AbortedTransaction {
            producer_id: ProducerId::new(1),
            first_offset: Offset::new(3),
            last_offset: Offset::new(9),
            last_stable_offset: Offset::new(3),
        }],
    }
}

#[test]
fn snapshots_round_trip() {
    let snapshot = snapshot();
    assert_eq!(ProducerSnapshot::parse(&snapshot.encode()), Ok(snapshot));
}

#[test]
fn cut_or_flipped_snapshots_are_refused() {
    let bytes = snapshot().encode();
    for len in 0..bytes.len() {
        assert!(ProducerSnapshot::parse(&bytes[..len]).is_err(), "{len}");
    }
    for (at, flipped) in samples::flips(&bytes, 0..bytes.len()) {
        assert!(
            ProducerSnapshot::parse(&flipped).is_err(),
            "bit of byte {at}"
        );
    }
}

#[test]
fn rules_are_kept() {
    let changes: [fn(&mut ProducerSnapshot); 9] = [
        |snapshot| snapshot.producers.swap(0, 1),
        |snapshot| snapshot.producers[0].batches.swap(0, 1),
        |snapshot| snapshot.producers[0].batches[0].last_sequence = Sequence::new(7),
        |snapshot| snapshot.producers[0].epoch = ProducerEpoch::NONE,
        |snapshot| snapshot.producers[0].producer_id = ProducerId::NONE,
        |snapshot| snapshot.producers[0].batches[4].last_offset = Offset::new(1_000),
        |snapshot| snapshot.end_offset = Offset::new(100),
        |snapshot| snapshot.aborted[0].first_offset = Offset::new(9),
        |snapshot| snapshot.producers[1].transaction_first_offset = Some(Offset::new(-4)),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut snapshot = snapshot();
        change(&mut snapshot);
        assert!(snapshot.fault().is_some(), "change {number}");
    }
}

proptest! {
    #[test]
    fn any_snapshot_round_trips(
        ids in prop::collection::btree_map(0_i64..1 << 40, (0_i64..1 << 40, 0_u8..=5), 0..30),
    ) {
        let snapshot = ProducerSnapshot {
            end_offset: Offset::new(1 << 41),
            producers: ids.iter().map(|(&id, &(base, count))| state(id, base, count)).collect(),
            ..snapshot()
        };
        prop_assert_eq!(ProducerSnapshot::parse(&snapshot.encode()), Ok(snapshot));
    }

    #[test]
    fn damaged_bytes_behind_a_right_crc_never_panic(at in 8_usize..400, with: [u8; 8]) {
        let mut bytes = snapshot().encode().to_vec();
        let end = bytes.len() - CRC_BYTES;
        if let Some(room) = bytes[..end].get_mut(at..at + 8) {
            room.copy_from_slice(&with);
        }
        let crc = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_be_bytes());
        if let Ok(snapshot) = ProducerSnapshot::parse(&bytes) {
            prop_assert_eq!(snapshot.encode(), bytes);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ProducerSnapshot::parse(&bytes);
    }
}
