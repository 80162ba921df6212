//! Names of objects: built from validated values only, and parsed back.
//!
//! Segments lie where KafScale puts them; everything else lies under the WAL prefix, so that a
//! lifecycle rule on the segments never touches it. Keys are also file paths in the local store, so
//! no component is ever empty, "." or "..".
//!
//! | object | key |
//! |---|---|
//! | segment | `{segments}{ns}/{topic}[@{generation}]/{partition}/segment-{base:020}.kfs` |
//! | index | the same with `.index` |
//! | manifest | `{segments}{ns}/{topic}[@{generation}]/{partition}/manifest.kfm` |
//! | WAL object | `{wal}{ns}/{broker}/{session}/{sequence:020}.wal` |
//! | own object | `{wal}{ns}/{broker}/{session}/own-{counter:020}.kfs` |
//! | directory bundle | `{wal}{ns}/{broker}/{session}/{first:020}-{last:020}.dir` |
//! | producer snapshot | `{wal}{ns}/producers/{topic id}/{partition}/{end:020}-{epoch:010}` |
//! | copy of a damaged segment | `{wal}{ns}/quarantine/{topic}[@{generation}]/{partition}/{base:020}-{crc:08x}` |
//! | backup of the metadata | `{wal}{ns}/backups/{YYYYMMDDThhmmssZ}-{revision:020}` |
//! | cluster id | `{wal}{ns}/cluster` |
//! | health probe | `{wal}{ns}/health/{broker}` |

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::backup;
use crate::ids::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, SessionId, TimestampMs, TopicId, TopicPartition,
    WalSequence,
};
use crate::topic_name::{TOPIC_NAME_BYTES_MAX, TopicName};

/// Default prefix of segments.
pub const SEGMENTS_PREFIX_DEFAULT: &str = "kafscale/";
/// Default prefix of the WAL and all that goes with it.
pub const WAL_PREFIX_DEFAULT: &str = "kafscale-wal/";
/// Default namespace.
pub const NAMESPACE_DEFAULT: &str = "default";
/// Most bytes of a prefix or namespace. S3 keys have at most 1,024 bytes; a topic takes up to 260
/// and the rest of a key less than 120.
pub const PREFIX_BYTES_MAX: usize = 256;

// Prefix, namespace and its '/'; name of a topic, '@' and its generation; the rest.
const _: () = assert!(2 * PREFIX_BYTES_MAX + 1 + TOPIC_NAME_BYTES_MAX + 1 + 10 + 120 <= 1_024);

const PRODUCERS: &str = "producers";
const CLUSTER: &str = "cluster";
const HEALTH: &str = "health";
const QUARANTINE: &str = "quarantine";
const BACKUPS: &str = "backups";
const MANIFEST: &str = "manifest.kfm";

/// Why prefixes and namespace cannot name objects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySpaceError {
    /// A prefix must be empty (segments only) or legal components, each followed by '/'.
    #[error("object key prefix {prefix:?} is not legal components, each followed by '/'")]
    Prefix {
        /// The prefix as given.
        prefix: String,
    },
    /// The namespace must be one component of `[a-zA-Z0-9._-]`, not "." or "..".
    #[error("object key namespace {namespace:?} is not one component of [a-zA-Z0-9._-]")]
    Namespace {
        /// The namespace as given.
        namespace: String,
    },
    /// One prefix lies inside the other, so a rule or a sweep on one would touch the other.
    #[error("object key prefixes overlap: segments {segments:?}, WAL {wal:?}")]
    Overlap {
        /// Prefix of segments.
        segments: String,
        /// Prefix of the WAL.
        wal: String,
    },
}

/// A topic's directory: its name and, when the name was used before, its generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicDir {
    /// The topic's name.
    pub name: TopicName,
    /// 0 for the first topic of this name, which uses KafScale's layout; then counted up.
    pub generation: u32,
}

impl TopicDir {
    /// The directory of generation `generation` of `name`.
    pub fn new(name: TopicName, generation: u32) -> Self {
        Self { name, generation }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.split_once('@') {
            None => Some(Self::new(TopicName::new(text).ok()?, 0)),
            Some((name, generation)) => {
                let generation: u32 = parse_plain(generation)?;
                if generation == 0 {
                    return None;
                }
                Some(Self::new(TopicName::new(name).ok()?, generation))
            }
        }
    }
}

