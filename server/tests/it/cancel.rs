//! SPEC, section 3: "cancelled" is said when nothing is left.

use serde_json::{Value, json};

use crate::{
    harness::{LONG, Server},
    marks::wait_for,
};

/// Processes whose environment carries the mark of any run of this server's jobs.
fn processes_of(server: &Server) -> Vec<String> {
    let marker = format!("BELAY_OUT={}", server.data_dir().canonicalize().unwrap().display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|pair| pair.starts_with(marker.as_bytes())) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

fn assert_adds_up(stop: &Value) {
    let of = |field: &str| stop[field].as_u64().unwrap();
    assert_eq!(of("units"), of("never_started") + of("stopped") + of("waiting") + of("unconfirmed"), "{stop}");
}

#[tokio::test]
async fn a_cancelled_job_has_no_process_left_and_says_so_with_evidence() {
    let server = Server::start().await;
    let inputs = server.inputs("tree", 4);
    let id = server.submit(&["sh", "-c", "sleep 600 & setsid sleep 600 & wait"], &inputs).await;
    server.wait_for(&id, |job| job["progress"]["running"] == 2).await;
    // Two shells with two children each: a cancel that comes before them stops nothing.
    wait_for(LONG, || processes_of(&server).len() == 6, || format!("{:?}", processes_of(&server)));
    let answer = server.cancel(&id, json!({"reason": "wrong_input", "notes": "the other folder"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(processes_of(&server), Vec::<String>::new());
    let body = &answer.body;
    assert_eq!(body["outcome"], "cancelled");
    assert_eq!(body["phase"], "cancelled");
    assert_eq!(body["cancelled"], true);
    assert!(body["cancelled_at"].is_string() && body["message"].is_string());
    assert_eq!((&body["reason"], &body["notes"]), (&json!("wrong_input"), &json!("the other folder")));
    assert_eq!(body["requested_by"], "bootstrap");
    assert_eq!(body["stop"], json!({"units": 4, "never_started": 2, "stopped": 2, "waiting": 0, "unconfirmed": 0}));
    let job = server.job(&id).await;
    assert_eq!(job["progress"], json!({"total": 4, "succeeded": 0, "failed": 0, "cancelled": 4, "running": 0}));
    assert_eq!(job["cancellation"]["cancelled_at"], body["cancelled_at"]);
    let units = server.get(&format!("/api/jobs/{id}/units")).await.body;
    for unit in units["items"].as_array().unwrap() {
        assert_eq!(unit["status"], "cancelled", "{unit}");
        if unit["run_id"].is_string() {
            assert_eq!(unit["stop"]["confirmed"], true, "{unit}");
            assert_eq!(unit["stop"]["processes_left"], 0, "{unit}");
            assert_eq!(unit["stop"]["method"], "terminated", "{unit}");
            assert_eq!(unit["stop"]["signals"], json!(["SIGTERM"]), "{unit}");
        }
    }
}

#[tokio::test]
async fn while_proof_is_missing_the_answer_is_202_and_says_what_it_waits_for() {
    let server = Server::start().await;
    let inputs = server.inputs("deaf", 1);
    let command = ["sh", "-c", "trap '' TERM; printf '%s-%s\\n' hears nothing; while :; do sleep 1; done"];
    let spec = json!({"command": command, "inputs": [inputs], "grace_s": 4});
    let created = server.post("/api/jobs", &json!({"name": "deaf", "kind": "files", "spec": spec})).await;
    let id = created.body["job_id"].as_str().unwrap().to_owned();
    // It runs from its first instruction on, and is deaf a moment later.
    let is_deaf = async {
        while !server.get(&format!("/api/jobs/{id}/log")).await.text().contains("hears-nothing") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, is_deaf).await.expect("it becomes deaf");
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!((&answer.body["phase"], &answer.body["outcome"]), (&json!("cancelling"), &json!("cancelling")));
    assert_eq!(answer.body["cancelled"], false);
    assert_eq!(answer.body["cancelled_at"], Value::Null);
    assert_eq!(answer.body["stop"]["waiting"], 1);
    assert_adds_up(&answer.body["stop"]);
    let waiting = server.job(&id).await["waiting"].clone();
    assert_eq!(waiting.as_array().unwrap().len(), 1, "{waiting}");
    // A rerun is not possible meanwhile, a cancel may be sent again.
    let rerun = server.post(&format!("/api/jobs/{id}/rerun"), &json!({})).await;
    assert_eq!(rerun.problem(), (409, "JOB_ACTIVE".to_owned()));
    let forced = server.cancel(&id, json!({"force": true})).await;
    assert_eq!(forced.status, 200, "{}", forced.text());
    assert_eq!(forced.body["stop"]["unconfirmed"], 0, "{}", forced.text());
    assert_eq!(processes_of(&server), Vec::<String>::new());
    let units = server.get(&format!("/api/jobs/{id}/units")).await.body;
    assert_eq!(units["items"][0]["stop"]["method"], "killed", "{units}");
}

#[tokio::test]
async fn a_second_cancel_keeps_the_first_reason() {
    let server = Server::start().await;
    let id = server.submit_endless("twice", 1).await;
    let first = server.cancel(&id, json!({"notes": "first"})).await;
    let second = server.cancel(&id, json!({"notes": "second"})).await;
    assert_eq!(second.status, 200);
    assert_eq!(second.body["outcome"], "already_cancelled");
    assert_eq!(second.body["notes"], "first");
    assert_eq!(second.body["cancelled_at"], first.body["cancelled_at"]);
    assert_eq!(second.body["cancelled"], true);
}

#[tokio::test]
async fn cancelling_a_finished_job_is_a_friendly_200() {
    let server = Server::start().await;
    let inputs = server.inputs("bad", 1);
    let done = server.submit_done("done").await;
    let failed = server.submit(&["false"], &inputs).await;
    server.wait_phase(&failed, "failed").await;
    for (id, phase) in [(done, "completed"), (failed, "failed")] {
        let answer = server.cancel(&id, json!({})).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body["outcome"], "already_finished");
        assert_eq!(answer.body["phase"], phase);
        assert_eq!(answer.body["cancelled"], false);
        assert!(answer.body["message"].as_str().unwrap().len() > 5);
        assert_eq!(server.job(&id).await["phase"], phase);
    }
}

#[tokio::test]
async fn what_had_finished_stays_as_it_is_and_nothing_new_is_begun() {
    let server = Server::start().await;
    let inputs = server.inputs("some", 20);
    let script = "case \"$BELAY_NAME\" in 000*|001*) exit 0;; *) sleep 600;; esac";
    let id = server.submit(&["sh", "-c", script], &inputs).await;
    server.wait_for(&id, |job| job["progress"]["succeeded"] == 2 && job["progress"]["running"] == 2).await;
    let answer = server.cancel(&id, json!({})).await;
    assert_eq!(answer.body["phase"], "cancelled", "{}", answer.text());
    assert_eq!(
        answer.body["stop"],
        json!({"units": 18, "never_started": 16, "stopped": 2, "waiting": 0, "unconfirmed": 0})
    );
    let job = server.job(&id).await;
    assert_eq!(job["progress"], json!({"total": 20, "succeeded": 2, "failed": 0, "cancelled": 18, "running": 0}));
}

#[tokio::test]
async fn the_body_is_optional_and_a_bad_one_changes_nothing() {
    let server = Server::start().await;
    let id = server.submit_endless("body", 1).await;
    let path = format!("/api/jobs/{id}/cancel");
    let send = async |body: String| {
        server.send(server.request("POST", &path).header("content-type", "application/json").body(body)).await
    };
    assert_eq!(send("{\"reason\":".to_owned()).await.problem(), (400, "INVALID_BODY".to_owned()));
    let unknown = send("{\"why\":\"x\"}".to_owned()).await;
    assert_eq!(unknown.problem(), (422, "INVALID_CANCEL".to_owned()));
    assert_eq!(unknown.body["field"], "why");
    let long = send(json!({"notes": "é".repeat(501)}).to_string()).await;
    assert_eq!(long.problem(), (422, "INVALID_CANCEL".to_owned()));
    assert_eq!(long.body["field"], "notes");
    let spaced = send(json!({"reason": "two words"}).to_string()).await;
    assert_eq!(spaced.problem(), (422, "INVALID_CANCEL".to_owned()));
    assert_eq!(server.job(&id).await["phase"], "in_progress");
    let empty = server.send(server.request("POST", &path)).await;
    assert_eq!(empty.status, 200, "{}", empty.text());
    assert_eq!(empty.body["reason"], "user_request");
    let exact = server.submit_endless("exact", 1).await;
    assert_eq!(server.cancel(&exact, json!({"notes": "é".repeat(500)})).await.status, 200);
}

#[tokio::test]
async fn a_cancel_is_audited_with_who_from_where_and_what_came_of_it() {
    let server = Server::start().await;
    let id = server.submit_endless("audited", 1).await;
    let answer = server.cancel(&id, json!({"notes": "too slow"})).await;
    let audit = server.get("/api/audit").await.body;
    let event = audit["items"].as_array().unwrap().iter().find(|event| event["action"] == "cancel").unwrap();
    assert_eq!((&event["actor"], &event["source"]), (&json!("bootstrap"), &json!("api")));
    assert_eq!(event["address"], "127.0.0.1");
    assert_eq!(event["job_id"], id);
    assert_eq!(event["request_id"].as_str(), answer.header("x-request-id").as_deref());
}
