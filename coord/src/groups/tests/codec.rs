//! Bytes of stored values: what is written is read, and nothing else is.

use bytes::Bytes;
use proptest::prelude::*;
use segment::{LeaderEpoch, Offset, TimestampMs};

use crate::groups::*;

fn member_strategy() -> impl Strategy<Value = StoredMember> {
    let texts = (".{1,12}", any::<bool>(), ".{0,12}", ".{0,12}");
    let rest = (
        any::<u32>(),
        any::<u32>(),
        any::<Vec<u8>>(),
        any::<Vec<u8>>(),
    );
    (texts, rest).prop_map(
        |((id, is_static, client, host), (rebalance, session, a, b))| StoredMember {
            instance: is_static.then(|| InstanceId::from(format!("i{id}"))),
            member: id.into(),
            client_id: client.into(),
            client_host: host.into(),
            rebalance_timeout_ms: rebalance,
            session_timeout_ms: session,
            metadata: a.into(),
            assignment: b.into(),
        },
    )
}

fn group_strategy() -> impl Strategy<Value = StoredGroup> {
    let members = proptest::collection::vec(member_strategy(), 0..5);
    (
        ".{0,20}",
        0..i32::MAX,
        any::<i64>(),
        members,
        any::<prop::sample::Index>(),
    )
        .prop_map(|(group, generation, at, mut members, pick)| {
            members.sort_by(|a, b| a.member.cmp(&b.member));
            members.dedup_by(|a, b| a.member == b.member);
            let has = !members.is_empty();
            StoredGroup {
                group: group.into(),
                generation: Generation::new(generation),
                protocol_type: (has || generation % 2 == 0).then(|| "consumer".into()),
                protocol_name: has.then(|| "range".into()),
                leader: has.then(|| members[pick.index(members.len())].member.clone()),
                state_timestamp: TimestampMs::new(at),
                members,
            }
        })
}

proptest! {
    #[test]
    fn groups_round_trip(group in group_strategy()) {
        let bytes = group.encode();
        prop_assert_eq!(bytes.len(), group.encoded_len());
        prop_assert_eq!(StoredGroup::decode(bytes), Ok(group));
    }

    #[test]
    fn cut_or_extended_groups_do_not_decode(
        group in group_strategy(), cut in any::<prop::sample::Index>(),
    ) {
        let bytes = group.encode();
        prop_assert!(StoredGroup::decode(bytes.slice(..cut.index(bytes.len()))).is_err());
        let mut longer = bytes.to_vec();
        longer.push(0);
        prop_assert_eq!(StoredGroup::decode(longer.into()), Err(DecodeError::Trailing));
    }

    #[test]
    fn a_flipped_byte_gives_an_error_or_another_valid_group(
        group in group_strategy(), at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let mut bytes = group.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = StoredGroup::decode(Bytes::from(bytes.clone())) {
            prop_assert_eq!(other.encode(), bytes);
            let now = Now { monotonic: Millis::new(0), wall: TimestampMs::new(0) };
            let mut coordinator = Coordinator::new(GroupConfig::default());
            prop_assert_eq!(coordinator.restore([other], [], now), Ok(()));
            coordinator.check();
        }
    }

    #[test]
    fn any_bytes_decode_or_err(mut bytes: Vec<u8>, is_versioned: bool) {
        if is_versioned && !bytes.is_empty() {
            bytes[0] = GROUP_FORMAT_VERSION;
        }
        let _ = StoredGroup::decode(bytes.clone().into());
        let _ = CommittedOffset::decode(bytes.into());
    }

    #[test]
    fn offsets_round_trip(
        offset: i64, epoch: i32, text in ".{0,40}", at: i64, expire: Option<i64>,
        cut: prop::sample::Index,
    ) {
        let offset = CommittedOffset {
            offset: Offset::new(offset),
            leader_epoch: LeaderEpoch::new(epoch),
            metadata: text.into(),
            commit_timestamp: TimestampMs::new(at),
            expire_timestamp: expire.map(TimestampMs::new),
        };
        let bytes = offset.encode();
        prop_assert!(CommittedOffset::decode(bytes.slice(..cut.index(bytes.len()))).is_err());
        prop_assert_eq!(CommittedOffset::decode(bytes), Ok(offset));
    }
}

#[test]
fn a_count_that_the_bytes_cannot_hold_reserves_nothing() {
    let mut bytes = vec![GROUP_FORMAT_VERSION, 0, 0, 0, 1, b'g', 0, 0, 0, 1, 0, 0, 0];
    bytes.extend(0_i64.to_be_bytes());
    bytes.extend(u32::MAX.to_be_bytes());
    assert_eq!(
        StoredGroup::decode(bytes.into()),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn the_layout_of_version_1_does_not_change() {
    let group = StoredGroup {
        group: "g".into(),
        generation: Generation::new(2),
        protocol_type: Some("consumer".into()),
        protocol_name: None,
        leader: None,
        state_timestamp: TimestampMs::new(3),
        members: Vec::new(),
    };
    let bytes = b"\x01\0\0\0\x01g\0\0\0\x02\x01\0\0\0\x08consumer\0\0\0\0\0\0\0\0\0\x03\0\0\0\0";
    assert_eq!(&group.encode()[..], bytes);
    let offset = CommittedOffset {
        offset: Offset::new(5),
        leader_epoch: LeaderEpoch::NONE,
        metadata: "m".into(),
        commit_timestamp: TimestampMs::new(6),
        expire_timestamp: Some(TimestampMs::new(7)),
    };
    let bytes = b"\x01\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\0\0\0\0\0\0\0\x06\
        \x01\0\0\0\0\0\0\0\x07\0\0\0\x01m";
    assert_eq!(&offset.encode()[..], bytes);
}

#[test]
fn later_versions_are_refused() {
    assert_eq!(
        StoredGroup::decode(vec![2].into()),
        Err(DecodeError::Version(2))
    );
    assert_eq!(
        CommittedOffset::decode(vec![9].into()),
        Err(DecodeError::Version(9))
    );
}
