//! How shards reach the control thread.

use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use coord::groups::{GroupWrite, Persisted};
use coord::keys::quota::{QuotaEntity, QuotaRecord};
use futures_channel::oneshot;
use segment::batch::BatchHeader;
use segment::{Offset, TopicId, TopicName, TopicPartition};
use store::local::VolumeSpace;

use super::acls::AclsMsg;
use super::broker_configs::BrokerConfigChange;
use super::missing::Missing;
use super::quotas::{QuotaChange, QuotaError};
use super::reassign::{Moving, ReassignError, Reassignment};
use super::time_index::{TimeBlock, TimeTarget};
use super::unpack::{Unpack, UnpackError};
use super::users::UsersMsg;
use crate::metadata::Topic;
use crate::namespace::Full;
use crate::partition::ChunkSpan;
use crate::partition::live::Room;
use crate::partition::run::{Run, Told};
use crate::quota::FoundLimits;
use crate::shard::ShardId;
use crate::topic_config::TopicConfig;

/// Requests that wait for the control thread at most; senders wait for room beyond it.
pub(super) const CONTROL_MESSAGES: usize = 4 * 1024;

/// What a shard tells the flusher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushSignal {
    /// It has something to flush (sent once between two seals).
    Dirty(ShardId),
    /// It holds as much as one flush should bring: flush without waiting for the interval.
    Urgent(ShardId),
}

/// Why an object could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is not there.
    #[error("read {0}: no such object")]
    NotFound(Arc<str>),
    /// The store cannot be reached now.
    #[error("read {0}: {1}")]
    Unavailable(Arc<str>, String),
    /// It is there, but damaged.
    #[error("read {0}: {1}")]
    Corrupt(Arc<str>, String),
}

/// Why a topic operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// A topic of that name exists.
    #[error("topic '{0}' already exists")]
    Exists(String),
    /// No such topic.
    #[error("no such topic")]
    Unknown,
    /// The name collides with another one: '.' and '_' are the same in metric names.
    #[error("topic '{0}' collides with existing topic '{1}'")]
    Collision(String, String),
    /// The number of partitions is not possible.
    #[error("{0}")]
    Partitions(String),
    /// The namespace has no room for it.
    #[error(transparent)]
    Full(#[from] Full),
    /// The settings are not those that the change was derived from: derive it again.
    #[error("the settings were changed by another request at the same time")]
    Changed,
    /// The metadata store cannot be reached, or its answer is unknown.
    #[error("the metadata store is not available: {0}")]
    Unavailable(String),
}

/// A topic to create; name, partition count and settings have been validated.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// Its partitions, 1 and up.
    pub partitions: u32,
    /// Its settings.
    pub config: TopicConfig,
}

/// Settings that replace those of a topic.
#[derive(Debug, Clone)]
pub struct NewConfig {
    /// The settings.
    pub config: TopicConfig,
    /// The settings that they were derived from: others refuse the change. None: whatever holds.
    pub based_on: Option<TopicConfig>,
}

