//! The side of an export that decodes, encodes and writes: a thread of its own, blocking.

use std::collections::BTreeMap;
use std::io::{self, Write};

use export::{EncodeError, JsonLines, Origin, ParquetFile, ParquetOptions, Row};
use reader::{Run, RunBatch, Topic};
use segment::record::{DecodeLimits, RecordSet};
use segment::{Offset, PartitionIndex, TopicId, TopicName};
use tokio::sync::mpsc;

use super::files::{Directory, Unfinished};
use super::span::Span;
use super::{ExportError, Format, Target};

/// What the reading side hands over, in this order for each partition. Without its `End` a partition
/// has been broken off, and its last file is not kept.
#[derive(Debug)]
pub(super) enum Work {
    /// What follows is of this partition.
    Begin {
        partition: PartitionIndex,
        span: Span,
    },
    /// Its next batches.
    Run(Run),
    /// It has ended.
    End,
}

/// What was written of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows in whole files, or handed to the stream.
    pub rows: u64,
    /// Whole files.
    pub files: u64,
    /// Their bytes, or those handed to the stream.
    pub bytes: u64,
    /// Offset of the first row.
    pub first: Option<Offset>,
    /// Offset of the last row.
    pub last: Option<Offset>,
}

impl Written {
    fn add(&mut self, rows: u64, bytes: u64, ends: (Offset, Offset)) {
        self.rows += rows;
        self.bytes += bytes;
        self.first = self.first.or(Some(ends.0));
        self.last = Some(ends.1);
    }
}

/// Everything that the thread needs.
pub(super) struct Encoding {
    cluster: String,
    topic: TopicName,
    topic_id: TopicId,
    format: Format,
    sink: Sink,
}

enum Sink {
    Files {
        directory: Directory,
        file_bytes: u64,
        open: Option<OpenFile>,
    },
    Stream(Box<JsonLines<Stream>>),
}

/// A stream, buffered by whoever gave it.
struct Stream(Box<dyn Write + Send>);

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

const STREAM: &str = "standard output";

struct OpenFile {
    encoder: FileEncoder,
    name: std::path::PathBuf,
    ends: (Offset, Offset),
}

enum FileEncoder {
    Parquet(Box<ParquetFile<Unfinished>>),
    Json(Box<JsonLines<Unfinished>>),
}

impl FileEncoder {
    fn push(&mut self, row: &Row<'_>) -> Result<(), EncodeError> {
        match self {
            Self::Parquet(file) => file.push(row),
            Self::Json(lines) => lines.push(row),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Parquet(file) => file.bytes(),
            Self::Json(lines) => lines.bytes(),
        }
    }

    fn rows(&self) -> u64 {
        match self {
            Self::Parquet(file) => file.rows(),
            Self::Json(lines) => lines.rows(),
        }
    }

    fn finish(self) -> Result<Unfinished, EncodeError> {
        match self {
            Self::Parquet(file) => file.finish(),
            Self::Json(lines) => lines.finish(),
        }
    }
}

/// An error of the encoder, or of what is below it.
fn failed(name: &str, error: EncodeError) -> ExportError {
    match error {
        EncodeError::Io(cause) => ExportError::Write {
            name: name.to_owned(),
            cause,
        },
        source => ExportError::Encode { source },
    }
}

impl Encoding {
    /// Checks and prepares where the rows go.
    ///
    /// # Errors
    /// [`ExportError::Occupied`], [`ExportError::Write`].
    ///
    /// # Panics
    /// If Parquet is to go to a stream: it is files.
    pub(super) fn prepare(
        cluster: String,
        topic: &Topic,
        partitions: &[PartitionIndex],
        format: Format,
        target: Target,
    ) -> Result<Self, ExportError> {
        let name = topic.name.clone();
        let sink = match (target, format) {
            (
                Target::Directory {
                    path,
                    append,
                    file_bytes,
                },
                format,
            ) => Sink::Files {
                directory: Directory::open(path, name, format.extension(), partitions, append)?,
                file_bytes,
                open: None,
            },
            (
                Target::Stream(out),
                Format::Json {
                    encoding,
                    compressed,
                },
            ) => {
                let lines = JsonLines::create(Stream(out), name, encoding, compressed);
                Sink::Stream(Box::new(lines.map_err(|error| failed(STREAM, error))?))
            }
            (Target::Stream(_), Format::Parquet(_)) => panic!("Parquet is written to files"),
        };
        Ok(Self {
            cluster,
            topic: topic.name.clone(),
            topic_id: topic.id,
            format,
            sink,
        })
    }

