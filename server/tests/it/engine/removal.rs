//! Removal: the receipt says what the plan said, and what is left is said too.

use std::fs;

use app::model::{Category, DeleteStatus, Leftover, Phase, ReceiptState, RerunRequest};
use belay_server::{
    engine::{DeleteOptions, Submission},
    error::Error,
    kinds::Upload,
};
use serde_json::json;

use super::stage::{Stage, actor, processes_with};
use crate::stuck::Stuck;

const PLAIN: DeleteOptions = DeleteOptions { force: false, keep_files: false };
const FORCE: DeleteOptions = DeleteOptions { force: true, keep_files: false };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receipt_says_what_the_plan_said_and_nothing_is_left() {
    let stage = Stage::new().await;
    let job = stage.submit("echo out; echo result > $BELAY_OUT/r", 3).await;
    stage.until_phase(job.job_id, Phase::Completed).await;
    let plan = stage.engine.plan(job.job_id, false).await.unwrap();
    assert_eq!((plan.needs_force, plan.files), (false, 6));
    let answer = stage.engine.delete(&actor(), job.job_id, PLAIN).await.unwrap();
    assert_eq!(answer.status, DeleteStatus::Deleted);
    let receipt = answer.receipt.unwrap();
    assert_eq!((receipt.state, receipt.last_phase, receipt.left.len()), (ReceiptState::Complete, Phase::Completed, 0));
    let planned: Vec<_> = plan.items.iter().map(|item| (item.category, item.items, item.bytes)).collect();
    let removed: Vec<_> = receipt.items.iter().map(|item| (item.category, item.removed, item.removed_bytes)).collect();
    assert_eq!(planned, removed);
    assert!(!stage.data.job(job.job_id).exists());
    assert!(stage.root().join("0.txt").exists(), "files that were only read stay");
    assert!(matches!(stage.engine.job(job.job_id).await, Err(Error::JobDeleted(_))));
    assert!(matches!(stage.engine.delete(&actor(), job.job_id, PLAIN).await, Err(Error::JobDeleted(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_job_is_deleted_only_by_force_and_then_stopped_first() {
    let stage = Stage::new().await;
    let word = format!("word-{}", uuid::Uuid::now_v7());
    let job = stage.submit(&format!("export WORD={word}; touch {}; sleep 300 & wait", stage.path("on")), 3).await;
    stage.until_made("on").await;
    let refused = stage.engine.delete(&actor(), job.job_id, PLAIN).await.unwrap_err();
    assert!(matches!(refused, Error::JobActive { .. }), "{refused}");
    assert!(stage.engine.plan(job.job_id, false).await.unwrap().needs_force);
    let receipt = stage.engine.delete(&actor(), job.job_id, FORCE).await.unwrap().receipt.unwrap();
    assert_eq!((receipt.state, receipt.forced, receipt.last_phase), (ReceiptState::Complete, true, Phase::Cancelled));
    assert_eq!(receipt.requested_by, "mara");
    assert_eq!(processes_with(&word), 0);
    assert!(!stage.data.job(job.job_id).exists());
    let results: Vec<String> = audit(&stage).await;
    assert!(results.contains(&"delete refused: JOB_ACTIVE".to_owned()), "{results:?}");
    assert!(results.contains(&"force_delete deleting".to_owned()), "{results:?}");
}

async fn audit(stage: &Stage) -> Vec<String> {
    let events = stage.store.audit_events(None, 100).await.unwrap().items;
    events.iter().map(|event| format!("{} {}", event.action.as_str(), event.result)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_artifacts_stay_where_the_receipt_says() {
    let stage = Stage::new().await;
    let job = stage.submit("echo result > $BELAY_OUT/r", 1).await;
    stage.until_phase(job.job_id, Phase::Completed).await;
    let keep = DeleteOptions { force: false, keep_files: true };
    let receipt = stage.engine.delete(&actor(), job.job_id, keep).await.unwrap().receipt.unwrap();
    let kept = stage.data.root().join(receipt.kept_in.unwrap());
    assert_eq!(fs::read_to_string(kept.join("0/r")).unwrap(), "result\n");
    let results = receipt.items.iter().find(|item| item.category == Category::Results).unwrap();
    assert_eq!((receipt.state, results.kept, results.removed), (ReceiptState::Complete, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_removed_is_in_the_receipt_until_a_retry_removes_it() {
    let stage = Stage::new().await;
    let job = stage.submit("echo result > $BELAY_OUT/r", 2).await;
    stage.until_phase(job.job_id, Phase::Completed).await;
    let Some(stuck) = Stuck::make(stage.data.unit_artifacts(job.job_id, 0)) else { return };
    let receipt = stage.engine.delete(&actor(), job.job_id, PLAIN).await.unwrap().receipt.unwrap();
    assert_eq!(receipt.state, ReceiptState::Incomplete);
    let [Leftover::Files { category: Category::Results, items: 1, .. }] = receipt.left.as_slice() else {
        panic!("{:?}", receipt.left)
    };
    let results = receipt.items.iter().find(|item| item.category == Category::Results).unwrap();
    assert_eq!((results.planned, results.removed, results.failed), (2, 1, 1));
    drop(stuck);
    let receipt = stage.engine.retry_removal(&actor(), job.job_id).await.unwrap();
    assert_eq!((receipt.state, receipt.retries, receipt.left.len()), (ReceiptState::Complete, 1, 0));
    assert!(!stage.data.job(job.job_id).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rerun_shares_uploads_so_that_either_job_can_be_deleted_alone() {
    let stage = Stage::new().await;
    let (job_id, inputs) = stage.engine.reserve().await.unwrap();
    let path = inputs.join("a b");
    fs::write(&path, "uploaded").unwrap();
    let upload = Upload { part: "files".to_owned(), name: "a b".to_owned(), path, bytes: 8 };
    let submission = Submission {
        job_id,
        name: "uploads".to_owned(),
        kind: "files".to_owned(),
        spec: json!({"command": ["cp", "{file}", "{out}"]}),
        uploads: vec![upload],
        idempotency: None,
    };
    stage.engine.submit(&actor(), submission).await.unwrap();
    stage.until_phase(job_id, Phase::Completed).await;
    let second = stage.engine.rerun(&actor(), job_id, RerunRequest::default(), None).await.unwrap();
    stage.until_phase(second.job_id, Phase::Completed).await;
    stage.engine.delete(&actor(), job_id, PLAIN).await.unwrap();
    let third = stage.engine.rerun(&actor(), second.job_id, RerunRequest::default(), None).await.unwrap();
    stage.until_phase(third.job_id, Phase::Completed).await;
}
