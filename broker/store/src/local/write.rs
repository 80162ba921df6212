//! PUT and DELETE of a local store.

use std::fs::{self, File};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};

use super::{Shared, TEMPORARY, directories::Ticket, etag, is_permanent};
use crate::DeleteResults;
use crate::error::{DeleteError, PutError};
use crate::key::ObjectKey;
use crate::object::{Body, ETag, PutCondition, PutOutcome};

/// Most slices of one vectored write: Linux's bound.
const SLICES_MAX: usize = 1024;
/// How often a PUT makes its directory again where a DELETE has removed it meanwhile.
const COMMIT_ATTEMPTS_MAX: usize = 8;

/// A temporary file; removed when it is dropped, whatever became of the PUT.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            // A rename has moved it to its key.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "a temporary file could not be removed"),
            Ok(()) => {}
        }
    }
}

impl Shared {
    pub(super) fn put(
        &self,
        key: &ObjectKey,
        body: &Body,
        condition: &PutCondition,
    ) -> Result<PutOutcome, PutError> {
        if let Some(reason) = self.directories.broken() {
            return Err(PutError::Denied {
                key: key.clone(),
                reason,
            });
        }
        // Looked at once more when it takes effect; here it saves writing a body for nothing.
        self.check(key, condition)?;
        self.verify(key, body)?;
        let (temporary, etag) = self
            .write_temporary(body)
            .map_err(|error| put_error(key, "write a temporary file", &error, Effect::None))?;
        let ticket = self.commit(key, &temporary, condition)?;
        // Before the sync, so that one journal commit carries both entries.
        drop(temporary);
        self.directories
            .wait(ticket)
            .map_err(|error| put_error(key, "sync the directory", &error, Effect::Unknown))?;
        self.counters.puts.fetch_add(1, Ordering::Relaxed);
        self.counters
            .put_bytes
            .fetch_add(body.len(), Ordering::Relaxed);
        Ok(PutOutcome { etag })
    }

    pub(super) fn delete(&self, keys: Vec<ObjectKey>) -> DeleteResults {
        // All entries go first, then one sync a directory makes it durable.
        let unlinked: Vec<_> = keys
            .into_iter()
            .map(|key| (self.unlink(&key), key))
            .collect();
        let mut results = Vec::with_capacity(unlinked.len());
        for (outcome, key) in unlinked {
            let result = match outcome {
                Ok(Some(ticket)) => self
                    .directories
                    .wait(ticket)
                    .map_err(|error| delete_error(&key, "sync the directory", &error, true)),
                Ok(None) => Ok(()),
                Err(error) => Err(delete_error(&key, "unlink", &error, false)),
            };
            results.push((key, result));
        }
        let mut last = "";
        for (key, result) in &results {
            if result.is_ok() && key.directory() != last {
                last = key.directory();
                self.directories.remove_if_empty(last);
            }
        }
        results
    }

