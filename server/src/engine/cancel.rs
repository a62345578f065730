//! Cancel: one transaction, a word to every worker, a short wait for the proof, and an answer that never says more than
//! is known.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use app::model::{
    AuditAction, AuditEvent, CancelAnswer, CancelOutcome, CancelRequest, DEFAULT_REASON, ErrorCode, JobId,
    MAX_NOTES_CHARS, Phase, StopSummary, Timestamp,
};
use tokio::time::Instant;

use super::{
    Actor,
    clock::now,
    core::{Core, StopCause},
    doubts, leases, worker,
};
use crate::{
    error::{Error, Result},
    kinds::Stop,
    store::{CancelEffect, CancelOrder, JobRecord, RunState},
};

/// The request waits this long for the end.
const WAIT: Duration = Duration::from_secs(2);
/// Looks for changes of other processes while it waits.
const LOOK: Duration = Duration::from_millis(250);
/// Rows that a sweep turns at once.
const SWEEP: u32 = 2_000;
/// Runs of a job that a resend looks at again.
const RECHECKED: u32 = 1_000;

/// Goes on with what a former process had begun.
pub(super) fn start(core: &Arc<Core>) {
    begin_sweep(core);
}

/// Turns the rows of what was never started, behind everybody's back.
pub(super) fn begin_sweep(core: &Arc<Core>) {
    core.spawn(sweep(core.clone()));
}

/// See [`Engine::cancel`](super::Engine::cancel).
pub(super) async fn cancel(core: &Arc<Core>, actor: &Actor, id: JobId, request: CancelRequest) -> Result<CancelAnswer> {
    let action = if request.force { AuditAction::ForceCancel } else { AuditAction::Cancel };
    let order = check(actor, id, request)?;
    let Some(job) = core.store.job(id).await? else {
        let error = core.missing(id).await?;
        core.note(actor.event(action, Some((id, "")), format!("refused: {}", error.code()))).await;
        return Err(error);
    };
    let answer = match record(core, actor, action, &job.name, &order).await? {
        CancelEffect::NotFound => return Err(core.missing(id).await?),
        CancelEffect::Began(job) => {
            pursue(core, id, order.force).await;
            if job.phase.is_terminal() {
                measure_proof(core, id).await;
            }
            told_by(wait_for_end(core, job).await?, &order)
        }
        CancelEffect::Repeated(job) => {
            pursue(core, id, order.force).await;
            told_by(wait_for_end(core, job).await?, &order)
        }
        CancelEffect::NotCancellable(job) => {
            if job.phase == Phase::Deleting {
                return Err(Error::JobDeleting(id));
            }
            let in_doubt = doubts::look_again(core, &job).await?;
            told_as_before(&job, in_doubt)
        }
    };
    count(answer.outcome.as_str());
    Ok(answer)
}

pub(super) fn count(outcome: &'static str) {
    metrics::counter!("belay_cancel_total", "outcome" => outcome).increment(1);
}

/// Reads a request; nothing is stored when it cannot be taken.
pub(super) fn check(actor: &Actor, job_id: JobId, request: CancelRequest) -> Result<CancelOrder> {
    let invalid = |field: &str, detail: &str| Error::Invalid {
        code: ErrorCode::InvalidCancel,
        field: Some(field.to_owned()),
        detail: detail.to_owned(),
        hint: None,
    };
    let reason = request.reason.unwrap_or_else(|| DEFAULT_REASON.to_owned());
    let is_code = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.');
    if reason.is_empty() || reason.len() > 64 || !reason.bytes().all(is_code) {
        return Err(invalid("reason", "`reason` must be a short code: 1 to 64 of a-z, 0-9, `_`, `-` and `.`."));
    }
    let notes = request.notes.map(|notes| notes.replace("\r\n", "\n")).filter(|notes| !notes.trim().is_empty());
    if notes.as_ref().is_some_and(|notes| notes.chars().count() > MAX_NOTES_CHARS) {
        return Err(invalid("notes", "`notes` must be at most 500 characters."));
    }
    Ok(CancelOrder {
        job_id,
        reason,
        notes,
        force: request.force,
        actor: actor.name.clone(),
        source: actor.source,
        request_id: actor.request_id.clone(),
        now: now(),
    })
}

