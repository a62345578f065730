//! Submit, claim, finish, conclude; the change counter; idempotency.

use app::model::{AuditAction, Category, JobId, JobQuery, Phase, Progress, UnitQuery, UnitStatus};
use belay_server::store::{ArtifactRow, FinishEffect, Idempotency, NewUnit, RunResult, Submitted, Verdict};

use super::fixture::{Fixture, gone, some_units};

pub(crate) async fn a_job_goes_from_pending_through_its_phase_to_its_end(f: Fixture) {
    let job = f.submit(2, 2).await;
    assert_eq!(f.phase(job).await, Phase::Pending);
    let runs = f.claim(5).await;
    assert_eq!(runs.iter().map(|run| run.unit.index).collect::<Vec<_>>(), [0, 1]);
    let begun = f.job(job).await;
    assert_eq!((begun.phase, begun.progress.running), (Phase::InProgress, 2));
    assert!(begun.started_at.is_some());
    assert_eq!(f.finish(runs[0].run_id, Verdict::Succeeded).await, FinishEffect::Counted { job_id: job, idle: false });
    assert!(f.store.idle_jobs(10).await.unwrap().is_empty());
    let bad = Verdict::Failed("exit 1".to_owned());
    assert_eq!(f.finish(runs[1].run_id, bad).await, FinishEffect::Counted { job_id: job, idle: true });
    assert_eq!(f.store.idle_jobs(10).await.unwrap().len(), 1);
    assert_eq!(f.store.conclude(job, Phase::InProgress, None, f.now()).await.unwrap(), Some(Phase::Partial));
    assert_eq!(f.store.conclude(job, Phase::InProgress, None, f.now()).await.unwrap(), None);
    let over = f.job(job).await;
    assert_eq!(over.progress, Progress { total: 2, succeeded: 1, failed: 1, cancelled: 0, running: 0 });
    assert!(over.finished_at.is_some());
    assert_eq!(f.status(job, 1).await, UnitStatus::Failed);
}

pub(crate) async fn what_was_submitted_reads_back_byte_for_byte(f: Fixture) {
    use std::os::unix::ffi::OsStringExt;
    let mut new = f.new_job("näme \"quoted\" %_", 7);
    new.rerun_of = Some(JobId(f.id()));
    let hostile = std::ffi::OsString::from_vec(b"/in/\xff\n -x".to_vec());
    let units = vec![NewUnit { phase: Phase::InProgress, name: "\u{fffd} -x".to_owned(), input: hostile.clone() }];
    let event = f.event(AuditAction::Submit, Some(new.job_id));
    f.store.submit(new.clone(), units, None, event.clone()).await.unwrap();
    let job = f.job(new.job_id).await;
    assert_eq!((&job.name, &job.spec, job.parallel), (&new.name, &new.spec, 7));
    assert_eq!((job.created_at, &job.created_by, job.rerun_of), (new.created_at, &new.created_by, new.rerun_of));
    assert_eq!(job.progress.total, 1);
    let run = f.claim_one().await;
    assert_eq!(run.unit.input, hostile);
    assert_eq!(run.spec, new.spec);
    assert_eq!(f.store.audit_events(None, 5).await.unwrap().items, [event]);
}

pub(crate) async fn an_unknown_job_is_none_and_its_lists_are_empty(f: Fixture) {
    let id = JobId(f.id());
    assert_eq!(f.store.job(id).await.unwrap(), None);
    assert_eq!(f.store.unit(id, 0).await.unwrap(), None);
    assert!(f.store.units(id, &UnitQuery::default()).await.unwrap().items.is_empty());
    assert!(f.store.artifacts(id, None, 10).await.unwrap().items.is_empty());
}

pub(crate) async fn a_known_idempotency_key_gives_the_first_job_and_stores_nothing(f: Fixture) {
    let key = |hash: &str, actor: &str| {
        Some(Idempotency { actor: actor.to_owned(), key: "k".to_owned(), request_hash: hash.to_owned(), now: f.now() })
    };
    let submit = async |key| {
        let job = f.new_job("keyed", 1);
        let id = job.job_id;
        let units = some_units(Phase::InProgress, 1);
        (id, f.store.submit(job, units, key, f.event(AuditAction::Submit, None)).await.unwrap())
    };
    let (first, stored) = submit(key("h1", "mara")).await;
    assert!(matches!(stored, Submitted::Stored));
    let (_, again) = submit(key("h1", "mara")).await;
    assert!(matches!(again, Submitted::Replayed(id) if id == first));
    assert!(matches!(submit(key("h2", "mara")).await.1, Submitted::KeyConflict));
    assert!(matches!(submit(key("h2", "jon")).await.1, Submitted::Stored), "keys are the actor's own");
    assert_eq!(f.store.jobs(&JobQuery::default()).await.unwrap().items.len(), 2);
    assert_eq!(f.store.audit_events(None, 9).await.unwrap().items.len(), 2, "what stored nothing is not audited");
    f.store.forget_expired(f.now().plus_millis(25 * 3_600_000)).await.unwrap();
    assert!(matches!(submit(key("h3", "mara")).await.1, Submitted::Stored), "after 24 h the key is free");
}

