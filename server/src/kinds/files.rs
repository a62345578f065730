//! Kind `files`: a command for each file. The spec says which; a run is one process tree; its evidence comes from
//! [`process`](crate::process).

mod command;
mod inputs;
mod output;
mod spec;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use app::model::{FilesSpec, Kind, Phase, StopEvidence};
use async_trait::async_trait;
use tokio::sync::watch;

use self::inputs::Confines;
use super::{Admitted, JobKind, Recovery, RunContext, RunOutcome, RunPlace, Stop, Upload};
use crate::{
    config::{FilesConfig, Preset},
    data::{DataFolder, make_folder},
    engine::clock,
    error::{Error, Result},
    process::{self, LaunchError, Spawner, StopHow, Tree, TreeCommand, TreeExit, TreeReport},
    store::{ClaimedRun, JobRecord, NewUnit, OpenRun, Verdict},
};

/// Seconds between SIGTERM and SIGKILL when neither spec nor preset says.
const DEFAULT_GRACE_S: u32 = 5;
/// How much longer than its grace a stop may take before a recovery gives up waiting for the supervisor.
const RECOVERY_MARGIN: Duration = Duration::from_secs(10);

/// See the module.
pub struct FilesKind {
    shared: Arc<Shared>,
    spawner: Spawner,
}

/// What blocking work needs too.
struct Shared {
    data: DataFolder,
    confines: Confines,
    presets: BTreeMap<String, Preset>,
    allow_free_commands: bool,
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
        let allow_free_commands = config.allow_free_commands;
        FilesKind { shared: Arc::new(Shared { data, confines, presets, allow_free_commands, slots }), spawner }
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Shared) -> Result<T> + Send + 'static) -> Result<T> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .map_err(|error| Error::internal("work failed", error))?
    }

    /// Prepares, starts and follows one tree.
    async fn attempt(&self, claimed: ClaimedRun, mut stop: watch::Receiver<Stop>) -> Result<RunOutcome> {
        let place = RunPlace::from(&claimed);
        let (spec, input) = (claimed.spec, PathBuf::from(claimed.unit.input));
        let prepared = self.blocking(move |shared| shared.prepare(place, &spec, &input)).await?;
        let command = match prepared {
            Prepared::Ready(command) => command,
            Prepared::Failed(why) => return Ok(failed(why)),
        };
        if *stop.borrow_and_update() != Stop::No {
            return Ok(never_started());
        }
        let timeout = command.timeout;
        let tree = match self.spawner.launch(command).await {
            Ok(tree) => tree,
            Err(error) => return not_launched(error),
        };
        let report = follow(tree, stop).await.map_err(|error| Error::internal("a process tree was lost", error))?;
        self.blocking(move |shared| Ok(shared.outcome(place, report, timeout))).await
    }
}

