//! `kafscale group`: listing, describing, resetting and deleting consumer groups.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use client::{Client, CommittedOffset, GroupDescription, GroupMember, TopicPartition};
use segment::Offset;
use serde_json::json;

use super::connect::ConnectArgs;
use super::error::CliError;
use super::output::Output;
use super::reset::{self, ResetArgs};
use super::table::Table;

const AFTER_HELP: &str = "\
Examples:
  kafscale group list
  kafscale group describe billing
  kafscale group reset-offsets billing --topic orders --to-earliest
  kafscale group reset-offsets billing --topic orders --to-earliest --execute
  kafscale group delete billing";

/// List, describe, reset and delete consumer groups
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct GroupArgs {
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    List(ListArgs),
    Describe(DescribeArgs),
    ResetOffsets(ResetArgs),
    Delete(DeleteArgs),
}

/// List groups with their states
#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show members, committed offsets and lag
#[derive(Debug, Args)]
struct DescribeArgs {
    /// Names of groups
    #[arg(required = true)]
    groups: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Delete groups without members, with their committed offsets
#[derive(Debug, Args)]
struct DeleteArgs {
    /// Names of groups
    #[arg(required = true)]
    groups: Vec<String>,
}

pub(super) fn run(connect: &ConnectArgs, args: &GroupArgs) -> Result<(), CliError> {
    let mut client = connect.connect()?;
    match &args.command {
        GroupCommand::List(args) => list(&mut client, args),
        GroupCommand::Describe(args) => describe(&mut client, args),
        GroupCommand::ResetOffsets(args) => reset::run(&mut client, args),
        GroupCommand::Delete(args) => args
            .groups
            .iter()
            .try_for_each(|group| Ok(client.delete_group(group)?)),
    }
}

fn list(client: &mut Client, args: &ListArgs) -> Result<(), CliError> {
    let groups = client.groups()?;
    let mut out = Output::stdout();
    if args.json {
        let group = |group: &client::GroupListing| {
            json!({
                "group": group.group,
                "protocol_type": group.protocol_type,
                "state": group.state,
            })
        };
        out.json(&groups.iter().map(group).collect())?;
    } else {
        let mut table = Table::new(&["GROUP", "PROTOCOL", "STATE"]);
        for group in groups {
            table.row(vec![group.group, group.protocol_type, group.state]);
        }
        out.put(|mut out| table.write(&mut out, ""))?;
    }
    out.flush()
}

/// How far a group has read in one partition.
struct Progress<'a> {
    partition: TopicPartition,
    committed: Option<Offset>,
    end: Option<Offset>,
    reader: Option<&'a GroupMember>,
}

impl Progress<'_> {
    /// Records that the group has not read yet.
    fn lag(&self) -> Option<u64> {
        self.end?.distance_from(self.committed?)
    }
}

fn describe(client: &mut Client, args: &DescribeArgs) -> Result<(), CliError> {
    let mut out = Output::stdout();
    let mut documents = Vec::new();
    for group in &args.groups {
        let group = client.describe_group(group)?;
        let committed = client.committed(&group.group, None)?;
        let rows = progress(client, &group, &committed)?;
        if args.json {
            documents.push(document(&group, &rows));
        } else {
            show(&mut out, &group, &rows)?;
        }
    }
    if args.json {
        out.json(&documents.into())?;
    }
    out.flush()
}

fn progress<'a>(
    client: &mut Client,
    group: &'a GroupDescription,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
) -> Result<Vec<Progress<'a>>, CliError> {
    let mut readers: BTreeMap<TopicPartition, Option<&GroupMember>> = committed
        .keys()
        .map(|partition| (partition.clone(), None))
        .collect();
    for member in &group.members {
        for partition in &member.assignment {
            readers.insert(partition.clone(), Some(member));
        }
    }
    let ends = reset::ends(client, readers.keys())?;
    let row = |(partition, reader): (TopicPartition, Option<&'a GroupMember>)| Progress {
        committed: committed.get(&partition).map(|found| found.offset),
        end: ends.get(&partition).map(|(_, end)| *end),
        partition,
        reader,
    };
    Ok(readers.into_iter().map(row).collect())
}

fn show(out: &mut Output, group: &GroupDescription, rows: &[Progress<'_>]) -> Result<(), CliError> {
    out.line(&format!("group {}", group.group))?;
    out.line(&format!("  state        {}", group.state))?;
    if !group.assignor.is_empty() {
        out.line(&format!("  assignor     {}", group.assignor))?;
    }
    out.line(&format!("  coordinator  {}", group.coordinator))?;
    out.line(&format!("  members      {}", group.members.len()))?;
    let mut table = Table::new(&[
        "TOPIC",
        "PARTITION",
        "COMMITTED",
        "END",
        "LAG",
        "MEMBER",
        "HOST",
    ]);
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for row in rows {
        table.row(vec![
            row.partition.topic.to_string(),
            row.partition.partition.to_string(),
            shown(row.committed.map(|offset| offset.to_string())),
            shown(row.end.map(|offset| offset.to_string())),
            shown(row.lag().map(|lag| lag.to_string())),
            shown(row.reader.map(|member| member.id.clone())),
            shown(row.reader.map(|member| member.host.clone())),
        ]);
    }
    out.put(|mut out| table.write(&mut out, "  "))?;
    let idle = group
        .members
        .iter()
        .filter(|member| member.assignment.is_empty());
    for member in idle {
        out.line(&format!(
            "  {} ({}) has no partitions",
            member.id, member.host
        ))?;
    }
    Ok(())
}

fn document(group: &GroupDescription, rows: &[Progress<'_>]) -> serde_json::Value {
    let members = group.members.iter().map(|member| {
        let assignment = member.assignment.iter().map(|partition| {
            json!({ "topic": &*partition.topic, "partition": partition.partition.get() })
        });
        json!({
            "id": member.id,
            "instance_id": member.instance_id,
            "client_id": member.client_id,
            "host": member.host,
            "assignment": assignment.collect::<Vec<_>>(),
        })
    });
    let offsets = rows.iter().map(|row| {
        json!({
            "topic": &*row.partition.topic,
            "partition": row.partition.partition.get(),
            "committed": row.committed.map(Offset::get),
            "end": row.end.map(Offset::get),
            "lag": row.lag(),
            "member": row.reader.map(|member| &member.id),
        })
    });
    json!({
        "group": group.group,
        "state": group.state,
        "protocol_type": group.protocol_type,
        "assignor": group.assignor,
        "coordinator": group.coordinator,
        "members": members.collect::<Vec<_>>(),
        "offsets": offsets.collect::<Vec<_>>(),
    })
}
