//! Many jobs at once. The selection is stored first; then its jobs are taken in order, in batches, each by the rules for
//! one job. Results are stored batch by batch, so that after a crash the rest goes on; a job that was reached before the
//! crash, but not noted, is known again by the request id that it carries, or by the idempotency key of its rerun.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use app::model::{
    AuditAction, Bulk, BulkAction, BulkCount, BulkId, BulkItem, BulkItemQuery, BulkPlan, BulkPlanItem, BulkRequest,
    BulkResult, BulkSelect, CancelRequest, DeleteStatus, ErrorCode, JobId, Page, Phase, Receipt, ReceiptState,
    RerunRequest,
};
use futures::{
    FutureExt as _,
    stream::{self, StreamExt as _},
};

use super::{Actor, DeleteOptions, cancel, clock::now, core::Core, delete, doubts, removal, submit, views};
use crate::{
    error::{Error, Result},
    store::{BulkBegun, BulkOutcome, CancelEffect, CancelOrder, Idempotency, NewBulk, SelectedJob, Selection},
};

/// Jobs that are cancelled in one transaction.
const BATCH: u32 = 200;
/// Removals at once: each of them works on the disk.
const REMOVALS: usize = 4;
/// Jobs whose removal is begun before results are stored.
const REMOVAL_BATCH: u32 = 40;
/// Jobs that are run again, one after the other, before results are stored.
const RERUN_BATCH: u32 = 20;
/// How long the proof of a stop is waited for, milliseconds. The job itself waits on.
const PROOF_PATIENCE: i64 = 30_000;
/// How long the end of a removal is waited for, milliseconds. The removal itself goes on.
const REMOVAL_PATIENCE: i64 = 600_000;
/// Between two looks at what is under way.
const LOOK: Duration = Duration::from_millis(250);
/// Between two tries when the store cannot be written.
const AGAIN: Duration = Duration::from_secs(1);

/// Goes on with what a former process had begun.
pub(super) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.clone().spawn(async move {
        match core.store.running_bulks().await {
            Ok(bulks) => bulks.into_iter().for_each(|bulk| begin_work(&core, bulk, None)),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "bulks could not be resumed"),
        }
    });
}

// ---- the request ----

/// See [`Engine::plan_bulk`](super::Engine::plan_bulk).
pub(super) async fn plan(core: &Arc<Core>, request: &BulkRequest, limit: u32) -> Result<BulkPlan> {
    let (ids, found) = select(core, &request.select, limit).await?;
    let known: HashMap<JobId, &SelectedJob> = found.iter().map(|job| (job.job_id, job)).collect();
    let items: Vec<BulkPlanItem> = ids
        .iter()
        .map(|id| match known.get(id) {
            Some(job) => {
                let result = request.action.verdict(job.phase, request.force);
                let why = request.action.why_not(job.phase).filter(|_| result != BulkResult::Done);
                BulkPlanItem {
                    job_id: *id,
                    name: job.name.clone(),
                    phase: Some(job.phase),
                    result,
                    detail: why.map(str::to_owned),
                }
            }
            None => BulkPlanItem {
                job_id: *id,
                name: String::new(),
                phase: None,
                result: BulkResult::NotFound,
                detail: None,
            },
        })
        .collect();
    let bytes = match request.action {
        BulkAction::Cancel | BulkAction::Rerun => 0,
        BulkAction::Delete => bytes_of(core, &items, found, request.keep_files).await?,
    };
    let counts = BulkResult::ALL
        .into_iter()
        .map(|result| BulkCount { result, jobs: items.iter().filter(|item| item.result == result).count() as u64 })
        .filter(|count| count.jobs > 0)
        .collect();
    Ok(BulkPlan { action: request.action, total: items.len() as u64, counts, bytes, items })
}

/// What the removals of a plan would free.
async fn bytes_of(core: &Arc<Core>, items: &[BulkPlanItem], found: Vec<SelectedJob>, keep_files: bool) -> Result<u64> {
    let doomed: HashSet<JobId> =
        items.iter().filter(|item| item.result == BulkResult::Done).map(|item| item.job_id).collect();
    let data = core.data.clone();
    core.blocking(move || {
        found
            .iter()
            .filter(|job| doomed.contains(&job.job_id))
            .flat_map(|job| removal::plan_items(&removal::count(&data, job.job_id, job.kind), 0, keep_files))
            .map(|item| item.bytes)
            .sum()
    })
    .await
}

