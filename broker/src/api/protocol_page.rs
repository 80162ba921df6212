//! The table of `docs/protocol.md`: every API of Kafka's protocol, and what this broker does with it.

use std::fmt::Write;
use std::path::Path;

use wire::{ApiKey, VersionRange};

use super::ADVERTISED;

/// Where the table begins.
const MARK: &str = "<!-- generated from broker/src/api/protocol_page.rs -->\n";

/// What is to be known of an API.
struct Row {
    key: i16,
    name: &'static str,
    /// The versions of Kafka 4.4; none where it has removed all of them.
    kafka: Option<VersionRange>,
    /// What is done, and what is not; or why it is not served.
    notes: &'static str,
}

const fn row(key: i16, name: &'static str, min: i16, max: i16, notes: &'static str) -> Row {
    Row {
        key,
        name,
        kafka: Some(VersionRange { min, max }),
        notes,
    }
}

const fn removed(key: i16, name: &'static str) -> Row {
    Row {
        key,
        name,
        kafka: None,
        notes: "between brokers; removed in Kafka 4.0",
    }
}

const GROUPS: &str = "classic consumer groups";
const TRANSACTIONS: &str = "transactions";
const NO_TRANSACTION: &str = "as a broker that coordinates none";
const SASL: &str = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; reauthentication (KIP-368)";
const TOKENS: &str = "DELEGATION_TOKEN_AUTH_DISABLED, as Kafka without a secret key; without authentication \
                      DELEGATION_TOKEN_REQUEST_NOT_ALLOWED";
const SCRAM: &str = "all but the administrator of the settings";
const ACLS: &str = "rules decide where clients must authenticate (`security.authorizer`); elsewhere SECURITY_DISABLED, \
                    as Kafka without an authorizer";
const CONSUMER: &str = "the consumer protocol (KIP-848); clients fall back to classic groups";
const SHARE: &str = "share groups (KIP-932)";
const STREAMS: &str = "streams groups (KIP-1071)";
const QUORUM: &str = "the KRaft quorum; metadata is in etcd or embedded";
const CONTROLLER: &str = "between brokers and controllers; there are no controllers";
const QUOTAS: &str = "of users, client ids and IP addresses; enforced by each broker for itself";
const TELEMETRY: &str = "metrics that clients push (KIP-714): not advertised, as by Kafka without a \
                         telemetry plugin, so clients push none";

