//! What AlterConfigs and IncrementalAlterConfigs change of a broker while it runs: the throttles of reassignments, and the
//! levels of its loggers.
//!
//! - The throttles are taken, kept and told, and have no effect: a partition that moves to another broker copies no
//!   data. `kafka-reassign-partitions.sh --throttle` sets them, and removes them with `--verify`. Every other setting is
//!   read when the broker starts.
//! - Levels (KIP-412) hold until the process ends. A logger is a module of the broker, `root` everything.

use std::collections::BTreeMap;

use wire::ErrorCode;

use super::alter_configs::{WAIT, check_entries};
use super::create_topics::{Refusal, refusal, timed_out};
use super::describe_configs::check_broker;
use super::{RequestContext, error};
use crate::control::{BrokerConfigChange, ControlMsg};
use crate::logging::{self, LevelChange};
use crate::metadata::Metadata;
use crate::topic_config::{ConfigRow, ConfigSource, ConfigType};

/// `AlterConfigOp.OpType`.
pub(super) const SET: i8 = 0;
pub(super) const DELETE: i8 = 1;
pub(super) const APPEND: i8 = 2;
pub(super) const SUBTRACT: i8 = 3;

/// Settings by which Kafka's tool bounds what a reassignment copies between brokers and directories, in order of name.
const THROTTLES: [&str; 3] = [
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];
const THROTTLE_ABOUT: &str =
    "Has no effect: a partition that moves to another broker copies no data.";
/// Kafka's default of each: no bound.
const UNBOUNDED: &str = "9223372036854775807";

/// Whether a setting of a broker can be changed while it runs.
pub(super) fn is_dynamic(name: &str) -> bool {
    THROTTLES.contains(&name)
}

/// The settings of this broker that can be changed while it runs; or those that are set for all brokers.
pub(super) fn rows(metadata: &Metadata, of_all: bool) -> Vec<ConfigRow> {
    let row = |name: &'static str| {
        let own = metadata.broker_config(Some(metadata.broker), name);
        let (value, source) = match (own, metadata.broker_config(None, name)) {
            (_, Some(value)) if of_all => (value, ConfigSource::DynamicDefault),
            _ if of_all => return None,
            (Some(value), _) => (value, ConfigSource::DynamicBroker),
            (None, Some(value)) => (value, ConfigSource::DynamicDefault),
            (None, None) => (UNBOUNDED, ConfigSource::Default),
        };
        Some(ConfigRow {
            name,
            value: value.to_owned(),
            source,
            kind: ConfigType::Long,
            default: UNBOUNDED.to_owned(),
            server_name: Some(name),
            about: THROTTLE_ABOUT,
        })
    };
    THROTTLES.into_iter().filter_map(row).collect()
}

/// A change of one setting: its name, the operation, the value.
pub(super) type Op<'a> = (&'a str, i8, Option<&'a str>);

