//! The worker: claims up to its free slots, runs each unit in a task of its own, and settles what it came to.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use app::model::{JobId, Phase, StopEvidence};
use futures::FutureExt as _;
use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    cancel::ended_by_itself,
    clock::{new_run_id, now},
    core::{Core, StopCause},
    heartbeat::lease_until,
};
use crate::{
    error::{Error, Result},
    kinds::{JobKind, Recovery, RunContext, RunOutcome, RunPlace, Stop},
    store::{Claim, ClaimedRun, FinishEffect, Lane, OpenRun, RunResult, RunState, Verdict},
};

/// Looks for work of other processes; own work wakes it at once.
const LOOK_FOR_WORK: Duration = Duration::from_secs(1);
/// Units that one transaction gives out at most: others want to write, too.
const CLAIMED_AT_ONCE: usize = 64;
/// Looks for stop orders of other processes; own ones arrive at once.
const LOOK_FOR_ORDERS: Duration = Duration::from_secs(2);
/// Between two tries to store a result.
const STORE_AGAIN: Duration = Duration::from_millis(250);
/// A run that is being stopped by a shut-down gets its grace and this.
const SHUT_DOWN_MARGIN: Duration = Duration::from_secs(15);
/// A stop by a shut-down kills after this, whatever the grace of the job.
const SHUT_DOWN_GRACE: Duration = Duration::from_secs(5);

/// Starts the loops of the worker.
pub(super) fn start(core: &Arc<Core>) {
    core.spawn(take_work(core.clone(), Lane::Local));
    core.spawn(take_work(core.clone(), Lane::Remote));
    core.spawn(take_work(core.clone(), Lane::Provider));
    core.spawn(take_orders(core.clone()));
}

async fn take_work(core: Arc<Core>, lane: Lane) {
    while !core.stopping.is_cancelled() {
        let free = core.free_slots(lane);
        let wanted = free.min(CLAIMED_AT_ONCE);
        let claimed = if wanted > 0 { claim(&core, lane, wanted).await } else { 0 };
        if claimed > 0 && claimed < free {
            continue;
        }
        tokio::select! {
            () = core.work.rung(lane) => {}
            () = tokio::time::sleep(LOOK_FOR_WORK) => {}
            () = core.stopping.cancelled() => {}
        }
    }
}

/// Leave to bring runs, which the shut-down waits for until it is given back, as for the runs themselves. None: it has
/// begun. (Asked for before the look: a shut-down that the look misses finds the token.)
fn before_shut_down(core: &Core) -> Option<TaskTrackerToken> {
    let token = core.runs.token();
    (!core.stopping.is_cancelled()).then_some(token)
}

/// Claims up to `free` units and starts them. Answers how many.
async fn claim(core: &Arc<Core>, lane: Lane, free: usize) -> usize {
    let Some(_on_its_way) = before_shut_down(core) else { return 0 };
    let cancels = core.cancels.load(Ordering::SeqCst);
    let at = now();
    let claim = Claim {
        worker: core.worker.worker_id.clone(),
        lane,
        max: free as u32,
        now: at,
        lease_until: lease_until(at),
        run_ids: (0..free).map(|_| new_run_id()).collect(),
    };
    let claimed = match core.store.claim(&claim).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no work could be claimed");
            core.sleep(STORE_AGAIN).await;
            return 0;
        }
    };
    let count = claimed.len();
    for run in claimed {
        let stop = core.hold(&run, at);
        core.runs.spawn(carry_out(core.clone(), run, stop));
    }
    if count > 0 {
        core.touch();
    }
    // A cancel, or the shut-down, that came while the claim was on its way found nothing to stop.
    if count > 0 && core.cancels.load(Ordering::SeqCst) != cancels {
        obey(core).await;
    }
    if core.stopping.is_cancelled() {
        core.order_stop(Stop::Graceful, StopCause::ShutDown, |_, _| true);
    }
    count
}

async fn take_orders(core: Arc<Core>) {
    while core.sleep(LOOK_FOR_ORDERS).await {
        if core.held_count() > 0 {
            obey(&core).await;
        }
    }
}

/// Fetches the stop orders for runs of this worker and passes them on.
pub(super) async fn obey(core: &Core) {
    match core.store.stop_orders(&core.worker.worker_id).await {
        Ok(orders) => {
            for order in orders {
                let how = if order.force { Stop::Kill } else { Stop::Graceful };
                core.order_stop(how, StopCause::Cancel, |run, _| *run == order.run_id);
            }
        }
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "stop orders could not be read"),
    }
}

