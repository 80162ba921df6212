//! A consumer over one connection: fetches with an incremental session (KIP-227), as clients do.
//!
//! [`Cursor`] knows the protocol and no socket: [`Consumer`] drives it with blocking calls, [`crate::drive`]
//! many of them on one thread.

use std::time::Instant;

use anyhow::{Result, bail};
use client::Stream;
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
    /// Offsets that the last answer moved this on by.
    step: i64,
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

/// What an answer brought.
#[derive(Debug, Clone, Copy, Default)]
pub struct Brought {
    /// Bytes of whole batches.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// An error that passes, if the answer carried one.
    pub error: Option<ErrorCode>,
}

/// A session of fetches of some partitions of one topic: makes the requests and takes the answers.
#[derive(Debug)]
pub struct Cursor {
    version: i16,
    topic: String,
    topic_id: Uuid,
    session_id: i32,
    session_epoch: i32,
    positions: Vec<Position>,
}

impl Cursor {
    /// A session that is not open yet; every position is at offset 0.
    pub fn new(topic: &Topic, assignment: &Assignment, version: i16) -> Self {
        let positions = assignment.partitions.iter().map(|partition| Position {
            partition: partition.index,
            leader_epoch: partition.leader_epoch,
            offset: 0,
            high_watermark: 0,
            step: 0,
            changed: true,
        });
        Self {
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
        }
    }

    /// The positions, in the order of the assignment.
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Whether fetches go through a session; false where the broker offers none.
    pub fn has_session(&self) -> bool {
        self.session_id != 0
    }

    /// Moves to `offset` in the partition with this index in [`Cursor::positions`].
    pub fn seek(&mut self, index: usize, offset: i64) {
        if let Some(position) = self.positions.get_mut(index) {
            position.offset = offset;
            position.changed = true;
        }
    }

    /// Begins anew where less is left than the last answer brought, so that every answer is full.
    pub fn begin_anew_at_the_end(&mut self) {
        for position in &mut self.positions {
            if position.offset + position.step > position.high_watermark {
                (position.offset, position.changed) = (0, true);
            }
        }
    }

    /// The next request.
    ///
    /// # Errors
    /// The version cannot carry it.
    pub fn request(&self, limits: &FetchLimits) -> Result<Template> {
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

    /// Takes the answer to the request before. `each` sees the records of every partition that brought any,
    /// by the index of its position; then the position moves behind the last whole batch.
    ///
    /// # Errors
    /// The answer cannot be decoded, or carries an error that does not pass.
    pub fn accept(&mut self, frame: &[u8], mut each: impl FnMut(usize, &[u8])) -> Result<Brought> {
        let (_, reply) = decode_response::<FetchRequest<'_>>(frame, self.version)?;
        let mut brought = Brought::default();
        if reply.error_code != ErrorCode::NONE {
            let code = reply.error_code;
            if !matches!(
                code,
                ErrorCode::FETCH_SESSION_ID_NOT_FOUND | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            ) {
                bail!("fetch: {code}");
            }
            (self.session_id, self.session_epoch) = (0, 0);
            brought.error = Some(code);
            return Ok(brought);
        }
        take(&mut self.positions, &reply, &mut brought, &mut each)?;
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
        Ok(brought)
    }
}

/// A consumer with a connection of its own and blocking calls.
#[derive(Debug)]
pub struct Consumer {
    connection: Connection,
    cursor: Cursor,
}

impl Consumer {
    /// Connects; every position is at offset 0.
    ///
    /// # Errors
    /// The broker cannot be reached or has no version of Fetch that is known.
    pub fn connect(topic: &Topic, assignment: &Assignment) -> Result<Self> {
        let connection = topic.connect(assignment)?;
        let version = topic.fetch_version(&connection)?;
        let cursor = Cursor::new(topic, assignment, version);
        Ok(Self { connection, cursor })
    }

    /// Where it is.
    pub fn cursor(&mut self) -> &mut Cursor {
        &mut self.cursor
    }

    /// Its bytes, with nothing in flight, and where it is.
    ///
    /// # Errors
    /// Something is in flight.
    pub fn into_parts(self) -> Result<(Stream, Cursor)> {
        Ok((self.connection.into_stream()?, self.cursor))
    }

    /// Fetches once; see [`Cursor::accept`]. `each` is also given when the answer was complete.
    ///
    /// # Errors
    /// The connection fails, or the answer is not to be had; see [`Cursor::accept`].
    pub fn fetch(
        &mut self,
        limits: &FetchLimits,
        mut each: impl FnMut(usize, &[u8], Instant),
    ) -> Result<Fetched> {
        let mut template = self.cursor.request(limits)?;
        let (frame, sent, done) = self.connection.timed(&mut template)?;
        let brought = self
            .cursor
            .accept(frame, |index, bytes| each(index, bytes, done))?;
        Ok(Fetched {
            sent,
            done,
            bytes: brought.bytes,
            records: brought.records,
            error: brought.error,
        })
    }
}

/// Moves the positions and counts what came.
fn take(
    positions: &mut [Position],
    reply: &FetchResponse<'_>,
    brought: &mut Brought,
    each: &mut impl FnMut(usize, &[u8]),
) -> Result<()> {
    positions
        .iter_mut()
        .for_each(|position| (position.changed, position.step) = (false, 0));
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
            brought.error = Some(data.error_code);
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
            let next = header.next_offset().get();
            position.step += next - position.offset;
            position.offset = next;
            position.changed = true;
            brought.bytes += header.total_bytes() as u64;
            brought.records += u64::from(header.record_count);
        }
        if !bytes.is_empty() {
            each(index, bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::cluster::Partition;

    #[test]
    fn a_walk_begins_anew_before_an_answer_would_not_be_full() {
        let partition = Partition {
            index: 0,
            leader_epoch: 0,
            address: "a:1".to_owned(),
        };
        let topic = Topic {
            name: "t".to_owned(),
            id: Uuid::ZERO,
            partitions: vec![partition.clone()],
            access: Access::default(),
        };
        let assignment = Assignment {
            address: "a:1".to_owned(),
            partitions: vec![partition],
        };
        let mut cursor = Cursor::new(&topic, &assignment, 12);
        for (offset, expected) in [(80, 80), (90, 90), (91, 0), (100, 0)] {
            let position = &mut cursor.positions[0];
            (position.offset, position.step) = (offset, 10);
            (position.high_watermark, position.changed) = (100, false);
            cursor.begin_anew_at_the_end();
            let position = cursor.positions[0];
            assert_eq!(position.offset, expected, "from {offset}");
            // The session must be told.
            assert_eq!(position.changed, offset != expected);
        }
    }
}
