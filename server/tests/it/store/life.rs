//! Submit, claim, finish, conclude.

use app::model::{Phase, Progress, UnitStatus};
use belay_server::store::{FinishEffect, Verdict};

use super::fixture::Fixture;

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
    assert_eq!(f.store.conclude(job, Phase::InProgress, f.now()).await.unwrap(), Some(Phase::Partial));
    assert_eq!(f.store.conclude(job, Phase::InProgress, f.now()).await.unwrap(), None);
    let over = f.job(job).await;
    assert_eq!(over.progress, Progress { total: 2, succeeded: 1, failed: 1, cancelled: 0, running: 0 });
    assert!(over.finished_at.is_some());
    assert_eq!(f.status(job, 1).await, UnitStatus::Failed);
}

pub(crate) async fn a_cancel_without_open_runs_ends_the_job_at_once(f: Fixture) {
    let job = f.submit(3, 1).await;
    f.cancel(job).await;
    assert_eq!(f.phase(job).await, Phase::Cancelled);
    assert_eq!(f.audited().await, "cancelled");
    assert!(f.claim(1).await.is_empty());
}
