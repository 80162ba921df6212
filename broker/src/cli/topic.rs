//! `kafscale topic`: creating, listing, describing, changing and deleting topics.

use clap::{Args, Subcommand};
use client::{Client, ClientError, ConfigChange, ConfigEntry, NewTopic, TopicInfo, TopicPartition};
use serde_json::json;
use wire::ErrorCode;

use super::connect::{ConnectArgs, parse_pair};
use super::error::CliError;
use super::output::Output;
use super::table::Table;

const AFTER_HELP: &str = "\
Examples:
  kafscale topic create orders --partitions 12 --config retention.ms=86400000
  kafscale topic list
  kafscale topic describe orders
  kafscale topic alter orders --config retention.ms=3600000 --partitions 24
  kafscale topic delete orders";

/// Create, list, describe, change and delete topics
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct TopicArgs {
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    Create(CreateArgs),
    List(ListArgs),
    Describe(DescribeArgs),
    Alter(AlterArgs),
    Delete(DeleteArgs),
}

/// Create a topic
#[derive(Debug, Args)]
struct CreateArgs {
    /// Name of the topic
    topic: String,
    /// Number of partitions [default: the broker's]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Copies of each partition; a KafScale broker takes any number and keeps the log in its store
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// Configuration of the topic, for example retention.ms=86400000; may be repeated
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = parse_pair)]
    configs: Vec<(String, String)>,
    /// Succeed if the topic exists already
    #[arg(long)]
    if_not_exists: bool,
}

/// List topics, one name a line
#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON, with ids and numbers of partitions
    #[arg(long)]
    json: bool,
}

/// Show partitions, leaders, offsets and configuration
#[derive(Debug, Args)]
struct DescribeArgs {
    /// Names of topics [default: all]
    topics: Vec<String>,
    /// Show all configuration, not only what the topic sets itself
    #[arg(long)]
    all_configs: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Change configuration, or add partitions
#[derive(Debug, Args)]
struct AlterArgs {
    /// Name of the topic
    topic: String,
    /// Set a configuration value; may be repeated
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = parse_pair)]
    configs: Vec<(String, String)>,
    /// Set a configuration value back to the default; may be repeated
    #[arg(short, long = "delete-config", value_name = "NAME")]
    delete_configs: Vec<String>,
    /// New number of partitions, more than there are
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
}

/// Delete topics with all their records
#[derive(Debug, Args)]
struct DeleteArgs {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// Succeed if a topic does not exist
    #[arg(long)]
    if_exists: bool,
}

pub(super) fn run(connect: &ConnectArgs, args: &TopicArgs) -> Result<(), CliError> {
    match &args.command {
        TopicCommand::Create(args) => create(&mut connect.connect()?, args),
        TopicCommand::List(args) => list(&mut connect.connect()?, args),
        TopicCommand::Describe(args) => describe(&mut connect.connect()?, args),
        TopicCommand::Alter(args) => alter(connect, args),
        TopicCommand::Delete(args) => delete(&mut connect.connect()?, args),
    }
}

