//! What the original KafScale keeps in etcd (format version 1). Read, never written.
//!
//! | key | value |
//! |---|---|
//! | `{prefix}metadata/snapshot` | JSON: topics, their ids and partitions, under the names of Go fields |
//! | `{prefix}topics/{topic}/config` | protobuf `TopicConfig` |
//! | `{prefix}topics/{topic}/partitions/{p}/next_offset` | decimal: the offset after the last one given out |
//! | `{prefix}consumers/{group}/offsets/{topic}/{p}` | JSON: offset, metadata, time |
//! | `{prefix}partition-leases/`, `{prefix}group-leases/` | there while a broker of the original runs |

use std::collections::BTreeMap;

use coord::kv::{Key, KeyValue, Kv, KvError, Revision, Span, range_all};
use segment::{Offset, PartitionIndex, TopicId};
use serde::Deserialize;

use super::config::{self, StoredConfig};

/// Where the original keeps its keys.
pub const PREFIX_DEFAULT: &str = "/kafscale/";

const SNAPSHOT: &str = "metadata/snapshot";
const TOPICS: &str = "topics/";
const CONSUMERS: &str = "consumers/";
const LEASES: [&str; 2] = ["partition-leases/", "group-leases/"];

/// Why the original's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OriginalError {
    /// The metadata store failed.
    #[error("metadata: {0}")]
    Kv(#[from] KvError),
    /// There is no original.
    #[error(
        "{0} is not there: no KafScale of format version 1 keeps its metadata in this etcd; see \
         --from-etcd-prefix and KAFSCALE_ETCD_ENDPOINTS"
    )]
    NoSnapshot(Key),
    /// A value cannot be read.
    #[error("{key} cannot be read: {reason}")]
    Value {
        /// Its key.
        key: Key,
        /// What is wrong.
        reason: String,
    },
    /// It runs.
    #[error(
        "a broker of the original runs: {0} is there. Stop all of them, wait ten seconds, and try \
         again: what they would write from now on would be lost"
    )]
    Runs(Key),
    /// It has run meanwhile.
    #[error(
        "keys under {0} changed meanwhile: a broker of the original runs, or ran. Stop all of them \
         and try again"
    )]
    Changed(String),
}

/// A topic of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalTopic {
    /// Its name, which the original does not check.
    pub name: String,
    /// Its id, as clients know it; none where it is missing or zero.
    pub id: Option<TopicId>,
    /// One above its highest partition.
    pub partition_count: i32,
    /// What was set.
    pub config: StoredConfig,
    /// The offset after the last one given out, by partition.
    pub next_offsets: BTreeMap<PartitionIndex, Offset>,
}

