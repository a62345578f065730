//! The files of a run, for all kinds: scratch, what it made, and where that goes.

use app::model::Kind;

use super::{RunOutcome, RunPlace, blocking, output};
use crate::{data::DataFolder, error::Result, store::Verdict};

/// The files of the runs of one kind. Cheap to clone.
#[derive(Clone)]
pub(super) struct RunFiles {
    pub(super) kind: Kind,
    pub(super) data: DataFolder,
}

impl RunFiles {
    pub(super) fn new(kind: Kind, data: DataFolder) -> Self {
        RunFiles { kind, data }
    }

    /// As [`JobKind::adopt`](super::JobKind::adopt).
    pub(super) async fn adopt(&self, run: RunPlace) -> Result<()> {
        blocking(self, move |files| {
            let place = files.data.unit_artifacts(run.job_id, run.unit);
            Ok(output::adopt(&files.data.out(run.job_id, run.run_id), &place)?)
        })
        .await
    }

    /// As [`JobKind::disown`](super::JobKind::disown).
    pub(super) async fn disown(&self, run: RunPlace) {
        let removed =
            blocking(self, move |files| Ok(output::remove(&files.data.unit_artifacts(run.job_id, run.unit))?)).await;
        if let Err(error) = removed {
            tracing::warn!(run = %run.run_id, %error, "files of a fenced run stay until the job is deleted");
        }
    }

    /// As [`JobKind::discard`](super::JobKind::discard).
    pub(super) async fn discard(&self, run: RunPlace) {
        let removed = blocking(self, move |files| Ok(output::remove(&files.data.work(run.job_id, run.run_id))?)).await;
        if let Err(error) = removed {
            tracing::warn!(run = %run.run_id, %error, "what a run made stays until the job is deleted");
        }
    }

    /// Adds what the run left in `out`.
    pub(super) async fn with_output(&self, place: RunPlace, outcome: RunOutcome) -> RunOutcome {
        let unlisted = outcome.clone();
        let listed = blocking(self, move |files| Ok(files.add_output(place, outcome))).await;
        listed.unwrap_or(unlisted)
    }

    /// Likewise. Blocking.
    pub(super) fn add_output(&self, place: RunPlace, mut outcome: RunOutcome) -> RunOutcome {
        let out = self.data.out(place.job_id, place.run_id);
        // After a crash the files may have moved to their place already.
        let found = if out.exists() { out } else { self.data.unit_artifacts(place.job_id, place.unit) };
        match output::list(&found, place.unit, self.kind) {
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
}
