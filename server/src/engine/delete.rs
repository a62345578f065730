//! Delete: the receipt is written first and completed last; between the two are steps that may be repeated. A job that is
//! still active is stopped first, and who asked for that is stored before anything else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use app::model::{
    AuditAction, Category, DeleteAnswer, DeleteStatus, JobId, Kind, Leftover, Phase, PhaseClass, Plan, Receipt,
    ReceiptState,
};
use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    Actor, DeleteOptions, cancel,
    clock::now,
    core::{Core, lock},
    leases,
    removal::{self, Count, Failures},
};
use crate::{
    data::DataFolder,
    error::{Error, Result},
    kinds::{Recovery, RunPlace},
    store::{BeginDelete, CancelOrder, DeleteIntent, JobRecord, OpenRun},
};

/// The request waits this long for the end.
const WAIT: Duration = Duration::from_secs(10);
/// Rows that one transaction removes.
const ROWS: u32 = 2_000;
/// Between two tries to look for a run that somebody else looks for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a retry waits for a run to be looked for.
const LOOK_PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries of a removal that could not write.
const AGAIN: Duration = Duration::from_secs(1);

/// Goes on with what a former process had begun.
pub(super) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.clone().spawn(async move {
        match core.store.deleting_jobs().await {
            Ok(receipts) => receipts.iter().for_each(|receipt| begin(&core, receipt.job_id, Work::Remove)),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "removals could not be resumed"),
        }
        match core.store.intended_deletes().await {
            Ok(intents) => {
                intents.into_iter().for_each(|(job, intent)| begin(&core, job.job_id, Work::StopFirst(intent)));
            }
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "removals could not be resumed"),
        }
    });
}

/// See [`Engine::plan`](super::Engine::plan).
pub(super) async fn plan(core: &Arc<Core>, id: JobId, keep_files: bool) -> Result<Plan> {
    let job = core.find(id).await?;
    if job.phase == Phase::Deleting {
        return Err(Error::JobDeleting(id));
    }
    let records = core.store.count_rows(id).await?.total();
    let data = core.data.clone();
    let kind = job.kind;
    let mut files = core.blocking(move || removal::count(&data, id, kind)).await?;
    add_remote(core, id, kind, &mut files).await?;
    let items = removal::plan_items(&files, records, keep_files);
    let is_files =
        |category: Category| !matches!(category, Category::JobData | Category::Records) && !category.is_remote();
    Ok(Plan {
        job_id: id,
        phase: job.phase,
        files: items.iter().filter(|item| is_files(item.category)).map(|item| item.items).sum(),
        bytes: items.iter().map(|item| item.bytes).sum(),
        items,
        needs_force: job.phase.delete_needs_force(),
        keep_files,
    })
}

/// See [`Engine::delete`](super::Engine::delete).
pub(super) async fn delete(core: &Arc<Core>, actor: &Actor, id: JobId, options: DeleteOptions) -> Result<DeleteAnswer> {
    let action = if options.force { AuditAction::ForceDelete } else { AuditAction::Delete };
    let Some(job) = core.store.job(id).await? else {
        let error = core.missing(id).await?;
        core.note(actor.event(action, Some((id, "")), format!("refused: {}", error.code()))).await;
        return Err(error);
    };
    let subject = Some((id, job.name.as_str()));
    let by_itself = DeleteIntent {
        actor: actor.name.clone(),
        source: actor.source,
        request_id: actor.request_id.clone(),
        at: now(),
        keep_files: options.keep_files,
    };
    match job.phase.class() {
        PhaseClass::Pending | PhaseClass::Active | PhaseClass::Cancelling if !options.force => {
            core.note(actor.event(action, subject, "refused: JOB_ACTIVE")).await;
            metrics::counter!("belay_delete_total", "outcome" => "refused").increment(1);
            return Err(Error::JobActive { job_id: id, phase: job.phase });
        }
        PhaseClass::Pending | PhaseClass::Active | PhaseClass::Cancelling => {
            core.with_reserve(|| core.store.intend_delete(id, &by_itself)).await?;
            core.touch();
            core.note(actor.event(action, subject, "accepted: stops first")).await;
            begin(core, id, Work::StopFirst(by_itself));
        }
        PhaseClass::Deleting => begin(core, id, Work::Remove),
        PhaseClass::Terminal => {
            if !begin_removal(core, actor, action, &job, &by_itself, false).await? {
                // Between the two reads somebody made it active? A terminal phase never changes: it is gone.
                return Err(core.missing(id).await?);
            }
            begin(core, id, Work::Remove);
        }
    }
    wait_for_end(core, id).await
}

