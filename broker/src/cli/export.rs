//! `kafscale export`: a topic as Parquet files or JSON lines, read from the bucket.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use export::{JsonEncoding, ParquetCompression, ParquetOptions};
use indicatif::{HumanBytes, HumanCount};
use segment::{Offset, PartitionIndex, TimestampMs, TopicName};

use super::error::CliError;
use super::ground::GroundArgs;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::table::Table;
use super::time::parse_timestamp;
use crate::config::{Allowed, Bytes, Kind};
use crate::tools::export::{self as tool, Bound, ExportError, Format, Outcome, Request, Target};

const AFTER_HELP: &str = "\
Examples:
  kafscale export --topic orders --output orders/               everything, as Parquet files
  kafscale export --topic orders --output orders/ --text        keys and values as strings
  kafscale export --topic orders --partitions 0,2 --from 1000 --to 2000 --output part/
  kafscale export --topic orders --from 2024-05-01 --to 2024-05-02 --output may-1/
  kafscale export --topic orders --format json --output - | jq .value
  duckdb -c \"SELECT count(*), max(\\\"offset\\\") FROM 'orders/*.parquet'\"

The records are read from the bucket; no broker is asked, and brokers may run. A data directory
(--data-dir) must not be in use: stop its broker first.

FROM is included, TO is not. A bare number is an offset. A time is written as in RFC 3339
(2024-05-01, 2024-05-01T12:00:00Z) or as @MS, milliseconds since 1970. By time, a record counts by
its own timestamp, wherever it lies: everything up to the end of the partition is looked through.
The end of each partition is the one that it has when the export begins.

Files are called TOPIC-PARTITION-FIRST OFFSET.parquet (.jsonl, .jsonl.zst). A file that has its name
is whole: after Ctrl-C there is no half one. A partition without records gets none.

docs/export.md shows the columns and how to query them.";

/// Size of a file from which on the next one begins.
const FILE_BYTES: &str = "512MiB";

/// Write a topic as Parquet files or JSON lines, straight from the bucket
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// Name of the topic
    #[arg(short, long, value_name = "NAME", value_parser = parse_topic)]
    topic: TopicName,
    /// Only these partitions [default: all]
    #[arg(
        short, long, value_name = "N,...", value_delimiter = ',',
        value_parser = clap::value_parser!(i32).range(0..)
    )]
    partitions: Vec<i32>,
    /// Begin here: an offset, `earliest` or a time
    #[arg(long, value_name = "FROM", default_value = "earliest", value_parser = parse_from)]
    from: Bound,
    /// End before this: an offset, `latest` or a time
    #[arg(long, value_name = "TO", default_value = "latest", value_parser = parse_to)]
    to: Bound,
    /// What to write
    #[arg(short, long, value_enum, default_value = "parquet")]
    format: FormatArg,
    /// Directory for the files, made if it is not there; - is standard output (JSON only)
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Add to a directory that holds files of these partitions
    #[arg(long)]
    append: bool,
    /// Begin another file when one has this size
    #[arg(long, value_name = "SIZE", default_value = FILE_BYTES, value_parser = parse_size)]
    file_bytes: u64,
    /// How to compress [default: zstd for Parquet, none for JSON]
    #[arg(short = 'z', long, value_enum)]
    compression: Option<CompressionArg>,
    /// Parquet: keys and values as strings; one that is not UTF-8 is an error
    #[arg(long)]
    text: bool,
    /// JSON: how keys and values stand in it [default: auto]
    #[arg(long, value_enum)]
    encoding: Option<EncodingArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// Parquet files
    Parquet,
    /// JSON, one object a line
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompressionArg {
    None,
    /// Parquet only
    Snappy,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EncodingArg {
    /// Strings where they are UTF-8, else {"base64": "..."}
    Auto,
    /// Always strings of base64
    Base64,
    /// As auto, but a value that is a JSON document stands as what it is
    Json,
}

fn parse_topic(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|error| error.to_string())
}

fn parse_size(text: &str) -> Result<u64, String> {
    Bytes::parse(text, Allowed::Bytes(1, u64::MAX))
}

fn parse_from(text: &str) -> Result<Bound, String> {
    match text {
        "earliest" => Ok(Bound::Earliest),
        _ => parse_bound(text, "earliest"),
    }
}

fn parse_to(text: &str) -> Result<Bound, String> {
    match text {
        "latest" => Ok(Bound::Latest),
        _ => parse_bound(text, "latest"),
    }
}