/// Waits for the end of a tree and passes on every order to stop.
async fn follow(tree: Tree, mut stop: watch::Receiver<Stop>) -> io::Result<TreeReport> {
    let stopper = tree.stopper();
    let orders = async {
        loop {
            let order = *stop.borrow_and_update();
            match order {
                Stop::No => {}
                Stop::Graceful => stopper.stop(StopHow::Graceful),
                Stop::Kill => {
                    stopper.stop(StopHow::Kill);
                    break;
                }
            }
            if stop.changed().await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        report = tree.wait() => report,
        () = orders => Err(io::Error::other("stop orders ended")),
    }
}

enum Prepared {
    Ready(TreeCommand),
    Failed(String),
}

impl Shared {
    fn check(&self, spec: &FilesSpec) -> Result<()> {
        spec::check(spec, &self.presets, self.allow_free_commands)
    }

    fn admitted(&self, spec: &FilesSpec, units: Vec<NewUnit>) -> Result<Admitted> {
        let text =
            serde_json::to_string(spec).map_err(|error| Error::internal("a spec could not be written", error))?;
        Ok(Admitted { spec: text, parallel: spec.parallel.unwrap_or(self.slots).max(1), units })
    }

    fn admit(&self, spec: &FilesSpec, uploads: &[Upload]) -> Result<Admitted> {
        self.check(spec)?;
        let mut units = inputs::collect(&spec.inputs, &self.confines)?;
        for upload in uploads {
            if upload.part != "files" {
                let detail = format!("Kind `files` takes uploads as `files`, not `{}`.", upload.part);
                return Err(Error::invalid_spec("files", detail));
            }
            let unit = inputs::unit(OsStr::new(&upload.name), upload.path.clone().into_os_string());
            inputs::push(&mut units, unit)?;
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

    fn prepare(&self, place: RunPlace, spec: &str, input: &Path) -> Result<Prepared> {
        let spec: FilesSpec = read_spec(spec)?;
        let preset = match &spec.preset {
            Some(name) => match self.presets.get(name) {
                Some(preset) => Some(preset),
                None => return Ok(Prepared::Failed(format!("the preset `{name}` is not configured any more"))),
            },
            None => None,
        };
        let Some(command) = preset.map(|preset| &preset.command).or(spec.command.as_ref()) else {
            return Ok(Prepared::Failed("the job names no command".to_owned()));
        };
        if let Err(why) = self.look_again(place, input) {
            return Ok(Prepared::Failed(why));
        }
        let (work, out) = (self.data.work(place.job_id, place.run_id), self.data.out(place.job_id, place.run_id));
        make_folder(&out)?;
        make_folder(&self.data.logs(place.job_id))?;
        let values = command::Values { file: input, out: &out };
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

    /// The file may have gone, or become a link, since the job was submitted.
    fn look_again(&self, place: RunPlace, input: &Path) -> std::result::Result<(), String> {
        let name = spec::lossy(input.file_name().unwrap_or(input.as_os_str()));
        let real = input.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => format!("the file is gone: {name}"),
            io::ErrorKind::PermissionDenied => format!("the file cannot be read: {name}: permission denied"),
            _ => format!("the file cannot be read: {name}: {error}"),
        })?;
        if !real.is_file() {
            return Err(format!("no longer a file: {name}"));
        }
        if real.starts_with(self.data.inputs(place.job_id)) || (real == input && self.confines.contain(&real)) {
            return Ok(());
        }
        Err(format!("the file is a link now, or outside the allowed folders: {name}"))
    }

    fn grace(&self, spec: &FilesSpec) -> Duration {
        let of_preset = spec.preset.as_ref().and_then(|name| self.presets.get(name)).and_then(|preset| preset.grace_s);
        Duration::from_secs(spec.grace_s.or(of_preset).unwrap_or(DEFAULT_GRACE_S).into())
    }

    fn outcome(&self, place: RunPlace, report: TreeReport, timeout: Option<Duration>) -> RunOutcome {
        let out = self.data.out(place.job_id, place.run_id);
        // After a crash the files may have moved to their place already.
        let found = if out.exists() { out } else { self.data.unit_artifacts(place.job_id, place.unit) };
        let mut outcome = outcome_of(report, timeout);
        match output::list(&found, place.unit) {
            Ok(produced) => outcome.produced = produced,
            Err(error) => {
                tracing::warn!(run = %place.run_id, %error, "what a run produced could not be listed");
                if outcome.verdict == Verdict::Succeeded {
                    outcome.verdict = Verdict::Failed(format!("its output could not be read: {error}"));
                }
            }
        }
        outcome
    }

    fn tidy(&self, place: RunPlace) {
        let work = self.data.work(place.job_id, place.run_id);
        if let Err(error) = output::remove(&work) {
            tracing::warn!(run = %place.run_id, %error, "scratch of a finished run stays until the job is deleted");
        }
        process::forget(&self.data.runs(), place.run_id);
    }
}

/// From what was seen of a tree to what it means for the unit.
fn outcome_of(report: TreeReport, timeout: Option<Duration>) -> RunOutcome {
    let mut exit_code = None;
    let verdict = if report.timed_out {
        Verdict::Failed(match timeout {
            Some(timeout) => format!("timed out after {} s, stopped", timeout.as_secs()),
            None => "timed out, stopped".to_owned(),
        })
    } else if report.signalled {
        Verdict::Cancelled
    } else {
        match report.exit {
            TreeExit::Code(0) => {
                exit_code = Some(0);
                Verdict::Succeeded
            }
            TreeExit::Code(code) => {
                exit_code = Some(code);
                Verdict::Failed(format!("exit status {code}"))
            }
            TreeExit::Signal(signal) => Verdict::Failed(format!("ended by signal {signal}")),
            TreeExit::NotStarted(why) => Verdict::Failed(why),
            TreeExit::Lost if report.stop.is_some() => Verdict::Cancelled,
            TreeExit::Lost => Verdict::Failed("nobody saw its end".to_owned()),
        }
    };
    RunOutcome { verdict, exit_code, stop: report.stop, produced: Vec::new() }
}

/// A server that cannot start anything now is no fault of the unit: it is given back.
fn not_launched(error: LaunchError) -> Result<RunOutcome> {
    tracing::warn!(error = &error as &dyn std::error::Error, "a run could not be started");
    match error {
        LaunchError::Lock(error) => Err(Error::from(error)),
        LaunchError::ShuttingDown | LaunchError::Spawner(_) => Ok(never_started()),
    }
}

fn failed(why: String) -> RunOutcome {
    RunOutcome { verdict: Verdict::Failed(why), exit_code: None, stop: None, produced: Vec::new() }
}

fn never_started() -> RunOutcome {
    let stop = Some(StopEvidence::never_started(clock::now()));
    RunOutcome { verdict: Verdict::Cancelled, exit_code: None, stop, produced: Vec::new() }
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
        self.blocking(move |shared| shared.admit(&spec::parse(spec)?, &uploads)).await
    }

    async fn admit_again(&self, spec: &str, units: Vec<NewUnit>) -> Result<Admitted> {
        let spec = read_spec(spec)?;
        self.blocking(move |shared| {
            shared.check(&spec)?;
            shared.admitted(&spec, units)
        })
        .await
    }

    async fn units(&self, _job: &JobRecord, _phase: Phase) -> Result<Vec<NewUnit>> {
        Ok(Vec::new())
    }

    async fn run(&self, context: RunContext) -> RunOutcome {
        let run = context.claimed.run_id;
        match self.attempt(context.claimed, context.stop).await {
            Ok(outcome) => outcome,
            Err(Error::DiskFull) => failed("no space left on the disk".to_owned()),
            Err(error) => {
                tracing::error!(%run, error = &error as &dyn std::error::Error, "a run could not be carried out");
                failed("the server could not carry it out; its log says why".to_owned())
            }
        }
    }

    async fn adopt(&self, run: RunPlace, _outcome: &RunOutcome) -> Result<()> {
        self.blocking(move |shared| {
            let place = shared.data.unit_artifacts(run.job_id, run.unit);
            Ok(output::adopt(&shared.data.out(run.job_id, run.run_id), &place)?)
        })
        .await
    }

    async fn disown(&self, run: RunPlace) {
        let removed =
            self.blocking(move |shared| Ok(output::remove(&shared.data.unit_artifacts(run.job_id, run.unit))?)).await;
        if let Err(error) = removed {
            tracing::warn!(run = %run.run_id, %error, "files of a fenced run stay until the job is deleted");
        }
    }

    async fn discard(&self, run: RunPlace) {
        let removed = self.blocking(move |shared| Ok(output::remove(&shared.data.work(run.job_id, run.run_id))?)).await;
        if let Err(error) = removed {
            tracing::warn!(run = %run.run_id, %error, "what a failed run made stays until the job is deleted");
        }
    }

    async fn tidy(&self, run: RunPlace) {
        let tidied = self
            .blocking(move |shared| {
                shared.tidy(run);
                Ok(())
            })
            .await;
        if let Err(error) = tidied {
            tracing::warn!(run = %run.run_id, %error, "a finished run was not tidied up");
        }
    }

    fn grace(&self, spec: &str) -> Duration {
        match read_spec(spec) {
            Ok(spec) => self.shared.grace(&spec),
            Err(_) => Duration::from_secs(DEFAULT_GRACE_S.into()),
        }
    }

    async fn recover(&self, run: &OpenRun, grace: Duration, stop: watch::Receiver<Stop>) -> Result<Recovery> {
        let how = move || match *stop.borrow() {
            Stop::Kill => StopHow::Kill,
            Stop::No | Stop::Graceful => StopHow::Graceful,
        };
        let wait = grace + RECOVERY_MARGIN;
        let runs = self.shared.data.runs();
        let place = RunPlace::from(run);
        let report = match process::recover(&runs, run.run_id, run.started_at, wait, how).await? {
            process::Recovered::Report(report) => report,
            process::Recovered::Searched(evidence) => return Ok(Recovery::Stopped(evidence)),
        };
        let outcome = self.blocking(move |shared| Ok(shared.outcome(place, report, None))).await?;
        Ok(match (&outcome.verdict, &outcome.stop) {
            (Verdict::Cancelled, Some(evidence)) => Recovery::Stopped(evidence.clone()),
            (Verdict::Cancelled | Verdict::Succeeded | Verdict::Failed(_), _) => Recovery::Finished(outcome),
        })
    }
}

#[cfg(test)]
mod tests {
    use app::model::Timestamp;

    use super::*;

    fn report(exit: TreeExit) -> TreeReport {
        TreeReport {
            exit,
            started_at: Timestamp(0),
            ended_at: Timestamp(1),
            timed_out: false,
            signalled: false,
            leftovers: 0,
            log_bytes: 0,
            stop: None,
        }
    }

    #[test]
    fn how_a_command_ended_is_said_in_a_sentence() {
        let verdict = |report| outcome_of(report, Some(Duration::from_secs(600))).verdict;
        assert_eq!(verdict(report(TreeExit::Code(0))), Verdict::Succeeded);
        assert_eq!(verdict(report(TreeExit::Code(3))), Verdict::Failed("exit status 3".to_owned()));
        assert_eq!(verdict(report(TreeExit::Signal(9))), Verdict::Failed("ended by signal 9".to_owned()));
        let timed_out = TreeReport { timed_out: true, signalled: true, ..report(TreeExit::Signal(15)) };
        assert_eq!(verdict(timed_out), Verdict::Failed("timed out after 600 s, stopped".to_owned()));
    }

    #[test]
    fn a_unit_that_got_a_signal_is_cancelled_whatever_its_exit_code() {
        let stopped = TreeReport { signalled: true, ..report(TreeExit::Code(0)) };
        assert_eq!(outcome_of(stopped, None).verdict, Verdict::Cancelled);
    }
}
