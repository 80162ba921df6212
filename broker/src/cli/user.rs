//! `kafscale user`: listing users, setting their passwords and removing them.

use clap::{Args, Subcommand};
use client::Client;
use security::Mechanism;
use serde_json::json;

use super::connect::{ConnectArgs, read_password};
use super::error::CliError;
use super::output::Output;
use super::table::Table;

const AFTER_HELP: &str = "\
Examples:
  kafscale user list
  kafscale user set alice --new-password-file alice.password
  printf %s \"$PASSWORD\" | kafscale user set alice --new-password-file -
  kafscale user delete alice";

/// List users, set their passwords and remove them
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    List(ListArgs),
    Set(SetArgs),
    Delete(DeleteArgs),
}

/// List users and what is stored of their passwords; the administrator of the settings is not stored
#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Set a user's password; makes the user if there is none
#[derive(Debug, Args)]
struct SetArgs {
    /// Name of the user
    #[arg(value_name = "USER")]
    name: String,
    /// File with the password in one line; - for standard input
    #[arg(long, value_name = "FILE")]
    new_password_file: String,
}

/// Remove users: they cannot connect any more
#[derive(Debug, Args)]
struct DeleteArgs {
    /// Names of users
    #[arg(required = true, value_name = "USER")]
    names: Vec<String>,
}

pub(super) fn run(connect: &ConnectArgs, args: &UserArgs) -> Result<(), CliError> {
    match &args.command {
        UserCommand::List(args) => list(&mut connect.connect()?, args),
        UserCommand::Set(args) => {
            let password = read_password(&args.new_password_file)?;
            Ok(connect.connect()?.set_password(&args.name, &password)?)
        }
        UserCommand::Delete(args) => {
            let mut client = connect.connect()?;
            let mut names = args.names.iter();
            names.try_for_each(|user| Ok(client.delete_user(user)?))
        }
    }
}

fn list(client: &mut Client, args: &ListArgs) -> Result<(), CliError> {
    let users = client.users()?;
    let mut out = Output::stdout();
    if args.json {
        let user = |user: &client::StoredUser| {
            let hashes = user.hashes.iter().map(|(hash, iterations)| {
                json!({ "mechanism": Mechanism::Scram(*hash).name(), "iterations": iterations })
            });
            json!({ "user": user.user, "credentials": hashes.collect::<Vec<_>>() })
        };
        out.json(&users.iter().map(user).collect())?;
    } else {
        let mut table = Table::new(&["USER", "MECHANISM", "ITERATIONS"]);
        for user in users {
            for (hash, iterations) in user.hashes {
                let mechanism = Mechanism::Scram(hash).name().to_owned();
                table.row(vec![user.user.clone(), mechanism, iterations.to_string()]);
            }
        }
        out.put(|mut out| table.write(&mut out, ""))?;
    }
    out.flush()
}
