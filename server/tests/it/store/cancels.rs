//! Cancel: what is asked, what counts at once, what is waited for, how it ends.

use app::model::{Phase, Progress, StopMethod, StopSummary, UnitQuery, UnitStatus};
use belay_server::store::{CancelEffect, CancelOrder, FinishEffect, RunState, Verdict};

use super::fixture::{Fixture, LEASE_MILLIS, WORKER, gone, some_units, unproven};

async fn stop(f: &Fixture, job: app::model::JobId) -> StopSummary {
    f.job(job).await.cancel.expect("it was cancelled").stop
}

pub(crate) async fn a_cancel_without_open_runs_ends_the_job_at_once(f: Fixture) {
    let job = f.submit(3, 1).await;
    let order = f.order(job);
    let CancelEffect::Began(record) = f.cancel_with(order.clone()).await else { panic!("it began") };
    assert_eq!(record.phase, Phase::Cancelled);
    let cancel = record.cancel.unwrap();
    assert_eq!((cancel.requested_at, cancel.cancelled_at), (order.now, Some(order.now)));
    assert_eq!((cancel.reason.as_str(), cancel.notes.as_deref()), ("user_request", Some("wrong folder")));
    assert_eq!((cancel.requested_by.as_str(), cancel.request_id.as_str()), ("mara", "request-2"));
    assert_eq!(cancel.stop, StopSummary { units: 3, never_started: 3, ..StopSummary::default() });
    assert_eq!(record.progress, Progress { total: 3, cancelled: 3, ..Progress::default() });
    assert_eq!(f.audited().await, "cancelled");
    assert!(f.claim(1).await.is_empty());
}

pub(crate) async fn a_cancel_waits_for_the_proof_of_every_open_run(f: Fixture) {
    let job = f.submit(5, 2).await;
    let runs = f.claim(2).await;
    let CancelEffect::Began(record) = f.cancel(job).await else { panic!("it began") };
    assert_eq!(record.phase, Phase::Cancelling);
    assert_eq!(f.audited().await, "cancelling");
    assert_eq!(stop(&f, job).await, StopSummary { units: 5, never_started: 3, waiting: 2, stopped: 0, unconfirmed: 0 });
    assert_eq!(record.progress.pending(), 0, "pending units count as cancelled at once");
    assert!(f.claim(5).await.is_empty(), "nothing of it is claimed any more");
    assert_eq!(f.store.stop_orders(WORKER).await.unwrap().len(), 2);
    assert_eq!(f.store.open_runs(job, 9).await.unwrap().len(), 2);
    let first = f.stopped(runs[0].run_id, Verdict::Cancelled, gone(&["SIGTERM"])).await;
    assert_eq!(first, FinishEffect::Counted { job_id: job, idle: false });
    assert_eq!(stop(&f, job).await, StopSummary { units: 5, never_started: 3, waiting: 1, stopped: 1, unconfirmed: 0 });
    let last = f.stopped(runs[1].run_id, Verdict::Cancelled, gone(&["SIGTERM"])).await;
    assert_eq!(last, FinishEffect::JobEnded { job_id: job, phase: Phase::Cancelled });
    assert_eq!(stop(&f, job).await, StopSummary { units: 5, never_started: 3, waiting: 0, stopped: 2, unconfirmed: 0 });
    assert!(f.job(job).await.cancel.unwrap().cancelled_at.is_some());
    assert!(f.store.stop_orders(WORKER).await.unwrap().is_empty());
    assert!(f.store.cancelling_jobs(None).await.unwrap().is_empty());
}

pub(crate) async fn a_unit_that_got_a_signal_is_cancelled_whatever_it_returned(f: Fixture) {
    let job = f.submit(3, 3).await;
    let runs = f.claim(3).await;
    f.cancel(job).await;
    f.stopped(runs[0].run_id, Verdict::Succeeded, gone(&["SIGTERM"])).await;
    f.stopped(runs[1].run_id, Verdict::Failed("exit 1".to_owned()), gone(&[])).await;
    f.finish(runs[2].run_id, Verdict::Succeeded).await;
    assert_eq!(f.status(job, 0).await, UnitStatus::Cancelled);
    assert_eq!(f.status(job, 1).await, UnitStatus::Failed, "it had ended by itself");
    assert_eq!(f.status(job, 2).await, UnitStatus::Succeeded);
    assert_eq!(f.phase(job).await, Phase::Cancelled);
    assert_eq!(stop(&f, job).await.stopped, 3);
}

