//! The memory of an encoder does not grow with what goes through it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use export::{JsonEncoding, JsonLines, Origin, ParquetFile, ParquetOptions, Row};
use segment::batch::TimestampType;
use segment::record::{DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet};
use segment::{Offset, PartitionIndex, TimestampMs, TopicId, TopicName};

/// Counts what is allocated, and the most that ever was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's own, with the caller's own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;
const ROWS: i64 = 150_000;
const VALUE_BYTES: usize = 1_000;

/// Counts bytes, and keeps none.
#[derive(Default)]
struct Sink(u64);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Hands over 150 MB of records, of which no two are alike.
fn rows(mut take: impl FnMut(&Row<'_>)) {
    let mut value = vec![0; VALUE_BYTES];
    for offset in 0..ROWS {
        for (place, chunk) in value.chunks_mut(8).enumerate() {
            let mixed = (offset as u64 * 131 + place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
        let key = offset.to_string();
        let mut builder = RecordBatchBuilder::new().base_offset(Offset::new(offset));
        let record = NewRecord {
            timestamp: TimestampMs::new(offset),
            key: Some(key.as_bytes()),
            value: Some(&value),
            headers: &[("trace", Some(key.as_bytes()))],
        };
        builder.push(record).unwrap();
        let batch = builder.build().unwrap();
        let set = RecordSet::decode(&batch, &DecodeLimits::default()).unwrap();
        for record in &set {
            take(&Row {
                partition: PartitionIndex::new(0),
                timestamp_type: TimestampType::CreateTime,
                record: &record.unwrap(),
            });
        }
    }
}

/// The most memory that `work` takes beyond what there was.
fn most(work: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    work();
    MOST.load(Ordering::Relaxed) - before
}

// One test: what it counts is the whole process's.
#[test]
fn memory_is_that_of_one_row_group_or_one_row() {
    let topic = TopicName::new("t").unwrap();
    let origin = Origin {
        cluster: "c".to_owned(),
        topic: topic.clone(),
        topic_id: TopicId::ZERO,
        partition: PartitionIndex::new(0),
    };
    let bound = 4 * MIB;
    let options = ParquetOptions {
        row_group_bytes: Some(bound),
        ..ParquetOptions::default()
    };
    let parquet = most(|| {
        let mut file = ParquetFile::create(Sink::default(), &origin, &options).unwrap();
        rows(|row| file.push(row).unwrap());
        assert!(file.finish().unwrap().0 > 10 * MIB as u64);
    });
    let json = most(|| {
        let mut lines =
            JsonLines::create(Sink::default(), topic, JsonEncoding::Auto, false).unwrap();
        rows(|row| lines.push(row).unwrap());
        assert!(lines.finish().unwrap().0 > 100 * MIB as u64);
    });
    println!("Parquet took {parquet} bytes of memory, JSON {json}");
    assert!(parquet < 6 * bound && json < MIB, "{parquet}, {json}");
}
