//! A cancelled host is one on which nothing is left, and which says so.

use serde_json::json;

use super::{assert_nothing_left, server_of, submit, submit_shell, transcript, unit, units, wait_for_output};
use crate::{
    marks::Mark,
    sshd::{Fleet, marked},
};

#[tokio::test]
async fn a_cancelled_host_has_nothing_left_and_says_so_with_evidence() {
    let fleet = Fleet::start(2);
    let server = server_of(&fleet).await;
    let id = submit_shell(&server, &["group:all"], "sleep 600 & setsid sleep 600 & echo begun; wait").await;
    wait_for_output(&server, &id, 0, "begun").await;
    wait_for_output(&server, &id, 1, "begun").await;
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.body["phase"], "cancelled");
    assert_eq!(
        answer.body["stop"],
        json!({"units": 2, "never_started": 0, "stopped": 2, "waiting": 0, "unconfirmed": 0})
    );
    assert_nothing_left(&server, &id).await;
    for (index, unit) in units(&server, &id).await.iter().enumerate() {
        let stop = &unit["stop"];
        assert_eq!((&unit["status"], &stop["method"]), (&json!("cancelled"), &json!("remote")), "{unit}");
        assert_eq!((&stop["confirmed"], &stop["processes_left"]), (&json!(true), &json!(0)), "{unit}");
        assert_eq!(stop["signals"], json!(["SIGTERM"]), "{unit}");
        assert!(stop["processes_seen"].as_u64().unwrap() >= 3, "{unit}");
        let lines = transcript(&server, &id, index as u64).await;
        let (stream, last) = lines.last().unwrap();
        assert!(stream == "belay" && last.starts_with("[TASK CANCELLED] 20"), "{lines:?}");
    }
}

#[tokio::test]
async fn what_is_deaf_or_hides_is_stopped_too() {
    let fleet = Fleet::start(3);
    let server = server_of(&fleet).await;
    let hidden = Mark::new();
    let scripts = [
        ("host0", "trap '' TERM; echo begun; while :; do sleep 1; done", json!(["SIGTERM", "SIGKILL"])),
        // A daemon: forked twice, in a session of its own, nobody's child.
        ("host1", "(setsid sh -c 'sleep 600 & echo begun; wait' &) ; sleep 600", json!(["SIGTERM"])),
        // A process that hides its mark.
        ("host2", &format!("env -i sleep {} & echo begun; wait", hidden.nap), json!(["SIGTERM"])),
    ];
    for (host, script, signals) in scripts {
        let id = submit_shell(&server, &[host], script).await;
        wait_for_output(&server, &id, 0, "begun").await;
        server.cancel(&id, json!({})).await;
        server.wait_phase(&id, "cancelled").await;
        let unit = unit(&server, &id, host).await;
        assert_eq!((&unit["stop"]["confirmed"], &unit["stop"]["signals"]), (&json!(true), &signals), "{unit}");
        assert_nothing_left(&server, &id).await;
    }
    assert!(hidden.processes().is_empty(), "{:?}", hidden.processes());
}

#[tokio::test]
async fn force_does_not_wait_for_the_grace() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    let deaf = "trap '' TERM; echo begun; while :; do sleep 1; done";
    let spec = json!({"hosts": ["host0"], "command": ["sh", "-c", deaf], "grace_s": 600});
    let id = submit(&server, spec).await;
    wait_for_output(&server, &id, 0, "begun").await;
    let asked = server.cancel(&id, json!({})).await;
    assert_eq!((asked.status, &asked.body["stop"]["waiting"]), (202, &json!(1)), "{}", asked.text());
    server.cancel(&id, json!({"force": true})).await;
    let job = server.wait_phase(&id, "cancelled").await;
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job}");
    assert_eq!(unit(&server, &id, "host0").await["stop"]["signals"], json!(["SIGTERM", "SIGKILL"]));
    assert_nothing_left(&server, &id).await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_stopped_when_it_ends() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    let id = submit_shell(&server, &["host0"], "setsid sleep 600 >/dev/null 2>&1 & sleep 0.2; echo done").await;
    server.wait_phase(&id, "completed").await;
    assert_nothing_left(&server, &id).await;
    let lines = transcript(&server, &id, 0).await;
    assert!(lines.iter().any(|(_, text)| text.contains("that the command had left")), "{lines:?}");
}

