//! `kafscale restore`: a new topic that holds another one as it was at a moment.

use std::collections::BTreeSet;

use clap::Args;
use segment::{TimestampMs, TopicName};

use super::error::CliError;
use super::ground::GroundArgs;
use super::output::Output;
use super::progress::Progress;
use super::table::Table;
use super::time::{parse_timestamp, show_timestamp};
use crate::tools::restore::{Report, Restore, Restored, Step, restore};

const AFTER_HELP: &str = "\
Examples:
  kafscale restore --topic orders --target orders-noon --to 2026-05-01T12:00:00Z
  kafscale restore --topic orders --target orders-noon --to 2026-05-01T12:00:00Z --dry-run

Every record of the topic that is still in the bucket with a timestamp up to that moment is in the
new topic, at the same offset, and no other is. It has the configuration of the topic: where records
expire (retention.ms), they expire there too. Brokers may run meanwhile; they serve the new topic
from the moment that it is whole. Run it again after an interruption: it starts over. Do not run it
twice at a time for one target. Committed offsets of groups are not copied.";

/// Make a new topic that holds another one as it was at a moment
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// The topic to read
    #[arg(long, value_name = "NAME", value_parser = parse_topic)]
    topic: TopicName,
    /// The topic to make; it must not exist
    #[arg(long, value_name = "NAME", value_parser = parse_topic)]
    target: TopicName,
    /// The last moment that counts: RFC 3339, a date, or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_timestamp)]
    to: TimestampMs,
    /// Copy these partitions only; the others are empty in the new topic
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// Read and count everything, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Reads the name of a topic.
pub(super) fn parse_topic(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|error| error.to_string())
}

pub(super) fn run(args: &RestoreArgs) -> Result<(), CliError> {
    let partitions: BTreeSet<i32> = args.partitions.iter().copied().collect();
    let (wanted, report) = args.ground.run(async |ground, config| {
        let wanted = Restore {
            source: args.topic.clone(),
            target: args.target.clone(),
            until: args.to,
            partitions: (!partitions.is_empty()).then_some(partitions),
            segment_bytes: config.log.segment_bytes,
            dry_run: args.dry_run,
        };
        let bar = Progress::count("offsets read", 0);
        let total = std::cell::Cell::new(0);
        let progress = |step| match step {
            Step::Total(more) => {
                total.set(total.get() + more);
                bar.set_total(total.get());
            }
            Step::Done(more) => bar.add(more),
        };
        let report = restore(&ground, &wanted, &progress).await?;
        Ok((wanted, report))
    })?;
    print(&wanted, &report)
}

fn print(wanted: &Restore, report: &Report) -> Result<(), CliError> {
    let mut out = Output::stdout();
    if let Some(begun) = report.discarded {
        let begun = show_timestamp(begun);
        out.line(&format!(
            "What an interrupted restore of {begun} had left was removed."
        ))?;
    }
    let mut table = Table::new(&[
        "PARTITION",
        "RECORDS",
        "BYTES",
        "OFFSETS KEPT",
        "LATER",
        "BATCHES CUT",
        "SOURCE END",
    ]);
    for restored in &report.partitions {
        table.row(row(restored));
    }
    out.put(|mut out| table.write(&mut out, ""))?;
    let copied = || report.partitions.iter().filter_map(|p| p.copied.as_ref());
    let records: u64 = copied().map(|copied| copied.records).sum();
    let bytes: u64 = copied().map(|copied| copied.bytes).sum();
    let later: u64 = copied().map(|copied| copied.later).sum();
    let unreadable: u64 = copied().map(|copied| copied.unreadable).sum();
    let until = show_timestamp(wanted.until);
    let (source, target) = (&wanted.source, &wanted.target);
    let did = match (&report.topic, wanted.dry_run) {
        (Some(topic), _) => format!("Topic {target} ({}) holds", topic.topic_id),
        (None, _) => format!("Nothing was written; topic {target} would hold"),
    };
    out.line(&format!(
        "{did} {records} records of {source} up to {until} in {bytes} bytes; {later} are later."
    ))?;
    if unreadable > 0 {
        out.line(&format!(
            "The records of {unreadable} batches cannot be read, as their producers wrote them; each \
             was kept or left out by the largest timestamp in its header."
        ))?;
    }
    out.flush()
}

fn row(restored: &Restored) -> Vec<String> {
    let partition = restored.partition.to_string();
    let Some(copied) = &restored.copied else {
        let none = || "-".to_owned();
        let left_out = "not asked for".to_owned();
        return vec![partition, none(), none(), left_out, none(), none(), none()];
    };
    let kept = match copied.start == copied.end {
        true => format!("none, at {}", copied.start),
        false => format!("{} to before {}", copied.start, copied.end),
    };
    vec![
        partition,
        copied.records.to_string(),
        copied.bytes.to_string(),
        kept,
        copied.later.to_string(),
        copied.cut.to_string(),
        restored.source_end.to_string(),
    ]
}
