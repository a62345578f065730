//! Who gets what: order, `parallel`, fairness, leases and fences.

use app::model::{Phase, UnitStatus};
use belay_server::store::{FinishEffect, RunResult, RunState, Verdict};

use super::fixture::{Fixture, INSTANCE, LEASE_MILLIS, WORKER, gone, unproven};

pub(crate) async fn a_claim_never_exceeds_parallel(f: Fixture) {
    let job = f.submit(10, 3).await;
    assert_eq!(f.claim(10).await.len(), 3);
    assert!(f.claim(10).await.is_empty());
    let run = f.store.open_runs(job, 1).await.unwrap().remove(0);
    f.finish(run.run_id, Verdict::Succeeded).await;
    assert_eq!(f.claim(10).await.len(), 1);
}

pub(crate) async fn a_claim_never_exceeds_max(f: Fixture) {
    f.submit(10, 10).await;
    assert_eq!(f.claim(4).await.len(), 4);
    assert!(f.claim(0).await.is_empty());
}

pub(crate) async fn a_job_of_many_units_does_not_starve_one_of_three(f: Fixture) {
    let large = f.submit(50_000, 8).await;
    for _ in 0..4 {
        let run = f.claim_one().await;
        f.finish(run.run_id, Verdict::Succeeded).await;
    }
    let small = f.submit(3, 3).await;
    let mut turns = Vec::new();
    for _ in 0..6 {
        let run = f.claim_one().await;
        turns.push(run.job_id);
        f.finish(run.run_id, Verdict::Succeeded).await;
    }
    assert_eq!(turns.iter().filter(|job| **job == small).count(), 3, "they take turns: {turns:?}");
    assert_eq!(turns.iter().filter(|job| **job == large).count(), 3);
}

pub(crate) async fn the_job_with_the_fewest_running_units_is_served_first(f: Fixture) {
    let first = f.submit(10, 10).await;
    assert_eq!(f.claim(3).await.len(), 3);
    let second = f.submit(10, 10).await;
    let jobs: Vec<_> = f.claim(4).await.into_iter().map(|run| run.job_id).collect();
    assert_eq!(jobs[..3], [second, second, second]);
    assert!(jobs[3] == first || jobs[3] == second);
}

pub(crate) async fn a_result_of_another_worker_is_fenced(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    let stranger = RunResult { worker: "worker-2".to_owned(), ..f.result(run.run_id, Verdict::Succeeded) };
    assert_eq!(f.store.finish_run(stranger).await.unwrap(), FinishEffect::Fenced);
    assert_eq!(f.status(job, 0).await, UnitStatus::Running);
    f.finish(run.run_id, Verdict::Succeeded).await;
    let late = f.finish(run.run_id, Verdict::Failed("late".to_owned())).await;
    assert_eq!(late, FinishEffect::Fenced);
    assert_eq!(f.job(job).await.progress.succeeded, 1);
}

pub(crate) async fn a_heartbeat_renews_the_leases_of_its_worker_only(f: Fixture) {
    f.register("worker-2", "instance-2").await;
    f.submit(2, 2).await;
    let mine = f.claim_one().await;
    let other = f.claim_as("worker-2", 1).await.remove(0);
    let later = f.now().plus_millis(LEASE_MILLIS * 2);
    assert_eq!(f.store.heartbeat(WORKER, f.now(), later).await.unwrap(), [mine.run_id]);
    let lost = f.store.expire_leases(later.plus_millis(-1)).await.unwrap();
    assert_eq!(lost.iter().map(|run| run.run_id).collect::<Vec<_>>(), [other.run_id]);
    assert_eq!((lost[0].state, lost[0].worker.as_str()), (RunState::Lost, "worker-2"));
}

pub(crate) async fn a_lost_run_is_no_longer_its_workers_and_its_result_is_fenced(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    let later = f.now().plus_millis(LEASE_MILLIS * 2);
    assert_eq!(f.store.expire_leases(later).await.unwrap().len(), 1);
    assert_eq!(f.store.expire_leases(later).await.unwrap().len(), 1, "told again until it is dealt with");
    assert!(f.store.heartbeat(WORKER, later, later).await.unwrap().is_empty());
    assert_eq!(f.finish(run.run_id, Verdict::Succeeded).await, FinishEffect::Fenced);
    assert!(f.claim(1).await.is_empty(), "not given out before it is released");
    f.store.release_run(run.run_id, true, Some(gone(&[])), f.now()).await.unwrap();
    let again = f.claim_one().await;
    assert_eq!((again.unit.index, again.unit.attempt, again.unit.losses), (0, 2, 1));
    assert_eq!(f.finish(run.run_id, Verdict::Succeeded).await, FinishEffect::Fenced, "the former run");
    f.finish(again.run_id, Verdict::Succeeded).await;
    assert_eq!(f.job(job).await.progress.succeeded, 1);
}