/// The audit event of a request; what it came to the store writes.
pub(super) fn event(actor: &Actor, action: AuditAction, job_name: &str, order: &CancelOrder) -> AuditEvent {
    let mut event = actor.event(action, Some((order.job_id, job_name)), "");
    event.detail = Some(match &order.notes {
        Some(notes) => format!("{}: {notes}", order.reason),
        None => order.reason.clone(),
    });
    event
}

/// The one transaction, also on a full disk.
pub(super) async fn record(
    core: &Arc<Core>,
    actor: &Actor,
    action: AuditAction,
    job_name: &str,
    order: &CancelOrder,
) -> Result<CancelEffect> {
    let audit = event(actor, action, job_name, order);
    let effect = core.with_reserve(|| core.store.cancel(order, audit.clone())).await?;
    core.touch();
    Ok(effect)
}

/// Tells the runs of this process, also those that a killed server left, and cleans up behind. Other processes ask the
/// store for their orders.
pub(super) async fn pursue(core: &Arc<Core>, id: JobId, force: bool) {
    core.cancels.fetch_add(1, Ordering::SeqCst);
    let how = if force { Stop::Kill } else { Stop::Graceful };
    core.order_stop(how, StopCause::Cancel, |_, held| held.job_id == id);
    begin_sweep(core);
    if force {
        core.recovering.kill(id);
        core.spawn(end_by_force(core.clone(), id));
    }
    // The request is stored: what cannot be read now is looked for again by the repair.
    if let Err(error) = recheck_open(core, id).await {
        tracing::warn!(job = %id, error = &error as &dyn std::error::Error, "runs of a cancelled job were not looked at");
    }
}

/// The maintenance does the same, for a force that this process did not see through.
async fn end_by_force(core: Arc<Core>, id: JobId) {
    if core.sleep(Duration::from_millis(leases::FORCE_PATIENCE.unsigned_abs())).await
        && let Err(error) = leases::give_up(&core, id).await
    {
        tracing::warn!(job = %id, error = &error as &dyn std::error::Error, "a forced end failed; it is tried again");
    }
}

/// Turns left-over pending rows of cancelled jobs, in batches that block nobody.
async fn sweep(core: Arc<Core>) {
    loop {
        match core.store.sweep_cancelled(SWEEP).await {
            Ok(0) => return,
            Ok(_) if core.sleep(Duration::from_millis(5)).await => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a sweep failed; the next cancel goes on");
                return;
            }
        }
    }
}

/// Waits for the job to leave `cancelling`, at most [`WAIT`].
async fn wait_for_end(core: &Arc<Core>, job: JobRecord) -> Result<JobRecord> {
    let deadline = Instant::now() + WAIT;
    let mut job = job;
    while job.phase == Phase::Cancelling && Instant::now() < deadline && !core.stopped.is_cancelled() {
        let mut changes = core.changes();
        job = core.find(job.job_id).await?;
        if job.phase != Phase::Cancelling {
            break;
        }
        // Elapsed or changed: look again either way.
        let _ = tokio::time::timeout_at(deadline.min(Instant::now() + LOOK), changes.changed()).await;
    }
    if job.phase == Phase::Cancelling { core.find(job.job_id).await } else { Ok(job) }
}

/// Waits until a job is no longer active nor `cancelling`; false when `patience` is over first.
pub(super) async fn wait_until_over(core: &Core, id: JobId, patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let mut changes = core.changes();
        match core.store.job(id).await? {
            Some(job) if job.phase.delete_needs_force() => {}
            Some(_) | None => return Ok(true),
        }
        if Instant::now() >= deadline || core.stopping.is_cancelled() {
            return Ok(false);
        }
        // Elapsed or changed: look again either way.
        let _ = tokio::time::timeout_at(deadline.min(Instant::now() + LOOK), changes.changed()).await;
    }
}

