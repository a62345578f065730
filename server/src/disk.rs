//! How full the disk of a folder is.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::Path,
};

use nix::sys::statvfs::statvfs;

/// With less than this left a disk is full: nothing new is begun on it, so that what was begun can end.
const FULL_BYTES: u64 = 1 << 20;

/// With less than this left it is short: the reserve (16 MB) could not be set aside again without filling it.
pub(crate) const SHORT_BYTES: u64 = 32 << 20;

/// What a probe writes.
const PROBE_BYTES: usize = 64 << 10;

/// Bytes that this user may still write; `None` when the system does not say.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    statvfs(folder).ok().map(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()))
}

/// No room for anything new: neither bytes nor names.
pub(crate) fn is_full(folder: &Path) -> bool {
    let without_names = || statvfs(folder).is_ok_and(|disk| disk.files() > 0 && disk.files_available() == 0);
    free_bytes(folder).is_some_and(|free| free < FULL_BYTES) || without_names()
}

/// Whether a write may have failed because the disk is full. Not only when it is full now (the reserve may have been
/// released since), and also where a quota is used up, which only a try can tell.
pub(crate) fn explains_failure(folder: &Path) -> bool {
    free_bytes(folder).is_some_and(|free| free < SHORT_BYTES) || is_full(folder) || refuses_more(folder)
}

fn refuses_more(folder: &Path) -> bool {
    let probe = folder.join(format!(".probe-{}", uuid::Uuid::now_v7()));
    let tried = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&probe)
        .and_then(|mut file| file.write_all(&[0; PROBE_BYTES]));
    // One that was never made cannot be removed.
    let _ = fs::remove_file(&probe);
    tried.is_err_and(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_files_is_not_full_and_a_probe_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).is_some());
        assert!(!is_full(folder.path()) && !refuses_more(folder.path()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(free_bytes(&folder.path().join("none")), None);
    }
}