impl fmt::Display for TopicDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            0 => write!(f, "{}", self.name),
            generation => write!(f, "{}@{generation}", self.name),
        }
    }
}

/// Where the segments of one partition lie, so that thousands of them need no key each. Cheap to
/// clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDir(Arc<str>);

impl PartitionDir {
    /// Key of a segment.
    pub fn segment(&self, base: Offset) -> String {
        segment_key(&self.0, base)
    }

    /// Key of a segment's index.
    pub fn index(&self, base: Offset) -> String {
        index_key(&self.0, base)
    }
}

fn segment_key(prefix: &str, base: Offset) -> String {
    assert!(base.is_valid(), "a segment starts at a valid offset");
    format!("{prefix}segment-{:020}.kfs", base.get())
}

fn index_key(prefix: &str, base: Offset) -> String {
    assert!(base.is_valid(), "a segment starts at a valid offset");
    format!("{prefix}segment-{:020}.index", base.get())
}

/// Where the objects of one cluster lie. Immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpace {
    segments: String,
    wal: String,
}

impl Default for KeySpace {
    fn default() -> Self {
        Self::new(
            SEGMENTS_PREFIX_DEFAULT,
            WAL_PREFIX_DEFAULT,
            NAMESPACE_DEFAULT,
        )
        .expect("the defaults are legal")
    }
}

/// What a key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectKey {
    /// A segment.
    Segment {
        /// The topic.
        topic: TopicDir,
        /// The partition.
        partition: PartitionIndex,
        /// First offset of the segment.
        base: Offset,
    },
    /// A segment's index.
    Index {
        /// The topic.
        topic: TopicDir,
        /// The partition.
        partition: PartitionIndex,
        /// First offset of the segment.
        base: Offset,
    },
    /// A partition's manifest.
    Manifest {
        /// The topic.
        topic: TopicDir,
        /// The partition.
        partition: PartitionIndex,
    },
    /// A WAL object.
    Wal {
        /// Broker of the session.
        broker: BrokerId,
        /// The session.
        session: SessionId,
        /// Number in the session.
        sequence: WalSequence,
    },
    /// One partition's large flush.
    Own {
        /// Broker of the session.
        broker: BrokerId,
        /// The session.
        session: SessionId,
        /// Number in the session, apart from the WAL sequence.
        counter: u64,
    },
    /// Directories of WAL objects `first` to `last`.
    WalDirectories {
        /// Broker of the session.
        broker: BrokerId,
        /// The session.
        session: SessionId,
        /// First WAL object.
        first: WalSequence,
        /// Last WAL object.
        last: WalSequence,
    },
    /// A partition's producer state.
    ProducerSnapshot {
        /// The partition.
        partition: TopicPartition,
        /// Log end offset of the state.
        end: Offset,
        /// Leader epoch of the writer.
        epoch: LeaderEpoch,
    },
    /// A copy of a damaged segment as it was before it was repaired. Nothing deletes it.
    Quarantined {
        /// The topic.
        topic: TopicDir,
        /// The partition.
        partition: PartitionIndex,
        /// First offset of the segment.
        base: Offset,
        /// CRC-32 of its bytes.
        crc32: u32,
    },
    /// The keys of the metadata store at one revision.
    Backup {
        /// When it was made, to the second.
        made: TimestampMs,
        /// The revision.
        revision: u64,
    },
    /// The object that holds the cluster id.
    Cluster,
    /// What a broker writes, always the same, to see whether the store takes writes again.
    HealthProbe {
        /// The broker.
        broker: BrokerId,
    },
}

