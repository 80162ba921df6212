//! The coordinator as its owner uses it: writes that wait are joined into one transaction, and
//! answers go out as they come.

use std::collections::BTreeMap;

use bytes::Bytes;
use coord::groups::{
    CommitOffset, CommitRequest, CommittedOffset, Coordinator, Effect, Effects, FetchRequest,
    Generation, GroupConfig, GroupId, MemberId, Millis, Now, OffsetKey, Persisted, Reply,
    ReplyToken, StoredGroup, WriteId, WriteOp,
};
use segment::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicPartition};

/// A store of whole keys, and the writes that wait for it.
#[derive(Default)]
struct Shell {
    groups: BTreeMap<GroupId, Bytes>,
    offsets: BTreeMap<OffsetKey, Bytes>,
    waiting: Vec<(WriteId, Vec<WriteOp>)>,
    replies: BTreeMap<ReplyToken, Reply>,
    transactions: usize,
}

impl Shell {
    fn carry_out(&mut self, effects: &mut Effects) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Reply { token, reply } => {
                    self.replies.insert(token, reply);
                }
                Effect::Persist { id, write } => self.waiting.push((id, write.ops)),
            }
        }
    }

    /// One transaction for all that waits, then the outcome of each write in order.
    fn commit(&mut self, coordinator: &mut Coordinator) {
        let batch = std::mem::take(&mut self.waiting);
        self.transactions += 1;
        for op in batch.iter().flat_map(|(_, ops)| ops) {
            match op {
                WriteOp::PutGroup(group) => {
                    self.groups.insert(group.group.clone(), group.encode());
                }
                WriteOp::DeleteGroup(group) => {
                    self.groups.remove(group);
                }
                WriteOp::PutOffset(key, offset) => {
                    self.offsets.insert(key.clone(), offset.encode());
                }
                WriteOp::DeleteOffset(key) => {
                    self.offsets.remove(key);
                }
            }
        }
        let mut effects = Effects::new();
        for (id, _) in batch {
            coordinator.on_persisted(id, Persisted::Done, now(), &mut effects);
        }
        self.carry_out(&mut effects);
    }
}

fn now() -> Now {
    Now {
        monotonic: Millis::new(5),
        wall: TimestampMs::new(1_700_000_000_000),
    }
}

fn at(index: i32) -> TopicPartition {
    TopicPartition::new(TopicId::new([1; 16]), PartitionIndex::new(index))
}

fn commit(group: &str, index: i32, value: i64) -> CommitRequest {
    CommitRequest {
        group: group.into(),
        member: MemberId::from(""),
        instance: None,
        generation: Generation::NONE,
        retention_ms: None,
        group_not_found_supported: true,
        offsets: vec![CommitOffset {
            partition: at(index),
            offset: Offset::new(value),
            leader_epoch: LeaderEpoch::NONE,
            metadata: None,
            timestamp: None,
        }],
    }
}

#[test]
fn commits_that_wait_share_a_transaction_and_survive_a_takeover() {
    let mut coordinator = Coordinator::new(GroupConfig::default());
    let mut shell = Shell::default();
    let mut effects = Effects::new();
    for value in 0..100 {
        let request = commit(if value % 2 == 0 { "a" } else { "b" }, 0, value);
        coordinator.commit(request, ReplyToken(value as u64), now(), &mut effects);
    }
    shell.carry_out(&mut effects);
    assert!(shell.replies.is_empty(), "nothing is durable yet");
    shell.commit(&mut coordinator);
    assert_eq!((shell.transactions, shell.replies.len()), (1, 100));

    let mut successor = Coordinator::new(GroupConfig::default());
    let groups = shell
        .groups
        .values()
        .map(|bytes| StoredGroup::decode(bytes.clone()).unwrap());
    let offsets = shell
        .offsets
        .iter()
        .map(|(key, bytes)| (key.clone(), CommittedOffset::decode(bytes.clone()).unwrap()));
    successor.restore(groups, offsets, now()).unwrap();
    let request = FetchRequest {
        group: "b".into(),
        partitions: None,
        require_stable: true,
    };
    successor.fetch_offsets(request, ReplyToken(1_000), &mut effects);
    let [
        Effect::Reply {
            reply: Reply::Fetch(Ok(entries)),
            ..
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    let committed = entries[0].result.clone().unwrap().unwrap();
    assert_eq!((entries.len(), committed.offset), (1, Offset::new(99)));
}
