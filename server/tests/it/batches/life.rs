//! From the file to the results.

use serde_json::json;

use super::{
    Place,
    provider::{Hold, KEY},
    requests,
};
use crate::harness::Server;

#[tokio::test]
async fn a_batch_is_sent_followed_and_collected() {
    let place = Place::new().await;
    let id = place.submit(3).await;
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["phase"], "completed", "{job}");
    assert_eq!(job["progress"], json!({"total": 3, "succeeded": 3, "failed": 0, "cancelled": 0, "running": 0}));
    let batch = &job["batch"];
    assert_eq!((&batch["state"], &batch["raw_state"]), (&json!("succeeded"), &json!("completed")), "{batch}");
    assert_eq!((&batch["model"], &batch["endpoint"]), (&json!("gpt-4o-mini"), &json!("/v1/chat/completions")));
    assert!(batch["batch_id"].as_str().unwrap().starts_with("batch"), "{batch}");
    assert!(batch["expires_at"].is_string(), "{batch}");
    assert_eq!(batch["results"]["succeeded"], 3);
    let rows = place.rows(&id).await;
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["r-0", "r-1", "r-2"]);
    assert!(rows.iter().all(|row| row["status"] == "succeeded" && row["first_words"].is_string()), "{rows:?}");
    let failed = place.server.get(&format!("/api/jobs/{id}/requests?status=failed")).await;
    assert_eq!(failed.body["items"], json!([]));
    let artifacts = place.server.get(&format!("/api/jobs/{id}/artifacts")).await;
    let names: Vec<&str> =
        artifacts.body["items"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    for name in ["requests.csv", "requests.jsonl", "results.jsonl"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!((place.way.count("POST", "/v1/files"), place.way.count("POST", "/v1/batches")), (1, 1));
    assert_eq!(place.way.batches().await.len(), 1);
}

#[tokio::test]
async fn a_cancel_is_over_when_the_provider_says_so() {
    let place = Place::new().await;
    place.way.hold("GET", "", Hold::Request);
    let id = place.submit(2).await;
    place.way.until("POST", "/v1/batches").await;
    place.way.until("GET", "").await;
    // The provider does not say how it stands: nothing is called cancelled.
    let asked = place.server.cancel(&id, json!({})).await;
    assert_eq!((asked.status, &asked.body["phase"]), (202, &json!("cancelling")), "{}", asked.text());
    let waiting = place.server.job(&id).await["waiting"][0]["detail"].as_str().unwrap().to_owned();
    assert!(waiting.contains("`cancelling`"), "{waiting}");
    place.way.free();
    place.way.drop_held();
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["phase"], "cancelled", "{job}");
    assert_eq!(job["batch"]["raw_state"], "cancelled");
    assert_eq!(job["batch"]["cancel_result"], "cancelled");
    assert_eq!(job["cancellation"]["stop"]["stopped"], 1, "{job}");
    let units = place.server.get(&format!("/api/jobs/{id}/units?stopped=true")).await;
    let stop = &units.body["items"][0]["stop"];
    assert_eq!((&stop["method"], &stop["confirmed"]), (&json!("provider"), &json!(true)), "{stop}");
    assert!(stop["detail"].as_str().unwrap().contains("`cancelled`"), "{stop}");
    assert_eq!(place.way.count("DELETE", ""), 0, "a cancel is no deletion");
    assert_eq!(place.way.count("POST", "/cancel"), 1);
}

#[tokio::test]
async fn a_batch_that_finishes_anyway_says_so() {
    let place = Place::new().await;
    place.way.hold("POST", "/cancel", Hold::Request);
    let id = place.submit(2).await;
    place.way.until("POST", "/v1/batches").await;
    let asked = place.server.cancel(&id, json!({})).await;
    assert!(matches!(asked.status, 200 | 202), "{}", asked.text());
    place.way.until("POST", "/cancel").await;
    // Meanwhile the provider finishes: the second look completes it.
    for batch in place.way.batches().await {
        let _ = place.way.look(batch["id"].as_str().unwrap()).await;
        let _ = place.way.look(batch["id"].as_str().unwrap()).await;
    }
    place.way.free();
    place.way.drop_held();
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["phase"], "completed", "{job}");
    assert_eq!(job["batch"]["cancel_result"], "already_finished", "{job}");
    assert!(job["detail"].as_str().unwrap().contains("already finished"), "{job}");
    assert_eq!(job["batch"]["results"]["succeeded"], 2);
}

