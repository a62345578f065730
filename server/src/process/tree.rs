//! The server's side: the spawner as a service, and one running tree.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream as StdUnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use app::model::{RunId, Timestamp};
use nix::sys::{
    prctl,
    socket::{AddressFamily, SockFlag, SockType, socketpair},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::spawn_blocking,
};

use super::{
    Recovered, SPAWNER_ARGUMENT, StopHow, TreeCommand, TreeExit, TreeReport, adopt, log, now, procfs, recover,
    report::{self, Origin},
    spawner::PROBE_ARGUMENT,
    sys, wire,
};

/// How long a launch waits for a new spawner when the old one is gone.
const NEW_SPAWNER: Duration = Duration::from_secs(10);
/// How long a supervisor takes at most from its last report to its end.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// How long a run whose supervisor vanished is waited for: the spawner gives up on what does not die after 30 s.
const VANISHED: Duration = Duration::from_secs(45);

/// Why a tree could not be launched. Nothing was started. (A command that cannot be executed is no such error, but
/// [`TreeExit::NotStarted`].)
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// [`Spawner::shutdown`] was called.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The lock file of the run could not be made: disk full, no permission, or a run with this id exists.
    #[error("the lock file of the run could not be made")]
    Lock(#[source] io::Error),
    /// The spawner could not be reached or started.
    #[error("the spawner could not be reached")]
    Spawner(#[source] io::Error),
}

/// The helper process that starts supervisors. Cheap to clone; the helper ends when the last clone is dropped (and
/// what still runs is stopped only when its [`Tree`] is dropped, too).
#[derive(Clone)]
pub struct Spawner {
    inner: Arc<Inner>,
}

struct Inner {
    program: PathBuf,
    runs_dir: PathBuf,
    origin: Origin,
    helper: Mutex<Option<OwnedFd>>,
    closed: AtomicBool,
}

impl Inner {
    fn helper(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.helper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spawner {
    /// Starts the helper, from this very program, and makes this process a subreaper. `runs_dir` is made if need be;
    /// it belongs to one server at a time.
    pub async fn start(runs_dir: &Path) -> io::Result<Spawner> {
        Spawner::start_with(Path::new("/proc/self/exe"), runs_dir).await
    }

    /// As [`start`](Self::start), with another program whose `main` calls [`spawner_main`](super::spawner_main).
    pub async fn start_with(program: &Path, runs_dir: &Path) -> io::Result<Spawner> {
        let (program, runs_dir) = (program.to_owned(), runs_dir.to_owned());
        spawn_blocking(move || Spawner::start_blocking(program, &runs_dir)).await.map_err(io::Error::other)?
    }

    fn start_blocking(program: PathBuf, runs_dir: &Path) -> io::Result<Spawner> {
        std::fs::create_dir_all(runs_dir)?;
        let runs_dir = runs_dir.canonicalize()?;
        report::note_boot(&runs_dir, now())?;
        let reaper = find_reaper(&program);
        prctl::set_child_subreaper(true)?;
        let origin = Origin {
            boot_id: procfs::boot_id(),
            ticks: 0,
            cgroup: procfs::cgroup(std::process::id() as i32),
            pid_namespace: procfs::pid_namespace(),
            reaper,
        };
        let inner = Inner { program, runs_dir, origin, helper: Mutex::new(None), closed: AtomicBool::new(false) };
        let (child, socket) = start_helper(&inner.program, &inner.runs_dir)?;
        *inner.helper() = Some(socket);
        let inner = Arc::new(inner);
        let weak = Arc::downgrade(&inner);
        thread::Builder::new().name("belay-spawner".to_owned()).spawn(move || keep_helper(&weak, child))?;
        Ok(Spawner { inner })
    }

    /// Starts a command as a supervised tree. Returns as soon as its supervisor is ordered; whether the command could
    /// be executed is in the report.
    pub async fn launch(&self, command: TreeCommand) -> Result<Tree, LaunchError> {
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(LaunchError::ShuttingDown);
        }
        let (ours, theirs) = StdUnixStream::pair().map_err(LaunchError::Spawner)?;
        ours.set_nonblocking(true).map_err(LaunchError::Spawner)?;
        let orders = ours.try_clone().map_err(LaunchError::Spawner)?;
        let stream = UnixStream::from_std(ours).map_err(LaunchError::Spawner)?;
        let mut tree = Tree {
            run_id: command.run_id,
            runs_dir: self.inner.runs_dir.clone(),
            log: command.log.clone(),
            started_at: now(),
            stream,
            orders: Arc::new(orders),
        };
        let inner = Arc::clone(&self.inner);
        let run_id = command.run_id;
        match spawn_blocking(move || inner.order(run_id, theirs.into())).await {
            Ok(ordered) => ordered?,
            Err(error) => return Err(LaunchError::Spawner(io::Error::other(error))),
        }
        let request = wire::Request { runs_dir: self.inner.runs_dir.clone(), command }.encode();
        // When it fails, the supervisor is gone already: `Tree::wait` finds out what became of the run.
        if let Err(error) = tree.stream.write_all(&request).await {
            tracing::warn!(run = %run_id, %error, "the supervisor did not take its order");
        }
        Ok(tree)
    }

    /// Ends the helper. Trees that still run go on until they end, are stopped or dropped; the helper waits for them.
    pub async fn shutdown(&self) {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.helper().take();
    }
}

impl Inner {
    /// Makes the lock of a run and hands it, with the socket, to the spawner.
    fn order(&self, run_id: RunId, socket: OwnedFd) -> Result<(), LaunchError> {
        let origin = Origin { ticks: procfs::ticks_now(), ..self.origin.clone() };
        let lock = report::make_lock(&self.runs_dir, run_id, &origin).map_err(LaunchError::Lock)?;
        let sent = self.send(run_id, &socket, &lock);
        if sent.is_err() {
            report::forget(&self.runs_dir, run_id);
        }
        sent
    }

    fn send(&self, run_id: RunId, socket: &OwnedFd, lock: &File) -> Result<(), LaunchError> {
        let deadline = Instant::now() + NEW_SPAWNER;
        loop {
            if self.closed.load(Ordering::Acquire) {
                return Err(LaunchError::ShuttingDown);
            }
            let sent = match self.helper().as_ref() {
                Some(helper) => {
                    sys::send_packet(helper.as_fd(), &run_id.0.to_le_bytes(), &[socket.as_fd(), lock.as_fd()])
                }
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            match sent {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(LaunchError::Spawner(error)),
                // The helper is gone, and its keeper is about to start another.
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Asks to whom the orphans of this process go: a process that its parent left tells its new parent.
fn find_reaper(program: &Path) -> Option<i32> {
    if prctl::get_child_subreaper().unwrap_or(false) {
        return None;
    }
    let output = Command::new(program)
        .args([SPAWNER_ARGUMENT, PROBE_ARGUMENT])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn start_helper(program: &Path, runs_dir: &Path) -> io::Result<(Child, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let child = Command::new(program)
        .arg0("belay")
        .arg(SPAWNER_ARGUMENT)
        .arg(runs_dir)
        .stdin(theirs)
        .stdout(Stdio::null())
        .spawn()?;
    adopt::remember_spawner(child.id(), program);
    Ok((child, ours))
}

/// Waits for the helper's end and starts another, as long as the spawner is in use. Once a helper was killed, what
/// became a child of the server is looked after, too.
fn keep_helper(weak: &Weak<Inner>, mut child: Child) {
    loop {
        let ended = child.wait();
        adopt::forget_spawner(child.id());
        let Some(inner) = weak.upgrade() else { return };
        if inner.closed.load(Ordering::Acquire) {
            return;
        }
        tracing::warn!(?ended, "the spawner ended; starting another");
        inner.helper().take();
        start_adopting();
        child = loop {
            match start_helper(&inner.program, &inner.runs_dir) {
                Ok((child, socket)) => {
                    *inner.helper() = Some(socket);
                    break child;
                }
                Err(error) => {
                    tracing::error!(%error, "the spawner could not be started");
                    thread::sleep(Duration::from_millis(500));
                }
            }
            if inner.closed.load(Ordering::Acquire) {
                return;
            }
        };
        // A helper that ends at once must not be started in a tight circle.
        thread::sleep(Duration::from_millis(20));
    }
}

/// From now on, for the life of the process, collects and kills what comes to it as an orphan.
fn start_adopting() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::AcqRel) {
        return;
    }
    let adopting = thread::Builder::new().name("belay-orphans".to_owned()).spawn(|| {
        loop {
            let killed = adopt::kill_orphans().len();
            if killed > 0 {
                tracing::warn!(killed, "killed orphans of a supervisor that was killed");
            }
            thread::sleep(Duration::from_millis(if killed > 0 { 10 } else { 500 }));
        }
    });
    if let Err(error) = adopting {
        STARTED.store(false, Ordering::Release);
        tracing::error!(%error, "orphans cannot be looked after");
    }
}

/// A running tree. Dropping it stops the tree gracefully.
pub struct Tree {
    run_id: RunId,
    runs_dir: PathBuf,
    log: PathBuf,
    started_at: Timestamp,
    stream: UnixStream,
    orders: Arc<StdUnixStream>,
}

/// Stops a tree from elsewhere, while its owner waits for it. Does nothing once the tree is over.
#[derive(Clone)]
pub struct TreeStopper {
    orders: Weak<StdUnixStream>,
}

impl TreeStopper {
    /// Asks for a stop and returns at once; the answer is the tree's report.
    pub fn stop(&self, how: StopHow) {
        if let Some(orders) = self.orders.upgrade() {
            order(&orders, how);
        }
    }
}

fn order(mut orders: &StdUnixStream, how: StopHow) {
    let byte = match how {
        StopHow::Graceful => wire::STOP,
        StopHow::Kill => wire::KILL,
    };
    // Fails only when the supervisor is gone, which whoever waits for the tree learns, too.
    let _ = io::Write::write(&mut orders, &[byte]);
}

impl Tree {
    /// The run that this tree belongs to.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// Asks for a stop and returns at once; the answer is the report.
    pub fn stop(&self, how: StopHow) {
        order(&self.orders, how);
    }

    /// A handle for [`stop`](Self::stop) that may outlive the tree.
    #[must_use]
    pub fn stopper(&self) -> TreeStopper {
        TreeStopper { orders: Arc::downgrade(&self.orders) }
    }

    /// Waits until nothing of the tree is left, or until its supervisor reports that something cannot be killed
    /// (`stop` then is not `confirmed`, and [`recover`](super::recover) has the later report).
    ///
    /// # Errors
    /// When the supervisor vanished and what it left could not be judged within 45 s.
    pub async fn wait(mut self) -> io::Result<TreeReport> {
        let mut received = Vec::with_capacity(1024);
        let report = loop {
            if let Some(end) = received.iter().position(|byte| *byte == b'\n') {
                break serde_json::from_slice::<TreeReport>(&received[..end]).ok();
            }
            match self.stream.read_buf(&mut received).await {
                Ok(0) | Err(_) => break None,
                Ok(_) => {}
            }
        };
        match report {
            Some(report) => {
                if report.stop.as_ref().is_none_or(|stop| stop.confirmed) {
                    self.see_the_end().await;
                }
                Ok(report)
            }
            None => self.vanished().await,
        }
    }

    /// The supervisor ends after its last report; until then it counts as a process of this run.
    async fn see_the_end(&mut self) {
        let mut rest = [0_u8; 64];
        let end = async { while matches!(self.stream.read(&mut rest).await, Ok(length) if length > 0) {} };
        if tokio::time::timeout(LAST_MOMENT, end).await.is_err() {
            tracing::warn!(run = %self.run_id, "a supervisor has reported and does not end");
        }
    }

    async fn vanished(&self) -> io::Result<TreeReport> {
        match recover(&self.runs_dir, self.run_id, self.started_at, VANISHED, || StopHow::Graceful).await? {
            Recovered::Report(report) => Ok(report),
            Recovered::Searched(evidence) => Ok(TreeReport {
                exit: TreeExit::Lost,
                started_at: self.started_at,
                ended_at: now(),
                timed_out: false,
                signalled: !evidence.signals.is_empty(),
                leftovers: 0,
                log_bytes: log::size(&self.log),
                stop: Some(evidence),
            }),
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Also when a copy of the descriptor were still open somewhere, the supervisor sees the end.
        let _ = self.orders.shutdown(std::net::Shutdown::Write);
    }
}
