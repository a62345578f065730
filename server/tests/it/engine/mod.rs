//! The life of a job, with real processes: what it came to, and that nothing is left.

mod removal;
mod repair;
mod stage;

use std::{fs, time::Duration};

use app::model::{
    CancelOutcome, CancelRequest, LogQuery, Phase, RerunRequest, RerunUnits, StopMethod, UnitQuery, UnitStatus,
};
use belay_server::error::Error;
use serde_json::json;
use stage::{Stage, actor, processes_with};

fn because(notes: &str) -> CancelRequest {
    CancelRequest { reason: None, notes: Some(notes.to_owned()), force: false }
}

fn forced() -> CancelRequest {
    CancelRequest { force: true, ..CancelRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_a_command_for_each_file_and_keeps_what_it_made() {
    let stage = Stage::new().await;
    let job = stage.submit("echo made of $BELAY_NAME; cp \"$BELAY_FILE\" \"$BELAY_OUT/copy of $BELAY_NAME\"", 3).await;
    let job = stage.until_phase(job.job_id, Phase::Completed).await;
    assert_eq!((job.progress.total, job.progress.succeeded, job.progress.running), (3, 3, 0));
    let artifacts = stage.engine.artifacts(job.job_id, None).await.unwrap().items;
    let paths: Vec<&str> = artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
    assert_eq!(paths, ["0/copy%20of%200.txt", "1/copy%20of%201.txt", "2/copy%20of%202.txt"]);
    let opened = stage.engine.artifact(job.job_id, paths[1]).await.unwrap();
    assert_eq!((opened.name.as_str(), opened.bytes), ("copy of 1.txt", 6));
    let log = stage.engine.log(job.job_id, &LogQuery { unit: Some(1), ..LogQuery::default() }).await.unwrap();
    assert_eq!(log.items.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["made of 1.txt"]);
    assert_eq!(stage.engine.log(job.job_id, &LogQuery::default()).await.unwrap().items.len(), 3);
    assert!(job.bytes.is_some_and(|bytes| bytes >= 18));
    stage::until("scratch is gone", || async { stage.scratch_is_empty(job.job_id) }).await;
    assert!(!fs::read_dir(stage.data.runs()).unwrap().flatten().any(|entry| {
        entry.file_name().to_string_lossy().ends_with(".stop") || entry.file_name().to_string_lossy().ends_with(".lock")
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_each_unit_failed_is_said_and_the_job_is_partial() {
    let stage = Stage::new().await;
    let script = "case $BELAY_NAME in 0*) exit 3;; 1*) kill -9 $$;; 2*) sleep 60;; esac";
    let spec = json!({"command": ["bash", "-c", script], "inputs": stage.files(4), "timeout_s": 1});
    let job = stage.submit_spec(spec).await.unwrap();
    let job = stage.until_phase(job.job_id, Phase::Partial).await;
    let units = stage.engine.units(job.job_id, &UnitQuery::default()).await.unwrap().items;
    let errors: Vec<Option<&str>> = units.iter().map(|unit| unit.error.as_deref()).collect();
    assert_eq!(errors, [Some("exit status 3"), Some("ended by signal 9"), Some("timed out after 1 s, stopped"), None]);
    assert_eq!(units[0].exit_code, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_vanishes_before_its_turn_fails_its_unit_only() {
    let stage = Stage::new().await;
    let script = format!("until [ -e {} ]; do sleep 0.01; done", stage.path("go"));
    let spec = json!({"command": ["bash", "-c", script], "inputs": stage.files(2), "parallel": 1});
    let job = stage.submit_spec(spec).await.unwrap();
    stage.until_running(job.job_id, 1).await;
    fs::remove_file(stage.root().join("1.txt")).unwrap();
    fs::write(stage.folder.path().join("go"), "").unwrap();
    let job = stage.until_phase(job.job_id, Phase::Partial).await;
    let units = stage.engine.units(job.job_id, &UnitQuery::default()).await.unwrap().items;
    assert_eq!(units[1].error.as_deref(), Some("the file is gone: 1.txt"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_submit_leaves_nothing_behind() {
    let stage = Stage::new().await;
    for spec in [json!({"command": ["true"]}), json!({"command": ["true"], "inputs": ["none"]}), json!({"preset": "x"})]
    {
        let error = stage.submit_spec(spec).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(stage.data.root().join("jobs")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_is_stopped_with_proof_and_keeps_what_it_made() {
    let stage = Stage::new().await;
    let word = format!("word-{}", uuid::Uuid::now_v7());
    let script = format!(
        "export WORD={word}; echo part > $BELAY_OUT/part; sleep 300 & setsid sleep 300 & touch {}-$BELAY_STEM; wait",
        stage.path("on")
    );
    let job = stage.submit(&script, 5).await;
    stage.until_made("on-0").await;
    stage.until_made("on-1").await;
    let answer = stage.engine.cancel(&actor(), job.job_id, because("too slow")).await.unwrap();
    assert_eq!((answer.outcome, answer.phase, answer.cancelled), (CancelOutcome::Cancelled, Phase::Cancelled, true));
    assert_eq!((answer.stop.units, answer.stop.never_started, answer.stop.stopped), (5, 3, 2));
    assert_eq!((answer.notes.as_deref(), answer.requested_by.as_deref()), (Some("too slow"), Some("mara")));
    assert_eq!(processes_with(&word), 0);
    let units = stage.engine.units(job.job_id, &UnitQuery::default()).await.unwrap().items;
    assert!(units.iter().all(|unit| unit.status == UnitStatus::Cancelled));
    let stop = units[0].stop.clone().unwrap();
    assert_eq!((stop.method, stop.processes_left, stop.confirmed), (StopMethod::Terminated, Some(0), true));
    assert_eq!(units[4].stop.clone().unwrap().method, StopMethod::NeverStarted);
    assert!(stage.engine.artifact(job.job_id, "0/part").await.is_ok());
    let again = stage.engine.cancel(&actor(), job.job_id, because("me too")).await.unwrap();
    assert_eq!((again.outcome, again.notes.as_deref()), (CancelOutcome::AlreadyCancelled, Some("too slow")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_right_after_the_submit_is_proven_without_waiting_for_a_poll() {
    let stage = Stage::new().await;
    for _ in 0..20 {
        let job = stage.submit("sleep 300", 2).await;
        let begun = std::time::Instant::now();
        let answer = stage.engine.cancel(&actor(), job.job_id, CancelRequest::default()).await.unwrap();
        assert_eq!(answer.outcome, CancelOutcome::Cancelled, "{}", answer.message);
        assert!(begun.elapsed() < Duration::from_millis(1_900), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_takes_its_grace_is_answered_as_cancelling_and_force_kills() {
    let stage = Stage::new().await;
    let script = format!("trap '' TERM; touch {}; while :; do sleep 1; done", stage.path("on"));
    let job = stage.submit(&script, 1).await;
    stage.until_made("on").await;
    let answer = stage.engine.cancel(&actor(), job.job_id, CancelRequest::default()).await.unwrap();
    assert_eq!((answer.outcome, answer.phase), (CancelOutcome::Cancelling, Phase::Cancelling));
    assert!(answer.message.starts_with("0 of 1 stopped…"), "{}", answer.message);
    let waiting = stage.engine.job(job.job_id).await.unwrap().waiting;
    assert_eq!((waiting.len(), waiting[0].lost), (1, false));
    let answer = stage.engine.cancel(&actor(), job.job_id, forced()).await.unwrap();
    assert_eq!((answer.outcome, answer.stop.unconfirmed), (CancelOutcome::Cancelled, 0));
    let units = stage.engine.units(job.job_id, &UnitQuery::default()).await.unwrap().items;
    assert_eq!(units[0].stop.clone().unwrap().method, StopMethod::Killed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_a_finished_job_is_a_friendly_word() {
    let stage = Stage::new().await;
    let job = stage.submit("true", 1).await;
    stage.until_phase(job.job_id, Phase::Completed).await;
    let answer = stage.engine.cancel(&actor(), job.job_id, CancelRequest::default()).await.unwrap();
    assert_eq!((answer.outcome, answer.cancelled), (CancelOutcome::AlreadyFinished, false));
    assert_eq!(answer.message, "This job has already completed.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rerun_of_the_unfinished_takes_only_those() {
    let stage = Stage::new().await;
    let script = format!("[ $BELAY_STEM = 0 ] || [ -e {} ]", stage.path("fixed"));
    let job = stage.submit(&script, 3).await;
    let job = stage.until_phase(job.job_id, Phase::Partial).await;
    fs::write(stage.folder.path().join("fixed"), "").unwrap();
    let wanted = RerunRequest { units: RerunUnits::Unfinished, name: None };
    let second = stage.engine.rerun(&actor(), job.job_id, wanted.clone(), None).await.unwrap();
    assert_eq!((second.rerun_of, second.progress.total), (Some(job.job_id), 2));
    stage.until_phase(second.job_id, Phase::Completed).await;
    let error = stage.engine.rerun(&actor(), second.job_id, wanted, None).await.unwrap_err();
    assert!(matches!(error, Error::NotPossible { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_change_is_woken_by_it() {
    let stage = Stage::new().await;
    let seen = stage.store.change_counter().await.unwrap();
    let (changed, job) = tokio::join!(stage.engine.changed_since(seen), stage.submit("true", 1));
    assert!(changed.unwrap() > seen);
    stage.until_phase(job.job_id, Phase::Completed).await;
}