/// Takes up a run that follows what goes on elsewhere, of a server that is gone or of this one. True: it is in hand now.
pub(super) async fn take_up(core: &Arc<Core>, run: &OpenRun) -> Result<bool> {
    let Some(_on_its_way) = before_shut_down(core) else { return Ok(false) };
    if core.holds(run.run_id) {
        return Ok(false);
    }
    let at = now();
    let worker = &core.worker.worker_id;
    let taken = core.store.take_over_run(run.run_id, &run.worker, worker, lease_until(at)).await?;
    core.unsettled.remove(run.run_id);
    let Some(claimed) = taken else { return Ok(false) };
    let stop = core.hold(&claimed, at);
    core.runs.spawn(carry_out(core.clone(), claimed, stop));
    // Its job may be cancelled since, and the server may be stopping.
    obey(core).await;
    if core.stopping.is_cancelled() {
        core.order_stop(Stop::Graceful, StopCause::ShutDown, |_, _| true);
    }
    Ok(true)
}

/// One run from start to stored result.
async fn carry_out(core: Arc<Core>, claimed: ClaimedRun, stop: watch::Receiver<Stop>) {
    let (place, lane) = (RunPlace::from(&claimed), Lane::of(claimed.kind));
    if let Err(error) = run_and_settle(&core, claimed, stop).await {
        tracing::error!(run = %place.run_id, error = &error as &dyn std::error::Error, "a run could not be settled");
        core.unsettled.add(place.run_id);
    }
    core.let_go(place.run_id);
    core.work.ring(lane);
    core.touch();
}

async fn run_and_settle(core: &Arc<Core>, claimed: ClaimedRun, stop: watch::Receiver<Stop>) -> Result<()> {
    let place = RunPlace::from(&claimed);
    let kind = core.kind(claimed.kind)?;
    let worker = core.worker.worker_id.clone();
    let context = RunContext { claimed: claimed.clone(), stop, worker };
    let outcome = match AssertUnwindSafe(kind.run(context)).catch_unwind().await {
        Ok(outcome) => outcome,
        // What it follows goes on: the repair takes the run up again.
        Err(_) if kind.follows() => {
            tracing::error!(run = %place.run_id, "the code of a kind panicked while it followed a run");
            core.unsettled.add(place.run_id);
            return Ok(());
        }
        Err(_) => after_panic(core, &claimed).await?,
    };
    let settling = Settling { place, kind, worker: core.worker.worker_id.clone(), cause: core.cause(place.run_id) };
    let effect = settle(core, settling, outcome).await?;
    follow_up(core, effect).await;
    Ok(())
}

/// The code of a kind broke down. What it had started is stopped, and that is proven, before the unit fails.
async fn after_panic(core: &Arc<Core>, claimed: &ClaimedRun) -> Result<RunOutcome> {
    tracing::error!(run = %claimed.run_id, kind = %claimed.kind, "the code of a kind panicked during a run");
    let kind = core.kind(claimed.kind)?;
    let failed = || Verdict::Failed("the server broke down while it ran; its log says why".to_owned());
    let Some(run) = core.store.run(claimed.run_id).await? else {
        return Ok(RunOutcome { verdict: failed(), exit_code: None, stop: None, produced: Vec::new() });
    };
    let stop = watch::Sender::new(Stop::Graceful).subscribe();
    Ok(match kind.recover(&run, kind.grace(&claimed.spec), stop).await? {
        Recovery::Finished(outcome) => outcome,
        Recovery::Stopped(evidence) => {
            let verdict = if run.job_phase == Phase::Cancelling { Verdict::Cancelled } else { failed() };
            RunOutcome { verdict, exit_code: None, stop: Some(evidence), produced: Vec::new() }
        }
    })
}

/// Whose result is to be stored.
pub(super) struct Settling {
    pub(super) place: RunPlace,
    pub(super) kind: Arc<dyn JobKind>,
    /// The worker that held the run: the fence.
    pub(super) worker: String,
    /// Why the run was stopped, if it was.
    pub(super) cause: Option<StopCause>,
}

