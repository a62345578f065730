//! Hosts that fall silent, connections that break, servers that are killed: nothing is called stopped without a look, and
//! nothing is forgotten.

use std::time::Duration;

use serde_json::{Value, json};

use super::{assert_nothing_left, server_of, submit, submit_shell, transcript, unit, wait_for_output};
use crate::{
    harness::Server,
    sshd::{Fleet, marked},
};

/// Waits, by asking, until the job's stop is as it should be.
async fn wait_for_stop(server: &Server, id: &str, done: impl Fn(&Value) -> bool) -> Value {
    server.wait_for(id, |job| done(&job["cancellation"]["stop"])).await
}

async fn run_of(server: &Server, id: &str, host: &str) -> String {
    unit(server, id, host).await["run_id"].as_str().unwrap().to_owned()
}

/// A job on two hosts; its cancel, while the second one is frozen, has proof of the first one only.
async fn cancelled_while_frozen(server: &Server, fleet: &Fleet) -> String {
    let spec = json!({"hosts": ["group:all"], "command": ["sleep", "600"], "connect_timeout_s": 2});
    let id = submit(server, spec).await;
    wait_for_output(server, &id, 0, "started on").await;
    wait_for_output(server, &id, 1, "started on").await;
    fleet.hosts[1].freeze();
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let job =
        server.wait_for(&id, |job| job["waiting"][0]["detail"].as_str().is_some_and(|d| d.contains("since"))).await;
    assert_eq!(job["phase"], "cancelling");
    assert_eq!(
        (&job["waiting"][0]["name"], &job["cancellation"]["stop"]["stopped"]),
        (&json!("host1"), &json!(1)),
        "{job}"
    );
    id
}

#[tokio::test]
async fn a_frozen_host_keeps_the_job_cancelling_until_it_answers_and_resend_asks_it() {
    let fleet = Fleet::start(2);
    let server = server_of(&fleet).await;
    let id = cancelled_while_frozen(&server, &fleet).await;
    let run = run_of(&server, &id, "host1").await;
    assert!(!marked(&run).is_empty(), "it runs on, and Belay did not say otherwise");
    fleet.hosts[1].thaw();
    server.cancel(&id, json!({})).await;
    let job = server.wait_phase(&id, "cancelled").await;
    assert_eq!(job["cancellation"]["stop"]["stopped"], 2, "{job}");
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job}");
    assert_nothing_left(&server, &id).await;
    let lines = transcript(&server, &id, 1).await;
    assert!(lines.last().unwrap().1.starts_with("[TASK CANCELLED]"), "{lines:?}");
}

#[tokio::test]
async fn force_ends_the_job_with_the_frozen_host_unconfirmed_and_a_later_resend_adds_the_proof() {
    let fleet = Fleet::start(2);
    let server = server_of(&fleet).await;
    let id = cancelled_while_frozen(&server, &fleet).await;
    server.cancel(&id, json!({"force": true})).await;
    let job = server.wait_phase(&id, "cancelled").await;
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 1, "{job}");
    let stop = unit(&server, &id, "host1").await["stop"].clone();
    assert_eq!((&stop["confirmed"], &stop["processes_left"]), (&json!(false), &Value::Null), "{stop}");
    fleet.hosts[1].thaw();
    server.cancel(&id, json!({})).await;
    let job = wait_for_stop(&server, &id, |stop| stop["unconfirmed"] == 0).await;
    assert_eq!((&job["phase"], &job["cancellation"]["stop"]["stopped"]), (&json!("cancelled"), &json!(2)), "{job}");
    let stop = unit(&server, &id, "host1").await["stop"].clone();
    assert_eq!((&stop["confirmed"], &stop["processes_left"]), (&json!(true), &json!(0)), "{stop}");
    assert_nothing_left(&server, &id).await;
}

