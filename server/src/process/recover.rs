//! What became of a run whose server, spawner or supervisor is gone.
//!
//! 1. While the run's lock is held somebody looks after it: wait.
//! 2. There is a report: that is the answer.
//! 3. Neither: everything that looked after the run was killed. If the machine was restarted since, nothing is left.
//!    Else everything that carries the run's mark in its environment is stopped, with all its descendants, and then the
//!    machine is searched for what *could* have belonged to the run with a cleaned environment: see [`Search::suspects`].
//!    Only when there is nothing of the kind the run is called stopped.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use app::model::{RunId, StopEvidence, StopMethod, StopStep, StopStepKind, Timestamp};
use nix::sys::signal::Signal;
use tokio::task::spawn_blocking;

use super::{
    StopHow, TreeReport, adopt, kill_left_behind, now, processes,
    procfs::{self, Mark, ProcessId, Signalled, Stat},
    report::{self, Lock, Origin},
    stopping::GIVE_UP,
    sys, were,
};

/// From SIGTERM to SIGKILL: the run's own grace period went with its supervisor.
const GRACE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// Between two words to a supervisor that is to kill.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// A process may slip through one look while it is just being started.
const CLEAN_LOOKS: u32 = 2;

/// What is known about a run that was left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Its supervisor, or the spawner in its place, had reported.
    Report(TreeReport),
    /// Nobody had; this was found by a search.
    Searched(StopEvidence),
}

/// Finds out what became of a run, and stops what is left of it. `started_at` is when the run was started as far as
/// the caller knows; `wait` is how long to wait for whoever still looks after it; `how` is asked again and again:
/// [`StopHow::Kill`] ends every grace, that of a supervisor that was left behind too.
///
/// # Errors
/// `TimedOut` when somebody still looks after the run after `wait`: ask again later.
pub async fn recover(
    runs_dir: &Path,
    run_id: RunId,
    started_at: Timestamp,
    wait: Duration,
    how: impl Fn() -> StopHow + Send + 'static,
) -> io::Result<Recovered> {
    let deadline = Instant::now() + wait;
    let mut pause = Duration::from_millis(2);
    let mut told: Option<Instant> = None;
    let origin = loop {
        let dir = runs_dir.to_owned();
        match blocking(move || report::look_at_lock(&dir, run_id)).await?? {
            Lock::Free(origin) => break origin,
            Lock::Held if Instant::now() >= deadline => {
                // Something of it does not die, and the supervisor has said so: better than no answer.
                let interim = report::read(runs_dir, run_id);
                let message = "the run is still looked after by its supervisor";
                return interim.map(Recovered::Report).ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, message));
            }
            Lock::Held => {
                if how() == StopHow::Kill && told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
                    told = Some(Instant::now());
                    let dir = runs_dir.to_owned();
                    blocking(move || kill_left_behind(&dir, run_id)).await??;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        }
    };
    let dir = runs_dir.to_owned();
    blocking(move || {
        if let Some(report) = report::read(&dir, run_id)
            && report.stop.as_ref().is_none_or(|stop| stop.confirmed)
        {
            return Ok(Recovered::Report(report));
        }
        let origin = origin.unwrap_or_else(|| Origin::guess(&dir, started_at));
        Search::new(run_id, origin, how).run().map(Recovered::Searched)
    })
    .await?
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)
}

impl Origin {
    /// For a run whose lock file is missing or empty: the machine lost power before it was on the disk.
    fn guess(runs_dir: &Path, started_at: Timestamp) -> Origin {
        let age = u64::try_from(now().millis_since(started_at).max(0)).unwrap_or(0) + 1_000;
        Origin {
            boot_id: report::boot_at(runs_dir, started_at),
            ticks: procfs::ticks_now().saturating_sub(age * sys::ticks_per_second() / 1_000),
            cgroup: None,
            pid_namespace: None,
            reaper: None,
        }
    }
}

/// One search of the machine for one run.
struct Search<H> {
    run: String,
    how: H,
    origin: Origin,
    own: i32,
    steps: Vec<StopStep>,
    seen: usize,
    terminated: HashSet<ProcessId>,
    killed: HashSet<ProcessId>,
}

impl<H: Fn() -> StopHow> Search<H> {
    fn new(run_id: RunId, origin: Origin, how: H) -> Self {
        Search {
            run: run_id.to_string(),
            how,
            origin,
            own: std::process::id() as i32,
            steps: Vec::new(),
            seen: 0,
            terminated: HashSet::new(),
            killed: HashSet::new(),
        }
    }