fn parse_bound(text: &str, word: &str) -> Result<Bound, String> {
    if let Ok(offset) = text.parse::<i64>() {
        return match offset {
            0.. => Ok(Bound::Offset(Offset::new(offset))),
            _ => Err("an offset is 0 or more".to_owned()),
        };
    }
    let time: Result<TimestampMs, String> = match text.strip_prefix('@') {
        Some(ms) if ms.bytes().all(|byte| byte.is_ascii_digit()) => parse_timestamp(ms),
        Some(_) => Err(String::new()),
        None => parse_timestamp(text),
    };
    let hint =
        || format!("expected an offset, `{word}`, a time such as 2024-05-01T12:00:00Z, or @MS");
    time.map(Bound::Time).map_err(|_| hint())
}

impl ExportArgs {
    fn is_stream(&self) -> bool {
        self.output == Path::new("-")
    }

    /// What rows are written as; options that do not fit it are refused.
    fn format(&self) -> Result<Format, CliError> {
        let wrong = |text: &str| Err(CliError::Usage(text.to_owned()));
        match (self.format, self.compression) {
            (FormatArg::Parquet, _) if self.is_stream() => {
                wrong("Parquet is written to files: name a directory, or use --format json")
            }
            (FormatArg::Parquet, _) if self.encoding.is_some() => wrong(
                "--encoding is for JSON: with Parquet, --text makes strings of keys and values",
            ),
            (FormatArg::Json, _) if self.text => {
                wrong("--text is for Parquet: JSON has strings wherever it can; see --encoding")
            }
            (FormatArg::Json, Some(CompressionArg::Snappy)) => {
                wrong("JSON lines are compressed by zstd or not at all")
            }
            (FormatArg::Parquet, compression) => Ok(Format::Parquet(ParquetOptions {
                text: self.text,
                compression: match compression.unwrap_or(CompressionArg::Zstd) {
                    CompressionArg::None => ParquetCompression::None,
                    CompressionArg::Snappy => ParquetCompression::Snappy,
                    CompressionArg::Zstd => ParquetCompression::Zstd,
                },
                row_group_bytes: None,
            })),
            (FormatArg::Json, compression) => Ok(Format::Json {
                encoding: match self.encoding.unwrap_or(EncodingArg::Auto) {
                    EncodingArg::Auto => JsonEncoding::Auto,
                    EncodingArg::Base64 => JsonEncoding::Base64,
                    EncodingArg::Json => JsonEncoding::Json,
                },
                compressed: compression == Some(CompressionArg::Zstd),
            }),
        }
    }

    fn request(&self) -> Result<Request, CliError> {
        let format = self.format()?;
        let target = match self.is_stream() {
            true => Target::Stream(Box::new(io::BufWriter::with_capacity(
                STREAM_BUFFER_BYTES,
                io::stdout(),
            ))),
            false => Target::Directory {
                path: self.output.clone(),
                append: self.append,
                file_bytes: self.file_bytes,
            },
        };
        let partitions = self.partitions.iter().copied();
        Ok(Request {
            topic: self.topic.clone(),
            partitions: partitions.map(PartitionIndex::new).collect(),
            from: self.from,
            to: self.to,
            format,
            target,
        })
    }
}

/// Bytes gathered for standard output before a write.
const STREAM_BUFFER_BYTES: usize = 256 * 1024;

/// Shows how far the export is, and listens to signals.
struct Watch {
    interrupt: Interrupt,
    /// Whether there is room for a bar.
    is_shown: bool,
    progress: RefCell<Progress>,
}

impl tool::Watch for Watch {
    fn planned(&self, offsets: u64) {
        if self.is_shown {
            *self.progress.borrow_mut() = Progress::count("export", offsets);
        }
    }

    fn reached(&self, offsets: u64) {
        self.progress.borrow().set(offsets);
    }

    fn is_told(&self) -> bool {
        self.interrupt.is_told()
    }
}

pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    let request = args.request()?;
    let watch = Watch {
        interrupt: Interrupt::listen()?,
        is_shown: !(args.is_stream() && io::stdout().is_terminal()),
        progress: RefCell::new(Progress::none()),
    };
    let began = Instant::now();
    let outcome = args.ground.run(async |ground, _| {
        let exported = tool::export(&ground, request, &watch).await;
        exported.map_err(CliError::from)
    })?;
    // The bar is gone before anything is said.
    drop(watch);
    let told = summary(&outcome, args.is_stream(), began.elapsed());
    // Without standard error there is nobody to tell.
    let _ = io::stderr().write_all(&told);
    match outcome.is_interrupted {
        true => Err(CliError::Interrupted(
            "what is listed above was exported; what follows in a partition begins at TO (add --append)"
                .to_owned(),
        )),
        false => Ok(()),
    }
}

