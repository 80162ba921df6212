//! The lock that makes one process the only user of a data directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Name of the lock file in the data directory.
pub const LOCK_FILE: &str = "lock";
/// Bytes of the lock file that are read for a message.
const HOLDER_BYTES_MAX: u64 = 32;

/// An exclusive lock on a data directory, held until it is dropped or the process ends.
///
/// It is an advisory `flock` on `{root}/lock`: the kernel frees it at once when the process dies,
/// also by SIGKILL, so no stale lock is ever left. The file stays; its text is the holder's
/// process id, for messages only.
#[derive(Debug)]
pub struct DirectoryLock {
    root: PathBuf,
    _file: File,
}

/// Why a data directory could not be locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "lock data directory: {path} is held by process {holder}; stop that process or set \
         another data directory (KAFSCALE_DATA_DIR)"
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Text of the lock file: the process id of the holder, or `unknown`.
        holder: String,
    },
    /// The directory or the lock file cannot be made, opened or written.
    #[error("lock data directory: {attempt} {path}: {source}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

impl DirectoryLock {
    /// Makes the directory `root` where it does not exist (durably) and locks it.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] where another process (or another lock of this one) holds it.
    pub fn acquire(root: &Path) -> Result<Self, LockError> {
        create_durable(root)
            .map_err(|source| io_error("create the directory", root.to_owned(), source))?;
        let root = root
            .canonicalize()
            .map_err(|source| io_error("resolve the directory", root.to_owned(), source))?;
        let path = root.join(LOCK_FILE);
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut file = open.map_err(|source| io_error("open", path.clone(), source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    path,
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io_error("lock", path, source)),
        }
        write_holder(&mut file).map_err(|source| io_error("write", path, source))?;
        Ok(Self { root, _file: file })
    }

    /// The locked directory, absolute and without symbolic links.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn io_error(attempt: &'static str, path: PathBuf, source: io::Error) -> LockError {
    LockError::Io {
        attempt,
        path,
        source,
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(HOLDER_BYTES_MAX).read_to_string(&mut text);
    match text.trim() {
        pid if read.is_ok() && !pid.is_empty() => pid.to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Writes the process id. A full disk is no reason to refuse: the text is for messages only.
fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    match writeln!(file, "{}", std::process::id()) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        outcome => outcome,
    }
}

/// Makes a directory and its missing parents, each entry synced in its parent.
fn create_durable(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().unwrap_or_else(|| Path::new("."));
    create_durable(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        outcome => outcome?,
    }
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_and_names_the_holder() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("a/b");
        let lock = DirectoryLock::acquire(&root).unwrap();
        let error = DirectoryLock::acquire(&root).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, LockError::Held { .. }), "{text}");
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert!(
            text.contains("a/b/lock") && text.contains("KAFSCALE_DATA_DIR"),
            "{text}"
        );
        drop(lock);
        DirectoryLock::acquire(&root).unwrap();
    }
}
