//! GET and HEAD of a local store.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;

use super::{Shared, etag, is_permanent, meta, write::is_missing};
use crate::error::{GetError, HeadError};
use crate::key::ObjectKey;
use crate::object::{GetOutcome, GetRange, ObjectMeta};

impl Shared {
    pub(super) fn get(&self, key: &ObjectKey, range: &GetRange) -> Result<GetOutcome, GetError> {
        let fail = |attempt: &str, error: &io::Error| get_error(key, attempt, error);
        let mut file = match self.open_object(key) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(GetError::NotFound { key: key.clone() }),
            Err(error) => return Err(fail("open the object", &error)),
        };
        match self.settle_read(key) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(GetError::NotFound { key: key.clone() });
            }
            Err(error) => return Err(fail("sync the directory", &error)),
        }
        let metadata = file
            .metadata()
            .map_err(|error| fail("inspect the object", &error))?;
        let object_len = metadata.len();
        let Some(span) = range.resolve(object_len) else {
            return Err(GetError::RangeNotSatisfiable {
                key: key.clone(),
                object_len,
            });
        };
        let count = span.end - span.start;
        let bytes = read_span(&mut file, span.start, count)
            .map_err(|error| fail("read the object", &error))?;
        if bytes.len() as u64 != count {
            let reason = format!(
                "{count} bytes from {} expected, {} read",
                span.start,
                bytes.len()
            );
            return Err(GetError::Corrupt {
                key: key.clone(),
                reason,
            });
        }
        Ok(GetOutcome {
            bytes,
            object_len,
            etag: etag(&metadata),
        })
    }

    pub(super) fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, HeadError> {
        let fail = |attempt: &str, error: &io::Error| head_error(key, attempt, error);
        let metadata = match fs::symlink_metadata(self.path(key)) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Err(HeadError::NotFound { key: key.clone() }),
            Err(error) if is_missing(&error) => {
                return Err(HeadError::NotFound { key: key.clone() });
            }
            Err(error) => return Err(fail("inspect the object", &error)),
        };
        match self.settle_read(key) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(HeadError::NotFound { key: key.clone() });
            }
            Err(error) => return Err(fail("sync the directory", &error)),
        }
        Ok(meta(key.clone(), &metadata))
    }

    /// Makes durable what is about to be told. `NotFound`: it was deleted with its directory since.
    fn settle_read(&self, key: &ObjectKey) -> io::Result<()> {
        if self.options.durable_reads {
            self.directories.settle_key(key)
        } else {
            Ok(())
        }
    }

    /// Opens a regular file; a directory, a link or a pipe is no object.
    fn open_object(&self, key: &ObjectKey) -> io::Result<Option<File>> {
        let path = self.path(key);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Ok(None),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn read_span(file: &mut File, start: u64, count: u64) -> io::Result<Bytes> {
    let capacity = usize::try_from(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(capacity)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    if start > 0 {
        file.seek(SeekFrom::Start(start))?;
    }
    file.take(count).read_to_end(&mut buffer)?;
    Ok(buffer.into())
}

fn get_error(key: &ObjectKey, attempt: &str, error: &io::Error) -> GetError {
    let (key, reason) = (key.clone(), format!("{attempt}: {error}"));
    if is_permanent(error) {
        return GetError::Denied { key, reason };
    }
    GetError::Unavailable { key, reason }
}

fn head_error(key: &ObjectKey, attempt: &str, error: &io::Error) -> HeadError {
    let (key, reason) = (key.clone(), format!("{attempt}: {error}"));
    if is_permanent(error) {
        return HeadError::Denied { key, reason };
    }
    HeadError::Unavailable { key, reason }
}
