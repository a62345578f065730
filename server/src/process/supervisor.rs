//! The supervisor of one run: a fork of the spawner that starts the command, keeps its log, and is the ancestor of
//! everything that the command starts, until nothing of it is left.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use app::model::Timestamp;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        socket::{MsgFlags, recv},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, setsid},
};

use super::{
    MARK, StopHow, TreeCommand, TreeExit, TreeReport,
    logfile::{Lines, LogFile},
    now, report,
    stopping::{Cause, Stopping, Tree},
    sys, wire,
};

/// What is read from one stream before the others get their turn.
const READ_A_TURN: usize = 64 * 1024;
/// Sent by a new server to a supervisor that a killed one left: kill now. See [`kill_left_behind`](super::kill_left_behind).
pub(crate) const KILL_NOW: Signal = Signal::SIGUSR1;
/// What may still be in a pipe when its writers are gone.
const PIPE_BYTES: usize = 1 << 20;

/// Runs in the forked process, and returns its exit code: 0 when the report was written and sent.
pub(crate) fn run(socket: OwnedFd, lock: OwnedFd) -> i32 {
    sys::close_all_except([socket.as_raw_fd(), lock.as_raw_fd()]);
    let lock = sys::file_of(lock);
    let mut socket = UnixStream::from(socket);
    // The server is gone before it said what to run: there is nothing to run and nothing to report.
    let Ok(signals) = settle_in() else { return 1 };
    let Ok(request) = wire::Request::read(&mut socket) else { return 0 };
    let report_to = ReportTo { runs_dir: request.runs_dir, run_id: request.command.run_id, socket, lock };
    let started_at = now();
    match start(&request.command) {
        Ok(started) => Supervisor::new(request.command, started, signals, report_to, started_at).watch(),
        Err(sentence) => {
            let report = TreeReport {
                exit: TreeExit::NotStarted(sentence),
                started_at,
                ended_at: now(),
                timed_out: false,
                signalled: false,
                leftovers: 0,
                log_bytes: 0,
                stop: None,
            };
            report_to.finish(&report)
        }
    }
}

/// Own session, subreaper, no terminal, no signal but SIGCHLD and [`KILL_NOW`] noticed: nothing that is meant for others
/// ends it.
fn settle_in() -> Result<SignalFd, Errno> {
    setsid()?;
    prctl::set_child_subreaper(true)?;
    prctl::set_name(c"belay-run")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
    }
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.add(KILL_NOW);
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

struct Started {
    pid: i32,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

fn start(tree: &TreeCommand) -> Result<Started, String> {
    let Some((program, arguments)) = tree.argv.split_first() else {
        return Err("The command is empty.".to_owned());
    };
    if !tree.cwd.is_dir() {
        return Err(format!("The working directory {} does not exist.", tree.cwd.display()));
    }
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(tree.env.iter().map(|(name, value)| (name, value)))
        .env(MARK, tree.run_id.to_string())
        .current_dir(&tree.cwd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .arg0(program);
    sys::in_own_session(&mut command);
    let mut child = command.spawn().map_err(|error| why_not_started(program, &error))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("The output of the command could not be connected.".to_owned());
    };
    let (stdout, stderr) = (OwnedFd::from(stdout), OwnedFd::from(stderr));
    for stream in [&stdout, &stderr] {
        // Reading is only tried after poll said that it would not block.
        let _ = sys::set_nonblocking(stream.as_fd());
    }
    Ok(Started { pid: child.id() as i32, stdout, stderr })
}

fn why_not_started(program: &std::ffi::OsStr, error: &std::io::Error) -> String {
    let name = program.display();
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) if Path::new(program).exists() => {
            format!("The command {name} could not be started: the interpreter that it names does not exist.")
        }
        Some(Errno::ENOENT | Errno::ENOTDIR) => format!("Command not found: {name}"),
        Some(Errno::EACCES | Errno::EPERM) => format!("The command {name} is not executable, or may not be executed."),
        Some(Errno::ENOEXEC) => format!("The command {name} is no program that this machine can execute."),
        Some(Errno::E2BIG) => format!("The arguments of the command {name} are too long for the system."),
        Some(Errno::EISDIR) => format!("The command {name} is a folder."),
        Some(_) | None => format!("The command {name} could not be started: {error}"),
    }
}

