//! The command line: `kafscale broker`, and the client commands beside it.
//!
//! Every command ends in a [`CliError`] or in success; the exit codes are those of `--help`. Data
//! goes to standard output, everything else to standard error. A reader that closes the pipe ends
//! a command quietly.

mod acl;
mod adopt;
mod backup;
mod broker;
mod cluster;
mod completions;
mod connect;
mod consume;
mod doctor;
mod error;
mod export;
mod format;
mod fsck;
mod ground;
mod group;
mod interrupt;
mod lines;
mod man;
mod mcp;
mod output;
mod produce;
mod progress;
mod reset;
mod restore;
mod segment;
mod table;
mod time;
mod topic;
mod user;

use std::io::Write;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config;
use connect::ConnectArgs;
use error::CliError;

const AFTER_HELP: &str = "\
Examples:
  kafscale broker                                  start a broker; its log is in ./kafscale-data
  kafscale topic create orders --partitions 3      create a topic
  echo hello | kafscale produce orders             send a line
  kafscale consume orders --from-beginning         print what is there, and what comes
  kafscale group describe billing                  show how far a group has read
  kafscale user set alice --new-password-file f    make a user, or change its password
  kafscale acl allow User:alice --operation read --topic orders
  kafscale cluster describe                        show the brokers of a cluster
  kafscale restore --topic orders --target orders-noon --to 2026-05-01T12:00:00Z
  kafscale export --topic orders --output orders/  write a topic as Parquet files
  kafscale segment verify kafscale-data/kafscale/default/orders/0/*.kfs
  kafscale backup list                             show the backups of the metadata
  kafscale mcp                                     tools for agents (Model Context Protocol)
  kafscale fsck                                    check bucket and metadata against each other
  kafscale doctor                                  look whether this machine is fit for a broker

Exit codes:
  0  done
  1  the operation failed (`segment verify`: a file is damaged; `fsck`, `doctor`: something was found)
  2  an option, an argument or a setting cannot be used
  3  no broker could be reached
  4  timed out
  130  interrupted (Ctrl-C or SIGTERM) after finishing what was begun";

/// A Kafka-protocol broker whose log lives in object storage, and tools for any Kafka cluster.
#[derive(Debug, Parser)]
#[command(name = "kafscale", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    Topic(topic::TopicArgs),
    Produce(produce::ProduceArgs),
    Consume(consume::ConsumeArgs),
    Group(group::GroupArgs),
    User(user::UserArgs),
    Acl(acl::AclArgs),
    Cluster(cluster::ClusterArgs),
    Segment(segment::SegmentArgs),
    Restore(restore::RestoreArgs),
    Adopt(adopt::AdoptArgs),
    Backup(backup::BackupArgs),
    Fsck(fsck::FsckArgs),
    Export(export::ExportArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    Mcp(mcp::McpArgs),
}

/// The whole command line, with `broker` and a flag for each of its settings.
pub fn command() -> clap::Command {
    let broker = config::command()
        .display_order(0)
        .arg(broker::check_config())
        .after_help(broker::AFTER_HELP);
    Cli::command().subcommands([broker, doctor::command()])
}

/// Carries out the command line of this process.
pub fn main() -> ExitCode {
    match run(&command().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_quiet() {
                // Without standard error there is nobody to tell.
                let _ = writeln!(std::io::stderr(), "kafscale: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(matches: &ArgMatches) -> Result<(), CliError> {
    if let Some(("broker", given)) = matches.subcommand() {
        if given.value_source("bootstrap_server") == Some(ValueSource::CommandLine) {
            let text = "--bootstrap-server is for clients; a broker listens on --broker-addr";
            return Err(CliError::Usage(text.to_owned()));
        }
        return broker::run(given);
    }
    if let Some(("doctor", given)) = matches.subcommand() {
        return doctor::run(given);
    }
    let cli = Cli::from_arg_matches(matches).map_err(|error| CliError::Usage(error.to_string()))?;
    match cli.command {
        ClientCommand::Topic(args) => topic::run(&cli.connect, &args),
        ClientCommand::Produce(args) => produce::run(&cli.connect, &args),
        ClientCommand::Consume(args) => consume::run(&cli.connect, &args),
        ClientCommand::Group(args) => group::run(&cli.connect, &args),
        ClientCommand::User(args) => user::run(&cli.connect, &args),
        ClientCommand::Acl(args) => acl::run(&cli.connect, &args),
        ClientCommand::Cluster(args) => cluster::run(&args),
        ClientCommand::Segment(args) => segment::run(&args),
        ClientCommand::Restore(args) => restore::run(&args),
        ClientCommand::Adopt(args) => adopt::run(&args),
        ClientCommand::Backup(args) => backup::run(&args),
        ClientCommand::Fsck(args) => fsck::run(&args),
        ClientCommand::Export(args) => export::run(&args),
        ClientCommand::Completions(args) => completions::run(&args),
        ClientCommand::Man(args) => man::run(&args),
        ClientCommand::Mcp(args) => mcp::run(&cli.connect, &args),
    }
}

#[cfg(test)]
mod tests;
