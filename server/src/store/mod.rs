//! The store: everything that must survive. A trait, so that one conformance suite can hold every implementation to
//! it; nothing above this module names SQL, and nothing above it may assume that it is the only process.
//!
//! Rules for an implementation:
//! - every phase change is one conditional update whose legal prior phases come from [`Phase::prior`];
//! - every method is one transaction (or a bounded number, where it says so), with no outside call inside;
//! - every write that a page could show moves the change counter;
//! - the clock is the caller's: `now` is a parameter, so that tests own time.

pub mod batch;
pub mod records;
pub mod sqlite;

use async_trait::async_trait;

use crate::error::Result;
use app::model::{
    AuditEvent, Bulk, BulkId, BulkItem, BulkItemQuery, JobId, JobQuery, Page, Phase, PhaseCounts, Progress, Receipt,
    RunId, StopEvidence, Timestamp, UnitQuery,
};
pub use batch::{BatchOwner, BatchRecord, BatchStep, PutBatch};
pub use records::{
    ApiToken, ArtifactRow, BeginDelete, BulkBegun, BulkOutcome, CancelEffect, CancelOrder, CancelRecord, Claim,
    ClaimedRun, DeleteIntent, FinishEffect, Idempotency, JobPage, JobRecord, Lane, NewBulk, NewJobRecord, NewUnit,
    OpenRun, RowsRemoved, RunResult, RunState, SelectedJob, Selection, Session, SharedStore, StopOrder, Submitted,
    UnitRecord, Verdict, WorkerRecord,
};

/// See the module.
#[async_trait]
pub trait Store: Send + Sync {
    // ---- jobs ----

    /// Stores a job in `pending` with the units of its first phase, the audit event, and (when given) the idempotency
    /// key, all or nothing. With a key that is known: the first job, or `KeyConflict` when the body was another.
    async fn submit(
        &self,
        job: NewJobRecord,
        units: Vec<NewUnit>,
        key: Option<Idempotency>,
        audit: AuditEvent,
    ) -> Result<Submitted>;
    async fn job(&self, id: JobId) -> Result<Option<JobRecord>>;
    /// One page under a query, at most `query.limit()` jobs. A rare `q` stops after about 50 ms with a cursor.
    async fn jobs(&self, query: &JobQuery) -> Result<JobPage>;
    /// Jobs per phase over everything, each counted to 10,000 at most.
    async fn phase_counts(&self) -> Result<PhaseCounts>;
    /// Moves with every write that a page could show. Cheap: it is asked for on every poll.
    async fn change_counter(&self) -> Result<u64>;

    // ---- units ----

    /// Units of a job by index, all or of one status. Rows that wait to be swept after a cancel are told as
    /// `cancelled`. With `query.stopped` those whose run a cancel stopped; with `query.latest` one page of those that
    /// ended last, looked for among the runs that began last.
    async fn units(&self, job: JobId, query: &UnitQuery) -> Result<Page<UnitRecord>>;
    async fn unit(&self, job: JobId, index: u64) -> Result<Option<UnitRecord>>;
    /// The `limit` units that were begun last and have a run: whose log to show. Newest first.
    async fn latest_units(&self, job: JobId, limit: u32) -> Result<Vec<UnitRecord>>;
    /// Artifacts of a job in order of path; the cursor is opaque.
    async fn artifacts(&self, job: JobId, cursor: Option<&str>, limit: u32) -> Result<Page<ArtifactRow>>;

    // ---- workers and runs ----

