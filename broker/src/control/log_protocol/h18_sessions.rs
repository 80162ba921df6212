//! H18: a session id and its prefix are used once, and a broker id by one live session.

use coord::keys::plan::{Registration, open_session};
use coord::keys::session::{self, SessionRecord, SessionState};
use coord::kv::range_all;
use segment::wal::{WalHeader, encode};
use segment::{BrokerId, SessionId, TimestampMs, WalSequence};
use store::faulty::Operation;
use store::{Body, PutCondition};

use super::super::commit::{CommitError, commit};
use super::super::session::Session;
use super::*;

/// Random numbers repeat, and etcd, restored from a backup, does not know it: under the prefix of
/// the new session lie the first object and object 2 of an old one.
#[test]
fn h18_a_prefix_that_was_used_is_left_alone() {
    closes(
        Rule::OpenProvesPrefixNew,
        async || {
            let stage = Rc::new(Stage::new().await);
            let mut gate = stage.stop(Operation::Put, "kafscale-wal/default/1/");
            let beginning = stage.clone();
            let begun = spawn_local(async move { beginning.session(1).await });
            gate.reached().await;
            let earlier = Session {
                id: session_of(&stage, 1).await,
                broker: BrokerId::new(1),
                ..stage.session(5).await
            };
            let open = encode(WalHeader::open(earlier.broker, earlier.id), Vec::new());
            let key = stage
                .keys
                .wal(earlier.broker, earlier.id, WalSequence::ZERO);
            let body = Body::new(open.chunks);
            let put = stage.objects.put(&key, body, PutCondition::IfAbsent).await;
            put.unwrap();
            stage.flush(earlier, 2, &[(0, 3, 2)]).await.unwrap();
            gate.open();
            let new = begun.await.unwrap();
            stage.take(new, &[0]).await;
            stage.flush(new, 1, &[(0, 0, 3)]).await.unwrap();
            stage.die(new).await;
            let next = stage.session(2).await;
            loads_all(&stage.take(next, &[0]).await, 0, 3)
        },
        Violation::Foreign {
            acknowledged: 3,
            found: 5,
        },
    );
}

/// The live session of a broker id.
async fn session_of(stage: &Stage, broker: i32) -> SessionId {
    let live = range_all(&stage.kv, session::span(&stage.space))
        .await
        .unwrap();
    let found = live.entries.iter().find_map(|entry| {
        let seen = coord::keys::seen::<SessionRecord>(Some(entry)).ok()??;
        let id = session::parse(&stage.space, &entry.key).ok()?;
        (seen.record.broker.get() == broker).then_some(id)
    });
    found.expect("it is registered before its first object")
}

/// A second process is started with the broker id of a live one.
#[test]
fn h18_a_broker_id_has_one_live_session() {
    closes(
        Rule::BrokerIdOnce,
        async || {
            let stage = Stage::new().await;
            let first = stage.session(1).await;
            let second = SessionId::new([7; 16]);
            let lease = stage
                .kv
                .grant_session(Duration::from_secs(10))
                .await
                .unwrap();
            let record = SessionRecord {
                broker: first.broker,
                host: "elsewhere".to_owned(),
                port: 9092,
                rack: None,
                shard_ports: Vec::new(),
                listeners: Vec::new(),
                state: SessionState::Healthy,
            };
            let registration = Registration {
                session: second,
                lease,
                record,
                started_ms: TimestampMs::ZERO,
            };
            let planned = open_session(&stage.space, registration);
            let key = session::key(&stage.space, second);
            match commit(&stage.kv, &key, &planned, None).await {
                Ok(_) => Err(Violation::TwoBrokers),
                Err(CommitError::Superseded) => Ok(()),
                Err(error) => panic!("{error}"),
            }
        },
        Violation::TwoBrokers,
    );
}