/// What lies elsewhere, beside the files.
async fn add_remote(core: &Core, id: JobId, kind: Kind, files: &mut BTreeMap<Category, Count>) -> Result<()> {
    for (category, items) in core.kind(kind)?.remote_things(id).await? {
        files.insert(category, Count { items, bytes: 0 });
    }
    Ok(())
}

/// Waits for the receipt to be complete, at most [`WAIT`].
async fn wait_for_end(core: &Arc<Core>, id: JobId) -> Result<DeleteAnswer> {
    let deadline = Instant::now() + WAIT;
    loop {
        let mut changes = core.changes();
        let receipt = core.store.receipt(id).await?;
        let is_over = receipt.as_ref().is_some_and(|receipt| receipt.state != ReceiptState::Running);
        if is_over || Instant::now() >= deadline || core.stopping.is_cancelled() {
            return Ok(answer(id, receipt));
        }
        // Elapsed or changed: look again either way.
        let _ = tokio::time::timeout_at(deadline.min(Instant::now() + AGAIN), changes.changed()).await;
    }
}

fn answer(job_id: JobId, receipt: Option<Receipt>) -> DeleteAnswer {
    let (status, message) = match receipt.as_ref().map(|receipt| receipt.state) {
        Some(ReceiptState::Complete) => (DeleteStatus::Deleted, "Job deleted successfully"),
        Some(ReceiptState::Incomplete) => {
            (DeleteStatus::Deleted, "Job deleted. Something of it could not be removed or confirmed: see the receipt.")
        }
        Some(ReceiptState::Running) => (DeleteStatus::Deleting, "The removal goes on; its receipt says how far it is."),
        None => (DeleteStatus::Deleting, "The job is being stopped; it is deleted once that is proven."),
    };
    let deleted_at = receipt.as_ref().and_then(|receipt| receipt.deleted_at);
    DeleteAnswer { job_id, status, deleted_at, receipt, message: message.to_owned() }
}

/// See [`Engine::receipt`](super::Engine::receipt).
pub(super) async fn receipt(core: &Core, id: JobId) -> Result<Receipt> {
    core.store.receipt(id).await?.ok_or_else(|| Error::NotFound(format!("There is no receipt for job `{id}`.")))
}

/// What is to be done in the background.
enum Work {
    /// The job is `deleting`.
    Remove,
    /// It is active, or was when the delete was asked for.
    StopFirst(DeleteIntent),
}

/// Does the work in a task, unless one does it already. A failed step is tried again, until the server stops.
fn begin(core: &Arc<Core>, id: JobId, work: Work) {
    let core = core.clone();
    core.clone().spawn(async move {
        let Some(_guard) = core.removing.take(id) else { return };
        if let Work::StopFirst(intent) = &work {
            while let Err(error) = stop_first(&core, id, intent).await {
                tracing::warn!(job = %id, error = &error as &dyn std::error::Error, "a job could not be stopped for its removal");
                if !core.sleep(AGAIN).await {
                    return;
                }
            }
        }
        while let Err(error) = remove(&core, id).await {
            let _ = core.watch_disk::<()>(Err(error)).inspect_err(|error| {
                tracing::warn!(job = %id, error = error as &dyn std::error::Error, "a removal did not get on");
            });
            if !core.sleep(AGAIN).await {
                return;
            }
        }
    });
}

