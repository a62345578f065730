//! The life of a job: submit, claim, run, finish, cancel, delete, repair. Knows no HTTP and no SQL text.

use app::model::{
    Artifact, CancelAnswer, CancelRequest, DeleteAnswer, Job, JobId, JobList, JobQuery, LogPage, Page, Plan, Receipt,
    RerunRequest, Source, Unit, UnitQuery,
};

use crate::{error::Result, kinds::Upload};

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

/// The engine as everybody holds it: cheap to clone.
#[derive(Clone)]
pub struct Engine {}

#[expect(unused_variables, clippy::unused_async, clippy::todo, reason = "signatures first; bodies follow at once")]
impl Engine {
    /// A fresh job id with an empty folder for its uploads; discard it when the submit fails.
    pub async fn reserve(&self) -> Result<(JobId, std::path::PathBuf)> {
        todo!()
    }
    /// Removes the folder of a submit that came to nothing.
    pub async fn discard(&self, job_id: JobId) {
        todo!()
    }
    /// 201: the stored job (or the one of the same idempotency key).
    pub async fn submit(&self, actor: &Actor, submission: Submission) -> Result<Job> {
        todo!()
    }
    pub async fn job(&self, id: JobId) -> Result<Job> {
        todo!()
    }
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobList> {
        todo!()
    }
    pub async fn units(&self, id: JobId, query: &UnitQuery) -> Result<Page<Unit>> {
        todo!()
    }
    pub async fn log(&self, id: JobId, unit: Option<u64>, cursor: Option<&str>) -> Result<LogPage> {
        todo!()
    }
    pub async fn artifacts(&self, id: JobId, cursor: Option<&str>) -> Result<Page<Artifact>> {
        todo!()
    }
    /// Opens an artifact without following a link out of the job's folder.
    pub async fn artifact(&self, id: JobId, path: &str) -> Result<ArtifactFile> {
        todo!()
    }
    /// Waits up to 2 s for the proof.
    pub async fn cancel(&self, actor: &Actor, id: JobId, request: CancelRequest) -> Result<CancelAnswer> {
        todo!()
    }
    /// What a delete would remove.
    pub async fn plan(&self, id: JobId, keep_files: bool) -> Result<Plan> {
        todo!()
    }
    /// Waits up to 10 s for the end.
    pub async fn delete(&self, actor: &Actor, id: JobId, options: DeleteOptions) -> Result<DeleteAnswer> {
        todo!()
    }
    /// A new job over the units of a finished one.
    pub async fn rerun(
        &self,
        actor: &Actor,
        id: JobId,
        request: RerunRequest,
        idempotency: Option<(String, String)>,
    ) -> Result<Job> {
        todo!()
    }
    pub async fn receipt(&self, id: JobId) -> Result<Receipt> {
        todo!()
    }
    pub async fn receipts(&self, cursor: Option<&str>) -> Result<Page<Receipt>> {
        todo!()
    }
    /// Tries again to remove what was left, and to prove what was not.
    pub async fn retry_removal(&self, actor: &Actor, id: JobId) -> Result<Receipt> {
        todo!()
    }
    /// Resolves when the store's change counter is no longer `seen` (wakes at once on changes of this process,
    /// looks every second for those of others). Answers the counter.
    pub async fn changed_since(&self, seen: u64) -> Result<u64> {
        todo!()
    }
    /// Stops taking work, hands back or finishes runs, and returns.
    pub async fn shut_down(&self) {
        todo!()
    }
}