// ---- answers ----

fn answer(job: &JobRecord, outcome: CancelOutcome, message: String) -> CancelAnswer {
    let cancel = job.cancel.as_ref();
    CancelAnswer {
        job_id: job.job_id,
        phase: job.phase,
        cancelled: job.phase == Phase::Cancelled,
        cancelled_at: cancel.and_then(|cancel| cancel.cancelled_at),
        reason: cancel.map(|cancel| cancel.reason.clone()),
        notes: cancel.and_then(|cancel| cancel.notes.clone()),
        requested_by: cancel.map(|cancel| cancel.requested_by.clone()),
        message,
        outcome,
        stop: cancel.map(|cancel| cancel.stop).unwrap_or_default(),
    }
}

/// The answer to a request that found the job active or `cancelling`.
fn told_by(job: JobRecord, order: &CancelOrder) -> CancelAnswer {
    let stop = job.cancel.as_ref().map(|cancel| cancel.stop).unwrap_or_default();
    match job.phase {
        Phase::Cancelled => answer(&job, CancelOutcome::Cancelled, cancelled_message(&stop)),
        Phase::Completed => {
            let message = "Nothing was left to stop: every unit had succeeded before the cancel took effect.";
            answer(&job, CancelOutcome::AlreadyFinished, message.to_owned())
        }
        Phase::Partial | Phase::Failed | Phase::Deleting => {
            answer(&job, CancelOutcome::AlreadyFinished, finished_message(job.phase))
        }
        Phase::Cancelling
        | Phase::Pending
        | Phase::Collection
        | Phase::FeatureExtraction
        | Phase::Matching
        | Phase::Evidence
        | Phase::InProgress
        | Phase::Validating
        | Phase::Finalizing => answer(&job, CancelOutcome::Cancelling, waiting_message(&stop, order.force)),
    }
}

/// The answer to a request that found the job over. `in_doubt`: its runs whose end is looked for again.
fn told_as_before(job: &JobRecord, in_doubt: u64) -> CancelAnswer {
    let again = if in_doubt > 0 { " What is unconfirmed is being looked for again." } else { "" };
    if job.phase == Phase::Cancelled {
        let message = format!("This job was already cancelled.{again}");
        return answer(job, CancelOutcome::AlreadyCancelled, message);
    }
    let mut answer = answer(job, CancelOutcome::AlreadyFinished, finished_message(job.phase) + again);
    if job.cancel.is_none() {
        // Nobody stopped it: what is in doubt is all that there is to tell.
        answer.stop = StopSummary { units: in_doubt, unconfirmed: in_doubt, ..StopSummary::default() };
    }
    answer
}

fn finished_message(phase: Phase) -> String {
    phase.why_no_cancel().unwrap_or("This job has already ended.").to_owned()
}

fn cancelled_message(stop: &StopSummary) -> String {
    match (stop.unconfirmed, stop.stopped) {
        (0, 0) => "Job cancelled. Nothing of it was running.".to_owned(),
        (0, 1) => "Job cancelled. Its run has stopped; nothing of it is left.".to_owned(),
        (0, runs) => format!("Job cancelled. All {runs} runs have stopped; nothing of them is left."),
        (1, _) => "Job ended by force. The stop of 1 run is unconfirmed.".to_owned(),
        (unproven, _) => format!("Job ended by force. The stops of {unproven} runs are unconfirmed."),
    }
}

fn waiting_message(stop: &StopSummary, force: bool) -> String {
    let runs = stop.stopped + stop.waiting + stop.unconfirmed;
    let rest =
        if force { "what does not answer within 5 s is given up as unconfirmed" } else { "waiting for the rest" };
    format!("{} of {} stopped… {rest}.", stop.stopped, runs)
}

