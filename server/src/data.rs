//! The data folder: where everything that a server keeps lies, and the lock that makes it one server's.
//!
//! ```text
//! belay.db                  the database
//! instance                  a UUID, made once: runs are looked for again only on the instance that began them
//! lock                      held exclusively while a server lives; its first line is that server's pid
//! reserve                   16 MB given back when the disk is full, so that cancel and delete still work
//! jobs/<job>/inputs         uploads
//! jobs/<job>/artifacts/<u>  what unit <u> made, once its result was accepted
//! jobs/<job>/logs/<run>.log output
//! jobs/<job>/work/<run>     scratch of a run; `out` below it becomes the artifacts
//! runs/                     locks and reports of process trees
//! kept/<job>                artifacts of a deleted job that were to stay
//! tmp/                      anything short-lived
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use app::model::{JobId, RunId};
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};

use crate::disk;

/// Bytes held back for the day the disk is full.
const RESERVE_BYTES: i64 = 16 << 20;

/// How long the lock of a predecessor that is just going is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_AGAIN: Duration = Duration::from_millis(20);

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    #[error("data folder `{path}` is not writable")]
    NotWritable { path: PathBuf, source: io::Error },
    #[error("data folder `{path}` is in use by another instance{}", .pid.as_ref().map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse { path: PathBuf, pid: Option<String> },
}

/// An opened data folder. The lock is held until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct DataFolder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    instance: String,
    _lock: Flock<File>,
}

impl DataFolder {
    /// Makes what is missing and takes the lock. Blocking.
    ///
    /// # Errors
    /// The folder cannot be made or written to, or another living server holds it.
    pub fn open(path: &Path) -> Result<DataFolder, DataFolderError> {
        let not_writable = |source| DataFolderError::NotWritable { path: path.to_owned(), source };
        make_folder(path).map_err(not_writable)?;
        let root = path.canonicalize().map_err(not_writable)?;
        let lock = take_lock(&root)?;
        for name in ["jobs", "runs", "kept", "tmp"] {
            make_folder(&root.join(name)).map_err(not_writable)?;
        }
        let instance = read_or_make_instance(&root).map_err(not_writable)?;
        let folder = DataFolder { inner: Arc::new(Inner { root, instance, _lock: lock }) };
        // A start writes before anybody can cancel or remove something.
        if folder.is_full() {
            let _ = folder.release_reserve();
        }
        folder.refill_reserve();
        Ok(folder)
    }

    /// Absolute, without links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Id of this data folder.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.inner.instance
    }

    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root().join("belay.db")
    }

    /// Locks and reports of process trees.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.root().join("runs")
    }

    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.root().join("tmp")
    }

    /// Everything of one job.
    #[must_use]
    pub fn job(&self, job: JobId) -> PathBuf {
        self.root().join("jobs").join(job.to_string())
    }

    #[must_use]
    pub fn inputs(&self, job: JobId) -> PathBuf {
        self.job(job).join("inputs")
    }

    #[must_use]
    pub fn artifacts(&self, job: JobId) -> PathBuf {
        self.job(job).join("artifacts")
    }

    #[must_use]
    pub fn unit_artifacts(&self, job: JobId, unit: u64) -> PathBuf {
        self.artifacts(job).join(unit.to_string())
    }

    #[must_use]
    pub fn logs(&self, job: JobId) -> PathBuf {
        self.job(job).join("logs")
    }

    #[must_use]
    pub fn log(&self, job: JobId, run: RunId) -> PathBuf {
        self.logs(job).join(format!("{run}.log"))
    }

    /// Scratch of all runs of a job.
    #[must_use]
    pub fn works(&self, job: JobId) -> PathBuf {
        self.job(job).join("work")
    }

    #[must_use]
    pub fn work(&self, job: JobId, run: RunId) -> PathBuf {
        self.works(job).join(run.to_string())
    }

    /// What a command puts its results in.
    #[must_use]
    pub fn out(&self, job: JobId, run: RunId) -> PathBuf {
        self.work(job, run).join("out")
    }

    /// Artifacts of a deleted job that were to stay.
    #[must_use]
    pub fn kept(&self, job: JobId) -> PathBuf {
        self.root().join(Self::kept_name(job))
    }

    /// The same, relative to the data folder: what a receipt says.
    #[must_use]
    pub fn kept_name(job: JobId) -> String {
        format!("kept/{job}")
    }

    /// Makes the folders of a new job.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn make_job(&self, job: JobId) -> io::Result<()> {
        make_folder(&self.job(job))?;
        for folder in [self.inputs(job), self.artifacts(job), self.logs(job), self.works(job)] {
            make_folder(&folder)?;
        }
        Ok(())
    }

    /// Gives the reserve back to a full disk. True when there was one.
    #[must_use]
    pub fn release_reserve(&self) -> bool {
        let released = fs::remove_file(self.reserve()).is_ok();
        if released {
            tracing::warn!("the disk is full: released the reserve of {} MB", RESERVE_BYTES >> 20);
        }
        released
    }

    /// Sets the reserve aside again, if there is room for it twice.
    pub fn refill_reserve(&self) {
        let path = self.reserve();
        if path.exists() || !self.has_room_for_reserve() {
            return;
        }
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES).map_err(io::Error::from));
        if let Err(error) = made {
            // A file system without fallocate, or a full one: no reserve is better than half a one.
            let _ = fs::remove_file(&path);
            tracing::debug!(%error, "no reserve was set aside");
        }
    }

    fn has_room_for_reserve(&self) -> bool {
        disk::free_bytes(self.root()).is_some_and(|free| free > disk::SHORT_BYTES)
    }

    /// Nothing new can be begun. Blocking.
    #[must_use]
    pub fn is_full(&self) -> bool {
        disk::is_full(self.root())
    }

    /// It is full, or was until the reserve was released. Blocking.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.is_full() || (!self.reserve().exists() && !self.has_room_for_reserve())
    }

    fn reserve(&self) -> PathBuf {
        self.root().join("reserve")
    }
}

