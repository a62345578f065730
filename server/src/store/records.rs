//! Rows as the engine sees them.

use std::{ffi::OsString, sync::Arc};

use app::model::{
    BulkAction, BulkId, BulkResult, Category, JobId, JobQuery, Kind, Phase, PhaseProgress, Progress, RunId, Source,
    StopEvidence, StopSummary, Timestamp, UnitStatus,
};

use super::{BatchRecord, Store};

/// The store as everybody holds it.
pub type SharedStore = Arc<dyn Store>;

/// A job to be stored.
#[derive(Clone, Debug)]
pub struct NewJobRecord {
    pub job_id: JobId,
    pub name: String,
    pub kind: Kind,
    /// The spec as accepted, JSON.
    pub spec: String,
    /// The kind's phases in order; the first one is entered with the first claim.
    pub phases: Vec<Phase>,
    /// Most units of it at once; at least 1.
    pub parallel: u32,
    pub created_at: Timestamp,
    pub created_by: String,
    pub rerun_of: Option<JobId>,
    /// The provider's batch that it is about from the beginning, stored with it: an adopted one.
    pub batch: Option<BatchRecord>,
}

/// A unit to be stored. Its index is its position (continued over phases).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUnit {
    pub phase: Phase,
    /// For people; valid UTF-8.
    pub name: String,
    /// What the kind needs to run it: for `files` the path, byte for byte.
    pub input: OsString,
}

/// A job as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    pub job_id: JobId,
    pub name: String,
    pub kind: Kind,
    pub phase: Phase,
    /// JSON.
    pub spec: String,
    /// The kind's phases with their progress.
    pub phases: Vec<PhaseProgress>,
    pub parallel: u32,
    pub created_at: Timestamp,
    pub created_by: String,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub progress: Progress,
    pub cancel: Option<CancelRecord>,
    pub rerun_of: Option<JobId>,
    /// A delete was asked for and waits for the proof of the stop.
    pub delete_intended: bool,
}

/// The cancellation as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRecord {
    pub requested_at: Timestamp,
    pub requested_by: String,
    pub source: Source,
    pub request_id: String,
    pub reason: String,
    pub notes: Option<String>,
    /// When Force was asked for.
    pub forced_at: Option<Timestamp>,
    pub cancelled_at: Option<Timestamp>,
    pub stop: StopSummary,
}

/// A unit as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitRecord {
    pub job_id: JobId,
    pub index: u64,
    pub name: String,
    pub input: OsString,
    pub phase: Phase,
    pub status: UnitStatus,
    pub attempt: u32,
    pub losses: u32,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub run_id: Option<RunId>,
    pub exit_code: Option<i32>,
    pub error: Option<String>,
    pub artifacts: u64,
    pub stop: Option<StopEvidence>,
}

/// A page of the job list.
#[derive(Clone, Debug, Default)]
pub struct JobPage {
    pub items: Vec<JobRecord>,
    pub next_cursor: Option<String>,
}

/// An idempotency key with what it was used for.
#[derive(Clone, Debug)]
pub struct Idempotency {
    pub actor: String,
    pub key: String,
    /// SHA-256 of the request (method, path, body), hex.
    pub request_hash: String,
    pub now: Timestamp,
}

/// What a submit came to.
#[derive(Clone, Debug)]
pub enum Submitted {
    Stored,
    /// The key was used for the same request before: that job.
    Replayed(JobId),
    /// The key was used for another request.
    KeyConflict,
    /// Another job has the batch that this one is about. Nothing is stored.
    BatchTaken,
}

/// A worker: one process that runs units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRecord {
    /// New at every start: host, boot id, UUIDv7.
    pub worker_id: String,
    /// The data folder's own id: two workers of one instance never live at the same time.
    pub instance: String,
    pub host: String,
    pub boot_id: String,
    pub slots: u32,
    pub started_at: Timestamp,
    pub heartbeat_at: Timestamp,
}

/// What a worker's slots are counted by: the work of a job is done here, or elsewhere and only waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Local,
    /// On another machine, over a connection that is held.
    Remote,
    /// At a provider, which is asked now and then.
    Provider,
}

impl Lane {
    /// The lane in which jobs of this kind are worked on.
    #[must_use]
    pub const fn of(kind: Kind) -> Lane {
        match (kind.provider_kind().is_some(), kind.is_remote()) {
            (true, _) => Lane::Provider,
            (false, true) => Lane::Remote,
            (false, false) => Lane::Local,
        }
    }
}

/// A wish for work.
#[derive(Clone, Debug)]
pub struct Claim {
    pub worker: String,
    /// Only jobs of this lane.
    pub lane: Lane,
    pub max: u32,
    pub now: Timestamp,
    pub lease_until: Timestamp,
    /// Fresh ids, at least `max`.
    pub run_ids: Vec<RunId>,
}

/// A unit that was given to the worker.
#[derive(Clone, Debug)]
pub struct ClaimedRun {
    pub run_id: RunId,
    pub job_id: JobId,
    pub kind: Kind,
    pub spec: String,
    pub unit: UnitRecord,
}

