//! `kafscale consume`: prints records, of partitions or as a member of a group.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use client::{
    Client, ClientError, Fetched, Fetcher, FetcherSettings, GroupConsumer, GroupSettings,
    OffsetReset, OffsetSpec, TopicPartition,
};
use segment::{Offset, PartitionIndex, TimestampMs};

use super::connect::ConnectArgs;
use super::error::CliError;
use super::format::{RecordFormat, TextFormat};
use super::interrupt::Interrupt;
use super::output::Output;
use super::progress::Progress;
use super::time::{parse_duration, parse_timestamp};

const AFTER_HELP: &str = "\
Examples:
  kafscale consume orders                                new records, until Ctrl-C
  kafscale consume orders --from-beginning --exit-at-end what is there now
  kafscale consume orders --offset -10 --exit-at-end     the last ten of each partition
  kafscale consume orders --timestamp 2024-05-01T12:00:00Z --format json
  kafscale consume orders --group billing                as a member of a group, with commits
  kafscale consume orders --from-beginning --max-messages 1 --timeout 10s

As text, the value of each record is printed with a newline after it; --print-* options put more
before it, separated by --delimiter. As JSON, each record is an object on a line; keys and values
that are not UTF-8 are given in base64 as key_base64 and value_base64.

A group's offsets are committed every second and at the end, for records that have been printed.
Ctrl-C (or SIGTERM) ends the command after the batch that is being printed; a member of a group then
commits what was printed and leaves, and the exit code is 130. A second signal ends the command at
once: what it has not committed is printed again by the next member, and the group waits 10 s.";

/// Time between commits of a group.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for records before time limits are looked at.
const TICK: Duration = Duration::from_millis(200);

/// Time after which a group gives up a consumer that was killed.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a reader of our output may stand still before the group goes on without us.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Print records of a topic
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ConsumeArgs {
    /// Name of the topic
    topic: String,
    /// Begin with the first record; in a group, only where nothing was committed yet
    #[arg(long)]
    from_beginning: bool,
    /// Begin at an offset: a number, -N for the last N records, earliest or latest
    #[arg(
        short, long, value_name = "N", allow_hyphen_values = true, value_parser = parse_start,
        conflicts_with_all = ["from_beginning", "timestamp", "group"]
    )]
    offset: Option<Start>,
    /// Begin with the first record at or after a time (RFC 3339, or milliseconds since 1970)
    #[arg(
        short, long, value_name = "TIME", value_parser = parse_timestamp,
        conflicts_with_all = ["from_beginning", "group"]
    )]
    timestamp: Option<TimestampMs>,
    /// Read this partition only; may be repeated
    #[arg(
        short, long = "partition", value_name = "N", conflicts_with = "group",
        value_parser = clap::value_parser!(i32).range(0..)
    )]
    partitions: Vec<i32>,
    /// Read as a member of this group, from where it has committed
    #[arg(short, long)]
    group: Option<String>,
    /// End after this many records
    #[arg(short = 'n', long, value_name = "N")]
    max_messages: Option<u64>,
    /// End when no record has come for this long; code 4 if --max-messages or --exit-at-end asked
    /// for more
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// End at the end that each partition has when reading begins
    #[arg(short, long)]
    exit_at_end: bool,
    /// Write to a file; - is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    print: PrintArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Format")]
struct PrintArgs {
    /// How to print records
    #[arg(short, long, value_enum, default_value = "text")]
    format: FormatArg,
    /// Print the key before the value
    #[arg(long)]
    print_key: bool,
    /// Print headers, as name=value,name=value
    #[arg(long)]
    print_headers: bool,
    /// Print the timestamp, in UTC
    #[arg(long)]
    print_timestamp: bool,
    /// Print the offset
    #[arg(long)]
    print_offset: bool,
    /// Print the number of the partition
    #[arg(long)]
    print_partition: bool,
    /// What stands between the parts of a line [default: a tab]
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "\t",
        hide_default_value = true
    )]
    delimiter: String,
    /// How to print null keys and values
    #[arg(long, value_name = "TEXT", default_value = "null")]
    null_value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    Text,
    Json,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Earliest,
    Latest,
    At(i64),
    BeforeEnd(i64),
    Time(TimestampMs),
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => match text.parse::<i64>() {
            Ok(offset @ 0..) => Ok(Start::At(offset)),
            Ok(i64::MIN) | Err(_) => Err("expected a number, -N, earliest or latest".to_owned()),
            Ok(before) => Ok(Start::BeforeEnd(-before)),
        },
    }
}

