//! Room for the write-ahead log that is the database's own: what a job writes until the disk is full cannot take it. So
//! a cancel, the proof of its stop, a removal and the heartbeat are stored also beside a command that eats every byte.

use std::{fs::OpenOptions, io, path::Path};

use nix::fcntl::{FallocateFlags, fallocate};

use crate::disk;

/// Twice what a log holds before it is folded into the database (1,000 pages), and then begun again from its start.
const LOG_BYTES: i64 = 8 << 20;

/// Sets the room aside behind the end of the log, whose size stays what it is. Done again, it changes nothing. A file
/// system that cannot do it, or has no room, is no fault. Blocking.
pub(super) fn set_aside(database: &Path) {
    let folder = database.parent().unwrap_or(Path::new("."));
    if disk::free_bytes(folder).is_none_or(|free| free < 2 * LOG_BYTES.unsigned_abs()) {
        return;
    }
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    // SQLite has no lock on this file. On the two others it has, and closing any descriptor of theirs would drop it.
    let kept = OpenOptions::new()
        .write(true)
        .open(&log)
        .and_then(|file| fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, LOG_BYTES).map_err(io::Error::from));
    if let Err(error) = kept {
        tracing::debug!(%error, "no room was set aside for the database's log");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_room_is_behind_the_end_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("belay.db-wal");
        std::fs::write(&log, "12345").unwrap();
        set_aside(&folder.path().join("belay.db"));
        let meta = log.metadata().unwrap();
        assert_eq!(meta.len(), 5);
        // Where the file system cannot, nothing is allocated.
        assert!(meta.blocks() * 512 >= LOG_BYTES.unsigned_abs() || meta.blocks() <= 8, "{} blocks", meta.blocks());
    }
}
