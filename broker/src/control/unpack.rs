//! Batches that are decompressed for a produce request: to look into their records, or to compress them anew.
//!
//! The pool of the control thread does it, beside the shards. What comes out is bounded by a part of the memory budget of
//! its own ([`crate::config::Config::unpack_bytes`]), of which each batch takes as much as it may come to: first
//! [`LIKELY_RATIO`] times what came, which is enough for most; all of it where it is not. So many small ones are looked into
//! at a time, and one bomb.

use std::sync::Arc;

use bytes::BytesMut;
use segment::TimestampMs;
use segment::batch::BatchHeader;
use segment::record::{
    CodecError, Compression, DecodeLimits, RecodeError, RecordError, RecordSet, recode_batch,
};
use tokio::sync::Semaphore;

use super::pool;

/// Batches that are unpacked at a time: half of the threads for blocking and heavy work, so that files are written meanwhile.
const AT_ONCE: usize = 2;
/// How many times its size a batch is expected to come to at most.
const LIKELY_RATIO: usize = 10;
/// Memory is given out in such pieces.
const PIECE_BYTES: usize = 64 << 10;
/// Records of a refused batch that are named; a client fails the others all the same.
const NAMED_MAX: usize = 1024;

/// A batch, and what is to be found out or done.
#[derive(Debug)]
pub struct Unpack {
    /// The batch.
    pub batch: BytesMut,
    /// Its header.
    pub header: BatchHeader,
    /// Whether its records may be seen, and how old they may be.
    pub look: Look,
    /// The codec that it is to be brought into, and its level.
    pub to: Option<Compression>,
}

/// What is asked of the records of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Each has a key, as a compacted topic demands (Kafka's `LogValidator`).
    pub with_keys: bool,
    /// None is older than this.
    pub earliest: Option<TimestampMs>,
}

/// Why a batch is refused for what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// A record is older than its topic takes.
    #[error("the batch's timestamps are too old")]
    TooOld,
    /// A record cannot be read.
    #[error("the records of the batch are malformed")]
    Malformed,
    /// The records come to more than there is memory for.
    #[error(
        "the records of the batch come to more than {limit} bytes, the part of the broker's memory that is set aside for \
         this (an eighth of memory.budget_bytes): send smaller batches"
    )]
    TooLarge {
        /// Bytes that may come out.
        limit: usize,
    },
    /// Records without a key, and the indexes of the first [`NAMED_MAX`] of them.
    #[error(
        "One or more records have been rejected due to {count} record errors in total: {WITHOUT_KEY}"
    )]
    WithoutKey {
        /// How many.
        count: usize,
        /// Which.
        records: Vec<i32>,
    },
    /// It cannot be compressed anew.
    #[error(transparent)]
    Recode(#[from] RecodeError),
}

/// What is said of each record without a key in a compacted topic.
pub const WITHOUT_KEY: &str =
    "Compacted topic cannot accept message without key in topic partition";

impl Look {
    /// Whether the records are to be looked at.
    pub fn is_wanted(&self) -> bool {
        *self != Self::default()
    }

    /// Looks at the records of a batch.
    ///
    /// # Errors
    /// [`UnpackError`].
    pub fn at(&self, batch: &[u8], limits: &DecodeLimits) -> Result<(), UnpackError> {
        if !self.is_wanted() {
            return Ok(());
        }
        let records = match RecordSet::decode(batch, limits) {
            Ok(records) => records,
            Err(RecordError::Codec(CodecError::TooLarge { limit, .. })) => {
                return Err(UnpackError::TooLarge { limit });
            }
            Err(_) => return Err(UnpackError::Malformed),
        };
        let (mut count, mut without) = (0, Vec::new());
        for (index, record) in (0..).zip(records.iter()) {
            let record = record.map_err(|_| UnpackError::Malformed)?;
            let time = record.timestamp;
            if time.get() >= 0 && self.earliest.is_some_and(|earliest| time < earliest) {
                return Err(UnpackError::TooOld);
            }
            if self.with_keys && record.key.is_none() {
                count += 1;
                if without.len() < NAMED_MAX {
                    without.push(index);
                }
            }
        }
        match count {
            0 => Ok(()),
            _ => Err(UnpackError::WithoutKey {
                count,
                records: without,
            }),
        }
    }
}

/// The batches that are unpacked.
#[derive(Debug, Clone)]
pub(super) struct Unpacker {
    memory: Arc<Semaphore>,
    threads: Arc<Semaphore>,
    /// Most bytes that may come out of one batch: the whole part.
    most: usize,
}

impl Unpacker {
    /// One that takes so many bytes at most.
    pub(super) fn new(bytes: u64) -> Self {
        let pieces = usize::try_from(bytes).unwrap_or(usize::MAX) / PIECE_BYTES;
        let pieces = pieces.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self {
            memory: Arc::new(Semaphore::new(pieces)),
            threads: Arc::new(Semaphore::new(AT_ONCE)),
            most: pieces * PIECE_BYTES,
        }
    }

    /// Does what is asked of a batch; `None` where the thread that did it has panicked.
    pub(super) async fn unpack(
        &self,
        unpack: Unpack,
    ) -> Option<Result<(BytesMut, BatchHeader), UnpackError>> {
        let likely = unpack.batch.len().saturating_mul(LIKELY_RATIO);
        let likely = likely.max(PIECE_BYTES).min(self.most);
        let (unpack, done) = self.within(unpack, likely).await?;
        match done {
            Err(UnpackError::TooLarge { .. }) if likely < self.most => {
                let (_, done) = self.within(unpack, self.most).await?;
                Some(done)
            }
            done => Some(done),
        }
    }

