//! What must hold whatever happens in whatever order: random walks with everything checked after each step, and
//! many callers at once.

use std::{collections::HashMap, sync::Arc};

use app::model::{JobId, Phase, Progress, RunId, UnitQuery, UnitStatus};
use belay_server::store::{CancelOrder, FinishEffect, RunResult, Verdict};

use super::fixture::{Fixture, LEASE_MILLIS, WORKER, gone, unproven};

/// Xorshift: the same walk for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Counters are those of the rows, nothing is above `parallel`, the summary adds up, and what is over stays over.
/// Of those that are over only the phase is looked at, unless `all`.
async fn check(f: &Fixture, jobs: &[JobId], ended: &mut HashMap<JobId, Phase>, all: bool) {
    for id in jobs {
        let job = f.job(*id).await;
        if !all && ended.get(id) == Some(&job.phase) {
            continue;
        }
        let units = f.store.units(*id, &UnitQuery { limit: Some(200), ..UnitQuery::default() }).await.unwrap().items;
        let of = |status| units.iter().filter(|unit| unit.status == status).count() as u64;
        let counted = Progress {
            total: units.len() as u64,
            succeeded: of(UnitStatus::Succeeded),
            failed: of(UnitStatus::Failed),
            cancelled: of(UnitStatus::Cancelled),
            running: of(UnitStatus::Running),
        };
        assert_eq!(job.progress, counted, "{job:?}");
        assert!(job.progress.running <= u64::from(job.parallel));
        let open = f.store.open_runs(*id, 100).await.unwrap().len() as u64;
        assert_eq!(open, job.progress.running, "{job:?}");
        if let Some(cancel) = &job.cancel {
            let stop = cancel.stop;
            assert_eq!(stop.units, stop.never_started + stop.stopped + stop.waiting + stop.unconfirmed);
            assert_eq!(stop.waiting, open);
            assert_eq!(job.progress.pending(), 0);
            assert_eq!(stop.unconfirmed > 0, !f.store.unconfirmed_runs(*id).await.unwrap().is_empty(), "{job:?}");
        }
        assert_eq!(job.phase.is_terminal(), job.finished_at.is_some(), "{job:?}");
        assert!(!job.phase.is_terminal() || open == 0, "{job:?}");
        assert!(job.phase != Phase::Cancelling || open > 0, "a cancelling job waits for something: {job:?}");
        if job.phase.is_terminal() {
            assert_eq!(*ended.entry(*id).or_insert(job.phase), job.phase, "what is over stays as it ended");
        } else {
            assert!(!ended.contains_key(id), "what is over stays over");
        }
    }
}

async fn step(f: &Fixture, dice: &mut Dice, jobs: &mut Vec<JobId>, runs: &mut Vec<RunId>) {
    let run = runs.get(dice.roll(runs.len().max(1) as u64) as usize).copied();
    let job = jobs.get(dice.roll(jobs.len().max(1) as u64) as usize).copied();
    let verdict = match dice.roll(4) {
        0 => Verdict::Cancelled,
        1 => Verdict::Failed("exit 1".to_owned()),
        _ => Verdict::Succeeded,
    };
    let stop = match dice.roll(6) {
        0 | 1 => Some(gone(&["SIGTERM"])),
        2 => Some(gone(&[])),
        // Released without proof would be told as unconfirmed without being in the summary; see `claims`.
        3 => Some(unproven()),
        _ => None,
    };
    match (dice.roll(12), run, job) {
        (0, _, _) => jobs.push(f.submit(1 + dice.roll(6) as usize, 1 + dice.roll(3) as u32).await),
        (1..=3, _, _) => {
            let max = 1 + dice.roll(3) as u32;
            runs.extend(f.claim(max).await.into_iter().map(|run| run.run_id));
        }
        (4..=6, Some(run), _) => {
            let stop = stop.filter(|stop| stop.confirmed || dice.roll(2) == 0);
            let is_active = f.store.run(run).await.unwrap().unwrap().job_phase.can_claim();
            let stop = stop.filter(|stop| stop.confirmed || !is_active);
            f.store.finish_run(RunResult { stop, ..f.result(run, verdict) }).await.unwrap();
        }
        (7, Some(run), _) => {
            let is_active = f.store.run(run).await.unwrap().unwrap().job_phase.can_claim();
            let evidence = if is_active { Some(gone(&[])) } else { stop };
            f.store.release_run(run, dice.roll(2) == 0, evidence, f.now()).await.unwrap();
        }
        (8, Some(run), _) => {
            f.store.add_evidence(run, stop.unwrap_or_else(unproven), f.now()).await.unwrap();
        }
        (9, _, Some(job)) => {
            let force = dice.roll(4) == 0;
            f.cancel_with(CancelOrder { force, ..f.order(job) }).await;
            if force {
                f.store.give_up_unproven(job, f.now()).await.unwrap();
            }
        }
        (10, _, _) => {
            f.store.sweep_cancelled(1 + dice.roll(3) as u32).await.unwrap();
            if dice.roll(5) == 0 {
                f.store.expire_leases(f.now().plus_millis(LEASE_MILLIS * 2)).await.unwrap();
            }
        }
        (_, _, _) => {
            for idle in f.store.idle_jobs(10).await.unwrap() {
                f.store.conclude(idle.job_id, idle.phase, None, f.now()).await.unwrap();
            }
        }
    }
}

