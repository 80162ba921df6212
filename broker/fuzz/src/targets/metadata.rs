//! What lies in the metadata store: keys, records, groups.

use bytes::Bytes;
use coord::groups::{CommittedOffset, StoredGroup};
use coord::keys::{self, Keyspace, Record};
use coord::kv::{Key, Value};

use super::Target;
use crate::{feedback, memory};

/// What the decoder of JSON and the types behind it take for each byte: a map of one letter to a number is a node of a
/// tree.
const BYTES_FOR_EACH: usize = 64;

macro_rules! records {
    ($($number:literal $record:ty, $seed:literal;)*) => {
        const COUNT: usize = [$($number),*].len();

        fn check(number: usize, value: &Value) {
            match number {
                $($number => record::<$record>(value),)*
                _ => group_record(value),
            }
        }

        const SEEDS: &[(u8, &str)] = &[$(($number, $seed)),*];
    };
}

records! {
    0 keys::topic::TopicRecord, r#"{"v":1,"id":"00112233-4455-6677-8899-aabbccddeeff","generation":0,"partitions":3,"configs":{"retention.ms":"1"}}"#;
    1 keys::partition::PartitionRecord, r#"{"v":1,"epoch":3,"owner":{"broker":1,"session":"00112233445566778899aabbccddeeff"},"sources":[{"broker":1,"session":"00112233445566778899aabbccddeeff","first":4}],"epochs":[{"epoch":3,"start":0}],"compacted_end":0,"log_start":0}"#;
    2 keys::session::SessionRecord, r#"{"v":1,"broker":1,"state":"healthy","host":"h","port":9092}"#;
    3 keys::session_record::SessionHistoryRecord, r#"{"v":1,"broker":1}"#;
    4 keys::broker::BrokerRecord, r#"{"v":1,"session":"00112233445566778899aabbccddeeff"}"#;
    5 keys::cluster::ClusterRecord, r#"{"v":1,"id":"c","mode":"conditional"}"#;
    6 keys::committed::CommittedRecord, r#"{"v":1,"sequence":7}"#;
    7 keys::drain::DrainRecord, r#"{"v":1}"#;
    8 keys::floor::FloorRecord, r#"{"v":1,"sequence":7}"#;
    9 keys::group_offset::GroupOffsetRecord, r#"{"v":1,"offset":7}"#;
    10 keys::pin::PinRecord, r#"{"v":1,"broker":1}"#;
    11 keys::processor::ProcessorRecord, r#"{"v":1,"offset":7}"#;
    12 keys::producer_block::ProducerBlockRecord, r#"{"v":1,"next":1000}"#;
    13 keys::quota::QuotaRecord, r#"{"v":1,"values":{"producer_byte_rate":1.5}}"#;
    14 keys::recovery::RecoveryRecord, r#"{"v":1}"#;
    15 keys::restore::RestoreRecord, r#"{"v":1}"#;
    16 keys::slot::SlotRecord, r#"{"v":1,"epoch":1,"commits":0}"#;
    17 keys::tombstone::TombstoneRecord, r#"{"v":1,"name":"t","generation":0}"#;
    18 keys::topic_generation::TopicGenerationRecord, r#"{"v":1,"next":1}"#;
}

/// Values of the metadata store. The first byte is the kind of record.
pub const ETCD_VALUES: Target = Target {
    name: "etcd-values",
    about: "values in etcd; encode after decode is the identity",
    run: values,
    seeds: || {
        let all = SEEDS
            .iter()
            .map(|(kind, text)| [&[*kind], text.as_bytes()].concat());
        all.chain([[&[COUNT as u8], &b"{\"v\":1,\"state_version\":1}\nstate"[..]].concat()])
            .collect()
    },
    words: &[
        b"\"v\":1",
        b"null",
        b"-1",
        b"18446744073709551615",
        b"1e300",
        b"[]",
        b"{}",
        b"\"session\":",
        b"\"sources\":[",
        b"\"intent\":{",
        b"\"epoch\":",
        b"\"end\":",
        b"\"base\":",
        b"\"kind\":",
        b"\"snapshot\":",
        b"\"owner\":null",
        b"\"host\":\"h\"",
        b"\"id\":",
        b"\"name\":\"t\"",
        b"\"mode\":",
    ],
};

fn values(input: &[u8]) {
    let Some((kind, text)) = input.split_first() else {
        return;
    };
    let kind = usize::from(*kind) % (COUNT + 1);
    check(kind, &Value::new(text.to_vec()));
}

fn record<T: Record + PartialEq + std::fmt::Debug>(value: &Value) {
    let decoded = memory::within(value.len(), BYTES_FOR_EACH, || keys::decode::<T>(value));
    feedback::note(T::NAME);
    feedback::note_result(T::NAME, &decoded);
    if let Ok(record) = decoded {
        let encoded = keys::encode(&record);
        feedback::note((T::NAME, feedback::order(encoded.len())));
        let again = keys::decode::<T>(&encoded).expect("what we encode is sound");
        assert_eq!(again, record, "encode after decode is the identity");
        assert_eq!(keys::encode(&again), encoded, "encoding is canonical");
        let text = encoded.as_bytes();
        for cut in 0..text.len() {
            let cut_off = Value::new(text[..cut].to_vec());
            assert!(
                keys::decode::<T>(&cut_off).is_err(),
                "{cut} bytes are a record"
            );
        }
    }
}