/// A committed offset of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalOffset {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to read.
    pub offset: Offset,
    /// What the client attached.
    pub metadata: String,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Topics, as the snapshot has them.
    pub topics: Vec<OriginalTopic>,
    /// Committed offsets.
    pub offsets: Vec<OriginalOffset>,
    /// Keys and revisions of what was read: it tells whether anything changes meanwhile.
    seen: Vec<(Key, Revision)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Snapshot {
    // Go writes an empty list as null.
    #[serde(default)]
    topics: Option<Vec<SnapshotTopic>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SnapshotTopic {
    topic: Option<String>,
    #[serde(rename = "TopicID", default)]
    topic_id: Option<[u8; 16]>,
    #[serde(default)]
    partitions: Option<Vec<SnapshotPartition>>,
    #[serde(default)]
    error_code: i16,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SnapshotPartition {
    partition: i32,
}

#[derive(Deserialize)]
struct Committed {
    offset: i64,
    #[serde(default)]
    metadata: Option<String>,
}

/// Reads all keys of the original that matter, each span at one revision.
///
/// # Errors
/// [`OriginalError`]; [`OriginalError::Runs`] while a broker of the original holds a lease.
pub(super) async fn read(
    kv: &std::sync::Arc<dyn Kv>,
    prefix: &str,
) -> Result<Original, OriginalError> {
    for leases in LEASES {
        let held = range_all(kv, Span::prefix(format!("{prefix}{leases}"))).await?;
        if let Some(held) = held.entries.into_iter().next() {
            return Err(OriginalError::Runs(held.key));
        }
    }
    let key = Key::from(format!("{prefix}{SNAPSHOT}"));
    let found = kv.get(key.clone()).await?;
    let found = found.ok_or(OriginalError::NoSnapshot(key))?;
    let mut seen = vec![(found.key.clone(), found.mod_revision)];
    let mut topics = topics_of(&found)?;
    let about_topics = Span::prefix(format!("{prefix}{TOPICS}"));
    for entry in range_all(kv, about_topics).await?.entries {
        take_topic_key(&mut topics, &format!("{prefix}{TOPICS}"), &entry)?;
        seen.push((entry.key, entry.mod_revision));
    }
    let mut offsets = Vec::new();
    let consumers = format!("{prefix}{CONSUMERS}");
    for entry in range_all(kv, Span::prefix(consumers.as_str()))
        .await?
        .entries
    {
        offsets.extend(offset_of(&consumers, &entry)?);
        seen.push((entry.key, entry.mod_revision));
    }
    Ok(Original {
        topics,
        offsets,
        seen,
    })
}

impl Original {
    /// Refuses if anything has changed since it was read.
    ///
    /// # Errors
    /// [`OriginalError`].
    pub async fn is_unchanged(
        &self,
        kv: &std::sync::Arc<dyn Kv>,
        prefix: &str,
    ) -> Result<(), OriginalError> {
        match read(kv, prefix).await?.seen == self.seen {
            true => Ok(()),
            false => Err(OriginalError::Changed(prefix.to_owned())),
        }
    }
}

fn unreadable(entry: &KeyValue, reason: impl ToString) -> OriginalError {
    OriginalError::Value {
        key: entry.key.clone(),
        reason: reason.to_string(),
    }
}

fn topics_of(entry: &KeyValue) -> Result<Vec<OriginalTopic>, OriginalError> {
    let snapshot: Snapshot =
        serde_json::from_slice(entry.value.as_bytes()).map_err(|error| unreadable(entry, error))?;
    let mut topics: Vec<OriginalTopic> = Vec::new();
    for stored in snapshot.topics.unwrap_or_default() {
        let name = stored.topic.unwrap_or_default();
        if name.is_empty() || stored.error_code != 0 {
            continue;
        }
        if topics.iter().any(|topic| topic.name == name) {
            return Err(unreadable(entry, format!("topic {name} is there twice")));
        }
        let partitions = stored.partitions.unwrap_or_default();
        let highest = partitions.iter().map(|p| p.partition).max().unwrap_or(-1);
        let id = stored.topic_id.map(TopicId::new);
        topics.push(OriginalTopic {
            name,
            id: id.filter(|id| !id.is_zero()),
            partition_count: highest.saturating_add(1),
            config: StoredConfig::default(),
            next_offsets: BTreeMap::new(),
        });
    }
    Ok(topics)
}

/// Keys of topics that the snapshot does not have, and keys of other kinds, say nothing.
fn take_topic_key(
    topics: &mut [OriginalTopic],
    folder: &str,
    entry: &KeyValue,
) -> Result<(), OriginalError> {
    let rest = entry.key.as_str().and_then(|key| key.strip_prefix(folder));
    let Some(rest) = rest else { return Ok(()) };
    if let Some(name) = rest.strip_suffix("/config") {
        if let Some(topic) = topics.iter_mut().find(|topic| topic.name == name) {
            let read = config::read(entry.value.as_bytes());
            topic.config = read.map_err(|reason| unreadable(entry, reason))?;
        }
        return Ok(());
    }
    let Some((name, partition)) = rest
        .strip_suffix("/next_offset")
        .and_then(|rest| rest.rsplit_once("/partitions/"))
    else {
        return Ok(());
    };
    let topic = topics.iter_mut().find(|topic| topic.name == name);
    if let (Some(topic), Ok(partition)) = (topic, partition.parse()) {
        let text = std::str::from_utf8(entry.value.as_bytes());
        let next = text.ok().and_then(|text| text.trim().parse().ok());
        let next = next.filter(|next: &i64| *next >= 0);
        let next = next.ok_or_else(|| unreadable(entry, "it is no offset"))?;
        let partition = PartitionIndex::new(partition);
        topic.next_offsets.insert(partition, Offset::new(next));
    }
    Ok(())
}

/// A committed offset; its key is read from its end, since a group's name may hold anything.
fn offset_of(folder: &str, entry: &KeyValue) -> Result<Option<OriginalOffset>, OriginalError> {
    let parts = || {
        let rest = entry.key.as_str()?.strip_prefix(folder)?;
        let (rest, partition) = rest.rsplit_once('/')?;
        let (rest, topic) = rest.rsplit_once('/')?;
        let group = rest.strip_suffix("/offsets")?;
        Some((group, topic, partition.parse().ok()?))
    };
    let Some((group, topic, partition)) = parts() else {
        return Ok(None);
    };
    let stored: Committed =
        serde_json::from_slice(entry.value.as_bytes()).map_err(|error| unreadable(entry, error))?;
    if stored.offset < 0 {
        return Ok(None);
    }
    Ok(Some(OriginalOffset {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition: PartitionIndex::new(partition),
        offset: Offset::new(stored.offset),
        metadata: stored.metadata.unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use coord::kv::simulated::Simulated;
    use coord::kv::{Op, Txn, Value, wait};

    fn kv(keys: &[(&str, &[u8])]) -> Arc<dyn Kv> {
        let kv: Arc<dyn Kv> = Arc::new(Simulated::new());
        put(&kv, keys);
        kv
    }

    fn put(kv: &Arc<dyn Kv>, keys: &[(&str, &[u8])]) {
        for (key, value) in keys {
            let txn = Txn::new().and_then(Op::put((*key).into(), Value::from(value.to_vec())));
            wait(kv.txn(txn)).unwrap();
        }
    }

    const SNAPSHOT: &[u8] = br#"{"Brokers":[{"NodeID":0,"Host":"b","Port":9092,"Rack":null}],
        "ControllerID":0,"Topics":[
        {"ErrorCode":0,"Topic":"orders","TopicID":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,255],
         "IsInternal":false,"Partitions":[
            {"ErrorCode":0,"Partition":1,"Leader":0,"LeaderEpoch":0,"Replicas":[0],"ISR":[0],
             "OfflineReplicas":null,"UnknownTags":{}},
            {"ErrorCode":0,"Partition":0,"Leader":0,"LeaderEpoch":0,"Replicas":[0],"ISR":[0]}],
         "AuthorizedOperations":-2147483648,"UnknownTags":{}},
        {"ErrorCode":3,"Topic":"gone","Partitions":null},
        {"Topic":"bare","TopicID":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"Partitions":[{"Partition":0}]}
        ],"ClusterName":null,"ClusterID":"kafscale-cluster"}"#;

    #[test]
    fn what_go_writes_is_read() {
        let kv = kv(&[
            ("/kafscale/metadata/snapshot", SNAPSHOT),
            ("/kafscale/topics/orders/partitions/1/next_offset", b"120"),
            ("/kafscale/topics/orders/partitions/1", b"\x0a\x06orders"),
            ("/kafscale/topics/unknown/partitions/1/next_offset", b"x"),
            // TopicConfig: 1 name, 4 retention_ms, 8 config.
            (
                "/kafscale/topics/orders/config",
                b"\x0a\x06orders\x20\x90\x4e\x42\x14\x0a\x0esegment.bytes.\x12\x021m",
            ),
            (
                "/kafscale/consumers/team/a/offsets/orders/1",
                br#"{"offset":7,"metadata":"m","committed_at":"2026-01-02T03:04:05.6Z"}"#,
            ),
            ("/kafscale/consumers/team/a/metadata", b"\x0a\x06team/a"),
            // Our own keys lie beside them.
            ("/kafscale/kafscale/topics/orders", b"{}"),
        ]);
        let original = wait(read(&kv, PREFIX_DEFAULT)).unwrap();
        assert_eq!(original.topics.len(), 2);
        let orders = &original.topics[0];
        assert_eq!(
            (orders.name.as_str(), orders.partition_count),
            ("orders", 2)
        );
        let id = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255];
        assert_eq!(orders.id, Some(TopicId::new(id)));
        let next = BTreeMap::from([(PartitionIndex::new(1), Offset::new(120))]);
        assert_eq!(orders.next_offsets, next);
        assert_eq!(orders.config.settings["retention.ms"], "10000");
        assert_eq!(original.topics[1].id, None);
        let committed = OriginalOffset {
            group: "team/a".to_owned(),
            topic: "orders".to_owned(),
            partition: PartitionIndex::new(1),
            offset: Offset::new(7),
            metadata: "m".to_owned(),
        };
        assert_eq!(original.offsets, [committed]);
        wait(original.is_unchanged(&kv, PREFIX_DEFAULT)).unwrap();
        put(
            &kv,
            &[("/kafscale/topics/orders/partitions/0/next_offset", b"1")],
        );
        let changed = wait(original.is_unchanged(&kv, PREFIX_DEFAULT));
        assert!(matches!(changed, Err(OriginalError::Changed(_))));
    }

    #[test]
    fn a_broker_that_runs_is_seen() {
        for lease in ["partition-leases/orders/0", "group-leases/g"] {
            let lease = format!("/kafscale/{lease}");
            let kv = kv(&[
                ("/kafscale/metadata/snapshot", SNAPSHOT),
                (&lease, b"broker-0"),
            ]);
            let refused = wait(read(&kv, PREFIX_DEFAULT));
            assert!(matches!(refused, Err(OriginalError::Runs(_))));
        }
    }

    #[test]
    fn what_is_missing_or_damaged_is_named() {
        let none = wait(read(&kv(&[]), PREFIX_DEFAULT)).unwrap_err();
        assert!(none.to_string().contains("/kafscale/metadata/snapshot"));
        for (key, value) in [
            ("/k/metadata/snapshot", &b"{"[..]),
            ("/k/topics/orders/partitions/0/next_offset", b"many"),
            ("/k/topics/orders/partitions/0/next_offset", b"-1"),
            ("/k/topics/orders/config", b"\x0a\xff"),
            ("/k/consumers/g/offsets/orders/0", b"7"),
        ] {
            let kv = kv(&[("/k/metadata/snapshot", SNAPSHOT), (key, value)]);
            let error = wait(read(&kv, "/k/")).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
