//! The helper process that forks supervisors, and looks after what a killed supervisor leaves.
//!
//! It has one thread and little memory, so a fork of it is cheap and may run ordinary code. For every supervisor it
//! keeps a copy of the run's lock until the supervisor has ended, and, if that was not by itself, until what it left
//! behind is gone and the report is written.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::File,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use app::model::{RunId, StopEvidence, StopMethod, StopStep, StopStepKind, Timestamp};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getppid, setsid},
};

use super::{
    TreeExit, TreeReport, now, processes,
    procfs::{self, ProcessId, Signalled, Stat},
    report,
    stopping::{GIVE_UP, millis},
    supervisor, sys, were,
};

/// The argument with which the program only tells to whom orphans go.
pub(crate) const PROBE_ARGUMENT: &str = "--probe";
/// The name under which the spawner is seen in a process list.
pub(crate) const SPAWNER_NAME: &str = "belay-spawner";
/// The name under which supervisors are seen.
pub(crate) const SUPERVISOR_NAME: &str = "belay-run";

/// Looks after orphans so many times without meeting one before it believes that none is left.
const CLEAN_LOOKS: u32 = 3;

/// The whole life of the helper. Call it from `main` when the first argument is
/// [`SPAWNER_ARGUMENT`](super::SPAWNER_ARGUMENT), before any thread or runtime exists.
pub fn spawner_main() -> ! {
    let argument = std::env::args_os().nth(2);
    let code = match argument {
        Some(argument) if argument == OsStr::new(PROBE_ARGUMENT) => probe(),
        Some(runs_dir) => match serve(PathBuf::from(runs_dir)) {
            Ok(()) => 0,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "belay spawner: {error}");
                1
            }
        },
        None => 2,
    };
    std::process::exit(code)
}

/// Prints which process becomes the parent of an orphan.
fn probe() -> i32 {
    let before = std::process::id() as i32;
    let forked = sys::fork_single_threaded(|| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while getppid().as_raw() == before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(200));
        }
        let told = writeln!(std::io::stdout(), "{}", getppid());
        i32::from(told.is_err())
    });
    i32::from(forked.is_err())
}

fn serve(runs_dir: PathBuf) -> std::io::Result<()> {
    let server = sys::take_standard_input();
    // Ctrl-C in the server's terminal is for the server.
    let _ = setsid();
    prctl::set_child_subreaper(true)?;
    prctl::set_name(c"belay-spawner")?;
    sys::reset_signal_actions();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let spawner = Spawner { runs_dir, signals, runs: HashMap::new(), sweep: None };
    spawner.serve(server)
}

/// A run whose supervisor lives.
struct Run {
    run_id: RunId,
    started_at: Timestamp,
    /// Keeps the run's lock.
    _lock: File,
}

/// The killing of what dead supervisors left.
struct Sweep {
    since: Instant,
    runs: Vec<(Run, String)>,
    killed: HashSet<ProcessId>,
    clean_looks: u32,
    doubt_told: bool,
}

struct Spawner {
    runs_dir: PathBuf,
    signals: SignalFd,
    /// By the process number of the supervisor.
    runs: HashMap<i32, Run>,
    sweep: Option<Sweep>,
}

impl Spawner {
    fn serve(mut self, server: OwnedFd) -> std::io::Result<()> {
        let mut server = Some(server);
        loop {
            while let Ok(Some(_)) = self.signals.read_signal() {}
            self.collect();
            self.sweep();
            if server.is_none() && self.runs.is_empty() && self.sweep.is_none() {
                return Ok(());
            }
            let ready = self.wait(server.as_ref());
            if let Some(socket) = server.as_ref()
                && ready
            {
                match sys::receive_packet(socket.as_fd()) {
                    Ok(Some(packet)) => self.start(packet),
                    Ok(None) => server = None,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => server = None,
                }
            }
        }
    }

