//! A small cluster in a simulated store, for the tests of the plans.

use std::sync::Arc;
use std::time::Duration;

use segment::{
    BrokerId, Offset, PartitionIndex, SessionId, TimestampMs, TopicId, TopicName, TopicPartition,
    WalSequence,
};

use super::*;
use crate::keys::codec::{self, Seen};
use crate::keys::partition::{Intent, IntentKind, Owner, PartitionRecord};
use crate::keys::pin::{self, PinRecord};
use crate::keys::session::{SessionRecord, SessionState};
use crate::keys::topic::{self, TopicRecord};
use crate::kv::simulated::Simulated;
use crate::kv::{Key, Kv, Revision, SessionLease, Txn, TxnReply, wait};

pub(super) struct World {
    pub(super) kv: Simulated,
    pub(super) space: Keyspace,
    pub(super) name: TopicName,
    pub(super) topic: TopicId,
    leases: std::cell::RefCell<std::collections::BTreeMap<SessionId, SessionLease>>,
}

pub(super) fn me(number: u8) -> Owner {
    Owner {
        session: SessionId::new([number; 16]),
        broker: BrokerId::new(number.into()),
    }
}

pub(super) fn sequence(number: u64) -> WalSequence {
    WalSequence::new(number)
}

impl World {
    /// Sessions 1, 2 and 3 live; topic `t` exists.
    pub(super) fn new() -> Self {
        let world = World {
            kv: Simulated::new(),
            space: Keyspace::new("test").unwrap(),
            name: TopicName::new("t").unwrap(),
            topic: TopicId::new([7; 16]),
            leases: Default::default(),
        };
        for number in 1..=3 {
            assert!(world.send(&world.register(number)).succeeded);
        }
        let create = world.create(0);
        assert!(world.send(&create).succeeded);
        world
    }

    pub(super) fn register(&self, number: u8) -> Txn {
        let lease = wait(self.kv.grant_session(Duration::from_secs(10))).unwrap();
        let owner = me(number);
        self.leases.borrow_mut().insert(owner.session, lease);
        let record = SessionRecord {
            broker: owner.broker,
            host: "localhost".to_string(),
            port: 9092,
            rack: None,
            shard_ports: Vec::new(),
            listeners: Vec::new(),
            state: SessionState::Healthy,
        };
        let started_ms = TimestampMs::new(1);
        let registration = Registration {
            session: owner.session,
            lease,
            record,
            started_ms,
        };
        open_session(&self.space, registration).txn
    }

    pub(super) fn lease(&self, number: u8) -> SessionLease {
        self.leases.borrow()[&me(number).session]
    }

    pub(super) fn create(&self, generation: u32) -> Txn {
        let record = TopicRecord {
            topic_id: self.topic,
            generation,
            partition_count: 2,
            configs: Default::default(),
            created_ms: TimestampMs::new(1),
        };
        let create = CreateTopic {
            name: &self.name,
            record,
            counter: None,
        };
        create_topic(&self.space, me(1).session, create)
            .unwrap()
            .txn
    }

    pub(super) fn kill(&self, number: u8) {
        wait(self.kv.revoke(self.lease(number))).unwrap();
    }

    pub(super) fn send(&self, txn: &Txn) -> TxnReply {
        wait(self.kv.txn(txn.clone())).unwrap()
    }

    pub(super) fn read<T: codec::Record>(&self, key: Key) -> Option<Seen<T>> {
        codec::seen(wait(self.kv.get(key)).unwrap().as_ref()).unwrap()
    }

    pub(super) fn partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic, PartitionIndex::ZERO)
    }

    pub(super) fn record(&self) -> Option<Seen<PartitionRecord>> {
        self.read(partition::key(&self.space, self.partition()))
    }

    pub(super) fn pin(&self) -> Option<Seen<PinRecord>> {
        self.read(pin::key(&self.space, self.partition()))
    }

    /// Broker 2 is to own the partition, by session `number`.
    pub(super) fn pinned(&self, number: u8) -> Txn {
        let topic = (&self.name, self.topic_created());
        let (writer, seen) = (me(number).session, self.pin());
        let broker = Some(me(2).broker);
        pin_partition(
            &self.space,
            writer,
            topic,
            self.partition(),
            seen.as_ref(),
            broker,
        )
        .txn
    }

    pub(super) fn topic_created(&self) -> Revision {
        let topic = self.read::<TopicRecord>(topic::key(&self.space, &self.name));
        topic.map_or(Revision::ZERO, |topic| topic.create_revision)
    }

    pub(super) fn take(&self, number: u8, first: u64) -> TakePlan {
        let seen = self.record();
        let take = Take {
            topic: &self.name,
            topic_created: self.topic_created(),
            partition: self.partition(),
            seen: seen.as_ref(),
            me: me(number),
            first_sequence: sequence(first),
            own_end: None,
        };
        take_partition(&self.space, take).unwrap()
    }

    pub(super) fn intent(base: i64, end: i64, kind: IntentKind) -> Intent {
        Intent {
            base: Offset::new(base),
            end: Offset::new(end),
            created_ms: TimestampMs::new(5),
            kind,
            object_bytes: None,
            object_crc32c: None,
        }
    }

    /// The interleaving must fail, must fail because of the compare of `key` alone, and must get
    /// through when that compare is taken out.
    pub(super) fn only_guard(&self, txn: &Txn, key: &Key) {
        assert!(
            !wait(self.kv.fork().txn(txn.clone())).unwrap().succeeded,
            "{key} guards nothing"
        );
        let mut bare = txn.clone();
        bare.compares.retain(|compare| compare.key != *key);
        assert!(
            bare.compares.len() < txn.compares.len(),
            "{key} is not compared"
        );
        let reply = wait(self.kv.fork().txn(bare)).unwrap();
        assert!(reply.succeeded, "{key} is not the only guard");
        let shared: Arc<dyn Kv> = Arc::new(self.kv.clone());
        assert!(!wait(shared.txn(txn.clone())).unwrap().succeeded);
    }
}