pub(crate) async fn three_losses_fail_a_unit(f: Fixture) {
    let job = f.submit(1, 1).await;
    for loss in 1..=3 {
        let run = f.claim_one().await;
        let effect = f.store.release_run(run.run_id, true, Some(gone(&[])), f.now()).await.unwrap();
        assert_eq!(effect, FinishEffect::Counted { job_id: job, idle: loss == 3 });
    }
    let unit = f.store.unit(job, 0).await.unwrap().unwrap();
    assert_eq!((unit.status, unit.losses), (UnitStatus::Failed, 3));
    assert!(unit.error.unwrap().contains("three times"));
    assert!(f.claim(1).await.is_empty());
}

pub(crate) async fn a_run_handed_back_is_no_loss(f: Fixture) {
    let job = f.submit(1, 1).await;
    for _ in 0..5 {
        let run = f.claim_one().await;
        f.store.release_run(run.run_id, false, None, f.now()).await.unwrap();
        assert_eq!(f.store.release_run(run.run_id, false, None, f.now()).await.unwrap(), FinishEffect::Fenced);
    }
    assert_eq!(f.status(job, 0).await, UnitStatus::Pending);
    assert!(f.store.unconfirmed_runs(job).await.unwrap().is_empty());
}

pub(crate) async fn a_run_released_without_proof_is_told_as_unconfirmed_until_proof_comes(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    f.store.release_run(run.run_id, true, Some(unproven()), f.now()).await.unwrap();
    assert_eq!(f.store.unconfirmed_runs(job).await.unwrap()[0].run_id, run.run_id);
    let effect = f.store.add_evidence(run.run_id, gone(&["SIGKILL"]), f.now()).await.unwrap();
    assert_eq!(effect, FinishEffect::EvidenceAdded { job_id: job });
    assert!(f.store.unconfirmed_runs(job).await.unwrap().is_empty());
    assert_eq!(f.status(job, 0).await, UnitStatus::Pending, "the unit goes on as it was");
}

pub(crate) async fn a_predecessors_open_runs_are_found_by_instance(f: Fixture) {
    f.register("worker-2", INSTANCE).await;
    f.register("worker-3", "instance-3").await;
    f.submit(3, 3).await;
    let old = f.claim_one().await;
    f.claim_as("worker-2", 1).await;
    f.claim_as("worker-3", 1).await;
    let found = f.store.open_runs_of_instance(INSTANCE, "worker-2").await.unwrap();
    assert_eq!(found.iter().map(|run| run.run_id).collect::<Vec<_>>(), [old.run_id]);
    let one = f.store.run(old.run_id).await.unwrap().unwrap();
    assert_eq!((one.unit_name.as_str(), one.job_phase, one.state), ("file-0", Phase::InProgress, RunState::Open));
    f.finish(old.run_id, Verdict::Succeeded).await;
    assert!(f.store.open_runs_of_instance(INSTANCE, "worker-2").await.unwrap().is_empty());
    assert_eq!(f.store.run(old.run_id).await.unwrap().unwrap().state, RunState::Closed, "its evidence stays");
}

pub(crate) async fn a_worker_that_is_not_registered_gets_nothing(f: Fixture) {
    let job = f.submit(1, 1).await;
    let now = f.now();
    let claim = belay_server::store::Claim {
        worker: "nobody".to_owned(),
        lane: belay_server::store::Lane::Local,
        max: 1,
        now,
        lease_until: now,
        run_ids: vec![app::model::RunId(f.id())],
    };
    assert!(f.store.claim(&claim).await.is_err());
    assert_eq!(f.phase(job).await, Phase::Pending, "nothing of it is left behind");
    assert_eq!(f.store.workers().await.unwrap().len(), 1);
}
