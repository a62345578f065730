//! The repair: runs whose worker died, jobs that wait for their next step, force that is due. Everything here can be
//! done twice, by several processes, without harm.
//!
//! A run of this data folder is looked for on this machine (its former server is dead: we hold the lock). Proof that
//! nothing of it is left gives its unit back at once. A run of another machine is that machine's to look for; in a job
//! that goes on its unit is given out again when lease and grace are over, in a cancelling job it is waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use app::model::{JobId, Phase, RunId, StopEvidence, Timestamp};
use tokio::sync::Semaphore;

use super::{
    clock::now,
    core::{Core, lock},
    doubts::Doubts,
    litter,
    worker::{Settling, advance, follow_up, hand_back, settle, take_up},
};
use crate::{
    error::Result,
    kinds::{Recovery, RunPlace},
    store::{FinishEffect, Lane, OpenRun, RunState},
};

/// Between two rounds of repair.
const EVERY: Duration = Duration::from_secs(2);
/// Between two looks for a run that could not be proven, when nobody asks.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// What a former worker may need beyond lease and grace, milliseconds.
const QUARANTINE_MARGIN: i64 = 5_000;
/// After force the runs have this long to prove their end, milliseconds.
pub(super) const FORCE_PATIENCE: i64 = 5_000;
/// Grace of a run whose job is not known any more.
pub(super) const DEFAULT_GRACE: Duration = Duration::from_secs(5);
/// Runs that are looked for at once. Most of them only wait for a supervisor that stops its tree with grace.
pub(super) const AT_ONCE: usize = 64;

struct Repair {
    core: Arc<Core>,
    at_once: Arc<Semaphore>,
    looked_at: Mutex<HashMap<RunId, Instant>>,
    doubts: Doubts,
}

/// Picks up what the dead predecessor left, recovers its runs, then repairs in rounds.
pub(super) fn start(core: &Arc<Core>) {
    let repair = Arc::new(Repair {
        core: core.clone(),
        at_once: Arc::new(Semaphore::new(AT_ONCE)),
        looked_at: Mutex::default(),
        doubts: Doubts::default(),
    });
    let litter = core.clone();
    core.spawn_until_stop(async move {
        if let Err(error) = litter::pick_up(&litter).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "files of a former server could not be looked at");
        }
    });
    core.spawn(async move {
        repair.recover_predecessor().await;
        let mut round: u64 = 0;
        while repair.core.sleep(EVERY).await {
            if let Err(error) = repair.round(round).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a round of repair failed");
            }
            round += 1;
        }
    });
}

