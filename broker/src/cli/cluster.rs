//! `kafscale cluster`: brokers of a cluster and what each owns; drains. Reads and writes etcd, so
//! that it works while brokers are down.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use coord::kv::etcd::{EtcdOptions, Password};
use segment::BrokerId;
use serde_json::json;

use super::error::CliError;
use super::output::Output;
use super::progress::Progress;
use super::table::Table;
use super::time::parse_duration;
use crate::control::operator::{BrokerRow, Change, ClusterState, Moving, Operator, Supposed};

/// How often a command that waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(250);

const AFTER_HELP: &str = "\
Examples:
  kafscale cluster describe
  kafscale cluster drain 2              move everything away from broker 2, and wait for it
  kafscale cluster undrain 2            give it its share again, and wait for it
  kafscale cluster balance --dry-run    show what moves until every broker has its share
  kafscale cluster balance              wait until nothing moves any more

A cluster balances itself: these commands tell it what is wanted, and show how far it is. Nothing
moves without need: a partition goes to another broker only where counts differ by more than one.";

/// Show and steer a cluster on S3 and etcd
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    etcd: EtcdArgs,
    #[command(subcommand)]
    command: ClusterCommand,
}

/// Where the metadata of the cluster is: the settings of its brokers.
#[derive(Debug, Args)]
struct EtcdArgs {
    /// URLs of etcd
    #[arg(
        long,
        global = true,
        env = "KAFSCALE_ETCD_ENDPOINTS",
        value_delimiter = ',',
        value_name = "URL,...",
        help_heading = "Metadata"
    )]
    etcd_endpoints: Vec<String>,
    /// Name of the cluster
    #[arg(
        long,
        global = true,
        env = "KAFSCALE_CLUSTER",
        default_value = "kafscale",
        value_name = "NAME",
        help_heading = "Metadata"
    )]
    cluster: String,
    /// User for etcd; its password is read from KAFSCALE_ETCD_PASSWORD
    #[arg(
        long,
        global = true,
        env = "KAFSCALE_ETCD_USERNAME",
        help_heading = "Metadata"
    )]
    etcd_username: Option<String>,
    /// PEM file with the authorities that etcd's certificate is checked against
    #[arg(
        long,
        global = true,
        env = "KAFSCALE_ETCD_CA_FILE",
        help_heading = "Metadata"
    )]
    etcd_ca_file: Option<PathBuf>,
    /// PEM file with the certificate shown to etcd
    #[arg(
        long,
        global = true,
        env = "KAFSCALE_ETCD_CERT_FILE",
        help_heading = "Metadata"
    )]
    etcd_cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate
    #[arg(
        long,
        global = true,
        env = "KAFSCALE_ETCD_KEY_FILE",
        help_heading = "Metadata"
    )]
    etcd_key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Show brokers, what each owns, and what nobody owns
    Describe {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Move everything away from a broker and keep it empty, also after it restarts
    Drain(DrainArgs),
    /// Let a drained broker have its share again
    Undrain(DrainArgs),
    /// Give every broker its share: counts of partitions and of slots differ by at most one then
    Balance(WaitArgs),
}

