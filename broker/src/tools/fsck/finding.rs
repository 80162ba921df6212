//! What can be found, each kind with a stable code.

use std::cmp::Ordering;
use std::fmt;

use super::repair::Repair;

/// Sentences that a finding has at most: an object may be needed by many partitions.
const DETAILS_MAX: usize = 20;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is as it should be for now; worth knowing.
    Note,
    /// Nothing is lost, and it will not mend itself.
    Warning,
    /// Records cannot be read, or a partition cannot be served.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident $code:literal $severity:ident $todo:literal,)*) => {
        /// A kind of finding. Codes are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// Its stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),* }
            }

            /// What to do about it.
            pub const fn todo(self) -> &'static str {
                match self { $(Self::$name => $todo),* }
            }
        }
    };
}

codes! {
    /// A metadata record that does not parse.
    RecordUnreadable "record-unreadable" Error
        "stop the brokers, delete the keys, `kafscale backup restore`: see \"By hand\" in docs/operations.md",
    /// No cluster record.
    ClusterMissing "cluster-missing" Error
        "stop the brokers, delete the keys, `kafscale backup restore`: see \"By hand\" in docs/operations.md",
    /// The object that names the cluster is missing, or names another one.
    ClusterObject "cluster-object" Error
        "check KAFSCALE_CLUSTER, the bucket and its namespace: brokers refuse to start",
    /// The generation counter of a topic's name is missing or too low.
    GenerationCounter "generation-counter" Warning
        "--repair raises it: else the topic, created again, could meet its own old objects",
    /// A partition record of a topic that is neither there nor being deleted.
    PartitionUnknown "partition-unknown" Warning
        "--repair deletes the record; objects stay",
    /// A partition record beyond the partitions of its topic.
    PartitionBeyond "partition-beyond-count" Warning
        "raise the topic's partitions with `kafscale topic alter`, if they were more",
    /// A committed offset of a topic or partition that is not there.
    GroupOffsetUnknown "group-offset-unknown" Warning
        "--repair deletes those of topics that are gone",
    /// A committed offset behind the end of the log.
    GroupOffsetBeyond "group-offset-beyond-end" Warning
        "see whether records are lost, then `kafscale group reset-offsets`",
    /// A floor or committed sequence of a session without a record.
    SessionUnknown "session-unknown" Warning
        "none: metadata may have been restored from a backup",
    /// Dead sessions of which only the objects that fence them are left.
    SessionsOver "sessions-over" Note
        "none: they stay, so that what is written late meets its fence",
    /// A deletion of a topic that is not done.
    DeletionPending "deletion-pending" Note
        "none: a broker carries it out",
    /// A topic that `kafscale restore` is making, or was when it was interrupted.
    RestorePending "restore-pending" Note
        "none: it ends by itself; if it was interrupted, `kafscale restore` to that name cleans up",
    /// Offsets between log start and compacted end that no segment holds.
    SegmentGap "segment-gap" Error
        "restore the objects from bucket versions; --repair --accept-loss starts the log behind it",
    /// The log start lies below the first segment, as when a lifecycle rule has deleted some.
    LogStartBehind "log-start-behind" Warning
        "none: the owner raises it when it opens or reads the partition (or --repair --accept-loss)",
    /// A segment that was merged into another, or lies below the log start.
    SegmentLeftover "segment-leftover" Warning
        "--repair deletes it",
    /// A segment that fits nowhere.
    SegmentStray "segment-stray" Warning
        "none: it is not read, and nothing deletes it",
    /// A segment at or above the compacted end that no intent announces.
    SegmentAhead "segment-ahead" Warning
        "was the metadata restored from a backup? Its records may exist nowhere else",
    /// A segment that is truncated, corrupt or no segment.
    SegmentDamaged "segment-damaged" Error
        "restore the object from a bucket version; or --repair keeps a copy and what is sound",
    /// A segment without index.
    IndexMissing "index-missing" Warning
        "--repair builds it; so does the first reader",
    /// An index that cannot be read or does not match its segment.
    IndexWrong "index-wrong" Warning
        "--repair builds it again",
    /// An index without segment.
    IndexLeftover "index-leftover" Warning
        "--repair deletes it",
    /// A manifest that cannot be read.
    ManifestDamaged "manifest-damaged" Warning
        "--repair deletes it; the next compaction writes one",
    /// A manifest of another partition.
    ManifestForeign "manifest-foreign" Warning
        "--repair deletes it; the next compaction writes one",
    /// A manifest that does not tell what the record and LIST tell.
    ManifestStale "manifest-stale" Warning
        "--repair deletes it; the next compaction writes one",
    /// The producer snapshot that a record names is not there.
    SnapshotMissing "snapshot-missing" Error
        "restore it from a bucket version; --repair --accept-loss forgets producers: retries of them \
         may be appended twice",
    /// The producer snapshot that a record names cannot be used.
    SnapshotDamaged "snapshot-damaged" Error
        "restore it from a bucket version; --repair --accept-loss forgets producers: retries of them \
         may be appended twice",
    /// A producer snapshot that no record names any more.
    SnapshotLeftover "snapshot-leftover" Warning
        "--repair deletes it",
    /// A WAL object that a partition needs is not there: acknowledged records are lost.
    WalMissing "wal-missing" Error
        "restore it from a bucket version; --repair --accept-loss makes what is left a segment",
    /// A WAL object that a partition needs cannot be read.
    WalDamaged "wal-damaged" Error
        "restore it from a bucket version; --repair --accept-loss makes what is left a segment",
    /// Sections of a partition do not follow each other.
    WalGap "wal-gap" Error
        "restore what is missing from bucket versions; --repair --accept-loss makes what is left a segment",
    /// WAL objects that nobody needs.
    WalGarbage "wal-garbage" Note
        "none: a broker deletes it within an hour, --repair now",
    /// An object of its own that no WAL object which is needed names.
    OwnUnnamed "own-object-unnamed" Note
        "none: it goes with the other objects of its session",
    /// WAL objects of a session that the metadata has never heard of.
    WalUnknownSession "wal-unknown-session" Warning
        "never deleted: was the metadata restored from a backup?",
    /// Objects of a topic that is not there.
    TopicUnknown "topic-objects-unknown" Warning
        "never deleted: adopt the topic, restore the metadata, or delete them yourself",
    /// Objects of a partition without a record.
    PartitionObjects "partition-objects-unknown" Warning
        "never deleted: was the metadata restored from a backup?",
    /// An object under our prefixes that is not ours.
    ObjectForeign "object-foreign" Note
        "none: nothing reads or deletes it",
    /// The copy of a segment as it was before it was repaired.
    Quarantined "quarantined" Note
        "delete it when you need it no more",
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub code: Code,
    /// The object or key that it is about.
    pub subject: String,
    /// What is wrong, in one sentence.
    pub detail: String,
    /// Bytes of the objects, where that matters.
    pub bytes: Option<u64>,
    /// What `--repair` does: one repair for each partition that needs the object.
    pub repairs: Vec<Repair>,
}

