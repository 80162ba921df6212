//! The settings of one topic: Kafka's names, each declared once in [`table`].
//!
//! *Immutable, shared.* A [`TopicConfig`] is made from the overrides that a client set and is
//! checked as a whole: a name that Kafka does not know, a value of the wrong type or out of range,
//! and a value that this broker would not carry out are refused, never taken and ignored. Settings
//! that only mean something for files on a local disk are taken, and their documentation says that
//! they have no effect.

mod table;

use std::collections::BTreeMap;

use segment::batch::{Codec, TimestampType};
use segment::record::Compression;
use table::{Check, DECLARATIONS, Declaration};

/// Bytes of the overrides of one topic, names and values, at most: they are stored in one key.
pub const OVERRIDES_BYTES_MAX: usize = 64 << 10;

/// Smallest and largest size that a segment is cut at, whatever the topic asks for.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Why settings are not taken. Each is INVALID_CONFIG to a client, and the text is its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Kafka has no such topic setting.
    #[error("Unknown topic config name: {0}")]
    Unknown(String),
    /// The value is not of the type, or out of range.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Value {
        /// Name of the setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two settings contradict each other.
    #[error("conflict topic config setting {0}")]
    Conflict(String),
    /// An element is appended to or taken from a setting that is not a list.
    #[error("Can't {operation} to key {name} because its type is not LIST.")]
    NotList {
        /// Name of the setting.
        name: String,
        /// `APPEND` or `SUBTRACT`.
        operation: &'static str,
    },
    /// All overrides together are larger than [`OVERRIDES_BYTES_MAX`].
    #[error("The configs of a topic take {0} bytes, more than {OVERRIDES_BYTES_MAX}")]
    TooLarge(usize),
}

/// Type of a value, as DescribeConfigs names it (KIP-569).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// 32-bit number.
    Int,
    /// 64-bit number.
    Long,
    /// Fraction.
    Double,
    /// Values separated by commas.
    List,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on the broker while it ran.
    DynamicBroker,
    /// Set on all brokers while they ran.
    DynamicDefault,
    /// Set on the broker when it started.
    Broker,
    /// The level of a logger of the broker.
    BrokerLogger,
    /// The default.
    Default,
}

/// One setting for DescribeConfigs and CreateTopics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRow {
    /// Its name.
    pub name: &'static str,
    /// Its value in force.
    pub value: String,
    /// Where that comes from.
    pub source: ConfigSource,
    /// Its type.
    pub kind: ConfigType,
    /// The value that holds without an override.
    pub default: String,
    /// Kafka's name of the broker setting that gives the default, if there is one.
    pub server_name: Option<&'static str>,
    /// One or two sentences.
    pub about: &'static str,
}

/// The settings of a topic. Cheap enough to clone on an admin request; produce reads the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    overrides: BTreeMap<String, String>,
    max_message_bytes: usize,
    timestamp_type: TimestampType,
    timestamp_before_max_ms: Option<i64>,
    timestamp_after_max_ms: Option<i64>,
    retention_ms: Option<i64>,
    retention_bytes: Option<i64>,
    segment_bytes: Option<u64>,
    is_deleted: bool,
    compaction: Option<Compaction>,
    compression: Option<Compression>,
}

/// How a topic is compacted (`cleanup.policy=compact`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compaction {
    /// Part of the segments' bytes that may be uncompacted (`min.cleanable.dirty.ratio`).
    pub dirty_ratio: f64,
    /// Records younger than this stay (`min.compaction.lag.ms`).
    pub min_lag_ms: i64,
    /// Records older than this are compacted whatever the ratio (`max.compaction.lag.ms`).
    pub max_lag_ms: i64,
    /// How long tombstones stay (`delete.retention.ms`).
    pub delete_retention_ms: i64,
}

impl Eq for Compaction {}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::from_overrides(BTreeMap::new()).expect("the defaults are valid: a test checks them")
    }
}

