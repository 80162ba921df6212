//! `kafscale produce`: one record a line.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use client::{Acks, Client, Produced, Producer, ProducerSettings};
use segment::batch::Codec;
use segment::record::NewRecord;
use segment::{PartitionIndex, TimestampMs};

use super::connect::{ConnectArgs, parse_pair};
use super::error::CliError;
use super::interrupt::Interrupt;
use super::lines::{self, Block};
use super::progress::Progress;
use super::time::parse_duration;

const AFTER_HELP: &str = "\
Examples:
  echo hello | kafscale produce orders
  kafscale produce orders --file orders.txt --compression zstd
  printf 'k1:v1\\nk2:v2\\n' | kafscale produce orders --key-separator :

A line ends at a newline; a carriage return before it belongs to the record. Records with a key go
to the partition that the Java client would choose; records without one fill the partitions in
turn, batch by batch. The command ends when every record has been acknowledged. If it fails, the
records before the failure may have arrived. Ctrl-C (or SIGTERM) ends the reading: what was read is
sent, the number of acknowledged records is told, and the exit code is 130; a second signal ends the
command at once.";

/// Room that a batch's header and the brokers' own accounting need below max.message.bytes.
const BATCH_ROOM_BYTES: usize = 512;
/// Longest wait for lines before signals are looked at.
const TICK_MAX: Duration = Duration::from_millis(100);
/// Name of the topic's limit on batches.
const MESSAGE_BYTES_CONFIG: &str = "max.message.bytes";

/// Send lines of standard input or of a file as records
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ProduceArgs {
    /// Name of the topic
    topic: String,
    /// Read lines from a file; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What stands between key and value; without it, the whole line is the value
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// Send everything to this partition
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// How to compress batches
    #[arg(short = 'z', long, value_enum, default_value = "none")]
    compression: Compression,
    /// What to wait for: all and 1 mean that the record is durable, 0 that nobody knows
    #[arg(
        short,
        long,
        value_enum,
        default_value = "all",
        allow_negative_numbers = true
    )]
    acks: AcksArg,
    /// Add a header to every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = parse_pair)]
    headers: Vec<(String, String)>,
    /// Take a key or value that is exactly this text for null (a tombstone in a compacted topic)
    #[arg(long, value_name = "TEXT")]
    null_value: Option<String>,
    /// Do not let the broker recognize batches that are sent again; implied by --acks 1 and 0
    #[arg(long)]
    no_idempotence: bool,
    /// Size, before compression, at which a batch is sent [default: 1000000, or what the topic
    /// takes]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    batch_bytes: Option<u32>,
    /// Longest wait for more lines before a batch is sent
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = parse_duration)]
    linger: Duration,
    /// Longest time in which a record must have been acknowledged, with all retries
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    delivery_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AcksArg {
    #[value(alias = "-1")]
    All,
    #[value(name = "1")]
    One,
    #[value(name = "0")]
    Zero,
}

impl Compression {
    const fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Gzip => Codec::Gzip,
            Self::Snappy => Codec::Snappy,
            Self::Lz4 => Codec::Lz4,
            Self::Zstd => Codec::Zstd,
        }
    }
}

impl AcksArg {
    const fn acks(self) -> Acks {
        match self {
            Self::All => Acks::All,
            Self::One => Acks::Leader,
            Self::Zero => Acks::None,
        }
    }
}

pub(super) fn run(connect: &ConnectArgs, args: &ProduceArgs) -> Result<(), CliError> {
    if args.key_separator.as_deref() == Some("") {
        return Err(CliError::Usage(
            "--key-separator must not be empty".to_owned(),
        ));
    }
    let mut client = connect.connect()?;
    client.topic_or_create(&args.topic)?;
    let settings = settings(&mut client, args);
    let mut producer = Producer::new(client, settings)?;
    let started = Instant::now();
    let interrupted = send_lines(&mut producer, args)?;
    let produced = producer.produced();
    if interrupted {
        let text = format!("{} records were acknowledged", produced.records);
        return Err(CliError::Interrupted(text));
    }
    summarize(produced, started.elapsed());
    Ok(())
}

fn settings(client: &mut Client, args: &ProduceArgs) -> ProducerSettings {
    let defaults = ProducerSettings::default();
    let acks = args.acks.acks();
    let asked = args
        .batch_bytes
        .and_then(|bytes| usize::try_from(bytes).ok());
    let batch_bytes = asked.unwrap_or_else(|| {
        // A topic whose limit cannot be read is the broker's to judge.
        let configs = client.topic_configs(&args.topic).unwrap_or_default();
        let limit = configs
            .iter()
            .find(|config| config.name == MESSAGE_BYTES_CONFIG);
        let limit = limit.and_then(|config| config.value.as_deref()?.parse::<usize>().ok());
        let limit = limit.map(|limit| limit.saturating_sub(BATCH_ROOM_BYTES).max(1));
        limit.map_or(defaults.batch_bytes, |limit| {
            limit.min(defaults.batch_bytes)
        })
    });
    ProducerSettings {
        acks,
        idempotent: acks == Acks::All && !args.no_idempotence,
        codec: args.compression.codec(),
        batch_bytes,
        linger: args.linger,
        buffer_bytes: defaults.buffer_bytes.max(batch_bytes.saturating_mul(8)),
        delivery_timeout: args.delivery_timeout,
        ..defaults
    }
}

