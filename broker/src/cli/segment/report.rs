//! [`Report`]: what a file of the log is, what it holds and what is wrong with it.

use std::path::{Path, PathBuf};

use segment::batch::{Batch, Batches};
use segment::index::Index;
use segment::kfs::{self, KfsReport};
use segment::wal::{self, SectionPlace, WalEntry, WalHeader, WalKind, WalReport};
use segment::{Offset, TimestampMs};
use serde_json::{Value, json};

use super::super::error::CliError;
use super::super::output::Output;
use super::super::time::show_timestamp;
use super::kind_of;

/// The kinds of files that the log consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Segment,
    Wal,
    Index,
}

/// One file.
pub(super) struct Report {
    pub(super) path: PathBuf,
    pub(super) summary: String,
    /// What is wrong, in words.
    pub(super) faults: Vec<String>,
    kind: Option<Kind>,
    len: u64,
    /// Facts by name.
    facts: Vec<(&'static str, Value)>,
    /// Sections of a WAL object.
    sections: Vec<Value>,
}

impl Report {
    pub(super) fn new(path: &Path, bytes: &[u8]) -> Self {
        let kind = kind_of(bytes);
        let mut report = Self {
            path: path.to_owned(),
            summary: String::new(),
            faults: Vec::new(),
            kind,
            len: bytes.len() as u64,
            facts: Vec::new(),
            sections: Vec::new(),
        };
        match kind {
            Some(Kind::Segment) => report.add_segment(&kfs::verify(bytes)),
            Some(Kind::Wal) => report.add_wal(&wal::verify(bytes)),
            Some(Kind::Index) => report.add_index(bytes),
            None => report.faults.push(
                "neither .kfs, .wal nor .index: the first four bytes are those of none".to_owned(),
            ),
        }
        report
    }

