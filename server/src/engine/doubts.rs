//! Runs of jobs that are over, or of units that are, whose end nobody has seen: a host fell silent until it was given up.
//! They are looked for again when somebody asks (Resend). Those on other machines are looked for by themselves, too, for
//! a day: a host that comes back must not go on with what its job gave up. Only evidence comes of it; what is over stays
//! as it ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use app::model::{JobId, RunId};
use futures::{StreamExt as _, stream};

use super::{
    cancel::ended_by_itself,
    clock::now,
    core::{Core, lock},
    leases,
};
use crate::{
    error::Result,
    kinds::{Recovery, RunPlace},
    store::{JobRecord, OpenRun},
};

/// Runs that one round looks at, those first that were begun last.
const AT_ONCE: u32 = 1_000;
/// Between two looks for a run: at least the first, and longer the longer ago it was given up, up to the second.
const PAUSE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(900)];
/// After so long only a Resend looks again, milliseconds.
const PATIENCE: i64 = 24 * 3_600_000;

/// Looks for what a job left in doubt, behind everybody's back. Answers how many runs that are.
pub(super) async fn look_again(core: &Arc<Core>, job: &JobRecord) -> Result<u64> {
    let runs = core.store.unconfirmed_runs(job.job_id).await?;
    let count = runs.len() as u64;
    if count > 0 {
        let (core, job) = (core.clone(), job.clone());
        core.clone().spawn_until_stop(async move {
            let (core, job) = (&core, &job);
            // One that does not answer must not keep the others waiting.
            let looks = stream::iter(runs).map(|run| async move { find(core, job, &run).await });
            looks.buffer_unordered(leases::AT_ONCE).collect::<()>().await;
        });
    }
    Ok(count)
}

/// The rounds in which nobody asks.
#[derive(Default)]
pub(super) struct Doubts {
    looked_at: Mutex<HashMap<RunId, Instant>>,
}

impl Doubts {
    /// Looks for those that are due.
    pub(super) async fn round(&self, core: &Arc<Core>) -> Result<()> {
        let at = now();
        let mut runs = core.store.doubted_runs(at.plus_millis(-PATIENCE), AT_ONCE).await?;
        runs.retain(|run| core.registry.get(run.kind).is_some_and(|kind| run.kind.is_remote() && !kind.follows()));
        let due: Vec<OpenRun> = {
            let mut looked_at = lock(&self.looked_at);
            looked_at.retain(|id, _| runs.iter().any(|run| run.run_id == *id));
            let is_due = |run: &OpenRun| {
                let pause = pause(Duration::from_millis(at.millis_since(run.lease_until).max(0).unsigned_abs()));
                looked_at.get(&run.run_id).is_none_or(|last| last.elapsed() >= pause)
            };
            let due: Vec<OpenRun> = runs.into_iter().filter(is_due).collect();
            looked_at.extend(due.iter().map(|run| (run.run_id, Instant::now())));
            due
        };
        if due.is_empty() {
            return Ok(());
        }
        let core = core.clone();
        core.clone().spawn_until_stop(async move {
            let core = &core;
            let looks = stream::iter(due).map(|run| async move { find_by_itself(core, &run).await });
            looks.buffer_unordered(leases::AT_ONCE).collect::<()>().await;
        });
        Ok(())
    }
}

/// Until the next look for a run whose lease ended so long ago.
fn pause(age: Duration) -> Duration {
    (age / 4).clamp(PAUSE[0], PAUSE[1])
}

async fn find_by_itself(core: &Arc<Core>, run: &OpenRun) {
    match core.store.job(run.job_id).await {
        Ok(Some(job)) => find(core, &job, run).await,
        Ok(None) => {}
        Err(error) => complain(run, &error),
    }
}

async fn find(core: &Arc<Core>, job: &JobRecord, run: &OpenRun) {
    if let Err(error) = try_to_find(core, job, run).await {
        complain(run, &error);
    }
}

fn complain(run: &OpenRun, error: &crate::error::Error) {
    tracing::warn!(run = %run.run_id, error = error as &dyn std::error::Error, "no new evidence");
}

async fn try_to_find(core: &Arc<Core>, job: &JobRecord, run: &OpenRun) -> Result<()> {
    if run.instance != core.worker.instance || core.holds(run.run_id) {
        return Ok(());
    }
    let Some(recovering) = core.recovering.take(run) else { return Ok(()) };
    let kind = core.kind(job.kind)?;
    if job.cancel.is_some() {
        // It has had its grace.
        recovering.kill();
    }
    let evidence = match kind.recover(run, core.registered_grace(job), recovering.stop.clone()).await? {
        Recovery::Stopped(evidence) => Some(evidence),
        Recovery::Finished(outcome) => outcome.stop.or_else(|| Some(ended_by_itself(now()))),
    };
    if let Some(evidence) = evidence {
        let proven = evidence.confirmed;
        core.store.add_evidence(run.run_id, evidence, now()).await?;
        core.touch();
        if proven {
            tracing::info!(run = %run.run_id, "a run that was in doubt is proven to be gone");
            kind.tidy(RunPlace::from(run)).await;
        }
    }
    Ok(())
}

/// What a job that is over says of its doubts; `None` where there are none.
pub(super) fn sentence(runs: u64) -> Option<String> {
    match runs {
        0 => None,
        1 => Some("The end of 1 run is unconfirmed: what it started may still run.".to_owned()),
        runs => Some(format!("The ends of {runs} runs are unconfirmed: what they started may still run.")),
    }
}

/// How many runs of a job that is over are in doubt.
pub(super) async fn count(core: &Core, id: JobId) -> Result<u64> {
    core.store.count_doubted(id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_looked_for_less_often_the_longer_it_is_in_doubt() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(pause(Duration::ZERO), Duration::from_secs(30));
        assert_eq!(pause(minutes(8)), minutes(2));
        assert_eq!(pause(minutes(600)), minutes(15));
    }
}