// ---- looking again ----

/// Looks at once for runs of this machine that nobody holds: lost ones, and those of a killed server.
async fn recheck_open(core: &Arc<Core>, id: JobId) -> Result<()> {
    for run in core.store.open_runs(id, RECHECKED).await? {
        let is_here = run.instance == core.worker.instance && !core.holds(run.run_id);
        let is_left =
            run.state == RunState::Lost || run.worker != core.worker.worker_id || core.unsettled.has(run.run_id);
        if is_here && is_left {
            let core = core.clone();
            core.clone().spawn_until_stop(async move {
                if let Err(error) = leases::recover(&core, &run).await {
                    tracing::warn!(run = %run.run_id, error = &error as &dyn std::error::Error, "no recovery");
                }
            });
        }
    }
    worker::obey(core).await;
    Ok(())
}

/// Evidence of a run that had ended, and left its report, before anybody could stop it.
pub(super) fn ended_by_itself(at: Timestamp) -> app::model::StopEvidence {
    app::model::StopEvidence {
        method: app::model::StopMethod::Exited,
        signals: Vec::new(),
        stopped_at: Some(at),
        processes_left: Some(0),
        processes_seen: None,
        confirmed: true,
        detail: "It had ended by itself; its supervisor's report was found later.".to_owned(),
        steps: Vec::new(),
    }
}

/// Records how long the proof of a cancelled job took.
pub(super) async fn measure_proof(core: &Core, id: JobId) {
    if let Ok(Some(job)) = core.store.job(id).await {
        measure(&job);
    }
}

/// Likewise, of a job as it was read.
pub(super) fn measure(job: &JobRecord) {
    let Some(cancel) = &job.cancel else { return };
    if let Some(cancelled_at) = cancel.cancelled_at {
        let seconds = cancelled_at.millis_since(cancel.requested_at).max(0) as f64 / 1_000.0;
        metrics::histogram!("belay_cancel_proof_seconds").record(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(reason: Option<&str>, notes: Option<String>) -> CancelRequest {
        CancelRequest { reason: reason.map(str::to_owned), notes, force: false }
    }

    fn checked(request: CancelRequest) -> Result<CancelOrder> {
        let actor = Actor {
            name: "mara".to_owned(),
            source: app::model::Source::Api,
            address: None,
            request_id: "r".to_owned(),
        };
        check(&actor, JobId(1), request)
    }

    #[test]
    fn notes_of_501_characters_are_refused_and_500_of_any_language_are_taken() {
        assert!(checked(request(None, Some("é".repeat(500)))).is_ok());
        let error = checked(request(None, Some("é".repeat(501)))).unwrap_err();
        let Error::Invalid { code, field, .. } = error else { panic!("{error}") };
        assert_eq!((code, field.as_deref()), (ErrorCode::InvalidCancel, Some("notes")));
    }

    #[test]
    fn a_reason_is_a_short_code() {
        assert_eq!(checked(request(None, None)).unwrap().reason, "user_request");
        assert!(checked(request(Some("cost.limit-2"), None)).is_ok());
        for reason in ["", "Cost Limit", "é", "x".repeat(65).as_str()] {
            assert!(checked(request(Some(reason), None)).is_err(), "{reason}");
        }
    }

    #[test]
    fn empty_notes_are_no_notes() {
        assert_eq!(checked(request(None, Some(" \r\n".to_owned()))).unwrap().notes, None);
    }

    #[test]
    fn the_message_never_says_more_than_is_proven() {
        let stop = StopSummary { units: 5, never_started: 0, stopped: 2, waiting: 3, unconfirmed: 0 };
        assert!(waiting_message(&stop, false).starts_with("2 of 5 stopped…"));
        let unproven = StopSummary { units: 1, unconfirmed: 1, ..StopSummary::default() };
        assert!(cancelled_message(&unproven).contains("unconfirmed"));
    }
}