    fn run(mut self) -> io::Result<StopEvidence> {
        if let (Some(then), Some(now)) = (&self.origin.boot_id, procfs::boot_id())
            && *then != now
        {
            self.step(StopStepKind::Searched, "the machine was restarted since".to_owned());
            let detail = "The machine was restarted since the run was started; nothing of it can be left.";
            return Ok(self.confirmed(detail.to_owned()));
        }
        if self.origin.pid_namespace.is_some() && self.origin.pid_namespace != procfs::pid_namespace() {
            let detail = "The run was started in another container, whose processes cannot be seen from here.";
            return Ok(self.unconfirmed(None, detail.to_owned()));
        }
        if Stat::read(1).is_none() {
            let detail = "This system hides the processes of other users, so nobody can say what is left of the run.";
            return Ok(self.unconfirmed(None, detail.to_owned()));
        }
        let left = self.stop_marked()?;
        if left > 0 {
            let detail = format!(
                "{} of the run {} still there {} s after SIGKILL.",
                processes(left),
                if left == 1 { "is" } else { "are" },
                GIVE_UP.as_secs()
            );
            return Ok(self.unconfirmed(u32::try_from(left).ok(), detail));
        }
        let suspects = self.suspects()?;
        if suspects.is_empty() {
            let detail = self.proven();
            Ok(self.confirmed(detail))
        } else {
            let detail = suspicion(&suspects);
            self.step(
                StopStepKind::Searched,
                format!("{} without a mark could belong to it", processes(suspects.len())),
            );
            Ok(self.unconfirmed(None, detail))
        }
    }

    /// Stops what carries the mark, what is below it, and what came to this process as an orphan; returns how many are
    /// left when they do not die.
    fn stop_marked(&mut self) -> io::Result<usize> {
        let begun = Instant::now();
        let mut clean_looks = 0;
        let mut told = (false, false);
        loop {
            let found = self.marked()?;
            self.seen = self.seen.max(found.len());
            if found.is_empty() {
                clean_looks += 1;
                if clean_looks >= CLEAN_LOOKS {
                    let text = format!("the environment of all processes for the mark: {} found", self.seen);
                    self.step(StopStepKind::Searched, text);
                    return Ok(0);
                }
                continue;
            }
            clean_looks = 0;
            if begun.elapsed() >= GRACE + GIVE_UP {
                return Ok(found.len());
            }
            if begun.elapsed() < GRACE && (self.how)() == StopHow::Graceful {
                let fresh = found.iter().filter(|stat| !self.terminated.contains(&stat.id())).cloned().collect();
                let sent = self.send(fresh, &[Signal::SIGTERM, Signal::SIGCONT]);
                self.terminated.extend(sent);
                self.told(&mut told.0, "SIGTERM", self.terminated.len());
            } else {
                let sent = self.send(found, &[Signal::SIGSTOP, Signal::SIGKILL]);
                self.killed.extend(sent);
                self.told(&mut told.1, "SIGKILL", self.killed.len());
            }
            thread::sleep(PAUSE);
        }
    }

    fn told(&mut self, told: &mut bool, signal: &str, count: usize) {
        if !*told && count > 0 {
            *told = true;
            self.step(StopStepKind::Signalled, format!("{signal} to {}", processes(count)));
        }
    }

    /// Sends all of `signals` to each of `targets` that still is what it was; returns those that got the last one.
    fn send(&self, targets: Vec<Stat>, signals: &[Signal]) -> Vec<ProcessId> {
        let send = |id: ProcessId| {
            let mut sent = Signalled::Gone;
            for signal in signals {
                // The start time is checked against the descriptor; a process keeps its mark and does not change hands.
                sent = procfs::signal(id, *signal, |_| true);
            }
            sent == Signalled::Sent
        };
        targets.iter().map(Stat::id).filter(|id| send(*id)).collect()
    }

    /// What belongs to the run beyond doubt.
    fn marked(&self) -> io::Result<Vec<Stat>> {
        let all = procfs::all()?;
        let orphans: HashSet<i32> = adopt::orphans().iter().map(|stat| stat.pid).collect();
        let is_marked = |stat: &&Stat| match procfs::mark_of(stat.pid) {
            Mark::Run(run) => run == self.run,
            Mark::None | Mark::Unreadable => orphans.contains(&stat.pid),
        };
        let candidates = all.values().filter(|stat| self.may_belong(stat));
        let roots: Vec<&Stat> = candidates.filter(is_marked).collect();
        let numbers = roots.iter().map(|stat| stat.pid).collect();
        let below = procfs::below(&all, &numbers).into_iter().filter(|stat| self.may_belong(stat));
        Ok(roots.into_iter().chain(below).cloned().collect())
    }

    /// Alive, not the system's, not ours, and not older than the run.
    fn may_belong(&self, stat: &Stat) -> bool {
        !stat.is_dead()
            && !stat.kernel_thread
            && stat.pid != self.own
            && stat.pid != 1
            && self.is_younger(stat)
            && !adopt::is_ours(stat)
    }

    /// Started since the run was. One tick is allowed for rounding.
    fn is_younger(&self, stat: &Stat) -> bool {
        stat.started + 1 >= self.origin.ticks
    }

