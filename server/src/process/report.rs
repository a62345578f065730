//! The files of a run in the runs folder: `<run>.lock`, held while somebody looks after the run, with what a later
//! search needs to know; and `<run>.stop`, the report, written before the lock is released. On a full disk, where no file
//! can be made, the report is a further line of the lock file, whose block has room.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use app::model::{RunId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{TreeReport, procfs};

/// Content of a lock file: where and when the run was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) boot_id: Option<String>,
    /// Clock ticks since the machine was started, just before the run was.
    pub(crate) ticks: u64,
    pub(crate) cgroup: Option<String>,
    /// Identity of the process number space (a container has its own).
    pub(crate) pid_namespace: Option<String>,
    /// The process that orphans of this server go to when it is killed.
    pub(crate) reaper: Option<i32>,
}

pub(crate) fn lock_path(runs_dir: &Path, run_id: RunId) -> PathBuf {
    runs_dir.join(format!("{run_id}.lock"))
}

pub(crate) fn report_path(runs_dir: &Path, run_id: RunId) -> PathBuf {
    runs_dir.join(format!("{run_id}.stop"))
}

/// Makes the lock file of a new run and takes the lock. It is held until the last copy of the file is closed.
pub(crate) fn make_lock(runs_dir: &Path, run_id: RunId, origin: &Origin) -> io::Result<File> {
    let path = lock_path(runs_dir, run_id);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    let taken = match file.try_lock() {
        Ok(()) => serde_json::to_vec(origin).map_err(io::Error::from).and_then(|text| file.write_all(&text)),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    };
    if let Err(error) = taken {
        // Best effort: a lock file without its run only costs a later search.
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    Ok(file)
}

/// Looks at the lock of a run.
pub(crate) enum Lock {
    /// Somebody looks after the run.
    Held,
    /// Nobody does (any more). `None`: the file is missing or was never filled.
    Free(Option<Origin>),
}

pub(crate) fn look_at_lock(runs_dir: &Path, run_id: RunId) -> io::Result<Lock> {
    let path = lock_path(runs_dir, run_id);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::Free(None)),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => Ok(Lock::Free(lines(&path).first().and_then(|line| serde_json::from_slice(line).ok()))),
        Err(TryLockError::WouldBlock) => Ok(Lock::Held),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    fs::read(path).unwrap_or_default().split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// Writes the report under its final name in one step, or (see the module) into the lock file. With `durable` it is on
/// the disk when this returns.
pub(crate) fn write(runs_dir: &Path, run_id: RunId, report: &TreeReport, durable: bool) -> io::Result<()> {
    let path = report_path(runs_dir, run_id);
    let temporary = path.with_extension("stop.tmp");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(report)?)?;
        if durable {
            file.sync_all()?;
        }
        drop(file);
        fs::rename(&temporary, &path)?;
        if durable {
            File::open(runs_dir)?.sync_all()?;
        }
        Ok(())
    };
    write().or_else(|_| {
        // It may never have been made.
        let _ = fs::remove_file(&temporary);
        write_into_lock(runs_dir, run_id, report, durable)
    })
}

fn write_into_lock(runs_dir: &Path, run_id: RunId, report: &TreeReport, durable: bool) -> io::Result<()> {
    let mut line = vec![b'\n'];
    line.append(&mut serde_json::to_vec(report)?);
    let mut file = OpenOptions::new().append(true).open(lock_path(runs_dir, run_id))?;
    file.write_all(&line)?;
    if durable { file.sync_all() } else { Ok(()) }
}

/// Reads the latest report; `None` when there is none, or none that can be read.
pub(crate) fn read(runs_dir: &Path, run_id: RunId) -> Option<TreeReport> {
    let in_lock = lines(&lock_path(runs_dir, run_id)).into_iter().skip(1);
    let of_its_own = fs::read(report_path(runs_dir, run_id)).ok();
    let reports = of_its_own.into_iter().chain(in_lock).filter_map(|text| serde_json::from_slice(&text).ok());
    reports.max_by_key(|report: &TreeReport| report.ended_at)
}

/// Removes the files of a run (not its log) once its result is stored. Only for runs whose end is confirmed: the files
/// of others are what a later [`recover`](super::recover) needs.
pub fn forget(runs_dir: &Path, run_id: RunId) {
    for path in [report_path(runs_dir, run_id), lock_path(runs_dir, run_id)] {
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "could not remove a file of a finished run");
        }
    }
}

fn boots_path(runs_dir: &Path) -> PathBuf {
    runs_dir.join("boots")
}

