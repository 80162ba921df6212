//! How large the volume of a directory is, and what of it can still be used.

use std::io;
use std::path::Path;

/// The volume that a directory lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeSpace {
    /// Bytes of the volume.
    pub total_bytes: u64,
    /// Bytes that an ordinary user can still write.
    pub usable_bytes: u64,
}

/// Asks the kernel; it may block, as any look at a file system.
///
/// # Errors
/// The directory cannot be looked at.
pub fn volume_space(directory: &Path) -> io::Result<VolumeSpace> {
    let found = rustix::fs::statvfs(directory)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(VolumeSpace {
        total_bytes: bytes(found.f_blocks),
        usable_bytes: bytes(found.f_bavail),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_lies_on_a_volume_with_some_space() {
        let directory = tempfile::tempdir().unwrap();
        let space = volume_space(directory.path()).unwrap();
        assert!(space.total_bytes > 0 && space.usable_bytes <= space.total_bytes);
        assert!(volume_space(&directory.path().join("missing")).is_err());
    }
}
