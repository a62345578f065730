//! Finding processes from outside: a test puts a mark into the names of its input files (so that it is in `BELAY_FILE` of
//! everything the command starts) and a number that nobody else sleeps for into its arguments (so that a process that
//! washed its environment is found too). What `/proc` shows is the truth that the answers of the API are held against.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// One test's mark.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// Part of the input files' names.
    pub(crate) text: String,
    /// Seconds, for `sleep`: about a day, and nobody else's.
    pub(crate) nap: String,
}

/// A process that carries a mark.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Clock ticks after boot; with the pid it names one process for good.
    pub(crate) born: u64,
    pub(crate) command: String,
}

impl Mark {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let test = std::process::id();
        Mark { text: format!("belaymark-{test}-{number}-x"), nap: format!("9{number:04}.{test}7") }
    }

    /// Living processes with this mark, zombies left out.
    pub(crate) fn processes(&self) -> Vec<Found> {
        find(|line, environment| {
            line.contains(&self.nap) || line.contains(&self.text) || environment.contains(&self.text)
        })
    }

    /// Those that run over input files of the folder `label`.
    pub(crate) fn processes_over(&self, label: &str) -> Vec<Found> {
        let input = format!("/in/{label}/{}", self.text);
        find(|_, environment| environment.contains(&input))
    }

    /// Waits until nothing with this mark lives.
    pub(crate) fn wait_until_gone(&self, limit: Duration) {
        wait_for(limit, || self.processes().is_empty(), || format!("still alive: {:#?}", self.processes()));
    }
}

/// The server and those of its descendants that run its program: spawner and supervisors.
pub(crate) fn belay_tree(server: u32) -> Vec<Found> {
    let own = fs::canonicalize(env!("CARGO_BIN_EXE_belay")).unwrap();
    tree_of(server, |pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own))
}

/// The process and those below it, as far down as they are meant.
pub(crate) fn tree_of(root: u32, is_meant: impl Fn(i32) -> bool) -> Vec<Found> {
    let everything = find(|_, _| true);
    let mut tree: Vec<Found> = everything.iter().filter(|found| found.pid == root as i32).cloned().collect();
    let mut next = 0;
    while next < tree.len() {
        let parent = tree[next].pid;
        tree.extend(everything.iter().filter(|found| found.parent == parent && is_meant(found.pid)).cloned());
        next += 1;
    }
    tree
}

/// Those of `tree` that have a marked child: the supervisors of the mark's commands.
pub(crate) fn supervisors(mark: &Mark, tree: &[Found]) -> Vec<Found> {
    let marked = mark.processes();
    tree.iter().filter(|belay| marked.iter().any(|found| found.parent == belay.pid)).cloned().collect()
}

/// True while exactly this process (not another one that got its number) is there.
pub(crate) fn lives(process: &Found) -> bool {
    find(|_, _| true).iter().any(|found| found.pid == process.pid && found.born == process.born)
}

/// SIGKILL, to exactly these.
pub(crate) fn kill_all(found: &[Found]) {
    for process in found {
        // A process that went meanwhile is none the worse.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// SIGSTOP first to all and SIGKILL then: none of them gets to react to the end of another.
pub(crate) fn kill_all_at_once(found: &[Found]) {
    for process in found {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid), nix::sys::signal::Signal::SIGSTOP);
    }
    kill_all(found);
}

/// Looks every few milliseconds until `done`; for what happens outside of the API only.
pub(crate) fn wait_for(limit: Duration, mut done: impl FnMut() -> bool, complaint: impl Fn() -> String) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < limit, "waited {limit:?}: {}", complaint());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn find(is_meant: impl Fn(&str, &str) -> bool) -> Vec<Found> {
    let me = std::process::id() as i32;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if pid == me {
            continue;
        }
        let text = |name: &str| {
            fs::read(entry.path().join(name))
                .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
                .unwrap_or_default()
        };
        let (line, environment) = (text("cmdline"), text("environ"));
        if !is_meant(&line, &environment) {
            continue;
        }
        // "pid (name) state parent ...", where the name may hold anything, brackets too.
        let stat = text("stat");
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let mut fields = rest.split_whitespace();
        let state = fields.next().unwrap_or("X");
        let parent = fields.next().and_then(|field| field.parse().ok()).unwrap_or(0);
        // Field 22 of proc_pid_stat(5); 3 and 4 were taken above.
        let born = fields.nth(17).and_then(|field| field.parse().ok()).unwrap_or(0);
        if !matches!(state, "Z" | "X") {
            found.push(Found { pid, parent, born, command: line });
        }
    }
    found
}