impl Repair {
    async fn recover_predecessor(self: &Arc<Self>) {
        let worker = &self.core.worker;
        let found = self.core.store.open_runs_of_instance(&worker.instance, &worker.worker_id).await;
        match found {
            Ok(runs) => {
                if !runs.is_empty() {
                    tracing::info!(runs = runs.len(), "recovering the runs of a server that did not shut down");
                }
                for run in runs {
                    self.look_for(run);
                }
            }
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "open runs could not be read"),
        }
    }

    async fn round(self: &Arc<Self>, round: u64) -> Result<()> {
        let core = &self.core;
        self.repair_runs().await?;
        self.doubts.round(core).await?;
        for job in core.store.idle_jobs(100).await? {
            advance(core, job.job_id).await?;
        }
        for job in core.store.cancelling_jobs(Some(now().plus_millis(-FORCE_PATIENCE))).await? {
            give_up(core, job.job_id).await?;
        }
        if round.is_multiple_of(30) {
            let data = core.data.clone();
            core.blocking(move || data.refill_reserve()).await?;
            core.store.set_room_aside().await?;
        }
        if round.is_multiple_of(1_800) {
            core.store.forget_expired(now()).await?;
        }
        Ok(())
    }

    async fn repair_runs(self: &Arc<Self>) -> Result<()> {
        let core = &self.core;
        let at = now();
        for id in core.unsettled.all() {
            match core.store.run(id).await? {
                Some(run) if run.state != RunState::Closed => self.look_for(run),
                Some(_) | None => core.unsettled.remove(id),
            }
        }
        metrics::gauge!("belay_runs_unconfirmed").set(core.store.count_unconfirmed().await? as f64);
        if !core.is_sane(at) {
            return Ok(());
        }
        let lost = core.store.expire_leases(at).await?;
        lock(&self.looked_at)
            .retain(|id, _| lost.iter().any(|run| run.run_id == *id) || core.unsettled.all().contains(id));
        for run in lost {
            if core.holds(run.run_id) {
                continue;
            }
            let follows = core.registry.get(run.kind).is_some_and(|kind| kind.follows());
            if follows || run.instance == core.worker.instance {
                self.look_for(run);
            } else {
                self.wait_for_quarantine(&run, None).await?;
            }
        }
        Ok(())
    }

    /// Looks for a run of this machine, in a task of its own, unless that was done a short time ago.
    fn look_for(self: &Arc<Self>, run: OpenRun) {
        let fresh = lock(&self.looked_at).get(&run.run_id).is_some_and(|at| at.elapsed() < LOOK_AGAIN);
        let is_due = now() > quarantine_end(&run, Duration::ZERO) && run.job_phase != Phase::Cancelling;
        if fresh && !is_due {
            return;
        }
        lock(&self.looked_at).insert(run.run_id, Instant::now());
        let repair = self.clone();
        self.core.spawn_until_stop(async move {
            let Ok(_permit) = repair.at_once.acquire().await else { return };
            if let Err(error) = recover(&repair.core, &run).await {
                // It was not looked at, so it is again in the next round: its supervisor may take longer than it should.
                lock(&repair.looked_at).remove(&run.run_id);
                let id = run.run_id;
                tracing::warn!(run = %id, error = &error as &dyn std::error::Error, "a run could not be recovered");
            }
        });
    }

    async fn wait_for_quarantine(&self, run: &OpenRun, evidence: Option<StopEvidence>) -> Result<()> {
        wait_for_quarantine(&self.core, run, evidence).await
    }
}

/// Looks for a run of this machine, stops what is left of it, and stores what is known now.
pub(super) async fn recover(core: &Arc<Core>, run: &OpenRun) -> Result<()> {
    let Some(recovering) = core.recovering.take(run) else { return Ok(()) };
    let kind = core.kind(run.kind)?;
    if kind.follows() {
        // What was forced has been tried; the end is not held up by trying again.
        let job = core.store.job(run.job_id).await?;
        let forced = job.and_then(|job| job.cancel).is_some_and(|cancel| cancel.forced_at.is_some());
        if !forced || run.stop.is_none() {
            take_up(core, run).await?;
        }
        return Ok(());
    }
    let place = RunPlace::from(run);
    let job = core.store.job(run.job_id).await?;
    // A force from now on finds the recovery that was just taken.
    if job.as_ref().and_then(|job| job.cancel.as_ref()).is_some_and(|cancel| cancel.forced_at.is_some()) {
        recovering.kill();
    }
    let grace = job.map_or(DEFAULT_GRACE, |job| core.registered_grace(&job));
    match kind.recover(run, grace, recovering.stop.clone()).await? {
        Recovery::Finished(outcome) => {
            let settling = Settling { place, kind, worker: run.worker.clone(), cause: None };
            let effect = settle(core, settling, outcome).await?;
            core.unsettled.remove(run.run_id);
            released(core, run, effect).await;
        }
        Recovery::Stopped(evidence) if evidence.confirmed => {
            tracing::info!(run = %run.run_id, detail = %evidence.detail, "a lost run is proven to be gone");
            let effect = match hand_back(core, place, true, Some(evidence.clone())).await? {
                // Given up by force meanwhile: the proof that came late is added.
                FinishEffect::Fenced => core.store.add_evidence(run.run_id, evidence, now()).await?,
                effect @ (FinishEffect::Counted { .. }
                | FinishEffect::JobEnded { .. }
                | FinishEffect::EvidenceAdded { .. }) => effect,
            };
            core.unsettled.remove(run.run_id);
            kind.tidy(place).await;
            released(core, run, effect).await;
        }
        Recovery::Stopped(evidence) => wait_for_quarantine(core, run, Some(evidence)).await?,
    }
    Ok(())
}

