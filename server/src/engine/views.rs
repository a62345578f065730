//! What pages and programs are told: records become answers.

use std::sync::Arc;

use app::model::{
    Allowed, Artifact, BatchView, CancelResult, Cancellation, FilesSpec, Job, JobId, JobList, JobQuery, Kind, Page,
    Phase, Progress, Spec, Unit, UnitQuery, WaitingRun,
};

use super::{
    core::{Core, lock},
    doubts, removal,
};
use crate::{
    error::{Error, Result},
    process::log as run_log,
    store::{ArtifactRow, CancelRecord, JobRecord, OpenRun, RunState, UnitRecord},
};

/// Receipts, artifacts and the like a page.
pub(super) const PAGE: u32 = 100;
/// Runs that an answer names as waited for.
const MAX_WAITING: u32 = 100;
/// Sizes that are remembered.
const MAX_SIZES: usize = 1_000;

pub(super) async fn job(core: &Arc<Core>, id: JobId) -> Result<Job> {
    let record = core.find(id).await?;
    let waits = record.phase == Phase::Cancelling;
    let waiting = if waits { core.store.open_runs(id, MAX_WAITING).await? } else { Vec::new() };
    let bytes = size(core, &record).await?;
    let since = record.cancel.as_ref().map(|cancel| cancel.requested_at);
    let mut job = from_record(&record);
    if record.phase != Phase::Deleting {
        with_batch(core, &mut job, &record).await?;
    }
    job.spec = read_spec(record.kind, &record.spec);
    job.phases = record.phases;
    job.waiting = waiting.into_iter().map(|run| waiting_run(run, since)).collect();
    job.bytes = bytes;
    if record.phase.is_terminal() {
        job.unconfirmed = doubts::count(core, id).await?;
        job.detail = job.detail.or_else(|| doubts::sentence(job.unconfirmed));
    }
    Ok(job)
}

