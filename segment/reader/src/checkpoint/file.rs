//! A checkpoint file: offsets, and what the processor has made of the records before them.
//!
//! Offsets and state are replaced together, so a processor whose only output is its state counts
//! every record exactly once, however it is stopped. Blocking file I/O, on the calling thread.
//!
//! Invariants: the file is seen whole, before or after a commit; one process has it at a time.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use segment::{Offset, PartitionIndex, TopicId, TopicPartition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::CheckpointError;

const VERSION: u32 = 1;

/// Offsets of a processor, and its state.
#[derive(Debug)]
pub struct FileCheckpoints<S> {
    /// What the processor has made of all records below the offsets.
    pub state: S,
    path: PathBuf,
    cluster: String,
    offsets: BTreeMap<TopicPartition, Offset>,
    /// Held for as long as this lives.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Stored<S> {
    v: u32,
    cluster: String,
    offsets: Vec<StoredOffset>,
    state: S,
}

#[derive(Serialize, Deserialize)]
struct StoredOffset {
    topic: String,
    partition: i32,
    offset: i64,
}

impl StoredOffset {
    fn parse(&self) -> Option<(TopicPartition, Offset)> {
        let topic: TopicId = self.topic.parse().ok()?;
        let id = TopicPartition::new(topic, PartitionIndex::new(self.partition));
        let offset = Offset::new(self.offset);
        (self.partition >= 0 && offset.is_valid()).then_some((id, offset))
    }
}

impl<S: Serialize + DeserializeOwned + Default> FileCheckpoints<S> {
    /// Opens a checkpoint file of a cluster, or begins one; `{path}.lock` is locked meanwhile.
    ///
    /// # Errors
    /// [`CheckpointError`]: it cannot be read, is of another cluster, or in use.
    pub fn open(path: impl Into<PathBuf>, cluster_id: &str) -> Result<Self, CheckpointError> {
        let path = path.into();
        let lock = lock(&beside(&path, ".lock"))?;
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self {
                    state: S::default(),
                    path,
                    cluster: cluster_id.to_owned(),
                    offsets: BTreeMap::new(),
                    _lock: lock,
                });
            }
            Err(source) => return Err(io("read", &path, source)),
        };
        let malformed = |reason: String| CheckpointError::Malformed {
            path: path.clone(),
            reason,
        };
        let stored: Stored<S> =
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        if stored.v != VERSION {
            return Err(malformed(format!(
                "version {}, known is {VERSION}",
                stored.v
            )));
        }
        if stored.cluster != cluster_id {
            return Err(CheckpointError::OtherCluster {
                path,
                found: stored.cluster,
                expected: cluster_id.to_owned(),
            });
        }
        let offsets: Option<_> = stored.offsets.iter().map(StoredOffset::parse).collect();
        let offsets = offsets.ok_or_else(|| malformed("an offset of no partition".to_owned()))?;
        Ok(Self {
            state: stored.state,
            path,
            cluster: stored.cluster,
            offsets,
            _lock: lock,
        })
    }

    /// Where to go on in a partition; none if nothing of it was processed.
    pub fn offset(&self, id: TopicPartition) -> Option<Offset> {
        self.offsets.get(&id).copied()
    }

    /// Everything below `next` in this partition is in the state. Durable after [`Self::commit`].
    pub fn advance(&mut self, id: TopicPartition, next: Offset) {
        assert!(next.is_valid(), "a log has no negative offsets");
        self.offsets.insert(id, next);
    }

    /// Replaces the file by the offsets and the state as they are now: written beside it, synced,
    /// renamed over it, and the folder synced.
    ///
    /// # Errors
    /// [`CheckpointError`]; the file is as before, or as now.
    pub fn commit(&self) -> Result<(), CheckpointError> {
        let offsets = self.offsets.iter().map(|(id, offset)| StoredOffset {
            topic: id.topic.to_string(),
            partition: id.partition.get(),
            offset: offset.get(),
        });
        let stored = Stored {
            v: VERSION,
            cluster: self.cluster.clone(),
            offsets: offsets.collect(),
            state: &self.state,
        };
        let bytes = serde_json::to_vec(&stored);
        let bytes = bytes.map_err(|error| io("encode", &self.path, error.into()))?;
        let temporary = beside(&self.path, ".tmp");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        write().map_err(|source| io("write", &temporary, source))?;
        let renamed = std::fs::rename(&temporary, &self.path);
        renamed.map_err(|source| io("rename to", &self.path, source))?;
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| io("sync", folder, source))
    }
}

fn lock(path: &Path) -> Result<File, CheckpointError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|source| io("open", path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CheckpointError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io("lock", path, source)),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn io(what: &'static str, path: &Path, source: std::io::Error) -> CheckpointError {
    CheckpointError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sums = FileCheckpoints<BTreeMap<String, u64>>;

    fn id(topic: u8) -> TopicPartition {
        TopicPartition::new(TopicId::new([topic; 16]), PartitionIndex::new(3))
    }

    #[test]
    fn offsets_and_state_come_back_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums.json");
        let mut first = Sums::open(&path, "one").unwrap();
        assert_eq!(first.offset(id(1)), None);
        first.advance(id(1), Offset::new(7));
        first.state.insert("a".to_owned(), 3);
        assert!(matches!(
            Sums::open(&path, "one"),
            Err(CheckpointError::InUse { .. })
        ));
        first.commit().unwrap();
        first.advance(id(1), Offset::new(9));
        drop(first);
        let second = Sums::open(&path, "one").unwrap();
        assert_eq!(
            second.offset(id(1)),
            Some(Offset::new(7)),
            "not committed, not there"
        );
        assert_eq!(second.state["a"], 3);
        assert_eq!(
            second.offset(id(2)),
            None,
            "a re-created topic has another id"
        );
    }

    #[test]
    fn a_file_of_another_cluster_or_of_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums.json");
        Sums::open(&path, "one").unwrap().commit().unwrap();
        let other = Sums::open(&path, "two").unwrap_err();
        assert!(
            matches!(other, CheckpointError::OtherCluster { .. }),
            "{other}"
        );
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let error = Sums::open(&path, "one").unwrap_err();
            assert!(
                matches!(error, CheckpointError::Malformed { .. }),
                "{cut}: {error}"
            );
        }
        let newer = String::from_utf8(whole)
            .unwrap()
            .replace("\"v\":1", "\"v\":2");
        std::fs::write(&path, newer).unwrap();
        assert!(
            Sums::open(&path, "one")
                .unwrap_err()
                .to_string()
                .contains("version 2")
        );
    }

    #[test]
    fn what_a_crash_left_beside_the_file_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums.json");
        let mut first = Sums::open(&path, "one").unwrap();
        first.advance(id(1), Offset::new(7));
        first.commit().unwrap();
        drop(first);
        std::fs::write(beside(&path, ".tmp"), b"{\"v\":1,\"clus").unwrap();
        let second = Sums::open(&path, "one").unwrap();
        assert_eq!(second.offset(id(1)), Some(Offset::new(7)));
        second.commit().unwrap();
    }
}
