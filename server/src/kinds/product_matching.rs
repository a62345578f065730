//! Kind `product_matching`: which product is seen in which video, when, where in the frame, how surely.
//!
//! Four phases. `collection`: a unit takes in one product image or one video, which is cut into frames.
//! `feature_extraction`: a unit computes mask and features of one image, or the features of the keyframes of one minute
//! of video. `matching`: a unit looks for all products in the keyframes of one minute. `evidence`: a unit draws the
//! pictures of one video; one more writes the results.
//!
//! Every unit is a process tree like a command of an operator: this very program in the part of a *step*
//! ([`step_main`]), with ffmpeg below it. So a stop ends it at once and with the same proof, its memory is bounded by
//! its own life, and a picture that breaks a decoder breaks one unit. What a step leaves in `out` becomes artifacts, and
//! is where the steps of later phases find it.

mod layout;
mod manifest;
mod spec;
mod step;

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use app::model::{JobId, Kind, MatchResults, Phase, ProductMatchingSpec, RerunUnits};
use async_trait::async_trait;
use tokio::sync::watch;

pub use self::step::{STEP_ARGUMENT, step_main};
use self::{
    layout::Artifacts,
    spec::{Input, Role},
    step::{Step, Task},
};
use super::{
    Admitted, DoneUnit, JobKind, Recovery, RunContext, RunOutcome, RunPlace, Stop, Upload, blocking,
    confines::Confines,
    trees::{Prepared, TreeRuns},
};
use crate::{
    config::FilesConfig,
    data::DataFolder,
    error::{Error, Result},
    process::{Spawner, TreeCommand},
    store::{ClaimedRun, JobRecord, NewUnit, OpenRun},
};

/// Seconds between SIGTERM and SIGKILL when the spec does not say.
const DEFAULT_GRACE_S: u32 = 2;
/// Frames a second when the spec does not say.
const DEFAULT_FRAME_RATE: f64 = 2.0;
/// Seconds of video that one unit searches: small enough to spread over workers, large enough to pay for a process.
const CHUNK_S: f64 = 60.0;
/// What a rerun takes over from the job before, below the scratch of the new one.
const INHERITED: &str = "inherited";

/// See the module.
pub struct ProductMatchingKind {
    shared: Arc<Shared>,
    runs: TreeRuns,
}

struct Shared {
    data: DataFolder,
    confines: Confines,
    slots: u32,
}

impl ProductMatchingKind {
    /// The kind as configured: it takes files from the same folders as kind `files`. Blocking.
    #[must_use]
    pub fn new(data: DataFolder, spawner: Spawner, config: &FilesConfig, slots: u32) -> Self {
        let confines = Confines::new(&config.roots, data.root().to_owned());
        let runs = TreeRuns::new(Kind::ProductMatching, data.clone(), spawner);
        ProductMatchingKind { shared: Arc::new(Shared { data, confines, slots }), runs }
    }
}

impl Shared {
    fn admit(&self, spec: &ProductMatchingSpec, uploads: &[Upload]) -> Result<Admitted> {
        spec::check(spec)?;
        step::find_ffmpeg().map_err(|why| Error::invalid_spec("kind", why))?;
        let inputs = spec::inputs(spec, uploads, &self.confines)?;
        let units = inputs.into_iter().map(|input| NewUnit {
            phase: Phase::Collection,
            name: input.name.clone(),
            input: input.encode(),
        });
        self.admitted(spec, units.collect())
    }

    fn admitted(&self, spec: &ProductMatchingSpec, units: Vec<NewUnit>) -> Result<Admitted> {
        let text =
            serde_json::to_string(spec).map_err(|error| Error::internal("a spec could not be written", error))?;
        Ok(Admitted { spec: text, parallel: spec.parallel.unwrap_or(self.slots).max(1), units })
    }