pub(super) async fn jobs(core: &Core, query: &JobQuery) -> Result<JobList> {
    let page = core.store.jobs(query).await?;
    let counts = core.store.phase_counts().await?;
    let mut items: Vec<Job> = page.items.iter().map(from_record).collect();
    for kind in [Kind::OpenaiBatch, Kind::GeminiBatch] {
        let of_kind: Vec<&JobRecord> = page.items.iter().filter(|job| job.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let mut batches = core.kind(kind)?.batches(&of_kind).await?;
        for job in &mut items {
            if let Some(batch) = batches.remove(&job.job_id) {
                // Moves without the store, and is shown in the detail only.
                tell_batch(job, BatchView { asked_at: None, next_ask_at: None, ..batch });
            }
        }
    }
    Ok(JobList { items, next_cursor: page.next_cursor, counts })
}

pub(super) async fn units(core: &Core, id: JobId, query: &UnitQuery) -> Result<Page<Unit>> {
    let job = core.find(id).await?;
    if job.phase == Phase::Deleting {
        return Ok(Page::default());
    }
    let page = core.store.units(id, query).await?;
    let mut units = Page { items: page.items.into_iter().map(unit).collect(), next_cursor: page.next_cursor };
    if shows_lines(job.kind) {
        let data = core.data.clone();
        let told = move || {
            for unit in &mut units.items {
                unit.last_line = unit.run_id.and_then(|run| run_log::last_line(&data.log(id, run)));
            }
            units
        };
        return core.blocking(told).await;
    }
    Ok(units)
}

/// True when units of this kind are shown with the last line that they printed: what a host says is what it is run for.
const fn shows_lines(kind: Kind) -> bool {
    kind.is_remote()
}

/// True when the units of a job can change without the store: by what they print.
pub(super) async fn units_grow(core: &Core, id: JobId) -> Result<bool> {
    Ok(core.store.job(id).await?.is_some_and(|job| shows_lines(job.kind)))
}

async fn with_batch(core: &Core, job: &mut Job, record: &JobRecord) -> Result<()> {
    if record.kind.provider_kind().is_some()
        && let Some(batch) = core.kind(record.kind)?.batches(&[record]).await?.remove(&record.job_id)
    {
        tell_batch(job, batch);
    }
    Ok(())
}

/// A batch is one unit; people count its requests.
fn tell_batch(job: &mut Job, batch: BatchView) {
    let requests = batch.requests;
    if requests.total > 0 {
        let open = requests.total.saturating_sub(requests.completed.saturating_add(requests.failed));
        let is_over = job.phase.is_terminal();
        let rest = batch.results.map(|results| results.unfinished() - results.failed);
        job.progress = Progress {
            total: requests.total,
            succeeded: requests.completed,
            failed: requests.failed,
            cancelled: if job.phase == Phase::Cancelled { rest.unwrap_or(open) } else { 0 },
            running: if is_over || job.progress.running == 0 { 0 } else { open },
        };
    }
    let result = batch.cancel_result.filter(|result| *result != CancelResult::Cancelled);
    if let Some(result) = result.filter(|_| job.phase.is_terminal()) {
        job.detail = Some(result.sentence().to_owned());
    }
    job.batch = Some(batch);
}

/// The job as lists show it.
fn from_record(record: &JobRecord) -> Job {
    Job {
        job_id: record.job_id,
        name: record.name.clone(),
        kind: record.kind,
        phase: record.phase,
        created_at: record.created_at,
        created_by: record.created_by.clone(),
        started_at: record.started_at,
        finished_at: record.finished_at,
        progress: record.progress,
        cancellation: record.cancel.as_ref().map(cancellation),
        allowed: Allowed::for_operator(record.phase),
        rerun_of: record.rerun_of,
        detail: detail(record),
        batch: None,
        spec: None,
        phases: Vec::new(),
        waiting: Vec::new(),
        bytes: None,
        unconfirmed: 0,
    }
}

fn cancellation(cancel: &CancelRecord) -> Cancellation {
    Cancellation {
        requested_at: cancel.requested_at,
        requested_by: cancel.requested_by.clone(),
        source: cancel.source,
        request_id: cancel.request_id.clone(),
        reason: cancel.reason.clone(),
        notes: cancel.notes.clone(),
        force: cancel.forced_at.is_some(),
        cancelled_at: cancel.cancelled_at,
        stop: cancel.stop,
    }
}

/// What the phase alone does not tell.
fn detail(record: &JobRecord) -> Option<String> {
    let cancel = record.cancel.as_ref();
    match record.phase {
        Phase::Completed if cancel.is_some() => {
            Some("Every unit had succeeded before the cancel took effect.".to_owned())
        }
        Phase::Cancelled | Phase::Partial if cancel.is_some_and(|cancel| cancel.stop.unconfirmed > 0) => {
            Some(match cancel.map(|cancel| cancel.stop.unconfirmed) {
                Some(1) => "Ended by force: the stop of 1 run is unconfirmed.".to_owned(),
                count => format!("Ended by force: the stops of {} runs are unconfirmed.", count.unwrap_or_default()),
            })
        }
        Phase::Cancelling if record.delete_intended => Some("It is deleted once its stop is proven.".to_owned()),
        Phase::Pending
        | Phase::Collection
        | Phase::FeatureExtraction
        | Phase::Matching
        | Phase::Evidence
        | Phase::InProgress
        | Phase::Validating
        | Phase::Finalizing
        | Phase::Cancelling
        | Phase::Deleting
        | Phase::Completed
        | Phase::Partial
        | Phase::Failed
        | Phase::Cancelled => None,
    }
}

/// The spec as accepted; none when a former version stored one that this one cannot read.
fn read_spec(kind: Kind, spec: &str) -> Option<Spec> {
    match kind {
        Kind::Files => serde_json::from_str::<FilesSpec>(spec).ok().map(Spec::Files),
        Kind::ProductMatching => serde_json::from_str(spec).ok().map(Spec::ProductMatching),
        Kind::Hosts => serde_json::from_str(spec).ok().map(Spec::Hosts),
        Kind::OpenaiBatch | Kind::GeminiBatch => serde_json::from_str(spec).ok().map(Spec::Batch),
    }
}

fn waiting_run(run: OpenRun, since: Option<app::model::Timestamp>) -> WaitingRun {
    let lost = run.state == RunState::Lost;
    let detail = match run.stop {
        Some(evidence) => evidence.detail,
        None if lost => "Its worker does not answer; it is looked for when that worker is started again.".to_owned(),
        None => "Asked to stop; no answer yet.".to_owned(),
    };
    WaitingRun {
        run_id: run.run_id,
        unit: run.unit,
        name: run.unit_name,
        worker: run.worker,
        lost,
        since: since.unwrap_or(run.started_at),
        detail,
    }
}

fn unit(record: UnitRecord) -> Unit {
    Unit {
        index: record.index,
        name: record.name,
        phase: record.phase,
        status: record.status,
        attempt: record.attempt,
        started_at: record.started_at,
        finished_at: record.finished_at,
        run_id: record.run_id,
        exit_code: record.exit_code,
        error: record.error,
        artifacts: record.artifacts,
        last_line: None,
        stop: record.stop,
    }
}

pub(super) fn artifact(row: ArtifactRow) -> Artifact {
    let image = is_image(&row.name);
    Artifact { path: row.path, name: row.name, unit: row.unit, category: row.category, bytes: row.bytes, image }
}

fn is_image(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    matches!(extension.as_deref(), Some("png" | "jpg" | "jpeg" | "webp" | "gif"))
}

/// Bytes below the folder of a job that is over. Counted once: nothing is written there any more.
async fn size(core: &Core, record: &JobRecord) -> Result<Option<u64>> {
    if !record.phase.is_terminal() {
        return Ok(None);
    }
    let id = record.job_id;
    if let Some((_, bytes)) = lock(&core.sizes).get(&id).filter(|(at, _)| *at == record.finished_at) {
        return Ok(Some(*bytes));
    }
    let (data, kind) = (core.data.clone(), record.kind);
    let files = core.blocking(move || removal::count(&data, id, kind)).await?;
    let bytes = files.values().map(|count| count.bytes).sum();
    let mut sizes = lock(&core.sizes);
    if sizes.len() >= MAX_SIZES {
        sizes.clear();
    }
    sizes.insert(id, (record.finished_at, bytes));
    Ok(Some(bytes))
}

/// No job, or one that is being deleted: what lies below it is not shown any more.
pub(super) async fn find_shown(core: &Core, id: JobId) -> Result<JobRecord> {
    let job = core.find(id).await?;
    if job.phase == Phase::Deleting {
        return Err(Error::JobDeleting(id));
    }
    Ok(job)
}