    async fn register_worker(&self, worker: &WorkerRecord) -> Result<()>;
    /// Gives up to `claim.max` units to the worker, one at a time to the claimable job with the fewest running units
    /// (then the one that was served longest ago), never above the job's `parallel`. Makes the runs, moves
    /// `pending` jobs into their first phase.
    async fn claim(&self, claim: &Claim) -> Result<Vec<ClaimedRun>>;
    /// Says that the worker lives and renews the leases of its open runs. Answers the runs that are still its own:
    /// what is missing there was given to somebody else and must be stopped.
    async fn heartbeat(&self, worker: &str, now: Timestamp, lease_until: Timestamp) -> Result<Vec<RunId>>;
    /// Open runs of the worker whose job is being cancelled.
    async fn stop_orders(&self, worker: &str) -> Result<Vec<StopOrder>>;
    /// Stores a result if the run is still open and held by `result.worker` (the fence), closes it, counts the unit, and,
    /// when no run of a `cancelling` job is left open, ends the job. A fenced result changes nothing.
    /// In a `cancelling` job a result that proves no end (`stop` unconfirmed, or `Cancelled` without any) leaves the
    /// run open, as `lost`, and the job waiting: `EvidenceAdded`.
    async fn finish_run(&self, result: RunResult) -> Result<FinishEffect>;
    /// Takes the unit of an open run back to `pending` because its worker is gone or shutting down, after it was proven
    /// that nothing of it is left (or lease and grace are over). `lost`: counts towards the three losses that fail a
    /// unit. In a `cancelling` job the unit becomes `cancelled` with `evidence` instead, if that is confirmed; else
    /// the run stays open and `lost`. `lost` without evidence means that nobody knows: such a run is told by
    /// [`Store::unconfirmed_runs`]; so pass the proof where there is one.
    async fn release_run(
        &self,
        run: RunId,
        lost: bool,
        evidence: Option<StopEvidence>,
        now: Timestamp,
    ) -> Result<FinishEffect>;
    /// Marks open runs whose lease ended before `now` as lost, and answers all lost runs.
    async fn expire_leases(&self, now: Timestamp) -> Result<Vec<OpenRun>>;
    /// Open runs that workers of this data folder other than `except` hold: a predecessor's, when the lock is ours.
    async fn open_runs_of_instance(&self, instance: &str, except: &str) -> Result<Vec<OpenRun>>;
    /// Runs that a cancelling job waits for, oldest first.
    async fn open_runs(&self, job: JobId, limit: u32) -> Result<Vec<OpenRun>>;
    async fn run(&self, run: RunId) -> Result<Option<OpenRun>>;
    /// Runs whose end is not proven now: lost ones that a cancelling job waits for, those that ended without proof, and
    /// those of removed jobs that no retry has proven yet.
    async fn count_unconfirmed(&self) -> Result<u64>;
    /// Runs of a job that ended without proof.
    async fn unconfirmed_runs(&self, job: JobId) -> Result<Vec<OpenRun>>;
    /// How many those are.
    async fn count_doubted(&self, job: JobId) -> Result<u64>;
    /// Such runs of all jobs that are not being removed, with a lease until `since` or later, the newest first.
    async fn doubted_runs(&self, since: Timestamp, limit: u32) -> Result<Vec<OpenRun>>;
    /// Adds evidence that came late: to an open run of a cancelling job (which it may end), or to a closed one that was
    /// unconfirmed. Never changes a terminal phase, nor a unit that is over by itself.
    async fn add_evidence(&self, run: RunId, evidence: StopEvidence, now: Timestamp) -> Result<FinishEffect>;
    /// Gives an open or lost run of the worker `from` to the worker `to`, as it is: for runs that only follow what goes on
    /// elsewhere. None: it is over, or somebody else's by now.
    async fn take_over_run(
        &self,
        run: RunId,
        from: &str,
        to: &str,
        lease_until: Timestamp,
    ) -> Result<Option<ClaimedRun>>;
    async fn workers(&self) -> Result<Vec<WorkerRecord>>;

    // ---- phases ----