impl ConsumeArgs {
    fn start(&self) -> Start {
        match (self.offset, self.timestamp) {
            (Some(offset), _) => offset,
            (None, Some(time)) => Start::Time(time),
            (None, None) if self.from_beginning => Start::Earliest,
            (None, None) => Start::Latest,
        }
    }

    fn record_format(&self) -> RecordFormat {
        let print = &self.print;
        match print.format {
            FormatArg::Json => RecordFormat::Json,
            FormatArg::Text => RecordFormat::Text(TextFormat {
                timestamp: print.print_timestamp,
                partition: print.print_partition,
                offset: print.print_offset,
                headers: print.print_headers,
                key: print.print_key,
                separator: print.delimiter.clone(),
                null: print.null_value.clone(),
            }),
        }
    }
}

/// Where records come from.
enum Source {
    Partitions(Box<(Client, Fetcher)>),
    Group(Box<GroupConsumer>),
}

impl Source {
    fn poll(&mut self, wait: Duration) -> Result<Option<Fetched>, ClientError> {
        match self {
            Self::Partitions(parts) => parts.1.poll(&mut parts.0, wait),
            Self::Group(consumer) => consumer.poll(wait),
        }
    }

    fn client(&mut self) -> &mut Client {
        match self {
            Self::Partitions(parts) => &mut parts.0,
            Self::Group(consumer) => consumer.client(),
        }
    }

    /// What is being read, with where fetching stands; and which assignment that is.
    fn positions(&self) -> (u64, BTreeMap<TopicPartition, Offset>) {
        let owned = |(partition, offset): (&TopicPartition, Offset)| (partition.clone(), offset);
        match self {
            Self::Partitions(parts) => (1, parts.1.positions().map(owned).collect()),
            Self::Group(consumer) => (
                consumer.assignments(),
                consumer.positions().map(owned).collect(),
            ),
        }
    }

    fn mark(&mut self, partition: &TopicPartition, next: Offset) {
        if let Self::Group(consumer) = self {
            consumer.mark(partition, next);
        }
    }

    fn close(self) -> Result<(), ClientError> {
        match self {
            Self::Partitions(_) => Ok(()),
            Self::Group(consumer) => consumer.close(),
        }
    }
}

pub(super) fn run(connect: &ConnectArgs, args: &ConsumeArgs) -> Result<(), CliError> {
    let client = connect.connect()?;
    let source = match &args.group {
        Some(group) => group_source(client, args, group)?,
        None => partition_source(client, args)?,
    };
    let mut printing = Printing {
        out: Output::open(args.output.as_deref())?,
        interrupt: Interrupt::listen()?,
        format: args.record_format(),
        source,
        printed: 0,
        ends: Ends::default(),
        progress: Progress::none(),
    };
    let outcome = printing.run(args);
    let Printing { source, .. } = printing;
    match (outcome, source.close()) {
        // What was to be finished was not: that is worth more than who ended the command.
        (Err(CliError::Interrupted(_)), Err(error)) => Err(error.into()),
        (outcome, closed) => {
            outcome?;
            Ok(closed?)
        }
    }
}

fn group_source(client: Client, args: &ConsumeArgs, group: &str) -> Result<Source, CliError> {
    let settings = GroupSettings {
        group: group.to_owned(),
        topics: vec![args.topic.clone()],
        session_timeout: SESSION_TIMEOUT,
        rebalance_timeout: REBALANCE_TIMEOUT,
        commit_interval: COMMIT_INTERVAL,
        reset: if args.from_beginning {
            OffsetReset::Earliest
        } else {
            OffsetReset::Latest
        },
        ..GroupSettings::default()
    };
    Ok(Source::Group(Box::new(GroupConsumer::new(
        client, settings,
    )?)))
}

