//! The declaration of every topic setting. This is the only place where a name is written down.
//!
//! Names, types, ranges and server names are those of Apache Kafka 4; the defaults too, but for
//! `max.message.bytes`, which is unlimited here, and `segment.bytes`, which is the broker's.

use super::ConfigType;

/// The declaration of one setting.
#[derive(Debug)]
pub(super) struct Declaration {
    /// Its name.
    pub(super) name: &'static str,
    /// Its type.
    pub(super) kind: ConfigType,
    /// Its default, as text.
    pub(super) default: &'static str,
    /// Which values are taken.
    pub(super) check: Check,
    /// Kafka's name of the broker setting that gives the default.
    pub(super) server_name: Option<&'static str>,
    /// What it does here.
    pub(super) about: &'static str,
}

/// Which values are taken, beside the type.
#[derive(Debug, Clone, Copy)]
pub(super) enum Check {
    /// All.
    Any,
    /// This number and above.
    AtLeast(i64),
    /// From the first number to the second.
    Between(i64, i64),
    /// From the first number to the second, or the third.
    Level(i64, i64, i64),
    /// `*`, or replicas as `partition:broker`, separated by commas; or nothing.
    ThrottledReplicas,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Some of these words, separated by commas.
    ListOf(&'static [&'static str]),
    /// One value, out of several that Kafka knows; the others are refused with a reason.
    Only {
        /// What is taken.
        value: &'static str,
        /// What Kafka knows.
        known: &'static [&'static str],
        /// Why the others are refused.
        why: &'static str,
    },
}

const BOOLEANS: &[&str] = &["true", "false"];
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const NO_TIERS: &str = "this broker has no second tier: all data is in the object store at once";

