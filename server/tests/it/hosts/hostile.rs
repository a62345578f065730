//! Hosts and commands that make it hard: start-up files that talk or end the shell, no home, a file system that cannot
//! be written to, commands that kill their parent, lie, or hide.

use serde_json::{Value, json};

use super::{assert_nothing_left, server_of, submit, submit_shell, transcript, unit, wait_for_output};
use crate::{
    harness::{LONG, Server},
    marks::Mark,
    sshd::{Fleet, marked},
};

/// Runs to its end, then is cancelled in the middle, with proof.
async fn assert_works(server: &Server, what: &str) {
    let done = submit_shell(server, &["host0"], "echo it works; exit 5").await;
    server.wait_phase(&done, "failed").await;
    let ended = unit(server, &done, "host0").await;
    assert_eq!(ended["exit_code"], 5, "{what}: {ended}");
    let lines = transcript(server, &done, 0).await;
    assert!(lines.contains(&("stdout".to_owned(), "it works".to_owned())), "{what}: {lines:?}");
    let id = submit_shell(server, &["host0"], "(setsid sleep 600 &) ; echo begun; sleep 600").await;
    wait_for_output(server, &id, 0, "begun").await;
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.body["stop"]["stopped"], 1, "{what}: {}", answer.text());
    assert_nothing_left(server, &id).await;
}

#[tokio::test]
async fn start_up_files_that_talk_break_nothing() {
    let fleet = Fleet::start(1);
    std::fs::write(fleet.path(".bashrc"), "echo Welcome back; echo careful >&2; echo -n 'no newline '\n").unwrap();
    let server = server_of(&fleet).await;
    assert_works(&server, "a noisy start-up file").await;
}

#[tokio::test]
async fn a_start_up_file_that_ends_the_shell_is_said_to_have_kept_the_command_from_starting() {
    let fleet = Fleet::start(1);
    std::fs::write(fleet.path(".bashrc"), "exit 0\n").unwrap();
    let server = server_of(&fleet).await;
    let id = submit_shell(&server, &["host0"], "echo it works").await;
    server.wait_phase(&id, "failed").await;
    let error = unit(&server, &id, "host0").await["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("the remote shell did not start: exit status 0"), "{error}");
    assert!(error.contains("start-up file"), "{error}");
}

#[tokio::test]
async fn a_user_without_a_home_will_do() {
    let fleet = Fleet::start_where(1, "SetEnv HOME=/nowhere/at-all");
    assert_works(&server_of(&fleet).await, "no home").await;
}

#[tokio::test]
async fn a_host_on_which_nothing_can_be_written_will_do() {
    let setup = "mount --bind /tmp /tmp; mount -o remount,bind,ro /tmp";
    let Some(fleet) = Fleet::start_apart("", setup, &[]) else { return };
    let server = server_of(&fleet).await;
    let id = submit_shell(&server, &["host0"], "! touch /tmp/x").await;
    server.wait_phase(&id, "completed").await;
    assert_works(&server, "a read-only /tmp").await;
}

#[tokio::test]
async fn whichever_login_shell_the_user_has() {
    for shell in ["/bin/dash", "/bin/bash", "/bin/sh", "/usr/sbin/nologin", "DIR/ash"] {
        let passwd = format!(
            "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n\
                              fleet:x:4242:4242::DIR:{shell}\n"
        );
        let setup = "ln -sf \"$(command -v busybox)\" DIR/ash; chmod 755 DIR; mount --bind DIR/shadow /etc/shadow; \
                     mount --bind DIR/passwd /etc/passwd";
        let files = [("passwd", passwd.as_str()), ("shadow", "root:*:19000::::::\nfleet:*:19000::::::\n")];
        let Some(fleet) = Fleet::start_apart("", setup, &files) else { return };
        let config = fleet.config().replace("user = \"root\"", "user = \"fleet\"");
        let server = super::server_with(&config).await;
        if shell.ends_with("nologin") {
            let id = submit_shell(&server, &["host0"], "true").await;
            server.wait_phase(&id, "failed").await;
            let error = unit(&server, &id, "host0").await["error"].as_str().unwrap().to_owned();
            assert!(error.starts_with("the remote shell did not start"), "{error}");
            continue;
        }
        assert_works(&server, shell).await;
    }
}

#[tokio::test]
async fn a_command_that_kills_its_parent_does_not_get_away() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    let hidden = Mark::new();
    // Also what hides its mark, and closes the way on which its end would be heard of.
    let script = format!("kill -KILL $PPID; env -i sleep {} <&- >&- 2>&- & exec sleep 600 <&- >&- 2>&-", hidden.nap);
    let id = submit_shell(&server, &["host0"], &script).await;
    server.wait_phase(&id, "failed").await;
    let ended = unit(&server, &id, "host0").await;
    assert!(ended["error"].as_str().unwrap().contains("it was cut off (signal KILL)"), "{ended}");
    assert_eq!((&ended["stop"]["confirmed"], &ended["stop"]["processes_left"]), (&json!(true), &json!(0)), "{ended}");
    assert_nothing_left(&server, &id).await;
    assert!(hidden.processes().is_empty(), "{:?}", hidden.processes());
}

