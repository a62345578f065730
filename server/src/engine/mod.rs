//! The life of a job: submit, claim, run, finish, cancel, delete, repair. Knows no HTTP and no SQL text.
//!
//! [`Engine`] is what everybody holds; each part of the life has its file: `submit`, `worker` (claim, run, settle),
//! `heartbeat`, `cancel`, `delete` with `removal`, `leases` (repair), `views` (what pages are told).
//!
//! Order of things at the end of a run, and why a `kill -9` between any two is safe:
//! 1. the kind *adopts* what was produced while the run is still open: after a crash here the run is found open, is
//!    recovered, and adopted again (idempotent);
//! 2. the store *finishes* the run, fenced by run and worker: a fenced result takes the adopted files back;
//! 3. the kind *tidies*: after a crash here only scratch is left, which goes with the job.

mod artifacts;
mod batches;
mod bulk;
mod cancel;
pub mod clock;
mod core;
mod delete;
mod doubts;
mod heartbeat;
mod leases;
mod litter;
mod logs;
mod removal;
mod submit;
mod views;
mod worker;

use std::sync::Arc;

use app::model::{
    AdoptRequest, Artifact, Bulk, BulkId, BulkItem, BulkItemQuery, BulkPlan, BulkRequest, CancelAnswer, CancelRequest,
    CheckRequest, CheckedInput, DeleteAnswer, ImportAnswer, Job, JobId, JobList, JobQuery, LogPage, LogQuery,
    MatchResults, Page, Plan, ProviderInfo, Receipt, RemoteBatch, RemoteBatchPage, RequestQuery, RequestRow,
    RerunRequest, Source, Unit, UnitQuery,
};

pub(crate) use self::artifacts::names_of;
use self::core::Core;
pub use self::{batches::Written, logs::LogText};
use crate::{
    data::DataFolder,
    error::Result,
    kinds::{Registry, Upload, batches::Providers},
    store::SharedStore,
};

/// Who asks, and from where. Every action carries one.
#[derive(Clone, Debug)]
pub struct Actor {
    pub name: String,
    pub source: Source,
    /// Address of the caller.
    pub address: Option<String>,
    pub request_id: String,
}

/// A job to be submitted. The folder for its uploads was made by [`Engine::reserve`].
#[derive(Debug)]
pub struct Submission {
    pub job_id: JobId,
    pub name: String,
    /// Name of the kind as it came.
    pub kind: String,
    pub spec: serde_json::Value,
    pub uploads: Vec<Upload>,
    /// `Idempotency-Key`, with the hash of the request.
    pub idempotency: Option<(String, String)>,
}

/// How a delete was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeleteOptions {
    pub force: bool,
    pub keep_files: bool,
}

/// What an artifact is served from.
#[derive(Debug)]
pub struct ArtifactFile {
    pub file: std::fs::File,
    pub name: String,
    pub bytes: u64,
}

/// What an engine is made of.
pub struct EngineConfig {
    pub data: DataFolder,
    pub store: SharedStore,
    pub registry: Registry,
    /// Runs at once on this worker, at least 1.
    pub slots: u32,
    /// Likewise, of jobs whose work is done elsewhere.
    pub remote_slots: u32,
    /// The batch APIs of the configuration.
    pub providers: Arc<Providers>,
}

/// The engine as everybody holds it: cheap to clone. It works until [`Engine::shut_down`].
#[derive(Clone)]
pub struct Engine {
    core: Arc<Core>,
}

impl Engine {
    /// Registers the worker, begins the repair of what a predecessor left, and takes work.
    ///
    /// # Errors
    /// The store cannot be written to, or no thread can be started.
    pub async fn start(config: EngineConfig) -> Result<Engine> {
        let core = Core::register(config).await?;
        heartbeat::start(&core)?;
        leases::start(&core);
        cancel::start(&core);
        delete::start(&core);
        bulk::start(&core);
        worker::start(&core);
        Ok(Engine { core })
    }