/// Cancels, waits for the proof, forces the end when it stays missing, and begins the removal.
async fn stop_first(core: &Arc<Core>, id: JobId, intent: &DeleteIntent) -> Result<()> {
    let actor = Actor {
        name: intent.actor.clone(),
        source: intent.source,
        address: None,
        request_id: intent.request_id.clone(),
    };
    let Some(job) = core.store.job(id).await? else { return Ok(()) };
    if job.phase.can_cancel() || job.phase.can_resend_cancel() {
        order(core, &actor, &job, false).await?;
        let waited = now().millis_since(intent.at).max(0);
        let patience = core.kind(job.kind)?.proof_patience();
        let patience = patience.saturating_sub(Duration::from_millis(waited.unsigned_abs()));
        if !cancel::wait_until_over(core, id, patience).await? {
            if core.stopping.is_cancelled() {
                return Ok(());
            }
            order(core, &actor, &job, true).await?;
            let last = Duration::from_millis(leases::FORCE_PATIENCE.unsigned_abs());
            if !cancel::wait_until_over(core, id, last).await? && !core.stopping.is_cancelled() {
                leases::give_up(core, id).await?;
            }
        }
    }
    let Some(job) = core.store.job(id).await? else { return Ok(()) };
    if job.phase.is_terminal() {
        begin_removal(core, &actor, AuditAction::ForceDelete, &job, intent, true).await?;
    }
    Ok(())
}

async fn order(core: &Arc<Core>, actor: &Actor, job: &JobRecord, force: bool) -> Result<()> {
    let action = if force { AuditAction::ForceCancel } else { AuditAction::Cancel };
    let order = CancelOrder {
        job_id: job.job_id,
        reason: "delete".to_owned(),
        notes: None,
        force,
        actor: actor.name.clone(),
        source: actor.source,
        request_id: actor.request_id.clone(),
        now: now(),
    };
    cancel::record(core, actor, action, &job.name, &order).await?;
    cancel::pursue(core, job.job_id, force).await;
    Ok(())
}

/// Moves a terminal job to `deleting`, with its receipt in the same transaction. False: it is not terminal, or gone.
async fn begin_removal(
    core: &Arc<Core>,
    actor: &Actor,
    action: AuditAction,
    job: &JobRecord,
    intent: &DeleteIntent,
    forced: bool,
) -> Result<bool> {
    let id = job.job_id;
    let records = core.store.count_rows(id).await?.total();
    let (data, kind) = (core.data.clone(), job.kind);
    let mut files = core.blocking(move || removal::count(&data, id, kind)).await?;
    add_remote(core, id, kind, &mut files).await?;
    let receipt = Receipt {
        job_id: id,
        name: job.name.clone(),
        kind: job.kind,
        last_phase: job.phase,
        created_at: job.created_at,
        created_by: job.created_by.clone(),
        requested_at: intent.at,
        requested_by: intent.actor.clone(),
        source: intent.source,
        request_id: intent.request_id.clone(),
        forced,
        state: ReceiptState::Running,
        deleted_at: None,
        items: removal::planned(&files, records),
        left: Vec::new(),
        kept_in: intent.keep_files.then(|| DataFolder::kept_name(id)),
        retries: 0,
    };
    let event = || actor.event(action, Some((id, &job.name)), "deleting");
    let begun = core.with_reserve(|| core.store.begin_delete(&receipt, event())).await?;
    core.touch();
    lock(&core.sizes).remove(&id);
    Ok(match begun {
        BeginDelete::Began | BeginDelete::Joined(_) => true,
        BeginDelete::NotFound | BeginDelete::NotTerminal(_) => false,
    })
}