    /// Sleeps until something is to be done; true when the server has sent something, or is gone.
    fn wait(&self, server: Option<&OwnedFd>) -> bool {
        let timeout = match &self.sweep {
            Some(sweep) => PollTimeout::from((sweep.since.elapsed().as_millis() / 10).clamp(2, 500) as u16),
            None => PollTimeout::NONE,
        };
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(server.map(|server| PollFd::new(server.as_fd(), PollFlags::POLLIN)));
        poll(&mut fds, timeout).is_ok() && fds.get(1).and_then(PollFd::any).unwrap_or(false)
    }

    fn start(&mut self, packet: sys::Packet) {
        let Ok(id) = <[u8; 16]>::try_from(packet.bytes.as_slice()) else { return };
        let Ok([socket, lock]) = <[OwnedFd; 2]>::try_from(packet.fds) else { return };
        let run_id = RunId(u128::from_le_bytes(id));
        let Ok(kept) = lock.try_clone() else { return };
        let run = Run { run_id, started_at: now(), _lock: File::from(kept) };
        let Ok(answer) = socket.try_clone() else { return };
        match sys::fork_single_threaded(move || supervisor::run(socket, lock)) {
            Ok(pid) => {
                self.runs.insert(pid.as_raw(), run);
            }
            Err(error) => self.not_forked(&run, answer, &error),
        }
    }

    fn not_forked(&self, run: &Run, answer: OwnedFd, error: &std::io::Error) {
        let sentence = format!("The system could not start another process: {error}");
        let report = report_of(run, TreeExit::NotStarted(sentence), None);
        let _ = report::write(&self.runs_dir, run.run_id, &report, false);
        if let Ok(mut line) = serde_json::to_vec(&report) {
            line.push(b'\n');
            let _ = UnixStream::from(answer).write_all(&line);
        }
    }

    /// Collects what has ended. A supervisor that did not end by itself makes its run one to clear up after.
    fn collect(&mut self) {
        loop {
            let (pid, how) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, 0)) => (pid, None),
                Ok(WaitStatus::Exited(pid, code)) => (pid, Some(format!("exit {code}"))),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Some(format!("signal {}", signal as i32))),
                Err(Errno::EINTR) => continue,
                Ok(_) | Err(_) => return,
            };
            if let Some(run) = self.runs.remove(&pid.as_raw())
                && let Some(how) = how
            {
                let sweep = self.sweep.get_or_insert_with(|| Sweep {
                    since: Instant::now(),
                    runs: Vec::new(),
                    killed: HashSet::new(),
                    clean_looks: 0,
                    doubt_told: false,
                });
                sweep.clean_looks = 0;
                sweep.runs.push((run, how));
            }
        }
    }

    /// Kills every child that is not a supervisor, and everything below: only a dead supervisor's orphans become
    /// children of the spawner.
    fn sweep(&mut self) {
        let Some(mut sweep) = self.sweep.take() else { return };
        let deadline = Instant::now() + Duration::from_millis(20);
        loop {
            let orphans = self.orphans();
            if orphans.is_empty() {
                sweep.clean_looks += 1;
            } else {
                sweep.clean_looks = 0;
                self.kill(&orphans, &mut sweep);
            }
            self.sweep = Some(sweep);
            self.collect();
            let Some(back) = self.sweep.take() else { return };
            sweep = back;
            if sweep.clean_looks >= CLEAN_LOOKS || Instant::now() >= deadline {
                break;
            }
        }
        if sweep.clean_looks >= CLEAN_LOOKS {
            for (run, how) in &sweep.runs {
                let evidence = proof(&sweep, how);
                let _ =
                    report::write(&self.runs_dir, run.run_id, &report_of(run, TreeExit::Lost, Some(evidence)), true);
            }
            return;
        }
        if sweep.since.elapsed() >= GIVE_UP && !sweep.doubt_told {
            sweep.doubt_told = true;
            let left = self.orphans().len();
            for (run, how) in &sweep.runs {
                let evidence = doubt(&sweep, how, left);
                let _ =
                    report::write(&self.runs_dir, run.run_id, &report_of(run, TreeExit::Lost, Some(evidence)), true);
            }
        }
        self.sweep = Some(sweep);
    }

    /// Living processes below the spawner that no supervisor looks after. Dead ones that are not collected yet count
    /// while they are direct children: their own children are about to be handed over.
    fn orphans(&self) -> Vec<Stat> {
        let own = std::process::id() as i32;
        let direct: Vec<i32> = procfs::own_children().into_iter().filter(|pid| !self.runs.contains_key(pid)).collect();
        let Ok(all) = procfs::all() else { return direct.into_iter().filter_map(Stat::read).collect() };
        let roots: HashSet<i32> = all
            .values()
            .filter(|stat| stat.ppid == own)
            .map(|stat| stat.pid)
            .chain(direct)
            .filter(|pid| !self.runs.contains_key(pid))
            .collect();
        let mut found: Vec<Stat> = roots.iter().filter_map(|pid| Stat::read(*pid)).collect();
        found.extend(procfs::below(&all, &roots).into_iter().filter(|stat| !stat.is_dead()).cloned());
        found
    }

    fn kill(&self, orphans: &[Stat], sweep: &mut Sweep) {
        let own = std::process::id() as i32;
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            for stat in orphans {
                let sent = procfs::signal(stat.id(), signal, |stat| procfs::is_below(stat.pid, own));
                if signal == Signal::SIGKILL && sent == Signalled::Sent {
                    sweep.killed.insert(stat.id());
                }
            }
        }
    }
}

