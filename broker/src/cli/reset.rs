//! `kafscale group reset-offsets`: moves the committed offsets of a group without members.

use std::collections::BTreeMap;

use clap::Args;
use client::{Client, ClientError, OffsetMove, ResetTarget, TopicPartition};
use segment::{Offset, PartitionIndex, TimestampMs};

use super::error::CliError;
use super::output::Output;
use super::table::Table;
use super::time::parse_timestamp;

/// Move the committed offsets of a group that has no members
///
/// Without --execute it only shows what would change. An offset outside the log is moved to its
/// nearest end.
#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// Name of the group
    group: String,
    /// Topic to reset, or some of its partitions as TOPIC:0,1; may be repeated
    #[arg(
        short, long = "topic", value_name = "TOPIC[:N,...]", value_parser = parse_selection,
        required_unless_present = "all_topics"
    )]
    topics: Vec<Selection>,
    /// Reset every partition for which the group has committed an offset
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,
    #[command(flatten)]
    target: TargetArgs,
    /// Only show what would change; this is the default
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    execute: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// To the first offset of the log
    #[arg(long)]
    to_earliest: bool,
    /// To the end of the log
    #[arg(long)]
    to_latest: bool,
    /// To this offset
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record at or after a time (RFC 3339, or milliseconds since 1970)
    #[arg(long, value_name = "TIME", value_parser = parse_timestamp)]
    to_timestamp: Option<TimestampMs>,
    /// By this many records, forwards or (with a minus sign) backwards
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
}

/// A topic, with all its partitions or with some.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Selection {
    topic: String,
    partitions: Option<Vec<PartitionIndex>>,
}

fn parse_selection(text: &str) -> Result<Selection, String> {
    let Some((topic, numbers)) = text.split_once(':') else {
        return Ok(Selection {
            topic: text.to_owned(),
            partitions: None,
        });
    };
    let number = |number: &str| match number.trim().parse::<i32>() {
        Ok(number @ 0..) => Ok(PartitionIndex::new(number)),
        _ => Err(format!("{number:?} is not the number of a partition")),
    };
    let partitions = numbers
        .split(',')
        .map(number)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Selection {
        topic: topic.to_owned(),
        partitions: Some(partitions),
    })
}

impl TargetArgs {
    /// The one that is given; the command line allows no other number of them.
    fn target(&self) -> ResetTarget {
        match (
            self.to_earliest,
            self.to_offset,
            self.to_timestamp,
            self.shift_by,
        ) {
            (true, ..) => ResetTarget::Earliest,
            (_, Some(offset), ..) => ResetTarget::Offset(Offset::new(offset)),
            (_, _, Some(time), _) => ResetTarget::Time(time),
            (_, _, _, Some(count)) => ResetTarget::Shift(count),
            _ => ResetTarget::Latest,
        }
    }
}

pub(super) fn run(client: &mut Client, args: &ResetArgs) -> Result<(), CliError> {
    client.check_idle(&args.group)?;
    let moves = plan(client, args)?;
    let mut out = Output::stdout();
    let mut table = Table::new(&["TOPIC", "PARTITION", "COMMITTED", "NEW"]);
    for (partition, change) in &moves {
        let from = change.from.map_or("-".to_owned(), |from| from.to_string());
        let number = partition.partition.to_string();
        table.row(vec![
            partition.topic.to_string(),
            number,
            from,
            change.to.to_string(),
        ]);
    }
    out.put(|mut out| table.write(&mut out, ""))?;
    if args.execute {
        let offsets = moves
            .into_iter()
            .map(|(partition, change)| (partition, change.to));
        client.commit_offline(&args.group, &offsets.collect())?;
    } else {
        out.line("nothing was changed; add --execute to commit the new offsets")?;
    }
    out.flush()
}

fn plan(
    client: &mut Client,
    args: &ResetArgs,
) -> Result<BTreeMap<TopicPartition, OffsetMove>, CliError> {
    let partitions: Vec<TopicPartition> = match args.all_topics {
        true => client.committed(&args.group, None)?.into_keys().collect(),
        false => select(client, &args.topics)?,
    };
    Ok(client.plan_reset(&args.group, &partitions, args.target.target())?)
}

fn select(client: &mut Client, selections: &[Selection]) -> Result<Vec<TopicPartition>, CliError> {
    let mut partitions = Vec::new();
    for selection in selections {
        let info = client.topic(&selection.topic)?;
        let wanted: Vec<PartitionIndex> = match &selection.partitions {
            None => info
                .partitions
                .iter()
                .map(|partition| partition.partition)
                .collect(),
            Some(wanted) => wanted.clone(),
        };
        for partition in wanted {
            if info.partition(partition).is_none() {
                return Err(CliError::Client(ClientError::UnknownPartition {
                    topic: selection.topic.clone(),
                    partition: partition.get(),
                    count: info.partitions.len(),
                }));
            }
            partitions.push(TopicPartition::new(info.name.clone(), partition));
        }
    }
    Ok(partitions)
}

/// First and next offset of those partitions that still exist.
pub(super) fn ends<'a>(
    client: &mut Client,
    partitions: impl Iterator<Item = &'a TopicPartition>,
) -> Result<BTreeMap<TopicPartition, (Offset, Offset)>, CliError> {
    let mut existing = Vec::new();
    for partition in partitions {
        match client.topic(&partition.topic) {
            Ok(info) if info.partition(partition.partition).is_some() => {
                existing.push(partition.clone());
            }
            Ok(_) | Err(ClientError::UnknownTopic { .. }) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(client.log_bounds(&existing)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_may_name_partitions() {
        let all = Selection {
            topic: "t".to_owned(),
            partitions: None,
        };
        assert_eq!(parse_selection("t"), Ok(all));
        let partitions = [0, 2].map(PartitionIndex::new).to_vec();
        let some = Selection {
            topic: "t".to_owned(),
            partitions: Some(partitions),
        };
        assert_eq!(parse_selection("t:0,2"), Ok(some));
        for text in ["t:", "t:-1", "t:a", "t:0,,1"] {
            assert!(parse_selection(text).is_err(), "{text}");
        }
    }
}