    /// Jobs in an active phase without a pending or running unit: they wait for `enter_phase` or `conclude`.
    async fn idle_jobs(&self, limit: u32) -> Result<Vec<JobRecord>>;
    /// Moves an idle job from `from` to its next phase and stores that phase's units. False: somebody else did.
    async fn enter_phase(
        &self,
        job: JobId,
        from: Phase,
        to: Phase,
        units: Vec<NewUnit>,
        now: Timestamp,
    ) -> Result<bool>;
    /// Ends an idle job in its last phase as [`Phase::after_work`] says of its units, or of `judged` where the kind counts
    /// in something else. None: it is not idle any more.
    async fn conclude(
        &self,
        job: JobId,
        from: Phase,
        judged: Option<Progress>,
        now: Timestamp,
    ) -> Result<Option<Phase>>;
    /// Moves a job of one unit on to its next phase while the unit runs; the unit goes along. False: the run is not
    /// `worker`'s any more, the job is being cancelled, or `to` is not its next phase.
    async fn move_phase(&self, run: RunId, worker: &str, to: Phase, now: Timestamp) -> Result<bool>;

    // ---- cancel ----

    /// Records the first request and moves the job to `cancelling` (or straight on to its end when no run is open);
    /// pending units count as cancelled from here on. Writes the audit event with the result that the effect has.
    async fn cancel(&self, order: &CancelOrder, audit: AuditEvent) -> Result<CancelEffect>;
    /// Ends a cancelling job: every run that is still open is closed `unconfirmed`.
    async fn give_up_unproven(&self, job: JobId, now: Timestamp) -> Result<FinishEffect>;
    /// Jobs in `cancelling`, with force asked for before `force_before` when that is given.
    async fn cancelling_jobs(&self, force_before: Option<Timestamp>) -> Result<Vec<JobRecord>>;
    /// Turns up to `limit` left-over pending rows of cancelled jobs into `cancelled` ones. Answers how many.
    async fn sweep_cancelled(&self, limit: u32) -> Result<u64>;

    // ---- delete ----

    /// Notes that the job is to be deleted once its stop is proven. First note wins.
    async fn intend_delete(&self, job: JobId, intent: &DeleteIntent) -> Result<()>;
    /// Jobs with such a note.
    async fn intended_deletes(&self) -> Result<Vec<(JobRecord, DeleteIntent)>>;
    /// Terminal -> `deleting`, with receipt and audit event in the same transaction.
    async fn begin_delete(&self, receipt: &Receipt, audit: AuditEvent) -> Result<BeginDelete>;
    /// Jobs in `deleting` with their receipts so far.
    async fn deleting_jobs(&self) -> Result<Vec<Receipt>>;
    /// Rows that a removal would take: job data 1, records (units, runs, artifact rows).
    async fn count_rows(&self, job: JobId) -> Result<RowsRemoved>;
    /// Removes up to `limit` rows of units, runs and artifacts of a `deleting` job. Zero: none is left.
    async fn remove_rows(&self, job: JobId, limit: u32) -> Result<u64>;
    /// Removes the job row, writes the final receipt, and keeps what is needed to ask again about `unproven` runs.
    async fn finish_delete(&self, receipt: &Receipt, unproven: &[OpenRun]) -> Result<()>;
    async fn receipt(&self, job: JobId) -> Result<Option<Receipt>>;
    /// Newest first.
    async fn receipts(&self, cursor: Option<&str>, limit: u32) -> Result<Page<Receipt>>;
    /// Overwrites a receipt that is over (a retry found or removed more), with the runs that stay unproven.
    async fn update_receipt(&self, receipt: &Receipt, unproven: &[OpenRun], audit: Option<AuditEvent>) -> Result<()>;
    /// Runs of a deleted job whose stop was never proven.
    async fn unproven_of_removal(&self, job: JobId) -> Result<Vec<OpenRun>>;

    // ---- many jobs at once ----

