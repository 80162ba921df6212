use super::*;
use crate::control::testing::objects_in_memory;
use segment::wal::{WalHeader, encode};
use segment::{BrokerId, SessionId};

const OWNER: Owner = Owner {
    session: SessionId::new([3; 16]),
    broker: BrokerId::new(7),
};

fn tail(sequence: u64) -> Bytes {
    let at = WalSequence::new(sequence);
    let header = match sequence {
        0 => WalHeader::open(OWNER.broker, OWNER.session),
        _ => WalHeader::empty(OWNER.broker, OWNER.session, at, None),
    };
    encode(header, Vec::new()).tail()
}

fn blocks(bundles: &[Bundle]) -> Vec<(u64, u64)> {
    let block = |bundle: &Bundle| (bundle.block.first.get(), bundle.block.last.get());
    bundles.iter().map(block).collect()
}

fn block(first: u64, last: u64) -> Block {
    Block {
        first: WalSequence::new(first),
        last: WalSequence::new(last),
    }
}

#[test]
fn a_bundler_gives_full_blocks_in_sequence() {
    let mut bundler = Bundler::new(OWNER, KeySpace::default());
    let added = (1..=150).filter_map(|at| bundler.add(WalSequence::new(at), tail(at)));
    let bundles: Vec<Bundle> = added.collect();
    assert_eq!(blocks(&bundles), [(1, 64), (65, 128)]);
    let read = parse_directories(&bundles[1].bytes).unwrap();
    assert_eq!(read.len(), 64);
    assert_eq!(read[0].header().sequence.get(), 65);
}

#[test]
fn a_taker_bundles_runs_below_the_end_and_not_crumbs() {
    let keys = KeySpace::default();
    let read = (0..90).chain(100..110).chain(200..300);
    let tails: BTreeMap<WalSequence, Bytes> =
        read.map(|at| (WalSequence::new(at), tail(at))).collect();
    let made = bundles(&keys, OWNER, &tails, WalSequence::new(280));
    assert_eq!(blocks(&made), [(0, 63), (64, 89), (200, 263), (264, 279)]);
}

#[test]
fn bundles_that_tell_nothing_new_are_not_read() {
    let listing = Listing {
        objects: Vec::new(),
        bundles: vec![
            block(1, 64),
            block(1, 20),
            block(60, 90),
            block(65, 128),
            block(129, 192),
        ],
    };
    let wanted: Vec<WalSequence> = (10..=128).map(WalSequence::new).collect();
    let useful = listing.useful_bundles(&wanted);
    assert_eq!(useful, [block(1, 64), block(60, 90), block(65, 128)]);
    assert!(listing.useful_bundles(&[WalSequence::new(500)]).is_empty());
}

#[tokio::test]
async fn a_long_session_is_listed_page_by_page_with_what_reaches_into_the_range() {
    let (objects, _) = objects_in_memory();
    let keys = KeySpace::default();
    for at in 30..3_000 {
        let key = keys.wal(OWNER.broker, OWNER.session, WalSequence::new(at));
        objects
            .put(&key, Body::from(tail(at)), PutCondition::IfAbsent)
            .await
            .unwrap();
    }
    let tails: Vec<Bytes> = (1..=64).map(tail).collect();
    for first in [1, 2_900] {
        let bundle = Bundle::new(&keys, OWNER, WalSequence::new(first), &tails);
        assert!(bundle.write(&objects).await);
    }
    let range = WalSequence::new(30)..WalSequence::new(u64::MAX);
    let mut listing = list(&objects, &keys, OWNER, range).await.unwrap();
    listing.objects.sort();
    let expected: Vec<WalSequence> = (30..3_000).map(WalSequence::new).collect();
    assert_eq!(listing.objects, expected);
    assert_eq!(listing.bundles, [block(1, 64), block(2_900, 2_963)]);
    let few = WalSequence::new(1_000)..WalSequence::new(1_010);
    let listing = list(&objects, &keys, OWNER, few).await.unwrap();
    assert_eq!(listing.objects.len(), 10);
}
