//! How the rest of the process reaches a shard: bounded mailboxes of messages, or a piece of work to run there.

use std::rc::Rc;

use bytes::BytesMut;
use futures_channel::oneshot;
use segment::batch::BatchHeader;
use segment::{Offset, TimestampMs, TopicPartition};

use super::Shard;
use crate::control::gate::Admitted;
use crate::partition::{AppendError, SealedSection, WalLocation};

/// Messages that wait in a shard's mailbox at most; senders wait for room beyond it.
pub(super) const MAILBOX_MESSAGES: usize = 64 * 1024;

/// Number of a shard, from 0 up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// As an index into the list of shards.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl std::fmt::Display for ShardId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One validated batch for one partition.
#[derive(Debug)]
pub struct ProducePart {
    /// The partition.
    pub id: TopicPartition,
    /// The whole batch, in the buffer that it was received in.
    pub bytes: BytesMut,
    /// Memory that it keeps there.
    pub memory: u64,
    /// Its header.
    pub header: BatchHeader,
}

/// Why a part of a produce request failed at its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// The log refuses the batch.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// This shard does not serve the partition (any more).
    #[error("produce: the partition is not served here")]
    NotOwner,
    /// Too many bytes of this shard wait for the store.
    #[error("produce: the store does not keep up")]
    Backlog,
    /// The store takes no writes now: it is full or out of reach, or too much waits for compaction.
    #[error("produce: the store takes no writes now")]
    Unavailable,
}

/// What became of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// First offset of the batch.
    pub base_offset: Offset,
    /// Log start of the partition.
    pub log_start: Offset,
}

/// Outcomes of one [`ProduceCall`], in the order of its parts.
pub type ProduceOutcome = Vec<Result<Produced, ProduceError>>;

/// A produce request's parts for the partitions of one shard.
#[derive(Debug)]
pub struct ProduceCall {
    /// The parts.
    pub parts: Vec<ProducePart>,
    /// Wall clock of the receiving shard.
    pub now: TimestampMs,
    /// Answered when every part is durable or has failed.
    pub reply: oneshot::Sender<ProduceOutcome>,
}

/// Work to run on a shard.
pub type Job = Box<dyn FnOnce(&Rc<Shard>) + Send>;

/// What a shard is told.
pub enum ShardMsg {
    /// A new connection.
    Connect(std::net::TcpStream, std::net::SocketAddr, Admitted),
    /// Batches for partitions of this shard.
    Produce(ProduceCall),
    /// Give everything appended since the last seal, for this WAL object.
    Seal(oneshot::Sender<Vec<SealedSection>>),
    /// This WAL object is durable, and so are all before it: the sections of this shard lie here.
    Acknowledge(Vec<(TopicPartition, Offset, WalLocation)>),
    /// Anything else.
    Run(Job),
    /// End: close every connection and return.
    Shutdown,
}

/// Sends to one shard. Immutable, shared.
#[derive(Clone)]
pub struct ShardHandle {
    /// Which shard.
    pub id: ShardId,
    mailbox: flume::Sender<ShardMsg>,
}

/// The shard has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shard has ended")]
pub struct ShardGone;

impl ShardHandle {
    /// A handle and the receiving end of its mailbox.
    pub fn new(id: ShardId) -> (Self, flume::Receiver<ShardMsg>) {
        let (mailbox, receiver) = flume::bounded(MAILBOX_MESSAGES);
        (Self { id, mailbox }, receiver)
    }

    /// Sends a message, waiting for room.
    ///
    /// # Errors
    /// The shard has ended.
    pub async fn send(&self, message: ShardMsg) -> Result<(), ShardGone> {
        self.mailbox
            .send_async(message)
            .await
            .map_err(|_| ShardGone)
    }

    /// Sends a message if there is room; gives it back if not.
    pub fn try_send(&self, message: ShardMsg) -> Result<(), ShardMsg> {
        self.mailbox
            .try_send(message)
            .map_err(flume::TrySendError::into_inner)
    }

    /// Runs `work` on the shard and gives what it returns. `work` must not block.
    ///
    /// # Errors
    /// The shard has ended.
    pub async fn call<R, F>(&self, work: F) -> Result<R, ShardGone>
    where
        R: Send + 'static,
        F: FnOnce(&Rc<Shard>) -> R + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |shard| drop(reply.send(work(shard))));
        self.send(ShardMsg::Run(job)).await?;
        answer.await.map_err(|_| ShardGone)
    }

    /// Starts `work` as a task on the shard and gives what it comes to.
    ///
    /// # Errors
    /// The shard has ended, or the task panicked.
    pub async fn call_task<R, F, Fut>(&self, work: F) -> Result<R, ShardGone>
    where
        R: Send + 'static,
        F: FnOnce(Rc<Shard>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |shard| {
            let shard = shard.clone();
            crate::runtime::spawn(async move { drop(reply.send(work(shard).await)) });
        });
        self.send(ShardMsg::Run(job)).await?;
        answer.await.map_err(|_| ShardGone)
    }
}