/// The ids that are meant, each once, and the jobs that there are for them.
async fn select(core: &Arc<Core>, select: &BulkSelect, limit: u32) -> Result<(Vec<JobId>, Vec<SelectedJob>)> {
    let invalid = |detail: String| Error::Invalid {
        code: ErrorCode::InvalidBulk,
        field: Some("select".to_owned()),
        detail,
        hint: Some("[bulk] max_jobs in belay.toml sets the limit.".to_owned()),
    };
    let too_many = || invalid(format!("One action takes at most {limit} jobs."));
    let most = limit as usize;
    match select {
        BulkSelect::Ids(ids) => {
            let mut seen = HashSet::new();
            let ids: Vec<JobId> = ids.iter().copied().filter(|id| seen.insert(*id)).collect();
            if ids.len() > most {
                return Err(too_many());
            }
            let found = core.store.select_jobs(&Selection::Ids(ids.clone()), most).await?;
            Ok((ids, found))
        }
        BulkSelect::Filter(filter) => {
            let query = filter.query().map_err(invalid)?;
            let selection = Selection::Filter { query, finished_before: filter.finished_before };
            let found = core.store.select_jobs(&selection, most + 1).await?;
            if found.len() > most {
                return Err(too_many());
            }
            Ok((found.iter().map(|job| job.job_id).collect(), found))
        }
    }
}

/// See [`Engine::begin_bulk`](super::Engine::begin_bulk).
pub(super) async fn begin(
    core: &Arc<Core>,
    actor: &Actor,
    request: BulkRequest,
    limit: u32,
    idempotency: Option<(String, String)>,
) -> Result<Bulk> {
    let order = cancel::check(actor, JobId(0), cancel_request(&request.reason, &request.notes, request.force))?;
    let (ids, _) = select(core, &request.select, limit).await?;
    let is_cancel = request.action == BulkAction::Cancel;
    let is_rerun = request.action == BulkAction::Rerun;
    let new = NewBulk {
        bulk_id: new_id(),
        action: request.action,
        reason: is_cancel.then_some(order.reason),
        notes: order.notes.filter(|_| is_cancel),
        force: request.force && !is_rerun,
        keep_files: request.keep_files,
        created_at: now(),
        created_by: actor.name.clone(),
        source: actor.source,
        request_id: actor.request_id.clone(),
        retry_of: None,
    };
    store_and_begin(core, actor, new, &ids, idempotency).await
}

fn new_id() -> BulkId {
    BulkId(uuid::Uuid::now_v7().as_u128())
}

fn cancel_request(reason: &Option<String>, notes: &Option<String>, force: bool) -> CancelRequest {
    CancelRequest { reason: reason.clone(), notes: notes.clone(), force }
}

async fn store_and_begin(
    core: &Arc<Core>,
    actor: &Actor,
    new: NewBulk,
    ids: &[JobId],
    idempotency: Option<(String, String)>,
) -> Result<Bulk> {
    let mut event = actor.event(AuditAction::Bulk, None, "accepted");
    event.detail = Some(format!("{} of {} jobs: {}", new.action.as_str(), ids.len(), new.bulk_id));
    let key =
        idempotency.map(|(key, request_hash)| Idempotency { actor: actor.name.clone(), key, request_hash, now: now() });
    let id = new.bulk_id;
    let begin = || core.store.begin_bulk(&new, ids, key.clone(), event.clone());
    let begun = match new.action {
        BulkAction::Cancel | BulkAction::Delete => core.with_reserve(begin).await?,
        // Adds to what is on the disk, as a submit does.
        BulkAction::Rerun => core.watch_disk(begin().await)?,
    };
    core.touch();
    match begun {
        BulkBegun::Stored => {
            let bulk = find(core, id).await?;
            begin_work(core, bulk.clone(), Some(actor.clone()));
            Ok(bulk)
        }
        BulkBegun::Replayed(first) => find(core, first).await,
        BulkBegun::KeyConflict => Err(submit::key_conflict()),
    }
}