#[tokio::test]
async fn a_batch_that_the_provider_ends_is_told_in_its_words() {
    for (outcome, phase) in [("failed", "failed"), ("expired", "failed"), ("cancelled", "failed")] {
        let place = Place::new().await;
        place.way.end_as(outcome);
        let id = place.submit(2).await;
        let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
        assert_eq!((&job["phase"], &job["batch"]["raw_state"]), (&json!(phase), &json!(outcome)), "{job}");
        let units = place.server.get(&format!("/api/jobs/{id}/units")).await;
        let error = units.body["items"][0]["error"].as_str().unwrap().to_owned();
        assert!(error.contains("openai"), "{error}");
    }
}

#[tokio::test]
async fn a_file_with_faults_is_refused_by_its_lines_and_nothing_is_sent() {
    let place = Place::new().await;
    let bad = format!("{}{{\"custom_id\": \"r-0\"}}\nno json\n", requests(1));
    std::fs::write(place.server.root().join("bad.jsonl"), bad).unwrap();
    let spec = json!({"provider": "openai", "input": "bad.jsonl"});
    let refused = place.server.post("/api/jobs", &json!({"name": "x", "kind": "openai_batch", "spec": spec})).await;
    assert_eq!(refused.problem(), (422, "INVALID_SPEC".to_owned()));
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("line 2") && detail.contains("line 3"), "{detail}");
    let checked = place.server.post("/api/batches/check", &json!({"provider": "openai", "input": "bad.jsonl"})).await;
    assert_eq!(checked.status, 200, "{}", checked.text());
    assert!(checked.body["fault_count"].as_u64().unwrap() >= 2, "{}", checked.body);
    assert_eq!(place.way.seen(), Vec::<String>::new());
    assert_eq!(place.server.get("/api/jobs").await.body["items"], json!([]));
}

#[tokio::test]
async fn a_missing_key_is_named_and_nothing_is_stored() {
    let config = "[providers.openai]\napi_key_env = \"BELAY_TEST_NO_SUCH_KEY\"\nbase_url = \"http://127.0.0.1:9/v1\"\n";
    let server = Server::start_where(config).await;
    std::fs::write(server.root().join("r.jsonl"), requests(1)).unwrap();
    let spec = json!({"provider": "openai", "input": "r.jsonl"});
    let refused = server.post("/api/jobs", &json!({"name": "x", "kind": "openai_batch", "spec": spec})).await;
    assert_eq!(refused.problem(), (422, "INVALID_SPEC".to_owned()));
    assert!(refused.text().contains("BELAY_TEST_NO_SUCH_KEY"), "{}", refused.text());
    let providers = server.get("/api/providers").await;
    assert!(
        providers.body[0]["key_fault"].as_str().unwrap().contains("BELAY_TEST_NO_SUCH_KEY"),
        "{}",
        providers.text()
    );
}

#[tokio::test]
async fn a_key_is_in_no_answer_and_not_in_the_data_folder() {
    let place = Place::new().await;
    let id = place.submit(1).await;
    place.server.wait_phase(&id, "completed").await;
    for path in ["/api/providers", "/api/form-options", &format!("/api/jobs/{id}"), "/api/audit", "/metrics"] {
        assert!(!place.server.get(path).await.text().contains(KEY), "{path}");
    }
    let mut looked_at = 0;
    let mut folders = vec![place.server.data_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                looked_at += 1;
                assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "{}", path.display());
            }
        }
    }
    assert!(looked_at > 3);
}

#[tokio::test]
async fn a_removal_takes_the_files_at_the_provider_and_says_what_stays() {
    let place = Place::new().await;
    let id = place.submit(2).await;
    place.server.wait_phase(&id, "completed").await;
    let plan = place.server.remove(&id, "?dry_run=true").await;
    let files = |items: &serde_json::Value, field: &str| {
        let of_provider = |item: &&serde_json::Value| item["category"] == "provider_files";
        items.as_array().unwrap().iter().find(of_provider).map(|item| item[field].as_u64().unwrap())
    };
    let planned = files(&plan.body["items"], "items").expect("files at the provider");
    assert_eq!(planned, 2, "{}", plan.body);
    let gone = place.server.remove(&id, "").await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    let receipt = &gone.body["receipt"];
    assert_eq!((files(&receipt["items"], "planned"), files(&receipt["items"], "removed")), (Some(2), Some(2)));
    assert_eq!(receipt["state"], "complete", "{receipt}");
    let left = &receipt["left"][0];
    assert_eq!(
        (&left["what"], &left["category"], &left["for_ever"]),
        (&json!("provider"), &json!("provider_batch"), &json!(true))
    );
    assert_eq!(place.way.count("DELETE", ""), 2);
    let list = place.server.get("/api/providers/openai/batches").await;
    assert_eq!(list.body["items"][0]["owner"], "deleted_job", "{}", list.body);
}