pub(crate) async fn a_job_whose_units_had_all_succeeded_ends_completed(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    f.cancel(job).await;
    let effect = f.finish(run.run_id, Verdict::Succeeded).await;
    assert_eq!(effect, FinishEffect::JobEnded { job_id: job, phase: Phase::Completed });
    assert_eq!(f.job(job).await.cancel.unwrap().cancelled_at, None);
    assert!(matches!(f.cancel(job).await, CancelEffect::NotCancellable(_)));
    assert_eq!(f.audited().await, "already_finished");
}

pub(crate) async fn a_job_cancelled_between_two_phases_is_not_completed(f: Fixture) {
    let mut new = f.new_job("pipeline", 1);
    new.phases = vec![Phase::Collection, Phase::FeatureExtraction];
    let job = f.submit_as(new, 1).await;
    let run = f.claim_one().await;
    f.finish(run.run_id, Verdict::Succeeded).await;
    f.cancel(job).await;
    assert_eq!(f.phase(job).await, Phase::Cancelled);
    let units = some_units(Phase::FeatureExtraction, 1);
    let entered = f.store.enter_phase(job, Phase::Collection, Phase::FeatureExtraction, units, f.now()).await;
    assert!(!entered.unwrap());
}

pub(crate) async fn without_proof_the_run_stays_open_and_the_job_waits(f: Fixture) {
    let job = f.submit(2, 2).await;
    let runs = f.claim(2).await;
    f.cancel(job).await;
    let unconfirmed = f.stopped(runs[0].run_id, Verdict::Cancelled, unproven()).await;
    assert_eq!(unconfirmed, FinishEffect::EvidenceAdded { job_id: job });
    let silent = f.finish(runs[1].run_id, Verdict::Cancelled).await;
    assert_eq!(silent, FinishEffect::EvidenceAdded { job_id: job }, "a stop without evidence proves nothing");
    assert_eq!(f.phase(job).await, Phase::Cancelling);
    let open = f.store.open_runs(job, 9).await.unwrap();
    assert!(open.iter().all(|run| run.state == RunState::Lost));
    assert_eq!(open[0].stop, Some(unproven()), "what was seen is kept");
    let proof = f.store.add_evidence(runs[0].run_id, gone(&["SIGKILL"]), f.now()).await.unwrap();
    assert_eq!(proof, FinishEffect::Counted { job_id: job, idle: false });
    let proof = f.store.add_evidence(runs[1].run_id, gone(&[]), f.now()).await.unwrap();
    assert_eq!(proof, FinishEffect::JobEnded { job_id: job, phase: Phase::Cancelled });
    let unit = f.store.unit(job, 0).await.unwrap().unwrap();
    assert_eq!((unit.status, unit.stop), (UnitStatus::Cancelled, Some(gone(&["SIGKILL"]))));
}

pub(crate) async fn a_lost_run_keeps_its_job_cancelling_until_it_is_released_with_proof(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    f.cancel(job).await;
    f.store.expire_leases(f.now().plus_millis(LEASE_MILLIS * 2)).await.unwrap();
    for evidence in [None, Some(unproven())] {
        let effect = f.store.release_run(run.run_id, true, evidence, f.now()).await.unwrap();
        assert_eq!(effect, FinishEffect::EvidenceAdded { job_id: job });
        assert_eq!(f.phase(job).await, Phase::Cancelling);
    }
    let effect = f.store.release_run(run.run_id, true, Some(gone(&[])), f.now()).await.unwrap();
    assert_eq!(effect, FinishEffect::JobEnded { job_id: job, phase: Phase::Cancelled });
}