fn partition_source(mut client: Client, args: &ConsumeArgs) -> Result<Source, CliError> {
    let info = client.topic(&args.topic)?;
    let known = info.partitions.iter().map(|partition| partition.partition);
    let mut wanted: Vec<PartitionIndex> = match args.partitions.is_empty() {
        true => known.collect(),
        false => args
            .partitions
            .iter()
            .copied()
            .map(PartitionIndex::new)
            .collect(),
    };
    wanted.sort();
    wanted.dedup();
    for partition in &wanted {
        if info.partition(*partition).is_none() {
            return Err(CliError::Client(ClientError::UnknownPartition {
                topic: args.topic.clone(),
                partition: partition.get(),
                count: info.partitions.len(),
            }));
        }
    }
    let wanted: Vec<TopicPartition> = wanted
        .into_iter()
        .map(|index| TopicPartition::new(info.name.clone(), index))
        .collect();
    let positions = positions(&mut client, &wanted, args.start())?;
    let mut fetcher = Fetcher::new(FetcherSettings::default());
    fetcher.assign(positions);
    Ok(Source::Partitions(Box::new((client, fetcher))))
}

fn positions(
    client: &mut Client,
    partitions: &[TopicPartition],
    start: Start,
) -> Result<BTreeMap<TopicPartition, Offset>, CliError> {
    let bounds = client.log_bounds(partitions)?;
    let by_time = match start {
        Start::Time(time) => client.offsets(partitions, OffsetSpec::At(time))?,
        _ => BTreeMap::new(),
    };
    let mut positions = BTreeMap::new();
    for (partition, (first, end)) in bounds {
        let offset = match start {
            Start::Earliest => first,
            Start::Latest => end,
            Start::At(offset) => Offset::new(offset),
            Start::BeforeEnd(count) => Offset::new(end.get() - count).max(first),
            // No record is that late: what comes will be.
            Start::Time(_) => by_time
                .get(&partition)
                .and_then(|found| found.offset)
                .unwrap_or(end),
        };
        if offset < first || offset > end {
            let (offset, start, end) = (offset.get(), first.get(), end.get());
            return Err(CliError::Client(ClientError::OutOfRange {
                partition,
                offset,
                start,
                end,
            }));
        }
        positions.insert(partition, offset);
    }
    Ok(positions)
}

/// Up to where each partition is read, with --exit-at-end.
#[derive(Debug, Default)]
struct Ends {
    /// The assignment that they belong to.
    assignment: u64,
    ends: BTreeMap<TopicPartition, Offset>,
    /// Where printing stands.
    reached: BTreeMap<TopicPartition, Offset>,
    total: u64,
}

impl Ends {
    /// Records that are still to come.
    fn left(&self) -> u64 {
        let left = self.ends.iter().map(|(partition, end)| {
            let reached = self.reached.get(partition).copied().unwrap_or(*end);
            end.distance_from(reached).unwrap_or(0)
        });
        left.sum()
    }
}

struct Printing {
    out: Output,
    interrupt: Interrupt,
    format: RecordFormat,
    source: Source,
    printed: u64,
    ends: Ends,
    progress: Progress,
}

impl Printing {
    fn run(&mut self, args: &ConsumeArgs) -> Result<(), CliError> {
        let mut last = Instant::now();
        let most = args.max_messages.unwrap_or(u64::MAX);
        while self.printed < most {
            if self.interrupt.is_told() {
                self.out.flush()?;
                let text = format!("{} records were printed", self.printed);
                return Err(CliError::Interrupted(text));
            }
            if args.exit_at_end && self.is_at_end()? {
                break;
            }
            let left = args
                .timeout
                .map_or(TICK, |limit| limit.saturating_sub(last.elapsed()));
            match self.source.poll(left.min(TICK))? {
                Some(fetched) => {
                    self.print(&fetched, most)?;
                    last = Instant::now();
                }
                None => check_timeout(args, last, self.printed)?,
            }
            if args.timeout.is_some_and(|limit| last.elapsed() >= limit) {
                break;
            }
        }
        self.out.flush()
    }