impl Finding {
    /// Without bytes and repair.
    pub fn new(code: Code, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code,
            subject: subject.into(),
            detail: detail.into(),
            bytes: None,
            repairs: Vec::new(),
        }
    }

    /// With the bytes of its objects.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// With one more repair.
    #[must_use]
    pub fn repair(mut self, repair: Repair) -> Self {
        self.repairs.push(repair);
        self
    }

    /// Whether any of its repairs makes a loss final.
    pub fn accepts_loss(&self) -> bool {
        self.repairs.iter().any(Repair::accepts_loss)
    }

    /// What another partition that needs the same object says of it.
    pub(super) fn join(&mut self, other: Self) {
        if !self.detail.contains(&other.detail) {
            let told = self.detail.matches("; ").count();
            match told.cmp(&DETAILS_MAX) {
                Ordering::Less => self.detail.push_str(&format!("; {}", other.detail)),
                Ordering::Equal => self.detail.push_str("; and more"),
                Ordering::Greater => {}
            }
        }
        for repair in other.repairs {
            if !self.repairs.contains(&repair) {
                self.repairs.push(repair);
            }
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.code == other.code && self.subject == other.subject
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (severity, code) = (self.code.severity(), self.code.name());
        write!(f, "{severity} {code} {}: {}", self.subject, self.detail)?;
        if let Some(bytes) = self.bytes {
            write!(f, " ({bytes} bytes)")?;
        }
        write!(f, ". To do: {}", self.code.todo())
    }
}

/// The findings of the second look that the first one had, too: what has changed in between is none.
pub(super) fn confirmed(first: &[Finding], second: Vec<Finding>) -> Vec<Finding> {
    let was_there = |finding: &Finding| first.iter().any(|before| before.is_same(finding));
    second.into_iter().filter(was_there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_documented() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        for code in Code::ALL {
            assert!(
                docs.contains(&format!("`{}`", code.name())),
                "{}",
                code.name()
            );
            assert!(
                docs.contains(&format!("| {} |", code.todo())),
                "{}",
                code.todo()
            );
        }
        // What cannot be repaired is told what to do about by hand.
        let (_, by_hand) = docs.split_once("### By hand").unwrap();
        for code in Code::ALL {
            let is_wrong = code.severity() > Severity::Note;
            if is_wrong && !code.todo().contains("--repair") {
                let row = format!("\n| `{}` |", code.name());
                assert!(by_hand.contains(&row), "{}", code.name());
            }
        }
    }

    #[test]
    fn only_what_is_seen_twice_is_confirmed() {
        let finding = |code, subject| Finding::new(code, subject, "");
        let first = [
            finding(Code::IndexMissing, "a"),
            finding(Code::IndexMissing, "b"),
        ];
        let second = vec![
            finding(Code::IndexMissing, "b"),
            finding(Code::IndexWrong, "a"),
        ];
        assert_eq!(
            confirmed(&first, second),
            [finding(Code::IndexMissing, "b")]
        );
    }
}