/// Every topic setting, in order of name.
pub(super) static DECLARATIONS: &[Declaration] = &[
    Declaration {
        name: "cleanup.policy",
        kind: ConfigType::List,
        default: "delete",
        check: Check::ListOf(&["compact", "delete"]),
        server_name: Some("log.cleanup.policy"),
        about: "What happens to old records: `delete` discards them by time and size, `compact` \
                keeps the latest record of each key.",
    },
    Declaration {
        name: "compression.gzip.level",
        kind: ConfigType::Int,
        default: "-1",
        check: Check::Level(1, 9, -1),
        server_name: Some("compression.gzip.level"),
        about: "Level at which batches are compressed anew where compression.type is gzip; -1 for the \
                codec's default.",
    },
    Declaration {
        name: "compression.lz4.level",
        kind: ConfigType::Int,
        default: "9",
        check: Check::Between(1, 17),
        server_name: Some("compression.lz4.level"),
        about: "Has no effect: the LZ4 encoder of this broker has one level, a fast one.",
    },
    Declaration {
        name: "compression.type",
        kind: ConfigType::String,
        default: "producer",
        check: Check::OneOf(CODECS),
        server_name: Some("compression.type"),
        about: "Codec of the stored batches. `producer` keeps what the producer chose; with another, \
                batches that come in a different one are compressed anew when they are produced.",
    },
    Declaration {
        name: "compression.zstd.level",
        kind: ConfigType::Int,
        default: "3",
        check: Check::Between(-131_072, 22),
        server_name: Some("compression.zstd.level"),
        about: "Level at which batches are compressed anew where compression.type is zstd.",
    },
    Declaration {
        name: "delete.retention.ms",
        kind: ConfigType::Long,
        default: "86400000",
        check: Check::AtLeast(0),
        server_name: Some("log.cleaner.delete.retention.ms"),
        about: "How long a compacted topic keeps tombstones.",
    },
    Declaration {
        name: "file.delete.delay.ms",
        kind: ConfigType::Long,
        default: "60000",
        check: Check::AtLeast(0),
        server_name: Some("log.segment.delete.delay.ms"),
        about: "Has no effect: segments are objects, not files.",
    },
    Declaration {
        name: "flush.messages",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        check: Check::AtLeast(1),
        server_name: Some("log.flush.interval.messages"),
        about: "Has no effect: a batch is acknowledged only when it is durable.",
    },
    Declaration {
        name: "flush.ms",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        check: Check::AtLeast(0),
        server_name: Some("log.flush.interval.ms"),
        about: "Has no effect: a batch is acknowledged only when it is durable.",
    },
    Declaration {
        name: "follower.replication.throttled.replicas",
        kind: ConfigType::List,
        default: "",
        check: Check::ThrottledReplicas,
        server_name: None,
        about: "Has no effect: a partition that moves to another broker copies no data.",
    },
    Declaration {
        name: "index.interval.bytes",
        kind: ConfigType::Int,
        default: "4096",
        check: Check::AtLeast(0),
        server_name: Some("log.index.interval.bytes"),
        about: "Has no effect: the index format fixes its interval.",
    },
    Declaration {
        name: "leader.replication.throttled.replicas",
        kind: ConfigType::List,
        default: "",
        check: Check::ThrottledReplicas,
        server_name: None,
        about: "Has no effect: a partition that moves to another broker copies no data.",
    },
    Declaration {
        name: "local.retention.bytes",
        kind: ConfigType::Long,
        default: "-2",
        check: Check::AtLeast(-2),
        server_name: Some("log.local.retention.bytes"),
        about: "Has no effect: all data is in the object store.",
    },
    Declaration {
        name: "local.retention.ms",
        kind: ConfigType::Long,
        default: "-2",
        check: Check::AtLeast(-2),
        server_name: Some("log.local.retention.ms"),
        about: "Has no effect: all data is in the object store.",
    },
    Declaration {
        name: "max.compaction.lag.ms",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        check: Check::AtLeast(1),
        server_name: Some("log.cleaner.max.compaction.lag.ms"),
        about: "Longest time that a record of a compacted topic stays uncompacted, once it is in a \
                segment.",
    },
    Declaration {
        name: "max.message.bytes",
        kind: ConfigType::Int,
        default: "2147483647",
        check: Check::AtLeast(0),
        server_name: Some("message.max.bytes"),
        about: "Largest record batch in bytes, after compression. Unlimited by default, up to \
                what a request may hold.",
    },
    Declaration {
        name: "message.timestamp.after.max.ms",
        kind: ConfigType::Long,
        default: "3600000",
        check: Check::AtLeast(0),
        server_name: Some("log.message.timestamp.after.max.ms"),
        about: "How far a record's timestamp may lie after the broker's clock, where the \
                producer sets timestamps.",
    },
    Declaration {
        name: "message.timestamp.before.max.ms",
        kind: ConfigType::Long,
        default: "9223372036854775807",
        check: Check::AtLeast(0),
        server_name: Some("log.message.timestamp.before.max.ms"),
        about: "How far a record's timestamp may lie before the broker's clock, where the \
                producer sets timestamps.",
    },
    Declaration {
        name: "message.timestamp.type",
        kind: ConfigType::String,
        default: "CreateTime",
        check: Check::OneOf(&["CreateTime", "LogAppendTime"]),
        server_name: Some("log.message.timestamp.type"),
        about: "Who sets timestamps: the producer (`CreateTime`) or the broker when it appends \
                (`LogAppendTime`).",
    },
    Declaration {
        name: "min.cleanable.dirty.ratio",
        kind: ConfigType::Double,
        default: "0.5",
        check: Check::Between(0, 1),
        server_name: Some("log.cleaner.min.cleanable.ratio"),
        about: "How much of a compacted log's segments may be uncompacted, as a fraction.",
    },
    Declaration {
        name: "min.compaction.lag.ms",
        kind: ConfigType::Long,
        default: "0",
        check: Check::AtLeast(0),
        server_name: Some("log.cleaner.min.compaction.lag.ms"),
        about: "Shortest time that a record of a compacted topic stays uncompacted.",
    },
    Declaration {
        name: "min.insync.replicas",
        kind: ConfigType::Int,
        default: "1",
        check: Check::AtLeast(1),
        server_name: Some("min.insync.replicas"),
        about: "Has no effect: a batch is acknowledged when the object store has it, which keeps \
                the copies.",
    },
    Declaration {
        name: "preallocate",
        kind: ConfigType::Boolean,
        default: "false",
        check: Check::Any,
        server_name: Some("log.preallocate"),
        about: "Has no effect: segments are objects, not files.",
    },
    Declaration {
        name: "remote.log.copy.disable",
        kind: ConfigType::Boolean,
        default: "false",
        check: Check::Any,
        server_name: None,
        about: "Has no effect: all data is in the object store.",
    },
    Declaration {
        name: "remote.log.delete.on.disable",
        kind: ConfigType::Boolean,
        default: "false",
        check: Check::Any,
        server_name: None,
        about: "Has no effect: all data is in the object store.",
    },
    Declaration {
        name: "remote.storage.enable",
        kind: ConfigType::Boolean,
        default: "false",
        check: Check::Only {
            value: "false",
            known: BOOLEANS,
            why: NO_TIERS,
        },
        server_name: None,
        about: "Refused where true: there is no second tier, all data is in the object store at \
                once.",
    },
    Declaration {
        name: "retention.bytes",
        kind: ConfigType::Long,
        default: "-1",
        check: Check::Any,
        server_name: Some("log.retention.bytes"),
        about: "Bytes of a partition that are kept at least; negative for all. What is more goes \
                oldest first, in whole segments.",
    },
    Declaration {
        name: "retention.ms",
        kind: ConfigType::Long,
        default: "604800000",
        check: Check::AtLeast(-1),
        server_name: Some("log.retention.ms"),
        about: "How long records are kept, by their timestamps; -1 for ever. They go in whole \
                segments.",
    },
    Declaration {
        name: "segment.bytes",
        kind: ConfigType::Int,
        default: "67108864",
        check: Check::AtLeast(14),
        server_name: Some("log.segment.bytes"),
        about: "Bytes of a partition that are compacted into one segment object.",
    },
    Declaration {
        name: "segment.index.bytes",
        kind: ConfigType::Int,
        default: "10485760",
        check: Check::AtLeast(4),
        server_name: Some("log.index.size.max.bytes"),
        about: "Has no effect: an index is as large as its segment needs.",
    },
    Declaration {
        name: "segment.jitter.ms",
        kind: ConfigType::Long,
        default: "0",
        check: Check::AtLeast(0),
        server_name: Some("log.roll.jitter.ms"),
        about: "Has no effect: segments are cut by size and by the broker's compaction interval.",
    },
    Declaration {
        name: "segment.ms",
        kind: ConfigType::Long,
        default: "604800000",
        check: Check::AtLeast(1),
        server_name: Some("log.roll.ms"),
        about: "Has no effect: segments are cut by size and by the broker's compaction interval.",
    },
    Declaration {
        name: "unclean.leader.election.enable",
        kind: ConfigType::Boolean,
        default: "false",
        check: Check::Any,
        server_name: Some("unclean.leader.election.enable"),
        about: "Has no effect: whoever owns a partition has all its acknowledged records.",
    },
];
