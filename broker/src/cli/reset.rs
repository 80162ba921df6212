//! `kafscale group reset-offsets`: moves the committed offsets of a group without members.

use std::collections::BTreeMap;

use clap::Args;
use client::{Client, ClientError, OffsetSpec, TopicPartition};
use segment::{Offset, PartitionIndex, TimestampMs};
use wire::ErrorCode;

use super::error::CliError;
use super::output::Output;
use super::table::Table;
use super::time::parse_timestamp;

/// States of a group that nobody reads for.
const IDLE: [&str; 2] = ["Empty", "Dead"];

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

/// Where offsets are moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Earliest,
    Latest,
    Offset(i64),
    Time(TimestampMs),
    Shift(i64),
}

impl TargetArgs {
    /// The one that is given; the command line allows no other number of them.
    fn target(&self) -> Target {
        match (
            self.to_earliest,
            self.to_offset,
            self.to_timestamp,
            self.shift_by,
        ) {
            (true, ..) => Target::Earliest,
            (_, Some(offset), ..) => Target::Offset(offset),
            (_, _, Some(time), _) => Target::Time(time),
            (_, _, _, Some(count)) => Target::Shift(count),
            _ => Target::Latest,
        }
    }
}

/// One partition's change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Move {
    from: Option<Offset>,
    to: Offset,
}

pub(super) fn run(client: &mut Client, args: &ResetArgs) -> Result<(), CliError> {
    check_idle(client, &args.group)?;
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

/// A group that does not exist yet may get offsets; one with members may not.
fn check_idle(client: &mut Client, group: &str) -> Result<(), CliError> {
    match client.describe_group(group) {
        Ok(found) if !IDLE.contains(&found.state.as_str()) => Err(CliError::Input(format!(
            "group {group} is {} with {} members: stop them first",
            found.state,
            found.members.len()
        ))),
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn plan(client: &mut Client, args: &ResetArgs) -> Result<BTreeMap<TopicPartition, Move>, CliError> {
    let committed = client.committed(&args.group, None)?;
    let partitions: Vec<TopicPartition> = match args.all_topics {
        true => committed.keys().cloned().collect(),
        false => select(client, &args.topics)?,
    };
    let bounds = client.log_bounds(&partitions)?;
    let target = args.target.target();
    let by_time = match target {
        Target::Time(time) => client.offsets(&partitions, OffsetSpec::At(time))?,
        _ => BTreeMap::new(),
    };
    let mut moves = BTreeMap::new();
    for (partition, (start, end)) in bounds {
        let from = committed.get(&partition).map(|found| found.offset);
        let found = by_time.get(&partition).and_then(|found| found.offset);
        let to = match new_offset(target, from, found, (start, end)) {
            Some(to) => to,
            None => {
                let text = format!("group has no committed offset of {partition} to shift");
                return Err(CliError::Input(text));
            }
        };
        moves.insert(partition, Move { from, to });
    }
    Ok(moves)
}

/// Where one partition goes, inside its log. None if there is nothing to shift.
fn new_offset(
    target: Target,
    from: Option<Offset>,
    by_time: Option<Offset>,
    (start, end): (Offset, Offset),
) -> Option<Offset> {
    let wanted = match target {
        Target::Earliest => start,
        Target::Latest => end,
        Target::Offset(offset) => Offset::new(offset),
        // No record is that late: the next one will be.
        Target::Time(_) => by_time.unwrap_or(end),
        Target::Shift(count) => Offset::new(from?.get().saturating_add(count)),
    };
    Some(wanted.max(start).min(end))
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

    #[test]
    fn new_offsets_stay_inside_the_log() {
        let bounds = (Offset::new(10), Offset::new(20));
        let to = |target, from: Option<i64>| {
            new_offset(target, from.map(Offset::new), None, bounds).map(Offset::get)
        };
        assert_eq!(to(Target::Earliest, None), Some(10));
        assert_eq!(to(Target::Latest, Some(3)), Some(20));
        assert_eq!(to(Target::Offset(15), None), Some(15));
        assert_eq!(to(Target::Offset(99), None), Some(20));
        assert_eq!(to(Target::Shift(-4), Some(16)), Some(12));
        assert_eq!(to(Target::Shift(-40), Some(16)), Some(10));
        assert_eq!(to(Target::Shift(i64::MAX), Some(16)), Some(20));
        assert_eq!(to(Target::Shift(1), None), None);
        let time = Target::Time(TimestampMs::ZERO);
        assert_eq!(to(time, None), Some(20), "no record is that late");
        let found = new_offset(time, None, Some(Offset::new(12)), bounds);
        assert_eq!(found, Some(Offset::new(12)));
    }
}
