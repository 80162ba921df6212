use proptest::prelude::*;

use super::*;
use crate::samples;

fn any_index() -> impl Strategy<Value = Index> {
    (
        1_u32..300,
        prop::collection::vec((1_u32..150, 61_u32..5_000), 0..40),
    )
        .prop_map(|(interval, batches)| {
            let mut builder = IndexBuilder::new(interval);
            let (mut offset, mut position) = (1_000_i64, 32_u32);
            for (count, bytes) in batches {
                builder.push(Offset::new(offset), position, count);
                offset += i64::from(count);
                position += bytes;
            }
            builder.finish()
        })
}

#[test]
fn entries_follow_kafscales_rule() {
    let run = samples::run(0, &[60, 60, 60, 250, 1, 99, 1]);
    let index = Index::build(&run, INDEX_INTERVAL).unwrap();
    let offsets: Vec<i64> = index
        .entries()
        .iter()
        .map(|entry| entry.offset.get())
        .collect();
    assert_eq!(offsets, [0, 120, 430, 530]);
    let chunks = vec![Bytes::from(run.concat())];
    assert_eq!(Index::build(&chunks, INDEX_INTERVAL).unwrap(), index);
}

#[test]
fn an_index_that_is_out_of_order_is_refused() {
    let index = Index::build(&samples::run(0, &[100, 100, 100]), 100).unwrap();
    let bytes = index.encode();
    let with = |at: usize, with: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        Index::parse(&bytes).unwrap_err()
    };
    assert_eq!(with(0, b"IDY\0"), IndexError::Magic { found: *b"IDY\0" });
    assert_eq!(with(0, b"IDX\n"), IndexError::Magic { found: *b"IDX\n" });
    assert_eq!(with(4, &[0, 2]), IndexError::Version { version: 2 });
    assert!(matches!(with(6, &[0xff]), IndexError::HeaderRange { .. }));
    assert!(matches!(with(6, &[0x7f]), IndexError::Truncated { .. }));
    assert!(matches!(
        with(6, &2_i32.to_be_bytes()),
        IndexError::TrailingBytes { extra: 12 }
    ));
    assert!(matches!(
        with(10, &0_i32.to_be_bytes()),
        IndexError::HeaderRange { .. }
    ));
    assert!(matches!(
        with(16, &[0x80]),
        IndexError::Order { entry: 0, .. }
    ));
    assert!(matches!(
        with(24, &33_i32.to_be_bytes()),
        IndexError::Order { entry: 0, .. }
    ));
    assert!(matches!(
        with(28, &0_i64.to_be_bytes()),
        IndexError::Order { entry: 1, .. }
    ));
    assert!(matches!(
        with(36, &[0x80]),
        IndexError::Order { entry: 1, .. }
    ));
}

#[test]
fn an_empty_index_has_one_run() {
    let index = IndexBuilder::new(100).finish();
    assert_eq!(index.lookup(Offset::ZERO), None);
    let runs = index.chunks(10, 500).unwrap();
    assert_eq!((runs.len(), &runs[0]), (1, &(32..500)));
    assert_eq!(Index::parse(&index.encode()), Ok(index));
}

#[test]
fn a_foreign_body_is_refused() {
    let index = Index::build(&samples::run(0, &[100, 100]), 100).unwrap();
    let position = index.entries()[1].position;
    let body_end = u64::from(position);
    assert_eq!(
        index.chunks(1, body_end),
        Err(IndexError::PastBody { position, body_end })
    );
    assert!(index.chunks(1, body_end + 1).is_ok());
}

proptest! {
    #[test]
    fn indexes_round_trip_and_cut_ones_do_not(index in any_index()) {
        let bytes = index.encode();
        for len in 0..bytes.len() {
            let cut = Index::parse(&bytes[..len]);
            prop_assert_eq!(cut, Err(IndexError::Truncated { len }));
        }
        prop_assert_eq!(Index::parse(&bytes), Ok(index));
    }

    #[test]
    fn lookup_is_a_linear_scan(index in any_index(), offset in 900_i64..8_000) {
        let offset = Offset::new(offset);
        let scanned = index.entries().iter().rev().find(|entry| entry.offset <= offset).copied();
        prop_assert_eq!(index.lookup(offset), scanned);
    }

    #[test]
    fn runs_cover_the_body(index in any_index(), target in 0_u64..40_000, last in 1_u64..9_000) {
        let end = index.entries().last().map_or(32, |entry| u64::from(entry.position)) + last;
        let runs = index.chunks(target, end).unwrap();
        prop_assert_eq!(runs[0].start, 32);
        prop_assert_eq!(runs[runs.len() - 1].end, end);
        for pair in runs.windows(2) {
            prop_assert_eq!(pair[0].end, pair[1].start);
            // The run was closed because the next span did not fit.
            let next = index
                .entries()
                .iter()
                .map(|entry| u64::from(entry.position))
                .find(|&position| position > pair[0].end)
                .unwrap_or(end);
            prop_assert!(next - pair[0].start > target);
        }
        for run in &runs {
            let starts_entry =
                index.entries().iter().any(|entry| u64::from(entry.position) == run.start);
            prop_assert!(starts_entry || run.start == 32);
            let spans = index
                .entries()
                .iter()
                .filter(|entry| run.contains(&u64::from(entry.position)))
                .count();
            prop_assert!(run.end - run.start <= target || spans <= 1);
        }
    }

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        framed in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if framed && bytes.len() >= 9 {
            bytes[..9].copy_from_slice(b"IDX\0\0\x01\0\0\0");
        }
        let _ = Index::parse(&bytes);
    }
}
