//! The stop of a tree, from the inside: what its supervisor sends to whom, and the evidence that it gathers.
//!
//! SIGTERM (and SIGCONT, a stopped process would not notice) to every descendant, the grace period, then passes of
//! SIGSTOP and SIGKILL: first everything is frozen, so that it cannot fork away while it is being killed, then killed.
//! Passes go on until the supervisor's wait answers that it has no child; only that ends a stop.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use app::model::{StopEvidence, StopMethod, StopStep, StopStepKind, Timestamp};
use nix::sys::signal::Signal;

use super::{
    StopHow, now, processes,
    procfs::{self, ProcessId, Signalled, Stat},
    were,
};

/// From the first SIGKILL to the report that something does not die.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(30);
/// Rounds of SIGSTOP within a pass: each meets only what was forked during the one before.
const FREEZE_ROUNDS: usize = 8;
/// How long one pass chases direct children that fork and exit faster than a look at all processes takes.
const CHASE: Duration = Duration::from_millis(5);

/// Why a tree is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Asked,
    ServerGone,
    TimedOut,
    /// The command ended and left descendants: no stop that anybody asked for.
    Leftovers,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Running,
    /// SIGTERM was sent.
    Grace {
        kill_at: Instant,
    },
    Killing {
        since: Instant,
        next: Instant,
    },
}

/// What `Stopping` needs of its supervisor.
pub(crate) trait Tree {
    /// Collects what has ended. True when no child is left: the proof.
    fn collect(&mut self) -> bool;
    /// The process of the command itself, while it lives.
    fn main(&self) -> Option<i32>;
    /// Writes to the run's log.
    fn say(&mut self, text: &str);
}

/// The stop of one tree.
pub(crate) struct Stopping {
    own: i32,
    grace: Duration,
    stage: Stage,
    begun: Option<(Instant, Timestamp)>,
    wanted: bool,
    timed_out: bool,
    signals: Vec<String>,
    steps: Vec<StopStep>,
    seen: usize,
    terminated: HashSet<ProcessId>,
    killed: HashSet<ProcessId>,
    frozen: HashSet<ProcessId>,
    main_signalled: bool,
    killed_after: Duration,
}

impl Stopping {
    pub(crate) fn new(grace: Duration) -> Self {
        Stopping {
            own: std::process::id() as i32,
            grace,
            stage: Stage::Running,
            begun: None,
            wanted: false,
            timed_out: false,
            signals: Vec::new(),
            steps: Vec::new(),
            seen: 0,
            terminated: HashSet::new(),
            killed: HashSet::new(),
            frozen: HashSet::new(),
            main_signalled: false,
            killed_after: Duration::ZERO,
        }
    }

    /// Nothing has been stopped so far.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }

    /// Somebody is to be told about this stop (it is not only the clearing up after a normal end).
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// The command itself was sent a signal.
    pub(crate) fn main_signalled(&self) -> bool {
        self.main_signalled
    }

    /// Most processes that were seen at once.
    pub(crate) fn seen(&self) -> usize {
        self.seen
    }