    /// The jobs that a selection means at one moment, at most `limit`, in the order of the ids, or of creation. Ids
    /// without a job are left out.
    async fn select_jobs(&self, selection: &Selection, limit: usize) -> Result<Vec<SelectedJob>>;
    /// Stores a bulk over these jobs (known or not), with the idempotency key and the audit event, all or nothing.
    async fn begin_bulk(
        &self,
        bulk: &NewBulk,
        jobs: &[JobId],
        key: Option<Idempotency>,
        audit: AuditEvent,
    ) -> Result<BulkBegun>;
    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>>;
    /// Newest first.
    async fn bulks(&self, cursor: Option<&str>, limit: u32) -> Result<Page<Bulk>>;
    /// Those that have not ended.
    async fn running_bulks(&self) -> Result<Vec<Bulk>>;
    /// Jobs of a bulk in the order of the selection, all or with one result.
    async fn bulk_items(&self, id: BulkId, query: &BulkItemQuery, limit: u32) -> Result<Page<BulkItem>>;
    /// Sets results, also of jobs that an abort has overtaken: what was done is told.
    async fn record_bulk(&self, id: BulkId, outcomes: &[BulkOutcome]) -> Result<()>;
    /// Turns what is pending into `aborted`. False, and no audit event: it has ended, or was aborted before.
    async fn abort_bulk(&self, id: BulkId, by: &str, now: Timestamp, audit: AuditEvent) -> Result<bool>;
    /// Ends a bulk of which nothing is pending or under way.
    async fn finish_bulk(&self, id: BulkId, now: Timestamp) -> Result<()>;
    /// Each as [`Store::cancel`] does, in one transaction: for many jobs a tenth of the time.
    async fn cancel_many(&self, orders: Vec<(CancelOrder, AuditEvent)>) -> Result<Vec<CancelEffect>>;

    // ---- batches at providers ----

    /// The batch of a job, also of one that is gone.
    async fn batch(&self, job: JobId) -> Result<Option<BatchRecord>>;
    /// Those of these jobs that have one, in no order.
    async fn batches(&self, jobs: &[JobId]) -> Result<Vec<BatchRecord>>;
    /// Stores a batch if nobody stored it since it was read (`version`), and if no other job has the same one.
    async fn put_batch(&self, batch: &BatchRecord) -> Result<PutBatch>;
    /// Who has, or had, these of a provider's batches: by their ids or their tags.
    async fn batch_owners(&self, provider: &str, batch_ids: &[String], tags: &[String]) -> Result<Vec<BatchOwner>>;

    // ---- audit, sign-in ----

    async fn audit(&self, event: AuditEvent) -> Result<()>;
    /// Newest first.
    async fn audit_events(&self, cursor: Option<&str>, limit: u32) -> Result<Page<AuditEvent>>;
    /// Secrets come hashed (SHA-256, hex): the store never sees one.
    async fn add_sign_in_link(&self, hash: &str, expires: Timestamp) -> Result<()>;
    /// True once for a link that is known and not over.
    async fn use_sign_in_link(&self, hash: &str, now: Timestamp) -> Result<bool>;
    async fn add_session(&self, session: &Session) -> Result<()>;
    async fn session(&self, hash: &str, now: Timestamp) -> Result<Option<Session>>;
    async fn end_session(&self, hash: &str) -> Result<()>;
    async fn add_token(&self, token: &ApiToken, audit: AuditEvent) -> Result<()>;
    async fn token(&self, hash: &str) -> Result<Option<ApiToken>>;
    async fn tokens(&self) -> Result<Vec<ApiToken>>;
    /// Ends the sessions that were made with it, too. False, and no audit event: there is none of this name.
    async fn revoke_token(&self, name: &str, audit: AuditEvent) -> Result<bool>;
    /// Removes ended sessions and links, and idempotency keys older than 24 h.
    async fn forget_expired(&self, now: Timestamp) -> Result<()>;

    // ---- upkeep ----

    /// Keeps room on the disk for what must still be stored when it is full. Done again and again; where it cannot be
    /// had, nothing happens.
    async fn set_room_aside(&self) -> Result<()>;
}