pub(crate) async fn a_kind_with_several_phases_goes_through_them_in_order(f: Fixture) {
    let mut new = f.new_job("pipeline", 2);
    new.phases = vec![Phase::Collection, Phase::FeatureExtraction, Phase::Matching];
    let job = f.submit_as(new, 2).await;
    let run = f.claim_one().await;
    assert_eq!(f.phase(job).await, Phase::Collection);
    f.finish(run.run_id, Verdict::Succeeded).await;
    let enter = async |from, to, count| f.store.enter_phase(job, from, to, some_units(to, count), f.now()).await;
    assert!(!enter(Phase::Collection, Phase::FeatureExtraction, 3).await.unwrap(), "not idle yet");
    let run = f.claim_one().await;
    f.finish(run.run_id, Verdict::Failed("bad".to_owned())).await;
    assert_eq!(f.store.conclude(job, Phase::Collection, None, f.now()).await.unwrap(), None, "not its last phase");
    assert!(enter(Phase::Collection, Phase::FeatureExtraction, 3).await.unwrap());
    assert!(!enter(Phase::Collection, Phase::FeatureExtraction, 3).await.unwrap(), "only once");
    let run = f.claim_one().await;
    assert_eq!((run.unit.index, run.unit.phase), (2, Phase::FeatureExtraction), "indexes continue");
    let record = f.job(job).await;
    assert_eq!(record.progress.total, 5);
    let of = |index: usize| (record.phases[index].phase, record.phases[index].progress);
    assert_eq!(of(0), (Phase::Collection, Progress { total: 2, succeeded: 1, failed: 1, cancelled: 0, running: 0 }));
    assert_eq!(of(1), (Phase::FeatureExtraction, Progress { total: 3, running: 1, ..Progress::default() }));
    assert_eq!(of(2), (Phase::Matching, Progress::default()));
    assert!(record.phases[0].started_at < record.phases[0].finished_at);
    assert!(record.phases[1].started_at.is_some() && record.phases[2].started_at.is_none());
    f.finish(run.run_id, Verdict::Succeeded).await;
    for run in f.claim(2).await {
        f.finish(run.run_id, Verdict::Succeeded).await;
    }
    assert!(enter(Phase::FeatureExtraction, Phase::Matching, 0).await.unwrap());
    assert_eq!(f.store.idle_jobs(5).await.unwrap().len(), 1, "a phase without units is over at once");
    assert_eq!(f.store.conclude(job, Phase::Matching, None, f.now()).await.unwrap(), Some(Phase::Partial));
}

pub(crate) async fn a_stopped_run_of_a_job_that_is_not_cancelled_has_failed(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    let effect = f.stopped(run.run_id, Verdict::Cancelled, gone(&["SIGTERM"])).await;
    assert_eq!(effect, FinishEffect::Counted { job_id: job, idle: true });
    let unit = f.store.unit(job, 0).await.unwrap().unwrap();
    assert_eq!(unit.status, UnitStatus::Failed);
    assert!(unit.error.is_some());
}

pub(crate) async fn a_result_keeps_exit_code_error_and_artifacts(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    let artifact = |path: &str| ArtifactRow {
        path: path.to_owned(),
        name: "sum.txt".to_owned(),
        unit: Some(0),
        category: Category::Results,
        bytes: 64,
    };
    let artifacts = vec![artifact("0/b"), artifact("0/a"), artifact("0/c")];
    let failed = Verdict::Failed("exit status 3".to_owned());
    let result = RunResult { exit_code: Some(3), artifacts, ..f.result(run.run_id, failed) };
    f.store.finish_run(result).await.unwrap();
    let unit = f.store.unit(job, 0).await.unwrap().unwrap();
    assert_eq!((unit.exit_code, unit.error.as_deref(), unit.artifacts), (Some(3), Some("exit status 3"), 3));
    assert_eq!((unit.run_id, unit.attempt), (Some(run.run_id), 1));
    let first = f.store.artifacts(job, None, 2).await.unwrap();
    assert_eq!(first.items, [artifact("0/a"), artifact("0/b")]);
    let second = f.store.artifacts(job, first.next_cursor.as_deref(), 2).await.unwrap();
    assert_eq!((second.items, second.next_cursor), (vec![artifact("0/c")], None));
    assert!(f.store.artifacts(job, Some("made up"), 2).await.is_err());
}