    /// Processes without a mark that could have come from the run nevertheless.
    ///
    /// Whatever the run left was started after it, and so was its whole line of ancestors, up to the one that its dead
    /// parent left as an orphan; that one is a child of init or of the subreaper above the server. It still is in a
    /// session that was begun after the run (a process can begin a session, not join one), in the run's control group.
    fn suspects(&self) -> io::Result<Vec<Stat>> {
        let all = procfs::all()?;
        let suspects = all.values().filter(|stat| {
            self.may_belong(stat)
                && (self.origin.cgroup.is_none() || procfs::cgroup(stat.pid) == self.origin.cgroup)
                && self.is_orphaned_line(stat, &all)
                && !matches!(procfs::mark_of(stat.pid), Mark::Run(run) if run != self.run)
        });
        // It may have ended meanwhile.
        Ok(suspects
            .filter(|stat| Stat::read(stat.pid).is_some_and(|now| now.id() == stat.id() && !now.is_dead()))
            .cloned()
            .collect())
    }

    fn is_orphaned_line(&self, stat: &Stat, all: &HashMap<i32, Stat>) -> bool {
        let ours = self.own_line(all);
        let mut top = stat;
        loop {
            if ours.contains(&top.pid) || adopt::is_ours(top) {
                return false;
            }
            match all.get(&top.ppid) {
                Some(parent) if parent.pid > 1 && self.is_younger(parent) => top = parent,
                Some(_) | None => break,
            }
        }
        self.takes_orphans(top.ppid) && !self.in_older_session(top, all)
    }

    /// This process and its ancestors.
    fn own_line(&self, all: &HashMap<i32, Stat>) -> HashSet<i32> {
        let mut line = HashSet::from([self.own]);
        let mut current = self.own;
        while let Some(stat) = all.get(&current)
            && stat.ppid > 1
            && line.insert(stat.ppid)
        {
            current = stat.ppid;
        }
        line
    }

    fn takes_orphans(&self, parent: i32) -> bool {
        match self.origin.reaper {
            Some(reaper) if Stat::read(reaper).is_some() => parent <= 1 || parent == reaper,
            // Not known, or gone: then it may be anybody.
            Some(_) | None => true,
        }
    }

    fn in_older_session(&self, stat: &Stat, all: &HashMap<i32, Stat>) -> bool {
        all.get(&stat.session).is_some_and(|leader| !self.is_younger(leader))
    }

    fn proven(&self) -> String {
        let stopped = match (self.terminated.len(), self.killed.len()) {
            (0, 0) => String::new(),
            (terminated, 0) => format!(" {} of it {} sent SIGTERM and ended.", processes(terminated), were(terminated)),
            (_, killed) => format!(" {} of it {} killed.", processes(killed), were(killed)),
        };
        format!(
            "The supervisor of the run was killed.{stopped} A search of all processes found nothing that carries its \
             mark and nothing else that could belong to it."
        )
    }

    fn confirmed(mut self, detail: String) -> StopEvidence {
        self.step(StopStepKind::Counted, format!("0 of {} left", processes(self.seen)));
        self.step(StopStepKind::Confirmed, "stopped".to_owned());
        let mut evidence = self.evidence(detail);
        evidence.stopped_at = Some(now());
        evidence.processes_left = Some(0);
        evidence.confirmed = true;
        evidence
    }

    fn unconfirmed(self, left: Option<u32>, detail: String) -> StopEvidence {
        let mut evidence = self.evidence(detail);
        evidence.processes_left = left;
        evidence
    }

    fn evidence(self, detail: String) -> StopEvidence {
        let signals = [("SIGTERM", &self.terminated), ("SIGKILL", &self.killed)];
        StopEvidence {
            method: if self.killed.is_empty() { StopMethod::Lost } else { StopMethod::Killed },
            signals: signals.iter().filter(|(_, sent)| !sent.is_empty()).map(|(name, _)| (*name).to_owned()).collect(),
            stopped_at: None,
            processes_left: None,
            processes_seen: u32::try_from(self.seen).ok(),
            confirmed: false,
            detail,
            steps: self.steps,
        }
    }

    fn step(&mut self, step: StopStepKind, detail: String) {
        self.steps.push(StopStep { step, at: now(), detail });
    }
}

fn suspicion(suspects: &[Stat]) -> String {
    let names: Vec<String> = suspects.iter().take(3).map(|stat| format!("{} ({})", stat.comm, stat.pid)).collect();
    let more = if suspects.len() > names.len() { ", …" } else { "" };
    format!(
        "The supervisor of the run was killed. Nothing carries the run's mark any more, but {} started since could \
         belong to it: {}{more}. Without a mark they were not signalled.",
        processes(suspects.len()),
        names.join(", ")
    )
}
