//! SPEC, section 4: removed with a receipt.

use serde_json::{Value, json};

use crate::harness::Server;

fn sum(items: &Value, field: &str) -> u64 {
    items.as_array().unwrap().iter().map(|item| item[field].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn a_deleted_job_is_gone_and_its_receipt_says_what_is_gone() {
    let server = Server::start().await;
    let id = server.submit_done("gone").await;
    let plan = server.remove(&id, "?dry_run=true").await;
    assert_eq!(plan.status, 200);
    assert_eq!(plan.body["needs_force"], false);
    assert_eq!(server.job(&id).await["phase"], "completed", "a dry run changes nothing");
    let answer = server.remove(&id, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((&answer.body["status"], &answer.body["job_id"]), (&json!("deleted"), &json!(id)));
    assert!(answer.body["deleted_at"].is_string());
    let receipt = &answer.body["receipt"];
    assert_eq!((&receipt["state"], &receipt["forced"]), (&json!("complete"), &json!(false)));
    assert_eq!(receipt["last_phase"], "completed");
    assert_eq!(receipt["left"], json!([]));
    assert_eq!(sum(&receipt["items"], "planned"), sum(&receipt["items"], "removed"), "{receipt}");
    assert_eq!(sum(&plan.body["items"], "items"), sum(&receipt["items"], "removed"), "{receipt}");
    assert!(!server.data_dir().join("jobs").join(&id).exists());
    assert!(server.root().join("gone/000.txt").exists(), "files that were only read stay");
    assert_eq!(server.get("/api/jobs").await.body["items"], json!([]));
    assert_eq!(server.get(&format!("/api/removals/{id}")).await.body, *receipt);
    assert_eq!(server.get("/api/removals").await.body["items"], json!([receipt]));
}

#[tokio::test]
async fn a_job_deleted_before_is_404_with_the_place_of_its_receipt() {
    let server = Server::start().await;
    let id = server.submit_done("twice").await;
    server.remove(&id, "").await;
    for answer in [
        server.remove(&id, "").await,
        server.remove(&id, "?dry_run=true").await,
        server.get(&format!("/api/jobs/{id}")).await,
        server.cancel(&id, json!({})).await,
        server.get(&format!("/api/jobs/{id}/units")).await,
        server.post(&format!("/api/jobs/{id}/rerun"), &json!({})).await,
    ] {
        assert_eq!(answer.problem(), (404, "JOB_DELETED".to_owned()));
        assert_eq!(answer.body["receipt"], format!("/api/removals/{id}"));
    }
}

#[tokio::test]
async fn an_active_job_needs_force_and_then_is_stopped_with_proof_first() {
    let server = Server::start().await;
    let id = server.submit_endless("active", 3).await;
    let plan = server.remove(&id, "?dry_run=true").await;
    assert_eq!((plan.status, &plan.body["needs_force"]), (200, &json!(true)), "{}", plan.text());
    let refused = server.remove(&id, "?force=false").await;
    assert_eq!(refused.problem(), (409, "JOB_ACTIVE".to_owned()));
    assert_eq!(refused.body["detail"], "Job is still active. Cancel it first or use force=true");
    assert_eq!(server.job(&id).await["phase"], "in_progress");
    let answer = server.remove(&id, "?force=true").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.body["receipt"]["forced"], true);
    assert_eq!(answer.body["receipt"]["last_phase"], "cancelled");
    assert_eq!(answer.body["receipt"]["state"], "complete");
    let actions: Vec<Value> = server.get("/api/audit").await.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["action"].clone())
        .collect();
    assert!(actions.contains(&json!("force_delete")), "{actions:?}");
}

#[tokio::test]
async fn kept_files_stay_where_the_receipt_says() {
    let server = Server::start().await;
    let id = server.submit_done("kept").await;
    let answer = server.remove(&id, "?keep_files=true").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let folder = server.data_dir().join(answer.body["receipt"]["kept_in"].as_str().unwrap());
    assert!(folder.is_dir(), "{}", folder.display());
    assert_eq!(sum(&answer.body["receipt"]["items"], "kept"), 2, "{}", answer.text());
}

#[tokio::test]
async fn a_receipt_holds_no_file_name() {
    let server = Server::start().await;
    let inputs = server.inputs("confidential", 1);
    std::fs::write(server.root().join("confidential/salaries.txt"), "x").unwrap();
    let spec = json!({"command": ["cp", "{file}", "{out}"], "inputs": [inputs]});
    let created = server.post("/api/jobs", &json!({"name": "Plain", "kind": "files", "spec": spec})).await;
    let id = created.body["job_id"].as_str().unwrap().to_owned();
    server.wait_phase(&id, "completed").await;
    server.remove(&id, "").await;
    let text = server.get(&format!("/api/removals/{id}")).await.text();
    assert!(text.contains("Plain") && !text.contains("salaries") && !text.contains("confidential"), "{text}");
    let retried = server.post(&format!("/api/removals/{id}/retry"), &json!({})).await;
    assert_eq!((retried.status, &retried.body["state"]), (200, &json!("complete")), "{}", retried.text());
}

#[tokio::test]
async fn a_flag_that_is_neither_true_nor_false_deletes_nothing() {
    let server = Server::start().await;
    let id = server.submit_done("flag").await;
    for query in ["?dry_run=yes", "?force=maybe", "?keep_files=2"] {
        assert_eq!(server.remove(&id, query).await.problem(), (400, "INVALID_QUERY".to_owned()), "{query}");
    }
    assert_eq!(server.job(&id).await["phase"], "completed");
}