#[tokio::test]
async fn a_daemon_that_closed_everything_is_found() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    let daemon = Mark::new();
    let script = format!(
        "setsid sh -c 'setsid sh -c \"sleep {} <&- >&- 2>&- &\" <&- >&- 2>&- &' <&- >&- 2>&-; echo begun; sleep 600",
        daemon.nap
    );
    let id = submit_shell(&server, &["host0"], &script).await;
    wait_for_output(&server, &id, 0, "begun").await;
    let begun = async {
        while daemon.processes().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, begun).await.expect("the daemon runs");
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.body["phase"], "cancelled", "{}", answer.text());
    assert!(daemon.processes().is_empty(), "{:?}", daemon.processes());
    assert_nothing_left(&server, &id).await;
}

#[tokio::test]
async fn a_command_may_lie_about_its_end_but_not_about_what_is_left() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    // The word by which the shell above it tells of the end, said while the command runs on.
    let lies = "t=$(tr '\\000' '\\n' </proc/$PPID/cmdline | tail -n 1); echo '[TASK CANCELLED] 2020-01-01'; \
                echo \"$t found 0\"; echo \"$t ended 0\"; (setsid sleep 600 &); sleep 600";
    let id = submit_shell(&server, &["host0"], lies).await;
    server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_nothing_left(&server, &id).await;
    let lines = transcript(&server, &id, 0).await;
    assert!(lines.contains(&("stdout".to_owned(), "[TASK CANCELLED] 2020-01-01".to_owned())), "{lines:?}");
    assert!(lines.iter().any(|(stream, line)| stream == "belay" && line.contains("had left")), "{lines:?}");
}

#[tokio::test]
async fn a_process_whose_name_looks_like_a_dead_ones_is_found() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    for (index, name) in ["a) Z 1 1 1 \n", "\n7 (b) Z 1 1 1", "b\n) X 2 2 2 2", "c) "].into_iter().enumerate() {
        let program = fleet.path(&format!("odd{index}"));
        std::fs::create_dir(&program).unwrap();
        let program = program.join(name);
        std::fs::copy("/bin/sleep", &program).unwrap();
        let hidden = Mark::new();
        // Also one that hides its mark, and the session that it belongs to.
        let script = "setsid env -i \"$0\" \"$1\" & \"$0\" \"$1\" & echo begun; wait";
        let command = json!(["sh", "-c", script, program, hidden.nap]);
        let id = submit(&server, json!({"hosts": ["host0"], "command": command, "grace_s": 2})).await;
        wait_for_output(&server, &id, 0, "begun").await;
        let begun = async {
            while hidden.processes().len() < 2 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, begun).await.expect("both run");
        server.cancel(&id, json!({})).await;
        server.wait_phase(&id, "cancelled").await;
        assert!(hidden.processes().is_empty(), "{name:?}: {:?}", hidden.processes());
        let stop = unit(&server, &id, "host0").await["stop"].clone();
        assert_eq!((&stop["confirmed"], &stop["signals"]), (&json!(true), &json!(["SIGTERM"])), "{name:?}: {stop}");
    }
}

#[tokio::test]
async fn a_process_that_outlives_its_first_thread_is_no_zombie() {
    let script = "import ctypes, os, signal, threading, time\n\
                  signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                  threading.Thread(target=time.sleep, args=(600,)).start()\n\
                  print('pid', os.getpid(), flush=True)\n\
                  ctypes.CDLL(None).pthread_exit(None)\n";
    if std::process::Command::new("python3").arg("-V").stdout(std::process::Stdio::null()).status().is_err() {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "\nSKIPPED: there is no python3 to end a first thread with\n");
        return;
    }
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    let command = json!(["python3", "-c", script]);
    let id = submit(&server, json!({"hosts": ["host0"], "command": command, "grace_s": 1})).await;
    wait_for_output(&server, &id, 0, "pid ").await;
    let lines = transcript(&server, &id, 0).await;
    let pid = lines.iter().find_map(|(_, line)| line.strip_prefix("pid ")).unwrap();
    let stat = std::path::Path::new("/proc").join(pid).join("stat");
    let is_headless = async {
        while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, is_headless).await.expect("its first thread ends");
    server.cancel(&id, json!({})).await;
    server.wait_phase(&id, "cancelled").await;
    let stop = unit(&server, &id, "host0").await["stop"].clone();
    assert_eq!((&stop["confirmed"], &stop["signals"]), (&json!(true), &json!(["SIGTERM", "SIGKILL"])), "{stop}");
    // Whoever has to reap it may take a while.
    let threads = std::fs::read_dir(stat.with_file_name("task")).map_or(0, Iterator::count);
    assert!(threads <= 1, "its other thread is gone");
}

