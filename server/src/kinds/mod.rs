//! Kinds of jobs. Adding one touches one folder here, [`app::model::Kind`] and one line in [`Registry::new`].
//!
//! A kind says how a spec becomes units, how a unit runs, how it is stopped *with evidence*, and how what is left of
//! a run is found when its worker died. It never writes a job's phase: the engine does, by the rules of
//! [`app::model::Phase`].

pub mod batches;
pub mod files;
pub mod hosts;
pub mod product_matching;

mod confines;
mod fields;
mod output;
mod presets;
mod run_files;
mod trees;

use std::{
    collections::HashMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use app::model::{
    BatchSpec, BatchView, Category, CheckedInput, JobId, Kind, Leftover, MatchResults, Page, Phase, Progress,
    RequestQuery, RequestRow, RerunUnits, RunId, StopEvidence,
};
use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    error::{Error, Result},
    store::{ArtifactRow, ClaimedRun, JobRecord, NewUnit, OpenRun, Verdict},
};

/// A spec that was checked and may be stored.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// As accepted, JSON.
    pub spec: String,
    /// Most units at once.
    pub parallel: u32,
    /// Units of the first phase.
    pub units: Vec<NewUnit>,
}

/// A file that came with the submit, already below the job's own folder.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Name of the multipart part: `files`.
    pub part: String,
    /// The client's file name, made safe.
    pub name: String,
    pub path: PathBuf,
    pub bytes: u64,
}

/// A unit that succeeded.
#[derive(Clone, Debug)]
pub struct DoneUnit {
    pub index: u64,
    pub phase: Phase,
    pub name: String,
}

/// Whether, and how, a run is to be stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// Go on.
    #[default]
    No,
    /// The job is being cancelled (or this worker must let go): stop with grace.
    Graceful,
    /// Force: kill now.
    Kill,
    /// This process lets go of work that goes on elsewhere; another one takes it up. Only for kinds that
    /// [follow](JobKind::follows).
    LetGo,
}

/// What a run gets.
pub struct RunContext {
    pub claimed: ClaimedRun,
    /// Changes when the run is to be stopped; only ever gets stronger.
    pub stop: watch::Receiver<Stop>,
    /// Who carries it out: the fence of what is stored meanwhile.
    pub worker: String,
}

/// Where a run belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunPlace {
    pub job_id: JobId,
    pub run_id: RunId,
    /// Index of its unit.
    pub unit: u64,
}

impl From<&ClaimedRun> for RunPlace {
    fn from(run: &ClaimedRun) -> Self {
        RunPlace { job_id: run.job_id, run_id: run.run_id, unit: run.unit.index }
    }
}

impl From<&OpenRun> for RunPlace {
    fn from(run: &OpenRun) -> Self {
        RunPlace { job_id: run.job_id, run_id: run.run_id, unit: run.unit }
    }
}

/// What a run came to. Returned also, and above all, when it was stopped.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    pub verdict: Verdict,
    pub exit_code: Option<i32>,
    /// Evidence, whenever a stop was asked for. `confirmed: false` keeps the job `cancelling`.
    pub stop: Option<StopEvidence>,
    /// Files made, not yet in their place: `adopt` moves them once the result is accepted.
    pub produced: Vec<ArtifactRow>,
}

/// What became of a run whose worker died.
#[derive(Clone, Debug)]
pub enum Recovery {
    /// It had ended by itself and left its result.
    Finished(RunOutcome),
    /// It was stopped, or nothing of it was found. `confirmed` says whether that is known.
    Stopped(StopEvidence),
}

/// One kind of job. Object safe; shared by all runs.
#[async_trait]
pub trait JobKind: Send + Sync {
    fn kind(&self) -> Kind;

    /// Its phases in order, at least one.
    fn phases(&self) -> &'static [Phase];

    /// Checks a spec and makes the units of the first phase. Stores nothing.
    ///
    /// # Errors
    /// `Invalid` with the field and a sentence.
    async fn admit(&self, spec: serde_json::Value, uploads: &[Upload]) -> Result<Admitted>;