/// A request to the control thread.
#[derive(Debug)]
pub enum ControlMsg {
    /// Read whole batches, and check them.
    LoadRun {
        /// Key of the object.
        key: Arc<str>,
        /// Bytes of the batches inside it.
        range: Range<u64>,
        /// What is known of them.
        told: Told,
        /// The room of their buffer.
        room: Room,
        /// The batches.
        reply: oneshot::Sender<Result<Arc<Run>, LoadError>>,
    },
    /// Read the index of a segment (rebuilt from the segment where it is missing), cut into spans.
    LoadSpans {
        /// Key of the index.
        index_key: Arc<str>,
        /// Key of the segment.
        key: Arc<str>,
        /// Bytes of the segment.
        bytes: u64,
        /// The spans.
        reply: oneshot::Sender<Result<Arc<[ChunkSpan]>, LoadError>>,
    },
    /// Which part of a segment holds the record of a time, at or after an offset.
    TimeBlock {
        /// The partition.
        id: TopicPartition,
        /// Base offset of the segment.
        base: Offset,
        /// What is looked for.
        target: TimeTarget,
        /// Records below it do not count.
        from: Offset,
        /// The part.
        reply: oneshot::Sender<TimeBlock>,
    },
    /// An object of a partition is not there: find out why, and do what follows.
    LookInto(TopicPartition, Arc<str>, oneshot::Sender<Missing>),
    /// An object of a partition is there and is not what it should be: find out what can be read.
    Examine(TopicPartition, Arc<str>, oneshot::Sender<Missing>),
    /// Create a topic: durable, opened on its shards and in the metadata when answered.
    CreateTopic(NewTopic, oneshot::Sender<Result<Arc<Topic>, TopicError>>),
    /// Delete a topic: gone from the metadata when answered; its objects are swept afterwards.
    DeleteTopic(TopicId, oneshot::Sender<Result<(), TopicError>>),
    /// Raise a topic's partition count.
    CreatePartitions(
        TopicId,
        u32,
        oneshot::Sender<Result<Arc<Topic>, TopicError>>,
    ),
    /// Replace a topic's settings.
    AlterConfig(
        TopicId,
        NewConfig,
        oneshot::Sender<Result<Arc<Topic>, TopicError>>,
    ),
    /// Prove our session now; answered when it has been tried.
    Prove(oneshot::Sender<()>),
    /// Take a block of producer ids.
    ProducerBlock(oneshot::Sender<Result<Range<i64>, TopicError>>),
    /// Make group state and committed offsets durable, in one transaction.
    PersistGroups(u16, GroupWrite, oneshot::Sender<Persisted>),
    /// Choose the owners of partitions, each named once; answered when the choices are durable, in their
    /// order. They are carried out afterwards.
    Reassign(
        Vec<Reassignment>,
        oneshot::Sender<Vec<Result<(), ReassignError>>>,
    ),
    /// The moves that such choices want and that are not done.
    Reassignments(oneshot::Sender<Vec<Moving>>),
    /// The quotas of all entities.
    Quotas(oneshot::Sender<Vec<(QuotaEntity, QuotaRecord)>>),
    /// Change quotas, or only check what can be checked; answered, in order, when the changes are durable and
    /// in force here.
    AlterQuotas {
        /// The changes.
        changes: Vec<QuotaChange>,
        /// Whether they are only checked.
        validate_only: bool,
        /// Their outcomes.
        reply: oneshot::Sender<Vec<Result<(), QuotaError>>>,
    },
    /// Change settings of a broker; answered when the change is durable and told here.
    AlterBrokerConfig(BrokerConfigChange, oneshot::Sender<Result<(), TopicError>>),
    /// What limits the clients of this user with this id.
    Limits(Arc<str>, Arc<str>, oneshot::Sender<FoundLimits>),
    /// What is about users.
    Users(UsersMsg),
    /// What is about rules of who may do what.
    Acls(AclsMsg),
    /// How large the volume of the data directory is; none where it is unknown, as for a bucket.
    Volume(oneshot::Sender<Option<VolumeSpace>>),
    /// Look into a batch, or bring it into another codec. The header is that of the result then.
    Unpack(
        Unpack,
        oneshot::Sender<Result<(BytesMut, BatchHeader), UnpackError>>,
    ),
    /// Raise the log start of a partition (DeleteRecords); gives the log start that is durable.
    RaiseLogStart(
        TopicPartition,
        Offset,
        oneshot::Sender<Result<Offset, TopicError>>,
    ),
}

/// The control thread has ended: the broker is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker is shutting down")]
pub struct ControlGone;

/// Sends to the control thread. Immutable, shared.
#[derive(Debug, Clone)]
pub struct ControlHandle {
    requests: flume::Sender<ControlMsg>,
    flushes: flume::Sender<FlushSignal>,
}

impl ControlHandle {
    /// A handle and the receiving ends.
    pub fn new() -> (
        Self,
        flume::Receiver<ControlMsg>,
        flume::Receiver<FlushSignal>,
    ) {
        let (requests, request_receiver) = flume::bounded(CONTROL_MESSAGES);
        let (flushes, flush_receiver) = flume::bounded(CONTROL_MESSAGES);
        (Self { requests, flushes }, request_receiver, flush_receiver)
    }

    /// Tells the flusher. Each shard has at most two signals under way, so there is always room.
    pub fn signal(&self, signal: FlushSignal) {
        if let Err(flume::TrySendError::Full(_)) = self.flushes.try_send(signal) {
            unreachable!("a shard has at most two flush signals under way");
        }
    }

    /// Sends a request made around a reply slot, and waits for the answer.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn ask<R>(
        &self,
        request: impl FnOnce(oneshot::Sender<R>) -> ControlMsg,
    ) -> Result<R, ControlGone> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send_async(request(reply))
            .await
            .map_err(|_| ControlGone)?;
        answer.await.map_err(|_| ControlGone)
    }

    /// Takes a block of producer ids:
    /// see [`ControlMsg::ProducerBlock`].
    ///
    /// # Errors
    /// The broker is shutting down, or the metadata store cannot be reached.
    pub async fn producer_block(&self) -> Result<Range<i64>, TopicError> {
        self.ask(ControlMsg::ProducerBlock)
            .await
            .unwrap_or_else(|gone| Err(TopicError::Unavailable(gone.to_string())))
    }
}
