//! Hosts that go away in the middle of a job that nobody cancels, and come back: their command is looked for until it is
//! found and ended, or reported as unconfirmed and looked for still.

use std::time::Duration;

use serde_json::{Value, json};

use super::{server_with, submit, transcript, unit, wait_for_output};
use crate::{
    harness::{LONG, Server},
    sshd::{Fleet, kill_marked, kill_watcher, marked},
};

/// A host, a server that looks for lost commands so many seconds, and a job of which a deaf command runs there.
async fn running(reconnect_s: u32) -> (Fleet, Server, String, String) {
    let fleet = Fleet::start(1);
    let more = format!("[ssh]\nreconnect_s = {reconnect_s}\n");
    let server = server_with(&fleet.config().replace("[ssh]\n", &more)).await;
    let script = "trap '' TERM HUP PIPE; (setsid sleep 600 &) ; echo begun; while :; do sleep 1; done";
    let spec = json!({"hosts": ["host0"], "command": ["sh", "-c", script], "grace_s": 1, "connect_timeout_s": 2});
    let id = submit(&server, spec).await;
    wait_for_output(&server, &id, 0, "begun").await;
    let run = unit(&server, &id, "host0").await["run_id"].as_str().unwrap().to_owned();
    (fleet, server, id, run)
}

/// The host is gone, and nothing on it ends the command by itself.
fn lose(fleet: &mut Fleet, run: &str) {
    kill_watcher(run);
    fleet.hosts[0].go_down();
    assert!(marked(run).len() >= 3, "the command lives on: {:?}", marked(run));
}

async fn assert_proven(server: &Server, id: &str, run: &str) -> Value {
    let unit = unit(server, id, "host0").await;
    assert_eq!((&unit["stop"]["confirmed"], &unit["stop"]["processes_left"]), (&json!(true), &json!(0)), "{unit}");
    assert_eq!(marked(run), Vec::<String>::new());
    unit
}

/// Asks until the doubt is over, as an operator would press Resend.
async fn resend_until_proven(server: &Server, id: &str) {
    let asking = async {
        while server.job(id).await["unconfirmed"].is_u64() {
            server.cancel(id, json!({})).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(LONG, asking).await.expect("the proof is added");
}

#[tokio::test]
async fn a_command_that_outlives_its_connection_is_found_and_ended_over_the_next_one() {
    let (fleet, server, id, run) = running(60).await;
    kill_watcher(&run);
    fleet.hosts[0].cut();
    server.wait_phase(&id, "failed").await;
    let unit = assert_proven(&server, &id, &run).await;
    assert_eq!(unit["error"], "it was cut off (the connection was lost); the command was found and stopped");
    assert_eq!(unit["stop"]["signals"], json!(["SIGTERM", "SIGKILL"]), "{unit}");
}

#[tokio::test]
async fn a_host_that_is_away_is_asked_again_until_it_is_back() {
    let (mut fleet, server, id, run) = running(60).await;
    lose(&mut fleet, &run);
    wait_for_output(&server, &id, 0, "host0 does not answer").await;
    let job = server.job(&id).await;
    assert_eq!((&job["phase"], &job["progress"]["running"]), (&json!("in_progress"), &json!(1)), "{job}");
    fleet.hosts[0].come_back();
    server.wait_phase(&id, "failed").await;
    let unit = assert_proven(&server, &id, &run).await;
    assert!(unit["error"].as_str().unwrap().ends_with("the command was found and stopped"), "{unit}");
    let lines = transcript(&server, &id, 0).await;
    assert!(lines.iter().any(|(_, line)| line.ends_with("it is asked again for 60 s")), "{lines:?}");
}

#[tokio::test]
async fn a_host_that_stays_away_is_unconfirmed_and_a_resend_adds_the_proof_to_the_failed_job() {
    let (mut fleet, server, id, run) = running(1).await;
    lose(&mut fleet, &run);
    let failed = server.wait_phase(&id, "failed").await;
    assert_eq!(failed["unconfirmed"], 1, "{failed}");
    assert!(failed["detail"].as_str().unwrap().contains("may still run"), "{failed}");
    let page = server.get(&format!("/jobs/{id}")).await.text();
    assert!(page.contains("1 run not confirmed") && page.contains("Resend"), "{page}");
    let lost = unit(&server, &id, "host0").await;
    assert!(lost["error"].as_str().unwrap().ends_with("whether the command still runs is not known"), "{lost}");
    assert_eq!((&lost["stop"]["confirmed"], &lost["stop"]["processes_left"]), (&json!(false), &Value::Null), "{lost}");
    assert!(lost["stop"]["detail"].as_str().unwrap().contains("does not answer since"), "{lost}");
    let asked = server.cancel(&id, json!({})).await;
    assert_eq!((asked.status, &asked.body["outcome"]), (200, &json!("already_finished")), "{}", asked.text());
    assert_eq!((&asked.body["stop"]["units"], &asked.body["stop"]["unconfirmed"]), (&json!(1), &json!(1)));
    assert!(!marked(&run).is_empty(), "it runs on, and nobody said otherwise");
    fleet.hosts[0].come_back();
    let by_hand = server.belay(&["job", "resend", &id]).await;
    assert_eq!(by_hand.code, 0, "{by_hand:?}");
    resend_until_proven(&server, &id).await;
    let proven = server.job(&id).await;
    assert_eq!((&proven["phase"], &proven["detail"]), (&json!("failed"), &Value::Null), "{proven}");
    assert_eq!(proven["progress"], failed["progress"], "what is over stays as it ended");
    let unit = assert_proven(&server, &id, &run).await;
    assert_eq!((&unit["status"], &unit["error"]), (&lost["status"], &lost["error"]));
    let lines = transcript(&server, &id, 0).await;
    assert!(!lines.iter().any(|(_, line)| line.starts_with("[TASK CANCELLED]")), "nobody did: {lines:?}");
    let after = server.cancel(&id, json!({})).await;
    assert_eq!(after.body["stop"]["unconfirmed"], 0, "{}", after.text());
    assert!(!server.get(&format!("/jobs/{id}")).await.text().contains("not confirmed"));
}

#[tokio::test]
async fn a_command_in_doubt_is_ended_by_the_next_server_without_being_asked() {
    let (mut fleet, mut server, id, run) = running(1).await;
    lose(&mut fleet, &run);
    server.wait_phase(&id, "failed").await;
    server.kill9();
    fleet.hosts[0].come_back();
    server.restart().await;
    server.wait_for(&id, |job| !job["unconfirmed"].is_u64()).await;
    assert_proven(&server, &id, &run).await;
}

#[tokio::test]
async fn a_cancel_while_a_host_is_away_waits_for_its_proof() {
    let (mut fleet, server, id, run) = running(600).await;
    lose(&mut fleet, &run);
    wait_for_output(&server, &id, 0, "host0 does not answer").await;
    server.cancel(&id, json!({})).await;
    let waits = |job: &Value| job["waiting"][0]["detail"].as_str().is_some_and(|detail| detail.contains("since"));
    assert_eq!(server.wait_for(&id, waits).await["phase"], "cancelling");
    fleet.hosts[0].come_back();
    server.cancel(&id, json!({})).await;
    let job = server.wait_phase(&id, "cancelled").await;
    assert_eq!((&job["cancellation"]["stop"]["stopped"], &job["unconfirmed"]), (&json!(1), &Value::Null), "{job}");
    assert_proven(&server, &id, &run).await;
}

#[tokio::test]
async fn a_host_that_was_started_anew_has_nothing_of_the_command_and_it_is_said_like_that() {
    let (mut fleet, server, id, run) = running(60).await;
    lose(&mut fleet, &run);
    kill_marked(&run);
    fleet.hosts[0].come_back();
    server.wait_phase(&id, "failed").await;
    let unit = assert_proven(&server, &id, &run).await;
    assert!(unit["error"].as_str().unwrap().ends_with("nothing of the command was left"), "{unit}");
    assert_eq!((&unit["stop"]["processes_seen"], &unit["stop"]["signals"]), (&json!(0), &json!([])), "{unit}");
    assert_eq!(unit["stop"]["detail"], "Nothing of the run was found on host0.");
    let looked = format!("all processes of 127.0.0.1:{} were looked through", fleet.hosts[0].port);
    let steps = unit["stop"]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["detail"] == looked.as_str()), "{unit}");
}