/// By key.
const ROWS: &[Row] = &[
    row(
        0,
        "Produce",
        3,
        13,
        "also 0-2, as librdkafka asks; transactional batches: INVALID_TXN_STATE",
    ),
    row(1, "Fetch", 4, 18, "incremental sessions; no followers"),
    row(
        2,
        "ListOffsets",
        1,
        11,
        "by time, earliest, latest, largest timestamp, local",
    ),
    row(3, "Metadata", 0, 13, "one replica a partition: its owner"),
    removed(4, "LeaderAndIsr"),
    removed(5, "StopReplica"),
    removed(6, "UpdateMetadata"),
    removed(7, "ControlledShutdown"),
    row(8, "OffsetCommit", 2, 10, GROUPS),
    row(9, "OffsetFetch", 1, 10, GROUPS),
    row(
        10,
        "FindCoordinator",
        0,
        6,
        "of groups and transactional ids; not of share groups",
    ),
    row(11, "JoinGroup", 0, 9, GROUPS),
    row(12, "Heartbeat", 0, 4, GROUPS),
    row(13, "LeaveGroup", 0, 5, GROUPS),
    row(14, "SyncGroup", 0, 5, GROUPS),
    row(15, "DescribeGroups", 0, 6, GROUPS),
    row(16, "ListGroups", 0, 5, GROUPS),
    row(17, "SaslHandshake", 0, 1, SASL),
    row(
        18,
        "ApiVersions",
        0,
        5,
        "a newer version is answered in version 0 (KIP-511)",
    ),
    row(
        19,
        "CreateTopics",
        2,
        7,
        "no creation policies; any replication factor, one replica; 10,000 partitions a request, or as many as a topic may have",
    ),
    row(20, "DeleteTopics", 1, 6, "by name or id"),
    row(
        21,
        "DeleteRecords",
        0,
        2,
        "at once for readers; objects go when the log start has passed them",
    ),
    row(
        22,
        "InitProducerId",
        0,
        5,
        "idempotent producers; no transactions",
    ),
    row(23, "OffsetForLeaderEpoch", 2, 4, ""),
    row(24, "AddPartitionsToTxn", 0, 5, TRANSACTIONS),
    row(25, "AddOffsetsToTxn", 0, 4, TRANSACTIONS),
    row(26, "EndTxn", 0, 5, TRANSACTIONS),
    row(27, "WriteTxnMarkers", 1, 2, TRANSACTIONS),
    row(28, "TxnOffsetCommit", 0, 6, TRANSACTIONS),
    row(29, "DescribeAcls", 1, 3, ACLS),
    row(30, "CreateAcls", 1, 3, ACLS),
    row(31, "DeleteAcls", 1, 3, ACLS),
    row(
        32,
        "DescribeConfigs",
        1,
        4,
        "topics, brokers and their loggers",
    ),
    row(
        33,
        "AlterConfigs",
        0,
        2,
        "topics; throttles of reassignments",
    ),
    row(
        34,
        "AlterReplicaLogDirs",
        1,
        2,
        "there is one log directory a broker",
    ),
    row(
        35,
        "DescribeLogDirs",
        1,
        5,
        "the data directory, or bucket and prefix; sizes as `retention.bytes` \
                                      counts them",
    ),
    row(36, "SaslAuthenticate", 0, 2, SASL),
    row(37, "CreatePartitions", 0, 3, ""),
    row(38, "CreateDelegationToken", 1, 3, TOKENS),
    row(39, "RenewDelegationToken", 1, 2, TOKENS),
    row(40, "ExpireDelegationToken", 1, 2, TOKENS),
    row(41, "DescribeDelegationToken", 1, 3, TOKENS),
    row(42, "DeleteGroups", 0, 3, GROUPS),
    row(
        43,
        "ElectLeaders",
        0,
        2,
        "the owner is the only candidate, so an election is never needed where \
                                   there is one; the cluster finds another by itself",
    ),
    row(
        44,
        "IncrementalAlterConfigs",
        0,
        1,
        "topics; throttles of reassignments; levels of loggers",
    ),
    row(
        45,
        "AlterPartitionReassignments",
        0,
        1,
        "one replica: the partition moves to that broker and \
                                                  stays there; see below",
    ),
    row(
        46,
        "ListPartitionReassignments",
        0,
        0,
        "the moves that are not done",
    ),
    row(47, "OffsetDelete", 0, 0, GROUPS),
    row(48, "DescribeClientQuotas", 0, 1, QUOTAS),
    row(49, "AlterClientQuotas", 0, 1, QUOTAS),
    row(50, "DescribeUserScramCredentials", 0, 0, SCRAM),
    row(51, "AlterUserScramCredentials", 0, 0, SCRAM),
    row(52, "Vote", 0, 2, QUORUM),
    row(53, "BeginQuorumEpoch", 0, 1, QUORUM),
    row(54, "EndQuorumEpoch", 0, 1, QUORUM),
    row(
        55,
        "DescribeQuorum",
        0,
        2,
        "the KRaft quorum; there is none: see above",
    ),
    row(56, "AlterPartition", 2, 3, CONTROLLER),
    row(
        57,
        "UpdateFeatures",
        0,
        2,
        "every feature of Kafka is at level 0, and cannot be raised",
    ),
    row(58, "Envelope", 0, 0, CONTROLLER),
    row(59, "FetchSnapshot", 0, 1, QUORUM),
    row(
        60,
        "DescribeCluster",
        0,
        2,
        "live brokers; the smallest node id is named as the controller",
    ),
    row(61, "DescribeProducers", 0, 0, "idempotent producers"),
    row(62, "BrokerRegistration", 0, 4, CONTROLLER),
    row(63, "BrokerHeartbeat", 0, 2, CONTROLLER),
    row(
        64,
        "UnregisterBroker",
        0,
        0,
        "a broker that has gone is forgotten by itself; one that runs is refused",
    ),
    row(65, "DescribeTransactions", 0, 0, NO_TRANSACTION),
    row(66, "ListTransactions", 0, 2, NO_TRANSACTION),
    row(67, "AllocateProducerIds", 0, 0, CONTROLLER),
    row(68, "ConsumerGroupHeartbeat", 0, 1, CONSUMER),
    row(69, "ConsumerGroupDescribe", 0, 1, CONSUMER),
    row(70, "ControllerRegistration", 0, 0, CONTROLLER),
    row(71, "GetTelemetrySubscriptions", 0, 0, TELEMETRY),
    row(72, "PushTelemetry", 0, 0, TELEMETRY),
    row(73, "AssignReplicasToDirs", 0, 0, CONTROLLER),
    row(
        74,
        "ListConfigResources",
        0,
        1,
        "topics and brokers; client metrics and groups have no settings here",
    ),
    row(75, "DescribeTopicPartitions", 0, 0, ""),
    row(76, "ShareGroupHeartbeat", 1, 1, SHARE),
    row(77, "ShareGroupDescribe", 1, 1, SHARE),
    row(78, "ShareFetch", 1, 2, SHARE),
    row(79, "ShareAcknowledge", 1, 2, SHARE),
    row(80, "AddRaftVoter", 0, 1, QUORUM),
    row(81, "RemoveRaftVoter", 0, 0, QUORUM),
    row(82, "UpdateRaftVoter", 0, 0, QUORUM),
    row(83, "InitializeShareGroupState", 0, 0, SHARE),
    row(84, "ReadShareGroupState", 0, 0, SHARE),
    row(85, "WriteShareGroupState", 0, 1, SHARE),
    row(86, "DeleteShareGroupState", 0, 0, SHARE),
    row(87, "ReadShareGroupStateSummary", 0, 1, SHARE),
    row(88, "StreamsGroupHeartbeat", 0, 1, STREAMS),
    row(89, "StreamsGroupDescribe", 0, 1, STREAMS),
    row(90, "DescribeShareGroupOffsets", 0, 1, SHARE),
    row(91, "AlterShareGroupOffsets", 0, 0, SHARE),
    row(92, "DeleteShareGroupOffsets", 0, 0, SHARE),
    row(93, "StreamsGroupTopologyDescriptionUpdate", 0, 0, STREAMS),
    row(94, "UnregisterController", 0, 0, QUORUM),
];