fn group_record(value: &Value) {
    use coord::keys::group::GroupRecord;
    let decoded = memory::within(value.len(), BYTES_FOR_EACH, || GroupRecord::decode(value));
    feedback::note_result("group record", &decoded);
    if let Ok(record) = decoded {
        let again = GroupRecord::decode(&record.encode()).expect("what we encode is sound");
        assert_eq!(
            (again.state_version, again.state),
            (record.state_version, record.state)
        );
    }
}

/// Keys of the metadata store.
pub const ETCD_KEYS: Target = Target {
    name: "etcd-keys",
    about: "keys in etcd, and the escape of names in them",
    run: etcd_keys,
    seeds: || {
        let keys = [
            "/kafscale/c/topics/t",
            "/kafscale/c/partitions/00112233-4455-6677-8899-aabbccddeeff/0000000001",
            "/kafscale/c/groups/a%20b",
            "/kafscale/c/quotas/user=%/client-id=a",
            "/kafscale/c/sessions/00112233445566778899aabbccddeeff",
            "/kafscale/c/slots/63",
            "/kafscale/c/brokers/0000000001",
            "%",
            "a%2fb",
        ];
        keys.iter().map(|key| key.as_bytes().to_vec()).collect()
    },
    words: &[
        b"/kafscale/c/",
        b"%",
        b"%2f",
        b"0000000001",
        b"topics/",
        b"partitions/",
        b"groups/",
        b"offsets/",
        b"quotas/",
        b"ip=",
        b"user=",
        b"client-id=",
    ],
};

fn etcd_keys(input: &[u8]) {
    let space = Keyspace::new("c").expect("a legal name");
    let key = Key::new(input.to_vec());
    macro_rules! parses {
        ($($module:ident |$parsed:ident| $key:expr;)*) => {
            $(if let Ok($parsed) = keys::$module::parse(&space, &key) {
                feedback::note(stringify!($module));
                assert_eq!($key, key, "the key of what was parsed is the key");
            })*
        };
    }
    parses! {
        topic |it| keys::topic::key(&space, &it);
        partition |it| keys::partition::key(&space, it);
        session |it| keys::session::key(&space, it);
        session_record |it| keys::session_record::key(&space, it);
        broker |it| keys::broker::key(&space, it);
        committed |it| keys::committed::key(&space, it);
        drain |it| keys::drain::key(&space, it);
        floor |it| keys::floor::key(&space, it);
        group |it| keys::group::key(&space, &it);
        group_offset |it| keys::group_offset::key(&space, &it.0, it.1);
        pin |it| keys::pin::key(&space, it);
        processor |it| keys::processor::key(&space, &it.0, it.1);
        quota |it| keys::quota::key(&space, &it);
        restore |it| keys::restore::key(&space, &it);
        slot |it| keys::slot::key(&space, it);
        tombstone |it| keys::tombstone::key(&space, it);
        topic_generation |it| keys::topic_generation::key(&space, &it);
    }
    if let Ok(text) = std::str::from_utf8(input) {
        assert_eq!(keys::unescape(&keys::escape(text)).as_deref(), Some(text));
        if let Some(name) = keys::unescape(text) {
            assert_eq!(keys::escape(&name), text, "a name has one form in keys");
            feedback::note(("name", name.len().min(4)));
        }
    }
}

/// Groups and committed offsets as they are stored. The first bit of the first byte says which.
pub const GROUPS: Target = Target {
    name: "groups",
    about: "groups and committed offsets as they are stored",
    run: groups,
    seeds: || vec![vec![0; 40], vec![1; 40], vec![0, 0, 1, b'g', 0, 0, 0, 1]],
    words: &[b"consumer", b"range", &[0, 0, 0, 1], &[0, 1], &[0xff, 0xff]],
};

fn groups(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let bytes = Bytes::copy_from_slice(bytes);
    if kind & 1 == 0 {
        let decode = || StoredGroup::decode(bytes.clone());
        let decoded = memory::within(bytes.len(), BYTES_FOR_EACH, decode);
        feedback::note_result("group", &decoded);
        if let Ok(group) = decoded {
            feedback::note(("members", group.members.len().min(4)));
            let encoded = group.encode();
            assert_eq!(encoded.len(), group.encoded_len());
            let again = StoredGroup::decode(encoded.clone()).expect("what we encode is sound");
            assert_eq!(again, group, "encode after decode is the identity");
            for cut in (0..encoded.len()).step_by(encoded.len() / 256 + 1) {
                assert!(StoredGroup::decode(encoded.slice(..cut)).is_err());
            }
        }
        return;
    }
    let decoded = memory::within(bytes.len(), 2, || CommittedOffset::decode(bytes.clone()));
    feedback::note_result("offset", &decoded);
    if let Ok(offset) = decoded {
        let encoded = offset.encode();
        assert_eq!(encoded.len(), offset.encoded_len());
        let again = CommittedOffset::decode(encoded).expect("what we encode is sound");
        assert_eq!(again, offset, "encode after decode is the identity");
    }
}
