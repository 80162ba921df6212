//! `kafscale backup`: the metadata of a cluster as an object in its bucket, and back.

use clap::{Args, Subcommand};
use segment::TimestampMs;
use serde_json::json;

use super::error::CliError;
use super::ground::GroundArgs;
use super::output::Output;
use super::progress::Progress;
use super::table::Table;
use super::time::show_timestamp;
use crate::control::backups::{BackupError, Backups, StoredBackup};
use crate::control::context::wall_clock;
use crate::tools::Ground;
use crate::tools::backup::{
    Origin, Recover, Recovered, RecoveredPartition, Step, recover_metadata,
};

const AFTER_HELP: &str = "\
Examples:
  kafscale backup create                make a backup now; brokers may run
  kafscale backup list                  those that are in the bucket, the newest first
  kafscale backup verify                read all of them and check every byte
  kafscale backup restore --dry-run     what would come back of a cluster whose etcd is lost
  kafscale backup restore               write it into an empty etcd; every broker is stopped

A backup is every key of the cluster at one revision, under the WAL prefix of the bucket. Brokers make
one every hour where the metadata is in etcd (backup.interval_ms, backup.keep). A restore makes up for
what has happened since the backup from the bucket itself: no acknowledged record that is in the bucket
is lost. See \"etcd is lost\" in docs/operations.md.";

/// Back up the metadata of a cluster into its bucket, and restore it
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    ground: GroundArgs,
    #[command(subcommand)]
    command: BackupCommand,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Make a backup now
    Create,
    /// List backups, the newest first
    List {
        /// Print JSON, one document
        #[arg(long)]
        json: bool,
    },
    /// Read backups and check every byte
    Verify {
        /// Name of one; all of them without
        name: Option<String>,
    },
    /// Keep the newest sound backups and delete older ones
    Prune {
        /// How many are kept
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: u32,
    },
    /// Write the metadata into an empty etcd, and reconcile it with the bucket
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// Name of a backup; the newest without
    name: Option<String>,
    /// Read and report everything, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on although acknowledged records cannot be found, with batches without records in their place
    #[arg(long)]
    accept_loss: bool,
    /// Bring topics whose name nothing tells back as recovered-{topic id}
    #[arg(long)]
    recover_unnamed: bool,
}

pub(super) fn run(args: &BackupArgs) -> Result<(), CliError> {
    args.ground.run(async |ground, config| {
        let now = wall_clock();
        match &args.command {
            BackupCommand::Create => create(&ground, now).await,
            BackupCommand::List { json } => list(&ground, now, *json).await,
            BackupCommand::Verify { name } => verify(&ground, name.as_deref()).await,
            BackupCommand::Prune { keep } => prune(&ground, *keep as usize).await,
            BackupCommand::Restore(wanted) => {
                let wanted = Recover {
                    name: wanted.name.clone(),
                    dry_run: wanted.dry_run,
                    accept_loss: wanted.accept_loss,
                    recover_unnamed: wanted.recover_unnamed,
                    // A broker without etcd writes an object every half of it.
                    quiet: config.broker.session_ttl,
                    now,
                };
                restore(&ground, &wanted).await
            }
        }
    })
}

fn backups(ground: &Ground) -> Backups<'_> {
    Backups {
        objects: &ground.backups,
        keys: &ground.keys,
    }
}

async fn create(ground: &Ground, now: TimestampMs) -> Result<(), CliError> {
    let cluster = (ground.name.as_str(), ground.cluster()?.cluster_id.as_str());
    let backups = backups(ground);
    let created = backups
        .create(&ground.kv, &ground.space, cluster, now)
        .await;
    let (stored, backup) = created?;
    let keys = backup.entries.len();
    let StoredBackup {
        name,
        revision,
        bytes,
        ..
    } = stored;
    let mut out = Output::stdout();
    out.line(&format!(
        "{name}: {keys} keys at revision {revision}, {bytes} bytes"
    ))?;
    out.flush()
}

async fn list(ground: &Ground, now: TimestampMs, as_json: bool) -> Result<(), CliError> {
    let all = backups(ground).list().await.map_err(BackupError::from)?;
    let mut out = Output::stdout();
    let mut table = Table::new(&["NAME", "MADE", "AGE", "REVISION", "KEYS", "BYTES"]);
    let mut documents = Vec::new();
    for stored in &all {
        // What is damaged is listed all the same.
        let read = backups(ground).read(stored, None).await;
        let keys = read.as_ref().ok().map(|backup| backup.entries.len());
        let age = (now.get() - stored.made.get()).max(0) / 1_000;
        let made = show_timestamp(stored.made);
        if as_json {
            documents.push(json!({
                "name": stored.name,
                "made": made,
                "age_seconds": age,
                "revision": stored.revision,
                "keys": keys,
                "bytes": stored.bytes,
                "error": read.err().map(|error| error.to_string()),
            }));
            continue;
        }
        table.row(vec![
            stored.name.clone(),
            made,
            format!("{age} s"),
            stored.revision.to_string(),
            keys.map_or_else(|| "DAMAGED".to_owned(), |keys| keys.to_string()),
            stored.bytes.to_string(),
        ]);
    }
    match as_json {
        true => out.json(&json!(documents))?,
        false => out.put(|mut out| table.write(&mut out, ""))?,
    }
    out.flush()
}