    /// The same, where no more than so many bytes may come out. Nothing is held while it waits for more.
    async fn within(
        &self,
        unpack: Unpack,
        bytes: usize,
    ) -> Option<(Unpack, Result<(BytesMut, BatchHeader), UnpackError>)> {
        assert!(
            bytes <= self.most,
            "no batch may come to more than the part"
        );
        let pieces = u32::try_from(bytes.div_ceil(PIECE_BYTES)).ok()?;
        let memory = self.memory.clone().acquire_many_owned(pieces).await.ok()?;
        let thread = self.threads.clone().acquire_owned().await.ok()?;
        let done = pool::run(move || {
            let mut unpack = unpack;
            let done = carry_out(&mut unpack, bytes);
            drop((memory, thread));
            (unpack, done)
        });
        done.await.ok()
    }
}

/// Gives the batch back; where it is refused for its size, `unpack` is as it was.
fn carry_out(unpack: &mut Unpack, bytes: usize) -> Result<(BytesMut, BatchHeader), UnpackError> {
    let limits = DecodeLimits {
        bytes_max: bytes.min(DecodeLimits::default().bytes_max),
        ..DecodeLimits::default()
    };
    unpack.look.at(&unpack.batch, &limits)?;
    let mut header = unpack.header;
    let Some(to) = unpack.to else {
        return Ok((std::mem::take(&mut unpack.batch), header));
    };
    let recoded = recode_batch(&unpack.batch, &mut header, to, &limits);
    match recoded {
        Ok(batch) => Ok((batch, header)),
        Err(RecodeError::Codec(CodecError::TooLarge { limit, .. })) => {
            Err(UnpackError::TooLarge { limit })
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use segment::batch::Codec;
    use segment::record::{NewRecord, RecordBatchBuilder};

    use super::*;

    const KIB: usize = 1 << 10;

    fn batch(codec: Codec, records: &[(i64, Option<&[u8]>, usize)]) -> (BytesMut, BatchHeader) {
        let mut builder = RecordBatchBuilder::new().codec(codec);
        for (time, key, zeros) in records {
            let record = NewRecord {
                timestamp: TimestampMs::new(*time),
                key: *key,
                value: Some(&vec![0; *zeros]),
                headers: &[],
            };
            builder.push(record).expect("a small record");
        }
        let bytes = builder.build().expect("a small batch");
        let header = BatchHeader::parse(&bytes).expect("a built batch");
        (BytesMut::from(&bytes[..]), header)
    }

    fn keyed(batch: (BytesMut, BatchHeader), to: Option<Codec>) -> Unpack {
        let look = Look {
            with_keys: true,
            earliest: None,
        };
        let (batch, header) = batch;
        Unpack {
            batch,
            header,
            look,
            to: to.map(Compression::from),
        }
    }

    #[tokio::test]
    async fn a_batch_may_come_to_the_whole_part_and_no_further() {
        let unpacker = Unpacker::new(1 << 20);
        let zeros = |count| batch(Codec::Gzip, &[(1, Some(b"k"), count)]);
        let modest = zeros(900 * KIB);
        assert!(modest.0.len() < 10 * KIB, "more than is likely");
        let taken = unpacker.unpack(keyed(modest.clone(), None)).await;
        assert_eq!(taken, Some(Ok(modest.clone())), "as it came");
        let recoded = unpacker.unpack(keyed(modest, Some(Codec::Zstd))).await;
        let (_, header) = recoded.expect("no panic").expect("it fits");
        assert_eq!(header.attributes.codec(), Ok(Codec::Zstd));
        for to in [None, Some(Codec::Lz4)] {
            let refused = unpacker.unpack(keyed(zeros(1_100 * KIB), to)).await;
            let limit = 1 << 20;
            assert_eq!(refused, Some(Err(UnpackError::TooLarge { limit })));
        }
        let free = unpacker.memory.available_permits();
        assert_eq!(free * PIECE_BYTES, 1 << 20, "all is given back");
    }

    #[tokio::test]
    async fn a_batch_waits_until_there_is_memory_for_it() {
        let unpacker = Unpacker::new(1 << 20);
        let all = unpacker.memory.clone().acquire_many_owned(16).await;
        let small = batch(Codec::Gzip, &[(1, Some(b"k"), 10)]);
        let mut waiting = Box::pin(unpacker.unpack(keyed(small.clone(), None)));
        let waited = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
        assert!(waited.is_err(), "another has it all");
        drop(all);
        assert_eq!(waiting.await, Some(Ok(small)));
    }

    #[test]
    fn records_without_keys_and_old_ones_are_told_of() {
        let limits = DecodeLimits::default();
        let (bytes, _) = batch(
            Codec::Zstd,
            &[(5, Some(b"k"), 1), (9, None, 1), (7, None, 1)],
        );
        let look = |with_keys, earliest: Option<i64>| Look {
            with_keys,
            earliest: earliest.map(TimestampMs::new),
        };
        let without = UnpackError::WithoutKey {
            count: 2,
            records: vec![1, 2],
        };
        assert_eq!(look(true, None).at(&bytes, &limits), Err(without));
        assert_eq!(look(false, Some(5)).at(&bytes, &limits), Ok(()));
        let old = look(true, Some(6)).at(&bytes, &limits);
        assert_eq!(old, Err(UnpackError::TooOld));
        let cut = look(true, None).at(&bytes[..bytes.len() - 1], &limits);
        assert_eq!(cut, Err(UnpackError::Malformed));
        assert_eq!(
            look(false, None).at(&[], &limits),
            Ok(()),
            "nothing is asked"
        );
    }
}
