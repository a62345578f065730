//! Batches at providers, and runs that follow them.

use app::model::{AuditAction, JobId, Kind, Phase, Progress, ProviderKind, RunId, StopSummary, UnitStatus};
use belay_server::store::{
    BatchRecord, BatchStep, CancelEffect, Claim, ClaimedRun, FinishEffect, Lane, NewJobRecord, PutBatch, RunResult,
    RunState, Submitted, Verdict,
};

use super::fixture::{Fixture, INSTANCE, LEASE_MILLIS, WORKER, gone, some_units};

const PHASES: [Phase; 3] = [Phase::Validating, Phase::InProgress, Phase::Finalizing];

/// A batch job whose one unit runs.
async fn followed(f: &Fixture) -> (JobId, ClaimedRun) {
    let job = NewJobRecord {
        kind: Kind::OpenaiBatch,
        phases: PHASES.to_vec(),
        spec: "{}".to_owned(),
        ..f.new_job("batch", 1)
    };
    let id = f.submit_as(job, 1).await;
    let now = f.now();
    let claim = Claim {
        worker: WORKER.to_owned(),
        lane: Lane::Provider,
        max: 5,
        now,
        lease_until: now.plus_millis(LEASE_MILLIS),
        run_ids: (0..5).map(|_| RunId(f.id())).collect(),
    };
    let mut claimed = f.store.claim(&claim).await.unwrap();
    assert_eq!(claimed.len(), 1);
    (id, claimed.remove(0))
}

fn batch(job: JobId) -> BatchRecord {
    BatchRecord::new(job, "openai", ProviderKind::Openai)
}

pub(crate) async fn a_batch_is_only_claimed_in_its_own_lane(f: Fixture) {
    let job = NewJobRecord { kind: Kind::GeminiBatch, phases: PHASES.to_vec(), ..f.new_job("batch", 1) };
    let id = f.submit_as(job, 1).await;
    assert!(f.claim(1).await.is_empty());
    assert_eq!(f.phase(id).await, Phase::Pending);
}

pub(crate) async fn an_update_of_a_batch_is_guarded_by_its_version(f: Fixture) {
    let job = f.submit(1, 1).await;
    assert_eq!(f.store.batch(job).await.unwrap(), None);
    let first = batch(job);
    assert_eq!(f.store.put_batch(&first).await.unwrap(), PutBatch::Stored(1));
    assert_eq!(f.store.put_batch(&first).await.unwrap(), PutBatch::Conflict, "it is there already");
    let read = f.store.batch(job).await.unwrap().unwrap();
    assert_eq!(read, BatchRecord { version: 1, ..first });
    let counter = f.store.change_counter().await.unwrap();
    let ours = BatchRecord { step: BatchStep::Creating, ..read.clone() };
    let theirs = BatchRecord { step: BatchStep::Uploading, ..read };
    assert_eq!(f.store.put_batch(&ours).await.unwrap(), PutBatch::Stored(2));
    assert_eq!(f.store.put_batch(&theirs).await.unwrap(), PutBatch::Conflict);
    assert_eq!(f.store.batch(job).await.unwrap().unwrap().step, BatchStep::Creating);
    assert!(f.store.change_counter().await.unwrap() > counter, "pages show it");
    assert_eq!(f.store.batches(&[job, JobId(1)]).await.unwrap().len(), 1);
}

