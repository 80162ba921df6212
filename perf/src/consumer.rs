//! A consumer over one connection: fetches with an incremental session (KIP-227), as clients do.

use std::time::Instant;

use anyhow::{Result, bail};
use segment::batch::Batches;
use wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use wire::{ErrorCode, Records, Uuid, decode_response};

use crate::cluster::{Assignment, Topic};
use crate::connection::{Connection, Template};

/// First version with sessions.
const SESSIONS_FROM: i16 = 7;
/// Epoch of a request without a session.
const NO_SESSION: i32 = -1;

/// Bounds of a fetch.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// Most bytes in all and of each partition.
    pub bytes_max: i32,
    /// How long the broker may wait for a byte, in ms.
    pub wait_max_ms: i32,
}

/// Where a consumer is in one partition.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// Its leader epoch as the metadata has it.
    pub leader_epoch: i32,
    /// Next offset to read.
    pub offset: i64,
    /// High watermark of the last answer.
    pub high_watermark: i64,
    /// Whether the session does not know the offset yet.
    changed: bool,
}

/// When a fetch was sent and answered, and what came.
#[derive(Debug, Clone, Copy)]
pub struct Fetched {
    /// Right before the request was sent.
    pub sent: Instant,
    /// Right after the answer was complete.
    pub done: Instant,
    /// Bytes of whole batches.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// An error that passes, if the answer carried one.
    pub error: Option<ErrorCode>,
}

/// A consumer of some partitions of one topic.
#[derive(Debug)]
pub struct Consumer {
    connection: Connection,
    version: i16,
    topic: String,
    topic_id: Uuid,
    session_id: i32,
    session_epoch: i32,
    positions: Vec<Position>,
}

impl Consumer {
    /// Connects; every position is at offset 0.
    ///
    /// # Errors
    /// The broker cannot be reached or has no version of Fetch that is known.
    pub fn connect(topic: &Topic, assignment: &Assignment) -> Result<Self> {
        let connection = Connection::open(&assignment.address)?;
        let version = topic.fetch_version(&connection)?;
        let positions = assignment.partitions.iter().map(|partition| Position {
            partition: partition.index,
            leader_epoch: partition.leader_epoch,
            offset: 0,
            high_watermark: 0,
            changed: true,
        });
        Ok(Self {
            connection,
            version,
            topic: topic.name.clone(),
            topic_id: topic.id,
            session_id: 0,
            session_epoch: if version >= SESSIONS_FROM {
                0
            } else {
                NO_SESSION
            },
            positions: positions.collect(),
        })
    }

    /// The positions, in the order of the assignment.
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Whether fetches go through a session; false where the broker offers none.
    pub fn has_session(&self) -> bool {
        self.session_id != 0
    }

    /// Moves to `offset` in the partition with this index in [`Consumer::positions`].
    pub fn seek(&mut self, index: usize, offset: i64) {
        if let Some(position) = self.positions.get_mut(index) {
            position.offset = offset;
            position.changed = true;
        }
    }

    fn template(&self, limits: &FetchLimits) -> Result<Template> {
        let whole = self.session_epoch <= 0;
        let listed = self.positions.iter().filter(|p| whole || p.changed);
        let partitions: Vec<FetchPartition> = listed
            .map(|position| FetchPartition {
                partition: position.partition,
                current_leader_epoch: position.leader_epoch,
                fetch_offset: position.offset,
                last_fetched_epoch: -1,
                partition_max_bytes: limits.bytes_max,
                ..Default::default()
            })
            .collect();
        let topic = FetchTopic {
            topic: &self.topic,
            topic_id: self.topic_id,
            partitions,
        };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: limits.wait_max_ms,
            min_bytes: 1,
            max_bytes: limits.bytes_max,
            session_id: self.session_id,
            session_epoch: self.session_epoch,
            topics: if topic.partitions.is_empty() {
                Vec::new()
            } else {
                vec![topic]
            },
            ..Default::default()
        };
        Template::new(self.version, &request)
    }

    /// Fetches once. `each` sees the records of every partition that brought any, by the index of
    /// its position; then the position moves behind the last whole batch.
    ///
    /// # Errors
    /// The connection fails, the answer cannot be decoded, or carries an error that does not pass.
    pub fn fetch(
        &mut self,
        limits: &FetchLimits,
        mut each: impl FnMut(usize, &[u8], Instant),
    ) -> Result<Fetched> {
        let mut template = self.template(limits)?;
        let (frame, sent, done) = self.connection.timed(&mut template)?;
        let (_, reply) = decode_response::<FetchRequest<'_>>(frame, self.version)?;
        let mut fetched = Fetched {
            sent,
            done,
            bytes: 0,
            records: 0,
            error: None,
        };
        if reply.error_code != ErrorCode::NONE {
            let code = reply.error_code;
            if !matches!(
                code,
                ErrorCode::FETCH_SESSION_ID_NOT_FOUND | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            ) {
                bail!("fetch: {code}");
            }
            (self.session_id, self.session_epoch) = (0, 0);
            fetched.error = Some(code);
            return Ok(fetched);
        }
        take(&mut self.positions, &reply, &mut fetched, &mut each)?;
        if self.session_epoch == NO_SESSION || reply.session_id == 0 {
            (self.session_id, self.session_epoch) = (0, NO_SESSION);
        } else {
            self.session_id = reply.session_id;
            self.session_epoch = if self.session_epoch == i32::MAX {
                1
            } else {
                self.session_epoch + 1
            };
        }
        Ok(fetched)
    }
}

/// Moves the positions and counts what came.
fn take(
    positions: &mut [Position],
    reply: &FetchResponse<'_>,
    fetched: &mut Fetched,
    each: &mut impl FnMut(usize, &[u8], Instant),
) -> Result<()> {
    positions
        .iter_mut()
        .for_each(|position| position.changed = false);
    for data in reply.responses.iter().flat_map(|topic| &topic.partitions) {
        let index = positions
            .iter()
            .position(|p| p.partition == data.partition_index);
        let Some((index, position)) = index.and_then(|i| positions.get_mut(i).map(|p| (i, p)))
        else {
            bail!(
                "fetch: partition {} was not asked for",
                data.partition_index
            );
        };
        if data.error_code != ErrorCode::NONE {
            if !data.error_code.retriable() {
                bail!(
                    "fetch partition {}: {}",
                    data.partition_index,
                    data.error_code
                );
            }
            fetched.error = Some(data.error_code);
            position.changed = true;
            continue;
        }
        position.high_watermark = data.high_watermark;
        let Records::Borrowed(bytes) = data.records else {
            continue;
        };
        // Kafka cuts the last batch off at the limit; it comes again with the next fetch.
        for batch in Batches::until_truncated(bytes) {
            let header = batch?.header;
            position.offset = header.next_offset().get();
            position.changed = true;
            fetched.bytes += header.total_bytes() as u64;
            fetched.records += u64::from(header.record_count);
        }
        if !bytes.is_empty() {
            each(index, bytes, fetched.done);
        }
    }
    Ok(())
}