/// To whom the report goes, and the lock that is released after it was written.
struct ReportTo {
    runs_dir: std::path::PathBuf,
    run_id: app::model::RunId,
    socket: UnixStream,
    lock: File,
}

impl ReportTo {
    /// Writes and sends a report; false when it could not be written (the disk is full) and nobody took it either.
    fn publish(&self, report: &TreeReport) -> bool {
        let written = report::write(&self.runs_dir, self.run_id, report, report.stop.is_some()).is_ok();
        let Ok(mut line) = serde_json::to_vec(report) else { return written };
        line.push(b'\n');
        written | (&self.socket).write_all(&line).is_ok()
    }

    fn finish(self, report: &TreeReport) -> i32 {
        let published = self.publish(report);
        // The lock first: when the server sees the end of the connection, this copy of it is closed.
        drop(self.lock);
        drop(self.socket);
        i32::from(!published)
    }
}

/// One of the two streams of the command; closed when its end was seen.
struct Output {
    stream: Option<File>,
    lines: Lines,
}

impl Output {
    /// Reads what is there, at most `limit` bytes, as log lines into `target`.
    fn read(&mut self, limit: usize, buffer: &mut [u8], target: &mut Vec<u8>) {
        let mut taken = 0;
        while taken < limit
            && let Some(stream) = self.stream.as_mut()
        {
            match stream.read(buffer) {
                Ok(0) => self.stream = None,
                Ok(length) => {
                    taken += length;
                    self.lines.take(&buffer[..length], now().0, target);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.stream = None,
            }
        }
    }
}

/// The processes of the run, as the supervisor's own children and their log.
struct Watched {
    main: i32,
    exit: Option<TreeExit>,
    log: LogFile,
}

impl Tree for Watched {
    fn collect(&mut self) -> bool {
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::StillAlive) => return false,
                Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == self.main => {
                    self.exit.get_or_insert(TreeExit::Code(code));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == self.main => {
                    self.exit.get_or_insert(TreeExit::Signal(signal as i32));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return true,
                // A real-time signal, for which `nix` has no name: the process is collected all the same.
                Err(Errno::EINVAL) => {}
                Err(_) => return false,
            }
        }
    }

    fn main(&self) -> Option<i32> {
        self.exit.is_none().then_some(self.main)
    }

    fn say(&mut self, text: &str) {
        self.log.say(text);
    }
}

struct Supervisor {
    watched: Watched,
    stopping: Stopping,
    outputs: [Output; 2],
    signals: SignalFd,
    report_to: ReportTo,
    started_at: Timestamp,
    deadline: Option<Instant>,
    leftovers: usize,
    server_gone: bool,
    told_to_kill: bool,
    doubt_told: bool,
}

impl Supervisor {
    fn new(
        command: TreeCommand,
        started: Started,
        signals: SignalFd,
        report_to: ReportTo,
        started_at: Timestamp,
    ) -> Self {
        let output = |stream, name| Output { stream: Some(sys::file_of(stream)), lines: Lines::new(name) };
        Supervisor {
            watched: Watched { main: started.pid, exit: None, log: LogFile::new(command.log) },
            stopping: Stopping::new(command.grace),
            outputs: [output(started.stdout, b'o'), output(started.stderr, b'e')],
            signals,
            report_to,
            started_at,
            deadline: command.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            leftovers: 0,
            server_gone: false,
            told_to_kill: false,
            doubt_told: false,
        }
    }