/// The removal itself. Every step may be repeated.
async fn remove(core: &Arc<Core>, id: JobId) -> Result<()> {
    let Some(job) = core.store.job(id).await? else { return Ok(()) };
    let Some(mut receipt) = core.store.receipt(id).await? else { return Ok(()) };
    if job.phase != Phase::Deleting || core.stopping.is_cancelled() {
        return Ok(());
    }
    let unproven = core.store.unconfirmed_runs(id).await?;
    let unproven = look_again(core, unproven, core.registered_grace(&job)).await;
    let Some((elsewhere, unproven)) = withdraw_and_look(core, &receipt, unproven).await? else { return Ok(()) };
    let failures = remove_files(core, &receipt).await?;
    if core.stopping.is_cancelled() {
        return Ok(());
    }
    // What is needed to ask again about unproven runs outlives their rows: `finish_delete` stores it in the
    // transaction that removes the last ones. (With such runs their rows go only there.)
    while unproven.is_empty() && core.store.remove_rows(id, ROWS).await? > 0 {
        core.touch();
        if core.stopping.is_cancelled() {
            return Ok(());
        }
    }
    complete(core, &mut receipt, &failures, elsewhere, &unproven).await?;
    core.store.finish_delete(&receipt, &unproven).await?;
    metrics::counter!("belay_delete_total", "outcome" => receipt.state.as_str()).increment(1);
    tracing::info!(job = %id, state = receipt.state.as_str(), "job deleted");
    core.touch();
    Ok(())
}

/// Takes away what lies elsewhere, and answers what is left of it. None: the server stops.
async fn withdraw(core: &Arc<Core>, receipt: &Receipt) -> Result<Option<Vec<Leftover>>> {
    let kind = core.kind(receipt.kind)?;
    tokio::select! {
        left = kind.withdraw(receipt.job_id) => left.map(Some),
        () = core.stopping.cancelled() => Ok(None),
    }
}

/// The same, and what is still unproven then: where it took long, what goes on elsewhere was waited for, and may be known
/// now. What is proven to be over after that can be taken away at last.
async fn withdraw_and_look(
    core: &Arc<Core>,
    receipt: &Receipt,
    unproven: Vec<OpenRun>,
) -> Result<Option<(Vec<Leftover>, Vec<OpenRun>)>> {
    let begun = Instant::now();
    let Some(elsewhere) = withdraw(core, receipt).await? else { return Ok(None) };
    // It waited for no news.
    if unproven.is_empty() || begun.elapsed() < LOOK_PATIENCE {
        return Ok(Some((elsewhere, unproven)));
    }
    let before = unproven.len();
    let unproven = look_again(core, unproven, leases::DEFAULT_GRACE).await;
    if unproven.len() == before {
        return Ok(Some((elsewhere, unproven)));
    }
    Ok(withdraw(core, receipt).await?.map(|elsewhere| (elsewhere, unproven)))
}

/// Moves what is kept, removes the rest.
async fn remove_files(core: &Arc<Core>, receipt: &Receipt) -> Result<Failures> {
    let (data, id, kind, keeps) = (core.data.clone(), receipt.job_id, receipt.kind, receipt.kept_in.is_some());
    core.blocking(move || {
        if keeps {
            removal::keep(&data, id)?;
        }
        Ok(removal::remove(&data, id, kind))
    })
    .await?
}

/// Brings a receipt to what is so now.
async fn complete(
    core: &Arc<Core>,
    receipt: &mut Receipt,
    failures: &Failures,
    elsewhere: Vec<Leftover>,
    unproven: &[OpenRun],
) -> Result<()> {
    let (data, id, kind) = (core.data.clone(), receipt.job_id, receipt.kind);
    let keeps = receipt.kept_in.is_some();
    let kept = move || if keeps { removal::count_kept(&data, id, kind) } else { BTreeMap::new() };
    let data = core.data.clone();
    let (kept, is_gone) = core.blocking(move || (kept(), !data.job(id).exists())).await?;
    let failures = removal::with_elsewhere(failures, &elsewhere);
    removal::account(&mut receipt.items, &failures.0, &kept);
    receipt.left = failures.1;
    receipt.left.extend(unproven.iter().map(|run| Leftover::Run {
        run_id: run.run_id,
        worker: run.worker.clone(),
        detail: run.stop.as_ref().map_or_else(|| "Its stop was never proven.".to_owned(), |stop| stop.detail.clone()),
    }));
    let is_complete = is_gone && !receipt.left.iter().any(Leftover::may_go);
    receipt.state = if is_complete { ReceiptState::Complete } else { ReceiptState::Incomplete };
    receipt.deleted_at.get_or_insert(now());
    Ok(())
}

