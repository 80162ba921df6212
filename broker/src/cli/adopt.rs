//! `kafscale adopt`: serves a bucket and etcd that the original KafScale wrote.

use std::collections::BTreeSet;

use clap::Args;

use super::error::CliError;
use super::ground::GroundArgs;
use super::output::Output;
use super::progress::Progress;
use super::table::Table;
use crate::tools::adopt::{
    Adopt, AdoptedTopic, LeftOut, OriginalLog, Outcome, PREFIX_DEFAULT, Read, Reason, adopt,
};

/// Segments that are named for each partition; the rest is counted.
const NAMED_MAX: usize = 20;

const AFTER_HELP: &str = "\
Examples:
  export KAFSCALE_S3_PREFIX=/ KAFSCALE_S3_NAMESPACE=default
  kafscale adopt --dry-run                  look at everything, write nothing
  kafscale adopt                            adopt all topics
  kafscale adopt --topics orders,payments

Stop every broker of the original first, and do not start it again: it would write what nobody
sees. No broker of the new cluster may run either. Segments stay where they lie; nothing is deleted,
and no key of the original in etcd is changed. Topics keep their ids, groups their committed
offsets. Run it again after an interruption: it goes on. The exit code is 1 if a topic was refused.";

/// Serve a bucket and etcd that the original KafScale (format version 1) wrote
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct AdoptArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// What the original's keys in etcd begin with
    #[arg(long, value_name = "PREFIX", default_value = PREFIX_DEFAULT)]
    from_etcd_prefix: String,
    /// Adopt these topics only
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    topics: Vec<String>,
    /// Take over retention.ms, retention.bytes and cleanup.policy, which the original stores and never
    /// carries out: brokers then delete records by them
    #[arg(long)]
    with_retention: bool,
    /// Read and check everything, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &AdoptArgs) -> Result<(), CliError> {
    let topics: BTreeSet<String> = args.topics.iter().cloned().collect();
    let wanted = Adopt {
        prefix: args.from_etcd_prefix.clone(),
        topics: (!topics.is_empty()).then_some(topics),
        with_retention: args.with_retention,
        dry_run: args.dry_run,
    };
    let adopted = args.ground.run(async |ground, _| {
        let bar = Progress::bytes("segments read", None);
        Ok(adopt(&ground, &wanted, &|Read(bytes)| bar.add(bytes)).await?)
    })?;
    let mut out = Output::stdout();
    for topic in &adopted {
        print(&mut out, topic, args.dry_run)?;
    }
    out.flush()?;
    let is_refused = |topic: &&AdoptedTopic| matches!(topic.outcome, Outcome::Refused(_));
    match adopted.iter().filter(is_refused).count() {
        0 => Ok(()),
        refused => Err(CliError::Input(format!(
            "{refused} of {} topics were not adopted; see above",
            adopted.len()
        ))),
    }
}

fn print(out: &mut Output, topic: &AdoptedTopic, dry_run: bool) -> Result<(), CliError> {
    let name = &topic.name;
    let said = match (&topic.outcome, dry_run) {
        (Outcome::Adopted, false) => "adopted".to_owned(),
        (Outcome::Adopted, true) => "can be adopted; nothing was written".to_owned(),
        (Outcome::Already, _) => "was adopted before".to_owned(),
        (Outcome::Refused(why), _) => format!("NOT ADOPTED: {why}"),
    };
    out.line(&format!("{name}: {said}"))?;
    if !topic.logs.is_empty() {
        let mut table = Table::new(&[
            "PARTITION",
            "SEGMENTS",
            "BYTES",
            "OFFSETS SERVED",
            "LEFT OUT",
        ]);
        for log in &topic.logs {
            table.row(vec![
                log.partition.to_string(),
                log.segments.to_string(),
                log.bytes.to_string(),
                format!("{} to before {}", log.start, log.end),
                log.left_out.len().to_string(),
            ]);
        }
        out.put(|mut out| table.write(&mut out, "  "))?;
    }
    for log in &topic.logs {
        notes(out, log)?;
    }
    for setting in &topic.settings_left_out {
        out.line(&format!("  setting {setting}"))?;
    }
    if topic.offsets + topic.offsets_left_out > 0 {
        out.line(&format!(
            "  committed offsets: {}, of which {} lay above the end of the log and were set to it; {} \
             in partitions that do not exist were left out",
            topic.offsets, topic.offsets_clamped, topic.offsets_left_out
        ))?;
    }
    Ok(())
}

fn notes(out: &mut Output, log: &OriginalLog) -> Result<(), CliError> {
    let partition = log.partition;
    if let Some(given_out) = log.given_out {
        out.line(&format!(
            "  partition {partition}: the original gave out offsets up to before {given_out}; those \
             from {} on are in no segment, and are given out again",
            log.end
        ))?;
    }
    if log.without_index > 0 {
        out.line(&format!(
            "  partition {partition}: {} segments without an index, which is made from the segment",
            log.without_index
        ))?;
    }
    if log.without_segment > 0 {
        out.line(&format!(
            "  partition {partition}: {} indexes without a segment",
            log.without_segment
        ))?;
    }
    for left in log.left_out.iter().take(NAMED_MAX) {
        out.line(&format!("  partition {partition}: {}", told(left)))?;
    }
    if log.left_out.len() > NAMED_MAX {
        let more = log.left_out.len() - NAMED_MAX;
        out.line(&format!(
            "  partition {partition}: and {more} segments more"
        ))?;
    }
    Ok(())
}

fn told(left: &LeftOut) -> String {
    let why = match &left.reason {
        Reason::Damaged(reason) => format!("is damaged: {reason}"),
        Reason::Apart => "does not join what is served: offsets are missing or overlap".to_owned(),
        Reason::Inside => {
            "lies inside another segment; the first broker deletes it, so keep a copy if its records \
             may differ"
                .to_owned()
        }
    };
    format!("{} {why}", left.key)
}