/// What was done, for people.
fn summary(outcome: &Outcome, is_stream: bool, took: Duration) -> Vec<u8> {
    let mut told = Vec::new();
    let mut table = Table::new(&[
        "PARTITION",
        "FROM",
        "TO",
        "RECORDS",
        "FIRST",
        "LAST",
        "FILES",
        "SIZE",
    ]);
    let (mut rows, mut files, mut bytes) = (0, 0, 0);
    let offset = |offset: Option<Offset>| offset.map_or("-".to_owned(), |it| it.to_string());
    for (partition, exported) in &outcome.partitions {
        let (span, written) = (&exported.span, &exported.written);
        table.row(vec![
            partition.to_string(),
            span.from.to_string(),
            span.to.to_string(),
            written.rows.to_string(),
            offset(written.first),
            offset(written.last),
            written.files.to_string(),
            HumanBytes(written.bytes).to_string(),
        ]);
        rows += written.rows;
        files += written.files;
        bytes += written.bytes;
    }
    let seconds = took.as_secs_f64();
    // A rate is shown, not computed with.
    let rate = (rows as f64 / seconds.max(0.001)) as u64;
    let mut lines = vec![format!(
        "exported {} records{}, {} in {seconds:.1} s ({} records/s)",
        HumanCount(rows),
        match files {
            _ if is_stream => String::new(),
            1 => ", 1 file".to_owned(),
            _ => format!(", {files} files"),
        },
        HumanBytes(bytes),
        HumanCount(rate),
    )];
    for (partition, exported) in outcome.partitions.iter().filter(|(_, it)| it.lost > 0) {
        lines.push(format!(
            "partition {partition}: {} offsets were deleted (retention or DeleteRecords) before they \
             could be read",
            exported.lost
        ));
    }
    // Writing to memory does not fail.
    let _ = table.write(&mut told, "");
    let _ = writeln!(told, "{}", lines.join("\n"));
    told
}

impl From<ExportError> for CliError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Tool(error) => Self::Tool(error),
            ExportError::Write { name, cause } => Self::Write { name, cause },
            error => Self::Export(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_offsets_words_or_times() {
        let noon = Ok(Bound::Time(TimestampMs::new(1_714_564_800_000)));
        assert_eq!(parse_from("earliest"), Ok(Bound::Earliest));
        assert_eq!(parse_to("latest"), Ok(Bound::Latest));
        assert_eq!(parse_from("17"), Ok(Bound::Offset(Offset::new(17))));
        assert_eq!(parse_from("2024-05-01T12:00:00Z"), noon);
        assert_eq!(parse_to("@1714564800000"), noon);
        for text in [
            "latest",
            "-5",
            "",
            "@",
            "@-5",
            "@2024-05-01",
            "yesterday",
            "1.5",
        ] {
            assert!(parse_from(text).is_err(), "{text}");
        }
        assert!(parse_to("earliest").is_err());
    }

    #[test]
    fn sizes_have_units_and_are_not_nothing() {
        assert_eq!(parse_size("2MiB"), Ok(2 << 20));
        assert!(parse_size("0").is_err());
    }

    #[test]
    fn the_summary_lists_partitions_and_what_was_lost() {
        let mut outcome = Outcome::default();
        let span = tool::Span {
            from: Offset::new(5),
            to: Offset::new(1_205),
            ..tool::Span::default()
        };
        let written = tool::Written {
            rows: 1_100,
            files: 1,
            bytes: 2_048,
            first: Some(Offset::new(7)),
            last: Some(Offset::new(1_204)),
        };
        let exported = tool::Exported {
            span,
            written,
            lost: 2,
        };
        outcome.partitions.insert(PartitionIndex::new(0), exported);
        outcome
            .partitions
            .insert(PartitionIndex::new(1), tool::Exported::default());
        let told = summary(&outcome, false, Duration::from_secs(2));
        let expected = "\
PARTITION  FROM  TO    RECORDS  FIRST  LAST  FILES  SIZE
0          5     1205  1100     7      1204  1      2.00 KiB
1          0     0     0        -      -     0      0 B
exported 1,100 records, 1 file, 2.00 KiB in 2.0 s (550 records/s)
partition 0: 2 offsets were deleted (retention or DeleteRecords) before they could be read
";
        assert_eq!(String::from_utf8(told).unwrap(), expected);
    }
}
