//! A small disk for the embedded default, which can be filled.
//!
//! It is a tmpfs where one may be mounted (`scripts/faults/run` gives the run a mount namespace of its
//! own); a run without one plays no scenario that needs it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::RunError;

/// Bytes of the disk: etcd's counterpart preallocates some, and the log fills the rest in a minute.
const SIZE: &str = "size=64m";
/// Bytes written at once when the disk is filled.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes that a disk is filled with at most.
const FILLING_BYTES_MAX: usize = 256 << 20;

/// A directory, on a disk of its own where that was possible. Dropping it unmounts that.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// Makes the directory and mounts the disk.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(super) fn mount(root: PathBuf) -> Result<Self, RunError> {
        let made = std::fs::create_dir_all(&root);
        made.map_err(|error| RunError::setup("make a directory", error))?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", SIZE, "none"]).arg(&root);
        let mounted = command.output();
        let is_mounted = mounted.is_ok_and(|mounted| mounted.status.success());
        Ok(Self { root, is_mounted })
    }

    /// Whether it is small and can be filled.
    pub(super) fn is_mounted(&self) -> bool {
        self.is_mounted
    }

    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    fn filling(&self) -> PathBuf {
        self.root.join("filling")
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    /// [`RunError`]: it is not full after [`FILLING_BYTES_MAX`], or is no disk of its own.
    pub(super) fn fill(&self) -> Result<(), RunError> {
        let setup = |error: std::io::Error| RunError::setup("fill a disk", error);
        if !self.is_mounted {
            return Err(RunError::setup("fill a disk", "it is not ours"));
        }
        let mut file = std::fs::File::options();
        let file = file.create(true).append(true).open(self.filling());
        let mut file = file.map_err(setup)?;
        let mut piece = vec![1; PIECE_BYTES];
        let mut written = 0;
        while written < FILLING_BYTES_MAX {
            match file.write(&piece) {
                Ok(0) | Err(_) if piece.len() == 1 => return Ok(()),
                // What is left is smaller than the piece.
                Ok(0) | Err(_) => piece.truncate(piece.len() / 2),
                Ok(count) => written += count,
            }
        }
        Err(RunError::setup("fill a disk", "it is not full"))
    }

    /// Makes room again.
    pub(super) fn clear(&self) {
        // It may not have been filled.
        let _ = std::fs::remove_file(self.filling());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // A mount that stays ends with the namespace.
            let _ = Command::new("umount").arg("-l").arg(&self.root).status();
        }
    }
}