    /// When [`turn`](Self::turn) has something to do again.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Running => None,
            Stage::Grace { kill_at } => Some(kill_at),
            Stage::Killing { next, .. } => Some(next),
        }
    }

    /// SIGKILL has been tried for so long that this must be reported.
    pub(crate) fn is_hopeless(&self) -> bool {
        matches!(self.stage, Stage::Killing { since, .. } if since.elapsed() >= GIVE_UP)
    }

    /// Begins to stop the tree, or goes on from SIGTERM to SIGKILL.
    pub(crate) fn begin(&mut self, how: StopHow, cause: Cause, tree: &mut dyn Tree) {
        if self.begun.is_none() || (!self.wanted && cause != Cause::Leftovers) {
            self.begun = Some((Instant::now(), now()));
        }
        match cause {
            Cause::Asked => self.wanted = true,
            Cause::ServerGone => {
                if !self.wanted {
                    self.step(StopStepKind::Searched, "the server is gone: stopping the tree".to_owned());
                }
                self.wanted = true;
            }
            Cause::TimedOut => {
                self.wanted = true;
                self.timed_out = true;
            }
            Cause::Leftovers => {}
        }
        match (how, self.stage) {
            (StopHow::Graceful, Stage::Running) => self.terminate(tree),
            (StopHow::Kill, Stage::Running | Stage::Grace { .. }) => self.start_killing(tree),
            (StopHow::Graceful, Stage::Grace { .. }) | (_, Stage::Killing { .. }) => {}
        }
    }

    /// Does what is due.
    pub(crate) fn turn(&mut self, tree: &mut dyn Tree) {
        match self.stage {
            Stage::Running => {}
            Stage::Grace { kill_at } if Instant::now() >= kill_at => self.start_killing(tree),
            Stage::Grace { .. } => {}
            Stage::Killing { next, .. } if Instant::now() >= next => self.kill_pass(tree),
            Stage::Killing { .. } => {}
        }
    }

    fn terminate(&mut self, tree: &mut dyn Tree) {
        if tree.collect() {
            return;
        }
        // Twice: what was forked during the first look is met by the second.
        for _ in 0..2 {
            let found = self.look();
            let before = self.terminated.len();
            for stat in &found {
                if !self.terminated.contains(&stat.id()) && self.send(stat, Signal::SIGTERM, tree) {
                    self.terminated.insert(stat.id());
                    let _ = self.send(stat, Signal::SIGCONT, tree);
                }
            }
            if self.terminated.len() == before {
                break;
            }
        }
        self.stage = Stage::Grace { kill_at: Instant::now() + self.grace };
        if !self.terminated.is_empty() {
            self.signals.push("SIGTERM".to_owned());
            let text = format!("SIGTERM to {}", processes(self.terminated.len()));
            tree.say(&text);
            self.step(StopStepKind::Signalled, text);
        }
    }

    fn start_killing(&mut self, tree: &mut dyn Tree) {
        let now = Instant::now();
        self.killed_after = self.begun.map_or(Duration::ZERO, |(begun, _)| now - begun);
        self.stage = Stage::Killing { since: now, next: now };
        // Only to have seen how many there were.
        self.look();
        self.kill_pass(tree);
        if !self.killed.is_empty() {
            self.signals.push("SIGKILL".to_owned());
            let text = format!("SIGKILL to {}", processes(self.killed.len()));
            tree.say(&text);
            self.step(StopStepKind::Signalled, text);
        }
    }

    fn kill_pass(&mut self, tree: &mut dyn Tree) {
        let Stage::Killing { since, .. } = self.stage else { return };
        if !self.chase(tree) {
            for _ in 0..FREEZE_ROUNDS {
                let found = self.look();
                let fresh: Vec<&Stat> = found.iter().filter(|stat| !self.frozen.contains(&stat.id())).collect();
                if fresh.is_empty() {
                    break;
                }
                for stat in fresh {
                    let _ = self.send(stat, Signal::SIGSTOP, tree);
                    self.frozen.insert(stat.id());
                }
            }
            for stat in self.look() {
                self.kill(&stat, tree);
            }
            self.frozen.clear();
        }
        let patience = since.elapsed() / 10;
        let pause = patience.clamp(Duration::from_millis(5), Duration::from_millis(500));
        self.stage = Stage::Killing { since, next: Instant::now() + pause };
    }

    /// Kills direct children as fast as they appear. A chain of processes that fork and exit always has its youngest
    /// end among them, because orphans are handed to the supervisor at once. True when nothing is left.
    fn chase(&mut self, tree: &mut dyn Tree) -> bool {
        let end = Instant::now() + CHASE;
        let mut quiet = 0;
        loop {
            if tree.collect() {
                return true;
            }
            let living: Vec<Stat> = procfs::own_children()
                .into_iter()
                .filter_map(Stat::read)
                .filter(|stat| !stat.is_dead() && stat.ppid == self.own)
                .collect();
            let mut any_new = false;
            for stat in &living {
                any_new |= !self.killed.contains(&stat.id());
                self.kill(stat, tree);
            }
            quiet = if any_new { 0 } else { quiet + 1 };
            if quiet > 3 || Instant::now() >= end {
                return tree.collect();
            }
        }
    }

    fn kill(&mut self, stat: &Stat, tree: &dyn Tree) {
        if self.send(stat, Signal::SIGKILL, tree) {
            self.killed.insert(stat.id());
            self.seen = self.seen.max(1);
        }
    }

    fn send(&mut self, stat: &Stat, signal: Signal, tree: &dyn Tree) -> bool {
        let own = self.own;
        let sent = procfs::signal(stat.id(), signal, |stat| procfs::is_below(stat.pid, own)) == Signalled::Sent;
        if sent && tree.main() == Some(stat.pid) {
            self.main_signalled = true;
        }
        sent
    }

    /// The living processes of the tree. Some may be missing, and the wait decides; never the other way round.
    fn look(&mut self) -> Vec<Stat> {
        // A look that fails (no descriptors left) finds nothing; the wait still knows that there is something.
        let found = procfs::living_below(self.own).unwrap_or_default();
        self.seen = self.seen.max(found.len());
        found
    }

    /// The command itself has ended.
    pub(crate) fn main_ended(&mut self, how: &str) {
        if !self.is_idle() {
            self.step(StopStepKind::Exited, format!("the command: {how}"));
        }
    }

    fn step(&mut self, step: StopStepKind, detail: String) {
        self.steps.push(StopStep { step, at: now(), detail });
    }

    /// What was found, now that nothing is left.
    pub(crate) fn proof(&mut self) -> StopEvidence {
        let method = if !self.killed.is_empty() {
            StopMethod::Killed
        } else if !self.terminated.is_empty() {
            StopMethod::Terminated
        } else {
            StopMethod::Exited
        };
        let seen = self.seen.max(self.terminated.len());
        self.step(StopStepKind::Searched, "the supervisor has no child left, the system says".to_owned());
        self.step(StopStepKind::Counted, format!("0 of {} left", processes(seen)));
        self.step(StopStepKind::Confirmed, "stopped".to_owned());
        let detail = self.sentence(method);
        let stopped_at = Some(now());
        self.evidence(method, stopped_at, Some(0), detail)
    }

    /// What was found so far, while something does not die.
    pub(crate) fn doubt(&mut self) -> StopEvidence {
        let left = self.look();
        let count = left.len().max(1);
        let names: Vec<String> = left.iter().take(3).map(|stat| format!("{} ({})", stat.comm, stat.pid)).collect();
        let list = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        self.step(StopStepKind::Counted, format!("{} left", processes(count)));
        let detail = format!(
            "{} {} still there {} s after SIGKILL{list}. They may hang in the kernel, or may not be signalled.",
            processes(count),
            if count == 1 { "is" } else { "are" },
            GIVE_UP.as_secs()
        );
        let left = u32::try_from(count).ok();
        self.evidence(StopMethod::Killed, None, left, detail)
    }

    fn sentence(&self, method: StopMethod) -> String {
        let taken = |since: Option<(Instant, Timestamp)>| millis(since.map_or(Duration::ZERO, |(at, _)| at.elapsed()));
        let all_gone = format!("all were gone after {}.", taken(self.begun));
        let (terminated, killed) = (self.terminated.len(), self.killed.len());
        match method {
            StopMethod::Terminated => {
                format!("{} {} sent SIGTERM; {all_gone}", processes(terminated), were(terminated))
            }
            StopMethod::Killed if terminated > 0 => format!(
                "{} {} sent SIGTERM; {} {} killed with SIGKILL after {}; {all_gone}",
                processes(terminated),
                were(terminated),
                processes(killed),
                were(killed),
                millis(self.killed_after)
            ),
            StopMethod::Killed => format!("{} {} killed with SIGKILL; {all_gone}", processes(killed), were(killed)),
            StopMethod::Exited
            | StopMethod::NeverStarted
            | StopMethod::Remote
            | StopMethod::Provider
            | StopMethod::Lost => "Everything had exited by itself before a signal was needed.".to_owned(),
        }
    }

    fn evidence(
        &self,
        method: StopMethod,
        stopped_at: Option<Timestamp>,
        left: Option<u32>,
        detail: String,
    ) -> StopEvidence {
        StopEvidence {
            method,
            signals: self.signals.clone(),
            stopped_at,
            processes_left: left,
            processes_seen: u32::try_from(self.seen.max(self.terminated.len())).ok(),
            confirmed: stopped_at.is_some(),
            detail,
            steps: self.steps.clone(),
        }
    }
}

/// `41 ms`, `5.02 s`.
pub(crate) fn millis(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}