/// See [`Engine::bulk`](super::Engine::bulk).
pub(super) async fn find(core: &Core, id: BulkId) -> Result<Bulk> {
    core.store.bulk(id).await?.ok_or_else(|| Error::NotFound(format!("There is no action on many jobs `{id}`.")))
}

/// See [`Engine::bulk_items`](super::Engine::bulk_items).
pub(super) async fn items(core: &Core, id: BulkId, query: &BulkItemQuery) -> Result<Page<BulkItem>> {
    find(core, id).await?;
    core.store.bulk_items(id, query, views::PAGE).await
}

/// See [`Engine::abort_bulk`](super::Engine::abort_bulk).
pub(super) async fn abort(core: &Core, actor: &Actor, id: BulkId) -> Result<Bulk> {
    find(core, id).await?;
    let mut event = actor.event(AuditAction::AbortBulk, None, "ok");
    event.detail = Some(id.to_string());
    core.with_reserve(|| core.store.abort_bulk(id, &actor.name, now(), event.clone())).await?;
    core.touch();
    find(core, id).await
}

/// See [`Engine::retry_bulk`](super::Engine::retry_bulk).
pub(super) async fn retry(
    core: &Arc<Core>,
    actor: &Actor,
    id: BulkId,
    idempotency: Option<(String, String)>,
) -> Result<Bulk> {
    let first = find(core, id).await?;
    let mut query = BulkItemQuery { result: Some(BulkResult::Failed), cursor: None };
    let mut ids = Vec::new();
    loop {
        let page = core.store.bulk_items(id, &query, BATCH).await?;
        ids.extend(page.items.iter().map(|item| item.job_id));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    let new = NewBulk {
        bulk_id: new_id(),
        action: first.action,
        reason: first.reason,
        notes: first.notes,
        force: first.force,
        keep_files: first.keep_files,
        created_at: now(),
        created_by: actor.name.clone(),
        source: actor.source,
        request_id: actor.request_id.clone(),
        retry_of: Some(id),
    };
    store_and_begin(core, actor, new, &ids, idempotency).await
}

// ---- the work ----

/// A bulk that is worked on, and in whose name.
struct Work {
    core: Arc<Core>,
    bulk: Bulk,
    actor: Actor,
}

/// Works in a task. What cannot be stored is tried again, until the server stops; the next start goes on.
fn begin_work(core: &Arc<Core>, bulk: Bulk, actor: Option<Actor>) {
    let actor = actor.unwrap_or_else(|| Actor {
        name: bulk.created_by.clone(),
        source: bulk.source,
        address: None,
        request_id: bulk.request_id.clone(),
    });
    let work = Work { core: core.clone(), bulk, actor };
    core.spawn(async move {
        while let Err(error) = work.run().await {
            let _ = work.core.watch_disk::<()>(Err(error)).inspect_err(|error| {
                let id = work.bulk.bulk_id;
                tracing::warn!(bulk = %id, error = error as &dyn std::error::Error, "an action on many jobs did not get on");
            });
            if !work.core.sleep(AGAIN).await {
                return;
            }
        }
    });
}

impl Work {
    async fn run(&self) -> Result<()> {
        let batch = match self.bulk.action {
            BulkAction::Cancel => BATCH,
            BulkAction::Delete => REMOVAL_BATCH,
            BulkAction::Rerun => RERUN_BATCH,
        };
        loop {
            let items = self.items(BulkResult::Pending, batch).await?;
            if items.is_empty() || self.core.stopping.is_cancelled() {
                break;
            }
            let outcomes = match self.bulk.action {
                BulkAction::Cancel => self.cancel(&items).await?,
                BulkAction::Delete => self.delete(&items).await,
                BulkAction::Rerun => self.rerun(&items).await,
            };
            self.record(&outcomes).await?;
        }
        while !self.core.stopping.is_cancelled() {
            let items = self.items(BulkResult::Working, BATCH).await?;
            if items.is_empty() {
                self.core.store.finish_bulk(self.bulk.bulk_id, now()).await?;
                self.core.touch();
                break;
            }
            let mut changes = self.core.changes();
            let mut outcomes = Vec::new();
            for item in &items {
                let seen = match self.bulk.action {
                    BulkAction::Cancel => self.look_at_stop(item).await?,
                    BulkAction::Delete => self.look_at_removal(item).await?,
                    // A rerun is never under way: the new job is there at once, or not at all.
                    BulkAction::Rerun => self.rerun_one(item).await,
                };
                outcomes.extend(seen);
            }
            if outcomes.is_empty() {
                // Elapsed or changed: look again either way.
                let _ = tokio::time::timeout(LOOK, changes.changed()).await;
            } else {
                self.record(&outcomes).await?;
            }
        }
        Ok(())
    }

    async fn items(&self, result: BulkResult, limit: u32) -> Result<Vec<BulkItem>> {
        let query = BulkItemQuery { result: Some(result), cursor: None };
        Ok(self.core.store.bulk_items(self.bulk.bulk_id, &query, limit).await?.items)
    }

    async fn record(&self, outcomes: &[BulkOutcome]) -> Result<()> {
        self.core.store.record_bulk(self.bulk.bulk_id, outcomes).await?;
        self.core.touch();
        Ok(())
    }

    // ---- cancel ----

    /// All in one transaction. When that fails for a fault that may be one job's, each alone: it stops none of the others.
    async fn cancel(&self, items: &[BulkItem]) -> Result<Vec<BulkOutcome>> {
        match self.cancel_together(items).await {
            Err(Error::Internal { context, source }) if items.len() > 1 => {
                tracing::warn!("a batch failed, each job is taken alone: {context} {source:?}");
                let mut outcomes = Vec::new();
                for item in items {
                    match self.cancel_together(std::slice::from_ref(item)).await {
                        Ok(outcome) => outcomes.extend(outcome),
                        Err(error) => outcomes.push(failed(item, &error)),
                    }
                }
                Ok(outcomes)
            }
            Err(error @ Error::Internal { .. }) => Ok(items.iter().map(|item| failed(item, &error)).collect()),
            other => other,
        }
    }

    async fn cancel_together(&self, items: &[BulkItem]) -> Result<Vec<BulkOutcome>> {
        let (core, bulk) = (&self.core, &self.bulk);
        let action = if bulk.force { AuditAction::ForceCancel } else { AuditAction::Cancel };
        let orders = items.iter().map(|item| -> Result<(CancelOrder, _)> {
            let request = cancel_request(&bulk.reason, &bulk.notes, bulk.force);
            let order = cancel::check(&self.actor, item.job_id, request)?;
            let event = cancel::event(&self.actor, action, &item.name, &order);
            Ok((order, event))
        });
        let orders = orders.collect::<Result<Vec<_>>>()?;
        let effects = core.with_reserve(|| core.store.cancel_many(orders.clone())).await?;
        core.touch();
        let mut outcomes = Vec::with_capacity(items.len());
        for (item, effect) in items.iter().zip(effects) {
            let (result, detail) = self.after_order(item, effect).await?;
            outcomes.push(outcome(item, result, detail));
        }
        cancel::begin_sweep(core);
        Ok(outcomes)
    }

    async fn after_order(&self, item: &BulkItem, effect: CancelEffect) -> Result<(BulkResult, Option<String>)> {
        let core = &self.core;
        let (result, detail) = match effect {
            CancelEffect::NotFound => (BulkResult::NotFound, Some(missing(core, item.job_id).await?)),
            CancelEffect::Began(job) if job.phase.is_terminal() => {
                cancel::measure(&job);
                end_of_stop(job.phase, 0)
            }
            CancelEffect::Began(_) | CancelEffect::Repeated(_) => {
                cancel::pursue(core, item.job_id, self.bulk.force).await;
                (BulkResult::Working, None)
            }
            CancelEffect::NotCancellable(job) => {
                let cancel = job.cancel.as_ref();
                // It was this bulk, before a crash.
                if cancel.is_some_and(|cancel| cancel.request_id == self.actor.request_id) {
                    let unconfirmed = cancel.map_or(0, |cancel| cancel.stop.unconfirmed);
                    end_of_stop(job.phase, unconfirmed)
                } else {
                    doubts::look_again(core, &job).await?;
                    let why = self.bulk.action.why_not(job.phase).map(str::to_owned);
                    (self.bulk.action.verdict(job.phase, false), why)
                }
            }
        };
        cancel::count(match result {
            BulkResult::Done => "cancelled",
            BulkResult::Working => "cancelling",
            BulkResult::AlreadyDone
            | BulkResult::NotFound
            | BulkResult::NotAllowed
            | BulkResult::NeedsForce
            | BulkResult::Pending
            | BulkResult::Failed
            | BulkResult::Aborted => "already_finished",
        });
        Ok((result, detail))
    }

    /// `None`: it is waited for.
    async fn look_at_stop(&self, item: &BulkItem) -> Result<Option<BulkOutcome>> {
        let Some(job) = self.core.store.job(item.job_id).await? else {
            let why = missing(&self.core, item.job_id).await?;
            return Ok(Some(outcome(item, BulkResult::Done, Some(why))));
        };
        if job.phase != Phase::Cancelling {
            cancel::measure(&job);
            let unconfirmed = job.cancel.as_ref().map_or(0, |cancel| cancel.stop.unconfirmed);
            let (result, detail) = end_of_stop(job.phase, unconfirmed);
            return Ok(Some(outcome(item, result, detail)));
        }
        let why = "Its stop is not proven yet; the job waits on. Its page says for what.";
        Ok(self.out_of_patience(item, PROOF_PATIENCE).then(|| outcome(item, BulkResult::Failed, Some(why.to_owned()))))
    }

    fn out_of_patience(&self, item: &BulkItem, patience: i64) -> bool {
        item.at.is_none_or(|since| now().millis_since(since) > patience)
    }

    // ---- delete ----

    /// Each by itself, a few at a time.
    async fn delete(&self, items: &[BulkItem]) -> Vec<BulkOutcome> {
        let work: Vec<_> = items.iter().map(|item| self.delete_one(item).boxed()).collect();
        stream::iter(work).buffered(REMOVALS).collect().await
    }

    async fn delete_one(&self, item: &BulkItem) -> BulkOutcome {
        let options = DeleteOptions { force: self.bulk.force, keep_files: self.bulk.keep_files };
        match delete::delete(&self.core, &self.actor, item.job_id, options).await {
            Ok(answer) => match answer.receipt {
                Some(receipt) if answer.status == DeleteStatus::Deleted => of_receipt(item, &receipt),
                Some(_) | None => outcome(item, BulkResult::Working, None),
            },
            Err(Error::JobDeleted(_)) => match self.removed_before(item).await {
                Ok(outcome) => outcome,
                Err(error) => failed(item, &error),
            },
            Err(Error::JobNotFound(_)) => outcome(item, BulkResult::NotFound, Some("There is no such job.".to_owned())),
            Err(Error::JobActive { phase, .. }) => {
                outcome(item, BulkResult::NeedsForce, phase.why_no_delete().map(str::to_owned))
            }
            Err(error) => failed(item, &error),
        }
    }

    /// By this bulk before a crash, by the one that this one tries again, or by somebody else.
    async fn removed_before(&self, item: &BulkItem) -> Result<BulkOutcome> {
        let receipt = delete::receipt(&self.core, item.job_id).await?;
        if receipt.request_id == self.actor.request_id {
            return Ok(of_receipt(item, &receipt));
        }
        if self.bulk.retry_of.is_some() && receipt.state == ReceiptState::Incomplete {
            return Ok(of_receipt(item, &delete::retry(&self.core, &self.actor, item.job_id).await?));
        }
        Ok(outcome(item, BulkResult::AlreadyDone, Some("It was deleted before.".to_owned())))
    }

    /// `None`: it is waited for.
    async fn look_at_removal(&self, item: &BulkItem) -> Result<Option<BulkOutcome>> {
        match self.core.store.receipt(item.job_id).await? {
            Some(receipt) if receipt.state != ReceiptState::Running => Ok(Some(of_receipt(item, &receipt))),
            Some(_) | None if self.out_of_patience(item, REMOVAL_PATIENCE) => {
                let why = "Its removal takes long; it goes on.".to_owned();
                Ok(Some(outcome(item, BulkResult::Failed, Some(why))))
            }
            Some(_) | None => Ok(None),
        }
    }
}

// ---- rerun ----

impl Work {
    /// One after the other: the new jobs wait in the order of the selection.
    async fn rerun(&self, items: &[BulkItem]) -> Vec<BulkOutcome> {
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            match self.rerun_one(item).await {
                Some(outcome) => outcomes.push(outcome),
                None => break,
            }
        }
        outcomes
    }

    /// `None`: the server stops; the next start goes on with this one.
    async fn rerun_one(&self, item: &BulkItem) -> Option<BulkOutcome> {
        let id = item.job_id;
        let again = submit::rerun(&self.core, &self.actor, id, RerunRequest::default(), Some(self.rerun_key(id)));
        let (new_job_id, result, detail) = match again.await {
            Ok(job) => (Some(job.job_id), BulkResult::Done, None),
            // It was made before a crash.
            Err(Error::JobDeleted(made)) if made != id => {
                (Some(made), BulkResult::Done, Some("The new job was deleted since.".to_owned()))
            }
            Err(Error::ShuttingDown) => return None,
            Err(Error::JobDeleted(_)) => (None, BulkResult::NotFound, Some("It was deleted.".to_owned())),
            Err(Error::JobNotFound(_)) => (None, BulkResult::NotFound, Some("There is no such job.".to_owned())),
            Err(Error::JobDeleting(_)) => {
                (None, BulkResult::NotAllowed, Phase::Deleting.why_no_rerun().map(str::to_owned))
            }
            Err(Error::NotPossible { detail, .. }) => (None, BulkResult::NotAllowed, Some(detail)),
            Err(error) => return Some(failed(item, &error)),
        };
        Some(BulkOutcome { new_job_id, ..outcome(item, result, detail) })
    }

    /// Stored with the new job: after a crash before its result was noted, the job is found by it instead of made twice.
    /// No header can hold a line break, so it is no key of a caller.
    fn rerun_key(&self, id: JobId) -> (String, String) {
        (format!("bulk\n{}\n{id}", self.bulk.bulk_id), "rerun".to_owned())
    }
}