impl KeySpace {
    /// Names objects under the given prefixes.
    ///
    /// # Errors
    /// Prefixes or a namespace that are not legal, or prefixes of which one contains the other.
    pub fn new(segments: &str, wal: &str, namespace: &str) -> Result<Self, KeySpaceError> {
        if !is_prefix(segments) {
            return Err(KeySpaceError::Prefix {
                prefix: segments.to_owned(),
            });
        }
        if !is_prefix(wal) || wal.is_empty() {
            return Err(KeySpaceError::Prefix {
                prefix: wal.to_owned(),
            });
        }
        if !is_component(namespace) || namespace.len() > PREFIX_BYTES_MAX {
            return Err(KeySpaceError::Namespace {
                namespace: namespace.to_owned(),
            });
        }
        let space = Self {
            segments: format!("{segments}{namespace}/"),
            wal: format!("{wal}{namespace}/"),
        };
        // A lifecycle rule is set on the segments' prefix: no WAL object may lie below it. The
        // empty prefix (the layout of an adopted bucket) contains everything and is the operator's
        // choice.
        let below = !segments.is_empty() && wal.starts_with(segments);
        if below || space.segments.starts_with(wal) || space.wal.starts_with(&space.segments) {
            return Err(KeySpaceError::Overlap {
                segments: space.segments,
                wal: wal.to_owned(),
            });
        }
        assert!(
            !space.segments.starts_with(&space.wal),
            "a segment's key is not taken for one of the WAL"
        );
        Ok(space)
    }

    /// Prefix of all segments of the namespace, with its '/'.
    pub fn segments_root(&self) -> &str {
        &self.segments
    }

    /// Prefix of the WAL of the namespace, with its '/'.
    pub fn wal_root(&self) -> &str {
        &self.wal
    }

    /// Prefix of a topic's objects, with its '/'.
    pub fn topic_prefix(&self, topic: &TopicDir) -> String {
        format!("{}{topic}/", self.segments)
    }

    /// Prefix of a partition's objects, with its '/'.
    pub fn partition_prefix(&self, topic: &TopicDir, partition: PartitionIndex) -> String {
        assert!(partition.get() >= 0, "a partition has no negative index");
        format!("{}{topic}/{partition}/", self.segments)
    }

    /// Where a partition's segments lie.
    pub fn partition_dir(&self, topic: &TopicDir, partition: PartitionIndex) -> PartitionDir {
        PartitionDir(self.partition_prefix(topic, partition).into())
    }

    /// Key of a segment.
    pub fn segment(&self, topic: &TopicDir, partition: PartitionIndex, base: Offset) -> String {
        segment_key(&self.partition_prefix(topic, partition), base)
    }

    /// Key of a segment's index.
    pub fn index(&self, topic: &TopicDir, partition: PartitionIndex, base: Offset) -> String {
        index_key(&self.partition_prefix(topic, partition), base)
    }

    /// Key of a partition's manifest.
    pub fn manifest(&self, topic: &TopicDir, partition: PartitionIndex) -> String {
        format!("{}{MANIFEST}", self.partition_prefix(topic, partition))
    }

    /// Prefix of a session's objects, with its '/'.
    pub fn session_prefix(&self, broker: BrokerId, session: SessionId) -> String {
        assert!(broker.get() >= 0, "a broker has no negative id");
        format!("{}{broker}/{session}/", self.wal)
    }

    /// Key of a WAL object.
    pub fn wal(&self, broker: BrokerId, session: SessionId, sequence: WalSequence) -> String {
        format!(
            "{}{:020}.wal",
            self.session_prefix(broker, session),
            sequence.get()
        )
    }

    /// Key of an object that one partition's large flush got for itself.
    pub fn own(&self, broker: BrokerId, session: SessionId, counter: u64) -> String {
        format!(
            "{}own-{counter:020}.kfs",
            self.session_prefix(broker, session)
        )
    }

    /// Key of the directories of WAL objects `first` to `last` (inclusive).
    pub fn wal_directories(
        &self,
        broker: BrokerId,
        session: SessionId,
        first: WalSequence,
        last: WalSequence,
    ) -> String {
        assert!(
            first <= last,
            "a bundle's first object is not after its last"
        );
        let prefix = self.session_prefix(broker, session);
        format!("{prefix}{:020}-{:020}.dir", first.get(), last.get())
    }

    /// Prefix of a topic's producer snapshots, with its '/'.
    pub fn producers_topic_prefix(&self, topic: TopicId) -> String {
        format!("{}{PRODUCERS}/{topic}/", self.wal)
    }

    /// Prefix of a partition's producer snapshots, with its '/'.
    pub fn producers_prefix(&self, partition: TopicPartition) -> String {
        assert!(
            partition.partition.get() >= 0,
            "a partition has no negative index"
        );
        let TopicPartition { topic, partition } = partition;
        format!("{}{partition}/", self.producers_topic_prefix(topic))
    }