/// Stores what a run came to: adopt, finish, tidy (see the module of the engine). Tries until the store takes it.
pub(super) async fn settle(core: &Arc<Core>, run: Settling, mut outcome: RunOutcome) -> Result<FinishEffect> {
    let Settling { place, kind, worker, cause } = run;
    let proven = is_proven(&outcome);
    let interrupted = outcome.verdict == Verdict::Cancelled && cause != Some(StopCause::Cancel);
    if !proven && cause == Some(StopCause::Cancel) {
        // The job stays `cancelling`; the repair looks again.
        return hand_back(core, place, true, outcome.stop).await;
    }
    if interrupted && !proven {
        // Not to be given out again before it is proven, or lease and grace are over: the repair sees to it.
        core.unsettled.add(place.run_id);
        return Ok(FinishEffect::Fenced);
    }
    if interrupted {
        let effect = hand_back(core, place, cause != Some(StopCause::ShutDown), outcome.stop).await?;
        kind.tidy(place).await;
        return Ok(effect);
    }
    make_room(core, &*kind, place, &mut outcome).await;
    let adopted = is_ours(core, place, &worker).await? && adopt(core, &*kind, place, &mut outcome).await;
    let result = RunResult {
        run_id: place.run_id,
        worker,
        verdict: outcome.verdict,
        exit_code: outcome.exit_code,
        stop: outcome.stop.clone(),
        artifacts: outcome.produced,
        judged: kind.judged(place.job_id).await?,
        now: now(),
    };
    let effect = insist(core, || core.store.finish_run(RunResult { now: now(), ..result.clone() })).await?;
    match effect {
        FinishEffect::Fenced => {
            let evidence = outcome.stop.or_else(|| proven.then(|| ended_by_itself(now())));
            return fenced(core, &*kind, place, adopted, evidence).await;
        }
        // The run stays open until its end is proven.
        FinishEffect::EvidenceAdded { .. } => {}
        FinishEffect::Counted { .. } | FinishEffect::JobEnded { .. } => {
            count_unit(&result.verdict);
            // Without proof the run's own files are what a later look begins with.
            if proven {
                kind.tidy(place).await;
            }
        }
    }
    Ok(effect)
}

/// Nothing of the run is left: it ended by itself, or its stop was seen.
fn is_proven(outcome: &RunOutcome) -> bool {
    match (&outcome.stop, &outcome.verdict) {
        (Some(evidence), _) => evidence.confirmed,
        (None, Verdict::Succeeded | Verdict::Failed(_)) => true,
        (None, Verdict::Cancelled) => false,
    }
}

/// A unit that failed on a full disk gives back what it had made: half-written results help nobody, and without room
/// the next unit would fail for it, too.
async fn make_room(core: &Core, kind: &dyn JobKind, place: RunPlace, outcome: &mut RunOutcome) {
    let Verdict::Failed(why) = &outcome.verdict else { return };
    let data = core.data.clone();
    if !core.blocking(move || data.is_short()).await.unwrap_or(false) {
        return;
    }
    let why = format!("{why}; the disk was full, and what the unit had made was removed");
    kind.discard(place).await;
    outcome.produced.clear();
    outcome.verdict = Verdict::Failed(why);
}

/// Moves what was produced to its place; when that fails the unit has failed.
async fn adopt(core: &Core, kind: &dyn JobKind, place: RunPlace, outcome: &mut RunOutcome) -> bool {
    let mut adopted = kind.adopt(place, outcome).await;
    if matches!(adopted, Err(Error::DiskFull)) && core.data.release_reserve() {
        adopted = kind.adopt(place, outcome).await;
    }
    let Err(error) = adopted else { return true };
    tracing::warn!(run = %place.run_id, error = &error as &dyn std::error::Error, "output could not be stored");
    outcome.produced.clear();
    if outcome.verdict == Verdict::Succeeded {
        outcome.verdict = Verdict::Failed(format!("its output could not be stored: {error}"));
    }
    false
}

/// True when the store takes a result of this run from `worker`.
async fn is_ours(core: &Core, place: RunPlace, worker: &str) -> Result<bool> {
    let run = core.store.run(place.run_id).await?;
    Ok(run.is_some_and(|run| run.state == RunState::Open && run.worker == worker))
}

