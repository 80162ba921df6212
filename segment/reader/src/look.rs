//! One look at the metadata of a partition: everything at one revision.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use coord::keys::cluster::{self, CommitMode};
use coord::keys::committed::{self, CommittedRecord};
use coord::keys::floor::{self, FloorRecord};
use coord::keys::partition::{self, PartitionRecord, Source};
use coord::keys::seen;
use coord::keys::topic::{self, TopicRecord};
use coord::kv::{KvError, Op, OpReply, Revision, Txn, TxnReply};
use segment::{SessionId, TopicPartition, WalSequence};
use store::retry::Backoff;

use crate::bucket::{Bucket, Topic, cluster_of};
use crate::error::ReadError;
use crate::pause::{pause, uniform};

/// The first sequence of a session that can hold batches: 0 is its `open` object.
const FIRST_SEQUENCE: WalSequence = WalSequence::new(1);
/// Tries of one request to the metadata store.
const TRIES_MAX: u32 = 6;
/// Bounds of the first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Looks until the sessions of the record and those asked for agree: a takeover a look.
const LOOKS_MAX: usize = 8;
/// Sessions of one transaction: two keys each, within etcd's 128 operations.
const SESSIONS_A_TXN: usize = 50;
/// Keys that every transaction reads besides those of sessions: cluster, topic, partition.
const COMMON_KEYS: usize = 3;

/// What the metadata told of a partition at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    /// Its record.
    pub(crate) record: PartitionRecord,
    /// When that was last changed; 0 while the partition was never taken.
    pub(crate) revision: Revision,
    /// How WAL objects are committed.
    pub(crate) mode: CommitMode,
    /// Below which the objects of the record's sessions may be gone, and hold nothing that is
    /// needed.
    floors: HashMap<SessionId, WalSequence>,
    /// The sequence after the last committed one of the record's sessions (guarded mode).
    committed: HashMap<SessionId, WalSequence>,
}

impl Look {
    /// Where a source begins to matter.
    pub(crate) fn first_needed(&self, source: &Source) -> WalSequence {
        source.first_sequence.max(self.floor(source.session))
    }

    /// The sequence after the last object of a source that counts; none where only its objects
    /// tell. Everything from [`Self::first_needed`] to before it exists.
    pub(crate) fn end(&self, source: &Source) -> Option<WalSequence> {
        let committed = match self.mode {
            CommitMode::Conditional => None,
            CommitMode::Guarded => {
                let end = self.committed.get(&source.session);
                Some(end.copied().unwrap_or(FIRST_SEQUENCE))
            }
        };
        let end = source.end_sequence.or(committed)?;
        Some(end.max(self.first_needed(source)))
    }

    fn floor(&self, session: SessionId) -> WalSequence {
        self.floors.get(&session).copied().unwrap_or_default()
    }

    fn sessions(&self) -> BTreeSet<SessionId> {
        sessions_of(&self.record)
    }
}

fn sessions_of(record: &PartitionRecord) -> BTreeSet<SessionId> {
    record.sources.iter().map(|source| source.session).collect()
}

/// Looks at a partition; `before` is an earlier look, whose sessions are asked for first.
///
/// # Errors
/// The metadata store failed, the topic is gone, or takeovers follow each other faster than they can
/// be read.
pub(crate) async fn look(
    bucket: &Bucket,
    topic: &Topic,
    id: TopicPartition,
    before: Option<&Look>,
) -> Result<Look, ReadError> {
    let mut sessions = before.map(Look::sessions).unwrap_or_default();
    for _ in 0..LOOKS_MAX {
        let Some(found) = look_once(bucket, topic, id, &sessions).await? else {
            continue;
        };
        let named = found.sessions();
        if named.is_subset(&sessions) {
            return Ok(found);
        }
        sessions = named;
    }
    Err(ReadError::Unsteady {
        what: format!("the record of partition {} of {}", id.partition, topic.name),
    })
}

/// One look; none if the record has changed between two of its transactions.
async fn look_once(
    bucket: &Bucket,
    topic: &Topic,
    id: TopicPartition,
    sessions: &BTreeSet<SessionId>,
) -> Result<Option<Look>, ReadError> {
    let all: Vec<SessionId> = sessions.iter().copied().collect();
    let mut look: Option<Look> = None;
    let mut chunks: Vec<&[SessionId]> = all.chunks(SESSIONS_A_TXN).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    for chunk in chunks {
        let reply = read(bucket, topic, id, chunk).await?;
        let mut part = common(bucket, topic, &reply)?;
        for (index, session) in chunk.iter().enumerate() {
            let at = COMMON_KEYS + 2 * index;
            let floor = seen::<FloorRecord>(reply.get(at))?;
            let committed = seen::<CommittedRecord>(reply.get(at + 1))?;
            part.floors
                .extend(floor.map(|seen| (*session, seen.record.floor)));
            part.committed
                .extend(committed.map(|seen| (*session, seen.record.end)));
        }
        match &mut look {
            None => look = Some(part),
            // The record was the same before and after, so what was read in between goes with it.
            Some(look) if look.revision == part.revision => {
                look.floors.extend(part.floors);
                look.committed.extend(part.committed);
            }
            Some(_) => return Ok(None),
        }
    }
    Ok(look)
}

async fn read(
    bucket: &Bucket,
    topic: &Topic,
    id: TopicPartition,
    sessions: &[SessionId],
) -> Result<TxnReply, KvError> {
    let space = &bucket.space;
    let mut txn = Txn::new()
        .and_then(Op::Get(cluster::key(space)))
        .and_then(Op::Get(topic::key(space, &topic.name)))
        .and_then(Op::Get(partition::key(space, id)));
    for session in sessions {
        txn = txn
            .and_then(Op::Get(floor::key(space, *session)))
            .and_then(Op::Get(committed::key(space, *session)));
    }
    // It writes nothing, so it may be sent again whatever became of it.
    kv_retried(|| bucket.kv.txn(txn.clone())).await
}

fn common(bucket: &Bucket, topic: &Topic, reply: &TxnReply) -> Result<Look, ReadError> {
    assert!(
        reply.succeeded && matches!(reply.responses.first(), Some(OpReply::Get(_))),
        "a transaction without conditions succeeds"
    );
    let cluster = cluster_of(&bucket.space, reply.get(0))?;
    let now = seen::<TopicRecord>(reply.get(1))?;
    if now.map(|seen| seen.record.topic_id) != Some(topic.id) {
        let name = topic.name.to_string();
        return Err(ReadError::TopicGone { name });
    }
    let record = seen::<PartitionRecord>(reply.get(2))?;
    let (record, revision) = match record {
        Some(seen) => (seen.record, seen.mod_revision),
        None => (PartitionRecord::absent(), Revision::ZERO),
    };
    Ok(Look {
        record,
        revision,
        mode: cluster.commit_mode,
        floors: HashMap::new(),
        committed: HashMap::new(),
    })
}

/// Sends a request again while it fails and the tries last: one that writes nothing, or one of which
/// only the first can take effect.
pub(crate) async fn kv_retried<T, F>(mut send: impl FnMut() -> F) -> Result<T, KvError>
where
    F: Future<Output = Result<T, KvError>>,
{
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    for _ in 1..TRIES_MAX {
        match send().await {
            Err(error @ (KvError::Failed { .. } | KvError::Ambiguous { .. })) => {
                tracing::debug!(%error, "tried again");
            }
            outcome => return outcome,
        }
        pause(backoff.next(uniform())).await;
    }
    send().await
}