/// Sends what is read until it ends or a signal comes; gives whether one came.
fn send_lines(producer: &mut Producer, args: &ProduceArgs) -> Result<bool, CliError> {
    let interrupt = Interrupt::listen()?;
    let lines = lines::open(args.file.as_deref())?;
    if args.file.is_none() && std::io::stdin().is_terminal() {
        // A person who sees nothing happen should know why; nobody else needs it.
        let _ = writeln!(std::io::stderr(), "one record a line; Ctrl-D ends");
    }
    let progress = match lines.total {
        Some(total) => Progress::bytes("produce", Some(total)),
        None => Progress::none(),
    };
    let mut sender = BlockSender {
        producer,
        args,
        parser: LineParser::new(args),
        number: 0,
    };
    let tick = args.linger.clamp(Duration::from_millis(1), TICK_MAX);
    while !interrupt.is_told() {
        match lines.blocks.recv_timeout(tick) {
            Ok(block) => {
                let block = block?;
                sender.send(&block)?;
                progress.add(block.bytes());
            }
            Err(RecvTimeoutError::Timeout) => sender.producer.poll()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if interrupt.is_told() {
        // Lines that have left a pipe exist nowhere else. The thread that reads goes on meanwhile.
        for block in lines.blocks.try_iter().take(lines::BLOCKS_MAX) {
            sender.send(&block?)?;
        }
    }
    producer.flush()?;
    Ok(interrupt.is_told())
}

/// Turns blocks of lines into records.
struct BlockSender<'a> {
    producer: &'a mut Producer,
    args: &'a ProduceArgs,
    parser: LineParser<'a>,
    /// Lines so far.
    number: u64,
}

impl BlockSender<'_> {
    fn send(&mut self, block: &Block) -> Result<(), CliError> {
        let timestamp = now();
        let partition = self.args.partition.map(PartitionIndex::new);
        for line in block.lines() {
            self.number += 1;
            let (key, value) = self.parser.parse(line, self.number)?;
            let record = NewRecord {
                timestamp,
                key,
                value,
                headers: &self.parser.headers,
            };
            self.producer.send(&self.args.topic, partition, record)?;
        }
        Ok(self.producer.poll()?)
    }
}

/// Key and value of a record; either may be null.
type KeyAndValue<'l> = (Option<&'l [u8]>, Option<&'l [u8]>);

/// Turns lines into keys and values.
struct LineParser<'a> {
    separator: Option<&'a [u8]>,
    null: Option<&'a [u8]>,
    headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl<'a> LineParser<'a> {
    fn new(args: &'a ProduceArgs) -> Self {
        let header = |(name, value): &'a (String, String)| (name.as_str(), Some(value.as_bytes()));
        Self {
            separator: args.key_separator.as_deref().map(str::as_bytes),
            null: args.null_value.as_deref().map(str::as_bytes),
            headers: args.headers.iter().map(header).collect(),
        }
    }

    /// Key and value of line `number`.
    fn parse<'l>(&self, line: &'l [u8], number: u64) -> Result<KeyAndValue<'l>, CliError> {
        let present = |bytes: &'l [u8]| Some(bytes).filter(|bytes| Some(*bytes) != self.null);
        let Some(separator) = self.separator else {
            return Ok((None, present(line)));
        };
        let found = line
            .windows(separator.len())
            .position(|window| window == separator);
        let Some(place) = found else {
            let separator = String::from_utf8_lossy(separator);
            let text = format!("line {number} has no key separator {separator:?}");
            return Err(CliError::Input(text));
        };
        let (key, rest) = line.split_at(place);
        let value = rest.get(separator.len()..).unwrap_or_default();
        Ok((present(key), present(value)))
    }
}

fn now() -> TimestampMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    });
    TimestampMs::new(ms)
}

/// Tells a person what was done.
fn summarize(produced: Produced, took: Duration) {
    let mut stderr = std::io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    let rate = produced.bytes as f64 / took.as_secs_f64().max(0.001);
    let line = format!(
        "{} records, {} in {:.1} s ({}/s)",
        produced.records,
        indicatif::HumanBytes(produced.bytes),
        took.as_secs_f64(),
        // A rate is shown, not computed with.
        indicatif::HumanBytes(rate as u64),
    );
    let _ = writeln!(stderr, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parser(separator: Option<&'static str>, null: Option<&'static str>) -> LineParser<'static> {
        let bytes = |text: &'static str| text.as_bytes();
        LineParser {
            separator: separator.map(bytes),
            null: null.map(bytes),
            headers: Vec::new(),
        }
    }

    #[test]
    fn keys_end_at_the_first_separator() {
        let keyed = parser(Some("::"), None);
        assert_eq!(
            keyed.parse(b"k::v::w", 1).unwrap(),
            (Some(&b"k"[..]), Some(&b"v::w"[..]))
        );
        assert_eq!(
            keyed.parse(b"::", 1).unwrap(),
            (Some(&b""[..]), Some(&b""[..]))
        );
        let error = keyed.parse(b"k:v", 7).unwrap_err().to_string();
        assert_eq!(error, "line 7 has no key separator \"::\"");
        assert_eq!(
            parser(None, None).parse(b"k::v", 1).unwrap(),
            (None, Some(&b"k::v"[..]))
        );
    }

    #[test]
    fn the_null_marker_stands_for_keys_and_values() {
        let marked = parser(Some(":"), Some("NULL"));
        assert_eq!(marked.parse(b"k:NULL", 1).unwrap(), (Some(&b"k"[..]), None));
        assert_eq!(marked.parse(b"NULL:v", 1).unwrap(), (None, Some(&b"v"[..])));
        assert_eq!(
            marked.parse(b"k:NULLS", 1).unwrap(),
            (Some(&b"k"[..]), Some(&b"NULLS"[..]))
        );
        assert_eq!(parser(None, Some("")).parse(b"", 1).unwrap(), (None, None));
    }
}
