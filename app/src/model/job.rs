//! Jobs as the API tells them: the job itself, its cancellation, what the caller may do with it.

use serde::{Deserialize, Serialize};

use super::{
    audit::Source,
    batch::BatchView,
    id::{JobId, RunId},
    phase::Phase,
    spec::{Kind, Spec},
    stop::StopSummary,
    time::Timestamp,
};

/// The code that a cancel carries when the caller names none.
pub const DEFAULT_REASON: &str = "user_request";

/// Upper bound of `notes`, in characters.
pub const MAX_NOTES_CHARS: usize = 500;

/// Units by status. `pending` is what remains of `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Progress {
    pub total: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub running: u64,
}

impl Progress {
    /// Units that ended by themselves, well or badly. What a cancel stopped or kept from starting is not among them.
    #[must_use]
    pub const fn finished(&self) -> u64 {
        self.succeeded + self.failed
    }

    /// Units that did not succeed: what a rerun of the rest would take.
    #[must_use]
    pub const fn unfinished(&self) -> u64 {
        self.total.saturating_sub(self.succeeded)
    }

    /// Units that are over, whichever way.
    #[must_use]
    pub const fn done(&self) -> u64 {
        self.finished() + self.cancelled
    }

    /// Units that wait for a worker.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.total.saturating_sub(self.done() + self.running)
    }

    /// Whole percent of units that finished; 100 only when all did.
    #[must_use]
    pub const fn percent(&self) -> u64 {
        match (self.finished() * 100).checked_div(self.total) {
            Some(percent) => percent,
            None => 0,
        }
    }
}

/// Progress of one phase of a job with several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct PhaseProgress {
    pub phase: Phase,
    pub progress: Progress,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// Whether the caller may do a thing, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Permit {
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why_not: Option<String>,
}

impl Permit {
    /// A permit from the reason against it.
    #[must_use]
    pub fn unless(why_not: Option<&str>) -> Self {
        Permit { ok: why_not.is_none(), why_not: why_not.map(str::to_owned) }
    }
}

/// What the caller may do with a job. The buttons use it; the server decides by the same rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Allowed {
    /// Cancel, or send the cancel again.
    pub cancel: Permit,
    /// End a cancelling job although proof is missing.
    pub force_cancel: Permit,
    /// Delete without force.
    pub delete: Permit,
    /// Stop first, then delete.
    pub force_delete: Permit,
    /// Make a new job over its units.
    pub rerun: Permit,
}

impl Allowed {
    /// What an operator may do with a job in `phase`.
    #[must_use]
    pub fn for_operator(phase: Phase) -> Self {
        let force_cancel = if phase.can_cancel() || phase.can_resend_cancel() { None } else { phase.why_no_cancel() };
        Allowed {
            cancel: Permit::unless(phase.why_no_cancel()),
            force_cancel: Permit::unless(force_cancel),
            delete: Permit::unless(phase.why_no_delete()),
            force_delete: Permit::unless(None),
            rerun: Permit::unless(phase.why_no_rerun()),
        }
    }
}

/// Who asked for the stop of a job, when and why, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Cancellation {
    pub requested_at: Timestamp,
    pub requested_by: String,
    pub source: Source,
    pub request_id: String,
    /// A short code.
    pub reason: String,
    /// Free text, at most 500 characters.
    pub notes: Option<String>,
    /// Force was used: what is unproven was given up.
    pub force: bool,
    /// When the job became terminal by this stop; `null` before, and when it ended by itself.
    pub cancelled_at: Option<Timestamp>,
    pub stop: StopSummary,
}

/// A run that a cancelling job waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct WaitingRun {
    pub run_id: RunId,
    /// Index and name of its unit.
    pub unit: u64,
    pub name: String,
    pub worker: String,
    /// True when its worker has not renewed the lease: nobody is stopping it now.
    pub lost: bool,
    /// Since when it is waited for.
    pub since: Timestamp,
    /// The last thing known, one sentence.
    pub detail: String,
}

/// A job in an answer. Lists leave out what only the detail page needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Job {
    pub job_id: JobId,
    pub name: String,
    pub kind: Kind,
    pub phase: Phase,
    pub created_at: Timestamp,
    pub created_by: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished_at: Option<Timestamp>,
    pub progress: Progress,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cancellation: Option<Cancellation>,
    pub allowed: Allowed,
    /// The job that this one runs again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rerun_of: Option<JobId>,
    /// A sentence about how it ended that the phase alone does not tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The batch at the provider, for jobs that are one. Browser: see [`JobExtras`].
    #[cfg(not(target_family = "wasm"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch: Option<BatchView>,
    /// Detail only: the spec as accepted. Browser: see [`JobExtras`].
    #[cfg(not(target_family = "wasm"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spec: Option<Spec>,
    /// Detail only: the phases of its kind in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub phases: Vec<PhaseProgress>,
    /// Detail only: the runs a cancelling job waits for, at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub waiting: Vec<WaitingRun>,
    /// Detail only: bytes below the job's folder as last counted; `null` when not counted yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// Detail only, of a job that is over: its runs whose end nobody has seen. Sending the cancel looks for them again.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub unconfirmed: u64,
}