    pub(super) fn unreadable(path: &Path, error: &str) -> Self {
        Self {
            path: path.to_owned(),
            summary: String::new(),
            faults: vec![error.to_owned()],
            kind: None,
            len: 0,
            facts: Vec::new(),
            sections: Vec::new(),
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        self.facts.push((name, value.into()));
    }

    fn add_segment(&mut self, found: &KfsReport) {
        self.summary = format!(
            "{} batches, {} records",
            found.batch_count, found.record_count
        );
        if let Some(header) = found.header {
            self.fact("base_offset", header.base_offset.get());
            self.fact("created", show_timestamp(header.created));
        }
        self.fact("last_offset", found.last_offset.map(Offset::get));
        self.fact("records", found.record_count);
        self.fact("batches", found.batch_count);
        self.fact("gaps", found.gap_count);
        self.fact("max_timestamp", show_timestamp(found.max_timestamp));
        if let Some(footer) = found.footer {
            self.fact("body_crc32c", format!("{:08x}", footer.body_crc32c));
        }
        self.faults = found.faults.iter().map(ToString::to_string).collect();
    }

    fn add_wal(&mut self, found: &WalReport) {
        if let Some(header) = &found.header {
            self.add_wal_header(header);
        }
        let (inline, own) = (found.inline_count, found.own_count);
        self.fact("inline_sections", inline);
        self.fact("own_sections", own);
        self.fact("batches", found.batch_count);
        self.summary = format!("{} sections, {} batches", inline + own, found.batch_count);
        if let Some(directory) = &found.directory {
            self.sections = directory.entries.iter().map(section).collect();
        }
        self.faults = found.faults.iter().map(ToString::to_string).collect();
    }

    fn add_wal_header(&mut self, header: &WalHeader) {
        let kind = match header.kind {
            WalKind::Open => "open",
            WalKind::Data => "data",
            WalKind::Empty => "empty",
            WalKind::Fence => "fence",
        };
        self.fact("object", kind);
        self.fact("broker", header.broker.get());
        self.fact("session", header.session.to_string());
        self.fact("sequence", header.sequence.get());
        self.fact(
            "acknowledged",
            header.acknowledged.map(|sequence| sequence.get()),
        );
        if let Some(by) = header.fenced_by {
            self.fact("fenced_by", by.to_string());
        }
    }

    fn add_index(&mut self, bytes: &[u8]) {
        let index = match Index::parse(bytes) {
            Ok(index) => index,
            Err(error) => return self.faults.push(error.to_string()),
        };
        let entries = index.entries();
        self.summary = format!("{} entries", entries.len());
        self.fact("entries", entries.len());
        self.fact("interval", index.interval());
        self.fact(
            "first_offset",
            entries.first().map(|entry| entry.offset.get()),
        );
        self.fact(
            "last_entry_offset",
            entries.last().map(|entry| entry.offset.get()),
        );
        let beside = self.path.with_extension("kfs");
        let segment = std::fs::read(&beside).ok().filter(|_| beside != self.path);
        self.fact("compared_with_segment", segment.is_some());
        if let Some(segment) = segment {
            self.compare(&index, &beside, &segment);
        }
    }

    /// Compares an index with the one that its segment calls for.
    fn compare(&mut self, index: &Index, beside: &Path, segment: &[u8]) {
        let name = beside.display();
        let Some(body) = body(segment) else {
            return self.faults.push(format!("{name} beside it is no segment"));
        };
        let body = bytes::Bytes::copy_from_slice(body);
        match Index::build(&[body], index.interval()) {
            Ok(derived) if derived == *index => self.summary.push_str(", as its segment has it"),
            Ok(derived) => {
                let pairs = derived.entries().iter().zip(index.entries());
                let first = pairs.take_while(|(one, other)| one == other).count();
                self.faults.push(format!(
                    "it differs from {name} from entry {first} on: {} entries expected, {} found",
                    derived.entries().len(),
                    index.entries().len()
                ));
            }
            Err(error) => self
                .faults
                .push(format!("{name} beside it is damaged: {error}")),
        }
    }

    /// Writes the report for a person.
    pub(super) fn show(&self, out: &mut Output) -> Result<(), CliError> {
        let kind = self.kind.map_or("unknown", Kind::name);
        out.line(&format!(
            "{}: {kind}, {} bytes",
            self.path.display(),
            self.len
        ))?;
        for (name, value) in &self.facts {
            out.line(&format!("  {name:<22}{}", plain(value)))?;
        }
        for section in &self.sections {
            let fields = section.as_object().into_iter().flatten();
            let fields: Vec<String> = fields
                .map(|(name, value)| format!("{name}={}", plain(value)))
                .collect();
            out.line(&format!("  section {}", fields.join(" ")))?;
        }
        self.faults
            .iter()
            .try_for_each(|fault| out.line(&format!("  FAULT {fault}")))
    }

    /// The report for a program.
    pub(super) fn document(&self) -> Value {
        let mut document = serde_json::Map::new();
        document.insert("file".to_owned(), self.path.display().to_string().into());
        document.insert("kind".to_owned(), self.kind.map(Kind::name).into());
        document.insert("bytes".to_owned(), self.len.into());
        document.insert("sound".to_owned(), self.is_sound().into());
        for (name, value) in &self.facts {
            document.insert((*name).to_owned(), value.clone());
        }
        if self.kind == Some(Kind::Wal) {
            document.insert("sections".to_owned(), self.sections.clone().into());
        }
        document.insert("faults".to_owned(), self.faults.clone().into());
        Value::Object(document)
    }

    /// Every batch of the file, or every entry of an index, as far as they can be read.
    pub(super) fn batches(&self, bytes: &[u8]) -> Value {
        match self.kind {
            Some(Kind::Segment) => walk(body(bytes).unwrap_or_default(), kfs::KFS_HEADER_BYTES),
            Some(Kind::Wal) => {
                let found = wal::verify(bytes);
                let entries = found
                    .directory
                    .iter()
                    .flat_map(|directory| &directory.entries);
                let mut batches = Vec::new();
                for entry in entries {
                    if let Value::Array(more) = wal_batches(entry, bytes) {
                        batches.extend(more);
                    }
                }
                Value::Array(batches)
            }
            Some(Kind::Index) => {
                let index = Index::parse(bytes).ok();
                let entries = index.iter().flat_map(Index::entries);
                entries
                    .map(|entry| {
                        let (offset, position) = (entry.offset.get(), entry.position);
                        json!({ "offset": offset, "position": position })
                    })
                    .collect()
            }
            None => Value::Array(Vec::new()),
        }
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Wal => "wal",
            Self::Index => "index",
        }
    }
}

/// A value without the quotes of JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn body(segment: &[u8]) -> Option<&[u8]> {
    let range = kfs::body_range(segment.len() as u64)?;
    segment.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

fn section(entry: &WalEntry) -> Value {
    let (place, at) = match entry.place {
        SectionPlace::Inline { position } => ("inline", position),
        SectionPlace::Own { counter } => ("own", counter),
    };
    json!({
        "topic_id": entry.topic.to_string(),
        "partition": entry.partition.get(),
        "leader_epoch": entry.leader_epoch.get(),
        "first_offset": entry.first_offset.get(),
        "last_offset": entry.last_offset.get(),
        "records": entry.record_count,
        "max_timestamp": show_timestamp(entry.max_timestamp),
        "place": place,
        "at": at,
        "bytes": entry.len,
        "crc32": format!("{:08x}", entry.crc),
        "producer_batches": entry.producers.len(),
    })
}

fn wal_batches(entry: &WalEntry, bytes: &[u8]) -> Value {
    let range = entry.inline_range();
    let range = range.and_then(|range| {
        Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
    });
    let Some(range) = range else {
        return Value::Array(Vec::new());
    };
    let mut batches = walk(bytes.get(range.clone()).unwrap_or_default(), range.start);
    for batch in batches.as_array_mut().into_iter().flatten() {
        if let Some(fields) = batch.as_object_mut() {
            fields.insert("topic_id".to_owned(), entry.topic.to_string().into());
            fields.insert("partition".to_owned(), entry.partition.get().into());
        }
    }
    batches
}

/// The batches of a run that starts at `start` in its file, up to the first that cannot be read.
fn walk(run: &[u8], start: usize) -> Value {
    Batches::strict(run)
        .map_while(Result::ok)
        .map(|batch| describe(&batch, start))
        .collect()
}

fn describe(batch: &Batch<'_>, start: usize) -> Value {
    let header = &batch.header;
    let shown = |timestamp: TimestampMs| show_timestamp(timestamp);
    json!({
        "position": start + batch.position,
        "bytes": batch.bytes.len(),
        "base_offset": header.base_offset.get(),
        "last_offset": header.last_offset().get(),
        "records": header.record_count,
        "leader_epoch": header.leader_epoch.get(),
        "codec": header.attributes.codec().map_or("unknown", |codec| codec.name()),
        "max_timestamp": shown(header.max_timestamp),
        "producer_id": header.producer_id.get(),
        "base_sequence": header.base_sequence.get(),
        "transactional": header.attributes.is_transactional(),
        "control": header.attributes.is_control(),
        "crc_ok": batch.verify_crc().is_ok(),
    })
}
