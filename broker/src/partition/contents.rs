//! [`Contents`]: what a log has once it has its first record. Shard-owned.

use std::collections::VecDeque;
use std::sync::Arc;

use segment::Offset;

use super::log::Completion;
use super::producers::{ProducerBatch, Producers};
use super::run::{Run, RunPart};
use super::segments::{RunSlot, SegmentRef};
use super::view::TailBuilder;

/// A batch that waits for the next seal.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) part: RunPart,
    pub(super) producer: Option<ProducerBatch>,
    pub(super) record_count: u32,
}

/// A section that waits for its acknowledgement.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) run: Arc<Run>,
    pub(super) record_count: u64,
    pub(super) completions: Vec<Completion>,
}

/// The records of a log, on their way from the producer to a segment.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) open: Vec<Pending>,
    pub(super) open_bytes: u64,
    pub(super) open_completions: Vec<Completion>,
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) slots: VecDeque<RunSlot>,
    pub(super) slot_bytes: u64,
    pub(super) tail: TailBuilder,
    pub(super) segments: Vec<SegmentRef>,
    pub(super) producers: Producers,
    pub(super) planned_end: Option<Offset>,
    pub(super) appended: Appends,
}

/// What was appended and acknowledged in this ownership.
#[derive(Debug, Default)]
pub(super) struct Appends {
    pub(super) bytes: u64,
    pub(super) records: u64,
}