fn served(key: i16) -> Option<(ApiKey, VersionRange)> {
    ADVERTISED
        .iter()
        .copied()
        .find(|(api, _)| api.as_i16() == key)
}

fn versions(range: VersionRange) -> String {
    match range.min == range.max {
        true => range.min.to_string(),
        false => format!("{}-{}", range.min, range.max),
    }
}

/// The table.
fn table() -> String {
    let mut text =
        "\n| key | API | Kafka 4.4 | served | notes |\n|---|---|---|---|---|\n".to_owned();
    for row in ROWS {
        let kafka = row.kafka.map_or("-".to_owned(), versions);
        let served = served(row.key).map_or("no".to_owned(), |(_, range)| versions(range));
        let Row {
            key, name, notes, ..
        } = row;
        writeln!(text, "| {key} | {name} | {kafka} | {served} | {notes} |").unwrap();
    }
    text
}

#[test]
fn the_table_names_every_api_once() {
    for (key, row) in (0..).zip(ROWS) {
        assert_eq!(row.key, key, "{}", row.name);
    }
    for (api, _) in ADVERTISED {
        let row = ROWS.iter().find(|row| row.key == api.as_i16());
        assert_eq!(row.map(|row| row.name), Some(api.name()));
    }
}

/// Clients take the highest version that both sides know: without one they cannot use the API at all.
#[test]
fn every_api_that_is_served_has_a_version_in_common_with_kafka() {
    for row in ROWS {
        if let (Some((api, ours)), Some(kafka)) = (served(row.key), row.kafka) {
            assert!(ours.min <= kafka.max && kafka.min <= ours.max, "{api}");
            assert!(
                ours.max <= kafka.max,
                "{api}: a version that Kafka does not have"
            );
        }
    }
}

/// Run with `UPDATE_DOCS=1` to write the table anew.
#[test]
fn the_documentation_is_what_is_advertised() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, found) = text.split_once(MARK).expect("the marker of the table");
    let wanted = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{MARK}{wanted}")).unwrap();
    } else {
        assert_eq!(found, wanted, "run the tests with UPDATE_DOCS=1");
    }
}