pub(crate) async fn a_repeated_cancel_keeps_the_first_and_may_add_force(f: Fixture) {
    let job = f.submit(1, 1).await;
    f.claim_one().await;
    f.cancel(job).await;
    let before = f.job(job).await.cancel.unwrap();
    let other = CancelOrder { reason: "other".to_owned(), actor: "jon".to_owned(), ..f.order(job) };
    assert!(matches!(f.cancel_with(other).await, CancelEffect::Repeated(_)));
    assert_eq!(f.job(job).await.cancel.unwrap(), before);
    assert!(!f.store.stop_orders(WORKER).await.unwrap()[0].force);
    let force = CancelOrder { force: true, ..f.order(job) };
    assert!(matches!(f.cancel_with(force.clone()).await, CancelEffect::Repeated(_)));
    let forced = f.job(job).await.cancel.unwrap();
    assert_eq!(forced.forced_at, Some(force.now));
    assert_eq!(forced.requested_by, before.requested_by);
    assert!(f.store.stop_orders(WORKER).await.unwrap()[0].force);
    f.cancel_with(CancelOrder { force: true, ..f.order(job) }).await;
    assert_eq!(f.job(job).await.cancel.unwrap().forced_at, Some(force.now), "the first force counts");
    assert_eq!(f.store.cancelling_jobs(Some(force.now.plus_millis(1))).await.unwrap().len(), 1);
    assert!(f.store.cancelling_jobs(Some(force.now)).await.unwrap().is_empty());
    assert_eq!(f.store.cancelling_jobs(None).await.unwrap().len(), 1);
}

pub(crate) async fn what_is_over_cannot_be_cancelled_and_says_so(f: Fixture) {
    let done = f.submit(1, 1).await;
    f.run_all(done).await;
    let before = f.job(done).await;
    assert!(matches!(f.cancel(done).await, CancelEffect::NotCancellable(_)));
    assert_eq!(f.audited().await, "already_finished");
    assert_eq!(f.job(done).await, before);
    let cancelled = f.submit(1, 1).await;
    f.cancel(cancelled).await;
    let before = f.job(cancelled).await;
    assert!(matches!(f.cancel(cancelled).await, CancelEffect::NotCancellable(_)));
    assert_eq!(f.audited().await, "already_cancelled");
    assert_eq!(f.job(cancelled).await, before);
    assert!(matches!(f.cancel(app::model::JobId(f.id())).await, CancelEffect::NotFound));
}

pub(crate) async fn giving_up_ends_the_job_with_what_is_unproven_visible(f: Fixture) {
    let job = f.submit(3, 3).await;
    let runs = f.claim(2).await;
    f.cancel(job).await;
    assert_eq!(f.store.count_unconfirmed().await.unwrap(), 0, "both are held, and asked to stop");
    f.stopped(runs[0].run_id, Verdict::Cancelled, unproven()).await;
    assert_eq!(f.store.count_unconfirmed().await.unwrap(), 1, "one is lost, and waited for");
    let effect = f.store.give_up_unproven(job, f.now()).await.unwrap();
    assert_eq!(effect, FinishEffect::JobEnded { job_id: job, phase: Phase::Cancelled });
    assert_eq!(stop(&f, job).await, StopSummary { units: 3, never_started: 1, stopped: 0, waiting: 0, unconfirmed: 2 });
    for index in 0..2 {
        let unit = f.store.unit(job, index).await.unwrap().unwrap();
        let evidence = unit.stop.unwrap();
        assert_eq!(unit.status, UnitStatus::Cancelled);
        assert_eq!((evidence.method, evidence.confirmed), (StopMethod::Lost, false));
    }
    let known = f.store.unit(job, 0).await.unwrap().unwrap().stop.unwrap();
    assert_eq!(known.signals, ["SIGTERM"], "what was observed is kept");
    assert_eq!(f.store.unconfirmed_runs(job).await.unwrap().len(), 2);
    assert_eq!(f.store.count_unconfirmed().await.unwrap(), 2, "of a job that ended");
    assert_eq!(f.store.give_up_unproven(job, f.now()).await.unwrap(), FinishEffect::Fenced);
}

pub(crate) async fn a_run_that_failed_without_proof_is_in_doubt_until_late_proof_changes_its_evidence(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    f.stopped(run.run_id, Verdict::Failed("cut off".to_owned()), unproven()).await;
    f.store.conclude(job, Phase::InProgress, None, f.now()).await.unwrap();
    let ended = f.job(job).await;
    assert_eq!((ended.phase, f.store.count_doubted(job).await.unwrap()), (Phase::Failed, 1));
    let lease = f.store.run(run.run_id).await.unwrap().unwrap().lease_until;
    let doubted = f.store.doubted_runs(lease, 10).await.unwrap();
    assert_eq!(doubted.iter().map(|run| (run.run_id, run.is_cancelled)).collect::<Vec<_>>(), [(run.run_id, false)]);
    assert!(f.store.doubted_runs(lease.plus_millis(1), 10).await.unwrap().is_empty(), "too long ago");
    f.store.add_evidence(run.run_id, gone(&["SIGTERM"]), f.now()).await.unwrap();
    let unit = f.store.unit(job, 0).await.unwrap().unwrap();
    assert_eq!((unit.status, unit.error.as_deref()), (UnitStatus::Failed, Some("cut off")));
    assert!(unit.stop.unwrap().confirmed);
    assert_eq!((f.job(job).await.phase, f.job(job).await.finished_at), (ended.phase, ended.finished_at));
    assert_eq!(f.store.count_doubted(job).await.unwrap(), 0);
    assert!(f.store.doubted_runs(lease, 10).await.unwrap().is_empty());
}