#[derive(Debug, Args)]
struct DrainArgs {
    /// Id of the broker
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    broker: i32,
    /// Do not wait until everything has moved
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
struct WaitArgs {
    /// Print what would move, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: print JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Longest wait
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    timeout: Duration,
}

pub(super) fn run(args: &ClusterArgs) -> Result<(), CliError> {
    let operator = args.etcd.connect()?;
    match &args.command {
        ClusterCommand::Describe { json } => describe(&operator.state()?, *json),
        ClusterCommand::Drain(args) => drain(&operator, args),
        ClusterCommand::Undrain(args) => undrain(&operator, args),
        ClusterCommand::Balance(args) => balance(&operator, args),
    }
}

impl EtcdArgs {
    fn connect(&self) -> Result<Operator, CliError> {
        if self.etcd_endpoints.is_empty() {
            let text = "no etcd endpoints: set --etcd-endpoints or KAFSCALE_ETCD_ENDPOINTS. A \
                        broker on the embedded store is alone and has no cluster";
            return Err(CliError::Usage(text.to_owned()));
        }
        let password = std::env::var("KAFSCALE_ETCD_PASSWORD").ok();
        let options = EtcdOptions {
            username: self.etcd_username.clone(),
            password: password.map(Password::new),
            ..EtcdOptions::new(self.etcd_endpoints.iter().cloned())
        };
        let (cert_file, key_file) = (self.etcd_cert_file.clone(), self.etcd_key_file.clone());
        let options = options.with_tls_files(self.etcd_ca_file.clone(), cert_file, key_file);
        Ok(Operator::connect(options, &self.cluster)?)
    }
}

fn state_of(row: &BrokerRow) -> String {
    let state = format!("{:?}", row.state).to_lowercase();
    match row.draining {
        true => format!("{state}, drained"),
        false => state,
    }
}

fn describe(state: &ClusterState, as_json: bool) -> Result<(), CliError> {
    let mut out = Output::stdout();
    if as_json {
        let brokers = state.brokers.iter().map(|row| {
            json!({
                "id": row.id.get(), "session": row.session.to_string(), "address": row.address,
                "rack": row.rack,
                "state": format!("{:?}", row.state).to_lowercase(), "drained": row.draining,
                "partitions": row.partitions, "slots": row.slots,
            })
        });
        let text = json!({
            "cluster_id": state.cluster.cluster_id,
            "commit_mode": format!("{:?}", state.cluster.commit_mode).to_lowercase(),
            "brokers": brokers.collect::<Vec<_>>(), "topics": state.topics,
            "partitions": state.partitions, "partitions_without_leader": state.leaderless,
            "slots_without_owner": state.slots_without_owner,
        });
        out.json(&text)?;
        return out.flush();
    }
    out.line(&format!("cluster id    {}", state.cluster.cluster_id))?;
    let mode = format!("{:?}", state.cluster.commit_mode).to_lowercase();
    out.line(&format!("commits       {mode}"))?;
    out.line(&format!("topics        {}", state.topics))?;
    let leaderless = match state.leaderless {
        0 => String::new(),
        count => format!(", {count} WITHOUT A LEADER"),
    };
    out.line(&format!("partitions    {}{leaderless}", state.partitions))?;
    if state.slots_without_owner > 0 {
        let count = state.slots_without_owner;
        out.line(&format!(
            "{count} coordinator slots have no owner: their groups wait"
        ))?;
    }
    let mut table = Table::new(&[
        "BROKER",
        "ADDRESS",
        "RACK",
        "STATE",
        "PARTITIONS",
        "SLOTS",
        "SESSION",
    ]);
    for row in &state.brokers {
        table.row(vec![
            row.id.to_string(),
            row.address.clone(),
            row.rack.clone().unwrap_or_else(|| "-".to_owned()),
            state_of(row),
            row.partitions.to_string(),
            row.slots.to_string(),
            row.session.to_string(),
        ]);
    }
    out.put(|mut out| table.write(&mut out, ""))?;
    out.flush()
}

fn drain(operator: &Operator, args: &DrainArgs) -> Result<(), CliError> {
    let id = BrokerId::new(args.broker);
    let find = |state: &ClusterState| state.brokers.iter().find(|row| row.id == id).cloned();
    let before = operator.state()?;
    let others = before
        .brokers
        .iter()
        .any(|row| row.id != id && row.is_eligible());
    if !others {
        let text = format!(
            "there is no other broker that could take what broker {id} owns: start one, or undrain \
             one, first"
        );
        return Err(CliError::Input(text));
    }
    if args.wait.dry_run {
        return show_changes(&operator.changes(Some(supposed(id, true)))?, args.wait.json);
    }
    operator.set_drain(id, true)?;
    let mut out = Output::stdout();
    let Some(row) = find(&before) else {
        out.line(&format!(
            "broker {id} is not running; it will be kept empty when it starts"
        ))?;
        return out.flush();
    };
    if args.no_wait {
        out.line(&format!("broker {id} gives everything away"))?;
        return out.flush();
    }
    let total = (row.partitions + row.slots) as u64;
    let progress = Progress::count("drained", total);
    wait_for(args.wait.timeout, || {
        let left = find(&operator.state()?).map_or(0, |row| row.partitions + row.slots) as u64;
        progress.set(total.saturating_sub(left));
        Ok((left > 0).then(|| format!("broker {id} still owns {left} partitions and slots")))
    })?;
    drop(progress);
    out.line(&format!(
        "broker {id} owns nothing any more and can be stopped"
    ))?;
    out.flush()
}

fn undrain(operator: &Operator, args: &DrainArgs) -> Result<(), CliError> {
    let id = BrokerId::new(args.broker);
    if args.wait.dry_run {
        return show_changes(
            &operator.changes(Some(supposed(id, false)))?,
            args.wait.json,
        );
    }
    operator.set_drain(id, false)?;
    let find = |state: &ClusterState| state.brokers.iter().find(|row| row.id == id).cloned();
    let mut out = Output::stdout();
    if find(&operator.state()?).is_none() {
        out.line(&format!(
            "broker {id} is not running; it will have its share when it starts"
        ))?;
        return out.flush();
    }
    if args.no_wait {
        out.line(&format!("broker {id} may own partitions again"))?;
        return out.flush();
    }
    settle(operator, args.wait.timeout)?;
    let (partitions, slots) =
        find(&operator.state()?).map_or((0, 0), |row| (row.partitions, row.slots));
    out.line(&format!(
        "broker {id} has its share: {partitions} partitions, {slots} slots"
    ))?;
    out.flush()
}

fn supposed(broker: BrokerId, drained: bool) -> Supposed {
    Supposed { broker, drained }
}

fn balance(operator: &Operator, args: &WaitArgs) -> Result<(), CliError> {
    if args.dry_run {
        return show_changes(&operator.changes(None)?, args.json);
    }
    settle(operator, args.timeout)?;
    describe(&operator.state()?, false)
}

/// Waits until nothing is left to move.
fn settle(operator: &Operator, timeout: Duration) -> Result<(), CliError> {
    let mut total = operator.changes(None)?.len() as u64;
    let progress = Progress::count("balanced", total);
    wait_for(timeout, || {
        let left = operator.changes(None)?.len() as u64;
        // Brokers that come and go while it is watched add to it.
        total = total.max(left);
        progress.set_total(total);
        progress.set(total - left);
        Ok((left > 0).then(|| format!("{left} partitions and slots have yet to move")))
    })
}

fn show_changes(changes: &[Change], as_json: bool) -> Result<(), CliError> {
    let mut out = Output::stdout();
    if as_json {
        let change = |change: &Change| {
            let (topic, partition, slot) = match &change.moving {
                Moving::Partition(topic, index) => (Some(topic.as_str()), Some(index.get()), None),
                Moving::Slot(slot) => (None, None, Some(*slot)),
            };
            json!({
                "topic": topic, "partition": partition, "slot": slot,
                "from": change.from.map(BrokerId::get), "to": change.to.get(),
            })
        };
        out.json(&json!(changes.iter().map(change).collect::<Vec<_>>()))?;
        return out.flush();
    }
    let mut table = Table::new(&["MOVES", "FROM", "TO"]);
    for change in changes {
        let moves = match &change.moving {
            Moving::Partition(topic, index) => format!("{topic}-{index}"),
            Moving::Slot(slot) => format!("coordinator slot {slot}"),
        };
        let from = change.from.map_or("nobody".to_owned(), |id| id.to_string());
        table.row(vec![moves, from, change.to.to_string()]);
    }
    if !changes.is_empty() {
        out.put(|mut out| table.write(&mut out, ""))?;
    }
    let is_slot = |change: &&Change| matches!(change.moving, Moving::Slot(_));
    let slots = changes.iter().filter(is_slot).count();
    let partitions = changes.len() - slots;
    out.line(&format!("{partitions} partitions and {slots} slots move"))?;
    out.flush()
}

/// Looks until `left` says that nothing is.
fn wait_for(
    timeout: Duration,
    mut left: impl FnMut() -> Result<Option<String>, CliError>,
) -> Result<(), CliError> {
    let deadline = Instant::now() + timeout;
    loop {
        let Some(reason) = left()? else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            let text = format!(
                "{reason} after {} s; it goes on by itself",
                timeout.as_secs()
            );
            return Err(CliError::TimedOut(text));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