pub(crate) async fn what_a_page_could_show_moves_the_counter_and_a_heartbeat_does_not(f: Fixture) {
    let mut last = f.store.change_counter().await.unwrap();
    let mut moved = async || {
        let now = f.store.change_counter().await.unwrap();
        std::mem::replace(&mut last, now) != now
    };
    let job = f.submit(2, 1).await;
    assert!(moved().await, "submit");
    let run = f.claim_one().await;
    assert!(moved().await, "claim");
    f.store.heartbeat(super::fixture::WORKER, f.now(), f.now()).await.unwrap();
    f.store.sweep_cancelled(10).await.unwrap();
    f.claim(1).await;
    f.store.jobs(&JobQuery::default()).await.unwrap();
    assert!(!moved().await, "heartbeat, an empty sweep, a claim of nothing, reading");
    f.finish(run.run_id, Verdict::Succeeded).await;
    assert!(moved().await, "finish");
    f.finish(run.run_id, Verdict::Succeeded).await;
    assert!(!moved().await, "a fenced result");
    f.cancel(job).await;
    assert!(moved().await, "cancel");
}

pub(crate) async fn latest_units_are_those_begun_last(f: Fixture) {
    let job = f.submit(5, 5).await;
    let runs = f.claim(3).await;
    f.store.release_run(runs[0].run_id, false, None, f.now()).await.unwrap();
    let again = f.claim_one().await;
    assert_eq!(again.unit.index, 0);
    let latest = f.store.latest_units(job, 2).await.unwrap();
    assert_eq!(latest.iter().map(|unit| unit.index).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(f.store.latest_units(job, 9).await.unwrap().len(), 3);
}

pub(crate) async fn units_are_paged_by_index_and_filtered_by_status(f: Fixture) {
    let job = f.submit(7, 7).await;
    let runs = f.claim(3).await;
    f.finish(runs[1].run_id, Verdict::Succeeded).await;
    let page = async |status, cursor, limit| {
        let query = UnitQuery { status, cursor, limit: Some(limit), ..UnitQuery::default() };
        let page = f.store.units(job, &query).await.unwrap();
        (page.items.iter().map(|unit| unit.index).collect::<Vec<_>>(), page.next_cursor)
    };
    let (first, cursor) = page(None, None, 4).await;
    assert_eq!(first, [0, 1, 2, 3]);
    assert_eq!(page(None, cursor, 4).await, (vec![4, 5, 6], None));
    assert_eq!(page(Some(UnitStatus::Running), None, 9).await, (vec![0, 2], None));
    assert_eq!(page(Some(UnitStatus::Succeeded), None, 9).await, (vec![1], None));
    let (first, cursor) = page(Some(UnitStatus::Pending), None, 3).await;
    assert_eq!(first, [3, 4, 5]);
    assert_eq!(page(Some(UnitStatus::Pending), cursor, 3).await, (vec![6], None));
    let made_up = UnitQuery { cursor: Some("5".to_owned()), ..UnitQuery::default() };
    assert!(f.store.units(job, &made_up).await.is_err());
}

pub(crate) async fn units_are_told_by_their_end_and_by_their_stop(f: Fixture) {
    let job = f.submit(6, 6).await;
    let runs = f.claim(4).await;
    f.finish(runs[2].run_id, Verdict::Succeeded).await;
    f.finish(runs[0].run_id, Verdict::Failed("no".to_owned())).await;
    let indexes = async |query: UnitQuery| {
        let page = f.store.units(job, &query).await.unwrap();
        (page.items.iter().map(|unit| unit.index).collect::<Vec<_>>(), page.next_cursor)
    };
    let latest = |limit| UnitQuery { latest: true, limit: Some(limit), ..UnitQuery::default() };
    assert_eq!(indexes(latest(9)).await, (vec![0, 2], None));
    assert_eq!(indexes(latest(1)).await, (vec![0], None));
    let stopped = |cursor| UnitQuery { stopped: true, cursor, limit: Some(1), ..UnitQuery::default() };
    assert_eq!(indexes(stopped(None)).await, (vec![], None));
    f.cancel(job).await;
    for run in [&runs[3], &runs[1]] {
        f.stopped(run.run_id, Verdict::Cancelled, gone(&["SIGTERM"])).await;
    }
    assert_eq!(f.phase(job).await, Phase::Cancelled);
    // What was never started is cancelled too, and has no evidence.
    let (first, cursor) = indexes(stopped(None)).await;
    assert_eq!(first, [1]);
    assert_eq!(indexes(stopped(cursor)).await, (vec![3], None));
    assert_eq!(indexes(latest(9)).await.0, [1, 3, 0, 2]);
}

pub(crate) async fn a_large_job_is_stored_whole(f: Fixture) {
    let job = f.submit(4_321, 2).await;
    assert_eq!(f.job(job).await.progress.total, 4_321);
    assert_eq!(f.store.count_rows(job).await.unwrap().units, 4_321);
    let last = f.store.unit(job, 4_320).await.unwrap().unwrap();
    assert_eq!(last.name, "file-4320");
    assert_eq!(f.store.unit(job, 4_321).await.unwrap(), None);
}
