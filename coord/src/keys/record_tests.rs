//! Every record and key against its codec: round trips, foreign bytes, unknown fields and versions.

use std::fmt::Debug;

use proptest::prelude::*;
use segment::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerId, SessionId, TimestampMs, TopicId,
    TopicName, TopicPartition, WalSequence,
};

use super::partition::{
    EpochStart, Intent, IntentKind, Owner, PartitionRecord, ProducerSnapshotRef, Source,
};
use super::*;
use crate::kv::{Key, Value};

fn round_trips<T: Record + PartialEq + Debug>(record: &T) {
    let value = encode(record);
    assert_eq!(&decode::<T>(&value).unwrap(), record);
    let text = std::str::from_utf8(value.as_bytes()).unwrap();
    let extended = text.replacen('{', r#"{"from_the_future":{"deep":[1,null]},"#, 1);
    assert_eq!(
        &decode::<T>(&Value::from(extended.as_str())).unwrap(),
        record,
        "unknown fields"
    );
    let newer = text.replacen(&format!("\"v\":{}", T::VERSION), "\"v\":77", 1);
    let error = decode::<T>(&Value::from(newer.as_str())).unwrap_err();
    assert!(
        matches!(error, CodecError::Version { found: 77, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("upgrade this one"));
    let unversioned = text.replacen("\"v\":", "\"w\":", 1);
    assert!(decode::<T>(&Value::from(unversioned.as_str())).is_err());
    for cut in 0..text.len() {
        assert!(decode::<T>(&Value::new(value.to_bytes().slice(..cut))).is_err());
    }
}

fn owner() -> impl Strategy<Value = Owner> {
    (any::<[u8; 16]>(), 0..i32::MAX).prop_map(|(id, broker)| Owner {
        session: SessionId::new(id),
        broker: BrokerId::new(broker),
    })
}

fn source() -> impl Strategy<Value = Source> {
    (owner(), any::<u64>(), any::<Option<u64>>()).prop_map(|(owner, first, end)| Source {
        session: owner.session,
        broker: owner.broker,
        first_sequence: WalSequence::new(first),
        end_sequence: end.map(WalSequence::new),
    })
}

fn intent() -> impl Strategy<Value = Intent> {
    let kind = prop_oneof![
        Just(IntentKind::Append),
        ".{0,9}".prop_map(|etag| IntentKind::Extend { etag }),
        ".{0,9}".prop_map(|etag| IntentKind::Rewrite { etag }),
    ];
    let ends = (0..1_i64 << 60, 1..1_i64 << 40);
    (
        ends,
        any::<i64>(),
        kind,
        any::<Option<u64>>(),
        any::<Option<u32>>(),
    )
        .prop_map(
            |((base, count), created, kind, object_bytes, object_crc32c)| Intent {
                base: Offset::new(base),
                end: Offset::new(base + count),
                created_ms: TimestampMs::new(created),
                kind,
                object_bytes,
                object_crc32c,
            },
        )
}

prop_compose! {
    fn partition_record()(
        owner in proptest::option::of(owner()),
        sources in proptest::collection::vec(source(), 0..4),
        ends in (0..i64::MAX, 0..i64::MAX),
        epochs in proptest::collection::vec(0..1_i64 << 40, 0..4),
        intent in proptest::option::of(intent()),
        snapshot in any::<Option<i64>>(),
    ) -> PartitionRecord {
        let mut starts = epochs;
        starts.sort_unstable();
        let epochs: Vec<EpochStart> = starts.into_iter().zip(0..).map(|(start, epoch)| EpochStart {
            epoch: LeaderEpoch::new(epoch),
            start: Offset::new(start),
        }).collect();
        PartitionRecord {
            owner,
            leader_epoch: LeaderEpoch::new(9),
            sources,
            compacted_end: Offset::new(ends.0),
            log_start: Offset::new(ends.1),
            epochs,
            intent: intent.map(Box::new),
            producer_snapshot: snapshot.map(|end| ProducerSnapshotRef {
                end: Offset::new(end),
                epoch: LeaderEpoch::new(3),
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn partitions_round_trip(record in partition_record()) {
        round_trips(&record);
    }

    #[test]
    fn small_records_round_trip(
        owner in owner(),
        number in 0..i64::MAX,
        sequence in any::<u64>(),
        text in ".{0,20}",
        many in any::<Option<i64>>(),
        unfenced in proptest::collection::vec(owner(), 0..3),
    ) {
        let now = TimestampMs::new(number);
        round_trips(&topic_generation::TopicGenerationRecord { next: sequence as u32 });
        round_trips(&tombstone::TombstoneRecord {
            name: text.clone(), generation: 1, partition_count: 3, deleted_ms: now,
        });
        round_trips(&restore::RestoreRecord {
            topic_id: TopicId::new([2; 16]), generation: sequence as u32, source: text.clone(),
            until_ms: now, begun_ms: now,
        });
        round_trips(&topic::TopicRecord {
            topic_id: TopicId::new([1; 16]), generation: sequence as u32, partition_count: 1,
            configs: [(text.clone(), text.clone())].into(), created_ms: now,
        });
        round_trips(&session::SessionRecord {
            broker: owner.broker, host: text.clone(), port: sequence as u16,
            rack: many.map(|_| text.clone()), shard_ports: vec![1, 2],
            listeners: many.map(|_| session::ListenerRecord {
                name: text.clone(), host: text.clone(), port: 1, shard_ports: vec![3],
            }).into_iter().collect(),
            state: session::SessionState::Draining,
        });
        let history =
            session_record::SessionHistoryRecord { broker: owner.broker, started_ms: now };
        round_trips(&history);
        round_trips(&floor::FloorRecord { floor: WalSequence::new(sequence) });
        round_trips(&committed::CommittedRecord { end: WalSequence::new(sequence) });
        round_trips(&broker::BrokerRecord { session: owner.session });
        round_trips(&producer_block::ProducerBlockRecord { next: ProducerId::new(number) });
        round_trips(&cluster::ClusterRecord {
            cluster_id: format!("c{text}"), commit_mode: cluster::CommitMode::Guarded,
            created_ms: now,
        });
        round_trips(&slot::SlotRecord {
            owner: Some(owner), epoch: 3, commit_counter: sequence, unfenced,
        });
        round_trips(&group_offset::GroupOffsetRecord {
            offset: Offset::new(number), leader_epoch: LeaderEpoch::NONE, metadata: text.clone(),
            commit_ms: now, expire_ms: many.map(TimestampMs::new),
        });
        round_trips(&quota::QuotaRecord {
            values: many.iter().map(|many| (text.clone(), *many as f64 / 3.0)).collect(),
        });
        round_trips(&scram::ScramRecord {
            salt: vec![sequence as u8; 3], iterations: sequence as u32,
            stored_key: sequence.to_be_bytes().to_vec(), server_key: number.to_be_bytes().to_vec(),
        });
        round_trips(&acl::AclRecord { by: text.clone() });
        round_trips(&decoy::DecoyRecord { secret: format!("{sequence:064}") });
        round_trips(&broker_config::BrokerConfigRecord {
            values: many.iter().map(|many| (text.clone(), many.to_string())).collect(),
        });
        round_trips(&pin::PinRecord { broker: many.map(|_| owner.broker) });
        round_trips(&processor::ProcessorRecord { offset: Offset::new(number), writer: text });
    }

    #[test]
    fn group_states_round_trip(state in any::<Vec<u8>>(), state_version in any::<u32>()) {
        let record = group::GroupRecord { state_version, state: state.into() };
        prop_assert_eq!(group::GroupRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn foreign_bytes_are_errors(bytes in any::<Vec<u8>>(), text in r#"[{}\[\]",:v0-9a-z]{0,40}"#) {
        for value in [Value::from(bytes), Value::from(text.as_str())] {
            let _ = decode::<PartitionRecord>(&value);
            let _ = decode::<slot::SlotRecord>(&value);
            let _ = group::GroupRecord::decode(&value);
        }
    }

    #[test]
    fn keys_round_trip(
        name in "[a-zA-Z0-9._-]{3,30}",
        id in any::<[u8; 16]>(),
        index in 0..=i32::MAX,
        group_name in ".{0,30}",
    ) {
        let space = Keyspace::new("c").unwrap();
        let name = TopicName::new(&name).unwrap();
        let session = SessionId::new(id);
        let partition = TopicPartition::new(TopicId::new(id), PartitionIndex::new(index));
        let broker = BrokerId::new(index);
        let slot = slot::SlotId::new((index % 64) as u16).unwrap();
        prop_assert_eq!(topic::parse(&space, &topic::key(&space, &name)), Ok(name.clone()));
        let key = topic_generation::key(&space, &name);
        prop_assert_eq!(topic_generation::parse(&space, &key), Ok(name.clone()));
        prop_assert_eq!(restore::parse(&space, &restore::key(&space, &name)), Ok(name));
        let key = tombstone::key(&space, partition.topic);
        prop_assert_eq!(tombstone::parse(&space, &key), Ok(partition.topic));
        let key = partition::key(&space, partition);
        prop_assert!(partition::topic_span(&space, partition.topic).contains(&key));
        prop_assert_eq!(partition::parse(&space, &key), Ok(partition));
        let name = |named: bool| match named {
            true => quota::QuotaName::Named(group_name.clone()),
            false => quota::QuotaName::Default,
        };
        for (user, client) in [(true, true), (true, false), (false, true), (false, false)] {
            for entity in [
                quota::QuotaEntity::User(name(user)),
                quota::QuotaEntity::Client(name(client)),
                quota::QuotaEntity::UserClient(name(user), name(client)),
                quota::QuotaEntity::Ip(name(user)),
            ] {
                let key = quota::key(&space, &entity);
                prop_assert!(quota::span(&space).contains(&key));
                prop_assert_eq!(quota::parse(&space, &key), Ok(entity));
            }
        }
        for broker in [None, Some(broker)] {
            let key = broker_config::key(&space, broker);
            prop_assert!(broker_config::span(&space).contains(&key));
            prop_assert_eq!(broker_config::parse(&space, &key), Ok(broker));
        }
        for host in ["*", "::1", "a/b"] {
            let rule = acl::AclKey {
                resource: 2, pattern: 4, name: group_name.clone(), principal: format!("User:{group_name}"),
                host: host.to_owned(), operation: (index % 128) as i8, permission: -3,
            };
            let key = acl::key(&space, &rule);
            prop_assert!(acl::span(&space).contains(&key));
            prop_assert_eq!(acl::parse(&space, &key), Ok(rule));
        }
        let key = pin::key(&space, partition);
        prop_assert!(pin::topic_span(&space, partition.topic).contains(&key));
        prop_assert_eq!(pin::parse(&space, &key), Ok(partition));
        prop_assert_eq!(session::parse(&space, &session::key(&space, session)), Ok(session));
        let key = session_record::key(&space, session);
        prop_assert_eq!(session_record::parse(&space, &key), Ok(session));
        prop_assert_eq!(floor::parse(&space, &floor::key(&space, session)), Ok(session));
        prop_assert_eq!(committed::parse(&space, &committed::key(&space, session)), Ok(session));
        prop_assert_eq!(broker::parse(&space, &broker::key(&space, broker)), Ok(broker));
        prop_assert_eq!(slot::parse(&space, &slot::key(&space, slot)), Ok(slot));
        let key = group::key(&space, &group_name);
        prop_assert_eq!(group::parse(&space, &key), Ok(group_name.clone()));
        let key = group_offset::key(&space, &group_name, partition);
        prop_assert!(group_offset::group_span(&space, &group_name).contains(&key));
        prop_assert_eq!(group_offset::parse(&space, &key), Ok((group_name.clone(), partition)));
        let key = processor::key(&space, &group_name, partition);
        prop_assert!(processor::processor_span(&space, &group_name).contains(&key));
        prop_assert_eq!(processor::parse(&space, &key), Ok((group_name, partition)));
        prop_assert!(session::parse(&space, &key).is_err());
    }

    #[test]
    fn partition_keys_sort_by_number(a in 0..=i32::MAX, b in 0..=i32::MAX) {
        let space = Keyspace::new("c").unwrap();
        let key = |index| {
            let partition = TopicPartition::new(TopicId::ZERO, PartitionIndex::new(index));
            partition::key(&space, partition)
        };
        prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
    }
}

#[test]
fn foreign_keys_are_errors() {
    let space = Keyspace::new("c").unwrap();
    let texts = [
        "",
        "/kafscale/c/",
        "/kafscale/d/topics/t",
        "/kafscale/c/topics/",
        "/kafscale/c/topics/a/b",
        "/kafscale/c/partitions/x/1",
        "/kafscale/c/partitions/AAAAAAAAAAAAAAAAAAAAAA/1",
        "/kafscale/c/partitions/AAAAAAAAAAAAAAAAAAAAAA/9999999999",
        "/kafscale/c/slots/00064",
        "/kafscale/c/slots/+0001",
        "/kafscale/c/brokers/-000000001",
        "/kafscale/c/groups/",
        "/kafscale/c/groups/a%2fb",
        "/kafscale/c/sessions/00",
        "/kafscale/c/quotas/",
        "/kafscale/c/quotas/user=",
        "/kafscale/c/quotas/user=a/ip=b",
        "/kafscale/c/quotas/client-id=a/user=b",
        "/kafscale/c/quotas/user=<all>",
        "/kafscale/c/quotas/host=a",
        "/kafscale/c/broker-configs/1",
        "/kafscale/c/broker-configs/all",
        "/kafscale/c/acls/",
        "/kafscale/c/acls/2/3/t/User%3Aa/%2A/3",
        "/kafscale/c/acls/2/3/t/User%3Aa/%2A/3/3/3",
        "/kafscale/c/acls/+2/3/t/User%3Aa/%2A/3/3",
        "/kafscale/c/acls/2/3/t/User:a/%2A/3/3",
        "/kafscale/c/acls/2/3/t/User%3Aa/%2A/200/3",
    ];
    for text in texts {
        let key = Key::from(text);
        assert!(topic::parse(&space, &key).is_err(), "{text}");
        assert!(partition::parse(&space, &key).is_err(), "{text}");
        assert!(slot::parse(&space, &key).is_err(), "{text}");
        assert!(broker::parse(&space, &key).is_err(), "{text}");
        assert!(pin::parse(&space, &key).is_err(), "{text}");
        assert!(quota::parse(&space, &key).is_err(), "{text}");
        assert!(broker_config::parse(&space, &key).is_err(), "{text}");
        assert!(acl::parse(&space, &key).is_err(), "{text}");
        assert!(group::parse(&space, &key).is_err(), "{text}");
        assert!(session::parse(&space, &key).is_err(), "{text}");
    }
    assert!(topic::parse(&space, &Key::new(vec![0xff, 0xfe])).is_err());
}

#[test]
fn the_stored_form_is_readable() {
    let record = PartitionRecord {
        leader_epoch: LeaderEpoch::ZERO,
        ..PartitionRecord::absent()
    };
    let text = encode(&record);
    let text = std::str::from_utf8(text.as_bytes()).unwrap();
    assert!(
        text.starts_with(r#"{"v":1,"owner":null,"leader_epoch":0,"#),
        "{text}"
    );
}

#[test]
fn the_smallest_free_broker_id_is_found() {
    let ids = |numbers: &[i32]| {
        numbers
            .iter()
            .copied()
            .map(BrokerId::new)
            .collect::<Vec<_>>()
    };
    assert_eq!(broker::smallest_free(ids(&[])), BrokerId::new(0));
    assert_eq!(broker::smallest_free(ids(&[0, 1, 3])), BrokerId::new(2));
}