    /// Takes work until there is no more. Gives what was written of each partition.
    ///
    /// # Errors
    /// [`ExportError`]; the reading side finds the channel closed.
    pub(super) fn run(
        mut self,
        mut work: mpsc::Receiver<Work>,
    ) -> Result<BTreeMap<PartitionIndex, Written>, ExportError> {
        let mut all: BTreeMap<PartitionIndex, Written> = BTreeMap::new();
        let mut current = None;
        while let Some(next) = work.blocking_recv() {
            match (next, &mut current) {
                (Work::Begin { partition, span }, current) => {
                    *current = Some((partition, span, Written::default()));
                }
                (Work::Run(run), Some((partition, span, written))) => {
                    self.take(*partition, span, &run, written)?;
                    all.insert(*partition, *written);
                }
                (Work::End, Some((partition, _, written))) => {
                    self.close(written)?;
                    all.insert(*partition, *written);
                }
                (Work::Run(_) | Work::End, None) => unreachable!("a partition begins first"),
            }
        }
        if let Sink::Stream(lines) = self.sink {
            let mut out = lines.finish().map_err(|error| failed(STREAM, error))?;
            let flushed = out.flush().map_err(EncodeError::Io);
            flushed.map_err(|error| failed(STREAM, error))?;
        }
        Ok(all)
    }

    fn take(
        &mut self,
        partition: PartitionIndex,
        span: &Span,
        run: &Run,
        written: &mut Written,
    ) -> Result<(), ExportError> {
        for batch in &run.batches {
            if batch.header.attributes.is_control() {
                continue;
            }
            let undecodable = |source| ExportError::Records {
                partition,
                first: batch.header.base_offset,
                last: last_offset(batch),
                key: batch.key.to_string(),
                source,
            };
            let records = RecordSet::decode(&batch.bytes, &DecodeLimits::default());
            for record in &records.map_err(undecodable)? {
                let record = record.map_err(undecodable)?;
                let is_new = record.offset >= run.position;
                if is_new && span.holds(record.offset, record.timestamp) {
                    let row = Row {
                        partition,
                        timestamp_type: batch.header.attributes.timestamp_type(),
                        record: &record,
                    };
                    self.push(&row, written)?;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, row: &Row<'_>, written: &mut Written) -> Result<(), ExportError> {
        let offset = row.record.offset;
        let is_full = match &mut self.sink {
            Sink::Stream(lines) => {
                let before = lines.bytes();
                lines.push(row).map_err(|error| failed(STREAM, error))?;
                written.add(1, lines.bytes() - before, (offset, offset));
                return Ok(());
            }
            Sink::Files {
                directory,
                open,
                file_bytes,
            } => {
                let open = match open {
                    Some(open) => open,
                    none => none.insert(begin(
                        directory,
                        self.format,
                        *file_bytes,
                        &Origin {
                            cluster: self.cluster.clone(),
                            topic: self.topic.clone(),
                            topic_id: self.topic_id,
                            partition: row.partition,
                        },
                        offset,
                    )?),
                };
                let name = &open.name;
                let pushed = open.encoder.push(row);
                pushed.map_err(|error| failed(&name.display().to_string(), error))?;
                open.ends.1 = offset;
                open.encoder.bytes() >= *file_bytes
            }
        };
        match is_full {
            true => self.close(written),
            false => Ok(()),
        }
    }

    /// Finishes the open file, if there is one.
    fn close(&mut self, written: &mut Written) -> Result<(), ExportError> {
        let Sink::Files { open, .. } = &mut self.sink else {
            return Ok(());
        };
        let Some(open) = open.take() else {
            return Ok(());
        };
        let rows = open.encoder.rows();
        let finished = open.encoder.finish();
        let file = finished.map_err(|error| failed(&open.name.display().to_string(), error))?;
        let bytes = file.keep()?;
        written.files += 1;
        written.add(rows, bytes, open.ends);
        Ok(())
    }
}

fn last_offset(batch: &RunBatch) -> Offset {
    let header = &batch.header;
    let last = header
        .base_offset
        .checked_add(i64::from(header.last_offset_delta));
    last.unwrap_or(header.base_offset)
}

/// Begins a file with the row of this offset.
fn begin(
    directory: &Directory,
    format: Format,
    file_bytes: u64,
    origin: &Origin,
    first: Offset,
) -> Result<OpenFile, ExportError> {
    let file = directory.begin(origin.partition, first)?;
    let name = file.path().to_owned();
    let encoder = match format {
        Format::Parquet(options) => {
            // Else a small file could not end before a whole row group.
            let row_group_bytes = usize::try_from(file_bytes).ok();
            let options = ParquetOptions {
                row_group_bytes,
                ..options
            };
            ParquetFile::create(file, origin, &options)
                .map(|file| FileEncoder::Parquet(Box::new(file)))
        }
        Format::Json {
            encoding,
            compressed,
        } => JsonLines::create(file, origin.topic.clone(), encoding, compressed)
            .map(|lines| FileEncoder::Json(Box::new(lines))),
    };
    let encoder = encoder.map_err(|error| failed(&name.display().to_string(), error))?;
    Ok(OpenFile {
        encoder,
        name,
        ends: (first, first),
    })
}
