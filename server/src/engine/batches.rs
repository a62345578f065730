//! What is done with batches beside the life of a job: checking a file before it is sent, asking a provider again, and
//! what a provider has that no job knows.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use app::model::{
    AdoptRequest, AuditAction, BatchSpec, CheckRequest, CheckedInput, ErrorCode, ImportAnswer, Job, JobId, Page,
    RemoteBatch, RemoteBatchPage, RemoteOwner, RequestQuery, RequestRow, Timestamp,
};
use batches::{
    Batch, CancelAnswer, Error as ProviderError,
    records::{self, Records},
};

use super::{
    Actor,
    core::Core,
    submit::{self, Fresh},
    views,
};
use crate::{
    error::{Error, Result},
    kinds::batches::{self as kinds, Known},
    store::BatchOwner,
};

/// Records that one import takes: each is a question to the provider.
const MAX_IMPORT: usize = 1_000;
/// Questions in a row without an answer after which an import asks no further ones.
const NO_ANSWERS: u32 = 3;

/// What another tool wrote down about its batches: see [`batches::records`].
pub enum Written {
    /// A tracking file.
    Text(Vec<u8>),
    /// A folder of `{job_id}.json` and tracking files.
    Folder(PathBuf),
}

/// What a provider said, for whoever asked.
fn told(known: &Known, error: ProviderError) -> Error {
    match error {
        ProviderError::NotFound { .. } => Error::NotFound(format!("{}: {error}", known.name)),
        error => Error::Provider(format!("{}: {error}", known.name)),
    }
}

/// See [`Engine::requests`](super::Engine::requests).
pub(super) async fn requests(core: &Core, id: JobId, query: &RequestQuery) -> Result<Page<RequestRow>> {
    let job = views::find_shown(core, id).await?;
    let page = core.kind(job.kind)?.requests(id, query).await?;
    page.ok_or_else(|| Error::NotFound(format!("Jobs of kind `{}` have no requests.", job.kind)))
}

/// See [`Engine::refresh`](super::Engine::refresh).
pub(super) async fn refresh(core: &Arc<Core>, actor: &Actor, id: JobId) -> Result<Job> {
    let job = views::find_shown(core, id).await?;
    let asked = core.kind(job.kind)?.refresh(&job).await?;
    let result = if asked { "ok" } else { "refused: INVALID_SPEC" };
    core.note(actor.event(AuditAction::Refresh, Some((id, &job.name)), result)).await;
    if !asked {
        let detail =
            format!("Jobs of kind `{}` are known here as well as they can be: there is nobody to ask.", job.kind);
        return Err(Error::NotPossible { job_id: id, phase: job.phase, detail });
    }
    core.touch();
    views::job(core, id).await
}

/// See [`Engine::check_batch`](super::Engine::check_batch).
pub(super) async fn check(core: &Arc<Core>, request: CheckRequest, upload: Option<PathBuf>) -> Result<CheckedInput> {
    let known = core.providers.find(&request.provider)?;
    let spec = BatchSpec { provider: request.provider, input: request.input, model: request.model, adopted: None };
    core.kind(known.kind.job_kind())?.check(spec, upload).await
}

/// See [`Engine::remote_batches`](super::Engine::remote_batches).
pub(super) async fn list(core: &Core, provider: &str, cursor: Option<&str>) -> Result<RemoteBatchPage> {
    let known = core.providers.find(provider)?;
    let connected = known.connect().map_err(|error| told(known, error))?;
    let page = connected.list(cursor).await.map_err(|error| told(known, error))?;
    let items = with_owners(core, known, page.items).await?;
    Ok(RemoteBatchPage { items, next_cursor: page.next })
}

async fn with_owners(core: &Core, known: &Known, batches: Vec<Batch>) -> Result<Vec<RemoteBatch>> {
    let ids: Vec<String> = batches.iter().map(|batch| batch.id.clone()).collect();
    let tags: Vec<String> = batches.iter().filter_map(|batch| batch.tag.clone()).collect();
    let owners = core.store.batch_owners(&known.name, &ids, &tags).await?;
    let by_id: HashMap<&str, &BatchOwner> =
        owners.iter().filter_map(|owner| Some((owner.batch_id.as_deref()?, owner))).collect();
    let by_tag: HashMap<&str, &BatchOwner> = owners.iter().map(|owner| (owner.tag.as_str(), owner)).collect();
    let remote = |batch: Batch| {
        let of_tag = || batch.tag.as_deref().and_then(|tag| by_tag.get(tag)).copied();
        let owner = by_id.get(batch.id.as_str()).copied().or_else(of_tag);
        remote_batch(batch, owner)
    };
    Ok(batches.into_iter().map(remote).collect())
}

fn remote_batch(batch: Batch, owner: Option<&BatchOwner>) -> RemoteBatch {
    RemoteBatch {
        name: batch.display_name.or(batch.tag),
        state: kinds::state_of(batch.state),
        raw_state: batch.raw_state,
        model: batch.model,
        endpoint: batch.endpoint,
        requests: batch.counts.map(kinds::counts_of),
        created_at: batch.created_at.map(Timestamp),
        expires_at: batch.expires_at.map(Timestamp),
        owner: match owner {
            Some(owner) if owner.removed => RemoteOwner::DeletedJob,
            Some(_) => RemoteOwner::Job,
            None => RemoteOwner::Orphan,
        },
        job_id: owner.map(|owner| owner.job_id),
        batch_id: batch.id,
    }
}