fn report_of(run: &Run, exit: TreeExit, stop: Option<StopEvidence>) -> TreeReport {
    TreeReport {
        exit,
        started_at: run.started_at,
        ended_at: now(),
        timed_out: false,
        signalled: stop.as_ref().is_some_and(|stop| !stop.signals.is_empty()),
        leftovers: 0,
        log_bytes: 0,
        stop,
    }
}

fn proof(sweep: &Sweep, how: &str) -> StopEvidence {
    let killed = sweep.killed.len();
    let taken = millis(sweep.since.elapsed());
    let found = if killed == 0 {
        "It left nothing behind.".to_owned()
    } else {
        format!("{} that it left {} killed; all were gone after {taken}.", processes(killed), were(killed))
    };
    let mut evidence = evidence(sweep, how, format!("The supervisor of the run ended ({how}). {found}"));
    evidence.stopped_at = Some(now());
    evidence.processes_left = Some(0);
    evidence.confirmed = true;
    evidence.steps.push(step(StopStepKind::Counted, format!("0 of {} left", processes(killed))));
    evidence.steps.push(step(StopStepKind::Confirmed, "stopped".to_owned()));
    evidence
}

fn doubt(sweep: &Sweep, how: &str, left: usize) -> StopEvidence {
    let sentence = format!(
        "The supervisor of the run ended ({how}). {} that it left {} still there {} s after SIGKILL.",
        processes(left),
        if left == 1 { "is" } else { "are" },
        GIVE_UP.as_secs()
    );
    let mut evidence = evidence(sweep, how, sentence);
    evidence.processes_left = u32::try_from(left).ok();
    evidence.steps.push(step(StopStepKind::Counted, format!("{} left", processes(left))));
    evidence
}

fn evidence(sweep: &Sweep, how: &str, detail: String) -> StopEvidence {
    let killed = sweep.killed.len();
    let mut steps = vec![step(StopStepKind::Exited, format!("the supervisor: {how}"))];
    let mut signals = Vec::new();
    if killed > 0 {
        signals.push("SIGKILL".to_owned());
        steps.push(step(StopStepKind::Signalled, format!("SIGKILL to {}", processes(killed))));
    }
    steps.push(step(StopStepKind::Searched, "what became children of the spawner".to_owned()));
    StopEvidence {
        method: if killed > 0 { StopMethod::Killed } else { StopMethod::Lost },
        signals,
        stopped_at: None,
        processes_left: None,
        processes_seen: u32::try_from(killed).ok(),
        confirmed: false,
        detail,
        steps,
    }
}

fn step(step: StopStepKind, detail: String) -> StopStep {
    StopStep { step, at: now(), detail }
}