/// Notes, durably, that a server was started under the present boot of the machine. Lock files are not synced one by
/// one; after a power failure this file says under which boot a run had been started.
pub(crate) fn note_boot(runs_dir: &Path, at: Timestamp) -> io::Result<()> {
    let Some(boot) = procfs::boot_id() else { return Ok(()) };
    let known = fs::read_to_string(boots_path(runs_dir)).unwrap_or_default();
    if known.lines().last().and_then(|line| line.split_once(' ')).is_some_and(|(_, last)| last == boot) {
        return Ok(());
    }
    let mut file = OpenOptions::new().append(true).create(true).open(boots_path(runs_dir))?;
    writeln!(file, "{} {boot}", at.0)?;
    file.sync_all()?;
    File::open(runs_dir)?.sync_all()
}

/// The boot under which the server ran that started a run at `at`.
pub(crate) fn boot_at(runs_dir: &Path, at: Timestamp) -> Option<String> {
    let known = fs::read_to_string(boots_path(runs_dir)).ok()?;
    let mut lines = known.lines().filter_map(|line| {
        let (from, boot) = line.split_once(' ')?;
        Some((from.parse::<i64>().ok()?, boot.to_owned()))
    });
    lines.rfind(|(from, _)| *from <= at.0).map(|(_, boot)| boot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::TreeExit;

    fn report() -> TreeReport {
        TreeReport {
            exit: TreeExit::Code(3),
            started_at: Timestamp(1),
            ended_at: Timestamp(2),
            timed_out: false,
            signalled: false,
            leftovers: 0,
            log_bytes: 0,
            stop: None,
        }
    }

    #[test]
    fn a_lock_is_held_until_its_last_copy_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let origin =
            Origin { boot_id: procfs::boot_id(), ticks: 5, cgroup: None, pid_namespace: None, reaper: Some(1) };
        let lock = make_lock(dir.path(), RunId(1), &origin).unwrap();
        let copy = lock.try_clone().unwrap();
        drop(lock);
        assert!(matches!(look_at_lock(dir.path(), RunId(1)).unwrap(), Lock::Held));
        drop(copy);
        let Lock::Free(Some(read)) = look_at_lock(dir.path(), RunId(1)).unwrap() else { panic!("free and filled") };
        assert_eq!((read.ticks, read.reaper), (5, Some(1)));
        assert!(make_lock(dir.path(), RunId(1), &origin).is_err(), "a run is started once");
    }

    #[test]
    fn a_report_reads_back_and_forget_removes_everything() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), RunId(1), &report(), true).unwrap();
        assert_eq!(read(dir.path(), RunId(1)), Some(report()));
        forget(dir.path(), RunId(1));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(read(dir.path(), RunId(1)), None);
    }

    #[test]
    fn where_no_file_can_be_made_the_report_is_found_in_the_lock_file() {
        let dir = tempfile::tempdir().unwrap();
        let origin = Origin { boot_id: None, ticks: 5, cgroup: None, pid_namespace: None, reaper: None };
        let lock = make_lock(dir.path(), RunId(1), &origin).unwrap();
        write(dir.path(), RunId(1), &report(), true).unwrap();
        // Something in the way of the next temporary file stands for a full disk.
        fs::create_dir(report_path(dir.path(), RunId(1)).with_extension("stop.tmp")).unwrap();
        let later = TreeReport { ended_at: Timestamp(3), leftovers: 2, ..report() };
        write(dir.path(), RunId(1), &later, true).unwrap();
        assert_eq!(read(dir.path(), RunId(1)), Some(later));
        drop(lock);
        let Lock::Free(Some(read)) = look_at_lock(dir.path(), RunId(1)).unwrap() else { panic!("free and filled") };
        assert_eq!(read.ticks, 5);
    }

    #[test]
    fn the_boot_of_a_run_is_the_last_one_noted_before_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(boots_path(dir.path()), "100 a\n200 b\n").unwrap();
        assert_eq!(boot_at(dir.path(), Timestamp(99)), None);
        assert_eq!(boot_at(dir.path(), Timestamp(150)).as_deref(), Some("a"));
        note_boot(dir.path(), Timestamp(300)).unwrap();
        note_boot(dir.path(), Timestamp(400)).unwrap();
        assert_eq!(boot_at(dir.path(), Timestamp(500)), procfs::boot_id());
        assert_eq!(fs::read_to_string(boots_path(dir.path())).unwrap().lines().count(), 3);
    }
}