    /// Units of the phases after the first, from what the phases before left.
    fn units(&self, job: &JobRecord, phase: Phase) -> Result<Vec<NewUnit>> {
        let artifacts = Artifacts::read(&self.data.artifacts(job.job_id))?;
        let steps = match phase {
            Phase::FeatureExtraction => artifacts.feature_steps(CHUNK_S),
            Phase::Matching => artifacts.matching_steps(),
            Phase::Evidence => artifacts.evidence_steps(job.progress.total),
            Phase::Pending
            | Phase::Collection
            | Phase::InProgress
            | Phase::Validating
            | Phase::Finalizing
            | Phase::Cancelling
            | Phase::Deleting
            | Phase::Completed
            | Phase::Partial
            | Phase::Failed
            | Phase::Cancelled => Vec::new(),
        };
        steps
            .into_iter()
            .map(|(name, step)| {
                let text = serde_json::to_string(&step)
                    .map_err(|error| Error::internal("a step could not be written", error))?;
                Ok(NewUnit { phase, name, input: text.into() })
            })
            .collect()
    }

    fn prepare(&self, claimed: ClaimedRun) -> Result<Prepared> {
        let place = RunPlace::from(&claimed);
        let spec = read_spec(&claimed.spec)?;
        let (work, out) = (self.data.work(place.job_id, place.run_id), self.data.out(place.job_id, place.run_id));
        if self.take_inherited(place, &claimed, &out)? {
            return Ok(Prepared::Done);
        }
        let (step, input) = if claimed.unit.phase == Phase::Collection {
            match self.collection_step(place, &spec, &claimed.unit.input) {
                Ok(found) => found,
                Err(why) => return Ok(Prepared::Failed(why)),
            }
        } else {
            (read_step(&claimed.unit.input)?, PathBuf::new())
        };
        let task = Task { artifacts: self.data.artifacts(place.job_id), out, step };
        task.write(&work)?;
        Ok(Prepared::Ready(TreeCommand {
            run_id: place.run_id,
            argv: vec!["/proc/self/exe".into(), STEP_ARGUMENT.into()],
            env: step::environment(&input, &work),
            cwd: work,
            log: self.data.log(place.job_id, place.run_id),
            grace: Duration::from_secs(spec.grace_s.unwrap_or(DEFAULT_GRACE_S).into()),
            timeout: None,
        }))
    }

    fn collection_step(
        &self,
        place: RunPlace,
        spec: &ProductMatchingSpec,
        input: &OsStr,
    ) -> std::result::Result<(Step, PathBuf), String> {
        let input = Input::decode(input).ok_or_else(|| "the unit cannot be read by this version".to_owned())?;
        let frame_rate = spec.frame_rate.unwrap_or(DEFAULT_FRAME_RATE);
        let number = || input.path.to_string_lossy().parse().unwrap_or_default();
        let look_again = || self.confines.look_again(&input.path, &self.data.inputs(place.job_id));
        let name = input.name.clone();
        Ok(match input.role {
            Role::Product => (Step::TakeProduct { name }, look_again()?),
            Role::Video => (Step::TakeVideo { name, frame_rate }, look_again()?),
            Role::SampleProduct => (Step::SampleProduct { name, product: number() }, PathBuf::new()),
            Role::SampleVideo => (Step::SampleVideo { name, video: number(), frame_rate }, PathBuf::new()),
        })
    }

    /// Where what a unit of a former job came to lies for a rerun. `None` where it may not be taken over: evidence is of
    /// all that was found, and drawn anew. Matches are of the products in `artifacts`.
    fn inherited(&self, job: JobId, artifacts: &Artifacts, phase: Phase, name: &str) -> Option<PathBuf> {
        let of = if matches!(phase, Phase::Collection | Phase::FeatureExtraction) {
            String::new()
        } else if phase == Phase::Matching {
            artifacts.matchable()
        } else {
            return None;
        };
        // Names may hold anything: a hash is a safe file name.
        let key = crate::secret::hash(&format!("{phase}/{of}/{name}"));
        Some(self.data.works(job).join(INHERITED).join(key))
    }

