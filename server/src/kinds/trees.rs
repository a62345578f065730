//! Units that are run as a process tree: what the kinds have in common whose work is local commands. A kind prepares
//! the command; start, stop with evidence, results and recovery are here, the evidence comes from
//! [`process`](crate::process).

use std::{io, time::Duration};

use app::model::{Kind, StopEvidence};
use tokio::sync::watch;

use super::{Recovery, RunContext, RunOutcome, RunPlace, Stop, blocking, output, run_files::RunFiles};
use crate::{
    data::{DataFolder, make_folder},
    engine::clock,
    error::{Error, Result},
    process::{self, LaunchError, Spawner, StopHow, Tree, TreeCommand, TreeExit, TreeReport},
    store::{ClaimedRun, OpenRun, Verdict},
};

/// How much longer than its grace a stop may take before a recovery gives up waiting for the supervisor.
const RECOVERY_MARGIN: Duration = Duration::from_secs(10);
/// File in a run's scratch folder in which a command of ours says why it failed, one sentence.
pub(super) const WHY: &str = "why";
/// Longest sentence that is taken from there, bytes.
const MAX_WHY: usize = 1_000;

/// What a kind makes of a claimed unit.
pub(super) enum Prepared {
    /// To be run.
    Ready(TreeCommand),
    /// Its result lies in `out` already: nothing is to be run.
    Done,
    /// It cannot be run; one sentence.
    Failed(String),
}

/// The runs of one kind. Cheap to clone.
#[derive(Clone)]
pub(super) struct TreeRuns {
    files: RunFiles,
    spawner: Spawner,
}

impl TreeRuns {
    pub(super) fn new(kind: Kind, data: DataFolder, spawner: Spawner) -> Self {
        TreeRuns { files: RunFiles::new(kind, data), spawner }
    }

    /// Prepares, starts and follows one tree to its end or its proven stop. `prepare` may block.
    pub(super) async fn run<F>(&self, context: RunContext, prepare: F) -> RunOutcome
    where
        F: FnOnce(ClaimedRun) -> Result<Prepared> + Send + 'static,
    {
        let run = context.claimed.run_id;
        match self.attempt(context.claimed, context.stop, prepare).await {
            Ok(outcome) => outcome,
            Err(Error::DiskFull) => failed("no space left on the disk".to_owned()),
            Err(error) => {
                tracing::error!(%run, error = &error as &dyn std::error::Error, "a run could not be carried out");
                failed("the server could not carry it out; its log says why".to_owned())
            }
        }
    }

    async fn attempt<F>(&self, claimed: ClaimedRun, mut stop: watch::Receiver<Stop>, prepare: F) -> Result<RunOutcome>
    where
        F: FnOnce(ClaimedRun) -> Result<Prepared> + Send + 'static,
    {
        let place = RunPlace::from(&claimed);
        let prepared = blocking(self, move |runs| {
            make_folder(&runs.files.data.out(place.job_id, place.run_id))?;
            make_folder(&runs.files.data.logs(place.job_id))?;
            prepare(claimed)
        })
        .await?;
        let command = match prepared {
            Prepared::Ready(command) => command,
            Prepared::Failed(why) => return Ok(failed(why)),
            Prepared::Done => return blocking(self, move |runs| Ok(runs.files.add_output(place, succeeded()))).await,
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
        blocking(self, move |runs| Ok(runs.outcome(place, report, timeout))).await
    }

    /// As [`JobKind::adopt`](super::JobKind::adopt).
    pub(super) async fn adopt(&self, run: RunPlace) -> Result<()> {
        self.files.adopt(run).await
    }

    /// As [`JobKind::disown`](super::JobKind::disown).
    pub(super) async fn disown(&self, run: RunPlace) {
        self.files.disown(run).await;
    }

    /// As [`JobKind::discard`](super::JobKind::discard).
    pub(super) async fn discard(&self, run: RunPlace) {
        self.files.discard(run).await;
    }

    /// As [`JobKind::tidy`](super::JobKind::tidy).
    pub(super) async fn tidy(&self, run: RunPlace) {
        let tidied = blocking(self, move |runs| {
            runs.tidy_now(run);
            Ok(())
        })
        .await;
        if let Err(error) = tidied {
            tracing::warn!(run = %run.run_id, %error, "a finished run was not tidied up");
        }
    }

    fn tidy_now(&self, place: RunPlace) {
        let work = self.files.data.work(place.job_id, place.run_id);
        if let Err(error) = output::remove(&work) {
            tracing::warn!(run = %place.run_id, %error, "scratch of a finished run stays until the job is deleted");
        }
        process::forget(&self.files.data.runs(), place.run_id);
    }

    /// As [`JobKind::recover`](super::JobKind::recover).
    pub(super) async fn recover(
        &self,
        run: &OpenRun,
        grace: Duration,
        stop: watch::Receiver<Stop>,
    ) -> Result<Recovery> {
        let how = move || match *stop.borrow() {
            Stop::Kill => StopHow::Kill,
            Stop::No | Stop::Graceful | Stop::LetGo => StopHow::Graceful,
        };
        let wait = grace + RECOVERY_MARGIN;
        let place = RunPlace::from(run);
        let report = match process::recover(&self.files.data.runs(), run.run_id, run.started_at, wait, how).await? {
            process::Recovered::Report(report) => report,
            process::Recovered::Searched(evidence) => return Ok(Recovery::Stopped(evidence)),
        };
        let outcome = blocking(self, move |runs| Ok(runs.outcome(place, report, None))).await?;
        Ok(match (&outcome.verdict, &outcome.stop) {
            (Verdict::Cancelled, Some(evidence)) => Recovery::Stopped(evidence.clone()),
            (Verdict::Cancelled | Verdict::Succeeded | Verdict::Failed(_), _) => Recovery::Finished(outcome),
        })
    }

    fn outcome(&self, place: RunPlace, report: TreeReport, timeout: Option<Duration>) -> RunOutcome {
        let mut outcome = self.files.add_output(place, outcome_of(report, timeout));
        if let (Verdict::Failed(_), Some(why)) = (&outcome.verdict, self.why(place)) {
            outcome.verdict = Verdict::Failed(why);
        }
        outcome
    }

    /// The sentence of a command of ours. Commands of operators have no such file.
    fn why(&self, place: RunPlace) -> Option<String> {
        if self.files.kind == Kind::Files {
            return None;
        }
        let text = std::fs::read_to_string(self.files.data.work(place.job_id, place.run_id).join(WHY)).ok()?;
        let sentence = text.trim();
        (!sentence.is_empty() && sentence.len() <= MAX_WHY).then(|| sentence.to_owned())
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
                Stop::Graceful | Stop::LetGo => stopper.stop(StopHow::Graceful),
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

fn succeeded() -> RunOutcome {
    RunOutcome { verdict: Verdict::Succeeded, exit_code: None, stop: None, produced: Vec::new() }
}

fn never_started() -> RunOutcome {
    let stop = Some(StopEvidence::never_started(clock::now()));
    RunOutcome { verdict: Verdict::Cancelled, exit_code: None, stop, produced: Vec::new() }
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