async fn verify(ground: &Ground, name: Option<&str>) -> Result<(), CliError> {
    let all = backups(ground).list().await.map_err(BackupError::from)?;
    let wanted = all
        .iter()
        .filter(|stored| name.is_none_or(|name| name == stored.name));
    let (mut total, mut damaged) = (0, 0);
    let mut out = Output::stdout();
    // After a loss of etcd there is nothing to compare with.
    let cluster = ground
        .cluster
        .as_ref()
        .map(|cluster| cluster.cluster_id.as_str());
    for stored in wanted {
        total += 1;
        let said = match backups(ground).read(stored, cluster).await {
            Ok(backup) => format!("sound, {} keys", backup.entries.len()),
            Err(error) => {
                damaged += 1;
                format!("NOT SOUND: {error}")
            }
        };
        out.line(&format!("{}: {said}", stored.name))?;
    }
    out.flush()?;
    match (total, damaged) {
        (0, _) => Err(CliError::Input("there is no such backup".to_owned())),
        (_, 0) => Ok(()),
        _ => Err(CliError::Damaged { damaged, total }),
    }
}

async fn prune(ground: &Ground, keep: usize) -> Result<(), CliError> {
    let cluster = ground.cluster()?.cluster_id.as_str();
    let pruned = backups(ground).prune(keep, cluster).await?;
    let mut out = Output::stdout();
    for (stored, error) in &pruned.damaged {
        out.line(&format!("{}: left alone, not sound: {error}", stored.name))?;
    }
    for stored in &pruned.deleted {
        out.line(&format!("{}: deleted", stored.name))?;
    }
    let (kept, failed) = (pruned.kept.len(), pruned.failed);
    out.line(&format!("{kept} are kept"))?;
    out.flush()?;
    match failed {
        0 => Ok(()),
        failed => {
            let reason = format!("{failed} backups could not be deleted now");
            Err(CliError::Input(reason))
        }
    }
}

async fn restore(ground: &Ground, wanted: &Recover) -> Result<(), CliError> {
    let bar = Progress::count("partitions", 0);
    let progress = |step| match step {
        Step::Total(total) => bar.set_total(total),
        Step::Partition => bar.add(1),
    };
    let recovered = recover_metadata(ground, wanted, &progress).await?;
    drop(bar);
    report(&recovered)?;
    match recovered.refused {
        Some(refused) if !recovered.is_written => Err(refused.into()),
        _ => Ok(()),
    }
}

fn report(recovered: &Recovered) -> Result<(), CliError> {
    let mut out = Output::stdout();
    let made = show_timestamp(recovered.backup.made);
    out.line(&format!("Backup {} of {made}", recovered.backup.name))?;
    for topic in &recovered.topics {
        let partitions = topic.record.partition_count;
        let from = match topic.origin {
            Origin::Backup => "from the backup",
            Origin::Objects => "from objects",
            Origin::Wal => "from WAL objects alone, under an invented name",
        };
        out.line(&format!(
            "Topic {}: {partitions} partitions, {from}",
            topic.dir
        ))?;
        for note in &topic.notes {
            out.line(&format!("  {note}"))?;
        }
        let id = topic.record.topic_id;
        let of_topic = recovered
            .partitions
            .iter()
            .filter(|partition| partition.id.topic == id);
        partitions_of(&mut out, of_topic.collect())?;
    }
    let (sessions, new) = recovered.sessions;
    out.line(&format!(
        "{sessions} sessions in the bucket, {new} of them later than the backup"
    ))?;
    for owner in &recovered.kept_apart {
        out.line(&format!(
            "  session {} of broker {} holds records that could not be placed: it gets no record, and \
             nothing of it is deleted",
            owner.session, owner.broker
        ))?;
    }
    for (what, why) in &recovered.orphans {
        out.line(&format!("left alone: {what}: {why}"))?;
    }
    for object in &recovered.unreadable {
        out.line(&format!("UNREADABLE: {object}"))?;
    }
    for (group, id, offset, end) in &recovered.beyond {
        out.line(&format!(
            "group {group:?}, {id}: committed offset {offset} lies above the end {end} of the log"
        ))?;
    }
    out.line(
        "Committed offsets and settings of topics are those of the backup; a topic that was deleted \
         since is there again.",
    )?;
    let keys = recovered.keys;
    out.line(&match recovered.is_written {
        true => format!("{keys} keys were written: brokers can be started."),
        false => format!("Nothing was written; it would be {keys} keys."),
    })?;
    out.flush()
}

fn partitions_of(out: &mut Output, all: Vec<&RecoveredPartition>) -> Result<(), CliError> {
    if all.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "PARTITION",
        "OFFSETS SERVED",
        "IN SEGMENTS TO",
        "BACKUP HAD",
        "SEGMENTS",
        "WAL SECTIONS",
    ]);
    for partition in &all {
        table.row(vec![
            partition.id.partition.to_string(),
            format!("{} to before {}", partition.start, partition.end),
            partition.compacted_end.to_string(),
            partition.backed_up_end.to_string(),
            partition.segments.to_string(),
            partition.sections.to_string(),
        ]);
    }
    out.put(|mut out| table.write(&mut out, "  "))?;
    for partition in all {
        let index = partition.id.partition;
        for missing in &partition.missing {
            let (first, end) = (missing.start, missing.end);
            out.line(&format!(
                "  partition {index}: offsets {first} to before {end} are in no object: deleted, expired \
                 or LOST"
            ))?;
        }
        if let Some(hidden) = &partition.hidden {
            let (first, end) = (hidden.start, hidden.end);
            let how = match partition.can_fill() {
                true => {
                    "with --accept-loss batches without records take the place of what is missing, and \
                     producers are forgotten"
                }
                false => {
                    "they cannot be served below it, unless a damaged segment is moved elsewhere"
                }
            };
            out.line(&format!(
                "  partition {index}: offsets {first} to before {end} are there, below what is missing; {how}"
            ))?;
        }
        for note in &partition.notes {
            out.line(&format!("  partition {index}: {note}"))?;
        }
    }
    Ok(())
}
