//! What becomes a child of the server itself when the spawner is killed: supervisors, which live on, and the orphans
//! of supervisors that are killed afterwards.
//!
//! Everything that the server starts directly is in the server's own session; supervisors and what is below them never
//! are. So a child in another session came to the server as an orphan.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::{
        signal::Signal,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use super::{
    procfs::{self, ProcessId, Signalled, Stat},
    spawner::{SPAWNER_NAME, SUPERVISOR_NAME},
};

/// Spawners started by this process (their end is collected by who started them), and the program that they run.
#[derive(Default)]
struct Known {
    spawners: HashSet<i32>,
    programs: HashSet<(u64, u64)>,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

fn known() -> MutexGuard<'static, Option<Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn remember_spawner(pid: u32, program: &Path) {
    let mut known = known();
    let known = known.get_or_insert_default();
    known.spawners.insert(pid as i32);
    known.programs.extend(program_id(program));
}

pub(crate) fn forget_spawner(pid: u32) {
    known().get_or_insert_default().spawners.remove(&(pid as i32));
}

fn program_id(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// A spawner or supervisor of this server, or of one that ran the same program: never something to stop.
pub(crate) fn is_ours(stat: &Stat) -> bool {
    (stat.comm == SUPERVISOR_NAME || stat.comm == SPAWNER_NAME)
        && program_id(Path::new(&format!("/proc/{}/exe", stat.pid))).is_some_and(|id| {
            program_id(Path::new("/proc/self/exe")) == Some(id)
                || known().as_ref().is_some_and(|known| known.programs.contains(&id))
        })
}

/// Living orphans that came to this process, without what is below them; collects the dead ones.
pub(crate) fn orphans() -> Vec<Stat> {
    let own = std::process::id() as i32;
    let Some(session) = Stat::read(own).map(|stat| stat.session) else { return Vec::new() };
    let mut living = Vec::new();
    for stat in procfs::own_children().into_iter().filter_map(Stat::read) {
        let is_spawner = known().as_ref().is_some_and(|known| known.spawners.contains(&stat.pid));
        if stat.ppid != own || stat.session == session || is_spawner {
            continue;
        }
        if stat.is_dead() {
            // Gone in any case; whoever collected it before us is welcome.
            let _ = waitpid(Pid::from_raw(stat.pid), Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL));
        } else if !is_ours(&stat) {
            living.push(stat);
        }
    }
    living
}

/// Kills the orphans that came to this process: the supervisor of each is dead, so its run is over. Returns those that
/// got the signal.
pub(crate) fn kill_orphans() -> HashSet<ProcessId> {
    let own = std::process::id() as i32;
    let mut killed = HashSet::new();
    let found = orphans();
    if found.is_empty() {
        return killed;
    }
    let roots: HashSet<i32> = found.iter().map(|stat| stat.pid).collect();
    let all = procfs::all().unwrap_or_default();
    let below = procfs::below(&all, &roots).into_iter().filter(|stat| !stat.is_dead() && !is_ours(stat)).cloned();
    for stat in found.into_iter().chain(below) {
        if procfs::signal(stat.id(), Signal::SIGKILL, |stat| procfs::is_below(stat.pid, own)) == Signalled::Sent {
            killed.insert(stat.id());
        }
    }
    killed
}