/// The result came too late: it changes nothing, its evidence is added all the same. A run that was only marked as lost
/// gives its unit back now, as it is known that nothing of it is left.
async fn fenced(
    core: &Arc<Core>,
    kind: &dyn JobKind,
    place: RunPlace,
    adopted: bool,
    evidence: Option<StopEvidence>,
) -> Result<FinishEffect> {
    tracing::info!(run = %place.run_id, "a late result was fenced");
    if adopted {
        kind.disown(place).await;
    }
    let proven = evidence.as_ref().is_some_and(|evidence| evidence.confirmed);
    let effect = match (core.store.run(place.run_id).await?, evidence) {
        (Some(run), evidence) if run.state != RunState::Closed => hand_back(core, place, true, evidence).await?,
        (Some(_), Some(evidence)) => core.store.add_evidence(place.run_id, evidence, now()).await?,
        (Some(_) | None, _) => FinishEffect::Fenced,
    };
    if proven {
        kind.tidy(place).await;
    }
    Ok(effect)
}

/// Gives a unit back, or (in a cancelling job) ends it with its evidence.
pub(super) async fn hand_back(
    core: &Arc<Core>,
    place: RunPlace,
    lost: bool,
    evidence: Option<StopEvidence>,
) -> Result<FinishEffect> {
    insist(core, || core.store.release_run(place.run_id, lost, evidence.clone(), now())).await
}

/// Repeats a write that must not be lost while the store is busy or the disk full.
async fn insist<T, F>(core: &Arc<Core>, write: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        match core.watch_disk(write().await) {
            Err(Error::Busy | Error::DiskFull) if !core.stopped.is_cancelled() => {
                tokio::time::sleep(STORE_AGAIN).await;
            }
            result => return result,
        }
    }
}

fn count_unit(verdict: &Verdict) {
    let status = match verdict {
        Verdict::Succeeded => "succeeded",
        Verdict::Failed(_) => "failed",
        Verdict::Cancelled => "cancelled",
    };
    metrics::counter!("belay_units_total", "status" => status).increment(1);
}

/// What the end of a run brings with it. Its slot, and its place in the job, are for the caller to offer.
pub(super) async fn follow_up(core: &Arc<Core>, effect: FinishEffect) {
    match effect {
        FinishEffect::Counted { job_id, idle } => {
            if idle && let Err(error) = advance(core, job_id).await {
                tracing::warn!(job = %job_id, error = &error as &dyn std::error::Error, "a job could not go on");
            }
        }
        FinishEffect::JobEnded { job_id, phase } => {
            tracing::info!(job = %job_id, %phase, "job ended");
            super::cancel::measure_proof(core, job_id).await;
        }
        FinishEffect::EvidenceAdded { .. } | FinishEffect::Fenced => {}
    }
    core.touch();
}

/// An idle job goes on to its next phase that has units, or ends.
pub(super) async fn advance(core: &Arc<Core>, id: JobId) -> Result<()> {
    while let Some(job) = core.store.job(id).await? {
        if !job.phase.can_claim() || job.phase == Phase::Pending {
            return Ok(());
        }
        let kind = core.kind(job.kind)?;
        let next = kind.phases().iter().skip_while(|phase| **phase != job.phase).nth(1);
        let Some(next) = next else {
            let judged = kind.judged(id).await?;
            if let Some(phase) = core.store.conclude(id, job.phase, judged, now()).await? {
                tracing::info!(job = %id, %phase, "job ended");
            }
            core.touch();
            return Ok(());
        };
        let units = kind.units(&job, *next).await?;
        let has_units = !units.is_empty();
        let entered = core.store.enter_phase(id, job.phase, *next, units, now()).await?;
        core.touch();
        if !entered || has_units {
            core.work.ring(Lane::of(job.kind));
            return Ok(());
        }
    }
    Ok(())
}

/// Stops taking work and stops what runs, with proof; what was stopped begins again after the restart.
pub(super) async fn shut_down(core: &Arc<Core>) {
    core.stopping.cancel();
    core.touch();
    core.order_stop(Stop::Graceful, StopCause::ShutDown, |_, _| true);
    core.tasks.close();
    core.runs.close();
    let deadline = tokio::time::Instant::now() + SHUT_DOWN_GRACE;
    if tokio::time::timeout_at(deadline, core.runs.wait()).await.is_err() {
        core.order_stop(Stop::Kill, StopCause::ShutDown, |_, _| true);
        if tokio::time::timeout_at(deadline + SHUT_DOWN_MARGIN, core.runs.wait()).await.is_err() {
            tracing::error!("some runs did not end; they are recovered at the next start");
        }
    }
    let _ = tokio::time::timeout(SHUT_DOWN_MARGIN, core.tasks.wait()).await;
    core.stopped.cancel();
}