#[tokio::test]
async fn a_command_that_took_too_long_on_a_silent_host_is_not_called_stopped() {
    let fleet = Fleet::start(1);
    let server = server_with(&fleet.config().replace("[ssh]\n", "[ssh]\nreconnect_s = 1\n")).await;
    let spec = json!({"hosts": ["host0"], "command": ["sleep", "600"], "timeout_s": 2, "connect_timeout_s": 1});
    let id = submit(&server, spec).await;
    wait_for_output(&server, &id, 0, "started on").await;
    fleet.hosts[0].freeze();
    server.wait_phase(&id, "failed").await;
    let late = unit(&server, &id, "host0").await;
    assert_eq!(late["error"], "timed out after 2 s, whether it still runs is not known");
    assert_eq!(late["stop"]["confirmed"], false, "{late}");
    fleet.hosts[0].thaw();
    resend_until_proven(&server, &id).await;
    assert_proven(&server, &id, late["run_id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn files_are_fetched_although_the_connection_broke_when_the_command_had_ended() {
    let fleet = Fleet::start(1);
    let server = server_with(&fleet.config()).await;
    let (sign, wanted) = (fleet.path("sign"), fleet.path("wanted"));
    std::fs::write(&wanted, "result").unwrap();
    // The connection breaks while what the command left is deaf to its stop.
    let script =
        format!("(trap '' TERM HUP; : > '{}'; while :; do sleep 1; done) >/dev/null 2>&1 & sleep 1", sign.display());
    let spec = json!({"hosts": ["host0"], "command": ["sh", "-c", script], "grace_s": 3, "collect": [wanted]});
    let id = submit(&server, spec).await;
    let run = async {
        while !sign.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(2_000)).await;
        fleet.hosts[0].cut();
        server.wait_phase(&id, "completed").await
    };
    tokio::time::timeout(LONG, run).await.expect("it completes");
    let artifacts = server.get(&format!("/api/jobs/{id}/artifacts")).await;
    assert_eq!(artifacts.body["items"][0]["name"], "wanted", "{}", artifacts.text());
    super::assert_nothing_left(&server, &id).await;
}