pub(crate) async fn late_proof_moves_unconfirmed_to_stopped_and_no_phase(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    f.cancel(job).await;
    f.store.give_up_unproven(job, f.now()).await.unwrap();
    let worse = f.store.add_evidence(run.run_id, unproven(), f.now()).await.unwrap();
    assert_eq!(worse, FinishEffect::Fenced, "no proof, no change");
    let ended = f.job(job).await;
    let effect = f.store.add_evidence(run.run_id, gone(&["SIGKILL"]), f.now()).await.unwrap();
    assert_eq!(effect, FinishEffect::EvidenceAdded { job_id: job });
    assert_eq!(stop(&f, job).await, StopSummary { units: 1, stopped: 1, ..StopSummary::default() });
    let after = f.job(job).await;
    assert_eq!((after.phase, after.finished_at, after.progress), (ended.phase, ended.finished_at, ended.progress));
    assert!(f.store.unconfirmed_runs(job).await.unwrap().is_empty());
    assert_eq!(f.store.count_unconfirmed().await.unwrap(), 0);
    assert!(f.store.unit(job, 0).await.unwrap().unwrap().stop.unwrap().confirmed);
    assert_eq!(f.store.add_evidence(run.run_id, gone(&[]), f.now()).await.unwrap(), FinishEffect::Fenced, "only once");
}

pub(crate) async fn evidence_for_a_unit_that_is_over_by_itself_changes_nothing(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    f.stopped(run.run_id, Verdict::Succeeded, gone(&[])).await;
    let before = f.store.unit(job, 0).await.unwrap();
    assert_eq!(f.store.add_evidence(run.run_id, gone(&["SIGTERM"]), f.now()).await.unwrap(), FinishEffect::Fenced);
    assert_eq!(f.store.unit(job, 0).await.unwrap(), before);
}

pub(crate) async fn unswept_units_read_like_swept_ones(f: Fixture) {
    let job = f.submit(10, 2).await;
    let runs = f.claim(2).await;
    f.finish(runs[0].run_id, Verdict::Succeeded).await;
    f.cancel(job).await;
    let requested = f.job(job).await.cancel.unwrap().requested_at;
    let read = async || {
        let all = f.store.units(job, &UnitQuery::default()).await.unwrap().items;
        let of = async |status, limit| {
            let query = UnitQuery { status: Some(status), limit: Some(limit), ..UnitQuery::default() };
            f.store.units(job, &query).await.unwrap()
        };
        (all, of(UnitStatus::Cancelled, 3).await, of(UnitStatus::Pending, 9).await.items)
    };
    let (all, cancelled, pending) = read().await;
    assert!(pending.is_empty());
    assert_eq!(cancelled.items.iter().map(|unit| unit.index).collect::<Vec<_>>(), [2, 3, 4]);
    let evidence = all[5].stop.clone().unwrap();
    assert_eq!((evidence.method, evidence.stopped_at), (StopMethod::NeverStarted, Some(requested)));
    assert_eq!(f.store.sweep_cancelled(3).await.unwrap(), 3);
    assert_eq!(read().await, (all.clone(), cancelled.clone(), Vec::new()), "half swept");
    assert_eq!(f.store.sweep_cancelled(100).await.unwrap(), 5);
    assert_eq!(f.store.sweep_cancelled(100).await.unwrap(), 0);
    assert_eq!(read().await, (all, cancelled, Vec::new()), "swept");
}

pub(crate) async fn sweeping_touches_only_cancelled_jobs(f: Fixture) {
    let active = f.submit(5, 1).await;
    let cancelled = f.submit(5, 1).await;
    f.cancel(cancelled).await;
    assert_eq!(f.store.sweep_cancelled(100).await.unwrap(), 5);
    assert_eq!(f.job(active).await.progress.pending(), 5);
    assert_eq!(f.status(active, 4).await, UnitStatus::Pending);
}