pub(crate) async fn a_providers_batch_is_one_jobs_and_its_owner_is_known_for_ever(f: Fixture) {
    let (one, two) = (f.submit(1, 1).await, f.submit(1, 1).await);
    let with_id = |job| BatchRecord { batch_id: Some("batch_1".to_owned()), ..batch(job) };
    assert_eq!(f.store.put_batch(&with_id(one)).await.unwrap(), PutBatch::Stored(1));
    assert_eq!(f.store.put_batch(&with_id(two)).await.unwrap(), PutBatch::Taken);
    let elsewhere = BatchRecord { provider: "another".to_owned(), ..with_id(two) };
    assert_eq!(f.store.put_batch(&elsewhere).await.unwrap(), PutBatch::Stored(1), "ids are a provider's own");
    let removed = BatchRecord { version: 1, removed_at: Some(f.now()), ..with_id(one) };
    assert_eq!(f.store.put_batch(&removed).await.unwrap(), PutBatch::Stored(2));
    for (ids, tags) in [(vec!["batch_1".to_owned()], vec![]), (vec![], vec![batch(one).tag])] {
        let owners = f.store.batch_owners("openai", &ids, &tags).await.unwrap();
        assert_eq!(owners.iter().map(|owner| (owner.job_id, owner.removed)).collect::<Vec<_>>(), [(one, true)]);
    }
    assert!(f.store.batch_owners("openai", &["batch_2".to_owned()], &[]).await.unwrap().is_empty());
}

pub(crate) async fn a_run_is_taken_over_as_it_is_and_its_former_worker_is_fenced(f: Fixture) {
    let (job, run) = followed(&f).await;
    f.register("worker-2", INSTANCE).await;
    let until = f.now().plus_millis(10 * LEASE_MILLIS);
    let nobody = f.store.take_over_run(run.run_id, "worker-9", "worker-2", until).await.unwrap();
    assert!(nobody.is_none(), "it is not that worker's");
    assert_eq!(f.store.expire_leases(f.now().plus_millis(2 * LEASE_MILLIS)).await.unwrap().len(), 1);
    let taken = f.store.take_over_run(run.run_id, WORKER, "worker-2", until).await.unwrap().expect("the run");
    assert_eq!((taken.run_id, taken.job_id, taken.unit.attempt), (run.run_id, job, run.unit.attempt));
    let open = f.store.run(run.run_id).await.unwrap().unwrap();
    assert_eq!((open.state, open.worker.as_str()), (RunState::Open, "worker-2"));
    assert_eq!(f.finish(run.run_id, Verdict::Succeeded).await, FinishEffect::Fenced);
    assert!(f.store.take_over_run(run.run_id, WORKER, "worker-2", until).await.unwrap().is_none());
    assert_eq!(f.status(job, 0).await, UnitStatus::Running);
}

pub(crate) async fn the_phase_moves_on_with_the_running_unit(f: Fixture) {
    let (job, run) = followed(&f).await;
    let moved = async |to| f.store.move_phase(run.run_id, WORKER, to, f.now()).await.unwrap();
    assert!(!moved(Phase::Finalizing).await, "not the next one");
    assert!(!f.store.move_phase(run.run_id, "worker-2", Phase::InProgress, f.now()).await.unwrap());
    assert!(moved(Phase::InProgress).await);
    assert!(!moved(Phase::InProgress).await, "once");
    let unit = f.store.unit(job, 0).await.unwrap().unwrap();
    assert_eq!((unit.phase, unit.status), (Phase::InProgress, UnitStatus::Running));
    assert!(f.store.idle_jobs(10).await.unwrap().is_empty());
    assert!(moved(Phase::Finalizing).await);
    assert_eq!(f.finish(run.run_id, Verdict::Succeeded).await, FinishEffect::Counted { job_id: job, idle: true });
    let partial = Progress { total: 3, succeeded: 2, failed: 1, cancelled: 0, running: 0 };
    let end = f.store.conclude(job, Phase::Finalizing, Some(partial), f.now()).await.unwrap();
    assert_eq!(end, Some(Phase::Partial), "judged by its requests");
}

pub(crate) async fn a_batch_that_finished_although_it_was_cancelled_ends_completed(f: Fixture) {
    let (job, run) = followed(&f).await;
    f.cancel(job).await;
    assert!(
        !f.store.move_phase(run.run_id, WORKER, Phase::InProgress, f.now()).await.unwrap(),
        "it is being cancelled"
    );
    assert_eq!(f.phase(job).await, Phase::Cancelling);
    let effect = f.stopped(run.run_id, Verdict::Succeeded, gone(&[])).await;
    assert_eq!(effect, FinishEffect::JobEnded { job_id: job, phase: Phase::Completed });
}