    fn watch(mut self) -> i32 {
        let mut buffer = vec![0_u8; READ_A_TURN];
        let mut lines = Vec::new();
        let mut main_told = false;
        loop {
            let none_left = self.watched.collect();
            if let Some(exit) = &self.watched.exit
                && !main_told
            {
                self.stopping.main_ended(&exit_words(exit));
                main_told = true;
            }
            if none_left {
                break;
            }
            if main_told && self.stopping.is_idle() {
                self.stopping.begin(StopHow::Graceful, Cause::Leftovers, &mut self.watched);
                self.leftovers = self.stopping.seen();
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.deadline = None;
                if !main_told && self.stopping.is_idle() {
                    self.watched.say("the run takes longer than it may");
                    self.stopping.begin(StopHow::Graceful, Cause::TimedOut, &mut self.watched);
                }
            }
            self.stopping.turn(&mut self.watched);
            if self.stopping.is_hopeless() && !self.doubt_told {
                self.doubt_told = true;
                let doubt = self.stopping.doubt();
                self.report_to.publish(&self.report(Some(doubt)));
            }
            self.wait();
            self.take_orders();
            for output in &mut self.outputs {
                output.read(READ_A_TURN, &mut buffer, &mut lines);
            }
            self.watched.log.append(&lines);
            lines.clear();
        }
        for output in &mut self.outputs {
            output.read(PIPE_BYTES, &mut buffer, &mut lines);
            output.lines.finish(now().0, &mut lines);
        }
        self.watched.log.append(&lines);
        // An order that came in the last moment is answered, too.
        self.take_orders();
        let proof = (self.stopping.is_wanted() || self.doubt_told).then(|| self.stopping.proof());
        let report = self.report(proof);
        self.report_to.finish(&report)
    }

    /// Sleeps until there is an order, output, the end of a child, or something due.
    fn wait(&mut self) {
        let due = [self.stopping.wake_at(), self.deadline].into_iter().flatten().min();
        let timeout = due.map_or(PollTimeout::from(60_000_u16), |due| {
            // Rounded up: a poll that ends just before its time would be repeated for nothing.
            let left = due.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::from(60_000_u16))
        });
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if !self.server_gone {
            fds.push(PollFd::new(self.report_to.socket.as_fd(), PollFlags::POLLIN));
        }
        for output in &self.outputs {
            if let Some(stream) = &output.stream {
                fds.push(PollFd::new(stream.as_fd(), PollFlags::POLLIN));
            }
        }
        // An error (interrupted) only means to look again.
        let _ = poll(&mut fds, timeout);
        while let Ok(Some(signal)) = self.signals.read_signal() {
            self.told_to_kill |= signal.ssi_signo == KILL_NOW as u32;
        }
    }

    fn take_orders(&mut self) {
        if !self.server_gone {
            self.take_orders_of_server();
        }
        // As long as the server lives the signal can only come from the tree, which has nothing to order.
        if std::mem::take(&mut self.told_to_kill) && self.server_gone {
            self.stopping.begin(StopHow::Kill, Cause::Asked, &mut self.watched);
        }
    }

    fn take_orders_of_server(&mut self) {
        let mut orders = [0_u8; 16];
        let received = recv(self.report_to.socket.as_raw_fd(), &mut orders, MsgFlags::MSG_DONTWAIT);
        match received {
            Ok(0) => {
                self.server_gone = true;
                self.stopping.begin(StopHow::Graceful, Cause::ServerGone, &mut self.watched);
            }
            Ok(length) => {
                let how = if orders[..length].contains(&wire::KILL) { StopHow::Kill } else { StopHow::Graceful };
                self.stopping.begin(how, Cause::Asked, &mut self.watched);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.server_gone = true;
                self.stopping.begin(StopHow::Graceful, Cause::ServerGone, &mut self.watched);
            }
        }
    }

    fn report(&self, stop: Option<app::model::StopEvidence>) -> TreeReport {
        TreeReport {
            exit: self.watched.exit.clone().unwrap_or(TreeExit::Lost),
            started_at: self.started_at,
            ended_at: now(),
            timed_out: self.stopping.timed_out(),
            signalled: self.stopping.main_signalled(),
            leftovers: u32::try_from(self.leftovers).unwrap_or(u32::MAX),
            log_bytes: self.watched.log.kept(),
            stop,
        }
    }
}

fn exit_words(exit: &TreeExit) -> String {
    match exit {
        TreeExit::Code(code) => format!("exit {code}"),
        TreeExit::Signal(signal) => format!("signal {signal}"),
        TreeExit::NotStarted(sentence) => sentence.clone(),
        TreeExit::Lost => "not known".to_owned(),
    }
}