/// The batch, and the job that had it and was deleted; an error when a job has it.
/// Where the job is over, and so can ask for nothing, `to_cancel` lets the batch be cancelled past it.
async fn without_job(core: &Core, known: &Known, id: &str, to_cancel: bool) -> Result<(Batch, Option<JobId>)> {
    let connected = known.connect().map_err(|error| told(known, error))?;
    let batch = connected.get(id).await.map_err(|error| told(known, error))?;
    let tags: Vec<String> = batch.tag.iter().cloned().collect();
    let owners = core.store.batch_owners(&known.name, &[batch.id.clone(), id.to_owned()], &tags).await?;
    if let Some(owner) = owners.iter().find(|owner| !owner.removed) {
        let is_over = core.store.job(owner.job_id).await?.is_none_or(|job| job.phase.is_terminal());
        if !(to_cancel && is_over) {
            let hint = "Cancel or delete the job instead.";
            return Err(batch_known(format!("Job `{}` has this batch.", owner.job_id), hint));
        }
    }
    Ok((batch, owners.first().map(|owner| owner.job_id)))
}

/// Somebody else adopted it at the same time.
pub(super) fn taken_meanwhile() -> Error {
    batch_known("Another job has this batch by now.".to_owned(), "Cancel or delete the job instead.")
}

fn batch_known(detail: String, hint: &str) -> Error {
    Error::Invalid { code: ErrorCode::BatchKnown, field: None, detail, hint: Some(hint.to_owned()) }
}

/// See [`Engine::adopt_batch`](super::Engine::adopt_batch).
pub(super) async fn adopt(
    core: &Arc<Core>,
    actor: &Actor,
    provider: &str,
    id: &str,
    request: AdoptRequest,
) -> Result<Job> {
    let known = core.providers.find(provider)?;
    let (batch, deleted) = without_job(core, known, id, false).await?;
    if let Some(job) = deleted {
        let hint = "POST /api/removals/{job_id}/retry removes what is left of it.";
        return Err(batch_known(format!("Job `{job}` had this batch, and was deleted."), hint));
    }
    let own = batch.display_name.clone().or_else(|| batch.tag.clone()).unwrap_or_else(|| batch.id.clone());
    let own: String = own.chars().filter(|c| !c.is_control()).take(200).collect();
    let name = submit::check_name(request.name.as_deref().unwrap_or(if own.trim().is_empty() { id } else { &own }))?;
    let spec = BatchSpec { provider: known.name.clone(), input: None, model: batch.model, adopted: Some(batch.id) };
    let admitted = kinds::adopted(&spec, &name)?;
    let (job_id, _) = submit::reserve(core).await?;
    let fresh = Fresh {
        job_id,
        name,
        kind: known.kind.job_kind(),
        rerun_of: None,
        batch: Some(kinds::record_of(job_id, known.kind, spec)),
        action: AuditAction::AdoptBatch,
    };
    let stored = submit::store(core, actor, fresh, admitted, None).await;
    if stored.is_err() {
        submit::discard(core, job_id).await;
    }
    views::job(core, stored?).await
}

/// See [`Engine::import_batches`](super::Engine::import_batches).
pub(super) async fn import(core: &Arc<Core>, actor: &Actor, provider: &str, written: Written) -> Result<ImportAnswer> {
    let known = core.providers.find(provider)?;
    let read = core.blocking(move || match written {
        Written::Text(text) => Ok(Records::parse(&text)),
        Written::Folder(folder) => records::read(&folder),
    });
    let read = read.await?.map_err(kinds::unreadable)?;
    let mut answer = ImportAnswer { refused: read.faults, ..ImportAnswer::default() };
    if read.records.len() > MAX_IMPORT {
        let detail = format!("An import takes at most {MAX_IMPORT} records; there are {}.", read.records.len());
        return Err(Error::invalid_spec("records", detail));
    }
    let mut unanswered = 0;
    for record in read.records {
        if unanswered == NO_ANSWERS {
            answer.refused.push(format!("{}: not asked for, since the provider does not answer", record.batch_id));
            continue;
        }
        let request = AdoptRequest { name: record.name.clone() };
        let adopted = adopt(core, actor, &known.name, &record.batch_id, request).await;
        unanswered = if matches!(adopted, Err(Error::Provider(_))) { unanswered + 1 } else { 0 };
        match adopted {
            Ok(job) => answer.adopted.push(job.job_id),
            Err(Error::Invalid { code: ErrorCode::BatchKnown, .. }) => answer.known += 1,
            Err(error @ (Error::ShuttingDown | Error::Busy | Error::DiskFull | Error::Internal { .. })) => {
                return Err(error);
            }
            Err(error) => answer.refused.push(format!("{}: {error}", record.batch_id)),
        }
    }
    Ok(answer)
}

/// See [`Engine::cancel_remote_batch`](super::Engine::cancel_remote_batch).
pub(super) async fn cancel(core: &Arc<Core>, actor: &Actor, provider: &str, id: &str) -> Result<RemoteBatch> {
    let known = core.providers.find(provider)?;
    let (batch, _) = without_job(core, known, id, true).await?;
    let connected = known.connect().map_err(|error| told(known, error))?;
    let answer = connected.cancel(&batch.id).await;
    let result = match &answer {
        Ok(CancelAnswer::Asked(_)) => "asked",
        Ok(CancelAnswer::Refused { .. }) => "refused by the provider",
        Err(_) => "failed",
    };
    let mut event = actor.event(AuditAction::CancelRemoteBatch, None, result);
    event.detail = Some(format!("{}: {}", known.name, batch.id));
    core.note(event).await;
    // A refusal is no error: what is so now says why.
    answer.map_err(|error| told(known, error))?;
    let now = connected.get(&batch.id).await.map_err(|error| told(known, error))?;
    Ok(remote_batch(now, None))
}