// ---- results ----

fn outcome(item: &BulkItem, result: BulkResult, detail: Option<String>) -> BulkOutcome {
    BulkOutcome { index: item.index, result, detail, at: now(), freed_bytes: 0, new_job_id: None }
}

fn failed(item: &BulkItem, error: &Error) -> BulkOutcome {
    let why = match error {
        Error::Internal { .. } => {
            tracing::error!(job = %item.job_id, error = error as &dyn std::error::Error, "a job of a bulk failed");
            "The server could not do this. Its log has the cause.".to_owned()
        }
        other => other.to_string(),
    };
    outcome(item, BulkResult::Failed, Some(why))
}

/// How the stop of a job counts that is in this phase now.
fn end_of_stop(phase: Phase, unconfirmed: u64) -> (BulkResult, Option<String>) {
    match phase {
        Phase::Completed | Phase::Failed => (BulkResult::AlreadyDone, phase.why_no_cancel().map(str::to_owned)),
        Phase::Cancelled | Phase::Partial if unconfirmed > 0 => {
            (BulkResult::Done, Some(format!("Ended by force; unconfirmed stops: {unconfirmed}.")))
        }
        Phase::Cancelled
        | Phase::Partial
        | Phase::Deleting
        | Phase::Cancelling
        | Phase::Pending
        | Phase::Collection
        | Phase::FeatureExtraction
        | Phase::Matching
        | Phase::Evidence
        | Phase::InProgress
        | Phase::Validating
        | Phase::Finalizing => (BulkResult::Done, None),
    }
}

fn of_receipt(item: &BulkItem, receipt: &Receipt) -> BulkOutcome {
    let (result, detail) = match receipt.state {
        ReceiptState::Complete => (BulkResult::Done, None),
        ReceiptState::Incomplete => {
            (BulkResult::Failed, Some("Removed, but not all of it: the receipt says what is left.".to_owned()))
        }
        ReceiptState::Running => (BulkResult::Working, None),
    };
    let freed_bytes = receipt.items.iter().map(|item| item.removed_bytes).sum();
    BulkOutcome { freed_bytes, ..outcome(item, result, detail) }
}

async fn missing(core: &Core, id: JobId) -> Result<String> {
    Ok(match core.missing(id).await? {
        Error::JobDeleted(_) => "It was deleted.".to_owned(),
        _ => "There is no such job.".to_owned(),
    })
}