    fn unlink(&self, key: &ObjectKey) -> io::Result<Option<Ticket>> {
        match self.directories.reach(key.directory()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let path = self.path(key);
        let _stripe = self.stripe(key);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            // Only regular files are objects.
            Ok(_) => return Ok(None),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let change = self.directories.change(key);
        match fs::remove_file(&path) {
            Ok(()) => Ok(Some(change.finish())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the condition holds now.
    fn check(&self, key: &ObjectKey, condition: &PutCondition) -> Result<(), PutError> {
        if *condition == PutCondition::None {
            return Ok(());
        }
        let metadata = match fs::symlink_metadata(self.path(key)) {
            Ok(metadata) => Some(metadata),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(put_error(key, "inspect the object", &error, Effect::None)),
        };
        match (condition, metadata) {
            (PutCondition::None, _) | (PutCondition::IfAbsent, None) => Ok(()),
            (PutCondition::IfAbsent, Some(metadata)) if metadata.is_file() => {
                Err(self.already_exists(key))
            }
            (PutCondition::IfAbsent, Some(_)) => {
                let reason = "the key names a directory or a special file".to_owned();
                Err(PutError::Denied {
                    key: key.clone(),
                    reason,
                })
            }
            (PutCondition::IfMatch(_), None) => Err(PutError::NotFound { key: key.clone() }),
            (PutCondition::IfMatch(expected), Some(metadata)) => {
                if metadata.is_file() && *expected == etag(&metadata) {
                    return Ok(());
                }
                Err(PutError::Mismatch { key: key.clone() })
            }
        }
    }

    /// The refusal of `IfAbsent`: said only once the object that is in the way is durable.
    fn already_exists(&self, key: &ObjectKey) -> PutError {
        match self.directories.settle_key(key) {
            Ok(()) => PutError::AlreadyExists { key: key.clone() },
            Err(error) => put_error(key, "sync the existing object", &error, Effect::None),
        }
    }

    fn verify(&self, key: &ObjectKey, body: &Body) -> Result<(), PutError> {
        let Some(expected) = body.crc32().filter(|_| self.options.verify_crc32) else {
            return Ok(());
        };
        self.counters.crc32_checks.fetch_add(1, Ordering::Relaxed);
        let found = body.compute_crc32();
        if found == expected {
            return Ok(());
        }
        self.counters
            .crc32_mismatches
            .fetch_add(1, Ordering::Relaxed);
        let reason = format!("crc32 {found:08x}, stated {expected:08x}");
        Err(PutError::Corrupt {
            key: key.clone(),
            reason,
        })
    }

    fn write_temporary(&self, body: &Body) -> io::Result<(Temporary, ETag)> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(TEMPORARY).join(format!("{number:016x}"));
        let mut file = File::create_new(&path)?;
        let temporary = Temporary(path);
        write_chunks(&mut file, body.chunks())?;
        #[cfg(test)]
        if self.full.load(Ordering::Relaxed) {
            return Err(ErrorKind::StorageFull.into());
        }
        file.set_modified(self.stamp())?;
        // The length and the blocks are synced here; times and link count go with the directory.
        file.sync_data()?;
        self.counters.file_syncs.fetch_add(1, Ordering::Relaxed);
        if body.is_kept_by_writer() {
            // Only advice: where it is not taken, the page cache holds a second copy.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
        let metadata = file.metadata()?;
        assert!(
            metadata.len() == body.len(),
            "every byte of the body was written"
        );
        Ok((temporary, etag(&metadata)))
    }

    /// Makes the temporary file the object, if the condition holds.
    fn commit(
        &self,
        key: &ObjectKey,
        temporary: &Temporary,
        condition: &PutCondition,
    ) -> Result<Ticket, PutError> {
        let path = self.path(key);
        let directory = key.directory();
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            match self.directories.ensure(directory) {
                Ok(()) => {}
                // A parent was removed since it was made or learned.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.directories.unlearn(directory);
                    continue;
                }
                Err(error) => {
                    return Err(put_error(key, "make the directory", &error, Effect::None));
                }
            }
            let change = self.directories.change(key);
            let stripe = self.stripe(key);
            if let PutCondition::IfMatch(_) = condition {
                self.check(key, condition)?;
            }
            let (attempt, moved) = match condition {
                PutCondition::IfAbsent => ("link the object", fs::hard_link(&temporary.0, &path)),
                PutCondition::None | PutCondition::IfMatch(_) => {
                    ("rename the object", replace(&temporary.0, &path))
                }
            };
            drop(stripe);
            match moved {
                Ok(()) => return Ok(change.finish()),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.directories.unlearn(directory);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    drop(change);
                    self.check(key, condition)?;
                    // Deleted since: look once more.
                }
                Err(error) => return Err(put_error(key, attempt, &error, Effect::None)),
            }
        }
        let reason = "its directory is removed again and again".to_owned();
        Err(PutError::Unavailable {
            key: key.clone(),
            reason,
            outcome_unknown: false,
        })
    }
}

/// Renames over a regular file or nothing.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(metadata) if !metadata.is_file() => Err(ErrorKind::IsADirectory.into()),
        Ok(_) => fs::rename(from, to),
        Err(error) if error.kind() == ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Writes all chunks without gathering them.
fn write_chunks(file: &mut File, chunks: &[Bytes]) -> io::Result<()> {
    for group in chunks.chunks(SLICES_MAX) {
        let mut slices: Vec<IoSlice<'_>> = group.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut rest = &mut slices[..];
        // Skips empty chunks, which would read as a write of nothing.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match file.write_vectored(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A path that does not exist, also where a parent is a file.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether a failed step may have changed what others see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    Unknown,
}

fn put_error(key: &ObjectKey, attempt: &str, error: &io::Error, effect: Effect) -> PutError {
    let (key, reason) = (key.clone(), format!("{attempt}: {error}"));
    let outcome_unknown = effect == Effect::Unknown;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => PutError::Full {
            key,
            reason,
            outcome_unknown,
        },
        _ if is_permanent(error) && !outcome_unknown => PutError::Denied { key, reason },
        _ => PutError::Unavailable {
            key,
            reason,
            outcome_unknown,
        },
    }
}

fn delete_error(key: &ObjectKey, attempt: &str, error: &io::Error, unknown: bool) -> DeleteError {
    let (key, reason) = (key.clone(), format!("{attempt}: {error}"));
    if is_permanent(error) && !unknown {
        return DeleteError::Denied { key, reason };
    }
    DeleteError::Unavailable {
        key,
        reason,
        outcome_unknown: unknown,
    }
}