#[tokio::test]
async fn before_and_while_connecting_nothing_has_to_be_stopped() {
    let fleet = Fleet::start(1);
    // Takes connections, and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = fleet.host("mute", listener.local_addr().unwrap().port(), "");
    let server = super::server_with(&format!("{}{mute}", fleet.config())).await;
    let spec = json!({"hosts": ["mute", "host0"], "command": ["true"], "parallel": 1, "connect_timeout_s": 60});
    let id = submit(&server, spec).await;
    wait_for_output(&server, &id, 0, "connecting").await;
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.body["stop"],
        json!({"units": 2, "never_started": 1, "stopped": 1, "waiting": 0, "unconfirmed": 0})
    );
    let stop = unit(&server, &id, "mute").await["stop"].clone();
    assert!(stop["detail"].as_str().unwrap().contains("while connecting"), "{stop}");
    assert_eq!((&stop["confirmed"], &stop["signals"]), (&json!(true), &json!([])));
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_stopped() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    let id = submit(&server, json!({"hosts": ["host0"], "command": ["sleep", "600"], "timeout_s": 1})).await;
    server.wait_phase(&id, "failed").await;
    let unit = unit(&server, &id, "host0").await;
    assert_eq!(unit["error"], "timed out after 1 s, stopped");
    assert_eq!(unit["stop"]["confirmed"], true, "{unit}");
    assert_nothing_left(&server, &id).await;
}

#[tokio::test]
async fn a_job_with_a_host_that_succeeded_is_partial_when_it_is_cancelled() {
    let fleet = Fleet::start(2);
    let server = server_of(&fleet).await;
    let id = submit_shell(&server, &["group:all"], "[ $BELAY_HOST = host0 ] || sleep 600").await;
    server.wait_for(&id, |job| job["progress"]["succeeded"] == 1).await;
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.body["phase"], "partial", "{}", answer.text());
}

#[tokio::test]
async fn cancels_at_random_moments_leave_nothing() {
    let fleet = Fleet::start(2);
    let server = server_of(&fleet).await;
    for round in 0..100_u64 {
        let id = submit_shell(&server, &["group:all"], "sleep 600 & (setsid sleep 600 &) ; sleep 600").await;
        tokio::time::sleep(std::time::Duration::from_millis(round * 37 % 400)).await;
        server.cancel(&id, json!({})).await;
        server.wait_phase(&id, "cancelled").await;
        assert_nothing_left(&server, &id).await;
        for unit in units(&server, &id).await {
            assert_eq!(unit["status"], "cancelled", "{unit}");
            if unit["run_id"].is_string() {
                assert_eq!(unit["stop"]["confirmed"], true, "{unit}");
            }
        }
    }
}

#[tokio::test]
async fn a_command_that_floods_its_output_fills_no_memory_and_is_stopped() {
    let fleet = Fleet::start(2);
    let server = server_of(&fleet).await;
    let id = submit(&server, json!({"hosts": ["group:all"], "command": ["yes", "all work and no play"]})).await;
    server.wait_for(&id, |job| job["progress"]["running"] == 2).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 300_000, "{line}");
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.body["stop"]["stopped"], 2, "{}", answer.text());
    assert_nothing_left(&server, &id).await;
}

/// The same promise on every shell that a host may have.
#[tokio::test]
async fn any_posix_shell_and_any_profile_will_do() {
    for shell in ["dash", "bash", "busybox"] {
        // The first `sh` that is found is this one; the profile is noisy, and so is the banner.
        let noisy = "Banner DIR/banner\nSetEnv HOME=DIR PATH=DIR/bin:/usr/bin:/bin\nForceCommand echo Welcome; echo -n 'no newline '; \
                     echo 'a warning' >&2; exec sh -c \"$SSH_ORIGINAL_COMMAND\"";
        let fleet = Fleet::start_where(1, noisy);
        std::fs::create_dir(fleet.path("bin")).unwrap();
        let found = ["/bin", "/usr/bin"].map(|folder| std::path::Path::new(folder).join(shell));
        let program = found.iter().find(|path| path.exists()).expect("the shell is installed");
        // A host with busybox has nothing else either.
        let tools = ["sh", "awk", "grep", "cat", "sleep", "setsid", "env"];
        for tool in if shell == "busybox" { &tools[..] } else { &tools[..1] } {
            std::os::unix::fs::symlink(program, fleet.path("bin").join(tool)).unwrap();
        }
        std::fs::write(fleet.path("banner"), "Authorised use only.\n").unwrap();
        let server = server_of(&fleet).await;
        let done = submit_shell(&server, &["host0"], "echo it works; exit 5").await;
        server.wait_phase(&done, "failed").await;
        assert_eq!(unit(&server, &done, "host0").await["exit_code"], 5, "{shell}");
        let lines = transcript(&server, &done, 0).await;
        assert!(lines.iter().any(|(_, text)| text == "it works"), "{shell}: {lines:?}");
        let id = submit_shell(&server, &["host0"], "(setsid sleep 600 &) ; echo begun; sleep 600").await;
        wait_for_output(&server, &id, 0, "begun").await;
        let run = unit(&server, &id, "host0").await["run_id"].as_str().unwrap().to_owned();
        assert!(marked(&run).len() >= 3, "{shell}: {:?}", marked(&run));
        let answer = server.cancel(&id, json!({})).await;
        assert_eq!(answer.body["phase"], "cancelled", "{shell}: {}", answer.text());
        assert_eq!(marked(&run), Vec::<String>::new(), "{shell}");
    }
}