#[tokio::test]
async fn what_was_not_proven_outlives_the_job_and_is_proven_by_a_retry_of_its_removal() {
    let fleet = Fleet::start(2);
    let server = server_of(&fleet).await;
    let id = cancelled_while_frozen(&server, &fleet).await;
    let run = run_of(&server, &id, "host1").await;
    server.cancel(&id, json!({"force": true})).await;
    server.wait_phase(&id, "cancelled").await;
    server.remove(&id, "").await;
    let receipt = async {
        loop {
            let receipt = server.get(&format!("/api/removals/{id}")).await.body;
            if receipt["state"] != "running" {
                return receipt;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let receipt = tokio::time::timeout(crate::harness::LONG, receipt).await.expect("the removal ends");
    assert_eq!(receipt["state"], "incomplete", "{receipt}");
    assert!(!marked(&run).is_empty(), "the job is gone, its command is not");
    fleet.hosts[1].thaw();
    let retried = server.post(&format!("/api/removals/{id}/retry"), &json!({})).await;
    assert_eq!((retried.status, &retried.body["state"]), (200, &json!("complete")), "{}", retried.text());
    assert_eq!(marked(&run), Vec::<String>::new());
}

#[tokio::test]
async fn a_frozen_host_is_asked_again_by_the_next_server_too() {
    let fleet = Fleet::start(2);
    let mut server = server_of(&fleet).await;
    let id = cancelled_while_frozen(&server, &fleet).await;
    server.kill9();
    server.restart().await;
    assert_eq!(server.job(&id).await["phase"], "cancelling");
    fleet.hosts[1].thaw();
    server.cancel(&id, json!({})).await;
    server.wait_phase(&id, "cancelled").await;
    assert_nothing_left(&server, &id).await;
}

#[tokio::test]
async fn a_command_whose_connection_breaks_is_found_and_ended() {
    let fleet = Fleet::start(1);
    let server = server_of(&fleet).await;
    // Deaf, so that it does not end by itself.
    let id = submit_shell(&server, &["host0"], "trap '' TERM HUP PIPE; echo begun; while :; do sleep 1; done").await;
    wait_for_output(&server, &id, 0, "begun").await;
    let run = run_of(&server, &id, "host0").await;
    fleet.hosts[0].cut();
    server.wait_phase(&id, "failed").await;
    let unit = unit(&server, &id, "host0").await;
    assert!(unit["error"].as_str().unwrap().contains("cut off"), "{unit}");
    assert_eq!((&unit["stop"]["confirmed"], &unit["stop"]["processes_left"]), (&json!(true), &json!(0)), "{unit}");
    assert_eq!(marked(&run), Vec::<String>::new());
}

#[tokio::test]
async fn a_killed_server_leaves_nothing_running_and_its_job_goes_on() {
    let fleet = Fleet::start(2);
    let mut server = server_of(&fleet).await;
    let id = submit_shell(&server, &["group:all"], "(setsid sleep 600 &) ; echo begun; sleep 600").await;
    wait_for_output(&server, &id, 0, "begun").await;
    wait_for_output(&server, &id, 1, "begun").await;
    let runs = [run_of(&server, &id, "host0").await, run_of(&server, &id, "host1").await];
    server.kill9();
    server.restart().await;
    // The next attempt begins only when nothing of the first one is left.
    let job = server.wait_for(&id, |job| job["progress"]["running"] == 2).await;
    assert_eq!(job["phase"], "in_progress");
    let begun_again = async {
        loop {
            let (first, second) = (unit(&server, &id, "host0").await, unit(&server, &id, "host1").await);
            if first["attempt"] == 2 && second["attempt"] == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::harness::LONG, begun_again).await.expect("both hosts are given out again");
    for run in &runs {
        assert_eq!(marked(run), Vec::<String>::new());
    }
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.body["phase"], "cancelled", "{}", answer.text());
    assert_nothing_left(&server, &id).await;
}

#[tokio::test]
async fn what_a_killed_server_had_running_ends_by_itself() {
    let fleet = Fleet::start(1);
    let mut server = server_of(&fleet).await;
    let script = "trap '' TERM; (setsid sleep 600 &) ; echo begun; while :; do sleep 1; done";
    let id = submit_shell(&server, &["host0"], script).await;
    wait_for_output(&server, &id, 0, "begun").await;
    let run = run_of(&server, &id, "host0").await;
    assert!(!marked(&run).is_empty());
    server.kill9();
    let gone = async {
        while !marked(&run).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(crate::harness::LONG, gone).await.is_ok(), "{:?}", marked(&run));
}

#[tokio::test]
async fn a_server_that_shuts_down_stops_what_runs_on_hosts() {
    let fleet = Fleet::start(1);
    let mut server = server_of(&fleet).await;
    let id = submit_shell(&server, &["host0"], "echo begun; sleep 600").await;
    wait_for_output(&server, &id, 0, "begun").await;
    let run = run_of(&server, &id, "host0").await;
    server.terminate().await;
    assert_eq!(marked(&run), Vec::<String>::new());
}