fn create(client: &mut Client, args: &CreateArgs) -> Result<(), CliError> {
    let topic = NewTopic {
        name: args.topic.clone(),
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        configs: args.configs.clone(),
    };
    match client.create_topic(&topic) {
        Err(error) if args.if_not_exists && exists(&error) => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn exists(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS)
}

fn list(client: &mut Client, args: &ListArgs) -> Result<(), CliError> {
    let topics = client.all_topics()?;
    let mut out = Output::stdout();
    if args.json {
        let topic = |topic: &TopicInfo| {
            let (name, id, partitions) =
                (&*topic.name, topic.id.to_string(), topic.partitions.len());
            json!({ "topic": name, "id": id, "partitions": partitions })
        };
        out.json(&topics.iter().map(topic).collect())?;
    } else {
        topics.iter().try_for_each(|topic| out.line(&topic.name))?;
    }
    out.flush()
}

/// What `describe` finds out about a topic.
struct Described {
    info: TopicInfo,
    configs: Vec<ConfigEntry>,
    /// First and next offset of each partition, as far as it can be asked.
    bounds: Vec<Option<(i64, i64)>>,
}

fn describe(client: &mut Client, args: &DescribeArgs) -> Result<(), CliError> {
    let topics = if args.topics.is_empty() {
        client.all_topics()?
    } else {
        let named = args.topics.iter().map(|topic| client.topic(topic));
        named.collect::<Result<_, _>>()?
    };
    let mut out = Output::stdout();
    let mut documents = Vec::new();
    for info in topics {
        let mut configs = client.topic_configs(&info.name)?;
        configs.retain(|config| config.is_set || args.all_configs);
        let bounds = bounds(client, &info)?;
        let described = Described {
            info,
            configs,
            bounds,
        };
        if args.json {
            documents.push(document(&described));
        } else {
            show(&mut out, &described)?;
        }
    }
    if args.json {
        out.json(&documents.into())?;
    }
    out.flush()
}

fn bounds(client: &mut Client, info: &TopicInfo) -> Result<Vec<Option<(i64, i64)>>, CliError> {
    let led = info
        .partitions
        .iter()
        .filter(|partition| partition.leader.is_some());
    let led: Vec<TopicPartition> = led
        .map(|it| TopicPartition::new(info.name.clone(), it.partition))
        .collect();
    let bounds = client.log_bounds(&led)?;
    let of = |partition: &client::PartitionInfo| {
        let partition = TopicPartition::new(info.name.clone(), partition.partition);
        bounds
            .get(&partition)
            .map(|(start, end)| (start.get(), end.get()))
    };
    Ok(info.partitions.iter().map(of).collect())
}

fn show(out: &mut Output, described: &Described) -> Result<(), CliError> {
    let Described {
        info,
        configs,
        bounds,
    } = described;
    out.line(&format!("topic {}", info.name))?;
    out.line(&format!("  id          {}", info.id))?;
    out.line(&format!("  partitions  {}", info.partitions.len()))?;
    for config in configs {
        let value = config.value.as_deref().unwrap_or("(not shown)");
        let origin = if config.is_set { "" } else { "  (default)" };
        out.line(&format!("  config      {}={value}{origin}", config.name))?;
    }
    let mut table = Table::new(&["PARTITION", "LEADER", "EPOCH", "START", "END", "RECORDS"]);
    for (partition, bounds) in info.partitions.iter().zip(bounds) {
        let leader = partition
            .leader
            .map_or("none".to_owned(), |leader| leader.to_string());
        let mut cells = vec![
            partition.partition.to_string(),
            leader,
            partition.leader_epoch.to_string(),
        ];
        match bounds {
            Some((start, end)) => {
                cells.extend([
                    start.to_string(),
                    end.to_string(),
                    (end - start).to_string(),
                ]);
            }
            None => cells.extend(std::iter::repeat_n("?".to_owned(), 3)),
        }
        table.row(cells);
    }
    out.put(|mut out| table.write(&mut out, "  "))
}

fn document(described: &Described) -> serde_json::Value {
    let Described {
        info,
        configs,
        bounds,
    } = described;
    let partitions = info
        .partitions
        .iter()
        .zip(bounds)
        .map(|(partition, bounds)| {
            json!({
                "partition": partition.partition.get(),
                "leader": partition.leader,
                "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas,
                "start_offset": bounds.map(|(start, _)| start),
                "end_offset": bounds.map(|(_, end)| end),
            })
        });
    let configs = configs.iter().map(|config| {
        json!({
            "name": config.name,
            "value": config.value,
            "is_set": config.is_set,
            "read_only": config.is_read_only,
        })
    });
    json!({
        "topic": &*info.name,
        "id": info.id.to_string(),
        "partitions": partitions.collect::<Vec<_>>(),
        "configs": configs.collect::<Vec<_>>(),
    })
}

fn alter(connect: &ConnectArgs, args: &AlterArgs) -> Result<(), CliError> {
    let set = args.configs.iter().cloned();
    let set = set.map(|(name, value)| ConfigChange::Set(name, value));
    let delete = args
        .delete_configs
        .iter()
        .cloned()
        .map(ConfigChange::Delete);
    let changes: Vec<ConfigChange> = set.chain(delete).collect();
    if changes.is_empty() && args.partitions.is_none() {
        let text = "nothing to change: give --config, --delete-config or --partitions";
        return Err(CliError::Usage(text.to_owned()));
    }
    let mut client = connect.connect()?;
    if !changes.is_empty() {
        client.alter_topic(&args.topic, &changes)?;
    }
    if let Some(count) = args.partitions {
        client.create_partitions(&args.topic, count)?;
    }
    Ok(())
}

fn delete(client: &mut Client, args: &DeleteArgs) -> Result<(), CliError> {
    for topic in &args.topics {
        match client.delete_topic(topic) {
            Err(ClientError::UnknownTopic { .. }) if args.if_exists => (),
            Err(ClientError::UnknownTopic { topic }) => {
                let text = format!(
                    "topic {topic} does not exist; `kafscale topic list` shows those that do"
                );
                return Err(CliError::Input(text));
            }
            outcome => outcome?,
        }
    }
    Ok(())
}