/// Looks for runs that were never proven to have stopped; answers those that still are not.
async fn look_again(core: &Arc<Core>, runs: Vec<OpenRun>, grace: Duration) -> Vec<OpenRun> {
    let looks = stream::iter(runs).map(|mut run| async move {
        match look_for(core, &run, grace).await {
            Ok(Some(stop)) if stop.confirmed => None,
            Ok(stop) => {
                run.stop = stop.or(run.stop);
                Some(run)
            }
            Err(error) => {
                tracing::warn!(run = %run.run_id, error = &error as &dyn std::error::Error, "a run could not be looked for");
                Some(run)
            }
        }
    });
    // Side by side: a hundred hosts that do not answer take as long as one.
    looks.buffered(leases::AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn look_for(core: &Arc<Core>, run: &OpenRun, grace: Duration) -> Result<Option<app::model::StopEvidence>> {
    if run.instance != core.worker.instance || core.holds(run.run_id) {
        return Ok(None);
    }
    // Whoever looks for it now began before it was asked for, and knows nothing of the removal.
    let deadline = tokio::time::Instant::now() + LOOK_PATIENCE;
    let recovering = loop {
        match core.recovering.take(run) {
            Some(recovering) => break recovering,
            None if tokio::time::Instant::now() < deadline && core.sleep(LOOK_AGAIN).await => {}
            None => return Ok(None),
        }
    };
    let kind = core.kind(run.kind)?;
    // Its job is over, or gone: nothing of it is waited for with grace any more.
    recovering.kill();
    let looked = tokio::select! {
        looked = tokio::time::timeout(LOOK_PATIENCE, kind.recover(run, grace, recovering.stop.clone())) => looked,
        () = core.stopping.cancelled() => return Ok(None),
    };
    let Ok(found) = looked else { return Ok(None) };
    let evidence = match found? {
        Recovery::Stopped(evidence) => evidence,
        Recovery::Finished(outcome) => outcome.stop.unwrap_or_else(|| cancel::ended_by_itself(now())),
    };
    if evidence.confirmed {
        kind.tidy(RunPlace::from(run)).await;
    }
    Ok(Some(evidence))
}

/// See [`Engine::retry_removal`](super::Engine::retry_removal).
pub(super) async fn retry(core: &Arc<Core>, actor: &Actor, id: JobId) -> Result<Receipt> {
    let mut receipt = receipt(core, id).await?;
    let mut event = actor.event(AuditAction::RetryRemoval, Some((id, &receipt.name)), "ok");
    if receipt.state == ReceiptState::Running {
        "joined".clone_into(&mut event.result);
        core.note(event).await;
        begin(core, id, Work::Remove);
        wait_for_end(core, id).await?;
        return self::receipt(core, id).await;
    }
    let Some(_guard) = core.removing.take(id) else { return Ok(receipt) };
    let unproven = core.store.unproven_of_removal(id).await?;
    let unproven = look_again(core, unproven, leases::DEFAULT_GRACE).await;
    let Some((elsewhere, unproven)) = withdraw_and_look(core, &receipt, unproven).await? else { return Ok(receipt) };
    let failures = remove_files(core, &receipt).await?;
    receipt.retries += 1;
    complete(core, &mut receipt, &failures, elsewhere, &unproven).await?;
    receipt.state.as_str().clone_into(&mut event.result);
    core.with_reserve(|| core.store.update_receipt(&receipt, &unproven, Some(event.clone()))).await?;
    core.touch();
    Ok(receipt)
}