    fn print(&mut self, fetched: &Fetched, most: u64) -> Result<(), CliError> {
        let partition = fetched.partition();
        let (out, format, printed) = (&mut self.out, &self.format, &mut self.printed);
        let flow = fetched.for_each(|record| {
            if let Err(error) = out.put(|out| format.write(out, partition, record)) {
                return ControlFlow::Break(Err(error));
            }
            *printed += 1;
            match (*printed >= most, record.offset.next()) {
                (true, Some(next)) => ControlFlow::Break(Ok(next)),
                _ => ControlFlow::Continue(()),
            }
        })?;
        let next = match flow {
            ControlFlow::Continue(()) => fetched.next_offset(),
            ControlFlow::Break(next) => next?,
        };
        // Only what has left this process counts as done.
        self.out.flush()?;
        self.source.mark(partition, next);
        self.ends.reached.insert(partition.clone(), next);
        self.progress
            .set(self.ends.total.saturating_sub(self.ends.left()));
        Ok(())
    }

    /// Whether everything that was there when reading began has been printed.
    fn is_at_end(&mut self) -> Result<bool, CliError> {
        let (assignment, positions) = self.source.positions();
        if assignment == 0 {
            return Ok(false);
        }
        if assignment != self.ends.assignment {
            let partitions: Vec<TopicPartition> = positions.keys().cloned().collect();
            let found = self
                .source
                .client()
                .offsets(&partitions, OffsetSpec::Latest)?;
            let ends = found
                .into_iter()
                .map(|(it, end)| (it, end.offset.unwrap_or_default()));
            self.ends = Ends {
                assignment,
                ends: ends.collect(),
                reached: positions,
                total: 0,
            };
            self.ends.total = self.ends.left();
            if !self.out.is_terminal() {
                self.progress = Progress::count("consume", self.ends.total);
            }
        }
        Ok(self.ends.left() == 0)
    }
}

/// Fails when no record has come for too long although more was asked for.
fn check_timeout(args: &ConsumeArgs, last: Instant, printed: u64) -> Result<(), CliError> {
    let Some(limit) = args.timeout.filter(|limit| last.elapsed() >= *limit) else {
        return Ok(());
    };
    let wanted = match (args.max_messages, args.exit_at_end) {
        (Some(most), _) => format!("{printed} of {most} records came"),
        (None, true) => format!("{printed} records came, and the end was not reached"),
        (None, false) => return Ok(()),
    };
    Err(CliError::TimedOut(format!(
        "no record came for {} s: {wanted}",
        limit.as_secs_f32()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_numbers_or_words() {
        assert_eq!(parse_start("7"), Ok(Start::At(7)));
        assert_eq!(parse_start("-7"), Ok(Start::BeforeEnd(7)));
        assert_eq!(parse_start("earliest"), Ok(Start::Earliest));
        assert_eq!(parse_start("latest"), Ok(Start::Latest));
        for text in ["", "x", "1.5", "-9223372036854775808"] {
            assert!(parse_start(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_left_counts_from_where_printing_stands() {
        let partition = |index| TopicPartition::new("t", PartitionIndex::new(index));
        let offsets = |offsets: [i64; 2]| {
            let offsets = offsets.into_iter().enumerate();
            offsets
                .map(|(index, it)| (partition(index as i32), Offset::new(it)))
                .collect()
        };
        let mut ends = Ends {
            assignment: 1,
            ends: offsets([10, 5]),
            reached: offsets([4, 5]),
            total: 0,
        };
        assert_eq!(ends.left(), 6);
        ends.reached.insert(partition(0), Offset::new(12));
        assert_eq!(ends.left(), 0, "records came beyond the end");
    }
}
