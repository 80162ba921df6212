//! H3: what has an object of its own is acknowledged through a WAL object, as everything else.

use segment::WalSequence;
use segment::wal::{SectionBody, WalHeader, encode};
use store::{Body, GetRange, PutCondition};

use super::*;
use crate::partition::LARGE_SECTION_BYTES;
use crate::wal::{Lanes, Section};

/// A large section of partition 0, by its first offset.
#[derive(Debug, Clone, Copy)]
struct Large(TopicPartition, i64);

impl Section for Large {
    fn partition(&self) -> TopicPartition {
        self.0
    }

    fn bytes(&self) -> u64 {
        LARGE_SECTION_BYTES
    }
}

/// Two objects of their own are on their way, and the first one is stored. The next WAL object must
/// not name the second: it never arrives, and the session dies.
#[test]
fn h03_an_object_of_its_own_is_durable_before_it_is_named() {
    closes(
        Rule::OwnObjectFirst,
        async || {
            let stage = Stage::new().await;
            let old = stage.session(0).await;
            stage.take(old, &[0]).await;
            let mut lanes = Lanes::default();
            lanes.sealed([Large(stage.id(0), 0), Large(stage.id(0), 5)]);
            let first = lanes.next_upload().unwrap().0;
            lanes.next_upload().unwrap();
            let key = stage.keys.own(old.broker, old.id, first.0);
            let body = Body::from(batch(0, 5).to_vec());
            let put = stage.objects.put(&key, body, PutCondition::IfAbsent).await;
            put.unwrap();
            lanes.stored(first);
            let named = lanes.take_ready().into_iter().map(|ready| {
                let mut section = stage.section((0, ready.section.1, 5));
                section.body = SectionBody::Own {
                    counter: ready.own.unwrap().0,
                };
                section
            });
            let sequence = WalSequence::new(1);
            let header = WalHeader::data(old.broker, old.id, sequence, None);
            let object = Body::new(encode(header, named.collect()).chunks);
            let key = stage.keys.wal(old.broker, old.id, sequence);
            let put = stage
                .objects
                .put(&key, object, PutCondition::IfAbsent)
                .await;
            put.unwrap();
            stage.die(old).await;
            let new = stage.session(1).await;
            let taken = stage.take(new, &[0]).await;
            for slot in &taken.taken[0].image.slots {
                let found = stage.objects.get(&slot.location.key, GetRange::Full).await;
                found.map_err(|_| Violation::ReadFails)?;
            }
            loads_all(&taken, 0, 5)
        },
        Violation::ReadFails,
    );
}
