//! The files of an export: `{topic}-{partition}-{first offset, 20 digits}.{extension}`.
//!
//! Invariants:
//! - A file is written under a temporary name (with a dot before it and `.tmp` behind it, which no
//!   `*.parquet` finds), made durable, and only then gets its name. What is not finished is removed,
//!   and where the process was killed, by the next export of that partition to that directory.
//! - No file is ever replaced.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use segment::{Offset, PartitionIndex, TopicName};

use super::ExportError;

/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 256 * 1024;
/// Digits of an offset in a name.
const OFFSET_DIGITS: usize = 20;

pub(super) fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    move |cause| ExportError::Write {
        name: path.display().to_string(),
        cause,
    }
}

/// Where files go, and what they are called.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
    topic: TopicName,
    extension: &'static str,
}

/// What a name in the directory is.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// A file of this partition.
    Whole(PartitionIndex),
    /// One that was not finished.
    Temporary(PartitionIndex),
}

impl Directory {
    /// Makes the directory, looks through it and removes what an export of these partitions has not
    /// finished.
    ///
    /// # Errors
    /// [`ExportError::Occupied`] if there is a file of one of them (in any format) and `append` does
    /// not allow it; [`ExportError::Write`].
    pub(super) fn open(
        path: PathBuf,
        topic: TopicName,
        extension: &'static str,
        partitions: &[PartitionIndex],
        append: bool,
    ) -> Result<Self, ExportError> {
        let directory = Self {
            path,
            topic,
            extension,
        };
        let failed = || cannot_write(&directory.path);
        fs::create_dir_all(&directory.path).map_err(failed())?;
        let mut leftovers = Vec::new();
        for entry in fs::read_dir(&directory.path).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = directory.path.join(name);
            match directory.parse(name) {
                Some(Name::Whole(it)) if !append && partitions.contains(&it) => {
                    return Err(ExportError::Occupied(path));
                }
                Some(Name::Temporary(it)) if partitions.contains(&it) => leftovers.push(path),
                _ => {}
            }
        }
        for path in leftovers {
            fs::remove_file(&path).map_err(cannot_write(&path))?;
        }
        Ok(directory)
    }

    fn parse(&self, name: &str) -> Option<Name> {
        let (name, temporary) = match name.strip_prefix('.') {
            Some(rest) => (rest.strip_suffix(".tmp")?, true),
            None => (name, false),
        };
        let rest = name.strip_prefix(self.topic.as_str())?.strip_prefix('-')?;
        let (partition, rest) = rest.split_once('-')?;
        let (offset, _) = rest.split_once('.')?;
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(partition) || offset.len() != OFFSET_DIGITS || !is_number(offset) {
            return None;
        }
        let partition = PartitionIndex::new(partition.parse().ok()?);
        match temporary {
            true => Some(Name::Temporary(partition)),
            false => Some(Name::Whole(partition)),
        }
    }

    /// Begins the file of a partition whose first row has this offset.
    ///
    /// # Errors
    /// [`ExportError::Exists`], [`ExportError::Write`].
    pub(super) fn begin(
        &self,
        partition: PartitionIndex,
        first: Offset,
    ) -> Result<Unfinished, ExportError> {
        let name = format!(
            "{}-{partition}-{:0OFFSET_DIGITS$}.{}",
            self.topic,
            first.get(),
            self.extension
        );
        let path = self.path.join(&name);
        if path.try_exists().map_err(cannot_write(&path))? {
            return Err(ExportError::Exists(path));
        }
        let temporary = self.path.join(format!(".{name}.tmp"));
        let file = File::create(&temporary).map_err(cannot_write(&temporary))?;
        Ok(Unfinished {
            out: Some(BufWriter::with_capacity(BUFFER_BYTES, file)),
            temporary,
            path,
        })
    }
}

/// A file without its name. Removed when it is dropped.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// None once it has its name.
    out: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Unfinished {
    /// Where it will be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it durable and gives it its name. Gives its bytes.
    ///
    /// # Errors
    /// [`ExportError::Exists`], [`ExportError::Write`]; it is gone then.
    pub(super) fn keep(mut self) -> Result<u64, ExportError> {
        let bytes = self.make_durable().map_err(cannot_write(&self.path))?;
        // Not a guard against another process, which would need a link: against a mistake.
        if self.path.try_exists().map_err(cannot_write(&self.path))? {
            return Err(ExportError::Exists(self.path.clone()));
        }
        fs::rename(&self.temporary, &self.path).map_err(cannot_write(&self.path))?;
        self.out = None;
        let parent = self.path.parent().unwrap_or(Path::new("."));
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let synced = File::open(parent).and_then(|directory| directory.sync_all());
        synced.map_err(cannot_write(parent))?;
        Ok(bytes)
    }

    fn make_durable(&mut self) -> io::Result<u64> {
        let out = self.out.as_mut().ok_or(io::ErrorKind::NotFound)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(out.get_ref().metadata()?.len())
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Some(out) => out.write(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.out.is_some() {
            // What cannot be removed now is removed by the next export.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