    /// A fresh job id with an empty folder for its uploads; discard it when the submit fails.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub async fn reserve(&self) -> Result<(JobId, std::path::PathBuf)> {
        submit::reserve(&self.core).await
    }

    /// Removes the folder of a submit that came to nothing.
    pub async fn discard(&self, job_id: JobId) {
        submit::discard(&self.core, job_id).await;
    }

    /// 201: the stored job (or the one of the same idempotency key).
    ///
    /// # Errors
    /// `Invalid` with the field; nothing is stored then, and the reserved folder is gone.
    pub async fn submit(&self, actor: &Actor, submission: Submission) -> Result<Job> {
        submit::submit(&self.core, actor, submission).await
    }

    /// A job with everything that its page needs.
    ///
    /// # Errors
    /// `JobNotFound`, `JobDeleted`.
    pub async fn job(&self, id: JobId) -> Result<Job> {
        views::job(&self.core, id).await
    }

    /// True while this server follows a batch of the job: then its answer changes also without the store.
    #[must_use]
    pub fn is_followed(&self, id: JobId) -> bool {
        self.core.follows(id)
    }

    /// A page of the list.
    ///
    /// # Errors
    /// A cursor that was made up.
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobList> {
        views::jobs(&self.core, query).await
    }

    /// A page of a job's units; none of a job that is being deleted.
    ///
    /// # Errors
    /// As [`Engine::job`]; a cursor that was made up.
    pub async fn units(&self, id: JobId, query: &UnitQuery) -> Result<Page<Unit>> {
        views::units(&self.core, id, query).await
    }

    /// True when a page of this job's units can change without the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn units_grow(&self, id: JobId) -> Result<bool> {
        views::units_grow(&self.core, id).await
    }

    /// The log of one unit from a cursor on, or the latest lines of the job.
    ///
    /// # Errors
    /// As [`Engine::job`]; no such unit; a cursor that was made up.
    pub async fn log(&self, id: JobId, query: &LogQuery) -> Result<LogPage> {
        logs::log(&self.core, id, query).await
    }

    /// The log of one unit or of all, unit after unit, as text: `<time> <stream> <text>` under a line that names the
    /// unit. The cursor is left alone.
    ///
    /// # Errors
    /// As [`Engine::job`]; `JobDeleting`; no such unit.
    pub async fn log_text(&self, id: JobId, query: &LogQuery) -> Result<LogText> {
        logs::log_text(&self.core, id, query).await
    }

    /// A page of a job's artifacts, in order of path.
    ///
    /// # Errors
    /// As [`Engine::job`]; a cursor that was made up.
    pub async fn artifacts(&self, id: JobId, cursor: Option<&str>) -> Result<Page<Artifact>> {
        artifacts::list(&self.core, id, cursor).await
    }

    /// Opens an artifact without following a link out of the job's folder. `path` as [`Artifact::path`] gives it, still
    /// percent-encoded.
    ///
    /// # Errors
    /// As [`Engine::job`]; `NotFound`.
    pub async fn artifact(&self, id: JobId, path: &str) -> Result<ArtifactFile> {
        artifacts::open_artifact(&self.core, id, path).await
    }

    /// The batch APIs of the configuration.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderInfo> {
        self.core.providers.offered()
    }

    /// A page of the requests of a batch with their results; an empty one before they are collected.
    ///
    /// # Errors
    /// As [`Engine::job`]; `NotFound` for jobs of other kinds; a cursor that was made up.
    pub async fn requests(&self, id: JobId, query: &RequestQuery) -> Result<Page<RequestRow>> {
        batches::requests(&self.core, id, query).await
    }

    /// Asks the provider of a job now.
    ///
    /// # Errors
    /// As [`Engine::job`]; `NotPossible` for jobs of other kinds.
    pub async fn refresh(&self, actor: &Actor, id: JobId) -> Result<Job> {
        batches::refresh(&self.core, actor, id).await
    }

    /// What a file of requests holds, before anything is sent. `upload` is a file that came with the question.
    ///
    /// # Errors
    /// `Invalid` for a provider or path that cannot be used.
    pub async fn check_batch(&self, request: CheckRequest, upload: Option<std::path::PathBuf>) -> Result<CheckedInput> {
        batches::check(&self.core, request, upload).await
    }

    /// A page of what a provider has, with whose it is.
    ///
    /// # Errors
    /// `NotFound`; `Provider` when it does not answer.
    pub async fn remote_batches(&self, provider: &str, cursor: Option<&str>) -> Result<RemoteBatchPage> {
        batches::list(&self.core, provider, cursor).await
    }

    /// Makes a job of a batch that none knows.
    ///
    /// # Errors
    /// `NotFound`; `Provider`; `Invalid` when a job has it.
    pub async fn adopt_batch(&self, actor: &Actor, provider: &str, id: &str, request: AdoptRequest) -> Result<Job> {
        batches::adopt(&self.core, actor, provider, id, request).await
    }

    /// Makes jobs of the batches that another tool wrote down. Repeating it is harmless.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for too many records. What one record fails by is in the answer.
    pub async fn import_batches(&self, actor: &Actor, provider: &str, written: Written) -> Result<ImportAnswer> {
        batches::import(&self.core, actor, provider, written).await
    }

    /// Asks a provider to cancel a batch that no job knows, and answers how it stands then.
    ///
    /// # Errors
    /// As [`Engine::adopt_batch`].
    pub async fn cancel_remote_batch(&self, actor: &Actor, provider: &str, id: &str) -> Result<RemoteBatch> {
        batches::cancel(&self.core, actor, provider, id).await
    }

    /// What a `product_matching` job has found so far.
    ///
    /// # Errors
    /// As [`Engine::job`]; `NotFound` for jobs of other kinds.
    pub async fn matches(&self, id: JobId) -> Result<MatchResults> {
        artifacts::matches(&self.core, id).await
    }

    /// Waits up to 2 s for the proof.
    ///
    /// # Errors
    /// `JobNotFound`, `JobDeleted`, `JobDeleting`; `Invalid` for a reason or notes that cannot be taken.
    pub async fn cancel(&self, actor: &Actor, id: JobId, request: CancelRequest) -> Result<CancelAnswer> {
        cancel::cancel(&self.core, actor, id, request).await
    }

    /// What a delete would remove.
    ///
    /// # Errors
    /// `JobNotFound`, `JobDeleted`, `JobDeleting`.
    pub async fn plan(&self, id: JobId, keep_files: bool) -> Result<Plan> {
        delete::plan(&self.core, id, keep_files).await
    }

    /// Waits up to 10 s for the end.
    ///
    /// # Errors
    /// `JobNotFound`, `JobDeleted`; `JobActive` without force.
    pub async fn delete(&self, actor: &Actor, id: JobId, options: DeleteOptions) -> Result<DeleteAnswer> {
        delete::delete(&self.core, actor, id, options).await
    }

    /// What an action on many jobs would do, job by job.
    ///
    /// # Errors
    /// `Invalid`: more than `limit` jobs, or a filter that cannot be used.
    pub async fn plan_bulk(&self, request: &BulkRequest, limit: u32) -> Result<BulkPlan> {
        bulk::plan(&self.core, request, limit).await
    }

    /// Freezes the selection and begins; the work goes on in the background, also across a restart.
    ///
    /// # Errors
    /// As [`Engine::plan_bulk`]; `Invalid` for a reason or notes that cannot be taken.
    pub async fn begin_bulk(
        &self,
        actor: &Actor,
        request: BulkRequest,
        limit: u32,
        idempotency: Option<(String, String)>,
    ) -> Result<Bulk> {
        bulk::begin(&self.core, actor, request, limit, idempotency).await
    }

    /// An action on many jobs with its progress.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn bulk(&self, id: BulkId) -> Result<Bulk> {
        bulk::find(&self.core, id).await
    }

    /// A page of actions on many jobs, newest first.
    ///
    /// # Errors
    /// A cursor that was made up.
    pub async fn bulks(&self, cursor: Option<&str>) -> Result<Page<Bulk>> {
        self.core.store.bulks(cursor, views::PAGE).await
    }

    /// A page of the jobs of one, with their results.
    ///
    /// # Errors
    /// `NotFound`; a cursor that was made up.
    pub async fn bulk_items(&self, id: BulkId, query: &BulkItemQuery) -> Result<Page<BulkItem>> {
        bulk::items(&self.core, id, query).await
    }

    /// Begins nothing more of it. What was begun goes on; of one that has ended nothing changes.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn abort_bulk(&self, actor: &Actor, id: BulkId) -> Result<Bulk> {
        bulk::abort(&self.core, actor, id).await
    }

    /// A new one, with the same options, over the jobs that failed.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn retry_bulk(&self, actor: &Actor, id: BulkId, idempotency: Option<(String, String)>) -> Result<Bulk> {
        bulk::retry(&self.core, actor, id, idempotency).await
    }

    /// A new job over the units of a finished one.
    ///
    /// # Errors
    /// `JobNotFound`, `JobDeleted`, `JobDeleting`; `NotPossible` while it is active, or when nothing is left to do.
    pub async fn rerun(
        &self,
        actor: &Actor,
        id: JobId,
        request: RerunRequest,
        idempotency: Option<(String, String)>,
    ) -> Result<Job> {
        submit::rerun(&self.core, actor, id, request, idempotency).await
    }

    /// The receipt of a removal, also of one that goes on.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn receipt(&self, id: JobId) -> Result<Receipt> {
        delete::receipt(&self.core, id).await
    }

    /// A page of receipts, newest first.
    ///
    /// # Errors
    /// A cursor that was made up.
    pub async fn receipts(&self, cursor: Option<&str>) -> Result<Page<Receipt>> {
        self.core.store.receipts(cursor, views::PAGE).await
    }

    /// Tries again to remove what was left, and to prove what was not.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn retry_removal(&self, actor: &Actor, id: JobId) -> Result<Receipt> {
        delete::retry(&self.core, actor, id).await
    }

    /// Resolves when the store's change counter is no longer `seen` (wakes at once on changes of this process,
    /// looks every second for those of others). Answers the counter.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn changed_since(&self, seen: u64) -> Result<u64> {
        self.core.changed_since(seen).await
    }

    /// Stops taking work, stops what runs (it is proven gone and begins again after the restart), and returns.
    pub async fn shut_down(&self) {
        worker::shut_down(&self.core).await;
    }
}