    /// The path in a unit's input: what stands at its end. What stands before says what the file is.
    fn path_of<'a>(&self, input: &'a OsStr) -> &'a Path {
        Path::new(input)
    }

    /// True when a run only follows work that goes on elsewhere, whatever becomes of this server. Such a run is never
    /// recovered: the next server takes it up as it is, in any phase, and goes on. It is told [`Stop::LetGo`] when the
    /// server stops, and then answers `Cancelled` without evidence.
    fn follows(&self) -> bool {
        false
    }

    /// How long a forced delete waits for the proof of the stop.
    fn proof_patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// What the end of a job is judged by, where that is not its units.
    async fn judged(&self, job: JobId) -> Result<Option<Progress>> {
        let _ = job;
        Ok(None)
    }

    /// The batches of those of these jobs that have one.
    async fn batches(&self, jobs: &[&JobRecord]) -> Result<HashMap<JobId, BatchView>> {
        let _ = jobs;
        Ok(HashMap::new())
    }

    /// A page of the requests of a batch with their results; `None` for kinds without.
    async fn requests(&self, job: JobId, query: &RequestQuery) -> Result<Option<Page<RequestRow>>> {
        let _ = (job, query);
        Ok(None)
    }

    /// What a file of requests holds; nothing is stored or sent.
    async fn check(&self, spec: BatchSpec, upload: Option<PathBuf>) -> Result<CheckedInput> {
        let _ = (spec, upload);
        Err(Error::NotFound(format!("Kind `{}` sends no requests.", self.kind())))
    }

    /// Asks again, now, what became of a job elsewhere, and stores it. False: there is nobody to ask.
    async fn refresh(&self, job: &JobRecord) -> Result<bool> {
        let _ = job;
        Ok(false)
    }

    /// What a removal takes away elsewhere, by sort.
    async fn remote_things(&self, job: JobId) -> Result<Vec<(Category, u64)>> {
        let _ = job;
        Ok(Vec::new())
    }

    /// Takes it away, as far as it can be, and answers what is left. May be repeated, also when the job is gone.
    async fn withdraw(&self, job: JobId) -> Result<Vec<Leftover>> {
        let _ = job;
        Ok(Vec::new())
    }

    /// True when a rerun takes all units of the first phase, also those that succeeded: later phases need them. What
    /// they came to is handed on by [`inherit`](Self::inherit).
    fn reruns_whole(&self) -> bool {
        false
    }

    /// Before a rerun `to` of what is missing in `from` (or of all, then `done` is empty): hands on what the units `done`
    /// of `from` came to.
    async fn inherit(&self, from: JobId, to: JobId, done: Vec<DoneUnit>, wanted: RerunUnits) -> Result<()> {
        let _ = (from, to, done, wanted);
        Ok(())
    }

    /// What the job has found so far; `None` for kinds that find nothing.
    async fn matches(&self, job: JobId) -> Result<Option<MatchResults>> {
        let _ = job;
        Ok(None)
    }

    /// Checks a rerun over these units of a job; the spec is the one accepted then.
    async fn admit_again(&self, spec: &str, units: Vec<NewUnit>) -> Result<Admitted>;

    /// Units of a later phase, asked for when the one before it is over.
    async fn units(&self, job: &JobRecord, phase: Phase) -> Result<Vec<NewUnit>>;

    /// Runs one unit to its end or its proven stop.
    async fn run(&self, context: RunContext) -> RunOutcome;

    /// What was produced moves to its place, in the stead of what a former run of the unit left there. Called while
    /// the run is still open, *before* its result is stored, so that a crash in between finds the run open and does it
    /// again: it must be idempotent, and answer well when the files have moved already.
    async fn adopt(&self, run: RunPlace, outcome: &RunOutcome) -> Result<()>;

    /// Takes back an adoption whose result was fenced.
    async fn disown(&self, run: RunPlace);

    /// Gives back the room of what a run has made, before its result is stored: nothing of it is wanted. What a later
    /// [`recover`](JobKind::recover) needs stays.
    async fn discard(&self, run: RunPlace);

    /// The result is stored, or fenced, and the end of the run is proven: what is left of its own files can go.
    async fn tidy(&self, run: RunPlace);

    /// Longest time that a stop with grace may take by this spec before it kills.
    fn grace(&self, spec: &str) -> Duration;

    /// Finds and stops what is left of a run whose worker is gone. Waits for the run's own supervisor, which stops it
    /// with `grace`, or kills it when `stop` says so, also in the middle; may be asked again for a run that it could not
    /// confirm.
    async fn recover(&self, run: &OpenRun, grace: Duration, stop: watch::Receiver<Stop>) -> Result<Recovery>;
}

/// The kinds that this build has.
#[derive(Clone)]
pub struct Registry {
    kinds: Arc<[Arc<dyn JobKind>]>,
}

impl Registry {
    /// A registry of these kinds.
    #[must_use]
    pub fn new(kinds: Vec<Arc<dyn JobKind>>) -> Self {
        Registry { kinds: kinds.into() }
    }

    /// The kind by its name; `None` when this build does not have it.
    #[must_use]
    pub fn get(&self, kind: Kind) -> Option<Arc<dyn JobKind>> {
        self.kinds.iter().find(|candidate| candidate.kind() == kind).cloned()
    }
}

/// Runs work on the disk with a copy of what it needs, where it holds up no task.
async fn blocking<S, T>(shared: &S, work: impl FnOnce(&S) -> Result<T> + Send + 'static) -> Result<T>
where
    S: Clone + Send + 'static,
    T: Send + 'static,
{
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || work(&shared)).await?
}