    /// Moves what a former job came to into `out`. False when there is nothing.
    fn take_inherited(&self, place: RunPlace, claimed: &ClaimedRun, out: &Path) -> Result<bool> {
        if !self.data.works(place.job_id).join(INHERITED).is_dir() {
            return Ok(false);
        }
        let artifacts = Artifacts::read(&self.data.artifacts(place.job_id))?;
        let from = self.inherited(place.job_id, &artifacts, claimed.unit.phase, &claimed.unit.name);
        let Some(from) = from.filter(|from| from.is_dir()) else { return Ok(false) };
        fs::remove_dir_all(out)?;
        fs::rename(from, out)?;
        Ok(true)
    }

    fn inherit(&self, from: JobId, to: JobId, done: &[DoneUnit]) -> Result<()> {
        let artifacts = Artifacts::read(&self.data.artifacts(from))?;
        for unit in done {
            let old = self.data.unit_artifacts(from, unit.index);
            if let Some(place) = self.inherited(to, &artifacts, unit.phase, &unit.name)
                && old.is_dir()
            {
                layout::link_tree(&old, &place)?;
            }
        }
        Ok(())
    }
}

fn read_spec(spec: &str) -> Result<ProductMatchingSpec> {
    serde_json::from_str(spec).map_err(|error| Error::internal("a stored spec cannot be read", error))
}

fn read_step(input: &OsStr) -> Result<Step> {
    serde_json::from_slice(input.as_bytes()).map_err(|error| Error::internal("a stored step cannot be read", error))
}

#[async_trait]
impl JobKind for ProductMatchingKind {
    fn kind(&self) -> Kind {
        Kind::ProductMatching
    }

    fn phases(&self) -> &'static [Phase] {
        &[Phase::Collection, Phase::FeatureExtraction, Phase::Matching, Phase::Evidence]
    }

    async fn admit(&self, spec: serde_json::Value, uploads: &[Upload]) -> Result<Admitted> {
        let uploads = uploads.to_vec();
        blocking(&self.shared, move |shared| shared.admit(&spec::parse(spec)?, &uploads)).await
    }

    fn path_of<'a>(&self, input: &'a OsStr) -> &'a Path {
        spec::path_of(input)
    }

    fn reruns_whole(&self) -> bool {
        true
    }

    async fn inherit(&self, from: JobId, to: JobId, done: Vec<DoneUnit>, _wanted: RerunUnits) -> Result<()> {
        blocking(&self.shared, move |shared| shared.inherit(from, to, &done)).await
    }

    async fn matches(&self, job: JobId) -> Result<Option<MatchResults>> {
        blocking(&self.shared, move |shared| Ok(Some(Artifacts::read(&shared.data.artifacts(job))?.results()))).await
    }

    async fn admit_again(&self, spec: &str, units: Vec<NewUnit>) -> Result<Admitted> {
        let spec = read_spec(spec)?;
        blocking(&self.shared, move |shared| {
            step::find_ffmpeg().map_err(|why| Error::invalid_spec("kind", why))?;
            shared.admitted(&spec, units)
        })
        .await
    }

    async fn units(&self, job: &JobRecord, phase: Phase) -> Result<Vec<NewUnit>> {
        let job = job.clone();
        blocking(&self.shared, move |shared| shared.units(&job, phase)).await
    }

    async fn run(&self, context: RunContext) -> RunOutcome {
        let shared = self.shared.clone();
        self.runs.run(context, move |claimed| shared.prepare(claimed)).await
    }

    async fn adopt(&self, run: RunPlace, _outcome: &RunOutcome) -> Result<()> {
        self.runs.adopt(run).await
    }

    async fn disown(&self, run: RunPlace) {
        self.runs.disown(run).await;
    }

    async fn discard(&self, run: RunPlace) {
        self.runs.discard(run).await;
    }

    async fn tidy(&self, run: RunPlace) {
        self.runs.tidy(run).await;
    }

    fn grace(&self, spec: &str) -> Duration {
        let seconds = read_spec(spec).ok().and_then(|spec| spec.grace_s).unwrap_or(DEFAULT_GRACE_S);
        Duration::from_secs(seconds.into())
    }

    async fn recover(&self, run: &OpenRun, grace: Duration, stop: watch::Receiver<Stop>) -> Result<Recovery> {
        self.runs.recover(run, grace, stop).await
    }
}