impl TopicConfig {
    /// Settings that differ from the defaults by these.
    ///
    /// # Errors
    /// A name is unknown, a value is refused, or values contradict each other.
    pub fn from_overrides(overrides: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let bytes = overrides
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes > OVERRIDES_BYTES_MAX {
            return Err(ConfigError::TooLarge(bytes));
        }
        for (name, value) in &overrides {
            let declaration = find(name).ok_or_else(|| ConfigError::Unknown(name.clone()))?;
            check(declaration, value)?;
        }
        let config = Self::read(overrides);
        let lag = |name| config.long(name);
        let (min, max) = (lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"));
        if min > max {
            let text = format!("min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})");
            return Err(ConfigError::Conflict(text));
        }
        Ok(config)
    }

    /// Takes checked overrides.
    fn read(overrides: BTreeMap<String, String>) -> Self {
        let mut config = Self {
            overrides,
            max_message_bytes: 0,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: None,
            timestamp_after_max_ms: None,
            retention_ms: None,
            retention_bytes: None,
            segment_bytes: None,
            is_deleted: true,
            compaction: None,
            compression: None,
        };
        let bounded = |value: i64| (value != i64::MAX).then_some(value);
        let limited = |value: i64| (value >= 0).then_some(value);
        config.max_message_bytes =
            usize::try_from(config.long("max.message.bytes")).unwrap_or(usize::MAX);
        if config.text("message.timestamp.type") == "LogAppendTime" {
            config.timestamp_type = TimestampType::LogAppendTime;
        }
        config.timestamp_before_max_ms = bounded(config.long("message.timestamp.before.max.ms"));
        config.timestamp_after_max_ms = bounded(config.long("message.timestamp.after.max.ms"));
        config.compression = config.stored_as();
        config.retention_ms = limited(config.long("retention.ms"));
        config.retention_bytes = limited(config.long("retention.bytes"));
        let policy = config.text("cleanup.policy").to_owned();
        let has = |word: &str| policy.split(',').any(|part| part.trim() == word);
        config.is_deleted = has("delete");
        config.compaction = has("compact").then(|| Compaction {
            dirty_ratio: config
                .text("min.cleanable.dirty.ratio")
                .parse()
                .unwrap_or(0.5),
            min_lag_ms: config.long("min.compaction.lag.ms"),
            max_lag_ms: config.long("max.compaction.lag.ms"),
            delete_retention_ms: config.long("delete.retention.ms"),
        });
        config.segment_bytes = config.overrides.get("segment.bytes").and_then(|value| {
            let bytes = value.trim().parse::<u64>().ok()?;
            Some(bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX))
        });
        config
    }

    /// The overrides, as they are stored.
    pub fn overrides(&self) -> &BTreeMap<String, String> {
        &self.overrides
    }

    /// Largest record batch, in bytes (`max.message.bytes`). Unlimited unless the topic sets it.
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// Who sets timestamps (`message.timestamp.type`).
    pub fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    /// How far a producer's timestamp may lie before the broker's clock; `None` for any distance.
    pub fn timestamp_before_max_ms(&self) -> Option<i64> {
        self.timestamp_before_max_ms
    }

    /// How far a producer's timestamp may lie after the broker's clock; `None` for any distance.
    pub fn timestamp_after_max_ms(&self) -> Option<i64> {
        self.timestamp_after_max_ms
    }

    /// How batches are stored (`compression.type` and the levels); `None` for as the producer chose.
    pub fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// How long records are kept; `None` for ever, as without `cleanup.policy=delete`.
    pub fn retention_ms(&self) -> Option<i64> {
        self.retention_ms.filter(|_| self.is_deleted)
    }

    /// How many bytes of a partition are kept; `None` for all, as without `cleanup.policy=delete`.
    pub fn retention_bytes(&self) -> Option<i64> {
        self.retention_bytes.filter(|_| self.is_deleted)
    }

    /// How the topic is compacted; `None` if it is not.
    pub fn compaction(&self) -> Option<Compaction> {
        self.compaction
    }

    /// Size at which segments of this topic are cut; `None` for the broker's.
    pub fn segment_bytes(&self) -> Option<u64> {
        self.segment_bytes
    }

    /// All settings in order of name. `broker_segment_bytes` is the broker's segment size, which
    /// holds where the topic sets none.
    pub fn describe(&self, broker_segment_bytes: u64) -> Vec<ConfigRow> {
        let rows = DECLARATIONS.iter().map(|declaration| {
            let is_broker = declaration.name == "segment.bytes";
            let default = if is_broker {
                broker_segment_bytes.to_string()
            } else {
                declaration.default.to_owned()
            };
            let own = self
                .overrides
                .get(declaration.name)
                .map(|value| value.trim().to_owned());
            let source = match &own {
                Some(_) => ConfigSource::Topic,
                None if is_broker => ConfigSource::Broker,
                None => ConfigSource::Default,
            };
            ConfigRow {
                name: declaration.name,
                value: own.unwrap_or_else(|| default.clone()),
                source,
                kind: declaration.kind,
                default,
                server_name: declaration.server_name,
                about: declaration.about,
            }
        });
        rows.collect()
    }