/// Makes a folder for this user only; one that is there is fine.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Waits a moment for a predecessor that was just killed: until the kernel has taken it apart it holds the lock.
fn take_lock(root: &Path) -> Result<Flock<File>, DataFolderError> {
    let not_writable = |source| DataFolderError::NotWritable { path: root.to_owned(), source };
    let path = root.join("lock");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = file.map_err(not_writable)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                write_pid(&mut lock).map_err(not_writable)?;
                return Ok(lock);
            }
            Err((refused, _)) if Instant::now() < deadline => {
                file = refused;
                thread::sleep(LOCK_AGAIN);
            }
            Err((mut held, _)) => {
                let mut pid = String::new();
                let read = held.read_to_string(&mut pid).ok().map(|_| pid.trim().to_owned());
                return Err(DataFolderError::InUse { path: root.to_owned(), pid: read.filter(|pid| !pid.is_empty()) });
            }
        }
    }
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    // On a full disk the pid is missing; the lock holds all the same.
    let _ = writeln!(lock, "{}", std::process::id());
    Ok(())
}

fn read_or_make_instance(root: &Path) -> io::Result<String> {
    let path = root.join("instance");
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let instance = uuid::Uuid::now_v7().to_string();
    let fresh = root.join("tmp").join("instance");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    writeln!(file, "{instance}")?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_in_use_names_the_process_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let _held = DataFolder::open(folder.path()).unwrap();
        let refused = DataFolder::open(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("in use by another instance"), "{refused}");
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    }

    #[test]
    fn a_data_folder_that_is_just_being_let_go_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let held = DataFolder::open(folder.path()).unwrap();
        let instance = held.instance().to_owned();
        let path = folder.path().to_owned();
        let next = thread::spawn(move || DataFolder::open(&path).map(|data| data.instance().to_owned()));
        thread::sleep(LOCK_AGAIN * 3);
        drop(held);
        assert_eq!(next.join().unwrap().unwrap(), instance);
    }

    #[test]
    fn a_path_that_cannot_be_a_folder_is_called_not_writable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let refused = DataFolder::open(&file.join("below")).unwrap_err().to_string();
        assert!(refused.contains("not writable"), "{refused}");
    }

    #[test]
    fn the_reserve_is_released_once_and_set_aside_again() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        if data.release_reserve() {
            assert!(!data.release_reserve());
            data.refill_reserve();
            assert_eq!(fs::metadata(folder.path().join("reserve")).unwrap().len(), RESERVE_BYTES as u64);
        }
    }
}
