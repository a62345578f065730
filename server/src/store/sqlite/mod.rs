//! The store in one SQLite file: a write-ahead log, one writing connection, readers beside it.
//!
//! `synchronous = NORMAL`: a killed process loses nothing that was committed. A power cut may lose the last
//! transactions (never half of one, and the file stays sound); every process that Belay ran is gone then too.
//!
//! Each write is one transaction that begins IMMEDIATE, so it waits for its turn at the start and never fails in the
//! middle because somebody else wrote; several processes on one file are fine. Statements are static, their phase
//! guards are bound from [`app::model::Phase`] (see `rows::phase_set`).

mod audit;
mod auth;
mod batches;
mod bulk;
mod cancel;
mod cursor;
mod delete;
mod fault;
mod finish;
mod jobs;
mod list;
mod room;
mod rows;
mod runs;
pub mod seed;
mod units;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use app::model::{
    AuditEvent, Bulk, BulkId, BulkItem, BulkItemQuery, JobId, JobQuery, Page, Phase, PhaseCounts, Progress, Receipt,
    RunId, StopEvidence, Timestamp, UnitQuery,
};
use async_trait::async_trait;
use sqlx::{
    Connection as _, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    ApiToken, ArtifactRow, BatchOwner, BatchRecord, BeginDelete, BulkBegun, BulkOutcome, CancelEffect, CancelOrder,
    Claim, ClaimedRun, DeleteIntent, FinishEffect, Idempotency, JobPage, JobRecord, NewBulk, NewJobRecord, NewUnit,
    OpenRun, PutBatch, RowsRemoved, RunResult, SelectedJob, Selection, Session, StopOrder, Store, Submitted,
    UnitRecord, WorkerRecord,
};
use crate::error::{Error, Result};

/// How long a write waits for those of other processes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call waits for a connection of this process.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

const READERS: u32 = 4;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    database: PathBuf,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it when there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// `DiskFull`, `Busy` (another process holds it for more than 5 s), `Internal` when it cannot be opened or was
    /// written by a newer version.
    pub async fn open(path: &Path) -> Result<SqliteStore> {
        let store = SqliteStore::connect(path).await.map_err(|error| fault::judge(error, folder_of(path)))?;
        store.set_room_aside().await?;
        Ok(store)
    }

    async fn connect(path: &Path) -> Result<SqliteStore> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("journal_size_limit", "67108864")
            .pragma("temp_store", "memory");
        let writer = pool(1).connect_with(options.clone().pragma("cache_size", "-8000")).await?;
        sqlx::migrate!("src/store/sqlite/migrations").run(&writer).await.map_err(migration_fault)?;
        let readers =
            pool(READERS).connect_with(options.pragma("cache_size", "-4000").pragma("query_only", "on")).await?;
        Ok(SqliteStore { writer, readers, database: path.to_owned() })
    }

    /// Waits for what runs and closes the file; the write-ahead log is folded into it.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// A write transaction. Dropped without a commit it is rolled back.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Passes a result on. A fault that a full disk explains is told as a full disk.
    fn told<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| fault::judge(error, folder_of(&self.database)))
    }
}

fn folder_of(database: &Path) -> &Path {
    database.parent().unwrap_or(Path::new("."))
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // On a full disk SQLite rolls back by itself. The ROLLBACK that sqlx sends then fails, and it would take this
        // connection to be inside a transaction for ever: it is replaced.
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
}