pub(crate) async fn a_batch_that_finished_in_part_although_it_was_cancelled_ends_partial(f: Fixture) {
    for (succeeded, end) in [(2, Phase::Partial), (3, Phase::Completed)] {
        let (job, run) = followed(&f).await;
        f.cancel(job).await;
        let judged = Some(Progress { total: 3, succeeded, failed: 3 - succeeded, cancelled: 0, running: 0 });
        let result = RunResult { judged, stop: Some(gone(&[])), ..f.result(run.run_id, Verdict::Succeeded) };
        let effect = f.store.finish_run(result).await.unwrap();
        assert_eq!(effect, FinishEffect::JobEnded { job_id: job, phase: end });
        assert_eq!(f.job(job).await.cancel.unwrap().cancelled_at, None, "it was not cancelled");
    }
}

/// A job over a provider's batch, not claimed yet.
fn adopting(f: &Fixture, batch_id: &str) -> NewJobRecord {
    let job = f.new_job("batch", 1);
    let adopted = BatchRecord {
        adopted: true,
        step: BatchStep::Created,
        batch_id: Some(batch_id.to_owned()),
        ..batch(job.job_id)
    };
    NewJobRecord { kind: Kind::OpenaiBatch, phases: PHASES.to_vec(), batch: Some(adopted), ..job }
}

pub(crate) async fn a_batch_is_adopted_by_one_job(f: Fixture) {
    let first = f.submit_as(adopting(&f, "batch_1"), 1).await;
    assert_eq!(f.store.batch(first).await.unwrap().unwrap().batch_id.as_deref(), Some("batch_1"));
    let second = adopting(&f, "batch_1");
    let id = second.job_id;
    let event = f.event(AuditAction::AdoptBatch, Some(id));
    let stored = f.store.submit(second, some_units(Phase::Validating, 1), None, event).await.unwrap();
    assert!(matches!(stored, Submitted::BatchTaken));
    assert!(f.store.job(id).await.unwrap().is_none() && f.store.batch(id).await.unwrap().is_none());
}

pub(crate) async fn a_waiting_unit_with_a_batch_elsewhere_is_not_never_started(f: Fixture) {
    let job = f.submit_as(adopting(&f, "batch_1"), 1).await;
    let CancelEffect::Began(record) = f.cancel(job).await else { panic!("it began") };
    assert_eq!(record.phase, Phase::Cancelling, "what the provider does is not known");
    let stop = record.cancel.unwrap().stop;
    assert_eq!(stop, StopSummary { units: 1, waiting: 1, ..StopSummary::default() });
    let run = f.store.open_runs(job, 9).await.unwrap().remove(0);
    assert_eq!((run.state, run.worker.as_str(), run.instance.as_str()), (RunState::Lost, WORKER, INSTANCE));
    let until = f.now().plus_millis(LEASE_MILLIS);
    let taken = f.store.take_over_run(run.run_id, &run.worker, WORKER, until).await.unwrap().expect("the run");
    assert_eq!((taken.job_id, taken.unit.attempt), (job, 1));
    let effect = f.stopped(run.run_id, Verdict::Cancelled, gone(&[])).await;
    assert_eq!(effect, FinishEffect::JobEnded { job_id: job, phase: Phase::Cancelled });
    let stop = f.job(job).await.cancel.unwrap().stop;
    assert_eq!(stop, StopSummary { units: 1, stopped: 1, ..StopSummary::default() });
    // Nothing was sent of this one.
    let unsent = NewJobRecord { batch: None, ..adopting(&f, "batch_2") };
    let unsent = f.submit_as(unsent, 1).await;
    let CancelEffect::Began(record) = f.cancel(unsent).await else { panic!("it began") };
    assert_eq!((record.phase, record.cancel.unwrap().stop.never_started), (Phase::Cancelled, 1));
}