    fn stored_as(&self) -> Option<Compression> {
        let level = |name| i32::try_from(self.long(name)).ok();
        match self.text("compression.type") {
            "uncompressed" => Some(Codec::None.into()),
            "gzip" => Some(Compression {
                codec: Codec::Gzip,
                // -1 is the codec's default.
                level: level("compression.gzip.level").filter(|level| *level >= 0),
            }),
            "snappy" => Some(Codec::Snappy.into()),
            "lz4" => Some(Codec::Lz4.into()),
            "zstd" => Some(Compression {
                codec: Codec::Zstd,
                level: level("compression.zstd.level"),
            }),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> &str {
        let default = || find(name).map_or("", |declaration| declaration.default);
        self.overrides
            .get(name)
            .map_or_else(default, |value| value.trim())
    }

    fn long(&self, name: &str) -> i64 {
        let value = self.text(name).parse();
        value.expect("numbers are checked before they are read, defaults by a test")
    }
}

/// Changes a list: the elements of `change` are added (those that are not there yet) or taken away.
/// `current` is the override, if there is one; else the default is changed.
///
/// # Errors
/// The setting is unknown or not a list.
pub fn change_list(
    name: &str,
    current: Option<&str>,
    change: ListChange<'_>,
) -> Result<String, ConfigError> {
    let operation = match change {
        ListChange::Append(_) => "APPEND",
        ListChange::Subtract(_) => "SUBTRACT",
    };
    let not_list = || ConfigError::NotList {
        name: name.to_owned(),
        operation,
    };
    let declaration = find(name).filter(|found| found.kind == ConfigType::List);
    let declaration = declaration.ok_or_else(not_list)?;
    let current = current.unwrap_or(declaration.default);
    let mut parts: Vec<&str> = current.split(',').filter(|part| !part.is_empty()).collect();
    match change {
        ListChange::Append(values) => {
            for value in values.split(',') {
                if !parts.contains(&value) {
                    parts.push(value);
                }
            }
        }
        ListChange::Subtract(values) => {
            for value in values.split(',') {
                if let Some(at) = parts.iter().position(|part| *part == value) {
                    parts.remove(at);
                }
            }
        }
    }
    Ok(parts.join(","))
}

/// A change of a list; see [`change_list`].
#[derive(Debug, Clone, Copy)]
pub enum ListChange<'a> {
    /// Add these elements, separated by commas.
    Append(&'a str),
    /// Take away these elements, separated by commas.
    Subtract(&'a str),
}

fn find(name: &str) -> Option<&'static Declaration> {
    let index = DECLARATIONS
        .binary_search_by(|declaration| declaration.name.cmp(name))
        .ok()?;
    DECLARATIONS.get(index)
}

/// Checks one value as Kafka's `ConfigDef` does: the text is trimmed, parsed and validated.
fn check(declaration: &'static Declaration, text: &str) -> Result<(), ConfigError> {
    let refuse = |reason: String| ConfigError::Value {
        name: declaration.name,
        value: text.to_owned(),
        reason,
    };
    let value = text.trim();
    let number = parse(declaration.kind, value).map_err(|reason| refuse(reason.to_owned()))?;
    match declaration.check {
        Check::Any => Ok(()),
        Check::AtLeast(least) => match number {
            Some(number) if number < least as f64 => {
                Err(refuse(format!("Value must be at least {least}")))
            }
            _ => Ok(()),
        },
        Check::Between(low, high) => match number {
            Some(number) if number < low as f64 => {
                Err(refuse(format!("Value must be at least {low}")))
            }
            Some(number) if number > high as f64 || number.is_nan() => {
                Err(refuse(format!("Value must be no more than {high}")))
            }
            _ => Ok(()),
        },
        Check::Level(low, high, default) => match number {
            Some(number)
                if number != default as f64 && !(low as f64..=high as f64).contains(&number) =>
            {
                Err(refuse(format!(
                    "Value must be between {low} and {high} or equal to {default}"
                )))
            }
            _ => Ok(()),
        },
        Check::ThrottledReplicas if is_throttled_list(value) => Ok(()),
        Check::ThrottledReplicas => Err(refuse(
            "must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                .to_owned(),
        )),
        Check::OneOf(words) if words.contains(&value) => Ok(()),
        Check::OneOf(words) => Err(refuse(format!(
            "String must be one of: {}",
            words.join(", ")
        ))),
        Check::ListOf(words) => match value.split(',').find(|part| !words.contains(&part.trim())) {
            None => Ok(()),
            Some(_) => Err(refuse(format!(
                "String must be one of: {}",
                words.join(", ")
            ))),
        },
        Check::Only {
            value: only,
            known,
            why,
        } => {
            let part_known = |part: &str| known.contains(&part.trim());
            if value == only {
                Ok(())
            } else if value.split(',').all(part_known) {
                Err(refuse(why.to_owned()))
            } else {
                Err(refuse(format!(
                    "String must be one of: {}",
                    known.join(", ")
                )))
            }
        }
    }
}

/// Whether a text is a list of replicas as Kafka's tool writes it.
fn is_throttled_list(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let is_replica = |part: &str| {
        let ids = part.trim().split_once(':');
        ids.is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
    };
    text.is_empty() || text == "*" || text.split(',').all(is_replica)
}

/// Reads a value; a number as a fraction, which is exact enough for the bounds in the table.
fn parse(kind: ConfigType, value: &str) -> Result<Option<f64>, &'static str> {
    match kind {
        ConfigType::Boolean => {
            let is_boolean = ["true", "false"]
                .iter()
                .any(|word| value.eq_ignore_ascii_case(word));
            if is_boolean {
                Ok(None)
            } else {
                Err("Expected value to be either true or false")
            }
        }
        ConfigType::String | ConfigType::List => Ok(None),
        ConfigType::Int => match value.parse::<i32>() {
            Ok(number) => Ok(Some(f64::from(number))),
            Err(_) => Err("Not a number of type INT"),
        },
        ConfigType::Long => match value.parse::<i64>() {
            Ok(number) => Ok(Some(number as f64)),
            Err(_) => Err("Not a number of type LONG"),
        },
        ConfigType::Double => match value.parse::<f64>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err("Not a number of type DOUBLE"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<TopicConfig, ConfigError> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        TopicConfig::from_overrides(pairs.iter().map(own).collect())
    }

    #[test]
    fn the_table_is_in_order_and_its_defaults_are_valid() {
        assert!(
            DECLARATIONS
                .windows(2)
                .all(|pair| pair[0].name < pair[1].name)
        );
        for declaration in DECLARATIONS {
            assert_eq!(
                check(declaration, declaration.default),
                Ok(()),
                "{}",
                declaration.name
            );
            assert!(declaration.about.ends_with('.'), "{}", declaration.name);
        }
        let config = TopicConfig::default();
        assert_eq!(config.max_message_bytes(), i32::MAX as usize);
        assert_eq!(config.timestamp_type(), TimestampType::CreateTime);
        assert_eq!(config.timestamp_before_max_ms(), None);
        assert_eq!(config.timestamp_after_max_ms(), Some(3_600_000));
        assert_eq!(config.retention_ms(), Some(604_800_000));
        assert_eq!(config.retention_bytes(), None);
        assert_eq!(config.segment_bytes(), None);
    }

    #[test]
    fn overrides_are_taken_and_trimmed() {
        let config = config(&[
            ("max.message.bytes", " 1000 "),
            ("message.timestamp.type", "LogAppendTime"),
            ("retention.ms", "-1"),
            ("segment.bytes", "1024"),
            ("cleanup.policy", "delete"),
            ("compression.type", "producer"),
        ])
        .unwrap();
        assert_eq!(config.max_message_bytes(), 1000);
        assert_eq!(config.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(config.retention_ms(), None);
        assert_eq!(config.segment_bytes(), Some(SEGMENT_BYTES_MIN));
        let rows = config.describe(1 << 26);
        let row = |name| rows.iter().find(|row| row.name == name).unwrap();
        assert_eq!(row("max.message.bytes").value, "1000");
        assert_eq!(row("max.message.bytes").source, ConfigSource::Topic);
        assert_eq!(row("flush.ms").source, ConfigSource::Default);
        assert_eq!(rows.len(), DECLARATIONS.len());
        let plain = TopicConfig::default().describe(1 << 26);
        let segment = plain
            .iter()
            .find(|row| row.name == "segment.bytes")
            .unwrap();
        assert_eq!(
            (segment.value.as_str(), segment.source),
            ("67108864", ConfigSource::Broker)
        );
    }

    #[test]
    fn what_kafka_refuses_is_refused_in_its_words() {
        let refused = |name, value| config(&[(name, value)]).unwrap_err().to_string();
        assert_eq!(
            refused("retention", "1"),
            "Unknown topic config name: retention"
        );
        let about = "for configuration retention.ms:";
        assert_eq!(
            refused("retention.ms", "x"),
            format!("Invalid value x {about} Not a number of type LONG")
        );
        assert_eq!(
            refused("retention.ms", "-2"),
            format!("Invalid value -2 {about} Value must be at least -1")
        );
        let throttled = "leader.replication.throttled.replicas";
        assert!(refused(throttled, "0:1,2").contains("the literal '*' or a list of replicas"));
        for value in ["", "*", "0:1,1:0"] {
            assert!(config(&[(throttled, value)]).is_ok(), "{value}");
        }
        assert!(refused("max.message.bytes", "3000000000").ends_with("type INT"));
        assert!(refused("min.cleanable.dirty.ratio", "NaN").ends_with("no more than 1"));
        assert!(refused("preallocate", "yes").ends_with("either true or false"));
        let conflict = [
            ("min.compaction.lag.ms", "5"),
            ("max.compaction.lag.ms", "4"),
        ];
        assert!(matches!(config(&conflict), Err(ConfigError::Conflict(_))));
        let large = "x".repeat(OVERRIDES_BYTES_MAX + 1);
        assert!(matches!(
            config(&[("cleanup.policy", &large)]),
            Err(ConfigError::TooLarge(_))
        ));
    }

    #[test]
    fn a_policy_says_what_happens_to_old_records() {
        let delete = config(&[("retention.ms", "5")]).unwrap();
        assert_eq!(
            (delete.retention_ms(), delete.compaction()),
            (Some(5), None)
        );
        let compact = config(&[
            ("cleanup.policy", "compact"),
            ("retention.ms", "5"),
            ("delete.retention.ms", "7"),
        ]);
        let compact = compact.unwrap();
        assert_eq!(compact.retention_ms(), None);
        assert_eq!(compact.compaction().unwrap().delete_retention_ms, 7);
        let both = config(&[("cleanup.policy", "delete, compact"), ("retention.ms", "5")]).unwrap();
        assert_eq!(both.retention_ms(), Some(5));
        assert!(both.compaction().is_some());
        assert!(config(&[("cleanup.policy", "shrink")]).is_err());
        assert!(config(&[("cleanup.policy", "")]).is_err());
    }

    #[test]
    fn what_would_not_be_carried_out_is_refused() {
        let error = config(&[("remote.storage.enable", "true")])
            .unwrap_err()
            .to_string();
        assert!(!error.contains("must be one of"), "{error}");
        let stored = |pairs: &[(&str, &str)]| config(pairs).unwrap().compression();
        let codec = |name| stored(&[("compression.type", name)]).map(|stored| stored.codec);
        assert_eq!(
            (codec("producer"), codec("uncompressed")),
            (None, Some(Codec::None))
        );
        assert_eq!(
            (codec("gzip"), codec("zstd")),
            (Some(Codec::Gzip), Some(Codec::Zstd))
        );
        assert_eq!(
            (codec("snappy"), codec("lz4")),
            (Some(Codec::Snappy), Some(Codec::Lz4))
        );
        let level = |codec, name, level| {
            let stored = stored(&[("compression.type", codec), (name, level)]);
            stored.unwrap().level
        };
        assert_eq!(level("gzip", "compression.gzip.level", "9"), Some(9));
        assert_eq!(level("gzip", "compression.gzip.level", "-1"), None);
        assert_eq!(level("zstd", "compression.zstd.level", "-7"), Some(-7));
        assert_eq!(level("zstd", "compression.gzip.level", "9"), Some(3));
        assert_eq!(level("lz4", "compression.lz4.level", "17"), None);
        for (name, value) in [
            ("compression.gzip.level", "0"),
            ("compression.gzip.level", "10"),
            ("compression.lz4.level", "0"),
            ("compression.zstd.level", "23"),
        ] {
            assert!(config(&[(name, value)]).is_err(), "{name}={value}");
        }
        let error = config(&[("compression.type", "brotli")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("must be one of"), "{error}");
    }

    #[test]
    fn lists_grow_and_shrink() {
        let append = ListChange::Append("compact,delete");
        assert_eq!(
            change_list("cleanup.policy", None, append).unwrap(),
            "delete,compact"
        );
        let subtract = ListChange::Subtract("delete");
        assert_eq!(
            change_list("cleanup.policy", Some("delete,compact"), subtract).unwrap(),
            "compact"
        );
        let error = change_list("retention.ms", None, subtract).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("Can't SUBTRACT to key retention.ms")
        );
    }
}
