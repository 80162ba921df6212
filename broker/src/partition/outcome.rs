//! What a log gives to its shard: who is to be answered, what is to be stored, what the next segment is made of.

use std::sync::Arc;

use crc32fast::Hasher;
use segment::{LeaderEpoch, Offset, ProducerId, TimestampMs, TopicPartition};

use super::log::Ticket;
use super::producers::{ProducerBatch, ProducerEntry};
use super::run::Run;
use super::segments::RunSlot;

/// A ticket and the offset that its batch got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// Who waits.
    pub ticket: Ticket,
    /// First offset of the batch.
    pub base_offset: Offset,
}

/// What an acknowledged section made visible.
#[derive(Debug)]
pub struct Acknowledged {
    /// Those who waited, in append order.
    pub completions: Vec<Completion>,
    /// Bytes that became durable.
    pub bytes: u64,
    /// Memory that they take; see [`Run::memory_bytes`].
    pub memory: u64,
    /// Batches among them.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
}

/// What one partition brings to a WAL object.
#[derive(Debug, Clone)]
pub struct SealedSection {
    /// The partition.
    pub id: TopicPartition,
    /// Its leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// The batches.
    pub run: Arc<Run>,
    /// Records in them.
    pub record_count: u64,
    /// Checksum (CRC-32/IEEE) of the bytes, to be combined with those of other sections; none for
    /// a section that is large enough for an object of its own: it is hashed with that object, off
    /// the shard.
    pub hasher: Option<Hasher>,
    /// Idempotent batches among them.
    pub producers: Vec<ProducerBatch>,
}

/// A part of the log that is deleted as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Offset after its last record.
    pub end: Offset,
    /// Its largest timestamp; negative where it has none.
    pub max_timestamp: TimestampMs,
    /// Its size.
    pub bytes: u64,
}

/// What the next segment is made of.
#[derive(Debug)]
pub struct SegmentPlan {
    /// First offset.
    pub base: Offset,
    /// Offset after the last.
    pub end: Offset,
    /// Largest record timestamp.
    pub max_timestamp: TimestampMs,
    /// Bytes of the body.
    pub bytes: u64,
    /// Its sections in order, with the bytes where they are still in memory.
    pub parts: Vec<(RunSlot, Option<Arc<Run>>)>,
    /// Producers as of `end`.
    pub producers: Vec<(ProducerId, ProducerEntry)>,
    /// Epoch that made the plan.
    pub leader_epoch: LeaderEpoch,
}