pub(crate) async fn counters_phases_and_summaries_hold_in_every_order_of_events(f: Fixture) {
    for seed in [0x9e37_79b9_7f4a_7c15_u64, 0x0123_4567_89ab_cdef, 0xdead_beef_cafe_f00d] {
        let mut dice = Dice(seed);
        let (mut jobs, mut runs, mut ended) = (Vec::new(), Vec::new(), HashMap::new());
        for _ in 0..250 {
            step(&f, &mut dice, &mut jobs, &mut runs).await;
            check(&f, &jobs, &mut ended, false).await;
        }
        check(&f, &jobs, &mut ended, true).await;
        assert!(ended.len() > 5, "the walk reached the end of some jobs");
        for job in &jobs {
            f.cancel(*job).await;
            f.store.give_up_unproven(*job, f.now()).await.unwrap();
        }
        check(&f, &jobs, &mut ended, true).await;
        assert_eq!(ended.len(), jobs.len(), "every job can be brought to its end");
    }
}

pub(crate) async fn many_workers_never_get_the_same_unit(f: Fixture) {
    let job = f.submit(60, 60).await;
    let f = Arc::new(f);
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let f = Arc::clone(&f);
            tokio::spawn(async move {
                let mut got = Vec::new();
                loop {
                    let runs = f.claim(3).await;
                    if runs.is_empty() {
                        return got;
                    }
                    for run in runs {
                        got.push(run.unit.index);
                        f.finish(run.run_id, Verdict::Succeeded).await;
                    }
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..60).collect::<Vec<_>>());
    assert_eq!(f.job(job).await.progress.succeeded, 60);
}

pub(crate) async fn of_many_concurrent_ends_exactly_one_happens(f: Fixture) {
    let f = Arc::new(f);
    for _ in 0..15 {
        let job = f.submit(1, 1).await;
        let run = f.claim_one().await.run_id;
        let finish = async || f.finish(run, Verdict::Succeeded).await != FinishEffect::Fenced;
        let release =
            async || f.store.release_run(run, false, Some(gone(&[])), f.now()).await.unwrap() != FinishEffect::Fenced;
        let cancel = async || {
            f.cancel(job).await;
        };
        let (a, b, c, ()) = tokio::join!(finish(), release(), finish(), cancel());
        assert_eq!([a, b, c].into_iter().filter(|done| *done).count(), 1, "one closing of the run");
        let phase = f.phase(job).await;
        assert!(matches!(phase, Phase::Cancelled | Phase::Completed), "{phase}");
        assert!(f.store.heartbeat(WORKER, f.now(), f.now()).await.unwrap().is_empty());
    }
}
