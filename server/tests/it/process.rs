//! Process trees: real shells, real signals, and `/proc` as the judge.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use app::model::{LogStream, RunId, StopEvidence, StopMethod, Timestamp};
use belay_server::process::{
    MARK, Recovered, Spawner, StopHow, Tree, TreeCommand, TreeExit, TreeReport, forget, kill_left_behind, log, recover,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_belay");

/// A spawner with a folder of its own. Every tree gets a word of its own as an argument of its processes, so that also
/// those without a mark are found.
struct Stage {
    dir: tempfile::TempDir,
    spawner: Spawner,
}

impl Stage {
    async fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let spawner = Spawner::start_with(Path::new(PROGRAM), &dir.path().join("runs")).await.unwrap();
        Stage { dir, spawner }
    }

    fn runs(&self) -> PathBuf {
        self.dir.path().join("runs")
    }

    fn command(&self, run_id: RunId, argv: &[&str]) -> TreeCommand {
        TreeCommand {
            run_id,
            argv: argv.iter().map(Into::into).collect(),
            env: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
            cwd: self.dir.path().to_owned(),
            log: self.dir.path().join("logs").join(format!("{run_id}.log")),
            grace: Duration::from_secs(5),
            timeout: None,
        }
    }

    async fn launch(&self, run_id: RunId, script: &str) -> Tree {
        self.spawner.launch(self.bash(run_id, script)).await.unwrap()
    }

    /// A script in which `$tag` is the word of the run; `say` tells the test that it has come so far.
    fn bash(&self, run_id: RunId, script: &str) -> TreeCommand {
        let script = format!("say() {{ echo \"$1\" >> {}; }}\n{script}", self.said(run_id).display());
        let mut command = self.command(run_id, &["bash", "-c", &script, &tag(run_id)]);
        command.env.push(("tag".into(), tag(run_id).into()));
        command
    }

    fn said(&self, run_id: RunId) -> PathBuf {
        self.dir.path().join(format!("{}.said", tag(run_id)))
    }

    /// Waits until the script has said `word` so many times.
    async fn until_said(&self, run_id: RunId, word: &str, times: usize) {
        let path = self.said(run_id);
        until(&format!("{word} x {times}"), || {
            fs::read_to_string(&path).unwrap_or_default().lines().filter(|line| *line == word).count() >= times
        })
        .await;
    }

    fn texts(&self, run_id: RunId) -> Vec<String> {
        let path = self.dir.path().join("logs").join(format!("{run_id}.log"));
        log::read(&path, None, 1_000, log::Wanted::all(0)).unwrap().items.into_iter().map(|line| line.text).collect()
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

fn new_run() -> RunId {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    RunId((u128::from(std::process::id()) << 64) | u128::from(number) | (0xbe1a << 112))
}

fn tag(run_id: RunId) -> String {
    format!("tag{run_id}")
}

fn now() -> Timestamp {
    Timestamp(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Living processes that carry the run's mark in their environment or its word in their arguments.
fn living(run_id: RunId) -> Vec<(i32, String)> {
    let mark = format!("{MARK}={run_id}");
    let tag = tag(run_id);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let environ = read("environ");
        let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let marked = environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes());
        if marked || arguments.contains(&tag) {
            found.push((pid, arguments));
        }
    }
    found
}

fn pids(run_id: RunId) -> HashSet<i32> {
    living(run_id).into_iter().map(|(pid, _)| pid).collect()
}

fn field(pid: i32, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(index).map(str::to_owned)
}

fn parent(pid: i32) -> i32 {
    field(pid, 1).unwrap().parse().unwrap()
}

/// The supervisor above one process of a run.
fn supervisor_of(run_id: RunId) -> i32 {
    let mut pid = living(run_id).first().expect("something runs").0;
    loop {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        if name.trim() == "belay-run" && !pids(run_id).contains(&pid) {
            return pid;
        }
        pid = parent(pid);
    }
}

fn kill(pid: i32, signal: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap().success());
}

/// Nothing is left, and the evidence says so.
fn assert_proven(run_id: RunId, report: &TreeReport) {
    let stop = report.stop.as_ref().expect("a stop leaves evidence");
    assert!(stop.confirmed, "{stop:?}");
    assert_eq!(stop.processes_left, Some(0), "{stop:?}");
    assert!(stop.stopped_at.is_some());
    assert_eq!(living(run_id), [], "{stop:?}");
}

async fn stop(tree: Tree, how: StopHow) -> TreeReport {
    tree.stop(how);
    tokio::time::timeout(Duration::from_secs(60), tree.wait()).await.expect("an answer").unwrap()
}

#[tokio::test]
async fn a_command_runs_and_its_output_exit_code_and_environment_are_as_asked() {
    let stage = Stage::new().await;
    let run = new_run();
    let tree = stage.launch(run, "echo out; echo err >&2; echo \"$BELAY_RUN\"; env | wc -l; printf open; exit 7").await;
    let report = tree.wait().await.unwrap();
    assert_eq!((&report.exit, report.leftovers, &report.stop), (&TreeExit::Code(7), 0, &None));
    let path = stage.dir.path().join("logs").join(format!("{run}.log"));
    let page = log::read(&path, None, 100, log::Wanted::all(3)).unwrap();
    let of = |stream| page.items.iter().filter(move |line| line.stream == stream).map(|line| line.text.as_str());
    assert_eq!(of(LogStream::Stderr).collect::<Vec<_>>(), ["err"]);
    let out: Vec<_> = of(LogStream::Stdout).collect();
    assert_eq!((out[0], out[1], out[3]), ("out", run.to_string().as_str(), "open"));
    // PATH, tag, BELAY_RUN; PWD, SHLVL and _ are bash's own.
    assert_eq!(out[2].trim(), "6");
    assert_eq!(report.log_bytes, log::size(&path));
    assert!(
        matches!(recover(&stage.runs(), run, now(), Duration::from_secs(5), || StopHow::Graceful).await.unwrap(), Recovered::Report(r) if r == report)
    );
    forget(&stage.runs(), run);
    assert_eq!(fs::read_dir(stage.runs()).unwrap().flatten().filter(|entry| entry.file_name() != "boots").count(), 0);
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_told_in_a_sentence() {
    let stage = Stage::new().await;
    let plain = stage.dir.path().join("plain");
    fs::write(&plain, "no program").unwrap();
    let plain = plain.to_str().unwrap().to_owned();
    for (argv, expected) in [
        (vec!["no-such-command-anywhere"], "Command not found: no-such-command-anywhere"),
        (vec![plain.as_str()], "is not executable"),
        (vec![], "The command is empty."),
        (vec!["/tmp"], "is not executable"),
    ] {
        let tree = stage.spawner.launch(stage.command(new_run(), &argv)).await.unwrap();
        match tree.wait().await.unwrap().exit {
            TreeExit::NotStarted(sentence) => assert!(sentence.contains(expected), "{sentence}"),
            other => panic!("{argv:?}: {other:?}"),
        }
    }
    let mut command = stage.command(new_run(), &["true"]);
    command.cwd = stage.dir.path().join("gone");
    let report = stage.spawner.launch(command).await.unwrap().wait().await.unwrap();
    assert!(matches!(report.exit, TreeExit::NotStarted(sentence) if sentence.contains("working directory")));
}

#[tokio::test]
async fn a_shell_with_background_children_is_gone_after_sigterm() {
    let stage = Stage::new().await;
    let run = new_run();
    let tree = stage.launch(run, "sleep 600 & (exec -a $tag sleep 600) & say up; wait").await;
    stage.until_said(run, "up", 1).await;
    until("three processes", || living(run).len() >= 3).await;
    let report = stop(tree, StopHow::Graceful).await;
    assert_proven(run, &report);
    let stop = report.stop.unwrap();
    assert_eq!((stop.method, stop.signals.as_slice()), (StopMethod::Terminated, ["SIGTERM".to_owned()].as_slice()));
    assert!(stop.processes_seen >= Some(3), "{stop:?}");
    assert!(stop.detail.contains("sent SIGTERM; all were gone after"), "{}", stop.detail);
    assert!(report.signalled);
    assert_eq!(report.exit, TreeExit::Signal(15));
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_killed_after_the_grace_period_and_not_before() {
    let stage = Stage::new().await;
    let run = new_run();
    let mut command = stage.bash(run, "trap '' TERM; say up; while :; do sleep 1; done");
    command.grace = Duration::from_millis(400);
    let tree = stage.spawner.launch(command).await.unwrap();
    stage.until_said(run, "up", 1).await;
    let begun = Instant::now();
    let report = stop(tree, StopHow::Graceful).await;
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert_proven(run, &report);
    let stop = report.stop.unwrap();
    assert_eq!((stop.method, stop.signals.join(" ")), (StopMethod::Killed, "SIGTERM SIGKILL".to_owned()));
    assert_eq!(report.exit, TreeExit::Signal(9));
}

#[tokio::test]
async fn kill_now_does_not_wait_for_the_grace_period_also_when_it_has_begun() {
    let stage = Stage::new().await;
    for graceful_first in [false, true] {
        let run = new_run();
        let mut command = stage.bash(run, "trap 'say term' TERM; say up; while :; do sleep 0.05; done");
        command.grace = Duration::from_secs(600);
        let tree = stage.spawner.launch(command).await.unwrap();
        stage.until_said(run, "up", 1).await;
        if graceful_first {
            tree.stop(StopHow::Graceful);
            stage.until_said(run, "term", 1).await;
        }
        let report = stop(tree, StopHow::Kill).await;
        assert_proven(run, &report);
        let stop = report.stop.unwrap();
        assert_eq!(stop.method, StopMethod::Killed);
        assert_eq!(stop.signals.first().map(String::as_str), Some(if graceful_first { "SIGTERM" } else { "SIGKILL" }));
    }
}

#[tokio::test]
async fn a_daemon_in_its_own_session_with_another_name_and_a_cleaned_environment_is_found() {
    let stage = Stage::new().await;
    for daemon in [
        "(setsid bash -c '(say() { :; }; exec -a $0 sleep 600) &' $tag &)",
        "setsid env -i bash -c 'exec -a $0 sleep 600' $tag & disown",
        "(trap '' TERM HUP; setsid nohup bash -c 'exec -a $0 sleep 600' $tag >/dev/null 2>&1 </dev/null &)",
    ] {
        let run = new_run();
        let mut command = stage.bash(run, &format!("{daemon}\nsay up; sleep 600"));
        command.grace = Duration::from_millis(300);
        let tree = stage.spawner.launch(command).await.unwrap();
        stage.until_said(run, "up", 1).await;
        until("the daemon", || {
            living(run).iter().any(|(pid, arguments)| {
                arguments.starts_with(&tag(run)) && field(*pid, 3) != field(supervisor_of(run), 3)
            })
        })
        .await;
        let report = stop(tree, StopHow::Graceful).await;
        assert_proven(run, &report);
    }
}

#[tokio::test]
async fn a_process_whose_first_thread_has_ended_is_no_zombie() {
    let stage = Stage::new().await;
    let run = new_run();
    if Command::new("python3").arg("-V").output().is_err() {
        return;
    }
    let program = "import ctypes, sys, threading, time\n\
                   threading.Thread(target=lambda: time.sleep(600)).start()\n\
                   ctypes.CDLL(None).pthread_exit(None)";
    let mut command = stage.command(run, &["python3", "-c", program, &tag(run)]);
    command.grace = Duration::from_millis(100);
    let tree = stage.spawner.launch(command).await.unwrap();
    let first_thread_ended =
        |pid: &i32| field(*pid, 0).as_deref() == Some("Z") && field(*pid, 17).as_deref() == Some("2");
    let known = std::cell::RefCell::new(HashSet::new());
    until("the first thread has ended", || {
        known.borrow_mut().extend(pids(run));
        known.borrow().iter().any(first_thread_ended)
    })
    .await;
    let process = known.borrow().iter().copied().find(first_thread_ended).unwrap();
    let report = stop(tree, StopHow::Graceful).await;
    assert_proven(run, &report);
    assert!(report.stop.unwrap().signals.contains(&"SIGTERM".to_owned()));
    assert_eq!(field(process, 0), None);
}

#[tokio::test]
async fn a_tree_that_keeps_forking_while_it_is_killed_is_gone() {
    let stage = Stage::new().await;
    for (how, forker) in [
        // Children faster than they end, deaf to SIGTERM.
        (StopHow::Graceful, "trap '' TERM; say up; while :; do sleep 0.3 & done"),
        // A chain: each forks its successor and exits, in a session of its own.
        (StopHow::Kill, "hop() { setsid bash -c hop $tag & }; export -f hop; say up; hop; sleep 0.2; exit 0"),
        (StopHow::Kill, "f() { f & }; say up; f; sleep 600"),
    ] {
        let run = new_run();
        let mut command = stage.bash(run, forker);
        command.grace = Duration::from_millis(200);
        let tree = stage.spawner.launch(command).await.unwrap();
        stage.until_said(run, "up", 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let report = stop(tree, how).await;
        assert_proven(run, &report);
        assert_eq!(report.stop.unwrap().method, StopMethod::Killed, "{forker}");
        let before = living(run);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((before, living(run)), (vec![], vec![]));
    }
}

#[tokio::test]
async fn endless_output_neither_delays_the_stop_nor_fills_the_disk() {
    let stage = Stage::new().await;
    let run = new_run();
    let tree = stage.launch(run, "say up; yes $tag").await;
    stage.until_said(run, "up", 1).await;
    let path = stage.dir.path().join("logs").join(format!("{run}.log"));
    until("some output", || log::size(&path) > 1 << 20).await;
    let report = stop(tree, StopHow::Graceful).await;
    assert_proven(run, &report);
    assert_eq!(report.stop.unwrap().method, StopMethod::Terminated, "the order was heard within the grace period");
    assert!(report.log_bytes <= 64 << 20);
    assert!(log::tail(&path, 5, log::Wanted::all(0)).unwrap().items.len() == 5);
}

#[tokio::test]
async fn a_command_that_exits_just_as_it_is_stopped_is_exited_or_signalled_but_never_both() {
    let stage = Stage::new().await;
    for round in 0..20_u64 {
        let run = new_run();
        let tree = stage.launch(run, "exit 0").await;
        tokio::time::sleep(Duration::from_micros(round * 300)).await;
        let report = stop(tree, StopHow::Graceful).await;
        assert_eq!(living(run), []);
        match report.stop.as_ref().map(|stop| stop.method) {
            None => assert_eq!(report.exit, TreeExit::Code(0)),
            Some(StopMethod::Exited) => assert!(!report.signalled && report.exit == TreeExit::Code(0), "{report:?}"),
            Some(_) => assert!(report.signalled, "{report:?}"),
        }
    }
}

#[tokio::test]
async fn a_stopped_process_is_woken_to_hear_sigterm() {
    let stage = Stage::new().await;
    let run = new_run();
    let tree = stage.launch(run, "trap 'say term; exit 3' TERM; say up; while :; do sleep 0.05; done").await;
    stage.until_said(run, "up", 1).await;
    let main = living(run).into_iter().find(|(_, arguments)| arguments.starts_with("bash")).unwrap().0;
    kill(main, "STOP");
    until("stopped", || field(main, 0).as_deref() == Some("T")).await;
    let report = stop(tree, StopHow::Graceful).await;
    stage.until_said(run, "term", 1).await;
    assert_proven(run, &report);
    assert_eq!((&report.exit, report.signalled), (&TreeExit::Code(3), true));
    assert_eq!(report.stop.unwrap().method, StopMethod::Terminated);
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_stopped_and_counted_and_its_exit_code_stands() {
    let stage = Stage::new().await;
    let run = new_run();
    let tree = stage.launch(run, "setsid sleep 600 & sleep 600 & exit 4").await;
    let report = tree.wait().await.unwrap();
    assert_eq!((&report.exit, report.leftovers, &report.stop, report.signalled), (&TreeExit::Code(4), 2, &None, false));
    assert_eq!(living(run), []);
    assert!(stage.texts(run).iter().any(|text| text.contains("SIGTERM to 2 processes")), "{:?}", stage.texts(run));
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_stopped_with_evidence() {
    let stage = Stage::new().await;
    let run = new_run();
    let mut command = stage.bash(run, "sleep 600 & wait");
    command.timeout = Some(Duration::from_millis(150));
    let report = stage.spawner.launch(command).await.unwrap().wait().await.unwrap();
    assert!(report.timed_out && report.signalled);
    assert_proven(run, &report);
}

#[tokio::test]
async fn dropping_a_tree_stops_it_and_its_report_can_be_read_later() {
    let stage = Stage::new().await;
    let run = new_run();
    let tree = stage.launch(run, "sleep 600 & say up; wait").await;
    stage.until_said(run, "up", 1).await;
    let stopper = tree.stopper();
    drop(tree);
    let recovered = recover(&stage.runs(), run, now(), Duration::from_secs(20), || StopHow::Graceful).await.unwrap();
    stopper.stop(StopHow::Kill);
    let Recovered::Report(report) = recovered else { panic!("{recovered:?}") };
    assert_proven(run, &report);
}

#[tokio::test]
async fn a_lock_that_is_held_is_waited_for_only_as_long_as_asked() {
    let stage = Stage::new().await;
    let run = new_run();
    let tree = stage.launch(run, "say up; sleep 600").await;
    stage.until_said(run, "up", 1).await;
    let error = recover(&stage.runs(), run, now(), Duration::from_millis(50), || StopHow::Graceful).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert_proven(run, &stop(tree, StopHow::Graceful).await);
}

#[tokio::test]
async fn when_the_supervisor_is_killed_the_spawner_kills_what_it_left_and_reports() {
    let stage = Stage::new().await;
    let (run, other) = (new_run(), new_run());
    let bystander = stage.launch(other, "say up; sleep 600").await;
    let tree = stage
        .launch(run, "trap '' TERM; (env -i setsid bash -c 'exec -a $0 sleep 600' $tag &) ; sleep 600 & say up; wait")
        .await;
    stage.until_said(run, "up", 1).await;
    stage.until_said(other, "up", 1).await;
    until("the daemon", || living(run).iter().any(|(_, arguments)| arguments.starts_with(&tag(run)))).await;
    kill(supervisor_of(run), "KILL");
    let report = tree.wait().await.unwrap();
    assert_proven(run, &report);
    assert_eq!(report.exit, TreeExit::Lost);
    assert_eq!(report.stop.as_ref().unwrap().method, StopMethod::Killed);
    assert!(report.stop.unwrap().detail.contains("signal 9"));
    assert_ne!(living(other), [], "another run is not touched");
    assert_proven(other, &stop(bystander, StopHow::Graceful).await);
}

#[tokio::test]
async fn a_tree_that_signals_its_supervisor_orders_nothing() {
    let stage = Stage::new().await;
    let run = new_run();
    let tree = stage
        .launch(
            run,
            "for n in 10 12 15 1; do kill -$n $PPID; done; say up; until [ -e go ]; do sleep 0.02; done; exit 3",
        )
        .await;
    stage.until_said(run, "up", 1).await;
    // Nor does a server that looks for a supervisor left behind: this one's server lives.
    assert!(kill_left_behind(&stage.runs(), run).unwrap(), "the supervisor holds the lock of its run");
    fs::write(stage.dir.path().join("go"), "").unwrap();
    let report = tree.wait().await.unwrap();
    assert_eq!((report.exit, report.stop, report.signalled), (TreeExit::Code(3), None, false));
    assert!(!kill_left_behind(&stage.runs(), run).unwrap(), "nobody holds it any more");
}

#[tokio::test]
async fn when_the_spawner_is_killed_runs_go_on_and_new_ones_start() {
    let stage = Stage::new().await;
    let run = new_run();
    let tree = stage.launch(run, "say up; sleep 600").await;
    stage.until_said(run, "up", 1).await;
    let supervisor = supervisor_of(run);
    let spawner = parent(supervisor);
    assert_eq!(fs::read_to_string(format!("/proc/{spawner}/comm")).unwrap().trim(), "belay-spawner");
    kill(spawner, "KILL");
    until("the server has the supervisor", || parent(supervisor) == std::process::id() as i32).await;
    let next = new_run();
    let report = stage.launch(next, "exit 5").await.wait().await.unwrap();
    assert_eq!(report.exit, TreeExit::Code(5));
    assert_ne!(living(run), [], "the run goes on");
    assert_proven(run, &stop(tree, StopHow::Graceful).await);
}

#[tokio::test]
async fn when_spawner_and_supervisor_are_killed_the_server_finds_what_they_left() {
    let stage = Stage::new().await;
    for cleaned in ["", "env -i "] {
        let run = new_run();
        let script = format!("({cleaned}setsid bash -c 'exec -a $0 sleep 600' $tag &); say up; sleep 600");
        let tree = stage.launch(run, &script).await;
        stage.until_said(run, "up", 1).await;
        until("the daemon", || living(run).iter().any(|(_, arguments)| arguments.starts_with(&tag(run)))).await;
        let supervisor = supervisor_of(run);
        kill(parent(supervisor), "KILL");
        kill(supervisor, "KILL");
        let report = tree.wait().await.unwrap();
        assert_proven(run, &report);
        assert_eq!(report.exit, TreeExit::Lost);
    }
}

/// A server in a process of its own, which can be killed: this test binary again, with [`a_server_to_be_killed`] only.
/// Everything is known to it by `dir`; it launches one tree and waits.
struct OtherServer {
    dir: tempfile::TempDir,
    run: RunId,
    process: std::process::Child,
}

impl OtherServer {
    async fn start(script: &str) -> OtherServer {
        let dir = tempfile::tempdir().unwrap();
        let run = new_run();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::a_server_to_be_killed", "--ignored", "--nocapture"])
            .env("BELAY_TEST_DIR", dir.path())
            .env("BELAY_TEST_RUN", run.to_string())
            .env("BELAY_TEST_SCRIPT", script)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let said = dir.path().join("said");
        until("the script is up", || said.exists()).await;
        OtherServer { dir, run, process }
    }

    fn runs(&self) -> PathBuf {
        self.dir.path().join("runs")
    }

    /// Kills server, spawner and supervisor so that none of them can do anything about the others' end.
    fn kill_all(&mut self) {
        let supervisor = supervisor_of(self.run);
        let all = [self.process.id() as i32, parent(supervisor), supervisor];
        for signal in ["STOP", "KILL"] {
            all.iter().for_each(|pid| kill(*pid, signal));
        }
        self.process.wait().unwrap();
    }

    /// What the next server finds out.
    async fn recover(&self) -> Recovered {
        let _spawner = Spawner::start_with(Path::new(PROGRAM), &self.runs()).await.unwrap();
        recover(&self.runs(), self.run, now(), Duration::from_secs(20), || StopHow::Graceful).await.unwrap()
    }

    /// Asks again until the evidence is complete: what other tests leave to init at the same moment is suspect, too.
    async fn confirmed_in_the_end(&self) -> StopEvidence {
        let begun = Instant::now();
        loop {
            let Recovered::Searched(stop) = self.recover().await else { panic!("nobody was left to report") };
            if stop.confirmed {
                return stop;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{stop:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
#[ignore = "not a test: run by tests that kill a server"]
async fn a_server_to_be_killed() {
    let Some(dir) = std::env::var_os("BELAY_TEST_DIR").map(PathBuf::from) else { return };
    let run: RunId = std::env::var("BELAY_TEST_RUN").unwrap().parse().unwrap();
    let spawner = Spawner::start_with(Path::new(PROGRAM), &dir.join("runs")).await.unwrap();
    let tree = spawner.launch(TreeCommand {
        run_id: run,
        argv: ["bash", "-c", &std::env::var("BELAY_TEST_SCRIPT").unwrap(), &tag(run)].map(Into::into).to_vec(),
        env: vec![("PATH".into(), std::env::var_os("PATH").unwrap()), ("tag".into(), tag(run).into())],
        cwd: dir.clone(),
        log: dir.join("run.log"),
        grace: Duration::from_millis(300),
        timeout: None,
    });
    tree.await.unwrap().wait().await.unwrap();
}

#[tokio::test]
async fn when_the_server_is_killed_its_supervisors_stop_their_trees_and_report() {
    let script =
        "trap '' TERM; (env -i setsid bash -c 'exec -a $0 sleep 600' $tag &); echo up > said; sleep 600 & wait";
    let mut server = OtherServer::start(script).await;
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let Recovered::Report(report) = server.recover().await else { panic!("the supervisor reports") };
    assert_proven(server.run, &report);
    assert_eq!((report.stop.unwrap().method, report.signalled), (StopMethod::Killed, true));
}

#[tokio::test]
async fn when_all_are_killed_what_carries_the_mark_is_found_and_stopped() {
    let mut server = OtherServer::start("(setsid sleep 600 &); sleep 600 & echo up > said; wait").await;
    server.kill_all();
    assert_ne!(living(server.run), [], "nobody was left to stop it");
    let Recovered::Searched(stop) = server.recover().await else { panic!("nobody was left to report") };
    assert_eq!(living(server.run), [], "{stop:?}");
    assert_eq!(stop.signals, ["SIGTERM"]);
    assert!(stop.processes_seen >= Some(3), "{stop:?}");
    assert_eq!(server.confirmed_in_the_end().await.processes_left, Some(0));
}

#[tokio::test]
async fn when_all_are_killed_a_survivor_without_a_mark_is_never_reported_as_gone() {
    let script = "(env -i setsid bash -c 'exec -a $0 sleep 600' $tag &); echo up > said; sleep 600";
    let mut server = OtherServer::start(script).await;
    until("the daemon", || living(server.run).iter().any(|(_, line)| line.starts_with(&tag(server.run)))).await;
    let daemon = living(server.run).into_iter().find(|(_, line)| line.starts_with(&tag(server.run))).unwrap().0;
    server.kill_all();
    let Recovered::Searched(stop) = server.recover().await else { panic!("nobody was left to report") };
    assert_eq!((stop.confirmed, stop.processes_left, stop.stopped_at), (false, None, None), "{stop:?}");
    assert!(stop.detail.contains("could belong to it"), "{stop:?}");
    assert_eq!(pids(server.run), HashSet::from([daemon]), "what is not surely ours is not signalled");
    // Once somebody has ended it, asking again finds the proof.
    kill(daemon, "KILL");
    until("the daemon is gone", || living(server.run).is_empty()).await;
    assert_eq!(server.confirmed_in_the_end().await.processes_left, Some(0));
}

#[tokio::test]
async fn a_run_from_before_a_restart_of_the_machine_is_proven_gone() {
    let stage = Stage::new().await;
    let run = new_run();
    fs::write(stage.runs().join(format!("{run}.lock")), r#"{"boot_id":"another","ticks":1}"#).unwrap();
    let recovered = recover(&stage.runs(), run, Timestamp(1), Duration::ZERO, || StopHow::Graceful).await.unwrap();
    let Recovered::Searched(stop) = recovered else { panic!("{recovered:?}") };
    assert!(stop.confirmed && stop.detail.contains("restarted"), "{stop:?}");
    assert_eq!((stop.method, stop.processes_left), (StopMethod::Lost, Some(0)));
}

#[tokio::test]
async fn a_hundred_trees_stopped_at_random_moments_leave_nothing() {
    let stage = Stage::new().await;
    let mut seed = u64::from(std::process::id()) | 1;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let scripts = [
        "sleep 600 & wait",
        "(setsid sleep 600 &); sleep 600",
        "env -i setsid bash -c 'exec -a $0 sleep 600' $tag & exit 0",
        "for i in 1 2 3; do (sleep 0.01; sleep 600) & done; wait",
        "trap '' TERM; sleep 600",
        "echo x; exit 0",
    ];
    for batch in 0..25 {
        let mut waiting = Vec::new();
        for _ in 0..4 {
            let run = new_run();
            let mut command = stage.bash(run, scripts[random(6) as usize]);
            command.grace = Duration::from_millis(20 + random(50));
            let tree = stage.spawner.launch(command).await.unwrap();
            let how = if random(3) == 0 { StopHow::Kill } else { StopHow::Graceful };
            let delay = Duration::from_micros(random(20_000));
            waiting.push(tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                (run, stop(tree, how).await)
            }));
        }
        for task in waiting {
            let (run, report) = task.await.unwrap();
            assert_eq!(living(run), [], "batch {batch}: {report:?}");
            assert!(report.stop.as_ref().is_none_or(|stop| stop.confirmed), "{report:?}");
            forget(&stage.runs(), run);
        }
    }
}