async fn grace_of(core: &Core, run: &OpenRun) -> Result<Duration> {
    let job = core.store.job(run.job_id).await?;
    Ok(job.map_or(DEFAULT_GRACE, |job| core.registered_grace(&job)))
}

/// Proof is missing: a cancelling job waits for it, in another one the unit is given out again when lease and grace are
/// over.
async fn wait_for_quarantine(core: &Arc<Core>, run: &OpenRun, evidence: Option<StopEvidence>) -> Result<()> {
    let place = RunPlace::from(run);
    // The phase may have changed while it was looked for.
    let Some(run) = core.store.run(run.run_id).await?.filter(|run| run.state != RunState::Closed) else {
        core.unsettled.remove(place.run_id);
        return Ok(());
    };
    if run.job_phase == Phase::Cancelling {
        if evidence.is_some() && !says_the_same(run.stop.as_ref(), evidence.as_ref()) {
            let effect = hand_back(core, place, true, evidence).await?;
            released(core, &run, effect).await;
        }
        return Ok(());
    }
    if now() > quarantine_end(&run, grace_of(core, &run).await?) {
        tracing::warn!(run = %run.run_id, worker = %run.worker, "lease and grace of a lost run are over");
        let effect = hand_back(core, place, true, evidence).await?;
        core.unsettled.remove(run.run_id);
        released(core, &run, effect).await;
    }
    Ok(())
}

/// Nothing new was found: no need to write, or to wake pages.
fn says_the_same(known: Option<&StopEvidence>, found: Option<&StopEvidence>) -> bool {
    match (known, found) {
        (Some(known), Some(found)) => {
            known.confirmed == found.confirmed
                && known.processes_left == found.processes_left
                && known.detail == found.detail
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The moment until which the unit of a lost run is not given out again without proof.
fn quarantine_end(run: &OpenRun, grace: Duration) -> Timestamp {
    let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX / 2);
    run.lease_until.plus_millis(grace.saturating_add(QUARANTINE_MARGIN))
}

/// A run that nobody held any more is over: its job can go on.
async fn released(core: &Arc<Core>, run: &OpenRun, effect: FinishEffect) {
    follow_up(core, effect).await;
    core.work.ring(Lane::of(run.kind));
}

/// Ends a job whose cancel was forced: what is unproven now stays so, visibly.
pub(super) async fn give_up(core: &Arc<Core>, id: JobId) -> Result<()> {
    let effect = core.store.give_up_unproven(id, now()).await?;
    follow_up(core, effect).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use app::model::Kind;

    use super::*;

    #[test]
    fn a_unit_is_given_out_again_only_after_lease_grace_and_margin() {
        let run = OpenRun {
            run_id: RunId(1),
            job_id: JobId(1),
            kind: Kind::Files,
            job_phase: Phase::InProgress,
            unit: 0,
            unit_name: String::new(),
            state: RunState::Lost,
            worker: String::new(),
            instance: String::new(),
            started_at: Timestamp(0),
            lease_until: Timestamp(15_000),
            stop: None,
            is_cancelled: false,
        };
        assert_eq!(quarantine_end(&run, Duration::from_secs(5)), Timestamp(25_000));
    }

    #[test]
    fn evidence_that_says_nothing_new_is_not_written_again() {
        let first = StopEvidence::never_started(Timestamp(1));
        let later = StopEvidence { stopped_at: Some(Timestamp(2)), ..first.clone() };
        let other = StopEvidence { processes_left: Some(1), confirmed: false, ..first.clone() };
        assert!(says_the_same(Some(&first), Some(&later)));
        assert!(!says_the_same(Some(&other), Some(&first)));
        assert!(!says_the_same(None, Some(&first)));
    }
}
