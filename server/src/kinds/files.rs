//! Kind `files`: a command for each file. The spec says which; a run is one process tree, see `trees`.

pub(super) mod command;
mod spec;

use std::{collections::BTreeMap, ffi::OsStr, path::PathBuf, sync::Arc, time::Duration};

use app::model::{FilesSpec, Kind, Phase};
use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    Admitted, JobKind, Recovery, RunContext, RunOutcome, RunPlace, Stop, Upload, blocking,
    confines::{self, Confines, MAX_FILES},
    presets::Commands,
    trees::{Prepared, TreeRuns},
};
use crate::{
    config::{FilesConfig, Preset},
    data::DataFolder,
    error::{Error, Result},
    process::{Spawner, TreeCommand},
    store::{ClaimedRun, JobRecord, NewUnit, OpenRun},
};

/// Seconds between SIGTERM and SIGKILL when neither spec nor preset says.
const DEFAULT_GRACE_S: u32 = 5;

/// See the module.
pub struct FilesKind {
    shared: Arc<Shared>,
    runs: TreeRuns,
}

/// What blocking work needs too.
struct Shared {
    data: DataFolder,
    confines: Confines,
    commands: Commands,
    /// Runs at once on this worker: the default of `parallel`.
    slots: u32,
}

impl FilesKind {
    /// The kind as configured. Roots that cannot be used now are logged and left out. Blocking.
    #[must_use]
    pub fn new(
        data: DataFolder,
        spawner: Spawner,
        config: &FilesConfig,
        presets: BTreeMap<String, Preset>,
        slots: u32,
    ) -> Self {
        let confines = Confines::new(&config.roots, data.root().to_owned());
        let commands = Commands { presets, allow_free: config.allow_free_commands, section: "files" };
        let runs = TreeRuns::new(Kind::Files, data.clone(), spawner);
        FilesKind { shared: Arc::new(Shared { data, confines, commands, slots }), runs }
    }
}

impl Shared {
    fn check(&self, spec: &FilesSpec) -> Result<()> {
        spec::check(spec, &self.commands)
    }

    fn admitted(&self, spec: &FilesSpec, units: Vec<NewUnit>) -> Result<Admitted> {
        let text =
            serde_json::to_string(spec).map_err(|error| Error::internal("a spec could not be written", error))?;
        Ok(Admitted { spec: text, parallel: spec.parallel.unwrap_or(self.slots).max(1), units })
    }

    fn admit(&self, spec: &FilesSpec, uploads: &[Upload]) -> Result<Admitted> {
        self.check(spec)?;
        let found = confines::find("spec.inputs", &spec.inputs, &self.confines)?;
        let mut units: Vec<NewUnit> = found.into_iter().map(|file| unit(&file.name, file.path)).collect();
        for upload in uploads {
            if upload.part != "files" {
                let detail = format!("Kind `files` takes uploads as `files`, not `{}`.", upload.part);
                return Err(Error::invalid_spec("files", detail));
            }
            units.push(unit(OsStr::new(&upload.name), upload.path.clone()));
        }
        if units.len() > MAX_FILES {
            return Err(confines::too_many("spec.inputs"));
        }
        if units.is_empty() {
            let what = if spec.inputs.is_empty() {
                "There is no file to work on: name files or folders (`inputs`), or upload some."
            } else {
                "There is no file to work on: the folders are empty."
            };
            return Err(Error::invalid_spec("spec.inputs", what));
        }
        self.admitted(spec, units)
    }

    fn prepare(&self, claimed: ClaimedRun) -> Result<Prepared> {
        let place = RunPlace::from(&claimed);
        let spec: FilesSpec = read_spec(&claimed.spec)?;
        let input = PathBuf::from(claimed.unit.input);
        let preset = match &spec.preset {
            Some(name) => match self.commands.presets.get(name) {
                Some(preset) => Some(preset),
                None => return Ok(Prepared::Failed(format!("the preset `{name}` is not configured any more"))),
            },
            None => None,
        };
        let Some(command) = preset.map(|preset| &preset.command).or(spec.command.as_ref()) else {
            return Ok(Prepared::Failed("the job names no command".to_owned()));
        };
        if let Err(why) = self.confines.look_again(&input, &self.data.inputs(place.job_id)) {
            return Ok(Prepared::Failed(why));
        }
        let (work, out) = (self.data.work(place.job_id, place.run_id), self.data.out(place.job_id, place.run_id));
        let values = command::Values { file: &input, out: &out };
        let timeout = spec.timeout_s.or(preset.and_then(|preset| preset.timeout_s));
        Ok(Prepared::Ready(TreeCommand {
            run_id: place.run_id,
            argv: command::fill(command, &values),
            env: command::environment(&values, &work, preset.map(|preset| &preset.env)),
            cwd: work,
            log: self.data.log(place.job_id, place.run_id),
            grace: self.grace(&spec),
            timeout: timeout.map(|seconds| Duration::from_secs(seconds.into())),
        }))
    }

    fn grace(&self, spec: &FilesSpec) -> Duration {
        let of_preset =
            spec.preset.as_ref().and_then(|name| self.commands.presets.get(name)).and_then(|preset| preset.grace_s);
        Duration::from_secs(spec.grace_s.or(of_preset).unwrap_or(DEFAULT_GRACE_S).into())
    }
}

/// A unit of the one phase of this kind.
fn unit(name: &OsStr, path: PathBuf) -> NewUnit {
    NewUnit { phase: Phase::InProgress, name: spec::lossy(name), input: path.into_os_string() }
}

fn read_spec(spec: &str) -> Result<FilesSpec> {
    serde_json::from_str(spec).map_err(|error| Error::internal("a stored spec cannot be read", error))
}

#[async_trait]
impl JobKind for FilesKind {
    fn kind(&self) -> Kind {
        Kind::Files
    }

    fn phases(&self) -> &'static [Phase] {
        &[Phase::InProgress]
    }

    async fn admit(&self, spec: serde_json::Value, uploads: &[Upload]) -> Result<Admitted> {
        let uploads = uploads.to_vec();
        blocking(&self.shared, move |shared| shared.admit(&spec::parse(spec)?, &uploads)).await
    }

    async fn admit_again(&self, spec: &str, units: Vec<NewUnit>) -> Result<Admitted> {
        let spec = read_spec(spec)?;
        blocking(&self.shared, move |shared| {
            shared.check(&spec)?;
            shared.admitted(&spec, units)
        })
        .await
    }

    async fn units(&self, _job: &JobRecord, _phase: Phase) -> Result<Vec<NewUnit>> {
        Ok(Vec::new())
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
        match read_spec(spec) {
            Ok(spec) => self.shared.grace(&spec),
            Err(_) => Duration::from_secs(DEFAULT_GRACE_S.into()),
        }
    }

    async fn recover(&self, run: &OpenRun, grace: Duration, stop: watch::Receiver<Stop>) -> Result<Recovery> {
        self.runs.recover(run, grace, stop).await
    }
}
