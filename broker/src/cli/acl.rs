//! `kafscale acl`: listing, adding and removing rules of who may do what.

use clap::{Args, Subcommand};
use client::{AclQuery, Client, NameQuery};
use security::Principal;
use security::acl::{
    ANY, AclBinding, CLUSTER, Operation, PatternType, Permission, RawBinding, ResourceType,
};
use serde_json::json;

use super::connect::ConnectArgs;
use super::error::CliError;
use super::output::Output;
use super::table::Table;

const AFTER_HELP: &str = "\
Examples:
  kafscale acl list
  kafscale acl allow User:alice --operation read,write --topic orders
  kafscale acl allow User:alice --operation read --topic orders --group billing
  kafscale acl allow User:bob --operation all --topic staging- --prefixed
  kafscale acl allow 'User:*' --operation describe --topic '*' --host 10.0.0.7
  kafscale acl deny User:bob --operation delete --topic staging-audit
  kafscale acl allow User:operator --operation describe,alter,describe-configs --cluster
  kafscale acl list --topic orders                 what decides about that topic
  kafscale acl remove User:bob                     every rule for bob

Operations: all, read, write, create, delete, alter, describe, describe-configs, alter-configs,
cluster-action, idempotent-write, two-phase-commit. Whoever may read, write, delete or alter may
describe. A rule that denies wins over all that allow; what no rule allows is denied.";

/// List, add and remove the rules (ACLs) of who may do what
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct AclArgs {
    #[command(subcommand)]
    command: AclCommand,
}

#[derive(Debug, Subcommand)]
enum AclCommand {
    List(ListArgs),
    /// Add rules that allow
    Allow(RuleArgs),
    /// Add rules that deny
    Deny(RuleArgs),
    Remove(RemoveArgs),
}

/// What rules are about.
#[derive(Debug, Args)]
struct OnArgs {
    /// Topics; * for all
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// Groups; * for all
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// Transactional ids; * for all
    #[arg(long, value_name = "ID")]
    transactional_id: Vec<String>,
    /// The cluster itself
    #[arg(long)]
    cluster: bool,
}

impl OnArgs {
    fn resources(&self) -> Vec<(ResourceType, &str)> {
        let named = [
            (ResourceType::Topic, &self.topic),
            (ResourceType::Group, &self.group),
            (ResourceType::TransactionalId, &self.transactional_id),
        ];
        let named = named.into_iter();
        let named = named.flat_map(|(kind, names)| names.iter().map(move |it| (kind, it.as_str())));
        let cluster = self.cluster.then_some((ResourceType::Cluster, CLUSTER));
        named.chain(cluster).collect()
    }
}