/// Changes settings of this broker, or, where `name` is empty, of all brokers; with `replaces` those that are not named
/// go.
pub(super) async fn alter_broker(
    cx: &RequestContext,
    name: &str,
    ops: &[Op<'_>],
    replaces: bool,
    validate_only: bool,
) -> Result<(), Refusal> {
    let metadata = cx.shard.metadata();
    if !name.is_empty() {
        check_broker(&metadata, name)?;
    }
    let change = BrokerConfigChange {
        broker: (!name.is_empty()).then_some(metadata.broker),
        changes: throttles(ops)?,
        replaces,
    };
    if validate_only {
        return Ok(());
    }
    let control = &cx.shard.shared.control;
    let altered = control.ask(|reply| ControlMsg::AlterBrokerConfig(change, reply));
    match cx.shard.at_most(WAIT, altered).await {
        Some(Ok(altered)) => altered.map_err(|error| refusal(&error)),
        None | Some(Err(_)) => Err(timed_out()),
    }
}

/// The changes that are asked for, checked as a whole.
fn throttles(ops: &[Op<'_>]) -> Result<BTreeMap<String, Option<String>>, Refusal> {
    check_ops(ops)?;
    let change = |(name, operation, value): &Op<'_>| {
        if !is_dynamic(name) {
            let text = format!(
                "Cannot update these configs dynamically: {name}. It is read when the broker starts."
            );
            return Err((ErrorCode::INVALID_REQUEST, text));
        }
        let value = match *operation {
            DELETE => None,
            SET => Some(throttle(name, value.unwrap_or_default())?),
            APPEND => return Err(not_a_list(name, "APPEND")),
            SUBTRACT => return Err(not_a_list(name, "SUBTRACT")),
            other => return Err(unknown_operation(other)),
        };
        Ok(((*name).to_owned(), value))
    };
    ops.iter().map(change).collect()
}

fn check_ops(ops: &[Op<'_>]) -> Result<(), Refusal> {
    let is_null = |(_, operation, value): &&Op<'_>| *operation != DELETE && value.is_none();
    let names = ops.iter().map(|(name, ..)| *name);
    check_entries(names, ops.iter().filter(is_null).map(|(name, ..)| *name))
}

fn throttle(name: &str, value: &str) -> Result<String, Refusal> {
    let reason = match value.trim().parse::<i64>() {
        Ok(0..) => return Ok(value.trim().to_owned()),
        Ok(_) => "Value must be at least 0",
        Err(_) => "Not a number of type LONG",
    };
    let text = format!("Invalid value {value} for configuration {name}: {reason}");
    Err((ErrorCode::INVALID_CONFIG, text))
}

fn not_a_list(name: &str, operation: &str) -> Refusal {
    let text = format!("Can't {operation} to key {name} because its type is not LIST.");
    (ErrorCode::INVALID_CONFIG, text)
}

/// What is said of an operation that Kafka does not know.
pub(super) fn unknown_operation(operation: i8) -> Refusal {
    let text = format!("Unknown operations type {operation}");
    (ErrorCode::INVALID_REQUEST, text)
}

/// The loggers of this process with their levels.
pub(super) fn logger_rows() -> Vec<ConfigRow> {
    let rows = logging::levels().into_iter().map(|(name, level)| ConfigRow {
        name,
        default: level.clone(),
        value: level,
        source: ConfigSource::BrokerLogger,
        kind: ConfigType::String,
        server_name: None,
        about: "The most verbose level that is logged. What admin.log_level and RUST_LOG say holds at the start.",
    });
    rows.collect()
}

/// Changes levels of this broker's loggers, all or none.
pub(super) fn alter_loggers(
    metadata: &Metadata,
    name: &str,
    ops: &[Op<'_>],
    validate_only: bool,
) -> Result<(), Refusal> {
    check_broker(metadata, name)?;
    check_ops(ops)?;
    let changes: Vec<LevelChange<'_>> = ops.iter().map(level_change).collect::<Result<_, _>>()?;
    logging::change_levels(&changes, validate_only)
        .map_err(|error| (error::level_code(&error), error.to_string()))?;
    if !validate_only {
        for (name, level) in &changes {
            let level = level.unwrap_or("as at the start");
            tracing::warn!(logger = name, level, "the level of a logger was changed");
        }
    }
    Ok(())
}

fn level_change<'a>((name, operation, value): &Op<'a>) -> Result<LevelChange<'a>, Refusal> {
    match *operation {
        SET => Ok((*name, Some(value.unwrap_or_default()))),
        DELETE => Ok((*name, None)),
        APPEND | SUBTRACT => {
            let text = "APPEND and SUBTRACT are not allowed for the BROKER_LOGGER resource";
            Err((ErrorCode::INVALID_REQUEST, text.to_owned()))
        }
        other => Err(unknown_operation(other)),
    }
}

#[cfg(test)]
mod tests {
    use segment::BrokerId;

    use super::*;

    #[test]
    fn only_throttles_of_a_broker_can_be_changed() {
        let codes = |ops: &[Op<'_>]| throttles(ops).map_err(|(code, _)| code);
        let [follower, leader, _] = THROTTLES;
        let both = [(follower, SET, Some(" 7 ")), (leader, DELETE, None)];
        let wanted = [
            (follower.to_owned(), Some("7".to_owned())),
            (leader.to_owned(), None),
        ];
        assert_eq!(codes(&both), Ok(wanted.into()));
        let (invalid, config) = (ErrorCode::INVALID_REQUEST, ErrorCode::INVALID_CONFIG);
        for (op, code) in [
            (("log.retention.ms", SET, Some("1")), invalid),
            (("log.retention.ms", DELETE, None), invalid),
            ((leader, SET, None), invalid),
            ((leader, SET, Some("-1")), config),
            ((leader, SET, Some("x")), config),
            ((leader, APPEND, Some("1")), config),
            ((leader, 9, Some("1")), invalid),
        ] {
            assert_eq!(codes(&[op]), Err(code), "{op:?}");
        }
        assert_eq!(codes(&[both[0], both[0]]), Err(invalid), "named twice");
    }

    #[test]
    fn the_value_of_the_broker_goes_before_that_of_all() {
        let [follower, leader, directories] = THROTTLES;
        let values = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let configs = [
            (Some(BrokerId::new(3)), values(&[(leader, "1")])),
            (None, values(&[(leader, "2"), (follower, "3")])),
        ];
        let metadata = Metadata::new("c".to_owned(), BrokerId::new(3), Vec::new(), []);
        let metadata = metadata.with_broker_configs(configs.into());
        let told = |of_all| {
            let rows = rows(&metadata, of_all).into_iter();
            rows.map(|row| (row.name, row.value, row.source))
                .collect::<Vec<_>>()
        };
        use ConfigSource::{Default, DynamicBroker, DynamicDefault};
        assert_eq!(
            told(false),
            [
                (follower, "3".to_owned(), DynamicDefault),
                (leader, "1".to_owned(), DynamicBroker),
                (directories, UNBOUNDED.to_owned(), Default),
            ]
        );
        assert_eq!(
            told(true),
            [
                (follower, "3".to_owned(), DynamicDefault),
                (leader, "2".to_owned(), DynamicDefault),
            ]
        );
    }
}