#[tokio::test]
async fn an_active_batch_is_cancelled_with_proof_before_it_is_removed() {
    let place = Place::new().await;
    place.way.hold("GET", "", Hold::Request);
    let id = place.submit(1).await;
    place.way.until("GET", "").await;
    let refused = place.server.remove(&id, "").await;
    assert_eq!(refused.problem(), (409, "JOB_ACTIVE".to_owned()));
    place.way.free();
    let asked = place.server.remove(&id, "?force=true").await;
    assert!(matches!(asked.status, 200 | 202), "{}", asked.text());
    place.way.until("DELETE", "").await;
    let seen = place.way.seen();
    let at = |method: &str, end: &str| seen.iter().position(|seen| seen.starts_with(method) && seen.ends_with(end));
    assert!(at("POST", "/cancel") < at("DELETE", ""), "{seen:?}");
}

#[tokio::test]
async fn only_what_was_not_done_is_run_again() {
    let place = Place::new().await;
    place.way.hold("GET", "", Hold::Request);
    let id = place.submit(3).await;
    place.way.until("GET", "").await;
    place.server.cancel(&id, json!({})).await;
    place.way.free();
    place.way.drop_held();
    place.server.wait_phase(&id, "cancelled").await;
    let rerun = place.server.post(&format!("/api/jobs/{id}/rerun"), &json!({"units": "unfinished"})).await;
    assert_eq!(rerun.status, 201, "{}", rerun.text());
    let again = rerun.body["job_id"].as_str().unwrap();
    let job = place.server.wait_phase(again, "completed").await;
    assert_eq!(job["progress"]["total"], 3, "{job}");
    assert_eq!(place.way.batches().await.len(), 2);
}

/// Answers that fail now and then, in each of the ways that a network and a provider have.
async fn through_faults(fault: &'static str, value: &'static str) {
    let place = Place::with(&[fault, value]).await;
    let id = place.submit(2).await;
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!((&job["phase"], &job["batch"]["results"]["succeeded"]), (&json!("completed"), &json!(2)), "{job}");
    assert_eq!(place.way.batches().await.len(), 1, "{:?}", place.way.seen());
}

#[tokio::test]
async fn a_provider_that_asks_to_slow_down_is_asked_again() {
    through_faults("--chaos-ratelimit", "0.3").await;
}

#[tokio::test]
async fn answers_of_500_make_no_second_batch() {
    through_faults("--chaos-drop", "0.2").await;
}

#[tokio::test]
async fn connections_that_break_make_no_second_batch() {
    through_faults("--chaos-disconnect", "0.2").await;
}

#[tokio::test]
async fn answers_that_cannot_be_read_make_no_second_batch() {
    through_faults("--chaos-malformed", "0.2").await;
}

#[tokio::test]
async fn slow_answers_are_waited_for() {
    through_faults("--chaos-latency", "300").await;
}

#[tokio::test]
async fn two_jobs_over_one_file_and_two_who_cancel_are_told_apart() {
    let place = Place::new().await;
    place.way.hold("GET", "", Hold::Request);
    let (one, two) = (place.submit(1).await, place.submit(1).await);
    place.server.wait_for(&two, |job| job["batch"]["batch_id"].is_string()).await;
    place.server.wait_for(&one, |job| job["batch"]["batch_id"].is_string()).await;
    let (first, second) = tokio::join!(place.server.cancel(&one, json!({})), place.server.cancel(&one, json!({})));
    assert!(matches!((first.status, second.status), (200 | 202, 200 | 202)));
    place.way.until("POST", "/cancel").await;
    place.way.free();
    place.way.drop_held();
    let cancelled = place.server.wait_phase(&one, "cancelled").await;
    let completed = place.server.wait_phase(&two, "completed").await;
    assert_ne!(cancelled["batch"]["batch_id"], completed["batch"]["batch_id"]);
    assert_eq!(place.way.count("POST", "/cancel"), 1, "{:?}", place.way.seen());
    assert_eq!(place.way.batches().await.len(), 2);
}