/// List rules
#[derive(Debug, Args)]
struct ListArgs {
    /// Only those for this principal, as User:alice
    #[arg(long, value_name = "TYPE:NAME", value_parser = parse_principal)]
    principal: Option<Principal>,
    /// Only those that decide about these
    #[command(flatten)]
    on: OnArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RuleArgs {
    /// Whom it is for, as User:alice; User:* for everybody
    #[arg(value_name = "PRINCIPAL", value_parser = parse_principal)]
    principal: Principal,
    /// What, as read,write
    #[arg(long, required = true, value_delimiter = ',', value_parser = parse_operation)]
    operation: Vec<Operation>,
    #[command(flatten)]
    on: OnArgs,
    /// The names are beginnings of names
    #[arg(long)]
    prefixed: bool,
    /// Only from these addresses
    #[arg(long, value_name = "ADDRESS", default_value = ANY)]
    host: Vec<String>,
}

/// Remove rules, and print them
#[derive(Debug, Args)]
struct RemoveArgs {
    /// Whose rules, as User:alice
    #[arg(value_name = "PRINCIPAL", value_parser = parse_principal)]
    principal: Principal,
    /// Only those for these operations
    #[arg(long, value_delimiter = ',', value_parser = parse_operation)]
    operation: Vec<Operation>,
    /// Only those with these names, or beginnings
    #[command(flatten)]
    on: OnArgs,
    /// Only those for this address
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
}

fn parse_principal(text: &str) -> Result<Principal, String> {
    Principal::parse(text).map_err(|error| error.to_string())
}

fn parse_operation(text: &str) -> Result<Operation, String> {
    let word = text.to_ascii_lowercase().replace('_', "-");
    Operation::of_word(&word).ok_or_else(|| {
        let words: Vec<&str> = Operation::ALL.iter().map(|it| it.word()).collect();
        format!("it is one of {}", words.join(", "))
    })
}

pub(super) fn run(connect: &ConnectArgs, args: &AclArgs) -> Result<(), CliError> {
    match &args.command {
        AclCommand::List(args) => list(&mut connect.connect()?, args),
        AclCommand::Allow(args) => add(connect, args, Permission::Allow),
        AclCommand::Deny(args) => add(connect, args, Permission::Deny),
        AclCommand::Remove(args) => {
            let removed = connect.connect()?.delete_acls(&meant(args))?;
            show(&removed, false)
        }
    }
}

fn list(client: &mut Client, args: &ListArgs) -> Result<(), CliError> {
    let query = AclQuery {
        principal: args.principal.clone(),
        ..AclQuery::default()
    };
    let on = args.on.resources();
    if on.is_empty() {
        return show(&client.acls(&query)?, args.json);
    }
    let mut found = Vec::new();
    for (resource, name) in on {
        found.extend(client.acls(&AclQuery {
            resource: Some(resource),
            name: Some(name.to_owned()),
            names: NameQuery::InForce,
            ..query.clone()
        })?);
    }
    found.sort();
    found.dedup();
    show(&found, args.json)
}

fn show(rules: &[AclBinding], as_json: bool) -> Result<(), CliError> {
    let mut out = Output::stdout();
    if as_json {
        let rule = |rule: &AclBinding| {
            json!({
                "principal": rule.principal.to_string(),
                "permission": rule.permission.word(),
                "operation": rule.operation.word(),
                "resource": rule.resource.word(),
                "pattern": rule.pattern.word(),
                "name": rule.name,
                "host": rule.host,
            })
        };
        out.json(&rules.iter().map(rule).collect())?;
    } else {
        let columns = ["PRINCIPAL", "", "OPERATION", "RESOURCE", "NAME", "HOST"];
        let mut table = Table::new(&columns);
        for rule in rules {
            let name = match rule.pattern {
                PatternType::Literal => rule.name.clone(),
                PatternType::Prefixed => format!("{}...", rule.name),
            };
            table.row(vec![
                rule.principal.to_string(),
                rule.permission.word().to_owned(),
                rule.operation.word().to_owned(),
                rule.resource.word().to_owned(),
                name,
                rule.host.clone(),
            ]);
        }
        out.put(|mut out| table.write(&mut out, ""))?;
    }
    out.flush()
}

fn add(connect: &ConnectArgs, args: &RuleArgs, permission: Permission) -> Result<(), CliError> {
    let rules = rules(args, permission)?;
    Ok(connect.connect()?.create_acls(&rules)?)
}

/// The rules that are asked for: each operation on everything named that has such an operation.
fn rules(args: &RuleArgs, permission: Permission) -> Result<Vec<AclBinding>, CliError> {
    let on = args.on.resources();
    if on.is_empty() {
        let text = "name what the rule is about: --topic, --group, --transactional-id or --cluster";
        return Err(CliError::Usage(text.to_owned()));
    }
    let pattern = match args.prefixed {
        true => PatternType::Prefixed,
        false => PatternType::Literal,
    };
    let principal = args.principal.to_string();
    let mut rules = Vec::new();
    for operation in &args.operation {
        let before = rules.len();
        let fitting = on.iter().filter(|(kind, _)| operation.applies_to(*kind));
        for ((resource, name), host) in
            fitting.flat_map(|on| args.host.iter().map(move |host| (on, host)))
        {
            let is_cluster = *resource == ResourceType::Cluster;
            let raw = RawBinding {
                resource: resource.code(),
                name,
                pattern: if is_cluster {
                    PatternType::Literal
                } else {
                    pattern
                }
                .code(),
                principal: &principal,
                host,
                operation: operation.code(),
                permission: permission.code(),
            };
            let checked = raw.check();
            rules.push(checked.map_err(|error| CliError::Usage(error.to_string()))?);
        }
        if rules.len() == before {
            let text = format!(
                "there is no operation {} on what is named",
                operation.word()
            );
            return Err(CliError::Usage(text));
        }
    }
    Ok(rules)
}

/// The rules that are to be removed.
fn meant(args: &RemoveArgs) -> Vec<AclQuery> {
    let on = args.on.resources();
    let on: Vec<Option<(ResourceType, &str)>> = match on.is_empty() {
        true => vec![None],
        false => on.into_iter().map(Some).collect(),
    };
    let operations: Vec<Option<Operation>> = match args.operation.is_empty() {
        true => vec![None],
        false => args.operation.iter().copied().map(Some).collect(),
    };
    let query = |on: Option<(ResourceType, &str)>, operation| AclQuery {
        resource: on.map(|(resource, _)| resource),
        name: on.map(|(_, name)| name.to_owned()),
        principal: Some(args.principal.clone()),
        host: args.host.clone(),
        operation,
        ..AclQuery::default()
    };
    let each = on
        .iter()
        .flat_map(|on| operations.iter().map(move |it| (*on, *it)));
    each.map(|(on, operation)| query(on, operation)).collect()
}
