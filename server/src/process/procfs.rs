//! What `/proc` says about processes, and signals that reach exactly the process that was meant.
//!
//! A process is known by its number *and* its start time: a number alone may have been given to somebody else.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt,
};

use nix::{
    errno::Errno,
    sys::signal::Signal,
    time::{ClockId, clock_gettime},
};

use super::sys::{PidFd, ticks_per_second};

const PF_KTHREAD: u64 = 0x0020_0000;

/// One line of `/proc/<pid>/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) comm: String,
    /// `R`, `S`, `D`, `T`, `Z`, ...
    pub(crate) state: char,
    pub(crate) ppid: i32,
    pub(crate) session: i32,
    pub(crate) kernel_thread: bool,
    pub(crate) threads: i64,
    /// Clock ticks since the machine was started.
    pub(crate) started: u64,
}

impl Stat {
    /// `None` when there is no such process (any more).
    pub(crate) fn read(pid: i32) -> Option<Stat> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Stat::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Option<Stat> {
        // The name is in brackets and may itself hold brackets and spaces: everything after the last one counts.
        let (head, rest) = text.rsplit_once(')')?;
        let (pid, comm) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<i64>().ok());
        Some(Stat {
            pid: pid.trim().parse().ok()?,
            comm: comm.to_owned(),
            state: fields.first()?.chars().next()?,
            ppid: number(1)? as i32,
            session: number(3)? as i32,
            kernel_thread: number(6)? as u64 & PF_KTHREAD != 0,
            threads: number(17)?,
            started: number(19)? as u64,
        })
    }

    /// Ended, and only waits to be collected by its parent. (A process whose first thread has ended while others go on
    /// is shown as a zombie, too.)
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x') && self.threads <= 1
    }

    pub(crate) fn id(&self) -> ProcessId {
        ProcessId { pid: self.pid, started: self.started }
    }
}

/// One process, for good: its number and when it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    pub(crate) started: u64,
}

/// All processes that can be seen, by number.
pub(crate) fn all() -> io::Result<HashMap<i32, Stat>> {
    let mut found = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some(stat) = Stat::read(pid) {
            found.insert(pid, stat);
        }
    }
    Ok(found)
}

/// Those of `processes` that have one of `roots` above them; not the roots themselves.
pub(crate) fn below<'a>(processes: &'a HashMap<i32, Stat>, roots: &HashSet<i32>) -> Vec<&'a Stat> {
    let mut children: HashMap<i32, Vec<&Stat>> = HashMap::new();
    for stat in processes.values() {
        children.entry(stat.ppid).or_default().push(stat);
    }
    let mut seen = roots.clone();
    let mut open: Vec<i32> = roots.iter().copied().collect();
    let mut found = Vec::new();
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(child.pid) {
                open.push(child.pid);
                found.push(*child);
            }
        }
    }
    found
}

/// The living processes below `root`, parents not necessarily before their children.
pub(crate) fn living_below(root: i32) -> io::Result<Vec<Stat>> {
    let processes = all()?;
    Ok(below(&processes, &HashSet::from([root])).into_iter().filter(|stat| !stat.is_dead()).cloned().collect())
}

/// Direct children of this process, dead ones included. Much cheaper than [`all`]; a child that comes or goes during
/// the read may be missed, so an empty answer proves nothing.
pub(crate) fn own_children() -> Vec<i32> {
    let mut found = Vec::new();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return found };
    for task in tasks.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(text) => found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok())),
            Err(_) => {
                // A kernel without CONFIG_PROC_CHILDREN.
                let own = std::process::id() as i32;
                return all().map_or_else(
                    |_| Vec::new(),
                    |processes| processes.values().filter(|stat| stat.ppid == own).map(|stat| stat.pid).collect(),
                );
            }
        }
    }
    found
}

/// Looks up the parents of `pid` until `root` is met.
pub(crate) fn is_below(pid: i32, root: i32) -> bool {
    let mut current = pid;
    for _ in 0..10_000 {
        match Stat::read(current) {
            Some(stat) if stat.ppid == root => return true,
            Some(stat) if stat.ppid > 1 => current = stat.ppid,
            Some(_) | None => return false,
        }
    }
    false
}

/// What a process's environment says of the mark of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It carries the mark of the run with this id.
    Run(String),
    /// It carries none.
    None,
    /// Its environment may not be read, or it is just being started or ending.
    Unreadable,
}