    /// Key of the producer state at log end offset `end`, written by the owner of `epoch`.
    pub fn producer_snapshot(
        &self,
        partition: TopicPartition,
        end: Offset,
        epoch: LeaderEpoch,
    ) -> String {
        assert!(end.is_valid(), "a log ends at a valid offset");
        assert!(epoch.get() >= 0, "an owner has an epoch");
        let prefix = self.producers_prefix(partition);
        format!("{prefix}{:020}-{:010}", end.get(), epoch.get())
    }

    /// Key of the copy of a damaged segment with this CRC-32.
    pub fn quarantined(
        &self,
        topic: &TopicDir,
        partition: PartitionIndex,
        base: Offset,
        crc32: u32,
    ) -> String {
        assert!(
            partition.get() >= 0 && base.is_valid(),
            "as in a segment's key"
        );
        let root = &self.wal;
        format!(
            "{root}{QUARANTINE}/{topic}/{partition}/{:020}-{crc32:08x}",
            base.get()
        )
    }

    /// Prefix of the backups of the metadata, with its '/'. Their names rise with the time.
    pub fn backups_prefix(&self) -> String {
        format!("{}{BACKUPS}/", self.wal)
    }

    /// Key of the backup of the metadata that was made then, of this revision.
    pub fn backup(&self, made: TimestampMs, revision: u64) -> String {
        let (prefix, stamp) = (self.backups_prefix(), backup::stamp(made));
        format!("{prefix}{stamp}-{revision:020}")
    }

    /// Key of the object that holds the cluster id.
    pub fn cluster(&self) -> String {
        format!("{}{CLUSTER}", self.wal)
    }

    /// Key of the object that a broker writes to see whether the store takes writes again.
    pub fn health_probe(&self, broker: BrokerId) -> String {
        assert!(broker.get() >= 0, "a broker has no negative id");
        format!("{}{HEALTH}/{broker}", self.wal)
    }

    /// What `key` names; `None` for a key of another namespace or one that we never write.
    pub fn parse(&self, key: &str) -> Option<ObjectKey> {
        if let Some(rest) = key.strip_prefix(&self.wal) {
            return parse_wal_side(rest);
        }
        parse_segment_side(key.strip_prefix(&self.segments)?)
    }
}

fn parse_segment_side(rest: &str) -> Option<ObjectKey> {
    let mut parts = rest.split('/');
    let topic = TopicDir::parse(parts.next()?)?;
    let partition = PartitionIndex::new(parse_index(parts.next()?)?);
    let name = parts.next()?;
    if parts.next().is_some() {
        return None;
    }
    if name == MANIFEST {
        return Some(ObjectKey::Manifest { topic, partition });
    }
    let name = name.strip_prefix("segment-")?;
    if let Some(base) = name.strip_suffix(".kfs") {
        let base = parse_offset(base)?;
        return Some(ObjectKey::Segment {
            topic,
            partition,
            base,
        });
    }
    let base = parse_offset(name.strip_suffix(".index")?)?;
    Some(ObjectKey::Index {
        topic,
        partition,
        base,
    })
}

fn parse_wal_side(rest: &str) -> Option<ObjectKey> {
    let parts: Vec<&str> = rest.splitn(5, '/').collect();
    match *parts.as_slice() {
        [CLUSTER] => Some(ObjectKey::Cluster),
        [BACKUPS, name] => {
            let (made, revision) = name.split_once('-')?;
            Some(ObjectKey::Backup {
                made: backup::parse_stamp(made)?,
                revision: parse_padded(revision, 20)?,
            })
        }
        [HEALTH, broker] => Some(ObjectKey::HealthProbe {
            broker: BrokerId::new(parse_index(broker)?),
        }),
        [QUARANTINE, topic, partition, name] => {
            let (base, crc32) = name.split_once('-')?;
            let value = u32::from_str_radix(crc32, 16).ok()?;
            (format!("{value:08x}") == crc32).then_some(())?;
            Some(ObjectKey::Quarantined {
                topic: TopicDir::parse(topic)?,
                partition: PartitionIndex::new(parse_index(partition)?),
                base: parse_offset(base)?,
                crc32: value,
            })
        }
        [PRODUCERS, topic, partition, name] => {
            let partition = TopicPartition::new(
                topic.parse().ok()?,
                PartitionIndex::new(parse_index(partition)?),
            );
            let (end, epoch) = name.split_once('-')?;
            let epoch = i32::try_from(parse_padded(epoch, 10)?).ok()?;
            Some(ObjectKey::ProducerSnapshot {
                partition,
                end: parse_offset(end)?,
                epoch: LeaderEpoch::new(epoch),
            })
        }
        [broker, session, name] => {
            let broker = BrokerId::new(parse_index(broker)?);
            parse_session_object(broker, session.parse().ok()?, name)
        }
        _ => None,
    }
}

