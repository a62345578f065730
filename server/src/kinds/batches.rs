//! Kinds `openai_batch` and `gemini_batch`: a file of requests that a provider works on.
//!
//! The job has one unit, the batch, and one run, which is open from before anything is sent until the provider says that
//! the batch is over and its results are here. So a cancel always finds a run to wait for, and a restart one to take up:
//! runs of these kinds *follow* (see [`JobKind::follows`]). What a crash must not lose is in the [`BatchRecord`], written
//! before each step that the provider sees.

mod collect;
mod evidence;
mod follow;
mod input;
mod life;
mod lost;
mod providers;
mod removal;
mod spec;
mod submit;
mod table;
mod view;

use std::{
    collections::HashMap,
    ffi::OsString,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use app::model::{
    BatchSpec, BatchState, BatchView, Category, CheckedInput, JobId, Kind, Leftover, Page, Phase, Progress,
    ProviderKind, RequestQuery, RequestRow, ResultCounts, Timestamp,
};
use async_trait::async_trait;
use batches::Provider;
use tokio::sync::{Notify, watch};

use self::life::Life;
pub use self::providers::Providers;
pub(crate) use self::{
    follow::{counts_of, state_of},
    input::unreadable,
    providers::Known,
};
use super::{
    Admitted, DoneUnit, JobKind, Recovery, RunContext, RunOutcome, RunPlace, Stop, Upload, blocking,
    confines::{self, Confines},
    run_files::RunFiles,
};
use crate::{
    config::{FilesConfig, providers::LOST_CREATE},
    data::DataFolder,
    error::{Error, Result},
    store::{BatchRecord, BatchStep, JobRecord, NewUnit, OpenRun, SharedStore, UnitRecord},
};

/// A provider may take ten minutes to cancel.
const PROOF_PATIENCE: Duration = Duration::from_secs(600);
/// Where the provider is not configured any more.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(86_400);

/// See the module. One for each kind; they share their providers.
pub struct BatchKind {
    shared: Arc<Shared>,
    files: RunFiles,
}

struct Shared {
    kind: Kind,
    data: DataFolder,
    store: SharedStore,
    confines: Confines,
    providers: Arc<Providers>,
    /// What followers say between two writes to the store, by job.
    followed: Mutex<HashMap<JobId, Followed>>,
}

/// A batch that is being followed now.
#[derive(Clone, Default)]
struct Followed {
    /// Asks the provider at once.
    nudge: Arc<Notify>,
    asked_at: Option<Timestamp>,
    next_ask_at: Option<Timestamp>,
}

impl BatchKind {
    /// The kind of the jobs that providers of this API take. Roots that cannot be used now are logged and left out.
    /// Blocking.
    #[must_use]
    pub fn new(
        speaks: ProviderKind,
        data: DataFolder,
        store: SharedStore,
        config: &FilesConfig,
        providers: Arc<Providers>,
    ) -> Self {
        let kind = speaks.job_kind();
        let confines = Confines::new(&config.roots, data.root().to_owned());
        let files = RunFiles::new(kind, data.clone());
        BatchKind {
            shared: Arc::new(Shared { kind, data, store, confines, providers, followed: Mutex::default() }),
            files,
        }
    }
}

/// The job's own file of requests, which is what was checked and sent.
fn requests_file(data: &DataFolder, job: JobId) -> PathBuf {
    data.inputs(job).join("requests.jsonl")
}

/// A job over a provider's batch that was not submitted from here.
pub(crate) fn adopted(spec: &BatchSpec, name: &str) -> Result<Admitted> {
    let text = serde_json::to_string(spec).map_err(|error| Error::internal("a spec could not be written", error))?;
    Ok(Admitted { spec: text, parallel: 1, units: vec![unit(name.to_owned(), OsString::new())] })
}

/// What a spec alone tells of the batch of a job.
pub(crate) fn record_of(job: JobId, kind: ProviderKind, spec: BatchSpec) -> BatchRecord {
    let mut batch = BatchRecord::new(job, &spec.provider, kind);
    batch.model = spec.model;
    if let Some(id) = spec.adopted {
        batch.adopted = true;
        batch.step = BatchStep::Created;
        batch.state = BatchState::Unknown;
        batch.batch_id = Some(id);
    }
    batch
}

fn unit(name: String, input: OsString) -> NewUnit {
    NewUnit { phase: Phase::Validating, name, input }
}

impl Shared {
    fn followed(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to a provider of a job; it may have gone from the configuration since.
    fn provider(&self, name: &str) -> batches::Result<Arc<dyn Provider>> {
        let gone = || batches::Error::Unusable(format!("The provider `{name}` is not in the configuration any more."));
        self.providers.get(name).ok_or_else(gone)?.connect()
    }

    /// How long a provider tries before it gives a batch up.
    fn deadline(&self, name: &str) -> Duration {
        self.providers.get(name).map_or(DEFAULT_DEADLINE, Known::deadline)
    }

    /// For how long a batch whose creation got no answer is looked for.
    fn lost_create(&self, name: &str) -> Duration {
        self.providers.get(name).map_or(LOST_CREATE, |known| known.lost_create)
    }

    /// The one file of a spec. Blocking.
    fn locate(&self, spec: &BatchSpec, uploads: &[Upload]) -> Result<(String, PathBuf)> {
        let one = "A batch takes one file of requests: name it (`input`), or upload it.";
        if let Some(upload) = uploads.iter().find(|upload| upload.part != "files") {
            let detail = format!("Kind `{}` takes an upload as `files`, not `{}`.", self.kind, upload.part);
            return Err(Error::invalid_spec("files", detail));
        }
        match (&spec.input, uploads) {
            (None, [upload]) => Ok((upload.name.clone(), upload.path.clone())),
            (Some(input), []) => {
                let found = confines::find("spec.input", std::slice::from_ref(input), &self.confines)?;
                match found.as_slice() {
                    [file] if !file.in_folder => Ok((file.name.to_string_lossy().into_owned(), file.path.clone())),
                    _ => Err(Error::invalid_spec("spec.input", format!("`{input}` is a folder. {one}"))),
                }
            }
            (None, []) => Err(Error::invalid_spec("spec.input", one)),
            (Some(_), _) | (None, _) => {
                Err(Error::invalid_spec("spec.input", format!("There is more than one. {one}")))
            }
        }
    }

    fn admit(&self, spec: &BatchSpec, uploads: &[Upload]) -> Result<Admitted> {
        let known = self.providers.for_spec(&spec.provider, self.kind)?;
        let (name, path) = self.locate(spec, uploads)?;
        let checked = self.providers.check(known, &path, spec.model.as_deref())?;
        input::refuse_faults(&checked)?;
        let text =
            serde_json::to_string(spec).map_err(|error| Error::internal("a spec could not be written", error))?;
        Ok(Admitted { spec: text, parallel: 1, units: vec![unit(name, path.into_os_string())] })
    }

    /// Where the unit's file is now, seen again: it may have gone, or become a link, since the job was submitted.
    /// Blocking.
    fn source_of(&self, job: JobId, unit: &UnitRecord) -> std::result::Result<PathBuf, String> {
        self.confines.look_again(std::path::Path::new(&unit.input), &self.data.inputs(job))
    }

    /// The batch of a job; one that is not stored yet is as its spec says.
    async fn batch_of(&self, job: &JobRecord) -> Result<BatchRecord> {
        match self.store.batch(job.job_id).await? {
            Some(batch) => Ok(batch),
            None => self.fresh(job.job_id, &job.spec),
        }
    }

    fn fresh(&self, job: JobId, spec: &str) -> Result<BatchRecord> {
        let kind = self.kind.provider_kind().unwrap_or(ProviderKind::Openai);
        Ok(record_of(job, kind, spec::read(spec)?))
    }
}

/// The job as its requests say.
fn progress_of(results: &ResultCounts) -> Progress {
    Progress {
        total: results.succeeded + results.unfinished(),
        succeeded: results.succeeded,
        failed: results.unfinished(),
        cancelled: 0,
        running: 0,
    }
}

#[async_trait]
impl JobKind for BatchKind {
    fn kind(&self) -> Kind {
        self.shared.kind
    }

    fn phases(&self) -> &'static [Phase] {
        &[Phase::Validating, Phase::InProgress, Phase::Finalizing]
    }

    async fn admit(&self, spec: serde_json::Value, uploads: &[Upload]) -> Result<Admitted> {
        let uploads = uploads.to_vec();
        blocking(&self.shared, move |shared| shared.admit(&spec::parse(spec)?, &uploads)).await
    }

    async fn admit_again(&self, spec: &str, units: Vec<NewUnit>) -> Result<Admitted> {
        let spec = BatchSpec { adopted: None, ..spec::read(spec)? };
        self.shared.providers.for_spec(&spec.provider, self.shared.kind)?;
        let text =
            serde_json::to_string(&spec).map_err(|error| Error::internal("a spec could not be written", error))?;
        Ok(Admitted { spec: text, parallel: 1, units })
    }

    fn follows(&self) -> bool {
        true
    }

    fn proof_patience(&self) -> Duration {
        PROOF_PATIENCE
    }

    fn reruns_whole(&self) -> bool {
        true
    }

    async fn inherit(
        &self,
        from: JobId,
        to: JobId,
        _done: Vec<DoneUnit>,
        wanted: app::model::RerunUnits,
    ) -> Result<()> {
        let batch = self.shared.store.batch(from).await?;
        blocking(&self.shared, move |shared| removal::hand_on(&shared.data, from, to, wanted, batch.as_ref())).await
    }

    async fn units(&self, _job: &JobRecord, _phase: Phase) -> Result<Vec<NewUnit>> {
        Ok(Vec::new())
    }

    async fn judged(&self, job: JobId) -> Result<Option<Progress>> {
        let batch = self.shared.store.batch(job).await?;
        let results = batch.and_then(|batch| batch.results);
        Ok(results.map(|results| progress_of(&results)).filter(|progress| progress.total > 0))
    }

    async fn batches(&self, jobs: &[&JobRecord]) -> Result<HashMap<JobId, BatchView>> {
        view::of_jobs(&self.shared, jobs).await
    }

    async fn requests(&self, job: JobId, query: &RequestQuery) -> Result<Option<Page<RequestRow>>> {
        let (path, query) = (self.shared.data.unit_artifacts(job, 0).join(table::ROWS), query.clone());
        blocking(&self.shared, move |_| table::page(&path, &query).map(Some)).await
    }

    async fn check(&self, spec: BatchSpec, upload: Option<PathBuf>) -> Result<CheckedInput> {
        blocking(&self.shared, move |shared| {
            let known = shared.providers.find(&spec.provider)?;
            let path = match upload {
                Some(path) => path,
                None => shared.locate(&spec, &[])?.1,
            };
            shared.providers.check(known, &path, spec.model.as_deref())
        })
        .await
    }

    async fn refresh(&self, job: &JobRecord) -> Result<bool> {
        follow::refresh(&self.shared, job).await.map(|()| true)
    }

    async fn remote_things(&self, job: JobId) -> Result<Vec<(Category, u64)>> {
        let batch = self.shared.store.batch(job).await?;
        Ok(batch.map(|batch| removal::planned(&self.shared, &batch)).unwrap_or_default())
    }

    async fn withdraw(&self, job: JobId) -> Result<Vec<Leftover>> {
        removal::withdraw(&self.shared, job).await
    }

    async fn run(&self, context: RunContext) -> RunOutcome {
        let place = RunPlace::from(&context.claimed);
        let outcome = Life::of(&self.shared, context).await;
        self.shared.followed().remove(&place.job_id);
        self.files.with_output(place, outcome).await
    }

    async fn adopt(&self, run: RunPlace, _outcome: &RunOutcome) -> Result<()> {
        self.files.adopt(run).await
    }

    async fn disown(&self, run: RunPlace) {
        self.files.disown(run).await;
    }

    async fn discard(&self, run: RunPlace) {
        self.files.discard(run).await;
    }

    async fn tidy(&self, run: RunPlace) {
        self.files.discard(run).await;
    }

    fn grace(&self, _spec: &str) -> Duration {
        PROOF_PATIENCE
    }

    /// Only ever asked of runs that were given up without proof: the provider is asked to cancel, and how it stands.
    async fn recover(&self, run: &OpenRun, _grace: Duration, _stop: watch::Receiver<Stop>) -> Result<Recovery> {
        follow::prove(&self.shared, run).await.map(Recovery::Stopped)
    }
}