/// A process group that must not outlive its test, whatever comes of that.
struct Group(nix::unistd::Pid);

impl Group {
    /// Whether somebody in it can do anything. It is stopped for the look, as nobody begins anybody then.
    fn lives(&self) -> bool {
        if nix::sys::signal::killpg(self.0, nix::sys::signal::Signal::SIGSTOP).is_err() {
            return false;
        }
        // Its dead are in it until they are reaped.
        let lives_in_it = |stat: String| {
            let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
            fields[0] != "Z" && fields[0] != "X" && fields[2] == self.0.to_string()
        };
        let stats = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("stat"));
        let lives = stats.filter_map(|path| std::fs::read_to_string(path).ok()).any(lives_in_it);
        let _ = nix::sys::signal::killpg(self.0, nix::sys::signal::Signal::SIGCONT);
        lives
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = nix::sys::signal::killpg(self.0, nix::sys::signal::Signal::SIGKILL);
    }
}

#[tokio::test]
async fn what_forks_and_ends_all_the_time_does_not_get_away() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    // Each generation begins the next one and ends: no list is true for long.
    let hop = "$SIG{TERM} = $SIG{HUP} = 'IGNORE'; fork && exit while 1";
    let script = "perl -e \"$0\" & echo begun; sleep 600";
    let spec = json!({"hosts": ["host0"], "command": ["sh", "-c", script, hop], "grace_s": 0});
    let id = submit(&server, spec).await;
    wait_for_output(&server, &id, 0, "begun").await;
    let lines = transcript(&server, &id, 0).await;
    let lead = lines.iter().find_map(|(_, line)| line.strip_prefix("started on host0 as process ")).unwrap();
    let group = Group(nix::unistd::Pid::from_raw(lead.parse().unwrap()));
    assert!(group.lives());
    server.cancel(&id, json!({})).await;
    server.wait_phase(&id, "cancelled").await;
    assert!(!group.lives(), "{}", unit(&server, &id, "host0").await["stop"]);
    assert_nothing_left(&server, &id).await;
}

#[tokio::test]
async fn processes_of_others_with_a_like_name_are_left_alone() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    let id = submit_shell(&server, &["host0"], "echo begun; sleep 600").await;
    wait_for_output(&server, &id, 0, "begun").await;
    let run = unit(&server, &id, "host0").await["run_id"].as_str().unwrap().to_owned();
    let mut stranger = std::process::Command::new("sleep")
        .args(["600"])
        .env("BELAY_RUN", format!("{}-not", &run[..20]))
        .env("NOTE", format!("about {run}"))
        .spawn()
        .unwrap();
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.body["phase"], "cancelled", "{}", answer.text());
    assert!(marked(&run).is_empty());
    assert!(stranger.try_wait().unwrap().is_none(), "it runs on");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn where_nobody_can_look_any_more_nothing_is_called_stopped() {
    // Each session may have so few processes that a look cannot be made beside the command.
    let passwd = "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\nfleet:x:4243:4243::DIR:/bin/dash\n";
    let setup = "chmod 755 DIR; mount --bind DIR/shadow /etc/shadow; mount --bind DIR/passwd /etc/passwd";
    let files = [("passwd", passwd), ("shadow", "root:*:19000::::::\nfleet:*:19000::::::\n")];
    let more = "ForceCommand ulimit -u 12; exec sh -c \"$SSH_ORIGINAL_COMMAND\"";
    let Some(fleet) = Fleet::start_apart(more, setup, &files) else { return };
    let server = super::server_with(&fleet.config().replace("user = \"root\"", "user = \"fleet\"")).await;
    let script = "echo begun; while :; do sleep 600 & done 2>/dev/null";
    let spec = json!({"hosts": ["host0"], "command": ["sh", "-c", script], "grace_s": 600, "connect_timeout_s": 3});
    let id = submit(&server, spec).await;
    wait_for_output(&server, &id, 0, "begun").await;
    let run = unit(&server, &id, "host0").await["run_id"].as_str().unwrap().to_owned();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    server.cancel(&id, json!({})).await;
    let job = server.wait_for(&id, |job| job["phase"] != "cancelling" || !job["waiting"][0]["detail"].is_null()).await;
    if job["phase"] == "cancelled" {
        assert_eq!(marked(&run), Vec::<String>::new(), "called cancelled");
    } else {
        assert_eq!(
            (&job["phase"], &job["cancellation"]["stop"]["stopped"]),
            (&json!("cancelling"), &json!(0)),
            "{job}"
        );
        crate::sshd::kill_marked(&run);
        server.cancel(&id, json!({})).await;
        server.wait_phase(&id, "cancelled").await;
    }
    let stop: Value = unit(&server, &id, "host0").await["stop"].clone();
    assert_eq!((&stop["confirmed"], &stop["processes_left"]), (&json!(true), &json!(0)), "{stop}");
}