/// Reads the environment with which `pid` was started.
pub(crate) fn mark_of(pid: i32) -> Mark {
    let Ok(mut environment) = fs::read(format!("/proc/{pid}/environ")) else { return Mark::Unreadable };
    if environment.is_empty() {
        // Its first thread may have ended before the others, which still have it.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        environment = threads
            .filter_map(|thread| fs::read(thread.path().join("environ")).ok())
            .find(|environment| !environment.is_empty())
            .unwrap_or_default();
    }
    let prefix = format!("{}=", super::MARK);
    for entry in environment.split(|byte| *byte == 0) {
        if let Some(run) = entry.strip_prefix(prefix.as_bytes()) {
            return Mark::Run(String::from_utf8_lossy(run).into_owned());
        }
    }
    Mark::None
}

/// Whether a process blocks a signal (in its first thread): it then never acts on it unless it asks for it.
pub(crate) fn blocks(pid: i32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << (signal as i32 - 1)) != 0)
}

/// Whether a process has the file with this device and inode number open.
pub(crate) fn has_open(pid: i32, file: (u64, u64)) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|descriptor| fs::metadata(descriptor.path()).ok())
        .any(|metadata| (metadata.dev(), metadata.ino()) == file)
}

/// Result of an attempt to signal one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signalled {
    Sent,
    /// It is gone, or its number belongs to another process now: nothing was sent.
    Gone,
    /// The system refused.
    Refused,
}

/// Signals `target` if, looked at through a descriptor that cannot change its meaning, it is still that very process
/// and `still_meant` holds. A process that got the number in the meantime is never signalled.
pub(crate) fn signal(target: ProcessId, signal: Signal, still_meant: impl Fn(&Stat) -> bool) -> Signalled {
    let pidfd = match PidFd::open(target.pid) {
        Ok(pidfd) => pidfd,
        Err(Errno::ESRCH | Errno::EINVAL) => return Signalled::Gone,
        Err(_) => return Signalled::Refused,
    };
    // The descriptor is bound now. If the process that has the number *now* is the one meant, so is the descriptor's:
    // had that ended before, the number could only be in other hands with another start time.
    match Stat::read(target.pid) {
        Some(stat) if stat.started == target.started && !stat.is_dead() && still_meant(&stat) => {}
        Some(_) | None => return Signalled::Gone,
    }
    match pidfd.signal(signal as i32) {
        Ok(()) => Signalled::Sent,
        Err(Errno::ESRCH) => Signalled::Gone,
        Err(_) => Signalled::Refused,
    }
}

/// A new value at every start of the machine.
pub(crate) fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}

/// The control groups of a process, as text; `None` when they cannot be read.
pub(crate) fn cgroup(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()
}

/// Which process number space this process is in; `None` when that cannot be read.
pub(crate) fn pid_namespace() -> Option<String> {
    fs::read_link("/proc/self/ns/pid").ok().map(|link| link.display().to_string())
}

/// Clock ticks since the machine was started.
pub(crate) fn ticks_now() -> u64 {
    let Ok(now) = clock_gettime(ClockId::CLOCK_BOOTTIME) else { return 0 };
    let ticks = ticks_per_second();
    now.tv_sec() as u64 * ticks + now.tv_nsec() as u64 * ticks / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let zombie = |threads: i64| Stat { state: 'Z', threads, ..Stat::read(std::process::id() as i32).unwrap() };
        assert!(zombie(1).is_dead() && !zombie(2).is_dead());
        let line = "42 (a) S (b) T 7 42 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.pid, stat.comm.as_str(), stat.state), (42, "a) S (b", 'T'));
        assert_eq!((stat.ppid, stat.session, stat.started, stat.kernel_thread), (7, 41, 987, false));
    }

    #[test]
    fn a_number_that_was_given_to_another_process_is_never_signalled() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let now = Stat::read(child.id() as i32).unwrap();
        // What we remember had the same number and another start time: it is gone, and somebody else has its number.
        let remembered = ProcessId { pid: now.pid, started: now.started - 1 };
        assert_eq!(signal(remembered, Signal::SIGKILL, |_| true), Signalled::Gone);
        // The right process that no longer is what we look for (it left the tree) is spared as well.
        assert_eq!(signal(now.id(), Signal::SIGKILL, |_| false), Signalled::Gone);
        assert!(child.try_wait().unwrap().is_none(), "the bystander lives");
        assert_eq!(signal(now.id(), Signal::SIGTERM, |stat| stat.ppid == std::process::id() as i32), Signalled::Sent);
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert_eq!(signal(now.id(), Signal::SIGTERM, |_| true), Signalled::Gone);
    }

    #[test]
    fn the_mark_is_read_from_the_environment() {
        let mut child = Command::new("sleep").arg("60").env(super::super::MARK, "abc").spawn().unwrap();
        let pid = child.id() as i32;
        while mark_of(pid) != Mark::Run("abc".to_owned()) {
            std::thread::yield_now();
        }
        assert!(is_below(pid, std::process::id() as i32));
        assert!(own_children().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