fn parse_session_object(broker: BrokerId, session: SessionId, name: &str) -> Option<ObjectKey> {
    if let Some(sequence) = name.strip_suffix(".wal") {
        let sequence = WalSequence::new(parse_padded(sequence, 20)?);
        return Some(ObjectKey::Wal {
            broker,
            session,
            sequence,
        });
    }
    if let Some(counter) = name.strip_prefix("own-") {
        let counter = parse_padded(counter.strip_suffix(".kfs")?, 20)?;
        return Some(ObjectKey::Own {
            broker,
            session,
            counter,
        });
    }
    let (first, last) = name.strip_suffix(".dir")?.split_once('-')?;
    let first = WalSequence::new(parse_padded(first, 20)?);
    let last = WalSequence::new(parse_padded(last, 20)?);
    (first <= last).then_some(ObjectKey::WalDirectories {
        broker,
        session,
        first,
        last,
    })
}

/// A decimal number as we print it: no sign, no leading zeros.
fn parse_plain<T: FromStr>(text: &str) -> Option<T> {
    let canonical = text == "0" || !text.starts_with('0');
    if !canonical || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn parse_index(text: &str) -> Option<i32> {
    parse_plain(text)
}

fn parse_padded(text: &str, digits: usize) -> Option<u64> {
    if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn parse_offset(text: &str) -> Option<Offset> {
    Some(Offset::new(i64::try_from(parse_padded(text, 20)?).ok()?))
}

fn is_component(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(legal)
}

fn is_prefix(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let Some(inner) = text.strip_suffix('/') else {
        return false;
    };
    text.len() <= PREFIX_BYTES_MAX && inner.split('/').all(is_component)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dir(name: &str, generation: u32) -> TopicDir {
        TopicDir::new(TopicName::new(name).unwrap(), generation)
    }

    const SESSION: SessionId = SessionId::new([0xab; 16]);

    #[test]
    fn keys_are_what_the_design_says() {
        let space = KeySpace::default();
        let partition = PartitionIndex::new(3);
        let base = Offset::new(42);
        let broker = BrokerId::new(7);
        assert_eq!(
            space.segment(&dir("orders", 0), partition, base),
            "kafscale/default/orders/3/segment-00000000000000000042.kfs"
        );
        assert_eq!(
            space.index(&dir("orders", 2), partition, base),
            "kafscale/default/orders@2/3/segment-00000000000000000042.index"
        );
        assert_eq!(
            space.manifest(&dir("orders", 0), partition),
            "kafscale/default/orders/3/manifest.kfm"
        );
        assert_eq!(
            space.wal(broker, SESSION, WalSequence::new(5)),
            "kafscale-wal/default/7/abababababababababababababababab/00000000000000000005.wal"
        );
        assert_eq!(
            space.own(broker, SESSION, 1),
            "kafscale-wal/default/7/abababababababababababababababab/own-00000000000000000001.kfs"
        );
        assert_eq!(space.cluster(), "kafscale-wal/default/cluster");
        assert_eq!(
            space.backup(TimestampMs::new(1_700_000_000_999), 42),
            "kafscale-wal/default/backups/20231114T221320Z-00000000000000000042"
        );
        assert_eq!(
            space.producer_snapshot(
                TopicPartition::new(TopicId::ZERO, partition),
                base,
                LeaderEpoch::new(9)
            ),
            "kafscale-wal/default/producers/AAAAAAAAAAAAAAAAAAAAAA/3/\
             00000000000000000042-0000000009"
        );
    }

    #[test]
    fn the_original_layout_has_no_prefix() {
        let space = KeySpace::new("", WAL_PREFIX_DEFAULT, "default").unwrap();
        assert_eq!(
            space.segment(&dir("orders", 0), PartitionIndex::ZERO, Offset::ZERO),
            "default/orders/0/segment-00000000000000000000.kfs"
        );
    }

    #[test]
    fn illegal_prefixes_are_refused() {
        for prefix in ["a", "/", "/a/", "a//b/", "../", "a/./", "a b/", "\u{e9}/"] {
            assert!(KeySpace::new(prefix, "w/", "n").is_err(), "{prefix}");
            assert!(KeySpace::new("s/", prefix, "n").is_err(), "{prefix}");
        }
        for namespace in ["", ".", "..", "a/b", "a b"] {
            assert!(KeySpace::new("s/", "w/", namespace).is_err(), "{namespace}");
        }
        for (segments, wal, namespace) in [
            ("a/", "a/", "n"),
            ("a/", "a/b/", "n"),
            ("a/b/", "a/", "n"),
            ("", "n/", "n"),
        ] {
            assert!(
                matches!(
                    KeySpace::new(segments, wal, namespace),
                    Err(KeySpaceError::Overlap { .. })
                ),
                "{segments} {wal}"
            );
        }
    }

    fn arbitrary_topic() -> impl Strategy<Value = TopicDir> {
        ("[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,248}", any::<u32>())
            .prop_map(|(name, generation)| dir(&name, generation))
    }

    proptest! {
        #[test]
        fn keys_round_trip(
            topic in arbitrary_topic(),
            partition in 0..=i32::MAX,
            base in 0..=i64::MAX,
            broker in 0..=i32::MAX,
            id: [u8; 16],
            number: u64,
            epoch in 0..=i32::MAX,
            seconds in 0..253_402_300_800_i64,
        ) {
            let space = KeySpace::default();
            let partition = PartitionIndex::new(partition);
            let base = Offset::new(base);
            let broker = BrokerId::new(broker);
            let session = SessionId::new(id);
            let sequence = WalSequence::new(number);
            let place = TopicPartition::new(TopicId::new(id), partition);
            let epoch = LeaderEpoch::new(epoch);
            let first = WalSequence::new(number / 2);
            let made = TimestampMs::new(seconds * 1_000);
            let pairs = [
                (
                    space.segment(&topic, partition, base),
                    ObjectKey::Segment { topic: topic.clone(), partition, base },
                ),
                (
                    space.index(&topic, partition, base),
                    ObjectKey::Index { topic: topic.clone(), partition, base },
                ),
                (
                    space.manifest(&topic, partition),
                    ObjectKey::Manifest { topic: topic.clone(), partition },
                ),
                (
                    space.wal(broker, session, sequence),
                    ObjectKey::Wal { broker, session, sequence },
                ),
                (
                    space.own(broker, session, number),
                    ObjectKey::Own { broker, session, counter: number },
                ),
                (
                    space.wal_directories(broker, session, first, sequence),
                    ObjectKey::WalDirectories { broker, session, first, last: sequence },
                ),
                (
                    space.producer_snapshot(place, base, epoch),
                    ObjectKey::ProducerSnapshot { partition: place, end: base, epoch },
                ),
                (
                    space.quarantined(&topic, partition, base, number as u32),
                    ObjectKey::Quarantined { topic, partition, base, crc32: number as u32 },
                ),
                (
                    space.backup(made, number),
                    ObjectKey::Backup { made, revision: number },
                ),
                (space.cluster(), ObjectKey::Cluster),
                (space.health_probe(broker), ObjectKey::HealthProbe { broker }),
            ];
            for (key, expected) in pairs {
                prop_assert!(key.len() <= 1024);
                prop_assert_eq!(space.parse(&key), Some(expected));
                prop_assert_eq!(space.parse(&format!("{key}x")), None);
                prop_assert_eq!(space.parse(key.get(1..).unwrap_or_default()), None);
            }
        }

        #[test]
        fn any_text_parses_or_not(text in "(kafscale(-wal)?/default/)?.{0,80}") {
            let _ = KeySpace::default().parse(&text);
        }
    }
}