/// A run that somebody should stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopOrder {
    pub run_id: RunId,
    pub force: bool,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Held by a worker under a lease.
    Open,
    /// Its worker did not renew the lease.
    Lost,
    /// Over.
    Closed,
}

/// A run as the repair sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRun {
    pub run_id: RunId,
    pub job_id: JobId,
    pub kind: Kind,
    pub job_phase: Phase,
    pub unit: u64,
    pub unit_name: String,
    pub state: RunState,
    pub worker: String,
    pub instance: String,
    pub started_at: Timestamp,
    pub lease_until: Timestamp,
    pub stop: Option<StopEvidence>,
    /// A cancel stops it, or has ended its unit. Not told of runs of removed jobs.
    pub is_cancelled: bool,
}

/// How a unit ended in this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Succeeded,
    /// One sentence.
    Failed(String),
    /// A stop reached it. Only in a job that is being cancelled; else it counts as a failure.
    Cancelled,
}

/// An artifact's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactRow {
    /// As in [`app::model::Artifact::path`].
    pub path: String,
    pub name: String,
    pub unit: Option<u64>,
    pub category: Category,
    pub bytes: u64,
}

/// A result to be stored.
#[derive(Clone, Debug)]
pub struct RunResult {
    pub run_id: RunId,
    pub worker: String,
    pub verdict: Verdict,
    pub exit_code: Option<i32>,
    pub stop: Option<StopEvidence>,
    pub artifacts: Vec<ArtifactRow>,
    /// What the end of the job is judged by, where that is not its units.
    pub judged: Option<Progress>,
    pub now: Timestamp,
}

/// What closing a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishEffect {
    /// Counted; the job goes on. `idle`: its phase has nothing pending or running any more.
    Counted { job_id: JobId, idle: bool },
    /// It was the last open run of a cancelling job: the job ended in this phase.
    JobEnded { job_id: JobId, phase: Phase },
    /// Evidence was added, nothing else changed.
    EvidenceAdded { job_id: JobId },
    /// The run is not open, or not this worker's: nothing changed.
    Fenced,
}

/// A cancel to be recorded.
#[derive(Clone, Debug)]
pub struct CancelOrder {
    pub job_id: JobId,
    pub reason: String,
    pub notes: Option<String>,
    pub force: bool,
    pub actor: String,
    pub source: Source,
    pub request_id: String,
    pub now: Timestamp,
}

/// What recording a cancel did.
#[derive(Clone, Debug)]
pub enum CancelEffect {
    NotFound,
    /// The job is `cancelling` by this request, or ended by it at once.
    Began(JobRecord),
    /// It was `cancelling` before: the request nudges (and may add force).
    Repeated(JobRecord),
    /// It is over, or being deleted: nothing changed.
    NotCancellable(JobRecord),
}

/// Who wants a job gone once it has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteIntent {
    pub actor: String,
    pub source: Source,
    pub request_id: String,
    pub at: Timestamp,
    pub keep_files: bool,
}

/// What beginning a delete did.
#[derive(Clone, Debug)]
pub enum BeginDelete {
    NotFound,
    Began,
    /// It is being deleted already: its receipt so far.
    Joined(Box<app::model::Receipt>),
    /// It is not terminal.
    NotTerminal(Phase),
}

/// Rows of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowsRemoved {
    pub units: u64,
    pub runs: u64,
    pub artifacts: u64,
}

impl RowsRemoved {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.units + self.runs + self.artifacts
    }
}

/// A browser's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the cookie, hex.
    pub hash: String,
    pub actor: String,
    pub created_at: Timestamp,
    pub expires: Timestamp,
    /// SHA-256, hex, of the API token that it was made with; it ends with the token.
    pub token: Option<String>,
}

/// An API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Unique; also the actor's name in the audit.
    pub name: String,
    /// SHA-256, hex.
    pub hash: String,
    pub created_at: Timestamp,
    pub created_by: String,
}

/// Which jobs a bulk takes.
#[derive(Clone, Debug)]
pub enum Selection {
    Ids(Vec<JobId>),
    /// All under a query (its cursor and limit do not count), of those that ended before, when that is given.
    Filter {
        query: JobQuery,
        finished_before: Option<Timestamp>,
    },
}

/// A job that a selection means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedJob {
    pub job_id: JobId,
    pub name: String,
    pub kind: Kind,
    pub phase: Phase,
}

/// A bulk to be stored.
#[derive(Clone, Debug)]
pub struct NewBulk {
    pub bulk_id: BulkId,
    pub action: BulkAction,
    pub reason: Option<String>,
    pub notes: Option<String>,
    pub force: bool,
    pub keep_files: bool,
    pub created_at: Timestamp,
    pub created_by: String,
    pub source: Source,
    pub request_id: String,
    pub retry_of: Option<BulkId>,
}

/// What the beginning of a bulk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkBegun {
    Stored,
    /// The bulk of the same idempotency key.
    Replayed(BulkId),
    KeyConflict,
}

/// What became of one job of a bulk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkOutcome {
    pub index: u64,
    pub result: BulkResult,
    pub detail: Option<String>,
    pub at: Timestamp,
    pub freed_bytes: u64,
    /// The job that a rerun made.
    pub new_job_id: Option<JobId>,
}
