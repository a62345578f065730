//! Starting commands and stopping everything that came of them, with proof.
//!
//! ```text
//! server ── socket ──> spawner (one, single-threaded, from before the async runtime)
//!    │                    └─ fork ─> supervisor (one a run, own session, subreaper)
//!    └────── socket ────────────────>   └─ exec ─> the command and whatever it starts
//! ```
//!
//! - A *supervisor* is a subreaper: every descendant of its command stays below it, also one that daemonised, changed
//!   its session, its name or its environment. It stops the tree when the server says so **or is gone** (the socket
//!   closes), and the proof that nothing is left is the kernel's: its wait answers `ECHILD`.
//! - The *spawner* forks supervisors cheaply and is the subreaper behind them: when a supervisor is killed, its orphans
//!   become the spawner's children, which kills them and writes the report in the supervisor's place.
//! - The server is a subreaper behind the spawner, and starts a new one when it is killed.
//! - A supervisor that a killed server left stops its tree with the grace that it was given. [`kill_left_behind`] is the
//!   line to it for who cannot wait.
//! - From before a run is asked for until its report is written somebody holds a lock on `runs/<run>.lock`. After a
//!   restart [`recover`] waits for it and reads `runs/<run>.stop`. Lock free and no report means that all of these were
//!   killed: then it searches the machine, and says "stopped" only when the search can exclude that something is left.
//!
//! What is outside: work that the command hands to a daemon which is not its descendant (`at`, `systemd-run`, a
//! container engine).

pub mod log;

mod adopt;
mod left_behind;
mod logfile;
mod procfs;
mod recover;
mod report;
mod spawner;
mod stopping;
mod supervisor;
mod sys;
mod tree;
mod wire;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use app::model::{RunId, StopEvidence, Timestamp};
use serde::{Deserialize, Serialize};

pub use left_behind::kill_left_behind;
pub(crate) use logfile::{Lines, LogFile};
pub use recover::{Recovered, recover};
pub use report::forget;
pub use spawner::spawner_main;
pub use tree::{LaunchError, Spawner, Tree, TreeStopper};

/// The environment variable that marks everything started for a run; its value is the run's id.
pub const MARK: &str = "BELAY_RUN";

/// The first argument that makes the server's program a spawner.
pub const SPAWNER_ARGUMENT: &str = "__spawner";

/// A command to run as a supervised tree.
#[derive(Clone, Debug)]
pub struct TreeCommand {
    pub run_id: RunId,
    /// Program and arguments; the program is looked up in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment of the command; the mark is added to it.
    pub env: Vec<(OsString, OsString)>,
    pub cwd: PathBuf,
    /// The log file; it is made when there is something to write. See [`log`].
    pub log: PathBuf,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// The tree is stopped when it runs longer.
    pub timeout: Option<Duration>,
}

/// How to stop a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopHow {
    /// SIGTERM, the grace period, SIGKILL.
    Graceful,
    /// SIGKILL at once; also during the grace period of a graceful stop.
    Kill,
}

/// How the command itself (not its descendants) ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeExit {
    Code(i32),
    Signal(i32),
    /// It could not be started; the sentence says why.
    NotStarted(String),
    /// Nobody saw its end: its supervisor was killed, or it cannot be killed (see `stop`).
    Lost,
}

/// What became of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeReport {
    pub exit: TreeExit,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub timed_out: bool,
    /// The command itself was sent a signal by us before it ended; its exit code then means nothing.
    pub signalled: bool,
    /// Descendants that outlived the command and were stopped after its end.
    pub leftovers: u32,
    /// Bytes of log kept on disk.
    pub log_bytes: u64,
    /// Present when a stop was asked for, the server vanished, the run timed out, or its supervisor was killed.
    pub stop: Option<StopEvidence>,
}

/// Now, by the wall clock.
pub(crate) fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// `1 process`, `3 processes`.
pub(crate) fn processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

/// `was`, `were`.
pub(crate) fn were(count: usize) -> &'static str {
    if count == 1 { "was" } else { "were" }
}
