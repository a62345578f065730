//! The line to a supervisor whose server was killed. It stops its tree all the same, but with the grace that it was given
//! then, and nobody else has its socket. It is found by the run's lock, which it holds open all its life: nothing needs to
//! be written for that, so it also works on a full disk.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use app::model::RunId;

use super::{
    procfs::{self, Signalled, Stat},
    report,
    spawner::SUPERVISOR_NAME,
    supervisor::KILL_NOW,
};

/// Tells the supervisor of a run, left behind by a killed server, to kill its tree now. A supervisor whose server lives,
/// or of a version that does not know the signal, goes on as before. Answers whether anybody was told; the outcome is in
/// the run's report, as always. Blocking.
///
/// # Errors
/// The processes or the lock cannot be looked at.
pub fn kill_left_behind(runs_dir: &Path, run_id: RunId) -> io::Result<bool> {
    let lock = match fs::metadata(report::lock_path(runs_dir, run_id)) {
        Ok(lock) => (lock.dev(), lock.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // Whoever does not block the signal would be ended by it. Supervisors, and hardly anybody else, block all.
    let is_meant = |stat: &Stat| {
        stat.comm == SUPERVISOR_NAME && procfs::blocks(stat.pid, KILL_NOW) && procfs::has_open(stat.pid, lock)
    };
    let all = procfs::all()?;
    let meant = all.values().filter(|stat| is_meant(stat));
    Ok(meant.filter(|stat| procfs::signal(stat.id(), KILL_NOW, is_meant) == Signalled::Sent).count() > 0)
}