impl Job {
    /// Runs whose end is not proven: those of its stop, and those that were given up before.
    #[must_use]
    pub fn in_doubt(&self) -> u64 {
        self.cancellation.as_ref().map_or(0, |cancellation| cancellation.stop.unconfirmed).max(self.unconfirmed)
    }
}

const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The part of a [`Job`] that the browser reads only where it shows it: the list would have to load 16 kB more to read
/// it, too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobExtras {
    #[serde(default)]
    pub spec: Option<Spec>,
    #[serde(default)]
    pub batch: Option<BatchView>,
}

/// How many jobs are in a phase; counting stops at 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct PhaseCount {
    pub phase: Phase,
    pub count: u64,
    /// True when there are more than `count`: shown as `10,000+`.
    pub capped: bool,
}

/// Jobs per phase. Phases without a job are left out.
pub type PhaseCounts = Vec<PhaseCount>;

/// Answer of `GET /api/jobs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct JobList {
    pub items: Vec<Job>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
    /// Over all jobs, whatever the filter.
    pub counts: PhaseCounts,
}

/// Body of `POST /api/jobs/{job_id}/cancel`; an empty body is `{}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct CancelRequest {
    /// A short code: 1 to 64 of `a-z`, `0-9`, `_`, `-`, `.`; default `user_request`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// At most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub notes: Option<String>,
    /// Kill now, and end the job even where proof stays missing.
    #[serde(default)]
    pub force: bool,
}

/// What a cancel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum CancelOutcome {
    /// Stopped, by this request.
    Cancelled,
    /// Asked for; proof is still missing.
    Cancelling,
    /// Had been cancelled before; the first cancellation stands.
    AlreadyCancelled,
    /// Had ended by itself, or did before the stop took effect.
    AlreadyFinished,
}

impl CancelOutcome {
    /// The name in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            CancelOutcome::Cancelled => "cancelled",
            CancelOutcome::Cancelling => "cancelling",
            CancelOutcome::AlreadyCancelled => "already_cancelled",
            CancelOutcome::AlreadyFinished => "already_finished",
        }
    }
}

/// Answer of `POST /api/jobs/{job_id}/cancel`: 200 when final, 202 while `cancelling`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct CancelAnswer {
    pub job_id: JobId,
    pub phase: Phase,
    /// True when the job is cancelled now.
    pub cancelled: bool,
    pub cancelled_at: Option<Timestamp>,
    pub reason: Option<String>,
    pub notes: Option<String>,
    pub requested_by: Option<String>,
    /// A sentence for people.
    pub message: String,
    pub outcome: CancelOutcome,
    pub stop: StopSummary,
}

/// Which units a rerun takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum RerunUnits {
    /// All of them.
    #[default]
    All,
    /// Only those that did not succeed.
    Unfinished,
}

/// Body of `POST /api/jobs/{job_id}/rerun`; an empty body is `{}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct RerunRequest {
    #[serde(default)]
    pub units: RerunUnits,
    /// Default: the name of the first job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
}

/// A file that the job made or was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Artifact {
    /// Path below the job's artifacts, percent-encoded where it is not plain: what follows `/artifacts/` in the URL.
    pub path: String,
    /// The file's own name, for people.
    pub name: String,
    /// Index of the unit that made it; `null` for inputs.
    pub unit: Option<u64>,
    pub category: super::removal::Category,
    pub bytes: u64,
    /// True for PNG, JPEG, WebP and GIF: shown as an image.
    pub image: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelled_units_are_over_but_not_progress() {
        let stopped = Progress { total: 36, succeeded: 17, failed: 2, cancelled: 17, running: 0 };
        assert_eq!((stopped.finished(), stopped.done(), stopped.percent()), (19, 36, 52));
        assert_eq!((stopped.pending(), stopped.unfinished()), (0, 19));
        let over = Progress { total: 3, succeeded: 2, failed: 1, cancelled: 0, running: 0 };
        assert_eq!(over.percent(), 100);
        assert_eq!(Progress::default().percent(), 0);
    }
}