fn migration_fault(error: sqlx::migrate::MigrateError) -> Error {
    match error {
        sqlx::migrate::MigrateError::Execute(error) => error.into(),
        other => Error::internal("the database could not be brought up to date", other),
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn submit(
        &self,
        job: NewJobRecord,
        units: Vec<NewUnit>,
        key: Option<Idempotency>,
        audit: AuditEvent,
    ) -> Result<Submitted> {
        self.told(jobs::submit(self, job, units, key, audit).await)
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>> {
        self.told(jobs::job(self, id).await)
    }

    async fn jobs(&self, query: &JobQuery) -> Result<JobPage> {
        self.told(list::jobs(self, query).await)
    }

    async fn phase_counts(&self) -> Result<PhaseCounts> {
        self.told(jobs::phase_counts(self).await)
    }

    async fn change_counter(&self) -> Result<u64> {
        self.told(jobs::change_counter(self).await)
    }

    async fn units(&self, job: JobId, query: &UnitQuery) -> Result<Page<UnitRecord>> {
        self.told(units::units(self, job, query).await)
    }

    async fn unit(&self, job: JobId, index: u64) -> Result<Option<UnitRecord>> {
        self.told(units::unit(self, job, index).await)
    }

    async fn latest_units(&self, job: JobId, limit: u32) -> Result<Vec<UnitRecord>> {
        self.told(units::latest_units(self, job, limit).await)
    }

    async fn artifacts(&self, job: JobId, cursor: Option<&str>, limit: u32) -> Result<Page<ArtifactRow>> {
        self.told(units::artifacts(self, job, cursor, limit).await)
    }

    async fn register_worker(&self, worker: &WorkerRecord) -> Result<()> {
        self.told(runs::register_worker(self, worker).await)
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<ClaimedRun>> {
        self.told(runs::claim(self, claim).await)
    }

    async fn heartbeat(&self, worker: &str, now: Timestamp, lease_until: Timestamp) -> Result<Vec<RunId>> {
        self.told(runs::heartbeat(self, worker, now, lease_until).await)
    }

    async fn stop_orders(&self, worker: &str) -> Result<Vec<StopOrder>> {
        self.told(runs::stop_orders(self, worker).await)
    }

    async fn finish_run(&self, result: RunResult) -> Result<FinishEffect> {
        self.told(finish::finish_run(self, result).await)
    }

    async fn release_run(
        &self,
        run: RunId,
        lost: bool,
        evidence: Option<StopEvidence>,
        now: Timestamp,
    ) -> Result<FinishEffect> {
        self.told(finish::release_run(self, run, lost, evidence, now).await)
    }

    async fn expire_leases(&self, now: Timestamp) -> Result<Vec<OpenRun>> {
        self.told(runs::expire_leases(self, now).await)
    }

    async fn open_runs_of_instance(&self, instance: &str, except: &str) -> Result<Vec<OpenRun>> {
        self.told(runs::open_runs_of_instance(self, instance, except).await)
    }

    async fn open_runs(&self, job: JobId, limit: u32) -> Result<Vec<OpenRun>> {
        self.told(runs::open_runs(self, job, limit).await)
    }

    async fn run(&self, run: RunId) -> Result<Option<OpenRun>> {
        self.told(runs::run(self, run).await)
    }

    async fn count_unconfirmed(&self) -> Result<u64> {
        self.told(runs::count_unconfirmed(self).await)
    }

    async fn unconfirmed_runs(&self, job: JobId) -> Result<Vec<OpenRun>> {
        self.told(runs::unconfirmed_runs(self, job).await)
    }

    async fn count_doubted(&self, job: JobId) -> Result<u64> {
        self.told(runs::count_doubted(self, job).await)
    }

    async fn doubted_runs(&self, since: Timestamp, limit: u32) -> Result<Vec<OpenRun>> {
        self.told(runs::doubted_runs(self, since, limit).await)
    }

    async fn add_evidence(&self, run: RunId, evidence: StopEvidence, now: Timestamp) -> Result<FinishEffect> {
        self.told(finish::add_evidence(self, run, evidence, now).await)
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>> {
        self.told(runs::workers(self).await)
    }

    async fn idle_jobs(&self, limit: u32) -> Result<Vec<JobRecord>> {
        self.told(jobs::idle_jobs(self, limit).await)
    }

    async fn enter_phase(
        &self,
        job: JobId,
        from: Phase,
        to: Phase,
        units: Vec<NewUnit>,
        now: Timestamp,
    ) -> Result<bool> {
        self.told(jobs::enter_phase(self, job, from, to, units, now).await)
    }

    async fn conclude(
        &self,
        job: JobId,
        from: Phase,
        judged: Option<Progress>,
        now: Timestamp,
    ) -> Result<Option<Phase>> {
        self.told(jobs::conclude(self, job, from, judged, now).await)
    }

    async fn move_phase(&self, run: RunId, worker: &str, to: Phase, now: Timestamp) -> Result<bool> {
        self.told(batches::move_phase(self, run, worker, to, now).await)
    }

    async fn take_over_run(
        &self,
        run: RunId,
        from: &str,
        to: &str,
        lease_until: Timestamp,
    ) -> Result<Option<ClaimedRun>> {
        self.told(batches::take_over_run(self, run, from, to, lease_until).await)
    }

    async fn batch(&self, job: JobId) -> Result<Option<BatchRecord>> {
        self.told(batches::batch(self, job).await)
    }

    async fn batches(&self, jobs: &[JobId]) -> Result<Vec<BatchRecord>> {
        self.told(batches::batches(self, jobs).await)
    }

    async fn put_batch(&self, batch: &BatchRecord) -> Result<PutBatch> {
        self.told(batches::put_batch(self, batch).await)
    }

    async fn batch_owners(&self, provider: &str, batch_ids: &[String], tags: &[String]) -> Result<Vec<BatchOwner>> {
        self.told(batches::batch_owners(self, provider, batch_ids, tags).await)
    }

    async fn cancel(&self, order: &CancelOrder, audit: AuditEvent) -> Result<CancelEffect> {
        self.told(cancel::cancel(self, order, audit).await)
    }

    async fn give_up_unproven(&self, job: JobId, now: Timestamp) -> Result<FinishEffect> {
        self.told(finish::give_up_unproven(self, job, now).await)
    }

    async fn cancelling_jobs(&self, force_before: Option<Timestamp>) -> Result<Vec<JobRecord>> {
        self.told(cancel::cancelling_jobs(self, force_before).await)
    }

    async fn sweep_cancelled(&self, limit: u32) -> Result<u64> {
        self.told(cancel::sweep_cancelled(self, limit).await)
    }

    async fn intend_delete(&self, job: JobId, intent: &DeleteIntent) -> Result<()> {
        self.told(delete::intend_delete(self, job, intent).await)
    }

    async fn intended_deletes(&self) -> Result<Vec<(JobRecord, DeleteIntent)>> {
        self.told(delete::intended_deletes(self).await)
    }

    async fn begin_delete(&self, receipt: &Receipt, audit: AuditEvent) -> Result<BeginDelete> {
        self.told(delete::begin_delete(self, receipt, audit).await)
    }

    async fn deleting_jobs(&self) -> Result<Vec<Receipt>> {
        self.told(delete::deleting_jobs(self).await)
    }

    async fn count_rows(&self, job: JobId) -> Result<RowsRemoved> {
        self.told(delete::count_rows(self, job).await)
    }

    async fn remove_rows(&self, job: JobId, limit: u32) -> Result<u64> {
        self.told(delete::remove_rows(self, job, limit).await)
    }

    async fn finish_delete(&self, receipt: &Receipt, unproven: &[OpenRun]) -> Result<()> {
        self.told(delete::finish_delete(self, receipt, unproven).await)
    }

    async fn receipt(&self, job: JobId) -> Result<Option<Receipt>> {
        self.told(delete::receipt(self, job).await)
    }

    async fn receipts(&self, cursor: Option<&str>, limit: u32) -> Result<Page<Receipt>> {
        self.told(delete::receipts(self, cursor, limit).await)
    }

    async fn update_receipt(&self, receipt: &Receipt, unproven: &[OpenRun], audit: Option<AuditEvent>) -> Result<()> {
        self.told(delete::update_receipt(self, receipt, unproven, audit).await)
    }

    async fn unproven_of_removal(&self, job: JobId) -> Result<Vec<OpenRun>> {
        self.told(delete::unproven_of_removal(self, job).await)
    }

    async fn select_jobs(&self, selection: &Selection, limit: usize) -> Result<Vec<SelectedJob>> {
        self.told(bulk::select(self, selection, limit).await)
    }

    async fn begin_bulk(
        &self,
        bulk: &NewBulk,
        jobs: &[JobId],
        key: Option<Idempotency>,
        audit: AuditEvent,
    ) -> Result<BulkBegun> {
        self.told(bulk::begin(self, bulk, jobs, key, audit).await)
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>> {
        self.told(bulk::bulk(self, id).await)
    }

    async fn bulks(&self, cursor: Option<&str>, limit: u32) -> Result<Page<Bulk>> {
        self.told(bulk::bulks(self, cursor, limit).await)
    }

    async fn running_bulks(&self) -> Result<Vec<Bulk>> {
        self.told(bulk::running(self).await)
    }

    async fn bulk_items(&self, id: BulkId, query: &BulkItemQuery, limit: u32) -> Result<Page<BulkItem>> {
        self.told(bulk::items(self, id, query, limit).await)
    }

    async fn record_bulk(&self, id: BulkId, outcomes: &[BulkOutcome]) -> Result<()> {
        self.told(bulk::record(self, id, outcomes).await)
    }

    async fn abort_bulk(&self, id: BulkId, by: &str, now: Timestamp, audit: AuditEvent) -> Result<bool> {
        self.told(bulk::abort(self, id, by, now, audit).await)
    }

    async fn finish_bulk(&self, id: BulkId, now: Timestamp) -> Result<()> {
        self.told(bulk::finish(self, id, now).await)
    }

    async fn cancel_many(&self, orders: Vec<(CancelOrder, AuditEvent)>) -> Result<Vec<CancelEffect>> {
        self.told(bulk::cancel_many(self, orders).await)
    }

    async fn audit(&self, event: AuditEvent) -> Result<()> {
        self.told(audit::audit(self, &event).await)
    }

    async fn audit_events(&self, cursor: Option<&str>, limit: u32) -> Result<Page<AuditEvent>> {
        self.told(audit::audit_events(self, cursor, limit).await)
    }

    async fn add_sign_in_link(&self, hash: &str, expires: Timestamp) -> Result<()> {
        self.told(auth::add_sign_in_link(self, hash, expires).await)
    }

    async fn use_sign_in_link(&self, hash: &str, now: Timestamp) -> Result<bool> {
        self.told(auth::use_sign_in_link(self, hash, now).await)
    }

    async fn add_session(&self, session: &Session) -> Result<()> {
        self.told(auth::add_session(self, session).await)
    }

    async fn session(&self, hash: &str, now: Timestamp) -> Result<Option<Session>> {
        self.told(auth::session(self, hash, now).await)
    }

    async fn end_session(&self, hash: &str) -> Result<()> {
        self.told(auth::end_session(self, hash).await)
    }

    async fn add_token(&self, token: &ApiToken, audit: AuditEvent) -> Result<()> {
        self.told(auth::add_token(self, token, &audit).await)
    }

    async fn token(&self, hash: &str) -> Result<Option<ApiToken>> {
        self.told(auth::token(self, hash).await)
    }

    async fn tokens(&self) -> Result<Vec<ApiToken>> {
        self.told(auth::tokens(self).await)
    }

    async fn revoke_token(&self, name: &str, audit: AuditEvent) -> Result<bool> {
        self.told(auth::revoke_token(self, name, &audit).await)
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<()> {
        self.told(auth::forget_expired(self, now).await)
    }

    async fn set_room_aside(&self) -> Result<()> {
        let database = self.database.clone();
        tokio::task::spawn_blocking(move || room::set_aside(&database))
            .await
            .map_err(|error| Error::internal("no room was set aside", error))
    }
}
